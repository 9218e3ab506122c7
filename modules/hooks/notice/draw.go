package notice

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"jackdaw/xmpp"
)

// A Style is how the notices of a hook are drawn.
type Style struct {
	Max     int  // characters of the text; 0: DefaultMax
	Words   bool // marks are words in brackets, such as [FIRING], and not emoji
	Subject bool // the first line is the subject, too
	Nick    bool // the name that the sender asks for stands before the title: nothing else shows it
}

// A Drawing is a notice as a message. Both may stand in XML as they are, once escaped.
type Drawing struct {
	Subject string // "" is none
	Text    string
}

// Bounds of a drawing, in characters.
const (
	DefaultMax = 8000
	maxTitle   = 300
	maxLink    = 2000
	maxLinks   = 2
)

// levels are the names of levels, as they are shown.
var levels = [...]string{Debug + 1: "debug", Info + 1: "info", Notable + 1: "notice", Warning + 1: "warning",
	Error + 1: "error", Critical + 1: "critical"}

// String is the name of the level.
func (l Level) String() string {
	if l < Debug || l > Critical {
		return fmt.Sprintf("level %d", int8(l))
	}
	return levels[l+1]
}

// ParseLevel is the level of that name. Names that others have for one are taken, too.
func ParseLevel(name string) (Level, bool) {
	switch name = strings.ToLower(strings.TrimSpace(name)); name {
	case "information", "informational", "not classified", "none", "ok", "up":
		return Info, true
	case "warn", "minor", "unknown":
		return Warning, true
	case "err", "major", "average", "high", "unreachable":
		return Error, true
	case "crit", "fatal", "emergency", "emerg", "alert", "page", "disaster", "down":
		return Critical, true
	}
	i := slices.Index(levels[:], name)
	return Level(i - 1), i >= 0
}

// Empty says whether there is nothing to be shown.
func (n *Notice) Empty() bool {
	return strings.TrimSpace(n.Title) == "" && strings.TrimSpace(n.Text) == "" && len(n.links()) == 0 &&
		len(n.Attachments) == 0
}

// Draw makes the text of a message:
//
//	🔥 FIRING · critical · DiskFull  (2)
//	db1: /var 97 % used, full in 3 h
//	db2: /var 91 % used
//	https://prom.example/graph?…
//
// The first line carries everything, since lists of chats and notifications show only that. Before the title stand a
// mark, the state, the level, and where the notice comes from. A notice without a title is its text as it is, with a
// mark only where nothing else says its level. The lines behind it are at most two links, and a text that is too long
// ends with what is left out. Characters that XML forbids are replaced.
func Draw(n *Notice, s Style) Drawing {
	if s.Max <= 0 {
		s.Max = DefaultMax
	}
	head, text := n.head(s), clean(n.Text)
	if head == "" {
		head, text, _ = strings.Cut(n.mark(s)+n.from(s, text)+text, "\n")
	}
	links := n.links()
	for len(links) > 0 && strings.Contains("\n"+text+"\n", "\n"+links[0]+"\n") {
		links = links[1:] // it stands there already
	}
	left := s.Max
	for _, l := range links {
		left -= 1 + utf8.RuneCountInString(l)
	}
	whole := strings.Trim(head+"\n"+text, "\n")
	whole = n.cut(whole, max(left, s.Max/2))
	for _, l := range links {
		if left := s.Max - utf8.RuneCountInString(whole); left > utf8.RuneCountInString(l) {
			whole = strings.TrimLeft(whole+"\n"+l, "\n")
		}
	}
	d := Drawing{Text: whole}
	if s.Subject {
		d.Subject = FirstLine(whole, maxTitle)
	}
	return d
}

// head is the line with the title, "" without one.
func (n *Notice) head(s Style) string {
	title := shorten(strings.Join(strings.Fields(clean(n.Title)), " "), maxTitle)
	if title == "" {
		return ""
	}
	var b strings.Builder
	b.WriteString(n.mark(s))
	if n.State == Firing {
		if !s.Words {
			b.WriteString("FIRING · ")
		}
		if n.Level != Info {
			b.WriteString(n.Level.String() + " · ")
		}
	} else if n.State == Resolved && !s.Words {
		b.WriteString("RESOLVED · ")
	}
	b.WriteString(n.from(s, title))
	b.WriteString(title)
	if n.Count > 1 {
		fmt.Fprintf(&b, "  (%d)", n.Count)
	}
	return b.String()
}

