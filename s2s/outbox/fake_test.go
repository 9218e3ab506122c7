package outbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/storage/embedded"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

const (
	here  = "here.example"
	there = "there.example"
	stuck = "stuck.example"
)

// A fakePeer is all peers there are: a dialer and what is behind it. Its knobs may be turned at any time.
type fakePeer struct {
	mu sync.Mutex // guards the rest

	fail    map[string]error // by remote domain: what Open returns
	hang    map[string]bool  // Open lasts until its context ends
	silent  bool             // nothing is acknowledged on its own
	takes   time.Duration    // how long an attempt lasts
	faults  int              // so many attempts more panic
	accepts int              // so many streams more are closed as soon as they are open
	slow    time.Duration    // what a write takes
	deaf    bool             // a write fails, after the first half of it has arrived
	limit   int              // that streams announce
	poison  map[string]bool  // ids of what a stream is ended for
	mute    bool             // it ends without saying that this is why
	shared  bool             // streams have unacknowledged stanzas of others too
	resume  bool             // an attempt after the first resumes the stream before

	// processed says that what has arrived before a stream died, and was not acknowledged, has been taken nevertheless.
	processed bool
	unknown   map[string]bool // what our side could not know to have been taken

	sessions map[Pair]*fakeSession
	opens    map[string][]time.Time // attempts, by remote domain
	dialing  map[string]int         // attempts under way
	most     map[string]int         // at a time
	has      map[Pair][]string      // ids of what it took, in order
	writes   []int
}

// fakeSession is the memory of stream management (XEP-0198).
type fakeSession struct {
	unacked []string // arrived, and our side does not know
	stream  *fakeStream
}

type fakeStream struct {
	peer   *fakePeer
	pair   Pair
	acked  Acked
	over   chan struct{}
	dead   bool
	closed bool
	cause  *Failure
}

func newFakePeer() *fakePeer {
	return &fakePeer{fail: map[string]error{}, hang: map[string]bool{}, unknown: map[string]bool{},
		poison: map[string]bool{}, sessions: map[Pair]*fakeSession{}, opens: map[string][]time.Time{},
		dialing: map[string]int{}, most: map[string]int{}, has: map[Pair][]string{}}
}

// set turns knobs.
func (f *fakePeer) set(turn func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	turn()
}

