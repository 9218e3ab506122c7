package portable

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
)

// A value is one as Lua writes it: what Prosody keeps is a program that does nothing but return one, or hand several to
// a function. It is read here, and never run.
type value struct {
	kind  valueKind
	truth bool
	num   float64
	text  string
	pairs []pair // of a table, in the order of the file
}

type valueKind uint8

const (
	noValue valueKind = iota
	truth
	number
	text
	table
)

type pair struct{ key, value value }

// get returns what a table has under a name.
func (v value) get(name string) value {
	for _, p := range v.pairs {
		if p.key.kind == text && p.key.text == name {
			return p.value
		}
	}
	return value{}
}

// list returns what a table has under numbers, in their order.
func (v value) list() (all []value) {
	var some []pair
	for _, p := range v.pairs {
		if p.key.kind == number {
			some = append(some, p)
		}
	}
	slices.SortStableFunc(some, func(a, b pair) int { return cmp.Compare(a.key.num, b.key.num) })
	for _, p := range some {
		all = append(all, p.value)
	}
	return all
}

// String is the value as text; empty for a table.
func (v value) String() string {
	switch v.kind {
	case text:
		return v.text
	case number:
		return strconv.FormatFloat(v.num, 'f', -1, 64)
	case truth:
		return strconv.FormatBool(v.truth)
	}
	return ""
}

// What one value may have.
const (
	maxLuaBytes  = 16 << 20
	maxLuaValues = 500_000
	maxLuaDepth  = 100
)

// A luaReader reads values from a file.
type luaReader struct {
	in     *bufio.Reader
	held   []byte // given back, the last one first
	line   int
	bytes  int // of the value so far
	values int
}

func newLuaReader(in io.Reader) *luaReader {
	return &luaReader{in: bufio.NewReaderSize(in, 32<<10), line: 1}
}

func (r *luaReader) fail(format string, args ...any) error {
	return &syntaxError{r.line, fmt.Sprintf(format, args...)}
}

func (r *luaReader) next() (byte, error) {
	var c byte
	if n := len(r.held); n > 0 {
		c, r.held = r.held[n-1], r.held[:n-1]
	} else {
		var err error
		if c, err = r.in.ReadByte(); errors.Is(err, io.EOF) {
			return 0, io.ErrUnexpectedEOF
		} else if err != nil {
			return 0, err
		}
	}
	if c == '\n' {
		r.line++
	}
	if r.bytes++; r.bytes > maxLuaBytes {
		return 0, r.fail("a value of more than %d bytes", maxLuaBytes)
	}
	return c, nil
}

func (r *luaReader) back(c byte) {
	r.held = append(r.held, c)
	r.bytes--
	if c == '\n' {
		r.line--
	}
}

// skip returns the first byte that is no space, and no part of a comment.
func (r *luaReader) skip() (byte, error) {
	for {
		c, err := r.next()
		switch {
		case err != nil:
			return 0, err
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			continue
		case c != '-':
			return c, nil
		}
		next, err := r.next()
		if err != nil {
			return 0, err
		}
		if next != '-' {
			r.back(next)
			return c, nil
		}
		for c != '\n' {
			if c, err = r.next(); err != nil {
				return 0, err
			}
		}
	}
}

func (r *luaReader) expect(want byte) error {
	c, err := r.skip()
	if err == nil && c != want {
		err = r.fail("%q where %q should be: this is not what Prosody writes", c, want)
	}
	return err
}

// word reads the rest of a name or number that begins with c.
func (r *luaReader) word(c byte) (string, error) {
	b := []byte{c}
	for {
		c, err := r.next()
		if err != nil {
			return string(b), err
		}
		if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c == '.' ||
			(c == '+' || c == '-') && (b[len(b)-1] == 'e' || b[len(b)-1] == 'E')) {
			r.back(c)
			return string(b), nil
		}
		if b = append(b, c); len(b) > 200 {
			return "", r.fail("a name of more than 200 bytes")
		}
	}
}

// returned reads "return VALUE;", which is all of a file; false is for an empty one.
func (r *luaReader) returned() (v value, ok bool, err error) {
	c, err := r.skip()
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return v, false, nil
	}
	if err != nil {
		return v, false, err
	}
	if w, err := r.word(c); err != nil || w != "return" {
		return v, false, r.fail("this is not what Prosody writes")
	}
	v, err = r.value(0)
	return v, err == nil, r.cut(err)
}

