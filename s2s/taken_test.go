package s2s

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/config"
	"jackdaw/router"
	"jackdaw/s2s/outbox"
	"jackdaw/storage"
	"jackdaw/wire"
	"jackdaw/xmpp"
	"jackdaw/xmpp/stream"
)

// attr is the value of an attribute in what was heard.
func attr(t *testing.T, xml, name string) string {
	t.Helper()
	el, err := xmpp.ParseElement([]byte(xml))
	if err != nil {
		t.Fatalf("%v in %s", err, xml)
	}
	return el.Attr(name)
}

// plain is a node without TLS, for tests that play the server and need none.
func plain(w *world, domain string) *node {
	return w.node(setup{domains: []string{domain}, withoutTLS: true,
		change: func(c *config.Config) { c.S2S.RequireTLS = false }})
}

// accept plays the server of a stream that is proved by dialback.
func (g *stage) accept(from, to, features string) *stranger {
	g.t.Helper()
	s := g.enter()
	s.welcome(from, to, "1", features)
	s.expect("result")
	s.say("<db:result from='" + from + "' to='" + to + "' type='valid'/>")
	return s
}

func TestPingTellsWhatWasTakenWithoutStreamManagement(t *testing.T) {
	w := newWorld(t)
	a := plain(w, capulet)
	g := w.stage(montague)
	o := a.opening(montague)
	s := g.accept(montague, capulet, dialbackFeature)
	stream := o.open(t)
	if err := stream.Write([]byte(spoken("juliet@"+capulet, romeo, "1")+spoken("juliet@"+capulet, romeo, "2")), 2); err != nil { // before a ping
		t.Fatal(err)
	}
	s.expect("id='1'")
	s.expect("id='2'")
	ping := s.expect("urn:xmpp:ping", "type='get'", "from='"+capulet+"'", "to='"+montague+"'")
	a.send(stream, romeo, "3") // behind the ping
	s.expect("id='3'")
	if o.acks.get() != 0 {
		t.Error("acknowledged before the answer")
	}
	id := attr(t, ping, "id")
	// Answers that are none.
	b := a.call()
	b.prove2(t, w, verona, capulet)
	b.say("<iq type='result' id='" + id + "' from='" + verona + "' to='" + capulet + "'/>")
	b.say("<iq type='result' id='" + pingPrefix + "x' from='" + verona + "' to='" + capulet + "'/>")
	// On whatever stream it comes.
	s.say("<iq type='error' id='" + id + "' from='" + montague + "' to='" + capulet + "'><error type='cancel'><service-unavailable xmlns='" +
		xmpp.NSStanzaErrors + "'/></error></iq>")
	o.acks.wait(t, 2)
	ping = s.expect("urn:xmpp:ping")
	s.say("<iq type='result' id='" + attr(t, ping, "id") + "' from='" + montague + "' to='" + capulet + "'/>")
	o.acks.wait(t, 3)
	closed := make(chan struct{})
	go func() {
		stream.Close()
		close(closed)
	}()
	s.expectOver("")
	<-closed
}

// prove2 proves a domain by dialback, playing the authority too.
func (s *stranger) prove2(t *testing.T, w *world, from, to string) {
	t.Helper()
	g := w.stage(from)
	s.introduce(from, to)
	s.say("<db:result from='" + from + "' to='" + to + "'>key</db:result>")
	authority := g.enter()
	authority.welcome(from, to, "1", dialbackFeature)
	authority.expect("verify")
	authority.say("<db:verify from='" + from + "' to='" + to + "' id='" + s.id + "' type='valid'/>")
	s.expect("type='valid'")
}

func TestPingIsAnsweredOnThePeersOwnStream(t *testing.T) {
	w := newWorld(t)
	a := plain(w, capulet)
	g := w.stage(montague)
	o := a.opening(montague)
	s := g.accept(montague, capulet, dialbackFeature)
	a.send(o.open(t), romeo, "1")
	s.expect("id='1'")
	id := attr(t, s.expect("urn:xmpp:ping"), "id")
	b := a.call()
	b.introduce(montague, capulet)
	b.say("<db:result from='" + montague + "' to='" + capulet + "'>key</db:result>")
	s.expect("verify") // the question comes on the stream that is there
	s.say("<db:verify from='" + montague + "' to='" + capulet + "' id='" + b.id + "' type='valid'/>")
	b.expect("type='valid'")
	b.say("<iq type='result' id='" + id + "' from='" + montague + "' to='" + capulet + "'/>")
	o.acks.wait(t, 1)
	if w.dialed(montague) != 1 {
		t.Errorf("%d streams were opened", w.dialed(montague))
	}
}

