package component

import (
	"crypto/rand"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/hex"
	"strings"
	"time"

	"jackdaw/router/gate"
	"jackdaw/xmpp"
	"jackdaw/xmpp/stream"
)

// preauthStanza bounds, in bytes, each of the two items that an unknown program sends: a stream header and 40 digits.
const preauthStanza = 4 << 10

// newID is for streams: nobody can guess it, since it is what keeps a handshake from being used twice.
func newID() string { return rand.Text() }

// greet reads the stream header and the handshake (XEP-0114 §3). On success the stream is the one of its domain, and the
// component knows.
func (l *link) greet() (err error) {
	defer l.recovered(&err)
	if err := l.patience(l.limits.AuthTime); err != nil {
		return err
	}
	l.most = l.limits.PreauthBytes
	l.scan.Expect(xmpp.NSComponentAccept)
	l.scan.SetLimits(stream.Limits{Bytes: preauthStanza, Depth: l.limits.Depth, Elements: l.limits.PreauthElements,
		Attributes: l.limits.Attributes, Declarations: l.limits.Namespaces})
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
	l.most = -1
	if !gate.Exempt(gate.RemoteIP(l.conn)) {
		l.purse = l.srv.budgets.Open(domain)
	}
	l.scan.SetLimits(stream.Limits{Bytes: l.limits.ServerStanzaBytes, Depth: l.limits.Depth, Elements: l.limits.Elements,
		Attributes: l.limits.Attributes, Declarations: l.limits.Namespaces})
	l.domain, l.address, l.secret, l.since = domain, l.scan.Header().To, secret, time.Now()
	if old := l.srv.enter(l); old != nil {
		<-old.stopped
		l.inherit(&old.rest)
	}
	l.srv.log.Info("component connected", "domain", l.domain, "address", l.remote())
	if err := l.stall(); err != nil {
		return err
	}
	_, err = l.conn.Write([]byte("<handshake/>"))
	return err
}

// open reads the component's stream header and answers it. Errors in it are said inside a stream of ours
// (RFC 6120 §4.9.1.2).
func (l *link) open() (domain, id string, err error) {
	item, err := l.next()
	if err != nil {
		return "", "", err
	}
	h := l.scan.Header()
	switch {
	case item != stream.ItemHeader:
		return "", "", fault(stream.BadFormat, "")
	case h.Content != xmpp.NSComponentAccept:
		return "", "", fault(stream.InvalidNamespace, "this is a server for components")
	case h.BadTo, !h.To.IsZero() && !h.To.IsDomain():
		return "", "", fault(stream.ImproperAddressing, "'to' is not a domain")
	case h.To.IsZero():
		return "", "", fault(stream.ImproperAddressing, "'to' is missing")
	}
	domain = h.To.Domain()
	if _, ok := l.srv.settings().Secrets[domain]; !ok {
		return "", "", fault(stream.HostUnknown, "")
	}
	id = newID()
	_, err = l.conn.Write(l.header(nil, id))
	return domain, id, err
}

// header appends ours. XEP-0114 shows 'from' and 'id' and no version; with one the component would wait for stream features.
func (l *link) header(b []byte, id string) []byte {
	l.answered = true
	return stream.AppendHeader(b, stream.Header{Content: xmpp.NSComponentAccept, From: l.scan.Header().To.DomainJID(), ID: id})
}

// prove reads the handshake and returns the secret that it proves.
func (l *link) prove(domain, id string) (secret string, err error) {
	switch item, err := l.next(); {
	case err != nil:
		return "", err
	case item == stream.ItemEnd:
		return "", &farewell{}
	case item != stream.ItemElement:
		return "", fault(stream.NotAuthorized, "") // RFC 6120 §4.9.3.12
	}
	name, raw := l.scan.Element()
	el, err := xmpp.ParseElement(raw)
	if name != (xmpp.Name{Space: xmpp.NSClient, Local: "handshake"}) || err != nil {
		return "", fault(stream.NotAuthorized, "")
	}
	secret, ok, err := l.srv.settings().Secret(domain)
	switch {
	case err != nil:
		l.srv.log.Error("look up the secret of a component", "domain", domain, "error", err,
			"do", "make the file of component.secrets readable for the user of this server")
		return "", fault(stream.InternalServerError, "")
	case !ok: // it has just been removed
		return "", fault(stream.HostUnknown, "")
	}
	want := sha1.Sum([]byte(id + secret))
	given := strings.TrimSpace(el.Text())
	if secret == "" || subtle.ConstantTimeCompare([]byte(given), []byte(hex.EncodeToString(want[:]))) != 1 {
		l.srv.Stats.Failures.Add(1)
		l.srv.log.Warn("component with a wrong secret", "domain", domain, "address", l.remote())
		l.srv.noteEnd(domain, "wrong secret from "+l.remote())
		return "", fault(stream.NotAuthorized, "")
	}
	return secret, nil
}

// part says why a stream ends that has proved nothing, and makes it arrive.
func (l *link) part(f *farewell) {
	if f.cause != nil || l.conn.SetDeadline(time.Now().Add(farewellTime)) != nil {
		return
	}
	var b []byte
	if !l.answered {
		b = l.header(b, newID())
	}
	if _, err := l.conn.Write(f.append(b)); err == nil {
		l.linger()
	}
}
