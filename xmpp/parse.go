package xmpp

import (
	"bytes"
	"errors"
	"unicode/utf8"
)

// MaxDepth is the deepest nesting that ParseElement and Index follow. The scanner's default limit is lower.
const MaxDepth = 256

// maxBindings bounds the namespace declarations in scope at one place, so that looking one up stays cheap.
const maxBindings = 256

// Errors of ParseElement. They say that the bytes never went through the scanner.
var (
	ErrNotXML  = errors.New("not well-formed XML")
	ErrTooDeep = errors.New("XML nested too deep")
)

// ParseElement reads one element from bytes that the scanner has validated; it is memory-safe on any bytes and checks
// structure, but not all that makes XML well-formed. The tree owns its memory.
func ParseElement(b []byte) (*Element, error) {
	r := reader{b: b}
	e := new(Element)
	if err := r.element(e, 1); err != nil {
		return nil, err
	}
	if r.p != len(b) {
		return nil, ErrNotXML
	}
	return e, nil
}

// Index lists the elements at the top of a payload, which is validated XML. It returns nil where it cannot read it.
func Index(payload []byte) []Child {
	var out []Child
	r := reader{b: payload}
	for {
		k := bytes.IndexByte(payload[r.p:], '<')
		if k < 0 {
			return out
		}
		r.p += k
		c := Child{Start: r.p}
		var e Element
		empty, err := r.tag(&e)
		if err != nil {
			return nil
		}
		if !empty && r.skip() != nil {
			return nil
		}
		r.binds = r.binds[:0]
		c.Name, c.End = e.Name, r.p
		out = append(out, c)
	}
}

type binding struct{ prefix, uri string }

// reader parses trusted XML; every index is checked all the same.
type reader struct {
	b     []byte
	p     int
	binds []binding
	raw   []rawAttr // of the tag being read
}

type rawAttr struct{ name, value []byte }

// element reads an element that starts at p.
func (r *reader) element(e *Element, depth int) error {
	if depth > MaxDepth {
		return ErrTooDeep
	}
	if r.p >= len(r.b) || r.b[r.p] != '<' {
		return ErrNotXML
	}
	start, mark := r.p, len(r.binds)
	empty, err := r.tag(e)
	if err != nil {
		return err
	}
	name := rawName(r.b[start+1:])
	for !empty {
		k := bytes.IndexByte(r.b[r.p:], '<')
		if k < 0 {
			return ErrNotXML
		}
		if k > 0 {
			text, err := decode(r.b[r.p:r.p+k], false)
			if err != nil {
				return err
			}
			e.Content = append(e.Content, Node{Text: text})
			r.p += k
		}
		if r.p+1 < len(r.b) && r.b[r.p+1] == '/' {
			if !bytes.HasPrefix(r.b[r.p+2:], name) {
				return ErrNotXML
			}
			r.p += 2 + len(name)
			r.space()
			if r.p >= len(r.b) || r.b[r.p] != '>' {
				return ErrNotXML
			}
			r.p++
			break
		}
		c := new(Element)
		if err := r.element(c, depth+1); err != nil {
			return err
		}
		e.Content = append(e.Content, Node{Elem: c})
	}
	r.binds = r.binds[:mark]
	return nil
}

