package fakepeer

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"jackdaw/testsuite/harness"
	"jackdaw/testsuite/peers"
)

func TestMain(m *testing.M) {
	code := m.Run()
	peers.Cleanup()
	harness.Cleanup()
	os.Exit(code)
}

// Each row is a way to talk to Prosody, whose log says how it went.
func TestProsodyTakesItForAServer(t *testing.T) {
	for _, c := range []struct {
		name   string
		o      Options
		way    Way
		flaw   peers.Flaw // of both
		noBidi bool
		by     string // the proof that we give, and the one that Prosody gives
		direct bool
	}{
		{name: "EXTERNAL", way: Way{}, noBidi: true, by: "EXTERNAL"},
		{name: "EXTERNAL over direct TLS", noBidi: true, by: "EXTERNAL", direct: true},
		{name: "EXTERNAL both ways on one stream", o: Options{Bidi: true}, way: Way{Bidi: true}, by: "EXTERNAL"},
		{name: "dialback", way: Way{Dialback: true}, flaw: peers.SelfSigned, noBidi: true, by: "dialback"},
		{name: "EXTERNAL with acknowledgements", o: Options{Management: Acknowledge}, noBidi: true, by: "EXTERNAL"},
		{name: "EXTERNAL with resumption", o: Options{Management: Resume}, noBidi: true, by: "EXTERNAL"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := peers.NewNetwork(t)
			c.o.Domains = []string{"fake.example"}
			p := Start(t, c.o.Certified(t, n.Authority, c.flaw))
			n.Names.Set("fake.example", peers.Site{S2S: p.Addr})
			prosody := n.StartProsody(peers.Options{Users: []string{"romeo"}, Flaw: c.flaw, NoBidi: c.noBidi})
			p.Locate(prosody.Domain, prosody.S2S)
			if c.direct {
				p.Locate(prosody.Domain, "tls:"+prosody.S2STLS)
			}
			l, err := p.Connect("fake.example", prosody.Domain, c.way)
			if err != nil {
				t.Fatal(err)
			}
			if err := l.Send("<iq type='get' id='p1' from='ghost@fake.example' to='" + prosody.Domain + "'><ping xmlns='urn:xmpp:ping'/></iq>"); err != nil {
				t.Fatal(err)
			}
			got, err := p.Until(func(s Stanza) bool { return s.Attr("id") == "p1" })
			if err != nil {
				t.Fatal(err)
			}
			s := got[len(got)-1]
			if s.Attr("type") != "result" || !s.Proved || s.To != "ghost@fake.example" || !strings.HasPrefix(s.Raw, "<iq ") {
				t.Errorf("pong: %+v", s)
			}
			if onOurs := s.Link == l.Number; onOurs != c.way.Bidi {
				t.Errorf("the pong came on our link: %v", onOurs)
			}
			if err := prosody.AwaitProof(peers.Proof{From: "fake.example", To: prosody.Domain, By: c.by}); err != nil {
				t.Error(err)
			}
			// A user there pings us.
			u, err := prosody.Connect("romeo", "desk")
			if err != nil {
				t.Fatal(err)
			}
			defer u.Close()
			pong, err := u.Ask("p2", "<iq type='get' id='p2' to='fake.example'><ping xmlns='urn:xmpp:ping'/></iq>")
			if err != nil || !strings.Contains(pong, "result") {
				t.Errorf("pong %q, %v", pong, err)
			}
			if managed := p.Managed() > 0; managed != (c.o.Management != Unmanaged) {
				t.Errorf("Prosody manages a stream: %v", managed)
			}
		})
	}
}

// pair is two fake peers that know each other.
func pair(t *testing.T, o, other Options) (a, b *Peer) {
	authority := peers.NewAuthority(t)
	o.Domains, other.Domains = []string{"a.example", "rooms.a.example"}, []string{"b.example"}
	a, b = Start(t, o.Certified(t, authority, peers.None)), Start(t, other.Certified(t, authority, peers.None))
	a.Locate("b.example", b.Addr)
	b.Locate("a.example", a.Addr)
	b.Locate("rooms.a.example", a.Addr)
	return a, b
}

func body(text string) func(Stanza) bool { return func(s Stanza) bool { return s.Body() == text } }

func message(from, to, text string) string {
	return fmt.Sprintf("<message from='%s' to='%s'><body>%s</body></message>", from, to, text)
}

func TestBytesAreWrittenDownAsTheyCame(t *testing.T) {
	a, b := pair(t, Options{}, Options{})
	l, err := a.Connect("a.example", "b.example", Way{})
	if err != nil {
		t.Fatal(err)
	}
	raw := "<message   to=\"b.example\" from='u@a.example/x y'\n><body>&lt;&#x41;&gt;</body><x xmlns='u:v'   /></message>"
	l.Send(message("a.example", "b.example", "first") + " \n " + raw + message("a.example", "b.example", "last"))
	got, err := b.Until(body("last"))
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 || got[1].Raw != raw || got[1].From != "u@a.example/x y" || got[1].Pair != (Pair{"a.example", "b.example"}) {
		t.Errorf("got %+v", got)
	}
}

