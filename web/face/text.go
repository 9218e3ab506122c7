package face

import (
	"errors"
	"fmt"
	"html/template"
	"io"
	"os"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"jackdaw/web/pages"
)

// maxText is how many bytes a text may have.
const maxText = 64 << 10

// A Block is a heading, a paragraph or a list, one of the three.
type Block struct {
	Heading   string
	Paragraph []Span
	Items     [][]Span
}

// A Span is a piece of text, or a link.
type Span struct {
	Text string
	Link template.URL // "": none
}

// Read reads the text of a host from a file; "" is no text.
func Read(path string) (text []Block, err error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxText+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	switch {
	case len(b) > maxText:
		return nil, fmt.Errorf("%s has more than %d bytes", path, maxText)
	case !utf8.Valid(b):
		return nil, fmt.Errorf("%s is not UTF-8", path)
	}
	return Parse(string(b)), nil
}

// Parse reads plain text: paragraphs are parted by empty lines, a line that begins with "# " is a heading, lines that
// begin with "- " are a list. Addresses that begin with https:, mailto: or xmpp: are links. Nothing else means
// anything, HTML least of all.
func Parse(text string) (blocks []Block) {
	var lines []string // of a paragraph
	var items [][]Span
	end := func() {
		if lines != nil {
			blocks = append(blocks, Block{Paragraph: spans(strings.Join(lines, " "))})
		}
		if items != nil {
			blocks = append(blocks, Block{Items: items})
		}
		lines, items = nil, nil
	}
	text = strings.TrimPrefix(text, "\ufeff")
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimSpace(strings.Map(visible, line))
		heading, isHeading := strings.CutPrefix(line, "# ")
		item, isItem := strings.CutPrefix(line, "- ")
		switch {
		case line == "":
			end()
		case isHeading:
			end()
			blocks = append(blocks, Block{Heading: strings.TrimSpace(heading)})
		case isItem:
			if items == nil {
				end()
			}
			items = append(items, spans(strings.TrimSpace(item)))
		default:
			if lines == nil {
				end()
			}
			lines = append(lines, line)
		}
	}
	end()
	return blocks
}

// visible leaves out what is not seen and may turn the text around it.
func visible(r rune) rune {
	if r == '\t' {
		return ' '
	}
	if unicode.IsControl(r) || r >= '\u202a' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069' {
		return -1
	}
	return r
}

// address finds links, up to what ends a sentence.
var address = regexp.MustCompile(`\b(?:https://|mailto:|xmpp:)[^\s<>"]*[^\s<>".,;:!?()\[\]{}'’”»]`)

func spans(text string) (all []Span) {
	at := 0
	for _, m := range address.FindAllStringIndex(text, -1) {
		if m[0] > at {
			all = append(all, Span{Text: text[at:m[0]]})
		}
		all = append(all, Span{Text: spoken(text[m[0]:m[1]]), Link: pages.SafeURL(text[m[0]:m[1]])})
		at = m[1]
	}
	if at < len(text) {
		all = append(all, Span{Text: text[at:]})
	}
	return all
}