func TestTCPsWordIsEnoughOfAPeerThatAnswersNoPing(t *testing.T) {
	w := newWorld(t)
	a := plain(w, capulet)
	g := w.stage(montague)
	o := a.opening(montague)
	s := g.accept(montague, capulet, dialbackFeature)
	stream := o.open(t)
	a.send(stream, romeo, "1")
	s.expect("id='1'")
	s.expect("urn:xmpp:ping")
	for _, l := range a.streams.All() {
		l.look(time.Now().Add(pingPatient / 2))
	}
	if o.acks.get() != 0 {
		t.Error("acknowledged while there was time for an answer")
	}
	for _, l := range a.streams.All() {
		l.look(time.Now().Add(pingPatient + time.Second))
	}
	o.acks.wait(t, 1)
	a.send(stream, romeo, "2")
	o.acks.wait(t, 2)
	s.expect("id='2'")
}

func TestStreamManagementTellsWhatWasTaken(t *testing.T) {
	w := newWorld(t)
	a := plain(w, capulet)
	g := w.stage(montague)
	o := a.opening(montague)
	s := g.accept(montague, capulet, dialbackFeature+smFeature)
	s.expect("<enable ", "resume='true'")
	s.say("<enabled xmlns='" + xmpp.NSSM + "'/>")
	stream := o.open(t)
	if err := stream.Write([]byte(spoken("juliet@"+capulet, romeo, "1")+spoken("juliet@"+capulet, romeo, "2")), 2); err != nil {
		t.Fatal(err)
	}
	s.expect("id='1'")
	s.expect("id='2'")
	s.expect("<r ")
	s.say("<a xmlns='" + xmpp.NSSM + "' h='1'/>")
	o.acks.wait(t, 1)
	s.expect("<r ") // there is more
	s.say("<a xmlns='" + xmpp.NSSM + "' h='1'/>")
	s.expect("<r ") // it is asked again, in a while
	s.say("<a xmlns='" + xmpp.NSSM + "' h='2'/>")
	o.acks.wait(t, 2)
	s.say("<a xmlns='" + xmpp.NSSM + "' h='3'/>")
	s.expect("error", "handled-count-too-high", "h='3'", "send-count='2'")
	s.expect("end")
	<-stream.Over()
}

func TestPeersLimitIsKnown(t *testing.T) {
	w := newWorld(t)
	a := w.node(setup{domains: []string{capulet}})
	b := w.node(setup{domains: []string{montague}, change: func(c *config.Config) { c.Limits.ServerStanzaBytes = 12345 }})
	s, _ := a.open(montague)
	if got := s.(interface{ Limit() int }).Limit(); got != 12345 {
		t.Errorf("the limit is %d", got)
	}
	for limits, want := range map[string]int{
		"": 0, "<max-bytes>7</max-bytes>": 7, "<limits xmlns='" + xmpp.NSStreamLimits + "'><max-bytes> 8 </max-bytes></limits>": 8,
		"<max-bytes>-1</max-bytes>": 0, "<max-bytes>99999999999999999999</max-bytes>": 0,
	} {
		p := b.call()
		p.encrypt(verona, montague, w.certificate(verona))
		p.say("<bidi xmlns='" + xmpp.NSBidi + "'>" + limits + "</bidi>")
		p.logIn(verona, montague)
		b.untilBack(verona)
		back, _ := b.open(verona)
		if got := back.(interface{ Limit() int }).Limit(); got != want {
			t.Errorf("of %q: %d", limits, got)
		}
		_ = p.conn.Close() // the next one is another
		<-back.Over()
	}
}

