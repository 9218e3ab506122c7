package c2s

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"jackdaw/router/accounts"
	"jackdaw/router/gate"
	"jackdaw/wire"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
	"jackdaw/xmpp/sasl"
	"jackdaw/xmpp/stream"
)

// Elsewhere knows the other nodes, where there are several. A stream is handed over to the home of its account as soon
// as the client has named that: with its header, with its first login, or by asking for the account to be made. Nothing
// has been verified by then; all of that is the home's.
type Elsewhere interface {
	// Here says whether an account is at home at this node, by its bare address. handed says that another node believes
	// so and has handed the stream over: whoever knows otherwise has to look anew, or the two would hand it to and fro.
	Here(owner string, handed bool) bool
	// Open opens a stream on the link to the home of an account. Adopt is what takes it there.
	Open(ctx context.Context, owner string) (net.Conn, error)
}

var (
	// errPassed says that the stream is in the hands of another node.
	errPassed = errors.New("handed over to another node")
	// errUnreachable says that it is still here, since the home of the account does not take it.
	errUnreachable = errors.New("the home of the account cannot be reached")
)

// away says whether an account is at home at another node.
func (g *greeting) away(user jid.JID) bool {
	return g.srv.elsewhere != nil && user.Local() != "" && !g.srv.elsewhere.Here(user.Bare().String(), g.hops > 0)
}

// settled hands the stream over if it is said to be from an account that is at home elsewhere: what is offered depends
// on that account. Where its home cannot be reached, the client is offered what anybody is.
func (g *greeting) settled() error {
	from := g.Scanner.Header().From.Bare()
	if !g.secure || from.Domain() != g.host.Domain() || !g.away(from) {
		return nil
	}
	if err := g.pass(from, wire.Handover{}); !errors.Is(err, errUnreachable) {
		return err
	}
	return nil
}

// claim hands the stream over if a login names an account that is at home elsewhere. The message is the client's first,
// text what it is decoded from. The error is errUnreachable where the login has to fail for now.
func (g *greeting) claim(m sasl.Mechanism, message []byte, text string, challenged bool) error {
	if g.srv.elsewhere == nil {
		return nil
	}
	name, ok := sasl.Claimed(m, message)
	if !ok {
		return nil // the mechanism says what is wrong with it
	}
	user, err := g.account(name)
	if err != nil || !g.away(user) {
		return nil // likewise
	}
	h := wire.Handover{Element: g.attempt}
	if challenged {
		h.Response = text
	}
	return g.pass(user, h)
}

// attempts remembers the element of a login that may have to be handed over.
func (g *greeting) attempts(raw []byte) {
	if g.srv.elsewhere != nil {
		g.attempt = bytes.Clone(raw)
	}
}

// pass hands the stream over to the home of an account. The error is never nil.
func (g *greeting) pass(user jid.JID, h wire.Handover) error {
	if err := g.write(); err != nil {
		return err
	}
	h.Framing = wire.FramingName(g.Framing)
	h.Opening, h.Early = g.Scanner.AppendOpening(nil), g.Unread()
	h.From = netip.AddrPortFrom(g.from, 0)
	h.Secure, h.TLSVersion, h.Bindings = g.secure, g.tlsVersion(), g.channel()
	h.Hops = g.hops + 1
	if h.Element != nil || h.Request != nil { // the features are out
		h.Offered, h.Offered2, h.Tokens, h.Version = g.classic.offered, g.modern.offered, g.modern.tokens, g.modern.version
	}
	h.Failures, h.Declines, h.Before = g.failures, g.declines, g.preauth
	link, err := g.reach(user, &h)
	if err != nil {
		g.srv.Stats.Unreachable.Add(1)
		g.srv.sayAbout(g.source.Addr, "a client's account is at home at a node that does not take its stream",
			"account", user, "error", err)
		return errUnreachable
	}
	g.srv.log.Debug("stream handed over", "account", user, "from", g.source.Addr)
	g.srv.pass(g.conn, link)
	return errPassed
}

// reach returns a link on which the home of an account has taken the stream.
func (g *greeting) reach(user jid.JID, h *wire.Handover) (net.Conn, error) {
	if h.Hops > wire.MaxHops || h.Framing == "" {
		return nil, wire.ErrHandover
	}
	patience := g.srv.limits().AuthTime
	ctx, cancel := g.srv.within(patience)
	defer cancel()
	link, err := g.srv.elsewhere.Open(ctx, user.String())
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = link.Close() }) // the server ends
	err = h.Offer(link, patience)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	return link, err
}

// pass moves the bytes of a connection from here on.
func (s *Server) pass(c *conn, link net.Conn) {
	c.greeting = nil
	s.Stats.HandedOver.Add(1)
	s.Stats.Passing.Add(1)
	s.mu.Lock()
	delete(s.strangers, c)
	p := wire.NewPassage(&c.Stream, link, wire.Passing{
		Stall:   func() time.Duration { return s.limits().WriteStall },
		Stalled: func() { s.Stats.Overflows.Add(1) },
		Known:   c.known,
		Over:    func() { s.passed(c) },
	})
	s.passages[c] = p
	s.mu.Unlock()
	if s.streams.Closed() { // close may not have seen it
		p.Leave()
	}
}

// passed takes note that a stream that was handed over is closed.
func (s *Server) passed(c *conn) {
	s.Stats.Passing.Add(-1)
	s.mu.Lock()
	delete(s.passages, c)
	s.mu.Unlock()
	s.left(c)
}

