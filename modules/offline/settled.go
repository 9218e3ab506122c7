package offline

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"jackdaw/storage"
)

// What only the archive has is known, in memory, to be in flight. So that a crash loses none of it, a mark in storage
// says up to where everything is settled: taken, or in the log. It follows the clock at a distance as long as anything
// is archived. After a crash the archives are looked through from the mark to the start: what a session may have been
// given and not taken is put into the log (recover.go). What was taken since the mark comes a second time then, under
// the same stanza-id.

const (
	// soon is how long a message may be in flight without a copy, and lookEvery how often that is looked at.
	soon      = 500 * time.Millisecond
	lookEvery = 500 * time.Millisecond
	// distance is how far the mark stays behind the clock. It must be more than both of the above, and than what a
	// message takes from the archive to its session.
	distance = 3 * time.Second
	// margin is by how much the ids of an account may be ahead of the clock, because many came at once.
	margin = time.Millisecond
	// calm is after how many looks without anything archived the mark stays: it has caught up by then.
	calm = int(distance/lookEvery) + 2
)

const (
	settledOwner   = "settled" // no account: it has no domain, and the space has no other owner
	settledKey     = "mark"
	settledVersion = 1
	// maxSpans is how many crashes are told apart whose traces have not been looked for.
	maxSpans = 8
)

var errSettled = errors.New("the mark of what is settled cannot be read")

// settled is how far messages are.
type settled struct {
	state storage.Map
	// low is the mark, as an id of the archive. What has no higher one must not be in flight without a copy: all ids
	// until the mark has been read.
	low atomic.Uint64
	// limit is such a bound above, which ids reach that came with an account from a node whose clock is ahead.
	limit atomic.Uint64
	// node is whose mark this is, where there are several; "" is the only one. The mutex guards it; several says that
	// there are, without it.
	node    string
	several atomic.Bool
	// left is what crashes have left to be looked through, nil for nothing: see search.
	left    atomic.Pointer[left]
	pending atomic.Bool // it has not all been looked through
	unread  atomic.Bool // what has not cannot be read, and waiting does not help
	changed atomic.Bool // that has just come to an end, which is to be noted
	mu      sync.Mutex  // held while the mark is moved; guards the rest
	closed  bool        // it stays where close has put it
	ended   bool        // it stays where it was when the node of that name was one no more (Ended)
	high    uint64      // the highest id that the clock would have given until now: it may go back
	idle    int         // looks
	noted   uint64      // the fence of Noted that is in storage
	failing bool        // the mark could not be written, which was said
}

// A span of ids in an archive, exclusive of after and before.
type span struct{ after, before uint64 }

// left is where to look for what crashes have left. Immutable.
type left struct{ pieces []piece }

// A piece of it is for some accounts.
type piece struct {
	spans []span
	of    func(owner string) bool
}

func (l *left) list() []piece {
	if l == nil {
		return nil
	}
	return l.pieces
}

// of are the spans of an account; "" stands for all.
func (l *left) of(name string) (all []span) {
	for _, p := range l.list() {
		if name == "" || p.of(name) {
			all = append(all, p.spans...)
		}
	}
	return few(all)
}

