package vcard

import (
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"strings"

	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// ErrTooLarge says that a vCard would be longer than it may be with a change.
var ErrTooLarge = errors.New("the vCard would be too large")

// photo reads the picture in a vCard (XEP-0153 §4.4); white space in it does not count. ok is false where there is none
// that can be read.
func photo(card *xmpp.Element) (typ string, data []byte, ok bool) {
	el := card.ChildLocal("PHOTO")
	if el == nil {
		return "", nil, false
	}
	if t := el.ChildLocal("TYPE"); t != nil {
		typ = strings.TrimSpace(t.Text())
	}
	bin := el.ChildLocal("BINVAL")
	if bin == nil {
		return "", nil, false
	}
	data, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(bin.Text()), ""))
	if err != nil || len(data) == 0 {
		return "", nil, false
	}
	return typ, data, true
}

// change reads what is new in a vCard before it is written; ok is false if nobody is to be told.
func (v *VCard) change(e *router.Envelope, card []byte) (c Change, ok bool) {
	if v.changed == nil {
		return c, false
	}
	c.User = e.Session.Bare()
	was, _, err := v.read(c.User)
	el, bad := xmpp.ParseElement(card)
	if err != nil || bad != nil {
		return c, false
	}
	if was != nil {
		_, c.Before, _ = photo(was)
	}
	c.Card, c.Was = el, was
	c.Type, c.Data, _ = photo(el)
	return c, true
}

// read returns a user's vCard, nil for none, and the version of what is stored.
func (v *VCard) read(user jid.JID) (*xmpp.Element, uint64, error) {
	entries, version, err := v.store.List(context.Background(), user.String())
	if err != nil {
		return nil, 0, err
	}
	for _, e := range entries {
		if e.Key == key && len(e.Value) > 0 && e.Value[0] == recordVersion {
			el, err := xmpp.ParseElement(e.Value[1:])
			return el, version, err
		}
	}
	return nil, version, nil
}

// Photo is the picture in a user's vCard; empty where there is none. The data is the caller's.
func (v *VCard) Photo(user jid.JID) (typ string, data []byte, err error) {
	card, _, err := v.read(user)
	if card == nil || err != nil {
		return "", nil, err
	}
	typ, data, _ = photo(card)
	return typ, data, nil
}

// SetPhoto puts a picture into a user's vCard, which it makes if there is none; without data it takes it out. Changed
// is not told. The rest of the vCard stays as it is.
func (v *VCard) SetPhoto(user jid.JID, typ string, data []byte) (*storage.Pending, error) {
	name := func(local string) xmpp.Name { return xmpp.Name{Space: xmpp.NSVCard, Local: local} }
	leaf := func(local, text string) xmpp.Node {
		return xmpp.Node{Elem: &xmpp.Element{Name: name(local), Content: []xmpp.Node{{Text: text}}}}
	}
	return v.Change(user, func(card *xmpp.Element) bool {
		with := len(card.Content)
		card.Content = slices.DeleteFunc(card.Content,
			func(n xmpp.Node) bool { return n.Elem != nil && n.Elem.Name == name("PHOTO") })
		if len(data) > 0 {
			card.Content = append(card.Content, xmpp.Node{Elem: &xmpp.Element{Name: name("PHOTO"), Content: []xmpp.Node{
				leaf("TYPE", typ), leaf("BINVAL", base64.StdEncoding.EncodeToString(data))}}})
		}
		return len(data) > 0 || len(card.Content) < with
	})
}

// Change hands a user's vCard to f, an empty one if there is none, and writes it if f says that it has changed it. f
// may be called again, when the owner was faster. Changed is not told.
func (v *VCard) Change(user jid.JID, f func(card *xmpp.Element) bool) (*storage.Pending, error) {
	for {
		card, version, err := v.read(user)
		if err != nil {
			return nil, err
		}
		if card == nil {
			card = &xmpp.Element{Name: payload}
		}
		var changes []storage.Change // none: the Pending is that of the card as it is
		if f(card) {
			record := card.Append([]byte{recordVersion})
			if len(record)-1 > v.limit() {
				return nil, ErrTooLarge
			}
			changes = append(changes, storage.Change{Key: key, Value: record})
		}
		_, p, err := v.store.Update(context.Background(), user.String(), version, changes...)
		if errors.Is(err, storage.ErrConflict) {
			continue
		}
		return p, err
	}
}
