package console

import (
	"context"
	"fmt"
	"html/template"
	"strings"
	"sync"
	"time"

	"jackdaw/admin"
)

// Facts are what the server tells of itself.
type Facts interface {
	// About is what runs, and since when.
	About() About
	// Certificates are those in use, one for each host.
	Certificates() []Certificate
	// Disk is what the data directory takes; it may look for a while.
	Disk(ctx context.Context) Disk
	// Doctor looks at all hosts from outside; it takes its time.
	Doctor(ctx context.Context) []Finding
}

// About is what runs.
type About struct {
	Version, Storage string
	Since            time.Time
	Broken           string // why storage acknowledges nothing; "" if it does
	Room             string // what is said of a disk that gets full; "" if it does not
}

// A Certificate is that of a host.
type Certificate struct {
	Host, From, Issuer string
	Names              []string
	Until              time.Time
	Problem, Do        string // "" if it is good
	Refused            bool   // clients refuse it already
}

// A Disk is what is kept where.
type Disk struct {
	Path       string
	Free       int64
	Parts      []Part
	Incomplete bool // there was too much to look at
}

// A Part is a folder of the data directory.
type Part struct {
	Name  string
	Files int
	Bytes int64
}

// A Finding is what the doctor says.
type Finding struct{ Level, Domain, What, Why, Do string }

// A practice has the last findings of the doctor, and looks at one thing at a time.
type practice struct {
	mu      sync.Mutex // guards the rest
	running bool
	at      time.Time // of the last findings; zero: there are none
	found   []Finding
}

// doctorTime bounds an examination.
const doctorTime = 2 * time.Minute

// begin says whether the doctor is free, who is not from then on.
func (p *practice) begin() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running {
		return false
	}
	p.running = true
	return true
}

func (p *practice) end(found []Finding, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running, p.found, p.at = false, found, at
}

func (p *practice) last() (found []Finding, at time.Time, running bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.found, p.at, p.running
}

// A sessionTable is what the template of one sees.
type sessionTable struct {
	List  []admin.SessionInfo
	Token string
}

// functions are what templates may call.
func (c *Console) functions() template.FuncMap {
	return template.FuncMap{
		"bytes": size,
		"size":  func(n int) string { return size(int64(n)) },
		"pair":  func(list []admin.SessionInfo, token string) any { return sessionTable{list, token} },
		"at":    func(t time.Time) template.HTML { return moment(t, c.o.Now()) },
		"join":  func(s []string) string { return strings.Join(s, ", ") },
		"count": count,
		// XEP-0377 §4: the reasons that it names have a word of their own.
		"reason": func(s string) string { return strings.TrimPrefix(s, "urn:xmpp:reporting:") },
	}
}

// size is a number of bytes as people say it.
func size(n int64) string {
	units := []string{"bytes", "KiB", "MiB", "GiB", "TiB"}
	x, i := float64(n), 0
	for x >= 1000 && i < len(units)-1 {
		x /= 1024
		i++
	}
	switch {
	case i == 0:
		return fmt.Sprintf("%d bytes", n)
	case x < 10:
		return fmt.Sprintf("%.1f %s", x, units[i])
	}
	return fmt.Sprintf("%.0f %s", x, units[i])
}

// count is a number with its noun, such as 1 session.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// moment is a time for people, with the whole of it for those who point at it.
func moment(t, now time.Time) template.HTML {
	if t.IsZero() {
		return `<span class="soft">–</span>`
	}
	said := ""
	d := now.Sub(t)
	after := d < 0
	if after {
		d = -d
	}
	switch {
	case d < time.Minute:
		said = "moments"
	case d < 2*time.Hour:
		said = fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		said = fmt.Sprintf("%d hours", int(d.Hours()))
	default:
		said = fmt.Sprintf("%d days", int(d.Hours()/24))
	}
	if after {
		said = "in " + said
	} else {
		said += " ago"
	}
	iso := t.UTC().Format(time.RFC3339)
	return template.HTML(`<time datetime="` + iso + `" title="` + iso + `">` + said + `</time>`)
}
