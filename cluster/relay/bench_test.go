package relay

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"syscall"
	"testing"
	"time"

	"jackdaw/cluster"
	"jackdaw/cluster/link"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// fixed is a Node whose slots stay.
type fixed struct {
	id   string
	home func(slot int) string
}

func (n *fixed) ID() string { return n.id }
func (n *fixed) Here(slot int) (uint64, bool) {
	return 1 << 40, n.home(slot) == n.id
}
func (n *fixed) Home(slot int) (cluster.Place, bool) {
	return cluster.Place{Node: n.home(slot), Fence: 1 << 40}, true
}
func (n *fixed) Changed() <-chan struct{} { return nil }
func (n *fixed) Refresh(context.Context)  {}

// linked is a node with a link to the other.
func linked(tb testing.TB, id string, k link.Key, addresses map[string]string, home func(int) string,
	modules ...router.Module) (*router.Router, *Relay) {
	tb.Helper()
	listen, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	addresses[id] = listen.Addr().String()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	l, err := link.New(link.Options{Key: k, ID: id, Listen: listen, Log: log,
		Members: func(id string) (string, bool) { a, ok := addresses[id]; return a, ok }})
	if err != nil {
		tb.Fatal(err)
	}
	r := router.New(router.Options{Hosts: []string{"example.org"}, Users: everybody{}, Log: log})
	r.Use(modules...)
	relay := New(Options{Router: r, Node: &fixed{id, home}, Links: l, Log: log})
	r.SetHomes(relay)
	l.Handle(link.Envelopes, relay.Serve)
	tb.Cleanup(func() {
		relay.Close()
		l.Close()
	})
	l.Serve()
	return r, relay
}

// grouped stores messages in groups, as an engine does.
type grouped struct {
	now  chan *storage.Pending
	done chan struct{}
}

func (g *grouped) module() router.Module {
	return router.Module{Name: "log", Unclaimed: func(e *router.Envelope) {
		p := storage.NewPending()
		g.now <- p
		e.Await(p)
		e.Settle(router.Stored)
	}}
}

func (g *grouped) run() {
	for {
		select {
		case p := <-g.now:
			p.Finish(nil)
		case <-g.done:
			return
		}
	}
}

func cpu() time.Duration {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r) // never fails
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// BenchmarkMessage is a message to an account that is away, by 50 clients that have a window of 10 each, and by one
// that waits for each: what it costs on one node, and how much more when its recipient is at home on another.
func BenchmarkMessage(b *testing.B) {
	for _, row := range []struct {
		name            string
		far             bool
		clients, window int
	}{{"one node", false, 50, 10}, {"two nodes", true, 50, 10}, {"one node, one by one", false, 1, 1},
		{"two nodes, one by one", true, 1, 1}} {
		b.Run(row.name, func(b *testing.B) {
			far := row.far
			g := &grouped{now: make(chan *storage.Pending, 1000), done: make(chan struct{})}
			go g.run()
			defer close(g.done)
			home := func(int) string { return "a" }
			if far {
				home = func(slot int) string { return string(rune('a' + slot%2)) }
			}
			addresses, k := map[string]string{}, link.NewKey()
			a, relay := linked(b, "a", k, addresses, home, g.module())
			linked(b, "b", k, addresses, home, g.module())
			var to []jid.JID
			for i := 0; len(to) < 50; i++ {
				j := jid.MustParse(fmt.Sprintf("u%d@example.org", i))
				if !far || home(cluster.SlotOf(j.String())) == "b" {
					to = append(to, j)
				}
			}
			payload := []byte("<body>Lorem ipsum dolor sit amet, consectetur adipiscing elit</body>" +
				"<request xmlns='urn:xmpp:receipts'/><origin-id xmlns='urn:xmpp:sid:0' id='6e5a8d1f'/>")
			children := xmpp.Index(payload)
			each := b.N/row.clients + 1
			done := make(chan struct{})
			b.ReportAllocs()
			b.ResetTimer()
			began := cpu()
			for i := range row.clients {
				s := a.Standin(jid.MustParse(fmt.Sprintf("s%d@example.org/x", i)))
				go func() {
					defer func() { done <- struct{}{} }()
					var batch router.Batch
					e := router.Envelope{Batch: &batch}
					x := xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeChat, ID: "m12345", From: s.Addr(), To: to[i],
						Payload: payload, Children: children}
					var open []*storage.Pending
					for k := range each {
						e.Reset()
						e.Stanza, e.Session, e.Account, e.Durable = &x, s, s.Bare(), true
						a.Route(&e)
						if e.Outcome == router.Refused {
							b.Error(e.Err)
							return
						}
						open = append(open, e.Pendings...)
						if (k+1)%row.window == 0 || k == each-1 {
							batch.Flush()
							for _, p := range open {
								if err := p.Wait(context.Background()); err != nil {
									b.Error(err)
									return
								}
							}
							open = open[:0]
						}
					}
				}()
			}
			for range row.clients {
				<-done
			}
			b.ReportMetric(float64(cpu()-began)/float64(b.N)/1000, "cpu-µs/op")
			if n := relay.Stats.Batches.Load(); n > 0 {
				b.ReportMetric(float64(relay.Stats.Sent.Load())/float64(n), "envelopes/write")
			}
		})
	}
}

func TestOrderOverRealLinks(t *testing.T) {
	got := make(chan string, 1000)
	keep := router.Module{Name: "log", Unclaimed: func(e *router.Envelope) {
		got <- e.Stanza.ID
		e.Settle(router.Stored)
	}}
	addresses, k := map[string]string{}, link.NewKey()
	home := func(slot int) string { return string(rune('a' + slot%2)) }
	a, relay := linked(t, "a", k, addresses, home, keep)
	linked(t, "b", k, addresses, home, keep)
	to := jid.MustParse("x0@example.org")
	for i := 1; home(cluster.SlotOf(to.String())) != "b"; i++ {
		to = jid.MustParse(fmt.Sprintf("x%d@example.org", i))
	}
	s := a.Standin(jid.MustParse("romeo@example.org/x"))
	var all []*router.Envelope
	for i := range 1000 {
		x := message(to.String(), fmt.Sprint(i))
		x.From = s.Addr()
		e := &router.Envelope{Stanza: x, Session: s, Account: s.Bare(), Durable: true}
		a.Route(e)
		all = append(all, e)
	}
	for i, e := range all {
		if o, err := outcome(t, e); o != router.Stored {
			t.Fatal(o, err)
		}
		if id := <-got; id != fmt.Sprint(i) {
			t.Fatalf("number %d is %s", i, id)
		}
	}
	if n := relay.Stats.Answered.Load(); n != 1000 || relay.waiting.Load() != 0 || relay.bytes.Load() != 0 {
		t.Errorf("%d were answered, %d wait", n, relay.waiting.Load())
	}
}
