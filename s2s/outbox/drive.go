package outbox

import (
	"context"
	"errors"
	"runtime/debug"
	"time"

	"jackdaw/xmpp"
)

// opening is how an attempt ended.
type opening struct {
	stream Stream
	err    error
}

// drive does what there is to do for the pair, until there is nothing.
func (p *pair) drive() {
	o := p.domain.o
	defer o.running.Done()
	r := run{pair: p, timer: time.NewTimer(time.Hour)}
	for r.step() {
	}
	r.timer.Stop()
	if r.opening != nil { // Stop: the attempt's context has ended
		if got := <-r.opening; got.stream != nil {
			got.stream.Close()
		}
	}
}

// run is the goroutine of a pair.
type run struct {
	*pair
	timer   *time.Timer
	opening chan opening // of an attempt under way; nil: none
	idle    time.Time    // since when there has been nothing to do; zero: there is
}

// step does one thing, or waits for one. It says whether the goroutine is to go on.
func (r *run) step() bool {
	p, d := r.pair, r.domain
	o := d.o
	l := o.limits()
	now := time.Now()
	d.mu.Lock()
	if p.finished || o.ended() || d.closed && p.stream == nil && r.opening == nil {
		p.driving = false
		d.mu.Unlock()
		return false
	}
	if p.lost() {
		s := p.stream
		d.mu.Unlock()
		r.lost(s, nil)
		return true
	}
	if out := p.oversize(); len(out) > 0 {
		err := errTooLarge(p.Remote, p.limit)
		d.relieve(l, false)
		d.mu.Unlock()
		o.giveBack(p, out, func(*item) (*xmpp.Error, Reason) { return err, TooLarge })
		return true
	}
	if out, why := p.expired(now, l); len(out) > 0 {
		err := errTooOld(p)
		if p.stream == nil && p.why != nil {
			err = errUnreached(p)
		}
		d.relieve(l, false)
		d.mu.Unlock()
		o.giveBack(p, out, func(it *item) (*xmpp.Error, Reason) {
			if it.class&lasting == 0 && err.was != nil {
				return errorOf(err.was), Unreached
			}
			return err.Error, why
		})
		return true
	}
	if p.queue.len() > 0 {
		r.idle = time.Time{}
	}
	switch {
	case p.stream != nil:
		s := p.stream
		if xml, n := p.take(l); n > 0 {
			d.mu.Unlock()
			r.write(s, xml, n)
			return true
		}
		if p.queue.len() > 0 {
			return r.sleep(p.deadline(l), p.over)
		}
		p.queue.reuse()
		return r.rest(now, p.over)
	case r.opening != nil:
		return r.sleep(p.deadline(l), nil)
	case p.queue.len() == 0:
		return r.rest(now, nil)
	case now.Before(p.next):
		until := p.deadline(l)
		if until.IsZero() || p.next.Before(until) {
			until = p.next
		}
		return r.sleep(until, nil)
	case d.dialing >= l.Dials:
		p.wantDial = true
		return r.sleep(p.deadline(l), nil)
	default:
		p.gen++
		p.dialing, p.wantDial = true, false
		d.dialing++
		gen := p.gen
		d.mu.Unlock()
		r.open(gen)
		return true
	}
}

// write gives stanzas to the stream.
func (r *run) write(s Stream, xml []byte, n int) {
	p, d := r.pair, r.domain
	err := s.Write(xml, n)
	now := time.Now()
	d.mu.Lock()
	p.progress = now
	p.wrote()
	d.mu.Unlock()
	if err != nil {
		r.lost(s, err)
	}
}

// lost sees to what the end of a stream leaves behind; err is what writing to it ended with.
func (r *run) lost(s Stream, err error) {
	p, d := r.pair, r.domain
	cause := s.Cause()
	if cause == nil && err != nil {
		cause = asFailure(err)
	}
	l, now := d.o.limits(), time.Now()
	d.mu.Lock()
	if p.stream != s || p.finished {
		d.mu.Unlock()
		return
	}
	f, out := p.lose(now, l, cause)
	report := p.report()
	d.mu.Unlock()
	if f != nil {
		d.o.tell(f, report)
	}
	if len(out) > 0 {
		d.o.giveBack(p, out, func(*item) (*xmpp.Error, Reason) { return errRejected(p.Remote, cause), Rejected })
	}
}

