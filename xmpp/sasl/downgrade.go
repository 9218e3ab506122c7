package sasl

import (
	"encoding/base64"
	"slices"
	"strings"
)

// Announcement is the text whose hash lets a client find out whether somebody has changed the lists of mechanisms and
// channel bindings on their way (XEP-0474 §5.1). Bindings are those announced by XEP-0440; nil where none were.
func Announcement(offered []Mechanism, bindings []Binding) string {
	names := make([]string, 0, len(offered))
	for _, m := range offered {
		names = append(names, string(m))
	}
	slices.Sort(names) // of octets
	text := strings.Join(names, "\x1e")
	if len(bindings) == 0 {
		return text
	}
	names = names[:0]
	for _, b := range bindings {
		names = append(names, b.Type)
	}
	slices.Sort(names)
	return text + "\x1f" + strings.Join(names, "\x1e")
}

// appendProtection appends to a server-first-message the optional attributes that prove to the client what it was shown
// (XEP-0474 §5.1) and over which version of TLS (XEP-0515 §4.1).
func (c *Config) appendProtection(dst []byte, h Hash) []byte {
	if c.Announced != "" {
		dst = append(dst, ",h="...)
		dst = base64.StdEncoding.AppendEncode(dst, h.sum(nil, []byte(c.Announced)))
	}
	if c.TLSVersion != 0 {
		const hex = "0123456789abcdef"
		v := c.TLSVersion
		dst = append(dst, ",t="...)
		dst = append(dst, hex[v>>12], hex[v>>8&15], hex[v>>4&15], hex[v&15])
	}
	return dst
}
