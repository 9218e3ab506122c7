// Package styling turns the markup of others into that of messages (XEP-0393), which reads well as plain text, too.
package styling

import (
	"html"
	"strings"
	"unicode"
	"unicode/utf8"
)

// FromMarkdown turns Markdown into message styling: **strong** into *strong*, *emphasis* into _emphasis_, headings into
// strong lines, [label](address) into label: address. Code and quotes are the same in both; ends of lines stay, as in
// chats. What is not known stays as it is, and so does a line that is longer than any that somebody writes: the time
// that it takes grows with the length of the text, not faster.
func FromMarkdown(text string) string {
	var b strings.Builder
	fence := ""
	for i, line := range strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n") {
		if i > 0 {
			b.WriteByte('\n')
		}
		trimmed := strings.TrimSpace(line)
		switch {
		case fence != "":
			if b.WriteString(strings.Replace(line, "~~~", "```", 1)); trimmed == fence {
				fence = ""
			}
		case strings.HasPrefix(trimmed, "```") && !strings.Contains(trimmed[3:], "`"), strings.HasPrefix(trimmed, "~~~"):
			fence = trimmed[:3]
			b.WriteString("```" + trimmed[3:]) // XEP-0393 §5.1.2
		case len(line) > maxLine:
			b.WriteString(line)
		default:
			b.WriteString(block(line))
		}
	}
	return b.String()
}

// maxLine bounds the lines that are looked at, and near how far the end of something is looked for, in bytes.
const (
	maxLine = 4000
	near    = 1000
)

// block turns one line.
func block(line string) string {
	line = strings.TrimRight(line, " \t")
	indent := line[:len(line)-len(strings.TrimLeft(line, " \t"))]
	rest := line[len(indent):]
	if quote, ok := strings.CutPrefix(rest, ">"); ok {
		depth := 1
		for ; strings.HasPrefix(strings.TrimLeft(quote, " "), ">"); depth++ {
			quote = strings.TrimLeft(quote, " ")[1:]
		}
		return strings.TrimRight(strings.Repeat(">", depth)+" "+block(strings.TrimPrefix(quote, " ")), " ")
	}
	if title := strings.TrimLeft(rest, "#"); title != rest && len(rest)-len(title) <= 6 && strings.HasPrefix(title, " ") {
		title = strings.TrimSpace(strings.TrimRight(strings.TrimSpace(title), "#"))
		if title = inline(title, 0); title == "" || strings.HasPrefix(title, "*") && strings.HasSuffix(title, "*") {
			return title
		}
		return "*" + title + "*"
	}
	if item, ok := strings.CutPrefix(rest, "* "); ok {
		return indent + "- " + inline(item, 0)
	}
	if strings.HasSuffix(rest, `\`) && !strings.HasSuffix(rest, `\\`) { // the end of a line, which is one anyhow
		rest = rest[:len(rest)-1]
	}
	return indent + inline(rest, 0)
}

// spans are what text may stand between, the longer of two that begin alike first, and what message styling has for it
// (XEP-0393 §5.2).
var spans = [...]struct{ mark, styled string }{
	{"**", "*"}, {"__", "*"}, {"~~", "~"}, {"*", "_"}, {"_", "_"},
}

// inline turns the text of a line. Spans within spans go a few levels deep.
func inline(s string, depth int) string {
	var b strings.Builder
	var unclosed [len(spans)]bool // no such span is closed in what is left
	noLink := false               // there is no end of a link in what is left
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == '\\' && i+1 < len(s) && isPunct(s[i+1]):
			b.WriteByte(s[i+1])
			i += 2
			continue
		case c == '`':
			ticks := len(s[i:]) - len(strings.TrimLeft(s[i:], "`"))
			if end := strings.Index(until(s[i+ticks:], near), s[i:i+ticks]); end > 0 {
				b.WriteString("`" + strings.TrimSpace(s[i+ticks:i+ticks+end]) + "`")
				i += ticks + end + ticks
			} else {
				b.WriteString(s[i : i+ticks])
				i += ticks
			}
			continue
		case c == '<':
			end := strings.IndexAny(until(s[i:], near), "> \t")
			if end > 0 && s[i+end] == '>' && strings.Contains(s[i:i+end], "://") {
				b.WriteString(s[i+1 : i+end])
				i += end + 1
				continue
			}
		case c == '&':
			if end := strings.IndexByte(until(s[i:], 12), ';'); end > 0 {
				if text := html.UnescapeString(s[i : i+end+1]); !strings.HasSuffix(text, ";") {
					b.WriteString(text)
					i += end + 1
					continue
				}
			}
		case (c == '[' || c == '!' && strings.HasPrefix(s[i:], "![")) && !noLink && depth < maxNested:
			if noLink = !strings.Contains(s[i:], "]("); noLink {
				break
			}
			if label, address, used := link(strings.TrimPrefix(s[i:], "!")); used > 0 {
				if label = inline(label, depth+1); label == "" || label == address {
					b.WriteString(address)
				} else {
					b.WriteString(label + ": " + address)
				}
				i += used
				if c == '!' {
					i++
				}
				continue
			}
		}
		if styled, used := span(s, i, depth, &unclosed); used > 0 {
			b.WriteString(styled)
			i += used
			continue
		}
		_, size := utf8.DecodeRuneInString(s[i:])
		b.WriteString(s[i : i+size])
		i += size
	}
	return b.String()
}

