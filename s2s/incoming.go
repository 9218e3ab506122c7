package s2s

import (
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"time"

	"jackdaw/s2s/outbox"
	"jackdaw/wire"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
	"jackdaw/xmpp/sasl"
	"jackdaw/xmpp/stream"
)

// errAgain says that the stream is to be opened anew (RFC 6120 §4.3.3).
var errAgain = errors.New("a new stream follows")

// receive serves a peer that has called, from the first byte to the end.
func (l *link) receive() {
	l.finish(l.serve())
}

func (l *link) serve() (err error) {
	defer l.srv.streams.Recover(&err)
	l.strict()
	switch {
	case l.TLS != nil: // by another listener
		l.secured(l.TLS)
	case l.direct:
		if l.srv.callers == nil {
			return errors.New("direct TLS without a certificate")
		}
		if err := l.acceptTLS(""); err != nil {
			l.srv.Stats.TLSFailures.Add(1)
			return err
		}
	}
	if err := l.Transport.SetReadDeadline(time.Now().Add(l.srv.policy().limits.AuthTime)); err != nil {
		return err
	}
	for {
		if err := l.welcome(); err != nil {
			return err
		}
		if err := l.work(); err != errAgain {
			return err
		}
		l.Scanner.Reset()
	}
}

// welcome reads the peer's stream header and answers it (RFC 6120 §4.7).
func (l *link) welcome() error {
	item, err := l.next()
	if err != nil {
		return err
	}
	h := l.Scanner.Header()
	s := l.srv
	if !l.known.Load() && item == stream.ItemHeader { // what the answer needs, even if it is an error
		l.mu.Lock()
		l.id = wire.NewID()
		if h.To.IsDomain() && s.o.Router.Owns(h.To.Domain()) {
			l.local = h.To.Domain()
		}
		if h.From.IsDomain() {
			l.remote = h.From.Domain()
		}
		l.mu.Unlock()
	}
	switch {
	case item != stream.ItemHeader:
		return wire.Fault(stream.BadFormat, "")
	case h.Content != xmpp.NSServer:
		return wire.Fault(stream.InvalidNamespace, "this port is for servers")
	case h.BadTo, h.To.IsZero(), !h.To.IsDomain():
		return wire.Fault(stream.ImproperAddressing, "'to' is not a domain")
	case !s.o.Router.Owns(h.To.Domain()):
		return wire.Fault(stream.HostUnknown, "") // RFC 6120 §4.9.3.6
	case h.BadFrom, !h.From.IsZero() && !h.From.IsDomain():
		return wire.Fault(stream.InvalidFrom, "") // RFC 6120 §4.9.3.9
	case l.known.Load() && (h.To.Domain() != l.local || !h.From.IsZero() && h.From.Domain() != l.remote):
		return wire.Fault(stream.InvalidFrom, "") // not whom EXTERNAL has proved
	case !wire.Current(h.Version):
		return wire.Fault(stream.UnsupportedVersion, "")
	case !h.From.IsZero() && s.o.Router.Owns(h.From.Domain()):
		return wire.Fault(stream.InvalidFrom, "") // nobody else is us
	case !h.From.IsZero() && !s.policy().admits(h.From.Domain()):
		return wire.Fault(stream.PolicyViolation, "this server does not exchange messages with your domain")
	}
	l.mu.Lock()
	if l.known.Load() {
		l.id = wire.NewID()
	}
	b := l.Framing.AppendHeader(nil, l.header())
	l.mu.Unlock()
	if err := l.write(l.appendFeatures(b)); err != nil {
		return err
	}
	if l.known.Load() {
		l.turnBack(outbox.Pair{Local: l.local, Remote: l.remote})
	}
	return nil
}

// appendFeatures appends what the peer may do next.
func (l *link) appendFeatures(b []byte) []byte {
	p := l.srv.policy()
	known := l.known.Load()
	bytes := p.preauth
	l.external = false
	var f []byte
	switch {
	case known:
		bytes = p.limits.ServerStanzaBytes
	case l.TLS == nil && l.srv.callers != nil:
		f = wire.AppendStartTLS(f, p.needsTLS(l.remote))
	case l.TLS != nil:
		l.judge()
		if l.external = l.certainty == nil && l.remote != ""; l.external { // XEP-0178 §3, step 11
			f = append(f, "<mechanisms xmlns='"+xmpp.NSSASL+"'><mechanism>EXTERNAL</mechanism></mechanisms>"...)
		}
		f = append(f, "<bidi xmlns='"+xmpp.NSBidiFeature+"'/>"...)
	}
	if l.TLS != nil || !p.needsTLS(l.remote) {
		// Proofs that need no call back are given to whoever asks for dialback too.
		f = append(f, "<dialback xmlns='"+xmpp.NSDialbackFeature+"'><errors/></dialback>"...)
		f = append(f, "<sm xmlns='"+xmpp.NSSM+"'/>"...)
	}
	return l.Framing.AppendFeatures(b, wire.AppendLimits(f, bytes, 0))
}

