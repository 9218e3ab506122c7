package scenes

import (
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"jackdaw/testsuite/harness"
)

func TestClientsFindWhatWasSaid(t *testing.T) {
	onEach(t, "archive", harness.Options{C2S: "resume_window: 2s", HTTP: "permissions: {forge_sender: [\"*\"]}"})
}

// What is older than the server keeps goes, the oldest first, and its ids do not come back (XEP-0313 §3.2).
func TestArchivesForgetWhatIsOld(t *testing.T) {
	t.Parallel()
	for _, place := range harness.Places {
		t.Run(place.String(), func(t *testing.T) {
			t.Parallel()
			s := harness.Start(t, harness.Options{Place: place, Env: quick, Users: []string{"romeo", "juliet"}, Config: "modules: {archive: {keep: 2s}}"})
			romeo := enter(t, s, "romeo", "desk")
			ask := func(id, query string) (fin string, ids []string) {
				romeo.say("<iq type='set' id='" + id + "'><query xmlns='urn:xmpp:mam:2'>" + query + "</query></iq>")
				for _, el := range romeo.until(id) {
					if _, result, ok := strings.Cut(el, "<result "); ok {
						ids = append(ids, harness.Attr("<result "+result, "id"))
					}
				}
				return romeo.last, ids
			}
			for range 3 {
				romeo.say("<message to='juliet@localhost' type='chat'><body>old</body></message>")
			}
			_, old := ask("before", "")
			if len(old) != 3 {
				t.Fatalf("%d messages are archived", len(old))
			}
			var left []string
			for began := time.Now(); ; { // the first round is made at the start of the server
				if code := s.Stop(); code != 0 {
					t.Fatalf("exit code %d", code)
				}
				s.Launch()
				romeo = enter(t, s, "romeo", "desk")
				if _, left = ask("after", ""); len(left) == 0 {
					break
				}
				if left[len(left)-1] != old[2] {
					t.Fatalf("of %v %v are left: there is a hole", old, left)
				}
				if time.Since(began) > harness.Timeout {
					t.Fatal("the archive forgets nothing")
				}
			}
			if fin, _ := ask("page", "<set xmlns='http://jabber.org/protocol/rsm'><after>"+old[1]+"</after></set>"); !strings.Contains(fin, "<item-not-found ") {
				t.Errorf("a page behind what is forgotten (XEP-0059 §2.4): %s", fin)
			}
			romeo.say("<message to='juliet@localhost' type='chat'><body>new</body></message>")
			if _, now := ask("now", ""); len(now) != 1 || now[0] == old[0] || now[0] == old[1] || now[0] == old[2] {
				t.Errorf("after %v came %v", old, now)
			}
			tooMany(t, romeo)
		})
	}
}

// tooMany: a client that asks and does not read is answered no faster than it reads, and asks in vain some time.
func tooMany(t *testing.T, g *guest) {
	t.Helper()
	// So that little is on its way to it.
	if err := g.Conn.(*tls.Conn).NetConn().(*net.TCPConn).SetReadBuffer(16 << 10); err != nil {
		t.Fatal(err)
	}
	g.say(strings.Repeat("<message to='juliet@localhost' type='chat'><body>"+strings.Repeat("Wherefore? ", 800)+"</body></message>", 40))
	g.settled()
	var all strings.Builder
	for i := range 60 { // of 350 KB each
		fmt.Fprintf(&all, "<iq type='set' id='many-%d'><query xmlns='urn:xmpp:mam:2'/></iq>", i)
	}
	g.say(all.String())
	el, err := g.Until(func(el string) bool { return harness.Attr(el, "type") == "error" })
	if err != nil || !strings.Contains(el, "<resource-constraint ") || !strings.Contains(el, "type='wait'") {
		t.Errorf("%v, %s", err, el)
	}
}
