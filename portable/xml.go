package portable

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"jackdaw/xmpp"
)

// What a file may have. Nothing that servers write comes near; more is refused before it is kept.
const (
	maxTag      = 256 << 10 // bytes of a tag
	maxText     = 16 << 20  // bytes of character data between two tags
	maxElement  = 16 << 20  // bytes of one element that is read as a whole
	maxElements = 100_000   // in it
	maxDepth    = 100
	maxAttrs    = 64
	maxBindings = 200 // namespace declarations in scope
)

// A syntaxError is one of the file, with its line.
type syntaxError struct {
	line int
	what string
}

func (e *syntaxError) Error() string { return fmt.Sprintf("line %d: %s", e.line, e.what) }

type tokenKind uint8

const (
	startTag tokenKind = iota + 1
	endTag
	charData
)

// A token is what a scanner finds next.
type token struct {
	kind tokenKind
	name xmpp.Name   // of tags
	at   []xmpp.Attr // of a start tag
	text string
}

// A scanner reads XML 1.0 in UTF-8 with namespaces, and holds one token of it at a time. It knows no entities but the
// five of XML itself, and refuses document types, which could define others.
type scanner struct {
	in    *bufio.Reader
	line  int
	read  int64 // bytes so far
	open  []opened
	binds []binding
	buf   []byte
	ended bool // the last tag was of an empty element
	root  bool // there has been one
}

type opened struct {
	raw   string // as it is written
	name  xmpp.Name
	binds int // how many there were around it
}

type binding struct{ prefix, uri string }

func newScanner(in io.Reader) *scanner {
	return &scanner{in: bufio.NewReaderSize(in, 64<<10), line: 1}
}

func (s *scanner) fail(format string, args ...any) error {
	return &syntaxError{s.line, fmt.Sprintf(format, args...)}
}

// depth is how many elements are open.
func (s *scanner) depth() int { return len(s.open) }

// next returns the next token; io.EOF behind the root.
func (s *scanner) next() (t token, err error) {
	if s.ended {
		s.ended = false
		return s.leave(), nil
	}
	for {
		text, err := s.until('<', maxText)
		switch {
		case errors.Is(err, io.EOF):
			if len(s.open) > 0 || !s.root {
				return t, s.fail("the file ends in the middle: it was cut off")
			}
			if len(bytes.TrimSpace(text)) > 0 {
				return t, s.fail("text behind the end")
			}
			return t, io.EOF
		case err != nil:
			return t, err
		}
		if len(text) > 0 {
			if len(s.open) == 0 {
				if text = bytes.TrimPrefix(text, []byte("\xEF\xBB\xBF")); len(bytes.TrimSpace(text)) > 0 {
					return t, s.fail("this is not XML")
				}
			} else {
				if err := s.in.UnreadByte(); err != nil {
					return t, err
				}
				s.read--
				return s.text(text, true)
			}
		}
		c, err := s.in.ReadByte()
		if err != nil {
			return t, s.cut(err)
		}
		s.read++
		switch c {
		case '/':
			return s.endTag()
		case '?':
			err = s.instruction()
		case '!':
			var cdata []byte
			if cdata, err = s.bang(); err == nil && cdata != nil {
				return s.text(cdata, false)
			}
		default:
			if err := s.in.UnreadByte(); err != nil {
				return t, err
			}
			s.read--
			return s.startTag()
		}
		if err != nil {
			return t, err
		}
	}
}

func (s *scanner) cut(err error) error {
	if errors.Is(err, io.EOF) {
		return s.fail("the file ends in the middle: it was cut off")
	}
	return err
}

// until returns what comes before a byte, and takes the byte too. It is valid until the next call.
func (s *scanner) until(end byte, most int) ([]byte, error) {
	s.buf = s.buf[:0]
	for {
		b, err := s.in.ReadSlice(end)
		s.read += int64(len(b))
		s.line += bytes.Count(b, []byte{'\n'})
		if len(s.buf)+len(b) > most {
			return nil, s.fail("more than %d bytes without %q", most, end)
		}
		s.buf = append(s.buf, b...)
		switch {
		case err == nil:
			return s.buf[:len(s.buf)-1], nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return s.buf, err
		}
	}
}

// text returns character data as a token.
func (s *scanner) text(raw []byte, references bool) (t token, err error) {
	if !references {
		raw = bytes.ReplaceAll(raw, []byte("&"), []byte("&amp;"))
	}
	b, err := xmpp.AppendDecoded(nil, raw, false)
	if err != nil || !xmpp.ValidText(string(b)) {
		return t, s.fail("text that is not allowed in XML")
	}
	return token{kind: charData, text: string(b)}, nil
}

