// Package kill ends the real binary with SIGKILL under load, again and again, and then asks every
// recipient what arrived.
//
// Senders behave as the contract asks: what was not acknowledged is sent again, under the same Idempotency-Key or
// origin-id. So in the end every message must be there once and in order for recipients who were away all the time. A
// recipient who was online can see a message a second time only after a kill between its delivery and one of the two
// acknowledgements; such a repetition by the server carries the stanza-id of the first (docs/ARCHITECTURE.md).
package kill

import (
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"jackdaw/testsuite/harness"
)

func TestMain(m *testing.M) {
	code := m.Run()
	harness.Cleanup()
	os.Exit(code)
}

// rounds is how often to kill; JACKDAW_KILLS asks for more.
func rounds(n int) int {
	if s := os.Getenv("JACKDAW_KILLS"); s != "" {
		if k, err := strconv.Atoi(s); err == nil && k > 0 {
			return k
		}
	}
	return n
}

// enough is how many messages are acknowledged between two kills at least.
const enough = 10

func TestNothingAcknowledgedIsLost(t *testing.T) {
	for _, c := range []struct {
		engine harness.Engine
		kills  int
	}{{harness.Embedded, 50}, {harness.Redis, 15}} {
		t.Run(string(c.engine), func(t *testing.T) {
			problems, sent := run(t, harness.Options{Place: harness.Place{Engine: c.engine}}, rounds(c.kills))
			for i, p := range problems {
				if i == 20 {
					t.Errorf("and %d more", len(problems)-i)
					break
				}
				t.Error(p)
			}
			if sent < enough*c.kills {
				t.Errorf("only %d messages were acknowledged: too few to prove anything", sent)
			}
		})
	}
}

// The negative control: a server that acknowledges before its commit must be caught.
func TestAServerThatAcknowledgesEarlyIsCaught(t *testing.T) {
	problems, _ := run(t, harness.Options{Tags: "ackearly"}, 15)
	for _, p := range problems {
		if strings.Contains(p, "lost") {
			return
		}
	}
	t.Errorf("15 kills of a server that acknowledges too early lost nothing; other problems: %q", problems)
}

const (
	httpSenders = 2
	onceSenders = 2 // by HTTP without an Idempotency-Key: what is not acknowledged is not sent again
	xmppSenders = 2
	away        = 3 // recipients who log in at the end only
	online      = 3 // the last of them without stream management
	recipients  = away + online
)

// A sender sends message n to recipient n % recipients, where its place is n / recipients.
type sender struct {
	name  string
	acked int // messages below are acknowledged; one sender sends in order
	next  int // of the current round
	// once is set for a sender that sends nothing twice: what was acknowledged, message by message.
	once     map[int]bool
	progress chan<- struct{} // of the current round: something was acknowledged
}

// acknowledged is called for each acknowledgement.
func (s *sender) acknowledged() {
	select {
	case s.progress <- struct{}{}:
	default: // enough of them
	}
}

// promised says whether message n was acknowledged.
func (s *sender) promised(n int) bool {
	if s.once != nil {
		return s.once[n]
	}
	return n < s.acked
}

// sent is a bound on the messages.
func (s *sender) sent() int {
	if s.once != nil {
		return s.next
	}
	return s.acked
}

func (s *sender) to(n int) string { return fmt.Sprintf("r%d@localhost", n%recipients) }
func (s *sender) body(n int) string {
	return fmt.Sprintf("%s|%d", s.name, n)
}

// arrival is a message that a recipient saw.
type arrival struct {
	n        int
	id       string // stanza-id
	round    int
	wasAcked int // what its sender knew as acknowledged at the end of that round
}

type recipient struct {
	mu  sync.Mutex // guards got
	got map[string][]arrival
}

