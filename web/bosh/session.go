package bosh

import (
	"cmp"
	"crypto/sha1"
	"encoding/hex"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"jackdaw/router/gate"
	"jackdaw/wire"
	"jackdaw/xmpp"
)

// A session is a stream of a client: requests in, responses out, and between them what c2s reads and writes as a
// connection (conn.go).
//
// Requests are taken up in the order of their 'rid'. One that came before another with a lower 'rid' waits in early;
// those taken up are in held until they are answered, the oldest first; answers are kept for a client that did not get
// them.
type session struct {
	h       *Handler
	id      string
	pass    *gate.Pass
	secure  bool
	legacy  bool   // the client knows no conditions (§17.1)
	acks    bool   // the client acknowledges responses (§9.2)
	polls   bool   // §12
	ver     string // of BOSH
	host    string
	xmpp    string // the version of XMPP
	seconds uint64 // of 'wait'
	wait    time.Duration

	mu    sync.Mutex // guards the rest
	owner netip.Addr // where the last request came from that was right
	wrong int        // requests from elsewhere that were not
	last  uint64     // the 'rid' up to which all requests have been taken up
	at    time.Time  // when the last of them came
	idle  bool       // it said nothing, and nothing has been said since
	key   string     // what the next key must have made (§15); empty: there are no keys
	early []*request
	held  []*request
	kept  []*kept

	begun  bool // the first request has been taken up
	opened bool // the first response is out
	parts  bool // the client has said that it ends the session
	over   bool // nothing is taken up or written any more
	words  *reply
	heard  chan struct{} // closed when words have been said; made with them

	patience time.Duration // how long there may be no request now
	absent   *time.Timer   // runs out after that; nil while there is a request
	since    time.Time     // when it was stopped last

	input
	output
}

// A request is one that has no answer yet.
type request struct {
	body
	*waiter // nil: nobody waits for the answer any more
	from    netip.Addr
	at      time.Time
	again   int           // how often it has been sent again
	end     int64         // where its content ends in what is read
	report  uint64        // the response that its client has not acknowledged (§9.2); 0: none
	ago     time.Duration // how long that has been out
}

// A waiter waits for an answer, which it has room for.
type waiter struct{ answer chan *reply }

// kept is a response that may have to be sent again (§14.3).
type kept struct {
	*reply
	rid   uint64
	key   string
	at    time.Time
	again int
}

func newSession(h *Handler, q *request, secure bool) *session {
	s := &session{h: h, id: wire.NewID(), secure: secure, legacy: q.ver == "", acks: q.ack.set, ver: version(q.ver),
		host: q.to, xmpp: cmp.Or(q.version, "1.0"), owner: q.from, last: q.rid - 1, at: q.at, patience: inactivity}
	s.seconds = min(q.wait.or(uint64(longestWait/time.Second)), uint64(longestWait/time.Second))
	s.wait = time.Duration(s.seconds) * time.Second
	if s.polls = s.seconds == 0 || q.hold.or(mostHold) == 0; s.polls {
		s.patience, s.wait = pollInactivity, pollGrace
	}
	s.readable.L, s.writable.L = &s.mu, &s.mu
	return s
}

// authenticated says whether the client has logged in.
func (s *session) authenticated() bool { return s.pass.Authenticated() }

// open takes up the first request.
func (s *session) open(q *request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.early = []*request{q}
	s.advance()
}

// expects says whether a request of this 'rid' would be a new one in its place.
func (s *session) expects(b *body, from netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.over && !s.barred(from) && s.inWindow(b) && find(s.early, b.rid) == nil
}

// inWindow says whether a 'rid' is new and within the window (§14.2). A request that pauses or ends the session may be
// one more (§11).
func (s *session) inWindow(b *body) bool {
	window := uint64(requests)
	if b.leaves() {
		window++
	}
	return b.rid > s.last && b.rid <= s.last+window
}

// barred says whether nothing from there is looked at any more: somebody who knows the 'sid' has been guessing.
func (s *session) barred(from netip.Addr) bool { return s.wrong >= mostWrong && !s.owns(from) }

// owns says whether an address is that of the client.
func (s *session) owns(from netip.Addr) bool {
	return gate.Neighbourhood(from) == gate.Neighbourhood(s.owner)
}

// gone says whether the session has ended and its client has been told, or cannot be. The caller holds mu.
func (s *session) gone() bool { return s.over && s.words == nil }

