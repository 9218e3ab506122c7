package c2s

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"jackdaw/config"
	"jackdaw/storage"
	"jackdaw/wire"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
	"jackdaw/xmpp/stream"
)

// management is the state of XEP-0198 for one session. The session's mu guards it.
type management struct {
	id     string        // for resumption; empty if not asked for
	window time.Duration // how long it can be resumed; 0: not at all

	// What we have sent.
	acked   uint32 // the client's last h
	unacked int    // stanzas given to the session and not acknowledged
	asked   bool   // an <r/> is out
	spilled int    // of the unacknowledged, those of which only the number is left
	spillAt int    // bytes, and below stanzas, above which it is worth looking for more of them
	spillOf int
	lossy   bool   // some have been spilled: the session cannot be resumed any more
	doubt   *doubt // nil: it is answered, or was not looked at

	// What the client has sent.
	handled   uint32    // stanzas routed
	confirmed uint32    // of these, stored: what h says
	told      uint32    // the last h that we sent
	gates     []barrier // writes that must finish first, in order
	head      int
	waiting   bool // the first of gates will call back
	failed    bool // a write did not finish well: nothing after it is confirmed
	callback  func(error)
}

// A barrier holds h back until a write has finished.
type barrier struct {
	p      *storage.Pending
	h      uint32 // confirmed then
	answer bool   // the client asked at this point
}

// maxGates is how many writes may be outstanding before the reader waits for them.
const maxGates = 4096

// received counts a stanza that was routed, with the writes that it waits for.
func (s *session) received(pendings []*storage.Pending) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.sm
	if m == nil {
		return
	}
	if m.head < len(m.gates) {
		m.advance(s)
	}
	m.handled++ // modulo 2^32 (XEP-0198 §4)
	if m.head == len(m.gates) && len(pendings) == 0 && !m.failed {
		m.confirmed = m.handled
		return
	}
	for _, p := range pendings {
		m.gates = append(m.gates, barrier{p: p, h: m.handled - 1})
	}
	if len(pendings) == 0 {
		m.gates = append(m.gates, barrier{})
	}
	m.gates[len(m.gates)-1].h = m.handled
}

// asksForAck answers <r/>, when everything before it is stored. It says whether the caller must flush.
func (s *session) asksForAck() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.sm
	if m.head == len(m.gates) {
		s.tell()
		return s.wakeQueued()
	}
	m.gates = append(m.gates, barrier{h: m.handled, answer: true})
	return s.acknowledge()
}

// tell queues what is confirmed. The caller holds mu.
func (s *session) tell() {
	if s.ending || s.conn == nil {
		return
	}
	if s.queue == nil {
		s.queue = newChunk()
	}
	s.queue.buf = wire.AppendAck(s.queue.buf, s.sm.confirmed)
	s.sm.told = s.sm.confirmed
	s.measure()
}

// acknowledge lets what has been stored through and calls itself again when more is. It says whether the caller must
// flush. The caller holds mu.
func (s *session) acknowledge() bool {
	m := s.sm
	if more := m.advance(s); more && !m.waiting && !m.failed {
		m.waiting = true
		if m.callback == nil {
			m.callback = func(error) { s.srv.acks.add(s) }
		}
		// The callback takes no lock of ours, so it may run at once.
		m.gates[m.head].p.Then(m.callback)
	}
	if m.failed {
		// Nothing from the failed write on is confirmed: the client sends it again.
		s.begin(wire.Fault(stream.InternalServerError, "what was sent last could not be stored"))
	}
	return s.wakeQueued()
}

// wakeQueued is wake for a caller that does not know whether anything was queued. The caller holds mu.
func (s *session) wakeQueued() bool { return s.queue != nil && s.wake() }

// storedMore is the part of the server's worker when a write has finished.
func (s *session) storedMore() {
	s.mu.Lock()
	s.sm.waiting = false
	flush := s.acknowledge()
	s.mu.Unlock()
	if flush {
		s.Flush()
	}
}

// advance goes through the gates whose writes have finished and says whether there are others. The caller holds mu.
func (m *management) advance(s *session) (more bool) {
	for m.head < len(m.gates) && !m.failed {
		g := &m.gates[m.head]
		done, err := g.p.Finished()
		if !done {
			return true
		}
		if err != nil {
			m.failed = true
			break
		}
		m.confirmed = g.h
		if g.answer {
			s.tell()
		}
		*g = barrier{}
		m.head++
	}
	if m.head == len(m.gates) || m.failed {
		m.gates, m.head = m.gates[:0], 0
		if cap(m.gates) > 64 {
			m.gates = nil
		}
	}
	return false
}

// throttled says what the reader has to wait for before it reads on, or nil.
func (s *session) throttled() *storage.Pending {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.sm; m != nil && len(m.gates)-m.head > maxGates {
		return m.gates[m.head].p
	}
	return nil
}

