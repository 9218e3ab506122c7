package router

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// A slow outlet keeps the ids of what it is given until the test takes them; each stanza counts as many bytes as its
// payload has.
type slow struct {
	outlet
	mu    sync.Mutex // guards the rest
	cond  *sync.Cond
	ids   []string
	bytes int
	ended bool
}

func (o *slow) Send(d Delivery) (bool, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended {
		return false, false
	}
	o.ids = append(o.ids, d.Stanza.ID)
	o.bytes += len(d.Stanza.Payload)
	return false, true
}

func (o *slow) Flush() {}

func (o *slow) WaitBelow(ctx context.Context, n int) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for !o.ended && o.bytes >= n && ctx.Err() == nil {
		o.cond.Wait()
	}
	switch {
	case o.ended:
		return context.Canceled
	case o.bytes >= n:
		return ctx.Err()
	}
	return nil
}

// take lets the client have everything and returns the ids of it.
func (o *slow) take() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	ids := o.ids
	o.ids, o.bytes = nil, 0
	o.cond.Broadcast()
	return ids
}

func (o *slow) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended = true
	o.cond.Broadcast()
}

func newSlow(t *testing.T, r *Router) (*Session, *slow) {
	t.Helper()
	o := &slow{}
	o.cond = sync.NewCond(&o.mu)
	s, err := r.Bind(jid.MustParse("juliet@example.org/balcony"), o)
	if err != nil {
		t.Fatal(err)
	}
	return s, o
}

func from(address, id string, size int) Delivery {
	return Delivery{Copy: true, Stanza: &xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeGroupchat, ID: id,
		From: jid.MustParse(address), Payload: make([]byte, size)}}
}

func TestWhatIsBroughtIsMadeAsFastAsItIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Options{Hosts: []string{"example.org"}})
		s, out := newSlow(t, r)
		var b Batch
		const n = 100
		made := 0
		s.Bring(&b, jid.JID{}, 0, func(b *Batch) bool {
			s.Send(b, from("room@chat.example.org/x", fmt.Sprint(made), 100<<10))
			made++
			return made < n
		})
		synctest.Wait()
		if made != 3 {
			t.Errorf("%d were made for a client that has taken nothing", made)
		}
		var got []string
		for len(got) < n {
			one := out.take()
			if len(one) > 3 {
				t.Fatalf("%d at once", len(one))
			}
			got = append(got, one...)
			synctest.Wait()
		}
		for i, id := range got {
			if id != fmt.Sprint(i) {
				t.Fatalf("%s came as number %d", id, i)
			}
		}
		if s.supplies.any.Load() {
			t.Error("something is left")
		}
	})
}

func TestLiveStanzasOfARoomQueueBehindItsHistoryAndOthersDoNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Options{Hosts: []string{"example.org"}})
		s, out := newSlow(t, r)
		var b Batch
		history := []string{"h1", "h2", "h3"}
		s.Bring(&b, jid.MustParse("room@chat.example.org"), 0, func(b *Batch) bool {
			s.Send(b, from("room@chat.example.org/x", history[0], 300<<10))
			history = history[1:]
			return len(history) > 0
		})
		s.SendNow(from("room@chat.example.org/y", "live1", 300<<10))
		s.SendNow(from("romeo@example.org/a", "other", 1))
		s.SendNow(from("room@chat.example.org/y", "live2", 10))
		var got []string
		for range 10 {
			synctest.Wait()
			got = append(got, out.take()...)
		}
		if want := []string{"h1", "other", "h2", "h3", "live1", "live2"}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		s.SendNow(from("room@chat.example.org/y", "live3", 10))
		if got := out.take(); !slices.Equal(got, []string{"live3"}) {
			t.Errorf("afterwards: %v", got)
		}
	})
}

func TestSuppliesOfOneSessionComeOneAfterTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Options{Hosts: []string{"example.org"}})
		s, out := newSlow(t, r)
		for _, name := range []string{"a", "b"} {
			n := 0
			s.Bring(nil, jid.JID{}, 0, func(b *Batch) bool {
				n++
				s.Send(b, from("romeo@example.org/x", fmt.Sprint(name, n), 300<<10))
				return n < 2
			})
		}
		var got []string
		for range 5 {
			synctest.Wait()
			got = append(got, out.take()...)
		}
		if want := []string{"a1", "a2", "b1", "b2"}; !slices.Equal(got, want) {
			t.Errorf("got %v", got)
		}
	})
}

func TestEndOfTheSessionEndsWhatItIsBroughtAndReturnsWhatQueuedBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Options{Hosts: []string{"example.org"}, Users: users{"juliet@example.org": true}})
		var returned []string
		r.Use(Module{Name: "keeper", Unclaimed: func(e *Envelope) {
			returned = append(returned, e.Stanza.ID)
			e.Settle(Stored)
		}})
		s, out := newSlow(t, r)
		made := 0
		s.Bring(nil, jid.MustParse("romeo@example.org"), 0, func(b *Batch) bool {
			made++
			s.Send(b, from("romeo@example.org/x", "old", 300<<10))
			return true
		})
		m := from("romeo@example.org/x", "behind", 10)
		m.Stanza.Type, m.Copy = xmpp.TypeChat, false
		s.SendNow(m)
		out.end()
		r.Unbind(s, func() []Undelivered { return nil })
		synctest.Wait()
		if made != 1 || !slices.Equal(returned, []string{"behind"}) {
			t.Errorf("%d made, returned: %v", made, returned)
		}
		if s.SendNow(m) {
			t.Error("an ended session queues")
		}
	})
}

