package federation

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"jackdaw/testsuite/fakepeer"
	"jackdaw/testsuite/harness"
	"jackdaw/testsuite/peers"
)

// mark is in every attack; nobody but its sender must ever see it.
const mark = "INTRUDER"

// An arena is our server between an honest peer and others that are not. After each attack the honest peer and the
// people here must not have noticed anything.
type arena struct {
	*town
	honest *fakepeer.Peer
	evil   *fakepeer.Peer // evil.example and second.evil.example, with sound certificates
	keys   *fakepeer.Peer // keys.example, which is known by dialback alone
	flawed map[peers.Flaw]*fakepeer.Peer

	den   sync.Mutex // held by whoever reads what bob gets
	bob   *harness.Client
	alice *harness.Client
	link  *fakepeer.Link // of the honest peer
	in    int            // the number of the link on which it gets what we send
	n     int
}

const den = bob + "/den"

// flaws are those of certificates, with the domain that has one; nothing but a sound one is good enough there.
var flaws = map[peers.Flaw]string{
	peers.Expired: "expired.example", peers.OtherName: "misnamed.example", peers.SelfSigned: "selfsigned.example",
}

func openArena(t *testing.T) *arena {
	t.Helper()
	a := &arena{town: newTown(t), flawed: map[peers.Flaw]*fakepeer.Peer{}}
	a.honest = a.peer(fakepeer.Options{Domains: []string{"honest.example"}, Management: fakepeer.Resume}, peers.None)
	a.evil = a.peer(fakepeer.Options{Domains: []string{"evil.example", "second.evil.example"}, Management: fakepeer.Resume}, peers.None)
	a.keys = a.peer(fakepeer.Options{Domains: []string{"keys.example"}, NoExternal: true}, peers.SelfSigned)
	var strict []string
	for flaw, domain := range flaws {
		a.flawed[flaw] = a.peer(fakepeer.Options{Domains: []string{domain}}, flaw)
		strict = append(strict, domain)
	}
	silent := a.silent()
	for i := range floodDomains {
		a.at(floodDomain(i), silent)
	}
	a.open(harness.Options{
		Users:  []string{"bob", "alice"},
		S2S:    "require_certificate: [" + strings.Join(strict, ", ") + "]",
		Config: fmt.Sprintf("limits: {tls_time: %v, auth_time: %v, peer_backoff_min: 50ms, peer_backoff_max: 200ms}\n", patience, patience),
	})
	a.bob, a.alice = a.client("bob", "den"), a.client("alice", "a")
	var err error
	if a.link, err = a.honest.Connect("honest.example", home, fakepeer.Way{}); err != nil {
		t.Fatal(err)
	}
	a.in = -1
	a.unnoticed(t)
	return a
}

// patience is what our server gives to a peer that does not get to the point. It must leave honest peers time on a busy
// machine.
const patience = 3 * time.Second

// unnoticed checks that the honest peer and the people here go on as before, and that nothing of an attack came to
// them.
func (a *arena) unnoticed(t *testing.T) {
	t.Helper()
	a.den.Lock()
	defer a.den.Unlock()
	a.n++
	ids := []string{fmt.Sprintf("from-alice-%d", a.n), fmt.Sprintf("from-honest-%d", a.n), fmt.Sprintf("to-honest-%d", a.n)}
	a.alice.Send("<message type='chat' id='" + ids[0] + "' to='" + den + "'><body>all clear</body></message>")
	seen, err := until(a.bob, ids[0])
	if err != nil {
		t.Fatalf("our people do not hear each other: %v", err)
	}
	if err := a.link.Send("<message type='chat' id='" + ids[1] + "' from='friend@honest.example' to='" + den + "'><body>all clear</body></message>"); err != nil {
		t.Fatalf("the honest peer has lost its link: %v", err)
	}
	more, err := until(a.bob, ids[1])
	if err != nil {
		t.Fatalf("the honest peer is not heard: %v", err)
	}
	for _, el := range append(seen, more...) {
		if strings.Contains(strings.ToUpper(el), mark) {
			t.Errorf("it came to bob: %.500s", el)
		}
	}
	a.bob.Send("<message type='chat' id='" + ids[2] + "' to='friend@honest.example'><body>all clear</body></message>")
	got, err := a.honest.Until(hasID(ids[2]))
	if err != nil {
		t.Fatalf("the honest peer hears nothing: %v", err)
	}
	for _, s := range got {
		if strings.Contains(strings.ToUpper(s.Raw), mark) {
			t.Errorf("it came to the honest peer: %.500s", s.Raw)
		}
	}
	if last := got[len(got)-1]; a.in < 0 {
		a.in = last.Link
	} else if last.Link != a.in {
		t.Errorf("the honest peer is spoken to on its link %d, and before on %d", last.Link, a.in)
	}
	if !a.Alive() {
		t.Fatal("the server has died")
	}
}

