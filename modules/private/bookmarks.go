package private

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// rooms is the piece that holds bookmarks (XEP-0048 §2).
var rooms = xmpp.Name{Space: "storage:bookmarks", Local: "storage"}

func isConference(el *xmpp.Element) bool {
	return el != nil && el.Name == xmpp.Name{Space: rooms.Space, Local: "conference"}
}

// conferences are the bookmarks of rooms among the pieces.
func conferences(pieces []*xmpp.Element) (all []*xmpp.Element) {
	for _, c := range pieces {
		if c.Name != rooms {
			continue
		}
		for _, el := range c.Children() {
			if isConference(el) {
				all = append(all, el)
			}
		}
	}
	return all
}

// withRooms puts the bookmarks that are kept elsewhere into the record of the piece, which Get has returned, in place
// of those that are in it. Bookmarks of pages stay.
func (p *Private) withRooms(user jid.JID, record []byte, err error) ([]byte, error) {
	elsewhere := p.bookmarks()
	if err != nil && !errors.Is(err, storage.ErrNotFound) || elsewhere == nil {
		return record, err
	}
	all, ok, failed := elsewhere.Conferences(user)
	if failed != nil || !ok {
		return record, cmp.Or(failed, err)
	}
	el := &xmpp.Element{Name: rooms}
	if err == nil && len(record) > 0 {
		if old, bad := xmpp.ParseElement(record[1:]); bad == nil {
			el = old
		}
	}
	el.Content = slices.DeleteFunc(el.Content, func(n xmpp.Node) bool { return isConference(n.Elem) })
	for _, c := range all {
		el.Content = append(el.Content, xmpp.Node{Elem: c})
	}
	return el.Append([]byte{recordVersion}), nil
}

// Conferences are the bookmarks of rooms that a user has written here.
func (p *Private) Conferences(user jid.JID) ([]*xmpp.Element, error) {
	record, err := p.store.Get(context.Background(), user.String(), key(rooms))
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	case len(record) == 0 || record[0] != recordVersion:
		return nil, nil
	}
	el, err := xmpp.ParseElement(record[1:])
	if err != nil { // several of one name in one piece: the first ones count
		return nil, nil
	}
	return conferences([]*xmpp.Element{el}), nil
}