// lastAck appends what the client should know at the end: h, if it has risen. The caller holds mu.
func (s *session) lastAck(dst []byte) []byte {
	if s.sm == nil {
		return dst
	}
	s.sm.advance(s)
	if s.queue != nil { // an answer that came too late to be written by itself
		dst = append(dst, s.queue.buf...)
		s.queue = nil
	}
	if s.sm.confirmed != s.sm.told {
		dst = wire.AppendAck(dst, s.sm.confirmed)
		s.sm.told = s.sm.confirmed
	}
	return dst
}

// acks takes the client's h, as in <a/> and <resume/>. What it confirms is in taken then. The caller holds mu.
func (s *session) acks(h uint32) *wire.Farewell {
	m := s.sm
	sent := 0
	for _, f := range s.flight {
		sent += len(f.marks) - f.first
	}
	n := int64(h - m.acked) // modulo 2^32
	if n > int64(sent) {
		return wire.TooHigh(h, m.acked+uint32(sent))
	}
	m.acked = h
	m.unacked -= int(n)
	for _, f := range s.flight {
		for n > 0 && f.first < len(f.marks) {
			s.pop(f)
			n--
		}
	}
	s.tidy()
	s.eased()
	s.changed()
	return nil
}

// spill forgets what an attached client has been written and has not acknowledged, as far as nothing of it would find
// another way if the session ended, such as presence: it is only needed to resume, which the session cannot from then
// on. Messages that wait for nobody but this session stay; there are no more of them than the limit, since storage
// takes what comes then. The caller holds mu.
func (s *session) spill(l *config.Limits) {
	m := s.sm
	for _, f := range s.flight {
		if f.busy || f.base+int64(len(f.buf)) > s.conn.written {
			continue
		}
		stanzas, bytes := f.spill()
		if stanzas == 0 {
			continue
		}
		// What is left of the chunk has another length; it has been written.
		f.base = s.conn.written - int64(len(f.buf))
		m.spilled += stanzas
		s.bytes -= bytes
		m.lossy = true
	}
	m.spillAt = max(l.UnackedBytes, s.bytes) + l.UnackedBytes/4
	m.spillOf = max(l.UnackedStanzas, m.unacked-m.spilled) + l.UnackedStanzas/4
}

// tidy lets go of chunks in flight of which everything is acknowledged. The caller holds mu.
func (s *session) tidy() {
	done := 0
	for _, f := range s.flight {
		if f.first < len(f.marks) || f.busy {
			break
		}
		f.free()
		done++
	}
	s.shift(done)
}

// acknowledged handles <a/>. It says whether the caller must flush.
func (s *session) acknowledged(h uint32) (flush bool, err error) {
	s.mu.Lock()
	before := s.sm.acked
	if f := s.acks(h); f != nil {
		s.mu.Unlock()
		return false, f
	}
	s.sm.asked = false
	// Sent since the last request: ask again, unless the client says the same all the time. Not if only the writer has yet
	// to come back from what is acknowledged: the answer would be taken for that, and what follows go without a request.
	if s.sm.unacked > 0 && s.queue == nil && h != before {
		s.sm.asked = true
		flush = s.nonza(wire.RequestAck)
	}
	kept := s.taken
	s.taken = nil
	s.mu.Unlock()
	s.srv.router.Taken(s.rs, kept)
	return flush, nil
}

// enable begins stream management (XEP-0198 §3), with resumption for the time of the window if there is one. It says
// whether the caller must flush.
func (s *session) enable(window time.Duration) bool {
	s.mu.Lock()
	// What was sent before does not count, and must not be mistaken for what does.
	for !s.leaving && !s.ending && s.conn != nil && !s.conn.failed && (s.queue != nil || len(s.flight) > 0) {
		if s.conn.writing {
			s.wait(nil)
			continue
		}
		s.conn.writing = true
		s.write(s.conn)
		s.mu.Lock()
	}
	defer s.mu.Unlock()
	if s.leaving || s.ending { // nothing would come of it
		return false
	}
	s.sm = newManagement(window)
	if s.sm.window > 0 {
		s.srv.resumable.add(s)
	}
	if s.conn != nil {
		s.conn.far.Managed()
	}
	return s.nonza(s.sm.enabled(s.srv.location))
}

// newManagement begins stream management. The session can be resumed within the window, if that is at least a second.
func newManagement(window time.Duration) *management {
	m := &management{}
	if window >= time.Second {
		m.id, m.window = wire.NewID(), window
	}
	return m
}

// enabled is what the client is told (XEP-0198 §3), and where to come back to, if that matters.
func (m *management) enabled(location string) string {
	if m.window == 0 {
		return "<enabled xmlns='" + xmpp.NSSM + "'/>"
	}
	if location != "" {
		location = " location='" + string(xmpp.AppendAttr(nil, location)) + "'"
	}
	most := strconv.Itoa(int(m.window / time.Second))
	return "<enabled xmlns='" + xmpp.NSSM + "' resume='true' id='" + m.id + "' max='" + most + "'" + location + "/>"
}

// resumeWindow is for how long a session can be resumed whose client enables stream management in this way (XEP-0198
// §5).
func (s *Server) resumeWindow(enable *xmpp.Element) time.Duration {
	if resume := enable.Attr("resume"); resume != "true" && resume != "1" {
		return 0
	}
	window := s.settings().ResumeWindow
	if most, err := strconv.ParseUint(enable.Attr("max"), 10, 31); err == nil { // the client may prefer less
		window = min(window, time.Duration(most)*time.Second)
	}
	return window
}

