package muc

import (
	"crypto/subtle"
	"slices"

	"jackdaw/modules/internal/forms"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

func sameSecret(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

func passwordIn(x *xmpp.Element) string {
	if p := x.ChildLocal("password"); p != nil {
		return p.Text()
	}
	return ""
}

// named are the addresses with an affiliation, sorted.
func (r *room) named(a affiliation) (names []string) {
	for name, p := range r.people {
		if p.Affiliation == a {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// showForm gives an owner the settings to change (§10.1.3, §10.2).
func (r *room) showForm(e *router.Envelope) {
	if r.affiliationOf(e.Stanza.From) != owner {
		r.m.refuse(e, xmpp.Forbidden("only owners configure a room"))
		return
	}
	w := xmpp.NewWriter(nil).Start(nsOwner, "query")
	r.conf.form(r.name, r.named(owner), r.named(admin), r.m.o.Limits()).Write(w)
	r.m.o.Router.Answer(e, w.End().Bytes())
}

// own configures or destroys the room. It is called with order held.
func (r *room) own(e *router.Envelope, q *xmpp.Element) {
	if r.affiliationOf(e.Stanza.From) != owner {
		r.m.refuse(e, xmpp.Forbidden("only owners configure a room"))
		return
	}
	if d := q.ChildLocal("destroy"); d != nil {
		r.destroy(e, d)
		return
	}
	x := q.Child(forms.Name)
	if x == nil {
		r.m.refuse(e, xmpp.BadRequest("a form is needed"))
		return
	}
	form, bad := forms.Parse(x)
	switch {
	case bad != nil:
	case form.Kind == forms.Cancel && r.locked: // §10.1.3
		r.destroy(e, &xmpp.Element{Name: xmpp.Name{Space: nsOwner, Local: "destroy"}})
		return
	case form.Kind == forms.Cancel: // §10.2
		r.m.o.Router.Answer(e, nil)
		return
	case form.Kind != forms.Submit:
		bad = xmpp.BadRequest("a submitted form is needed")
	case form.Type != "" && form.Type != nsConfig:
		bad = xmpp.BadRequest("the FORM_TYPE is not that of a room")
	default:
		bad = r.configure(e, form)
	}
	if bad != nil {
		r.m.refuse(e, bad)
		return
	}
	r.settleLater(e)
}

// configure takes over a form (§10.2), or what a new room has by default (§10.1.2).
func (r *room) configure(e *router.Envelope, form *forms.Form) *xmpp.Error {
	next := r.conf
	lists, bad := next.read(form, r.m.o.Limits())
	if bad != nil {
		return bad
	}
	orders, bad := r.ordersOf(lists)
	if bad != nil {
		return bad
	}
	was, wasLocked := r.conf, r.locked
	pending, err := r.keepSettings(next)
	if err != nil {
		return r.m.fault(err)
	}
	codes := changed(&was, &next)
	if wasLocked {
		codes = nil // nobody else has seen the room yet
	}
	r.mu.Lock()
	r.applySettings(e, &was, codes)
	r.mu.Unlock()
	more, bad := r.changePeople(e, orders, "")
	if bad != nil {
		return bad
	}
	if more != nil {
		e.Await(pending)
		pending = more
	}
	r.m.o.Router.AnswerAfter(e, pending, nil)
	return nil
}

// ordersOf works out what the lists of owners and admins in a form change; both are complete (§10.5, §10.8).
func (r *room) ordersOf(l lists) (orders []order, bad *xmpp.Error) {
	wanted := map[jid.JID]affiliation{}
	for name, p := range r.people {
		if p.Affiliation == owner && l.owners != nil || p.Affiliation == admin && l.admins != nil {
			if j, err := jid.Parse(name); err == nil {
				wanted[j] = unaffiliated
				if p.Affiliation == owner && l.admins == nil {
					wanted[j] = admin // §10.2: who loses the one has the other
				}
			}
		}
	}
	for _, j := range l.admins {
		if r.people[j.String()].Affiliation != owner || l.owners != nil {
			wanted[j] = admin
		}
	}
	for _, j := range l.owners {
		wanted[j] = owner
	}
	owners := 0
	for name, p := range r.people {
		if j, err := jid.Parse(name); err == nil && p.Affiliation == owner {
			if _, changes := wanted[j]; !changes {
				owners++
			}
		}
	}
	for j, a := range wanted {
		if a == owner {
			owners++
		}
		if p, known := r.people[j.String()]; !known && a != unaffiliated || known && p.Affiliation != a {
			orders = append(orders, order{user: j, affil: a})
		}
	}
	if owners == 0 { // §10.2
		return nil, xmpp.Conflict("a room has an owner")
	}
	slices.SortFunc(orders, func(a, b order) int { return a.user.Compare(b.user) })
	return orders, nil
}

// keepSettings stores new settings, and with them all of a room that is to stay from now on, or forgets one that is
// not. It takes them over. It is called with order held.
func (r *room) keepSettings(next settings) (*storage.Pending, error) {
	was, wasLocked := r.conf, r.locked
	stored := was.Persistent && !wasLocked
	r.mu.Lock()
	r.conf, r.locked = next, false
	r.mu.Unlock()
	var pending *storage.Pending
	var err error
	switch {
	case next.Persistent && !stored:
		pending, err = r.storeAll()
	case next.Persistent:
		pending, err = r.store(r.roomChange())
	case stored:
		pending, err = r.unstore()
	}
	if err == nil {
		list, bad := r.m.listed(r.addr.Domain())
		if err = bad; bad == nil {
			var listed *storage.Pending
			if listed, err = list.set(r.m.o.Rooms, r); pending == nil {
				pending = listed
			}
		}
	}
	if err != nil {
		r.mu.Lock()
		r.conf, r.locked = was, wasLocked
		r.mu.Unlock()
	}
	return pending, err
}

// applySettings tells who is in the room what has changed. Both locks are held.
func (r *room) applySettings(e *router.Envelope, was *settings, codes []int) {
	for _, o := range r.occupants {
		o.forgetShown()
	}
	if !r.conf.Archived || r.conf.History < was.History {
		r.outlive(r.conf.History)
	}
	p := r.post(e.Batch)
	if r.conf.MembersOnly && !was.MembersOnly { // §10.2
		for _, o := range slices.Clone(r.occupants) {
			if r.rank(o) < member {
				p.farewell(p.dismiss(o, departure{codes: []int{322}}))
			}
		}
	}
	if r.conf.Broadcast != was.Broadcast {
		for _, o := range r.occupants {
			switch now := r.conf.Broadcast[o.role]; {
			case now && !was.Broadcast[o.role]:
				p.announce(o, &notice{affiliation: r.rank(o), role: o.role}, nil, "")
			case !now && was.Broadcast[o.role]:
				p.head = xmpp.Stanza{Kind: xmpp.Presence, Type: xmpp.TypeUnavailable, From: o.addr}
				p.others(o, false, &notice{affiliation: r.rank(o)}, &seat{full: o.seats[0].full})
			}
		}
	}
	for _, o := range slices.Clone(r.occupants) {
		p.conform(o)
	}
	r.notify(e.Batch, codes...)
}

// A destruction is why a room has ended, and where to go (§10.9).
type destruction struct {
	alternative, password, reason string
}

func (d *destruction) append(dst []byte) []byte {
	w := xmpp.NewWriter(nil).Start(xmpp.NSMUCUser, "x").Start("", "destroy").AttrIf("jid", d.alternative)
	if d.password != "" {
		w.Leaf("", "password", d.password)
	}
	if d.reason != "" {
		w.Leaf("", "reason", d.reason)
	}
	b := w.End().Bytes()
	return append(dst, b[len("<x xmlns='"+xmpp.NSMUCUser+"'>"):]...)
}

// destroy ends the room (§10.9). It is called with order held.
func (r *room) destroy(e *router.Envelope, el *xmpp.Element) {
	d := &destruction{}
	if alternative := el.Attr("jid"); alternative != "" {
		j, err := jid.Parse(alternative)
		if err != nil {
			r.m.refuse(e, xmpp.JIDMalformed("the other room has no such address"))
			return
		}
		d.alternative = j.String()
	}
	d.password = passwordIn(el)
	if reason := el.ChildLocal("reason"); reason != nil {
		d.reason = reason.Text()
	}
	r.mu.Lock()
	r.state = gone
	p := r.post(e.Batch)
	for _, o := range slices.Clone(r.occupants) {
		// Of what they were nothing is left.
		p.head = xmpp.Stanza{Kind: xmpp.Presence, Type: xmpp.TypeUnavailable, From: o.addr}
		n := notice{affiliation: unaffiliated, destroyed: d}
		p.with(r.payload(o, nil, &n, jid.JID{}, true))
		for _, s := range slices.Clone(o.seats) {
			p.to(s)
			r.stand(s)
		}
	}
	r.mu.Unlock()
	r.m.o.Router.AnswerAfter(e, r.erase(), nil)
}
