package relay

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/cluster"
	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// two are a world of two nodes, with romeo at home at a and juliet at b.
func two(t *testing.T, modules ...router.Module) (w *world, a, b *node, romeo, juliet *router.Session, ro, ju *outlet) {
	w = newWorld(t)
	a, b = w.add("a", modules...), w.add("b", modules...)
	romeo, ro = a.bind(t, "romeo@example.org/orchard")
	juliet, ju = b.bind(t, "juliet@example.org/balcony")
	return w, a, b, romeo, juliet, ro, ju
}

func TestMessageReachesASessionAtItsHome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, a, _, romeo, juliet, _, ju := two(t)
		defer w.close()
		e := a.send(romeo, message("juliet@example.org/balcony", "m1"))
		if e.Outcome != router.Forwarded {
			t.Fatal(e.Outcome)
		}
		if o, err := outcome(t, e); o != router.Delivered || err != nil {
			t.Errorf("%v %v", o, err)
		}
		if ju.has("id='m1'") != 1 || ju.has("<body>m1 m1 m1 </body>") != 1 || ju.has("from='romeo@example.org/orchard'") != 1 {
			t.Errorf("%s has got %q", juliet.Addr(), ju.got)
		}
	})
}

func TestRequestIsAnsweredAcrossNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		name := xmpp.Name{Space: "urn:example:time", Local: "time"}
		var seen *router.Envelope
		w, a, b, romeo, _, ro, _ := two(t)
		defer w.close()
		b.router.Use(router.Module{Name: "time", IQ: []router.IQ{{Payload: name, Scope: router.Account,
			Others: nil, NoAccount: func(*router.Envelope) {},
			Handle: func(e *router.Envelope) {
				copied := *e
				seen = &copied
				b.router.Answer(e, []byte("<time xmlns='urn:example:time'>now</time>"))
			}}}})
		x := &xmpp.Stanza{Kind: xmpp.IQ, Type: xmpp.TypeGet, ID: "q1", To: jid.MustParse("juliet@example.org"),
			Payload: []byte("<time xmlns='urn:example:time'/>")}
		if o, err := outcome(t, a.send(romeo, x)); o != router.Delivered || err != nil {
			t.Errorf("%v %v", o, err)
		}
		synctest.Wait()
		if ro.has("type='result' id='q1'") != 1 || ro.has(">now</time>") != 1 {
			t.Errorf("romeo has got %q", ro.got)
		}
		if seen == nil || seen.Session == nil || seen.Session.Addr() != romeo.Addr() || seen.Account != romeo.Bare() ||
			!seen.Carried || !seen.Durable {
			t.Errorf("the envelope was %+v", seen)
		}
		// an unknown payload is refused there, and told here
		x.ID, x.Payload = "q2", []byte("<other xmlns='urn:example:other'/>")
		if o, err := outcome(t, a.send(romeo, x)); o != router.Refused || err.Condition != xmpp.CondServiceUnavailable {
			t.Errorf("%v %v", o, err)
		}
		synctest.Wait()
		if ro.has("type='error' id='q2'") != 1 || ro.has("service-unavailable") != 1 {
			t.Errorf("romeo has got %q", ro.got)
		}
	})
}

func TestWhatCannotBeStoredAtTheHomeIsToldToTheSender(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, a, b, romeo, _, ro, _ := two(t)
		defer w.close()
		b.mu.Lock()
		b.failing = true
		b.mu.Unlock()
		w.give(cluster.SlotOf("nurse@example.org"), "b")
		w.tellAll()
		o, err := outcome(t, a.send(romeo, message("nurse@example.org", "m1")))
		if o != router.Refused || err.Condition != xmpp.CondResourceConstraint || err.Type != xmpp.ErrorWait {
			t.Errorf("%v %v", o, err)
		}
		synctest.Wait()
		if ro.has("type='error' id='m1'") != 1 {
			t.Errorf("romeo has got %q", ro.got)
		}
	})
}

