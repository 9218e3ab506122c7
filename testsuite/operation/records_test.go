package operation

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"jackdaw/server/doctor"
)

// issues is a record of CAA in the form of the wire.
func issues(flags byte, tag, value string) string {
	return string([]byte{flags, byte(len(tag))}) + tag + value
}

// pin is a record of TLSA for the key of what the ward shows, with other bytes in front of it.
func (w *ward) pin(t *testing.T, before string) string {
	leaf, err := x509.ParseCertificate(w.options.Certificate.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	return before + string(sum[:])
}

// certified has certificates come by themselves, from an authority that has this name in records.
func (w *ward) certified(t *testing.T, records map[string][]string) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(out http.ResponseWriter, _ *http.Request) {
		io.WriteString(out, `{"meta": {"caaIdentities": ["ca.example"]}}`)
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair(t, w.authority.IssueFor([]string{"acme.ca.example"},
		x509.ExtKeyUsageServerAuth))}}
	s.StartTLS()
	t.Cleanup(s.Close)
	w.zone.hosts["acme.ca.example."], w.places["192.0.2.9:443"] = "192.0.2.9", s.Listener.Addr().String()
	w.options.Config.ACME.Agree, w.options.Config.ACME.Directory = true, "https://acme.ca.example/directory"
	w.zone.others = records
}

// faultsOfRecords are those of who may issue certificates, and of keys that the DNS names.
var faultsOfRecords = []fault{
	{"another authority may issue", func(t *testing.T, w *ward) {
		w.certified(t, map[string][]string{"chat.example 257": {issues(0, "issue", "other.example; policy=ev")}})
	}, doctor.Wrong, []string{"CAA of chat.example lets other.example issue certificates, and not ca.example",
		`chat.example. 3600 IN CAA 0 issue "ca.example"`}},
	{"nobody may issue for rooms", func(t *testing.T, w *ward) {
		w.certified(t, map[string][]string{"rooms.chat.example 257": {issues(0, "issue", ";")}})
	}, doctor.Wrong, []string{"CAA of rooms.chat.example lets nobody issue certificates"}},
	{"a tag that no authority knows", func(t *testing.T, w *ward) {
		w.certified(t, map[string][]string{"chat.example 257": {issues(0x80, "moon", "full"), issues(0, "issue", "ca.example")}})
	}, doctor.Wrong, []string{`CAA of chat.example has the critical tag "moon"`}},
	{"name servers that fail on CAA", func(t *testing.T, w *ward) {
		w.certified(t, nil)
		w.zone.broken = "upload.chat.example 257"
	}, doctor.Warning, []string{"does not say who may issue certificates for upload.chat.example (CAA)", "name servers"}},
	{"the key of an earlier certificate in a signed zone", func(_ *testing.T, w *ward) {
		w.zone.signed = true
		w.zone.others = map[string][]string{"_5269._tcp.im.chat.example 52": {"\x03\x01\x01" + strings.Repeat("x", 32)}}
		delete(w.zone.services, "_xmpp-server._tcp.rooms.chat.example.")
		w.zone.services["_xmpp-server._tcp.rooms.chat.example."] = srv("chat.example.", 5269)
	}, doctor.Wrong, []string{"none of the records TLSA of _5269._tcp.im.chat.example is of the certificate", "remove them"}},
	{"the key of an earlier certificate", func(_ *testing.T, w *ward) {
		w.zone.others = map[string][]string{"_5223._tcp.im.chat.example 52": {"\x03\x01\x01x", "\x03"}}
	}, doctor.Warning, []string{"none of the records TLSA of _5223._tcp.im.chat.example"}},
}

func TestDoctorSeesRecordsThatAreAsTheyShouldBe(t *testing.T) {
	all := newWard(t)
	for _, c := range []struct {
		name  string
		set   func(*ward)
		level doctor.Level
		want  string
	}{
		{"the authority may issue", func(w *ward) {
			w.certified(t, map[string][]string{"chat.example 257": {issues(0, "issue", "other.example"), issues(0, "ISSUE", " CA.example;x=y")}})
		}, doctor.Good, "CAA of chat.example lets ca.example issue certificates"},
		{"records of something else", func(w *ward) {
			w.certified(t, map[string][]string{"example 257": {issues(0, "issue", ";")},
				"chat.example 257": {issues(0, "iodef", "mailto:x@chat.example")}})
		}, doctor.Good, "CAA of chat.example lets every authority issue"},
		{"the key in a signed zone", func(w *ward) {
			w.zone.signed = true
			w.zone.others = map[string][]string{"_5269._tcp.im.chat.example 52": {w.pin(t, "\x03\x01\x01")}}
		}, doctor.Good, "_5269._tcp.im.chat.example: the signed TLSA is that of the certificate shown"},
		{"the key", func(w *ward) {
			w.zone.others = map[string][]string{"_5269._tcp.im.chat.example 52": {"\x03\x01\x01old", w.pin(t, "\x03\x01\x01")}}
		}, doctor.Note, "its zone is not signed"},
	} {
		w := all.copied()
		c.set(w)
		found := doctor.Examine(t.Context(), w.options)
		if lines := bad(found); len(lines) > 0 {
			t.Errorf("%s: %s", c.name, strings.Join(lines, "\n"))
		}
		said := func(f doctor.Finding) bool { return f.Level == c.level && strings.Contains(f.What, c.want) }
		if !slices.ContainsFunc(found, said) {
			t.Errorf("%s: %+v", c.name, found)
		}
	}
}
