package portable

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
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

// prosodyFiles are its files: HOST/STORE/USER.dat with one value, USER.list with many.
type prosodyFiles struct {
	dir  fs.FS
	read func(int64)
}

// hosts are the directories with accounts, and those with rooms.
func (f prosodyFiles) hosts() (hosts, rooms []string, err error) {
	entries, err := fs.ReadDir(f.dir, ".")
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		name, err := url.PathUnescape(e.Name())
		if err != nil || !e.IsDir() {
			continue
		}
		if _, err := fs.Stat(f.dir, path.Join(e.Name(), "accounts")); err == nil {
			hosts = append(hosts, name)
		}
		if _, err := fs.Stat(f.dir, path.Join(e.Name(), "persistent.dat")); err == nil {
			rooms = append(rooms, name)
		}
	}
	return hosts, rooms, nil
}

// escaped is a name as Prosody names files: all but letters and digits (of stores also but _) by number.
func escaped(name string) string {
	var b strings.Builder
	for i := range len(name) {
		c := name[i]
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02x", c)
		}
	}
	return b.String()
}

func (f prosodyFiles) path(host, store, user, kind string) string {
	store = strings.ReplaceAll(escaped(store), "%5f", "_")
	if user == "" {
		return path.Join(escaped(host), store+kind)
	}
	return path.Join(escaped(host), store, escaped(user)+kind)
}

// users are those with a file in a store.
func (f prosodyFiles) users(host, store string) (users []string, err error) {
	entries, err := fs.ReadDir(f.dir, path.Join(escaped(host), store))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".dat"); ok {
			if name, err := url.PathUnescape(name); err == nil {
				users = append(users, name)
			}
		}
	}
	slices.Sort(users)
	return users, err
}

// stores are those of a host whose names begin so.
func (f prosodyFiles) stores(host, prefix string) (stores []string) {
	entries, _ := fs.ReadDir(f.dir, escaped(host)) // the accounts in it have been read
	for _, e := range entries {
		if name, err := url.PathUnescape(e.Name()); err == nil && e.IsDir() && strings.HasPrefix(name, prefix) {
			stores = append(stores, name)
		}
	}
	return stores
}