// mark is what the first line begins with, and a space behind it; "" for what is nothing special.
func (n *Notice) mark(s Style) string {
	emoji, word := "", ""
	switch {
	case n.State == Resolved:
		emoji, word = "✅", "RESOLVED"
	case n.Level >= Error:
		emoji, word = "🔥", n.Level.String()
	case n.Level == Warning:
		emoji, word = "⚠", n.Level.String()
	case n.Level == Notable || n.State == Firing:
		emoji, word = "ℹ", n.Level.String()
	}
	if n.State == Firing {
		word = "FIRING"
	}
	switch {
	case emoji == "" || n.State != Stateless && n.Title == "": // the text says its state itself
		return ""
	case s.Words:
		return "[" + strings.ToUpper(word) + "] "
	}
	return emoji + " "
}

// from is the name that stands before a text which does not have it, with a colon.
func (n *Notice) from(s Style, before string) string {
	name := n.Source
	if s.Nick && n.Nick != "" {
		name = n.Nick
	}
	name = shorten(strings.Join(strings.Fields(clean(name)), " "), maxTitle)
	first, _, _ := strings.Cut(before, "\n")
	if name == "" || says(first, name) {
		return ""
	}
	return name + ": "
}

// says says whether a line has the words of a name, and not merely their letters, as an address may.
func says(line, name string) bool {
	words := func(text string) string {
		fields := strings.Fields(text)
		for i, f := range fields {
			fields[i] = strings.Trim(f, ".,:;!?()[]{}<>*_`'\"“”„·")
		}
		return " " + strings.Join(fields, " ") + " "
	}
	return strings.Contains(words(line), words(name))
}

// links are the lines of links that can be shown.
func (n *Notice) links() (lines []string) {
	var seen []string
	for _, l := range append([]Link{{URL: n.Link}}, n.Links...) {
		address := strings.TrimSpace(l.URL)
		if len(lines) == maxLinks {
			break
		}
		if !linkable(address) || slices.Contains(seen, address) {
			continue
		}
		seen = append(seen, address)
		if label := shorten(strings.Join(strings.Fields(clean(l.Label)), " "), maxTitle); label != "" {
			address = label + ": " + address
		}
		lines = append(lines, address)
	}
	return lines
}

// linkable says whether an address may stand on a line of its own: an absolute one that clients open.
func linkable(address string) bool {
	if address == "" || len(address) > maxLink || strings.ContainsAny(address, " \t\r\n") || !xmpp.ValidText(address) {
		return false
	}
	u, err := url.Parse(address)
	if err != nil {
		return false
	}
	switch strings.ToLower(u.Scheme) {
	case "http", "https":
		return u.Host != ""
	case "xmpp", "mailto", "tel", "geo", "sip", "sips", "irc", "ircs", "matrix":
		return true
	}
	return false
}

// cut keeps at most so many characters, whole lines as far as it can, and says what it leaves out.
func (n *Notice) cut(text string, most int) string {
	if utf8.RuneCountInString(text) <= most {
		return text
	}
	lines := strings.Split(text, "\n")
	room := max(most-30, 1) // for the last line
	kept, used := 0, 0
	for kept < len(lines) {
		if used += utf8.RuneCountInString(lines[kept]) + 1; used > room {
			break
		}
		kept++
	}
	if kept == 0 { // not even the first
		return shorten(text, most)
	}
	unit, more := n.Unit, len(lines)-kept
	if unit == "" {
		unit = "lines"
	} else if shown := kept - 1; n.Count-shown > more { // there are more than the sender has told of
		more = n.Count - shown
	}
	if more == 1 && kept == 1 && len(lines[1]) > 0 { // the text is one long line
		return lines[0] + "\n" + shorten(lines[1], room-utf8.RuneCountInString(lines[0]))
	}
	return strings.Join(lines[:kept], "\n") + fmt.Sprintf("\n… (%d more %s)", more, clean(unit))
}

// FirstLine is the first line of a text, of at most so many characters.
func FirstLine(text string, most int) string {
	line, _, _ := strings.Cut(text, "\n")
	return shorten(line, most)
}

// shorten keeps at most so many characters, of which the last says that there were more.
func shorten(s string, most int) string {
	if len(s) <= most || utf8.RuneCountInString(s) <= most {
		return s
	}
	for i := range s {
		if most--; most <= 0 {
			return strings.TrimRight(s[:i], " \n") + "…"
		}
	}
	return s
}

// clean makes a text one of XML, with ends of lines as XML has them, and nothing around it.
func clean(s string) string {
	s = strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\r", "\n")
	lines := strings.Split(xmpp.MendText(s), "\n")
	for i, l := range lines {
		lines[i] = strings.TrimRight(l, " \t")
	}
	return strings.Trim(strings.Join(lines, "\n"), "\n")
}
