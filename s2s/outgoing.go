package s2s

import (
	"context"
	"errors"
	"net"
	"os"
	"time"

	"jackdaw/s2s/lookup"
	"jackdaw/s2s/outbox"
	"jackdaw/wire"
	"jackdaw/xmpp"
	"jackdaw/xmpp/sasl"
	"jackdaw/xmpp/stream"
)

// Open brings a stream for the pair; it implements outbox.Dialer. A stream that the peer has opened and that carries
// both directions is as good as one of ours, and one of ours to the same domain carries further pairs where the peer
// agrees (XEP-0220 §2.6.1).
func (s *Server) Open(ctx context.Context, p outbox.Pair, acked outbox.Acked) (outbox.Stream, error) {
	switch {
	case s.streams.Closed():
		return nil, &outbox.Failure{Text: "this server is shutting down", Condition: xmpp.CondRemoteServerTimeout}
	case !s.o.Router.Owns(p.Local):
		return nil, refusal("the sender's domain is not served here any more")
	case s.o.Router.Owns(p.Remote):
		return nil, refusal("the domain is served here")
	case !s.policy().admits(p.Remote):
		return nil, refusal("this server does not exchange messages with that domain")
	}
	s.mu.Lock()
	back := s.back[p]
	s.mu.Unlock()
	if back != nil {
		if c := back.carry(p, acked); c != nil {
			return c, nil
		}
	}
	for _, l := range s.outTo(p.Remote) {
		if c := l.carry(p, acked); c != nil {
			return c, nil
		}
		if l.piggyback(ctx, p) {
			if c := l.carry(p, acked); c != nil {
				return c, nil
			}
		}
	}
	l, f := s.dial(ctx, p, false)
	if f == nil {
		f = l.establish(ctx, p, acked)
	}
	if f != nil {
		return nil, f
	}
	if c := l.carry(p, acked); c != nil {
		return c, nil
	}
	return nil, s.failure(errClosed)
}

func refusal(text string) *outbox.Failure {
	return &outbox.Failure{Text: text, Condition: xmpp.CondRemoteServerNotFound, Permanent: true}
}

// outTo are the established links that we have opened to a domain.
func (s *Server) outTo(remote string) []*link {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*link(nil), s.out[remote]...)
}

// piggyback asks for a further pair on an established link.
func (l *link) piggyback(ctx context.Context, p outbox.Pair) bool {
	policy := l.srv.policy()
	l.mu.Lock()
	able := l.errors && !l.ended
	l.mu.Unlock()
	if !able || policy.needsCertificate(p.Remote) {
		return false
	}
	c := l.expectResult(p)
	if c == nil {
		return false
	}
	l.say(l.ownClaim(p))
	ctx, cancel := context.WithTimeout(ctx, policy.limits.AuthTime)
	defer cancel()
	select {
	case a := <-c:
		if a.typ == "valid" {
			l.srv.Stats.Piggybacked.Add(1)
			return true
		}
	case <-l.ctx.Done():
	case <-ctx.Done():
		l.mu.Lock()
		delete(l.results, p)
		l.mu.Unlock()
	}
	return false
}

// dial connects to the first server of the domain with which a stream comes so far that the domains can be proved. With
// verify, that is all it is for: the link has its reader then.
func (s *Server) dial(ctx context.Context, p outbox.Pair, verify bool) (*link, *outbox.Failure) {
	targets, err := s.o.Finder.Targets(ctx, p.Remote)
	if err != nil {
		return nil, s.failure(err)
	}
	permanent := true
	var last *outbox.Failure
	for i, t := range targets {
		l, f := s.tryFor(ctx, len(targets)-i, p, t, verify)
		if f == nil {
			return l, nil
		}
		last = f
		permanent = permanent && f.Permanent
		if ctx.Err() != nil {
			break
		}
	}
	if last == nil {
		return nil, refusal("the server has no usable address")
	}
	last.Permanent = permanent
	return nil, last
}

// tryFor is try, in half of the time that is left unless the target is the last: one that is silent is not to keep us
// from the next.
func (s *Server) tryFor(ctx context.Context, left int, p outbox.Pair, t lookup.Target, verify bool) (
	*link, *outbox.Failure) {
	if until, ok := ctx.Deadline(); ok && left > 1 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(until)/2)
		defer cancel()
	}
	return s.try(ctx, p, t, verify)
}

// try negotiates with one target up to the point where the domains are to be proved.
func (s *Server) try(ctx context.Context, p outbox.Pair, t lookup.Target, verify bool) (*link, *outbox.Failure) {
	l, f := s.tryAs(ctx, p, t, verify, false)
	// COMPAT(jackal 0.64): whose certificate does not please it, such as one for servers only, it does not ask for
	// dialback but breaks TLS off; without this there is no stream to it.
	if f != nil && l != nil && l.shown && isAlert(f.Err) {
		l, f = s.tryAs(ctx, p, t, verify, true)
	}
	if f != nil {
		return nil, f
	}
	return l, nil
}