func TestWhatIsRefusedWaitsUntilItsSenderIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		undone := make(chan struct{})
		a, b := w.add("a", router.Module{Name: "keeps", Leaving: router.Stage{Message: func(e *router.Envelope) {
			e.OnRefusal(func(string, uint64) { <-undone }, "romeo@example.org", 1)
		}}}), w.add("b")
		defer w.close()
		romeo, ro := a.bind(t, "romeo@example.org/orchard")
		w.give(cluster.SlotOf("nurse@example.org"), "b")
		w.tellAll()
		b.mu.Lock()
		b.failing = true
		b.mu.Unlock()
		e := a.send(romeo, message("nurse@example.org", "m1"))
		<-time.After(time.Second)
		if n := a.relay.Waiting(); n != 1 || ro.has("id='m1'") != 0 {
			t.Errorf("%d wait while what was kept is taken back; romeo has got %q", n, ro.got)
		}
		close(undone)
		if o, _ := outcome(t, e); o != router.Refused {
			t.Errorf("it was %v", o)
		}
		synctest.Wait()
		if n := a.relay.Waiting(); n != 0 || ro.has("id='m1'") != 1 {
			t.Errorf("%d wait when romeo has got %q", n, ro.got)
		}
	})
}

func TestWithoutAHomeAnEnvelopeIsRefusedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, a, _, romeo, _, ro, _ := two(t)
		defer w.close()
		for _, why := range []string{"nobody has the slot", "its home cannot be reached"} {
			if why != "nobody has the slot" {
				w.mu.Lock()
				w.cut[[2]string{"a", "b"}] = true
				w.mu.Unlock()
				w.give(cluster.SlotOf("nurse@example.org"), "b")
				w.tellAll()
			}
			began := time.Now()
			o, err := outcome(t, a.send(romeo, message("nurse@example.org", "m1")))
			if took := time.Since(began); o != router.Refused || err.Condition != xmpp.CondResourceConstraint ||
				err.Type != xmpp.ErrorWait || took < 10*time.Second || took > 11*time.Second {
				t.Errorf("%s: %v %v after %v", why, o, err, took)
			}
		}
		synctest.Wait()
		if ro.has("type='error' id='m1'") != 2 {
			t.Errorf("romeo has got %q", ro.got)
		}
		if a.relay.bytes.Load() != 0 || a.relay.waiting.Load() != 0 {
			t.Errorf("%d bytes, %d envelopes wait yet", a.relay.bytes.Load(), a.relay.waiting.Load())
		}
	})
}

func TestWhatWaitsIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, a, _, romeo, _, _, _ := two(t)
		defer w.close()
		var all []*router.Envelope
		refused := 0
		for i := range 100 {
			x := message("nurse@example.org", fmt.Sprint("m", i))
			x.Payload, x.Children = make([]byte, 100<<10), nil
			e := a.send(romeo, x)
			if e.Outcome == router.Refused {
				if refused++; e.Err.Condition != xmpp.CondResourceConstraint || e.Err.Type != xmpp.ErrorWait {
					t.Error(e.Err)
				}
			}
			all = append(all, e)
		}
		if bytes := a.relay.bytes.Load(); bytes > maxQueue || refused < 75 || refused > 85 {
			t.Errorf("%d bytes wait, %d were refused", bytes, refused)
		}
		for _, e := range all {
			outcome(t, e)
		}
	})
}

