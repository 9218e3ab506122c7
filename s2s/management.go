package s2s

import (
	"context"
	"errors"
	"strconv"
	"time"

	"jackdaw/s2s/outbox"
	"jackdaw/storage"
	"jackdaw/wire"
	"jackdaw/xmpp"
	"jackdaw/xmpp/stream"
)

const (
	// resumeWindow is how long a lost stream can be resumed (XEP-0198 §5), by either side; no more than so many at a time.
	resumeWindow = 5 * time.Minute
	maxResumable = 1000
	// maxGates is how many writes may be outstanding before the reader waits for them.
	maxGates = 4096
)

// inflow is stream management of what the peer sends (XEP-0198). The link's mu guards it.
type inflow struct {
	id        string    // for the peer to resume with; "" not at all
	handled   uint32    // stanzas routed
	confirmed uint32    // of these, safe: what h says
	told      uint32    // the last h that we sent
	gates     []barrier // writes that must finish first, in order
	head      int       // of gates
	waiting   bool      // one of gates will call back
	failed    bool      // a write did not finish well: nothing after it is confirmed
	wanted    bool      // the peer has asked and was not answered
	upTo      uint32    // what was handled when it first did
	asked     uint32    // and when it last did
}

// A barrier holds h back until a write has finished.
type barrier struct {
	p *storage.Pending
	h uint32 // confirmed then
}

// received counts a stanza that was routed, with the writes that it waits for. The reader calls it.
func (l *link) received(pendings []*storage.Pending) {
	l.mu.Lock()
	in := l.in
	in.handled++ // modulo 2^32 (XEP-0198 §4)
	waits := false
	for _, p := range pendings {
		if done, err := p.Finished(); !done || err != nil {
			in.gates = append(in.gates, barrier{p, in.handled - 1})
			waits = true
		}
	}
	switch {
	case in.failed:
	case waits:
		in.gates[len(in.gates)-1].h = in.handled
	case in.head < len(in.gates):
		in.gates = append(in.gates, barrier{nil, in.handled})
	default:
		in.confirmed = in.handled
	}
	p := l.advance()
	l.mu.Unlock()
	if p != nil {
		p.Then(l.stored)
	}
}

// step lets through what has been stored, and has itself called again when that is as much as the peer waits for.
func (l *link) step() {
	l.mu.Lock()
	p := l.advance()
	l.mu.Unlock()
	if p != nil {
		p.Then(l.stored)
	}
}

// pass goes through the gates whose writes have finished. The caller holds the link's mu.
func (in *inflow) pass() {
	for in.head < len(in.gates) && !in.failed {
		g := &in.gates[in.head]
		done, err := g.p.Finished()
		if !done {
			break
		}
		if in.failed = err != nil; in.failed {
			break
		}
		in.confirmed = g.h
		*g = barrier{}
		in.head++
	}
	switch {
	case in.head == len(in.gates):
		if in.gates, in.head = in.gates[:0], 0; cap(in.gates) > maxGates {
			in.gates = nil
		}
	case in.head > maxGates/4:
		left := copy(in.gates, in.gates[in.head:])
		clear(in.gates[left:])
		in.gates, in.head = in.gates[:left], 0
	}
}

// goal is the write that ends what the peer waits for, if it comes last, as mostly. Called back by each, one would have
// a callback for every stanza. The caller holds the link's mu, and there are gates.
func (in *inflow) goal() *storage.Pending {
	i := len(in.gates) - 1
	for i > in.head && (int32(in.gates[i-1].h-in.upTo) >= 0 || in.gates[i].p == nil) {
		i--
	}
	if done, _ := in.gates[i].p.Finished(); done { // those before must do so yet
		i = in.head
	}
	return in.gates[i].p
}

// advance goes through the gates, answers the peer if that is due, and returns the write to be called back by, if any.
// The caller holds mu and then calls Then without it.
func (l *link) advance() *storage.Pending {
	in := l.in
	in.pass()
	switch {
	case in.failed:
		in.gates, in.head = nil, 0
		if !l.ended { // nothing from the failed write on is confirmed: the peer sends it again
			l.srv.streams.Workers.Add(1) // the reader is one
			go func() {
				defer l.srv.streams.Workers.Done()
				l.part(wire.Fault(stream.InternalServerError, "what was sent last could not be stored"))
			}()
		}
		return nil
	case in.wanted && int32(in.confirmed-in.upTo) >= 0:
		in.wanted, in.upTo = int32(in.asked-in.confirmed) > 0, in.asked
		in.told = in.confirmed
		l.sayLocked(wire.AppendAck(nil, in.confirmed))
	}
	if in.head == len(in.gates) || in.waiting || !in.wanted {
		return nil
	}
	in.waiting = true
	return in.goal()
}

