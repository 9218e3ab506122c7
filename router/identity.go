package router

import (
	"strconv"
	"sync"

	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// NoStanzaID as Fate.StanzaID: the account has an archive and the message is not in it. Clients take a stanza-id of the
// account for one of its archive (XEP-0313 §3.5), so it gets none.
const NoStanzaID = ^uint64(0)

// AppendStanzaID appends the id that an account, a bare address, gave a message (XEP-0359 §3).
func AppendStanzaID(dst []byte, owner string, id uint64) []byte {
	dst = append(dst, "<stanza-id xmlns='urn:xmpp:sid:0' by='"...)
	dst = xmpp.AppendAttr(dst, owner)
	dst = append(dst, "' id='"...)
	dst = strconv.AppendUint(dst, id, 10)
	return append(dst, "'/>"...)
}

// StanzaID is the id that an account gave a message, read from its stanza-id, 0 for none.
func StanzaID(s *xmpp.Stanza, owner string) uint64 {
	children := s.Children
	if children == nil {
		children = xmpp.Index(s.Payload)
	}
	for _, c := range children {
		if c.Name != stanzaID {
			continue
		}
		el, err := xmpp.ParseElement(s.Payload[c.Start:c.End])
		if err != nil || el.Attr("by") != owner {
			continue
		}
		if id, err := strconv.ParseUint(el.Attr("id"), 10, 64); err == nil {
			return id
		}
	}
	return 0
}

var (
	stanzaID = xmpp.Name{Space: xmpp.NSStanzaID, Local: "stanza-id"}
	originID = xmpp.Name{Space: xmpp.NSStanzaID, Local: "origin-id"}
)

// stamped is a stanza with an id. An envelope that is used again gives it back.
type stamped struct {
	stanza   xmpp.Stanza
	payload  []byte
	children []xmpp.Child
}

var stamps = sync.Pool{New: func() any { return new(stamped) }}

// maxStamp is how many bytes a stanza may have to be kept for the next one.
const maxStamp = 16 << 10

// Stamp gives the stanza the id under which the recipient's account, a bare address, knows it. It is called once for
// each envelope, and the stanza is valid until its Reset.
func (e *Envelope) Stamp(owner string, id uint64) {
	s := stamps.Get().(*stamped)
	children, end := e.Stanza.Children, len(e.Stanza.Payload)
	s.payload = AppendStanzaID(append(s.payload[:0], e.Stanza.Payload...), owner, id)
	s.stanza = e.Stanza.WithPayload(s.payload)
	if children != nil { // what comes later need not look for them again
		s.children = append(append(s.children[:0], children...), xmpp.Child{Name: stanzaID, Start: end, End: len(s.payload)})
		s.stanza.Children = s.children
	}
	e.Stanza, e.stamped = &s.stanza, s
}

// unstamp gives back what Stamp has taken.
func (e *Envelope) unstamp() {
	if s := e.stamped; s != nil && cap(s.payload) <= maxStamp {
		s.stanza = xmpp.Stanza{}
		stamps.Put(s)
	}
	e.stamped = nil
}

// maxOriginID is how many bytes of an origin-id are remembered; real ones have some 40.
const maxOriginID = 200

// DedupKey tells a message that is sent again after a crash or a failed resumption from a new one: by what the sender
// said (Dedup), else by the origin-id that the client gave it, which XEP-0359 §3.2 asks to be unique for the sender. A
// peer that lost its stream sends again too. It is empty for what cannot be told.
func (e *Envelope) DedupKey() string {
	if e.Dedup != "" || e.Session == nil && e.Peer == "" || e.Returned {
		return e.Dedup
	}
	if !e.keyed {
		e.keyed, e.key = true, keyOf(e.Stanza)
	}
	return e.key
}

// keyOf is the key of a message by its origin-id, "" for none.
func keyOf(s *xmpp.Stanza) string {
	raw := s.ChildBytes(originID)
	if raw == nil {
		return ""
	}
	id := xmpp.AttrOf(raw, "id")
	if id == "" || len(id) > maxOriginID {
		return ""
	}
	return OriginKey(s.From, id)
}

// OriginKey is the key of a message that this sender's client gave this origin-id.
func OriginKey(sender jid.JID, originID string) string {
	return "origin " + sender.Bare().String() + " " + originID
}
