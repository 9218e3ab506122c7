package room

import (
	"bytes"
	"crypto/subtle"
	"slices"
	"time"

	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// An Entry is what matters when somebody enters, beside the presence.
type Entry struct {
	Form    *xmpp.Element // the <x/> of §7.2.2, with the password and limits of the history
	Places  int           // that the service allows a room
	Exempt  bool          // the user is above the limits
	Crowded bool          // the user is in as many other rooms as it may be in
	Made    bool          // the room was made for this
}

// Enter lets the sender in or refuses with the reason (§7.2). A client that is in the room already has lost what it
// knew, and is told everything again, under another nick if it asks for one (§7.2.1, §17.3).
func (r *Room) Enter(fx *Effects, ev *Event, en Entry) *xmpp.Error {
	now := r.seats[ev.Stanza.From]
	if now == nil {
		return r.admit(fx, ev, en)
	}
	if !(r.bound(now.Occupant) && r.People[now.Name].Nick == now.Nick) && now.Nick != ev.Stanza.To.Resource() {
		if bad := r.rename(fx, ev, now); bad != nil {
			return bad
		}
	}
	r.resync(fx, ev, r.seats[ev.Stanza.From], en.Form)
	return nil
}

// admit checks all that may keep somebody out, and lets in whoever passes.
func (r *Room) admit(fx *Effects, ev *Event, en Entry) *xmpp.Error {
	s := ev.Stanza
	user := s.From.Bare()
	name := user.String()
	rank := r.AffiliationOf(user)
	switch {
	case rank == Outcast: // §7.2.7
		return xmpp.Forbidden("you are banned from this room")
	case r.Conf.MembersOnly && rank < Member: // §7.2.6
		return xmpp.RegistrationRequired("this room is for members only")
	case r.Conf.Password != "" && !sameSecret(passwordIn(en.Form), r.Conf.Password): // §7.2.5
		return xmpp.NotAuthorized("a password is needed to enter")
	}
	addr := s.To
	if own := r.People[name].Nick; own != "" && r.Conf.LockedNicks && own != addr.Resource() { // §7.10
		registered, err := r.Addr.WithResource(own)
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
		case r.full(rank, en.Places) && !(en.Exempt && !r.full(Admin, en.Places)),
			rank < Member && !en.Exempt && r.crowded(user, en.Places): // §7.2.9
			return xmpp.ServiceUnavailable("the room is full").WithType(xmpp.ErrorWait)
		case !en.Exempt && en.Crowded:
			return xmpp.ResourceConstraint("you are in too many rooms")
		}
		given := initialRole(rank, r.Conf.Moderated)
		if was, ok := r.roles[name]; ok && rank < Admin { // §5.1: for moderated rooms
			given = was
		}
		o = r.newOccupant(addr, user, given)
	}
	if len(o.Seats) >= maxSeats {
		return xmpp.ResourceConstraint("you are in this room with too many clients")
	}
	seat := &Seat{Full: s.From, Session: ev.Session, Far: ev.Far, heard: ev.Now}
	seat.said(s)
	r.sit(fx, o, seat)
	codes := r.greeting()
	if en.Made || r.Locked { // §10.1.1
		codes = append(codes, 201)
	}
	if addr != s.To {
		codes = append(codes, 210)
	}
	r.welcome(fx, ev, seat, codes, en.Form, true)
	return nil
}