func TestHeightsAreCountedModuloTwoToTheThirtyTwo(t *testing.T) {
	l := newLink(newWorld(t).node(setup{domains: []string{capulet}}).Server, &deaf{}, true)
	acks := newCounter()
	c := &carrier{l: l, acked: acks.add}
	l.out = outflow{sm: true, h: 1<<32 - 2, written: 5, flight: []flying{{c, 2}, {c, 3}}}
	if err := l.ackFrom(1); err != nil {
		t.Fatal(err)
	}
	acks.wait(t, 3)
	if err := l.ackFrom(0); err == nil {
		t.Error("h may fall")
	}
	if err := l.ackFrom(4); err == nil {
		t.Error("h may be more than was sent")
	}
	if err := l.ackFrom(3); err != nil {
		t.Fatal(err)
	}
	acks.wait(t, 5)
}

func TestPeerThatAcknowledgesNothingIsGone(t *testing.T) {
	w := newWorld(t)
	a, b := w.node(setup{domains: []string{capulet}}), w.node(setup{domains: []string{montague}})
	s, _ := a.open(montague)
	for _, l := range b.streams.All() { // it reads and says nothing
		l.wmu.Lock()
		defer l.wmu.Unlock()
	}
	a.send(s, romeo, "1")
	for _, l := range a.streams.All() {
		l.look(time.Now().Add(ackPatient + time.Second))
	}
	<-s.Over()
	if a.Stats.Silent.Load() != 1 {
		t.Error("not counted")
	}
	w.cut(montague)
}

func TestIdleStreamIsClosed(t *testing.T) {
	w := newWorld(t)
	a := plain(w, capulet)
	b := plain(w, montague)
	s, acks := a.open(montague)
	a.send(s, romeo, "1")
	acks.wait(t, 1)
	for _, l := range a.streams.All() {
		l.look(time.Now().Add(idleTime / 2))
		l.look(time.Now().Add(idleTime + 2*time.Second))
	}
	<-s.Over()
	until(t, "both have forgotten it", func() bool { return len(a.Links())+len(b.Links()) == 0 })
	if a.Stats.Lost.Load()+b.Stats.Lost.Load() != 0 {
		t.Error("that was not polite")
	}
}

func TestLostStreamIsResumed(t *testing.T) {
	w := newWorld(t)
	a, b := w.node(setup{domains: []string{capulet}}), w.node(setup{domains: []string{montague}})
	s, acks := a.open(montague)
	for i := range 10 {
		a.send(s, romeo, fmt.Sprint(i))
		b.expect("juliet@"+capulet, romeo, fmt.Sprint(i))
	}
	acks.wait(t, 10)
	// What is routed while no acknowledgement gets through is known on resumption.
	var held *link
	for _, l := range b.streams.All() {
		held = l
	}
	held.wmu.Lock()
	for i := range 5 {
		a.send(s, romeo, fmt.Sprint("more", i))
		b.expect("juliet@"+capulet, romeo, fmt.Sprint("more", i))
	}
	w.cut(montague)
	<-s.Over()
	held.wmu.Unlock()
	if err := s.Write(message("juliet@"+capulet, romeo, "x"), 1); err == nil {
		t.Error("one can write to a stream that is over")
	}
	s, again := a.open(montague)
	if got := again.get(); got != 5 {
		t.Errorf("%d were known to have been taken when the stream was open again, want 5", got)
	}
	a.send(s, romeo, "last")
	b.expect("juliet@"+capulet, romeo, "last")
	again.wait(t, 6)
	acks.wait(t, 10) // the old stream says nothing any more
	if a.Stats.Resumed.Load() != 1 || b.Stats.Resumptions.Load() != 1 {
		t.Errorf("resumed %d, %d", a.Stats.Resumed.Load(), b.Stats.Resumptions.Load())
	}
}