func (f *fakePeer) Open(ctx context.Context, p Pair, acked Acked) (Stream, error) {
	f.mu.Lock()
	f.opens[p.Remote] = append(f.opens[p.Remote], time.Now())
	f.dialing[p.Remote]++
	f.most[p.Remote] = max(f.most[p.Remote], f.dialing[p.Remote])
	defer func() {
		f.dialing[p.Remote]--
		f.mu.Unlock()
	}()
	if f.faults > 0 {
		f.faults--
		panic("a parser's mistake")
	}
	if f.hang[p.Remote] {
		f.mu.Unlock()
		<-ctx.Done()
		f.mu.Lock()
		return nil, ctx.Err()
	}
	if takes := f.takes; takes > 0 {
		f.mu.Unlock()
		select {
		case <-time.After(takes):
		case <-ctx.Done():
		}
		f.mu.Lock()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	if err := f.fail[p.Remote]; err != nil {
		return nil, err
	}
	old := f.sessions[p]
	s := &fakeStream{peer: f, pair: p, acked: acked, over: make(chan struct{})}
	f.sessions[p] = &fakeSession{stream: s}
	if old != nil && !f.resume {
		f.lostLocked(p, old)
	}
	if old != nil && f.resume {
		n := len(old.unacked)
		f.has[p] = append(f.has[p], old.unacked...)
		f.mu.Unlock()
		acked(n)
		f.mu.Lock()
	}
	if f.accepts > 0 {
		f.accepts--
		s.end()
	}
	return s, nil
}

var idOf = regexp.MustCompile(`<(?:message|presence|iq)[^>]* id='([^']*)'`)

func (s *fakeStream) Write(xml []byte, n int) error {
	f := s.peer
	f.mu.Lock()
	if f.slow > 0 {
		slow := f.slow
		f.mu.Unlock()
		wait(slow)
		f.mu.Lock()
	}
	defer f.mu.Unlock()
	if s.dead {
		return io.ErrClosedPipe
	}
	var ids []string
	for _, m := range idOf.FindAllSubmatch(xml, -1) {
		ids = append(ids, string(m[1]))
	}
	if len(ids) != n {
		return fmt.Errorf("%d stanzas are called %d: %s", len(ids), n, xml)
	}
	f.writes = append(f.writes, n)
	session := f.sessions[s.pair]
	for i, id := range ids {
		if f.poison[id] { // what came before it has arrived, and was not acknowledged
			session.unacked = append(session.unacked, ids[:i]...)
			s.cause = &Failure{Text: "too much for a poor server", Condition: xmpp.CondRemoteServerTimeout, Blames: !f.mute, Alone: !f.shared}
			s.end()
			return nil
		}
	}
	if f.deaf {
		session.unacked = append(session.unacked, ids[:n/2]...)
		s.end()
		return io.ErrUnexpectedEOF
	}
	session.unacked = append(session.unacked, ids...)
	if !f.silent {
		f.ackLocked(s.pair, n)
	}
	return nil
}

// wait lets time pass, in a bubble.
func wait(d time.Duration) { <-time.After(d) }

func (s *fakeStream) Over() <-chan struct{} { return s.over }

func (s *fakeStream) Limit() int {
	s.peer.mu.Lock()
	defer s.peer.mu.Unlock()
	return s.peer.limit
}

func (s *fakeStream) Cause() *Failure {
	s.peer.mu.Lock()
	defer s.peer.mu.Unlock()
	return s.cause
}

func (s *fakeStream) Close() {
	s.peer.mu.Lock()
	defer s.peer.mu.Unlock()
	s.closed = true
	s.end()
}

// end ends the stream. The caller holds mu.
func (s *fakeStream) end() {
	if !s.dead {
		s.dead = true
		close(s.over)
	}
}

// ackLocked takes n stanzas and says so.
func (f *fakePeer) ackLocked(p Pair, n int) {
	session := f.sessions[p]
	if session == nil || session.stream.dead {
		return
	}
	n = min(n, len(session.unacked))
	f.has[p] = append(f.has[p], session.unacked[:n]...)
	session.unacked = session.unacked[n:]
	acked := session.stream.acked
	f.mu.Unlock()
	acked(n)
	f.mu.Lock()
}

func (f *fakePeer) ack(p Pair, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ackLocked(p, n)
}

// lostLocked ends a session that will not be resumed.
func (f *fakePeer) lostLocked(p Pair, s *fakeSession) {
	if f.processed {
		f.has[p] = append(f.has[p], s.unacked...)
		for _, id := range s.unacked {
			f.unknown[id] = true
		}
	}
	s.unacked = nil
}

// bounced notes what the peer has already while its sender is told otherwise.
func (f *fakePeer) bounced(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.sessions {
		if slices.Contains(s.unacked, id) {
			f.unknown[id] = true
		}
	}
}

// kill ends the stream of a pair.
func (f *fakePeer) kill(p Pair) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.sessions[p]; s != nil {
		s.stream.end()
	}
}

func (f *fakePeer) took(p Pair) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.has[p])
}

func (f *fakePeer) attempts(remote string) []time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.opens[remote])
}

// atOnce is how many attempts there were at a time.
func (f *fakePeer) atOnce(remote string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.most[remote]
}

// closed says whether our side has closed the last stream.
func (f *fakePeer) closed(p Pair) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sessions[p].stream.closed
}

// A bench is an outbox with fakes around it.
type bench struct {
	t      testing.TB
	peer   *fakePeer
	engine storage.Engine
	log    storage.Log
	dir    string
	out    *Outbox
	limits atomic.Pointer[Limits]

	mu      sync.Mutex // guards the rest
	ours    map[string]bool
	bounced []bounced
	next    int
}

type bounced struct {
	stanza xmpp.Stanza
	err    *xmpp.Error
	at     time.Time
}

var pair0 = Pair{Local: here, Remote: there}

func newBench(t testing.TB) *bench {
	b := &bench{t: t, peer: newFakePeer(), dir: filepath.Join(t.TempDir(), "data"), ours: map[string]bool{here: true, "also.here.example": true}}
	b.setLimits(Limits{})
	b.open()
	b.start()
	t.Cleanup(func() { // a test that has given up must not end its bubble with goroutines in it
		if b.engine != nil {
			b.stop()
		}
	})
	return b
}

func (b *bench) open() {
	e, err := embedded.Open(b.dir)
	if err != nil {
		b.t.Fatal(err)
	}
	b.engine, b.log = e, e.Log("outbox")
}

// start makes the outbox, as a server's start does.
func (b *bench) start() {
	b.out = New(Options{
		Dialer: b.peer, Log: b.log, Logger: slog.New(slog.DiscardHandler),
		Owns: func(d string) bool {
			b.mu.Lock()
			defer b.mu.Unlock()
			return b.ours[d]
		},
		Bounce: func(s *xmpp.Stanza, err *xmpp.Error) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.peer.bounced(s.ID)
			b.bounced = append(b.bounced, bounced{s.Clone(), err, time.Now()})
		},
		Limits: b.limits.Load,
	})
	if err := b.out.Restore(context.Background()); err != nil {
		b.t.Fatal(err)
	}
}

