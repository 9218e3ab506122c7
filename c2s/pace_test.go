package c2s

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// answering adds a module that answers requests for a large thing, and counts them.
func (h *house) answering(size int, asked func()) {
	payload := []byte("<large xmlns='urn:large'>" + strings.Repeat("x", size) + "</large>")
	h.router.Use(append(slices.Clone(h.router.Modules()), router.Module{Name: "large", IQ: []router.IQ{{
		Payload: xmpp.Name{Space: "urn:large", Local: "large"}, Scope: router.Account,
		Handle: func(e *router.Envelope) { asked(); h.router.Answer(e, payload) }}}})...)
}

// waiting is how many bytes the kernel has not taken from a session.
func (s *session) waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unwritten()
}

func TestAnswersWaitUntilThoseBeforeAreWritten(t *testing.T) {
	for _, managed := range []bool{false, true} {
		t.Run(fmt.Sprintf("managed=%t", managed), func(t *testing.T) {
			h := open(t, withoutTLS)
			defer h.close()
			asked := make(chan int, 100)
			h.answering(200<<10, func() { asked <- 0 })
			c := h.narrow(false)
			defer c.close()
			c.header()
			c.login("juliet").bind("balcony")
			if managed {
				c.manage()
			}
			s := h.find(c)
			const n = 50
			var all strings.Builder
			for i := range n {
				fmt.Fprintf(&all, "<iq type='get' id='q%d'><large xmlns='urn:large'/></iq>", i)
			}
			c.send(all.String())
			eventually(t, "the reader waits", func() bool {
				s.mu.Lock()
				defer s.mu.Unlock()
				return s.conn != nil && s.conn.waits
			})
			if got := len(asked); got > 5 {
				t.Errorf("%d requests were handled before the client had read anything", got)
			}
			for i := range n {
				c.expect("<iq", fmt.Sprintf("id='q%d'", i))
				if w := s.waiting(); w > 1<<20 {
					t.Fatalf("%d bytes wait", w)
				}
				if managed {
					c.send(fmt.Sprintf("<a xmlns='urn:xmpp:sm:3' h='%d'/>", i+1))
				}
			}
			c.ping()
			if h.Stats.Overflows.Load() != 0 {
				t.Error("the session was given up")
			}
		})
	}
}

// More than four times what a session may have waiting comes in one go, for a client that reads.
func TestSessionDoesNotEndForBeingGivenMuch(t *testing.T) {
	for _, managed := range []bool{false, true} {
		t.Run(fmt.Sprintf("managed=%t", managed), func(t *testing.T) {
			h := open(t, func(o *Options) { withoutTLS(o); o.Limits.QueueBytes, o.Limits.UnackedBytes = 1<<20, 1<<20 })
			defer h.close()
			c := h.enter("juliet", "balcony")
			defer c.close()
			if managed {
				c.manage()
			}
			s := h.router.Session(jid.MustParse(c.jid))
			const n = 30
			payload := []byte("<body>" + strings.Repeat("x", 100<<10) + "</body>")
			for i := range n {
				s.SendNow(router.Delivery{Copy: true, Stanza: &xmpp.Stanza{Kind: xmpp.Message, ID: fmt.Sprintf("m%d", i),
					Payload: payload}})
			}
			for i := range n {
				c.expectMessages(fmt.Sprintf("m%d", i))
			}
			if managed {
				c.send(fmt.Sprintf("<a xmlns='urn:xmpp:sm:3' h='%d'/>", n))
			}
			c.ping()
			if s.Full() {
				t.Error("it is still full though all was taken")
			}
		})
	}
}