func TestResumptionOfAStreamThatIsNotKnownDead(t *testing.T) {
	_, b, cert := victim(t)
	s := b.call()
	s.prove(capulet, montague, cert)
	s.say("<enable xmlns='" + xmpp.NSSM + "' resume='true'/>")
	id := attr(t, s.expect("<enabled", "resume='true'"), "id")
	s.say(spoken("juliet@"+capulet, romeo, "1"))
	b.expect("juliet@"+capulet, romeo, "1")

	other := b.call()
	other.prove(verona, montague, b.w.certificate(verona))
	other.say("<resume xmlns='" + xmpp.NSSM + "' previd='" + id + "' h='0'/>")
	other.expect("<failed", "item-not-found") // another's

	again := b.call()
	again.prove(capulet, montague, cert)
	again.say("<resume xmlns='" + xmpp.NSSM + "' previd='nonsense' h='0'/>")
	again.expect("<failed", "item-not-found")
	again.say("<resume xmlns='" + xmpp.NSSM + "' previd='" + id + "' h='0'/>")
	again.expect("<resumed", "h='1'", "previd='"+id+"'")
	if got := s.hear(); got != "gone" {
		t.Errorf("the old stream says %s", got)
	}
	again.say(spoken("juliet@"+capulet, romeo, "2") + "<r xmlns='" + xmpp.NSSM + "'/>")
	b.expect("juliet@"+capulet, romeo, "2")
	again.expect("<a ", "h='2'")
	again.say("<enable xmlns='" + xmpp.NSSM + "'/>")
	again.expectOver("policy-violation")
}

func TestManagementBeforeAuthenticationIsRefused(t *testing.T) {
	_, b, cert := victim(t)
	s := b.call()
	s.encrypt(capulet, montague, cert)
	for _, x := range []string{"<enable xmlns='" + xmpp.NSSM + "'/>", "<resume xmlns='" + xmpp.NSSM + "' previd='x' h='0'/>", "<r xmlns='" + xmpp.NSSM + "'/>"} {
		s.say(x)
		s.expect("<failed", "unexpected-request")
	}
	s.say("<a xmlns='" + xmpp.NSSM + "' h='7'/>") // of no meaning
	s.logIn(capulet, montague)
	s.say("<enable xmlns='" + xmpp.NSSM + "'/>")
	s.expect("<enabled")
	s.say("<a xmlns='" + xmpp.NSSM + "' h='7'/>")
	s.expect("error", "handled-count-too-high")
}

func TestAcknowledgementWaitsForTheStore(t *testing.T) {
	w := newWorld(t)
	var pending [3]*storage.Pending
	for i := range pending {
		pending[i] = storage.NewPending()
	}
	n := 0
	b := w.node(setup{domains: []string{montague}, pendings: func(e *router.Envelope) {
		if !e.Durable {
			t.Error("what is acknowledged must be kept")
		}
		e.Await(pending[n])
		n++
	}})
	s := b.call()
	s.prove(capulet, montague, w.certificate(capulet))
	s.say("<enable xmlns='" + xmpp.NSSM + "' resume='true'/>")
	s.expect("<enabled")
	for i := range 3 {
		s.say(spoken("juliet@"+capulet, romeo, fmt.Sprint(i)))
		b.expect("juliet@"+capulet, romeo, fmt.Sprint(i))
	}
	s.say("<r xmlns='" + xmpp.NSSM + "'/>")
	pending[1].Finish(nil)
	s.say("<db:verify from='" + capulet + "' to='" + montague + "' id='1'>key</db:verify>")
	s.expect("verify") // nothing else has been said
	pending[0].Finish(nil)
	pending[2].Finish(nil)
	s.expect("<a ", "h='3'")
}

func TestWhatCouldNotBeStoredIsNotAcknowledged(t *testing.T) {
	w := newWorld(t)
	b := w.node(setup{domains: []string{montague}, pendings: func(e *router.Envelope) {
		p := storage.NewPending()
		if e.Stanza.ID == "2" {
			p.Finish(errors.New("disk on fire"))
		} else {
			p.Finish(nil)
		}
		e.Await(p)
	}})
	s := b.call()
	s.prove(capulet, montague, w.certificate(capulet))
	s.say("<enable xmlns='" + xmpp.NSSM + "' resume='true'/>")
	s.expect("<enabled")
	s.say(spoken("juliet@"+capulet, romeo, "1") + spoken("juliet@"+capulet, romeo, "2") + spoken("juliet@"+capulet, romeo, "3"))
	s.expect("<a ", "h='1'")
	s.expectOver("internal-server-error")
}

// untilBack waits for a stream from a peer that can be used towards it.
func (n *node) untilBack(remote string) {
	n.t.Helper()
	until(n.t, "a stream goes back", func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		return n.back[outbox.Pair{Local: n.domain, Remote: remote}] != nil
	})
}

