package main

import (
	"bytes"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"jackdaw/testsuite/harness"
	"jackdaw/testsuite/load/stage"
	"jackdaw/testsuite/load/supply"
)

// A session is one of a user, with stream management (XEP-0198), TLS and presence. The harness logs it in; what comes
// after is as cheap as can be, for there are thousands.
type session struct {
	net.Conn
	jid, user string
	got       uint32        // stanzas; of the reader
	sent      uint32        // messages; of the worker that owns the session
	acked     atomic.Uint32 // of these, by the server
	owner     *worker       // nil for a session that only receives
}

// A crowd is the sessions of one server.
type crowd struct {
	*stage.Stage
	server   *harness.Server
	sessions []*session
	closing  atomic.Bool
	readers  sync.WaitGroup
	mu       sync.Mutex // guards broken
	broken   error
	over     chan struct{} // closed with it
	workers  []*worker
}

func newCrowd(s *stage.Stage, server *harness.Server) *crowd {
	return &crowd{Stage: s, server: server, over: make(chan struct{})}
}

func (c *crowd) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken == nil && !c.closing.Load() {
		c.broken = err
		close(c.over)
	}
}

func (c *crowd) err() error { c.mu.Lock(); defer c.mu.Unlock(); return c.broken }

// grow logs users in until there are n sessions, of users that are spread over the accounts.
func (c *crowd) grow(n, accounts int) error {
	fresh := make([]*session, n-len(c.sessions))
	from := len(c.sessions)
	err := parallel(len(fresh), func(k int) (err error) {
		i := from + k
		// An address has 28,000 ports for connections to one other.
		fresh[k], err = login(c.server, fmt.Sprintf("127.0.9.%d", 1+i/20000), supply.User(i*max(1, accounts/n)%accounts), strconv.Itoa(i))
		return err
	})
	if err != nil {
		return err
	}
	for _, s := range fresh {
		c.sessions = append(c.sessions, s)
		c.readers.Go(func() { c.read(s) })
	}
	return nil
}

// parallel calls f for 0 to n-1, eight at a time, and returns the first error.
func parallel(n int, f func(i int) error) error {
	var next atomic.Int64
	var wg sync.WaitGroup
	faults := make(chan error, 8)
	for range min(8, n) {
		wg.Go(func() {
			for i := next.Add(1) - 1; int(i) < n; i = next.Add(1) - 1 {
				if err := f(int(i)); err != nil {
					faults <- err
					return
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-faults:
		return err
	default:
		return nil
	}
}

func login(server *harness.Server, from, user, resource string) (*session, error) {
	c, err := harness.ConnectFrom(from, server.C2STLS, user, resource)
	if err != nil {
		return nil, err
	}
	// The answers tell that all before them has been read: the harness's reader is left here, and may hold nothing.
	if _, err := c.Ask("up", "<presence/><iq type='get' id='up'><query xmlns='jabber:iq:roster'/></iq>"); err != nil {
		return nil, err
	}
	if _, err := c.Enable(); err != nil {
		return nil, err
	}
	return &session{Conn: c.Conn, jid: c.JID, user: user + "@" + server.Domain}, c.Conn.SetDeadline(time.Time{})
}

// read takes what comes until the connection ends.
func (c *crowd) read(s *session) {
	buf, n := make([]byte, 1024), 0
	for {
		if n == len(buf) {
			buf = append(buf, make([]byte, n)...)
		}
		k, err := s.Read(buf[n:])
		n += k
		begin := 0
		for end := itemEnd(buf[:n]); end > 0 && err == nil; end = itemEnd(buf[begin:n]) {
			err = c.take(s, buf[begin:begin+end])
			begin += end
		}
		n = copy(buf, buf[begin:n])
		if err != nil {
			c.fail(fmt.Errorf("%s: %w", s.jid, err))
			return
		}
	}
}

// itemEnd is the length of the element that b begins with, 0 if its end is not there. Servers write no '>' in an
// attribute, and no element within one of its own name.
func itemEnd(b []byte) int {
	first := bytes.IndexByte(b, '>')
	if first < 1 {
		return 0
	}
	if b[first-1] == '/' || b[1] == '/' {
		return first + 1
	}
	name := b[1 : 1+bytes.IndexAny(b[1:], " />\t\n")]
	end := append(append([]byte("</"), name...), '>')
	if i := bytes.Index(b[first:], end); i >= 0 {
		return first + i + len(end)
	}
	return 0
}

func (c *crowd) take(s *session, item []byte) error {
	switch name, _, _ := bytes.Cut(item[1:], []byte(" ")); string(name) {
	case "r":
		_, err := fmt.Fprintf(s, "<a xmlns='urn:xmpp:sm:3' h='%d'/>", s.got)
		return err
	case "a":
		h, err := strconv.ParseUint(harness.Attr(string(item), "h"), 10, 32)
		if err != nil {
			return err
		}
		s.acked.Store(uint32(h))
		if s.owner != nil {
			s.owner.acked <- h
		}
	case "message":
		s.got++
		text := string(item[:bytes.IndexByte(item, '>')+1])
		if harness.Attr(text, "type") == "error" {
			return fmt.Errorf("a message came back: %.300s", item)
		}
		number, seq, _ := strings.Cut(harness.Attr(text, "id"), "-")
		w, err := strconv.Atoi(number)
		if err != nil || w >= len(c.workers) {
			return fmt.Errorf("not a message of ours: %.300s", item)
		}
		n, err := strconv.Atoi(seq)
		if err != nil {
			return err
		}
		c.workers[w].came <- n
	case "presence", "iq":
		s.got++
	default:
		return fmt.Errorf("the server says %.300s", item)
	}
	return nil
}

// close ends all sessions.
func (c *crowd) close() {
	c.closing.Store(true)
	for _, s := range c.sessions {
		s.Close()
	}
	c.readers.Wait()
}
