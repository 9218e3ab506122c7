package stream

import (
	"bytes"

	"jackdaw/xmpp"
)

// ItemKind says what Scan has found.
type ItemKind uint8

// The items of a stream.
const (
	ItemNone    ItemKind = iota // more bytes are needed
	ItemHeader                  // the stream's start tag, with the XML declaration before it
	ItemStanza                  // message, presence or iq in the content namespace
	ItemElement                 // any other element at the top
	ItemEnd                     // the stream's end tag
)

type mode uint8

const (
	inStream   mode = iota
	inDocument      // one element with what XML allows around it
	inContent       // elements and text without a parent
	inWrapper       // a document whose root is not part of what it carries
)

type phase uint8

const (
	beforeHeader phase = iota
	underway           // between header and end
	ended
)

// state is what the scanner is in the middle of.
type state uint8

const (
	between   state = iota // at the top, no item begun
	atStart                // byte-order mark or what follows
	atDecl                 // XML declaration, perhaps
	inDecl                 // XML declaration
	inProlog               // white space before the root
	inText                 // character data
	afterLess              // '<'
	inBang                 // "<!"
	inCDATA                // CDATA section
	inName                 // name of a start tag
	inTag                  // start tag, between attributes
	inAttr                 // name of an attribute
	beforeEq               // white space before '='
	beforeVal              // white space before the quote
	inValue                // attribute value
	inSlash                // '/' of an empty-element tag
	inEndName              // name of an end tag
	inEndTag               // white space behind it
)

// Scanner reads one stream. The zero value is ready and uses DefaultLimits. Not safe for concurrent use.
type Scanner struct {
	limits   Limits
	w        *scratch
	mode     mode
	phase    phase
	moved    bool   // something has been consumed since the start of the stream
	bare     bool   // in a document: no namespace at the root counts as the content namespace
	content  string // content namespace
	expected string // of a stream whose header does not declare one; empty: jabber:client
	implied  string // default namespace around an item
	rootName string // of the stream's start tag as written
	outer    []binding
	base     int      // bytes consumed since the start of the stream
	header   *Header  // nil before there is one, and after Forget
	lang     string   // of the header that has been forgotten
	wrapper  *wrapper // of a document that is one
	err      *SyntaxError
}

// SetLimits changes the limits, from the next byte scanned on.
func (s *Scanner) SetLimits(l Limits) { s.limits = l.orDefault() }

// Expect says which content namespace a stream has whose header declares none, as it may where each stanza declares it
// (RFC 6120 §4.8.2, prefix-free canonicalization). Without it that is jabber:client. It stays when the stream is reset.
func (s *Scanner) Expect(content string) { s.expected = content }

// Reset begins a new stream on the same connection, as after TLS and SASL (RFC 6120 §5.4.3.3, §6.4.6). Limits stay.
// Bytes of the old stream that are not consumed yet are the caller's to throw away.
func (s *Scanner) Reset() {
	s.Release()
	if s.w != nil {
		s.w.state = between
	}
	*s = Scanner{limits: s.limits, expected: s.expected, w: s.w}
}

// Release gives the working memory back while no item is half read; the caller does so when it goes to sleep. The
// results of the last Scan are gone with it, except Header.
func (s *Scanner) Release() {
	if s.w != nil && s.w.state == between {
		s.w.release()
		s.w = nil
	}
}

// Header returns the header of the stream, once there has been one; it is the caller's until Reset or Forget.
func (s *Scanner) Header() *Header {
	if s.header == nil {
		s.header = new(Header)
	}
	return s.header
}

// Forget lets go of the header, of which nobody asks any more. Stanzas stay in its language.
func (s *Scanner) Forget() { s.lang, s.header = s.language(), nil }

// language is that of stanzas which do not say theirs.
func (s *Scanner) language() string {
	if s.header == nil {
		return s.lang
	}
	return s.header.Lang
}

