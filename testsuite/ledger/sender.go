package ledger

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"jackdaw/testsuite/harness"
)

// A sender sends message n to recipient n % recipients.
type sender struct {
	book  *Book
	name  string
	acked atomic.Int64 // messages below are acknowledged; one sender sends in order
	next  int          // of the current round
	// bounced are the messages that came back: their sender knows that they are not kept.
	bounced map[int]bool
	// again are those that were sent on more than one connection. A first sending may have been refused while storage was
	// away, and the connection lost before its sender was told: the second comes behind what was taken in between.
	again map[int]bool
	most  int   // all that were ever sent are below
	ends  []int // up to where it was acknowledged when each round ended
	// once is set for a sender that sends nothing twice: what was acknowledged, message by message.
	once map[int]bool
}

// acknowledged is called for each acknowledgement.
func (s *sender) acknowledged() {
	select {
	case s.book.progress <- struct{}{}:
	default: // enough of them
	}
}

// promised says whether message n was acknowledged.
func (s *sender) promised(n int) bool {
	if s.once != nil {
		return s.once[n]
	}
	return n < s.done() && !s.bounced[n]
}

// roundOf is the round in which a message was acknowledged.
func (s *sender) roundOf(n int) int {
	round, _ := slices.BinarySearchFunc(s.ends, n, func(end, n int) int {
		if end > n {
			return 1
		}
		return -1
	})
	return round
}

// sent is a bound on the messages.
func (s *sender) sent() int {
	if s.once != nil {
		return s.next
	}
	return s.done()
}

func (s *sender) done() int { return int(s.acked.Load()) }

// rest slows the sender down, where that is asked for.
func (s *sender) rest() {
	if s.book.size.Pause > 0 {
		<-time.After(s.book.size.Pause)
	}
}

func (s *sender) to(n int) string { return fmt.Sprintf("r%d@localhost", n%len(s.book.recipients)) }
func (s *sender) body(n int) string {
	return fmt.Sprintf("%s|%d", s.name, n)
}

// post sends by HTTP, one request after the other.
func (s *sender) post(stop *atomic.Bool) {
	way, patience := s.book.at()
	client := &http.Client{Transport: &http.Transport{}, Timeout: patience}
	defer client.CloseIdleConnections()
	auth := "Basic " + base64.StdEncoding.EncodeToString([]byte(s.name+"@localhost:"+harness.Password))
	for ; !stop.Load(); s.rest() {
		n := s.done()
		req, _ := http.NewRequest("POST", "http://"+way.HTTP+"/message", // the URL is good
			strings.NewReader("<message to='"+s.to(n)+"' type='chat'><body>"+s.body(n)+"</body></message>"))
		req.Header.Set("Authorization", auth)
		req.Header.Set("Idempotency-Key", s.body(n))
		resp, err := client.Do(req)
		if err != nil {
			return // killed
		}
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return
		}
		s.acked.Add(1) // the status line is the acknowledgement
		s.acknowledged()
		if err != nil {
			return
		}
	}
}

// postOnce sends by HTTP, each message under a new number whatever became of the one before.
func (s *sender) postOnce(stop *atomic.Bool) {
	way, patience := s.book.at()
	client := &http.Client{Transport: &http.Transport{}, Timeout: patience}
	defer client.CloseIdleConnections()
	auth := "Basic " + base64.StdEncoding.EncodeToString([]byte(s.name+"@localhost:"+harness.Password))
	for ; !stop.Load(); s.rest() {
		n := s.next
		s.next++
		req, _ := http.NewRequest("POST", "http://"+way.HTTP+"/message", // the URL is good
			strings.NewReader("<message to='"+s.to(n)+"' type='chat'><body>"+s.body(n)+"</body></message>"))
		req.Header.Set("Authorization", auth)
		resp, err := client.Do(req)
		if err != nil {
			return // killed
		}
		resp.Body.Close()
		s.once[n] = resp.StatusCode == http.StatusOK
		if s.once[n] {
			s.acknowledged()
		}
	}
}

// stream sends with stream management, up to Ahead messages ahead of the acknowledgements.
func (s *sender) stream(stop *atomic.Bool) {
	way, patience := s.book.at()
	c, err := harness.Connect(way.C2STLS, s.name, "r")
	if err != nil {
		return
	}
	defer c.Conn.Close()
	if _, err := c.Enable(); err != nil {
		return
	}
	base := s.done() // h counts from here
	for n := base; n < s.most; n++ {
		s.again[n] = true
	}
	s.next = base
	defer func() { s.most = max(s.most, s.next) }()
	for {
		for !stop.Load() && s.next < s.done()+s.book.size.Ahead {
			s.rest()
			var b strings.Builder
			for range 10 {
				fmt.Fprintf(&b, "<message id='%[2]s' to='%[1]s' type='chat'><origin-id xmlns='urn:xmpp:sid:0' id='%[2]s'/>"+
					"<body>%[2]s</body></message>", s.to(s.next), s.body(s.next))
				s.next++
			}
			if c.Send(b.String()+"<r xmlns='urn:xmpp:sm:3'/>") != nil {
				return
			}
		}
		if stop.Load() && s.done() >= s.next {
			return
		}
		el, err := c.NextWithin(patience)
		if err != nil {
			return
		}
		switch {
		case strings.HasPrefix(el, "<a "):
			h, err := strconv.Atoi(harness.Attr(el, "h"))
			if err != nil {
				return
			}
			s.acked.Store(int64(base + h))
			s.acknowledged()
		case strings.HasPrefix(el, "<message") && harness.Attr(el, "type") == "error":
			_, number, _ := strings.Cut(harness.Attr(el, "id"), "|")
			n, err := strconv.Atoi(number)
			if err != nil {
				return
			}
			s.bounced[n] = true
		case strings.HasPrefix(el, "<r "):
			c.Send("<a xmlns='urn:xmpp:sm:3' h='0'/>") // a failure shows at the next read
		}
	}
}
