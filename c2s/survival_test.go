package c2s

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"jackdaw/config"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/wire"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// A counting client reads a resumed stream and counts what it has seen.
type counting struct {
	*client
	seen   int      // stanzas, modulo nothing
	got    []string // ids of messages
	handed int      // the server's last h
}

// take reads n stanzas, or fewer if the stream breaks off; it answers <r/> now and then.
func (c *counting) take(n int, rnd *rand.Rand) {
	for n > 0 {
		got := c.read()
		switch {
		case got == "EOF", got == "</end>":
			return
		case strings.HasPrefix(got, "<r "):
			if rnd.IntN(3) > 0 {
				c.try(fmt.Sprintf("<a xmlns='%s' h='%d'/>", xmpp.NSSM, c.seen))
			}
			continue
		case strings.HasPrefix(got, "<a "):
			c.handed = height32(c.t, got)
			continue
		}
		c.seen++
		n--
		if el, err := xmpp.ParseElement([]byte(got)); err == nil && el.Name.Local == "message" {
			c.got = append(c.got, el.Attr("id"))
		}
	}
}

func height32(t testing.TB, xml string) int {
	h, err := wire.Height([]byte(xml))
	if err != nil {
		t.Fatalf("%s: %v", xml, err)
	}
	return int(h)
}

// Messages flow both ways while the connection breaks again and again, at any byte, known to the server or not. Each
// arrives once, in order.
func TestMessagesSurviveBrokenConnectionsOnceAndInOrder(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { survive(t, rand.New(rand.NewPCG(seed, 1))) })
	}
}

func survive(t *testing.T, rnd *rand.Rand) {
	h := open(t, nil)
	defer h.close()
	first := h.enter("juliet", "balcony")
	id := first.manage()
	c := &counting{client: first}
	const down = 400
	posted := make(chan struct{})
	go func() {
		defer close(posted)
		tick := time.NewTicker(200 * time.Microsecond)
		defer tick.Stop()
		for i := range down {
			h.post("juliet@example.org/balcony", fmt.Sprintf("d%d", i), 20+i*i%3000, 0)
			if i%8 == 0 {
				<-tick.C
			}
		}
	}()
	up := 0 // messages that the server has confirmed to have
	for range 12 {
		// Up: some messages, the last one cut anywhere.
		var b strings.Builder
		for i := up; i < up+10; i++ {
			fmt.Fprintf(&b, "<message to='romeo@example.org' id='u%d'><body>%s</body></message>", i, strings.Repeat("y", rnd.IntN(200)))
			if rnd.IntN(4) == 0 {
				b.WriteString("<r xmlns='" + xmpp.NSSM + "'/>")
			}
		}
		c.take(min(rnd.IntN(60), down-len(c.got)), rnd)
		c.try(b.String()[:rnd.IntN(b.Len())])
		old := c.client
		if rnd.IntN(2) == 0 {
			old.close() // the server may or may not have noticed
		}
		next := h.resume("juliet", id, c.seen)
		got := next.expect("<resumed", "previd='"+id+"'")
		old.close()
		c.client = next
		up = height32(t, got)
	}
	<-posted
	c.take(down-len(c.got), rnd)
	c.try(fmt.Sprintf("<a xmlns='%s' h='%d'/></stream:stream>", xmpp.NSSM, c.seen))
	eventually(t, "the session has ended", func() bool { return h.over() == 1 })
	c.close()

	var want []string
	for i := range down {
		want = append(want, fmt.Sprintf("d%d", i))
	}
	if !slices.Equal(c.got, want) {
		t.Errorf("down came %v", c.got)
	}
	want = nil
	for i := range up {
		want = append(want, fmt.Sprintf("u%d", i))
	}
	if got := h.list(&h.routed); !slices.Equal(got, want) {
		t.Errorf("up came %v, and %d were confirmed", got, up)
	}
	if got := h.list(&h.stored); !slices.Equal(got, want) { // romeo is away
		t.Errorf("stored: %v", got)
	}
}

// Sessions come and go in every way there is while everyone writes to everyone.
func TestSessionsEndInEveryWayUnderTraffic(t *testing.T) {
	h := open(t, nil)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		var b router.Batch
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			for _, to := range []string{"juliet@example.org/a", "juliet@example.org/b", "juliet@example.org"} {
				h.router.Emit(&xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeChat, ID: "x", From: jid.MustParse("romeo@example.org"),
					To: jid.MustParse(to), Payload: []byte("<body>" + strings.Repeat("z", i%500) + "</body>")}, &b)
			}
			if i%3 == 0 {
				b.Flush()
			}
		}
	}()
	rnd := rand.New(rand.NewPCG(7, 7))
	for i := range 24 {
		c := h.enter("juliet", []string{"a", "b"}[i%2])
		if rnd.IntN(2) == 0 {
			c.send("<enable xmlns='" + xmpp.NSSM + "' resume='true'/>")
		}
		switch i % 6 {
		case 0:
			c.try("</stream:stream>")
		case 1:
			c.try("<message from='x@y'/>")
		case 2:
			if s := h.router.Session(jid.MustParse(c.jid)); s != nil {
				s.End("policy-violation", "")
			}
		case 3: // the next one with this resource replaces it
			defer c.close()
			continue
		}
		c.close()
	}
	close(stop)
	<-done
	h.close()
}

