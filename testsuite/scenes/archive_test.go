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
	onEach(t, "archive", harness.Options{C2S: "resume_window: 2s", HTTP: "permissions: {forge_sender: [\"*\"]}",
		Config: "modules: {archive: {search: true}}\n"})
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

// Users find what was said by its words (XEP-0431), until it is retracted, on every engine and after a restart.
func TestUsersFindMessagesByTheirWords(t *testing.T) {
	t.Parallel()
	for _, place := range harness.Places {
		t.Run(place.String(), func(t *testing.T) {
			t.Parallel()
			s := harness.Start(t, harness.Options{Place: place, Env: quick, Users: []string{"romeo"},
				Config: "modules: {archive: {search: true}}"})
			romeo := enter(t, s, "romeo", "desk")
			asked := 0
			find := func(text, page string) (fin string, bodies []string) {
				t.Helper()
				asked++
				id := fmt.Sprint("find-", asked)
				romeo.say("<iq type='set' id='" + id + "'><query xmlns='urn:xmpp:mam:2'><x xmlns='jabber:x:data' type='submit'>" +
					"<field var='FORM_TYPE' type='hidden'><value>urn:xmpp:mam:2</value></field>" +
					"<field var='{urn:xmpp:fulltext:0}fulltext'><value>" + text + "</value></field></x>" + page + "</query></iq>")
				for _, el := range romeo.until(id) {
					if _, body, ok := strings.Cut(el, "<body>"); ok && strings.Contains(el, "<result ") {
						body, _, _ = strings.Cut(body, "</body>")
						bodies = append(bodies, body)
					}
				}
				return romeo.last, bodies
			}
			romeo.say("<iq type='get' id='info' to='romeo@" + harness.Domain + "'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>")
			if romeo.until("info"); !strings.Contains(romeo.last, "urn:xmpp:fulltext:0") {
				t.Errorf("search is not announced: %s", romeo.last)
			}
			romeo.say("<message to='romeo@localhost' type='chat'><body>What light through yonder window breaks?</body></message>")
			var all strings.Builder
			for i := range 1200 { // more than a search reads as they are
				fmt.Fprintf(&all, "<message to='romeo@localhost' type='chat'><body>Filling %d</body></message>", i)
			}
			romeo.say(all.String() + "<message to='romeo@localhost' type='chat'><body>The WINDOW is open.</body></message>")
			romeo.settled()
			const last = "<set xmlns='http://jabber.org/protocol/rsm'><max>1</max><before/></set>"
			for range 2 {
				if _, got := find("Window", ""); len(got) != 2 || !strings.Contains(got[0], "yonder") || got[1] != "The WINDOW is open." {
					t.Errorf("found: %q", got)
				}
				if fin, got := find("window", last); len(got) != 1 || got[0] != "The WINDOW is open." || strings.Contains(fin, "complete") {
					t.Errorf("the last page: %q, %s", got, fin)
				}
				if _, got := find("window filling", ""); len(got) != 0 {
					t.Errorf("nobody has said both: %q", got)
				}
				if _, got := find("filling 777", ""); len(got) != 1 {
					t.Errorf("one has both: %q", got)
				}
				if code := s.Stop(); code != 0 {
					t.Fatalf("exit code %d", code)
				}
				s.Launch()
				romeo = enter(t, s, "romeo", "desk")
			}
			romeo.say("<message to='romeo@localhost' type='chat' id='late'><body>a slip of the tongue</body></message>" +
				"<message to='romeo@localhost' type='chat' id='gone'><retract xmlns='urn:xmpp:message-retract:1' id='late'/></message>")
			romeo.settled()
			if _, got := find("tongue", ""); len(got) != 0 {
				t.Errorf("what was retracted is found: %q", got)
			}
			if fin, _ := find("?", ""); !strings.Contains(fin, "<bad-request ") {
				t.Errorf("a search for nothing: %s", fin)
			}
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
