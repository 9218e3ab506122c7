package operation

import (
	"crypto/x509"
	"slices"
	"strings"
	"testing"

	"jackdaw/server/doctor"
	"jackdaw/testsuite/harness"
)

// of are the findings with a text in them, as level and text.
func of(found []doctor.Finding, text string) (lines []string) {
	for _, f := range found {
		if strings.Contains(f.What, text) {
			lines = append(lines, string(f.Level)+": "+f.What)
		}
	}
	return lines
}

func TestDoctorConnectsToAPeerAndBack(t *testing.T) {
	w := newWard(t).copied()
	cert := w.authority.IssueFor([]string{"peer.example"}, x509.ExtKeyUsageServerAuth)
	peer := func(back string) *harness.Server {
		return harness.Start(t, harness.Options{Domain: "peer.example", Cert: cert.Cert, Key: cert.Key, Federate: true,
			S2S: "resolve: {chat.example: \"" + back + "\"}", Env: w.authority.Env()})
	}
	w.options.Peer = "peer.example"
	w.zone.hosts["peer.example."] = "192.0.2.9"
	for _, c := range []struct {
		name  string
		ready func()
		want  []string
	}{
		{"nobody", func() {}, []string{"wrong: peer.example is not reached: connection refused"}},
		{"sound", func() { w.places["192.0.2.9:5269"] = peer(w.server.S2S).S2S }, []string{
			"good: peer.example lets chat.example in by its certificate",
			"good: peer.example connects back to the server of chat.example"}},
		{"by a record, with direct TLS", func() {
			w.zone.services["_xmpps-server._tcp.peer.example."] = srv("peer.example.", 5270)
			w.places["192.0.2.9:5270"] = peer(w.server.S2S).S2STLS
			delete(w.places, "192.0.2.9:5269")
		}, []string{"good: peer.example lets chat.example in by its certificate",
			"good: peer.example connects back to the server of chat.example"}},
		{"it cannot come back", func() { w.places["192.0.2.9:5270"] = peer(harness.FreeAddr()).S2STLS }, []string{
			"good: peer.example lets chat.example in by its certificate",
			"wrong: peer.example cannot connect back: remote-server-timeout"}},
		{"it does not trust the certificate", func() {
			other := pair(t, w.authority.Issue("chat.example", "self-signed"))
			w.options.Certificate = &other
			w.places["192.0.2.9:5270"] = peer(w.server.S2S).S2STLS
		}, []string{"warning: peer.example does not take the certificate of chat.example as a proof",
			"good: peer.example connects back to the server of chat.example"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.ready()
			if got := of(doctor.Examine(t.Context(), w.options), "peer.example"); !slices.Equal(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}
