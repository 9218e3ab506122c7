package c2s

import (
	"runtime"
	"strings"
	"testing"
	"time"
)

// readers are the goroutines that read for sessions.
func readers() int {
	text := make([]byte, 4<<20)
	return strings.Count(string(text[:runtime.Stack(text, true)]), "(*conn).serve(")
}

// rests has the reader of a client rest, as it does when the client has been quiet.
func (h *house) rests(c *client) {
	h.t.Helper()
	s := h.find(c)
	s.mu.Lock()
	s.conn.rest.Store(true)
	s.conn.Transport.Interrupt()
	s.mu.Unlock()
	eventually(h.t, "nobody reads any more", func() bool { return readers() == 0 })
}

func TestASessionAtRestHasNoGoroutine(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	c := h.enter("juliet", "balcony")
	defer c.close()
	c.ping()
	for range 3 {
		h.rests(c)
		h.post("juliet@example.org", "m", 10, 0)
		c.expectMessages("m")
		if n := readers(); n != 0 {
			t.Errorf("%d read for one that is only written to", n)
		}
		c.ping()
	}
	h.rests(c)
	h.find(c).End("policy-violation", "")
	c.expectError("policy-violation")
}

func TestAReaderThatHasRestedRestsAgainSoon(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	c := h.enter("juliet", "balcony")
	defer c.close()
	s := h.find(c)
	for range 2 {
		h.rests(c)
		h.timers.add(&s.timer, lookEvery) // as a look does that finds it at rest
		c.ping()
		h.timers.mu.Lock()
		if left := s.timer.due - h.timers.at; left > int64(restAfter/time.Second)+1 {
			t.Errorf("looked at in %d s", left)
		}
		h.timers.mu.Unlock()
	}
}

func TestASessionAtRestEndsWithItsConnection(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	c := h.enter("juliet", "balcony")
	h.rests(c)
	c.close()
	eventually(t, "the session has ended", func() bool { return h.Stats.Sessions.Load() == 0 })
}