func TestResumptionTakesOverFromStuckConnection(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	stuck := h.narrow(true).handshake()
	defer stuck.close()
	stuck.header()
	id := stuck.login("juliet").bind("balcony").manage()
	var ids []string
	for i := range 100 {
		ids = append(ids, fmt.Sprint("m", i))
		h.post("juliet@example.org", ids[i], 30000, 0)
	}
	s := h.find(stuck)
	s.mu.Lock()
	if !s.conn.writing {
		t.Error("the connection took it all")
	}
	s.mu.Unlock()
	began := time.Now()
	c := h.resume("juliet", id, 0)
	defer c.close()
	c.expect("<resumed")
	c.expectMessages(ids...)
	if d := time.Since(began); d >= config.Default().Limits.WriteStall {
		t.Errorf("it took %s", d)
	}
	c.send("<a xmlns='" + xmpp.NSSM + "' h='100'/>").ping()
}

func TestShutdownIsCutShortByItsContext(t *testing.T) {
	h := open(t, nil)
	h.pending = func(e *router.Envelope) { e.Await(storage.NewPending()) } // never finishes
	c := h.enter("juliet", "balcony")
	defer c.close()
	c.manage()
	c.send("<message to='romeo@example.org' id='a'/>").ping()
	h.message("juliet@example.org", "m1", 0)
	c.expectMessages("m1")
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if err := h.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("shutdown: %v", err)
	}
	if got := h.list(&h.stored); !slices.Contains(got, "m1") {
		t.Errorf("stored: %v", got)
	}
	if h.router.SessionCount() != 0 {
		t.Error("sessions are left")
	}
}

// dripping writes a byte at a time.
type dripping struct{ net.Conn }

func (d dripping) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := d.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

func TestRecordsAndStanzasArriveInAnyPieces(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	a, b := tcpPair(t)
	h.accept(a, DirectTLS)
	c := (&client{t: t, conn: dripping{b}, c: b}).handshake()
	defer c.close()
	c.header()
	c.login("romeo").bind("orchard")
	var ids []string
	for i := range 20 {
		ids = append(ids, fmt.Sprint("m", i))
		c.send("<message to='juliet@example.org' id='" + ids[i] + "'><body>" + strings.Repeat("x", 100) + "</body></message>")
		c.send(" ")
	}
	c.ping()
	if got := h.list(&h.routed); !slices.Equal(got, append(ids, "sync")) {
		t.Errorf("routed: %v", got)
	}
}

func TestNewSessionReplacesDetachedOneAndNothingIsLost(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	old := h.enter("juliet", "balcony")
	id := old.manage()
	h.cut(old)
	h.message("juliet@example.org", "m1", 0)
	c := h.enter("juliet", "balcony")
	defer c.close()
	eventually(t, "the old session has ended", func() bool { return h.over() == 1 })
	if got := h.list(&h.stored); !slices.Equal(got, []string{"m1"}) {
		t.Errorf("stored: %v", got)
	}
	d := h.resume("juliet", id, 0)
	defer d.close()
	d.expect("<failed", "<item-not-found")
	c.ping()
	if h.router.SessionCount() != 1 {
		t.Errorf("%d sessions", h.router.SessionCount())
	}
}

// What the old connection is in the middle of counts: the client must not send it again.
func TestResumptionWaitsForTheOldReader(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	began, release := make(chan struct{}), make(chan struct{})
	h.pending = func(*router.Envelope) {
		close(began)
		<-release
	}
	old := h.enter("juliet", "balcony")
	defer old.close()
	id := old.manage()
	old.send("<message to='romeo@example.org' id='slow'/>")
	<-began
	c := h.resume("juliet", id, 0)
	defer c.close()
	eventually(t, "the session is taken from the old connection", h.router.Session(jid.MustParse(old.jid)).Detached)
	close(release)
	c.expect("<resumed", "h='1'")
	if got := h.list(&h.routed); !slices.Equal(got, []string{"slow"}) {
		t.Errorf("routed: %v", got)
	}
}
