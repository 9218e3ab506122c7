package web

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"jackdaw/xmpp/jid"
)

// Origins says which pages of browsers may speak to us (RFC 6454, Fetch): those of the hosts that are served here, and
// those that are configured. What is no browser says no origin and may.
type Origins struct {
	// Allowed are the configured ones, such as "https://chat.example.org"; "*" is any.
	Allowed func() []string
	// Serves says whether a domain is served here.
	Serves func(domain string) bool
}

// Allow looks at the origin of a request. It writes what lets the browser give the answer to the page, and answers the
// question that a browser may ask before (the preflight). It says false where it has answered: to a page that may not,
// or to that question.
func (o Origins) Allow(w http.ResponseWriter, r *http.Request) bool {
	origin := r.Header.Get("Origin")
	w.Header().Add("Vary", "Origin")
	if origin != "" && !o.allows(origin) {
		http.Error(w, "Forbidden: pages of "+printable(origin)+" may not connect here; web.origins of the configuration "+
			"says which may.", http.StatusForbidden)
		return false
	}
	if origin != "" {
		w.Header().Set("Access-Control-Allow-Origin", origin)
	}
	if r.Method != http.MethodOptions {
		return true
	}
	w.Header().Set("Allow", "GET, POST, OPTIONS")
	w.Header().Set("Access-Control-Allow-Methods", "GET, POST, OPTIONS")
	w.Header().Set("Access-Control-Allow-Headers", "Content-Type")
	w.Header().Set("Access-Control-Max-Age", "7200")
	w.WriteHeader(http.StatusNoContent)
	return false
}

func (o Origins) allows(origin string) bool {
	allowed := o.Allowed()
	if slices.Contains(allowed, "*") || slices.ContainsFunc(allowed, func(a string) bool {
		return strings.EqualFold(strings.TrimRight(a, "/"), origin)
	}) {
		return true
	}
	u, err := url.Parse(origin)
	if err != nil {
		return false
	}
	// A page in clear is whoever sits on the way, but on this machine.
	host := strings.ToLower(u.Hostname())
	if u.Scheme != "https" && (u.Scheme != "http" || host != "localhost") {
		return false
	}
	name, err := jid.Parse(host) // an origin has A-labels (RFC 6454 §6.2), a host of ours U-labels
	return err == nil && name.IsDomain() && o.Serves(name.Domain())
}

// printable is what may stand in an answer.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s[:min(len(s), 100)])
}
