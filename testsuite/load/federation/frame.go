package main

import (
	"bytes"
	"errors"
	"io"
)

// A framer cuts a stream into what stands at its top level: headers, elements, the end tag. It takes
// for granted that it reads well-formed XML of which no attribute holds a '>', as servers write it; that is what
// makes it cheap enough to count messages beside a server.
type framer struct {
	r          io.Reader
	buf        []byte
	start, end int // what has been read and not yet been given out
}

func newFramer(r io.Reader) *framer { return &framer{r: r, buf: make([]byte, 64<<10)} }

var errTooLong = errors.New("an element of more than 4 MiB")

// next returns the next item, which is valid until next is called again.
func (f *framer) next() ([]byte, error) {
	for {
		if item := f.buffered(); item != nil {
			return item, nil
		}
		if f.start > 0 {
			f.end = copy(f.buf, f.buf[f.start:f.end])
			f.start = 0
		}
		if f.end == len(f.buf) {
			if f.end >= 4<<20 {
				return nil, errTooLong
			}
			f.buf = append(f.buf, make([]byte, f.end)...)
		}
		n, err := f.r.Read(f.buf[f.end:])
		f.end += n
		if n == 0 && err != nil {
			return nil, err
		}
	}
}

// buffered is next for what needs no reading; nil where something does.
func (f *framer) buffered() []byte {
	for f.start < f.end && bytes.IndexByte([]byte(" \t\r\n"), f.buf[f.start]) >= 0 {
		f.start++
	}
	b := f.buf[f.start:f.end]
	n := itemLen(b)
	if n == 0 {
		return nil
	}
	f.start += n
	return b[:n]
}

var messageEnd = []byte("</message>")

// itemLen is the length of the item at the start of b; 0 where its end is not there. A stream header is an item by
// itself.
func itemLen(b []byte) int {
	gt := bytes.IndexByte(b, '>')
	if gt < 0 {
		return 0
	}
	switch {
	case is(b, "<?"):
		if n := itemLen(b[gt+1:]); n > 0 {
			return gt + 1 + n
		}
		return 0
	case is(b, "<stream:stream"), is(b, "</"), b[gt-1] == '/':
		return gt + 1
	case is(b, "<message "):
		if n := bytes.Index(b[gt:], messageEnd); n >= 0 {
			return gt + n + len(messageEnd)
		}
		return 0
	}
	for depth, at := 1, gt+1; ; {
		lt := bytes.IndexByte(b[at:], '<')
		if lt < 0 {
			return 0
		}
		lt += at
		gt := bytes.IndexByte(b[lt:], '>')
		if gt < 0 {
			return 0
		}
		gt += lt
		switch {
		case b[lt+1] == '/':
			depth--
		case b[gt-1] != '/':
			depth++
		}
		at = gt + 1
		if depth == 0 {
			return at
		}
	}
}

func is(b []byte, prefix string) bool {
	return len(b) >= len(prefix) && string(b[:len(prefix)]) == prefix
}

// isStanza says whether stream management counts an item (XEP-0198 §4).
func isStanza(item []byte) bool {
	return is(item, "<message") || is(item, "<iq") || is(item, "<presence")
}

// isError says whether it is a stanza of the type error.
func isError(item []byte) bool {
	gt := bytes.IndexByte(item, '>')
	return gt > 0 && (bytes.Contains(item[:gt], []byte("type='error'")) || bytes.Contains(item[:gt], []byte(`type="error"`)))
}