// stored is called when the gate that was waited for has opened.
func (l *link) stored(error) {
	l.mu.Lock()
	l.in.waiting = false
	l.mu.Unlock()
	l.step()
}

// throttle waits where too many writes are outstanding.
func (l *link) throttle() {
	if l.in == nil {
		return
	}
	for {
		l.mu.Lock()
		var p *storage.Pending
		if len(l.in.gates)-l.in.head > maxGates && !l.ended {
			p = l.in.gates[l.in.head].p
		}
		l.mu.Unlock()
		if p == nil {
			return
		}
		_ = p.Wait(l.ctx) // the outcome is looked at where it counts
		l.step()
	}
}

// lastAck appends what the peer should know at the end. The caller holds mu.
func (l *link) lastAck(b []byte) []byte {
	if l.in == nil {
		return b
	}
	if l.in.pass(); l.in.confirmed == l.in.told {
		return b
	}
	l.in.told = l.in.confirmed
	return wire.AppendAck(b, l.in.confirmed)
}

// managed handles the elements of stream management, but for the answers that whoever opens a link waits for.
func (l *link) managed(what string, raw []byte) error {
	switch {
	case what == "a":
		h, err := wire.Height(raw)
		if err != nil {
			return err
		}
		return l.ackFrom(h)
	case what == "r" && l.in != nil:
		l.mu.Lock()
		if in := l.in; !in.wanted {
			in.wanted, in.upTo = true, in.handled
		}
		l.in.asked = l.in.handled
		l.mu.Unlock()
		l.step()
		return nil
	case what == "enable" && !l.outgoing && l.known.Load():
		if l.in != nil { // XEP-0198 §3: at most one attempt
			return wire.Fault(stream.PolicyViolation, "stream management is on")
		}
		return l.enable(raw)
	case what == "resume" && !l.outgoing && l.known.Load() && l.in == nil:
		return l.resume(raw)
	case what == "r", what == "enable", what == "resume":
		l.say([]byte(wire.Failed(xmpp.CondUnexpectedRequest))) // XEP-0198 §3
	}
	return nil // an answer that nobody waits for any more
}

// enable begins stream management for a peer (XEP-0198 §3).
func (l *link) enable(raw []byte) error {
	el, err := xmpp.ParseElement(raw)
	if err != nil {
		return wire.Fault(stream.BadFormat, "")
	}
	in := &inflow{}
	answer := "<enabled xmlns='" + xmpp.NSSM + "'/>"
	if r := el.Attr("resume"); r == "true" || r == "1" {
		in.id = wire.NewID()
		most := strconv.Itoa(int(resumeWindow / time.Second))
		answer = "<enabled xmlns='" + xmpp.NSSM + "' resume='true' id='" + in.id + "' max='" + most + "'/>"
	}
	l.manage(in, []byte(answer), 0)
	return nil
}

// manage turns stream management on for both directions of a stream that a peer has opened; its last h of ours was h.
func (l *link) manage(in *inflow, answer []byte, h uint32) {
	l.wmu.Lock() // so that nothing is counted that is written before the answer, and all that is behind it
	defer l.wmu.Unlock()
	l.mu.Lock()
	l.in = in
	o := &l.out
	o.sm, o.base, o.h, o.acked, o.asked = true, o.written, h, 0, false
	if o.ping != "" {
		l.srv.mu.Lock()
		delete(l.srv.pings, o.ping)
		l.srv.mu.Unlock()
		o.ping = ""
	}
	if in.id != "" {
		l.srv.mu.Lock()
		l.srv.resumable[in.id] = l
		l.srv.mu.Unlock()
	}
	b := append(l.control, answer...)
	l.control = nil
	unacked := o.written > o.taken
	if unacked {
		b = append(b, wire.RequestAck...)
		o.asked, o.askedAt = true, time.Now()
	}
	l.mu.Unlock()
	if err := l.send(b); err != nil {
		l.end(err)
	}
}

