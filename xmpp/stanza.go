// Package xmpp is the vocabulary of the server: stanzas (RFC 6120 §8), their errors (§8.3), the elements they carry,
// the names of namespaces, and a small writer of XML.
//
// A [Stanza] is a parsed head around a payload that stays the very bytes received: routing rewrites the head and copies
// the payload. Whoever must look inside asks for [Stanza.Child] and gets an [Element], parsed then and only then.
//
// Everything here is plain data: no sockets, no goroutines, no locks. Framing, validation and limits are the work of
// package stream; addresses that of package jid. Comments, processing instructions, document types and CDATA sections
// have no place in XMPP (RFC 6120 §11.1) or are rewritten by the scanner, so nothing here knows of them.
package xmpp

import (
	"bytes"

	"jackdaw/xmpp/jid"
)

// Name is an expanded name (Namespaces in XML 1.0 §2.1). The content namespace of every stream is given as NSClient;
// the scanner sees to it.
type Name struct{ Space, Local string }

// Kind tells the three stanzas of RFC 6120 §8.2 apart. The zero value is none of them.
type Kind uint8

// The kinds of stanza.
const (
	Message Kind = iota + 1
	Presence
	IQ
)

// String returns the element's name, or the empty string for no kind.
func (k Kind) String() string {
	switch k {
	case Message:
		return "message"
	case Presence:
		return "presence"
	case IQ:
		return "iq"
	}
	return ""
}

// KindOf returns the kind of a stanza whose element has this local name, or zero.
func KindOf[T ~string | ~[]byte](local T) Kind {
	switch string(local) {
	case "message":
		return Message
	case "presence":
		return Presence
	case "iq":
		return IQ
	}
	return 0
}

// Type is the type attribute of a stanza. The zero value is "no attribute": a normal message, an available presence.
type Type uint8

// The types of RFC 6121 §5.2.2 (message), §4.7.1 (presence) and RFC 6120 §8.2.3 (iq).
const (
	TypeNormal Type = iota // message without the attribute, with "normal", or with a value not known
	TypeChat
	TypeGroupchat
	TypeHeadline
	TypeError // of all three kinds
	TypeUnavailable
	TypeSubscribe
	TypeSubscribed
	TypeUnsubscribe
	TypeUnsubscribed
	TypeProbe
	TypeGet
	TypeSet
	TypeResult
	TypeInvalid // presence or iq with a value that the RFC does not know, and iq without one

	TypeAvailable = TypeNormal // presence without the attribute
)

var typeNames = [...]string{
	TypeChat: "chat", TypeGroupchat: "groupchat", TypeHeadline: "headline", TypeError: "error",
	TypeUnavailable: "unavailable", TypeSubscribe: "subscribe", TypeSubscribed: "subscribed",
	TypeUnsubscribe: "unsubscribe", TypeUnsubscribed: "unsubscribed", TypeProbe: "probe",
	TypeGet: "get", TypeSet: "set", TypeResult: "result", TypeInvalid: "",
}

// String returns the attribute's value, empty where the attribute is left out.
func (t Type) String() string {
	if int(t) < len(typeNames) {
		return typeNames[t]
	}
	return ""
}

// TypeOf reads the type attribute of a stanza of kind k; an absent attribute is the empty string.
func TypeOf[T ~string | ~[]byte](k Kind, attr T) Type {
	var t Type
	switch string(attr) {
	case "chat":
		t = TypeChat
	case "groupchat":
		t = TypeGroupchat
	case "headline":
		t = TypeHeadline
	case "error":
		return TypeError
	case "unavailable":
		t = TypeUnavailable
	case "subscribe":
		t = TypeSubscribe
	case "subscribed":
		t = TypeSubscribed
	case "unsubscribe":
		t = TypeUnsubscribe
	case "unsubscribed":
		t = TypeUnsubscribed
	case "probe":
		t = TypeProbe
	case "get":
		t = TypeGet
	case "set":
		t = TypeSet
	case "result":
		t = TypeResult
	}
	switch k {
	case Message: // RFC 6121 §5.2.2: an unknown type is treated as normal
		if t > TypeHeadline {
			return TypeNormal
		}
		return t
	case Presence:
		if len(attr) == 0 || t >= TypeUnavailable && t <= TypeProbe {
			return t
		}
	case IQ:
		if t >= TypeGet && t <= TypeResult {
			return t
		}
	}
	return TypeInvalid
}

