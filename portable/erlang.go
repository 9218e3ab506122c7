package portable

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"
)

// A term is one of Erlang, as far as ejabberd keeps any: what is written of functions, processes and maps is read, and
// is an opaque one.
type term struct {
	kind termKind
	num  int64  // of a whole number
	text string // of an atom, or the bytes of a text
	list []term // of a tuple or a list
}

type termKind uint8

const (
	opaque termKind = iota
	atom
	whole
	bytesText // a binary, or a list of characters, which are the same here
	tuple
	list
)

// String is an atom, a text or a number as text; empty for the rest.
func (t term) String() string {
	if t.kind == whole {
		return strconv.FormatInt(t.num, 10)
	}
	return t.text
}

// at returns a part of a tuple or list, or an opaque term if there is none.
func (t term) at(i int) term {
	if i < len(t.list) {
		return t.list[i]
	}
	return term{}
}

// is says whether a term is a tuple that begins with an atom, as records do, and has so many parts beside.
func (t term) is(name string, parts int) bool {
	return t.kind == tuple && len(t.list) > parts && t.list[0].kind == atom && t.list[0].text == name
}

// get returns the value of {name, value} in a list.
func (t term) get(name string) term {
	for _, p := range t.list {
		if p.is(name, 1) {
			return p.list[1]
		}
	}
	return term{}
}

// What one term may have.
const (
	maxTermBytes = 16 << 20 // of texts, without the space between them
	maxTerms     = 500_000
	maxTermDepth = 300 // an element takes two
)

// An erlangReader reads terms from a text, each of which ends with a full stop, as file:consult does.
type erlangReader struct {
	in    *bufio.Reader
	line  int
	bytes int // of the term so far
	terms int
	buf   []byte
}

func newErlangReader(in io.Reader) *erlangReader {
	return &erlangReader{in: bufio.NewReaderSize(in, 64<<10), line: 1}
}

func (r *erlangReader) fail(format string, args ...any) error {
	return &syntaxError{r.line, fmt.Sprintf(format, args...)}
}

func (r *erlangReader) strange(c byte) error {
	return r.fail("%q where it should not be: this is not what ejabberdctl dump writes", c)
}

func (r *erlangReader) next() (byte, error) {
	c, err := r.in.ReadByte()
	switch {
	case errors.Is(err, io.EOF):
		return 0, r.fail("the file ends in the middle: it was cut off")
	case err != nil:
		return 0, err
	case c == '\n':
		r.line++
	}
	return c, nil
}

// keep counts what is kept of a term, before it is.
func (r *erlangReader) keep(n int) error {
	if r.bytes += n; r.bytes > maxTermBytes {
		return r.fail("a term of more than %d bytes", maxTermBytes)
	}
	return nil
}

// peek returns the next byte and leaves it; 0 at the end.
func (r *erlangReader) peek() byte {
	b, err := r.in.Peek(1)
	if err != nil {
		return 0 // whoever reads it gets the error
	}
	return b[0]
}

// skip returns the first byte that is no space, and no part of a comment.
func (r *erlangReader) skip() (byte, error) {
	for comment := false; ; {
		c, err := r.next()
		switch {
		case err != nil:
			return 0, err
		case c == '\n':
			comment = false
		case comment || c == ' ' || c == '\t' || c == '\r':
		case c == '%':
			comment = true
		default:
			return c, nil
		}
	}
}

// skipTo returns the byte that skip would, and leaves it.
func (r *erlangReader) skipTo() (byte, error) {
	c, err := r.skip()
	if err == nil {
		err = r.in.UnreadByte()
	}
	return c, err
}

func (r *erlangReader) expect(want byte) error {
	c, err := r.skip()
	if err == nil && c != want {
		err = r.strange(c)
	}
	return err
}

// read returns the next term; io.EOF behind the last.
func (r *erlangReader) read() (t term, err error) {
	r.bytes, r.terms = 0, 0
	for { // spaces before the end are no term that was cut off
		c := r.peek()
		if c == 0 {
			if _, err := r.in.ReadByte(); err != nil {
				return t, err
			}
			return t, r.strange(c)
		}
		if c != ' ' && c != '\n' && c != '\r' && c != '\t' {
			break
		}
		_, _ = r.next() // it was looked at
	}
	if t, err = r.term(0); err == nil {
		err = r.expect('.')
	}
	return t, err
}