// parked is what a peer may resume: its link's inflow.
type parked struct {
	l       *link
	expires time.Time
}

// settle keeps what a peer may resume when the reader has come to its end.
func (s *Server) settle(l *link) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.in == nil || l.in.id == "" || l.outgoing {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.resumable, l.in.id)
	if !l.broken || s.streams.Closed() {
		return
	}
	if len(s.parked) >= maxResumable {
		for id := range s.parked { // any: they are all within minutes
			delete(s.parked, id)
			break
		}
	}
	s.parked[l.in.id] = &parked{l, time.Now().Add(resumeWindow)}
}

// forget lets go of what can no longer be resumed.
func (s *Server) forget(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, p := range s.parked {
		if now.After(p.expires) {
			delete(s.parked, id)
		}
	}
	for p, o := range s.lost {
		if now.After(o.expires) {
			delete(s.lost, p)
		}
	}
}

// resume answers <resume/> (XEP-0198 §5). What was proved is not resumed: the peer has just proved it anew.
func (l *link) resume(raw []byte) error {
	el, err := xmpp.ParseElement(raw)
	h, bad := wire.Height(raw)
	if err != nil || bad != nil {
		return wire.Fault(stream.BadFormat, "")
	}
	s, id := l.srv, el.Attr("previd")
	s.mu.Lock()
	old := s.resumable[id]
	if p := s.parked[id]; p != nil {
		old = p.l
	}
	s.mu.Unlock()
	if old == nil || old == l || !old.sharesPair(l) {
		l.say([]byte(wire.Failed(xmpp.CondItemNotFound)))
		return nil
	}
	ctx, cancel := context.WithTimeout(l.ctx, 10*time.Second)
	defer cancel()
	old.end(errors.New("resumed on another connection")) // it is not known dead, perhaps: it is now
	select {
	case <-old.done:
	case <-ctx.Done():
		l.say([]byte(wire.Failed(xmpp.CondItemNotFound)))
		return nil
	}
	s.mu.Lock()
	p := s.parked[id]
	delete(s.parked, id) // only one can have it
	s.mu.Unlock()
	if p == nil {
		l.say([]byte(wire.Failed(xmpp.CondItemNotFound)))
		return nil
	}
	safe := old.safe(ctx)
	in := &inflow{id: id, handled: safe, confirmed: safe, told: safe}
	s.Stats.Resumptions.Add(1)
	b := append([]byte("<resumed xmlns='"+xmpp.NSSM+"' previd='"), xmpp.AppendAttr(nil, id)...)
	b = append(b, "' h='"...)
	b = append(strconv.AppendUint(b, uint64(safe), 10), "'/>"...)
	l.manage(in, b, h)
	return nil
}

// sharesPair says whether both links have proved the same pair.
func (l *link) sharesPair(o *link) bool {
	o.mu.Lock()
	var pairs []outbox.Pair
	for p := range o.proved {
		pairs = append(pairs, p)
	}
	o.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range pairs {
		if _, ok := l.proved[p]; ok {
			return true
		}
	}
	return false
}

// safe waits until what an ended link has routed is stored, and returns h.
func (l *link) safe(ctx context.Context) uint32 {
	for {
		l.mu.Lock()
		if l.in == nil {
			l.mu.Unlock()
			return 0
		}
		l.advance() // whoever is called back meanwhile does the same
		h := l.in.confirmed
		var p *storage.Pending
		if l.in.head < len(l.in.gates) {
			p = l.in.gates[l.in.head].p
		}
		l.mu.Unlock()
		if p == nil || p.Wait(ctx) != nil && ctx.Err() != nil {
			return h
		}
	}
}

// lost is what we may resume: the flights of an ended link.
type lost struct {
	l       *link
	expires time.Time
}

