package pages

import (
	"html/template"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// policy is what a browser may do with a page: show it with our stylesheet and icon, and send its forms to us. There is
// no script to allow (Content Security Policy Level 3).
const policy = "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; " +
	"frame-ancestors 'none'; base-uri 'none'"

// SetHeaders puts what every answer to a browser has; a page is private until somebody says otherwise.
func SetHeaders(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

// WithHeaders has every answer of a handler begin with them.
func WithHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		SetHeaders(w.Header())
		next.ServeHTTP(w, r)
	})
}

// Wanted says whether the client is a browser that shows pages: it names HTML among what it takes. Programs that say
// nothing, or "*/*", do not.
func Wanted(r *http.Request) bool {
	for _, line := range r.Header.Values("Accept") {
		for one := range strings.SplitSeq(line, ",") {
			kind, _, _ := strings.Cut(one, ";")
			if kind = strings.TrimSpace(kind); strings.EqualFold(kind, "text/html") ||
				strings.EqualFold(kind, "application/xhtml+xml") {
				return true
			}
		}
	}
	return false
}

// SameOrigin says whether a form comes from a page of ours, as far as the browser tells (Fetch Metadata, RFC 6454). It
// is a second lock beside a token in the form: a client that says nothing passes.
//
// With no-referrer a browser says "Origin: null" of our own forms, too; those that do so without Sec-Fetch-Site are too
// old to tell more.
func SameOrigin(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "same-origin", "none":
		return true
	case "":
	default:
		return false
	}
	origin := r.Header.Get("Origin")
	if origin == "" || origin == "null" {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && strings.EqualFold(u.Host, r.Host)
}

// Methods answers a request whose method is none of these with 405, and says whether it may go on.
func (s *Site) Methods(w http.ResponseWriter, r *http.Request, allowed ...string) bool {
	for _, m := range allowed {
		if r.Method == m {
			return true
		}
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	s.Error(w, r, http.StatusMethodNotAllowed)
	return false
}

// SafeURL is a link to something that a page may lead to; "" for what could run in it. The templates themselves let
// pass no more than http, https, mailto and tel.
func SafeURL(s string) template.URL {
	scheme, _, _ := strings.Cut(s, ":")
	switch strings.ToLower(scheme) {
	case "http", "https", "mailto", "tel", "xmpp":
		return template.URL(s)
	}
	return ""
}

// HostOf is the name in the field Host, in lower case and without a port.
func HostOf(r *http.Request) string {
	name := r.Host
	if host, _, err := net.SplitHostPort(name); err == nil {
		name = host
	}
	return strings.TrimSuffix(strings.ToLower(strings.Trim(name, "[]")), ".")
}
