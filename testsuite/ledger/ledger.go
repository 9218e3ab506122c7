// Package ledger writes down what a server acknowledges to senders and what recipients see of it, while a test does to
// the server what it likes, and says at the end what was lost, doubled or reordered.
//
// Senders behave as the contract asks: what was not acknowledged is sent again, under the same Idempotency-Key or
// origin-id. So in the end every message must be there once and in order for recipients who were away all the time, and
// for those who resume. Another recipient who was online can see a message a second time only after a kill between its
// delivery and one of the two acknowledgements, or soon after (docs/promises.md §3); such a repetition by the server
// carries the stanza-id of the first (docs/ARCHITECTURE.md).
package ledger

import (
	"fmt"
	"os"
	"path/filepath"
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
	// Pause is before each request and each ten messages.
	Pause time.Duration
	// Skew is by how much clocks of nodes are set ahead: what comes again may be as much older (docs/promises.md §3).
	Skew time.Duration
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
	way        func() Way    // of RunAt
	resumed    atomic.Int64
	lost       atomic.Int64
	anew       atomic.Int64

	again  int           // messages that came again,
	latest time.Duration // and how long after their acknowledgement the server lived, at most
}

// A Way is where a client gets in: HOST:PORT of direct TLS and of HTTP.
type Way struct{ C2STLS, HTTP string }

// Patience is how long clients of several nodes wait for a word before they try another one.
const Patience = 8 * time.Second

// at is where the next client gets in, and how long it waits for a word.
func (b *Book) at() (Way, time.Duration) {
	if b.way != nil {
		return b.way(), Patience
	}
	return Way{b.C2STLS, b.HTTP}, harness.Timeout
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
	b := newBook(t, size)
	o.Config += Config
	o.Users = append(o.Users, b.Users()...)
	b.Server = harness.Start(t, o)
	return b.run(rounds, trouble)
}

// RunAt is Run for several nodes that are one server, with the accounts of Users and with Config. Trouble sees to the
// nodes itself. Clients get in at the way that is told for each connection, and come again when they lose it.
func RunAt(t testing.TB, size Size, start func(users []string), way func() Way, rounds int,
	trouble func(b *Book, round int)) (problems []string, acked int) {
	t.Helper()
	b := newBook(t, size)
	start(b.Users())
	b.way = way
	return b.run(rounds, trouble)
}

// Config is what a server needs for such a load.
const Config = "modules:\n  offline: {max_messages: 1000000, max_bytes: 1000000000}\n  strangers: {recipients: 0}\n"

// Users are the names of all who take part.
func (b *Book) Users() (names []string) {
	for _, r := range b.recipients {
		names = append(names, r.name)
	}
	for _, s := range b.senders {
		names = append(names, s.name)
	}
	return names
}

func newBook(t testing.TB, size Size) *Book {
	if size.Ahead == 0 {
		size.Ahead = 50
	}
	b := &Book{T: t, size: size}
	for i := range size.recipients() {
		r := &recipient{book: b, name: fmt.Sprintf("r%d", i), got: map[string][]arrival{}}
		r.managed = i < size.recipients()-size.Unmanaged
		online := i - size.Away
		r.away, r.resumes = online < 0, online >= size.Managed && r.managed
		b.recipients = append(b.recipients, r)
	}
	for kind, n := range []int{size.HTTP, size.Once, size.XMPP} {
		for i := range n {
			s := &sender{book: b, name: fmt.Sprintf("%c%d", "hox"[kind], i), bounced: map[int]bool{},
				again: map[int]bool{}}
			if s.name[0] == 'o' {
				s.once = map[int]bool{}
			}
			b.senders = append(b.senders, s)
		}
	}
	return b
}

func (b *Book) run(rounds int, trouble func(b *Book, round int)) (problems []string, acked int) {
	t := b.T
	t.Helper()
	for round := range rounds + 1 {
		if b.way == nil && !b.Alive() {
			b.Launch()
		}
		b.round(round, round == rounds, trouble)
		for _, r := range b.recipients {
			r.close(round)
		}
		for _, s := range b.senders {
			s.ends = append(s.ends, s.sent())
		}
	}
	for _, r := range b.recipients {
		err := r.collect(rounds)
		for i := 0; err != nil && b.way != nil && i < 5; i++ { // nodes may still be settling
			<-time.After(time.Second)
			err = r.collect(rounds)
		}
		if err != nil {
			t.Fatalf("collect for %s: %v", r.name, err)
		}
	}
	for i, r := range b.recipients {
		for _, s := range b.senders {
			problems = append(problems, r.judge(i, s, !r.away && (!r.resumes || b.way != nil))...)
		}
	}
	bounced := 0
	for _, s := range b.senders {
		acked += max(int(s.acked.Load()), len(s.once))
		bounced += len(s.bounced)
	}
	t.Logf("%d rounds, %d messages acknowledged, of which %d came back, %d connections lost, %d resumed, %d came anew; %d messages came again, up to %v after they were acknowledged",
		rounds, acked, bounced, b.lost.Load(), b.resumed.Load(), b.anew.Load(), b.again, b.latest.Round(time.Millisecond))
	return problems, acked
}

// Report fails a test for the problems that Run has found, the first of them at least.
func Report(t testing.TB, problems []string) {
	t.Helper()
	if dir := os.Getenv("JACKDAW_LOGS"); dir != "" && len(problems) > 0 {
		if err := os.WriteFile(filepath.Join(dir, "problems"), []byte(strings.Join(problems, "\n")), 0o600); err != nil {
			t.Errorf("keep the problems: %v", err)
		}
	}
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
			for {
				switch s.name[0] {
				case 'h':
					s.post(&stop)
				case 'o':
					s.postOnce(&stop)
				default:
					s.stream(&stop)
				}
				if b.way == nil || stop.Load() {
					return
				}
				<-time.After(50 * time.Millisecond)
			}
		})
	}
	if !last { // in the last round the senders stop when all is acknowledged
		b.Await(Enough)
		trouble(b, round)
	}
	stop.Store(true)
	senders.Wait()
	if !last && b.way != nil {
		b.dismissAll(round, &watchers)
		return
	}
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

// dismissAll is dismiss until all have heard of it.
func (b *Book) dismissAll(round int, watchers *sync.WaitGroup) {
	over := make(chan struct{})
	go func() { watchers.Wait(); close(over) }()
	end := time.After(harness.Timeout / 2)
	for {
		err := b.dismiss(round)
		select {
		case <-over:
			return
		case <-time.After(time.Second):
		case <-end:
			b.T.Errorf("not all hear of the end of the round: %s (%v)", b.waiting(), err)
			for _, r := range b.recipients {
				r.cut(true)
			}
			<-over
			b.T.FailNow()
		}
	}
}

// waiting says what those do who are still there.
func (b *Book) waiting() (what []string) {
	for _, r := range b.recipients {
		r.mu.Lock()
		if r.doing != "" {
			what = append(what, r.name+" "+r.doing)
		}
		r.mu.Unlock()
	}
	return what
}

// Mark notes what senders know as acknowledged before there is trouble within a round.
func (b *Book) Mark() {
	for _, r := range b.recipients {
		r.mark()
	}
}

// dismiss has all who are there know that the round is over. What was acknowledged was routed before, and comes first.
func (b *Book) dismiss(round int) error {
	way, _ := b.at()
	c, err := harness.Connect(way.C2STLS, b.senders[0].name, "end")
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
