package server

import (
	"testing"

	"jackdaw/config"
)

// A hook of a server that is tried on one machine has an address that curl takes.
func TestWhereProgramsPost(t *testing.T) {
	for name, c := range map[string]struct {
		host, url        string
		http, https, tls []string
		want             string
	}{
		"as it comes":         {host: "localhost", http: []string{"127.0.0.1:5280"}, https: []string{"127.0.0.1:5284"}, want: "http://127.0.0.1:5280"},
		"without plain HTTP":  {host: "localhost", https: []string{"127.0.0.1:5284"}, want: "https://localhost:5284"},
		"open to others":      {host: "im.example.org", http: []string{"127.0.0.1:5280"}, https: []string{":5284"}, want: "https://im.example.org:5284"},
		"on the port of all":  {host: "im.example.org", http: []string{"127.0.0.1:5280"}, tls: []string{":443"}, want: "https://im.example.org"},
		"behind a proxy":      {host: "im.example.org", url: "https://im.example.org", http: []string{"127.0.0.1:5280"}, want: "https://im.example.org"},
		"nowhere for others":  {host: "im.example.org", http: []string{"[::1]:5280"}, https: []string{"127.0.0.1:5284"}, want: "http://[::1]:5280"},
		"on a socket alone":   {host: "im.example.org", http: []string{"unix:/run/jackdaw/http.sock"}, want: ""},
		"in clear for others": {host: "im.example.org", http: []string{"10.0.0.1:5280"}, want: ""},
	} {
		cfg := config.Default()
		cfg.HTTP.URL = c.url
		cfg.Listen = config.Listen{HTTP: c.http, HTTPS: c.https, TLS: c.tls}
		if got := programsURL(cfg, c.host, &cfg.Listen); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
