package c2s

import (
	"encoding/base64"
	"errors"
	"slices"
	"time"

	"jackdaw/router/accounts"
	"jackdaw/wire"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
	"jackdaw/xmpp/sasl"
	"jackdaw/xmpp/stream"
)

// A profile is how SASL lies in a stream: that of RFC 6120 §6, or that of XEP-0388.
type profile struct {
	space   string // of its elements
	offered []sasl.Mechanism
	sasl    sasl.Config
}

// prepareLogin finds out which mechanisms are offered now, by preference, and what they need.
func (g *greeting) prepareLogin(requireTLS bool) {
	g.classic = profile{space: xmpp.NSSASL}
	g.profile = &g.classic
	if !g.secure && requireTLS {
		return // RFC 6120 §5.3.1
	}
	secret, iterations := g.srv.accounts.FakeParameters()
	c := sasl.Config{Prepare: g.prepare, Lookup: g.lookup, FakeSecret: secret, FakeIterations: iterations}
	var out []sasl.Mechanism
	if c.Bindings = g.channel(); len(c.Bindings) > 0 {
		out = append(out, sasl.ScramSHA256Plus, sasl.ScramSHA1Plus)
	}
	out = append(out, sasl.ScramSHA256, sasl.ScramSHA1)
	switch host := g.host.String(); {
	case g.srv.accounts.Elsewhere(host): // who knows the password has to be shown it
		c.Lookup, out = nil, nil
		if _, _, bears := g.srv.accounts.Bears(host); bears && g.secure { // RFC 7628 §3.1
			c.Bearer = g.bearer
			out = append(out, sasl.OAuthBearer)
		}
	case g.srv.accounts.OnlySHA1(host):
		out = slices.DeleteFunc(out, func(m sasl.Mechanism) bool { return m.Hash() != sasl.SHA1 })
	}
	// RFC 6120 §13.8.3: no password in clear, but where the administrator says that the wire is ours
	if g.secure || g.srv.plain && g.source.Exempt {
		c.Verify = g.verify
		out = append(out, sasl.Plain)
	}
	c.TLSVersion = g.tlsVersion()
	g.classic.offered, g.classic.sasl = out, c
	g.prepareSASL2()
}

// account is the address of a user name at the host of this stream.
func (g *greeting) account(user string) (jid.JID, error) {
	return jid.New(user, g.host.String(), "")
}

func (g *greeting) prepare(user string) (string, bool) {
	j, err := g.account(user)
	if err != nil || j.Local() == "" {
		return "", false
	}
	return j.Local(), true
}

func (g *greeting) lookup(user string, h sasl.Hash) (sasl.Keys, bool, error) {
	j, err := g.account(user)
	if err != nil {
		return sasl.Keys{}, false, nil
	}
	if err := g.srv.accounts.Throttle().Check(g.source, j.String()); err != nil {
		return sasl.Keys{}, false, sasl.NotAuthorized
	}
	ctx, cancel := g.srv.within(g.srv.limits().AuthTime)
	defer cancel()
	keys, ok, err := g.srv.accounts.Keys(ctx, j, h)
	if errors.Is(err, accounts.ErrWaiting) {
		g.waits, err = true, nil
	}
	return keys, ok, err
}

func (g *greeting) verify(user, password string) (bool, error) {
	j, err := g.account(user)
	if err != nil {
		return false, nil
	}
	ctx, cancel := g.srv.within(g.srv.limits().AuthTime)
	defer cancel()
	err = g.srv.accounts.Authenticate(ctx, g.source, j, password)
	_, throttled := errors.AsType[accounts.ErrThrottled](err)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, accounts.ErrWaiting):
		g.waits = true
		return true, nil
	case throttled:
		return false, sasl.NotAuthorized
	case errors.Is(err, accounts.ErrNotAuthorized):
		return false, nil
	}
	return false, err
}

// login goes through one attempt (RFC 6120 §6.4). again says that another may follow; else, without an error, the user
// is authenticated and the stream must be opened anew.
func (g *greeting) login(raw []byte) (again bool, err error) {
	el, err := xmpp.ParseElement(raw)
	if err != nil {
		return false, wire.Fault(stream.BadFormat, "")
	}
	g.profile = &g.classic
	g.attempts(raw)
	user, last, err := g.prove(sasl.Mechanism(el.Attr("mechanism")), el.Text())
	if err != nil || user.IsZero() {
		return true, err
	}
	g.out = append(g.out, "<success xmlns='"+xmpp.NSSASL+"'>"...)
	g.out = append(base64.StdEncoding.AppendEncode(g.out, last), "</success>"...)
	g.user = user
	g.admit() // who is told of the login finds it counted
	if err := g.write(); err != nil {
		return false, err
	}
	g.Scanner.Reset()
	return false, nil
}

