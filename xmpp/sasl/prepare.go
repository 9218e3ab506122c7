package sasl

import (
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/secure/precis"
	"golang.org/x/text/unicode/norm"
)

// Forms returns what a password may be when a client has prepared it, the first of them as SASLprep says (RFC 4013),
// which SCRAM asks for (RFC 5802 §2.2), the other as its successor OpaqueString does (RFC 8265 §4.2). They are the
// same, and there is one, for ASCII and nearly all else; they differ for characters with a compatibility mapping, such
// as ligatures and superscripts. A form that its rules forbid is left out; without any the error is ErrPassword.
//
// Of SASLprep the bidirectional rule and the ban on characters that Unicode 3.2 did not know are left out: clients that
// apply them refuse the password on their own.
func Forms(password string) ([]string, error) {
	if password == "" || len(password) > MaxPassword {
		return nil, ErrPassword
	}
	plain := true
	for i := 0; i < len(password) && plain; i++ {
		plain = password[i] >= ' ' && password[i] < 0x7f
	}
	if plain {
		return []string{password}, nil
	}
	if !utf8.ValidString(password) { // OpaqueString lets some invalid sequences pass
		return nil, ErrPassword
	}
	var forms []string
	if p := saslprep(password); p != "" && len(p) <= MaxPassword {
		forms = append(forms, p)
	}
	if p, err := precis.OpaqueString.String(password); err == nil && p != "" && len(p) <= MaxPassword &&
		!slices.Contains(forms, p) {
		forms = append(forms, p)
	}
	if len(forms) == 0 {
		return nil, ErrPassword
	}
	return forms, nil
}

// saslprep returns the empty string for what RFC 4013 §2.3 prohibits.
func saslprep(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case in(r, mappedToNothing): // RFC 4013 §2.1
			return -1
		case in(r, spaces):
			return ' '
		}
		return r
	}, s)
	s = norm.NFKC.String(s) // §2.2
	if strings.ContainsFunc(s, func(r rune) bool { return in(r, prohibited) }) {
		return ""
	}
	return s
}

func in(r rune, table [][2]rune) bool {
	return slices.ContainsFunc(table, func(x [2]rune) bool { return r >= x[0] && r <= x[1] })
}

// Tables of RFC 3454, as ranges.
var (
	mappedToNothing = [][2]rune{{0xAD, 0xAD}, {0x34F, 0x34F}, {0x1806, 0x1806}, {0x180B, 0x180D}, {0x200B, 0x200D},
		{0x2060, 0x2060}, {0xFE00, 0xFE0F}, {0xFEFF, 0xFEFF}} // B.1
	spaces = [][2]rune{{0xA0, 0xA0}, {0x1680, 0x1680}, {0x2000, 0x200A}, {0x202F, 0x202F}, {0x205F, 0x205F},
		{0x3000, 0x3000}} // C.1.2, without what B.1 has
	prohibited = [][2]rune{
		{0, 0x1F}, {0x7F, 0x9F}, {0x6DD, 0x6DD}, {0x70F, 0x70F}, {0x180E, 0x180E}, {0x200C, 0x200D}, {0x2028, 0x2029},
		{0x2060, 0x2063}, {0x206A, 0x206F}, {0xFEFF, 0xFEFF}, {0xFFF9, 0xFFFC}, {0x1D173, 0x1D17A}, // C.2
		{0xE000, 0xF8FF}, {0xF0000, 0x10FFFF}, // C.3, and C.4 of the last planes
		{0xFDD0, 0xFDEF}, {0xFFFE, 0xFFFF}, {0x1FFFE, 0x1FFFF}, // C.4
		{0xFFFD, 0xFFFD}, {0x2FF0, 0x2FFB}, {0x340, 0x341}, {0x200E, 0x200F}, {0x202A, 0x202E}, // C.6 to C.8
		{0xE0001, 0xE007F}, // C.9
	}
)
