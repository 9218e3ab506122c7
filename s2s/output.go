package s2s

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"jackdaw/wire"
)

const (
	// maxControl is how much may wait that is not a stanza; whoever reads less than that is gone.
	maxControl = 64 << 10
	// maxPiece is how much is written before it is seen whether the peer takes anything: one record of TLS (RFC 8446
	// §5.1).
	maxPiece = 16 << 10
)

// output is what a link writes: stanzas, and control, which is everything else.
type output struct {
	spoke      atomic.Int64 // when bytes went last, Unix seconds
	stanzasOut atomic.Int64
	bytesOut   atomic.Int64 // before TLS

	wmu   sync.Mutex // held while the socket is written to; before the link's mu
	wbuf  []byte     // of whoever holds wmu
	torn  bool       // likewise: nothing more can be said, since half a stanza may be out
	until time.Time  // likewise: how long writes may take, as the connection knows

	// The link's mu guards these.
	flushing bool   // a goroutine is about to write control
	control  []byte // waits to be written between stanzas
	carriers map[*carrier]struct{}
	out      outflow
}

// write sends what negotiation says, in order with everything else.
func (l *link) write(b []byte) error {
	l.wmu.Lock()
	defer l.wmu.Unlock()
	return l.send(b)
}

// send writes b. The caller holds wmu, or is alone.
func (l *link) send(b []byte) error {
	stall := l.srv.policy().limits.WriteStall
	for len(b) > 0 {
		n := min(len(b), maxPiece)
		now := time.Now()
		var err error
		if until := now.Add(stall); until.After(l.until) { // a timer is moved seldom: it costs as much as a short stanza
			l.until = until.Add(stall / 16)
			err = l.Transport.WriteUntil(l.until)
		}
		if err == nil && l.dying.Load() { // whoever wants to have the last word waits
			err = l.Transport.WriteUntil(now.Add(wire.FarewellTime))
		}
		if err == nil {
			_, err = l.Write(b[:n])
		}
		if err != nil {
			l.torn = true
			return err
		}
		l.bytesOut.Add(int64(n))
		l.spoke.Store(now.Unix())
		b = b[n:]
	}
	return nil
}

// say has something that is not a stanza written, soon and in order. It never waits.
func (l *link) say(b []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sayLocked(b)
}

// sayLocked is say for callers that hold mu.
func (l *link) sayLocked(b []byte) {
	if l.ended {
		return
	}
	l.control = append(l.control, b...)
	if l.flushing {
		if len(l.control) > maxControl { // it sends questions and reads no answers
			go l.end(errors.New("the peer does not read"))
		}
		return
	}
	l.flushing = true
	l.srv.streams.Workers.Add(1) // the reader is one: it is not done while the link is not ended
	go func() {
		defer l.srv.streams.Workers.Done()
		l.flush()
	}()
}

// flush writes what say has been told.
func (l *link) flush() {
	l.wmu.Lock()
	defer l.wmu.Unlock()
	for {
		l.mu.Lock()
		b := l.control
		if len(b) == 0 || l.ended { // then part writes it
			l.flushing = false
			l.mu.Unlock()
			return
		}
		l.control = nil
		l.mu.Unlock()
		if err := l.send(b); err != nil {
			l.broke(err)
		}
	}
}

// broke ends a link that could not be written to. Before, its reader, which must not be the caller, has a moment to
// come to what the peer said when it closed the stream.
func (l *link) broke(err error) {
	if !isTimeout(err) {
		wire.Pause(wire.FarewellTime, l.ctx.Done())
	}
	l.end(err)
}
