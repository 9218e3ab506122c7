package outbox

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// say has a room say something to its occupants at there, and returns what they should get.
func (b *bench) say(occupants int, payload []byte) (want []string) {
	b.t.Helper()
	for i := range occupants {
		s := &xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeGroupchat, ID: "said", From: jid.MustParse("room@" + here + "/romeo"),
			To: jid.MustParse(fmt.Sprintf("user%d@%s/x", i, there)), Payload: payload}
		e := &router.Envelope{Stanza: s, Own: true, Shared: true, Quiet: true}
		if b.out.Push(e); e.Outcome != router.Queued {
			b.t.Fatalf("the copy for %s: %v %v", s.To, e.Outcome, e.Err)
		}
		want = append(want, string(s.Append(nil)))
	}
	return want
}

// A scribe is a peer that remembers the bytes.
type scribe struct {
	sink
	mu  sync.Mutex // guards all
	all []byte
}

func (s *scribe) Write(xml []byte, n int) error {
	s.mu.Lock()
	s.all = append(s.all, xml...)
	s.mu.Unlock()
	return s.sink.Write(xml, n)
}

func TestWhatIsSaidToManyAtADomainCountsOnce(t *testing.T) {
	scene(t, func(t *testing.T, b *bench) {
		b.peer.set(func() { b.peer.fail[there] = errRefused })
		var want []string
		for i := range 5 {
			want = append(want, b.say(400, fmt.Appendf(nil, "<body>%d: %s</body>", i, strings.Repeat("x", 10<<10)))...)
			want = append(want, string(b.plain().Append(nil)))
		}
		if n := b.status(pair0).WaitingBytes; n > 1<<20 {
			t.Errorf("%d bytes wait", n)
		}
		got := new(scribe)
		got.over = make(chan struct{})
		p := b.pair()
		p.gen++
		gen := p.gen
		got.acked = func(n int) { p.acked(gen, n) }
		p.adopt(got, got.over, 0, time.Now())
		p.wakeUp()
		p.domain.mu.Unlock()
		synctest.Wait()
		if string(got.all) != strings.Join(want, "") {
			t.Errorf("the peer was sent %d bytes, not %d", len(got.all), len(strings.Join(want, "")))
		}
		p.domain.mu.Lock()
		defer p.domain.mu.Unlock()
		n, shares := b.out.memory.Load(), len(b.out.shares.by)
		if n != 0 || p.domain.waiting != (amount{}) || p.live != (amount{}) || shares != 0 {
			t.Errorf("%d bytes, %v waiting, %v live, %d shares are left", n, p.domain.waiting, p.live, shares)
		}
	})
}

// plain pushes a stanza that shares nothing and returns it.
func (b *bench) plain() *xmpp.Stanza {
	s := &xmpp.Stanza{Kind: xmpp.Message, ID: "plain", From: jid.MustParse("romeo@" + here), To: jid.MustParse("juliet@" + there),
		Payload: []byte("<body>alone</body>")}
	b.out.Push(&router.Envelope{Stanza: s})
	return s
}

func TestACopyThatBouncesHasAllOfItsPayload(t *testing.T) {
	scene(t, func(t *testing.T, b *bench) {
		b.peer.set(func() { // the attempt lasts until all are pushed: after it they would be refused
			b.peer.fail[there], b.peer.takes = errNoName, time.Millisecond
		})
		want := b.say(3, []byte("<body>hello</body>"))
		wait(2 * time.Millisecond)
		got := b.bounces()
		if len(got) != 3 {
			t.Fatalf("%d bounced", len(got))
		}
		for i, x := range got {
			if s := string(x.stanza.Append(nil)); s != want[i] {
				t.Errorf("bounced: %s, want %s", s, want[i])
			}
		}
	})
}

func TestWhoHasTooMuchWaitingIsToldToWaitAndNobodyElse(t *testing.T) {
	scene(t, func(t *testing.T, b *bench) {
		b.setLimits(Limits{Account: 100 << 10, Memory: 200 << 10})
		domains := 0
		push := func(who string) *router.Envelope {
			remote := fmt.Sprintf("d%d.example", domains)
			domains++
			b.peer.set(func() { b.peer.fail[remote] = errRefused })
			from := jid.MustParse(fmt.Sprintf("%d@%s", domains, here))
			e := &router.Envelope{Account: jid.MustParse(who), Stanza: &xmpp.Stanza{Kind: xmpp.Message, From: from,
				To: jid.MustParse("a@" + remote), Payload: []byte("<body>hello</body>")}}
			b.out.Push(e)
			return e
		}
		fill := func(who string) (n int) {
			for ; n < 1000; n++ {
				if e := push(who); e.Outcome == router.Refused {
					if e.Err.Condition != xmpp.CondResourceConstraint || e.Err.Type != xmpp.ErrorWait {
						t.Errorf("refused with %v", e.Err)
					}
					return n
				}
			}
			return n
		}
		if n := fill("hamlet@" + here); n != 12 { // each domain costs pairCost and a little
			t.Errorf("%d domains have something of one account", n)
		}
		if n := b.out.Stats.Refused[ForShare].Load(); n != 1 {
			t.Errorf("%d refused for the share", n)
		}
		if n := fill("ophelia@" + here); n != 12 {
			t.Errorf("%d domains have something of another account", n)
		}
		wait(11 * time.Minute) // all of it has bounced
		if n := len(b.out.shares.by); n != 0 {
			t.Errorf("%d shares are left", n)
		}
		if n := fill("hamlet@" + here); n != 12 {
			t.Errorf("%d domains later", n)
		}
	})
}

func TestWhoHasNextToNothingWaitingGetsInThoughTheMemoryIsUsedUp(t *testing.T) {
	scene(t, func(t *testing.T, b *bench) {
		b.setLimits(Limits{Memory: 16 << 20, Account: 64 << 20, Bytes: 64 << 20})
		b.peer.set(func() { b.peer.fail[there], b.peer.fail[stuck] = errRefused, errRefused })
		body := strings.Repeat("x", 200<<10)
		for range 100 {
			if _, e := b.push(order{body: body}); e.Outcome == router.Refused {
				break
			}
		}
		if b.out.memory.Load() < 15<<20 {
			t.Fatalf("%d bytes are used", b.out.memory.Load())
		}
		b.refused(order{to: stuck, body: body})
		fill := func(who string) (n int) {
			for {
				e := &router.Envelope{Stanza: &xmpp.Stanza{Kind: xmpp.Message, From: jid.MustParse(who),
					To:      jid.MustParse("a@" + stuck),
					Payload: []byte("<body>" + strings.Repeat("x", 1000) + "</body>")}}
				if b.out.Push(e); e.Outcome != router.Queued {
					return n
				}
				n++
			}
		}
		fill("juliet@" + here) // what is left
		if n := fill("juliet@" + here); n != 0 {
			t.Errorf("%d more got in of one that has much waiting", n)
		}
		if n := fill("paris@" + here); n < 3 || n > 16 {
			t.Errorf("%d got in of one that had nothing waiting", n)
		}
	})
}
