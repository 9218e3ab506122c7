package hooks

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"testing"
)

// Gitea signs the JSON in a form, and not the form.
func TestSignaturesOfForms(t *testing.T) {
	s := open(t)
	const secret = "It's a Secret to Everybody"
	forge := s.add("forge", func(h *Hook) { h.HMAC, h.Kind, h.Get = secret, "gitea", true })
	other := s.add("other", func(h *Hook) { h.HMAC, h.Kind = secret, "apprise" })
	const push = `{"ref":"refs/tags/v1","after":"1","repository":{"full_name":"a/b"},"sender":{"login":"ann"}}`
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(push))
	sign := "X-Gitea-Signature: " + hex.EncodeToString(mac.Sum(nil))
	event, form := "\nX-Gitea-Event: push", "\nContent-Type: application/x-www-form-urlencoded"
	payload := "payload=" + url.QueryEscape(push)
	for _, one := range []struct {
		name, method, path, header, body string
		status                           int
	}{
		{"JSON", "POST", forge, sign + event, push, 200},
		{"a form", "POST", forge, sign + event + form, payload, 200},
		{"a query", "GET", forge + "?" + payload, sign + event, "", 200},
		{"another form", "POST", forge, sign + event + form, payload + "x", 401},
		{"a form without a signature", "POST", forge, "X-Other: x" + event + form, payload, 401},
		{"a form of what signs all of it", "POST", forge, sign + "\nX-GitHub-Event: push" + form, payload, 401},
		{"a form for a face that reads its other fields", "POST", other, sign + event + form, payload + "&message=forged", 401},
	} {
		if got := s.ask(one.method, one.path, one.header, one.body); got.StatusCode != one.status {
			t.Errorf("%s: %d, want %d", one.name, got.StatusCode, one.status)
		}
	}
}
