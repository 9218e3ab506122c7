package commands

import (
	"time"

	"jackdaw/modules/internal/forms"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// Inviting is what the commands of invitations need.
type Inviting struct {
	On    func() bool
	Admin func(who jid.JID) bool
	// Make makes an invitation of a user, or to an account if the user is an administrator.
	Make func(Wish) (Link, *xmpp.Error)
}

// A Wish asks for an invitation.
type Wish struct {
	By      jid.JID // bare
	Host    string
	Create  bool   // to an account, not of a friend
	Name    string // of that account; "": whoever is invited chooses
	Contact bool   // whoever is invited and By become contacts
}

// A Link is an invitation to be given to somebody.
type Link struct {
	URI     string
	Page    string // "" for none
	Expires time.Time
}

// Invite are the commands by which users invite friends, and administrators people to an account (XEP-0401).
func Invite(o Inviting) []Command {
	make := func(w Wish) (Reply, *xmpp.Error) {
		l, bad := o.Make(w)
		if bad != nil {
			return Reply{}, bad
		}
		return Reply{Form: l.form()}, nil
	}
	return []Command{
		{Node: xmpp.NSInvite + "#invite", Name: "Invite somebody",
			May: func(who jid.JID, host string) bool { return o.On() && Users(who, host) },
			Start: func(c *Call) (Reply, *xmpp.Error) {
				return make(Wish{By: c.From.Bare(), Host: c.Host, Contact: true})
			}},
		{Node: xmpp.NSInvite + "#create-account", Name: "Invite somebody to an account",
			May: func(who jid.JID, _ string) bool { return o.On() && o.Admin(who) },
			Start: func(*Call) (Reply, *xmpp.Error) {
				return Reply{Form: &forms.Form{Kind: forms.Ask, Title: "Invite somebody to an account", Fields: []forms.Field{
					{Var: "username", Type: "text-single", Label: "User name (empty: whoever is invited chooses)"},
					{Var: "roster-subscription", Type: "boolean", Label: "You become contacts"},
				}}, Next: func(c *Call) (Reply, *xmpp.Error) {
					w := Wish{By: c.From.Bare(), Host: c.Host, Create: true}
					if f := c.Form.Field("username"); f != nil {
						w.Name = f.Value()
					}
					if f := c.Form.Field("roster-subscription"); f != nil {
						w.Contact, _ = f.Bool()
					}
					return make(w)
				}}, nil
			}},
	}
}

// form is the result (XEP-0401 §5.1).
func (l *Link) form() *forms.Form {
	f := &forms.Form{Kind: forms.Result, Type: xmpp.NSInvite + "#invitation", Fields: []forms.Field{
		{Var: "uri", Type: "text-single", Label: "Link for a client", Values: []string{l.URI}}}}
	if l.Page != "" {
		f.Fields = append(f.Fields,
			forms.Field{Var: "landing-url", Type: "text-single", Label: "Link for a browser", Values: []string{l.Page}})
	}
	f.Fields = append(f.Fields, forms.Field{Var: "expire", Type: "text-single", Label: "Good until",
		Values: []string{l.Expires.UTC().Format(time.RFC3339)}}) // XEP-0082
	return f
}
