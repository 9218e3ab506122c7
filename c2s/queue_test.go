package c2s

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// post routes a message of that size, built once.
func (h *house) post(to, id string, size int, kept uint64) {
	h.router.Route(&router.Envelope{Fate: router.Fate{Kept: kept}, Quiet: true,
		Stanza: &xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeChat, ID: id,
			From: jid.MustParse("romeo@example.org/post"), To: jid.MustParse(to), Payload: []byte("<body>" + strings.Repeat("x", size) + "</body>")}})
}

func TestKeptCopiesAreTakenWhenTheKernelHasThem(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	c := h.enter("juliet", "balcony")
	defer c.close()
	h.post("juliet@example.org", "m1", 10, 1)
	h.post("juliet@example.org", "m2", 40000, 2)
	c.expectMessages("m1", "m2")
	eventually(t, "both are taken", func() bool { return slices.Equal(h.kept(), []uint64{1, 2}) })
}

// A client that reads nothing slows nobody, and what did not reach it goes elsewhere: each message either arrives or is
// stored, never both, never neither.
func TestSlowClientGetsOrGivesBackEachMessageOnce(t *testing.T) {
	for _, secure := range []bool{true, false} {
		t.Run(fmt.Sprintf("tls=%t", secure), func(t *testing.T) {
			h := open(t, func(o *Options) { withoutTLS(o); o.Limits.WriteStall = time.Second })
			defer h.close()
			h.copied = true
			c := h.narrow(secure)
			if secure {
				c.handshake()
			}
			c.header()
			c.login("juliet").bind("balcony")
			seen := map[string]bool{}
			take := func() bool {
				got := c.readLenient()
				if i := strings.Index(got, "id='m"); i >= 0 {
					seen[got[i+4:i+4+strings.IndexByte(got[i+4:], '\'')]] = true
				}
				return got != "EOF" && got != "</end>"
			}
			// More than the queue holds: what is sent to a session that is full is stored. Now and then a little is read, so
			// that the kernel takes some of a large write.
			const n = 400
			for i := range n {
				h.post("juliet@example.org", fmt.Sprintf("m%d", i), 20000, 0)
				if i%50 == 49 && i < 200 {
					for range 7 {
						take()
					}
				}
			}
			eventually(t, "the session is given up", func() bool { return h.over() == 1 })
			if h.Stats.Overflows.Load() != 1 {
				t.Error("the overflow was not counted")
			}
			for take() {
				continue
			}
			c.close()
			stored := h.list(&h.stored)
			for _, id := range stored {
				if seen[id] {
					t.Errorf("%s arrived and was stored", id)
				}
				seen[id] = true
			}
			if len(seen) != n {
				t.Errorf("%d of %d are accounted for", len(seen), n)
			}
			less := func(a, b string) int { return len(a)*1000 - len(b)*1000 + strings.Compare(a, b) }
			if !slices.IsSortedFunc(stored, less) {
				t.Errorf("stored in the order %v", stored)
			}
			if len(h.list(&h.copies)) < 50 || len(stored) < 100 {
				t.Errorf("%d had no copy when the session was full, and %d are stored", len(h.list(&h.copies)), len(stored))
			}
		})
	}
}

// over is how many sessions have ended, with all that follows from it.
func (h *house) over() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ended
}

// readLenient is read where the stream may break off anywhere.
func (c *client) readLenient() string {
	for {
		item, n, err := c.scan.Scan(c.buf[c.used:])
		if err != nil {
			return "EOF"
		}
		c.used += n
		if item == 1 || item == 2 || item == 3 {
			return string(c.scan.Stanza().Append(nil))
		}
		c.buf = slices.Delete(c.buf, 0, c.used)
		c.used = 0
		p := make([]byte, 64<<10)
		n, _ = c.c.Read(p)
		if c.buf = append(c.buf, p[:n]...); n == 0 {
			return "EOF"
		}
	}
}

func TestSlowClientWithoutOverflowGetsAllInOrder(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	c := h.enter("juliet", "balcony")
	defer c.close()
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range 2000 {
			h.post("juliet@example.org", fmt.Sprintf("m%d", i), 5000, 0)
			if s := h.router.Session(jid.MustParse(c.jid)); s.WaitBelow(context.Background(), 1<<20) != nil {
				t.Error("the session ended")
			}
		}
	})
	for i := range 2000 {
		c.expectMessages(fmt.Sprintf("m%d", i))
	}
	wg.Wait()
}

func TestStalledClientIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, withoutTLS)
		defer h.close()
		c := h.enterPlain("juliet", "balcony")
		for range cap(c.in) + 2 { // until the pump stops reading
			h.post("juliet@example.org", "fill", 100, 0)
			synctest.Wait()
		}
		h.post("juliet@example.org", "stuck", 100, 0)
		time.Sleep(29 * time.Second)
		if h.router.SessionCount() != 1 {
			t.Error("given up too early")
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if h.router.SessionCount() != 0 {
			t.Error("not given up")
		}
		if got := h.list(&h.stored); len(got) == 0 || got[len(got)-1] != "stuck" {
			t.Errorf("stored: %v", got)
		}
		c.close()
	})
}

func TestEndedSessionRefusesAndWaitersLearnOfIt(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	c := h.enter("juliet", "balcony")
	id := c.manage()
	h.cut(c)
	s := h.router.Session(jid.MustParse(c.jid))
	h.post("juliet@example.org", "m1", 1000, 0)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.WaitBelow(ctx, 10); !errors.Is(err, context.Canceled) {
		t.Errorf("wait: %v", err)
	}
	waited := make(chan error)
	go func() { waited <- s.WaitBelow(context.Background(), 10) }()
	s.End("not-authorized", "")
	if err := <-waited; err == nil {
		t.Error("the wait succeeded")
	}
	eventually(t, "the session is gone", func() bool { return h.over() == 1 })
	if s.SendNow(router.Delivery{Stanza: &xmpp.Stanza{Kind: xmpp.Message}}) {
		t.Error("an ended session took a stanza")
	}
	if got := h.list(&h.stored); !slices.Equal(got, []string{"m1"}) {
		t.Errorf("stored: %v", got)
	}
	d := h.resume("juliet", id, 0)
	defer d.close()
	d.expect("<failed")
}

func TestFarewellComesAfterWhatWasQueued(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	c := h.enter("juliet", "balcony")
	defer c.close()
	h.post("juliet@example.org", "m1", 100, 0)
	h.router.Session(jid.MustParse(c.jid)).End("not-authorized", "the account was removed")
	c.expectMessages("m1")
	c.expectError("not-authorized")
	c.expect("EOF")
}

func TestStanzasSentWhileBindingComeAfterItsResult(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	h.onBound = func(s *router.Session, h *house) {
		s.SendNow(router.Delivery{Stanza: &xmpp.Stanza{Kind: xmpp.Message, ID: "early"}})
	}
	c := h.enter("juliet", "balcony")
	defer c.close()
	c.expectMessages("early")
}

func TestSessionEndedWhileBindingEnds(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	h.onBound = func(s *router.Session, h *house) { s.End("conflict", "") }
	c := h.enter("juliet", "balcony")
	defer c.close()
	c.expectError("conflict")
	eventually(t, "the session is gone", func() bool { return h.router.SessionCount() == 0 })
}

func presence(from, status string) *xmpp.Stanza {
	s := &xmpp.Stanza{Kind: xmpp.Presence, From: jid.MustParse(from), To: jid.MustParse("juliet@example.org")}
	if status != "" {
		s.Payload = []byte("<status>" + status + "</status>")
	}
	return s
}

func TestInactiveClientIsSparedAndMissesNothing(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	c := h.enter("juliet", "balcony")
	defer c.close()
	const state = "<composing xmlns='http://jabber.org/protocol/chatstates'/>"
	c.send("<inactive xmlns='urn:xmpp:csi:0'/>").ping()
	h.router.Emit(presence("romeo@example.org/a", "1"), nil)
	h.router.Emit(presence("romeo@example.org/b", "2"), nil)
	h.router.Emit(presence("romeo@example.org/a", "3"), nil)
	h.router.Emit(&xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeChat, ID: "state", From: jid.MustParse("romeo@example.org/a"),
		To: jid.MustParse("juliet@example.org"), Payload: []byte(state)}, nil)
	h.post("juliet@example.org", "m1", 10, 0)
	c.expect("<presence", "/b'", ">2<")
	c.expect("<presence", "/a'", ">3<")
	c.expectMessages("state", "m1")
	// Still inactive.
	h.router.Emit(presence("romeo@example.org/a", "4"), nil)
	h.router.Emit(&xmpp.Stanza{Kind: xmpp.Presence, Type: xmpp.TypeSubscribe, From: jid.MustParse("romeo@example.org"),
		To: jid.MustParse("juliet@example.org")}, nil)
	c.expect(">4<")
	c.expect("type='subscribe'")
	h.router.Emit(presence("romeo@example.org/a", "5"), nil)
	c.send("<active xmlns='urn:xmpp:csi:0'/>").expect(">5<")
	h.router.Emit(presence("romeo@example.org/a", "6"), nil)
	c.expect(">6<")
}

