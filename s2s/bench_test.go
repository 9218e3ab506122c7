package s2s

import (
	"bytes"
	"context"
	"testing"

	"jackdaw/router"
	"jackdaw/s2s/outbox"
	"jackdaw/storage"
)

// BenchmarkStream is one message on its way from one server to the other, over TLS and with stream management: in
// batches, as a queue that is behind writes them, and one by one.
func BenchmarkStream(b *testing.B) {
	for name, batch := range map[string]int{"one by one": 1, "in batches of 50": 50} {
		b.Run(name, func(b *testing.B) {
			w := newWorld(b)
			peer := w.node(setup{domains: []string{montague}, options: quietly})
			peer.router.Use(router.Module{Name: "sink",
				Arriving: router.Stage{Message: func(e *router.Envelope) { e.Settle(router.Delivered) }}})
			a := w.node(setup{domains: []string{capulet}, options: quietly})
			acks := newCounter()
			s, err := a.Open(context.Background(), outbox.Pair{Local: capulet, Remote: montague}, acks.add)
			if err != nil {
				b.Fatal(err)
			}
			xml := bytes.Repeat(message("juliet@"+capulet, romeo, "1"), batch)
			b.ReportAllocs()
			b.ResetTimer()
			for n := 0; n < b.N; n += batch {
				if err := s.Write(xml, batch); err != nil {
					b.Fatal(err)
				}
			}
			acks.wait(b, (b.N+batch-1)/batch*batch)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}

func quietly(o *Options) { o.Log = nil }

// BenchmarkReceived is the accounting of one stanza that comes under stream management and waits for a session to take
// it: in batches of 50, behind which the peer asks for an acknowledgement.
func BenchmarkReceived(b *testing.B) {
	l := newLink(newWorld(b).node(setup{domains: []string{montague}, options: quietly}).Server, &deaf{}, false)
	l.in = &inflow{}
	var batch [50]*storage.Pending
	for i := range batch {
		batch[i] = storage.NewPending()
	}
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		i := n % len(batch)
		batch[i] = storage.NewPending()
		l.received(batch[i : i+1])
		if i < len(batch)-1 {
			continue
		}
		if err := l.managed("r", nil); err != nil {
			b.Fatal(err)
		}
		for _, p := range batch {
			p.Finish(nil)
		}
	}
	l.mu.Lock()
	told, handled := l.in.told, l.in.handled
	l.mu.Unlock()
	if handled-told >= uint32(len(batch)) {
		b.Errorf("told %d of %d", told, handled)
	}
}
