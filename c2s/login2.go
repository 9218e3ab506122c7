package c2s

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"

	"jackdaw/router"
	"jackdaw/wire"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
	"jackdaw/xmpp/sasl"
	"jackdaw/xmpp/stream"
)

// sasl2 is what XEP-0388 adds to a profile. Without mechanisms it is not offered.
type sasl2 struct {
	profile
	upgrades []sasl.Hash      // announced: keys that the account may lack (XEP-0480)
	tokens   []sasl.Mechanism // by which a client may log in that has one (XEP-0484)
	version  string           // of all features (XEP-0509)
}

// prepareSASL2 finds out what the profile of XEP-0388 offers, where the connection is protected (§3, "MUST only be used
// … after TLS negotiation"). The mechanisms are those of the classic one, as far as the account has keys for them that
// the stream is said to be from (§2.1), and those of keys that only some accounts have.
func (g *greeting) prepareSASL2() {
	g.modern = sasl2{}
	if !g.secure {
		return
	}
	from, c := g.Scanner.Header().From, g.classic.sasl
	// Who knows the password has to be shown it each time: a token would outlive a change of it that nobody here sees.
	if g.srv.accounts.Elsewhere(g.host.String()) {
		g.modern.profile = profile{space: xmpp.NSSASL2, offered: g.classic.offered, sasl: c}
		return
	}
	onlySHA1 := g.srv.accounts.OnlySHA1(g.host.String())
	// Of an account that nobody has named.
	has := func(h sasl.Hash) bool { return h == sasl.SHA1 || h == sasl.SHA256 && !onlySHA1 }
	if from.Local() != "" && from.Domain() == g.host.Domain() && !g.away(from) {
		ctx, cancel := g.srv.within(g.srv.limits().AuthTime)
		defer cancel()
		if shown, err := g.srv.accounts.Shown(ctx, from); err == nil {
			has = shown.Has
		}
	}
	var plus, out []sasl.Mechanism
	for _, h := range [...]sasl.Hash{sasl.SHA512, sasl.SHA256, sasl.SHA1} {
		if !has(h) {
			if h != sasl.SHA1 { // an upgrade goes up
				g.modern.upgrades = append(g.modern.upgrades, h)
			}
			continue
		}
		if len(c.Bindings) > 0 {
			plus = append(plus, sasl.Scram(h, true))
		}
		out = append(out, sasl.Scram(h, false))
	}
	out = append(plus, out...)
	if c.Verify != nil {
		out = append(out, sasl.Plain)
	}
	g.modern.tokens = g.tokenMechanisms(c.Bindings)
	g.modern.profile = profile{space: xmpp.NSSASL2, offered: out, sasl: c}
}

// appendAuthentication announces SASL2 (XEP-0388 §2.1).
func (g *greeting) appendAuthentication(f []byte) []byte {
	if len(g.modern.offered) == 0 {
		return f
	}
	f = append(f, "<authentication xmlns='"+xmpp.NSSASL2+"'>"...)
	for _, m := range g.modern.offered {
		f = append(f, "<mechanism>"...)
		f = append(append(f, m...), "</mechanism>"...)
	}
	f = g.appendInline(f)
	for _, h := range g.modern.upgrades {
		f = append(f, "<upgrade xmlns='"+xmpp.NSSASLUpgrade+"'>"...)
		f = append(append(f, upgradeName(h)...), "</upgrade>"...)
	}
	return append(f, "</authentication>"...)
}

// appendVersion announces that a client which knows these features may send its login without waiting for them, and
// remembers by what it is told that it does (XEP-0509 §2.1).
func (g *greeting) appendVersion(f []byte) []byte {
	if len(g.modern.offered) == 0 {
		return f
	}
	sum := sha256.Sum256(f)
	g.modern.version = base64.StdEncoding.EncodeToString(sum[:18])
	f = append(f, "<config-version xmlns='"+xmpp.NSConfigVersion+"' scheme='opaque' value='"...)
	return append(append(f, g.modern.version...), "'/>"...)
}

