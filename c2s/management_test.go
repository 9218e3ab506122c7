package c2s

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// manage turns resumable stream management on and returns the id.
func (c *client) manage() string {
	c.t.Helper()
	got := c.send("<enable xmlns='"+xmpp.NSSM+"' resume='true'/>").expect("<enabled", "resume='true'")
	el, err := xmpp.ParseElement([]byte(got))
	if err != nil {
		c.t.Fatal(err)
	}
	return el.Attr("id")
}

// resume logs in and asks for the session; the answer comes next.
func (h *house) resume(user, id string, seen int) *client {
	h.t.Helper()
	c := h.connect(DirectTLS).handshake()
	c.header()
	return c.login(user).askResume(id, seen)
}

func (c *client) askResume(id string, seen int) *client {
	c.t.Helper()
	return c.send(fmt.Sprintf("<resume xmlns='%s' previd='%s' h='%d'/>", xmpp.NSSM, id, seen))
}

// message routes a message of the server's own to a user.
func (h *house) message(to, id string, kept uint64) router.Outcome {
	e := &router.Envelope{Fate: router.Fate{Kept: kept}, Quiet: true,
		Stanza: &xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeChat, ID: id,
			From: jid.MustParse("romeo@example.org/post"), To: jid.MustParse(to), Payload: []byte("<body>" + id + "</body>")}}
	h.router.Route(e)
	return e.Outcome
}

// cut drops the connection and waits until the server knows.
func (h *house) cut(c *client) {
	h.t.Helper()
	s := h.router.Session(jid.MustParse(c.jid))
	c.close()
	eventually(h.t, "the session is detached", s.Detached)
}

func (c *client) expectMessages(ids ...string) {
	c.t.Helper()
	for _, id := range ids {
		c.expect("<message", "id='"+id+"'")
	}
}

func TestStanzasAreAcknowledgedBothWays(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	c := h.enter("juliet", "balcony")
	defer c.close()
	c.send("<message to='romeo@example.org' id='before'/>")
	c.manage()
	c.send("<r xmlns='urn:xmpp:sm:3'/>").expect("<a ", "h='0'")
	c.send("<message to='romeo@example.org' id='one'><body>x</body></message><message to='romeo@example.org' id='two'/><r xmlns='urn:xmpp:sm:3'/>").expect("<a ", "h='2'")
	h.message("juliet@example.org", "m1", 7)
	c.expectMessages("m1")
	if got := c.read(); !strings.HasPrefix(got, "<r ") {
		t.Fatalf("after a stanza came %s", got)
	}
	if got := h.kept(); len(got) != 0 {
		t.Errorf("taken before the acknowledgement: %v", got)
	}
	c.send("<a xmlns='urn:xmpp:sm:3' h='1'/>").ping()
	if got := h.kept(); !slices.Equal(got, []uint64{7}) {
		t.Errorf("taken: %v", got)
	}
}

func (h *house) kept() []uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.taken)
}

func TestResumptionsDoNotMultiplyTheQueue(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	c := h.enter("juliet", "balcony")
	id := c.manage()
	h.message("juliet@example.org", "m1", 0)
	h.message("juliet@example.org", "m2", 0)
	c.expectMessages("m1", "m2")
	for i := range 4 {
		h.cut(c)
		extra := fmt.Sprintf("d%d", i)
		h.message("juliet@example.org", extra, 0)
		jid := c.jid
		c = h.resume("juliet", id, i)
		c.jid = jid
		c.expect("<resumed", "previd='"+id+"'", "h='0'")
		want := append([]string{"m1", "m2"}, "d0", "d1", "d2", "d3")[i : i+3]
		c.expectMessages(want...)
	}
	c.send("<a xmlns='urn:xmpp:sm:3' h='6'/>").ping()
	c.send("<a xmlns='urn:xmpp:sm:3' h='7'/></stream:stream>").expect("<a ", "h='1'")
	c.expect("</end>")
	c.close()
	eventually(t, "the session has ended", func() bool { return h.over() == 1 })
	if got := h.list(&h.stored); len(got) != 0 {
		t.Errorf("acknowledged and stored again: %v", got)
	}
}