// isAlert says whether the peer ended TLS for a reason.
func isAlert(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "remote error" // crypto/tls has no name for it
}

// tryAs is try with our certificate or without. The link is returned with a failure too, if there was one.
func (s *Server) tryAs(ctx context.Context, p outbox.Pair, t lookup.Target, verify, bare bool) (
	*link, *outbox.Failure) {
	if !s.streams.Gate.Reserve() {
		return nil, &outbox.Failure{Text: "this server has too many connections", Condition: xmpp.CondRemoteServerTimeout}
	}
	c, err := s.o.Finder.DialTarget(ctx, t)
	if err != nil {
		s.streams.Gate.Release()
		return nil, s.failure(err)
	}
	l := newLink(s, c.Conn, true)
	l.local, l.remote, l.direct, l.bare = p.Local, p.Remote, c.DirectTLS, bare
	if !s.streams.Enter(l) {
		s.streams.Gate.Release()
		_ = c.Close() // it has heard nothing from us
		return nil, s.failure(net.ErrClosed)
	}
	f := l.guard(ctx, func() error { return l.approach(ctx, verify) })
	if f != nil {
		return l, f
	}
	if verify {
		l.start()
	}
	return l, nil
}

// guard runs a part of the negotiation on the goroutine of whoever opens the link, and ends the link if that fails.
func (l *link) guard(ctx context.Context, f func() error) (failed *outbox.Failure) {
	stop := context.AfterFunc(ctx, func() { l.end(ctx.Err()) })
	defer stop()
	err := func() (err error) {
		defer l.srv.streams.Recover(&err)
		return f()
	}()
	if err == nil && stop() {
		return nil
	}
	if err == nil || ctx.Err() != nil {
		err = ctx.Err()
	}
	failed = l.srv.failure(err)
	go func() {
		defer l.srv.streams.Workers.Done()
		if errors.Is(err, errRefused) || errors.As(err, new(*outbox.Failure)) {
			err = &wire.Farewell{} // RFC 6120 §4.4: nothing is wrong with the stream
		}
		l.finish(err)
	}()
	return failed
}

// start lets the link's reader begin.
func (l *link) start() {
	go func() {
		defer l.srv.streams.Workers.Done()
		l.run()
	}()
}

// approach opens the stream and has it encrypted (RFC 6120 §4, §5).
func (l *link) approach(ctx context.Context, verify bool) error {
	s := l.srv
	policy := s.policy()
	l.strict()
	if l.direct {
		if err := l.encrypt(ctx, verify); err != nil {
			return err
		}
	}
	if err := l.Transport.SetReadDeadline(time.Now().Add(policy.limits.AuthTime)); err != nil {
		return err
	}
	if err := l.open(); err != nil {
		return err
	}
	if l.TLS == nil && l.offered.starttls && s.o.TLS != nil {
		if err := l.write([]byte("<starttls xmlns='" + xmpp.NSTLS + "'/>")); err != nil {
			return err
		}
		err := l.await(func(name xmpp.Name, raw []byte) (bool, error) {
			if name == (xmpp.Name{Space: xmpp.NSTLS, Local: "failure"}) {
				return false, &outbox.Failure{Text: "the server could not begin TLS", Condition: xmpp.CondRemoteServerTimeout}
			}
			return name == xmpp.Name{Space: xmpp.NSTLS, Local: "proceed"}, nil
		})
		if err != nil {
			return err
		}
		if !l.Empty() {
			// Said before TLS and believed after it: somebody in between (RFC 6120 §5.4.3.3).
			s.Stats.Injected.Add(1)
			return &outbox.Failure{Text: "the server sent data in clear behind its consent to TLS",
				Condition: xmpp.CondRemoteServerTimeout}
		}
		if err := l.encrypt(ctx, verify); err != nil {
			return err
		}
		if err := l.Transport.SetReadDeadline(time.Now().Add(policy.limits.AuthTime)); err != nil {
			return err
		}
		l.Scanner.Reset()
		if err := l.open(); err != nil {
			return err
		}
	}
	if l.TLS == nil && policy.needsTLS(l.remote) {
		return refusal("the server does not offer TLS, which is required")
	}
	if l.TLS == nil && !verify && policy.needsCertificate(l.remote) {
		return refusal("the server shows no certificate, which is required")
	}
	return nil
}

