package main

import (
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"jackdaw/testsuite/harness"
)

const (
	smEnable  = "<enable xmlns='urn:xmpp:sm:3'/>"
	smRequest = "<r xmlns='urn:xmpp:sm:3'/>"
)

func smAnswer(h int) string { return "<a xmlns='urn:xmpp:sm:3' h='" + strconv.Itoa(h) + "'/>" }

// A client is a logged-in user of a server under test. The harness logs it in; what comes after is as
// cheap as can be.
type client struct {
	net.Conn
	jid string
	sm  bool
}

// connect logs user1 to userN in, with presence and, for those with sm, stream management (XEP-0198).
func connect(s *server, users int, sm bool) ([]*client, error) {
	clients := make([]*client, users)
	errs := make([]error, users)
	var all sync.WaitGroup
	slots := make(chan struct{}, 8)
	for i := range users {
		all.Go(func() {
			slots <- struct{}{}
			clients[i], errs[i] = login(s, user(i), sm)
			<-slots
		})
	}
	all.Wait()
	for i, err := range errs {
		if err != nil {
			hangUp(clients)
			return nil, fmt.Errorf("log %s in at %s: %w", user(i), s.domain, err)
		}
	}
	return clients, nil
}

func user(i int) string { return "user" + strconv.Itoa(i+1) }

func login(s *server, user string, sm bool) (*client, error) {
	c, err := harness.ConnectTo(s.c2sTLS, s.domain, user, "load")
	if err != nil {
		return nil, err
	}
	// The answer tells that all before it, the presence echoed too, has been read: the harness's reader is
	// left here, and may hold nothing that would be missed.
	if _, err := c.Ask("last", "<presence/><iq type='get' id='last'><query xmlns='jabber:iq:roster'/></iq>"); err != nil {
		return nil, err
	}
	if sm {
		if err := c.Send(smEnable); err != nil {
			return nil, err
		}
		el, err := c.Next()
		if err != nil {
			return nil, err
		}
		if !is([]byte(el), "<enabled") {
			return nil, fmt.Errorf("stream management is answered with %s", el)
		}
	}
	if err := c.Conn.SetDeadline(time.Time{}); err != nil {
		return nil, err
	}
	return &client{Conn: c.Conn, jid: user + "@" + s.domain, sm: sm}, nil
}

func hangUp(clients []*client) {
	for _, c := range clients {
		if c != nil {
			c.Close()
		}
	}
}

// read takes what comes to the client until it hangs up. Acknowledgements of what it has sent are those of the lane,
// which is nil for a client that only receives.
func (c *client) read(t *traffic, l *lane) {
	in := &inlet{framer: newFramer(c), t: t}
	in.other = func(item []byte) error {
		switch {
		case is(item, "<a "):
			h, err := strconv.Atoi(harness.Attr(string(item), "h"))
			if err != nil || l == nil {
				return fmt.Errorf("unexpected %s", item)
			}
			l.acked.Store(int64(h)) // nothing but messages is sent once stream management is on
			l.signal()
		case is(item, "<r "):
			_, err := c.Write([]byte(smAnswer(in.stanzas)))
			return err
		case !isStanza(item):
			return fmt.Errorf("the stream brings %.300s", item)
		}
		return nil
	}
	err := in.run()
	if !t.stopped() {
		t.fail("%s: %v", c.jid, err)
	}
}

// write sends the messages of lane i until the run stops. All that the window allows goes in one write.
func (c *client) write(t *traffic, i int) {
	l := t.lanes[i]
	var b []byte
	for !t.stopped() {
		n := t.free(l)
		if n <= 0 {
			select {
			case <-l.wake:
			case <-t.stop:
			}
			continue
		}
		b = t.write(b[:0], i, n)
		if c.sm {
			b = append(b, smRequest...)
		}
		if _, err := c.Write(b); err != nil {
			t.fail("%s: %v", c.jid, err)
			return
		}
	}
}