// Stanza returns what the last ItemStanza was about. It, its payload and its index are overwritten by the next Scan.
func (s *Scanner) Stanza() *xmpp.Stanza { return &s.scratch().stanza }

// BadTo reports whether the stanza had a 'to' that is not an address (RFC 6120 §8.1.1, answered by jid-malformed); its
// To is then empty.
func (s *Scanner) BadTo() bool { return s.scratch().badTo }

// BadFrom reports whether the stanza had a 'from' that is not an address; its From is then empty.
func (s *Scanner) BadFrom() bool { return s.scratch().badFrom }

// Element returns what the last ItemElement was about: its name, and its bytes made self-contained as a payload is.
// They are overwritten by the next Scan.
func (s *Scanner) Element() (name xmpp.Name, raw []byte) {
	w := s.scratch()
	return w.elemName, w.raw
}

func (s *Scanner) scratch() *scratch {
	if s.w == nil {
		s.w = scratches.Get().(*scratch)
		s.w.state = between
	}
	return s.w
}

// Scan goes on over buf, which starts at the first byte not consumed yet, and reports what it found and how many bytes
// that consumed. Where the item is not complete it returns ItemNone, consuming at most white space before it, and keeps
// its place: the next call has to bring the same bytes, perhaps elsewhere, and more behind them. No byte is looked at
// twice but for those of a half-read reference, character or XML declaration. An error is a *SyntaxError and final.
func (s *Scanner) Scan(buf []byte) (item ItemKind, n int, err error) {
	if s.err != nil {
		return ItemNone, 0, s.err
	}
	if s.limits.Bytes == 0 {
		s.limits = s.limits.orDefault()
	}
	w := s.scratch()
	skip := 0
	if w.state == between {
		// White space between items keeps connections alive (RFC 6120 §4.6.1).
		for skip < len(buf) && class[buf[skip]]&isSpace != 0 {
			skip++
		}
		s.moved = s.moved || skip > 0
		if skip == len(buf) {
			s.base += skip
			return ItemNone, skip, nil
		}
		w.begin()
		switch {
		case s.phase == beforeHeader:
			w.state = atStart
		case buf[skip] == '<' && s.phase == underway:
			w.state = inText
		case s.phase == ended:
			return ItemNone, 0, s.refuse(buf, fail(skip, NotWellFormed, "data after the end of the stream"))
		default:
			return ItemNone, 0, s.refuse(buf, fail(skip, BadFormat, "text between stanzas"))
		}
	}
	window := buf[skip:]
	if len(window) > s.limits.Bytes {
		window = window[:s.limits.Bytes]
	}
	item, end, bad := s.run(window)
	switch {
	case bad != nil:
	case item != ItemNone:
		w.state = between
		s.moved = true
		s.base += skip + end
		return item, skip + end, nil
	case len(buf)-skip > s.limits.Bytes:
		bad = fail(s.limits.Bytes, PolicyViolation, "element larger than allowed")
	default:
		s.base += skip
		return ItemNone, skip, nil
	}
	bad.Offset += skip
	return ItemNone, 0, s.refuse(buf, bad)
}

// refuse makes an error final.
func (s *Scanner) refuse(buf []byte, e *SyntaxError) error {
	e.locate(buf, e.Offset)
	e.Offset += s.base
	s.err = e
	s.w.state = between
	return e
}