// shout is a message that nobody must see.
func shout(from, to string) string {
	return "<message type='chat' from='" + from + "' to='" + to + "'><body>" + mark + "</body></message>"
}

// impostor opens a stream that says it is of a domain, without a certificate, and has proved nothing.
func (a *arena) impostor(t *testing.T, domain string) *fakepeer.Link {
	t.Helper()
	l, err := a.evil.Open(domain, home, fakepeer.Way{Anonymous: true})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// member opens a stream of evil.example that has proved its domain, and is read by the caller.
func (a *arena) member(t *testing.T) *fakepeer.Link {
	t.Helper()
	l, err := a.evil.Open("evil.example", home, fakepeer.Way{})
	if err == nil {
		err = l.External()
	}
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// called has our server open a stream to a domain, and returns the other end of it. What is done there is up to the
// caller, once; the elements that come go to each.
func (a *arena) called(t *testing.T, p *fakepeer.Peer, domain string,
	each func(*fakepeer.Link, fakepeer.Element) bool) *fakepeer.Link {
	t.Helper()
	found := make(chan *fakepeer.Link, 1)
	p.Play(fakepeer.Script{Element: func(l *fakepeer.Link, el fakepeer.Element) bool {
		if el.IsStanza() && l.Incoming {
			select {
			case found <- l:
			default:
			}
		}
		return each != nil && each(l, el)
	}})
	t.Cleanup(func() { p.Play(fakepeer.Script{}) })
	a.alice.Send("<message type='chat' to='somebody@" + domain + "'><body>hello</body></message>")
	select {
	case l := <-found:
		return l
	case <-time.After(harness.Timeout):
		t.Fatalf("the server does not open a stream to %s", domain)
		return nil
	}
}

// ends checks that the server ends the stream, with one of these in what it says until then.
func ends(t *testing.T, l *fakepeer.Link, words ...string) {
	t.Helper()
	rest, err := l.Rest()
	if err != nil {
		t.Errorf("the stream goes on: %.500s (%v)", rest, err)
		return
	}
	for _, w := range words {
		if strings.Contains(rest, w) {
			return
		}
	}
	t.Errorf("the stream ended with %.500s, want one of %q", rest, words)
}

// holds is an Element of a script that keeps dialback verifications waiting: each waits in the channel until it is
// closed.
func holds(waiting chan<- fakepeer.Element, goOn <-chan struct{}) func(*fakepeer.Link, fakepeer.Element) bool {
	return func(l *fakepeer.Link, el fakepeer.Element) bool {
		if el.Name.Local == "verify" && el.Attr("type") == "" {
			waiting <- el
			<-goOn
		}
		return false
	}
}

// An attack says how it goes, and checks that it is refused.
type attack struct {
	name string
	run  func(*testing.T, *arena)
}

func TestAHostilePeerIsRefused(t *testing.T) {
	a := openArena(t)
	for _, group := range [][]attack{dialbackAttacks, certificateAttacks, addressAttacks, tlsAttacks, sizeAttacks,
		markerAttacks, managementAttacks, bidiAttacks} {
		for _, one := range group {
			t.Run(one.name, func(t *testing.T) {
				one.run(t, a)
				a.unnoticed(t)
			})
		}
	}
	for _, p := range []*fakepeer.Peer{a.evil, a.keys} {
		for _, s := range p.Stanzas() {
			if s.Pair.From != home || strings.Contains(s.Raw, "all clear") {
				t.Errorf("came to the wrong peer: %s", s.Raw)
			}
		}
	}
	for flaw, p := range a.flawed {
		if got := p.Stanzas(); len(got) > 0 {
			t.Errorf("%s: came to a peer without a sound certificate: %q", flaw, raw(got))
		}
	}
}

var dialbackAttacks = []attack{
	{"an answer that nobody asked for proves nothing", func(t *testing.T, a *arena) {
		for _, answer := range []string{
			"<db:result from='honest.example' to='home.example' type='valid'/>",
			"<db:result from='home.example' to='honest.example' type='valid'/>",
		} {
			l := a.impostor(t, "honest.example")
			l.Send(answer + shout("friend@honest.example", den))
			ends(t, l, "invalid-from", "not-authorized", "invalid-id")
		}
	}},
	{"a verification that nobody asked for proves nothing", func(t *testing.T, a *arena) {
		l := a.impostor(t, "honest.example")
		l.Send("<db:verify from='honest.example' to='home.example' id='" + l.ID + "' type='valid'/>" + shout("friend@honest.example", den))
		ends(t, l, "invalid-from", "not-authorized", "invalid-id")
	}},
	{"nobody verifies himself", func(t *testing.T, a *arena) {
		waiting, goOn := make(chan fakepeer.Element, 1), make(chan struct{})
		a.honest.Play(fakepeer.Script{Element: holds(waiting, goOn)})
		defer a.honest.Play(fakepeer.Script{})
		defer sync.OnceFunc(func() { close(goOn) })()
		l := a.impostor(t, "honest.example")
		l.Send("<db:result from='honest.example' to='home.example'>made-up</db:result>")
		el := <-waiting
		if el.Attr("id") != l.ID || el.Text != "made-up" {
			t.Errorf("the server asks %s", el.Raw)
		}
		l.Send("<db:verify from='honest.example' to='home.example' id='" + l.ID + "' type='valid'/>" + shout("friend@honest.example", den))
		ends(t, l, "invalid-from", "not-authorized", "invalid-id")
	}},
	{"a verification counts on the stream that was asked, and no other", func(t *testing.T, a *arena) {
		waiting, goOn := make(chan fakepeer.Element, 1), make(chan struct{})
		out := a.called(t, a.evil, "evil.example", nil)
		a.honest.Play(fakepeer.Script{Element: holds(waiting, goOn)})
		defer a.honest.Play(fakepeer.Script{})
		l := a.impostor(t, "honest.example")
		l.Send("<db:result from='honest.example' to='home.example'>made-up</db:result>")
		<-waiting
		out.Send("<db:verify from='honest.example' to='home.example' id='" + l.ID + "' type='valid'/>" +
			"<db:result from='honest.example' to='home.example' type='valid'/>")
		a.reached(t, a.evil, "evil.example") // the server has read that
		close(goOn)
		el, err := l.Next()
		if err != nil || !strings.Contains(el.Raw, "type='invalid'") && !strings.Contains(el.Raw, "stream:error") {
			t.Errorf("the server says %s (%v)", el.Raw, err)
		}
		l.Send(shout("friend@honest.example", den))
		ends(t, l, "")
	}},
	{"a key of another stream or another pair is worth nothing", func(t *testing.T, a *arena) {
		pair := fakepeer.Pair{From: "honest.example", To: home}
		for _, key := range []func(id string) string{
			func(id string) string { return a.honest.Key(pair, "another") },
			func(id string) string {
				return a.honest.Key(fakepeer.Pair{From: "honest.example", To: "other.example"}, id)
			},
			func(id string) string { return a.evil.Key(pair, id) },
			func(id string) string { return "" },
		} {
			l := a.impostor(t, "honest.example")
			l.Send("<db:result from='honest.example' to='home.example'>" + key(l.ID) + "</db:result>")
			el, err := l.Next()
			if err != nil || !strings.Contains(el.Raw, "type='invalid'") && !strings.Contains(el.Raw, "error") {
				t.Errorf("the server says %s (%v)", el.Raw, err)
			}
			l.Send(shout("friend@honest.example", den))
			ends(t, l, "")
		}
	}},
	{"our own keys are good for their stream and pair alone", func(t *testing.T, a *arena) {
		type claim struct{ id, key string }
		made := make(chan claim, 1)
		a.called(t, a.keys, "keys.example", func(l *fakepeer.Link, el fakepeer.Element) bool {
			if el.Name.Local == "result" && el.Attr("type") == "" {
				select {
				case made <- claim{l.ID, el.Text}:
				default:
				}
			}
			return false
		})
		c := <-made
		l := a.impostor(t, "keys.example")
		for _, v := range []struct{ from, to, id, key, want string }{
			{"keys.example", home, c.id, c.key, "valid"},
			{"keys.example", home, "another", c.key, "invalid"},
			{"honest.example", home, c.id, c.key, "invalid"},
			{"keys.example", home, c.id, c.key + "0", "invalid"},
			{"keys.example", home, c.id, "", "invalid"},
		} {
			l.Send(fmt.Sprintf("<db:verify from='%s' to='%s' id='%s'>%s</db:verify>", v.from, v.to, v.id, v.key))
			el, err := l.Next()
			if err != nil {
				t.Fatal(err)
			}
			if el.Name.Local != "verify" || el.Attr("type") != v.want || el.Attr("from") != v.to ||
				el.Attr("to") != v.from || el.Attr("id") != v.id {
				t.Errorf("%+v: %s", v, el.Raw)
			}
		}
	}},
	{"who asks for our own domain is not heard", func(t *testing.T, a *arena) {
		l := a.impostor(t, "evil.example")
		l.Send("<db:result from='home.example' to='home.example'>" + a.evil.Key(fakepeer.Pair{From: home, To: home}, l.ID) + "</db:result>" + shout("alice@home.example", den))
		ends(t, l, "invalid-from", "not-authorized", "error")
	}},
	{"a flood of claims ends", func(t *testing.T, a *arena) {
		l := a.member(t)
		var b strings.Builder
		for i := range 4 * floodDomains {
			fmt.Fprintf(&b, "<db:result from='%s' to='home.example'>made-up</db:result>", floodDomain(i%floodDomains))
		}
		l.Send(b.String()) // it may be cut short
		a.unnoticed(t)     // while the claims are being looked into
		l.Send(shout("x@"+floodDomain(0), den))
		ends(t, l, "")
	}},
}

// floodDomains is how many domains there are whose server never answers.
const floodDomains = 200

func floodDomain(i int) string { return fmt.Sprintf("d%d.flood.example", i) }

// reached has a message go to a domain, and returns the link that it came on. Whatever was sent to the server on its
// stream there before has been read then, or the stream has ended.
func (a *arena) reached(t *testing.T, p *fakepeer.Peer, domain string) *fakepeer.Link {
	t.Helper()
	a.n++
	id := fmt.Sprintf("reach-%d", a.n)
	found := make(chan *fakepeer.Link, 100)
	p.Play(fakepeer.Script{Element: func(l *fakepeer.Link, el fakepeer.Element) bool {
		if el.Attr("id") == id {
			found <- l
		}
		return false
	}})
	defer p.Play(fakepeer.Script{})
	// For a moment after it has met somebody hopeless, the server does not try again.
	again := time.NewTicker(250 * time.Millisecond)
	defer again.Stop()
	late := time.After(harness.Timeout)
	for {
		a.alice.Send("<message type='chat' id='" + id + "' to='somebody@" + domain + "'><body>hello</body></message>")
		select {
		case l := <-found:
			return l
		case <-again.C:
		case <-late:
			t.Fatalf("no message comes to %s", domain)
			return nil
		}
	}
}

var certificateAttacks = []attack{
	{"a flawed certificate proves nothing", func(t *testing.T, a *arena) {
		for flaw := range flaws {
			c := fakepeer.Load(t, a.authority.Issue("honest.example", flaw))
			l, err := a.evil.Open("honest.example", home, fakepeer.Way{Certificate: &c})
			if err != nil {
				continue // refused in the handshake: as good
			}
			if strings.Contains(l.Features.Raw, "EXTERNAL") {
				t.Errorf("%s: EXTERNAL is offered", flaw)
			}
			if err := l.External(); err == nil {
				t.Errorf("%s: EXTERNAL succeeds", flaw)
			}
			l.Send(shout("friend@honest.example", den))
			ends(t, l, "")
		}
	}},
	{"a certificate proves its own domain alone", func(t *testing.T, a *arena) {
		c := fakepeer.Load(t, a.authority.Issue("evil.example", peers.None))
		l, err := a.evil.Open("honest.example", home, fakepeer.Way{Certificate: &c})
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(l.Features.Raw, "EXTERNAL") {
			t.Error("EXTERNAL is offered")
		}
		if err := l.External(); err == nil {
			t.Error("EXTERNAL succeeds")
		}
		l.Send(shout("friend@honest.example", den))
		ends(t, l, "")
	}},
	{"EXTERNAL does not take another name than that of the stream", func(t *testing.T, a *arena) {
		l, err := a.evil.Open("evil.example", home, fakepeer.Way{})
		if err != nil {
			t.Fatal(err)
		}
		// honest.example
		l.Send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>aG9uZXN0LmV4YW1wbGU=</auth>")
		el, err := l.Next()
		if err != nil || el.Name.Local != "failure" {
			t.Errorf("the server says %s (%v)", el.Raw, err)
		}
		l.Send(shout("friend@honest.example", den))
		ends(t, l, "")
	}},
	{"another name after EXTERNAL is refused", func(t *testing.T, a *arena) {
		l, err := a.evil.Open("evil.example", home, fakepeer.Way{})
		if err != nil {
			t.Fatal(err)
		}
		l.Send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>")
		if el, err := l.Next(); err != nil || el.Name.Local != "success" {
			t.Fatalf("the server says %s (%v)", el.Raw, err)
		}
		l.Send("<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' xmlns:db='jabber:server:dialback' version='1.0' from='honest.example' to='home.example'>" +
			shout("friend@honest.example", den))
		if err := l.ReadHeader(); err != nil {
			t.Fatal(err)
		}
		ends(t, l, "invalid-from", "not-authorized")
	}},
	{"dialback is not enough where a certificate is asked for", func(t *testing.T, a *arena) {
		for flaw, domain := range flaws {
			p := a.flawed[flaw]
			l, err := p.Connect(domain, home, fakepeer.Way{Dialback: true})
			if err == nil {
				l.Send(shout("x@"+domain, den))
				t.Errorf("%s: dialback succeeds", flaw)
			}
		}
	}},
	{"nothing goes to who has not the certificate that is asked for", func(t *testing.T, a *arena) {
		a.den.Lock()
		defer a.den.Unlock()
		for flaw, domain := range flaws {
			id := "bad-" + string(flaw)
			a.bob.Send("<message type='chat' id='" + id + "' to='x@" + domain + "'><body>secret</body></message>")
			bounce, err := a.bob.Until(func(el string) bool { return harness.Attr(el, "id") == id })
			if err != nil {
				t.Fatalf("%s: no error: %v", flaw, err)
			}
			if harness.Attr(bounce, "type") != "error" || !strings.Contains(bounce, "remote-server-") || !strings.Contains(bounce, "certificate") {
				t.Errorf("%s: %s", flaw, bounce)
			}
		}
	}},
}

var addressAttacks = []attack{
	address("from a domain that the stream has not proved", shout("friend@honest.example", den), "invalid-from"),
	address("from our own domain", shout(home, den), "invalid-from"),
	address("from one of our people", shout("alice@home.example", den), "invalid-from"),
	address("from the recipient's own account", shout(bob, den), "invalid-from"),
	address("from a domain below the proved one", shout("x@second.evil.example", den), "invalid-from"),
	address("from nobody", "<message to='"+den+"'><body>"+mark+"</body></message>", "improper-addressing", "invalid-from"),
	{"a stanza from what is no address is dropped", func(t *testing.T, a *arena) {
		// Servers may differ about what an address is; the other users of the peer need not suffer.
		l := a.member(t)
		defer l.Close()
		l.Send(shout("@evil.example", den) + shout("bob@@home.example", den) + "<message id='after' from='x@evil.example' to='" + den + "'/>")
		a.den.Lock()
		defer a.den.Unlock()
		if got, err := until(a.bob, "after"); err != nil || len(got) > 0 {
			t.Errorf("%q, %v", got, err)
		}
	}},
	address("to nobody", "<message from='x@evil.example'><body>"+mark+"</body></message>", "improper-addressing"),
	address("to a host that we do not serve", shout("x@evil.example", "x@elsewhere.example"), "host-unknown", "improper-addressing"),
	address("to another peer, through us", shout("x@evil.example", "friend@honest.example"), "host-unknown", "improper-addressing"),
	{"a stream to a host that we do not serve", func(t *testing.T, a *arena) {
		l, err := a.evil.Open("evil.example", "elsewhere.example", fakepeer.Way{Addr: a.S2S})
		if err == nil {
			t.Errorf("it is offered %s", l.Features.Raw)
		} else if !strings.Contains(err.Error(), "host-unknown") {
			t.Error(err)
		}
	}},
	{"a stream from our own domain", func(t *testing.T, a *arena) {
		l, err := a.evil.Open(home, home, fakepeer.Way{})
		if err == nil {
			t.Errorf("it is offered %s", l.Features.Raw)
		} else if !strings.Contains(err.Error(), "invalid-from") {
			t.Error(err)
		}
	}},
	{"a stanza before anything is proved", func(t *testing.T, a *arena) {
		l := a.impostor(t, "evil.example")
		l.Send(shout("x@evil.example", den))
		ends(t, l, "not-authorized", "invalid-from")
	}},
	{"a stanza in clear", func(t *testing.T, a *arena) {
		l, err := a.evil.Open("evil.example", home, fakepeer.Way{Plain: true})
		if err != nil {
			t.Fatal(err)
		}
		l.Send(shout("x@evil.example", den))
		ends(t, l, "not-authorized", "invalid-from", "policy-violation")
	}},
	{"dialback in clear", func(t *testing.T, a *arena) {
		l, err := a.evil.Open("evil.example", home, fakepeer.Way{Plain: true})
		if err != nil {
			t.Fatal(err)
		}
		l.Send(l.Request(fakepeer.Pair{From: "evil.example", To: home}) + shout("x@evil.example", den))
		ends(t, l, "")
	}},
}

// address is a stanza on a stream that has proved evil.example.
func address(name, stanza string, words ...string) attack {
	return attack{"a stanza " + name, func(t *testing.T, a *arena) {
		l := a.member(t)
		l.Send(stanza)
		ends(t, l, words...)
	}}
}

var markerAttacks = []attack{
	cleaned("copies of other messages",
		"<received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='boss@home.example' to='"+bob+"'><body>"+mark+"</body></message></forwarded></received>",
		"<sent xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='"+bob+"' to='boss@home.example'><body>"+mark+"</body></message></forwarded></sent>"),
	cleaned("results of an archive",
		"<result xmlns='urn:xmpp:mam:2' queryid='q' id='1'><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='boss@home.example'><body>"+mark+"</body></message></forwarded></result>",
		"<fin xmlns='urn:xmpp:mam:1' queryid='"+mark+"'/>"),
	cleaned("ids in our name",
		"<stanza-id xmlns='urn:xmpp:sid:0' by='"+bob+"' id='"+mark+"'/>",
		"<stanza-id xmlns='urn:xmpp:sid:0' by='Bob@HOME.example' id='"+mark+"'/>",
		"<stanza-id xmlns='urn:xmpp:sid:0' by='home.example' id='"+mark+"'/>"),
	cleaned("times in our name",
		"<delay xmlns='urn:xmpp:delay' from='home.example' stamp='2002-09-10T23:08:25Z'>"+mark+"</delay>",
		"<delay xmlns='urn:xmpp:delay' from='"+bob+"' stamp='2002-09-10T23:08:25Z'>"+mark+"</delay>",
		"<x xmlns='jabber:x:delay' from='home.example' stamp='20020910T23:08:25'>"+mark+"</x>"),
	push("contacts", "<query xmlns='jabber:iq:roster'><item jid='intruder@evil.example' name='"+mark+"' subscription='both'/></query>"),
	push("blocked addresses", "<block xmlns='urn:xmpp:blocking'><item jid='"+mark+"@honest.example'/></block>"),
	push("addresses no longer blocked", "<unblock xmlns='urn:xmpp:blocking'><item jid='"+mark+"@honest.example'/></unblock>"),
	push("privacy lists", "<query xmlns='jabber:iq:privacy'><list name='"+mark+"'/></query>"),
}

// cleaned is a message from outside that carries what only our server says. It arrives without.
func cleaned(what string, forged ...string) attack {
	return attack{"forged " + what + " are taken out", func(t *testing.T, a *arena) {
		l := a.member(t)
		defer l.Close()
		a.den.Lock()
		defer a.den.Unlock()
		for i, f := range forged {
			id := fmt.Sprintf("clean-%d", i)
			for _, to := range []string{den, bob} {
				l.Send("<message type='chat' id='" + id + "' from='x@evil.example/r' to='" + to + "'>" + f + "<body>hello</body></message>")
				got, err := a.bob.Until(func(el string) bool { return harness.Attr(el, "id") == id })
				if err != nil {
					t.Fatal(err)
				}
				want := "<message type='chat' id='" + id + "' from='x@evil.example/r' to='" + to + "'><body>hello</body></message>"
				if d := cmp.Diff(want, withoutIDs(got)); d != "" {
					t.Errorf("bob gets (-want +got):\n%s", d)
				}
			}
		}
	}}
}

// push is a request from outside to a client that would change what it believes our server keeps.
func push(what, payload string) attack {
	return attack{"a forged push of " + what + " is refused", func(t *testing.T, a *arena) {
		l := a.member(t)
		defer l.Close()
		for i, from := range []string{"x@evil.example/r", "evil.example", "bob@evil.example"} {
			a.n++
			id := fmt.Sprintf("push-%d-%d", a.n, i)
			l.Send("<iq type='set' id='" + id + "' from='" + from + "' to='" + den + "'>" + payload + "</iq>")
			got, err := a.evil.Until(hasID(id))
			if err != nil {
				t.Fatal(err)
			}
			if s := got[len(got)-1]; s.Attr("type") != "error" || s.To != from || s.From != den {
				t.Errorf("the answer is %s", s.Raw)
			}
		}
		// The same for the account, whose data a stranger must not touch.
		l.Send("<iq type='set' id='account' from='x@evil.example/r' to='" + bob + "'>" + payload + "</iq>")
		got, err := a.evil.Until(hasID("account"))
		if err != nil {
			t.Fatal(err)
		}
		if s := got[len(got)-1]; s.Attr("type") != "error" {
			t.Errorf("the answer is %s", s.Raw)
		}
	}}
}
