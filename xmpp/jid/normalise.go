package jid

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/text/secure/precis"
)

// maxPasses bounds how often a rule is applied to its own result. The rules are
// meant to be stable after one pass but are not proven to be for every code
// point (RFC 8264 §7); what does not settle is refused, since an address that
// changes each time it is read could not be compared.
const maxPasses = 4

var (
	domainRules = idna.New(
		idna.MapForLookup(), // width and case, as RFC 7622 §3.2.2 wants
		idna.Transitional(false),
		idna.BidiRule(),
		idna.CheckHyphens(true),
		idna.CheckJoiners(true),
		idna.StrictDomainName(true),
	)
	// labelClass refuses the symbols that UTS 46 lets pass and IDNA 2008 does not (RFC 5892 §3): the IdentifierClass is
	// derived by the same rules.
	labelClass = precis.NewIdentifier()
)

// parseSlow takes an address apart that is not plain ASCII throughout. The
// places of the separators are final: no mapping may move them (RFC 7622 §3.1).
func parseSlow(s string, at, slash int) (JID, error) {
	if !utf8.ValidString(s) {
		return JID{}, ErrEncoding
	}
	var local, resource string
	var err error
	if at > 0 {
		if local, err = localpart(s[:at]); err != nil {
			return JID{}, err
		}
	}
	domain, err := domainpart(s[at+1 : slash])
	if err != nil {
		return JID{}, err
	}
	if slash < len(s) {
		if resource, err = resourcepart(s[slash+1:]); err != nil {
			return JID{}, err
		}
	}
	var b strings.Builder
	b.Grow(len(local) + len(domain) + len(resource) + 2)
	var j JID
	if local != "" {
		j.at = uint16(len(local))
		b.WriteString(local)
		b.WriteByte('@')
	}
	b.WriteString(domain)
	j.slash = uint16(b.Len())
	if resource != "" {
		b.WriteByte('/')
		b.WriteString(resource)
	}
	j.s = b.String()
	return j, nil
}

// localpart applies the UsernameCaseMapped profile (RFC 7622 §3.3).
func localpart(s string) (string, error) {
	s, ok := settle(s, precis.UsernameCaseMapped.String)
	switch {
	case !ok:
		return "", ErrLocal
	case len(s) > MaxPart:
		return "", ErrTooLong
	// Width mapping can make an excluded character out of an innocent one.
	case s == "" || strings.ContainsAny(s, "\"&'/:<>@"):
		return "", ErrLocal
	}
	return s, nil
}

// resourcepart applies the OpaqueString profile (RFC 7622 §3.4) to a part that
// is not empty.
func resourcepart(s string) (string, error) {
	if len(s) > MaxLen {
		return "", ErrTooLong
	}
	switch scanResource(s) {
	case bad:
		return "", ErrResource
	case other:
		if !utf8.ValidString(s) {
			return "", ErrEncoding
		}
		// COMPAT(Prosody, ejabberd): stringprep maps these to nothing, OpaqueString forbids most of them; emoji are
		// full of them.
		s = strings.Map(func(r rune) rune {
			if ignored(r) {
				return -1
			}
			return r
		}, s)
		var ok bool
		s, ok = settle(s, precis.OpaqueString.String)
		// A wide space is an ASCII one only after the mapping.
		if !ok || s == "" || s[0] == ' ' {
			return "", ErrResource
		}
	}
	if len(s) > MaxPart {
		return "", ErrTooLong
	}
	return s, nil
}

// ignored says that a character is mapped to nothing by RFC 3454, table B.1, which servers with stringprep apply to
// resources (RFC 6122 §2.4): a resource has to be the same there and here.
func ignored(r rune) bool {
	switch {
	case r == 0xAD, r == 0x34F, r == 0x1806, r >= 0x180B && r <= 0x180D, r >= 0x200B && r <= 0x200D, r == 0x2060,
		r >= 0xFE00 && r <= 0xFE0F, r == 0xFEFF:
		return true
	}
	return false
}

// domainpart brings a domain into lower case, U-labels and without a final dot
// (RFC 7622 §3.2).
func domainpart(s string) (string, error) {
	if s[0] == '[' {
		return ipLiteral(s)
	}
	// One dot, not several; and before the mapping, which makes an empty label of "xn--" alone, which is no A-label
	// (RFC 5890 §2.3.2.1). The mapping knows other full stops too.
	for _, dot := range [...]string{".", "\u3002", "\uff0e", "\uff61"} {
		if rest, ok := strings.CutSuffix(s, dot); ok {
			s = rest
			break
		}
	}
	s, ok := settle(s, domainRules.ToUnicode)
	if !ok {
		return "", ErrDomain
	}
	if len(s) > MaxPart {
		return "", ErrTooLong
	}
	for label := range strings.SplitSeq(s, ".") {
		if !validLabel(label) {
			return "", ErrDomain
		}
	}
	return s, nil
}

// validLabel checks one label of a mapped domain: an NR-LDH label, or a U-label
// that IDNA 2008 allows and whose A-label fits into the DNS (RFC 5890 §2.3.2.1).
func validLabel(l string) bool {
	if scanDomainBytes(l) {
		return scanLabel(l) == asIs
	}
	if p, err := labelClass.String(l); err != nil || p != l {
		return false
	}
	a, err := idna.Punycode.ToASCII(l)
	return err == nil && len(a) <= 63
}

func scanDomainBytes(l string) bool {
	for i := 0; i < len(l); i++ {
		if l[i] >= utf8.RuneSelf || class[l[i]]&inDomain == 0 {
			return false
		}
	}
	return true
}

// settle applies rule until it changes nothing.
func settle(s string, rule func(string) (string, error)) (string, bool) {
	for range maxPasses {
		t, err := rule(s)
		if err != nil {
			return "", false
		}
		if t == s {
			return s, true
		}
		s = t
	}
	return "", false
}
