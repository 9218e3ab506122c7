// Package outgoing hands requests to programs over HTTP, from a queue in storage: what was queued is taken by the
// program there, or whoever queued it learns that it was not. A restart loses none of it.
//
// Those of one sender go in order, one at a time; another sender's do not wait for them. Each queue has its own few
// workers and connections, so that a program that is slow or dead holds up nobody but those who write to it.
package outgoing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"jackdaw/storage"
)

const (
	// first and most are the pauses between tries.
	first = time.Second
	most  = 5 * time.Minute
	// page is how many records are read at a time.
	page = 50
)

// Options of New; all but On are needed.
type Options struct {
	// Log has the requests, as records of Owner that nobody else writes or removes.
	Log   storage.Log
	Owner string
	// MaxRecords and MaxBytes bound what waits; each Peer has a share of it (storage.Fair).
	MaxRecords int
	MaxBytes   int64
	// Age is how long a request is tried.
	Age time.Duration
	// Parallel is how many requests are under way at once, of as many senders.
	Parallel int
	// Sender says whose a record is: those of one sender go in order. The record is not kept.
	Sender func(r storage.Record) string
	// Try hands over one request. The error is nil if it was taken; final says that another try would fare no better.
	Try func(ctx context.Context, r storage.Record) (final bool, err error)
	// Waits is told that a request is tried again after next, Lost that it was given up; then it is removed.
	Waits func(r storage.Record, err error, next time.Duration)
	Lost  func(r storage.Record, err error)
	// On says whether requests go out now. What is queued while they do not waits for the next Kick; nil: always.
	On func() bool
	// Logger is told of storage that fails.
	Logger *slog.Logger
}

// A Queue hands over what is appended to it. It is safe for concurrent use.
type Queue struct {
	o    Options
	ctx  context.Context
	stop context.CancelFunc
	work sync.WaitGroup

	mu      sync.Mutex // guards the rest
	reading bool       // there is a goroutine that reads what is new
	more    bool       // and it must look again
	after   uint64     // the last record that was read
	lanes   map[string]*lane
	ready   []*lane // to be worked off, the one that has waited longest first
	busy    int     // workers
}

// A lane has what waits of one sender, by the ids of the records. It is among ready, with a worker, or waits for its
// timer.
type lane struct {
	sender string
	ids    []uint64
	wait   time.Duration // before the next try; 0: the first has not failed
	timer  *time.Timer
}

// ErrOld is the error of what was not taken in time.
var ErrOld = errors.New("not taken")

// New returns a queue. It goes on with what is stored after the first Kick.
func New(o Options) *Queue {
	q := &Queue{o: o, lanes: map[string]*lane{}}
	if q.o.On == nil {
		q.o.On = func() bool { return true }
	}
	q.ctx, q.stop = context.WithCancel(context.Background())
	return q
}

// Append queues a request. A repetition by dedup, "" for none, is queued once. The error is storage.ErrFull if there is
// no room for more of this peer. Kick follows, when nothing stands against its going out.
func (q *Queue) Append(peer string, data []byte, dedup string) (*storage.Pending, error) {
	_, _, p, err := q.o.Log.Append(context.Background(), q.o.Owner, storage.Record{Peer: peer, Data: data},
		storage.AppendOptions{Dedup: dedup, MaxRecords: q.o.MaxRecords, MaxBytes: q.o.MaxBytes, Fair: true})
	return p, err
}

// Size is how many requests wait, those under way among them.
func (q *Queue) Size(ctx context.Context) (int, error) {
	n, _, err := q.o.Log.Size(ctx, q.o.Owner)
	return n, err
}

// Kick has what is queued handed over. It returns at once.
func (q *Queue) Kick() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ctx.Err() != nil {
		return
	}
	q.more = true
	if !q.reading {
		q.reading = true
		q.work.Go(q.read)
	}
	q.employ()
}

// Close ends the work, in the middle of a try if need be; what is queued stays.
func (q *Queue) Close() {
	q.mu.Lock()
	q.stop()
	for _, l := range q.lanes {
		if l.timer != nil {
			l.timer.Stop()
		}
	}
	q.mu.Unlock()
	q.work.Wait()
}

