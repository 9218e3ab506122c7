package styling

import (
	"html"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A piece is a part of a line: text, a run of delimiters, or the address of a link, which stands behind its label.
type piece struct {
	text     string // or the address
	kind     kind
	labelled bool // the address has a label before it

	// Of a run of delimiters.
	char          byte
	n             int // of them without a partner
	opens, closes bool
	inWord        [2]bool // there is a letter or digit before it, behind it
	ended, began  []mark  // the spans that end here, then those that begin, the innermost first
}

type kind uint8

const (
	words kind = iota
	run
	address
)

// A mark is one end of a span.
type mark struct {
	char byte // the directive of XEP-0393 §6
	seen bool // it is written: a word cannot be styled in part
}

// where is what the line is read as: links are not in links.
type where uint8

const (
	inLine where = iota
	inLabel
	inAlternative // the text for an image
)

// spans translates the spans of a line. strong says that what comes is bold as a whole.
func (w *writer) spans(line string, strong bool) string {
	if !strings.ContainsAny(line, "\\`*_~[]<&!") && !strings.Contains(line, "://") {
		return line
	}
	s := scanner{w: w, s: line}
	s.scan()
	s.pair()
	var b strings.Builder
	write(&b, s.pieces, strong)
	return b.String()
}

// A scanner divides a line into pieces.
type scanner struct {
	w      *writer
	s      string
	where  where
	i      int
	text   []byte // that belongs to no piece yet
	pieces []piece
	code   map[int]int // where spans of code end, by where they begin
	match  map[int]int // where brackets close, by where they open
	last   int         // the last ")" of the line
	arrow  int         // two more than the last end of a comment; 0: nobody has looked
}

func (s *scanner) scan() {
	s.codes()
	s.brackets()
	s.last = strings.LastIndexByte(s.s, ')')
	for s.i < len(s.s) {
		c := s.s[s.i]
		switch {
		case c == '\\' && s.i+1 < len(s.s) && isPunct(s.s[s.i+1]):
			s.text = append(s.text, s.s[s.i+1])
			s.i += 2
		case c == '`':
			s.tick()
		case c == '*' || c == '_' || c == '~':
			s.delimiters(c)
		case c == '!' && s.where != inAlternative && strings.HasPrefix(s.s[s.i:], "![") && s.link(s.i+1, inAlternative):
		case c == '[' && s.where == inLine && s.link(s.i, inLabel):
		case c == '<' && s.angle():
		case c == '&' && s.entity():
		case c == 'h' && s.bare():
		default:
			s.text = append(s.text, c)
			s.i++
		}
	}
	s.flush()
}

func (s *scanner) flush() {
	if len(s.text) > 0 {
		s.pieces = append(s.pieces, piece{text: string(s.text)})
		s.text = s.text[:0]
	}
}

func isPunct(c byte) bool {
	return c >= '!' && c <= '/' || c >= ':' && c <= '@' || c >= '[' && c <= '`' || c >= '{' && c <= '~'
}

// codes finds the spans of code: a run of grave accents to the next that is as long.
func (s *scanner) codes() {
	runs := map[int][]int{} // by length, where they begin
	var starts []int
	for i := 0; i < len(s.s); i++ {
		if s.s[i] != '`' {
			continue
		}
		n := ticks(s.s[i:])
		runs[n] = append(runs[n], i)
		starts = append(starts, i)
		i += n - 1
	}
	s.code = map[int]int{}
	end := 0
	for _, at := range starts {
		if at < end || at > 0 && s.s[at-1] == '\\' {
			continue
		}
		n := ticks(s.s[at:])
		list := runs[n]
		for len(list) > 0 && list[0] <= at {
			list = list[1:]
		}
		if runs[n] = list; len(list) > 0 {
			end = list[0] + n
			s.code[at] = end
		}
	}
}

func ticks(s string) int { return len(s) - len(strings.TrimLeft(s, "`")) }

// brackets finds which bracket closes which.
func (s *scanner) brackets() {
	if strings.IndexByte(s.s, '[') < 0 {
		return
	}
	s.match = map[int]int{}
	var open []int
	for i := 0; i < len(s.s); i++ {
		switch s.s[i] {
		case '\\':
			i++
		case '`':
			if end := s.code[i]; end > 0 {
				i = end - 1
			}
		case '[':
			open = append(open, i)
		case ']':
			if n := len(open); n > 0 {
				s.match[open[n-1]] = i
				open = open[:n-1]
			}
		}
	}
}

// tick reads a span of code, or grave accents that are none.
func (s *scanner) tick() {
	n := ticks(s.s[s.i:])
	end := s.code[s.i]
	if end == 0 {
		s.text = append(s.text, s.s[s.i:s.i+n]...)
		s.i += n
		return
	}
	code := s.s[s.i+n : end-n]
	if len(code) > 2 && code[0] == ' ' && code[len(code)-1] == ' ' {
		code = code[1 : len(code)-1]
	}
	// Nothing in a piece of text is looked at again. XEP-0393 §6.2.4 has one accent, and nothing may be one inside.
	if strings.IndexByte(code, '`') < 0 && strings.TrimSpace(code) == code && code != "" {
		code = "`" + code + "`"
	}
	s.text = append(s.text, code...)
	s.i = end
}

// delimiters reads a run of them (CommonMark §6.2).
func (s *scanner) delimiters(c byte) {
	n := 1
	for s.i+n < len(s.s) && s.s[s.i+n] == c {
		n++
	}
	before, _ := utf8.DecodeLastRuneInString(s.s[:s.i])
	after, _ := utf8.DecodeRuneInString(s.s[s.i+n:])
	if s.i == 0 {
		before = ' '
	}
	if s.i+n == len(s.s) {
		after = ' '
	}
	left := !unicode.IsSpace(after) && (!isMark(after) || unicode.IsSpace(before) || isMark(before))
	right := !unicode.IsSpace(before) && (!isMark(before) || unicode.IsSpace(after) || isMark(after))
	p := piece{kind: run, char: c, n: n, opens: left, closes: right, inWord: [2]bool{isWord(before), isWord(after)}}
	if c == '_' { // names with low lines stay what they are
		p.opens, p.closes = left && (!right || isMark(before)), right && (!left || isMark(after))
	}
	if c == '~' && n != 2 || !p.opens && !p.closes {
		s.text = append(s.text, s.s[s.i:s.i+n]...)
	} else {
		s.flush()
		s.pieces = append(s.pieces, p)
	}
	s.i += n
}

func isMark(r rune) bool { return unicode.IsPunct(r) || unicode.IsSymbol(r) }
func isWord(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

// tags are the names of HTML that are left out.
const tags = " a abbr b blockquote center code dd del details div dl dt em font h1 h2 h3 h4 h5 h6 hr i img ins kbd " +
	"li mark ol p picture pre q s samp small source span strike strong sub summary sup table tbody td th thead tr tt u " +
	"ul var video "

// angle reads an address in angle brackets, or a tag or a comment of HTML.
func (s *scanner) angle() bool {
	rest := s.s[s.i+1:]
	if strings.HasPrefix(rest, "!--") {
		return s.comment()
	}
	end := strings.IndexAny(rest, "<>\n")
	if end < 1 || rest[end] != '>' {
		return false
	}
	inside := rest[:end]
	name := strings.ToLower(strings.TrimPrefix(inside, "/"))
	if i := strings.IndexAny(name, " \t/"); i >= 0 {
		name = name[:i]
	}
	switch {
	case isAddress(inside) || strings.Contains(inside, "@") && !strings.ContainsAny(inside, " ="):
		s.text = append(s.text, strings.TrimPrefix(inside, "mailto:")...)
	case name == "br":
		s.text = append(s.text, '\n')
	case !strings.Contains(tags, " "+name+" "): // such as <host>, which somebody wants to be read
		return false
	}
	s.i += end + 2
	return true
}

// comment leaves a comment out. One that does not end on this line goes on until one that does.
func (s *scanner) comment() bool {
	if s.arrow == 0 {
		s.arrow = 2 + strings.LastIndex(s.s, "-->")
	}
	if s.i < s.arrow-2 {
		s.i += strings.Index(s.s[s.i:], "-->") + 3
		return true
	}
	if s.w.at >= s.w.lastComment {
		return false
	}
	s.w.comment = true
	s.i = len(s.s)
	return true
}

// entity reads a character that is named or numbered as in HTML.
func (s *scanner) entity() bool {
	end := strings.IndexByte(s.s[s.i:min(len(s.s), s.i+34)], ';')
	if end < 2 {
		return false
	}
	name := s.s[s.i : s.i+end+1]
	char := html.UnescapeString(name)
	if char == name {
		return false
	}
	if strings.ContainsAny(char, "\n\r") {
		char = " "
	}
	s.text = append(s.text, char...)
	s.i += end + 1
	return true
}

// bare reads an address that stands alone: no character of it is a delimiter.
func (s *scanner) bare() bool {
	rest := s.s[s.i:]
	if !strings.HasPrefix(rest, "http://") && !strings.HasPrefix(rest, "https://") {
		return false
	}
	end := strings.IndexAny(rest, " \t\n<>]`|")
	if end < 0 {
		end = len(rest)
	}
	end = len(strings.TrimRight(rest[:end], `*_~.,:;!?)'"`))
	s.text = append(s.text, rest[:end]...)
	s.i += end
	return true
}

// pair finds the partners of the delimiters. An opener is taken off the list once, so that this takes one pass.
func (s *scanner) pair() {
	var open []int        // pieces that may open a span
	waiting := [256]int{} // how many there are of a character
	for i := range s.pieces {
		p := &s.pieces[i]
		if p.kind != run {
			continue
		}
		for p.closes && p.n > 0 && waiting[p.char] > 0 {
			last := len(open) - 1
			o := &s.pieces[open[last]]
			if o.char == p.char {
				s.join(o, p)
			}
			if o.char != p.char || o.n == 0 {
				open = open[:last]
				waiting[o.char]--
			}
		}
		if p.opens && p.n > 0 {
			open = append(open, i)
			waiting[p.char]++
		}
	}
}

// join makes a span between two runs.
func (s *scanner) join(o, p *piece) {
	m, n := mark{char: '_'}, 1 // XEP-0393 §6.2.2
	if o.n >= 2 && p.n >= 2 {
		m, n = mark{char: '*'}, 2 // §6.2.1
	}
	if p.char == '~' {
		m.char = '~' // §6.2.3
	}
	m.seen = !o.inWord[0] && !p.inWord[1]
	o.n, p.n = o.n-n, p.n-n
	o.began, p.ended = append(o.began, m), append(p.ended, m)
}

// write puts the pieces together.
func write(b *strings.Builder, pieces []piece, strong bool) {
	var open []mark
	active := map[byte]bool{'*': strong}
	end := func(m *mark) {
		if m.seen {
			b.WriteByte(m.char)
			active[m.char], m.seen = false, false
		}
	}
	for i := range pieces {
		p := &pieces[i]
		switch p.kind {
		case words:
			b.WriteString(p.text)
		case address: // stays out of spans, so that clients find where it ends
			for k := len(open) - 1; k >= 0; k-- {
				end(&open[k])
			}
			if p.labelled {
				b.WriteString(": ")
			}
			b.WriteString(p.text)
		case run:
			for range p.ended {
				last := len(open) - 1
				end(&open[last])
				open = open[:last]
			}
			for range p.n {
				b.WriteByte(p.char)
			}
			for k := len(p.began) - 1; k >= 0; k-- {
				m := p.began[k]
				if m.seen = m.seen && !active[m.char]; m.seen {
					b.WriteByte(m.char)
					active[m.char] = true
				}
				open = append(open, m)
			}
		}
	}
}
