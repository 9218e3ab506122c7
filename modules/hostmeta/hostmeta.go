// Package hostmeta tells over HTTP how one connects to a domain (XEP-0156), for clients that cannot ask the DNS, such
// as browsers: at /.well-known/host-meta as XRD, and at /.well-known/host-meta.json as JRD (RFC 6415 §3, Appendix A).
// Where the addresses of the server are known, the latter tells all ways and ports (XEP-0487).
//
// It is told to every origin: there is nothing in it that the DNS would not tell anybody.
//
// Left out: keys of Encrypted Client Hello, which TLS does not offer here, and QUIC.
package hostmeta

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"jackdaw/router"
	"jackdaw/xmpp"
)

// Path is what all paths of the service begin with.
const Path = "/.well-known/host-meta"

// The relations of links: ways for clients, and for servers.
const (
	WebSocket = "urn:xmpp:alt-connections:websocket" // XEP-0156
	BOSH      = "urn:xmpp:alt-connections:xbosh"
	TLS       = "urn:xmpp:alt-connections:tls" // XEP-0487
	ServerTLS = "urn:xmpp:alt-connections:s2s-tls"
)

// A Link is a way to connect.
type Link struct {
	Rel      string
	URL      string // of what is below HTTP; it is over TLS (XEP-0156 §2.2)
	Port     int    // of others
	Name     string // for SNI; its certificate is for this name or for the domain
	Priority int    // the lowest is to be tried first
}

// A Host is what is told of one domain.
type Host struct {
	Links     []Link
	Addresses []string // of all links; without them nothing is told that XEP-0487 adds
	TTL       time.Duration
	Pins      []string // SHA-256 of public keys in base64
}

// Module is the part in the router, which does nothing there.
func Module() router.Module {
	return router.Module{
		Name: "hostmeta",
		Specs: []router.Spec{
			{Name: "XEP-0156", Version: "1.4.0"},
			{Name: "XEP-0487", Version: "0.1.0",
				Note: "where the addresses are configured; without ECH, QUIC and s2s WebSocket"},
		},
	}
}

// Handler answers below Path. find returns what is told of the domain that a request names as its host, in lower
// case and without a port; false where that is none of ours.
func Handler(find func(name string) (Host, bool)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// XEP-0156, Implementation Notes: any web client may read these two, without credentials; nothing else says so.
		w.Header().Set("Access-Control-Allow-Origin", "*")
		var write func(Host) []byte
		kind := ""
		switch r.URL.Path {
		case Path:
			write, kind = xrd, "application/xrd+xml"
		case Path + ".json":
			write, kind = jrd, "application/json" // RFC 6415 §3
		default:
			http.NotFound(w, r)
			return
		}
		switch r.Method {
		case http.MethodGet, http.MethodHead:
		case http.MethodOptions:
			w.Header().Set("Access-Control-Allow-Methods", "GET, HEAD, OPTIONS")
			w.Header().Set("Access-Control-Allow-Headers", "Accept")
			w.WriteHeader(http.StatusNoContent)
			return
		default:
			w.Header().Set("Allow", "GET, HEAD, OPTIONS")
			http.Error(w, "Method not allowed.", http.StatusMethodNotAllowed)
			return
		}
		h, ok := find(hostOf(r.Host))
		if !ok || len(h.Links) == 0 {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", kind)
		w.Header().Set("Cache-Control", fmt.Sprintf("max-age=%d", h.TTL/time.Second))
		_, _ = w.Write(write(h)) // whoever asked has gone
	})
}

// hostOf is the name in a Host field.
func hostOf(field string) string {
	if name, _, err := net.SplitHostPort(field); err == nil {
		field = name
	}
	return strings.TrimSuffix(strings.ToLower(strings.Trim(field, "[]")), ".")
}

// xrd is for clients that know XEP-0156: ways below HTTP alone.
func xrd(h Host) []byte {
	b := []byte("<?xml version='1.0' encoding='utf-8'?>\n<XRD xmlns='http://docs.oasis-open.org/ns/xri/xrd-1.0'>\n")
	for _, l := range h.Links {
		if l.URL != "" {
			b = append(b, "  <Link rel='"+l.Rel+"' href='"...)
			b = append(xmpp.AppendAttr(b, l.URL), "'/>\n"...)
		}
	}
	return append(b, "</XRD>\n"...)
}

// document is a JRD.
type document struct {
	XMPP  *about `json:"xmpp,omitempty"` // XEP-0487 §2.1
	Links []link `json:"links"`
}

type about struct {
	TTL  int64    `json:"ttl"`
	Pins []string `json:"public-key-pins-sha-256,omitempty"`
}

type link struct {
	Rel  string `json:"rel"`
	Href string `json:"href,omitempty"`
	*place
}

// place is what XEP-0487 adds.
type place struct {
	Port     int      `json:"port,omitempty"`
	IPs      []string `json:"ips"`
	Priority int      `json:"priority"`
	Weight   int      `json:"weight"`
	SNI      string   `json:"sni"`
}

// jrd has the ways below HTTP, and where the addresses are known all of them.
func jrd(h Host) []byte {
	d := document{Links: []link{}}
	if len(h.Addresses) > 0 {
		d.XMPP = &about{TTL: int64(h.TTL / time.Second), Pins: h.Pins}
	}
	for _, l := range h.Links {
		one := link{Rel: l.Rel, Href: l.URL}
		switch {
		case d.XMPP != nil:
			one.place = &place{Port: l.Port, IPs: h.Addresses, Priority: l.Priority, SNI: l.Name}
		case l.URL == "":
			continue
		}
		d.Links = append(d.Links, one)
	}
	b, err := json.MarshalIndent(d, "", "  ")
	if err != nil { // there is nothing in it that has no form
		return []byte("{}\n")
	}
	return append(b, '\n')
}
