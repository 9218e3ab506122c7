// Package ledger writes down what a server acknowledges to senders and what recipients see of it, while a test does to
// the server what it likes, and says at the end what was lost, doubled or reordered.
//
// Senders behave as the contract asks: what was not acknowledged is sent again, under the same Idempotency-Key or
// origin-id. So in the end every message must be there once and in order for recipients who were away all the time, and
// for those who resume. Another recipient who was online can see a message a second time only after a kill between its
// delivery and one of the two acknowledgements; such a repetition by the server carries the stanza-id of the first
// (docs/ARCHITECTURE.md).
package ledger

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"jackdaw/testsuite/harness"
)

// Size is how many take part, by how they do.
type Size struct {
	HTTP int // senders by HTTP
	Once int // by HTTP without an Idempotency-Key: what is not acknowledged is not sent again
	XMPP int // with stream management, Ahead messages ahead of the acknowledgements

	Away      int // recipients who log in at the end only
	Managed   int // who are there, with stream management
	Resuming  int // who also resume when their connection is lost
	Unmanaged int // who are there without stream management

	Ahead int // 50 if 0
}

func (s Size) recipients() int { return s.Away + s.Managed + s.Resuming + s.Unmanaged }

// Book is a run. Its methods are for the trouble, while there is load.
type Book struct {
	*harness.Server
	T testing.TB

	size       Size
	senders    []*sender
	recipients []*recipient
	progress   chan struct{} // something was acknowledged
	resumed    atomic.Int64
	lost       atomic.Int64
}

// Enough is how many messages Run has acknowledged before trouble comes, at least: a server that has done nothing
// proves nothing.
const Enough = 10

// Run starts a server and has it work for a number of rounds. In each comes trouble, after which a server that was
// killed is launched; then the senders stop. In a last round without trouble all that was sent is acknowledged. Run
// returns what is wrong with what the recipients have seen in the end, and how many messages were acknowledged.
func Run(t testing.TB, o harness.Options, size Size, rounds int, trouble func(b *Book, round int)) (problems []string,
	acked int) {
	t.Helper()
	if size.Ahead == 0 {
		size.Ahead = 50
	}
	o.Config += "modules:\n  offline: {max_messages: 1000000, max_bytes: 1000000000}\n  strangers: {recipients: 0}\n"
	b := &Book{T: t, size: size}
	for i := range size.recipients() {
		r := &recipient{book: b, name: fmt.Sprintf("r%d", i), got: map[string][]arrival{}}
		r.managed = i < size.recipients()-size.Unmanaged
		online := i - size.Away
		r.away, r.resumes = online < 0, online >= size.Managed && r.managed
		b.recipients = append(b.recipients, r)
		o.Users = append(o.Users, r.name)
	}
	for kind, n := range []int{size.HTTP, size.Once, size.XMPP} {
		for i := range n {
			s := &sender{book: b, name: fmt.Sprintf("%c%d", "hox"[kind], i), bounced: map[int]bool{}}
			if s.name[0] == 'o' {
				s.once = map[int]bool{}
			}
			b.senders = append(b.senders, s)
			o.Users = append(o.Users, s.name)
		}
	}
	b.Server = harness.Start(t, o)
	for round := range rounds + 1 {
		if !b.Alive() {
			b.Launch()
		}
		b.round(round, round == rounds, trouble)
		for _, r := range b.recipients {
			r.close(round)
		}
	}
	for _, r := range b.recipients {
		if err := r.collect(rounds); err != nil {
			t.Fatalf("collect for %s: %v", r.name, err)
		}
	}
	for i, r := range b.recipients {
		for _, s := range b.senders {
			problems = append(problems, judge(r.name, i, s, r.got[s.name], !r.away && !r.resumes)...)
		}
	}
	bounced := 0
	for _, s := range b.senders {
		acked += max(s.acked, len(s.once))
		bounced += len(s.bounced)
	}
	t.Logf("%d rounds, %d messages acknowledged, of which %d came back, %d connections lost, %d resumed", rounds, acked,
		bounced, b.lost.Load(), b.resumed.Load())
	return problems, acked
}

// Report fails a test for the problems that Run has found, the first of them at least.
func Report(t testing.TB, problems []string) {
	t.Helper()
	for i, p := range problems {
		if i == 20 {
			t.Errorf("and %d more", len(problems)-i)
			return
		}
		t.Error(p)
	}
}

