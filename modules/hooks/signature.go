package hooks

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// signatures are headers that hold an HMAC-SHA256 of the body, in hexadecimal digits.
var signatures = [...]string{
	"X-Hub-Signature-256", // GitHub, Gitea, Forgejo: sha256=HEX
	"X-Forgejo-Signature",
	"X-Gitea-Signature",
	"X-Gogs-Signature",
	headerGrafana,
}

const (
	headerGrafana   = "X-Grafana-Alerting-Signature"
	headerGrafanaAt = "X-Grafana-Alerting-Timestamp" // seconds; what is signed begins with it, and a colon
	// maxSkew is how old a request with a time may be, and how far ahead.
	maxSkew = 15 * time.Minute
)

// signed says whether one of the headers proves that the sender of the body knows the secret.
func signed(h http.Header, body []byte, secret string, now time.Time) bool {
	for _, name := range signatures {
		digits := strings.TrimPrefix(strings.TrimSpace(h.Get(name)), "sha256=")
		got, err := hex.DecodeString(digits)
		if err != nil || len(got) != sha256.Size {
			continue
		}
		mac := hmac.New(sha256.New, []byte(secret))
		if at := h.Get(headerGrafanaAt); name == headerGrafana && at != "" {
			n, err := strconv.ParseInt(at, 10, 64)
			if err != nil || now.Sub(time.Unix(n, 0)).Abs() > maxSkew {
				continue
			}
			mac.Write([]byte(at + ":"))
		}
		mac.Write(body)
		if hmac.Equal(got, mac.Sum(nil)) {
			return true
		}
	}
	return false
}

// payload is what Gitea and Forgejo sign of a form, or of a query: not all of it, but the JSON in it, which is all that
// the faces of forges read. "" of other requests.
func (c *call) payload() string {
	h := c.r.Header
	switch {
	case h.Get("X-Gitea-Event") == "" && h.Get("X-Forgejo-Event") == "", c.face != nil && c.face.Events == nil:
		return ""
	case len(c.body) == 0:
		return c.r.URL.Query().Get("payload")
	}
	form, err := url.ParseQuery(string(c.body))
	if err != nil {
		return ""
	}
	return form.Get("payload")
}
