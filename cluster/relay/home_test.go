package relay

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/cluster"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// A hand sends envelopes to a node by hand, all to one slot.
type hand struct {
	t    *testing.T
	c    net.Conn
	in   *bufio.Reader
	slot int
	made []byte // the dedup value of all that it sends
}

const nurse = "nurse@example.org"

func (n *node) hand(t *testing.T, instance uint64) *hand {
	t.Helper()
	near, far := net.Pipe()
	n.done.Go(func() { n.relay.Serve("x", far) })
	if err := near.SetDeadline(time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	h := &hand{t: t, c: near, in: bufio.NewReader(near), slot: cluster.SlotOf(nurse)}
	if _, err := near.Write(binary.BigEndian.AppendUint64(nil, instance)); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *hand) send(round, fence, base uint64, seqs ...uint64) {
	h.t.Helper()
	var items []item
	for _, seq := range seqs {
		x := message(nurse, fmt.Sprint(seq))
		x.From = jid.MustParse("romeo@example.org")
		e := &router.Envelope{Stanza: x}
		items = append(items, item{x: &entry{seq: seq, head: appendHead(nil, e, "", h.made), body: appendPayload(nil, x)},
			slot: h.slot, round: round, fence: fence, base: base})
	}
	b := batch{stats: new(Stats)}
	if err := b.write(h.c, items, nil); err != nil {
		h.t.Fatal(err)
	}
}

// hear returns the next answers as "number outcome", or "number not here in round".
func (h *hand) hear(n int) (list []string) {
	h.t.Helper()
	for len(list) < n {
		b, err := readBatch(h.in, nil)
		if err != nil {
			h.t.Fatalf("after %q: %v", list, err)
		}
		err = readAnswers(b, cluster.Slots, func(a *answer) {
			if a.code == codeNotHere {
				list = append(list, fmt.Sprint(a.seq, " not here in ", a.round))
				return
			}
			list = append(list, fmt.Sprint(a.seq, " ", router.Outcome(a.code&codeOutcomes)))
		})
		if err != nil {
			h.t.Fatal(err)
		}
	}
	return list
}

func (h *hand) want(list ...string) {
	h.t.Helper()
	got := h.hear(len(list))
	if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", list) {
		h.t.Errorf("answered %q, want %q", got, list)
	}
}

// silent checks that nothing more is said.
func (h *hand) silent() {
	h.t.Helper()
	synctest.Wait()
	_ = h.c.SetReadDeadline(time.Now().Add(time.Second)) // never fails
	if b, err := h.in.Peek(1); err == nil {
		h.t.Errorf("more was said: %x", b)
	}
	h.in = bufio.NewReader(h.c)
	_ = h.c.SetReadDeadline(time.Time{})
}

// at gives the slot to the node under this fence.
func (n *node) at(fence uint64) {
	n.mu.Lock()
	n.here[cluster.SlotOf(nurse)] = fence
	n.mu.Unlock()
}

func TestNothingIsTakenBehindWhatWasRefusedUntilANewRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		b := w.add("b")
		defer w.close()
		h := b.hand(t, 1)
		h.send(1, 2000, 1, 1, 2)
		h.want("1 not here in 1", "2 not here in 1")
		b.at(2000) // now it is, but 1 and 2 have been refused
		h.send(1, 2000, 1, 3)
		h.want("3 not here in 1")
		h.send(2, 2000, 1, 1, 2, 3)
		h.want("1 stored", "2 stored", "3 stored")
		b.at(3000) // under another fence
		h.send(2, 2000, 4, 4)
		h.want("4 not here in 2")
		h.send(3, 3000, 4, 4, 5)
		h.want("4 stored", "5 stored")
		if got := fmt.Sprint(w.log[nurse]); got != fmt.Sprint([]string{"romeo@example.org 1", "romeo@example.org 2",
			"romeo@example.org 3", "romeo@example.org 4", "romeo@example.org 5"}) {
			t.Errorf("stored %v", got)
		}
		if err := h.c.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestNumberIsRoutedOnceAndAnsweredAsOftenAsItComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var writes []*storage.Pending
		b := w.add("b", router.Module{Name: "slow", Unclaimed: func(e *router.Envelope) {
			p := storage.NewPending()
			writes = append(writes, p)
			e.Await(p)
			e.Settle(router.Stored)
		}})
		defer w.close()
		b.at(2000)
		h := b.hand(t, 1)
		h.send(1, 2000, 1, 1)
		h.send(2, 2000, 1, 1, 2) // while 1 is being written
		h.silent()
		if len(writes) != 2 {
			t.Fatalf("routed %d times", len(writes))
		}
		writes[1].Finish(nil)
		h.want("2 stored")
		_ = h.c.Close()
		synctest.Wait()
		writes[0].Finish(nil) // nobody hears the answer
		again := b.hand(t, 1)
		again.send(3, 2000, 1, 1, 2)
		again.want("1 stored", "2 stored")
		again.send(2, 2000, 1, 1) // late, from a round before
		again.send(3, 2000, 2, 1) // and settled for its sender
		again.silent()
		if len(writes) != 2 {
			t.Errorf("routed %d times", len(writes))
		}
		other := b.hand(t, 2) // another process counts anew
		other.send(1, 2000, 1, 1)
		synctest.Wait()
		if len(writes) != 3 {
			t.Errorf("of another process: routed %d times", len(writes))
		}
		writes[2].Finish(nil)
		other.want("1 stored")
		_, _ = again.c.Close(), other.c.Close()
	})
}

