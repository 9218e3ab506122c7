package sasl

import (
	"crypto/tls"
	"encoding/base64"
	"strings"
	"testing"
)

// The example of XEP-0474 §5.3.
func TestAnnouncementIsHashedAsInTheSpecification(t *testing.T) {
	text := Announcement([]Mechanism{ScramSHA1Plus, ScramSHA1}, []Binding{{Type: TLSServerEndPoint}, {Type: TLSExporter}})
	if want := "SCRAM-SHA-1\x1eSCRAM-SHA-1-PLUS\x1ftls-exporter\x1etls-server-end-point"; text != want {
		t.Errorf("got %q", text)
	}
	if got := base64.StdEncoding.EncodeToString(SHA1.sum(nil, []byte(text))); got != "G6k/rBLDqgOhRRaCuuatSDFkJ08=" {
		t.Errorf("got %s", got)
	}
	if got := Announcement([]Mechanism{Plain, ScramSHA1}, nil); got != "PLAIN\x1eSCRAM-SHA-1" {
		t.Errorf("without bindings: %q", got)
	}
}

func TestServersFirstMessageProvesWhatWasAnnounced(t *testing.T) {
	for _, a := range []struct {
		announced string
		version   uint16
		want      string
	}{
		{"", 0, ",i=4096"},
		{"SCRAM-SHA-1", tls.VersionTLS13, ",i=4096,h=" + sum1("SCRAM-SHA-1") + ",t=0304"},
		{"", tls.VersionTLS12, ",i=4096,t=0303"},
	} {
		keys, err := NewKeys(SHA1, "pencil", 4096)
		if err != nil {
			t.Fatal(err)
		}
		c := &Config{Announced: a.announced, TLSVersion: a.version, FakeSecret: make([]byte, 16), FakeIterations: 4096,
			Lookup: func(string, Hash) (Keys, bool, error) { return keys, true, nil }}
		s, err := New(ScramSHA1, c)
		if err != nil {
			t.Fatal(err)
		}
		cl, err := NewClient(ScramSHA1, Credentials{User: "user", Password: "pencil"})
		if err != nil {
			t.Fatal(err)
		}
		first, _, err := s.Next(cl.Start())
		if err != nil || !strings.HasSuffix(string(first), a.want) {
			t.Errorf("%q, %x: %s, %v", a.announced, a.version, first, err)
		}
		// They are signed with the rest: a client that is shown others cannot log in.
		forged := strings.Replace(string(first), ",i=4096", ",i=4096,x=1", 1)
		answer, err := cl.Next([]byte(forged))
		if err != nil {
			t.Fatal(err)
		}
		if _, done, err := s.Next(answer); done || Condition(err) != NotAuthorized {
			t.Errorf("forged: %v, %v", done, err)
		}
	}
}

func sum1(s string) string { return base64.StdEncoding.EncodeToString(SHA1.sum(nil, []byte(s))) }