func TestOneStreamCarriesBothDirections(t *testing.T) {
	w := newWorld(t)
	a, b := w.node(setup{domains: []string{capulet}}), w.node(setup{domains: []string{montague}})
	s, acks := a.open(montague)
	var back outbox.Stream
	backAcks := newCounter()
	b.untilBack(capulet)
	back, err := b.Open(t.Context(), outbox.Pair{Local: montague, Remote: capulet}, backAcks.add)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		a.send(s, romeo, fmt.Sprint(i))
		if err := back.Write(message(romeo, "juliet@"+capulet, fmt.Sprint(i)), 1); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 100 {
		b.expect("juliet@"+capulet, romeo, fmt.Sprint(i))
		a.expect(romeo, "juliet@"+capulet, fmt.Sprint(i))
	}
	acks.wait(t, 100)
	backAcks.wait(t, 100)
	if w.dialed(montague) != 1 || w.dialed(capulet) != 0 {
		t.Errorf("%d and %d streams were opened", w.dialed(montague), w.dialed(capulet))
	}
	// Only the pair that was proved goes back.
	back.Close()
	w.cut(montague)
	<-back.Over()
	<-s.Over()
	until(t, "it is forgotten", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.back) == 0
	})
}

func TestPeersThatFloodEachOtherOnOneStreamGoOn(t *testing.T) {
	w := newWorld(t)
	a, b := w.node(setup{domains: []string{capulet}}), w.node(setup{domains: []string{montague}})
	s, acks := a.open(montague)
	b.untilBack(capulet)
	back, backAcks := b.open(capulet)
	const many, bytes = 500, 20000
	flood := func(s outbox.Stream, from, to string) {
		x := strings.Replace(spoken(from, to, "1"), "Wherefore?", strings.Repeat("x", bytes), 1)
		for range many {
			if err := s.Write([]byte(x), 1); err != nil {
				t.Error(err)
				return
			}
		}
	}
	go flood(s, "juliet@"+capulet, romeo)
	go flood(back, romeo, "juliet@"+capulet)
	acks.wait(t, many)
	backAcks.wait(t, many)
}

func TestFurtherPairJoinsTheStream(t *testing.T) {
	w := newWorld(t)
	a := w.node(setup{domains: []string{capulet, "rooms." + capulet}})
	b := w.node(setup{domains: []string{montague}})
	s, _ := a.open(montague)
	rooms := outbox.Pair{Local: "rooms." + capulet, Remote: montague}
	r, acks := a.openPair(rooms)
	if err := r.Write(message("balcony@rooms."+capulet, romeo, "1"), 1); err != nil {
		t.Fatal(err)
	}
	b.expect("balcony@rooms."+capulet, romeo, "1")
	acks.wait(t, 1)
	a.send(s, romeo, "2")
	b.expect("juliet@"+capulet, romeo, "2")
	if w.dialed(montague) != 1 || a.Stats.Piggybacked.Load() != 1 {
		t.Errorf("%d streams were opened, %d pairs joined", w.dialed(montague), a.Stats.Piggybacked.Load())
	}
	if out := a.link(true); len(out.Pairs) != 2 {
		t.Errorf("the link has %+v", out.Pairs)
	}
	strict := w.node(setup{domains: []string{verona, "rooms." + verona},
		change: func(c *config.Config) { c.S2S.Dialback = false }})
	strict.open(montague)
	strict.openPair(outbox.Pair{Local: "rooms." + verona, Remote: montague})
	if w.dialed(montague) != 3 {
		t.Errorf("%d streams were opened", w.dialed(montague))
	}
}