// A client that leaves a room and enters it again is brought the rest of the first history, too.
func TestWhatASupplyMakesDoesNotQueueBehindALaterOneOfTheSameRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Options{Hosts: []string{"example.org"}})
		s, out := newSlow(t, r)
		for _, name := range []string{"a", "b"} {
			n := 0
			s.Bring(nil, jid.MustParse("room@chat.example.org"), 0, func(b *Batch) bool {
				n++
				s.Send(b, from("room@chat.example.org/x", fmt.Sprint(name, n), 300<<10))
				return n < 2
			})
		}
		s.SendNow(from("room@chat.example.org/x", "live", 10))
		var got []string
		for range 6 {
			synctest.Wait()
			got = append(got, out.take()...)
		}
		if want := []string{"a1", "a2", "b1", "b2", "live"}; !slices.Equal(got, want) {
			t.Errorf("got %v, not %v", got, want)
		}
	})
}

func TestEmptyStanzasThatQueueBehindASupplyCountToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Options{Hosts: []string{"example.org"}})
		s, out := newSlow(t, r)
		s.Bring(nil, jid.MustParse("room@chat.example.org"), 0, func(b *Batch) bool {
			s.Send(b, from("room@chat.example.org/x", "history", 300<<10))
			return true
		})
		n := 0
		for ; out.outlet.ended == "" && n < maxBehind/100; n++ {
			s.SendNow(from("room@chat.example.org/x", "live", 0))
		}
		if out.outlet.ended == "" {
			t.Errorf("%d stanzas wait", n)
		}
		out.end()
	})
}

// A client that enters rooms again and again and acknowledges nothing does not fill the memory.
func TestASessionForWhichSuppliesHoldTooMuchEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Options{Hosts: []string{"example.org"}})
		s, out := newSlow(t, r)
		enter := func() {
			s.Bring(nil, jid.MustParse("room@chat.example.org"), 1<<20, func(b *Batch) bool {
				s.Send(b, from("room@chat.example.org/x", "history", 300<<10))
				return true
			})
		}
		n := 0
		for ; out.outlet.ended == "" && n < 1000; n++ {
			enter()
		}
		if out.outlet.ended == "" || n < 10 {
			t.Errorf("%q after %d", out.outlet.ended, n)
		}
		out.end()
	})
}

// What has been brought counts no more.
func TestASessionThatTakesItsSuppliesLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Options{Hosts: []string{"example.org"}})
		s, out := newSlow(t, r)
		for range 100 {
			for range 2 {
				s.Bring(nil, jid.MustParse("room@chat.example.org"), maxSupplied/2, func(b *Batch) bool {
					s.Send(b, from("room@chat.example.org/x", "history", 300<<10))
					return false
				})
			}
			for s.supplies.any.Load() {
				out.take()
				synctest.Wait()
			}
			out.take()
		}
		if out.outlet.ended != "" || s.supplies.size != 0 {
			t.Errorf("%q, %d bytes", out.outlet.ended, s.supplies.size)
		}
	})
}

// An inspector is a slow outlet that takes all that is given to it while its messages without a copy are looked at.
type inspector struct {
	slow
	given    []Undelivered
	uncopied func()
}

func (o *inspector) Send(d Delivery) (bool, bool) {
	o.mu.Lock()
	o.given = append(o.given, Undelivered{Stanza: d.Stanza.Clone(), Kept: d.Kept})
	o.mu.Unlock()
	return o.slow.Send(d)
}

func (o *inspector) Uncopied() ([]Undelivered, uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	given := o.given
	o.given = nil
	o.mu.Unlock()
	o.uncopied()
	o.mu.Lock()
	return given, 0
}

func (o *inspector) Copied([]Undelivered, uint64) {}

// What moves from behind a supply to the session in that moment is copied all the same.
func TestNothingSlipsByWhileCopiesAreStored(t *testing.T) {
	r := New(Options{Hosts: []string{"example.org"}, Users: users{"juliet@example.org": true}})
	var copied []string
	r.Use(Module{Name: "keeper",
		Unclaimed: func(e *Envelope) { e.Settle(Stored) },
		Keep: func(_ *Session, given []Undelivered) {
			for _, u := range given {
				copied = append(copied, u.Stanza.ID)
			}
		},
	})
	o := &inspector{}
	o.cond = sync.NewCond(&o.mu)
	s, err := r.Bind(jid.MustParse("juliet@example.org/balcony"), o)
	if err != nil {
		t.Fatal(err)
	}
	chat := func(id string) Delivery {
		d := from("romeo@example.org/x", id, 10)
		d.Stanza.Type, d.Copy = xmpp.TypeChat, false
		return d
	}
	old := from("romeo@example.org/x", "old", 300<<10)
	s.Bring(nil, jid.MustParse("romeo@example.org"), 0, func(b *Batch) bool {
		s.Send(b, old)
		return false
	})
	s.Bring(nil, jid.MustParse("romeo@example.org"), 0, func(b *Batch) bool { return false })
	s.SendNow(chat("behind"))
	o.uncopied = func() {
		o.take()
		for range 1000 { // until it has moved, where it can
			runtime.Gosched()
		}
	}
	e := &Envelope{Stanza: chat("next").Stanza}
	e.Stanza.To = jid.MustParse("juliet@example.org")
	r.Route(e)
	if e.Outcome != Stored || !slices.Contains(copied, "behind") {
		t.Errorf("%v; copied: %v", e.Outcome, copied)
	}
	o.end()
}