// maxNested bounds the spans within spans; each level reads the text once more.
const maxNested = 4

// link reads [label](address "title"); used is 0 where there is none.
func link(s string) (label, address string, used int) {
	mid := strings.Index(until(s, near), "](")
	if mid < 0 {
		return "", "", 0
	}
	label = s[1:mid]
	rest, open := until(s[mid+2:], near), 0
	for end := range len(rest) {
		switch rest[end] {
		case '(':
			open++
			continue
		case ')':
			if open--; open < 0 {
				address, _, _ = strings.Cut(strings.TrimSpace(rest[:end]), " ")
				address = strings.TrimSuffix(strings.TrimPrefix(address, "<"), ">")
				if !strings.Contains(address, ":") && !strings.HasPrefix(address, "/") && !strings.HasPrefix(address, "#") {
					return "", "", 0
				}
				return label, address, mid + 2 + end + 1
			}
		}
	}
	return "", "", 0
}

// span reads what stands between two marks at i; used is 0 where there is nothing. What it has read it never reads
// again on the same level.
func span(s string, i, depth int, unclosed *[len(spans)]bool) (styled string, used int) {
	if depth >= maxNested {
		return "", 0
	}
	for n, sp := range spans {
		if !strings.HasPrefix(s[i:], sp.mark) {
			continue
		}
		from := i + len(sp.mark)
		word := sp.mark[0] == '_' // never within a word
		if unclosed[n] || from >= len(s) || unicode.IsSpace(runeAt(s, from)) || word && wordBefore(s, i) {
			continue
		}
		to := closing(s, from, sp.mark, word)
		if to < 0 {
			unclosed[n] = true
			continue
		}
		end := to + len(sp.mark)
		inner := strings.Trim(inline(s[from:to], depth+1), sp.styled) // strong within strong is no more than that
		if inner == "" {
			return s[i:end], end - i
		}
		return sp.styled + inner + sp.styled, end - i
	}
	return "", 0
}

// closing is where the mark closes a span that began before from, at least a character behind it; -1 is nowhere.
func closing(s string, from int, mark string, word bool) int {
	for at := from + 1; at+len(mark) <= min(len(s), from+near); at++ {
		if s[at] != mark[0] || !strings.HasPrefix(s[at:], mark) {
			continue
		}
		before, _ := utf8.DecodeLastRuneInString(s[:at])
		behind := at + len(mark)
		for len(mark) == 2 && behind < len(s) && s[behind] == mark[0] { // of *** the last two
			at, behind = at+1, behind+1
		}
		if unicode.IsSpace(before) || before == '\\' || word && behind < len(s) && isWord(runeAt(s, behind)) {
			continue
		}
		if len(mark) == 1 { // of ** one is none
			if s[at-1] == mark[0] || behind < len(s) && s[behind] == mark[0] {
				at++
				continue
			}
		}
		return at
	}
	return -1
}

// until is the beginning of a text.
func until(s string, most int) string { return s[:min(len(s), most)] }

func runeAt(s string, i int) rune { r, _ := utf8.DecodeRuneInString(s[i:]); return r }

func wordBefore(s string, i int) bool {
	r, size := utf8.DecodeLastRuneInString(s[:i])
	return size > 0 && isWord(r)
}

func isWord(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

func isPunct(c byte) bool { return strings.IndexByte("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", c) >= 0 }