func TestRefusedPairOpensAStreamOfItsOwn(t *testing.T) {
	w := newWorld(t)
	a := w.node(setup{domains: []string{capulet, "rooms." + capulet}, withoutTLS: true,
		change: func(c *config.Config) { c.S2S.RequireTLS = false }})
	g := w.stage(montague)
	o := a.opening(montague)
	s := g.accept(montague, capulet, dialbackFeature)
	o.open(t)
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := a.Open(ctx, outbox.Pair{Local: "rooms." + capulet, Remote: montague}, func(int) {})
		done <- err
	}()
	s.expect("result", "from='rooms."+capulet+"'")
	s.say("<db:result from='" + montague + "' to='rooms." + capulet + "' type='error'><error type='wait'><resource-constraint xmlns='" +
		xmpp.NSStanzaErrors + "'/></error></db:result>")
	g.accept(montague, "rooms."+capulet, dialbackFeature)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestNextTargetIsTriedWhenOneFails(t *testing.T) {
	w := newWorld(t)
	a := w.node(setup{domains: []string{capulet}})
	w.node(setup{domains: []string{"other.example"}, certificate: w.certificate(montague)}) // it knows no montague
	b := w.node(setup{domains: []string{montague}})
	w.mu.Lock()
	w.places[montague] = []place{{"127.0.0.1:1", false}, w.places["other.example"][0], {b.addr, false}}
	w.mu.Unlock()
	s, _ := a.open(montague)
	a.send(s, romeo, "1")
	b.expect("juliet@"+capulet, romeo, "1")
	w.mu.Lock()
	w.places[montague] = w.places["other.example"]
	w.mu.Unlock()
	n := w.node(setup{domains: []string{verona}})
	if f := n.refused(montague); !f.Permanent || f.Condition != xmpp.CondRemoteServerNotFound || f.Text != "the server closed the stream: host-unknown" {
		t.Errorf("the failure is %+v", f)
	}
	if f := n.refused("nowhere.example"); !f.Permanent || f.Text != "the name was not found" {
		t.Errorf("the failure is %+v", f)
	}
}

func TestDialbackFollowsExternalThatWasRefused(t *testing.T) {
	w := newWorld(t)
	a := w.node(setup{domains: []string{capulet}})
	g := w.stage(montague)
	o := a.opening(montague)
	s := g.enter()
	s.acceptTLS(montague, capulet, g.cert, externalFeature+dialbackFeature)
	s.expect("<auth")
	s.say("<failure xmlns='" + xmpp.NSSASL + "'><not-authorized/></failure>")
	s.expect("<db:result", a.key(montague, capulet, "two"))
	s.say("<db:result from='" + montague + "' to='" + capulet + "' type='valid'/>")
	a.send(o.open(t), romeo, "1")
	s.expect("id='1'")
	if _, ours := a.Stats.Proofs(); ours["dialback"] != 1 {
		t.Errorf("the proofs are %v", ours)
	}
}

func TestShutdownEndsStreamsPolitely(t *testing.T) {
	w, b, cert := victim(t)
	a := w.node(setup{domains: []string{verona}})
	stream, _ := a.open(montague)
	s := b.call()
	s.prove(capulet, montague, cert)
	s.say("<enable xmlns='" + xmpp.NSSM + "'/>")
	s.expect("<enabled")
	s.say(spoken("juliet@"+capulet, romeo, "1"))
	b.expect("juliet@"+capulet, romeo, "1")
	until(t, "it has been counted", func() bool {
		for _, l := range b.streams.All() {
			l.mu.Lock()
			done := l.in != nil && l.in.handled == 1
			l.mu.Unlock()
			if done {
				return true
			}
		}
		return false
	})
	gone := make(chan string, 1)
	go func() {
		all, _ := io.ReadAll(s.conn) // until the node has closed it
		gone <- string(all)
	}()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	for _, n := range []*node{a, b} {
		if err := n.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	}
	<-stream.Over()
	if got := <-gone; !strings.Contains(got, "<a xmlns='urn:xmpp:sm:3' h='1'/>") || !strings.Contains(got, "system-shutdown") || !strings.HasSuffix(got, "</stream:stream>") {
		t.Errorf("the last words were %s", got)
	}
	if _, err := a.Open(ctx, outbox.Pair{Local: verona, Remote: montague}, nil); err == nil {
		t.Error("a stream was opened after the end")
	}
}

func TestLastWordsAreNotCutOffByAReaderThatIsThroughToo(t *testing.T) {
	_, b, _ := victim(t)
	for _, end := range []error{wire.Fault(stream.BadFormat, ""), errClosed} {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			l := newLink(b.Server, near, false)
			go l.part(wire.Fault(stream.SystemShutdown, ""))
			synctest.Wait() // it speaks, and nobody has heard it yet
			go l.finish(end)
			synctest.Wait()
			got, err := io.ReadAll(far)
			if err != nil || !strings.Contains(string(got), "system-shutdown") {
				t.Errorf("with %v: it said %q, %v", end, got, err)
			}
			<-l.done
		})
	}
}

