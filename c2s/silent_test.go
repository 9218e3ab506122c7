package c2s

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// lives says whether the session of a client has a connection, and whether there is one at all.
func (h *house) lives(c *client) (attached, there bool) {
	s := h.router.Session(jid.MustParse(c.jid))
	return s != nil && !s.Detached(), s != nil
}

func TestClientThatLeavesARequestUnansweredIsDetached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, withoutTLS)
		defer h.close()
		c := h.enterPlain("juliet", "balcony")
		id := c.manage()
		other := h.enterPlain("juliet", "phone") // without stream management there is no request
		defer other.close()
		time.Sleep(30 * time.Second)
		h.message("juliet@example.org/phone", "m0", 0)
		h.message("juliet@example.org/balcony", "m1", 0)
		time.Sleep(time.Minute)
		synctest.Wait()
		if attached, _ := h.lives(c); !attached {
			t.Fatal("given up within a minute")
		}
		time.Sleep(time.Minute + 5*time.Second)
		synctest.Wait()
		if attached, there := h.lives(c); attached || !there {
			t.Fatalf("after two minutes: attached %t, there %t", attached, there)
		}
		if attached, _ := h.lives(other); !attached {
			t.Error("a client that was asked for nothing is given up")
		}
		if h.Stats.Silent.Load() != 1 || h.Stats.Detached.Load() != 1 {
			t.Error("not counted")
		}
		h.message("juliet@example.org/balcony", "m2", 0)
		c.close()
		c = h.pipe()
		defer c.close()
		c.header()
		c.login("juliet").askResume(id, 0).expect("<resumed")
		c.expectMessages("m1", "m2")
	})
}

func TestSilentClientThatCannotResumeGivesItsMessagesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, withoutTLS)
		defer h.close()
		c := h.enterPlain("juliet", "balcony")
		defer c.close()
		c.send("<enable xmlns='urn:xmpp:sm:3'/>").expect("<enabled")
		h.message("juliet@example.org", "m1", 0)
		time.Sleep(2*time.Minute + 5*time.Second)
		synctest.Wait()
		if _, there := h.lives(c); there {
			t.Error("the session is still there")
		}
		if got := h.list(&h.stored); !slices.Equal(got, []string{"m1"}) {
			t.Errorf("stored: %v", got)
		}
		c.expectMessages("m1")
		c.expectError("connection-timeout")
	})
}

func TestClientThatSaysAnythingIsNotSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, withoutTLS)
		defer h.close()
		c := h.enterPlain("juliet", "balcony")
		defer c.close()
		c.manage()
		h.message("juliet@example.org", "m1", 0)
		for range 30 {
			time.Sleep(50 * time.Second)
			c.send(" ")
		}
		synctest.Wait()
		if attached, _ := h.lives(c); !attached {
			t.Error("given up though it acknowledges nothing but lives")
		}
	})
}

func TestClientWithNothingToAcknowledgeIsNotAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, withoutTLS)
		defer h.close()
		c := h.enterPlain("juliet", "balcony")
		defer c.close()
		c.manage()
		h.message("juliet@example.org", "m1", 0)
		c.expectMessages("m1")
		c.expect("<r ")
		c.send("<a xmlns='urn:xmpp:sm:3' h='1'/>")
		time.Sleep(9*time.Minute + 50*time.Second)
		synctest.Wait()
		if attached, _ := h.lives(c); !attached || len(c.in) > 0 {
			t.Errorf("attached %t, and %d writes came", attached, len(c.in))
		}
	})
}

// An acknowledgement that the client sent on its own crosses a message, and is taken for the answer to the request
// behind it.
func TestMessagesThatWaitWithoutARequestAreAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, withoutTLS)
		defer h.close()
		c := h.enterPlain("juliet", "balcony")
		defer c.close()
		c.manage()
		h.message("juliet@example.org", "m1", 0)
		c.expectMessages("m1")
		c.expect("<r ")
		c.send("<a xmlns='urn:xmpp:sm:3' h='0'/>")
		synctest.Wait()
		began := time.Now()
		c.expect("<r ")
		if d := time.Since(began); d > time.Minute+3*time.Second {
			t.Errorf("asked after %s", d)
		}
		time.Sleep(2*time.Minute + 5*time.Second)
		synctest.Wait()
		if attached, _ := h.lives(c); attached {
			t.Error("a client that does not answer that either is not given up")
		}
	})
}