// read puts what is new in the queue into the lanes of the senders.
func (q *Queue) read() {
	for q.again() {
		for q.ctx.Err() == nil && q.readPage() {
		}
	}
}

// again says whether to look for more.
func (q *Queue) again() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.more || q.ctx.Err() != nil {
		q.reading = false
		return false
	}
	q.more = false
	return true
}

// readPage says whether there may be more.
func (q *Queue) readPage() bool {
	records, more, err := q.o.Log.Page(q.ctx, q.o.Owner, storage.Query{After: q.after, Limit: page})
	if err != nil {
		return q.recover("outgoing requests wait for storage", err)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, r := range records {
		q.after = r.ID
		sender := q.o.Sender(r)
		l := q.lanes[sender]
		if l == nil {
			l = &lane{sender: sender}
			q.lanes[sender] = l
			q.ready = append(q.ready, l)
		}
		l.ids = append(l.ids, r.ID)
	}
	q.employ()
	return more
}

// employ has workers take up what is ready. The caller holds mu.
func (q *Queue) employ() {
	for free := min(q.o.Parallel-q.busy, len(q.ready)); free > 0 && q.ctx.Err() == nil && q.o.On(); free-- {
		q.busy++
		q.work.Go(q.serve)
	}
}

// serve is a worker: it hands over one request of a lane after the other.
func (q *Queue) serve() {
	for {
		l, id := q.next()
		if l == nil {
			return
		}
		q.done(l, q.deliver(l, id))
	}
}

// next takes a lane from those that are ready; nil: the worker is to end.
func (q *Queue) next() (*lane, uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.ready) == 0 || q.ctx.Err() != nil || !q.o.On() {
		q.busy--
		return nil, 0
	}
	l := q.ready[0]
	q.ready = q.ready[1:]
	return l, l.ids[0]
}

// done puts a lane where it belongs after a try: behind the others that are ready, or to sleep.
func (q *Queue) done(l *lane, pause time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.ctx.Err() != nil:
	case pause > 0:
		l.timer = time.AfterFunc(pause, func() { q.wake(l) })
	default:
		if l.ids = l.ids[1:]; len(l.ids) == 0 {
			delete(q.lanes, l.sender)
			return
		}
		q.ready = append(q.ready, l)
	}
}

// wake has a lane tried again.
func (q *Queue) wake(l *lane) {
	q.mu.Lock()
	defer q.mu.Unlock()
	l.timer = nil
	q.ready = append(q.ready, l)
	q.employ()
}

// deliver makes one try. It returns after what pause there is to be another; 0: the request is done with.
func (q *Queue) deliver(l *lane, id uint64) (pause time.Duration) {
	r, err := q.o.Log.Get(q.ctx, q.o.Owner, id)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return 0
	case err != nil:
		if q.ctx.Err() == nil {
			q.o.Logger.Warn("outgoing requests wait for storage", "error", err)
		}
		return most
	}
	final := true
	err = fmt.Errorf("%w in %v", ErrOld, q.o.Age)
	if left := q.o.Age - time.Since(r.Time()); left > 0 {
		final, err = q.o.Try(q.ctx, r)
	}
	switch {
	case q.ctx.Err() != nil:
		return most // the server ends; nobody waits for it
	case err != nil && !final:
		l.wait = min(max(2*l.wait, first), most)
		pause = max(min(l.wait, q.o.Age-time.Since(r.Time())), 1) // it is given up in time
		q.o.Waits(r, err, pause)
		return pause
	case err != nil:
		q.o.Lost(r, err)
	}
	l.wait = 0
	for {
		if _, err = q.o.Log.Remove(q.ctx, q.o.Owner, id); err == nil ||
			!q.recover("an outgoing request would be repeated after a restart", err) {
			return 0
		}
	}
}

// recover lets storage recover; false: the queue is to end.
func (q *Queue) recover(what string, err error) bool {
	if errors.Is(err, storage.ErrClosed) || q.ctx.Err() != nil {
		return false
	}
	q.o.Logger.Warn(what, "error", err)
	t := time.NewTimer(most)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-q.ctx.Done():
		return false
	}
}