// run scans b, the item so far, from the place where it stopped. It returns at the item's end.
func (s *Scanner) run(b []byte) (ItemKind, int, *SyntaxError) {
	w := s.w
	st, p := w.state, w.pos
	var err *SyntaxError
	var item ItemKind
scan:
	for p < len(b) {
		c := b[p]
		switch st {
		case inText:
			var more bool
			if p, more, err = text(b, p); more || err != nil {
				break scan
			}
			switch c = b[p]; c {
			case '<':
				w.tag = p
				p++
				st = afterLess
			case '&':
				n, e := reference(b, p)
				if n == 0 {
					err = e
					break scan
				}
				p += n
			case '>':
				// XML 1.0 §2.4. A boundary of text never looks like this: the byte before it is '>'.
				if p >= 2 && b[p-1] == ']' && b[p-2] == ']' {
					err = fail(p, NotWellFormed, "']]>' in text")
					break scan
				}
				w.made += len("&gt;") - 1
				if w.cdata { // without the section's bounds it could end a ']]>'
					w.edits = append(w.edits, edit{a: p, b: p + 1, what: escaped})
					if err = s.fits(p); err != nil {
						break scan
					}
				}
				p++
			}

		case afterLess:
			switch {
			case class[c]&isNameStart != 0 || c >= 0x80:
				w.tok, w.colon = p, -1
				w.attrs = w.attrs[:0]
				st = inName
			case c == '/':
				p++
				w.tok = p
				st = inEndName
			case c == '!':
				st = inBang
			case c == '?':
				err = fail(w.tag, RestrictedXML, "processing instruction")
				break scan
			default:
				err = fail(p, NotWellFormed, "'<' that begins no tag")
				break scan
			}

		case inName:
			var more bool
			if p, more, err = w.scanName(b, p); more || err != nil {
				break scan
			}
			w.name, w.ncol = span{w.tok, p}, w.colon
			w.space = false
			st = inTag

		case inTag:
			switch {
			case class[c]&isSpace != 0:
				p++
				w.space = true
			case c == '>':
				p++
				if item, err = s.openTag(b, p, false); item != ItemNone || err != nil {
					break scan
				}
				st = inText
			case c == '/':
				p++
				st = inSlash
			case !w.space:
				err = fail(p, NotWellFormed, "no white space before an attribute")
				break scan
			case len(w.attrs) >= s.limits.Attributes:
				err = fail(p, PolicyViolation, "too many attributes")
				break scan
			default:
				w.tok, w.colon = p, -1
				w.addAttr(p)
				st = inAttr
			}

		case inAttr:
			var more bool
			if p, more, err = w.scanName(b, p); more || err != nil {
				break scan
			}
			a := &w.attrs[len(w.attrs)-1]
			a.colon, a.end = int32(w.colon), int32(p)
			if b[p] != '=' {
				st = beforeEq
				continue
			}
			p++
			st = beforeVal
			if p < len(b) && (b[p] == '\'' || b[p] == '"') {
				w.quote = b[p]
				p++
				a.from = int32(p)
				st = inValue
			}

		case beforeEq:
			switch {
			case class[c]&isSpace != 0:
				p++
			case c == '=':
				p++
				st = beforeVal
			default:
				err = fail(p, NotWellFormed, "attribute without a value")
				break scan
			}

		case beforeVal:
			switch {
			case c == '\'' || c == '"':
				w.quote = c
				p++
				w.attrs[len(w.attrs)-1].from = int32(p)
				st = inValue
			case class[c]&isSpace != 0:
				p++
			default:
				err = fail(p, NotWellFormed, "attribute value without quotes")
				break scan
			}

		case inValue:
			if p = plainValue(b, p); p == len(b) {
				break scan
			}
			for c = b[p]; class[c]&isPlain != 0; c = b[p] {
				if p++; p == len(b) {
					break scan
				}
			}
			switch {
			case c == w.quote:
				w.attrs[len(w.attrs)-1].to = int32(p)
				p++
				w.space = false
				st = inTag
			case c >= 0x80:
				n := char(b[p:])
				if n <= 0 {
					if n < 0 {
						err = charError(n, p)
					}
					break scan
				}
				p += n
			case c == '&':
				n, e := reference(b, p)
				if n == 0 {
					err = e
					break scan
				}
				w.attrs[len(w.attrs)-1].dirty = true
				p += n
			case c == '\'' || c == '"':
				w.made += len("&apos;") - 1
				p++
			case c == '>':
				w.made += len("&gt;") - 1
				p++
			case c == '\t' || c == '\n' || c == '\r':
				w.attrs[len(w.attrs)-1].dirty = true
				p++
			case c == '<':
				err = fail(p, NotWellFormed, "'<' in an attribute value")
				break scan
			default:
				err = fail(p, NotWellFormed, "character that XML does not allow")
				break scan
			}

		case inSlash:
			if c != '>' {
				err = fail(p, NotWellFormed, "'/' inside a tag")
				break scan
			}
			p++
			if item, err = s.openTag(b, p, true); item != ItemNone || err != nil {
				break scan
			}
			st = inText

		case inEndName:
			want := s.openName(b)
			done := p - w.tok // bytes of it seen already
			now := min(len(want)-done, len(b)-p)
			if len(want) == 0 || !bytes.Equal(b[p:p+now], want[done:done+now]) {
				err = fail(w.tok, NotWellFormed, "end tag without its start tag")
				break scan
			}
			if p += now; p == len(b) {
				break scan
			}
			if b[p] != '>' && class[b[p]]&isSpace == 0 {
				err = fail(w.tok, NotWellFormed, "end tag without its start tag")
				break scan
			}
			st = inEndTag

		case inEndTag:
			if class[c]&isSpace != 0 {
				p++
				continue
			}
			if c != '>' {
				err = fail(p, NotWellFormed, "more than a name in an end tag")
				break scan
			}
			p++
			if item = s.closeTag(p); item != ItemNone {
				break scan
			}
			st = inText

		case inBang:
			const cdata = "<![CDATA["
			have := b[w.tag:]
			if string(have[:min(len(have), len(cdata))]) != cdata[:min(len(have), len(cdata))] {
				// RFC 6120 §11.1: comments, DTD subsets
				err = fail(w.tag, RestrictedXML, "comment or document type")
				break scan
			}
			if len(have) < len(cdata) {
				p = len(b)
				break scan
			}
			if len(w.stack) == 0 && s.mode != inContent {
				err = fail(w.tag, NotWellFormed, "CDATA section outside an element")
				break scan
			}
			p = w.tag + len(cdata)
			w.tok = p
			st = inCDATA

		case inCDATA:
			var more bool
			if p, more, err = text(b, p); more || err != nil {
				break scan
			}
			p++
			if b[p-1] == '>' && p-3 >= w.tok && b[p-2] == ']' && b[p-3] == ']' {
				w.edits = append(w.edits, edit{a: w.tag, b: p, what: cdataSection})
				w.made += cdataLen(b[w.tag:p]) - (p - w.tag)
				if err = s.fits(p); err != nil {
					break scan
				}
				w.cdata = true
				st = inText
			}

		default:
			var more bool
			if p, st, more, err = s.prolog(b, p, st); more || err != nil {
				break scan
			}
		}
	}
	w.state, w.pos = st, p
	if err == nil && item != ItemNone && s.mode != inContent {
		if err = s.fits(p); err != nil {
			return ItemNone, p, err
		}
		s.finish(b, item)
	}
	return item, p, err
}

// openName is the name that the next end tag has to have.
func (s *Scanner) openName(b []byte) []byte {
	if k := len(s.w.stack); k > 0 {
		n := s.w.stack[k-1].name
		return b[n.a:n.b]
	}
	return []byte(s.rootName)
}

// reference reads the reference at p. n is 0 where b ends first, and with an error.
func reference(b []byte, p int) (int, *SyntaxError) {
	_, n := xmpp.Reference(b[p:])
	switch n {
	case -1:
		return 0, fail(p, RestrictedXML, "entity that XML does not predefine") // RFC 6120 §11.1
	case -2:
		return 0, fail(p, NotWellFormed, "'&' that begins no reference to a character")
	}
	return n, nil
}