// instruction skips what began with "<?". The declaration may name no encoding but UTF-8.
func (s *scanner) instruction() error {
	for first := true; ; first = false {
		b, err := s.until('>', maxTag)
		if err != nil {
			return s.cut(err)
		}
		if first && bytes.HasPrefix(b, []byte("xml ")) {
			if _, rest, ok := bytes.Cut(b, []byte("encoding=")); ok && len(rest) > 1 {
				name, _, _ := bytes.Cut(rest[1:], rest[:1])
				if !strings.EqualFold(string(name), "utf-8") && !strings.EqualFold(string(name), "us-ascii") {
					return s.fail("the encoding is %q: convert the file to UTF-8", name)
				}
			}
		}
		if bytes.HasSuffix(b, []byte("?")) {
			return nil
		}
	}
}

// bang reads what began with "<!": a comment, which is skipped, or a section of text.
func (s *scanner) bang() (cdata []byte, err error) {
	head, err := s.in.Peek(7)
	if err != nil && len(head) < 2 {
		return nil, s.cut(err)
	}
	switch {
	case string(head[:2]) == "--":
		_, _ = s.in.Discard(2)
		s.read += 2
		return nil, s.behind("--", nil)
	case string(head) == "[CDATA[" && len(s.open) > 0:
		_, _ = s.in.Discard(7)
		s.read += 7
		cdata = []byte{}
		return cdata, s.behind("]]", &cdata)
	case strings.HasPrefix(string(head), "DOCTYPE"):
		return nil, s.fail("a document type, which is not read: take it out")
	}
	return nil, s.fail("this is not XML")
}

// behind reads up to the two bytes and '>', and appends what is before them.
func (s *scanner) behind(two string, to *[]byte) error {
	for n := 0; ; {
		b, err := s.until('>', maxText)
		if err != nil {
			return s.cut(err)
		}
		if n += len(b) + 1; n > maxText {
			return s.fail("a comment or CDATA section of more than %d bytes", maxText)
		}
		before, ends := bytes.CutSuffix(b, []byte(two))
		if to != nil {
			*to = append(*to, before...)
		}
		if ends {
			return nil
		}
		if to != nil {
			*to = append(*to, '>')
		}
	}
}

func (s *scanner) startTag() (t token, err error) {
	raw, err := s.tag()
	if err != nil {
		return t, err
	}
	if len(s.open) == 0 && s.root {
		return t, s.fail("a second element behind the end")
	}
	s.root = true
	if len(s.open) >= maxDepth {
		return t, s.fail("elements in elements, more than %d deep", maxDepth)
	}
	if len(raw) > 0 && raw[len(raw)-1] == '/' {
		s.ended, raw = true, raw[:len(raw)-1]
	}
	name, rest := cutName(raw)
	if !validName(name) {
		return t, s.fail("%.40q is no name of an element", name)
	}
	o := opened{raw: string(name), binds: len(s.binds)}
	attrs, err := s.attributes(rest)
	if err != nil {
		return t, err
	}
	if o.name, err = s.expand(o.raw, true); err != nil {
		return t, err
	}
	for i := range attrs {
		a := &attrs[i]
		if a.Name, err = s.expand(a.Name.Local, false); err != nil {
			return t, err
		}
		for _, other := range attrs[:i] {
			if other.Name == a.Name {
				return t, s.fail("the attribute %q comes twice", a.Name.Local)
			}
		}
	}
	s.open = append(s.open, o)
	return token{kind: startTag, name: o.name, at: attrs}, nil
}

// tag reads up to the '>' that is in no attribute.
func (s *scanner) tag() ([]byte, error) {
	var all []byte
	var quote byte
	for {
		b, err := s.until('>', maxTag)
		if err != nil {
			return nil, s.cut(err)
		}
		for _, c := range b {
			switch {
			case quote == 0 && (c == '"' || c == '\''):
				quote = c
			case c == quote:
				quote = 0
			}
		}
		if all == nil && quote == 0 {
			return b, nil
		}
		if all = append(all, b...); len(all) > maxTag {
			return nil, s.fail("a tag of more than %d bytes", maxTag)
		}
		if quote == 0 {
			return all, nil
		}
		all = append(all, '>')
	}
}

// attributes reads those of a tag, as they are written, and takes namespace declarations out.
func (s *scanner) attributes(b []byte) (attrs []xmpp.Attr, err error) {
	for n := 0; ; n++ {
		spaces := len(b) - len(bytes.TrimLeft(b, " \t\r\n"))
		if b = b[spaces:]; len(b) == 0 {
			return attrs, nil
		}
		name, rest := cutName(b)
		rest = bytes.TrimLeft(rest, " \t\r\n")
		if spaces == 0 || !validName(name) || len(rest) < 2 || rest[0] != '=' {
			return nil, s.fail("a tag that is not XML")
		}
		rest = bytes.TrimLeft(rest[1:], " \t\r\n")
		if len(rest) < 2 || rest[0] != '"' && rest[0] != '\'' {
			return nil, s.fail("an attribute without quotes")
		}
		value, behind, ok := bytes.Cut(rest[1:], rest[:1])
		if !ok || bytes.IndexByte(value, '<') >= 0 {
			return nil, s.fail("an attribute that is not XML")
		}
		text, err := xmpp.AppendDecoded(nil, value, true)
		if err != nil || !xmpp.ValidText(string(text)) {
			return nil, s.fail("an attribute that is not allowed in XML")
		}
		if n >= maxAttrs {
			return nil, s.fail("more than %d attributes", maxAttrs)
		}
		switch prefix, isPrefix := bytes.CutPrefix(name, []byte("xmlns:")); {
		case string(name) == "xmlns":
			err = s.bind("", string(text))
		case isPrefix:
			err = s.bind(string(prefix), string(text))
		default:
			attrs = append(attrs, xmpp.Attr{Name: xmpp.Name{Local: string(name)}, Value: string(text)})
		}
		if err != nil {
			return nil, err
		}
		b = behind
	}
}

