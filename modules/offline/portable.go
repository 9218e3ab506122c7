package offline

import (
	"context"
	"strconv"
	"time"

	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

var (
	offlineMessages = xmpp.Name{Space: router.NSPie, Local: "offline-messages"}
	delayName       = xmpp.Name{Space: xmpp.NSDelay, Local: "delay"}
	stanzaIDName    = xmpp.Name{Space: xmpp.NSStanzaID, Local: "stanza-id"}
	// archivedName is of an old way to tell the id in an archive; COMPAT(ejabberd 23.01): it keeps messages with it.
	archivedName = xmpp.Name{Space: "urn:xmpp:mam:tmp", Local: "archived"}
	// keptName is what we say of a message beside the format: its id, and whether that is its stanza-id.
	keptName = xmpp.Name{Space: router.NSPortable, Local: "kept"}
)

// pageAtOnce is how many messages an export reads at once.
const pageAtOnce = 100

func (m *module) portable() []router.Portable {
	return []router.Portable{{
		Spaces: []string{"log offline"},
		Export: m.exported,
		Import: []router.Section{{Name: offlineMessages, What: "offline messages", Depth: 1, Import: m.imported}},
	}, {
		Spaces: []string{"map offline"}, Stays: "up to where this server has nothing in flight is about no account",
	}}
}

func (m *module) exported(ctx context.Context, user jid.JID, put func([]byte) error) error {
	until := storage.IDAt(time.Now()) + 1
	var buf []byte
	for after, begun := uint64(0), false; ; {
		page, more, err := m.store.Page(ctx, user.String(), storage.Query{After: after, Before: until, Limit: pageAtOnce})
		if err != nil {
			return err
		}
		for _, r := range page {
			after = r.ID
			s, flags, err := readRecord(r.Data)
			if err != nil {
				m.log.Warn("a message is not exported", "owner", user, "id", r.ID, "error", err)
				continue
			}
			if !begun {
				begun = true
				if err := put([]byte("<offline-messages>")); err != nil {
					return err
				}
			}
			w := xmpp.NewWriter(nil).Start(keptName.Space, keptName.Local).Attr("id", strconv.FormatUint(r.ID, 10))
			if flags&settledID != 0 {
				w.Attr("settled", "true")
			}
			s = s.WithAdded(appendDelay(nil, user.Domain(), r.Time()), w.End().Bytes())
			buf = s.AppendQualified(buf[:0])
			if err := put(buf); err != nil {
				return err
			}
		}
		if !more {
			if begun {
				return put([]byte("</offline-messages>"))
			}
			return nil
		}
	}
}

// imported stores a message under the time that it came. The delays that the other server has added go, since ours are
// added when the message is brought, and so do the ids of its archive: the messages get others in ours.
func (m *module) imported(ctx context.Context, in *router.Incoming) error {
	s, err := xmpp.StanzaOf(in.Element)
	switch {
	case err != nil:
		in.Refuse("%v", err)
		return nil
	case s.Kind != xmpp.Message:
		in.Refuse("a stanza that is no message")
		return nil
	}
	id, settled, owner := uint64(0), false, in.User.String()
	host := in.User.Domain()
	if kept := in.Element.Child(keptName); kept != nil {
		id, _ = strconv.ParseUint(kept.Attr("id"), 10, 63) // 0 counts as none
		settled = kept.Attr("settled") == "true"
	}
	when := time.Time{}
	for _, c := range in.Element.Children() {
		if c.Name == delayName && (when.IsZero() || c.Attr("from") == host) {
			if at, err := xmpp.ParseTime(c.Attr("stamp")); err == nil {
				when = at
			}
		}
	}
	now := time.Now()
	if id == 0 || storage.IDAt(now) < id {
		if settled = false; when.IsZero() || when.After(now) {
			when = now
		}
		id = storage.IDAt(when)
	}
	s.Payload = s.WithoutFunc(func(c xmpp.Child, raw []byte) bool {
		switch c.Name {
		case keptName, archivedName:
			return true
		case delayName, stanzaIDName:
			el, err := xmpp.ParseElement(raw)
			if err != nil {
				return true
			}
			return c.Name == delayName && (el.Attr("from") == host || !el.HasAttr("from")) ||
				c.Name == stanzaIDName && !settled && el.Attr("by") == owner
		}
		return false
	})
	if s.To.IsZero() {
		s.To = in.User
	}
	return in.Append(ctx, m.store, owner, storage.Record{ID: in.Place(id), Peer: m.router.Sharer(s.From),
		Data: appendRecord(nil, &s, s.Payload, flagsOf(settled, false))})
}
