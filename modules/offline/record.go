package offline

import (
	"encoding/binary"
	"errors"
	"time"

	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// recordVersion is the first byte of a record: the layout of appendRecord.
const recordVersion = 1

var errRecord = errors.New("record of a message that cannot be read")

// Flags, added to the type. An earlier version takes a record with trackedBy for one of a type that it does not know,
// and brings it all the same.
const (
	// settledID says that the message has the stanza-id that it is to have, or is to have none: the record's own is not
	// added.
	settledID = 0x80
	// trackedBy says that its sender asks what becomes of it (router.Envelope.Tracked).
	trackedBy = 0x40
)

func flagsOf(settled, tracked bool) (flags byte) {
	if settled {
		flags |= settledID
	}
	if tracked {
		flags |= trackedBy
	}
	return flags
}

// appendRecord appends a message as it is stored: version, type, then id, lang, from, to and attributes each with its
// length before it, then the payload up to the end.
func appendRecord(dst []byte, s *xmpp.Stanza, payload []byte, flags byte) []byte {
	dst = append(dst, recordVersion, byte(s.Type)|flags)
	for _, field := range [...]string{s.ID, s.Lang, s.From.String(), s.To.String()} {
		dst = binary.AppendUvarint(dst, uint64(len(field)))
		dst = append(dst, field...)
	}
	dst = binary.AppendUvarint(dst, uint64(len(s.Attrs)))
	dst = append(dst, s.Attrs...)
	return append(dst, payload...)
}

// readRecord reads what appendRecord wrote. The payload of the stanza borrows from b.
func readRecord(b []byte) (s xmpp.Stanza, flags byte, err error) {
	if len(b) < 2 || b[0] != recordVersion {
		return s, 0, errRecord
	}
	flags = b[1] & (settledID | trackedBy)
	s.Kind, s.Type = xmpp.Message, xmpp.Type(b[1]&^flags)
	b = b[2:]
	var fields [5][]byte
	for i := range fields {
		n, k := binary.Uvarint(b)
		if k <= 0 || n > uint64(len(b)-k) {
			return s, 0, errRecord
		}
		fields[i], b = b[k:k+int(n):k+int(n)], b[k+int(n):]
	}
	s.ID, s.Lang = string(fields[0]), string(fields[1])
	if s.From, err = readJID(fields[2]); err != nil {
		return s, 0, errRecord
	}
	if s.To, err = readJID(fields[3]); err != nil {
		return s, 0, errRecord
	}
	if len(fields[4]) > 0 {
		s.Attrs = fields[4]
	}
	s.Payload = b
	return s, flags, nil
}

// readJID reads an address or nothing: a message to the sender's own account has no 'to'.
func readJID(b []byte) (j jid.JID, err error) {
	if len(b) == 0 {
		return j, nil
	}
	return jid.ParseBytes(b)
}

// appendDelay appends since when the host has had the message (XEP-0203 §3).
func appendDelay(dst []byte, host string, since time.Time) []byte {
	dst = append(dst, "<delay xmlns='urn:xmpp:delay' from='"...)
	dst = xmpp.AppendAttr(dst, host)
	dst = append(dst, "' stamp='"...)
	dst = xmpp.AppendTime(dst, since)
	return append(dst, "'/>"...)
}

// withoutStanzaID is the payload without the ids that this account has given.
func withoutStanzaID(s *xmpp.Stanza, owner string) []byte {
	return s.WithoutFunc(func(c xmpp.Child, raw []byte) bool {
		if c.Name != (xmpp.Name{Space: xmpp.NSStanzaID, Local: "stanza-id"}) {
			return false
		}
		e, err := xmpp.ParseElement(raw)
		return err == nil && e.Attr("by") == owner
	})
}

// worthKeeping says whether a message may wait for its recipient: type normal or chat, not nothing but a chat state
// (XEP-0160 §3), nor asking not to be stored (XEP-0334 §4.2). A message with <no-permanent-store/> is kept: §3.3 has
// offline storage in mind.
func worthKeeping(s *xmpp.Stanza) bool {
	if !router.Storable(s) {
		return false
	}
	children := s.Children
	if children == nil {
		children = xmpp.Index(s.Payload)
	}
	var state, other, noStore, store bool
	for _, c := range children {
		switch c.Name.Space {
		case xmpp.NSHints:
			noStore = noStore || c.Name.Local == "no-store"
			store = store || c.Name.Local == "store" // XEP-0334 §4.4
		case xmpp.NSChatStates:
			state = true
		case xmpp.NSStanzaID, xmpp.NSDelay:
		case xmpp.NSClient:
			other = other || c.Name.Local != "thread" // XEP-0085 §5.6: goes with a state
		default:
			other = true
		}
	}
	return store || !noStore && (other || !state)
}

// speaks says whether a message says something to its reader.
func speaks(s *xmpp.Stanza) bool {
	children := s.Children
	if children == nil {
		children = xmpp.Index(s.Payload)
	}
	for _, c := range children {
		if c.Name.Space == xmpp.NSClient && c.Name.Local != "thread" || xmpp.Encrypted(c.Name) {
			return true
		}
	}
	return false
}