func TestDyingConnectionLeavesTheResumedSessionAlone(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	old := h.enter("juliet", "balcony")
	defer old.close()
	id := old.manage()
	c := h.resume("juliet", id, 0) // while the old one is not known dead
	c.jid = old.jid
	c.expect("<resumed")
	old.expectError("conflict")
	old.close()
	h.cut(c)
	c = h.resume("juliet", id, 0) // the mapping is there still
	defer c.close()
	c.expect("<resumed")
	c.ping()
	if n := h.Stats.Resumptions.Load(); n != 2 {
		t.Errorf("%d resumptions", n)
	}
}

func TestUnacknowledgedMessagesAreStoredWhenTheWindowEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, withoutTLS)
		defer h.close()
		c := h.enterPlain("juliet", "balcony")
		id := c.manage()
		h.message("juliet@example.org", "m1", 0)
		h.message("juliet@example.org", "m2", 5)
		c.expectMessages("m1", "m2")
		c.send("<a xmlns='urn:xmpp:sm:3' h='1'/>")
		c.ping()
		c.close()
		synctest.Wait()
		h.message("juliet@example.org", "m3", 0)
		time.Sleep(9 * time.Minute)
		if got := h.list(&h.stored); len(got) != 0 {
			t.Errorf("stored within the window: %v", got)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if got := h.list(&h.stored); !slices.Equal(got, []string{"m2", "m3"}) {
			t.Errorf("stored: %v", got)
		}
		if h.router.SessionCount() != 0 {
			t.Error("the session is still there")
		}
		c = h.pipe()
		defer c.close()
		c.header()
		c.login("juliet").askResume(id, 1).expect("<failed", "h='1'", "<item-not-found")
		c.bind("garden")
	})
}

func TestMessageIsEitherResumedOrStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, withoutTLS)
		defer h.close()
		c := h.enterPlain("juliet", "balcony")
		id := c.manage()
		c.close()
		synctest.Wait()
		h.message("juliet@example.org", "m1", 0)
		time.Sleep(10*time.Minute - time.Second)
		c = h.pipe()
		defer c.close()
		c.header()
		c.login("juliet").askResume(id, 0).expect("<resumed")
		c.expectMessages("m1")
		c.send("<a xmlns='urn:xmpp:sm:3' h='1'/>").ping()
		c.send("<a xmlns='urn:xmpp:sm:3' h='2'/>")
		time.Sleep(5 * time.Minute) // the window of the old connection is over
		c.ping()
		c.send("</stream:stream>").expect("<a ", "h='2'")
		c.expect("</end>")
		synctest.Wait()
		if got := h.list(&h.stored); len(got) != 0 {
			t.Errorf("resumed and stored: %v", got)
		}
	})
}

func TestHandledCountBeyondWhatWasSentEndsTheStream(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	c := h.enter("juliet", "balcony")
	defer c.close()
	c.manage()
	h.message("juliet@example.org", "m1", 0)
	c.expectMessages("m1")
	c.send("<a xmlns='urn:xmpp:sm:3' h='2'/>")
	if got := c.expect("<undefined-condition", "<handled-count-too-high", "h='2'", "send-count='1'"); !strings.HasPrefix(got, "<stream:error") && !strings.Contains(got, "error") {
		t.Errorf("got %s", got)
	}
	eventually(t, "the message is stored", func() bool { return slices.Equal(h.list(&h.stored), []string{"m1"}) })
}

func TestHandledCountOnResumptionIsChecked(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	c := h.enter("juliet", "balcony")
	id := c.manage()
	h.cut(c)
	h.message("juliet@example.org", "m1", 0) // queued, and sent to nobody yet
	bad := h.resume("juliet", id, 1)
	defer bad.close()
	bad.expectError("undefined-condition")
	good := h.resume("juliet", id, 0)
	defer good.close()
	good.expect("<resumed")
	good.expectMessages("m1")
}

func TestHandledCountWraps(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	c := h.enter("juliet", "balcony")
	id := c.manage()
	s := h.find(c)
	s.mu.Lock()
	s.sm.acked, s.sm.handled, s.sm.confirmed = 1<<32-2, 1<<32-1, 1<<32-1
	s.mu.Unlock()
	for _, m := range []string{"m1", "m2", "m3"} {
		h.message("juliet@example.org", m, 0)
	}
	c.expectMessages("m1", "m2", "m3")
	c.send("<a xmlns='urn:xmpp:sm:3' h='4294967295'/><message id='x' to='romeo@example.org'/><r xmlns='urn:xmpp:sm:3'/>").expect("<a ", "h='0'")
	h.cut(c)
	c = h.resume("juliet", id, 0)
	defer c.close()
	c.expect("<resumed", "h='0'")
	c.expectMessages("m3")
}

