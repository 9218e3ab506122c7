package xmpp

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// Writer builds XML by appending. The zero value is ready. Elements in NSClient are written without xmlns at the top,
// and a child in the namespace of its parent is too, so that the result is a payload as a Stanza wants it. Names are
// written as given: they are constants of the program, never input. Not safe for concurrent use.
type Writer struct {
	buf  []byte
	open []Name // elements not ended yet, with the default namespace in force
	tag  bool   // the last start tag still lacks its '>'
}

// NewWriter returns a writer that appends to dst.
func NewWriter(dst []byte) *Writer { return &Writer{buf: dst} }

// Reset forgets all state and goes on by appending to dst.
func (w *Writer) Reset(dst []byte) { w.buf, w.open, w.tag = dst, w.open[:0], false }

// Bytes returns what has been written, dst included; valid until the next write.
func (w *Writer) Bytes() []byte { return w.buf }

func (w *Writer) closeTag() {
	if w.tag {
		w.buf = append(w.buf, '>')
		w.tag = false
	}
}

// Start opens an element. An empty space means the namespace of the parent.
func (w *Writer) Start(space, local string) *Writer {
	w.closeTag()
	in := NSClient
	if n := len(w.open); n > 0 {
		in = w.open[n-1].Space
	}
	w.buf = append(w.buf, '<')
	w.buf = append(w.buf, local...)
	w.tag = true
	if space == "" {
		space = in
	}
	w.open = append(w.open, Name{space, local})
	if space != in {
		w.Attr("xmlns", space)
	}
	return w
}

// Attr adds an attribute to the element just opened; it panics where there is none.
func (w *Writer) Attr(name, value string) *Writer {
	if !w.tag {
		panic("xmpp: attribute " + name + " outside a start tag")
	}
	w.buf = append(w.buf, ' ')
	w.buf = append(w.buf, name...)
	w.buf = append(w.buf, '=', '\'')
	w.buf = append(AppendAttr(w.buf, value), '\'')
	return w
}

// AttrIf adds the attribute unless its value is empty.
func (w *Writer) AttrIf(name, value string) *Writer {
	if value == "" {
		return w
	}
	return w.Attr(name, value)
}

// AttrInt adds an attribute with a decimal number.
func (w *Writer) AttrInt(name string, v int64) *Writer {
	var b [20]byte
	return w.Attr(name, string(strconv.AppendInt(b[:0], v, 10)))
}

// Text adds character data.
func (w *Writer) Text(s string) *Writer {
	w.closeTag()
	w.buf = AppendText(w.buf, s)
	return w
}

// Raw adds XML as it is. Elements in it without xmlns take the namespace of the element they land in.
func (w *Writer) Raw(b []byte) *Writer {
	if len(b) > 0 {
		w.closeTag()
		w.buf = append(w.buf, b...)
	}
	return w
}

// Element adds a tree.
func (w *Writer) Element(e *Element) *Writer {
	w.closeTag()
	in := NSClient
	if n := len(w.open); n > 0 {
		in = w.open[n-1].Space
	}
	w.buf = e.appendIn(w.buf, in)
	return w
}

// End closes the element opened last; without content it collapses to an empty-element tag.
func (w *Writer) End() *Writer {
	n := len(w.open) - 1
	if w.tag {
		w.buf = append(w.buf, '/', '>')
		w.tag = false
	} else {
		w.buf = append(w.buf, '<', '/')
		w.buf = append(w.buf, w.open[n].Local...)
		w.buf = append(w.buf, '>')
	}
	w.open = w.open[:n]
	return w
}

// Leaf adds an element that holds only text; empty text makes an empty-element tag.
func (w *Writer) Leaf(space, local, text string) *Writer {
	w.Start(space, local)
	if text != "" {
		w.Text(text)
	}
	return w.End()
}

const (
	escapeText uint8 = 1 << iota
	escapeAttr
)

// escapes marks the bytes that cannot stand for themselves. A carriage return would come back as a line feed (XML 1.0
// §2.11), white space in an attribute as a space (§3.3.3).
var escapes = func() (t [256]uint8) {
	for i := range t {
		if i < 0x20 || i >= 0x80 {
			t[i] = escapeText | escapeAttr
		}
	}
	for _, c := range "<>&" {
		t[c] = escapeText | escapeAttr
	}
	t['\''], t['"'] = escapeAttr, escapeAttr
	t['\t'], t['\n'] = escapeAttr, escapeAttr
	return t
}()

// AppendText appends s as character data. What XML cannot hold (ValidText) becomes U+FFFD.
func AppendText(dst []byte, s string) []byte { return appendEscaped(dst, s, escapeText) }

// AppendAttr appends s as the inside of an attribute value, for quotes of either kind. What XML cannot hold (ValidText)
// becomes U+FFFD.
func AppendAttr(dst []byte, s string) []byte { return appendEscaped(dst, s, escapeAttr) }

// AttrLen is the length of what AppendAttr appends for s, which ValidText holds of.
func AttrLen(s string) int {
	n := len(s)
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\'', '"':
			n += len("&apos;") - 1
		case '&', '\n', '\r':
			n += len("&amp;") - 1
		case '<', '>', '\t':
			n += len("&gt;") - 1
		}
	}
	return n
}

func appendEscaped(dst []byte, s string, mode uint8) []byte {
	last := 0
	for i := 0; i < len(s); {
		c := s[i]
		if escapes[c]&mode == 0 {
			i++
			continue
		}
		n, with := 1, ""
		switch c {
		case '<':
			with = "&lt;"
		case '>':
			with = "&gt;"
		case '&':
			with = "&amp;"
		case '\'':
			with = "&apos;"
		case '"':
			with = "&quot;"
		case '\t':
			with = "&#9;"
		case '\n':
			with = "&#10;"
		case '\r':
			with = "&#13;"
		default:
			var r rune
			r, n = utf8.DecodeRuneInString(s[i:])
			if validRune(r, n) {
				i += n
				continue
			}
			with = "\uFFFD"
		}
		if mode == escapeText && (c == '\t' || c == '\n') {
			i++
			continue
		}
		dst = append(dst, s[last:i]...)
		dst = append(dst, with...)
		i += n
		last = i
	}
	return append(dst, s[last:]...)
}

// validRune reports whether a decoded rune of n bytes is a Char of XML 1.0 §2.2.
func validRune(r rune, n int) bool {
	if r == utf8.RuneError && n <= 1 {
		return false
	}
	return r >= 0x20 && r != 0xFFFE && r != 0xFFFF || r == '\t' || r == '\n' || r == '\r'
}

// ValidText reports whether s is UTF-8 and all its characters may stand in XML 1.0 (§2.2). Text from outside XML, such
// as JSON, is refused where it is not.
func ValidText(s string) bool { return InvalidAt(s) < 0 }

// InvalidAt returns where in s the first character begins that ValidText does not take, -1 for nowhere.
func InvalidAt(s string) int {
	for i := 0; i < len(s); {
		if c := s[i]; c >= 0x20 && c < 0x80 {
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if !validRune(r, n) {
			return i
		}
		i += n
	}
	return -1
}

// MendText returns s with the replacement character (U+FFFD) in place of each that ValidText does not take.
func MendText(s string) string {
	if ValidText(s) {
		return s
	}
	return strings.Map(func(r rune) rune { // which has it for bytes that are no UTF-8
		if !validRune(r, utf8.RuneLen(r)) {
			return utf8.RuneError
		}
		return r
	}, s)
}
