package c2s

import (
	"errors"
	"strings"

	"jackdaw/router/accounts"
	"jackdaw/xmpp/sasl"
)

// bearer says whose a token is (RFC 7628).
func (g *greeting) bearer(shown sasl.Bearer) (user string, refusal *sasl.BearerRefusal, err error) {
	host := g.host.String()
	refusal = &sasl.BearerRefusal{Status: sasl.BearerToken}
	refusal.Scope, refusal.Discovery, _ = g.srv.accounts.Bears(host)
	if shown.Host != "" && !g.reached(shown.Host) { // RFC 7628 §3.1: the client meant another
		refusal.Status = sasl.BearerRequest
		return "", refusal, nil
	}
	ctx, cancel := g.srv.within(g.srv.limits().AuthTime)
	defer cancel()
	j, err := g.srv.accounts.Bearer(ctx, g.source, host, shown.Token)
	_, throttled := errors.AsType[accounts.ErrThrottled](err)
	switch {
	case err == nil:
		return j.Local(), nil, nil
	case errors.Is(err, accounts.ErrWaiting):
		g.waits = true
		return j.Local(), nil, nil
	case throttled:
		return "", nil, sasl.NotAuthorized
	case errors.Is(err, accounts.ErrScope):
		refusal.Status = sasl.BearerScope
		return "", refusal, nil
	case errors.Is(err, accounts.ErrNotAuthorized):
		return "", refusal, nil
	}
	return "", nil, err
}

// reached says whether a client has connected to this host: by its domain, or by the name that it wants a certificate
// for.
func (g *greeting) reached(host string) bool {
	return strings.EqualFold(host, g.host.String()) ||
		g.TLS != nil && strings.EqualFold(host, g.TLS.ConnectionState().ServerName)
}
