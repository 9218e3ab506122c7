package stream

import "jackdaw/xmpp"

// AppendOpening appends a start tag that stands for the one which the scanner has read: another scanner that reads it,
// with the same Expect, takes what follows as this one would. It comes before Forget. A header that was framed (Frame,
// RFC 7395 §3.4) is written as it would be over TCP.
func (s *Scanner) AppendOpening(dst []byte) []byte {
	h := s.Header()
	name, around, outer := s.rootName, s.implied, s.outer
	if name == "" {
		name, around, outer = "stream:stream", h.Content, []binding{{"stream", xmpp.NSStream}}
	}
	dst = append(append(dst, '<'), name...)
	dst = appendDeclaration(dst, "", around)
	for _, b := range outer {
		dst = appendDeclaration(dst, b.prefix, b.uri)
	}
	dst = appendAttr(dst, "from", h.From.String())
	dst = appendAttr(dst, "to", h.To.String())
	dst = appendAttr(dst, "id", h.ID)
	dst = appendAttr(dst, "version", h.Version)
	dst = appendAttr(dst, "xml:lang", h.Lang)
	return append(dst, '>')
}
