package muc

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"maps"
	"slices"
	"strings"
	"time"

	"jackdaw/modules/internal/forms"
	"jackdaw/modules/internal/mam"
	"jackdaw/modules/muc/room"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// Rooms in exports are our own, since XEP-0227 leaves them out (§2). A room is an element with its settings as the form
// of XEP-0045 §10.2, its subject, its card, its hats and the people whom it knows; its archive is another, so that it
// may be of any length.
var (
	portableRoom    = xmpp.Name{Space: router.NSPortable, Local: "room"}
	portableArchive = xmpp.Name{Space: router.NSPortable, Local: "room-archive"}
	portableCard    = xmpp.Name{Space: xmpp.NSVCard, Local: "vCard"}
)

func (m *Rooms) portable() []router.Portable {
	return []router.Portable{{
		Spaces:     []string{"map rooms", "log rooms"},
		ExportHost: m.exported,
		ImportHost: []router.Section{
			{Name: portableRoom, What: "rooms", Import: m.imported},
			{Name: portableArchive, What: "archived messages of rooms", Depth: 2, Import: m.importMessage},
		},
	}}
}

// HostOf says with which host the rooms at a domain are exported.
func HostOf(hosts []string, domain string) string {
	best := ""
	for _, h := range hosts {
		if strings.HasSuffix("."+domain, "."+h) && len(h) > len(best) {
			best = h
		}
	}
	if best == "" && len(hosts) > 0 {
		best = slices.Min(hosts)
	}
	return best
}

