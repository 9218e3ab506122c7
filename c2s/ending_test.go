package c2s

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/router"
	"jackdaw/wire"
	"jackdaw/xmpp/jid"
)

// detain makes the router keep whoever routes this message, and returns what tells that it has come, and what lets it
// go on.
func (h *house) detain(id string) (came <-chan struct{}, release func()) {
	in, out := make(chan struct{}), make(chan struct{})
	h.mu.Lock()
	h.pending = func(e *router.Envelope) {
		if e.Stanza.ID == id {
			close(in)
			<-out
		}
	}
	h.mu.Unlock()
	return in, func() { close(out) }
}

func numbered(from, to int) (xml string, ids []string) {
	var b strings.Builder
	for i := from; i < to; i++ {
		id := fmt.Sprintf("m%d", i)
		ids = append(ids, id)
		fmt.Fprintf(&b, "<message id='%s' to='romeo@example.org'><body>x</body></message>", id)
	}
	return b.String(), ids
}

// arrived waits until the kernel has n bytes for the server's end of a session, and its reader knows of none of them.
func (h *house) arrived(c *client, n int) {
	h.t.Helper()
	s := h.find(c)
	eventually(h.t, "the bytes are there", func() bool {
		_, unread := s.conn.Transport.Kernel()
		return unread >= n
	})
}

func TestWhatAClientHadSentIsHandledBeforeAnotherTakesItsAddress(t *testing.T) {
	for _, managed := range []bool{false, true} {
		t.Run(fmt.Sprintf("managed=%v", managed), func(t *testing.T) {
			h := open(t, nil)
			defer h.close()
			came, release := h.detain("first")
			old := h.enter("juliet", "balcony")
			defer old.close()
			if managed {
				old.manage()
			}
			old.send("<message id='first' to='romeo@example.org'/>")
			<-came
			xml, ids := numbered(0, 40)
			old.send(xml)
			h.arrived(old, len(xml)/2)
			next := h.enter("juliet", "balcony")
			defer next.close()
			release()
			if managed {
				old.expect("<a ", "h='41'")
			}
			old.expectError("conflict")
			if got := h.list(&h.routed); !slices.Equal(got, append([]string{"first"}, ids...)) {
				t.Errorf("routed before the conflict: %v", got)
			}
			next.ping()
		})
	}
}

func TestASessionEndsAfterItsReaderHasLeftTheRouter(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	came, release := h.detain("first")
	c := h.enter("juliet", "balcony")
	defer c.close()
	session := h.router.Sessions(jid.MustParse("juliet@example.org"))[0]
	c.send("<message id='first' to='romeo@example.org'/>")
	<-came
	xml, _ := numbered(0, 40)
	c.send(xml)
	h.arrived(c, len(xml)/2)
	session.End("not-authorized", "")
	<-time.After(50 * time.Millisecond)
	if h.over() != 0 {
		t.Fatal("the session has ended while the router has a stanza of it")
	}
	release()
	c.expectError("not-authorized")
	eventually(t, "the session has ended", func() bool { return h.over() == 1 })
	if got := h.list(&h.routed); !slices.Equal(got, []string{"first"}) { // whoever is put out is heard no more
		t.Errorf("routed: %v", got)
	}
}

func TestAQuietServerHandlesAndAcknowledgesNothingMore(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	c := h.enter("juliet", "balcony")
	defer c.close()
	c.manage()
	idle := h.enter("romeo", "orchard")
	defer idle.close()
	came, release := h.detain("m0")
	xml, ids := numbered(0, 5)
	c.send(xml)
	<-came
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	quiet := make(chan struct{})
	go func() {
		defer close(quiet)
		h.Quiesce(ctx)
	}()
	release()
	<-quiet
	if ctx.Err() != nil {
		t.Fatal("it never was quiet")
	}
	handled := h.list(&h.routed)
	c.send("<message id='late' to='romeo@example.org'/>")
	h.message("juliet@example.org", "down", 0) // what others send still arrives
	c.expect("<message", "id='down'")
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.close()
	}()
	c.expect("<a ", fmt.Sprintf("h='%d'", len(handled)))
	c.expectError("system-shutdown")
	idle.expectError("system-shutdown")
	<-done
	if got := h.list(&h.routed); !slices.Equal(got, handled) || !slices.Equal(got, ids) {
		t.Errorf("routed when quiet: %v, in the end: %v", handled, got)
	}
}

func TestAClientWithinItsRateLimitDoesNotHoldUpItsEnd(t *testing.T) {
	h := open(t, func(o *Options) { o.Limits.StreamRate, o.Limits.StreamBurst = 1000, 1000 })
	defer h.close()
	c := h.enter("juliet", "balcony")
	defer c.close()
	xml, _ := numbered(0, 1000)
	c.send(xml) // a minute's worth
	eventually(t, "the first is routed", func() bool { return len(h.list(&h.routed)) > 0 })
	began := time.Now()
	h.router.Sessions(jid.MustParse("juliet@example.org"))[0].End("not-authorized", "")
	c.expectError("not-authorized")
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the end took %v", took)
	}
}

func TestAnAccountThatGoesBetweenLoginAndBindHasNoSession(t *testing.T) {
	juliet := jid.MustParse("juliet@example.org")
	for name, change := range map[string]func(*house) error{
		"disabled":         func(h *house) error { return h.accounts.SetDisabled(t.Context(), juliet, true) },
		"another password": func(h *house) error { return h.accounts.SetPassword(t.Context(), juliet, "other") },
	} {
		t.Run(name, func(t *testing.T) {
			h := open(t, nil)
			defer h.close()
			c := h.connect(DirectTLS).handshake()
			defer c.close()
			c.header()
			c.login("juliet")
			if err := change(h); err != nil {
				t.Fatal(err)
			}
			c.send("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
			c.expect("<iq ", "<jid>")
			c.expectError("not-authorized")
			eventually(t, "the session has ended", func() bool { return h.over() == 1 })
		})
	}
}

func TestShutdownWaitsForNoHandshakeThatBeginsAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, nil)
		a, b := net.Pipe()
		defer b.Close()
		c := &conn{srv: h.Server}
		c.Init(a, wire.Bytes{}, c)
		if !h.streams.Enter(c) {
			t.Fatal("it is closed")
		}
		h.Stats.Connections.Add(1)
		h.streams.Close()
		began := time.Now()
		c.greet(DirectTLS)
		if took := time.Since(began); took > 0 {
			t.Errorf("a client that says nothing was waited for: %v", took)
		}
		h.close()
	})
}
