package main

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// A lane is the messages of one sender to one recipient. Its sender, its receiver and whoever reads the
// acknowledgements are goroutines of their own.
type lane struct {
	from, to string        // addresses as they are written; from is empty for clients
	wake     chan struct{} // of the sender: there may be something free

	sent    atomic.Int64 // added to by the sender
	arrived atomic.Int64 // added to by the receiver
	acked   atomic.Int64 // how many the server has acknowledged; MaxInt64 where it does not

	mu       sync.Mutex // guards the rest: receivers change when a server opens a new stream
	expected int64
	missing  int64 // or overtaken by a later one
	repeated int64 // or late
}

// traffic is the messages of one run. Its methods may be called from any goroutine.
type traffic struct {
	lanes  []*lane
	window int64
	pad    string
	stop   chan struct{}
	source *source // where one stream carries all lanes

	mu   sync.Mutex // guards errs
	errs []string
}

func newTraffic(lanes, window, size int) *traffic {
	t := &traffic{window: int64(window), stop: make(chan struct{})}
	t.pad = string(bytes.Repeat([]byte("x"), max(1, size-20)))
	for range lanes {
		l := &lane{wake: make(chan struct{}, 1)}
		l.acked.Store(math.MaxInt64)
		t.lanes = append(t.lanes, l)
	}
	return t
}

// free is how many messages the sender may write. One is on its way until it has arrived and, where the server
// acknowledges, has been acknowledged.
func (t *traffic) free(l *lane) int {
	return int(t.window - l.sent.Load() + min(l.arrived.Load(), l.acked.Load()))
}

// write appends the next n messages of lane i.
func (t *traffic) write(b []byte, i, n int) []byte {
	l := t.lanes[i]
	seq := l.sent.Load()
	for range n {
		b = append(b, "<message"...)
		if l.from != "" {
			b = append(append(append(b, " from='"...), l.from...), '\'')
		}
		b = append(append(b, " to='"...), l.to...)
		b = strconv.AppendInt(append(b, "' type='chat' id='m"...), seq, 16)
		b = strconv.AppendInt(append(b, "'><body>lane "...), int64(i), 10)
		b = strconv.AppendInt(append(b, '.'), seq, 10)
		b = append(append(b, ' '), t.pad...)
		b = append(b, "</body></message>"...)
		seq++
	}
	l.sent.Store(seq)
	return b
}

var bodyStart = []byte("<body>lane ")

// number finds what write has put into a message.
func number(item []byte) (lane int, seq int64, ok bool) {
	at := bytes.Index(item, bodyStart)
	if at < 0 {
		return 0, 0, false
	}
	at += len(bodyStart)
	digits := func() (n int64) {
		for at < len(item) && item[at] >= '0' && item[at] <= '9' {
			n = 10*n + int64(item[at]-'0')
			at++
		}
		at++
		return n
	}
	lane = int(digits())
	return lane, digits(), true
}

// got takes a message at its destination.
func (t *traffic) got(item []byte) *lane {
	if isError(item) {
		t.fail("a message came back: %.300s", item)
		return nil
	}
	i, seq, ok := number(item)
	if !ok || i >= len(t.lanes) {
		return nil // not ours: a greeting of the server, say
	}
	l := t.lanes[i]
	l.mu.Lock()
	switch {
	case seq < l.expected:
		l.repeated++
	default:
		l.missing += seq - l.expected
		l.expected = seq + 1
	}
	l.mu.Unlock()
	l.arrived.Add(1)
	return l
}

func (l *lane) signal() {
	select {
	case l.wake <- struct{}{}:
	default: // it is awake
	}
}

// An inlet takes what one connection brings.
type inlet struct {
	*framer
	t       *traffic
	stanzas int                     // so far, as stream management counts them
	other   func(item []byte) error // takes what is no message
	flush   func() error            // is called when all that was read has been handled; nil for nothing
}

// run returns when the connection ends. Senders are woken once for all that came together.
func (in *inlet) run() error {
	var touched []*lane
	for {
		item, err := in.next()
		for ; err == nil && item != nil; item = in.buffered() {
			if isStanza(item) {
				in.stanzas++
			}
			if !is(item, "<message") {
				err = in.other(item)
			} else if l := in.t.got(item); l != nil {
				touched = append(touched, l)
			}
		}
		if err == nil && in.flush != nil {
			err = in.flush()
		}
		if err != nil {
			return err
		}
		for _, l := range touched {
			l.signal()
		}
		touched = touched[:0]
	}
}

// fail says why the run is worth nothing. The first few reasons are kept.
func (t *traffic) fail(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.errs) < 4 {
		t.errs = append(t.errs, fmt.Sprintf(format, args...))
	}
}

func (t *traffic) failed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.errs) > 0
}

func (t *traffic) stopped() bool {
	select {
	case <-t.stop:
		return true
	default:
		return false
	}
}

func (t *traffic) arrived() (n int64) {
	for _, l := range t.lanes {
		n += l.arrived.Load()
	}
	return n
}

// until waits for a condition; it gives up when nothing has arrived for so long, or when the run has failed.
func (t *traffic) until(patience time.Duration, holds func() bool) bool {
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	last, since := t.arrived(), time.Now()
	for !holds() {
		<-look.C
		if n := t.arrived(); n != last {
			last, since = n, time.Now()
		}
		if t.failed() || time.Since(since) > patience {
			return holds()
		}
	}
	return true
}

// unacked is how many messages were sent and not acknowledged where the server should have done so.
func (t *traffic) unacked() (n int64) {
	for _, l := range t.lanes {
		n += max(0, l.sent.Load()-l.acked.Load())
	}
	if t.source != nil && t.source.sm {
		n += t.source.sent.Load() - t.source.acked.Load()
	}
	return n
}

// settle waits for what is on its way after the senders have stopped, and says what is wrong.
func (t *traffic) settle() {
	t.until(10*time.Second, func() bool {
		if t.unacked() > 0 {
			return false
		}
		for _, l := range t.lanes {
			if sent := l.sent.Load(); l.arrived.Load() < sent {
				return false
			}
		}
		return true
	})
	unacked := t.unacked()
	var sent, lost, missing, repeated int64
	for _, l := range t.lanes {
		l.mu.Lock()
		n := l.sent.Load()
		sent += n
		lost += n - l.expected
		missing += l.missing
		repeated += l.repeated
		l.mu.Unlock()
	}
	if lost+missing+repeated+unacked != 0 {
		t.fail("of %d messages %d did not come, %d are missing or were overtaken, %d came twice or late, %d were not acknowledged",
			sent, lost, missing, repeated, unacked)
	}
}