func TestSharedPayloadCrossesOnceForAllRecipients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, b := w.add("a"), w.add("b")
		defer w.close()
		const many = 300
		var outs []*outlet
		for i := range many {
			_, o := b.bind(t, fmt.Sprintf("u%d@example.org/x", i))
			outs = append(outs, o)
		}
		romeo, _ := a.bind(t, "romeo@example.org/orchard")
		outcome(t, a.send(romeo, message("u1@example.org/x", "first"))) // there is a stream
		payload := []byte("<body>" + strings.Repeat("x", 10000) + "</body>")
		var batch router.Batch
		var all []*router.Envelope
		before := a.relay.Stats.Batches.Load()
		for i := range many {
			s := &xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeGroupchat, ID: "shared", Payload: payload,
				From: jid.MustParse("hall@rooms.example.org/romeo"), To: jid.MustParse(fmt.Sprintf("u%d@example.org/x", i))}
			e := &router.Envelope{Stanza: s, Own: true, Shared: true, Quiet: true, Batch: &batch}
			a.router.Route(e)
			all = append(all, e)
		}
		batch.Flush()
		for _, e := range all {
			if o, err := outcome(t, e); o != router.Delivered {
				t.Fatal(o, err)
			}
		}
		for i, o := range outs {
			if o.has("id='shared'") != 1 || o.has(string(payload)) != 1 {
				t.Fatalf("u%d has got %d stanzas", i, len(o.got))
			}
		}
		if n := a.relay.Stats.Batches.Load() - before; n > 5 {
			t.Errorf("%d batches", n)
		}
		if cost := a.relay.Stats.BytesOut.Load(); cost > 10000*5+many*200 {
			t.Errorf("%d bytes have crossed", cost)
		}
	})
}

func TestSequelIsHeardAtTheHomeOfTheSender(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		got := make(chan router.Sequel, 2)
		a, b := w.add("a", router.Module{Name: "hears", Sequel: func(s router.Sequel) { got <- s }}), w.add("b")
		defer w.close()
		romeo, _ := a.bind(t, "romeo@example.org/orchard")
		want := router.Sequel{From: romeo.Addr(), To: jid.MustParse("juliet@example.org"), ID: "m1", Outcome: router.Taken}
		b.router.Tell(want) // the first that one node has for the other
		if s := <-got; s != want {
			t.Errorf("heard %+v", s)
		}
		// While something waits for the slot at its very home, too.
		a.relay.queues[cluster.SlotOf("romeo@example.org")].waiting.Add(1)
		a.router.Tell(want)
		if s := <-got; s != want {
			t.Errorf("heard %+v", s)
		}
		a.relay.queues[cluster.SlotOf("romeo@example.org")].waiting.Add(-1)
	})
}

func TestASequelIsToldOnUntilItFindsItsHome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		got := make(chan string, 9)
		hears := func(node string) router.Module {
			return router.Module{Name: "hears", Sequel: func(s router.Sequel) { got <- node + " " + s.ID }}
		}
		a, b, c := w.add("a", hears("a")), w.add("b", hears("b")), w.add("c", hears("c"))
		defer w.close()
		romeo, _ := a.bind(t, "romeo@example.org/orchard")
		slot := cluster.SlotOf("romeo@example.org")
		tell := func(n *node, id string) {
			n.router.Tell(router.Sequel{From: romeo.Addr(), To: jid.MustParse("juliet@example.org"), ID: id,
				Outcome: router.Taken})
		}
		heard := func(want ...string) { // in any order
			t.Helper()
			for left := want; len(left) > 0; {
				select {
				case s := <-got:
					i := slices.Index(left, s)
					if i < 0 {
						t.Fatalf("%s, want %q", s, left)
					}
					left = slices.Delete(left, i, i+1)
				case <-time.After(time.Minute):
					t.Fatalf("nobody has heard %q", left)
				}
			}
		}
		// Neither who tells knows that the slot has moved, nor who had it knows whereto, nor who has it that it is here.
		a.leave(slot, true)
		w.give(slot, "c")
		c.leave(slot, false)
		tell(b, "moved")
		<-time.After(time.Second)
		w.give(slot, "c")
		heard("c moved")
		// Nobody has it for a while, which all know.
		c.leave(slot, true)
		w.mu.Lock()
		w.truth[slot] = cluster.Place{}
		w.mu.Unlock()
		w.tellAll()
		tell(b, "nowhere")
		<-time.After(time.Second)
		w.give(slot, "a")
		heard("a nowhere")
		// The node that is to be told has died.
		tell(c, "alive")
		heard("a alive")
		w.kill("a")
		tell(b, "dead")
		tell(c, "dead, too")
		<-time.After(time.Second)
		w.give(slot, "b")
		heard("b dead", "b dead, too")
		// It does not go round for ever where each takes another one for the home.
		b.leave(slot, false)
		w.give(slot, "d")
		w.tellAll()
		for _, n := range []*node{b, c} {
			n.mu.Lock()
			n.view[slot].Node = map[string]string{"b": "c", "c": "b"}[n.id]
			n.stuck = true
			n.mu.Unlock()
		}
		tell(b, "lost")
		<-time.After(time.Hour)
		if len(got) > 0 || b.relay.held.take() != nil || c.relay.held.take() != nil {
			t.Errorf("%d are heard who should not be, or some wait for ever", len(got))
		}
	})
}

