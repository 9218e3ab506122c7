package component

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"jackdaw/config"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
	"jackdaw/xmpp/stream"
)

func durable(e *router.Envelope) { e.Durable = true }

func post(e *router.Envelope) { e.Durable, e.Quiet = true, true }

// settled waits for the outcome of what an acknowledgement waits for.
func settled(t *testing.T, e *router.Envelope) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	if len(e.Pendings) == 0 {
		t.Fatal("nothing is awaited")
	}
	for _, p := range e.Pendings {
		if err := p.Wait(ctx); err != nil {
			if ctx.Err() != nil {
				t.Fatal("a pending never finished")
			}
			return err
		}
	}
	return nil
}

func unfinished(p *storage.Pending) bool {
	done, _ := p.Finished()
	return !done
}

// roomy lets a test queue more than any kernel takes.
func roomy(l *config.Limits) { l.QueueBytes = 64 << 20 }

// body is one of many that no kernel takes together.
var body = "<body>" + strings.Repeat("x", 16<<10) + "</body>"

// flood sends messages with the ids from a up to and without b.
func (h *house) flood(a, b int, change func(*router.Envelope)) (sent []*router.Envelope) {
	h.t.Helper()
	for i := a; i < b; i++ {
		e := h.route(fmt.Sprintf("<message from='a@users.example.org' to='bot.example.org' id='%d'>%s</message>", i, body), change)
		if e.Outcome != router.Delivered {
			h.t.Fatalf("stanza %d: %v %v", i, e.Outcome, e.Err)
		}
		sent = append(sent, e)
	}
	return sent
}

// last returns what the last of these waits for.
func last(sent []*router.Envelope) *storage.Pending { return sent[len(sent)-1].Pendings[0] }

// id is that of a stanza's XML.
func id(xml string) string {
	_, rest, _ := strings.Cut(xml, " id='")
	got, _, _ := strings.Cut(rest, "'")
	return got
}

// all reads whole stanzas to the end of the connection and returns their ids.
func (p *program) all() (ids []string) {
	p.t.Helper()
	for {
		switch got := p.next(); {
		case got == "closed":
			return ids
		case strings.HasPrefix(got, "<message"):
			ids = append(ids, id(got))
		}
	}
}

// inOrder checks that the ids are the numbers from a on, up to and without b.
func inOrder(t *testing.T, who string, ids []string, a, b int) {
	t.Helper()
	if len(ids) != b-a {
		t.Errorf("%s: %d stanzas, want %d", who, len(ids), b-a)
		return
	}
	for i, got := range ids {
		if got != fmt.Sprint(a+i) {
			t.Errorf("%s: stanza %d has the id %s, want %d", who, i, got, a+i)
			return
		}
	}
}

func TestAcknowledgementWaitsUntilTheKernelHasTheStanza(t *testing.T) {
	h := newHouse(t, roomy)
	bot := h.connect("bot.example.org", "botsecret")
	sent := h.flood(0, 1000, durable)
	if err := settled(t, sent[0]); err != nil {
		t.Error(err)
	}
	if !unfinished(last(sent)) {
		t.Fatal("the kernel has 16 MB, and nobody reads")
	}
	for i := range sent {
		bot.expect(fmt.Sprintf(" id='%d'", i))
	}
	if err := settled(t, sent[len(sent)-1]); err != nil {
		t.Error(err)
	}
	h.nothing()
}

// stalled lets the time be over that a write to a component may take.
func (h *house) stalled(domain string) {
	h.Server.mu.RLock()
	defer h.Server.mu.RUnlock()
	if l := h.Server.links[domain]; l != nil {
		_ = l.Transport.WriteUntil(time.Unix(1, 0)) // it can only be closed already
	}
}