// retire takes a link that ends out of use. The caller holds the link's mu.
func (s *Server) retire(l *link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.outgoing {
		list := s.out[l.remote]
		for i, one := range list {
			if one == l {
				list = append(list[:i:i], list[i+1:]...)
				break
			}
		}
		if s.out[l.remote] = list; len(list) == 0 {
			delete(s.out, l.remote)
		}
	}
	for p := range l.granted {
		if s.back[p] == l {
			delete(s.back, p)
		}
	}
	if l.out.ping != "" {
		delete(s.pings, l.out.ping)
	}
	if !l.outgoing || !l.out.sm || l.out.id == "" || !l.broken || s.streams.Closed() {
		return
	}
	p := outbox.Pair{Local: l.local, Remote: l.remote}
	if _, had := s.lost[p]; !had && len(s.lost) >= maxResumable {
		return
	}
	s.lost[p] = &lost{l, time.Now().Add(resumeWindow)}
}

// manageOwn turns stream management on for a link that we have just opened, resuming an earlier one if the peer still
// knows it.
func (l *link) manageOwn(ctx context.Context, p outbox.Pair, acked outbox.Acked) error {
	s := l.srv
	s.mu.Lock()
	was := s.lost[p]
	delete(s.lost, p)
	s.mu.Unlock()
	if was != nil {
		resumed, answered, err := l.resumeOwn(ctx, p, was.l, acked)
		if !answered {
			s.mu.Lock()
			s.lost[p] = was // another attempt may
			s.mu.Unlock()
		}
		if resumed || err != nil {
			return err
		}
	}
	if err := l.write([]byte("<enable xmlns='" + xmpp.NSSM + "' resume='true'/>")); err != nil {
		return err
	}
	return l.await(func(name xmpp.Name, raw []byte) (bool, error) {
		switch name {
		case xmpp.Name{Space: xmpp.NSSM, Local: "enabled"}:
			el, err := xmpp.ParseElement(raw)
			if err != nil {
				return false, wire.Fault(stream.BadFormat, "")
			}
			l.mu.Lock()
			defer l.mu.Unlock()
			l.in, l.out.sm = &inflow{}, true
			if r := el.Attr("resume"); r == "true" || r == "1" {
				l.out.id = el.Attr("id")
			}
			return true, nil
		case xmpp.Name{Space: xmpp.NSSM, Local: "failed"}:
			return true, nil // then without
		}
		return false, nil
	})
}

// resumeOwn asks the peer to go on with the stream of an ended link (XEP-0198 §5).
func (l *link) resumeOwn(ctx context.Context, p outbox.Pair, old *link, acked outbox.Acked) (
	resumed, answered bool, err error) {
	select {
	case <-old.done:
	case <-ctx.Done():
		return false, false, ctx.Err()
	}
	safe := old.safe(ctx)
	old.mu.Lock()
	id := old.out.id
	old.mu.Unlock()
	b := append([]byte("<resume xmlns='"+xmpp.NSSM+"' previd='"), xmpp.AppendAttr(nil, id)...)
	b = append(b, "' h='"...)
	b = append(strconv.AppendUint(b, uint64(safe), 10), "'/>"...)
	if err := l.write(b); err != nil {
		return false, false, err
	}
	err = l.await(func(name xmpp.Name, raw []byte) (bool, error) {
		if name.Space != xmpp.NSSM || name.Local != "resumed" && name.Local != "failed" {
			return false, nil
		}
		answered = true
		h, bad := wire.Height(raw)
		if resumed = name.Local == "resumed"; resumed && bad != nil {
			return false, bad
		}
		if bad == nil {
			if err := old.creditLost(p, h, acked); err != nil {
				return false, err
			}
		}
		if resumed {
			l.mu.Lock()
			l.in = &inflow{handled: safe, confirmed: safe, told: safe}
			l.out.sm, l.out.id, l.out.h = true, id, h
			l.mu.Unlock()
			l.srv.Stats.Resumed.Add(1)
		}
		return true, nil
	})
	return resumed, answered, err
}

// creditLost tells a pair what the peer had taken of an ended link.
func (l *link) creditLost(p outbox.Pair, h uint32, acked outbox.Acked) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	o := &l.out
	n := int64(h - o.h) // modulo 2^32
	if n > o.written-o.base-o.acked {
		return wire.Fault(stream.UndefinedCondition, "you acknowledged more than you were sent")
	}
	n = o.base + o.acked + n - o.taken
	mine := 0
	for _, f := range o.flight {
		k := min(int64(f.n), n)
		if n -= k; f.c.pair == p {
			mine += int(k)
		}
	}
	if mine > 0 {
		acked(mine)
	}
	return nil
}
