package styling

import (
	"html"
	"strings"
)

const (
	maxLabel   = 200  // bytes of a label that names a definition
	maxAddress = 2048 // bytes of the address of a link
)

// link reads a link or an image whose bracket opens at open.
func (s *scanner) link(open int, in where) bool {
	end, ok := s.match[open]
	if !ok {
		return false
	}
	label := s.s[open+1 : end]
	to, next, ok := s.target(end+1, label)
	if !ok {
		return false
	}
	inner := scanner{w: s.w, s: label, where: in}
	inner.scan()
	s.flush()
	if in == inAlternative && s.where == inLabel { // the image is the label: its own address is of no use
		to = ""
	}
	if same := strings.TrimSpace(label); same != "" && (same == to || "mailto:"+same == to) {
		s.pieces = append(s.pieces, piece{kind: address, text: same})
		s.i = next
		return true
	}
	s.pieces = append(s.pieces, inner.pieces...)
	if isAddress(to) {
		s.pieces = append(s.pieces, piece{kind: address, text: to, labelled: len(inner.pieces) > 0})
	}
	s.i = next
	return true
}

// target reads what follows the label of a link: "(address "title")", "[definition]", or nothing where the label is the
// name of a definition.
func (s *scanner) target(at int, label string) (to string, next int, ok bool) {
	if at < len(s.s) && s.s[at] == '(' && at < s.last {
		if to, next, ok = inParentheses(s.s[at+1:]); ok {
			return html.UnescapeString(to), at + 1 + next, true
		}
	}
	name := label
	if at < len(s.s) && s.s[at] == '[' {
		if end, paired := s.match[at]; paired {
			if end > at+1 {
				name = s.s[at+1 : end]
			}
			at = end + 1
		}
	}
	if len(name) > maxLabel {
		return "", 0, false
	}
	if to, ok = s.w.links[folded(name)]; !ok || s.w.room <= 0 {
		return "", 0, false
	}
	s.w.room -= len(to)
	return to, at, true
}

// inParentheses reads an address and perhaps a title, and says where the parenthesis has been closed.
func inParentheses(s string) (to string, next int, ok bool) {
	s = s[:min(len(s), 2*maxAddress)]
	i := len(s) - len(strings.TrimLeft(s, " "))
	if i < len(s) && s[i] == '<' {
		end := strings.IndexByte(s[i:], '>')
		if end < 0 {
			return "", 0, false
		}
		to, i = s[i+1:i+end], i+end+1
	} else {
		begin, depth := i, 0
		for ; i < len(s) && s[i] > ' ' && i-begin <= maxAddress; i++ {
			if s[i] == '(' {
				depth++
			} else if s[i] == ')' {
				if depth == 0 {
					break
				}
				depth--
			}
		}
		to = s[begin:i]
	}
	i += len(s[i:]) - len(strings.TrimLeft(s[i:], " "))
	if i < len(s) && strings.IndexByte(`"'(`, s[i]) >= 0 {
		closing := s[i]
		if closing == '(' {
			closing = ')'
		}
		end := strings.IndexByte(s[i+1:], closing)
		if end < 0 {
			return "", 0, false
		}
		i += end + 2
		i += len(s[i:]) - len(strings.TrimLeft(s[i:], " "))
	}
	if i >= len(s) || s[i] != ')' || len(to) > maxAddress {
		return "", 0, false
	}
	return to, i + 1, true
}

// isAddress says whether a text is an address that a client can open.
func isAddress(s string) bool {
	scheme, rest, ok := strings.Cut(s, ":")
	if !ok || rest == "" || len(scheme) < 2 || len(scheme) > 32 || strings.ContainsAny(s, " \n") {
		return false
	}
	for i := range len(scheme) {
		c := scheme[i] | 0x20
		if (c < 'a' || c > 'z') && (i == 0 || !strings.ContainsRune("+-.0123456789", rune(scheme[i]))) {
			return false
		}
	}
	return true
}