// hurried is a connection that knows how long its reader may wait.
type hurried struct {
	net.Conn
	until time.Time
}

func (c *hurried) SetReadDeadline(t time.Time) error {
	c.until = t
	return c.Conn.SetReadDeadline(t)
}

func TestALinkThatEndsWhileItIsEstablishedIsNotWaitedForWithoutEnd(t *testing.T) {
	_, b, _ := victim(t)
	for _, over := range []bool{false, true} {
		near, far := net.Pipe()
		c := &hurried{Conn: near}
		l := newLink(b.Server, c, true)
		at := time.Now().Add(wire.LingerTime)
		if err := l.Transport.SetReadDeadline(at); err != nil {
			t.Fatal(err)
		}
		if over && !l.stop(errClosed, false) {
			t.Fatal("it had ended")
		}
		l.mu.Lock()
		err := l.patient()
		l.mu.Unlock()
		if err != nil || c.until.Equal(at) != over {
			t.Errorf("over %t: until %v, %v", over, c.until, err)
		}
		near.Close()
		far.Close()
	}
}

func TestEachRequestIsAnsweredWhenWhatCameBeforeItIsStored(t *testing.T) {
	w := newWorld(t)
	var pending [4]*storage.Pending
	for i := range pending {
		pending[i] = storage.NewPending()
	}
	n := 0
	b := w.node(setup{domains: []string{montague}, pendings: func(e *router.Envelope) {
		if e.Stanza.ID != "free" {
			e.Await(pending[n])
			n++
		}
	}})
	s := b.call()
	s.prove(capulet, montague, w.certificate(capulet))
	s.say("<enable xmlns='" + xmpp.NSSM + "'/>")
	s.expect("<enabled")
	for _, id := range []string{"0", "1", "free", "2", "3"} {
		s.say(spoken("juliet@"+capulet, romeo, id))
		b.expect("juliet@"+capulet, romeo, id)
		if id != "0" {
			s.say("<r xmlns='" + xmpp.NSSM + "'/>")
		}
	}
	s.say("<db:verify from='" + capulet + "' to='" + montague + "' id='1'>key</db:verify>")
	s.expect("verify") // all of this has come
	pending[0].Finish(nil)
	pending[1].Finish(nil)
	s.expect("<a ", "h='3'") // with what needs no storing
	pending[3].Finish(nil)   // the one before has not finished
	s.say("<db:verify from='" + capulet + "' to='" + montague + "' id='1'>key</db:verify>")
	s.expect("verify")
	pending[2].Finish(nil)
	s.expect("<a ", "h='5'")
}

func TestWhatCouldNotBeStoredEndsTheStreamThoughNobodyAsks(t *testing.T) {
	w := newWorld(t)
	pending := storage.NewPending()
	b := w.node(setup{domains: []string{montague}, pendings: func(e *router.Envelope) { e.Await(pending) }})
	s := b.call()
	s.prove(capulet, montague, w.certificate(capulet))
	s.say("<enable xmlns='" + xmpp.NSSM + "'/>")
	s.expect("<enabled")
	s.say(spoken("juliet@"+capulet, romeo, "1"))
	b.expect("juliet@"+capulet, romeo, "1")
	s.say("<db:verify from='" + capulet + "' to='" + montague + "' id='1'>key</db:verify>")
	s.expect("verify") // the message is counted
	pending.Finish(errors.New("disk on fire"))
	s.expectOver("internal-server-error")
}

func TestLastWordsSayWhatIsStoredThoughNobodyAsked(t *testing.T) {
	w := newWorld(t)
	pending := storage.NewPending()
	b := w.node(setup{domains: []string{montague}, pendings: func(e *router.Envelope) { e.Await(pending) }})
	s := b.call()
	s.prove(capulet, montague, w.certificate(capulet))
	s.say("<enable xmlns='" + xmpp.NSSM + "'/>")
	s.expect("<enabled")
	s.say(spoken("juliet@"+capulet, romeo, "1"))
	b.expect("juliet@"+capulet, romeo, "1")
	s.say("<db:verify from='" + capulet + "' to='" + montague + "' id='1'>key</db:verify>")
	s.expect("verify")
	pending.Finish(nil)
	s.say("</stream:stream>")
	s.expect("<a ", "h='1'")
	s.expect("end")
}