// encrypt does the handshake and looks at the peer's certificate.
func (l *link) encrypt(ctx context.Context, verify bool) error {
	if err := l.openTLS(ctx); err != nil {
		l.srv.Stats.TLSFailures.Add(1)
		f := &outbox.Failure{Text: "TLS could not be negotiated", Condition: xmpp.CondRemoteServerTimeout, Err: err}
		if isTimeout(err) {
			f.Text = "the server did not answer in time"
		}
		return f
	}
	l.judge()
	if l.certainty != nil && !verify && l.srv.policy().needsCertificate(l.remote) {
		f := refusal(certificateText(l.certainty))
		f.Err = errors.Unwrap(l.certainty) // the text says the rest
		return f
	}
	return nil
}

// offered is what the peer's features say.
type offered struct {
	starttls, external, dialback, errors, bidi, sm bool
	limit                                          int // 0: it does not say
}

// open sends our header and reads the peer's and its features (RFC 6120 §4.2, §4.3).
func (l *link) open() error {
	l.mu.Lock()
	b := l.Framing.AppendHeader(nil, l.header())
	l.mu.Unlock()
	if err := l.write(b); err != nil {
		return err
	}
	item, err := l.next()
	if err != nil {
		return err
	}
	h := l.Scanner.Header()
	switch {
	case item != stream.ItemHeader:
		return wire.Fault(stream.BadFormat, "")
	case h.Content != xmpp.NSServer:
		return wire.Fault(stream.InvalidNamespace, "")
	case h.BadFrom, !h.From.IsZero() && h.From.Domain() != l.remote && h.From.Domain() != l.local:
		// RFC 6120 §4.7.1. It proves nothing in any case.
		//
		// COMPAT(jackal 0.64): it says our domain; without this there is no stream to it.
		return wire.Fault(stream.InvalidFrom, "")
	}
	l.offered = offered{dialback: h.Dialback}
	l.mu.Lock()
	l.id = h.ID
	l.mu.Unlock()
	if !wire.Current(h.Version) { // from before features: dialback is all there can be
		l.offered.dialback = true
		return nil
	}
	return l.await(func(name xmpp.Name, raw []byte) (bool, error) {
		if name != (xmpp.Name{Space: xmpp.NSStream, Local: "features"}) {
			return false, nil
		}
		el, err := xmpp.ParseElement(raw)
		if err != nil {
			return false, wire.Fault(stream.BadFormat, "")
		}
		for _, c := range el.Children() {
			switch c.Name {
			case xmpp.Name{Space: xmpp.NSTLS, Local: "starttls"}:
				l.offered.starttls = true
			case xmpp.Name{Space: xmpp.NSSASL, Local: "mechanisms"}:
				for _, m := range c.Children() {
					l.offered.external = l.offered.external || m.Name.Local == "mechanism" && m.Text() == string(sasl.External)
				}
			case xmpp.Name{Space: xmpp.NSDialbackFeature, Local: "dialback"}:
				l.offered.dialback = true
				l.offered.errors = c.ChildLocal("errors") != nil
			case xmpp.Name{Space: xmpp.NSBidiFeature, Local: "bidi"}:
				l.offered.bidi = true
			case xmpp.Name{Space: xmpp.NSSM, Local: "sm"}:
				l.offered.sm = true
			case xmpp.Name{Space: xmpp.NSStreamLimits, Local: "limits"}:
				l.offered.limit = maxBytes(c)
			}
		}
		return true, nil
	})
}

// await handles what comes until there is an element that want takes.
func (l *link) await(want func(name xmpp.Name, raw []byte) (bool, error)) error {
	for {
		item, err := l.next()
		if err != nil {
			return err
		}
		if item == stream.ItemElement {
			name, raw := l.Scanner.Element()
			done, err := want(name, raw)
			if done || err != nil {
				return err
			}
		}
		if err := l.handle(item); err != nil {
			return err
		}
	}
}

// errRefused says that the peer does not believe us.
var errRefused = errors.New("authentication was refused")