func (s *scanner) bind(prefix, uri string) error {
	if len(s.binds) >= maxBindings {
		return s.fail("more than %d namespaces at once", maxBindings)
	}
	if prefix != "" && uri == "" || prefix == "xml" || prefix == "xmlns" || uri == xmpp.NSXML && prefix != "xml" {
		return s.fail("a namespace that is not allowed")
	}
	s.binds = append(s.binds, binding{prefix, uri})
	return nil
}

// expand makes a name of a written one.
func (s *scanner) expand(raw string, element bool) (xmpp.Name, error) {
	prefix, local, prefixed := strings.Cut(raw, ":")
	if !prefixed {
		prefix, local = "", raw
		if !element {
			return xmpp.Name{Local: local}, nil
		}
	}
	if local == "" || strings.Contains(local, ":") || prefixed && prefix == "" {
		return xmpp.Name{}, s.fail("%.40q is no name", raw)
	}
	for i := len(s.binds) - 1; i >= 0; i-- {
		if s.binds[i].prefix == prefix {
			return xmpp.Name{Space: s.binds[i].uri, Local: local}, nil
		}
	}
	switch prefix {
	case "":
		return xmpp.Name{Local: local}, nil
	case "xml":
		return xmpp.Name{Space: xmpp.NSXML, Local: local}, nil
	}
	return xmpp.Name{}, s.fail("the namespace of %.40q is not declared", raw)
}

func (s *scanner) endTag() (t token, err error) {
	raw, err := s.until('>', maxTag)
	if err != nil {
		return t, s.cut(err)
	}
	name := string(bytes.TrimRight(raw, " \t\r\n"))
	if len(s.open) == 0 || s.open[len(s.open)-1].raw != name {
		return t, s.fail("</%.40s> ends what was not begun", name)
	}
	return s.leave(), nil
}

func (s *scanner) leave() token {
	o := s.open[len(s.open)-1]
	s.open, s.binds = s.open[:len(s.open)-1], s.binds[:o.binds]
	return token{kind: endTag, name: o.name}
}

// cutName cuts a name off.
func cutName(b []byte) (name, rest []byte) {
	i := bytes.IndexAny(b, " \t\r\n=/<>\"'&")
	if i < 0 {
		i = len(b)
	}
	return b[:i], b[i:]
}

// validName says whether a name may be written again as it is.
func validName(b []byte) bool {
	if len(b) == 0 || len(b) > 1000 || b[0] >= '0' && b[0] <= '9' || b[0] == '-' || b[0] == '.' || !utf8.Valid(b) {
		return false
	}
	for _, c := range string(b) {
		if !unicode.In(c, unicode.Letter, unicode.Digit, unicode.Mark) && !strings.ContainsRune("-._:", c) {
			return false
		}
	}
	return true
}

// element reads the element whose start tag is t, to its end.
func (s *scanner) element(t token) (*xmpp.Element, error) {
	began, count := s.read, 0
	var read func(t token) (*xmpp.Element, error)
	read = func(t token) (*xmpp.Element, error) {
		e := &xmpp.Element{Name: t.name, Attrs: t.at}
		if count++; count > maxElements {
			return nil, s.fail("more than %d elements in one", maxElements)
		}
		for {
			c, err := s.next()
			if err != nil {
				return nil, err
			}
			if s.read-began > maxElement {
				return nil, s.fail("an element of more than %d bytes", maxElement)
			}
			switch c.kind {
			case endTag:
				return e, nil
			case charData:
				if count++; count > maxElements {
					return nil, s.fail("more than %d pieces in one element", maxElements)
				}
				e.Content = append(e.Content, xmpp.Node{Text: c.text})
			case startTag:
				child, err := read(c)
				if err != nil {
					return nil, err
				}
				e.Content = append(e.Content, xmpp.Node{Elem: child})
			}
		}
	}
	return read(t)
}

// skip reads to the end of the element whose start tag was the last token.
func (s *scanner) skip() error {
	for depth := s.depth(); s.depth() >= depth; {
		if _, err := s.next(); err != nil {
			return err
		}
	}
	return nil
}