func TestWhatWaitsForASlotThatComesHomeGoesAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, a, _, romeo, _, _, _ := two(t)
		defer w.close()
		slot := cluster.SlotOf("nurse@example.org")
		var all []*router.Envelope
		send := func(n int) {
			for range n {
				all = append(all, a.send(romeo, message("nurse@example.org", fmt.Sprint(len(all)))))
			}
		}
		send(20) // nobody has it
		w.give(slot, "a")
		send(20) // it is here, but what waits goes ahead
		w.tellAll()
		for range 50 {
			send(1)
			<-time.After(5 * time.Millisecond)
		}
		if e := a.send(romeo, message("nurse@example.org", fmt.Sprint(len(all)))); e.Outcome != router.Stored {
			t.Errorf("after all that it goes by %v", e.Outcome)
		} else {
			all = append(all, e)
		}
		for _, e := range all {
			if o, err := outcome(t, e); o != router.Stored {
				t.Fatal(o, err)
			}
		}
		if got := w.log["nurse@example.org"]; len(got) != len(all) {
			t.Errorf("%d of %d are stored", len(got), len(all))
		} else {
			for i, text := range got {
				if text != fmt.Sprint("romeo@example.org ", i) {
					t.Fatalf("number %d is %q", i, text)
				}
			}
		}
	})
}

func TestReleaseWaitsForWhatHasBeenTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, b := w.add("a"), w.add("b")
		defer w.close()
		romeo, _ := a.bind(t, "romeo@example.org/orchard")
		slot := cluster.SlotOf("nurse@example.org")
		w.give(slot, "b")
		w.tellAll()
		var all []*router.Envelope
		for i := range 200 {
			all = append(all, a.send(romeo, message("nurse@example.org", fmt.Sprint(i))))
		}
		<-time.After(time.Millisecond)
		b.leave(slot, true)
		stored := len(w.log["nurse@example.org"])
		if b.relay.Here("nurse@example.org") {
			t.Error("it is here yet")
		}
		w.give(slot, "a")
		w.tellAll()
		for _, e := range all {
			if o, err := outcome(t, e); o != router.Stored {
				t.Fatal(o, err)
			}
		}
		if got := len(w.log["nurse@example.org"]); got != 200 || stored == 0 {
			t.Errorf("%d stored at the first home, %d in the end", stored, got)
		}
	})
}

func TestStrangeBytesEndTheStreamAndNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, a, b, romeo, _, _, _ := two(t)
		defer w.close()
		for _, bytes := range []string{"", "short", "12345678\xff\xff\xff\xff", "12345678\x00\x00\x00\x01\x63",
			"12345678\x00\x00\x00\x05\x01\xff\xff\xff\xff"} {
			near, far := net.Pipe()
			b.done.Go(func() { b.relay.Serve("c", far) })
			_ = near.SetDeadline(time.Now().Add(time.Minute))
			_, _ = near.Write([]byte(bytes))
			if _, err := near.Read(make([]byte, 1)); err == nil {
				t.Errorf("%q was answered", bytes)
			}
			_ = near.Close()
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := b.relay.Release(ctx, nil); err != nil {
			t.Error(err)
		}
		if o, _ := outcome(t, a.send(romeo, message("juliet@example.org", "m1"))); o != router.Stored {
			t.Error(o)
		}
	})
}
