package faults

import (
	"crypto/tls"
	"os"
	"testing"

	"jackdaw/testsuite/harness"
	"jackdaw/testsuite/ledger"
	"jackdaw/testsuite/peers"
)

// Certificates that are renewed under load are shown to whoever comes, and whoever is in stays.
func TestCertificatesAreReloadedUnderLoad(t *testing.T) {
	authority := peers.NewAuthority(t)
	dir := t.TempDir()
	o := harness.Options{Cert: dir + "/cert.pem", Key: dir + "/key.pem"}
	renew := func() {
		c := authority.Issue(harness.Domain, peers.None)
		for from, to := range map[string]string{c.Cert: o.Cert, c.Key: o.Key} {
			text, err := os.ReadFile(from)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(to, text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	renew()
	suffer(t, o, family, 1, func(b *ledger.Book, round int) {
		shown := map[string]bool{}
		for i := range either(5, 500) {
			renew()
			b.Command("", "reload")
			c, err := tls.Dial("tcp", b.C2STLS, &tls.Config{InsecureSkipVerify: true, ServerName: harness.Domain,
				NextProtos: []string{"xmpp-client"}})
			if err != nil {
				t.Fatal(err)
			}
			shown[string(c.ConnectionState().PeerCertificates[0].Raw)] = true
			c.Close()
			if len(shown) != i+1 {
				t.Fatalf("after %d reloads %d certificates were shown", i+1, len(shown))
			}
			b.Fresh(20)
		}
		if lost := b.Lost(); lost > 0 {
			t.Errorf("%d who were in have lost their connection", lost)
		}
	})
}