// open starts an attempt.
func (r *run) open(gen uint64) {
	p, o := r.pair, r.domain.o
	c := make(chan opening, 1)
	r.opening = c
	o.running.Add(1)
	go func() {
		defer o.running.Done()
		ctx, cancel := context.WithTimeout(o.ctx, openTime)
		defer cancel()
		s, err := o.attempt(ctx, p.Pair, func(n int) { p.acked(gen, n) })
		c <- opening{s, err}
	}()
}

// attempt asks the dialer. A fault of ours in what reads the peer's bytes is not to end the server.
func (o *Outbox) attempt(ctx context.Context, p Pair, acked Acked) (s Stream, err error) {
	defer func() {
		if v := recover(); v != nil {
			o.panicked("a peer made the server panic", v)
			s, err = nil, errors.New("panic")
		}
	}()
	if s, err = o.dialer.Open(ctx, p, acked); err == nil && s == nil {
		err = errors.New("neither a stream nor an error")
	}
	return s, err
}

// panicked notes a fault of ours.
func (o *Outbox) panicked(what string, v any) {
	o.Stats.Panics.Add(1)
	o.log.Error(what, "panic", v, "stack", string(debug.Stack()))
}

// ends takes the outcome of an attempt.
func (r *run) ends(got opening) {
	p, d := r.pair, r.domain
	o := d.o
	r.opening = nil
	l := o.limits()
	now := time.Now()
	var over <-chan struct{}
	var limit int
	if got.err == nil {
		over, limit = got.stream.Over(), got.stream.Limit()
	}
	d.mu.Lock()
	p.dialing = false
	d.dialing--
	for _, other := range d.pairs {
		if other.wantDial {
			other.wakeUp()
		}
	}
	if got.err == nil {
		unwanted := p.finished || o.ended()
		if !unwanted {
			p.adopt(got.stream, over, limit, now)
		}
		d.mu.Unlock()
		if unwanted {
			got.stream.Close()
		}
		return
	}
	if o.ended() {
		d.mu.Unlock()
		return
	}
	f := asFailure(got.err)
	p.fail(now, l, f)
	var out []item
	if f.Permanent {
		out = p.empty()
		d.relieve(l, true)
	}
	report := p.report()
	d.mu.Unlock()
	o.tell(f, report)
	if len(out) > 0 {
		o.giveBack(p, out, func(*item) (*xmpp.Error, Reason) { return errorOf(f), Unreachable })
	}
}

// rest waits for a while in case there will be something to do, and ends the goroutine if not. The caller holds mu,
// which is released.
func (r *run) rest(now time.Time, over <-chan struct{}) bool {
	if r.idle.IsZero() {
		r.idle = now
	}
	until := r.idle.Add(linger)
	if now.Before(until) {
		return r.sleep(until, over)
	}
	r.pair.driving = false
	r.queue.release()
	r.domain.mu.Unlock()
	return false
}

// sleep waits until something happens or the time has come; none if it is zero. The caller holds mu, which is released.
func (r *run) sleep(until time.Time, over <-chan struct{}) bool {
	p, d := r.pair, r.domain
	p.sleeping, p.until = true, until
	d.mu.Unlock()
	var alarm <-chan time.Time
	if !until.IsZero() {
		r.timer.Reset(time.Until(until))
		alarm = r.timer.C
	}
	var got *opening
	select {
	case <-p.wake:
	case <-over:
	case <-alarm:
	case o := <-r.opening:
		got = &o
	case <-d.o.quit:
	}
	d.mu.Lock()
	if !p.sleeping { // the next sleep is not to end at once
		select {
		case <-p.wake:
		default:
		}
	}
	p.sleeping = false
	d.mu.Unlock()
	if got != nil {
		r.ends(*got)
	}
	return true
}

// ended says whether the goroutines must end.
func (o *Outbox) ended() bool {
	select {
	case <-o.quit:
		return true
	default:
		return false
	}
}

// report is what the log says of a failure.
type report struct {
	Pair
	waiting  amount
	attempts int
	next     time.Time
}

// report describes the pair. The caller holds mu.
func (p *pair) report() report {
	return report{p.Pair, p.live, p.failures, p.next}
}

// tell logs a failure: once for each attempt.
func (o *Outbox) tell(f *Failure, r report) {
	o.Stats.Failures.Add(1)
	args := []any{"peer", r.Remote, "from", r.Local, "reason", f.Text}
	if f.Err != nil {
		args = append(args, "error", f.Err)
	}
	args = append(args, "waiting", r.waiting.stanzas, "bytes", r.waiting.bytes, "attempt", r.attempts)
	if !f.Permanent {
		args = append(args, "next", time.Until(r.next).Round(time.Millisecond).String())
	}
	o.log.Info("peer not reached", args...)
}