// Stanza is one message, presence or iq. It is immutable once handed over: to change it, make a new head around the
// same payload (copy the struct, assign its fields). Its byte slices are borrowed from the read buffer and valid only
// until the call that received the stanza returns; Clone what must be kept. Safe for concurrent readers.
type Stanza struct {
	Kind Kind
	Type Type
	ID   string // empty: no attribute
	Lang string // xml:lang of the head
	From jid.JID
	To   jid.JID

	// Attrs holds every other attribute of the head as written, with a leading space each, and the namespace
	// declarations that those need. Usually nil.
	Attrs []byte

	// Payload holds the children as XML. It is self-contained: no prefix is declared outside, no CDATA section is
	// inside; elements without xmlns are in the stream's content namespace.
	Payload []byte

	// Children is the index of the elements at the top of Payload, in order. The scanner fills it; where it is nil it
	// is built for each question, so that a stanza stays immutable.
	Children []Child
}

// Child is an element at the top of a payload, which is Payload[Start:End].
type Child struct {
	Name       Name
	Start, End int
}

func (s *Stanza) index() []Child {
	if s.Children != nil || len(s.Payload) == 0 {
		return s.Children
	}
	return Index(s.Payload)
}

// Has reports whether the payload has a child of this name.
func (s *Stanza) Has(n Name) bool { return s.ChildBytes(n) != nil }

// ChildBytes returns the first child of this name as written, or nil. The bytes are borrowed from the payload.
func (s *Stanza) ChildBytes(n Name) []byte {
	for _, c := range s.index() {
		if c.Name == n {
			return s.Payload[c.Start:c.End:c.End]
		}
	}
	return nil
}

// Child parses the first child of this name, or returns nil. The element owns its memory.
func (s *Stanza) Child(n Name) *Element {
	b := s.ChildBytes(n)
	if b == nil {
		return nil
	}
	e, err := ParseElement(b)
	if err != nil { // only a payload that never went through the scanner
		return nil
	}
	return e
}

// First returns the name of the first child: of an iq request, the payload that decides who answers (RFC 6120 §8.2.3).
func (s *Stanza) First() (Name, bool) {
	if ix := s.index(); len(ix) > 0 {
		return ix[0].Name, true
	}
	return Name{}, false
}

// IsRequest reports whether this is an iq that must be answered (RFC 6120 §8.2.3).
func (s *Stanza) IsRequest() bool { return s.Kind == IQ && (s.Type == TypeGet || s.Type == TypeSet) }

// IsAnswer reports whether this is an iq of type result or error.
func (s *Stanza) IsAnswer() bool {
	return s.Kind == IQ && (s.Type == TypeResult || s.Type == TypeError)
}

// Append appends the whole stanza as XML to dst.
func (s *Stanza) Append(dst []byte) []byte { return s.append(s.appendOpen(dst, "")) }

// AppendQualified appends the whole stanza with xmlns='jabber:client' on it, for places where that is not the default:
// forwarded stanzas (XEP-0297) and WebSocket frames (RFC 7395 §3.3.3).
func (s *Stanza) AppendQualified(dst []byte) []byte { return s.append(s.appendOpen(dst, NSClient)) }

func (s *Stanza) append(dst []byte) []byte {
	if len(s.Payload) == 0 {
		return append(dst, '/', '>')
	}
	dst = append(dst, '>')
	dst = append(dst, s.Payload...)
	return s.AppendTail(dst)
}

// AppendHead appends the open tag up to and with '>'. With AppendTail and a payload serialised once it makes the copies
// of a fan-out.
func (s *Stanza) AppendHead(dst []byte) []byte { return append(s.appendOpen(dst, ""), '>') }

// AppendTail appends the end tag.
func (s *Stanza) AppendTail(dst []byte) []byte {
	dst = append(dst, '<', '/')
	dst = append(dst, s.Kind.String()...)
	return append(dst, '>')
}