// find is the session of a client.
func (h *house) find(c *client) (found *session) {
	h.t.Helper()
	// The client may know its address before the server has entered the session in its books.
	eventually(h.t, "a session of "+c.jid, func() bool {
		h.Server.mu.Lock()
		defer h.Server.mu.Unlock()
		for s := range h.sessions {
			if s.addr.String() == c.jid {
				found = s
			}
		}
		return found != nil
	})
	return found
}

func TestNobodyResumesTheSessionOfAnother(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	c := h.enter("juliet", "balcony")
	defer c.close()
	id := c.manage()
	thief := h.resume("romeo", id, 0)
	defer thief.close()
	if got := thief.expect("<failed", "<item-not-found"); strings.Contains(got, "h=") {
		t.Errorf("the answer says how far the session is: %s", got)
	}
	thief.bind("orchard") // allowed to go on
	c.ping()
}

func TestOfRacingResumptionsOneHoldsTheSession(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	c := h.enter("juliet", "balcony")
	id := c.manage()
	h.message("juliet@example.org", "m1", 0)
	c.expectMessages("m1")
	h.cut(c)
	const n = 6
	clients := make([]*client, n)
	for i := range clients {
		clients[i] = h.connect(DirectTLS).handshake()
		clients[i].header()
		clients[i].login("juliet")
	}
	var wg sync.WaitGroup
	for _, c := range clients {
		wg.Go(func() { c.askResume(id, 0) })
	}
	wg.Wait()
	alive := 0
	results := make(chan bool, n)
	for _, c := range clients {
		go func() {
			resumed, ended := 0, false
			for {
				got := c.read()
				switch {
				case strings.HasPrefix(got, "<resumed"):
					resumed++
				case got == "</end>", got == "EOF":
					ended = true
				case strings.Contains(got, "id='last'"):
					results <- resumed == 1
					return
				}
				if ended {
					results <- false
					return
				}
			}
		}()
	}
	eventually(t, "all have had their turn", func() bool { return h.Stats.Resumptions.Load() == n })
	h.message("juliet@example.org", "last", 0)
	for range n {
		if <-results {
			alive++
		}
	}
	if alive != 1 {
		t.Errorf("%d connections hold the session", alive)
	}
	if h.router.SessionCount() != 1 {
		t.Errorf("%d sessions", h.router.SessionCount())
	}
	for _, c := range clients {
		c.close()
	}
}

func TestAcknowledgementWaitsForTheWrite(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	first, second := storage.NewPending(), storage.NewPending()
	h.pending = func(e *router.Envelope) {
		switch e.Stanza.ID {
		case "a":
			e.Await(first)
		case "b":
			e.Await(second)
		}
	}
	c := h.enter("juliet", "balcony")
	defer c.close()
	id := c.manage()
	c.send("<message id='a' to='romeo@example.org'/><r xmlns='urn:xmpp:sm:3'/><message id='b' to='romeo@example.org'/><message id='c' to='romeo@example.org'/><r xmlns='urn:xmpp:sm:3'/>")
	c.ping() // handled, and not acknowledged: the answer is the first that comes
	second.Finish(nil)
	h.message("juliet@example.org", "still", 0)
	c.expectMessages("still")
	first.Finish(nil)
	c.expect("<a ", "h='1'")
	c.expect("<a ", "h='3'")
	c.send("<r xmlns='urn:xmpp:sm:3'/>").expect("<a ", "h='4'")
	h.cut(c)
	c = h.resume("juliet", id, 2)
	defer c.close()
	c.expect("<resumed", "h='4'")
}

func TestResumptionWaitsForTheWrite(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	p := storage.NewPending()
	h.pending = func(e *router.Envelope) { e.Await(p) }
	c := h.enter("juliet", "balcony")
	id := c.manage()
	c.send("<message id='a' to='romeo@example.org'/>").ping()
	h.cut(c)
	c = h.resume("juliet", id, 1)
	defer c.close()
	p.Finish(nil)
	c.expect("<resumed", "h='2'")
}

