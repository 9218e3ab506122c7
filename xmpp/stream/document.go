package stream

import (
	"bytes"
	"errors"

	"jackdaw/xmpp"
)

// ParseStanza reads a document that is one stanza in the namespace jabber:client or in none: optional byte-order mark
// and XML declaration, white space around. Its addresses may be missing; one that is not valid is refused as
// improper-addressing. A root that is no stanza gives ErrNotStanza. The stanza's payload is borrowed from b where it
// did not have to be rewritten.
func ParseStanza(b []byte, l Limits) (*xmpp.Stanza, error) {
	s := Scanner{limits: l.orDefault(), mode: inDocument, implied: ""}
	defer s.Release()
	item, err := s.document(b, true)
	if err != nil {
		return nil, err
	}
	if item != ItemStanza {
		return nil, ErrNotStanza
	}
	w := s.w
	if w.badTo || w.badFrom {
		what := "'to' that is not an address"
		if w.badFrom {
			what = "'from' that is not an address"
		}
		e := fail(w.start, ImproperAddressing, what)
		e.locate(b, w.start)
		return nil, e
	}
	st := w.stanza
	if st.Children != nil {
		st.Children = append([]xmpp.Child(nil), st.Children...)
	}
	st.Attrs = bytes.Clone(st.Attrs)
	if len(w.edits) > 0 {
		st.Payload = bytes.Clone(st.Payload)
	}
	return &st, nil
}

// ErrNotStanza says that a document is well-formed and its root is not a message, presence or iq.
var ErrNotStanza = errors.New("the root element is not a stanza")

// ParseContent reads elements and text on their own and returns them as a payload: they cannot leave the element they
// are put into, nor use prefixes of it. Elements without xmlns are in the content namespace. The result is borrowed
// from b where it did not have to be rewritten.
func ParseContent(b []byte, l Limits) (payload []byte, err error) {
	s := Scanner{limits: l.orDefault(), mode: inContent, content: xmpp.NSClient, implied: xmpp.NSClient}
	w := s.scratch()
	w.begin()
	w.level, w.state = 0, inText
	defer s.Release()
	if len(b) > s.limits.Bytes {
		return nil, s.refuse(b, fail(s.limits.Bytes, PolicyViolation, "larger than allowed"))
	}
	_, _, bad := s.run(b)
	if bad == nil && (w.state != inText || w.pos != len(b) || len(w.stack) > 0) {
		bad = fail(len(b), NotWellFormed, "end inside an element")
	}
	if bad == nil {
		bad = s.fits(len(b))
	}
	if bad != nil {
		return nil, s.refuse(b, bad)
	}
	payload = w.contained(b, span{0, len(b)})
	if len(w.edits) > 0 {
		payload = bytes.Clone(payload)
	}
	w.state = between
	return payload, nil
}

// Frame reads a document that is one element, as a WebSocket message brings it (RFC 7395 §3.3): a stanza if its
// namespace is jabber:client, else ItemElement. Results are those of Scan. Frame and Scan do not mix on one Scanner.
func (s *Scanner) Frame(doc []byte) (ItemKind, error) {
	if s.err != nil {
		return ItemNone, s.err
	}
	s.mode = inDocument
	s.base, s.moved = 0, false
	return s.document(doc, false)
}

// document scans the whole of b as one element. With bare, a root without a namespace and all below it without one
// counts as being in the content namespace.
func (s *Scanner) document(b []byte, bare bool) (ItemKind, error) {
	if s.limits.Bytes == 0 {
		s.limits = s.limits.orDefault()
	}
	w := s.scratch()
	w.begin()
	w.state = atStart
	s.content, s.implied = xmpp.NSClient, ""
	s.bare = bare
	if class[first(b)]&isSpace != 0 {
		s.moved = true
	}
	item, end, bad := s.run(b[:min(len(b), s.limits.Bytes)])
	switch {
	case bad != nil:
	case item == ItemNone && len(b) > s.limits.Bytes:
		bad = fail(s.limits.Bytes, PolicyViolation, "element larger than allowed")
	case item == ItemNone:
		bad = fail(len(b), NotWellFormed, "end inside the document")
	default:
		for ; end < len(b); end++ {
			if class[b[end]]&isSpace == 0 {
				bad = trailer(b, end)
				break
			}
		}
	}
	if bad != nil {
		return ItemNone, s.refuse(b, bad)
	}
	w.state = between
	return item, nil
}

func first(b []byte) byte {
	if len(b) == 0 {
		return 0
	}
	return b[0]
}

// trailer is the error for something behind the root element.
func trailer(b []byte, at int) *SyntaxError {
	if b[at] == '<' && at+1 < len(b) && (b[at+1] == '!' || b[at+1] == '?') {
		return fail(at, RestrictedXML, "comment or processing instruction")
	}
	return fail(at, NotWellFormed, "more than one root element")
}
