package component

import (
	"context"
	"errors"
	"maps"
	"net"
	"slices"
	"time"

	"jackdaw/router/gate"
	"jackdaw/wire"
	"jackdaw/xmpp"
	"jackdaw/xmpp/stream"
)

// Elsewhere knows the other nodes, where there are several. A domain is at home at one of them, and a component may
// connect to any: its stream is handed over as soon as it has said which domain it is for. The secret is proved there.
type Elsewhere interface {
	// Here says whether a domain is at home at this node; handed as in c2s.Elsewhere.
	Here(domain string, handed bool) bool
	// Open opens a stream on the link to the home of a domain. Adopt is what takes it there.
	Open(ctx context.Context, domain string) (net.Conn, error)
}

// errPassed says that the stream was in the hands of another node, and is over.
var errPassed = errors.New("handed over to another node")

// handOver hands the stream over to the home of its domain, if that is elsewhere. It returns nil if it is here, and
// errPassed when the stream is over at the other node.
func (l *link) handOver(domain string) error {
	if l.srv.elsewhere == nil || l.srv.elsewhere.Here(domain, l.hops > 0) {
		return nil
	}
	far, err := l.reach(domain)
	if err != nil {
		l.srv.log.Warn("a component's domain is at home at a node that does not take its stream", "domain", domain,
			"address", l.remote(), "error", err)
		return wire.Fault(stream.RemoteConnectionFailed, "try again later") // RFC 6120 §4.9.3.15
	}
	l.srv.log.Info("component's stream handed over", "domain", domain, "address", l.remote())
	l.srv.Stats.HandedOver.Add(1)
	over := make(chan struct{})
	p := wire.NewPassage(&l.Stream, far, wire.Passing{
		Stall:   func() time.Duration { return l.srv.limits().WriteStall },
		Stalled: func() { l.srv.Stats.Stalls.Add(1) },
		Known:   l.pass.Known,
		Over:    func() { close(over) },
	})
	l.mu.Lock()
	l.passage = p
	ends := l.ending != nil
	l.mu.Unlock()
	if ends { // said before it could be passed on
		p.Leave()
	}
	<-over
	return errPassed
}

// reach returns a link on which the home of a domain has taken the stream.
func (l *link) reach(domain string) (net.Conn, error) {
	h := &wire.Handover{Framing: wire.FramingName(l.Framing), Opening: l.Scanner.AppendOpening(nil), Early: l.Unread(),
		Hops: l.hops + 1}
	if a, ok := l.Transport.RemoteAddr().(*net.TCPAddr); ok {
		h.From = a.AddrPort()
	}
	if h.Hops > wire.MaxHops {
		return nil, wire.ErrHandover
	}
	ctx, cancel := context.WithTimeout(context.Background(), l.limits.AuthTime)
	defer cancel()
	go func() { // the stream may be told to end
		select {
		case <-l.ends:
			cancel()
		case <-ctx.Done():
		}
	}()
	far, err := l.srv.elsewhere.Open(ctx, domain)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = far.Close() })
	err = h.Offer(far, l.limits.AuthTime)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	return far, err
}

// moved ends the streams of components whose domains are at home on another node from now on. Nothing that is for them
// comes here any more; when they connect again, their streams are handed over.
func (s *Server) moved(gone func(domain string) bool) {
	s.mu.RLock()
	links := slices.Collect(maps.Values(s.links))
	s.mu.RUnlock()
	for _, l := range links {
		if gone(l.domain) {
			l.move()
		}
	}
}

// move ends the stream: its domain has moved.
func (l *link) move() {
	l.end(wire.Fault(stream.SystemShutdown, "the domain moves to another node; connect again"), true)
}

// cutOff ends the connection without a word.
func (l *link) cutOff() {
	l.mu.Lock()
	p := l.passage
	l.mu.Unlock()
	if p != nil {
		p.Cut()
		return
	}
	_ = l.Transport.Close() // it may be closed already
}

// Adopt serves a stream that another node hands over, on a stream of the link between the two. It returns at once.
func (s *Server) Adopt(c net.Conn) {
	go func() {
		limits := s.limits()
		h, err := wire.ReadHandover(c, limits.AuthTime)
		if err == nil && (h.Framing != wire.FramingName(wire.Bytes{}) || h.Hops > wire.MaxHops || s.streams.Closed()) {
			err = wire.ErrHandover
		}
		var far *wire.Carried
		if err == nil {
			far, err = h.Accept(c)
		}
		if err != nil {
			_ = c.Close() // then the other node tells the component
			s.log.Warn("a component's stream that another node hands over is not taken", "error", err)
			return
		}
		l := newLink(s, far, limits)
		l.far, l.opening, l.hops = far, h.Opening, h.Hops
		l.Begin(wire.Entry{Transport: wire.NewTransport(far), Framing: wire.Bytes{}, Early: h.Early}, l)
		if !s.serve(l) {
			_ = far.Close() // nothing has been said
			return
		}
		s.Stats.Adopted.Add(1)
	}()
}

// first reads the component's stream header, here or as another node has read it.
func (l *link) first() (stream.ItemKind, error) {
	if l.opening == nil {
		return l.Next()
	}
	l.Scanner.Expect(xmpp.NSComponentAccept)
	return stream.ItemHeader, l.Reopen(l.opening)
}

// exempt says whether there is no limit on the rate of the component.
func (l *link) exempt() bool { return gate.Exempt(gate.RemoteIP(l.Transport)) }