// receive takes a request in. It gets its answer now or later.
func (s *session) receive(q *request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch k := s.keptFor(q.rid); {
	case s.gone(), s.barred(q.from):
		q.answer <- s.refusal(itemNotFound)
	case k != nil: // §14.3: the same answer again
		if k.again++; k.key != q.key {
			s.mistake(q)
		} else if k.again > mostRepeats {
			s.shut(policyViolation, q)
		} else {
			q.answer <- k.reply
		}
	case find(s.held, q.rid) != nil:
		s.repeat(find(s.held, q.rid), q)
	case find(s.early, q.rid) != nil:
		s.repeat(find(s.early, q.rid), q)
	case !s.inWindow(&q.body): // §14.2, and §14.3: the same error if there is no answer any more
		s.mistake(q)
	case !q.read && !s.over: // it was not expected when it came, and is now
		q.answer <- recoverable
	default:
		s.early = append(s.early, q)
		s.present()
		s.advance()
	}
}

// repeat puts a request in the place of one that was the same and has no answer yet (§14.3).
func (s *session) repeat(p, q *request) {
	switch p.again++; {
	case p.key != q.key:
		s.mistake(q)
		return
	case p.again > mostRepeats:
		s.shut(policyViolation, q)
		return
	}
	if p.waiter != nil {
		p.answer <- recoverable
	}
	p.waiter, p.from = q.waiter, q.from
	s.present()
	s.advance()
}

// recoverable tells a client that its request lives on in another (§17.3).
var recoverable = &reply{status: http.StatusOK, body: []byte(bodyStart + " type='error'/>")}

// mistake answers a request with a 'rid' or a key that is not the session's. From the client's address it ends the
// session (§14.2, §15.4). From anywhere else it does not: then whoever has got to know a 'sid', and no more, could end
// it. The answer is the same.
func (s *session) mistake(q *request) {
	if s.owns(q.from) {
		s.shut(itemNotFound, q)
		return
	}
	s.wrong++
	q.answer <- s.refusal(itemNotFound)
}

// refusal is the answer to a request that a session does not take.
func (s *session) refusal(condition string) *reply {
	a := terminal(condition)
	if status := legacyStatus[condition]; s.legacy && status != 0 {
		a.status = status
	}
	return a
}

// advance takes up the requests whose turn it is. While much of what came before has not been read, they wait. Where
// the session has ended without a request to say so in, the next one gets that: the client takes answers in the order
// of its requests (§14.2), and one that has overtaken it waits. The caller holds mu.
func (s *session) advance() {
	for !s.gone() && s.unread() <= bodies*s.h.o.Limits().After.Bytes {
		q := find(s.early, s.last+1)
		if q == nil {
			break
		}
		s.early = slices.DeleteFunc(s.early, func(e *request) bool { return e == q })
		if !s.fits(q) {
			s.mistake(q)
			break
		}
		if s.over {
			q.answer <- s.words
			s.settle()
			break
		}
		s.admit(q)
	}
	s.ease()
	s.alone()
}

// fits says whether a request has the key that it must have (§15.4), and takes note of the next.
func (s *session) fits(q *request) bool {
	if s.begun && s.key != "" {
		sum := sha1.Sum([]byte(q.key))
		if q.key == "" || hex.EncodeToString(sum[:]) != s.key {
			return false
		}
	}
	if s.key != "" || !s.begun {
		s.key = strings.ToLower(cmp.Or(q.newkey, q.key))
	}
	return true
}

// admit takes up a request. The caller holds mu.
func (s *session) admit(q *request) {
	first := !s.begun
	since := q.at.Sub(s.at)
	s.begun = true
	s.last, s.at, s.owner = q.rid, q.at, q.from
	s.acknowledged(q)
	waiting := 1
	for _, p := range s.held {
		if p.waiter != nil {
			waiting++
		}
	}
	often := !first && q.empty() && since < pollEvery-pollSlack
	switch {
	case waiting > requests && !q.leaves(), // §11
		often && !s.polls && waiting == requests, // §11
		often && s.polls && s.idle:               // §12
		s.shut(policyViolation, q)
		return
	}
	s.idle = q.empty()
	s.patience = inactivity
	if s.polls {
		s.patience = pollInactivity
	}
	switch {
	case first, q.restart: // XEP-0206 §5: what comes with it is ignored
		s.in = s.appendHeader(s.in, q)
	case q.count > 0:
		s.in = append(s.in, q.content...)
	default: // a sign of life, as white space is over TCP
		s.in = append(s.in, ' ')
	}
	if q.terminate { // §13
		s.in = append(s.in, "</stream:stream>"...)
		s.parts = true
	}
	q.content = nil
	q.end = s.taken + int64(len(s.in))
	s.held = append(s.held, q)
	s.readable.Broadcast()
	if q.pause.set && !s.parts { // §10
		s.patience = time.Duration(min(q.pause.n, uint64(longestPause/time.Second))) * time.Second
		for len(s.held) > 0 {
			s.respond(nil, false, "")
		}
	}
}

