package modules

import (
	"context"
	"time"

	"jackdaw/modules/commands"
	"jackdaw/modules/invitations"
	"jackdaw/modules/registration"
	"jackdaw/router/accounts"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// admitting is what registration asks of invitations.
type admitting struct{ *invitations.Invitations }

func (a admitting) Admit(ctx context.Context, host, token string) (registration.Admission, *xmpp.Error) {
	got, refused := a.Invitations.Admit(ctx, host, token)
	return registration.Admission(got), refused
}

func (a admitting) Claim(ctx context.Context, token string, user jid.JID, admitted time.Time) (
	registration.Claim, *xmpp.Error) {
	c, refused := a.Invitations.Claim(ctx, token, user, admitted)
	if refused != nil {
		return registration.Claim{}, refused
	}
	return registration.Claim{Admission: registration.Admission(c.Admission), Keep: c.Keep, Drop: c.Drop}, nil
}

// inviting is what the commands of invitations are made of.
func inviting(d Deps, i *invitations.Invitations) commands.Inviting {
	admin := func(who jid.JID) bool {
		r, err := d.Accounts.Rights(context.Background(), who.Bare())
		return err == nil && r.Has(accounts.PermAdmin)
	}
	return commands.Inviting{On: i.On, Admin: admin, Make: func(w commands.Wish) (commands.Link, *xmpp.Error) {
		v, refused := i.Offer(context.Background(), invitations.Offer(w), admin(w.By))
		return commands.Link{URI: v.URI, Page: v.URL, Expires: v.Expires}, refused
	}}
}