// errGone says that a session cannot be resumed any more.
var errGone = errors.New("no such session")

// resume moves the session to another connection of the same client (XEP-0198 §5). On success the caller has the
// writer's role on c, and everything that the client has not seen is queued.
func (s *session) resume(c *conn, h uint32) (handled uint32, err error) {
	s.resuming.Lock() // of two that race, the second takes over from the first
	defer s.resuming.Unlock()
	ctx, cancel := s.srv.within(10 * time.Second)
	defer cancel()

	s.mu.Lock()
	// A writer that is about to be through lets the old connection be ended politely.
	for s.conn != nil && s.conn.writing && !s.draining && !s.leaving && !s.ending && !s.wait(ctx.Done()) {
	}
	if s.sm.lossy {
		s.begin(wire.Fault(stream.Conflict, "too much was left unacknowledged to resume it"))
	}
	if s.leaving || s.ending {
		return s.came(ctx)
	}
	window := s.sm.window
	if old := s.conn; old != nil {
		// The old connection is not known dead: it is now (XEP-0198 §5).
		polite := !old.writing && !old.failed
		old.writing = old.writing || polite
		s.detach(time.Now().Add(window))
		old.dead.Store(true)
		s.mu.Unlock()
		if polite {
			old.Goodbye(old.Framing.AppendEnd(nil, wire.Fault(stream.Conflict, "resumed on another connection")))
		} else {
			_ = old.Transport.Close() // so that its writer gives up
		}
		old.Transport.Interrupt()
		s.mu.Lock()
		if polite {
			old.writing = false
			s.changed()
		}
		for !old.gone {
			if s.wait(ctx.Done()) {
				s.mu.Unlock()
				s.srv.timers.add(&s.timer, window)
				return 0, ctx.Err()
			}
		}
	}
	s.mu.Unlock()
	s.srv.timers.remove(&s.timer)

	// h must count what is still on its way to the disk, else the client sends it twice.
	s.settleAcks(ctx)

	s.mu.Lock()
	again := func() { // what the session waits for is another attempt
		s.expires = time.Now().Add(window)
		s.mu.Unlock()
		s.srv.timers.add(&s.timer, window)
	}
	m := s.sm
	switch {
	case m.failed:
		s.begin(&wire.Farewell{Cause: errLost})
		return s.came(ctx)
	case s.leaving, s.ending:
		return s.came(ctx)
	case m.head < len(m.gates):
		again()
		return 0, ctx.Err()
	}
	if f := s.acks(h); f != nil {
		again()
		return 0, f
	}
	s.requeue()
	c.writing = true
	s.conn = c
	s.woken = false
	m.told = m.confirmed
	kept := s.taken
	s.taken = nil
	s.changed()
	s.mu.Unlock()
	s.srv.router.Taken(s.rs, kept)
	return m.confirmed, nil
}

// came says how far a session that ends has come, when it has ended. The caller holds mu, which is released.
func (s *session) came(ctx context.Context) (handled uint32, err error) {
	defer s.mu.Unlock()
	for !s.ended {
		if s.wait(ctx.Done()) {
			return 0, ctx.Err()
		}
	}
	return s.sm.confirmed, errGone
}

// requeue makes one chunk of all that the client has not acknowledged. The caller holds mu.
func (s *session) requeue() {
	all := newChunk()
	for _, f := range append(s.flight, s.queue) {
		if f == nil {
			continue
		}
		for _, m := range f.marks[f.first:] {
			all.addMark(f, m)
		}
	}
	s.flight, s.queue = nil, nil
	if len(all.marks) == 0 {
		all.free()
		return
	}
	s.queue = all
}

// A registry finds sessions by the id they can be resumed with, and remembers how far those that can no more had come.
type registry struct {
	mu    sync.Mutex // guards the rest
	byID  map[string]*session
	past  map[string]past
	order []string // of past
}

type past struct {
	account jid.JID
	h       uint32
}

const maxPast = 4096

func (r *registry) add(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byID == nil {
		r.byID, r.past = map[string]*session{}, map[string]past{}
	}
	r.byID[s.sm.id] = s
}

// remove forgets an ended session but for its h (XEP-0198 §5).
func (r *registry) remove(s *session) {
	s.mu.Lock()
	h := s.sm.confirmed
	s.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byID[s.sm.id] != s {
		return
	}
	delete(r.byID, s.sm.id)
	if len(r.order) >= maxPast {
		delete(r.past, r.order[0])
		r.order = append(r.order[:0], r.order[1:]...)
	}
	r.past[s.sm.id] = past{s.addr.Bare(), h}
	r.order = append(r.order, s.sm.id)
}

// find returns the session of an account, or how far it had come; nothing of another account's.
func (r *registry) find(id string, account jid.JID) (s *session, h uint32, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.byID[id]; s != nil && s.addr.Bare() == account {
		return s, 0, true
	}
	p, ok := r.past[id]
	return nil, p.h, ok && p.account == account
}
