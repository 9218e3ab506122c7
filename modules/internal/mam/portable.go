package mam

import (
	"context"
	"slices"
	"time"

	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
)

// NSPie is the namespace of archives in exports (XEP-0227 §4.11).
const NSPie = "urn:xmpp:pie:0#mam"

// exportPage is how many messages an export reads at once.
const exportPage = 200

// author is an attribute of ours, which says who has said something in a room.
func author(who string) []byte {
	b := append([]byte(" xmlns:kept='"), router.NSPortable...)
	return append(xmpp.AppendAttr(append(b, "' kept:author='"...), who), '\'')
}

// Export writes the archive of an owner as it is now, if there is anything in it; that of a room with the authors. What
// cannot be read is left out, and told to bad.
func Export(ctx context.Context, log storage.Log, owner string, rooms bool, put func([]byte) error,
	bad func(id uint64, err error)) error {
	until := storage.IDAt(time.Now()) + 1
	var buf []byte
	for after, begun := uint64(0), false; ; {
		page, more, err := log.Page(ctx, owner, storage.Query{After: after, Before: until, Limit: exportPage})
		if err != nil {
			return err
		}
		for _, r := range page {
			after = r.ID
			s, err := ReadMessage(r.Data)
			if err != nil {
				bad(r.ID, err)
				continue
			}
			if !begun {
				begun = true
				if err := put([]byte("<archive xmlns='" + NSPie + "'>")); err != nil {
					return err
				}
			}
			if buf = AppendResult(buf[:0], "", r.ID, &s); rooms && r.Peer != "" {
				buf = slices.Insert(buf, len("<result"), author(r.Peer)...)
			}
			if err := put(buf); err != nil {
				return err
			}
		}
		if !more {
			if begun {
				return put([]byte("</archive>"))
			}
			return nil
		}
	}
}

// Imported reads a <result/> of an export, and places it. Its id is the one that it has, if that is one of ours, else
// one made of its time. Without ok it has been refused.
func Imported(in *router.Incoming) (s *xmpp.Stanza, id uint64, ok bool) {
	el := in.Element
	forwarded := el.Child(xmpp.Name{Space: xmpp.NSForward, Local: "forwarded"})
	if el.Name.Local != "result" || forwarded == nil {
		in.Refuse("an archived message that is none")
		return nil, 0, false
	}
	message := forwarded.Child(xmpp.Name{Space: xmpp.NSClient, Local: "message"})
	delay := forwarded.Child(xmpp.Name{Space: xmpp.NSDelay, Local: "delay"})
	if message == nil || delay == nil {
		in.Refuse("an archived message without a message or a time")
		return nil, 0, false
	}
	at, err := xmpp.ParseTime(delay.Attr("stamp"))
	now := time.Now()
	if err != nil || at.After(now.Add(time.Hour)) || at.Unix() < 1 {
		in.Refuse("an archived message whose time is none, or has not come yet")
		return nil, 0, false
	}
	stanza, err := xmpp.StanzaOf(message)
	if err != nil {
		in.Refuse("%v", err)
		return nil, 0, false
	}
	id = storage.IDAt(at)
	if own, ours := parseID(el.Attr("id")); ours && timeOf(own).Equal(at) {
		id = own
	}
	return &stanza, in.Place(id), true
}
