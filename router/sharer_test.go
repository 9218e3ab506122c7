package router

import (
	"testing"

	"jackdaw/xmpp/jid"
)

func TestStrangersCountByTheirRegisteredDomain(t *testing.T) {
	r := New(Options{Hosts: []string{"example.org"}})
	r.Use(Module{Name: "rooms", Service: &Service{Domains: func() []string { return []string{"rooms.example.org"} }}})
	for from, want := range map[string]string{
		"a@example.org/x":          "a@example.org",
		"room@rooms.example.org/n": "room@rooms.example.org",
		"a@evil.example":           "evil.example",
		"b@1.evil.example/x":       "evil.example",
		"2.3.evil.example":         "evil.example",
		"a@xmpp.evil.co.uk":        "evil.co.uk",
		"a@xn--mnchen-3ya.de":      "münchen.de",
		"a@sub.münchen.de":         "münchen.de",
		"a@localhost":              "localhost",
		"a@10.0.0.7":               "10.0.0.7",
		"a@[2001:db8::1]":          "[2001:db8::1]",
		"a@co.uk":                  "co.uk",
	} {
		if got := r.Sharer(jid.MustParse(from)); got != want {
			t.Errorf("%s counts as %s, not as %s", from, got, want)
		}
	}
}