func (b *Book) round(round int, last bool, trouble func(b *Book, round int)) {
	var stop atomic.Bool
	var senders, watchers sync.WaitGroup
	b.progress = make(chan struct{}, Enough)
	there := make(chan struct{}, len(b.recipients))
	doors := make(chan struct{}, 50) // for so many at a time, until all are in
	expected := 0
	for _, r := range b.recipients {
		if !r.away && !last {
			expected++
			watchers.Go(func() { r.watch(round, there, doors) })
		}
	}
	// At the latest: a crowd of thousands has only this machine.
	patience := time.After(harness.Timeout + time.Duration(expected)*100*time.Millisecond)
	for range expected { // those who resume, and all others, are there before the load
		select {
		case <-there:
		case <-patience:
			b.T.Fatal("the recipients do not get in")
		}
	}
	for _, s := range b.senders {
		senders.Go(func() {
			switch s.name[0] {
			case 'h':
				s.post(&stop)
			case 'o':
				s.postOnce(&stop)
			default:
				s.stream(&stop)
			}
		})
	}
	if !last { // in the last round the senders stop when all is acknowledged
		b.Await(Enough)
		trouble(b, round)
	}
	stop.Store(true)
	senders.Wait()
	if !last && b.Alive() {
		if err := b.dismiss(round); err != nil {
			b.T.Errorf("dismiss the recipients: %v", err)
			for _, r := range b.recipients {
				r.cut(true)
			}
		}
	}
	watchers.Wait()
}

// Await returns when n more acknowledgements have come; the test fails where none comes any more.
func (b *Book) Await(n int) {
	b.T.Helper()
	for ; n > 0; n-- {
		select {
		case <-b.progress:
		case <-time.After(harness.Timeout):
			b.T.Error("nothing is acknowledged any more")
			return
		}
	}
}

// Fresh is Await for what was acknowledged from now on only.
func (b *Book) Fresh(n int) { b.Await(len(b.progress) + n) }

// Cut resets the connections of all who resume, at once, and says how many they were.
func (b *Book) Cut() (n int) {
	for _, r := range b.recipients {
		if r.resumes && r.cut(false) {
			n++
		}
	}
	return n
}

// AwaitResumed returns when all have resumed so often, or fails the test.
func (b *Book) AwaitResumed(n int) {
	b.T.Helper()
	end, tick := time.Now().Add(resumption), time.NewTicker(5*time.Millisecond)
	defer tick.Stop()
	for b.Resumed() < n {
		if time.Now().After(end) {
			b.T.Errorf("%d have resumed, %d should", b.Resumed(), n)
			return
		}
		<-tick.C
	}
}

// Resumed is how often recipients have resumed, all together.
func (b *Book) Resumed() int { return int(b.resumed.Load()) }

// Lost is how many connections of recipients have ended before their round.
func (b *Book) Lost() int { return int(b.lost.Load()) }

// dismiss has all who are there know that the round is over. What was acknowledged was routed before, and comes first.
func (b *Book) dismiss(round int) error {
	c, err := harness.Connect(b.C2STLS, b.senders[0].name, "end")
	if err != nil {
		return err
	}
	defer c.Close()
	for _, r := range b.recipients {
		if !r.away {
			if err := c.Send(marker(r.name+"@localhost/r", firstMarker+round)); err != nil {
				return err
			}
		}
	}
	_, err = c.Ask("over", "<iq type='get' id='over' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>")
	return err
}

// lastMarker is behind all messages; those from firstMarker on are of rounds.
const (
	lastMarker  = 1
	firstMarker = 2
)

func marker(to string, n int) string {
	return fmt.Sprintf("<message to='%s' type='chat'><body>marker|%d</body></message>", to, n)
}

// A sender sends message n to recipient n % recipients.
type sender struct {
	book  *Book
	name  string
	acked int // messages below are acknowledged; one sender sends in order
	next  int // of the current round
	// bounced are the messages that came back: their sender knows that they are not kept.
	bounced map[int]bool
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
	return n < s.acked && !s.bounced[n]
}

// sent is a bound on the messages.
func (s *sender) sent() int {
	if s.once != nil {
		return s.next
	}
	return s.acked
}

func (s *sender) to(n int) string { return fmt.Sprintf("r%d@localhost", n%len(s.book.recipients)) }
func (s *sender) body(n int) string {
	return fmt.Sprintf("%s|%d", s.name, n)
}

// post sends by HTTP, one request after the other.
func (s *sender) post(stop *atomic.Bool) {
	client := &http.Client{Transport: &http.Transport{}, Timeout: harness.Timeout}
	defer client.CloseIdleConnections()
	auth := "Basic " + base64.StdEncoding.EncodeToString([]byte(s.name+"@localhost:"+harness.Password))
	for !stop.Load() {
		req, _ := http.NewRequest("POST", "http://"+s.book.HTTP+"/message", // the URL is good
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
func (s *sender) postOnce(stop *atomic.Bool) {
	client := &http.Client{Transport: &http.Transport{}, Timeout: harness.Timeout}
	defer client.CloseIdleConnections()
	auth := "Basic " + base64.StdEncoding.EncodeToString([]byte(s.name+"@localhost:"+harness.Password))
	for !stop.Load() {
		n := s.next
		s.next++
		req, _ := http.NewRequest("POST", "http://"+s.book.HTTP+"/message", // the URL is good
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
	c, err := harness.Connect(s.book.C2STLS, s.name, "r")
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
		for !stop.Load() && s.next < s.acked+s.book.size.Ahead {
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