func TestSessionOfWhichNothingIsReadEndsAtTheHardBound(t *testing.T) {
	h := open(t, func(o *Options) { withoutTLS(o); o.Limits.QueueBytes = 256 << 10 })
	defer h.close()
	c := h.narrow(false)
	defer c.close()
	c.header()
	c.login("juliet").bind("balcony")
	s := h.router.Session(jid.MustParse(c.jid))
	one := router.Delivery{Copy: true, Stanza: &xmpp.Stanza{Kind: xmpp.Presence,
		Payload: []byte("<status>" + strings.Repeat("x", 50<<10) + "</status>")}}
	for i := 0; !s.Full(); i++ {
		if i > 100 {
			t.Fatal("it is never full")
		}
		s.SendNow(one)
	}
	if h.Stats.Overflows.Load() != 0 {
		t.Fatal("a session that is full has ended")
	}
	for range 30 {
		s.SendNow(one)
	}
	eventually(t, "the session is given up", func() bool { return h.over() == 1 })
}

func TestReaderThatWaitsForItsClientIsNotTakenForIdle(t *testing.T) {
	h := open(t, func(o *Options) { withoutTLS(o); o.C2S.IdleTimeout = 10 * time.Minute })
	defer h.close()
	h.answering(200<<10, func() {})
	c := h.narrow(false)
	defer c.close()
	c.header()
	c.login("juliet").bind("balcony")
	s := h.find(c)
	c.send(strings.Repeat("<iq type='get' id='q1'><large xmlns='urn:large'/></iq>", 8))
	eventually(t, "the reader waits", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.conn != nil && s.conn.waits
	})
	s.srv.timers.remove(&s.timer)
	s.look(1000)
	s.look(2000)
	s.look(3000)
	if h.Stats.Silent.Load() != 0 || s.pinged {
		t.Error("the client was asked whether it is there, though its answer would not be read")
	}
	for range 8 {
		c.expect("id='q1'")
	}
}

// A client reads everything and acknowledges nothing, though it is asked.
func TestWhatIsNotAcknowledgedIsForgottenAndTheSessionGoesOnWithoutResumption(t *testing.T) {
	h := open(t, func(o *Options) { withoutTLS(o); o.Limits.UnackedBytes, o.Limits.UnackedStanzas = 1<<20, 1000 })
	defer h.close()
	c := h.enter("juliet", "balcony")
	id := c.manage()
	s := h.find(c)
	rs := h.router.Session(jid.MustParse(c.jid))
	rs.SendNow(router.Delivery{Stanza: &xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeChat, ID: "m1"}})
	c.expectMessages("m1")
	sent := 1
	give := func(n, size int) {
		t.Helper()
		payload := []byte("<status>" + strings.Repeat("x", size) + "</status>")
		for i := range n {
			rs.SendNow(router.Delivery{Copy: true, Stanza: &xmpp.Stanza{Kind: xmpp.Presence, ID: fmt.Sprint(i),
				Payload: payload}})
			c.expect("<presence", fmt.Sprintf("id='%d'", i))
			sent++
		}
	}
	give(300, 50<<10)
	give(6000, 10)
	s.mu.Lock()
	bytes, lossy := s.bytes, s.sm.lossy
	kept := 0
	for _, f := range s.flight {
		kept += len(f.buf)
	}
	s.mu.Unlock()
	if bytes > 2<<20 || kept > 2<<20 || !lossy {
		t.Errorf("%d bytes count, %d are kept, lossy %t", bytes, kept, lossy)
	}
	if h.Stats.Overflows.Load() != 0 {
		t.Error("the session has ended")
	}
	// Its numbers are still right.
	c.send(fmt.Sprintf("<a xmlns='urn:xmpp:sm:3' h='%d'/>", sent-1)).ping()
	s.mu.Lock()
	if s.sm.unacked > 2 || s.sm.spilled > 1 {
		t.Errorf("%d unacknowledged, %d spilled", s.sm.unacked, s.sm.spilled)
	}
	s.mu.Unlock()
	rs.SendNow(router.Delivery{Stanza: &xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeChat, ID: "m2"}})
	c.expectMessages("m2")
	c.close()
	eventually(t, "what it did not acknowledge is stored", func() bool { return slices.Equal(h.list(&h.stored), []string{"m2"}) })
	d := h.resume("juliet", id, sent)
	defer d.close()
	d.expect("<failed", "<item-not-found")
}
