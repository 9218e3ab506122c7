// Package styling makes plain text with Message Styling (XEP-0393) of what others write in Markdown (CommonMark, with
// GitHub's tables and strikethrough), for clients that show neither: bold, emphasis, code, strikethrough, quotes and
// blocks of code become the directives of XEP-0393, a link becomes "label: address", headings and the heads of tables
// are bold, lists stay lists.
//
// Lines stay lines, since a chat is no page: a span that goes over several lines is left as it was written, as XEP-0393
// has no such span. Left out: HTML, of which only the text remains, and footnotes. XEP-0393 has no escapes either: what
// Markdown escapes may be styled.
//
// The time is that of one pass, whatever the text: docs/decisions/0037-one-engine-for-posts.md says why no library is
// used.
package styling

import (
	"strings"

	"jackdaw/xmpp"
)

// maxQuotes is how many quotes may be inside each other; further marks are text.
const maxQuotes = 16

// FromMarkdown returns the text with directives of XEP-0393 for a document in Markdown. Every character of it is one
// that XML allows. It may be longer than the document, eight times at most.
func FromMarkdown(document string) string {
	w := &writer{links: map[string]string{}}
	document = strings.ReplaceAll(strings.ReplaceAll(document, "\r\n", "\n"), "\r", "\n")
	w.lines = strings.Split(document, "\n")
	w.room = 2*len(document) + 1024
	w.definitions()
	for i, line := range w.lines {
		if strings.Contains(line, "-->") {
			w.lastComment = i
		}
	}
	for w.at = 0; w.at < len(w.lines); w.at++ {
		w.line(w.lines[w.at])
	}
	w.endBlock()
	return strings.TrimRight(w.out.String(), "\n")
}

// A writer goes through the lines of a document.
type writer struct {
	lines []string
	at    int // the line that is read
	out   strings.Builder
	links map[string]string // by label: definitions of addresses
	room  int               // how much may be written before definitions are no longer used

	quotes int    // of the line before
	fence  string // that began the block of code we are in; "": none. four: it is made by indentation
	indent int    // of that fence
	blanks int    // empty lines that are held back
	begun  bool   // something was written
	inList bool   // the lines before belong to a list

	comment     bool // we are in a comment of HTML
	lastComment int  // the last line that could end one
}

const four = "    " // the indentation that makes code

// definitions takes the definitions of link addresses out of the document.
func (w *writer) definitions() {
	fence := ""
	kept := w.lines[:0]
	for _, line := range w.lines {
		_, text := unquote(line)
		switch mark := fenceOf(text); {
		case fence != "" && closes(text, fence):
			fence = ""
		case fence == "" && mark != "":
			fence = mark
		case fence == "":
			if label, address, ok := definition(text); ok {
				if _, again := w.links[label]; !again {
					w.links[label] = address
				}
				continue
			}
		}
		kept = append(kept, line)
	}
	w.lines = kept
}

// definition reads "[label]: address".
func definition(line string) (label, address string, ok bool) {
	rest, found := strings.CutPrefix(strings.TrimLeft(line, " "), "[")
	if !found || len(line)-len(rest) > 4 {
		return "", "", false
	}
	label, rest, found = strings.Cut(rest, "]:")
	if !found || len(label) > maxLabel || strings.ContainsAny(label, "[]") || strings.TrimSpace(label) == "" {
		return "", "", false
	}
	address, title, _ := strings.Cut(strings.TrimSpace(rest), " ")
	address = strings.TrimSuffix(strings.TrimPrefix(address, "<"), ">")
	if title = strings.TrimSpace(title); title != "" && !strings.ContainsRune(`"'(`, rune(title[0])) {
		return "", "", false
	}
	if address == "" || len(address) > maxAddress || strings.HasPrefix(label, "^") {
		return "", "", false
	}
	return folded(label), address, true
}

func folded(label string) string { return strings.ToLower(strings.Join(strings.Fields(label), " ")) }

// unquote counts the marks of quotes at the beginning of a line and returns what follows them.
func unquote(line string) (quotes int, rest string) {
	for quotes < maxQuotes {
		text := strings.TrimLeft(line, " ")
		if len(line)-len(text) > 3 || !strings.HasPrefix(text, ">") {
			break
		}
		quotes++
		line = strings.TrimPrefix(text[1:], " ")
	}
	return quotes, line
}

// fenceOf is the mark that opens a block of code on this line, "" if there is none.
func fenceOf(line string) string {
	text := strings.TrimLeft(line, " \t")
	for _, c := range "`~" {
		mark := text[:len(text)-len(strings.TrimLeft(text, string(c)))]
		if len(mark) >= 3 && (c == '~' || !strings.Contains(text[len(mark):], "`")) {
			return mark
		}
	}
	return ""
}