// file calls f with a file, if there is one.
func (f prosodyFiles) file(name string, use func(*luaReader) error) error {
	in, err := f.dir.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer in.Close() // it was only read
	if err := use(newLuaReader(&counted{in, f.read})); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// one returns what a store has of a user, or without user of the host; nothing if there is none.
func (f prosodyFiles) one(host, store, user string) (v value, err error) {
	err = f.file(f.path(host, store, user, ".dat"), func(r *luaReader) (err error) {
		v, _, err = r.returned()
		return err
	})
	return v, err
}

// each calls use with each that a store has of a user.
func (f prosodyFiles) each(host, store, user string, use func(value) error) error {
	return f.file(f.path(host, store, user, ".list"), func(r *luaReader) error { return r.items(use) })
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

// nodeSettings are the names of a node's settings in Prosody, and in forms (XEP-0060 §16.4.3).
var nodeSettings = map[string]string{"title": "title", "description": "description", "payload_type": "type",
	"max_items": "max_items", "persist_items": "persist_items", "access_model": "access_model",
	"publish_model": "publish_model", "send_last_published_item": "send_last_published_item",
	"notify_items": "deliver_notifications", "include_payload": "deliver_payloads",
	"notification_type": "notification_type", "notify_delete": "notify_delete", "notify_retract": "notify_retract"}

const nsOwner = xmpp.NSPubSub + "#owner"

func owned(local string) xmpp.Name { return xmpp.Name{Space: nsOwner, Local: local} }

func (p *prosody) nodes(host, user string, stores []string) error {
	known, err := p.files.one(host, "pep", user)
	if err != nil || len(known.pairs) == 0 {
		return err
	}
	p.out.start(owned("pubsub"))
	for _, one := range known.pairs {
		node := local("node", xmpp.MendText(one.key.String()))
		p.out.start(owned("configure"), node)
		p.form(nsOwnerForm, one.value.get("config"), nodeSettings, "pubsub#")
		p.out.end()
		if list := one.value.get("affiliations").pairs; len(list) > 0 {
			p.out.start(owned("affiliations"), node)
			for _, a := range list {
				p.out.start(owned("affiliation"), local("jid", xmpp.MendText(a.key.String())),
					local("affiliation", xmpp.MendText(a.value.String())))
				p.out.end()
			}
			p.out.end()
		}
		if list := one.value.get("subscribers").pairs; len(list) > 0 {
			p.out.start(owned("subscriptions"), node)
			for _, s := range list {
				p.out.start(owned("subscription"), local("jid", xmpp.MendText(s.key.String())), local("subscription", "subscribed"))
				p.out.end()
			}
			p.out.end()
		}
	}
	p.out.end()
	p.out.start(xmpp.Name{Space: xmpp.NSPubSub, Local: "pubsub"})
	for _, one := range known.pairs {
		node := one.key.String()
		if !slices.Contains(stores, "pep_"+node) {
			continue
		}
		p.out.start(xmpp.Name{Space: xmpp.NSPubSub, Local: "items"}, local("node", xmpp.MendText(node)))
		last := int64(0)
		err := p.files.each(host, "pep_"+node, user, func(v value) error {
			e, ok := stanza(v, xmpp.NSPubSub, 0)
			if !ok {
				return nil
			}
			if e.Name.Local != "item" { // the payload alone
				e = &xmpp.Element{Name: xmpp.Name{Space: xmpp.NSPubSub, Local: "item"},
					Content: []xmpp.Node{{Elem: without(e, "stamp", "stamp_legacy")}}}
			}
			without(e, "stamp", "stamp_legacy", "id")
			e.Attrs = append(e.Attrs, local("id", xmpp.MendText(v.get("key").String())))
			if at, ok := moment(v.get("when")); ok {
				last = max(at.UnixMicro(), last+1) // seconds do not say which was first
				e.Attrs = append(e.Attrs, xmpp.Attr{Name: xmpp.Name{Space: NS, Local: "at"},
					Value: strconv.FormatInt(last, 10)})
			}
			p.out.element(e)
			return p.out.err
		})
		if err != nil {
			return err
		}
		p.out.end()
	}
	p.out.end()
	return nil
}

const nsOwnerForm = xmpp.NSPubSub + "#node_config"

// form writes settings as a form.
func (p *prosody) form(formType string, config value, names map[string]string, prefix string) {
	field := func(name, v string) {
		p.out.start(xmpp.Name{Space: xmpp.NSDataForms, Local: "field"}, local("var", name))
		p.leaf(xmpp.Name{Space: xmpp.NSDataForms, Local: "value"}, xmpp.MendText(v))
		p.out.end()
	}
	p.out.start(xmpp.Name{Space: xmpp.NSDataForms, Local: "x"}, local("type", "submit"))
	field("FORM_TYPE", formType)
	for _, one := range config.pairs {
		name, known := names[one.key.String()]
		switch {
		case !known:
		case one.value.kind == truth && one.value.truth:
			field(prefix+name, "1")
		case one.value.kind == truth:
			field(prefix+name, "0")
		case one.value.kind != table:
			field(prefix+name, one.value.String())
		}
	}
	p.out.end()
}

// archive writes the messages of a list, with our own attribute for the author where there is one.
func (p *prosody) archive(host, store, user, owner string) error {
	begun := false
	err := p.files.each(host, store, user, func(v value) error {
		e, ok := stanza(v, xmpp.NSClient, 0)
		at, timed := moment(v.get("when"))
		if !timed && ok {
			var err error
			if at, err = xmpp.ParseTime(e.Attr("stamp")); err == nil {
				timed = true
			}
		}
		if !ok || !timed || e.Name.Local != "message" {
			return nil
		}
		if !begun {
			begun = true
			p.out.start(xmpp.Name{Space: NSPie + "#mam", Local: "archive"})
		}
		p.out.start(xmpp.Name{Space: xmpp.NSMAM, Local: "result"}, local("id", xmpp.MendText(v.get("key").String())))
		p.out.start(xmpp.Name{Space: xmpp.NSForward, Local: "forwarded"})
		p.out.start(xmpp.Name{Space: xmpp.NSDelay, Local: "delay"},
			local("stamp", at.UTC().Format("2006-01-02T15:04:05.000000Z")))
		p.out.end()
		p.out.element(ownIDs(without(e, "stamp", "stamp_legacy"), owner))
		p.out.end()
		p.out.end()
		return p.out.err
	})
	if begun {
		p.out.end()
	}
	return err
}

var stanzaIDName = xmpp.Name{Space: xmpp.NSStanzaID, Local: "stanza-id"}

// ownIDs takes away the ids that the archive itself has given: messages get others here.
func ownIDs(e *xmpp.Element, owner string) *xmpp.Element {
	e.Content = slices.DeleteFunc(e.Content, func(n xmpp.Node) bool {
		return n.Elem != nil && n.Elem.Name == stanzaIDName && n.Elem.Attr("by") == owner
	})
	return e
}

func (p *prosody) offline(host, user string) error {
	begun := false
	err := p.files.each(host, "offline", user, func(v value) error {
		e, ok := stanza(v, xmpp.NSClient, 0)
		if !ok || e.Name.Local != "message" {
			return nil
		}
		if !begun {
			begun = true
			p.out.start(xmpp.Name{Space: NSPie, Local: "offline-messages"})
		}
		if stamp := e.Attr("stamp"); stamp != "" {
			e.Content = append(e.Content, xmpp.Node{Elem: &xmpp.Element{Name: xmpp.Name{Space: xmpp.NSDelay, Local: "delay"},
				Attrs: []xmpp.Attr{local("from", host), local("stamp", stamp)}}})
		}
		p.out.element(without(e, "stamp", "stamp_legacy"))
		return p.out.err
	})
	if begun {
		p.out.end()
	}
	return err
}

// roomSettings are those of rooms, as far as their values are the same.
var roomSettings = map[string]string{"name": "roomname", "description": "roomdesc", "language": "lang",
	"moderated": "moderatedroom", "members_only": "membersonly", "whois": "whois", "changesubject": "changesubject",
	"allow_member_invites": "allowinvites", "archiving": "enablelogging"}

func (p *prosody) rooms(service string) error {
	all, err := p.files.one(service, "persistent", "")
	if err != nil {
		return err
	}
	for _, one := range all.pairs {
		addr, err := jid.Parse(one.key.String())
		if err != nil || addr.Local() == "" {
			continue
		}
		config, err := p.files.one(service, "config", addr.Local())
		if err != nil {
			return err
		}
		if len(config.pairs) == 0 {
			continue
		}
		p.room(addr, config)
		p.out.start(xmpp.Name{Space: NS, Local: "room-archive"}, local("jid", addr.String()))
		if err := p.archive(service, "muc_log", addr.Local(), addr.String()); err != nil {
			return err
		}
		p.out.end()
	}
	return nil
}

func (p *prosody) room(addr jid.JID, config value) {
	data, people := config.get("_data"), config.get("_affiliations").pairs
	if len(people) == 0 { // of the newer form
		for _, one := range config.pairs {
			if strings.Contains(one.key.text, "@") && one.value.kind == text {
				people = append(people, one)
			}
		}
	}
	own := func(local string) xmpp.Name { return xmpp.Name{Space: NS, Local: local} }
	slices.SortFunc(people, func(a, b pair) int { return strings.Compare(a.key.text, b.key.text) })
	creator := ""
	for _, one := range people {
		if one.value.text == "owner" && creator == "" {
			creator = one.key.text
		}
	}
	p.out.start(own("room"), local("jid", addr.String()), local("creator", xmpp.MendText(creator)))
	set := data
	yes := func(name string, v bool) {
		set.pairs = append(slices.Clip(set.pairs), pair{value{kind: text, text: name}, value{kind: truth, truth: v}})
	}
	names := map[string]string{"public": "publicroom", "protected": "passwordprotectedroom", "password": "roomsecret"}
	for k, v := range roomSettings {
		names[k] = v
	}
	yes("public", !data.get("hidden").truth)
	if data.get("password").String() != "" {
		yes("protected", true)
	} else {
		delete(names, "password")
	}
	p.form("http://jabber.org/protocol/muc#roomconfig", set, names, "muc#roomconfig_")
	if subject := data.get("subject"); subject.String() != "" {
		at, ok := moment(data.get("subject_time"))
		if !ok {
			at = time.Unix(1, 0)
		}
		nick := data.get("subject_from").String()
		if j, err := jid.Parse(nick); err == nil {
			nick = j.Resource()
		}
		p.out.start(own("subject"), local("changed", xmpp.FormatTime(at)), local("by", xmpp.MendText(nick)))
		p.out.start(xmpp.Name{Space: xmpp.NSClient, Local: "message"})
		p.leaf(xmpp.Name{Space: xmpp.NSClient, Local: "subject"}, xmpp.MendText(subject.String()))
		p.out.end()
		p.out.end()
	}
	for _, one := range people {
		about := config.get("_affiliation_data").get(one.key.text)
		attrs := []xmpp.Attr{local("jid", xmpp.MendText(one.key.text)), local("affiliation", xmpp.MendText(one.value.text))}
		if nick := about.get("reserved_nickname").String(); nick != "" {
			attrs = append(attrs, local("nick", xmpp.MendText(nick)))
		}
		p.out.start(own("person"), attrs...)
		p.out.end()
	}
	p.out.end()
}
