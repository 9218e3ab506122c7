package main

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"jackdaw/testsuite/harness"
)

// A source is a stream that the tool has opened to a server under test, from farDomain.
type source struct {
	*framer
	net.Conn
	to string // domain
	sm bool   // stream management is on

	wake  chan struct{} // of write
	sent  atomic.Int64
	acked atomic.Int64
}

// errNotOffered says that the server does not do what the case is about.
var errNotOffered = errors.New("not offered")

// dial opens a stream by STARTTLS or direct TLS, proves farDomain by EXTERNAL where that is offered and else by
// dialback, and turns stream management on if it is told to. A server without it gives errNotOffered.
func (f *far) dial(to *server, directTLS, sm bool) (*source, error) {
	addr := to.S2S
	if directTLS {
		addr = to.S2STLS
	}
	conn, err := net.DialTimeout("tcp", addr, harness.Timeout)
	if err != nil {
		return nil, err
	}
	s := &source{framer: newFramer(conn), Conn: conn, to: to.domain, wake: make(chan struct{}, 1)}
	if err := s.negotiate(f.tls, directTLS, sm); err != nil {
		s.Conn.Close()
		return nil, fmt.Errorf("open a stream to %s: %w", to.domain, err)
	}
	return s, s.SetDeadline(time.Time{})
}

func (s *source) negotiate(config *tls.Config, directTLS, sm bool) error {
	if err := s.SetDeadline(time.Now().Add(harness.Timeout)); err != nil {
		return err
	}
	encrypt := func() error {
		config = config.Clone()
		config.ServerName = s.to
		if directTLS {
			config.NextProtos = []string{"xmpp-server"}
		}
		conn := tls.Client(s.Conn, config)
		s.Conn, s.framer = conn, newFramer(conn)
		return conn.Handshake()
	}
	if directTLS {
		if err := encrypt(); err != nil {
			return err
		}
	}
	features, err := s.open()
	if err != nil {
		return err
	}
	if !directTLS {
		if _, err := s.ask("<proceed", "<starttls xmlns='%s'/>", nsTLS); err != nil {
			return err
		}
		if err := encrypt(); err != nil {
			return err
		}
		if features, err = s.open(); err != nil {
			return err
		}
	}
	if strings.Contains(features, "EXTERNAL") {
		if _, err := s.ask("<success", "<auth xmlns='%s' mechanism='EXTERNAL'>%s</auth>", nsSASL,
			base64.StdEncoding.EncodeToString([]byte(farDomain))); err != nil {
			return err
		}
		if features, err = s.open(); err != nil {
			return err
		}
	} else {
		result, err := s.ask("<db:result", "<db:result from='%s' to='%s'>a key that far will vouch for</db:result>", farDomain, s.to)
		if err != nil {
			return err
		}
		if harness.Attr(result, "type") != "valid" {
			return fmt.Errorf("dialback: %s", result)
		}
	}
	if !sm {
		return nil
	}
	if !strings.Contains(features, "urn:xmpp:sm:3") {
		return errNotOffered
	}
	s.sm = true
	_, err = s.ask("<enabled", smEnable)
	return err
}

// open sends a stream header and returns the features.
func (s *source) open() (string, error) {
	if _, err := s.ask("<", "<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams'"+
		" xmlns:db='%s' version='1.0' from='%s' to='%s'>", nsDialback, farDomain, s.to); err != nil {
		return "", err
	}
	item, err := s.next()
	return string(item), err
}

// ask sends a request and returns the answer, which must begin in the way given.
func (s *source) ask(want, format string, args ...any) (string, error) {
	if _, err := fmt.Fprintf(s.Conn, format, args...); err != nil {
		return "", err
	}
	item, err := s.next()
	if err == nil && !is(item, want) {
		err = fmt.Errorf("instead of %s: %.300s", want, item)
	}
	return string(item), err
}

// read takes acknowledgements until the stream ends.
func (s *source) read(t *traffic) {
	in := &inlet{framer: s.framer, t: t}
	in.other = func(item []byte) error {
		switch {
		case is(item, "<a "):
			h, err := strconv.Atoi(harness.Attr(string(item), "h"))
			if err != nil {
				return fmt.Errorf("unexpected %s", item)
			}
			s.acked.Store(int64(h))
			s.signal()
		case is(item, "<r "):
			_, err := s.Conn.Write([]byte(smAnswer(in.stanzas)))
			return err
		case !isStanza(item):
			return fmt.Errorf("the stream brings %.300s", item)
		}
		return nil
	}
	err := in.run()
	if !t.stopped() {
		t.fail("the source's stream: %v", err)
	}
}

func (s *source) signal() {
	select {
	case s.wake <- struct{}{}:
	default: // it is awake
	}
}

// write sends the messages of all lanes, whose wake must be the source's, until the run stops. What the windows
// allow goes out in writes of up to 32 KiB.
func (s *source) write(t *traffic) {
	var b []byte
	for !t.stopped() {
		b = b[:0]
		room := t.window * int64(len(t.lanes)) // unacknowledged ones count in all lanes together
		if s.sm {
			room -= s.sent.Load() - s.acked.Load()
		}
		for i, l := range t.lanes {
			n := min(t.free(l), int(room))
			if n <= 0 {
				continue
			}
			b = t.write(b, i, n)
			s.sent.Add(int64(n))
			room -= int64(n)
			if len(b) > 32<<10 {
				break
			}
		}
		if len(b) == 0 {
			select {
			case <-s.wake:
			case <-t.stop:
			}
			continue
		}
		if s.sm {
			b = append(b, smRequest...)
		}
		if _, err := s.Conn.Write(b); err != nil {
			t.fail("the source's stream: %v", err)
			return
		}
	}
}