func TestHomeKnowsWhatItsSenderMayAskForYet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var spans []storage.Span
		var keys []string
		b := w.add("b", router.Module{Name: "spans", Unclaimed: func(e *router.Envelope) {
			spans, keys = append(spans, e.Span), append(keys, e.DedupKey())
			e.Settle(router.Stored)
		}})
		defer w.close()
		b.at(2000)
		h := b.hand(t, 1)
		h.send(1, 2000, 1, 1)
		h.want("1 stored")
		h.made = []byte("made")
		h.send(1, 2000, 1, 2, 3)
		h.want("2 stored", "3 stored")
		if keys[0] != "" || spans[0].Asker != nil || keys[1] != "made" || spans[1].Over() || spans[2].Over() {
			t.Errorf("keys %q, spans %v", keys, spans)
		}
		h.send(1, 2000, 3, 4) // it has the answers to what was before 3
		h.want("4 stored")
		if !spans[1].Over() || spans[2].Over() || spans[3].Over() {
			t.Error("not what is asked for")
		}
		_ = h.c.Close()
	})
}

func TestEmptyBatchIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		b := w.add("b")
		defer w.close()
		h := b.hand(t, 1)
		if _, err := h.c.Write(make([]byte, batchHead)); err != nil {
			t.Fatal(err)
		}
		if got, err := readBatch(h.in, nil); len(got) != 0 || err != nil {
			t.Errorf("%x, %v", got, err)
		}
		h.silent()
		_ = h.c.Close()
	})
}

func TestWriteThatFailsSinceTheSlotHasGoneIsNoRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var writes []*storage.Pending
		b := w.add("b", router.Module{Name: "slow", Unclaimed: func(e *router.Envelope) {
			p := storage.NewPending()
			writes = append(writes, p)
			e.Await(p)
			e.Settle(router.Stored)
		}})
		defer w.close()
		b.at(2000)
		h := b.hand(t, 1)
		h.send(1, 2000, 1, 1, 2)
		synctest.Wait()
		b.at(3000) // it has gone and come back
		h.send(2, 3000, 1, 1)
		h.want("1 not here in 2") // whether that lasts is not known yet
		writes[0].Finish(errFence)
		writes[1].Finish(errFence)
		h.want("1 not here in 2", "2 not here in 1")
		h.send(3, 3000, 1, 1, 2)
		synctest.Wait()
		if len(writes) != 4 {
			t.Fatalf("routed %d times", len(writes))
		}
		writes[2].Finish(nil)
		writes[3].Finish(errors.New("the disk is full"))
		h.want("1 stored", "2 refused")
		_ = h.c.Close()
	})
}

func TestSlotThatIsStuckKeepsNoOtherWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		stuck := make(chan struct{})
		a, b := w.add("a"), w.add("b", router.Module{Name: "stuck", Unclaimed: func(e *router.Envelope) {
			if e.Stanza.To.String() == nurse {
				<-stuck
				e.Settle(router.Stored)
			}
		}})
		defer w.close()
		romeo, _ := a.bind(t, "romeo@example.org/orchard")
		_, ju := b.bind(t, "juliet@example.org/balcony")
		w.give(cluster.SlotOf(nurse), "b")
		w.tellAll()
		var waiting []*router.Envelope
		for i := range 2000 {
			waiting = append(waiting, a.send(romeo, message(nurse, fmt.Sprint(i))))
			if i%100 == 0 {
				if o, err := outcome(t, a.send(romeo, message("juliet@example.org/balcony", "m"))); o != router.Delivered {
					t.Fatal(o, err)
				}
			}
		}
		if n := ju.has("id='m'"); n != 20 {
			t.Errorf("juliet has got %d", n)
		}
		close(stuck)
		for _, e := range waiting {
			if o, err := outcome(t, e); o != router.Stored {
				t.Fatal(o, err)
			}
		}
	})
}

func TestPanicAtTheHomeRefusesOneStanza(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, b := w.add("a"), w.add("b", router.Module{Name: "faulty", Arriving: router.Stage{Message: func(e *router.Envelope) {
			if e.Stanza.ID == "bad" {
				_ = e.Stanza.Payload[:len(e.Stanza.Payload)+1000000]
			}
		}}})
		defer w.close()
		romeo, _ := a.bind(t, "romeo@example.org/orchard")
		b.bind(t, "juliet@example.org/balcony")
		if o, err := outcome(t, a.send(romeo, message("juliet@example.org", "bad"))); o != router.Refused ||
			err.Condition != xmpp.CondInternalServerError {
			t.Errorf("%v %v", o, err)
		}
		if o, err := outcome(t, a.send(romeo, message("juliet@example.org", "good"))); o != router.Stored {
			t.Errorf("%v %v", o, err)
		}
		if n := b.relay.Stats.Panics.Load(); n != 1 {
			t.Errorf("%d panics counted", n)
		}
	})
}