// prove goes through the exchange of a mechanism, in the profile at hand: text is the initial response as RFC 6120
// §6.4.2 writes it, "" for none and "=" for an empty one. It returns who the user is and what goes with the success, or
// without an error nobody: the client has been told why, and may try again.
func (g *greeting) prove(m sasl.Mechanism, text string) (user jid.JID, last []byte, err error) {
	g.tried, g.waits = time.Now(), false
	if !slices.Contains(g.offered, m) {
		why := sasl.InvalidMechanism
		if !g.secure && (m == sasl.Plain || len(g.offered) == 0) {
			why = sasl.EncryptionRequired // RFC 6120 §6.5.4
		}
		return jid.JID{}, nil, g.declined(why, "")
	}
	if m.Hash() != 0 { // XEP-0474 §5.1: of the profile that the client uses
		g.sasl.Announced = sasl.Announcement(g.offered, g.sasl.Bindings)
	}
	exchange, err := sasl.New(m, &g.sasl)
	if err != nil {
		return jid.JID{}, nil, g.declined(sasl.Condition(err), "")
	}
	if g.response != "" { // the challenge was another node's
		text, g.response = g.response, ""
	}
	challenged := false
	for {
		response, ok := decode(text)
		if !ok {
			return jid.JID{}, nil, g.declined(sasl.IncorrectEncoding, exchange.Username())
		}
		if exchange.Username() == "" {
			switch err := g.claim(m, response, text, challenged); {
			case errors.Is(err, errUnreachable):
				return jid.JID{}, nil, g.declined(sasl.TemporaryAuthFailure, "")
			case err != nil:
				return jid.JID{}, nil, err
			}
		}
		challenge, done, err := exchange.Next(response)
		if err != nil {
			// Only a wrong proof is a failed login. Before the challenge of SCRAM nothing was guessed. COMPAT(slixmpp 1.8): it
			// knows no channel binding of TLS 1.3 and says "y" in every SCRAM attempt, which RFC 5802 §6 has us refuse; then it
			// comes with PLAIN, and must not find itself throttled.
			user := exchange.Username()
			if sasl.Condition(err) != sasl.NotAuthorized || !challenged && m.Hash() != 0 {
				return jid.JID{}, nil, g.declined(sasl.Condition(err), user)
			}
			// PLAIN has been counted where it was verified. Nobody guesses a token: a client whose token has been taken back
			// comes with the password next, and must not find itself throttled.
			if m.Hash() != 0 && user != "" {
				g.strike(user)
			}
			return jid.JID{}, nil, g.failed(user)
		}
		if done {
			user, err := g.proved(m, exchange)
			return user, challenge, err
		}
		g.out = append(g.out, "<challenge xmlns='"...)
		g.out = append(append(g.out, g.space...), "'>"...)
		g.out = append(base64.StdEncoding.AppendEncode(g.out, challenge), "</challenge>"...)
		challenged = true
		el, err := g.step("response", exchange.Username())
		if err != nil || el == nil {
			return jid.JID{}, nil, err
		}
		if text = el.Text(); text == "" {
			text = "="
		}
	}
}

// step sends what is to be sent, and reads the client's next element of an attempt that is under way. It is nil where
// the client has ended the attempt instead, and has been answered.
func (g *greeting) step(local, user string) (el *xmpp.Element, err error) {
	if err := g.write(); err != nil {
		return nil, err
	}
	item, err := g.Next()
	if err != nil {
		return nil, err
	}
	if item == stream.ItemEnd {
		return nil, &wire.Farewell{}
	}
	if item != stream.ItemElement {
		return nil, wire.Fault(stream.NotAuthorized, "")
	}
	name, raw := g.Scanner.Element()
	switch {
	case name == xmpp.Name{Space: g.space, Local: "abort"}:
		return nil, g.declined(sasl.Aborted, user)
	case name == xmpp.Name{Space: g.space, Local: local}:
	case name.Space == xmpp.NSSASL && g.space == xmpp.NSSASL:
		return nil, g.declined(sasl.MalformedRequest, user)
	default: // XEP-0388 §2.4: no other traffic
		return nil, wire.Fault(stream.UnsupportedStanzaType, "")
	}
	if el, err = xmpp.ParseElement(raw); err != nil {
		return nil, wire.Fault(stream.BadFormat, "")
	}
	return el, nil
}

