package invitations

import (
	"context"
	"errors"
	"time"

	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// An Offer is an invitation that somebody asks for by a command (XEP-0401).
type Offer struct {
	By      jid.JID // bare
	Host    string
	Create  bool   // to an account, not of a friend
	Name    string // of that account; "": whoever is invited chooses
	Contact bool   // whoever is invited and By become contacts
}

// Offer makes an invitation for a user. What an administrator makes leads to an account; what others make does where
// the configuration says so, else to a contact alone.
func (i *Invitations) Offer(ctx context.Context, o Offer, admin bool) (Invitation, *xmpp.Error) {
	order := Order{Host: o.Host, Kind: Account, By: o.By, Own: !admin, Name: o.Name}
	if o.Contact {
		order.Contact = o.By
	}
	if !o.Create && (!i.o.Registers(o.Host) || !admin && !i.o.Settings().Users) {
		order.Kind = Contact // XEP-0401 §5.1: without ibr=y
	}
	v, err := i.Make(ctx, order)
	if err != nil {
		return Invitation{}, i.refusal(err)
	}
	return v, nil
}

// Show returns what a token is good for now, with the link that clients take. Nothing is used by it. registers says
// whether it leads to an account.
func (i *Invitations) Show(ctx context.Context, host, token string) (v Invitation, registers bool,
	refused *xmpp.Error) {
	r, h, refused := i.look(ctx, host, token, time.Now())
	if refused != nil {
		return Invitation{}, false, refused
	}
	registers = r.Kind == Account && i.o.Registers(host)
	if r.Kind == Account && !registers && (r.Name != "" || r.Contact.IsZero()) {
		return Invitation{}, false, invalid()
	}
	v = shown(host, h, r)
	v.URI = v.uri(token, registers)
	return v, registers, nil
}

// refusal is what a user is told of an error of Make.
func (i *Invitations) refusal(err error) *xmpp.Error {
	switch {
	case errors.Is(err, ErrQuota):
		return xmpp.ResourceConstraint("too many of your invitations wait to be used")
	case errors.Is(err, ErrName):
		return xmpp.Conflict("this user name is taken, or kept for somebody else")
	case errors.Is(err, ErrUser):
		return xmpp.NotAcceptable("no user can have this name")
	case errors.Is(err, ErrContact):
		return xmpp.NotAllowed("your account is not of this host")
	case errors.Is(err, ErrClosed):
		return xmpp.NotAllowed("this host makes no accounts by invitation")
	}
	return i.unavailable(err)
}
