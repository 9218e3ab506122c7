package front

import (
	"bytes"
	"io"

	"jackdaw/xmpp"
	"jackdaw/xmpp/stream"
)

// mostHeard is how many bytes may be without saying whose they are. A stream of clients may begin with more, and then
// it is theirs.
const mostHeard = 4096

// longestMethod is more than any method of HTTP has (RFC 9110 §16.1.1).
const longestMethod = 20

// A hearing is what has been heard of a connection without ALPN.
type hearing struct {
	s    *Server
	b    []byte
	scan stream.Scanner // of a stream
	pos  int            // how far
}

// listen reads until it is clear whose the connection is; early is what has been read.
func (s *Server) listen(r io.Reader) (p *Protocol, early []byte, err error) {
	h := hearing{s: s, b: make([]byte, 0, mostHeard)}
	h.scan.Expect(xmpp.NSClient)
	defer h.scan.Release()
	for {
		n, err := r.Read(h.b[len(h.b):cap(h.b)])
		h.b = h.b[:len(h.b)+n]
		if p, ok := h.whose(); ok {
			if p == nil {
				return nil, nil, errForeign
			}
			return p, h.b, nil
		}
		if err != nil {
			return nil, nil, err
		}
	}
}

// whose says what protocol begins with these bytes, nil for none of ours; ok is false while that is not clear.
func (h *hearing) whose() (p *Protocol, ok bool) {
	full := len(h.b) == mostHeard
	for _, p := range h.s.o.Others {
		if p.Begins != nil && p.Begins(h.b) {
			return p, true
		}
	}
	text := bytes.TrimLeft(h.b, " \t\r\n")
	switch {
	case len(text) == 0:
		return nil, full
	case text[0] == '<':
		if p = h.stream(); p == nil && full {
			p = h.s.o.Clients
		}
		return p, p != nil
	}
	end := bytes.IndexFunc(text, func(r rune) bool { return r < 'A' || r > 'Z' })
	switch {
	case end > 0 && end <= longestMethod && text[end] == ' ':
		return h.s.o.Web, true
	case end < 0 && len(text) <= longestMethod:
		return nil, full
	}
	return nil, true
}

// stream says whose a stream is, once its header is there. What is wrong with it is for clients to be told.
func (h *hearing) stream() *Protocol {
	for h.pos < len(h.b) {
		item, n, err := h.scan.Scan(h.b[h.pos:])
		h.pos += n
		switch {
		case err == nil && item == stream.ItemNone:
			if n == 0 {
				return nil
			}
		case err == nil && item == stream.ItemHeader && h.scan.Header().Content == xmpp.NSServer && h.s.o.Peers != nil:
			return h.s.o.Peers
		default:
			return h.s.o.Clients
		}
	}
	return nil
}