// decode reads base64 without any licence (RFC 6120 §6.4.2, RFC 4648 §4).
func decode(text string) ([]byte, bool) {
	switch text {
	case "": // no initial response at all
		return nil, true
	case "=": // an empty one
		return []byte{}, true
	}
	for i := range len(text) { // the library would pass over line ends
		if text[i] == '\n' || text[i] == '\r' {
			return nil, false
		}
	}
	b, err := base64.StdEncoding.Strict().DecodeString(text)
	return b, err == nil
}

// strike counts a failure against the address and the account.
func (g *greeting) strike(user string) {
	if j, err := g.account(user); err == nil {
		g.srv.accounts.Throttle().Failed(g.source, j.String())
	}
}

// proved checks as whom the user wants to act. It returns nobody where the attempt has failed all the same.
func (g *greeting) proved(m sasl.Mechanism, exchange sasl.Server) (user jid.JID, err error) {
	if user, err = g.account(exchange.Username()); err != nil {
		return jid.JID{}, g.declined(sasl.NotAuthorized, "")
	}
	if id := exchange.AuthzID(); id != "" { // RFC 6120 §6.3.8
		if as, err := jid.Parse(id); err != nil || as != user {
			return jid.JID{}, g.declined(sasl.InvalidAuthzID, exchange.Username())
		}
	}
	// XEP-0388 §2.3: whom the stream is from. There is no other header that would have to say so (RFC 6120 §4.7.1).
	if from := g.Scanner.Header().From; g.space == xmpp.NSSASL2 && from.Local() != "" && from.Bare() != user {
		return jid.JID{}, g.declined(sasl.InvalidAuthzID, exchange.Username())
	}
	if g.waits { // RFC 6120 §6.5.1; nobody learns it who does not know the password
		return jid.JID{}, g.declinedFor(sasl.AccountDisabled, exchange.Username(),
			"<text xml:lang='en'>an administrator has to approve this account before it can be used</text>")
	}
	if m.Hash() != 0 { // a proof of the password
		g.srv.accounts.Throttle().Succeeded(g.source, user.String())
	}
	g.how = m
	return user, nil
}

// failed reports a login whose proof was wrong; the last one that is allowed ends the stream (RFC 6120 §6.4.5).
func (g *greeting) failed(user string) error {
	g.failures++
	g.srv.Stats.AuthFailures.Add(1)
	g.unsaid = ""
	g.noteFailure(user, sasl.NotAuthorized)
	return g.fail(sasl.NotAuthorized, "", g.failures >= g.srv.limits().FailedLogins)
}

// maxDeclined is how often a stream may try what is no login, for each login that may fail.
const maxDeclined = 4

// declined reports an attempt in which nothing was proved: a mechanism that is not offered or does not suit the
// connection, a message that cannot be read. Clients go through what they know in this way before they come to the
// mechanism that works.
func (g *greeting) declined(why sasl.Failure, user string) error { return g.declinedFor(why, user, "") }

// declinedFor is declined with a detail for the client.
func (g *greeting) declinedFor(why sasl.Failure, user, detail string) error {
	g.declines++
	g.unsaid, g.claimed = why, user
	return g.fail(why, detail, g.declines >= maxDeclined*g.srv.limits().FailedLogins)
}

// fail reports why an attempt has come to nothing; detail is what else the profile lets us say, as XML.
func (g *greeting) fail(why sasl.Failure, detail string, last bool) error {
	g.out = append(g.out, "<failure xmlns='"...)
	g.out = append(append(g.out, g.space...), "'><"...)
	g.out = append(g.out, why...)
	if g.space != xmpp.NSSASL {
		g.out = append(g.out, " xmlns='"+xmpp.NSSASL+"'"...)
	}
	g.out = append(append(append(g.out, "/>"...), detail...), "</failure>"...)
	if err := g.write(); err != nil {
		return err
	}
	if last {
		return wire.Fault(stream.PolicyViolation, "too many failed logins")
	}
	return nil
}

// noteFailure leaves the one line that a failed login gets.
func (g *greeting) noteFailure(user string, why sasl.Failure) {
	if user != "" {
		g.srv.log.Info("login failed", "user", user, "host", g.host.String(), "from", g.source.Addr, "why", string(why))
	}
}