func TestFailedWriteIsNeverAcknowledged(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	p := storage.NewPending()
	h.pending = func(e *router.Envelope) {
		if e.Stanza.ID == "b" {
			e.Await(p)
		}
	}
	c := h.enter("juliet", "balcony")
	id := c.manage()
	c.send("<message id='a' to='romeo@example.org'/><message id='b' to='romeo@example.org'/><message id='c' to='romeo@example.org'/><r xmlns='urn:xmpp:sm:3'/>").ping()
	p.Finish(errors.New("disk full"))
	c.expect("<a ", "h='1'") // what is safe, so that the client knows what to send again
	c.expectError("internal-server-error")
	c.close()
	c = h.resume("juliet", id, 1)
	defer c.close()
	c.expect("<failed", "h='1'", "<item-not-found")
}

func TestClosedStreamHasNoWindow(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	c := h.enter("juliet", "balcony")
	defer c.close()
	id := c.manage()
	h.message("juliet@example.org", "m1", 0)
	c.expectMessages("m1")
	c.send("</stream:stream>").expect("</end>")
	eventually(t, "the message is stored", func() bool { return slices.Equal(h.list(&h.stored), []string{"m1"}) })
	d := h.resume("juliet", id, 1)
	defer d.close()
	d.expect("<failed", "<item-not-found")
}

func TestStreamManagementHasItsOrder(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	c := h.connect(DirectTLS).handshake()
	defer c.close()
	c.header()
	c.send("<enable xmlns='urn:xmpp:sm:3'/>").expect("<failed", "<unexpected-request")
	c.login("juliet")
	c.send("<enable xmlns='urn:xmpp:sm:3'/>").expect("<failed", "<unexpected-request")
	c.bind("balcony")
	c.send("<r xmlns='urn:xmpp:sm:3'/>").expect("<failed", "<unexpected-request")
	c.send("<resume xmlns='urn:xmpp:sm:3' previd='x' h='0'/>").expect("<failed", "<unexpected-request")
	c.send("<enable xmlns='urn:xmpp:sm:3'/>")
	if got := c.expect("<enabled"); strings.Contains(got, "id=") || strings.Contains(got, "resume=") {
		t.Errorf("got %s", got)
	}
	c.send("<enable xmlns='urn:xmpp:sm:3'/>").expectError("policy-violation")
}

func TestSessionThatAcknowledgesNothingIsGivenUp(t *testing.T) {
	h := open(t, func(o *Options) { o.Limits.UnackedStanzas = 10 })
	defer h.close()
	c := h.enter("juliet", "balcony")
	id := c.manage()
	h.cut(c)
	var want []string
	for i := range 11 {
		want = append(want, fmt.Sprint("m", i))
		h.message("juliet@example.org", want[i], 0)
	}
	eventually(t, "all is stored", func() bool { return slices.Equal(h.list(&h.stored), want) })
	c = h.resume("juliet", id, 0)
	defer c.close()
	c.expect("<failed", "<item-not-found")
	if h.Stats.Overflows.Load() != 1 {
		t.Error("not counted")
	}
}

// Otherwise what is brought from storage would end the session by its number, where the limit is low.
func TestWhoBringsMoreWaitsWhileTooManyStanzasAreUnacknowledged(t *testing.T) {
	h := open(t, func(o *Options) { o.Limits.UnackedStanzas = 10 })
	defer h.close()
	c := h.enter("juliet", "balcony")
	defer c.close()
	c.manage()
	for i := range 11 {
		h.message("juliet@example.org", fmt.Sprint("m", i), 0)
	}
	s := h.router.Session(jid.MustParse("juliet@example.org/balcony"))
	if s.TakesMore() {
		t.Error("a session with 11 stanzas of 10 takes more")
	}
	for range 11 {
		c.expect("<message")
	}
	c.send("<a xmlns='urn:xmpp:sm:3' h='11'/>")
	if err := s.WaitBelow(t.Context(), 1<<20); err != nil || !s.TakesMore() {
		t.Errorf("it has acknowledged all of them: %v", err)
	}
}