// authenticate goes through one attempt of SASL2 (XEP-0388 §2.3). again says that another may follow; else, without an
// error, the user is authenticated and the stream goes on. With a session the error is errTaken.
func (g *greeting) authenticate(raw []byte) (again bool, err error) {
	el, err := xmpp.ParseElement(raw)
	if err != nil {
		return false, wire.Fault(stream.BadFormat, "")
	}
	attempt := g.modern.profile
	g.profile = &attempt
	if from := g.Scanner.Header().From; !from.IsZero() && from.Domain() != g.host.Domain() {
		return false, wire.Fault(stream.InvalidFrom, "") // XEP-0388 §2.1
	}
	q, ok := parseRequest(el, g.modern.tokens)
	if !ok {
		return true, g.declined(sasl.MalformedRequest, "")
	}
	if q.version != nil && *q.version != g.modern.version {
		// XEP-0509 §2.2: without prejudice; the client has seen the features by now.
		return true, g.declinedFor(sasl.Aborted, "", "<config-version-mismatch xmlns='"+xmpp.NSConfigVersion+"'/>")
	}
	if q.fast != nil && len(g.modern.tokens) > 0 {
		g.tokenLogin(&q)
	}
	g.attempts(raw)
	user, last, err := g.prove(sasl.Mechanism(el.Attr("mechanism")), initialResponse(el))
	if err != nil || user.IsZero() {
		return true, err
	}
	if last, ok, err = g.upgrade(user, q.upgrade, last); err != nil || !ok {
		return true, err
	}
	return g.welcome(user, &q, last)
}

// initialResponse is that of SASL2 in the words of RFC 6120 §6.4.2: there an empty one has a sign of its own, here it
// is an empty element (XEP-0388 §2.2).
func initialResponse(el *xmpp.Element) string {
	first := el.ChildLocal("initial-response")
	if first == nil {
		return ""
	}
	switch text := first.Text(); text {
	case "":
		return "="
	case "=":
		return "==" // no base64 at all
	default:
		return text
	}
}

// welcome does what the client has asked for with its login, and says all of it in one element (XEP-0388 §2.6.1). What
// is resumed comes first, and spares the rest (XEP-0198 §9.2).
func (g *greeting) welcome(user jid.JID, q *request, last []byte) (again bool, err error) {
	g.user = user
	resumed, answers := false, []byte(nil)
	if q.resume != nil {
		if answers, err = g.takeUp(q.resume.id, q.resume.h); err != nil {
			return false, err
		}
		resumed = g.s != nil
	}
	if q.bind != nil && !resumed {
		bound, err := g.bindInline(q)
		switch {
		case errors.Is(err, router.ErrTooManySessions):
			g.user = jid.JID{}
			return true, g.declinedFor(sasl.TemporaryAuthFailure, user.Local(),
				"<resource-constraint xmlns='"+xmpp.NSStanzaErrors+"'/><text>too many sessions</text>")
		case err != nil:
			return false, wire.Fault(stream.InternalServerError, "")
		}
		answers = append(answers, bound...)
	}
	token, err := g.issue(user, q)
	if err != nil { // it may ask again; the login is good
		g.srv.log.Warn("no token is given to a client", "user", user, "error", err)
	}
	answers = append(answers, token...)
	if q.fast != nil {
		g.srv.Stats.TokenLogins.Add(1)
	}
	g.entered = g.loginOf(user, q)
	g.remember()
	g.admit()
	g.flowing, g.device = true, deviceOf(user, q)
	who := user // a bare address, unless a resource is bound
	if g.s != nil {
		who = g.s.addr
	}
	g.out = append(g.out, "<success xmlns='"+xmpp.NSSASL2+"'>"...)
	if last != nil {
		g.out = append(g.out, "<additional-data>"...)
		g.out = append(base64.StdEncoding.AppendEncode(g.out, last), "</additional-data>"...)
	}
	g.out = append(g.out, "<authorization-identifier>"...)
	g.out = append(xmpp.AppendText(g.out, who.String()), "</authorization-identifier>"...)
	g.out = append(append(g.out, answers...), "</success>"...)
	if !resumed { // XEP-0198 §9.2: no features then
		g.out = g.Framing.AppendFeatures(g.out, g.features())
	}
	if g.s != nil {
		return false, g.commit()
	}
	return false, g.write()
}