func TestWhoIsAskedEarlyWhetherItIsThereHasLessTime(t *testing.T) {
	for idle, want := range map[time.Duration]time.Duration{
		0: time.Minute, time.Hour: time.Minute, 10 * time.Minute: time.Minute, time.Minute: 6 * time.Second,
		time.Second: time.Second,
	} {
		if got := patienceFor(idle); got != want {
			t.Errorf("with idle_timeout %s it is %s, want %s", idle, got, want)
		}
	}
}

// The times are the test's; the bytes take their own.
func TestClientThatReadsSlowlyIsNotSilent(t *testing.T) {
	h := open(t, withoutTLS)
	defer h.close()
	c := h.narrow(false)
	defer c.close()
	c.header()
	c.login("juliet").bind("balcony").manage()
	s := h.find(c)
	h.timers.remove(&s.timer)
	now := int64(1000)
	look := func() bool {
		now += 60
		s.mu.Lock()
		defer s.mu.Unlock()
		silent, _ := s.unanswered(s.conn, now, time.Minute)
		return silent
	}
	gone := func() int64 { // bytes that this end has acknowledged
		s.mu.Lock()
		defer s.mu.Unlock()
		_, accepted := s.conn.Transport.Written()
		unsent, _ := s.conn.Transport.Kernel()
		return accepted - int64(unsent)
	}
	for range 10 {
		h.post("juliet@example.org", "large", 200_000, 0)
	}
	if look() {
		t.Fatal("silent at the first look")
	}
	before := gone()
	for range 3 {
		for p, left := make([]byte, 32<<10), 400_000; left > 0; {
			n, err := c.conn.Read(p)
			if err != nil {
				t.Fatal(err)
			}
			left -= n
		}
		eventually(t, "something has arrived", func() bool { return gone() > before })
		before = gone()
		if look() {
			t.Fatal("given up though it reads")
		}
	}
	eventually(t, "it reads no more", func() bool { look(); return look() })
}

// A client of a stuck server has answered: it is not to blame.
func TestAnswerThatNobodyHasReadYetCounts(t *testing.T) {
	h := open(t, withoutTLS)
	defer h.close()
	entered, leave := make(chan struct{}), make(chan struct{})
	stuck := router.IQ{Payload: xmpp.Name{Space: "urn:test", Local: "stuck"}, Scope: router.Account, Handle: func(e *router.Envelope) {
		close(entered)
		<-leave
		h.router.Answer(e, nil)
	}}
	h.router.Use(append(slices.Clone(h.router.Modules()), router.Module{Name: "stuck", IQ: []router.IQ{stuck}})...)
	c := h.narrow(false)
	defer c.close()
	defer close(leave)
	c.header()
	c.login("juliet").bind("balcony").manage()
	s := h.find(c)
	h.timers.remove(&s.timer)
	h.message("juliet@example.org", "m1", 0)
	c.expectMessages("m1")
	c.expect("<r ")
	look := func(now int64) (silent bool) {
		s.mu.Lock()
		defer s.mu.Unlock()
		silent, _ = s.unanswered(s.conn, now, time.Minute)
		return silent
	}
	look(1000)
	c.send("<iq type='get' id='stuck'><stuck xmlns='urn:test'/></iq>")
	<-entered // the reader gets no further
	c.send("<a xmlns='urn:xmpp:sm:3' h='1'/>")
	eventually(t, "there is more", func() bool { _, unread := s.conn.Transport.Kernel(); return unread > 0 })
	s.mu.Lock()
	s.sm.doubt.heard = s.conn.heard.Load() // as if the request had come long ago
	silent, _ := s.unanswered(s.conn, 2000, time.Minute)
	s.mu.Unlock()
	if silent {
		t.Error("given up though bytes of it wait to be read")
	}
}
