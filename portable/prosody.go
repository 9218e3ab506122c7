package portable

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"jackdaw/xmpp"
)

// Prosody writes what is in the data directory of a Prosody, such as /var/lib/prosody, as one file of XEP-0227: of
// each host with accounts these with all that the modules of Prosody keep of them that has a place here, and the rooms
// with the host to whose domain theirs belongs. Prosody may be stopped or not; what it writes meanwhile may be missing.
// read is that of Flatten.
//
// What is in an SQL store of Prosody is not in its directory; prosody-migrator moves it there.
func Prosody(dir fs.FS, out io.Writer, read func(bytes int64)) error {
	p := &prosody{files: prosodyFiles{dir, read}, out: newWriter(out)}
	hosts, rooms, err := p.files.hosts()
	if err != nil {
		return err
	}
	if len(hosts) == 0 {
		return errors.New("there are no accounts: name the data directory of Prosody, mostly /var/lib/prosody")
	}
	p.out.start(serverData)
	for _, host := range hosts {
		p.out.start(hostName, xmpp.Attr{Name: xmpp.Name{Local: "jid"}, Value: host})
		if err := p.host(host); err != nil {
			return err
		}
		for _, service := range rooms {
			if closest(hosts, service) != host {
				continue
			}
			if err := p.rooms(service); err != nil {
				return err
			}
		}
		p.out.end()
	}
	p.out.end()
	return p.out.flush()
}

// closest is the host to whose domain another belongs, or the first one.
func closest(hosts []string, domain string) string {
	best := ""
	for _, h := range hosts {
		if strings.HasSuffix(domain, "."+h) && len(h) > len(best) {
			best = h
		}
	}
	if best == "" {
		best = hosts[0]
	}
	return best
}

type prosody struct {
	files prosodyFiles
	out   *writer
}

func (p *prosody) host(host string) error {
	users, err := p.files.users(host, "accounts")
	if err != nil {
		return err
	}
	nodes := p.files.stores(host, "pep_")
	for _, user := range users {
		account, err := p.files.one(host, "accounts", user)
		if err != nil {
			return err
		}
		if len(account.pairs) == 0 {
			continue
		}
		attrs := []xmpp.Attr{{Name: xmpp.Name{Local: "name"}, Value: user}}
		if password := account.get("password").String(); password != "" {
			attrs = append(attrs, xmpp.Attr{Name: xmpp.Name{Local: "password"}, Value: password})
		}
		p.out.start(userName, attrs...)
		if err := p.account(host, user, account); err != nil {
			return err
		}
		if err := p.user(host, user, nodes); err != nil {
			return err
		}
		if p.out.end(); p.out.err != nil {
			return p.out.err
		}
	}
	return nil
}

// leaf writes an element with text.
func (p *prosody) leaf(name xmpp.Name, s string) {
	p.out.start(name)
	p.out.text(s)
	p.out.end()
}

func local(name, v string) xmpp.Attr { return xmpp.Attr{Name: xmpp.Name{Local: name}, Value: v} }

func (p *prosody) account(host, user string, a value) error {
	stored, err := hex.DecodeString(a.get("stored_key").String())
	server, err2 := hex.DecodeString(a.get("server_key").String())
	if err == nil && err2 == nil && len(stored) > 0 {
		mechanism := map[int]string{20: "SCRAM-SHA-1", 32: "SCRAM-SHA-256"}[len(stored)]
		p.out.start(scramName, local("mechanism", mechanism))
		for name, v := range map[string]string{"iter-count": a.get("iteration_count").String(),
			"salt":       base64.StdEncoding.EncodeToString([]byte(a.get("salt").String())),
			"server-key": base64.StdEncoding.EncodeToString(server),
			"stored-key": base64.StdEncoding.EncodeToString(stored)} {
			p.leaf(xmpp.Name{Space: NSScram, Local: name}, v)
		}
		p.out.end()
	}
	var attrs []xmpp.Attr
	if a.get("disabled").truth {
		attrs = append(attrs, local("disabled", "true"))
	}
	for from, to := range map[string]string{"created": "created", "updated": "password-set"} {
		if at, ok := moment(a.get(from)); ok {
			attrs = append(attrs, local(to, xmpp.FormatTime(at)))
		}
	}
	roles, err := p.files.one(host, "roles", user)
	if err != nil {
		return err
	}
	admin := roles.get("prosody:admin").truth || roles.get("prosody:operator").truth
	if len(attrs) == 0 && !admin {
		return nil
	}
	if p.out.start(ownName, attrs...); admin {
		p.leaf(xmpp.Name{Space: NS, Local: "permission"}, "admin")
	}
	p.out.end()
	return nil
}

// moment is a time in seconds since 1970.
func moment(v value) (t time.Time, ok bool) {
	if v.kind == text {
		v.num, _ = strconv.ParseFloat(v.text, 64)
	}
	if v.num < 1 || v.num > 1e11 {
		return t, false
	}
	return time.UnixMicro(int64(v.num * 1e6)), true
}