// appendHeader appends the header of a stream, as the client would have sent it over TCP. Its values are for c2s to
// judge.
func (s *session) appendHeader(dst []byte, q *request) []byte {
	dst = append(dst, "<stream:stream xmlns='"+xmpp.NSClient+"' xmlns:stream='"+xmpp.NSStream+"'"...)
	dst = appendAttr(dst, "to", cmp.Or(q.to, s.host))
	dst = appendAttr(dst, "from", q.sender)
	dst = appendAttr(dst, "xml:lang", q.lang)
	return append(appendAttr(dst, "version", s.xmpp), '>')
}

// acknowledged forgets the responses that the client is known to have (§9.2, §14.3).
func (s *session) acknowledged(q *request) {
	switch {
	case s.acks && !q.ack.set: // it has all
		s.kept = nil
	case s.acks:
		s.kept = slices.DeleteFunc(s.kept, func(k *kept) bool { return k.rid <= q.ack.n })
		if k := s.keptFor(q.ack.n + 1); k != nil && q.at.Sub(k.at) >= reportAfter {
			q.report, q.ago = k.rid, q.at.Sub(k.at)
		}
	}
}

// ease answers the requests that need not be held, and has the next carry what waits. What a request brought is read
// before it gets an answer only to make place for another, so that nobody sends more than is read. The caller holds mu.
func (s *session) ease() {
	for len(s.held) > 0 && !s.parts && !s.over {
		q := s.held[0]
		read := s.taken >= q.end
		switch {
		case q.waiter == nil && len(s.held) > 1: // it is asked for again, or never
		case read && (len(s.held) > mostHold || q.report > 0):
		default:
			s.writable.Broadcast()
			return
		}
		s.respond(nil, false, "")
	}
}

// respond answers the oldest request that is held. The caller holds mu.
func (s *session) respond(content []byte, end bool, condition string) {
	q := s.held[0]
	s.held = slices.Delete(s.held, 0, 1)
	a := s.compose(q, content, end, condition)
	if q.waiter != nil {
		q.answer <- a
	}
	if len(content) > 0 {
		s.idle = false
	}
	if end {
		return
	}
	s.keep(&kept{reply: a, rid: q.rid, key: q.key, at: time.Now()})
}

// keep keeps a response, and of those before it as many as there may be requests; more as long as they are small, for a
// client that acknowledges or has gone on with a response missing. The caller holds mu.
func (s *session) keep(k *kept) {
	s.kept = append(s.kept, k)
	size := 0
	for i, k := range slices.Backward(s.kept) {
		size += len(k.body)
		if n := len(s.kept) - i; n > requests && (n > mostKept || size > maxPiece) {
			s.kept = slices.Delete(s.kept, 0, i+1)
			return
		}
	}
}

// compose makes the response to a request.
func (s *session) compose(q *request, content []byte, end bool, condition string) *reply {
	b := append(make([]byte, 0, 512+len(content)), bodyStart...)
	if end {
		b = appendTerminate(b, condition)
	}
	switch {
	case !s.opened && !end: // §7.2, XEP-0206 §4
		s.opened = true
		b = appendAttr(b, "sid", s.id)
		b = appendNumber(b, "wait", s.seconds)
		b = appendNumber(b, "requests", requests)
		b = appendNumber(b, "hold", mostHold)
		if !s.legacy {
			b = appendAttr(b, "ver", s.ver)
		}
		b = appendNumber(b, "polling", uint64(pollEvery/time.Second))
		b = appendNumber(b, "inactivity", uint64(s.patience/time.Second))
		b = appendNumber(b, "maxpause", uint64(longestPause/time.Second))
		b = appendNumber(b, "ack", q.rid)
		b = appendAttr(b, "from", s.host)
		b = append(b, " xmlns:xmpp='"+xmpp.NSBOSH+"' xmpp:version='1.0' xmpp:restartlogic='true'"...)
	case s.last > q.rid && !end: // §9.1
		b = appendNumber(b, "ack", s.last)
	}
	if q.report > 0 {
		b = appendNumber(b, "report", q.report)
		b = appendNumber(b, "time", uint64(q.ago/time.Millisecond))
	}
	if len(content) == 0 {
		b = append(b, "/>"...)
	} else {
		b = append(append(append(b, '>'), content...), "</body>"...)
	}
	a := &reply{status: http.StatusOK, body: b}
	if status := legacyStatus[condition]; s.legacy && status != 0 {
		a.status = status
	}
	return a
}

