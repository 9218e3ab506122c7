package server

import (
	"net"
	"slices"
	"strconv"

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