func run(t *testing.T, o harness.Options, kills int) (problems []string, acked int) {
	o.Config += "modules:\n  offline: {max_messages: 1000000, max_bytes: 1000000000}\n"
	for i := range recipients {
		o.Users = append(o.Users, fmt.Sprintf("r%d", i))
	}
	var senders []*sender
	for i := range httpSenders {
		senders = append(senders, &sender{name: fmt.Sprintf("h%d", i)})
	}
	for i := range onceSenders {
		senders = append(senders, &sender{name: fmt.Sprintf("o%d", i), once: map[int]bool{}})
	}
	for i := range xmppSenders {
		senders = append(senders, &sender{name: fmt.Sprintf("x%d", i)})
	}
	for _, s := range senders {
		o.Users = append(o.Users, s.name)
	}
	srv := harness.Start(t, o)
	all := make([]*recipient, recipients)
	for i := range all {
		all[i] = &recipient{got: map[string][]arrival{}}
	}
	for round := range kills + 1 {
		last := round == kills
		if round > 0 {
			srv.Launch()
		}
		var stop atomic.Bool
		var wg, watch sync.WaitGroup
		progress := make(chan struct{}, enough)
		for i := away; i < recipients && !last; i++ {
			watch.Go(func() { all[i].watch(srv.C2STLS, fmt.Sprintf("r%d", i), round, i < recipients-1) })
		}
		for _, s := range senders {
			s.progress = progress
			wg.Go(func() {
				switch s.name[0] {
				case 'h':
					s.post(srv.HTTP, &stop)
				case 'o':
					s.postOnce(srv.HTTP, &stop)
				default:
					s.stream(srv.C2STLS, &stop)
				}
			})
		}
		over := make(chan struct{})
		go func() {
			defer close(over)
			at := time.After(time.Duration(50+rand.IntN(300)) * time.Millisecond)
			// A server that was killed before it had done anything proves nothing; on a busy machine that takes longer.
			patience := time.After(harness.Timeout)
			await := func(n int) {
				for ; n > 0; n-- {
					select {
					case <-progress:
					case <-patience:
						return
					}
				}
			}
			if !last {
				await(enough)
			}
			<-at
			if !last && round%2 == 0 { // just after something was acknowledged
				await(len(progress) + 1)
			}
			if !last { // in the last round the senders stop when all is acknowledged
				srv.Kill()
			}
			stop.Store(true)
		}()
		<-over
		wg.Wait()
		if last {
			break
		}
		watch.Wait()
		for _, r := range all {
			r.close(round, senders)
		}
	}
	for i, r := range all {
		if err := r.collect(srv.C2STLS, fmt.Sprintf("r%d", i), kills); err != nil {
			t.Fatalf("collect for r%d: %v", i, err)
		}
	}
	for i, r := range all {
		for _, s := range senders {
			problems = append(problems, judge(fmt.Sprintf("r%d", i), i, s, r.got[s.name], i >= away)...)
		}
	}
	for _, s := range senders {
		acked += max(s.acked, len(s.once))
	}
	t.Logf("%d kills, %d messages acknowledged", kills, acked)
	return problems, acked
}

// judge says what is wrong with what one recipient got from one sender.
func judge(who string, index int, s *sender, got []arrival, wasOnline bool) (problems []string) {
	seen := map[int]arrival{}
	highest := -1
	for _, a := range got {
		first, again := seen[a.n]
		switch {
		case !again:
			if a.n < highest {
				problems = append(problems, fmt.Sprintf("reordered: %s got %s %d after %d", who, s.name, a.n, highest))
			}
			highest = max(highest, a.n)
			seen[a.n] = a
		case !wasOnline:
			problems = append(problems, fmt.Sprintf("doubled: %s got %s %d twice, ids %s and %s", who, s.name, a.n, first.id, a.id))
		case a.round == first.round:
			problems = append(problems, fmt.Sprintf("doubled: %s got %s %d twice without a kill between", who, s.name, a.n))
		case a.id != first.id && first.id != "" && a.n < first.wasAcked:
			problems = append(problems, fmt.Sprintf("doubled: %s got %s %d as %s and as %s, and it had been acknowledged", who, s.name, a.n, first.id, a.id))
		}
	}
	for n := index; n < s.sent(); n += recipients {
		if _, ok := seen[n]; !ok && s.promised(n) {
			problems = append(problems, fmt.Sprintf("lost: %s never got %s %d, which was acknowledged", who, s.name, n))
		}
	}
	return problems
}

// post sends by HTTP, one request after the other.
func (s *sender) post(addr string, stop *atomic.Bool) {
	client := &http.Client{Transport: &http.Transport{}, Timeout: harness.Timeout}
	defer client.CloseIdleConnections()
	auth := "Basic " + base64.StdEncoding.EncodeToString([]byte(s.name+"@localhost:"+harness.Password))
	for !stop.Load() {
		req, _ := http.NewRequest("POST", "http://"+addr+"/message", // the URL is good
			strings.NewReader("<message to='"+s.to(s.acked)+"' type='chat'><body>"+s.body(s.acked)+"</body></message>"))
		req.Header.Set("Authorization", auth)
		req.Header.Set("Idempotency-Key", s.body(s.acked))
		resp, err := client.Do(req)
		if err != nil {
			return // killed
		}
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return
		}
		s.acked++ // the status line is the acknowledgement
		s.acknowledged()
		if err != nil {
			return
		}
	}
}

