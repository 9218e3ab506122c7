package c2s

import (
	"sync"
	"time"

	"jackdaw/wire"
)

// A wheel looks after all sessions with one goroutine: it has one slot for each second of its round, and what is due
// later is looked at once a round.
type wheel struct {
	mu    sync.Mutex // guards the rest
	slots [wheelSize]entry
	at    int64 // seconds since the start
}

const wheelSize = 1024

// An entry is a session's place on the wheel; it is not on it while next is nil.
type entry struct {
	next, prev *entry
	s          *session // nil for the head of a slot
	due        int64
}

func (w *wheel) init() {
	for i := range w.slots {
		h := &w.slots[i]
		h.next, h.prev = h, h
	}
}

// add lets the entry's session be looked at after d, and not before. It replaces an earlier add.
func (w *wheel) add(e *entry, d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e.unlink()
	e.due = w.at + int64((d+time.Second-1)/time.Second) + 1
	h := &w.slots[e.due%wheelSize]
	e.prev, e.next = h.prev, h
	h.prev.next, h.prev = e, e
}

func (w *wheel) remove(e *entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e.unlink()
}

func (e *entry) unlink() {
	if e.next != nil {
		e.prev.next, e.next.prev = e.next, e.prev
		e.next, e.prev = nil, nil
	}
}

// tick goes on to the given second and returns the sessions that are due, off the wheel.
func (w *wheel) tick(to int64) (due []*session) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.at < to {
		w.at++
		h := &w.slots[w.at%wheelSize]
		for e := h.next; e != h; {
			next := e.next
			if e.due <= w.at {
				e.unlink()
				due = append(due, e.s)
			}
			e = next
		}
	}
	return due
}

// A worker runs a task for sessions that others put on its list: it is how work gets off a goroutine that holds locks
// or must not wait.
type worker struct {
	mu   sync.Mutex // guards list
	list []*session
	more chan struct{} // holds one token
}

func newWorker() worker { return worker{more: make(chan struct{}, 1)} }

func (w *worker) add(s *session) {
	w.mu.Lock()
	w.list = append(w.list, s)
	w.mu.Unlock()
	select {
	case w.more <- struct{}{}:
	default:
	}
}

// run calls task until stop is closed.
func (w *worker) run(stop <-chan struct{}, task func(*session)) {
	var spare []*session
	for {
		select {
		case <-w.more:
		case <-stop:
			return
		}
		w.mu.Lock()
		list := w.list
		w.list = spare[:0]
		w.mu.Unlock()
		for i, s := range list {
			task(s)
			list[i] = nil
		}
		spare = list
		if cap(spare) > 1<<12 {
			spare = nil
		}
	}
}

const (
	// lookEvery is how often a session is looked at, unless that is too seldom for patienceFor; restAfter how long it must
	// have been quiet before it is made small.
	lookEvery = time.Minute
	restAfter = 3 * time.Second
)

// look is the wheel's task: idle clients are asked whether they are there (RFC 6120 §4.6), clients that leave stanzas
// unacknowledged are given up, and resume windows end.
func (s *session) look(now int64) {
	settings := s.srv.settings()
	idle := settings.IdleTimeout
	s.mu.Lock()
	if s.leaving || s.ending {
		s.mu.Unlock()
		return
	}
	c := s.conn
	if c == nil {
		left := time.Until(s.expires)
		if left <= 0 {
			s.begin(&wire.Farewell{Cause: errLost})
		}
		s.mu.Unlock()
		if left > 0 {
			s.srv.timers.add(&s.timer, left)
		}
		return
	}
	every := patienceFor(idle)
	silent, flush := false, false
	if s.sm != nil && (!c.early || now-c.looked >= int64(every/time.Second)) {
		c.looked = now
		for _, f := range s.flight {
			f.trim()
		}
		silent, flush = s.unanswered(c, now, every)
	}
	if c.waits { // for the client to read, and what it says meanwhile is not looked at
		c.heard.Store(now)
	}
	heard := c.heard.Load()
	quiet := time.Duration(now-heard) * time.Second
	if quiet >= restAfter && c.rested != heard && !flush { // who is asked just now will answer
		c.rested = heard
		c.rest.Store(true)
		c.Transport.Interrupt()
	}
	if c.early = c.rested != heard; c.early { // it has not rested since
		every = min(every, max(restAfter-quiet, time.Second))
	}
	pinged := s.pinged
	s.pinged = idle > 0 && quiet >= idle
	s.mu.Unlock()
	if flush {
		s.Flush()
	}
	patience := min(idle, time.Minute)
	switch {
	case silent:
		s.silent(c)
	case idle <= 0:
		s.srv.timers.add(&s.timer, every)
	case quiet < idle:
		s.srv.timers.add(&s.timer, min(idle-quiet, every))
	case !pinged:
		s.ping()
		s.srv.timers.add(&s.timer, patience)
	default:
		s.silent(c)
	}
}

// silent gives up a half open connection: its reader notices, and the session waits or ends.
func (s *session) silent(c *conn) {
	s.srv.Stats.Silent.Add(1)
	c.silent.Store(true)
	c.Transport.Interrupt()
}