// closes says whether a line ends the block of code that a mark has begun.
func closes(line, mark string) bool {
	text := strings.TrimSpace(line)
	return len(text) >= len(mark) && strings.Trim(text, mark[:1]) == ""
}

// put writes lines with the marks of the quotes they are in.
func (w *writer) put(quotes int, text string) {
	if w.begun {
		for range min(w.blanks, 1) {
			w.out.WriteString("\n")
		}
		w.out.WriteString("\n")
	}
	w.blanks, w.begun = 0, true
	for i, line := range strings.Split(text, "\n") {
		if i > 0 {
			w.out.WriteString("\n")
		}
		line = strings.Repeat("> ", quotes) + valid(line) // XEP-0393 §5.1.3
		w.out.WriteString(strings.TrimRight(line, " \t"))
	}
}

// valid is a text without the characters that XML does not allow.
func valid(s string) string {
	if xmpp.ValidText(s) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if !xmpp.ValidText(string(r)) {
			return '\uFFFD'
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

// endBlock ends a block of code.
func (w *writer) endBlock() {
	if w.fence != "" {
		w.fence = ""
		w.blanks = 0
		w.put(w.quotes, "```")
	}
}

// line writes one line.
func (w *writer) line(line string) {
	if w.comment {
		_, after, ended := strings.Cut(line, "-->")
		if w.comment = !ended; strings.TrimSpace(after) == "" {
			return
		}
		line = after
	}
	quotes, text := unquote(line)
	if quotes != w.quotes && (quotes < w.quotes || w.fence != "") { // XEP-0393 §5.1.2: code ends with what it is in
		w.endBlock()
		w.inList = false
	}
	w.quotes = quotes
	if w.fence != "" && w.code(text) {
		return
	}
	trimmed := strings.TrimSpace(text)
	if trimmed == "" {
		if quotes > 0 {
			w.put(quotes, "")
		} else {
			w.blanks++
		}
		return
	}
	if w.opens(text) {
		return
	}
	w.prose(text, trimmed)
}

// code writes a line of a block of code; it is false for the first line behind one.
func (w *writer) code(text string) bool {
	switch {
	case w.fence == four && strings.TrimSpace(text) == "":
		w.blanks++
		return true
	case w.fence == four && !strings.HasPrefix(text, four):
		blanks := w.blanks
		w.endBlock()
		w.blanks = blanks
		return false
	case w.fence != four && closes(text, w.fence):
		w.endBlock()
		return true
	}
	blanks := w.blanks
	w.blanks = 0
	for range blanks { // all of them belong to it
		w.put(w.quotes, "")
	}
	for n := w.indent; n > 0 && strings.HasPrefix(text, " "); n-- {
		text = text[1:]
	}
	if strings.TrimRight(text, " \t") == "```" {
		text = " " + text // it would end the block
	}
	w.put(w.quotes, text)
	return true
}

// opens begins a block of code if the line does.
func (w *writer) opens(text string) bool {
	if mark := fenceOf(text); mark != "" {
		trimmed := strings.TrimLeft(text, " \t")
		w.put(w.quotes, "```"+strings.TrimSpace(trimmed[len(mark):])) // XEP-0393 §5.1.2
		w.fence, w.indent = mark, len(text)-len(trimmed)
		return true
	}
	text = strings.Replace(text, "\t", four, 1)
	if !strings.HasPrefix(text, four) || w.inList || w.begun && w.blanks == 0 {
		return false
	}
	w.put(w.quotes, "```")
	w.fence, w.indent = four, len(four)
	return w.code(text)
}

// prose writes a line that is no code and not empty.
func (w *writer) prose(text, trimmed string) {
	switch {
	case isRule(trimmed):
		w.inList = false
		w.put(w.quotes, "———")
		return
	case w.table(trimmed):
		w.inList = false
		return
	}
	if heading, ok := headingOf(trimmed); ok {
		w.inList = false
		w.heading(heading)
		return
	}
	before := text[:len(text)-len(strings.TrimLeft(text, " \t"))]
	if mark, rest, ok := itemOf(trimmed); ok {
		w.inList = true
		w.put(w.quotes, before+mark+w.spans(rest, false))
		return
	}
	w.inList = w.inList && (before != "" || w.blanks == 0)
	if !w.inList {
		before = ""
	}
	if w.underlined() {
		w.heading(trimmed)
		w.at++
		return
	}
	trimmed = strings.TrimSuffix(trimmed, "\\") // a hard break
	if styled := w.spans(trimmed, false); strings.TrimSpace(styled) != "" {
		w.put(w.quotes, before+styled)
	} // else it was HTML without text
}

func (w *writer) heading(text string) {
	styled := strings.TrimSpace(strings.ReplaceAll(w.spans(text, true), "\n", " "))
	if styled != "" {
		w.put(w.quotes, bold(styled))
	}
}

// bold is a text as strong, with what follows a last address left out of it.
func bold(text string) string {
	if i := strings.LastIndex(text, ": "); i > 0 && isAddress(text[i+2:]) {
		return "*" + text[:i] + "*" + text[i:]
	}
	if isAddress(text) {
		return text
	}
	return "*" + text + "*"
}

// underlined says whether the next line makes this one a heading.
func (w *writer) underlined() bool {
	if w.at+1 >= len(w.lines) || w.inList {
		return false
	}
	quotes, next := unquote(w.lines[w.at+1])
	next = strings.TrimRight(next, " \t")
	return quotes == w.quotes && len(next) >= 2 && (strings.Trim(next, "=") == "" || strings.Trim(next, "-") == "")
}

// isRule says whether a line is a thematic break.
func isRule(line string) bool {
	line = strings.ReplaceAll(line, " ", "")
	return len(line) >= 3 && strings.ContainsRune("*-_", rune(line[0])) && strings.Trim(line, line[:1]) == ""
}

// headingOf is the text of a heading that begins with number signs.
func headingOf(line string) (string, bool) {
	rest := strings.TrimLeft(line, "#")
	level := len(line) - len(rest)
	if level == 0 || level > 6 || rest != "" && rest[0] != ' ' && rest[0] != '\t' {
		return "", false
	}
	rest = strings.TrimSpace(rest)
	if closed := strings.TrimRight(rest, "#"); closed == "" || strings.HasSuffix(closed, " ") {
		rest = strings.TrimSpace(closed)
	}
	return rest, true
}

// itemOf divides an item of a list into its mark and its text.
func itemOf(line string) (mark, rest string, ok bool) {
	digits := len(line) - len(strings.TrimLeft(line, "0123456789"))
	switch {
	case digits > 9 || digits >= len(line):
		return "", "", false
	case digits > 0 && (line[digits] == '.' || line[digits] == ')'):
		mark, rest = line[:digits+1], line[digits+1:]
	case digits == 0 && strings.IndexByte("-+*", line[0]) >= 0:
		mark, rest = "-", line[1:] // a star would look like a directive
	default:
		return "", "", false
	}
	if rest == "" || rest[0] != ' ' && rest[0] != '\t' {
		return "", "", false
	}
	return mark + " ", strings.TrimSpace(rest), true
}

// table writes a table of which this line is the head.
func (w *writer) table(head string) bool {
	if w.at+1 >= len(w.lines) || !strings.Contains(head, "|") {
		return false
	}
	quotes, below := unquote(w.lines[w.at+1])
	if below = strings.TrimSpace(below); quotes != w.quotes || !strings.Contains(below, "-") ||
		strings.Trim(below, "|-: ") != "" {
		return false
	}
	names := cells(head)
	if len(cells(below)) != len(names) {
		return false
	}
	w.row(names, bold)
	for w.at++; w.at+1 < len(w.lines); w.at++ {
		quotes, line := unquote(w.lines[w.at+1])
		if line = strings.TrimSpace(line); quotes != w.quotes || !strings.Contains(line, "|") {
			break
		}
		row := cells(line)
		w.row(row[:min(len(row), len(names))], nil)
	}
	return true
}

func (w *writer) row(cells []string, style func(string) string) {
	for i, c := range cells {
		c = strings.TrimSpace(strings.ReplaceAll(w.spans(strings.TrimSpace(c), style != nil), "\n", " "))
		if style != nil && c != "" {
			c = style(c)
		}
		cells[i] = c
	}
	w.put(w.quotes, strings.TrimSpace(strings.Join(cells, " | ")))
}

// cells divides a row; a bar can be escaped.
func cells(row string) []string {
	row = strings.TrimPrefix(row, "|")
	if strings.HasSuffix(row, "|") && !strings.HasSuffix(row, `\|`) {
		row = row[:len(row)-1]
	}
	var all []string
	begin := 0
	for i := 0; i < len(row); i++ {
		switch row[i] {
		case '\\':
			i++
		case '|':
			all = append(all, row[begin:i])
			begin = i + 1
		}
	}
	return append(all, row[begin:])
}
