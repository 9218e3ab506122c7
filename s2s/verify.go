package s2s

import (
	"context"
	"errors"

	"jackdaw/router/gate"
	"jackdaw/s2s/certificate"
	"jackdaw/s2s/outbox"
	"jackdaw/wire"
	"jackdaw/xmpp"
	"jackdaw/xmpp/stream"
)

// maxClaims is how many keys of one link may be on their way to those who can confirm them.
const maxClaims = 10

// claim handles, as the receiving server, that the peer wants to send for a pair (XEP-0220 §2.2.1).
func (l *link) claim(d dialback) error {
	s := l.srv
	policy := s.policy()
	pair := outbox.Pair{Local: d.to, Remote: d.from}
	refuse := func(err *xmpp.Error) error {
		s.Stats.AuthFailures.Add(1)
		s.log.Info("peer refused", "peer", pair.Remote, "local", pair.Local, "reason", err.Text,
			"condition", string(err.Condition), "address", l.Transport.RemoteAddr().String())
		l.say((&dialback{from: d.to, to: d.from, typ: "error", err: err}).append(nil, "result"))
		return nil
	}
	switch {
	case !s.o.Router.Owns(d.to):
		return refuse(xmpp.ItemNotFound("")) // XEP-0220 §2.4: and not a stream error
	case s.o.Router.Owns(d.from), !policy.admits(d.from):
		return refuse(xmpp.NotAllowed("this server does not exchange messages with your domain"))
	case l.TLS == nil && policy.needsTLS(d.from):
		return refuse(xmpp.PolicyViolation("TLS is required"))
	}
	l.mu.Lock()
	_, had := l.proved[pair]
	pending, many, id := l.claims[pair], len(l.claims), l.id
	l.mu.Unlock()
	if had {
		l.say((&dialback{from: d.to, to: d.from, typ: "valid"}).append(nil, "result"))
		return nil
	}
	wrong := l.certified(d.from)
	switch {
	case wrong == nil: // XEP-0220 §1.2: any way to know is good
		l.settleClaim(pair, id, byCertificate, "valid", nil)
		return nil
	case policy.needsCertificate(d.from):
		return refuse(xmpp.NotAuthorized(certificateText(wrong)))
	case pending:
		return nil // the answer comes
	case d.key == "" || len(d.key) > 1024:
		return refuse(xmpp.BadRequest("no key"))
	case many >= maxClaims:
		return refuse(xmpp.ResourceConstraint("too many keys are being verified"))
	}
	from := gate.RemoteIP(l.Transport)
	if bad := s.inquiries.enter(from, l.known.Load(), policy.limits.PeerVerifications); bad != nil {
		return refuse(bad)
	}
	l.mu.Lock()
	l.claims[pair] = true
	l.mu.Unlock()
	s.streams.Workers.Add(1) // the reader is one
	go func() {
		defer s.streams.Workers.Done()
		defer s.inquiries.leave(from)
		l.callBack(pair, id, d.key)
	}()
	return nil
}

// certificateText is what is wrong with a certificate, for anybody to read.
func certificateText(err error) string {
	if e, ok := errors.AsType[*certificate.Error](err); ok {
		return e.Text()
	}
	return err.Error()
}

// callBack has a key verified and tells the peer (XEP-0220 §2.1.2, §2.2.1).
func (l *link) callBack(pair outbox.Pair, id, key string) {
	s := l.srv
	defer func() {
		if v := recover(); v != nil {
			_ = s.streams.Panicked(v)
			l.part(wire.Fault(stream.InternalServerError, ""))
		}
	}()
	ctx, cancel := context.WithTimeout(l.ctx, s.policy().limits.AuthTime)
	defer cancel()
	stop := context.AfterFunc(s.ctx, cancel)
	defer stop()
	valid, err := s.askAuthority(ctx, pair, id, key)
	switch {
	case err != nil:
		l.settleClaim(pair, id, 0, "error", err)
	case valid:
		l.settleClaim(pair, id, byDialback, "valid", nil)
	default:
		s.Stats.KeysForged.Add(1)
		s.log.Warn("a peer sent a dialback key that the domain does not know", "peer", pair.Remote, "local", pair.Local,
			"address", l.Transport.RemoteAddr().String())
		l.mu.Lock()
		others := len(l.proved) > 0
		l.mu.Unlock()
		if others {
			l.settleClaim(pair, id, 0, "error", xmpp.Forbidden(""))
			return
		}
		l.settleClaim(pair, id, 0, "invalid", nil)
		l.part(&wire.Farewell{}) // XEP-0220 §2.2.1
	}
}