func (r *erlangReader) term(depth int) (t term, err error) {
	if r.terms++; r.terms > maxTerms {
		return t, r.fail("more than %d terms in one", maxTerms)
	}
	if depth > maxTermDepth {
		return t, r.fail("terms in terms, more than %d deep", maxTermDepth)
	}
	c, err := r.skip()
	switch {
	case err != nil:
		return t, err
	case c == '{':
		t.kind = tuple
		t.list, err = r.several('}', depth)
		return t, err
	case c == '[':
		t.kind = list
		t.list, err = r.several(']', depth)
		return t, err
	case c == '"':
		t.kind = bytesText
		t.text, err = r.strings()
		return t, err
	case c == '\'':
		t.kind = atom
		t.text, err = r.quoted('\'')
		return t, err
	case c == '<' && r.peek() == '<':
		_, _ = r.next() // it was looked at
		t.kind = bytesText
		t.text, err = r.binary()
		return t, err
	case c == '<': // a process
		return t, r.until('>')
	case c == '#':
		return t, r.special(depth)
	case c == '-' || c >= '0' && c <= '9':
		return r.number(c)
	case c >= 'a' && c <= 'z':
		t.kind = atom
		t.text, err = r.word(c)
		return t, err
	}
	return t, r.strange(c)
}

// several reads what stands between commas, up to the end.
func (r *erlangReader) several(end byte, depth int) (all []term, err error) {
	if c, err := r.skipTo(); err != nil || c == end {
		_, _ = r.next() // it was looked at
		return nil, err
	}
	for {
		t, err := r.term(depth + 1)
		if err != nil {
			return nil, err
		}
		all = append(all, t)
		c, err := r.skip()
		switch {
		case err != nil:
			return nil, err
		case c == end:
			return all, nil
		case c != ',' && (c != '|' || end != ']'): // what is behind a bar ends a list that is none
			return nil, r.strange(c)
		}
	}
}

// word reads the rest of a name or number that begins with c.
func (r *erlangReader) word(c byte) (string, error) {
	b := append(r.buf[:0], c)
	for {
		c := r.peek()
		if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c == '@') {
			break
		}
		_, _ = r.next() // it was looked at
		if b = append(b, c); len(b) > 1000 {
			return "", r.fail("a name of more than 1000 bytes")
		}
	}
	r.buf = b
	return string(b), r.keep(len(b))
}

// number reads one that begins with c. What is no whole number of 64 bits is opaque.
func (r *erlangReader) number(c byte) (t term, err error) {
	w, err := r.word(c)
	if err != nil {
		return t, err
	}
	if two, err := r.in.Peek(2); err == nil && two[0] == '.' && two[1] >= '0' && two[1] <= '9' {
		_, _ = r.next() // it was looked at
		if w, err = r.word('.'); err != nil {
			return t, err
		}
		if c := r.peek(); w[len(w)-1] == 'e' && (c == '-' || c == '+') {
			_, _ = r.next() // it was looked at
			_, err = r.word(c)
		}
		return t, err
	}
	t.num, err = strconv.ParseInt(w, 10, 64)
	switch {
	case err == nil:
		t.kind = whole
	case !errors.Is(err, strconv.ErrRange):
		return t, r.fail("%.40q is no number", w)
	}
	return t, nil
}

// until passes over everything up to a byte.
func (r *erlangReader) until(end byte) error {
	for n := 0; ; n++ {
		c, err := r.next()
		if err != nil || c == end {
			return err
		}
		if n > 1000 {
			return r.fail("%q is missing", end)
		}
	}
}

// special passes over what begins with '#': a map, a function, a reference, a port.
func (r *erlangReader) special(depth int) error {
	c, err := r.next()
	if err != nil || c != '{' {
		return errors.Join(err, r.until('>'))
	}
	if c, err := r.skipTo(); err != nil || c == '}' {
		_, _ = r.next() // it was looked at
		return err
	}
	for {
		if _, err := r.term(depth + 1); err != nil {
			return err
		}
		if err := r.expect('='); err != nil {
			return err
		}
		if err := r.expect('>'); err != nil {
			return err
		}
		if _, err := r.term(depth + 1); err != nil {
			return err
		}
		switch c, err := r.skip(); {
		case err != nil || c == '}':
			return err
		case c != ',':
			return r.strange(c)
		}
	}
}

