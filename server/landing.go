package server

import (
	"context"
	"net/http"
	"time"

	"jackdaw/modules/invitations"
	"jackdaw/modules/registration"
	"jackdaw/router/accounts"
	"jackdaw/router/gate"
	"jackdaw/web"
	"jackdaw/web/landing"
	"jackdaw/web/pages"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// A desk has the pages of invitations do what the modules can.
type desk struct{ *house }

// source is where a request comes from, as logins count it.
func (d desk) source(r *http.Request) accounts.Source {
	c := web.ClientOf(r, d.cfg.Load().HTTP.TrustedProxies)
	return accounts.Source{Addr: c.Addr, Exempt: gate.Exempt(c.Addr) && !c.Forwarded}
}

// Look implements landing.Desk. A name that several hosts share says nothing of the host: the token does.
func (d desk) Look(r *http.Request, token string) (landing.Invitation, error) {
	from := d.source(r)
	if refused := d.features.Registration.Slow(from); refused != nil {
		return landing.Invitation{}, landing.ErrWait
	}
	var last *xmpp.Error
	for _, host := range d.cfg.Load().Hosts {
		v, registers, refused := d.features.Invitations.Show(r.Context(), host.Domain, token)
		switch {
		case refused == nil:
			return landing.Invitation{Host: v.Host, Inviter: v.Contact.String(), Name: v.Name, Account: registers,
				Reset: v.Kind == invitations.Reset, URI: v.URI, Expires: v.Expires}, nil
		case refused.Condition != xmpp.CondItemNotFound:
			return landing.Invitation{}, landing.ErrAway
		}
		last = refused
	}
	d.features.Registration.Guessed(from, last)
	return landing.Invitation{}, landing.ErrInvalid
}

// Open implements landing.Desk.
func (d desk) Open(r *http.Request) (landing.Invitation, error) {
	host := d.hostOf(pages.HostOf(r)).Domain
	may, approved := d.features.Registration.ByAnybody(host)
	if !may {
		return landing.Invitation{}, landing.ErrInvalid
	}
	return landing.Invitation{Host: host, Account: true, Approve: approved}, nil
}

// Redeem implements landing.Desk. Whoever has sent the form may be gone before the account is there.
func (d desk) Redeem(ctx context.Context, r *http.Request, o landing.Order) (address string, waits bool, err error) {
	if !web.ClientOf(r, d.cfg.Load().HTTP.TrustedProxies).Protected(r) {
		return "", false, landing.ErrClear
	}
	user, err := jid.New(o.Name, o.Host, "")
	if err != nil || user.Local() == "" {
		return "", false, landing.ErrName
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.cfg.Load().Limits.AuthTime)
	defer cancel()
	waits, refused := d.features.Registration.Register(ctx, registration.Newcomer{User: user, Password: o.Password,
		From: d.source(r), Token: o.Token, Admitted: time.Now()})
	switch {
	case refused == nil:
		return user.String(), waits, nil
	case refused.Type == xmpp.ErrorWait && (refused.Condition == xmpp.CondNotAcceptable ||
		refused.Condition == xmpp.CondResourceConstraint):
		return "", false, landing.ErrWait
	case refused.Condition == xmpp.CondConflict:
		return "", false, landing.ErrTaken
	case refused.Condition == xmpp.CondNotAcceptable:
		return "", false, landing.ErrPassword
	case refused.Condition == xmpp.CondItemNotFound:
		return "", false, landing.ErrInvalid
	}
	return "", false, landing.ErrAway
}