func TestNothingIsLostNorDoubledWhenAComponentTakesNothing(t *testing.T) {
	h := newHouse(t, func(l *config.Limits) {
		roomy(l)
		l.WriteStall = time.Hour
	})
	bot := h.connect("bot.example.org", "botsecret")
	const many = 1000
	sent := h.flood(0, many, durable)
	h.eventually("the stream ends", func() bool {
		h.stalled("bot.example.org")
		return h.Stats.Links.Load() == 0
	})
	taken := bot.all()
	inOrder(t, "component", taken, 0, len(taken))
	var back []string
	for range many - len(taken) {
		got := <-h.got
		if !strings.Contains(got, "type='error'") || !strings.Contains(got, "<service-unavailable") || !strings.Contains(got, "'wait'") {
			t.Fatalf("%.300s", got)
		}
		back = append(back, id(got))
	}
	inOrder(t, "senders", back, len(taken), many)
	for _, e := range sent { // taken, or told
		if err := settled(t, e); err != nil {
			t.Error(err)
		}
	}
	if h.Stats.Stalls.Load() != 1 || len(taken) == 0 || len(back) == 0 || h.Stats.Returned.Load() != int64(len(back)) ||
		h.Stats.Sent.Load() != int64(len(taken)) {
		t.Errorf("%d taken, %d back, stalls %d, sent %d, returned %d", len(taken), len(back), h.Stats.Stalls.Load(), h.Stats.Sent.Load(),
			h.Stats.Returned.Load())
	}
	if got := h.Links()[0].LastError; got != "the component takes nothing" {
		t.Errorf("last error %q", got)
	}
	h.nothing()
}

func TestSendersLearnWhatAComponentNeverTookInTheirWay(t *testing.T) {
	h := newHouse(t, roomy)
	bot := h.connect("bot.example.org", "botsecret")
	h.flood(0, 1000, func(e *router.Envelope) { e.Quiet = true })
	acked := h.route("<message from='b@users.example.org' to='bot.example.org' id='acked'/>", durable)
	posted := h.route("<message from='b@users.example.org' to='bot.example.org' id='posted'/>", post)
	h.route("<iq type='get' from='b@users.example.org' to='bot.example.org' id='asked'><a xmlns='u'/></iq>", nil)
	h.route("<message from='b@users.example.org' to='bot.example.org' id='quiet'/>", func(e *router.Envelope) { e.Quiet = true })
	result := h.route("<iq type='result' from='b@users.example.org' to='bot.example.org' id='result'/>", durable)
	fault := h.route("<message type='error' from='b@users.example.org' to='bot.example.org' id='fault'/>", durable)
	bot.Close()
	if err := settled(t, posted); !errors.Is(err, errAway) {
		t.Errorf("the post: %v", err)
	}
	for _, e := range []*router.Envelope{acked, result, fault} {
		if err := settled(t, e); err != nil {
			t.Errorf("%s: %v", e.Stanza.ID, err)
		}
	}
	h.expect("<message type='error' id='acked' from='bot.example.org' to='b@users.example.org'>", "<service-unavailable")
	h.expect("<iq type='error' id='asked'", "<service-unavailable")
	h.eventually("the stream ends", func() bool { return h.Stats.Connections.Load() == 0 })
	h.nothing()
}

func TestAcknowledgementWaitsUntilTheErrorIsSafe(t *testing.T) {
	h := newHouse(t, roomy)
	safe, routed := storage.NewPending(), make(chan bool, 1)
	h.router.Use(append(h.router.Modules(), router.Module{Name: "peer", Service: &router.Service{
		Domains: func() []string { return []string{"peer.example.org"} },
		Handle: func(e *router.Envelope) {
			e.Await(safe)
			e.Settle(router.Queued)
			routed <- e.Durable
		}}})...)
	bot := h.connect("bot.example.org", "botsecret")
	h.flood(0, 1000, func(e *router.Envelope) { e.Quiet = true })
	e := h.route("<message from='a@peer.example.org' to='bot.example.org'/>", durable)
	bot.Close()
	if !<-routed {
		t.Error("the error need not be safe")
	}
	if !unfinished(e.Pendings[0]) {
		t.Error("acknowledged before the error was safe")
	}
	safe.Finish(nil)
	if err := settled(t, e); err != nil {
		t.Error(err)
	}
}

