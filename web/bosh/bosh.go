// Package bosh lets clients in that can only make requests over HTTP: BOSH (XEP-0124 1.11, XEP-0206). A client asks,
// and its request is held until there is something to answer; so a stream is made of requests and their responses.
//
// A session here is a net.Conn without a descriptor: what it reads is the content of requests in the order of their
// 'rid', what is written to it goes into responses. c2s serves it as it does a connection over TCP, by wire.Entry, and
// knows of BOSH only the framing. The [Handler] finds the session by its 'sid'. How requests, responses and their ids
// belong together is in session.go, the connection in conn.go, the attributes of <body/> in body.go.
//
// Left out: several streams in one session (§16), other encodings than UTF-8, compression, 'content' (a response is
// never anything but text/xml), 'route' (there is one server).
package bosh

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"jackdaw/router/gate"
	"jackdaw/wire"
	"jackdaw/xmpp/stream"
)

// The times of a session.
const (
	// longestWait is how long a request is held. Proxies give up on an answer after a minute.
	longestWait = 50 * time.Second
	// inactivity is how long there may be no request (§10). It is longer than a network needs, since a phone's takes long.
	inactivity = 60 * time.Second
	// pollInactivity is the same for a client that polls (§12).
	pollInactivity = 150 * time.Second
	// longestPause is what a client may ask for in place of inactivity (§10).
	longestPause = 150 * time.Second
	// pollEvery is how often a client may ask that has nothing to say (§11, §12). pollSlack is what the network may take
	// off it.
	pollEvery = 2 * time.Second
	pollSlack = 500 * time.Millisecond
	// pollGrace is how long a request of a client that polls is held all the same, for its own answer to get into it.
	pollGrace = 100 * time.Millisecond
	// reportAfter is how old a response is when its client is told that it has not acknowledged it (§9.2).
	reportAfter = time.Second
)

// The bounds of a session.
const (
	// mostHold is how many requests are held at once; one more may come (§7.2).
	mostHold = 1
	requests = mostHold + 1
	// wrapperBytes is what <body/> itself may add to its content.
	wrapperBytes = 4 << 10
	// mostElements is how many elements one <body/> may carry.
	mostElements = 1000
	// bodies is how many times a stanza's limit a request of a client that has logged in may be long, and how much of what
	// it sent may wait to be handled.
	bodies = 2
	// maxPiece is what one response takes of what waits, and the end of the element at its end.
	maxPiece = 256 << 10
	// mostKept is how many responses are kept (§9.2, §14.3): as many as there may be requests, and more that are small.
	mostKept = 8
	// mostParting is how many sessions that have ended wait to say why.
	mostParting = 1000
	// mostRepeats is how often one request may be sent again (§14.3).
	mostRepeats = 20
	// mostWrong is how many requests with a wrong 'rid' may come from other addresses than the client's, before none from
	// there is looked at any more.
	mostWrong = 1000
)

// Limits are those of what a client sends, an element of it each.
type Limits struct {
	Before, After stream.Limits // the login
	BodyTime      time.Duration // for the body of a request; beyond: 408
}

// Options of New.
type Options struct {
	// Take serves a session; see wire.Entry. It says false where the server is closing.
	Take func(wire.Entry) bool
	// Admit counts a session as a connection of its address, or says why there may not be another.
	Admit func(c net.Conn, from netip.Addr) (pass *gate.Pass, refusal string)
	// Allow refuses requests of pages of other origins, and answers those that only ask; nil: all are allowed.
	Allow func(w http.ResponseWriter, r *http.Request) bool
	// Source says where a request comes from, and whether nobody in between could read it.
	Source func(r *http.Request) (from netip.Addr, secure bool)
	// Known notes that the client of this request has logged in: its connection is no stranger's. Nil: nobody cares.
	Known  func(r *http.Request)
	Limits func() Limits
}