// postOnce sends by HTTP, each message under a new number whatever became of the one before.
func (s *sender) postOnce(addr string, stop *atomic.Bool) {
	client := &http.Client{Transport: &http.Transport{}, Timeout: harness.Timeout}
	defer client.CloseIdleConnections()
	auth := "Basic " + base64.StdEncoding.EncodeToString([]byte(s.name+"@localhost:"+harness.Password))
	for !stop.Load() {
		n := s.next
		s.next++
		req, _ := http.NewRequest("POST", "http://"+addr+"/message", // the URL is good
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

// stream sends with stream management, up to 50 messages ahead of the acknowledgements.
func (s *sender) stream(addr string, stop *atomic.Bool) {
	c, err := harness.Connect(addr, s.name, "r")
	if err != nil {
		return
	}
	defer c.Conn.Close()
	if _, err := c.Enable(); err != nil {
		return
	}
	base := s.acked // h counts from here
	s.next = base
	for {
		for !stop.Load() && s.next < s.acked+50 {
			var b strings.Builder
			for range 10 {
				fmt.Fprintf(&b, "<message to='%s' type='chat'><origin-id xmlns='urn:xmpp:sid:0' id='%s'/><body>%s</body></message>",
					s.to(s.next), s.body(s.next), s.body(s.next))
				s.next++
			}
			if c.Send(b.String()+"<r xmlns='urn:xmpp:sm:3'/>") != nil {
				return
			}
		}
		if stop.Load() && s.acked >= s.next {
			return
		}
		el, err := c.Next()
		if err != nil {
			return
		}
		switch {
		case strings.HasPrefix(el, "<a "):
			h, err := strconv.Atoi(harness.Attr(el, "h"))
			if err != nil {
				return
			}
			s.acked = base + h
			s.acknowledged()
		case strings.HasPrefix(el, "<r "):
			c.Send("<a xmlns='urn:xmpp:sm:3' h='0'/>") // a failure shows at the next read
		}
	}
}

// watch is a recipient who is online during a round.
func (r *recipient) watch(addr, user string, round int, managed bool) {
	c, err := harness.Connect(addr, user, "r")
	if err != nil {
		return
	}
	defer c.Conn.Close()
	if managed {
		if _, err := c.Enable(); err != nil {
			return
		}
	}
	c.Send("<presence/>") // a failure shows at the next read
	r.read(c, round, 0)
}

// read takes messages until the stream ends, or until the message with that marker.
func (r *recipient) read(c *harness.Client, round int, marker int) error {
	handled := 0
	for {
		el, err := c.Next()
		if err != nil {
			return err
		}
		switch {
		case strings.HasPrefix(el, "<message"):
			handled++
			_, after, _ := strings.Cut(el, "<body>")
			body, _, _ := strings.Cut(after, "</body>")
			name, number, _ := strings.Cut(body, "|")
			n, err := strconv.Atoi(number)
			if err != nil {
				return fmt.Errorf("not a message of ours: %s", el)
			}
			if name == "marker" {
				if n == marker {
					return nil
				}
				continue
			}
			_, sid, _ := strings.Cut(el, "<stanza-id ")
			r.mu.Lock()
			r.got[name] = append(r.got[name], arrival{n: n, id: harness.Attr("<stanza-id "+sid, "id"), round: round})
			r.mu.Unlock()
		case strings.HasPrefix(el, "<r "):
			if c.Send(fmt.Sprintf("<a xmlns='urn:xmpp:sm:3' h='%d'/>", handled)) != nil {
				return nil
			}
		default: // presence, iq
			handled++
		}
	}
}

// close notes, for what arrived in the round, what its senders knew at its end.
func (r *recipient) close(round int, senders []*sender) {
	for _, s := range senders {
		for i := range r.got[s.name] {
			if a := &r.got[s.name][i]; a.round == round {
				a.wasAcked = s.acked
			}
		}
	}
}

// collect logs in at the end and takes all that is left, up to a message to itself.
func (r *recipient) collect(addr, user string, round int) error {
	c, err := harness.Connect(addr, user, "last")
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Enable(); err != nil {
		return err
	}
	if err := c.Send("<presence/>"); err != nil {
		return err
	}
	if err := c.Send("<message to='" + user + "@localhost' type='chat'><body>marker|1</body></message>"); err != nil {
		return err
	}
	return r.read(c, round, 1)
}