func TestShutdownTellsWhatIsSafeAndGivesBackTheRest(t *testing.T) {
	h := open(t, nil)
	p := storage.NewPending()
	h.pending = func(e *router.Envelope) { e.Await(p) }
	c := h.enter("juliet", "balcony")
	defer c.close()
	c.manage()
	c.send("<message id='a' to='romeo@example.org'/>").ping()
	h.message("juliet@example.org", "m1", 0)
	c.expectMessages("m1")
	away := h.enter("juliet", "away")
	away.manage()
	h.cut(away)
	h.router.Route(&router.Envelope{Stanza: &xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeChat, ID: "m2",
		From: jid.MustParse("romeo@example.org"), To: jid.MustParse("juliet@example.org/away")}})
	negotiating := h.connect(DirectTLS).handshake()
	defer negotiating.close()
	negotiating.header()
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.close()
	}()
	negotiating.expectError("system-shutdown")
	p.Finish(nil)
	c.expect("<a ", "h='2'")
	c.expectError("system-shutdown")
	<-done
	got := h.list(&h.stored)
	slices.Sort(got)
	if !slices.Equal(got, []string{"a", "m1", "m2"}) { // romeo was never there
		t.Errorf("stored: %v", got)
	}
}

func TestClientMayWantAShorterWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, withoutTLS)
		defer h.close()
		c := h.enterPlain("juliet", "balcony")
		c.send("<enable xmlns='urn:xmpp:sm:3' resume='1' max='60'/>").expect("<enabled", "max='60'")
		c.close()
		synctest.Wait()
		time.Sleep(59 * time.Second)
		if h.router.SessionCount() != 1 {
			t.Error("the session has ended early")
		}
		time.Sleep(4 * time.Second)
		synctest.Wait()
		if h.router.SessionCount() != 0 {
			t.Error("the session is still there")
		}
	})
}

func TestResumptionCanBeTurnedOff(t *testing.T) {
	h := open(t, func(o *Options) { o.C2S.ResumeWindow = 0 })
	defer h.close()
	c := h.enter("juliet", "balcony")
	c.send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
	if got := c.expect("<enabled"); strings.Contains(got, "resume") {
		t.Errorf("got %s", got)
	}
	h.message("juliet@example.org", "m1", 0)
	c.expectMessages("m1")
	c.close()
	eventually(t, "the message is stored", func() bool { return slices.Equal(h.list(&h.stored), []string{"m1"}) })
	d := h.resume("juliet", "x", 0)
	defer d.close()
	d.expect("<failed", "<feature-not-implemented")
}

func TestClientThatAsksAndDoesNotReadIsGivenUp(t *testing.T) {
	h := open(t, func(o *Options) { o.Limits.QueueBytes, o.Limits.WriteStall = 64<<10, time.Second })
	defer h.close()
	c := h.enter("juliet", "balcony")
	defer c.close()
	c.send("<enable xmlns='urn:xmpp:sm:3'/>").expect("<enabled")
	asks := strings.Repeat("<r xmlns='urn:xmpp:sm:3'/>", 1000)
	eventually(t, "the session is given up", func() bool {
		c.try(asks)
		return h.router.SessionCount() == 0
	})
	if h.Stats.Overflows.Load() != 1 {
		t.Error("not counted")
	}
}

func TestAnswersLeaveNothingBehind(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	c := h.enter("juliet", "balcony")
	defer c.close()
	c.manage()
	h.message("juliet@example.org", "m1", 0) // never acknowledged
	c.expectMessages("m1")
	for range 100 {
		c.send("<r xmlns='urn:xmpp:sm:3'/>").expect("<a ")
	}
	s := h.find(c)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.flight) != 1 {
		t.Errorf("%d chunks wait for an acknowledgement", len(s.flight))
	}
}

// A stored backlog once stood still for ever: the client acknowledged a chunk before its writer had come back, the
// request that this brought was answered with the same count, and what was sent behind it went without one.
func TestAcknowledgementThatOvertakesTheWriterIsFollowedByARequestInTime(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	c := h.enter("juliet", "balcony")
	defer c.close()
	c.manage()
	var s *session
	h.Server.mu.Lock()
	for s = range h.Server.sessions {
	}
	h.Server.mu.Unlock()
	writing := func(busy bool) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, f := range s.flight {
			f.busy = busy
		}
	}
	h.message("juliet@example.org", "m1", 0)
	c.expectMessages("m1")
	c.expect("<r ")
	writing(true)
	c.send("<a xmlns='urn:xmpp:sm:3' h='1'/><r xmlns='urn:xmpp:sm:3'/>").expect("<a ", "h='0'")
	writing(false)
	h.message("juliet@example.org", "m2", 0)
	c.expectMessages("m2")
	c.expect("<r ")
}