// A Handler serves BOSH at one path, over HTTP/1.1 and HTTP/2. It is safe for concurrent use.
type Handler struct {
	o Options

	mu       sync.Mutex // guards the rest
	sessions map[string]*session
	parting  []*session // those among them that have ended and have yet to say so, oldest first
}

// New returns a handler without sessions.
func New(o Options) *Handler {
	return &Handler{o: o, sessions: map[string]*session{}}
}

// Sessions is how many there are, those included that have ended and wait to say so.
func (h *Handler) Sessions() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.sessions)
}

func (h *Handler) find(sid string) *session {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sessions[sid]
}

func (h *Handler) add(s *session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sessions[s.id] = s
}

func (h *Handler) remove(s *session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.sessions, s.id)
}

// part keeps a session for a while whose client has not heard yet that it has ended, and why.
func (h *Handler) part(s *session) {
	time.AfterFunc(inactivity, func() { h.remove(s) })
	h.mu.Lock()
	defer h.mu.Unlock()
	h.parting = append(h.parting, s)
	if n := len(h.parting) - mostParting; n > 0 {
		for _, old := range h.parting[:n] {
			delete(h.sessions, old.id)
		}
		h.parting = slices.Delete(h.parting, 0, n)
	}
}

// Settle waits until all sessions that have ended have said why, or ctx has ended: their clients are between two
// requests, and the next must find somebody.
func (h *Handler) Settle(ctx context.Context) {
	h.mu.Lock()
	var waiting []*session
	for _, s := range h.parting {
		if h.sessions[s.id] == s {
			waiting = append(waiting, s)
		}
	}
	h.mu.Unlock()
	for _, s := range waiting {
		select {
		case <-s.heard:
		case <-ctx.Done():
			return
		}
	}
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h.o.Allow != nil && !h.o.Allow(w, r) {
		return
	}
	switch r.Method {
	case http.MethodPost: // §5
	case http.MethodOptions:
		w.Header().Set("Allow", "POST, OPTIONS")
		w.WriteHeader(http.StatusNoContent)
		return
	default:
		w.Header().Set("Allow", "POST, OPTIONS")
		http.Error(w, "This address is for XMPP clients, which POST to it (XEP-0124).", http.StatusMethodNotAllowed)
		return
	}
	from, secure := h.o.Source(r)
	b, s, refused := h.read(w, r, from, secure)
	if refused != nil {
		refused.write(w)
		return
	}
	q := &request{body: *b, waiter: &waiter{make(chan *reply, 1)}, from: from, at: time.Now()}
	wait := q.waiter
	if s == nil {
		if s, refused = h.create(q, secure); refused != nil {
			refused.write(w)
			return
		}
	} else {
		s.receive(q)
	}
	if h.o.Known != nil && s.authenticated() {
		h.o.Known(r)
	}
	h.hold(w, r, s, wait)
}

// writeTime is how long a response may take to be written.
const writeTime = 30 * time.Second

// hold waits for the answer to a request, and writes it.
func (h *Handler) hold(w http.ResponseWriter, r *http.Request, s *session, q *waiter) {
	// An error means that the connection is gone, or that it is a test's.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(s.wait + writeTime))
	t := time.NewTimer(s.wait)
	defer t.Stop()
	select {
	case a := <-q.answer:
		a.write(w)
	case <-t.C:
		s.overdue(q)
		(<-q.answer).write(w)
	case <-r.Context().Done():
		s.broken(q)
	}
}

// create begins a session (§7).
func (h *Handler) create(q *request, secure bool) (*session, *reply) {
	s := newSession(h, q, secure)
	pass, why := h.o.Admit(s, q.from)
	if why != "" {
		return nil, s.refusal(policyViolation)
	}
	s.pass = pass
	h.add(s)
	s.open(q)
	e := wire.Entry{Transport: wire.NewTransport(s), Framing: framing{}, Secure: secure, From: q.from, Pass: pass}
	if !h.o.Take(e) {
		s.pass.Leave()
		s.abort("system-shutdown")
	}
	return s, nil
}
