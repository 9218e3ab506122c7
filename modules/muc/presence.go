package muc

import (
	"bytes"
	"slices"
	"strings"
	"time"

	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// presence enters a room, changes something in it or leaves it (XEP-0045 §7.2, §7.6, §7.7, §7.14, §17.3).
func (m *Rooms) presence(e *router.Envelope) {
	s := e.Stanza
	switch s.Type {
	case xmpp.TypeAvailable:
		if !m.proven(e) {
			e.Refuse(xmpp.Forbidden("only a session may enter a room"))
			return
		}
		if strings.TrimSpace(s.To.Resource()) == "" { // §7.2.1, §17.1
			m.refuse(e, xmpp.JIDMalformed("a nick is needed"))
			return
		}
		switch {
		case !m.guests.mayMove(s.From.Bare().String(), m.o.Limits(), time.Now()) && !m.exempt(e):
			m.refuse(e, xmpp.ResourceConstraint("you are moving too fast"))
		case s.Has(mucName):
			m.enter(e)
		default:
			m.change(e)
		}
	case xmpp.TypeUnavailable:
		e.Settle(router.Dropped) // also for who is not in the room: §17.3
		m.part(e, departure{show: cut(s, mucName, userName, occupantName, hatsName)})
	case xmpp.TypeError:
		e.Settle(router.Dropped)
		if err := s.Err(); deadly(err.Condition) {
			m.part(e, departure{codes: []int{333}, reason: "an error came back: " + string(err.Condition)})
		}
	case xmpp.TypeInvalid:
		m.refuse(e, xmpp.BadRequest("a type of presence that does not exist"))
	case xmpp.TypeProbe:
		e.Settle(router.Dropped)
		m.probed(e)
	default: // §17.3: no request to enter or to leave
		e.Settle(router.Dropped)
	}
}

// deadly says whether an error means that an occupant is there no more (§18.1.2, XEP-0410 §3.2).
func deadly(c xmpp.Condition) bool {
	switch c {
	case xmpp.CondGone, xmpp.CondItemNotFound, xmpp.CondRecipientUnavailable, xmpp.CondRedirect, xmpp.CondRemoteServerNotFound,
		xmpp.CondRemoteServerTimeout, xmpp.CondServiceUnavailable, xmpp.CondJIDMalformed, xmpp.CondInternalServerError:
		return true
	}
	return false
}

// part takes the sender out of the room, if it is in it.
func (m *Rooms) part(e *router.Envelope, d departure) {
	m.mu.Lock()
	r := m.rooms[e.Stanza.To.Bare()]
	m.mu.Unlock()
	if r == nil || !r.ready.Load() {
		return
	}
	r.with(func() {
		if s := r.seats[e.Stanza.From]; s != nil {
			d.id = e.Stanza.ID
			r.leave(e.Batch, s, d)
			e.Settle(router.Delivered)
		}
	})
	r.settle()
}

// enter lets the sender in, or says why not (§7.2).
func (m *Rooms) enter(e *router.Envelope) {
	s := e.Stanza
	x := s.Child(mucName)
	if x == nil {
		m.refuse(e, xmpp.BadRequest(""))
		return
	}
	var entered *room
	made := false
	exempt := m.exempt(e)
	maker := m.maker(e, exempt)
	m.visit(e, func(r *room) *xmpp.Error { made = true; return maker(r) }, func(r *room) {
		entered = r
		if now := r.seats[s.From]; now != nil { // §7.2.1: it has lost what it knew
			switch {
			case r.bound(now.occupant) && r.people[now.name].Nick == now.nick:
				r.resync(e, now, x) // by the nick that it must bear
			case now.nick == s.To.Resource(), r.rename(e, now):
				r.resync(e, r.seats[s.From], x)
			}
			return
		}
		if bad := r.admit(e, x, exempt, made || r.locked); bad != nil {
			m.refuse(e, bad)
		}
	})
	if entered != nil {
		entered.settle()
	}
}

// admit checks all that may keep somebody out, and lets who passes in; fresh says that the room has just been made.
func (r *room) admit(e *router.Envelope, x *xmpp.Element, exempt, fresh bool) *xmpp.Error {
	s := e.Stanza
	user := s.From.Bare()
	name := user.String()
	rank := r.affiliationOf(user)
	limits := r.m.o.Limits()
	switch {
	case rank == outcast: // §7.2.7
		return xmpp.Forbidden("you are banned from this room")
	case r.conf.MembersOnly && rank < member: // §7.2.6
		return xmpp.RegistrationRequired("this room is for members only")
	case r.conf.Password != "" && !sameSecret(passwordIn(x), r.conf.Password): // §7.2.5
		return xmpp.NotAuthorized("a password is needed to enter")
	}
	addr := s.To
	if own := r.people[name].Nick; own != "" && r.conf.LockedNicks && own != addr.Resource() { // §7.10
		registered, err := r.addr.WithResource(own)
		if err != nil {
			return xmpp.NotAcceptable("")
		}
		addr = registered
	}
	nick := addr.Resource()
	if r.taken(nick, name) { // §7.2.8
		return xmpp.Conflict("this nick is taken")
	}
	o := r.byNick[nick]
	if o == nil {
		switch {
		case r.full(rank) && !(exempt && !r.full(admin)), rank < member && !exempt && r.crowded(user): // §7.2.9
			return xmpp.ServiceUnavailable("the room is full").WithType(xmpp.ErrorWait)
		case !exempt && r.m.guests.others(user, r) >= limits.RoomsPerUser:
			return xmpp.ResourceConstraint("you are in too many rooms")
		}
		given := initialRole(rank, r.conf.Moderated)
		if was, ok := r.roles[name]; ok && rank < admin { // §5.1: for moderated rooms
			given = was
		}
		o = newOccupant(r, nick, addr, user, given)
	}
	if len(o.seats) >= maxSeats && r.seats[s.From] == nil {
		return xmpp.ResourceConstraint("you are in this room with too many clients")
	}
	seat := &seat{full: s.From, session: e.Session, heard: time.Now()}
	seat.said(s)
	r.sit(o, seat)
	codes := r.greeting()
	if fresh { // §10.1.1
		codes = append(codes, 201)
	}
	if addr != s.To {
		codes = append(codes, 210)
	}
	r.welcome(e, seat, codes, x, true)
	return nil
}

// greeting is what who enters has to know of the room before saying anything (§7.2.3, §7.2.12).
func (r *room) greeting() (codes []int) {
	if r.conf.NonAnonymous {
		codes = append(codes, 100)
	}
	if r.conf.Archived {
		codes = append(codes, 170)
	}
	return codes
}

// bound says whether an occupant must bear the nick that its user has registered (§7.10).
func (r *room) bound(o *occupant) bool { return r.conf.LockedNicks && r.people[o.name].Nick != "" }

// said takes over what a client says of itself, but for what only the room says (§17.3).
func (s *seat) said(p *xmpp.Stanza) {
	s.show = bytes.Clone(p.Without(mucName, userName, occupantName, hatsName))
	s.lang = p.Lang
}

// taken says whether a nick is another user's, by use or by registration.
func (r *room) taken(nick, user string) bool {
	if o := r.byNick[nick]; o != nil && o.name != user {
		return true
	}
	by, reserved := r.nicks[nick]
	return reserved && by != user
}

// welcome tells a client all that it has to know, in the order of §7.1, and the others that it is there.
func (r *room) welcome(e *router.Envelope, s *seat, codes []int, x *xmpp.Element, tell bool) {
	o := s.occupant
	p := r.post(e.Batch)
	p.entering = s
	p.head = xmpp.Stanza{Kind: xmpp.Presence}
	sees := r.sees(o)
	for _, v := range r.occupants {
		if v != o && r.shows(v.role) {
			p.head.From, p.head.Lang = v.addr, v.seats[0].lang
			p.with(r.available(v, sees))
			p.to(s)
		}
	}
	n := notice{affiliation: r.rank(o), role: o.role, codes: codes}
	if tell {
		p.announce(o, &n, s, e.Stanza.ID)
	} else {
		p.head = xmpp.Stanza{Kind: xmpp.Presence, From: o.addr, ID: e.Stanza.ID, Lang: s.lang}
		p.with(r.payload(o, o.seats[0].show, &n, o.seats[0].full, true))
		p.to(s)
	}
	if r.hashes != nil {
		p.head = r.cardPresence()
		p.to(s)
	}
	p.history(s, x)
	p.tellSubject(s)
	p.bringRest()
	p.finish()
	e.Settle(router.Delivered)
}

// resync tells a client that is in the room everything again (§7.2.1, §17.3).
func (r *room) resync(e *router.Envelope, s *seat, x *xmpp.Element) {
	was := s.show
	s.said(e.Stanza)
	s.heard, s.asked = time.Now(), time.Time{}
	if e.Session != nil {
		s.session = e.Session
	}
	s.occupant.forgetShown()
	r.lead(s)
	codes := r.greeting()
	if s.nick != e.Stanza.To.Resource() {
		codes = append(codes, 210)
	}
	r.welcome(e, s, codes, x, !bytes.Equal(was, s.show))
}

// lead makes a client the one whose presence is shown for its occupant.
func (r *room) lead(s *seat) {
	o := s.occupant
	if o.seats[0] != s {
		o.seats = slices.DeleteFunc(o.seats, func(x *seat) bool { return x == s })
		o.seats = slices.Insert(o.seats, 0, s)
		o.forgetShown()
	}
}

// change is what an occupant sends after it has entered: another nick or another availability.
func (m *Rooms) change(e *router.Envelope) {
	s := e.Stanza
	inside := false
	m.mu.Lock()
	r := m.rooms[s.To.Bare()]
	m.mu.Unlock()
	if r != nil && r.ready.Load() {
		r.with(func() {
			if seat := r.seats[s.From]; seat != nil {
				inside = true
				if seat.nick == s.To.Resource() {
					r.update(e, seat)
				} else {
					r.rename(e, seat)
				}
			}
		})
	}
	if !inside {
		m.strange(e)
	}
}

// strange answers who believes to be in a room and is not (§7.2.18).
func (m *Rooms) strange(e *router.Envelope) {
	n := notice{affiliation: unaffiliated, reason: "You are not in the room.", codes: []int{307, 333}}
	m.o.Router.Post(&xmpp.Stanza{Kind: xmpp.Presence, Type: xmpp.TypeUnavailable, ID: e.Stanza.ID, From: e.Stanza.To, To: e.Stanza.From,
		Payload: n.append(nil, jid.JID{}, true)}, e.Batch)
	e.Settle(router.Delivered)
}

// update tells all how available an occupant is (§7.7).
func (r *room) update(e *router.Envelope, s *seat) {
	s.said(e.Stanza)
	s.heard, s.asked = time.Now(), time.Time{}
	r.lead(s)
	s.occupant.forgetShown()
	p := r.post(e.Batch)
	p.announce(s.occupant, &notice{affiliation: r.rank(s.occupant), role: s.role}, s, e.Stanza.ID)
	e.Settle(router.Delivered)
}

// rename gives an occupant another nick (§7.6). It says whether it has it now.
func (r *room) rename(e *router.Envelope, s *seat) bool {
	o, addr := s.occupant, e.Stanza.To
	nick := addr.Resource()
	refuse := func(err *xmpp.Error) bool {
		r.m.refuse(e, err)
		return false
	}
	switch {
	case r.bound(o) && r.people[o.name].Nick != nick:
		return refuse(xmpp.NotAcceptable("you bear the nick that you have registered").WithType(xmpp.ErrorCancel))
	case r.taken(nick, o.name):
		return refuse(xmpp.Conflict("this nick is taken"))
	case r.byNick[nick] != nil, len(o.seats) > 1:
		// The clients of one user part, or come together: this one leaves the one occupant for the other.
		r.move(e, s, addr)
		return true
	}
	p := r.post(e.Batch)
	p.rename(o, addr)
	s.said(e.Stanza)
	s.heard, s.asked = time.Now(), time.Time{}
	r.lead(s)
	o.forgetShown()
	p.announce(o, &notice{affiliation: r.rank(o), role: o.role}, s, e.Stanza.ID)
	e.Settle(router.Delivered)
	return true
}

// announceNick tells all which nick an occupant will bear from now on, and that the one it has is borne no more (§7.6).
func (p *post) announceNick(o *occupant, nick string) {
	r, first := p.r, o.seats[0]
	p.head = xmpp.Stanza{Kind: xmpp.Presence, Type: xmpp.TypeUnavailable, From: o.addr}
	n := notice{affiliation: r.rank(o), role: o.role, nick: nick, codes: []int{303}}
	if r.shows(o.role) {
		p.others(o, false, &n, &seat{full: first.full}) // of the old nick there is nothing more to say
	}
	p.with(r.payload(o, nil, &n, first.full, true))
	for _, seat := range o.seats {
		p.to(seat)
	}
}

// rename lets an occupant bear another nick, and tells all.
func (p *post) rename(o *occupant, addr jid.JID) {
	p.announceNick(o, addr.Resource())
	delete(p.r.byNick, o.nick)
	o.nick, o.addr = addr.Resource(), addr
	p.r.byNick[o.nick] = o
	o.forgetShown()
}

// conform gives an occupant the nick that its user has registered, if it must bear that one and does not (§7.10).
func (p *post) conform(o *occupant) {
	r := p.r
	own := r.people[o.name].Nick
	if !r.bound(o) || own == o.nick {
		return
	}
	addr, err := r.addr.WithResource(own)
	if err != nil {
		return
	}
	if other := r.byNick[own]; other != nil { // the user's, for nobody else may bear it
		p.announceNick(o, own)
		for _, s := range slices.Clone(o.seats) {
			r.stand(s)
			r.sit(other, s)
		}
		o = other
	} else {
		p.rename(o, addr)
	}
	p.announce(o, &notice{affiliation: r.rank(o), role: o.role, codes: []int{210}, open: true}, nil, "")
}

// move takes one client of a user from one nick to another.
func (r *room) move(e *router.Envelope, s *seat, addr jid.JID) {
	from, nick := s.occupant, addr.Resource()
	p := r.post(e.Batch)
	n := notice{affiliation: r.rank(from), role: from.role, nick: nick, codes: []int{303}}
	p.head = xmpp.Stanza{Kind: xmpp.Presence, Type: xmpp.TypeUnavailable, From: from.addr}
	p.with(r.payload(from, nil, &n, s.full, true))
	p.to(s)
	given := from.role
	if len(from.seats) == 1 {
		if r.shows(from.role) {
			s.show = nil
			p.others(from, false, &n, s)
		}
		r.stand(s)
	} else {
		first := from.seats[0] == s
		r.stand(s)
		if first {
			p.announce(from, &notice{affiliation: r.rank(from), role: from.role}, nil, "")
		}
	}
	to := r.byNick[nick]
	if to == nil {
		to = newOccupant(r, nick, addr, from.user, given)
	}
	next := &seat{full: s.full, session: s.session, heard: time.Now()}
	next.said(e.Stanza)
	r.sit(to, next)
	if len(from.seats) > 0 && r.shows(from.role) { // what it has left is somebody else now
		p.head = xmpp.Stanza{Kind: xmpp.Presence, From: from.addr, Lang: from.seats[0].lang}
		p.with(r.available(from, r.sees(to)))
		p.to(next)
	}
	p.announce(to, &notice{affiliation: r.rank(to), role: to.role}, next, e.Stanza.ID)
	e.Settle(router.Delivered)
}

// A departure is how somebody leaves.
type departure struct {
	id     string // of the stanza that said so
	show   []byte // what the client says last
	codes  []int
	reason string
	actor  string // nick of who removed it
	silent bool   // the others are not told
	end    *destruction
}

// A farewell is what the others are to hear of somebody who has left.
type farewell struct {
	o     *occupant
	last  *seat
	n     notice
	shown bool
}

// leave takes one client out of the room, and tells all who have to know.
func (r *room) leave(b *router.Batch, s *seat, d departure) {
	p := r.post(b)
	o := s.occupant
	if r.locked && len(r.seats) == 1 { // §10.1.3: the room ends with it
		d.end = &destruction{}
	}
	if len(o.seats) == 1 {
		p.farewell(p.dismiss(o, d))
		return
	}
	n := notice{affiliation: r.rank(o), actor: d.actor, reason: d.reason, codes: d.codes, destroyed: d.end}
	p.head = xmpp.Stanza{Kind: xmpp.Presence, Type: xmpp.TypeUnavailable, ID: d.id, From: o.addr}
	p.with(r.payload(o, d.show, &n, s.full, true))
	p.to(s)
	first := o.seats[0] == s
	r.stand(s)
	if first && !d.silent {
		p.announce(o, &notice{affiliation: r.rank(o), role: o.role}, nil, "")
	}
}

// dismiss takes an occupant with all its clients out of the room, and tells these first (§7.14, §8.2).
func (p *post) dismiss(o *occupant, d departure) farewell {
	r := p.r
	first := o.seats[0]
	f := farewell{o: o, shown: r.shows(o.role) && !d.silent, last: &seat{full: first.full, show: d.show},
		n: notice{affiliation: r.rank(o), actor: d.actor, reason: d.reason, codes: d.codes, destroyed: d.end}}
	p.head = xmpp.Stanza{Kind: xmpp.Presence, Type: xmpp.TypeUnavailable, ID: d.id, From: o.addr}
	p.with(r.payload(o, d.show, &f.n, first.full, true))
	for _, s := range slices.Clone(o.seats) {
		p.to(s)
		r.stand(s)
	}
	return f
}

// farewell tells the others.
func (p *post) farewell(f farewell) {
	if !f.shown {
		return
	}
	p.head = xmpp.Stanza{Kind: xmpp.Presence, Type: xmpp.TypeUnavailable, From: f.o.addr}
	p.others(f.o, false, &f.n, f.last)
}

// refresh tells all of an occupant's new role or affiliation (§8.3 and others). Who was not shown before and is now appears, and the
// other way round.
func (p *post) refresh(o *occupant, was role, n notice) {
	r := p.r
	o.forgetShown()
	n.affiliation, n.role = r.rank(o), o.role
	if r.shows(was) && !r.shows(o.role) {
		gone := notice{affiliation: n.affiliation}
		p.head = xmpp.Stanza{Kind: xmpp.Presence, Type: xmpp.TypeUnavailable, From: o.addr}
		p.others(o, false, &gone, &seat{full: o.seats[0].full})
	}
	p.announce(o, &n, nil, "")
	if was != o.role && !r.conf.NonAnonymous && (was == moderator) != (o.role == moderator) && o.role == moderator {
		// Now it may know who the others are (§7.2.4).
		for _, v := range r.occupants {
			if v != o && r.shows(v.role) {
				p.head = xmpp.Stanza{Kind: xmpp.Presence, From: v.addr, Lang: v.seats[0].lang}
				p.with(r.available(v, true))
				for _, s := range o.seats {
					p.to(s)
				}
			}
		}
	}
}
