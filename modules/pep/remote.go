package pep

import (
	"strings"
	"sync"

	"jackdaw/xmpp/jid"
)

const (
	// maxWatchers bounds the addresses of contacts of one user whose wishes are known.
	maxWatchers = 10000
	// maxSeen bounds each of the two generations of what is remembered for users who are away.
	maxSeen = 16384
)

// remote holds what contacts on other servers want, for users who are there.
type remote struct {
	mu    sync.Mutex // guards the rest
	users map[jid.JID]map[jid.JID]*watch
	// Who has been sent the last items of whom, and with which capabilities; at least the last maxSeen.
	now, old map[pair]capability
}

type pair struct{ user, full jid.JID }

// come notes the presence of a contact. fresh says that it is the first, or that it has other capabilities than before, which are
// those of old then.
func (r *remote) come(user, full jid.JID, c capability, online bool) (w, old *watch, fresh bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w = &watch{caps: c}
	if old = r.users[user][full]; old != nil && old.caps == c {
		return nil, nil, false
	}
	user, full = clone(user), clone(full)
	if online && len(r.users[user]) < maxWatchers {
		switch {
		case r.users == nil:
			r.users = map[jid.JID]map[jid.JID]*watch{}
			fallthrough
		case r.users[user] == nil:
			r.users[user] = map[jid.JID]*watch{}
		}
		r.users[user][full] = w
	}
	// Seen while the user was away, or before it went.
	known, seen := r.seen(pair{user, full})
	r.note(pair{user, full}, c)
	if seen && known == c {
		return w, w, online // what it wants is to be learnt, and it has got everything
	}
	return w, old, true
}

func (r *remote) seen(k pair) (capability, bool) {
	c, ok := r.now[k]
	if !ok {
		c, ok = r.old[k]
	}
	return c, ok
}

func (r *remote) note(k pair, c capability) {
	if r.now == nil || len(r.now) >= maxSeen {
		r.old, r.now = r.now, map[pair]capability{}
	}
	r.now[k] = c
}

// gone forgets an address.
func (r *remote) gone(user, full jid.JID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.users[user], full)
	delete(r.now, pair{user, full})
	delete(r.old, pair{user, full})
}

// leave forgets what the contacts of a user want who is away now.
func (r *remote) leave(user jid.JID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.users, user)
}

// part forgets a contact that shows a user its presence no more.
func (r *remote) part(user, contact jid.JID) {
	for _, w := range r.of(user, contact) {
		r.gone(user, w.full)
	}
}

// A watcher is an address with what its client wants.
type watcher struct {
	full  jid.JID
	watch *watch
}

// of are the watchers of a contact.
func (r *remote) of(user, contact jid.JID) (out []watcher) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for full, w := range r.users[user] {
		if full.Bare() == contact {
			out = append(out, watcher{full, w})
		}
	}
	return out
}

// who are the addresses of a user's contacts that want the events of a node.
func (r *remote) who(user jid.JID, node string) (full []jid.JID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for one, w := range r.users[user] {
		if w.wants(node) {
			full = append(full, one)
		}
	}
	return full
}

// clone makes an address that shares no memory with a stanza.
func clone(a jid.JID) jid.JID {
	c, err := jid.Parse(strings.Clone(a.String()))
	if err != nil {
		return a // cannot be: what is normalised is valid
	}
	return c
}