// settleClaim tells the peer what became of its claim, which was made on the stream of that id.
func (l *link) settleClaim(pair outbox.Pair, id string, how proof, typ string, err *xmpp.Error) {
	a := dialback{from: pair.Local, to: pair.Remote, typ: typ, err: err}
	l.mu.Lock()
	delete(l.claims, pair)
	same := l.id == id // else the stream is another one by now (RFC 6120 §4.3.3)
	l.mu.Unlock()
	if !same {
		return
	}
	if how != 0 && !l.prove(pair, how, id) {
		a.typ, a.err = "error", xmpp.ResourceConstraint("too many domains on one stream")
	}
	if a.typ != "valid" {
		l.srv.Stats.AuthFailures.Add(1)
	}
	l.say(a.append(nil, "result"))
	if a.typ == "valid" {
		l.turnBack(pair)
	}
}

// A verification names a question to an authoritative server, as its answer does (XEP-0220 §2.1.2).
type verification struct {
	outbox.Pair
	id string
}

type verdict struct {
	valid bool
	err   *xmpp.Error
}

// askAuthority asks the server of pair.Remote whether it made the key for a stream of ours: on a stream that we opened
// to it, if there is one, else on one for this alone.
func (s *Server) askAuthority(ctx context.Context, pair outbox.Pair, id, key string) (valid bool, err *xmpp.Error) {
	for _, l := range s.outTo(pair.Remote) {
		if v, ok := l.askKey(ctx, pair, id, key); ok {
			return v.valid, v.err
		}
	}
	if ctx.Err() != nil {
		return false, xmpp.RemoteServerTimeout("")
	}
	a := s.authority(pair)
	defer s.letGo(pair, a)
	select {
	case <-a.ready:
	case <-ctx.Done():
		return false, xmpp.RemoteServerTimeout("")
	}
	if f := a.failed; f != nil {
		if f.Permanent {
			return false, xmpp.RemoteServerNotFound(f.Text)
		}
		return false, xmpp.RemoteServerTimeout(f.Text)
	}
	if v, ok := a.link.askKey(ctx, pair, id, key); ok {
		return v.valid, v.err
	}
	return false, xmpp.RemoteServerTimeout("your server did not confirm the key in time")
}

// askKey asks on this link; ok is false where there was no answer.
func (l *link) askKey(ctx context.Context, pair outbox.Pair, id, key string) (v verdict, ok bool) {
	q := verification{pair, id}
	c := make(chan verdict, 1)
	l.mu.Lock()
	if l.ended || l.verifies[q] != nil {
		l.mu.Unlock()
		return v, false
	}
	l.verifies[q] = c
	l.sayLocked((&dialback{from: pair.Local, to: pair.Remote, id: id, key: key}).append(nil, "verify"))
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		delete(l.verifies, q)
		l.mu.Unlock()
	}()
	select {
	case v = <-c:
		return v, true
	case <-l.ctx.Done():
	case <-ctx.Done():
	}
	return v, false
}

// verified takes an answer of an authoritative server; false if it was not asked that, on this stream.
func (l *link) verified(d dialback) bool {
	q := verification{outbox.Pair{Local: d.to, Remote: d.from}, d.id}
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.verifies[q]
	if c == nil {
		return false
	}
	delete(l.verifies, q)
	v := verdict{valid: d.typ == "valid"}
	if d.typ == "error" { // XEP-0220 §2.4: whatever it was
		v.err = xmpp.RemoteServerNotFound("your server could not confirm the key")
	}
	c <- v // has room for it
	return true
}