// cut ends a connection without a word.
func (s *Server) cut(c *conn) {
	s.mu.Lock()
	p := s.passages[c]
	s.mu.Unlock()
	if p != nil {
		p.Cut()
		return
	}
	_ = c.Transport.Close() // it may be closed already
}

// known takes note that the client has logged in, here and at the nodes that have handed the stream over.
func (c *conn) known() {
	c.pass.Known()
	c.far.Known()
}

// tlsVersion is that of the connection with the client, wherever that is; 0 without TLS.
func (c *conn) tlsVersion() uint16 {
	if c.TLS != nil {
		return c.TLS.ConnectionState().Version
	}
	return c.farTLS
}

// channel are the channel bindings of the connection with the client.
func (g *greeting) channel() []sasl.Binding {
	if g.TLS != nil {
		return g.bindings()
	}
	return g.bound
}

// Adopt serves a stream that another node hands over, on a stream of the link between the two. It returns at once.
func (s *Server) Adopt(link net.Conn) {
	go func() {
		stop := context.AfterFunc(s.ctx, func() { _ = link.Close() })
		h, err := wire.ReadHandover(link, s.limits().AuthTime)
		stop()
		if err == nil {
			err = s.adopt(link, h)
		}
		if err != nil {
			_ = link.Close() // then the other node tells the client
			if !s.streams.Closed() {
				s.log.Warn("a stream that another node hands over is not taken", "error", err)
			}
		}
	}()
}

func (s *Server) adopt(link net.Conn, h *wire.Handover) error {
	framing := wire.NewFraming(h.Framing)
	if framing == nil && s.framing != nil {
		framing = s.framing(h.Framing)
	}
	c := &conn{srv: s, from: h.From.Addr(), secure: h.Secure, farTLS: h.TLSVersion}
	g := &greeting{conn: c, mode: prepared, source: accounts.Source{Addr: c.from, Exempt: gate.Exempt(c.from)}, handed: h,
		hops: h.Hops, bound: h.Bindings, preauth: h.Before, failures: h.Failures, declines: h.Declines}
	if framing == nil || h.Hops > wire.MaxHops || s.streams.Closed() {
		return wire.ErrHandover
	}
	far, err := h.Accept(link)
	if err != nil {
		return err
	}
	c.far = far
	if !s.enter(c, wire.Entry{Transport: wire.NewTransport(far), Framing: framing, Early: h.Early}) {
		return far.Close()
	}
	s.Stats.Adopted.Add(1)
	g.greet()
	return nil
}

// takeOver goes on with a stream where another node has left it. It returns what the client has asked last, nil if the
// features come first.
func (g *greeting) takeOver() (*wire.Handover, error) {
	h := g.handed
	g.handed = nil
	if h == nil {
		return nil, nil
	}
	g.Scanner.Expect(xmpp.NSClient)
	if err := g.Reopen(h.Opening); err != nil {
		return nil, err
	}
	g.began = true
	if g.host = g.Scanner.Header().To; !g.srv.router.Serves(g.host.Domain()) {
		return nil, wire.Fault(stream.HostUnknown, "")
	}
	if h.Element == nil && h.Request == nil {
		return nil, nil
	}
	return h, nil
}

// recall goes on with what another node has announced.
func (g *greeting) recall(h *wire.Handover) {
	g.classic.offered, g.modern.offered = h.Offered, h.Offered2
	g.modern.tokens, g.modern.version = h.Tokens, h.Version
	g.response = h.Response
}

// answer handles what the client had asked last when the stream was handed over.
func (g *greeting) answer(h *wire.Handover) (again bool, err error) {
	if h.Request != nil {
		x, err := stream.ParseStanza(h.Request, wire.Limits(g.srv.settings().MaxStanza, g.srv.limits()))
		if err != nil {
			return false, wire.Broken(err)
		}
		return true, g.stranger(x)
	}
	el, err := xmpp.ParseElement(h.Element)
	if err != nil {
		return false, wire.Fault(stream.BadFormat, "")
	}
	return g.element(el.Name, h.Element)
}

// newcomer is the account that a request wants to have made, zero if it does not name one.
func (g *greeting) newcomer(x *xmpp.Stanza) (user jid.JID) {
	if g.srv.elsewhere == nil || x.Type != xmpp.TypeSet {
		return user
	}
	q := x.Child(xmpp.Name{Space: xmpp.NSRegister, Local: "query"})
	if q == nil {
		return user
	}
	if name := q.ChildLocal("username"); name != nil {
		user, _ = g.account(name.Text()) // what cannot be a name is refused where it is looked at
	}
	return user
}

// visitor answers a request before the login, or hands the stream over to the home of the account that is asked for.
func (g *greeting) visitor(ctx context.Context, x *xmpp.Stanza) (reply xmpp.Stanza, err error) {
	if g.visit == nil {
		g.visit = g.srv.register.Visit(g.host.Domain(), g.source)
		if before, err := stream.ParseStanza(g.preauth, stream.DefaultLimits); g.preauth != nil && err == nil {
			g.visit(ctx, before) // what it was told it has been told
		}
	}
	if user := g.newcomer(x); g.away(user) {
		if err := g.pass(user, wire.Handover{Request: x.AppendQualified(nil)}); !errors.Is(err, errUnreachable) {
			return reply, err
		}
		return x.ErrorReply(xmpp.ResourceConstraint("the account cannot be made now, try again later")), nil
	}
	reply = g.visit(ctx, x)
	if name, _ := x.First(); g.srv.elsewhere != nil && name.Space == xmpp.NSPARS && reply.Type == xmpp.TypeResult {
		g.preauth = x.AppendQualified(nil)
	}
	return reply, nil
}