func TestAnotherDomainIsProvedOnTheSameLink(t *testing.T) {
	a, b := pair(t, Options{}, Options{})
	l, err := a.Connect("a.example", "b.example", Way{})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Prove(Pair{"rooms.a.example", "b.example"}); err != nil {
		t.Fatal(err)
	}
	l.Send(message("room@rooms.a.example", "b.example", "hi"))
	if got, err := b.Until(body("hi")); err != nil || got[0].Link != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	if err := l.Prove(Pair{"elsewhere.example", "b.example"}); err == nil {
		t.Error("b believes in a domain that nobody vouches for")
	}
}

func TestAWrongKeyIsInvalid(t *testing.T) {
	a, b := pair(t, Options{}, Options{})
	l, err := a.Open("a.example", "b.example", Way{Anonymous: true})
	if err != nil {
		t.Fatal(err)
	}
	l.Send("<db:result from='a.example' to='b.example'>" + a.Key(Pair{"a.example", "b.example"}, "another") + "</db:result>")
	if el, err := l.Next(); err != nil || el.Attr("type") != "invalid" {
		t.Errorf("%s, %v", el.Raw, err)
	}
	l.Send(message("a.example", "b.example", "believe me"))
	if got, err := b.Until(body("believe me")); err != nil || got[0].Proved {
		t.Errorf("%+v, %v", got, err)
	}
	if rest, err := l.Rest(); err != nil || !strings.Contains(rest, "invalid-from") {
		t.Errorf("%s, %v", rest, err)
	}
	if f := b.Faults(); len(f) != 1 || !strings.Contains(f[0], "has not proved") {
		t.Errorf("faults: %q", f)
	}
	b.mu.Lock()
	b.faults = nil // this one was wanted
	b.mu.Unlock()
}

func TestWhatWasHandledSurvivesADeath(t *testing.T) {
	a, b := pair(t, Options{}, Options{Management: Resume})
	open := func() *Link {
		l, err := a.Open("a.example", "b.example", Way{})
		if err == nil {
			err = l.External()
		}
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	next := func(l *Link) Element {
		el, err := l.Next()
		if err != nil {
			t.Fatal(err)
		}
		return el
	}
	l := open()
	l.Send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
	id := next(l).Attr("id")
	l.Send(message("a.example", "b.example", "1") + message("a.example", "b.example", "2") + "<r xmlns='urn:xmpp:sm:3'/>")
	if h := next(l).Attr("h"); h != "2" {
		t.Errorf("h = %s", h)
	}
	b.Kill()
	if _, err := l.Next(); err == nil {
		t.Error("the connection lives on")
	}
	if _, err := net.Dial("tcp", b.Addr); err == nil {
		t.Error("the dead peer listens")
	}
	b.Restart()
	l = open()
	l.Send("<resume xmlns='urn:xmpp:sm:3' previd='" + id + "' h='0'/>")
	if el := next(l); el.Name.Local != "resumed" || el.Attr("h") != "2" {
		t.Errorf("%s", el.Raw)
	}
	l.Send(message("a.example", "b.example", "3") + "<r xmlns='urn:xmpp:sm:3'/>")
	if h := next(l).Attr("h"); h != "3" {
		t.Errorf("h = %s", h)
	}
	if got := b.Stanzas(); len(got) != 3 || got[2].Life != 1 {
		t.Errorf("%+v", got)
	}
	l = open()
	l.Send("<resume xmlns='urn:xmpp:sm:3' previd='guessed' h='0'/>")
	if el := next(l); el.Name.Local != "failed" {
		t.Errorf("%s", el.Raw)
	}
}

func TestTheScriptDecides(t *testing.T) {
	a, b := pair(t, Options{}, Options{})
	b.Play(Script{Accept: func(c net.Conn) bool { c.Close(); return true }})
	if _, err := a.Connect("a.example", "b.example", Way{}); err == nil {
		t.Error("connected to who closes")
	}
	gate := make(chan struct{})
	b.Play(Script{
		Element: func(l *Link, el Element) bool { return strings.Contains(el.Raw, "swallowed") },
		Reading: func() { <-gate },
	})
	done := make(chan error, 1)
	go func() {
		l, err := a.Connect("a.example", "b.example", Way{})
		if err == nil {
			err = l.Send(message("a.example", "b.example", "swallowed") + message("a.example", "b.example", "kept"))
		}
		done <- err
	}()
	select {
	case <-done:
		t.Error("connected to who does not read")
	case <-time.After(50 * time.Millisecond):
	}
	close(gate)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got, err := b.Until(body("kept")); err != nil || len(got) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
}