// establish proves our domain to the peer and makes the link ready for stanzas.
func (l *link) establish(ctx context.Context, p outbox.Pair, acked outbox.Acked) *outbox.Failure {
	f := l.guard(ctx, func() error {
		how, err := l.authenticate(p)
		if err != nil {
			return err
		}
		l.known.Store(true)
		l.mu.Lock()
		l.granted[p] = how
		l.errors = l.offered.errors
		if how == byExternal { // else it is the one before authentication
			l.limit = l.offered.limit
		}
		if l.bidi { // the peer is the one we called: see authenticate
			l.proved[p] = byCertificate
		}
		l.mu.Unlock()
		if l.offered.sm {
			if err := l.manageOwn(ctx, p, acked); err != nil {
				return err
			}
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.patient()
	})
	if f != nil {
		return f
	}
	s := l.srv
	l.mu.Lock()
	if !l.ended {
		s.mu.Lock()
		s.out[l.remote] = append(s.out[l.remote], l)
		s.mu.Unlock()
	}
	how := l.granted[p]
	s.Stats.grants[how].Add(1)
	s.log.Info("link up", "peer", p.Remote, "local", p.Local, "direction", l.direction(), "by", how.String(),
		"tls", l.version, "acknowledged", l.out.sm)
	l.mu.Unlock()
	l.start()
	return nil
}

// authenticate proves our domain, by EXTERNAL where the peer offers it (XEP-0178 §3), else by dialback.
func (l *link) authenticate(p outbox.Pair) (proof, error) {
	// Whoever is to bring us stanzas must be the one we called, for certain; by dialback only we prove who we are.
	if l.offered.bidi && l.TLS != nil && l.certainty == nil {
		l.mu.Lock()
		l.bidi = true
		l.mu.Unlock()
		if err := l.write([]byte("<bidi xmlns='" + xmpp.NSBidi + "'/>")); err != nil {
			return 0, err
		}
	}
	if l.offered.external && l.TLS != nil && !l.bare {
		ok, err := l.logIn(p)
		if err != nil {
			return 0, err
		}
		if ok {
			// What is offered now is what there is (RFC 6120 §6.4.6).
			l.Scanner.Reset()
			return byExternal, l.open()
		}
		l.srv.Stats.ExternalRefused.Add(1)
	}
	if !l.offered.dialback {
		return 0, errRefused
	}
	c := l.expectResult(p)
	if c == nil {
		return 0, errClosed
	}
	if err := l.write(l.ownClaim(p)); err != nil {
		return 0, err
	}
	a, err := l.awaitResult(c)
	switch {
	case err != nil:
		return 0, err
	case a.typ == "valid":
		return byDialback, nil
	case a.err != nil:
		return 0, &outbox.Failure{Text: "the server could not verify this one: " + string(a.err.Condition),
			Condition: xmpp.CondRemoteServerTimeout}
	}
	return 0, errRefused
}

// awaitResult handles what comes until there is an answer to our claim.
func (l *link) awaitResult(c chan answer) (a answer, err error) {
	for {
		item, err := l.next()
		if err == nil {
			err = l.handle(item)
		}
		if err != nil {
			return a, err
		}
		select {
		case a = <-c:
			return a, nil
		default:
		}
	}
}

// logIn tries EXTERNAL. The identity is said for the sake of older servers (XEP-0178 §3, step 13).
func (l *link) logIn(p outbox.Pair) (ok bool, err error) {
	client, err := sasl.NewClient(sasl.External, sasl.Credentials{AuthzID: p.Local})
	if err != nil {
		return false, err
	}
	if err := l.write(appendAuth(nil, client.Start())); err != nil {
		return false, err
	}
	err = l.await(func(name xmpp.Name, raw []byte) (bool, error) {
		switch name {
		case xmpp.Name{Space: xmpp.NSSASL, Local: "success"}:
			ok = true
			return true, nil
		case xmpp.Name{Space: xmpp.NSSASL, Local: "failure"}:
			return true, nil
		}
		return false, nil
	})
	return ok, err
}

// failure says for the sender why there is no stream.
func (s *Server) failure(err error) *outbox.Failure {
	f := &outbox.Failure{Text: "the server closed the stream", Condition: xmpp.CondRemoteServerTimeout, Err: err}
	remote, isRemote := errors.AsType[*remoteError](err)
	found, isLookup := errors.AsType[*lookup.Error](err)
	own, isOwn := errors.AsType[*wire.Farewell](err)
	already, is := errors.AsType[*outbox.Failure](err)
	switch {
	case is:
		return already
	case isLookup:
		f.Text, f.Err = found.Text(), found.Err
		if f.Permanent = found.Permanent(); f.Permanent {
			f.Condition = xmpp.CondRemoteServerNotFound
		}
	case isRemote:
		f.Text += ": " + remote.condition
		if f.Err = nil; remote.text != "" {
			f.Err = errors.New(remote.text)
		}
		if c := stream.Condition(remote.condition); c == stream.HostUnknown || c == stream.HostGone {
			f.Condition, f.Permanent = xmpp.CondRemoteServerNotFound, true
		}
	case errors.Is(err, errRefused):
		f.Text, f.Err = errRefused.Error(), nil
	case errors.Is(err, errClosed):
		f.Err = nil
	case isTimeout(err), isOwn && own.Condition == stream.ConnectionTimeout:
		f.Text = "the server did not answer in time"
	case isOwn:
		f.Text = "the server's stream could not be understood"
	}
	return f
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) ||
		errors.As(err, &t) && t.Timeout()
}
