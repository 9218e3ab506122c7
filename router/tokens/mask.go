package tokens

import "strings"

// masked is from how many characters after a prefix on something is taken for a token, or for what is left of one with
// a typing error. Ids are shorter, with their first characters or without.
const masked = 16

// Mask returns a text without the tokens in it: of each there is left what it begins with. It finds them by their form,
// also in a path that splits one after the prefix, in capitals, or with a typing error. It allocates only if there are
// any.
func Mask(s string) string {
	var b strings.Builder
	from := 0
	for i := 0; i+prefixLength <= len(s); i++ {
		if s[i] != 'j' && s[i] != 'J' || i > 0 && isLetter(s[i-1]) {
			continue
		}
		if k := Kind(strings.ToLower(s[i : i+prefixLength])); k != KindAccount && k != KindHook {
			continue
		}
		end := i + prefixLength
		if end < len(s) && s[end] == '/' {
			end++
		}
		begin := end
		for end < len(s) && isLetter(s[end]) {
			end++
		}
		if end-begin < masked {
			continue
		}
		b.WriteString(s[from : i+prefixLength])
		b.WriteString("…")
		from, i = end, end-1
	}
	if from == 0 {
		return s
	}
	b.WriteString(s[from:])
	return b.String()
}

// isLetter says whether something can be in a token, in capitals or not.
func isLetter(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