// stanza makes an element of what Prosody keeps of one: name, attr, and what is in it by number.
func stanza(v value, space string, depth int) (*xmpp.Element, bool) {
	e := &xmpp.Element{Name: xmpp.Name{Space: space, Local: v.get("name").String()}}
	if v.kind != table || depth > maxDepth || !validName([]byte(e.Name.Local)) || strings.Contains(e.Name.Local, ":") {
		return nil, false
	}
	for _, p := range v.get("attr").pairs {
		name, s := p.key.String(), xmpp.MendText(p.value.String())
		ns, inner, qualified := strings.Cut(strings.Replace(name, "\x01", "|", 1), "|")
		switch {
		case name == "xmlns":
			e.Name.Space = s
			continue
		case name == "xml:lang":
			ns, name = xmpp.NSXML, "lang"
		case qualified:
			name = inner
		default:
			ns = ""
		}
		one := xmpp.Attr{Name: xmpp.Name{Space: xmpp.MendText(ns), Local: name}, Value: s}
		twice := slices.ContainsFunc(e.Attrs, func(other xmpp.Attr) bool { return other.Name == one.Name })
		if validName([]byte(name)) && !strings.Contains(name, ":") && len(e.Attrs) < maxAttrs && !twice {
			e.Attrs = append(e.Attrs, one)
		}
	}
	for _, c := range v.list() {
		if c.kind != table {
			e.Content = append(e.Content, xmpp.Node{Text: xmpp.MendText(c.String())})
		} else if child, ok := stanza(c, e.Name.Space, depth+1); ok {
			e.Content = append(e.Content, xmpp.Node{Elem: child})
		}
	}
	return e, true
}

// without takes attributes away that Prosody has added.
func without(e *xmpp.Element, names ...string) *xmpp.Element {
	e.Attrs = slices.DeleteFunc(e.Attrs, func(a xmpp.Attr) bool {
		return a.Name.Space == "" && slices.Contains(names, a.Name.Local)
	})
	return e
}

func (p *prosody) user(host, user string, nodes []string) error {
	if err := p.roster(host, user); err != nil {
		return err
	}
	card, err := p.files.one(host, "vcard", user)
	if err != nil {
		return err
	}
	if e, ok := stanza(card, xmpp.NSVCard, 0); ok {
		p.out.element(e)
	}
	private, err := p.files.one(host, "private", user)
	if err != nil {
		return err
	}
	if len(private.pairs) > 0 {
		p.out.start(xmpp.Name{Space: xmpp.NSPrivate, Local: "query"})
		for _, one := range private.pairs {
			if e, ok := stanza(one.value, "", 0); ok {
				p.out.element(e)
			}
		}
		p.out.end()
	}
	blocked, err := p.files.one(host, "blocklist", user)
	if err != nil {
		return err
	}
	if len(blocked.pairs) > 0 {
		p.out.start(xmpp.Name{Space: xmpp.NSBlocking, Local: "blocklist"})
		for _, one := range blocked.pairs {
			if one.key.kind == text {
				p.out.start(xmpp.Name{Space: xmpp.NSBlocking, Local: "item"}, local("jid", xmpp.MendText(one.key.text)))
				p.out.end()
			}
		}
		p.out.end()
	}
	if err := p.nodes(host, user, nodes); err != nil {
		return err
	}
	if err := p.archive(host, "archive", user, user+"@"+host); err != nil {
		return err
	}
	return p.offline(host, user)
}

func (p *prosody) roster(host, user string) error {
	roster, err := p.files.one(host, "roster", user)
	if err != nil || len(roster.pairs) == 0 {
		return err
	}
	var waiting []pair
	p.out.start(xmpp.Name{Space: xmpp.NSRoster, Local: "query"})
	for _, one := range roster.pairs {
		if one.key.kind != text {
			waiting = append(waiting, one.value.get("pending").pairs...)
			continue
		}
		if one.key.text == "pending" { // of long ago
			waiting = append(waiting, one.value.pairs...)
			continue
		}
		attrs := []xmpp.Attr{local("jid", xmpp.MendText(one.key.text))}
		for _, name := range []string{"name", "subscription", "ask", "approved"} {
			if s := one.value.get(name).String(); s != "" {
				attrs = append(attrs, local(name, xmpp.MendText(s)))
			}
		}
		p.out.start(xmpp.Name{Space: xmpp.NSRoster, Local: "item"}, attrs...)
		for _, g := range one.value.get("groups").pairs {
			p.leaf(xmpp.Name{Space: xmpp.NSRoster, Local: "group"}, xmpp.MendText(g.key.String()))
		}
		p.out.end()
	}
	p.out.end()
	for _, who := range waiting {
		e, ok := stanza(who.value, xmpp.NSClient, 0)
		if !ok { // of older versions, which kept the address alone
			e = &xmpp.Element{Name: xmpp.Name{Space: xmpp.NSClient, Local: "presence"}, Attrs: []xmpp.Attr{
				local("type", "subscribe"), local("from", xmpp.MendText(who.key.String()))}}
		}
		p.out.element(e)
	}
	return nil
}
