package httpmessage

import (
	"net/url"
	"strings"

	"jackdaw/router"
	"jackdaw/router/accounts"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// Foresight is what modules know that tells what would become of a message. Its addresses are bare.
type Foresight interface {
	// Blocks says whether a user has blocked the other.
	Blocks(user, other jid.JID) bool
	// Sees says whether the other may see the user's presence.
	Sees(user, other jid.JID) (bool, error)
}

// dryRun reads the parameter dry_run. The answer to a dry run is a report, whatever was asked for: that of "OK" would
// look like one of a message that was sent.
func (p *post) dryRun() *refusal {
	if p.r.URL.RawQuery == "" {
		return nil
	}
	query, err := url.ParseQuery(p.r.URL.RawQuery)
	list := query["dry_run"]
	if err != nil && strings.Contains(p.r.URL.RawQuery, "dry_run") { // and nothing must be sent by mistake
		list = append(list, p.r.URL.RawQuery)
	}
	for _, value := range list {
		switch value {
		case "1", "true":
			p.dry = true
		case "0", "false":
		default:
			x := badRequest("dry_run is " + quoted(value) + "; it can be 1 or 0.")
			x.close = true
			return x
		}
	}
	if p.dry && p.shape == shapeText {
		p.shape = shapeJSON
	}
	return nil
}

// foresee finds out what would become of the copies that the router has let pass.
func (d *delivery) foresee() *refusal {
	some := false
	for i := range d.recipients {
		r := &d.recipients[i]
		if r.refused() {
			continue
		}
		head := d.stanza
		head.To = r.to
		if r.own {
			head.From = d.user
		}
		var err *xmpp.Error
		if d.blocked(r.to, head.From) {
			r.outcome, err = router.Refused, xmpp.ServiceUnavailable("") // XEP-0191 §3.5
		} else {
			r.outcome, err = d.s.o.Router.Foresee(&head, d.sees(r.to))
		}
		switch r.outcome {
		case router.Refused:
			r.reason = reasonOf(err)
		case router.Dropped:
			r.outcome, r.reason = router.Refused, string(xmpp.CondRecipientUnavailable)
		}
		some = some || !r.refused()
	}
	if some {
		return nil
	}
	return d.nobody()
}

// blocked says whether the recipient has blocked the sender or the account.
func (d *delivery) blocked(to, from jid.JID) bool {
	f := d.s.o.Foresight
	return f != nil && d.s.o.Router.Serves(to.Domain()) && to.Local() != "" &&
		(f.Blocks(to.Bare(), from) || f.Blocks(to.Bare(), d.user.Bare()))
}

// sees says whether the account may know if the recipient is online.
func (d *delivery) sees(to jid.JID) bool {
	to, user := to.Bare(), d.user.Bare()
	switch {
	case d.rights.None(): // an API account is nobody's contact
		return false
	case to == user, d.rights.Has(accounts.PermAdmin):
		return true
	case d.s.o.Foresight == nil:
		return false
	}
	sees, err := d.s.o.Foresight.Sees(to, user)
	return err == nil && sees
}