func (s *Stanza) appendOpen(dst []byte, space string) []byte {
	dst = append(dst, '<')
	dst = append(dst, s.Kind.String()...)
	if space != "" {
		dst = append(dst, " xmlns='"...)
		dst = append(append(dst, space...), '\'')
	}
	if t := s.Type.String(); t != "" {
		dst = append(dst, " type='"...)
		dst = append(dst, t...)
		dst = append(dst, '\'')
	}
	if s.ID != "" {
		dst = append(dst, " id='"...)
		dst = append(AppendAttr(dst, s.ID), '\'')
	}
	if !s.From.IsZero() {
		dst = append(dst, " from='"...)
		dst = append(AppendAttr(dst, s.From.String()), '\'')
	}
	if !s.To.IsZero() {
		dst = append(dst, " to='"...)
		dst = append(AppendAttr(dst, s.To.String()), '\'')
	}
	if s.Lang != "" {
		dst = append(dst, " xml:lang='"...)
		dst = append(AppendAttr(dst, s.Lang), '\'')
	}
	return append(dst, s.Attrs...)
}

// Clone returns a copy that owns its memory.
func (s *Stanza) Clone() Stanza {
	c := *s
	if n := len(s.Attrs) + len(s.Payload); n > 0 {
		b := make([]byte, n)
		k := copy(b, s.Attrs)
		copy(b[k:], s.Payload)
		c.Attrs, c.Payload = b[:k:k], b[k:]
		if k == 0 {
			c.Attrs = nil
		}
	}
	if s.Children != nil {
		c.Children = append(make([]Child, 0, len(s.Children)), s.Children...)
	}
	return c
}

// Result returns the answer to an iq request: addresses swapped, the same id (RFC 6120 §8.2.3). The payload may be nil.
func (s *Stanza) Result(payload []byte) Stanza {
	return Stanza{Kind: s.Kind, Type: TypeResult, ID: s.ID, From: s.To, To: s.From, Payload: payload}
}

// ErrorReply returns the stanza that tells the sender of s that e happened (RFC 6120 §8.3). The original payload is not
// echoed, as §8.3.1 allows. An error must not be answered with an error: check s.Type first.
func (s *Stanza) ErrorReply(e *Error) Stanza {
	return Stanza{Kind: s.Kind, Type: TypeError, ID: s.ID, From: s.To, To: s.From, Payload: e.Append(nil)}
}

// Err returns the error that a stanza of type error carries, or nil for any other stanza. An error without a readable
// <error/> child counts as undefined-condition.
func (s *Stanza) Err() *Error {
	if s.Type != TypeError {
		return nil
	}
	if e := ParseError(s.Child(Name{NSClient, "error"})); e != nil {
		return e
	}
	return UndefinedCondition("")
}

// WithPayload returns the same head around another payload.
func (s *Stanza) WithPayload(p []byte) Stanza {
	c := *s
	c.Payload, c.Children = p, nil
	return c
}

// WithAdded returns the same head around a new payload: that of s and then the given elements, each as XML.
func (s *Stanza) WithAdded(children ...[]byte) Stanza {
	n := len(s.Payload)
	for _, c := range children {
		n += len(c)
	}
	p := append(make([]byte, 0, n), s.Payload...)
	return s.WithPayload(append(p, bytes.Join(children, nil)...))
}

// Without returns the payload without the children of these names. The bytes are the payload itself, borrowed, where it
// has none of them, else a copy.
func (s *Stanza) Without(drop ...Name) []byte { return s.WithoutFunc(nameIn(drop)) }

// WithoutFunc returns the payload without the children that drop reports true for, as Without does.
func (s *Stanza) WithoutFunc(drop func(c Child, raw []byte) bool) []byte {
	var out []byte
	last := 0
	for _, c := range s.index() {
		if !drop(c, s.Payload[c.Start:c.End]) {
			continue
		}
		if out == nil {
			out = make([]byte, 0, len(s.Payload)-(c.End-c.Start))
		}
		out = append(out, s.Payload[last:c.Start]...)
		last = c.End
	}
	if out == nil {
		return s.Payload
	}
	return append(out, s.Payload[last:]...)
}

func nameIn(names []Name) func(Child, []byte) bool {
	return func(c Child, _ []byte) bool {
		for _, n := range names {
			if c.Name == n {
				return true
			}
		}
		return false
	}
}