// again has the stream opened anew.
func (l *link) again() error {
	l.mu.Lock()
	l.began = false
	l.mu.Unlock()
	return errAgain
}

// authorize answers SASL (RFC 6120 §6, XEP-0178 §3).
func (l *link) authorize(what string, raw []byte) error {
	el, err := xmpp.ParseElement(raw)
	if err != nil {
		return wire.Fault(stream.BadFormat, "")
	}
	if l.known.Load() {
		return wire.Fault(stream.PolicyViolation, "the stream is authenticated") // RFC 6120 §6.4.6
	}
	switch {
	case what == "auth" && l.external && el.Attr("mechanism") == string(sasl.External):
		l.login, err = sasl.New(sasl.External, &sasl.Config{External: l.isPeer})
	case what == "auth":
		err = sasl.InvalidMechanism
	case what == "abort":
		err = sasl.Aborted
	case what != "response" || l.login == nil:
		err = sasl.MalformedRequest
	}
	if err != nil {
		return l.refuseLogin(err)
	}
	var response []byte // nil: there is none
	switch text := strings.TrimSpace(el.Text()); {
	case text == "=" || text == "" && what == "response": // RFC 6120 §6.4.2
		response = []byte{}
	case text != "":
		if response, err = base64.StdEncoding.Strict().DecodeString(text); err != nil {
			return l.refuseLogin(sasl.IncorrectEncoding)
		}
	}
	_, done, err := l.login.Next(response)
	switch {
	case err != nil:
		return l.refuseLogin(err)
	case !done:
		return l.write([]byte("<challenge xmlns='" + xmpp.NSSASL + "'/>"))
	case !l.prove(outbox.Pair{Local: l.local, Remote: l.remote}, byExternal, l.id):
		return l.refuseLogin(sasl.TemporaryAuthFailure)
	}
	l.login = nil
	if err := l.write([]byte("<success xmlns='" + xmpp.NSSASL + "'/>")); err != nil {
		return err
	}
	return l.again()
}

// isPeer says whether the peer may act as that identity: only as the domain of its header, for which the certificate
// was looked at when EXTERNAL was offered.
func (l *link) isPeer(authzID string) (bool, error) {
	if authzID == "" {
		return true, nil
	}
	who, err := jid.Parse(authzID)
	if err != nil || !who.IsDomain() || who.Domain() != l.remote {
		return false, sasl.InvalidAuthzID
	}
	return true, nil
}

// refuseLogin leaves the way to dialback open.
func (l *link) refuseLogin(err error) error {
	l.srv.Stats.AuthFailures.Add(1)
	l.login = nil
	if l.failures++; l.failures >= l.srv.policy().limits.FailedLogins {
		return wire.Fault(stream.PolicyViolation, "too many attempts")
	}
	return l.write([]byte("<failure xmlns='" + xmpp.NSSASL + "'><" + string(sasl.Condition(err)) + "/></failure>"))
}

// appendAuth appends <auth/> for EXTERNAL; an empty response is "=" (RFC 6120 §6.4.2).
func appendAuth(b, response []byte) []byte {
	b = append(b, "<auth xmlns='"+xmpp.NSSASL+"' mechanism='"+string(sasl.External)+"'>"...)
	if len(response) == 0 {
		b = append(b, '=')
	}
	return append(base64.StdEncoding.AppendEncode(b, response), "</auth>"...)
}

// becomeBidi takes <bidi/> (XEP-0288 §2.2), with the peer's limits perhaps (XEP-0478 §3.2, whose example leaves
// <limits/> out).
func (l *link) becomeBidi(raw []byte) error {
	if l.TLS == nil || l.known.Load() {
		return wire.Fault(stream.UnsupportedStanzaType, "")
	}
	el, err := xmpp.ParseElement(raw)
	if err != nil {
		return wire.Fault(stream.BadFormat, "")
	}
	limits := el
	if c := el.Child(xmpp.Name{Space: xmpp.NSStreamLimits, Local: "limits"}); c != nil {
		limits = c
	}
	l.mu.Lock()
	l.bidi, l.limit = true, maxBytes(limits)
	l.mu.Unlock()
	return nil
}

