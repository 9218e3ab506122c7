package stream

import "bytes"

// maxDecl bounds an XML declaration, which is read again with each piece that arrives.
const maxDecl = 256

// prolog handles what may come before the root: byte-order mark, XML declaration, white space (XML 1.0 §2.8). It
// returns where to go on and in which state, or that more bytes are needed first.
func (s *Scanner) prolog(b []byte, p int, st state) (next int, then state, more bool, err *SyntaxError) {
	const bom, decl = "\xEF\xBB\xBF", "<?xml"
	switch st {
	case atStart:
		switch {
		case s.moved:
			return p, inProlog, false, nil
		case b[0] == 0xFE || b[0] == 0xFF || b[0] == 0:
			return p, st, false, fail(0, UnsupportedEncoding, "not UTF-8")
		case b[0] != bom[0]:
			return p, atDecl, false, nil
		case string(b[:min(3, len(b))]) != bom[:min(3, len(b))]:
			return p, st, false, fail(0, UnsupportedEncoding, "not UTF-8")
		case len(b) < 3:
			return 0, st, true, nil
		}
		return 3, atDecl, false, nil

	case atDecl:
		have := b[p:]
		if string(have[:min(len(have), len(decl))]) != decl[:min(len(have), len(decl))] {
			return p, inProlog, false, nil
		}
		if len(have) <= len(decl) {
			return p, st, true, nil
		}
		if class[have[len(decl)]]&isSpace == 0 {
			return p, inProlog, false, nil
		}
		s.w.tag = p
		return p, inDecl, false, nil

	case inDecl:
		have := b[p:min(len(b), p+maxDecl)]
		end := bytes.IndexByte(have, '>')
		if end < 0 {
			if len(have) < maxDecl {
				return p, st, true, nil
			}
			return p, st, false, fail(p, NotWellFormed, "endless XML declaration")
		}
		if err := declaration(have[len(decl):end], p+len(decl)); err != nil {
			return p, st, false, err
		}
		return p + end + 1, inProlog, false, nil
	}
	// inProlog
	switch c := b[p]; {
	case class[c]&isSpace != 0:
		return p + 1, inProlog, false, nil
	case c == '<':
		s.w.tag = p
		return p + 1, afterLess, false, nil
	}
	return p, st, false, fail(p, NotWellFormed, "text outside the root element")
}

// declaration checks the inside of an XML declaration, from behind "<?xml" up to the '>' (XML 1.0 §2.8, §4.3.3).
func declaration(d []byte, at int) *SyntaxError {
	bad := fail(at, NotWellFormed, "malformed XML declaration")
	if len(d) == 0 || d[len(d)-1] != '?' {
		return bad
	}
	d = d[:len(d)-1]
	for i, name := range []string{"version", "encoding", "standalone"} {
		rest := bytes.TrimLeft(d, " \t\r\n")
		if !bytes.HasPrefix(rest, []byte(name)) || len(rest) == len(d) {
			if i == 0 {
				return bad
			}
			continue
		}
		rest = bytes.TrimLeft(rest[len(name):], " \t\r\n")
		if len(rest) == 0 || rest[0] != '=' {
			return bad
		}
		rest = bytes.TrimLeft(rest[1:], " \t\r\n")
		if len(rest) < 2 || rest[0] != '\'' && rest[0] != '"' {
			return bad
		}
		end := bytes.IndexByte(rest[1:], rest[0])
		if end < 0 {
			return bad
		}
		value := string(rest[1 : 1+end])
		switch {
		case i == 0 && value != "1.0": // RFC 6120 §11.5 wants 1.0; 1.1 has another set of characters
			return fail(at, NotWellFormed, "XML version other than 1.0")
		case i == 1 && !bytes.EqualFold([]byte(value), []byte("UTF-8")): // RFC 6120 §11.6
			return fail(at, UnsupportedEncoding, "encoding other than UTF-8")
		case i == 2 && value != "yes" && value != "no":
			return bad
		}
		d = rest[2+end:]
	}
	if len(bytes.TrimLeft(d, " \t\r\n")) > 0 {
		return bad
	}
	return nil
}
