package sasl

import (
	"strings"
	"unicode/utf8"
)

// clientFirst is a client-first-message (RFC 5802 §7).
type clientFirst struct {
	header  string // the gs2-header, as sent
	bare    string // the rest
	flag    byte   // 'n', 'y' or 'p'
	binding string // the cb-name for 'p'
	authzID string // decoded
	user    string // decoded
	nonce   string
}

// clientFinal is a client-final-message.
type clientFinal struct {
	withoutProof string
	binding      string // still in base64
	nonce        string
	proof        string // still in base64
}

// serverFirst is a server-first-message.
type serverFirst struct {
	nonce      string
	salt       string // still in base64
	iterations int
}

// checkText refuses what no message of SCRAM may hold: RFC 5802 §7 takes NUL
// from the characters of a value.
func checkText(s string) error {
	if len(s) > MaxMessage || !utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0 {
		return MalformedRequest
	}
	return nil
}

func parseClientFirst(s string) (m clientFirst, err error) {
	if err := checkText(s); err != nil {
		return m, err
	}
	flag, rest, ok := strings.Cut(s, ",")
	authz, bare, ok2 := strings.Cut(rest, ",")
	if !ok || !ok2 {
		return m, MalformedRequest
	}
	switch {
	case flag == "n" || flag == "y":
		m.flag = flag[0]
	case strings.HasPrefix(flag, "p=") && isBindingName(flag[2:]):
		m.flag, m.binding = 'p', flag[2:]
	default:
		return m, MalformedRequest
	}
	if authz != "" {
		name, ok := strings.CutPrefix(authz, "a=")
		if !ok {
			return m, MalformedRequest
		}
		if m.authzID, ok = decodeName(name); !ok || len(m.authzID) > MaxAuthzID {
			return m, InvalidAuthzID
		}
	}
	m.header, m.bare = s[:len(s)-len(bare)], bare

	// An m= would come first here and is a mandatory extension: refused, as
	// anything that is not n= (RFC 5802 §5.1).
	name, rest, ok := strings.Cut(bare, ",")
	name, ok2 = strings.CutPrefix(name, "n=")
	if !ok || !ok2 {
		return m, MalformedRequest
	}
	if m.user, ok = decodeName(name); !ok || len(m.user) > MaxUser {
		return m, MalformedRequest
	}
	nonce, extensions, more := strings.Cut(rest, ",")
	m.nonce, ok = strings.CutPrefix(nonce, "r=")
	if !ok || !isNonce(m.nonce) || more && !areExtensions(extensions) {
		return m, MalformedRequest
	}
	return m, nil
}

func parseClientFinal(s string) (m clientFinal, err error) {
	if err := checkText(s); err != nil {
		return m, err
	}
	// The proof is last, and base64 has no comma.
	i := strings.LastIndex(s, ",p=")
	if i < 0 || strings.IndexByte(s[i+1:], ',') >= 0 {
		return m, MalformedRequest
	}
	m.withoutProof, m.proof = s[:i], s[i+3:]
	binding, rest, ok := strings.Cut(m.withoutProof, ",")
	nonce, extensions, more := strings.Cut(rest, ",")
	m.binding, _ = strings.CutPrefix(binding, "c=")
	m.nonce, _ = strings.CutPrefix(nonce, "r=")
	if !ok || m.binding == binding || m.nonce == nonce || more && !areExtensions(extensions) {
		return m, MalformedRequest
	}
	if !isBase64(m.binding) || !isBase64(m.proof) {
		return m, IncorrectEncoding
	}
	if !isNonce(m.nonce) {
		return m, MalformedRequest
	}
	return m, nil
}

func parseServerFirst(s string) (m serverFirst, err error) {
	if err := checkText(s); err != nil {
		return m, err
	}
	nonce, rest, _ := strings.Cut(s, ",")
	salt, rest, _ := strings.Cut(rest, ",")
	count, extensions, more := strings.Cut(rest, ",")
	m.nonce, _ = strings.CutPrefix(nonce, "r=")
	m.salt, _ = strings.CutPrefix(salt, "s=")
	digits, _ := strings.CutPrefix(count, "i=")
	if m.nonce == nonce || m.salt == salt || digits == count || more && !areExtensions(extensions) ||
		!isNonce(m.nonce) || !isBase64(m.salt) {
		return m, MalformedRequest
	}
	// posit-number: no sign, no leading zero.
	if digits == "" || digits[0] == '0' || len(digits) > 9 {
		return m, MalformedRequest
	}
	for _, c := range []byte(digits) {
		if c < '0' || c > '9' {
			return m, MalformedRequest
		}
		m.iterations = m.iterations*10 + int(c-'0')
	}
	return m, nil
}

// decodeName reads a saslname: only =2C and =3D stand for a comma and an equals
// sign, and any other use of '=' is refused (RFC 5802 §5.1).
func decodeName(s string) (string, bool) {
	if strings.IndexByte(s, '=') < 0 {
		return s, s != "" && strings.IndexByte(s, ',') < 0
	}
	var b strings.Builder
	for {
		before, after, ok := strings.Cut(s, "=")
		b.WriteString(before)
		if !ok {
			break
		}
		switch {
		case strings.HasPrefix(after, "2C"):
			b.WriteByte(',')
		case strings.HasPrefix(after, "3D"):
			b.WriteByte('=')
		default:
			return "", false
		}
		s = after[2:]
	}
	return b.String(), true
}

var nameEscapes = strings.NewReplacer("=", "=3D", ",", "=2C")

// encodeName writes a saslname.
func encodeName(s string) string { return nameEscapes.Replace(s) }

func isBindingName(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !isLetter(c) && (c < '0' || c > '9') && c != '.' && c != '-' {
			return false
		}
	}
	return s != ""
}

// isNonce says that s is a c-nonce or a whole nonce: printable ASCII without
// comma. The text was checked for commas by whoever cut it out.
func isNonce(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] >= 0x7f || s[i] == ',' {
			return false
		}
	}
	return s != "" && len(s) <= maxNonce
}

// isBase64 checks the form only. encoding/base64 would pass over line ends.
func isBase64(s string) bool {
	if s == "" || len(s)%4 != 0 {
		return false
	}
	body := strings.TrimRight(s[len(s)-2:], "=")
	body = s[:len(s)-2] + body
	for i := 0; i < len(body); i++ {
		c := body[i]
		if !isLetter(c) && (c < '0' || c > '9') && c != '+' && c != '/' {
			return false
		}
	}
	return true
}

// areExtensions says that s is a list of optional extensions, which are to be
// ignored (RFC 5802 §5.1). An attribute that has its own place is none.
func areExtensions(s string) bool {
	for a := range strings.SplitSeq(s, ",") {
		if len(a) < 3 || a[1] != '=' || !isLetter(a[0]) || strings.IndexByte("anmrcpsive", a[0]) >= 0 {
			return false
		}
	}
	return true
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