// maxBytes reads what stanzas may weigh from <limits/>; 0 where that is not said.
func maxBytes(limits *xmpp.Element) int {
	c := limits.ChildLocal("max-bytes")
	if c == nil {
		return 0
	}
	n, err := strconv.ParseUint(strings.TrimSpace(c.Text()), 10, 31)
	if err != nil {
		return 0
	}
	return int(n)
}

// stanza routes one stanza of the peer.
func (l *link) stanza(x *xmpp.Stanza) error {
	if l.dying.Load() && l.in != nil {
		return nil // our last acknowledgement has been written: it will come again
	}
	s := l.srv
	if l.outgoing && !l.bidi && (x.Type == xmpp.TypeError || x.IsAnswer()) {
		if !l.echo(x) {
			if !s.pong(x) { // which gives away nothing
				s.Stats.Spoofed.Add(1)
			}
			l.pay(l.remote)
			if l.in != nil {
				l.received(nil)
			}
			return nil
		}
	} else if err := l.fit(x); err != nil {
		s.Stats.Spoofed.Add(1)
		return err
	}
	l.pay(x.From.Domain())
	l.stanzasIn.Add(1)
	s.Stats.StanzasIn.Add(1)
	e := &l.env
	e.Reset()
	e.Stanza, e.Peer, e.Durable, e.Batch = x, x.From.Domain(), l.in != nil, &l.batch
	if bad := l.unfit(x); bad != nil {
		if !x.From.IsZero() && x.Type != xmpp.TypeError && x.Type != xmpp.TypeResult {
			reply := x.ErrorReply(bad)
			if reply.From.IsZero() {
				reply.From, _ = jid.Parse(l.local) // a domain: it was parsed before
			}
			s.o.Router.Emit(&reply, &l.batch)
		}
	} else if !s.pong(x) {
		s.o.Router.Route(e)
	}
	if l.in != nil {
		l.received(e.Pendings)
	}
	return nil
}

// echo says whether an error or an answer is good that comes on a stream that is ours to send on: that of a peer whose
// certificate says that it is the one we called.
//
// COMPAT(jackal 0.64): it sends errors back on the stream of what they are about; without this they are lost.
func (l *link) echo(x *xmpp.Stanza) bool {
	p := outbox.Pair{Local: x.To.Domain(), Remote: x.From.Domain()}
	l.mu.Lock()
	_, ours := l.granted[p]
	l.mu.Unlock()
	return ours && l.TLS != nil && l.certainty == nil && l.srv.policy().admits(p.Remote) && l.srv.o.Router.Owns(p.Local)
}

// fit says why a stanza ends the stream, if it does: who it says it comes from, and whom it is for.
func (l *link) fit(x *xmpp.Stanza) error {
	p := outbox.Pair{Local: x.To.Domain(), Remote: x.From.Domain()}
	s := l.srv
	if l.Scanner.BadFrom() || l.Scanner.BadTo() {
		// An address that only we find bad is no reason to cut off all other users of the peer.
		l.mu.Lock()
		defer l.mu.Unlock()
		for q := range l.proved {
			if l.Scanner.BadFrom() || q.Remote == p.Remote {
				return nil
			}
		}
	}
	if x.From.IsZero() || x.To.IsZero() { // RFC 6120 §8.1.1.2, §8.1.2.2
		return wire.Fault(stream.ImproperAddressing, "a stanza between servers has 'from' and 'to'")
	}
	if p == l.last && s.policy().admits(p.Remote) && s.o.Router.Owns(p.Local) {
		return nil
	}
	l.mu.Lock()
	_, ok := l.proved[p]
	some := len(l.proved) > 0
	l.mu.Unlock()
	switch {
	case !some:
		return wire.Fault(stream.NotAuthorized, "") // RFC 6120 §4.9.3.12
	case !s.o.Router.Owns(p.Local):
		return wire.Fault(stream.HostUnknown, "") // RFC 6120 §4.9.3.6
	case !ok:
		return wire.Fault(stream.InvalidFrom, "the stream has not proved this domain towards that one") // RFC 6120 §4.9.3.9
	case !s.policy().admits(p.Remote):
		return wire.Fault(stream.PolicyViolation, "this server does not exchange messages with your domain")
	}
	l.last = p
	return nil
}

// unfit says what is wrong with a stanza before anyone else looks at it.
func (l *link) unfit(x *xmpp.Stanza) *xmpp.Error {
	if l.Scanner.BadFrom() && !l.Scanner.BadTo() { // to whom nothing can be said
		return xmpp.JIDMalformed("'from' is no address")
	}
	return wire.Unfit(x, l.Scanner.BadTo(), x.ID == "" && l.srv.o.Router.Answers(x.To))
}
