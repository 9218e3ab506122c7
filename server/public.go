package server

import (
	"net"
	"slices"
	"strconv"
	"strings"

	"jackdaw/config"
)

// publicURL is where others reach what HTTP serves for a host, without a slash at its end: the URL that is configured,
// else that of a listener with HTTPS which others reach under the name of the host. It is "" where there is none that
// works.
func publicURL(c *config.Config, host string, l *config.Listen) string {
	if c.HTTP.URL != "" && servesHTTP(l) {
		return c.HTTP.URL
	}
	name, err := asciiName(host)
	if err != nil {
		return ""
	}
	for _, addr := range slices.Concat(l.TLS, l.HTTPS) {
		switch port := publicPort(addr, host); port {
		case 0:
		case 443:
			return "https://" + name
		default:
			return "https://" + name + ":" + strconv.Itoa(port)
		}
	}
	return ""
}

// programsURL is where programs post to a host: as publicURL, but for a server that only this machine reaches the plain
// listener, since a program would not take the certificate that such a server has made for itself.
func programsURL(c *config.Config, host string, l *config.Listen) string {
	url := publicURL(c, host, l)
	if url != "" && (c.HTTP.URL != "" || host != "localhost") {
		return url
	}
	for _, addr := range l.HTTP {
		if strings.HasPrefix(addr, "unix:") || !config.Loopback(addr) {
			continue
		}
		if at, port, err := net.SplitHostPort(addr); err == nil && port != "0" {
			return "http://" + net.JoinHostPort(at, port)
		}
	}
	return url
}

// urlOf is publicURL of what runs.
func (h *house) urlOf(host string) string {
	cfg := h.cfg.Load()
	return publicURL(cfg, host, &cfg.Listen)
}

// servesHTTP says whether there is a listener behind which a proxy finds what HTTP serves.
func servesHTTP(l *config.Listen) bool { return len(l.HTTP)+len(l.HTTPS)+len(l.TLS) > 0 }

// publicPort is the port at which others reach a listener under the name of a host, 0 if they do not, or not always at
// the same: what is on loopback is reached as localhost alone.
func publicPort(addr, host string) int {
	at, port, err := net.SplitHostPort(addr)
	n, bad := strconv.Atoi(port)
	if err != nil || bad != nil {
		return 0
	}
	if config.Loopback(addr) && (host != "localhost" || at != "localhost" && at != "127.0.0.1" && at != "::1") {
		return 0
	}
	return n
}
