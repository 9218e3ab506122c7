package jid

import (
	"net/netip"
	"strings"
	"unicode/utf8"
)

// What a byte may be in a part of an address.
const (
	inLocal = 1 << iota
	inDomain
	inResource
	upper
)

var class = func() (t [utf8.RuneSelf]byte) {
	for c := byte(' '); c < 0x7f; c++ {
		t[c] = inResource
		// RFC 7622 §3.3.1 takes these from the IdentifierClass.
		if c != ' ' && strings.IndexByte("\"&'/:<>@", c) < 0 {
			t[c] |= inLocal
		}
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '.':
			t[c] |= inDomain
		case c >= 'A' && c <= 'Z':
			t[c] |= inDomain | upper
		}
	}
	return t
}()

// verdict is what one look at the bytes of a part found out.
type verdict int

const (
	asIs  verdict = iota // ASCII, normalised
	fold                 // ASCII, only the case of letters differs
	other                // needs PRECIS, IDNA or the reader of IP literals
	bad
)

func parse[T string | []byte](in T) (JID, error) {
	if len(in) > MaxLen {
		return JID{}, ErrTooLong
	}
	// RFC 7622 §3.1: the resource begins at the first '/', and only before it
	// does the first '@' end the localpart.
	slash := len(in)
	at := -1
scan:
	for i := 0; i < len(in); i++ {
		switch in[i] {
		case '/':
			slash = i
			break scan
		case '@':
			if at < 0 {
				at = i
			}
		}
	}
	if at == 0 || slash == at+1 || slash == len(in)-1 {
		return JID{}, ErrEmpty
	}

	lv, dv, rv := asIs, asIs, asIs
	if at > 0 {
		if lv = scanLocal(in[:at]); lv == bad {
			return JID{}, ErrLocal
		}
	}
	if dv = scanDomain(in[at+1 : slash]); dv == bad {
		return JID{}, ErrDomain
	}
	if slash < len(in) {
		if rv = scanResource(in[slash+1:]); rv == bad {
			return JID{}, ErrResource
		}
	}

	if lv == other || dv == other || rv == other {
		return parseSlow(string(in), at, slash)
	}
	if at > MaxPart || slash-at-1 > MaxPart || len(in)-slash-1 > MaxPart {
		return JID{}, ErrTooLong
	}
	j := JID{at: uint16(max(at, 0)), slash: uint16(slash)}
	if lv == asIs && dv == asIs {
		j.s = string(in)
		return j, nil
	}
	var b strings.Builder
	b.Grow(len(in))
	for i := 0; i < slash; i++ {
		c := in[i]
		if c < utf8.RuneSelf && class[c]&upper != 0 {
			c += 'a' - 'A'
		}
		b.WriteByte(c)
	}
	for i := slash; i < len(in); i++ {
		b.WriteByte(in[i])
	}
	j.s = b.String()
	return j, nil
}

func scanLocal[T string | []byte](in T) verdict {
	v := asIs
	for i := 0; i < len(in); i++ {
		c := in[i]
		if c >= utf8.RuneSelf {
			return other
		}
		k := class[c]
		if k&inLocal == 0 {
			return bad
		}
		if k&upper != 0 {
			v = fold
		}
	}
	return v
}

// scanDomain accepts what consists of NR-LDH labels (RFC 5890 §2.3.2.2), which
// takes in IPv4 addresses and host names without a dot.
func scanDomain[T string | []byte](in T) verdict {
	if in[0] == '[' {
		return other
	}
	v := asIs
	start := 0
	for i := 0; i < len(in); i++ {
		c := in[i]
		if c >= utf8.RuneSelf {
			return other
		}
		k := class[c]
		if k&inDomain == 0 {
			return bad
		}
		if k&upper != 0 {
			v = fold
		}
		if c != '.' {
			continue
		}
		if i == len(in)-1 {
			return other // A final dot is taken off.
		}
		switch scanLabel(in[start:i]) {
		case other:
			return other
		case bad:
			return bad
		}
		start = i + 1
	}
	if l := scanLabel(in[start:]); l != asIs {
		return l
	}
	return v
}

// scanLabel looks at the form of a label whose bytes are known to be right:
// asIs for an NR-LDH label, other for what may be an A-label.
func scanLabel[T string | []byte](l T) verdict {
	n := len(l)
	if n == 0 || n > 63 || l[0] == '-' || l[n-1] == '-' {
		return bad
	}
	if n >= 4 && l[2] == '-' && l[3] == '-' {
		if l[0]|0x20 == 'x' && l[1]|0x20 == 'n' {
			return other
		}
		return bad // The other R-LDH labels are reserved.
	}
	return asIs
}

func scanResource[T string | []byte](in T) verdict {
	if in[0] == ' ' {
		return bad // RFC 7622 §3.5, example 17
	}
	for i := 0; i < len(in); i++ {
		c := in[i]
		if c >= utf8.RuneSelf {
			return other
		}
		if class[c]&inResource == 0 {
			return bad
		}
	}
	return asIs
}

// ipLiteral reads the bracketed form of an IPv6 address and returns its one
// canonical spelling (RFC 5952).
func ipLiteral(s string) (string, error) {
	s = strings.TrimSuffix(s, ".")
	if len(s) < 2 || s[len(s)-1] != ']' {
		return "", ErrDomain
	}
	a, err := netip.ParseAddr(s[1 : len(s)-1])
	// A zone has a meaning on one host only.
	if err != nil || !a.Is6() || a.Zone() != "" {
		return "", ErrDomain
	}
	return "[" + a.String() + "]", nil
}