// strings reads a text behind its first quote, and those that follow it: long ones are written in pieces.
func (r *erlangReader) strings() (string, error) {
	var all []byte
	for {
		piece, err := r.quoted('"')
		if err != nil {
			return "", err
		}
		all = append(all, piece...)
		c, err := r.skipTo()
		if err != nil || c != '"' {
			return string(all), err
		}
		_, _ = r.next() // it was looked at
	}
}

// binary reads one behind its <<: texts and bytes in any order.
func (r *erlangReader) binary() (string, error) {
	var b []byte
	for {
		c, err := r.skip()
		switch {
		case err != nil:
			return "", err
		case c == '>':
			return string(b), r.expect('>')
		case c == ',':
		case c == '"':
			s, err := r.quoted('"')
			if err != nil {
				return "", err
			}
			b = append(b, s...)
		case c == '/': // the kind of the text before it
			if _, err := r.word(c); err != nil {
				return "", err
			}
			b = inUTF8(b)
		case c >= '0' && c <= '9':
			n := int(c - '0')
			for r.peek() >= '0' && r.peek() <= '9' && n < 256 {
				c, _ = r.next() // it was looked at
				n = 10*n + int(c-'0')
			}
			if n > 255 {
				return "", r.fail("a byte of more than 255")
			}
			if r.peek() == ':' { // the last one has not all its bits
				_, _ = r.next() // it was looked at
				if _, err := r.word(':'); err != nil {
					return "", err
				}
			}
			if err := r.keep(1); err != nil {
				return "", err
			}
			b = append(b, byte(n))
		default:
			return "", r.strange(c)
		}
	}
}

// inUTF8 makes characters of a text that was said to be made of them: the file may be in UTF-8 or in Latin-1.
func inUTF8(b []byte) []byte {
	if utf8.Valid(b) {
		return b
	}
	var out []byte
	for _, c := range b {
		out = utf8.AppendRune(out, rune(c))
	}
	return out
}

// quoted reads up to the quote.
func (r *erlangReader) quoted(quote byte) (string, error) {
	b := r.buf[:0]
	for {
		c, err := r.next()
		switch {
		case err != nil:
			return "", err
		case c == quote:
			r.buf = b
			return string(b), nil
		case c == '\\':
			b, err = r.escape(b)
		default:
			b = append(b, c)
		}
		if err == nil {
			err = r.keep(1)
		}
		if err != nil {
			return "", err
		}
	}
}

// escape appends what stands behind a backslash: a control character by its letter or number, or itself.
func (r *erlangReader) escape(b []byte) ([]byte, error) {
	c, err := r.next()
	if err != nil {
		return b, err
	}
	const letters, means = "bdefnrstv", "\b\x7f\x1b\f\n\r \t\v"
	digits, base := "", 8
	switch {
	case c == 'x' && r.peek() == '{':
		_, _ = r.next() // it was looked at
		for base = 16; ; digits += string(rune(c)) {
			if c, err = r.next(); err != nil || c == '}' || len(digits) > 8 {
				break
			}
		}
	case c == 'x':
		two := make([]byte, 2)
		_, err = io.ReadFull(r.in, two)
		digits, base = string(two), 16
	case c >= '0' && c <= '7':
		for digits = string(rune(c)); len(digits) < 3 && r.peek() >= '0' && r.peek() <= '7'; digits += string(rune(c)) {
			c, _ = r.next() // it was looked at
		}
	default:
		if i := bytes.IndexByte([]byte(letters), c); i >= 0 {
			c = means[i]
		}
		return append(b, c), nil
	}
	if err != nil {
		return b, err
	}
	n, err := strconv.ParseUint(digits, base, 21)
	switch {
	case err != nil:
		return b, r.fail("%.10q is no character", digits)
	case n < 256:
		return append(b, byte(n)), nil
	}
	return utf8.AppendRune(b, rune(n)), nil
}
