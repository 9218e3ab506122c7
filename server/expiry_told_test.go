package server

import (
	"crypto/x509"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"jackdaw/modules"
	"jackdaw/server/certificates"
)

func TestAdministratorsAreToldOnceForEachTime(t *testing.T) {
	const day = 24 * time.Hour
	begun := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, row := range []struct {
		what  string
		w     watched
		at    []time.Duration // before the end, when they are told
		wants string
	}{
		{"a file", watched{hostCertificate: hostCertificate{file: "/etc/a.crt"}}, []time.Duration{10 * day, 3 * day, 0},
			"Have /etc/a.crt renewed, then run `jackdaw reload`."},
		{"90 days by itself", watched{hostCertificate: hostCertificate{issued: true}, why: "it is refused; mend it"},
			[]time.Duration{10 * day, 3 * day, 0}, "It could not be renewed: it is refused; mend it"},
		{"6 days by itself", watched{hostCertificate: hostCertificate{issued: true}},
			[]time.Duration{6 * day / 5, 6 * day / 10, 0}, "the log says why"},
	} {
		life := 90 * day
		if strings.HasPrefix(row.what, "6") {
			life = 6 * day
		}
		row.w.domain, row.w.leaf = "a.example", &x509.Certificate{NotBefore: begun, NotAfter: begun.Add(life)}
		var known telling
		var told []time.Duration
		for now := begun; now.Before(begun.Add(life + 20*day)); now = now.Add(time.Hour / 5) {
			text, next := row.w.news(known, now)
			known = next
			if text == "" {
				continue
			}
			told = append(told, row.w.leaf.NotAfter.Sub(now))
			if !strings.Contains(text, row.wants) || !strings.Contains(text, "a.example") {
				t.Errorf("%s: %s", row.what, text)
			}
		}
		if len(told) != len(row.at) {
			t.Errorf("%s: told at %v before the end", row.what, told)
			continue
		}
		for i, want := range row.at {
			if d := want - told[i]; d < 0 || d > time.Hour {
				t.Errorf("%s: told at %v before the end", row.what, told)
			}
		}
		// The one that follows begins anew.
		row.w.leaf = &x509.Certificate{NotBefore: begun.Add(life), NotAfter: begun.Add(2 * life)}
		if text, next := row.w.news(known, begun.Add(life)); text != "" || next.Stage != 0 {
			t.Errorf("%s: %s", row.what, text)
		}
	}
}

func TestARestartTellsNobodyTwice(t *testing.T) {
	cfg := certConfig(t, "a.example", "b.example")
	cfg.Hosts[0].Cert, cfg.Hosts[0].Key = writeCertificate(t, t.TempDir(), "a.example", time.Now(), time.Now().Add(9*24*time.Hour))
	var told []string
	start := func() *house {
		h := &house{o: RunOptions{Log: slog.New(slog.NewTextHandler(io.Discard, nil))}, certs: mustStore(t, cfg),
			issued:   certificates.New(certificates.Options{Dir: t.TempDir()}),
			features: &modules.Set{Tell: func(host, about, _ string) { told = append(told, host+" "+about) }}}
		h.cfg.Store(cfg)
		return h
	}
	for range 3 {
		h := start()
		h.tellAdmins(time.Now())
		h.tellAdmins(time.Now())
	}
	if len(told) != 1 || told[0] != "a.example a.example" {
		t.Errorf("told %q", told)
	}
	start().tellAdmins(time.Now().Add(7 * 24 * time.Hour))
	start().tellAdmins(time.Now().Add(7 * 24 * time.Hour))
	if len(told) != 2 {
		t.Errorf("told %q", told)
	}
}
