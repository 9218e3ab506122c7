package muc

import (
	"slices"
	"strings"

	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// list answers who has a role or an affiliation (§8.5, §9.2, §9.5, §9.8, §10.5, §10.8).
func (r *room) list(e *router.Envelope, q *xmpp.Element) {
	item := q.ChildLocal("item")
	if item == nil || item.HasAttr("role") == item.HasAttr("affiliation") {
		r.m.refuse(e, xmpp.BadRequest("an item with a role or an affiliation is needed"))
		return
	}
	by := r.partyOf(e.Stanza.From)
	w := xmpp.NewWriter(nil).Start(nsAdmin, "query")
	if item.HasAttr("role") {
		wanted, ok := parseRole(item.Attr("role"))
		switch {
		case !ok || wanted == noRole:
			r.m.refuse(e, xmpp.BadRequest("there is no such role"))
			return
		case by.role != moderator && by.affiliation < admin:
			r.m.refuse(e, xmpp.Forbidden("only moderators may see this list"))
			return
		}
		for _, o := range r.occupants {
			if o.role == wanted {
				w.Start("", "item").Attr("affiliation", r.rank(o).String()).Attr("jid", o.seats[0].full.String()).
					Attr("nick", o.nick).Attr("role", o.role.String()).End()
			}
		}
		r.m.o.Router.Answer(e, w.End().Bytes())
		return
	}
	wanted, ok := parseAffiliation(item.Attr("affiliation"))
	switch {
	case !ok || wanted == unaffiliated:
		r.m.refuse(e, xmpp.BadRequest("there is no such list"))
		return
	case !r.mayList(by, wanted):
		r.m.refuse(e, xmpp.Forbidden("you may not see this list"))
		return
	}
	var names []string
	for name, p := range r.people {
		if p.Affiliation == wanted {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		p := r.people[name]
		w.Start("", "item").Attr("affiliation", wanted.String()).Attr("jid", name).AttrIf("nick", p.Nick)
		if p.Reason != "" && by.affiliation >= admin {
			w.Leaf("", "reason", p.Reason)
		}
		w.End()
	}
	r.m.o.Router.Answer(e, w.End().Bytes())
}

// mayList says who may see who has an affiliation: admins may, and where addresses are no secret also those whom the owners have
// let see the members, and members, in the room or not (§9.5). Who is banned is for admins only.
func (r *room) mayList(by party, wanted affiliation) bool {
	switch {
	case by.affiliation >= admin:
		return wanted < admin || by.affiliation == owner || r.conf.NonAnonymous // §10.5, §10.8
	case wanted == outcast:
		return false
	case r.conf.NonAnonymous:
		return by.affiliation == member || by.role != noRole && r.conf.GetMemberList[by.role]
	}
	return by.role == moderator && wanted == member && r.conf.GetMemberList[moderator]
}

// An order is what an admin wants to become of somebody.
type order struct {
	role     role
	affil    affiliation
	isRole   bool
	o        *occupant // of a role
	user     jid.JID   // of an affiliation: bare, or a domain
	nick     string
	setsNick bool
	reason   string
	asked    bool // the user has asked for it
}

// administer carries out orders, all or none (§8, §9, §10.3 to §10.8). It is called with order held.
func (r *room) administer(e *router.Envelope, q *xmpp.Element) {
	var orders []order
	var bad *xmpp.Error
	actor := ""
	r.with(func() {
		if orders, bad = r.readOrders(q); bad == nil {
			bad = r.mayAll(e.Stanza.From.Bare(), r.partyOf(e.Stanza.From), orders)
		}
		if s := r.seats[e.Stanza.From]; s != nil {
			actor = s.nick
		}
		if bad == nil && orders[0].isRole {
			r.assign(e, orders, actor)
		}
	})
	if bad == nil && !orders[0].isRole {
		bad = r.affiliate(e, orders, actor)
	}
	if bad != nil {
		r.m.refuse(e, bad)
		return
	}
	r.settleLater(e)
}

// readOrders reads all; there is at least one.
func (r *room) readOrders(q *xmpp.Element) (orders []order, bad *xmpp.Error) {
	for _, c := range q.Children() {
		if c.Name.Space != nsAdmin || c.Name.Local != "item" {
			continue
		}
		one, bad := r.readOrder(c)
		if bad != nil {
			return nil, bad
		}
		orders = append(orders, one)
	}
	if len(orders) == 0 {
		return nil, xmpp.BadRequest("there is no item")
	}
	return orders, nil
}

func (r *room) readOrder(c *xmpp.Element) (o order, bad *xmpp.Error) {
	if reason := c.ChildLocal("reason"); reason != nil {
		o.reason = reason.Text()
	}
	o.nick, o.setsNick = c.Attr("nick"), c.HasAttr("nick")
	ok := true
	switch hasRole, hasAffiliation := c.HasAttr("role"), c.HasAttr("affiliation"); {
	case hasRole == hasAffiliation: // §17.4
		return o, xmpp.BadRequest("a role or an affiliation is needed, and not both")
	case hasRole:
		o.isRole = true
		if o.role, ok = parseRole(c.Attr("role")); !ok {
			return o, xmpp.BadRequest("there is no such role")
		}
		if o.o = r.byNick[o.nick]; o.o == nil {
			return o, xmpp.ItemNotFound("there is nobody of that nick")
		}
		return o, nil
	}
	if o.affil, ok = parseAffiliation(c.Attr("affiliation")); !ok {
		return o, xmpp.BadRequest("there is no such affiliation")
	}
	if !c.HasAttr("jid") {
		// COMPAT(Psi 1.5): names an occupant by its nick only.
		who := r.byNick[o.nick]
		if who == nil {
			return o, xmpp.BadRequest("an address is needed")
		}
		o.user, o.setsNick = who.user, false
		return o, nil
	}
	j, err := jid.Parse(c.Attr("jid"))
	if err != nil || j.Local() == "" && o.affil > unaffiliated { // §9.2: domains may be banned
		return o, xmpp.JIDMalformed("this is not the address of a user")
	}
	o.user = j.Bare()
	return o, nil
}

// mayAll checks all orders before any is carried out (§9.2). There is one for each person: all occupants hear of each, and a
// second one would be judged by what was before the first.
func (r *room) mayAll(by jid.JID, who party, orders []order) *xmpp.Error {
	owners := r.peopleWith(owner)
	type person struct {
		o    *occupant
		user jid.JID
	}
	named := map[person]bool{}
	for i := range orders {
		o := &orders[i]
		if o.isRole != orders[0].isRole {
			return xmpp.BadRequest("roles and affiliations are changed one after the other")
		}
		one := person{o.o, o.user}
		if named[one] {
			return xmpp.BadRequest("somebody is named twice")
		}
		named[one] = true
		if o.isRole {
			if bad := mayGiveRole(who, party{o.o.role, r.rank(o.o)}, o.role); bad != nil {
				return bad
			}
			continue
		}
		now := r.affiliationOf(o.user)
		if p, known := r.people[o.user.String()]; known {
			now = p.Affiliation
		} else if now == outcast {
			now = unaffiliated // by its domain
		}
		if bad := mayAffiliate(who.affiliation, o.user == by, now, o.affil); bad != nil {
			return bad
		}
		switch {
		case now == owner && o.affil != owner:
			owners--
		case now != owner && o.affil == owner:
			owners++
		}
		if nick := o.nick; o.setsNick && nick != "" {
			addr, err := r.addr.WithResource(nick)
			if err != nil {
				return xmpp.JIDMalformed("this is not a nick")
			}
			o.nick = addr.Resource()
			if r.taken(o.nick, o.user.String()) {
				return xmpp.Conflict("this nick is taken")
			}
		}
	}
	if owners < 1 { // §10.4
		return xmpp.Conflict("a room has an owner")
	}
	return nil
}

// assign gives roles. Both locks are held.
func (r *room) assign(e *router.Envelope, orders []order, actor string) {
	p := r.post(e.Batch)
	var gone []farewell
	for _, o := range orders { // first those concerned, then who asked, then all others: §8.2
		if o.role == noRole && len(o.o.seats) > 0 {
			delete(r.roles, o.o.name)
			gone = append(gone, p.dismiss(o.o, departure{codes: []int{307}, reason: o.reason, actor: actor}))
		}
	}
	r.m.o.Router.Answer(e, nil)
	for _, f := range gone {
		p.farewell(f)
	}
	for _, o := range orders {
		if o.role == noRole || len(o.o.seats) == 0 {
			continue
		}
		was := o.o.role
		o.o.role = o.role
		r.keepRole(o.o)
		p.refresh(o.o, was, notice{reason: o.reason, actor: actor})
	}
	p.finish()
}

// maxRoles bounds those that are remembered of who has left.
const maxRoles = 1000

// keepRole has a role that was given last until the room is let go of, so that nobody gets another by coming again (§5.1).
func (r *room) keepRole(o *occupant) {
	if len(r.roles) >= maxRoles {
		clear(r.roles)
	}
	r.roles[o.name] = o.role
}

// affiliate changes affiliations. It is called with order held.
func (r *room) affiliate(e *router.Envelope, orders []order, actor string) *xmpp.Error {
	pending, bad := r.changePeople(e, orders, actor)
	if bad != nil {
		return bad
	}
	r.m.o.Router.AnswerAfter(e, pending, nil)
	return nil
}

// changePeople stores new affiliations and lets them take effect.
func (r *room) changePeople(e *router.Envelope, orders []order, actor string) (*storage.Pending, *xmpp.Error) {
	changes := make([]storage.Change, 0, len(orders))
	next := make([]person, len(orders))
	for i, o := range orders {
		name := o.user.String()
		p := r.people[name]
		p.Affiliation, p.Reason, p.Asks = o.affil, "", ""
		switch {
		case o.affil == outcast: // §9.1
			p.Nick, p.Reason, p.Hats = "", o.reason, nil
		case o.affil == unaffiliated: // a nick is a member's
			p.Nick = ""
		case o.setsNick:
			p.Nick = o.nick
		}
		next[i] = p
		changes = append(changes, personChange(name, p))
		if r.conf.Persistent && !r.locked {
			if err := r.m.index(name, r.name, !p.empty()); err != nil {
				return nil, r.m.fault(err)
			}
		}
	}
	pending, err := r.store(changes...)
	if err != nil {
		return nil, r.m.fault(err)
	}
	var after []func()
	r.with(func() {
		for i, o := range orders {
			after = append(after, r.setAffiliation(e, o, next[i], actor))
		}
	})
	for _, f := range after {
		if f != nil {
			f()
		}
	}
	return pending, nil
}

// setAffiliation lets one take effect, with both locks held. What it returns is to be called without.
func (r *room) setAffiliation(e *router.Envelope, o order, next person, actor string) func() {
	name := o.user.String()
	was := r.affiliationOf(o.user)
	r.setPerson(name, next)
	if next.Affiliation != was {
		delete(r.roles, name)
	}
	p := r.post(e.Batch)
	inside := false
	for _, who := range slices.Clone(r.occupants) {
		if who.name != name && (o.user.Local() != "" || o.affil != outcast || who.user.Domain() != name || r.rank(who) > unaffiliated) {
			continue
		}
		inside = true
		code := 0
		switch {
		case next.Affiliation == outcast:
			code = 301
		case r.conf.MembersOnly && next.Affiliation < member: // §9.4
			code = 321
		}
		if code != 0 {
			p.farewell(p.dismiss(who, departure{codes: []int{code}, reason: o.reason, actor: actor}))
			continue
		}
		role := who.role
		who.role = roleAfter(role, was, next.Affiliation, r.conf.Moderated)
		p.refresh(who, role, notice{reason: o.reason, actor: actor})
		p.conform(who)
	}
	if inside || was == next.Affiliation || o.user.Local() == "" {
		p.finish()
		return nil
	}
	// §9.5 and others: those who see addresses hear of it.
	p.head = xmpp.Stanza{Kind: xmpp.Message, ID: newID(), From: r.addr,
		Payload: xmpp.NewWriter(nil).Start(xmpp.NSMUCUser, "x").Start("", "item").Attr("affiliation", next.Affiliation.String()).
			Attr("jid", name).Attr("role", noRole.String()).End().End().Bytes()}
	for _, v := range r.occupants {
		if r.sees(v) {
			for _, s := range v.seats {
				if s.session != nil || !r.m.o.Router.Serves(s.full.Domain()) {
					p.to(s)
				}
			}
		}
	}
	p.finish()
	if r.m.o.Router.Services()[o.user.Domain()] == r.m.service {
		return nil // a room is told nothing: it might be this one
	}
	invite := r.conf.MembersOnly && was < member && next.Affiliation >= member && !r.locked // §9.5
	if !invite && was == unaffiliated && !o.asked {
		return nil // nobody is told of a room that he does not know
	}
	stanza := xmpp.Stanza{Kind: xmpp.Message, ID: newID(), From: r.addr, To: o.user}
	if invite {
		stanza.Payload = r.invitation(e.Stanza.From.Bare(), o.reason, nil)
	} else { // §18.1
		w := xmpp.NewWriter(nil).Start(xmpp.NSMUCUser, "x").Start("", "item").Attr("affiliation", next.Affiliation.String()).Attr("jid", name).
			Attr("role", noRole.String()).End().Start("", "status").Attr("code", "101").End().End()
		stanza.Payload = w.Start(xmpp.NSHints, "no-store").End().Bytes()
	}
	return func() { r.m.o.Router.Post(&stanza, e.Batch) }
}

// invitation is what the room sends to who is invited (§7.8.2).
func (r *room) invitation(from jid.JID, reason string, extra *xmpp.Element) []byte {
	w := xmpp.NewWriter(nil).Start(xmpp.NSMUCUser, "x").Start("", "invite").Attr("from", from.String())
	if reason = strings.TrimSpace(reason); reason != "" {
		w.Leaf("", "reason", reason)
	}
	if extra != nil {
		w.Start("", "continue").AttrIf("thread", extra.Attr("thread")).End()
	}
	w.End()
	if r.conf.Password != "" {
		w.Leaf("", "password", r.conf.Password)
	}
	return w.End().Bytes()
}

// settleLater lets a room that nobody is left in end, after whoever holds order.
func (r *room) settleLater(e *router.Envelope) {
	r.mu.Lock()
	over := r.state == open && r.over()
	if over {
		r.state = gone
	}
	r.mu.Unlock()
	if over {
		e.Await(r.erase())
	}
}
