package wire

import (
	"context"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"jackdaw/config"
	"jackdaw/router/gate"
	"jackdaw/xmpp/stream"
)

// A Service is what the streams of one kind have in common, those of clients, of peers or of components: where they
// come in, which there are, and how all of them end. S is a stream as its package knows it. The exported fields are set
// before the first call and stay.
type Service[S comparable] struct {
	Who     string // is at the other end, for the log: "client"
	Log     *slog.Logger
	Gate    *gate.Keeper
	Limits  func() *config.Limits
	Framing Framing
	Header  stream.Header // for those who are turned away; each gets its own id

	Accepted, Refused, Panics *atomic.Int64
	OnRefused                 func(from netip.Addr, why string) // nil: nobody wants to know

	// Workers counts goroutines that end by themselves when their streams have.
	Workers sync.WaitGroup

	closed    atomic.Bool
	mu        sync.Mutex // guards the rest, and is held when closed is set
	shut      chan struct{}
	listeners map[net.Listener]struct{}
	streams   map[S]struct{}
}

// Open makes a service ready.
func (s *Service[S]) Open() {
	s.shut = make(chan struct{})
	s.listeners, s.streams = map[net.Listener]struct{}{}, map[S]struct{}{}
	if s.Gate == nil {
		s.Gate = new(gate.Keeper)
	}
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
}

// Serve gives connections to accept, which must not wait, until the listener is closed, by Shut or by the caller. It
// returns nil after Shut.
func (s *Service[S]) Serve(l net.Listener, accept func(net.Conn)) error {
	s.mu.Lock()
	if s.isShut() {
		s.mu.Unlock()
		_ = l.Close() // nothing was accepted
		return nil
	}
	s.listeners[l] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.listeners, l)
		s.mu.Unlock()
	}()
	return gate.Accept(l, s.Who+"s", s.isShut, s.shut, s.Log, accept)
}

// Admit lets a connection in, if its address may have another, and gives it to begin, which says whether it serves it.
// With direct, TLS begins with the first byte, and whoever is turned away hears nothing.
func (s *Service[S]) Admit(c net.Conn, direct bool, begin func(from netip.Addr, pass *gate.Pass) bool) {
	s.Accepted.Add(1)
	from := gate.RemoteIP(c)
	pass, why := s.Gate.Admit(c, from, s.Limits())
	switch {
	case why != "":
		s.Refused.Add(1)
		if s.OnRefused != nil {
			s.OnRefused(from, why)
		}
		s.turnAway(c, direct, why)
	case !begin(from, pass):
		pass.Leave()
		_ = c.Close() // it has heard nothing from us
	}
}

// turnAway refuses a connection with the reason, without waiting for anything: whoever floods us gets one write.
func (s *Service[S]) turnAway(c net.Conn, direct bool, why string) {
	if !direct {
		h := s.Header
		h.ID = NewID()
		b := s.Framing.AppendEnd(s.Framing.AppendHeader(nil, h), Fault(stream.PolicyViolation, why))
		if c.SetWriteDeadline(time.Now().Add(FarewellTime)) == nil {
			_, _ = c.Write(b) // a courtesy
		}
		if cw, ok := c.(interface{ CloseWrite() error }); ok {
			_ = cw.CloseWrite() // so is this
		}
	}
	_ = c.Close() // nothing else to do about it
}

func (s *Service[S]) isShut() bool {
	select {
	case <-s.shut:
		return true
	default:
		return false
	}
}

// Shut closes the listeners. It may be called again.
func (s *Service[S]) Shut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.isShut() {
		close(s.shut)
	}
	for l := range s.listeners {
		_ = l.Close() // Serve returns either way
	}
}

// Close is Shut, and no stream enters any more.
func (s *Service[S]) Close() {
	s.Shut()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed.Store(true)
}

// Closed says whether no stream enters any more.
func (s *Service[S]) Closed() bool { return s.closed.Load() }

// Enter makes a stream known, and its goroutine one of the workers. It says false where the service is closed.
func (s *Service[S]) Enter(x S) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed.Load() {
		return false
	}
	s.streams[x] = struct{}{}
	s.Workers.Add(1)
	return true
}

// Leave forgets a stream. It is for its goroutine to say to Workers that it is done.
func (s *Service[S]) Leave(x S) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.streams, x)
}

// All are the streams there are.
func (s *Service[S]) All() []S {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.streams))
}

// Wait returns when all workers have ended. If ctx ends before, it has each stream that is left cut off and then
// returns the context's error.
func (s *Service[S]) Wait(ctx context.Context, cut func(S)) error {
	done := make(chan struct{})
	go func() {
		s.Workers.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	for _, x := range s.All() {
		cut(x)
	}
	<-done
	return ctx.Err()
}

// Recover notes a panic, which is a fault of ours and not to end the streams of everyone: *err says how the stream ends
// at which it happened. It is to be deferred.
func (s *Service[S]) Recover(err *error) {
	if v := recover(); v != nil {
		*err = s.Panicked(v)
	}
}

// Panicked is Recover for callers that have recovered already.
func (s *Service[S]) Panicked(v any) error {
	s.Panics.Add(1)
	s.Log.Error("a "+s.Who+" made the server panic", "do", "report it as a fault of jackdaw, with this line",
		"panic", v, "stack", string(debug.Stack()))
	return Fault(stream.InternalServerError, "")
}
