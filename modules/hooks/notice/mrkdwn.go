package notice

import (
	"regexp"
	"strings"
	"unicode/utf8"
)

// maxMarkup bounds what may stand between < and > in a text of Slack, in bytes.
const maxMarkup = 4096

// mrkdwn turns what Slack calls mrkdwn into message styling. *strong*, _emphasis_, ~strike~, `code` and quotes are the
// same in both; links, names, escapes and emoji are not, and a block of code has its marks on lines of their own
// (XEP-0393 §5.1.2). It takes time that grows with the length of the text.
func mrkdwn(s string) string {
	var b strings.Builder
	line := true // at the beginning of one
	noCode := false
	for len(s) > 0 {
		written, used := s[:1], 1
		switch {
		case strings.HasPrefix(s, "```"):
			written, used = codeBlock(s, line)
		case s[0] == '`' && !noCode:
			end := strings.IndexAny(s[1:], "`\n")
			if end >= 0 && s[1+end] == '`' {
				written, used = unescape(s[:end+2]), end+2
			} else { // what is not closed on its line is a character
				noCode = true
			}
		case s[0] == '<':
			if text, n := markup(s); n > 0 {
				written, used = text, n
			}
		case s[0] == '&':
			written, used = entity(s)
		case s[0] == ':':
			if sign, n := emojiAt(s); n > 0 {
				written, used = sign, n
			}
		default:
			if used = strings.IndexAny(s, "`<&:\n"); used < 0 {
				used = len(s)
			} else if used == 0 { // the end of a line, or a sign that is none
				used, noCode = 1, noCode && s[0] != '\n'
			}
			// COMPAT(Grafana): its text for all receivers has Markdown.
			written = doubledStars.ReplaceAllString(s[:used], "*$1*")
		}
		b.WriteString(written)
		if written != "" {
			line = written[len(written)-1] == '\n'
		}
		s = s[used:]
	}
	return b.String()
}

var doubledStars = regexp.MustCompile(`\*\*([^\s*]|[^\s*][^*\n]*[^\s*])\*\*`)

// codeBlock is a block of code at the beginning of s, which needs lines of its own; without its end it is three signs.
func codeBlock(s string, line bool) (text string, used int) {
	end := strings.Index(s[3:], "```")
	if end < 0 {
		return s[:3], 3
	}
	used = 3 + end + 3
	code := strings.Trim(unescape(s[3:3+end]), "\r\n")
	if strings.TrimSpace(code) == "" {
		return s[:used], used
	}
	text = "```\n" + code + "\n```"
	if !line {
		text = "\n" + text
	}
	if rest := strings.TrimLeft(s[used:], " "); rest != "" && rest[0] != '\n' && rest[0] != '\r' {
		text += "\n"
	}
	return text, used
}

// markup is what stands between < and >, and how many bytes that are; 0 where it is none but a sign.
func markup(s string) (text string, used int) {
	end := strings.IndexAny(s[1:min(len(s), maxMarkup)], "<>\n")
	if end <= 0 || s[1+end] != '>' {
		return "", 0
	}
	target, label, labelled := strings.Cut(s[1:1+end], "|")
	target, label, used = unescape(target), plain(label), end+2
	switch target = strings.TrimSpace(target); {
	case target == "":
		return "", 0
	case target == "!here", target == "!channel", target == "!everyone":
		return "@all", used
	case target[0] == '!':
		if labelled {
			return label, used
		}
		// <!subteam^S1> is a group, <!date^…> should have a label.
		if _, id, ok := strings.Cut(target, "^"); ok {
			return "@" + id, used
		}
		return "@" + target[1:], used
	case target[0] == '@' || target[0] == '#':
		if label != "" {
			return target[:1] + strings.TrimLeft(label, "@#"), used
		}
		return target, used
	}
	scheme, rest, _ := strings.Cut(target, ":")
	if rest == "" || !isScheme(scheme) || strings.ContainsAny(target, " \t") {
		return "", 0
	}
	return linked(label, target), used
}

// linked is a link within a text: with its label, where that says more than the address.
func linked(label, address string) string {
	bare := strings.TrimSuffix(address, "/")
	for _, scheme := range [...]string{"https://", "http://", "mailto:", "tel:"} {
		bare = strings.TrimPrefix(bare, scheme)
	}
	switch label = strings.TrimSpace(label); label {
	case "", address, bare, bare + "/":
		return address
	}
	return label + ": " + address
}

// isScheme follows RFC 3986 §3.1.
func isScheme(s string) bool {
	for i := range len(s) {
		switch c := s[i] | 0x20; {
		case c >= 'a' && c <= 'z':
		case i > 0 && (s[i] >= '0' && s[i] <= '9' || strings.IndexByte("+-.", s[i]) >= 0):
		default:
			return false
		}
	}
	return s != ""
}

// plain is a text of Slack without markup: only what is escaped, and emoji.
func plain(s string) string {
	s = unescape(s)
	if strings.Count(s, ":") < 2 {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		at := strings.IndexByte(s, ':')
		if at < 0 {
			break
		}
		b.WriteString(s[:at])
		s = s[at:]
		if sign, n := emojiAt(s); n > 0 {
			b.WriteString(sign)
			s = s[n:]
		} else {
			b.WriteByte(':')
			s = s[1:]
		}
	}
	return b.String() + s
}

// unescape resolves the three escapes that Slack has, and no other.
func unescape(s string) string { return escapes.Replace(s) }

var escapes = strings.NewReplacer("&amp;", "&", "&lt;", "<", "&gt;", ">")

// entity is one of them at the beginning of s.
func entity(s string) (text string, used int) {
	for _, e := range [...]string{"&amp;", "&lt;", "&gt;"} {
		if strings.HasPrefix(s, e) {
			return unescape(e), len(e)
		}
	}
	return s[:1], 1
}

// head is at most so many bytes of a text, whole characters of it.
func head(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:max(most, 0)]
}