func TestNewerStreamInheritsWhatTheOlderNeverTook(t *testing.T) {
	h := newHouse(t, roomy)
	older := h.connect("bot.example.org", "botsecret")
	sent := h.flood(0, 1000, post)
	newer := h.dial(header("bot.example.org"))
	newer.say(newer.handshake("botsecret"))
	h.eventually("replaced", func() bool { return h.Stats.Replaced.Load() == 1 })
	sent = append(sent, h.flood(1000, 1100, post)...)
	if got := newer.next(); got != "<handshake/>" {
		t.Fatalf("the handshake was answered by %.100s", got)
	}
	taken := older.all()
	inOrder(t, "older", taken, 0, len(taken))
	var rest []string
	for range len(sent) - len(taken) {
		rest = append(rest, id(newer.next()))
	}
	inOrder(t, "newer", rest, len(taken), len(sent))
	for _, e := range sent {
		if err := settled(t, e); err != nil {
			t.Error(err)
		}
	}
	if len(taken) == 0 || len(rest) <= 100 {
		t.Errorf("%d taken by the older, %d by the newer", len(taken), len(rest))
	}
	h.nothing()
}

func TestStreamsThatReplaceEachOtherLoseNothing(t *testing.T) {
	h := newHouse(t, roomy)
	first := h.connect("bot.example.org", "botsecret")
	h.flood(0, 1000, nil)
	var all []*program
	for range 5 {
		p := h.dial(header("bot.example.org"))
		p.say(p.handshake("botsecret"))
		all = append(all, p)
	}
	h.eventually("replaced", func() bool { return h.Stats.Replaced.Load() == 5 })
	taken := first.all()
	// The last of them by the server's order keeps its stream; which it is cannot be told from here.
	seen := map[string]bool{}
	for _, got := range taken {
		seen[got] = true
	}
	results := make(chan []string)
	for _, p := range all {
		go func() {
			var ids []string
			for {
				got := p.next()
				switch {
				case strings.HasPrefix(got, "<message"):
					ids = append(ids, id(got))
					if id(got) == "end" {
						results <- ids
						return
					}
				case got == "closed":
					results <- ids
					return
				}
			}
		}()
	}
	h.route("<message from='a@users.example.org' to='bot.example.org' id='end'/>", nil)
	for range all {
		for _, got := range <-results {
			if seen[got] {
				t.Errorf("%s came twice", got)
			}
			seen[got] = true
		}
	}
	if len(seen) != 1001 {
		t.Errorf("%d stanzas came", len(seen))
	}
	h.nothing()
}

func TestFloodIsRefusedAndTheComponentStays(t *testing.T) {
	h := newHouse(t, func(l *config.Limits) { l.QueueBytes = 1 << 20 })
	bot := h.pipe("bot.example.org", "botsecret")
	const heads = " id='x' from='a@users.example.org' to='bot.example.org'>"
	taken := 0
	e := h.route("<message"+heads+body+"</message>", nil)
	for ; e.Outcome == router.Delivered; taken++ {
		e = h.route("<message"+heads+body+"</message>", nil)
	}
	if e.Err.Condition != xmpp.CondResourceConstraint || e.Err.Type != xmpp.ErrorWait {
		t.Error(e.Err)
	}
	h.expect("<resource-constraint", "'wait'")
	if e := h.route("<iq type='get'"+heads+"<a xmlns='u'>"+body+"</a></iq>", nil); e.Outcome != router.Refused {
		t.Error(e.Outcome)
	}
	h.expect("<resource-constraint")
	// What nobody would miss still passes.
	if e := h.route("<presence type='unavailable'"+heads+body+"</presence>", nil); e.Outcome != router.Delivered {
		t.Error(e.Outcome, e.Err)
	}
	if q := h.Links()[0].Queued; q <= 1<<20 || q > 2<<20 {
		t.Errorf("%d bytes are queued", q)
	}
	for range taken {
		bot.expect("<message")
	}
	bot.expect("<presence")
	h.eventually("there is room again", func() bool { return h.Links()[0].Queued == 0 })
	h.route("<message from='a@users.example.org' to='bot.example.org' id='again'/>", nil)
	bot.expect("id='again'")
	if n := h.Stats.Overflows.Load(); n != 2 {
		t.Errorf("%d overflows", n)
	}
	h.nothing()
}

