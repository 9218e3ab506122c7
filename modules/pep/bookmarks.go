package pep

import (
	"bytes"
	"errors"
	"slices"
	"strings"

	"jackdaw/modules/internal/pubsub"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// Bookmarks of rooms are kept as items of a node (XEP-0402). Clients also know them as one list (XEP-0048), in one item
// of another node or in private storage (XEP-0049). All three hold the same.

const (
	nsStorage   = nodeOldBookmarks
	currentList = "current" // XEP-0048 §3.1, the id of the one item
)

// Private are the bookmarks of rooms that users have in private storage.
type Private interface {
	On() bool // whether there is such a thing now
	Conferences(user jid.JID) ([]*xmpp.Element, error)
}

func (p *PEP) private() Private {
	if p.o.Private == nil || !p.o.Private.On() {
		return nil
	}
	return p.o.Private
}

// cast puts an element and those of the same namespace in it into another namespace.
func cast(el *xmpp.Element, to string) *xmpp.Element {
	out := &xmpp.Element{Name: xmpp.Name{Space: to, Local: el.Name.Local}, Attrs: slices.Clone(el.Attrs)}
	for _, n := range el.Content {
		if n.Elem != nil && n.Elem.Name.Space == el.Name.Space {
			n.Elem = cast(n.Elem, to)
		}
		out.Content = append(out.Content, n)
	}
	return out
}

// listed makes an entry of the list of an item (XEP-0402 §5.3.1); nil where it is none.
func listed(it *pubsub.Item) *xmpp.Element {
	el, err := xmpp.ParseElement(it.Payload)
	if err != nil || el.Name != (xmpp.Name{Space: nodeBookmarks, Local: "conference"}) {
		return nil
	}
	out := cast(el, nsStorage)
	out.Attrs = slices.DeleteFunc(out.Attrs, func(a xmpp.Attr) bool { return a.Name.Local == "jid" })
	out.Attrs = append([]xmpp.Attr{attr("jid", it.ID)}, out.Attrs...)
	return out
}

// native makes an item of an entry of the list. What only clients of this specification know is taken over from the
// item before, which may be nil, since others lose it; what only others know becomes an extension.
func native(entry *xmpp.Element, before *pubsub.Item) *xmpp.Element {
	el := cast(entry, nodeBookmarks)
	el.Attrs = slices.DeleteFunc(el.Attrs, func(a xmpp.Attr) bool { return a.Name.Local == "jid" })
	name := xmpp.Name{Space: nodeBookmarks, Local: "extensions"}
	extensions := el.Child(name)
	if extensions == nil && before != nil {
		if old, err := xmpp.ParseElement(before.Payload); err == nil {
			extensions = old.Child(name)
		}
	}
	var foreign []xmpp.Node
	content := el.Content
	el.Content = nil
	for _, n := range content {
		switch {
		case n.Elem == nil && strings.TrimSpace(n.Text) == "", n.Elem != nil && n.Elem.Name == name:
		case n.Elem != nil && n.Elem.Name.Space != nodeBookmarks:
			foreign = append(foreign, n)
		default:
			el.Content = append(el.Content, n)
		}
	}
	if extensions == nil && len(foreign) > 0 {
		extensions = &xmpp.Element{Name: name}
	}
	if extensions != nil {
		for _, n := range foreign {
			if extensions.Child(n.Elem.Name) == nil {
				extensions.Content = append(extensions.Content, n)
			}
		}
		el.Content = append(el.Content, xmpp.Node{Elem: extensions})
	}
	return el
}

// Conferences are a user's bookmarks as entries of the list; ok is false if none were kept here ever. The elements are
// the caller's.
func (p *PEP) Conferences(user jid.JID) (all []*xmpp.Element, ok bool, err error) {
	items, _, ok, err := p.engine.Items(user, nodeBookmarks)
	for i := range items {
		if el := listed(&items[i]); el != nil {
			all = append(all, el)
		}
	}
	return all, ok, err
}

// SetConferences replaces a user's bookmarks by those of a list. Only what has changed is published and taken back
// (XEP-0402 §5.3.2). It returns what has to be durable before the user is answered, of which written is a part.
func (p *PEP) SetConferences(b *router.Batch, user jid.JID, all []*xmpp.Element,
	written *storage.Pending) (*storage.Pending, error) {
	written, err := p.setConferences(b, user, all, written)
	if err != nil {
		return written, err
	}
	return storage.Join(written, p.collate(b, user)), nil
}

// AddConference adds a room to a user's bookmarks, to be entered at login, unless it is among them. It returns what has
// to be durable for that.
func (p *PEP) AddConference(b *router.Batch, user, room jid.JID) (*storage.Pending, error) {
	all, ok, err := p.Conferences(user)
	if private := p.private(); err == nil && !ok && private != nil { // as adopt does
		all, err = private.Conferences(user)
	}
	if err != nil {
		return nil, err
	}
	for _, el := range all {
		if j, err := jid.Parse(el.Attr("jid")); err == nil && j == room {
			return nil, nil
		}
	}
	attr := func(name, value string) xmpp.Attr { return xmpp.Attr{Name: xmpp.Name{Local: name}, Value: value} }
	return p.SetConferences(b, user, append(all, &xmpp.Element{Name: xmpp.Name{Space: nsStorage, Local: "conference"},
		Attrs: []xmpp.Attr{attr("jid", room.String()), attr("autojoin", "true")}}), nil)
}

func (p *PEP) setConferences(b *router.Batch, user jid.JID, all []*xmpp.Element,
	written *storage.Pending) (*storage.Pending, error) {
	items, _, _, err := p.engine.Items(user, nodeBookmarks)
	if err != nil {
		return written, err
	}
	gone := map[string]*pubsub.Item{}
	for i := range items {
		gone[items[i].ID] = &items[i]
	}
	last := map[string]int{} // of two entries of one room the later one counts
	for i, entry := range all {
		if room, err := jid.Parse(entry.Attr("jid")); err == nil {
			last[room.String()] = i
		}
	}
	kept := 0
	for i, entry := range all {
		room, err := jid.Parse(entry.Attr("jid"))
		if err != nil || last[room.String()] != i || kept >= p.o.Limits().Items {
			continue
		}
		id := room.String()
		kept++
		payload := native(entry, gone[id]).Append(nil)
		same := gone[id] != nil && bytes.Equal(gone[id].Payload, payload)
		delete(gone, id)
		if same {
			continue
		}
		var refused *xmpp.Error // one for which there is no room: the others are kept
		if written, err = p.also(b, user, nodeBookmarks, profile{p}.Default(nodeBookmarks),
			pubsub.Item{ID: id, Payload: payload}, written); err != nil && !errors.As(err, &refused) {
			return written, err
		}
	}
	ids := make([]string, 0, len(gone))
	for id := range gone {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	pending, err := p.engine.Retract(b, user, nodeBookmarks, ids...)
	return storage.Join(written, pending), err
}

// collate publishes a user's bookmarks as the list in its node, if that says something else.
func (p *PEP) collate(b *router.Batch, user jid.JID) *storage.Pending {
	all, ok, err := p.Conferences(user)
	if err == nil && ok {
		var it *pubsub.Item
		if it, _, err = p.engine.Item(user, nodeOldBookmarks, ""); err == nil {
			list := &xmpp.Element{Name: xmpp.Name{Space: nsStorage, Local: "storage"}}
			if old := storageOf(it); old != nil { // pages stay
				list.Content = slices.DeleteFunc(old.Content,
					func(n xmpp.Node) bool { return n.Elem == nil || n.Elem.Name.Local == "conference" })
			}
			for _, el := range all {
				list.Content = append(list.Content, xmpp.Node{Elem: el})
			}
			payload := list.Append(nil)
			if it != nil && bytes.Equal(it.Payload, payload) || len(payload) > p.o.Limits().ItemBytes {
				return nil
			}
			c := profile{p}.Default(nodeOldBookmarks)
			c.MaxItems = 1
			var pending *storage.Pending
			if pending, err = p.engine.Publish(b, user, nodeOldBookmarks, c,
				pubsub.Item{ID: currentList, Payload: payload}); err == nil {
				return pending
			}
		}
	}
	if err != nil {
		p.o.Log.Warn("bookmarks are not unified", "user", user, "error", err)
	}
	return nil
}

func storageOf(it *pubsub.Item) *xmpp.Element {
	if it == nil {
		return nil
	}
	el, err := xmpp.ParseElement(it.Payload)
	if err != nil || el.Name != (xmpp.Name{Space: nsStorage, Local: "storage"}) {
		return nil
	}
	return el
}

// listPublished takes the bookmarks over from the list in its node.
func (p *PEP) listPublished(b *router.Batch, user jid.JID) *storage.Pending {
	it, _, err := p.engine.Item(user, nodeOldBookmarks, "")
	list := storageOf(it)
	if err == nil && list != nil {
		var all []*xmpp.Element
		for _, el := range list.Children() {
			if el.Name.Local == "conference" {
				all = append(all, el)
			}
		}
		var pending *storage.Pending
		if pending, err = p.setConferences(b, user, all, nil); err == nil {
			return pending
		}
	}
	if err != nil {
		p.o.Log.Warn("bookmarks are not unified", "user", user, "error", err)
	}
	return nil
}

// adopt takes over what is in private storage from before there was a node, when the user first asks for the node.
func (p *PEP) adopt(e *router.Envelope) {
	if e.Stanza.Type != xmpp.TypeGet || !e.FromOwn() || !bytes.Contains(e.Stanza.Payload, []byte("bookmarks")) {
		return
	}
	user, private := e.Session.Bare(), p.private()
	if private == nil {
		return
	}
	if _, ok, err := p.Conferences(user); ok || err != nil {
		return
	}
	all, err := private.Conferences(user)
	if err == nil && len(all) > 0 {
		_, err = p.SetConferences(e.Batch, user, all, nil)
	}
	if err != nil {
		p.o.Log.Warn("bookmarks are not taken over", "user", user, "error", err)
	}
}
