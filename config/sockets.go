package config

import (
	"maps"
	"math"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"jackdaw/xmpp/jid"
)

// checkSocketUsers checks who may post over a unix socket without a password, and normalises the accounts.
func (c *Config) checkSocketUsers(k *checker) {
	for name, account := range c.HTTP.SocketUsers {
		key := "http.socket_users[" + name + "]"
		if !isSystemName(strings.TrimPrefix(name, "@")) {
			k.add(key, "expected the name or the number of a user of this machine, or of a group behind @, found %q", name)
		}
		j, err := jid.Parse(account)
		switch {
		case err != nil || j.Local() == "" || !j.IsBare():
			k.add(key, "expected an account such as web@example.org, found %q", account)
		case c.Host(j.Domain()) == nil:
			k.add(key, "%s is none of hosts", j.Domain())
		default:
			c.HTTP.SocketUsers[name] = j.String()
		}
	}
}

// isSystemName says whether a user or a group may be called so (useradd(8)), or have that number.
func isSystemName(s string) bool {
	if _, ok := number(s); ok {
		return true
	}
	for i, r := range s {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r == '_':
		case i > 0 && (r >= '0' && r <= '9' || r == '-' || r == '.'):
		case i > 0 && r == '$' && i == len(s)-1:
		default:
			return false
		}
	}
	return s != ""
}

// number reads the number of a user or a group; the last one stands for none.
func number(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil && n < math.MaxUint32
}

// Sockets are the accounts for which users and groups of this machine post over unix sockets, by number. A number that
// is written counts more than a name that has it. unknown are the names that nobody here has, sorted.
func (h *HTTP) Sockets() (users, groups map[uint32]jid.JID, unknown []string) {
	users, groups = map[uint32]jid.JID{}, map[uint32]jid.JID{}
	var numbered []func()
	for _, name := range slices.Sorted(maps.Keys(h.SocketUsers)) {
		account, err := jid.Parse(h.SocketUsers[name])
		if err != nil {
			continue // they have been checked
		}
		who, isGroup := strings.CutPrefix(name, "@")
		into := users
		if isGroup {
			into = groups
		}
		if n, ok := number(who); ok {
			numbered = append(numbered, func() { into[n] = account })
			continue
		}
		if n, ok := lookup(who, isGroup); ok {
			into[n] = account
		} else {
			unknown = append(unknown, name)
		}
	}
	for _, put := range numbered {
		put()
	}
	return users, groups, unknown
}

// lookup finds the number of a user or a group of this machine.
func lookup(name string, isGroup bool) (uint32, bool) {
	if isGroup {
		g, err := user.LookupGroup(name)
		if err != nil {
			return 0, false
		}
		return number(g.Gid)
	}
	u, err := user.Lookup(name)
	if err != nil {
		return 0, false
	}
	return number(u.Uid)
}

// socketWarnings names what of socket_users has no effect.
func (c *Config) socketWarnings(warn func(key, what string)) {
	if len(c.HTTP.SocketUsers) == 0 {
		return
	}
	if !slices.ContainsFunc(c.Listen.HTTP, func(addr string) bool { return !overTCP(addr) }) {
		warn("http.socket_users", "listen.http has no unix socket")
	}
	_, _, unknown := c.HTTP.Sockets()
	for _, name := range unknown {
		what := "user"
		if strings.HasPrefix(name, "@") {
			what = "group"
		}
		warn("http.socket_users["+name+"]", "there is no such "+what+" on this machine")
	}
}
