package s2s

import (
	"fmt"
	"testing"

	"jackdaw/router"
	"jackdaw/storage/embedded"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// withOutbox lets a node have the queues that servers have.
func withOutbox(t *testing.T, w *world, s setup) *node {
	t.Helper()
	store, err := embedded.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	s.options = func(o *Options) { o.Store = store }
	s.queues = true
	return w.node(s)
}

func TestWhatIsRoutedArrivesThroughTheQueue(t *testing.T) {
	w := newWorld(t)
	a := withOutbox(t, w, setup{domains: []string{capulet}})
	b := withOutbox(t, w, setup{domains: []string{montague}})
	for i := range 500 {
		x := &xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeChat, ID: fmt.Sprint(i), From: jid.MustParse("juliet@" + capulet),
			To: jid.MustParse(romeo), Payload: []byte("<body>Wherefore?</body>")}
		e := &router.Envelope{Stanza: x, Durable: true}
		a.router.Route(e)
		if e.Outcome != router.Queued || len(e.Pendings) == 0 {
			t.Fatalf("message %d is %v, with %d pendings", i, e.Outcome, len(e.Pendings))
		}
	}
	for i := range 500 {
		b.expect("juliet@"+capulet, romeo, fmt.Sprint(i))
	}
	until(t, "all is acknowledged", func() bool { return a.QueueStats().Sent.Load() == 500 })
	if q := a.Queues(); len(q) != 1 || q[0].Unacked != 0 || q[0].Waiting != 0 {
		t.Errorf("the queues are %+v", q)
	}
}

func TestForgedSendersNeverReachTheQueue(t *testing.T) {
	w := newWorld(t)
	a := withOutbox(t, w, setup{domains: []string{capulet}})
	e := &router.Envelope{Stanza: &xmpp.Stanza{Kind: xmpp.Message, From: jid.MustParse("tybalt@verona.example"), To: jid.MustParse(romeo)}}
	a.Send(e)
	if e.Outcome != router.Refused || e.Err.Condition != xmpp.CondNotAllowed || e.Err.Text != "forged-sender-remote" {
		t.Errorf("the stanza is %v: %v", e.Outcome, e.Err)
	}
	if a.Stats.Forged.Load() != 1 || len(a.Queues()) != 0 {
		t.Errorf("%d were counted, and the queues are %v", a.Stats.Forged.Load(), a.Queues())
	}
}
