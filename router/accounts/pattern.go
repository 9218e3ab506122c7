package accounts

import (
	"errors"
	"fmt"
	"strings"

	"jackdaw/xmpp/jid"
)

// ErrPattern is returned for a pattern that could not match as meant.
var ErrPattern = errors.New("not a pattern of addresses, such as *@trac, *.example.com or alice@example.com")

// A Pattern matches addresses, whatever their resource:
//
//	alice@example.com    exactly this one
//	*@trac               any local part at trac; not trac itself, nor a subdomain
//	ticket-*@trac        local parts that start so; * is any run of characters, also none
//	trac                 trac itself and any local part at it
//	*.example.com        the subdomains of example.com, at any depth, and any local
//	                     part at them; not example.com itself
//	alice@*.example.com  alice at these
//	*@*                  every address with a local part
//
// and "*" alone every address there is.
//
// A * of the domain stands for whole labels and only at its start, since "*example.com" would match domains of other
// owners. The rest is normalised as an address is, so letter case and the two forms of international domains do not
// matter. The zero value matches nothing.
type Pattern struct {
	text  string // as written by String
	every bool   // "*"
	// at says that the address must have a local part, matched by local: the runs of characters between stars.
	at    bool
	local []string
	// domain is the whole domain, or what comes after "*", with its dot; "*" is the empty suffix.
	domain string
	suffix bool
}

// ParsePattern reads and normalises a pattern; the error wraps ErrPattern.
func ParsePattern(s string) (Pattern, error) {
	p, err := parsePattern(s)
	if err != nil {
		return Pattern{}, fmt.Errorf("%q: %w: %w", s, ErrPattern, err)
	}
	return p, nil
}

func parsePattern(s string) (Pattern, error) {
	if s == "*" {
		return Pattern{text: s, every: true}, nil
	}
	var p Pattern
	if strings.Contains(s, "/") {
		return p, errors.New("it has a resource")
	}
	local, domain, at := strings.Cut(s, "@")
	if !at {
		local, domain = "", s
	}
	switch rest, star := strings.CutPrefix(domain, "*."); {
	case domain == "*":
		p.suffix = true
	case strings.Contains(rest, "*"):
		return p, errors.New("the * of a domain stands at its start, before a dot")
	default:
		d, err := jid.New("", rest, "")
		if err != nil {
			return p, err
		}
		p.suffix, p.domain = star, d.Domain()
		if star {
			p.domain = "." + p.domain
		}
	}
	if at {
		if local == "" {
			return p, errors.New("nothing stands before the @")
		}
		p.at = true
		for run := range strings.SplitSeq(local, "*") {
			if run != "" {
				l, err := jid.New(run, "localhost", "")
				if err != nil {
					return p, err
				}
				run = l.Local()
			}
			p.local = append(p.local, run)
		}
		p.text = strings.Join(p.local, "*") + "@"
	}
	if p.suffix {
		p.text += "*"
	}
	p.text += p.domain
	return p, nil
}

// String returns the normalised pattern.
func (p Pattern) String() string { return p.text }

// Matches says whether the address is one of those meant. It does not allocate.
func (p Pattern) Matches(j jid.JID) bool {
	switch {
	case j.IsZero() || p.text == "":
		return false
	case p.every:
		return true
	case p.suffix && !strings.HasSuffix(j.Domain(), p.domain):
		return false
	case !p.suffix && j.Domain() != p.domain:
		return false
	case !p.at:
		return true
	}
	return j.Local() != "" && matchRuns(p.local, j.Local())
}

// matchRuns says whether s is the runs in their order with anything between them. There is one run at least.
func matchRuns(runs []string, s string) bool {
	s, ok := strings.CutPrefix(s, runs[0])
	if !ok || len(runs) == 1 {
		return ok && s == ""
	}
	last := len(runs) - 1
	// The earliest place for each run leaves the most for those after it.
	for _, run := range runs[1:last] {
		if _, s, ok = strings.Cut(s, run); !ok {
			return false
		}
	}
	return strings.HasSuffix(s, runs[last])
}