func TestHeldStanzasSurviveResumptionAndClientIsActiveAfterIt(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	c := h.enter("juliet", "balcony")
	id := c.manage()
	c.send("<inactive xmlns='urn:xmpp:csi:0'/>").ping()
	h.router.Emit(presence("romeo@example.org/a", "1"), nil)
	h.cut(c)
	c = h.resume("juliet", id, 1)
	defer c.close()
	c.expect("<resumed")
	c.expect(">1<")
	h.router.Emit(presence("romeo@example.org/a", "2"), nil)
	c.expect(">2<")
	c.send("<a xmlns='urn:xmpp:sm:3' h='3'/>").ping()
}

func TestHeldStanzasAreBounded(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	c := h.enter("juliet", "balcony")
	defer c.close()
	c.send("<inactive xmlns='urn:xmpp:csi:0'/>").ping()
	for i := range maxWithheld + 1 {
		h.router.Emit(presence(fmt.Sprintf("romeo@example.org/%d", i), "x"), nil)
	}
	for i := range maxWithheld + 1 {
		c.expect("<presence", fmt.Sprintf("/%d'", i))
	}
}

func TestIdleClientIsPingedThenEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, withoutTLS)
		defer h.close()
		c := h.enterPlain("juliet", "balcony")
		defer c.close()
		began := time.Now()
		got := c.expect("<iq", "type='get'", "from='example.org'", "urn:xmpp:ping")
		if d := time.Since(began); d < 10*time.Minute || d > 10*time.Minute+5*time.Second {
			t.Errorf("pinged after %s", d)
		}
		s, _ := xmpp.ParseElement([]byte(got))
		c.send("<iq type='result' to='example.org' id='" + s.Attr("id") + "'/>")
		time.Sleep(9 * time.Minute)
		c.send(" ") // a sign of life
		time.Sleep(9 * time.Minute)
		synctest.Wait()
		if len(c.in) != 0 {
			t.Error("pinged although bytes came")
		}
		c.expect("urn:xmpp:ping")
		began = time.Now()
		c.expectError("connection-timeout")
		if d := time.Since(began); d < time.Minute || d > time.Minute+5*time.Second {
			t.Errorf("ended after %s", d)
		}
		if h.Stats.Silent.Load() != 1 {
			t.Error("not counted")
		}
	})
}

func TestSilentClientWithStreamManagementIsDetached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, withoutTLS)
		defer h.close()
		c := h.enterPlain("juliet", "balcony")
		id := c.manage()
		time.Sleep(12 * time.Minute)
		synctest.Wait()
		if s := h.router.Session(jid.MustParse(c.jid)); s == nil || !s.Detached() {
			t.Fatal("not detached")
		}
		c.close()
		c = h.pipe()
		defer c.close()
		c.header()
		c.login("juliet").askResume(id, 0).expect("<resumed")
		c.expect("urn:xmpp:ping") // it was a stanza, and is not lost
	})
}

func TestFloodingClientIsSlowedDownAndLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, withoutTLS)
		defer h.close()
		c := h.pipeFrom(func(n net.Conn) net.Conn { return distant{n} })
		defer c.close()
		c.header()
		c.login("romeo").bind("orchard")
		began := time.Now()
		m := "<message to='juliet@example.org' type='chat' id='m'><body>" + strings.Repeat("x", 64<<10-100) + "</body></message>"
		for range 16 + 60 {
			c.send(m)
		}
		c.ping()
		if d := time.Since(began); d < 55*time.Second || d > 65*time.Second {
			t.Errorf("60 times the rate took %s", d)
		}
		if got := len(h.list(&h.routed)); got != 77 {
			t.Errorf("%d stanzas were routed", got)
		}
	})
}

func TestPanicEndsOneStreamOnly(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	h.pending = func(*router.Envelope) { panic("on purpose") }
	c, other := h.enter("juliet", "balcony"), h.enter("romeo", "orchard")
	defer c.close()
	defer other.close()
	c.send("<message to='romeo@example.org'/>").expectError("internal-server-error")
	other.ping()
	if h.Stats.Panics.Load() != 1 {
		t.Error("not counted")
	}
}

func TestRestedReaderGoesOnReading(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	c := h.enter("juliet", "balcony")
	defer c.close()
	c.send("<message to='romeo@example.org' id='half'><body>ha")
	for range 3 {
		s := h.find(c)
		s.mu.Lock()
		s.conn.rest.Store(true)
		s.conn.Transport.Interrupt()
		s.mu.Unlock()
		eventually(t, "another reader took over", func() bool {
			return !s.conn.rest.Load()
		})
		c.send("lf")
	}
	c.send("</body></message>").ping()
	if got := h.list(&h.routed); !slices.Equal(got, []string{"half", "sync"}) {
		t.Errorf("routed: %v", got)
	}
}
