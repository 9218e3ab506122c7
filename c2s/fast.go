package c2s

import (
	"context"
	"errors"
	"strconv"
	"time"

	"jackdaw/router/devices"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
	"jackdaw/xmpp/sasl"
	"jackdaw/xmpp/stream"
)

// Tokens let devices log in without a password (XEP-0484), and remember which there are: devices.Service.
type Tokens interface {
	Use(ctx context.Context, u devices.Use, proves func(secret []byte) bool) (due bool, err error)
	Issue(ctx context.Context, l devices.Login, m sasl.Mechanism) (secret string, expires time.Time, err error)
	Seen(ctx context.Context, l devices.Login) error
}

// A fastRequest says that the login is by a token (XEP-0484 §3.4).
type fastRequest struct {
	count      uint64
	invalidate bool
}

func parseFast(el *xmpp.Element) (f *fastRequest, ok bool) {
	f = &fastRequest{}
	if s := el.Attr("count"); s != "" {
		n, err := strconv.ParseUint(s, 10, 63)
		if err != nil || n == 0 { // a positive number
			return nil, false
		}
		f.count = n
	}
	switch el.Attr("invalidate") {
	case "true", "1":
		f.invalidate = true
	case "", "false", "0":
	default:
		return nil, false
	}
	return f, true
}

// tokenMechanisms are those that a token may be for on this connection, the best first.
func (g *greeting) tokenMechanisms(bindings []sasl.Binding) (out []sasl.Mechanism) {
	if g.srv.tokens == nil || g.srv.settings().TokenLifetime == 0 {
		return nil
	}
	for _, m := range [...]sasl.Mechanism{sasl.HTSHA256Exporter, sasl.HTSHA256EndPoint} {
		kind, _ := m.TokenBinding()
		for _, b := range bindings {
			if b.Type == kind {
				out = append(out, m)
			}
		}
	}
	return append(out, sasl.HTSHA256None)
}

// appendFast announces logins by tokens (XEP-0484 §3.1). There is no early data in TLS over TCP here.
func (g *greeting) appendFast(f []byte) []byte {
	if len(g.modern.tokens) == 0 {
		return f
	}
	f = append(f, "<fast xmlns='"+xmpp.NSFAST+"'>"...)
	for _, m := range g.modern.tokens {
		f = append(f, "<mechanism>"...)
		f = append(append(f, m...), "</mechanism>"...)
	}
	return append(f, "</fast>"...)
}

// tokenLogin makes the attempt at hand one by a token.
func (g *greeting) tokenLogin(q *request) {
	g.offered = g.modern.tokens
	g.sasl.Token = func(user string, m sasl.Mechanism, proves func([]byte) bool) (bool, error) {
		j, err := g.account(user)
		if err != nil {
			return false, nil
		}
		ctx, cancel := g.srv.within(g.srv.limits().AuthTime)
		defer cancel()
		switch r, err := g.srv.accounts.Rights(ctx, j); {
		case err != nil:
			return false, err
		case !r.Active():
			return false, nil
		}
		u := devices.Use{User: j, Agent: q.agent.ID, Mechanism: m, Count: q.fast.count, Invalidate: q.fast.invalidate}
		due, err := g.srv.tokens.Use(ctx, u, proves)
		if err != nil {
			return false, err
		}
		if due && !q.fast.invalidate && q.token == "" { // XEP-0484 §3.5, §3.6
			q.token = m
		}
		return true, nil
	}
}

// issue makes the token that the client is to be given, and returns it as XML (XEP-0484 §3.3).
func (g *greeting) issue(user jid.JID, q *request) (answer []byte, err error) {
	if q.token == "" {
		return nil, nil
	}
	ctx, cancel := g.srv.within(g.srv.limits().AuthTime)
	defer cancel()
	secret, expires, err := g.srv.tokens.Issue(ctx, g.loginOf(user, q), q.token)
	if err != nil {
		return nil, err
	}
	answer = append(answer, "<token xmlns='"+xmpp.NSFAST+"' expiry='"+xmpp.FormatTime(expires)+"' token='"...)
	return append(xmpp.AppendAttr(answer, secret), "'/>"...), nil
}

// loginOf is what is to be known of the login that has succeeded.
func (g *greeting) loginOf(user jid.JID, q *request) devices.Login {
	return devices.Login{User: user, Agent: q.agent, Mechanism: g.how, Began: q.began}
}

// remember notes the login of a device, and again when a resource is bound later. A session that was bound by the token
// of a device which has been removed meanwhile ends: whoever removed it has ended those that there were.
func (g *greeting) remember() {
	if g.srv.tokens == nil || g.entered.Agent.ID == "" {
		return
	}
	ctx, cancel := g.srv.within(g.srv.limits().AuthTime)
	defer cancel()
	switch err := g.srv.tokens.Seen(ctx, g.entered); {
	case errors.Is(err, devices.ErrNotFound):
		if g.s != nil {
			g.s.End(string(stream.NotAuthorized), "the device was removed")
		}
	case err != nil:
		g.srv.log.Warn("the login of a device is not remembered", "user", g.user, "error", err)
	}
}

// EndDevice ends the sessions of a device, whose right to log in has been taken back.
func (s *Server) EndDevice(user jid.JID, device string) {
	for _, one := range s.router.Sessions(user) {
		if one.Connection().Device == device {
			one.End(string(stream.NotAuthorized), "the device was removed")
		}
	}
}
