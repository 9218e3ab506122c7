package stream

import (
	"strings"
	"unicode/utf8"
)

// nameStartRune is NameStartChar of XML 1.0 §2.3 outside ASCII.
func nameStartRune(r rune) bool {
	switch {
	case r < 0x370:
		return r >= 0xC0 && r != 0xD7 && r != 0xF7 && r < 0x300
	case r < 0x2000:
		return r != 0x37E
	case r < 0x3001:
		return r == 0x200C || r == 0x200D || r >= 0x2070 && r <= 0x218F || r >= 0x2C00 && r <= 0x2FEF
	case r < 0x10000:
		return r <= 0xD7FF || r >= 0xF900 && r <= 0xFDCF || r >= 0xFDF0 && r <= 0xFFFD
	}
	return r <= 0xEFFFF
}

// nameRune is NameChar of XML 1.0 §2.3 outside ASCII.
func nameRune(r rune) bool {
	return nameStartRune(r) || r == 0xB7 || r >= 0x300 && r <= 0x36F || r == 0x203F || r == 0x2040
}

// startsName reports whether part begins as an NCName has to.
func startsName(part []byte) bool {
	if len(part) == 0 {
		return false
	}
	if part[0] < 0x80 {
		return class[part[0]]&isNameStart != 0
	}
	r, _ := utf8.DecodeRune(part)
	return nameStartRune(r)
}

// ValidName reports whether s can be the name of an element or attribute, with a prefix or without (Namespaces in XML
// 1.0 §4). It does not look at what the prefix stands for.
func ValidName(s string) bool {
	prefix, local, found := strings.Cut(s, ":")
	return validNCName(prefix) && (!found || validNCName(local))
}

func validNCName(s string) bool {
	if !startsName([]byte(s)) {
		return false
	}
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r < 0x80 && class[s[i]]&isName == 0 || r >= 0x80 && (n == 1 || !nameRune(r)) {
			return false
		}
		i += n
	}
	return true
}

// scanName goes on over the name that starts at w.tok; more says that b ended first. A name that ends well has at least
// one byte behind it.
func (w *scratch) scanName(b []byte, p int) (end int, more bool, err *SyntaxError) {
	for {
		for p < len(b) && class[b[p]]&isName != 0 {
			p++
		}
		if p == len(b) {
			return p, true, nil
		}
		if b[p] == ':' {
			if w.colon >= 0 || p == w.tok { // Namespaces in XML 1.0 §4
				return p, false, fail(p, NotWellFormed, "stray colon in a name")
			}
			w.colon = p
			p++
			continue
		}
		if b[p] < 0x80 {
			break
		}
		n := char(b[p:])
		if n == 0 {
			return p, true, nil
		}
		if n < 0 {
			return p, false, charError(n, p)
		}
		if r, _ := utf8.DecodeRune(b[p:]); !nameRune(r) {
			return p, false, fail(p, NotWellFormed, "character that no name may have")
		}
		p += n
	}
	if w.colon < 0 && p > w.tok && class[b[w.tok]]&isNameStart != 0 {
		return p, false, nil
	}
	if !startsName(b[w.tok:p]) || w.colon >= 0 && !startsName(b[w.colon+1:p]) {
		return p, false, fail(w.tok, NotWellFormed, "not a name")
	}
	return p, false, nil
}