func sameSecret(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

func passwordIn(x *xmpp.Element) string {
	if p := x.ChildLocal("password"); p != nil {
		return p.Text()
	}
	return ""
}

// greeting are the codes for what a client has to know of the room before it says anything (§7.2.3, §7.2.12).
func (r *Room) greeting() (codes []int) {
	if r.Conf.NonAnonymous {
		codes = append(codes, 100)
	}
	if r.Conf.Archived {
		codes = append(codes, 170)
	}
	return codes
}

// bound says whether an occupant must bear the nick that its user has registered (§7.10).
func (r *Room) bound(o *Occupant) bool { return r.Conf.LockedNicks && r.People[o.Name].Nick != "" }

// said takes over what a client says of itself, without what only the room says (§17.3).
func (s *Seat) said(p *xmpp.Stanza) {
	s.show = bytes.Clone(p.Without(JoinName, UserName, OccupantName, hatsName))
	s.lang = p.Lang
}

// taken says whether a nick is another user's, by use or by registration.
func (r *Room) taken(nick, user string) bool {
	if o := r.byNick[nick]; o != nil && o.Name != user {
		return true
	}
	by, reserved := r.Nicks[nick]
	return reserved && by != user
}

const (
	// reserve is how many places are left for admins and owners when a room is full (§7.2.9).
	reserve = 10
	// maxSeats is how many clients may bear one nick.
	maxSeats = 20
	// crowdPart is how many times as many places as are left free the users of one domain may have, without the members.
	crowdPart = 9
)

// places is how many occupants may be in the room, of those that the service allows.
func (r *Room) places(most int) int {
	if r.Conf.MaxOccupants > 0 {
		most = min(most, r.Conf.MaxOccupants)
	}
	return most
}

// full says whether there is no place for one more (§7.2.9).
func (r *Room) full(a Affiliation, most int) bool {
	most = r.places(most)
	if a >= Admin {
		most += reserve
	}
	return len(r.occupants) >= most
}

// crowded says whether the users of somebody's domain leave too little room for others. One server may have nine tenths
// of a room, and the second one nine tenths of the rest. A user of this server has one place.
func (r *Room) crowded(user jid.JID, most int) bool {
	free := r.places(most) - len(r.occupants) - 1
	if crowdPart*free >= len(r.occupants)+1 {
		return false
	}
	who, own := r.server.Sharer(user), 0
	for _, o := range r.occupants {
		if r.server.Sharer(o.User) == who {
			own++
		}
	}
	return own > 0 && crowdPart*free < own+1
}

// welcome tells a client all that it has to know, in the order of §7.1, and if tell is set, the others that it is
// there.
func (r *Room) welcome(fx *Effects, ev *Event, s *Seat, codes []int, x *xmpp.Element, tell bool) {
	o := s.Occupant
	fx.entering = s
	r.catchUp(fx, ev, s, x)
	sees := r.sees(o)
	for _, v := range r.occupants { // §7.2.2
		if v != o && r.shows(v.Role) {
			fx.to(s, fx.stanza(present(v), r.available(v, sees)))
		}
	}
	n := notice{affiliation: r.Rank(o), role: o.Role, codes: codes, mav: r.upToNow(s)}
	if tell {
		r.announce(fx, o, &n, s, ev.Stanza.ID)
	} else {
		head := xmpp.Stanza{Kind: xmpp.Presence, From: o.Addr, ID: ev.Stanza.ID, Lang: s.lang}
		fx.to(s, fx.stanza(head, r.payload(o, o.Seats[0].show, &n, o.Seats[0].Full, true)))
	}
	if r.hashes != nil {
		fx.to(s, r.cardPresence(fx))
	}
	r.history(fx, s, x, ev.Now) // §7.2.13
	r.tellSubject(fx, s)        // §7.2.15
	fx.entering = nil
}

// resync tells a client that is in the room everything again (§7.2.1, §17.3).
func (r *Room) resync(fx *Effects, ev *Event, s *Seat, x *xmpp.Element) {
	was := s.show
	s.said(ev.Stanza)
	s.alive(ev.Now)
	if ev.Session != nil {
		s.Session, s.Far = ev.Session, ev.Far
	}
	s.Occupant.forgetShown()
	s.lead()
	codes := r.greeting()
	if s.Nick != ev.Stanza.To.Resource() {
		codes = append(codes, 210)
	}
	r.welcome(fx, ev, s, codes, x, !bytes.Equal(was, s.show))
}

// lead makes a client the one whose presence is shown for its occupant.
func (s *Seat) lead() {
	o := s.Occupant
	if o.Seats[0] != s {
		o.Seats = slices.DeleteFunc(o.Seats, func(x *Seat) bool { return x == s })
		o.Seats = slices.Insert(o.Seats, 0, s)
		o.forgetShown()
	}
}

// Change takes over what a client in the room says after it has entered: another nick (§7.6) or another availability
// (§7.7). inside is false for a client that is not in the room.
func (r *Room) Change(fx *Effects, ev *Event) (inside bool, bad *xmpp.Error) {
	s := r.seats[ev.Stanza.From]
	switch {
	case s == nil:
		return false, nil
	case s.Nick != ev.Stanza.To.Resource():
		return true, r.rename(fx, ev, s)
	}
	r.update(fx, ev, s)
	return true, nil
}

// Stranger is what a client is told that believes to be in a room and is not (§7.2.18).
func Stranger(p *xmpp.Stanza) *xmpp.Stanza {
	n := notice{affiliation: Unaffiliated, reason: "You are not in the room.", codes: []int{307, 333}}
	return &xmpp.Stanza{Kind: xmpp.Presence, Type: xmpp.TypeUnavailable, ID: p.ID, From: p.To, To: p.From,
		Payload: n.append(nil, jid.JID{}, true)}
}

// update tells all how available an occupant is (§7.7).
func (r *Room) update(fx *Effects, ev *Event, s *Seat) {
	s.said(ev.Stanza)
	s.alive(ev.Now)
	s.lead()
	s.Occupant.forgetShown()
	r.announce(fx, s.Occupant, &notice{affiliation: r.Rank(s.Occupant), role: s.Role}, s, ev.Stanza.ID)
}

// rename gives an occupant another nick (§7.6).
func (r *Room) rename(fx *Effects, ev *Event, s *Seat) *xmpp.Error {
	o, addr := s.Occupant, ev.Stanza.To
	nick := addr.Resource()
	switch {
	case r.bound(o) && r.People[o.Name].Nick != nick: // §7.10
		return xmpp.NotAcceptable("you bear the nick that you have registered").WithType(xmpp.ErrorCancel)
	case r.taken(nick, o.Name):
		return xmpp.Conflict("this nick is taken")
	case r.byNick[nick] != nil, len(o.Seats) > 1:
		// The clients of one user part, or come together: this one leaves the one occupant for the other.
		r.move(fx, ev, s)
		return nil
	}
	r.bear(fx, o, addr)
	r.update(fx, ev, s)
	return nil
}

// announceNick tells all which nick an occupant will bear from now on, and that the one it has is borne no more (§7.6).
func (r *Room) announceNick(fx *Effects, o *Occupant, nick string) {
	first, head := o.Seats[0], absent(o)
	n := notice{affiliation: r.Rank(o), role: o.Role, nick: nick, codes: []int{303}}
	if r.shows(o.Role) {
		r.others(fx, head, o, false, &n, &Seat{Full: first.Full}) // of the old nick there is nothing more to say
	}
	own := fx.stanza(head, r.payload(o, nil, &n, first.Full, true))
	for _, s := range o.Seats {
		fx.to(s, own)
	}
}

// bear lets an occupant bear another nick, and tells all.
func (r *Room) bear(fx *Effects, o *Occupant, addr jid.JID) {
	r.announceNick(fx, o, addr.Resource())
	delete(r.byNick, o.Nick)
	o.Nick, o.Addr = addr.Resource(), addr
	r.byNick[o.Nick] = o
	o.forgetShown()
}

// conform gives an occupant the nick that its user has registered, if it must bear that one and does not (§7.10).
func (r *Room) conform(fx *Effects, o *Occupant) {
	own := r.People[o.Name].Nick
	if !r.bound(o) || own == o.Nick {
		return
	}
	addr, err := r.Addr.WithResource(own)
	if err != nil {
		return
	}
	if other := r.byNick[own]; other != nil { // the user's, for nobody else may bear it
		r.announceNick(fx, o, own)
		for _, s := range slices.Clone(o.Seats) {
			r.stand(fx, s)
			r.sit(fx, other, s)
		}
		o = other
	} else {
		r.bear(fx, o, addr)
	}
	r.announce(fx, o, &notice{affiliation: r.Rank(o), role: o.Role, codes: []int{210}, open: true}, nil, "")
}

// move takes one client of a user from one nick to another.
func (r *Room) move(fx *Effects, ev *Event, s *Seat) {
	from, addr := s.Occupant, ev.Stanza.To
	head := absent(from)
	n := notice{affiliation: r.Rank(from), role: from.Role, nick: addr.Resource(), codes: []int{303}}
	fx.to(s, fx.stanza(head, r.payload(from, nil, &n, s.Full, true)))
	if len(from.Seats) == 1 {
		if r.shows(from.Role) {
			r.others(fx, head, from, false, &n, &Seat{Full: s.Full})
		}
		r.stand(fx, s)
	} else {
		first := from.Seats[0] == s
		r.stand(fx, s)
		if first {
			r.announce(fx, from, &notice{affiliation: r.Rank(from), role: from.Role}, nil, "")
		}
	}
	to := r.byNick[addr.Resource()]
	if to == nil {
		to = r.newOccupant(addr, from.User, from.Role)
	}
	next := &Seat{Full: s.Full, Session: s.Session, Far: s.Far, heard: ev.Now, told: s.told}
	next.said(ev.Stanza)
	r.sit(fx, to, next)
	if len(from.Seats) > 0 && r.shows(from.Role) { // what it has left is somebody else now
		fx.to(next, fx.stanza(present(from), r.available(from, r.sees(to))))
	}
	r.announce(fx, to, &notice{affiliation: r.Rank(to), role: to.Role}, next, ev.Stanza.ID)
}

// Probe answers an occupant, or its server in the name of the user, that asks for the presence of an occupant (§17.3).
// Nobody else is answered.
func (r *Room) Probe(fx *Effects, p *xmpp.Stanza) (answered bool) {
	asker := r.occupantOf(p)
	if asker == nil {
		return false
	}
	var head xmpp.Stanza
	var shown content
	switch o := r.byNick[p.To.Resource()]; {
	case o == asker:
		n := notice{affiliation: r.Rank(o), role: o.Role}
		head, shown = present(o), r.payload(o, o.Seats[0].show, &n, o.Seats[0].Full, true)
	case o != nil && r.shows(o.Role):
		head, shown = present(o), r.available(o, r.sees(asker))
	default:
		n := notice{affiliation: Unaffiliated}
		head = xmpp.Stanza{Kind: xmpp.Presence, Type: xmpp.TypeUnavailable, From: p.To}
		shown = contentOf(n.append(nil, jid.JID{}, false))
	}
	head.ID = p.ID
	fx.to(&Seat{Full: p.From}, fx.stanza(head, shown))
	return true
}

// occupantOf is the occupant that a stanza is from, by its client or in the name of its user, or nil.
func (r *Room) occupantOf(s *xmpp.Stanza) *Occupant {
	if seat := r.seats[s.From]; seat != nil {
		return seat.Occupant
	}
	if s.From.IsBare() {
		for _, o := range r.occupants {
			if o.User == s.From {
				return o
			}
		}
	}
	return nil
}

// Missed looks for clients of other servers and nodes that have gone without a word, since the room does not hear of
// the end of their streams. It returns those that are to be asked for a sign of life, and removes those that have not
// answered.
func (r *Room) Missed(fx *Effects, now time.Time) (ask []jid.JID) {
	for _, s := range r.Seats() {
		switch {
		case s.Session != nil && !s.Far || now.Sub(s.heard) < silence:
		case s.asked.IsZero():
			s.asked = now
			ask = append(ask, s.Full)
		case now.Sub(s.asked) > answerWithin:
			r.Leave(fx, s, Departure{Codes: []int{333}, Reason: "no sign of life"})
		}
	}
	return ask
}

const (
	// silence is after what time a client of another server is asked for a sign of life, and answerWithin when it is taken
	// for gone without one.
	silence      = 15 * time.Minute
	answerWithin = 2 * time.Minute
)

// Answered takes an answer to that question, which names nobody in the room.
func (r *Room) Answered(fx *Effects, ev *Event) {
	s := r.seats[ev.Stanza.From]
	if s == nil {
		return
	}
	if err := ev.Stanza.Err(); err != nil && Deadly(err.Condition) {
		r.Leave(fx, s, Departure{Codes: []int{333}, Reason: "a ping came back: " + string(err.Condition)})
		return
	}
	s.alive(ev.Now)
}

// Deadly says whether an error means that an occupant is there no more (§18.1.2, XEP-0410 §3.2).
func Deadly(c xmpp.Condition) bool {
	switch c {
	case xmpp.CondGone, xmpp.CondItemNotFound, xmpp.CondRecipientUnavailable, xmpp.CondRedirect,
		xmpp.CondRemoteServerNotFound, xmpp.CondRemoteServerTimeout, xmpp.CondServiceUnavailable, xmpp.CondJIDMalformed,
		xmpp.CondInternalServerError:
		return true
	}
	return false
}