// stop ends the outbox and the engine, as a server's end does.
func (b *bench) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := b.out.Stop(ctx); err != nil {
		b.t.Errorf("stop: %v", err)
	}
	b.close()
}

func (b *bench) close() {
	if n := b.out.Stats.Panics.Load(); n > 0 {
		b.t.Errorf("%d panics", n)
	}
	if err := b.engine.Close(); err != nil {
		b.t.Errorf("close the engine: %v", err)
	}
	b.engine = nil
}

// crash leaves everything as it is: nothing more is written, sent or bounced.
func (b *bench) crash() {
	close(b.out.quit)
	b.out.cancel()
	for _, d := range b.out.all() {
		d.mu.Lock()
		for _, p := range d.pairs {
			p.finished, p.done = true, nil
			p.queue = queue{}
		}
		d.mu.Unlock()
	}
	b.out.running.Wait()
	for p := range b.peer.sessions {
		b.peer.kill(p)
	}
	b.close()
}

// restart opens the store again.
func (b *bench) restart() {
	b.open()
	b.start()
}

func (b *bench) setLimits(l Limits) { b.limits.Store(&l) }

func (b *bench) bounces() []bounced {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.bounced)
}

func (b *bench) bouncedIDs() (ids []string) {
	for _, x := range b.bounces() {
		ids = append(ids, x.stanza.ID)
	}
	return ids
}

// An order describes a stanza to be pushed.
type order struct {
	kind    xmpp.Kind
	typ     xmpp.Type
	to      string // a domain; empty: there
	body    string
	durable bool
	dedup   string
	session *router.Session
}

// push pushes a stanza and returns its id and envelope.
func (b *bench) push(o order) (string, *router.Envelope) {
	b.t.Helper()
	if o.kind == 0 {
		o.kind = xmpp.Message
	}
	if o.to == "" {
		o.to = there
	}
	b.mu.Lock()
	b.next++
	id := fmt.Sprint(b.next)
	b.mu.Unlock()
	s := &xmpp.Stanza{Kind: o.kind, Type: o.typ, ID: id, From: jid.MustParse("romeo@" + here + "/garden"), To: jid.MustParse("juliet@" + o.to),
		Payload: []byte("<body>" + o.body + "</body>")}
	e := &router.Envelope{Stanza: s, Durable: o.durable, Dedup: o.dedup, Session: o.session, Batch: new(router.Batch)}
	b.out.Push(e)
	if !e.Settled() {
		b.t.Error("the envelope is not settled")
	}
	return id, e
}

// queued is push for what must be taken in.
func (b *bench) queued(o order) string {
	b.t.Helper()
	id, e := b.push(o)
	if e.Outcome != router.Queued {
		b.t.Errorf("stanza %s: %v %v", id, e.Outcome, e.Err)
	}
	return id
}

// refused is push for what must not be.
func (b *bench) refused(o order) *xmpp.Error {
	b.t.Helper()
	id, e := b.push(o)
	if e.Outcome != router.Refused || e.Err == nil {
		b.t.Fatalf("stanza %s: %v %v", id, e.Outcome, e.Err)
	}
	return e.Err
}

// durable waits for what the acknowledgement would wait for.
func (b *bench) durable(e *router.Envelope) {
	b.t.Helper()
	for _, p := range e.Pendings {
		if err := p.Wait(context.Background()); err != nil {
			b.t.Error(err)
		}
	}
}

// onDisk is how many records a pair has, after removals had their time.
func (b *bench) onDisk(p Pair) int {
	b.t.Helper()
	n, _, err := b.log.Size(context.Background(), ownerOf(p))
	if err != nil {
		b.t.Error(err)
	}
	return n
}

func (b *bench) status(p Pair) Status {
	b.t.Helper()
	for _, s := range b.out.Status() {
		if s.Pair == p {
			return s
		}
	}
	b.t.Fatalf("no status of %v", p)
	return Status{}
}

func (b *bench) equal(what string, got, want []string) {
	b.t.Helper()
	if !slices.Equal(got, want) {
		b.t.Errorf("%s: %v, want %v", what, got, want)
	}
}

var (
	errRefused = &Failure{Text: "the connection was refused", Condition: xmpp.CondRemoteServerTimeout, Err: errors.New("dial: refused")}
	errNoName  = &Failure{Text: "the name does not exist", Condition: xmpp.CondRemoteServerNotFound, Permanent: true}
)

// scene runs a test in a bubble, where time passes only when all wait.
func scene(t *testing.T, f func(t *testing.T, b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f(t, newBench(t))
	})
}
