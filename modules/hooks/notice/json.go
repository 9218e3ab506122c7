package notice

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Bounds of a JSON document, beside the bytes of the body: what it makes takes more room than its text.
const (
	maxDepth  = 64
	maxValues = 100_000
)

// ParseJSON reads one JSON document (RFC 8259): an Object, []any, string, json.Number, bool or nil, and the same
// inside. It takes what senders do wrong and others repair: a byte order mark, control characters in strings, such as
// raw ends of lines, and bytes that are not UTF-8, which become U+FFFD. Of two members with one name the last counts.
// Its error is a *Mistake.
func ParseJSON(b []byte) (any, error) {
	d := decoder{in: bytes.TrimPrefix(b, []byte("\uFEFF")), left: maxValues}
	v, err := d.value(0)
	if err == nil {
		if d.space(); d.at < len(d.in) {
			err = d.fault("something follows the document")
		}
	}
	if err != nil {
		return nil, err
	}
	return v, nil
}

// ParseObject is ParseJSON of a document that must be an object.
func ParseObject(b []byte) (Object, error) {
	v, err := ParseJSON(b)
	if err != nil {
		return nil, err
	}
	o, ok := v.(Object)
	if !ok {
		return nil, &Mistake{Status: 400, Text: "the JSON is not an object"}
	}
	return o, nil
}

// String is the text of a member: a string, or how a number or a boolean is written; "" of any other and of none.
func (o Object) String(name string) string { return Text(o[name]) }

// Object is a member that is an object, else nil, which has no members.
func (o Object) Object(name string) Object { x, _ := o[name].(Object); return x }

// List is a member that is a list, else nil.
func (o Object) List(name string) []any { x, _ := o[name].([]any); return x }

// Has says whether there is a member of that name, if only null.
func (o Object) Has(name string) bool { _, ok := o[name]; return ok }

// Int is a member that is a whole number, or a string that holds one.
func (o Object) Int(name string) (n int64, ok bool) {
	n, err := strconv.ParseInt(strings.TrimSpace(o.String(name)), 10, 64)
	return n, err == nil
}

// Text is the text of a value of ParseJSON, as Object.String is.
func Text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		return strconv.FormatBool(v)
	}
	return ""
}

// words are the values that are written as one.
var words = [...]struct {
	word string
	v    any
}{{"true", true}, {"false", false}, {"null", nil}}

type decoder struct {
	in   []byte
	at   int
	left int // values that may still come
}

func (d *decoder) fault(what string) error {
	line, column := 1, 1
	for _, r := range string(d.in[:min(d.at, len(d.in))]) {
		if column++; r == '\n' {
			line, column = line+1, 1
		}
	}
	return &Mistake{Status: 400,
		Text: fmt.Sprintf("the JSON is not well formed: %s at line %d, column %d", what, line, column)}
}

func (d *decoder) space() {
	for d.at < len(d.in) && strings.IndexByte(" \t\r\n", d.in[d.at]) >= 0 {
		d.at++
	}
}

// next skips white space and returns the byte behind it, 0 at the end.
func (d *decoder) next() byte {
	if d.space(); d.at < len(d.in) {
		return d.in[d.at]
	}
	return 0
}

func (d *decoder) value(depth int) (any, error) {
	if d.left--; d.left < 0 {
		return nil, &Mistake{Status: 413, Text: fmt.Sprintf("the JSON has more than %d values", maxValues)}
	}
	if depth > maxDepth {
		return nil, &Mistake{Status: 400, Text: fmt.Sprintf("the JSON is deeper than %d levels", maxDepth)}
	}
	switch c := d.next(); {
	case c == '{':
		return d.object(depth)
	case c == '[':
		return d.list(depth)
	case c == '"':
		return d.text()
	case c == '-' || c >= '0' && c <= '9':
		return d.number()
	}
	for _, one := range words {
		if bytes.HasPrefix(d.in[d.at:], []byte(one.word)) {
			d.at += len(one.word)
			return one.v, nil
		}
	}
	if d.at >= len(d.in) {
		return nil, d.fault("the end")
	}
	return nil, d.fault("no value")
}

func (d *decoder) object(depth int) (any, error) {
	o := Object{}
	d.at++
	if d.next() == '}' {
		d.at++
		return o, nil
	}
	for {
		if d.next() != '"' {
			return nil, d.fault("no name of a member")
		}
		name, err := d.text()
		if err != nil {
			return nil, err
		}
		if d.next() != ':' {
			return nil, d.fault("no colon behind a name")
		}
		d.at++
		if o[name], err = d.value(depth + 1); err != nil {
			return nil, err
		}
		more, err := d.more('}')
		if !more {
			return o, err
		}
	}
}

func (d *decoder) list(depth int) (any, error) {
	l := []any{}
	d.at++
	if d.next() == ']' {
		d.at++
		return l, nil
	}
	for {
		v, err := d.value(depth + 1)
		if err != nil {
			return nil, err
		}
		l = append(l, v)
		more, err := d.more(']')
		if !more {
			return l, err
		}
	}
}

// more reads what stands behind an element: a comma or the end.
func (d *decoder) more(end byte) (bool, error) {
	switch d.next() {
	case ',':
		d.at++
		return true, nil
	case end:
		d.at++
		return false, nil
	}
	return false, d.fault("neither a comma nor " + strconv.QuoteRune(rune(end)))
}

func (d *decoder) number() (any, error) {
	from := d.at
	for d.at < len(d.in) && strings.IndexByte("+-.0123456789eE", d.in[d.at]) >= 0 {
		d.at++
	}
	if n := d.in[from:d.at]; json.Valid(n) {
		return json.Number(n), nil
	}
	d.at = from
	return nil, d.fault("no number")
}

func (d *decoder) text() (string, error) {
	d.at++
	from := d.at
	for d.at < len(d.in) && d.in[d.at] != '"' && d.in[d.at] != '\\' {
		d.at++
	}
	b := d.in[from:d.at:d.at] // grows elsewhere
	for {
		if d.at >= len(d.in) {
			return "", d.fault("a string without its end")
		}
		c := d.in[d.at]
		d.at++
		switch c {
		case '"':
			return strings.ToValidUTF8(string(b), "\uFFFD"), nil
		case '\\':
			r, ok := d.escape()
			if !ok {
				return "", d.fault("no escape of a string")
			}
			b = utf8.AppendRune(b, r)
		default:
			b = append(b, c)
		}
	}
}

// escape reads what stands behind a backslash. Half of a pair of surrogates is U+FFFD.
func (d *decoder) escape() (rune, bool) {
	if d.at >= len(d.in) {
		return 0, false
	}
	c := d.in[d.at]
	d.at++
	if c == 'u' {
		r, ok := d.unit()
		if !ok || !utf16.IsSurrogate(r) {
			return r, ok
		}
		if d.at+1 < len(d.in) && d.in[d.at] == '\\' && d.in[d.at+1] == 'u' {
			back := d.at
			d.at += 2
			if low, ok := d.unit(); ok {
				if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
					return pair, true
				}
			}
			d.at = back
		}
		return utf8.RuneError, true
	}
	if at := strings.IndexByte("\"\\/bfnrt", c); at >= 0 {
		return rune("\"\\/\b\f\n\r\t"[at]), true
	}
	return 0, false
}

// unit reads four hexadecimal digits.
func (d *decoder) unit() (rune, bool) {
	if d.at+4 > len(d.in) {
		return 0, false
	}
	n, err := strconv.ParseUint(string(d.in[d.at:d.at+4]), 16, 32)
	if err != nil {
		return 0, false
	}
	d.at += 4
	return rune(n), true
}
