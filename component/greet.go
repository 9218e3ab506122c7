package component

import (
	"crypto/sha1"
	"crypto/subtle"
	"encoding/hex"
	"strings"
	"time"

	"jackdaw/wire"
	"jackdaw/xmpp"
	"jackdaw/xmpp/stream"
)

// preauthStanza bounds, in bytes, each of the two items that an unknown program sends: a stream header and 40 digits.
const preauthStanza = 4 << 10

// greet reads the stream header and the handshake (XEP-0114 §3). On success the stream is the one of its domain, and
// the component knows.
func (l *link) greet() (err error) {
	defer l.srv.streams.Recover(&err)
	if err := l.patience(l.limits.AuthTime); err != nil {
		return err
	}
	l.Strict(xmpp.NSComponentAccept, preauthStanza, &l.limits)
	domain, id, err := l.open()
	if err != nil {
		return err
	}
	secret, err := l.prove(domain, id)
	if err != nil {
		return err
	}
	if err := l.patience(0); err != nil {
		return err
	}
	l.pass.Known()
	l.far.Known()
	if !l.exempt() {
		l.purse = l.srv.budgets.Open(domain)
	}
	l.Relax(l.limits.ServerStanzaBytes, &l.limits)
	l.domain, l.address, l.secret, l.since = domain, l.Scanner.Header().To, secret, time.Now()
	if old := l.srv.enter(l); old != nil {
		<-old.stopped
		l.inherit(&old.rest)
	}
	l.srv.log.Info("component connected", "domain", l.domain, "address", l.remote())
	if l.srv.connected != nil {
		l.srv.connected(l.domain)
	}
	return l.welcome()
}

// welcome writes our handshake, and with it what is queued, unless that is much. Programs begin when they have the
// handshake, and what they are told of their privileges (XEP-0356) must not come too late for that.
func (l *link) welcome() error {
	const handshake = "<handshake/>"
	var with outgoing
	l.mu.Lock()
	if len(l.queue.buf) < pieceSize {
		with, l.queue = l.queue, outgoing{}
	}
	l.mu.Unlock()
	n, err := 0, l.stall()
	if err == nil {
		n, err = l.Write(append([]byte(handshake), with.buf...))
	}
	n = max(n-len(handshake), 0)
	done := 0
	for done < len(with.marks) && with.marks[done].end <= n {
		done++
	}
	l.taken(with.marks[:done], n)
	if err != nil {
		l.rest = with.from(done)
		l.end(&wire.Farewell{Cause: err}, false) // the writer writes nothing behind a piece
	}
	return err
}

// open reads the component's stream header and answers it. Errors in it are said inside a stream of ours (RFC 6120
// §4.9.1.2).
func (l *link) open() (domain, id string, err error) {
	item, err := l.first()
	if err != nil {
		return "", "", err
	}
	h := l.Scanner.Header()
	switch {
	case item != stream.ItemHeader:
		return "", "", wire.Fault(stream.BadFormat, "")
	case h.Content != xmpp.NSComponentAccept:
		return "", "", wire.Fault(stream.InvalidNamespace, "this is a server for components")
	case h.BadTo, !h.To.IsZero() && !h.To.IsDomain():
		return "", "", wire.Fault(stream.ImproperAddressing, "'to' is not a domain")
	case h.To.IsZero():
		return "", "", wire.Fault(stream.ImproperAddressing, "'to' is missing")
	}
	domain = h.To.Domain()
	if _, ok := l.srv.settings().Secrets[domain]; !ok {
		return "", "", wire.Fault(stream.HostUnknown, "")
	}
	if err := l.handOver(domain); err != nil {
		return "", "", err
	}
	id = wire.NewID()
	_, err = l.Write(l.header(nil, id))
	return domain, id, err
}

// header appends ours. XEP-0114 shows 'from' and 'id' and no version; with one the component would wait for stream
// features.
func (l *link) header(b []byte, id string) []byte {
	l.answered = true
	return l.Framing.AppendHeader(b, stream.Header{Content: xmpp.NSComponentAccept,
		From: l.Scanner.Header().To.DomainJID(), ID: id})
}

// prove reads the handshake and returns the secret that it proves.
func (l *link) prove(domain, id string) (secret string, err error) {
	switch item, err := l.Next(); {
	case err != nil:
		return "", err
	case item == stream.ItemEnd:
		return "", &wire.Farewell{}
	case item != stream.ItemElement:
		return "", wire.Fault(stream.NotAuthorized, "") // RFC 6120 §4.9.3.12
	}
	name, raw := l.Scanner.Element()
	el, err := xmpp.ParseElement(raw)
	if name != (xmpp.Name{Space: xmpp.NSClient, Local: "handshake"}) || err != nil {
		return "", wire.Fault(stream.NotAuthorized, "")
	}
	secret, ok, err := l.srv.settings().Secret(domain)
	switch {
	case err != nil:
		l.srv.log.Error("look up the secret of a component", "domain", domain, "error", err,
			"do", "make the file of component.secrets readable for the user of this server")
		return "", wire.Fault(stream.InternalServerError, "")
	case !ok: // it has just been removed
		return "", wire.Fault(stream.HostUnknown, "")
	}
	want := sha1.Sum([]byte(id + secret))
	given := strings.TrimSpace(el.Text())
	if secret == "" || subtle.ConstantTimeCompare([]byte(given), []byte(hex.EncodeToString(want[:]))) != 1 {
		l.srv.Stats.Failures.Add(1)
		l.srv.log.Warn("component with a wrong secret", "domain", domain, "address", l.remote())
		l.srv.noteEnd(domain, "wrong secret from "+l.remote())
		return "", wire.Fault(stream.NotAuthorized, "")
	}
	return secret, nil
}

// part says why a stream ends that has proved nothing, and makes it arrive.
func (l *link) part(f *wire.Farewell) {
	var opening []byte
	if !l.answered {
		opening = l.header(nil, wire.NewID())
	}
	l.Part(f, opening)
}