// exported writes the rooms that stay, as they are stored.
func (m *Rooms) exported(ctx context.Context, host string, put func([]byte) error) error {
	for _, domain := range m.o.Domains() {
		if HostOf(m.o.Hosts(), domain) != host {
			continue
		}
		entries, _, err := m.o.Rooms.List(ctx, domain)
		if err != nil {
			return err
		}
		for _, e := range entries {
			addr, err := jid.New(e.Key, domain, "")
			if err != nil {
				continue
			}
			if err := m.exportRoom(ctx, addr, put); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *Rooms) exportRoom(ctx context.Context, addr jid.JID, put func([]byte) error) error {
	entries, _, err := m.o.Rooms.List(ctx, addr.String())
	if err != nil {
		return err
	}
	r := &hosted{m: m, Room: room.New(addr, &m.server)}
	found, err := r.read(entries)
	if err != nil {
		m.o.Log.Warn("a room is not exported", "room", addr, "error", err)
		return nil
	}
	if !found {
		return nil
	}
	if err := put(append(r.element(), '\n')); err != nil {
		return err
	}
	name := addr.String()
	start := append(xmpp.AppendAttr([]byte("<room-archive xmlns='"+router.NSPortable+"' jid='"), name), "'>"...)
	begun := false
	err = mam.Export(ctx, m.o.Archive, name, true, func(b []byte) error {
		if !begun {
			begun = true
			if err := put(start); err != nil {
				return err
			}
		}
		return put(b)
	}, func(id uint64, err error) {
		m.o.Log.Warn("a message is not exported", "room", addr, "id", id, "error", err)
	})
	if err == nil && begun {
		err = put([]byte("</room-archive>\n"))
	}
	return err
}

// element is all of a room but what was said in it.
func (r *hosted) element() []byte {
	w := xmpp.NewWriter(nil).Start(portableRoom.Space, portableRoom.Local)
	w.Attr("jid", r.Name).AttrIf("creator", r.Creator).AttrIf("secret", base64.StdEncoding.EncodeToString(r.Secret))
	r.Conf.Submission().Write(w)
	if s := r.Subject; !s.Changed.IsZero() {
		w.Start("", "subject").AttrIf("by", s.By).Attr("changed", s.Changed.UTC().Format(time.RFC3339Nano))
		w.AttrIf("id", s.ID).AttrIf("author", s.Author)
		w.Raw([]byte("<message xmlns='" + xmpp.NSClient + "'>" + s.XML + "</message>")).End()
	}
	for _, h := range r.Hats {
		w.Start("", "hat").Attr("uri", h.URI).Attr("title", h.Title).AttrIf("hue", h.Hue).End()
	}
	for _, user := range slices.Sorted(maps.Keys(r.People)) {
		p := r.People[user]
		w.Start("", "person").Attr("jid", user).Attr("affiliation", p.Affiliation.String()).AttrIf("nick", p.Nick)
		w.AttrIf("reason", p.Reason).AttrIf("asks", p.Asks)
		for _, uri := range p.Hats {
			w.Leaf("", "hat", uri)
		}
		w.End()
	}
	if r.Card != nil {
		w.Raw(r.Card)
	}
	return w.End().Bytes()
}

// maxPeople bounds whom an imported room knows.
const maxPeople = 100_000

// addressOf reads the address of a room that comes; ok is false for one that has no place here, or another home, where
// it is stored, or said to have no place.
func (m *Rooms) addressOf(in *router.Incoming, address string) (addr jid.JID, ok bool) {
	addr, err := jid.Parse(address)
	if err == nil {
		address = addr.String()
	}
	switch {
	case !m.o.Router.Here(address):
	case err != nil || addr.Local() == "" || !addr.IsBare():
		in.Refuse("the address of a room is none")
	case !slices.Contains(m.o.Domains(), addr.Domain()):
		in.Refuse("rooms at %s have no place here: modules.muc.domain says at which domain they are", addr.Domain())
	default:
		return addr, true
	}
	return addr, false
}

func (m *Rooms) imported(ctx context.Context, in *router.Incoming) error {
	addr, ok := m.addressOf(in, in.Element.Attr("jid"))
	if !ok {
		return nil
	}
	if in.Dry {
		entries, _, err := m.o.Rooms.List(ctx, addr.String())
		if err == nil && len(entries) > 0 {
			in.Had++
		} else if err == nil {
			in.Take(nil)
		}
		return err
	}
	made := false
	var failed error
	r, bad := m.find(addr, func(r *hosted) *xmpp.Error {
		made = true
		var p *storage.Pending
		if p, failed = r.take(in); failed != nil {
			return m.fault(failed)
		}
		in.Take(p)
		return nil
	})
	switch {
	case failed != nil:
		return failed
	case bad != nil:
		return bad
	case !made:
		in.Had++
	default:
		r.unload(time.Now().Add(2 * idle)) // nobody is in it
	}
	return nil
}

// take makes a new room what the element says, and stores it. It is called with order held, before others know the
// room.
func (r *hosted) take(in *router.Incoming) (*storage.Pending, error) {
	el := in.Element
	r.Creator = el.Attr("creator")
	if _, err := jid.Parse(r.Creator); err != nil {
		r.Creator = ""
	}
	r.Secret, _ = base64.StdEncoding.DecodeString(el.Attr("secret")) // else a new one
	if len(r.Secret) < 16 || len(r.Secret) > 64 {
		r.Secret = make([]byte, 32)
		_, _ = rand.Read(r.Secret) // never fails
	}
	r.Conf = room.Defaults(r.m.choice())
	if x := el.Child(forms.Name); x != nil {
		for _, name := range r.Conf.Take(x, r.m.choice()) {
			in.Refuse("a room has a setting %.60s that is not possible here", name)
		}
	}
	r.Conf.Persistent = true // who exports a room wants it to stay
	for _, c := range el.Children() {
		switch c.Name {
		case xmpp.Name{Space: router.NSPortable, Local: "subject"}:
			r.takeSubject(c)
		case xmpp.Name{Space: router.NSPortable, Local: "hat"}:
			if len(r.Hats) < 50 {
				r.Hats = append(r.Hats, room.Hat{URI: c.Attr("uri"), Title: c.Attr("title"), Hue: c.Attr("hue")})
			}
		case xmpp.Name{Space: router.NSPortable, Local: "person"}:
			r.takePerson(in, c)
		case portableCard:
			r.SetCard(c.Append(nil))
		}
	}
	list, err := r.m.listed(r.Addr.Domain())
	if err != nil {
		return nil, err
	}
	p, err := r.storeAll()
	if err != nil {
		return nil, err
	}
	q, err := list.set(r.m.o.Rooms, r)
	return storage.Join(p, q), err
}

func (r *hosted) takeSubject(el *xmpp.Element) {
	changed, err := xmpp.ParseTime(el.Attr("changed"))
	message := el.Child(xmpp.Name{Space: xmpp.NSClient, Local: "message"})
	if err != nil || message == nil {
		return
	}
	r.Subject = room.Subject{By: el.Attr("by"), Changed: changed, ID: el.Attr("id"), Author: el.Attr("author")}
	for _, c := range message.Children() {
		r.Subject.XML += string(c.Append(nil))
	}
}

func (r *hosted) takePerson(in *router.Incoming, el *xmpp.Element) {
	who, err := jid.Parse(el.Attr("jid"))
	a, ok := room.AffiliationNamed(el.Attr("affiliation"))
	k := room.Known{User: who.String(), Person: room.Person{Affiliation: a, Nick: el.Attr("nick"),
		Reason: el.Attr("reason"), Asks: el.Attr("asks")}}
	for _, c := range el.Children() {
		k.Hats = append(k.Hats, c.Text())
	}
	switch _, known := r.People[k.User]; {
	case err != nil || !ok || !who.IsBare() || known || k.Empty():
		in.Refuse("somebody whom a room knows by no address, or not at all")
	case len(r.People) >= maxPeople || len(k.Nick)+len(k.Reason)+len(k.Asks) > 4096:
		in.Refuse("a room knows more people than one can, or too much of one")
	default:
		if _, taken := r.Nicks[k.Nick]; taken {
			k.Nick = ""
		}
		r.SetPerson(k)
	}
}

func (m *Rooms) importMessage(ctx context.Context, in *router.Incoming) error {
	addr, ok := m.addressOf(in, in.Within[0].Attr("jid"))
	if !ok {
		return nil
	}
	s, id, ok := mam.Imported(in)
	if !ok {
		return nil
	}
	name := addr.String()
	if !in.Dry {
		entries, err := m.o.Rooms.Get(ctx, name, roomKey)
		if err != nil || len(entries) == 0 {
			in.Refuse("a message of a room that is not here")
			return nil
		}
	}
	s.From, s.To = cmp.Or(s.From, addr), jid.JID{}
	record := storage.Record{ID: id, Data: mam.AppendMessage(nil, s)}
	if author, err := jid.Parse(in.Element.AttrNS(router.NSPortable, "author")); err == nil {
		record.Peer = author.Bare().String()
	}
	return in.Append(ctx, m.o.Archive, name, record)
}
