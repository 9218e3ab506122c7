package notice

import (
	"math"
	"strconv"
	"strings"
)

// Bounds of a rich message: the bytes of its texts, and what it consists of. A body can hold far more than anybody
// reads, and all of it would be turned from one markup into another.
const (
	maxRich  = 64 << 10
	maxParts = 100
)

// A rich message is read piece by piece into a notice: texts under each other, links, pictures and a level.
type rich struct {
	// markup turns a text of the sender into message styling.
	markup func(string) string

	n     Notice
	lines []string
	left  int    // bytes of texts that may still come
	said  string // what stands in front, and need not be repeated
	alone bool   // it consists of one part, whose link may stand below
}

func newRich(markup func(string) string) *rich { return &rich{markup: markup, left: maxRich} }

// styled is a text in message styling, as far as there is room for it.
func (r *rich) styled(s string) string { return strings.TrimSpace(r.markup(r.take(s))) }

// take is a text as far as there is room for it.
func (r *rich) take(s string) string {
	s = strings.TrimSpace(s)
	cut := head(s, r.left)
	r.left -= len(cut)
	if len(cut) < len(s) {
		r.left = 0
		cut += "…"
	}
	return cut
}

// add puts a text below the others, in message styling already.
func (r *rich) add(s string) {
	if s == "" || len(r.lines) > maxParts*10 {
		return
	}
	// COMPAT(Uptime Kuma): its blocks say what the text above them says.
	if len(s) > 3 && len(r.said) <= maxMarkup && strings.Contains(r.said, s) {
		return
	}
	r.lines = append(r.lines, s)
}

// field is a line that has a name.
func (r *rich) field(name, value string) {
	switch {
	case value == "":
		r.add(name)
	case name == "":
		r.add(value)
	case len(value) > 3 && len(r.said) <= maxMarkup && strings.Contains(r.said, value):
	case strings.Contains(value, "\n"):
		r.add(name + ":\n" + value)
	default:
		r.add(strings.TrimRight(name, ": ") + ": " + value)
	}
}

// heading is the title of a part. The first is the title of the notice, where nothing stands above it.
func (r *rich) heading(title, link string) {
	if !linkable(link) {
		link = ""
	}
	first := r.n.Title == "" && r.said == ""
	switch {
	case title == "" && link == "":
	case first && title != "" && r.alone:
		r.n.Title, r.n.Link = title, link
	case first && title != "":
		r.n.Title = title
		r.add(link)
	case title == "":
		r.add(link)
	case link != "" && r.alone:
		r.add(bold(title))
		r.link("", link)
	case link != "":
		r.add(title + ": " + link)
	default:
		r.add(bold(title))
	}
}

// link puts a link below the text.
func (r *rich) link(label, address string) {
	if !linkable(address) || len(r.n.Links) >= maxParts {
		return
	}
	if r.n.Link == "" && label == "" {
		r.n.Link = address
	} else {
		r.n.Links = append(r.n.Links, Link{Label: label, URL: address})
	}
}

// picture attaches a picture that is on the web.
func (r *rich) picture(address string) {
	if linkable(address) && len(r.n.Attachments) < maxImages {
		r.n.Attachments = append(r.n.Attachments, Attachment{URL: address})
	}
}

// colour raises the level to that of a colour.
func (r *rich) colour(c string) { r.n.Level = max(r.n.Level, colourLevel(c)) }

// notice is what was read; false where that is nothing.
func (r *rich) notice() (Notice, bool) {
	r.n.Text = strings.Join(r.lines, "\n")
	return r.n, !r.n.Empty()
}

// bold is a line in strong letters, unless there are such letters in it.
func bold(s string) string {
	if s == "" || strings.ContainsAny(s, "*\n`") {
		return s
	}
	return "*" + s + "*"
}

// colourLevel is what a colour means: red is an error, orange and yellow are a warning, any other says nothing.
func colourLevel(c string) Level {
	switch c = strings.ToLower(strings.TrimSpace(c)); c {
	case "danger":
		return Error
	case "warning":
		return Warning
	}
	c = strings.TrimPrefix(c, "#")
	if len(c) == 3 {
		c = string([]byte{c[0], c[0], c[1], c[1], c[2], c[2]})
	}
	n, err := strconv.ParseUint(c, 16, 32)
	if err != nil || len(c) != 6 {
		return Info
	}
	return rgbLevel(uint32(n))
}

// rgbLevel is the same for a number.
func rgbLevel(n uint32) Level {
	red, green, blue := float64(n>>16&255), float64(n>>8&255), float64(n&255)
	most := max(red, green, blue)
	span := most - min(red, green, blue)
	if most < 80 || span < most*0.4 || red < most { // dark or grey, or not mostly red
		return Info
	}
	hue := 60 * (green - blue) / span // degrees; red is 0
	switch {
	case math.Abs(hue) < 22:
		return Error
	case hue > 0:
		return Warning
	}
	return Info
}
