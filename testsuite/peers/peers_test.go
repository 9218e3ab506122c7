package peers

import (
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"jackdaw/testsuite/harness"
)

func TestMain(m *testing.M) {
	code := m.Run()
	Cleanup()
	harness.Cleanup()
	os.Exit(code)
}

// start runs peers at the same time.
func start(t *testing.T, starters ...func()) {
	t.Helper()
	var all sync.WaitGroup
	for _, s := range starters {
		all.Go(s) // one that fails ends its goroutine only
	}
	all.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

// enter logs a user in with presence and returns when the server has taken that.
func enter(t *testing.T, p *Peer, user string) *harness.Client {
	t.Helper()
	c, err := p.Connect(user, "desk")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Conn.Close() })
	available(t, c)
	return c
}

// available sends presence and returns when the server has taken it.
func available(t *testing.T, c *harness.Client) {
	t.Helper()
	if _, err := c.Ask("roster", "<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq><presence/>"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Until(func(el string) bool { return strings.HasPrefix(el, "<presence") }); err != nil {
		t.Fatal(err)
	}
}

func say(t *testing.T, from, to *harness.Client, body string) {
	t.Helper()
	if err := from.Send("<message type='chat' to='" + to.JID + "'><body>" + body + "</body></message>"); err != nil {
		t.Fatal(err)
	}
	if _, err := to.Until(func(el string) bool { return strings.Contains(el, "<body>"+body+"</body>") }); err != nil {
		t.Fatalf("%s gets nothing from %s: %v", to.JID, from.JID, err)
	}
}

func proved(t *testing.T, p *Peer, want Proof) {
	t.Helper()
	if err := p.AwaitProof(want); err != nil {
		t.Error(err)
	}
}

func TestThePeersReachEachOtherWithCertificates(t *testing.T) {
	t.Parallel()
	n := NewNetwork(t)
	var prosody, ejabberd, jackal *Peer
	start(t,
		func() { prosody = n.StartProsody(Options{Users: []string{"romeo"}, NoBidi: true}) },
		func() { ejabberd = n.StartEjabberd(Options{Users: []string{"juliet"}}) },
		func() { jackal = n.StartJackal(Options{Users: []string{"nurse"}}) },
	)
	clients := []*harness.Client{enter(t, prosody, "romeo"), enter(t, ejabberd, "juliet"), enter(t, jackal, "nurse")}
	for _, from := range clients {
		for _, to := range clients {
			if from != to {
				say(t, from, to, "from "+from.JID)
			}
		}
	}
	for _, p := range []*Peer{prosody, ejabberd, jackal} {
		for _, from := range []*Peer{prosody, ejabberd, jackal} {
			if from != p {
				proved(t, p, Proof{From: from.Domain, To: p.Domain, By: "EXTERNAL"})
			}
		}
	}
}

func TestAPeerThatWasKilledHasItsAccounts(t *testing.T) {
	t.Parallel()
	n := NewNetwork(t)
	for _, run := range []func(Options) *Peer{n.StartProsody, n.StartEjabberd, n.StartJackal} {
		p := run(Options{Users: []string{"romeo"}})
		t.Run(p.Kind, func(t *testing.T) {
			p.Restart()
			c := enter(t, p, "romeo")
			say(t, c, c, "still here")
		})
	}
}

func TestProofsAreReadFromLogs(t *testing.T) {
	for _, c := range []struct {
		read func(string) []Proof
		log  string
		want []Proof
	}{
		{prosodyProofs, `
s2sout1a                     debug	Sending[s2sout_unauthed]: <auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>
s2sin2b                      debug	Received[s2sin_unauthed]: <result to='a' xmlns='jabber:server:dialback' from='b'>
s2sout1a                     debug	connection a->b is now authenticated for b
s2sin2b                      debug	connection b->a is now authenticated for b
s2sout3c                     debug	Sending[s2sout_unauthed]: <auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>
s2sout3c                     debug	sent dialback key on outgoing s2s stream
s2sout3c                     debug	connection a->c is now authenticated for c
c2s4d                        debug	connection a->d is now authenticated for d
`, []Proof{{"a", "b", "EXTERNAL"}, {"b", "a", "dialback"}, {"a", "c", "dialback"}}},
		{ejabberdProofs, `
[info] (tls|<0.505.0>) Accepted inbound s2s EXTERNAL authentication b -> a (127.0.0.1)
[info] (tls|<0.507.0>) Accepted outbound s2s dialback authentication a -> b (127.0.0.2)
[warning] (tls|<0.507.0>) Failed outbound s2s EXTERNAL authentication a -> b (127.0.0.2): no
`, []Proof{{"b", "a", "EXTERNAL"}, {"a", "b", "dialback"}}},
		{jackalProofs, `
level=info id=s2s:in:1 msg="authenticated S2S incoming stream" sender=b target=a
level=info id=s2s:in:2 msg="authorized S2S dialback key" sender=c target=a
level=info sender=a target=b msg="S2S dialback key successfully verified" from=a to=b
level=info id=s2s:in:1 msg="S2S dialback key successfully verified" sender=b target=a key=1
`, []Proof{{"b", "a", "EXTERNAL"}, {"c", "a", "dialback"}, {"a", "b", "dialback"}}},
	} {
		if diff := cmp.Diff(c.want, c.read(c.log)); diff != "" {
			t.Error(diff)
		}
	}
}