// overdue answers a request that has been held for long enough.
func (s *session) overdue(w *waiter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	is := func(q *request) bool { return q.waiter == w }
	if i := slices.IndexFunc(s.early, is); i >= 0 { // what comes before it is still missing (§17.3)
		s.early = slices.Delete(s.early, i, i+1)
		w.answer <- recoverable
	}
	for n := slices.IndexFunc(s.held, is); n >= 0; n-- {
		s.respond(nil, false, "")
	}
	s.alone()
}

// broken notes that nobody waits for an answer any more.
func (s *session) broken(w *waiter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	is := func(q *request) bool { return q.waiter == w }
	s.early = slices.DeleteFunc(s.early, is)
	if i := slices.IndexFunc(s.held, is); i >= 0 {
		s.held[i].waiter = nil
		s.ease()
	}
	s.alone()
}

// present notes that there is a request. The caller holds mu.
func (s *session) present() {
	if s.absent != nil {
		s.absent.Stop()
		s.absent, s.since = nil, time.Now()
		s.writable.Broadcast() // whoever writes is less patient now
	}
}

// alone begins to wait for the next request, if there is none. The caller holds mu.
func (s *session) alone() {
	alive := func(q *request) bool { return q.waiter != nil }
	if s.over || s.absent != nil || slices.ContainsFunc(s.held, alive) || slices.ContainsFunc(s.early, alive) {
		return
	}
	var t *time.Timer
	t = time.AfterFunc(s.patience, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.absent == t { // §10: the client is not informed
			s.shut("", nil)
		}
	})
	s.absent = t
}

// abort ends the session from outside.
func (s *session) abort(condition string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shut(condition, nil)
}

// shut ends the session as a connection that is lost. The condition is for the request that is to blame; without one it
// is for the oldest. The caller holds mu.
func (s *session) shut(condition string, blamed *request) {
	if !s.over {
		if blamed != nil {
			s.held = slices.DeleteFunc(s.held, func(q *request) bool { return q == blamed })
			s.finish(nil, "other-request")
		} else {
			s.finish(nil, condition)
		}
		s.settle()
	} else if s.words != nil && blamed != nil {
		s.settle()
	}
	s.closed = true
	if blamed != nil && blamed.waiter != nil {
		blamed.answer <- s.refusal(condition)
	}
}

// finish ends the session: the oldest request that is held gets what is to be said, the others an empty answer (§13).
// It says whether there was one. The caller holds mu.
func (s *session) finish(content []byte, condition string) (said bool) {
	for len(s.held) > 0 {
		switch {
		case s.held[0].waiter == nil:
			s.held = slices.Delete(s.held, 0, 1)
		case said:
			s.respond(nil, false, "")
		default:
			s.respond(content, true, condition)
			said = true
		}
	}
	s.present()
	s.over = true
	s.in, s.out = nil, nil
	s.readable.Broadcast()
	s.writable.Broadcast()
	return said
}

// settle leaves a session that has ended, with an empty answer to the requests that wait for their turn (§13). The
// caller holds mu.
func (s *session) settle() {
	for _, q := range s.early {
		q.answer <- &reply{status: http.StatusOK, body: []byte(bodyStart + "/>")}
	}
	s.early, s.kept = nil, nil
	if s.words != nil {
		s.words = nil
		close(s.heard)
	}
	s.h.remove(s)
}

func find(in []*request, rid uint64) *request {
	for _, q := range in {
		if q.rid == rid {
			return q
		}
	}
	return nil
}

func (s *session) keptFor(rid uint64) *kept {
	for _, k := range s.kept {
		if k.rid == rid {
			return k
		}
	}
	return nil
}
