package room

import (
	"slices"

	"jackdaw/modules/internal/forms"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// Form gives an owner the settings to change (§10.1.3, §10.2).
func (r *Room) Form(who jid.JID, l Limits) ([]byte, *xmpp.Error) {
	if bad := r.MayConfigure(who); bad != nil {
		return nil, bad
	}
	w := xmpp.NewWriter(nil).Start(nsOwner, "query")
	r.Conf.form(r.Name, r.Named(Owner), r.Named(Admin), l).Write(w)
	return w.End().Bytes(), nil
}

// MayConfigure says whether somebody may configure or destroy the room (§10.2, §10.9).
func (r *Room) MayConfigure(who jid.JID) *xmpp.Error {
	if r.AffiliationOf(who) != Owner {
		return xmpp.Forbidden("only owners configure a room")
	}
	return nil
}

// A Configuring is what becomes of a form of §10.1.3 or §10.2 that an owner sends.
type Configuring struct {
	Cancelled bool
	Settings  Settings
	Items     []Item // what the lists of owners and admins change
}

// Configure works out what a form changes (§10.2), or what a new room has by default (§10.1.2).
func (r *Room) Configure(q *xmpp.Element, l Limits) (c Configuring, bad *xmpp.Error) {
	x := q.Child(forms.Name)
	if x == nil {
		return c, xmpp.BadRequest("a form is needed")
	}
	form, bad := forms.Parse(x)
	switch {
	case bad != nil:
		return c, bad
	case form.Kind == forms.Cancel:
		return Configuring{Cancelled: true}, nil
	case form.Kind != forms.Submit:
		return c, xmpp.BadRequest("a submitted form is needed")
	case form.Type != "" && form.Type != nsConfig:
		return c, xmpp.BadRequest("the FORM_TYPE is not that of a room")
	}
	c.Settings = r.Conf
	named, bad := c.Settings.read(form, l)
	if bad != nil {
		return c, bad
	}
	if c.Items, bad = r.listed(named); bad != nil {
		return c, bad
	}
	return c, r.mayKnowThose(c.Items)
}

// listed works out what the lists of owners and admins in a form change. Both are complete (§10.5, §10.8).
func (r *Room) listed(l lists) (items []Item, bad *xmpp.Error) {
	wanted := map[jid.JID]Affiliation{}
	for name, p := range r.People {
		if p.Affiliation == Owner && l.owners != nil || p.Affiliation == Admin && l.admins != nil {
			if j, err := jid.Parse(name); err == nil {
				wanted[j] = Unaffiliated
				if p.Affiliation == Owner && l.admins == nil {
					wanted[j] = Admin // §10.2: an owner who is one no more is an admin
				}
			}
		}
	}
	for _, j := range l.admins {
		if r.People[j.String()].Affiliation != Owner || l.owners != nil {
			wanted[j] = Admin
		}
	}
	for _, j := range l.owners {
		wanted[j] = Owner
	}
	owners := 0
	for name, p := range r.People {
		if j, err := jid.Parse(name); err == nil && p.Affiliation == Owner {
			if _, changes := wanted[j]; !changes {
				owners++
			}
		}
	}
	for j, a := range wanted {
		if a == Owner {
			owners++
		}
		if p, known := r.People[j.String()]; !known && a != Unaffiliated || known && p.Affiliation != a {
			items = append(items, Item{User: j, Affiliation: a})
		}
	}
	if owners == 0 { // §10.2
		return nil, xmpp.Conflict("a room has an owner")
	}
	slices.SortFunc(items, func(a, b Item) int { return a.User.Compare(b.User) })
	return items, nil
}

// Configured tells those in the room what a change of settings, which has taken effect, means for them. first says that
// nobody else has seen the room yet.
func (r *Room) Configured(fx *Effects, was *Settings, first bool) {
	for _, o := range r.occupants {
		o.forgetShown()
	}
	if !r.Conf.Archived || r.Conf.History < was.History {
		fx.Freed += r.Trim(r.Conf.History)
	}
	if r.Conf.MembersOnly && !was.MembersOnly { // §10.2
		for _, o := range slices.Clone(r.occupants) {
			if r.Rank(o) < Member {
				r.farewell(fx, r.dismiss(fx, o, Departure{Codes: []int{322}}))
			}
		}
	}
	if r.Conf.Broadcast != was.Broadcast {
		for _, o := range r.occupants {
			switch now := r.Conf.Broadcast[o.Role]; {
			case now && !was.Broadcast[o.Role]:
				r.announce(fx, o, &notice{affiliation: r.Rank(o), role: o.Role}, nil, "")
			case !now && was.Broadcast[o.Role]:
				r.others(fx, absent(o), o, false, &notice{affiliation: r.Rank(o)}, &Seat{Full: o.Seats[0].Full})
			}
		}
	}
	for _, o := range slices.Clone(r.occupants) {
		r.conform(fx, o)
	}
	if !first {
		r.notify(fx, changed(was, &r.Conf)...) // §10.2.1
	}
}
