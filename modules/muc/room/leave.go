package room

import (
	"slices"

	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// A Departure is how a client leaves.
type Departure struct {
	ID     string // of the stanza that said so
	Show   []byte // what the client says last
	Codes  []int
	Reason string
	Silent bool // the others are not told

	actor string // nick of whoever removed it
	end   *Destruction
}

// Parting is the departure of a client that says so itself (§7.14).
func Parting(p *xmpp.Stanza) Departure {
	return Departure{ID: p.ID, Show: cut(p, JoinName, UserName, OccupantName, hatsName)}
}

// A farewell is what the others are to hear of an occupant that has left.
type farewell struct {
	o     *Occupant
	last  *Seat
	n     notice
	shown bool
}

// Leave takes one client out of the room, and tells the others if they have to know (§7.14).
func (r *Room) Leave(fx *Effects, s *Seat, d Departure) {
	o := s.Occupant
	if r.Locked && len(r.seats) == 1 { // §10.1.3: the room ends with it
		d.end = &Destruction{}
	}
	if len(o.Seats) == 1 {
		r.farewell(fx, r.dismiss(fx, o, d))
		return
	}
	n := notice{affiliation: r.Rank(o), actor: d.actor, reason: d.Reason, codes: d.Codes, destroyed: d.end}
	head := absent(o)
	head.ID = d.ID
	fx.to(s, fx.stanza(head, r.payload(o, d.Show, &n, s.Full, true)))
	first := o.Seats[0] == s
	r.stand(fx, s)
	if first && !d.Silent {
		r.announce(fx, o, &notice{affiliation: r.Rank(o), role: o.Role}, nil, "")
	}
}

// dismiss takes an occupant with all its clients out of the room, and tells these first (§7.14, §8.2).
func (r *Room) dismiss(fx *Effects, o *Occupant, d Departure) farewell {
	first := o.Seats[0]
	f := farewell{o: o, shown: r.shows(o.Role) && !d.Silent, last: &Seat{Full: first.Full, show: d.Show},
		n: notice{affiliation: r.Rank(o), actor: d.actor, reason: d.Reason, codes: d.Codes, destroyed: d.end}}
	head := absent(o)
	head.ID = d.ID
	own := fx.stanza(head, r.payload(o, d.Show, &f.n, first.Full, true))
	for _, s := range slices.Clone(o.Seats) {
		fx.to(s, own)
		r.stand(fx, s)
	}
	return f
}

// farewell tells the others.
func (r *Room) farewell(fx *Effects, f farewell) {
	if f.shown {
		r.others(fx, absent(f.o), f.o, false, &f.n, f.last)
	}
}

// refresh tells all of an occupant's new role or affiliation (§8.3 and others). An occupant that was not shown before
// and is now appears, and the other way round.
func (r *Room) refresh(fx *Effects, o *Occupant, was Role, n notice) {
	o.forgetShown()
	n.affiliation, n.role = r.Rank(o), o.Role
	if r.shows(was) && !r.shows(o.Role) {
		gone := notice{affiliation: n.affiliation}
		r.others(fx, absent(o), o, false, &gone, &Seat{Full: o.Seats[0].Full})
	}
	r.announce(fx, o, &n, nil, "")
	if was == Moderator || o.Role != Moderator || r.Conf.NonAnonymous {
		return
	}
	for _, v := range r.occupants { // §7.2.4: now it may know the others' addresses
		if v != o && r.shows(v.Role) {
			open := fx.stanza(present(v), r.available(v, true))
			for _, s := range o.Seats {
				fx.to(s, open)
			}
		}
	}
}

// A Destruction is why a room has ended, and where to go (§10.9).
type Destruction struct {
	alternative, password, reason string
}

func (d *Destruction) append(dst []byte) []byte {
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

// NewDestruction is one that names no other room; reason may be empty.
func NewDestruction(reason string) *Destruction { return &Destruction{reason: reason} }

// ReadDestruction reads a <destroy/> (§10.9).
func ReadDestruction(el *xmpp.Element) (*Destruction, *xmpp.Error) {
	d := &Destruction{}
	if alternative := el.Attr("jid"); alternative != "" {
		j, err := jid.Parse(alternative)
		if err != nil {
			return nil, xmpp.JIDMalformed("the other room has no such address")
		}
		d.alternative = j.String()
	}
	d.password = passwordIn(el)
	if reason := el.ChildLocal("reason"); reason != nil {
		d.reason = reason.Text()
	}
	return d, nil
}

// Destroy ends the room (§10.9).
func (r *Room) Destroy(fx *Effects, d *Destruction) {
	for _, o := range slices.Clone(r.occupants) {
		// Of what they were nothing is left.
		n := notice{affiliation: Unaffiliated, destroyed: d}
		own := fx.stanza(absent(o), r.payload(o, nil, &n, jid.JID{}, true))
		for _, s := range slices.Clone(o.Seats) {
			fx.to(s, own)
			r.stand(fx, s)
		}
	}
}