// forget has nothing looked for in accounts that are at home elsewhere: whoever has them does.
func (s *settled) forget(gone func(owner string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.left.Load()
	if l == nil {
		return
	}
	var rest left
	for _, p := range l.pieces {
		rest.pieces = append(rest.pieces, piece{p.spans, func(owner string) bool { return p.of(owner) && !gone(owner) }})
	}
	s.left.Store(&rest)
}

// be says whose mark this is.
func (s *settled) be(node string) {
	s.node = node
	s.several.Store(node != "")
}

// key is that of the mark.
func (s *settled) key() string { return keyOf(s.node) }

func keyOf(node string) string {
	if node == "" {
		return settledKey
	}
	return settledKey + " " + node
}

// nodeOf is whose mark a key is of.
func nodeOf(key string) string { return strings.TrimPrefix(strings.TrimPrefix(key, settledKey), " ") }

// open reads the mark and begins anew from now. If that cannot be done, all messages get copies until it can.
func (m *module) open() {
	if err := m.load(context.Background()); err != nil {
		m.log.Warn("it is not known which messages are settled; until it is, each is copied", "error", err)
	}
}

// load is open without its bounds.
func (m *module) load(ctx context.Context) error {
	s := &m.settled
	now := storage.IDAt(time.Now().Add(margin))
	var b []byte
	err := storage.ErrNotFound // of a node that has just joined
	if s.node == "" {
		b, err = s.state.Get(ctx, settledOwner, s.key())
	}
	switch {
	case errors.Is(err, storage.ErrNotFound): // nothing was ever in the archive alone
	case err != nil:
		return err
	default:
		low, high, spans, err := readSettled(b)
		if err != nil {
			return err
		}
		if before := max(now, high); low < before {
			spans = append(spans, span{low, before})
		}
		m.search(&left{[]piece{{few(spans), func(string) bool { return true }}}})
	}
	s.pending.Store(len(s.left.Load().list()) > 0)
	if err := s.write(ctx, now); err != nil {
		return err
	}
	s.low.Store(now)
	return nil
}

// few sorts spans, and joins those that overlap, and the oldest where there are too many.
func few(all []span) (spans []span) {
	slices.SortFunc(all, func(a, b span) int { return cmp.Compare(a.after, b.after) })
	for _, s := range all {
		if n := len(spans); n > 0 && s.after < spans[n-1].before {
			spans[n-1].before = max(spans[n-1].before, s.before)
		} else {
			spans = append(spans, s)
		}
	}
	for len(spans) > maxSpans {
		one, two := spans[0], spans[1]
		spans = append([]span{{min(one.after, two.after), max(one.before, two.before)}}, spans[2:]...)
	}
	return spans
}

// search has what was left looked for. The shards are told first, and last that something is pending: a shard that was
// not told passes its accounts over, and recoverAll, which begins when something is, would have looked through all.
func (m *module) search(l *left) {
	for i := range m.shards {
		sh := &m.shards[i]
		sh.mu.Lock()
		if sh.recovered == nil {
			sh.recovered = map[string]bool{}
		}
		sh.mu.Unlock()
	}
	m.settled.left.Store(l)
	m.settled.pending.Store(true)
}

// write notes the mark.
func (s *settled) write(ctx context.Context, low uint64) error {
	s.high = max(s.high, storage.IDAt(time.Now()))
	var spans []span
	if s.pending.Load() {
		spans = s.left.Load().of("")
	}
	top := s.top()
	_, p, err := s.state.Update(ctx, settledOwner, storage.AnyVersion,
		storage.Change{Key: s.key(), Value: appendSettled(nil, low, s.high, spans)})
	if err == nil {
		err = p.Wait(ctx)
	}
	if err == nil {
		s.limit.Store(top)
	}
	return err
}

// top is where those stop who look for what this server has left when it dies.
func (s *settled) top() uint64 {
	if s.node == "" {
		return all
	}
	return s.high + uint64(lastWords/time.Microsecond)
}

func appendSettled(dst []byte, low, high uint64, spans []span) []byte {
	dst = append(dst, settledVersion)
	dst = binary.AppendUvarint(binary.AppendUvarint(dst, low), high)
	for _, s := range spans {
		dst = binary.AppendUvarint(binary.AppendUvarint(dst, s.after), s.before)
	}
	return dst
}

func readSettled(b []byte) (low, high uint64, spans []span, err error) {
	if len(b) == 0 || b[0] != settledVersion {
		return 0, 0, nil, errSettled
	}
	var n []uint64
	for b = b[1:]; len(b) > 0; {
		v, k := binary.Uvarint(b)
		if k <= 0 {
			return 0, 0, nil, errSettled
		}
		n, b = append(n, v), b[k:]
	}
	if len(n) < 2 || len(n)%2 != 0 {
		return 0, 0, nil, errSettled
	}
	for i := 2; i < len(n); i += 2 {
		spans = append(spans, span{n[i], n[i+1]})
	}
	return n[0], n[1], spans, nil
}

// watch copies what is in flight for long, moves the mark, and looks through the archives after a crash, until ctx
// ends.
func (m *module) watch(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var recovering sync.WaitGroup
	defer recovering.Wait()
	var begun atomic.Bool
	for {
		if m.settled.pending.Load() && m.settled.low.Load() != all && begun.CompareAndSwap(false, true) {
			recovering.Go(func() {
				defer begun.Store(false)
				m.recoverAll(ctx)
			})
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			m.look(ctx)
		}
	}
}

// look is what watch does again and again.
func (m *module) look(ctx context.Context) {
	s := &m.settled
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.ended || s.low.Load() == all && m.load(ctx) != nil {
		return
	}
	now := time.Now()
	busy, first := m.copyOld(storage.IDAt(now.Add(-soon)))
	if busy || s.changed.CompareAndSwap(true, false) {
		s.idle = 0
	}
	if s.idle++; s.idle > calm && s.node == "" {
		return
	}
	low := min(storage.IDAt(now.Add(-distance)), first-1)
	if low > s.low.Load() { // nothing before it is in flight without a copy, whether it can be noted or not
		s.low.Store(low)
	}
	err := s.write(ctx, low)
	switch {
	case ctx.Err() != nil:
		return
	case err == nil:
		s.low.Store(low) // the clock may have gone back
	case !s.failing:
		m.log.Warn("it cannot be noted which messages are settled: a crash would bring those since again", "error", err)
	}
	s.failing = err != nil
}

// copyOld stores copies of what was in flight before an id without one. It says whether anything was archived lately,
// and which is the lowest id that has none since storage is away: the mark must not pass it. all is none.
func (m *module) copyOld(before uint64) (busy bool, first uint64) {
	first = all
	for i := range m.shards {
		sh := &m.shards[i]
		sh.mu.Lock()
		busy = busy || sh.busy
		sh.busy = false
		for name, o := range sh.owners {
			if o.loose > 0 {
				busy = true
				if m.copyLoose(name, o, before, nil) != nil {
					first = min(first, o.firstLoose())
					continue // that storage is away is said elsewhere, and they get their copies when it is back
				}
			}
			sh.tidy(name, o)
		}
		sh.mu.Unlock()
	}
	return busy, first
}

// close notes that nothing is in flight any more.
func (m *module) close() {
	s := &m.settled
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.ended || s.low.Load() == all {
		return
	}
	_, first := m.copyOld(all)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := m.bury(ctx, s, first); err != nil {
		m.log.Warn("it cannot be noted that all messages are settled", "error", err)
	}
}