// skip goes to behind the end tag of an element whose start tag has just been read.
func (r *reader) skip() error {
	for depth := 1; depth > 0; {
		k := bytes.IndexByte(r.b[r.p:], '<')
		if k < 0 || r.p+k+1 >= len(r.b) {
			return ErrNotXML
		}
		r.p += k + 1
		ends := r.b[r.p] == '/'
		var quote byte
		for ; ; r.p++ {
			if r.p >= len(r.b) {
				return ErrNotXML
			}
			switch c := r.b[r.p]; {
			case quote != 0:
				if c == quote {
					quote = 0
				}
				continue
			case c == '\'' || c == '"':
				quote = c
				continue
			case c != '>':
				continue
			}
			break
		}
		if ends {
			depth--
		} else if r.b[r.p-1] != '/' {
			depth++
		}
		r.p++
	}
	return nil
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

func (r *reader) space() {
	for r.p < len(r.b) && isSpace(r.b[r.p]) {
		r.p++
	}
}

// rawName returns the qualified name that b starts with.
func rawName(b []byte) []byte {
	for i, c := range b {
		if isSpace(c) || c == '>' || c == '/' || c == '=' || c == '<' || c == '\'' || c == '"' || c == '&' {
			return b[:i]
		}
	}
	return b
}

// AttrOf is Attr of an element that the scanner has validated, without a tree of it.
func AttrOf(b []byte, local string) string {
	r := reader{b: b, p: min(1, len(b))}
	for r.p += len(rawName(r.b[r.p:])); ; {
		r.space()
		a, err := r.attr()
		if err != nil { // the end of the tag
			return ""
		}
		if string(a.name) == local && local != "xmlns" {
			value, err := decode(a.value, true)
			if err != nil {
				return ""
			}
			return value
		}
	}
}

// tag reads the start tag at p into e's name and attributes and leaves the bindings it makes in place.
func (r *reader) tag(e *Element) (empty bool, err error) {
	r.p++
	name := rawName(r.b[r.p:])
	if len(name) == 0 {
		return false, ErrNotXML
	}
	r.p += len(name)
	r.raw = r.raw[:0]
	for {
		r.space()
		if r.p >= len(r.b) {
			return false, ErrNotXML
		}
		if r.b[r.p] == '>' {
			r.p++
			break
		}
		if r.b[r.p] == '/' {
			if r.p+1 >= len(r.b) || r.b[r.p+1] != '>' {
				return false, ErrNotXML
			}
			r.p += 2
			empty = true
			break
		}
		a, err := r.attr()
		if err != nil {
			return false, err
		}
		r.raw = append(r.raw, a)
	}
	for _, a := range r.raw {
		prefix, local, ok := split(a.name)
		if !ok {
			return false, ErrNotXML
		}
		if string(a.name) == "xmlns" {
			local = nil
		} else if string(prefix) != "xmlns" {
			continue
		}
		if len(r.binds) >= maxBindings {
			return false, ErrNotXML
		}
		uri, err := decode(a.value, true)
		if err != nil {
			return false, err
		}
		r.binds = append(r.binds, binding{Intern(local), uri})
	}
	prefix, local, whole := split(name)
	uri, ok := r.lookup(prefix)
	if !ok || !whole {
		return false, ErrNotXML
	}
	e.Name = Name{uri, Intern(local)}
	for _, a := range r.raw {
		prefix, local, _ := split(a.name)
		if string(prefix) == "xmlns" || string(a.name) == "xmlns" {
			continue
		}
		var at Attr
		if len(prefix) > 0 {
			if at.Name.Space, ok = r.lookup(prefix); !ok {
				return false, ErrNotXML
			}
		}
		at.Name.Local = Intern(local)
		if at.Value, err = decode(a.value, true); err != nil {
			return false, err
		}
		e.Attrs = append(e.Attrs, at)
	}
	return empty, nil
}

// attr reads one attribute at p.
func (r *reader) attr() (a rawAttr, err error) {
	a.name = rawName(r.b[r.p:])
	if len(a.name) == 0 {
		return a, ErrNotXML
	}
	r.p += len(a.name)
	r.space()
	if r.p >= len(r.b) || r.b[r.p] != '=' {
		return a, ErrNotXML
	}
	r.p++
	r.space()
	if r.p >= len(r.b) || r.b[r.p] != '\'' && r.b[r.p] != '"' {
		return a, ErrNotXML
	}
	k := bytes.IndexByte(r.b[r.p+1:], r.b[r.p])
	if k < 0 {
		return a, ErrNotXML
	}
	a.value = r.b[r.p+1 : r.p+1+k]
	r.p += k + 2
	return a, nil
}

// split takes a qualified name apart; prefix is nil where there is none. ok says that there is no other colon, which no
// scanner lets pass (Namespaces in XML 1.0 §4).
func split(name []byte) (prefix, local []byte, ok bool) {
	i := bytes.IndexByte(name, ':')
	if i < 0 {
		return nil, name, len(name) > 0
	}
	prefix, local = name[:i], name[i+1:]
	return prefix, local, len(prefix) > 0 && len(local) > 0 && bytes.IndexByte(local, ':') < 0
}

func (r *reader) lookup(prefix []byte) (string, bool) {
	for i := len(r.binds) - 1; i >= 0; i-- {
		if r.binds[i].prefix == string(prefix) {
			return r.binds[i].uri, true
		}
	}
	switch string(prefix) {
	case "":
		return NSClient, true
	case "xml":
		return NSXML, true
	}
	return "", false
}

func decode(raw []byte, attr bool) (string, error) {
	plain := true
	for _, c := range raw {
		if c == '&' || c == '\r' || attr && (c == '\t' || c == '\n') {
			plain = false
			break
		}
	}
	if plain {
		return internShort(raw), nil
	}
	b, err := AppendDecoded(make([]byte, 0, len(raw)), raw, attr)
	return string(b), err
}

// internShort avoids hashing long values.
func internShort(b []byte) string {
	if len(b) > 48 {
		return string(b)
	}
	return Intern(b)
}

// AppendDecoded appends raw character data, or with attr a raw attribute value, as what it means: references are
// replaced, line ends become line feeds (XML 1.0 §2.11), and in attributes white space becomes spaces (§3.3.3).
func AppendDecoded(dst, raw []byte, attr bool) ([]byte, error) {
	for i := 0; i < len(raw); {
		switch c := raw[i]; {
		case c == '&':
			r, n := Reference(raw[i:])
			if n <= 0 {
				return dst, ErrNotXML
			}
			dst = utf8.AppendRune(dst, r)
			i += n
			continue
		case c == '\r':
			if i+1 < len(raw) && raw[i+1] == '\n' {
				i++
			}
			if attr {
				dst = append(dst, ' ')
			} else {
				dst = append(dst, '\n')
			}
		case attr && (c == '\t' || c == '\n'):
			dst = append(dst, ' ')
		default:
			dst = append(dst, c)
		}
		i++
	}
	return dst, nil
}

// maxReference is the longest reference accepted; leading zeros could make it endless.
const maxReference = 16

// Reference reads the reference that b starts with: one of the five entities of XML 1.0 §4.6 or a character reference
// (§4.1) to a character that XML allows. n is its length; 0 where b ends before it does, negative where it is not one:
// -1 for an entity that is not defined, -2 for anything else.
func Reference(b []byte) (r rune, n int) {
	if len(b) > 1 && b[1] == '#' {
		return charReference(b)
	}
	for i := 1; i < len(b); i++ {
		switch c := b[i]; {
		case c == ';':
			switch string(b[1:i]) {
			case "lt":
				return '<', i + 1
			case "gt":
				return '>', i + 1
			case "amp":
				return '&', i + 1
			case "quot":
				return '"', i + 1
			case "apos":
				return '\'', i + 1
			case "":
				return 0, -2
			}
			return 0, -1
		case !isNameByte(c):
			return 0, -2
		case i >= maxReference:
			return 0, -1
		}
	}
	return 0, 0
}

func charReference(b []byte) (rune, int) {
	i, radix := 2, rune(10)
	if len(b) > 2 && b[2] == 'x' {
		i, radix = 3, 16
	}
	first, v := i, rune(0)
	for ; i < len(b) && i < maxReference; i++ {
		d := radix
		switch c := b[i]; {
		case c == ';':
			if i == first || v >= 0xD800 && v <= 0xDFFF || !validRune(v, 4) {
				return 0, -2
			}
			return v, i + 1
		case c >= '0' && c <= '9':
			d = rune(c - '0')
		case c >= 'a' && c <= 'f':
			d = rune(c-'a') + 10
		case c >= 'A' && c <= 'F':
			d = rune(c-'A') + 10
		}
		if d >= radix {
			return 0, -2
		}
		if v = v*radix + d; v > utf8.MaxRune {
			return 0, -2
		}
	}
	if i >= maxReference {
		return 0, -2
	}
	return 0, 0
}

// isNameByte reports whether c can be part of the name of an entity, for telling an unknown one from a stray '&'.
func isNameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
		c == '_' || c == '.' || c == '-' || c >= 0x80
}
