package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"jackdaw/testsuite/harness"
)

// patience bounds every wait for the servers. It is beyond what a busy machine takes.
const patience = 2 * time.Minute

const ns = "urn:xmpp:sm:3"

// A stream is one session of a user with stream management (XEP-0198), over one connection after the other.
type stream struct {
	user, addr, domain string
	book               *ledger

	previd string
	done   chan struct{} // closed when the reader of the connection has ended

	mu      sync.Mutex // guards what follows, and the order of what is written
	client  *harness.Client
	got     uint32            // stanzas that came
	sent    uint32            // stanzas that were sent and acknowledged
	out     []stanza          // sent and not acknowledged, oldest first
	awaited map[string]string // ids of stanzas that somebody waits for, and what came
	arrived *sync.Cond        // something awaited has come, or the connection has ended
	ended   bool
}

// A stanza is kept until it is acknowledged. Its letter is "" if it is no message that was promised to arrive.
type stanza struct{ text, letter string }

// open logs in, binds a resource and becomes available.
func open(addr, domain, user, resource string, book *ledger) (*stream, error) {
	c, err := harness.ConnectTo(addr, domain, user, resource)
	if err != nil {
		return nil, err
	}
	s := &stream{user: user + "@" + domain, addr: addr, domain: domain, book: book, client: c, awaited: map[string]string{}}
	s.arrived = sync.NewCond(&s.mu)
	if s.previd, err = c.Enable(); err != nil {
		c.Conn.Close()
		return nil, err
	}
	s.read()
	return s, s.send("<presence/>", "")
}

// read starts the reader of the connection.
func (s *stream) read() {
	c, done := s.client, make(chan struct{})
	s.done, s.ended = done, false
	go func() {
		defer close(done)
		for {
			el, err := c.NextWithin(10 * patience) // a connection may be quiet for long
			if err == nil {
				err = s.take(c, el)
			}
			if err != nil {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.ended = true
				s.arrived.Broadcast()
				return
			}
		}
	}()
}

// take deals with one element.
func (s *stream) take(c *harness.Client, el string) error {
	name, _, _ := strings.Cut(strings.TrimLeft(el, "<"), " ")
	id := harness.Attr(el, "id")
	s.mu.Lock()
	defer s.mu.Unlock()
	switch name {
	case "r":
		return c.Send(fmt.Sprintf("<a xmlns='%s' h='%d'/>", ns, s.got))
	case "a":
		return s.acknowledged(harness.Attr(el, "h"))
	case "message", "presence", "iq":
		s.got++
	default:
		return nil
	}
	switch {
	case name == "message" && harness.Attr(el, "type") == "error":
		s.book.bounced(id)
	case name == "message" && harness.Attr(el, "type") != "groupchat" && strings.HasPrefix(id, "soak-"):
		if !s.book.came(id, s.user) {
			return fmt.Errorf("%s got a message that is not for it: %s", s.user, el)
		}
	}
	if _, ok := s.awaited[id]; ok && id != "" {
		s.awaited[id] = el
		s.arrived.Broadcast()
	}
	return nil
}

// acknowledged takes a count of the server's.
func (s *stream) acknowledged(text string) error {
	h, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return err
	}
	for ; len(s.out) > 0 && int32(uint32(h)-s.sent) > 0; s.out = s.out[1:] {
		if s.out[0].letter != "" {
			s.book.promise(s.out[0].letter)
		}
		s.sent++
	}
	return nil
}

// send writes a stanza and asks for its acknowledgement. An error says that the connection has ended.
func (s *stream) send(text, letter string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out = append(s.out, stanza{text, letter})
	return s.client.Send(text + "<r xmlns='" + ns + "'/>")
}

var errSilent = errors.New("the answer has not come")

// ask sends a stanza with an id and waits for what comes with the same: errSilent if nothing does though the connection
// lives.
func (s *stream) ask(id, text string) (string, error) {
	s.mu.Lock()
	s.awaited[id] = ""
	s.mu.Unlock()
	err := s.send(text, "")
	s.mu.Lock()
	defer s.mu.Unlock()
	defer delete(s.awaited, id)
	late := false
	timer := time.AfterFunc(patience, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		late = true
		s.arrived.Broadcast()
	})
	defer timer.Stop()
	for err == nil && s.awaited[id] == "" && !late && !s.ended {
		s.arrived.Wait()
	}
	switch {
	case err != nil:
		return "", err
	case s.awaited[id] != "":
		return s.awaited[id], nil
	case s.ended:
		return "", errors.New("the connection has ended")
	}
	return "", fmt.Errorf("%w: %s", errSilent, text)
}

// cut drops the connection as a network does.
func (s *stream) cut() {
	s.client.Conn.Close()
	<-s.done
}

// close ends the stream politely. What has not been acknowledged then is promised no more.
func (s *stream) close() {
	s.client.Send("</stream:stream>") // an error says that it is over already
	s.cut()
}

// resume goes on with the session over a new connection. It is false if the server has it no more.
func (s *stream) resume() (resumed bool, err error) {
	c, err := harness.LoginTo(s.addr, s.domain, strings.TrimSuffix(s.user, "@"+s.domain))
	if err != nil {
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	err = c.Send(fmt.Sprintf("<resume xmlns='%s' previd='%s' h='%d'/>", ns, s.previd, s.got))
	el := ""
	if err == nil {
		el, err = c.Next()
	}
	if err != nil || !strings.HasPrefix(el, "<resumed") {
		c.Conn.Close()
		return false, err
	}
	if err := s.acknowledged(harness.Attr(el, "h")); err != nil {
		return false, err
	}
	again := ""
	for _, x := range s.out {
		again += x.text
	}
	s.client = c
	s.read()
	return true, c.Send(again + "<r xmlns='" + ns + "'/>")
}