func TestQueueThatGrowsAllTheSameEndsTheStream(t *testing.T) {
	h := newHouse(t, func(l *config.Limits) { l.QueueBytes = 1 << 20 })
	bot := h.pipe("bot.example.org", "botsecret")
	sent := 0
	for h.route(fmt.Sprintf("<presence id='%d' from='a@users.example.org' to='bot.example.org'>%s</presence>", sent, body), nil).Outcome ==
		router.Delivered {
		sent++
	}
	h.expect("<resource-constraint")
	if sent*len(body) < 19<<16 || sent*len(body) > 2<<20 {
		t.Errorf("%d bytes were queued", sent*len(body))
	}
	// The component has a second to take what was being written.
	taken := 0
	for got := bot.next(); got != "closed"; got = bot.next() {
		if strings.HasPrefix(got, "<presence") {
			taken++
		}
	}
	for i := range sent - taken {
		h.expect("<presence type='error'", fmt.Sprintf(" id='%d'", taken+i), "<service-unavailable")
	}
	h.eventually("the stream is over", func() bool { return h.Stats.Connections.Load() == 0 })
	if got := h.Links()[0].LastError; !strings.HasPrefix(got, string(stream.ResourceConstraint)) || taken == sent {
		t.Errorf("last error %q, %d taken", got, taken)
	}
	h.nothing()
}

func TestStanzaLargerThanTheQueueIsTakenAlone(t *testing.T) {
	h := newHouse(t, func(l *config.Limits) { l.QueueBytes = 100 })
	bot := h.connect("bot.example.org", "botsecret")
	h.route("<message from='a@users.example.org' to='bot.example.org'>"+body+"</message>", nil)
	bot.expect(body)
}

func TestQueueReadsBackWhatItHolds(t *testing.T) {
	x := xmpp.Stanza{Kind: xmpp.Message, ID: "1", From: jid.MustParse("a@b"), To: jid.MustParse("c@d"), Payload: []byte("<body>x</body>")}
	var q, more outgoing
	for i, to := range []*outgoing{&q, &q, &q, &more, &more} {
		x.ID = fmt.Sprint(i)
		to.buf = x.Append(to.buf)
		to.marks = append(to.marks, mark{end: len(to.buf), quiet: i%2 == 0})
	}
	rest := q.from(1)
	rest.add(&more)
	start := 0
	for i, m := range rest.marks {
		got, err := stream.ParseStanza(rest.buf[start:m.end], stream.Limits{})
		if err != nil || got.ID != fmt.Sprint(i+1) || m.quiet != (i%2 == 1) {
			t.Errorf("%d: %v %v %v", i, got, m, err)
		}
		start = m.end
	}
	if len(rest.marks) != 4 || start != len(rest.buf) {
		t.Errorf("%d marks, %d bytes", len(rest.marks), len(rest.buf)-start)
	}
}

func TestComponentIsNotReadFasterThanTheStoreWrites(t *testing.T) {
	h := newHouse(t, nil)
	write, stored := storage.NewPending(), make(chan string, 2*maxWrites)
	h.router.Use(append(h.router.Modules(), router.Module{Name: "store", Service: &router.Service{
		Domains: func() []string { return []string{"store.example.org"} },
		Handle: func(e *router.Envelope) {
			e.Await(write)
			e.Settle(router.Stored)
			stored <- e.Stanza.ID
		}}})...)
	bot := h.connect("bot.example.org", "botsecret")
	var all strings.Builder
	for i := range maxWrites + 1 {
		fmt.Fprintf(&all, "<message id='%d' from='bot.example.org' to='a@store.example.org'/>", i)
	}
	bot.say(all.String())
	for i := range maxWrites {
		if got := <-stored; got != fmt.Sprint(i) {
			t.Fatalf("stanza %d has the id %s", i, got)
		}
	}
	select {
	case got := <-stored:
		t.Errorf("stanza %s was routed while %d writes were under way", got, maxWrites)
	case <-time.After(50 * time.Millisecond):
	}
	write.Finish(nil)
	if got := <-stored; got != fmt.Sprint(maxWrites) {
		t.Errorf("then came %s", got)
	}
}

func TestShutdownReturnsWhatIsLeft(t *testing.T) {
	h := newHouse(t, roomy)
	bot := h.connect("bot.example.org", "botsecret")
	h.flood(0, 1000, nil)
	done := make(chan error, 1)
	go func() { done <- h.Shutdown(context.Background()) }()
	h.eventually("the stream ends", func() bool { return h.Stats.Links.Load() == 0 })
	taken := bot.all()
	if err := <-done; err != nil {
		t.Error(err)
	}
	for range 1000 - len(taken) {
		h.expect("type='error'")
	}
	h.nothing()
}