// items calls f with each VALUE of "item(VALUE);".
func (r *luaReader) items(f func(value) error) error {
	for {
		r.bytes, r.values = 0, 0
		c, err := r.skip()
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if c == ';' {
			continue
		}
		if w, err := r.word(c); err != nil || w != "item" {
			return r.cut(cmp.Or(err, r.fail("this is not what Prosody writes")))
		}
		if err := r.expect('('); err != nil {
			return r.cut(err)
		}
		v, err := r.value(0)
		if err == nil {
			err = r.expect(')')
		}
		if err != nil {
			return r.cut(err)
		}
		if err := f(v); err != nil {
			return err
		}
	}
}

func (r *luaReader) cut(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return r.fail("the file ends in the middle: it was cut off")
	}
	return err
}

func (r *luaReader) value(depth int) (v value, err error) {
	if r.values++; r.values > maxLuaValues {
		return v, r.fail("more than %d values in one", maxLuaValues)
	}
	if depth > maxLuaDepth {
		return v, r.fail("tables in tables, more than %d deep", maxLuaDepth)
	}
	c, err := r.skip()
	switch {
	case err != nil:
		return v, err
	case c == '{':
		return r.table(depth)
	case c == '"' || c == '\'':
		v.kind = text
		v.text, err = r.text(c)
		return v, err
	case c == '(': // a number that is none, such as (0/0)
		for c != ')' && err == nil {
			c, err = r.next()
		}
		return v, err
	}
	w, err := r.word(c)
	if err != nil {
		return v, err
	}
	switch w {
	case "nil":
		return v, nil
	case "true", "false":
		return value{kind: truth, truth: w == "true"}, nil
	}
	n, err := strconv.ParseFloat(w, 64)
	if err != nil {
		return v, r.fail("%.40q is no value: this is not what Prosody writes", w)
	}
	return value{kind: number, num: n}, nil
}

func (r *luaReader) table(depth int) (v value, err error) {
	v.kind = table
	for n := 1; ; {
		c, err := r.skip()
		switch {
		case err != nil:
			return v, err
		case c == '}':
			return v, nil
		case c == ',' || c == ';':
			continue
		}
		var p pair
		switch {
		case c == '[':
			if p.key, err = r.value(depth + 1); err == nil {
				if err = r.expect(']'); err == nil {
					err = r.expect('=')
				}
			}
		case c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
			var w string
			if w, err = r.word(c); err != nil {
				return v, err
			}
			if w == "true" || w == "false" || w == "nil" {
				if p.key = (value{kind: number, num: float64(n)}); w != "nil" {
					p.value = value{kind: truth, truth: w == "true"}
				}
				n++
				v.pairs = append(v.pairs, p)
				continue
			}
			p.key = value{kind: text, text: w}
			err = r.expect('=')
		default:
			r.back(c)
			p.key = value{kind: number, num: float64(n)}
			n++
		}
		if err == nil {
			p.value, err = r.value(depth + 1)
		}
		if err != nil {
			return v, err
		}
		v.pairs = append(v.pairs, p)
	}
}

// text reads up to the quote.
func (r *luaReader) text(quote byte) (string, error) {
	var b bytes.Buffer
	for {
		c, err := r.next()
		switch {
		case err != nil:
			return "", err
		case c == quote:
			return b.String(), nil
		case c != '\\':
			b.WriteByte(c)
			continue
		}
		if c, err = r.next(); err != nil {
			return "", err
		}
		switch {
		case c >= '0' && c <= '9':
			n := int(c - '0')
			for range 2 {
				if c, err = r.next(); err != nil {
					return "", err
				}
				if c < '0' || c > '9' {
					r.back(c)
					break
				}
				n = 10*n + int(c-'0')
			}
			if n > 255 {
				return "", r.fail("a byte of %d", n)
			}
			b.WriteByte(byte(n))
		case bytes.IndexByte([]byte("abfnrtv"), c) >= 0:
			b.WriteByte("\a\b\f\n\r\t\v"[bytes.IndexByte([]byte("abfnrtv"), c)])
		default: // a quote, a backslash, the end of a line
			b.WriteByte(c)
		}
	}
}
