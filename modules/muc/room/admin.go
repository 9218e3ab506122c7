package room

import (
	"slices"
	"strings"

	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// List lists the occupants of a role or the users of an affiliation (§8.5, §9.2, §9.5, §9.8, §10.5, §10.8).
func (r *Room) List(from jid.JID, q *xmpp.Element) ([]byte, *xmpp.Error) {
	item := q.ChildLocal("item")
	if item == nil || item.HasAttr("role") == item.HasAttr("affiliation") {
		return nil, xmpp.BadRequest("an item with a role or an affiliation is needed")
	}
	by := r.partyOf(from)
	w := xmpp.NewWriter(nil).Start(nsAdmin, "query")
	if item.HasAttr("role") {
		wanted, ok := parseRole(item.Attr("role"))
		switch {
		case !ok || wanted == NoRole:
			return nil, xmpp.BadRequest("there is no such role")
		case by.role != Moderator && by.affiliation < Admin:
			return nil, xmpp.Forbidden("only moderators may see this list")
		}
		for _, o := range r.occupants {
			if o.Role == wanted {
				w.Start("", "item").Attr("affiliation", r.Rank(o).String()).Attr("jid", o.Seats[0].Full.String()).
					Attr("nick", o.Nick).Attr("role", o.Role.String()).End()
			}
		}
		return w.End().Bytes(), nil
	}
	wanted, ok := parseAffiliation(item.Attr("affiliation"))
	switch {
	case !ok || wanted == Unaffiliated:
		return nil, xmpp.BadRequest("there is no such list")
	case !r.mayList(by, wanted):
		return nil, xmpp.Forbidden("you may not see this list")
	}
	for _, name := range r.Named(wanted) {
		p := r.People[name]
		w.Start("", "item").Attr("affiliation", wanted.String()).Attr("jid", name).AttrIf("nick", p.Nick)
		if p.Reason != "" && by.affiliation >= Admin {
			w.Leaf("", "reason", p.Reason)
		}
		w.End()
	}
	return w.End().Bytes(), nil
}

// mayList says whether a party may see the list of an affiliation. Admins may. Where addresses are no secret, so may
// members, in the room or not, and the roles that the settings name (§9.5). Only admins may see the list of outcasts.
func (r *Room) mayList(by party, wanted Affiliation) bool {
	switch {
	case by.affiliation >= Admin:
		return wanted < Admin || by.affiliation == Owner || r.Conf.NonAnonymous // §10.5, §10.8
	case wanted == Outcast:
		return false
	case r.Conf.NonAnonymous:
		return by.affiliation == Member || by.role != NoRole && r.Conf.GetMemberList[by.role]
	}
	return by.role == Moderator && wanted == Member && r.Conf.GetMemberList[Moderator]
}

// An Item is what an admin wants to become of somebody.
type Item struct {
	IsRole      bool // it is about a role, else about an affiliation
	Role        Role
	Affiliation Affiliation
	User        jid.JID // of an affiliation: bare, or a domain
	Nick        string
	SetsNick    bool
	Reason      string
	Asked       bool // the user has asked for it

	occupant *Occupant // of a role
}

// Ordered reads what an admin wants, and says whether all of it may be done (§8, §9, §10.3 to §10.8). actor is the nick
// of whoever wants it, if it is in the room. There is at least one item, and either all are about roles or none.
func (r *Room) Ordered(from jid.JID, q *xmpp.Element) (items []Item, actor string, bad *xmpp.Error) {
	for _, c := range q.Children() {
		if c.Name.Space != nsAdmin || c.Name.Local != "item" {
			continue
		}
		one, bad := r.readItem(c)
		if bad != nil {
			return nil, "", bad
		}
		items = append(items, one)
	}
	if len(items) == 0 {
		return nil, "", xmpp.BadRequest("there is no item")
	}
	if bad := r.mayAll(from.Bare(), r.partyOf(from), items); bad != nil {
		return nil, "", bad
	}
	if s := r.seats[from]; s != nil {
		actor = s.Nick
	}
	return items, actor, nil
}

func (r *Room) readItem(c *xmpp.Element) (i Item, bad *xmpp.Error) {
	if reason := c.ChildLocal("reason"); reason != nil {
		i.Reason = reason.Text()
	}
	i.Nick, i.SetsNick = c.Attr("nick"), c.HasAttr("nick")
	ok := true
	switch hasRole, hasAffiliation := c.HasAttr("role"), c.HasAttr("affiliation"); {
	case hasRole == hasAffiliation: // §17.4
		return i, xmpp.BadRequest("a role or an affiliation is needed, and not both")
	case hasRole:
		i.IsRole = true
		if i.Role, ok = parseRole(c.Attr("role")); !ok {
			return i, xmpp.BadRequest("there is no such role")
		}
		if i.occupant = r.byNick[i.Nick]; i.occupant == nil {
			return i, nobody()
		}
		return i, nil
	}
	if i.Affiliation, ok = parseAffiliation(c.Attr("affiliation")); !ok {
		return i, xmpp.BadRequest("there is no such affiliation")
	}
	if !c.HasAttr("jid") {
		// COMPAT(Psi 1.5): names an occupant by its nick only.
		o := r.byNick[i.Nick]
		if o == nil {
			return i, xmpp.BadRequest("an address is needed")
		}
		i.User, i.SetsNick = o.User, false
		return i, nil
	}
	j, err := jid.Parse(c.Attr("jid"))
	if err != nil || j.Local() == "" && i.Affiliation > Unaffiliated { // §9.2: domains may be banned
		return i, xmpp.JIDMalformed("this is not the address of a user")
	}
	i.User = j.Bare()
	return i, nil
}

// mayAll checks all items before any is carried out (§9.2). There is one for each person: all occupants hear of each,
// and a second one would be judged by what was before the first.
func (r *Room) mayAll(by jid.JID, actor party, items []Item) *xmpp.Error {
	owners := len(r.Named(Owner))
	type named struct {
		o    *Occupant
		user jid.JID
	}
	seen := map[named]bool{}
	for k := range items {
		i := &items[k]
		if i.IsRole != items[0].IsRole {
			return xmpp.BadRequest("roles and affiliations are changed one after the other")
		}
		one := named{i.occupant, i.User}
		if seen[one] {
			return xmpp.BadRequest("somebody is named twice")
		}
		seen[one] = true
		if i.IsRole {
			if bad := mayGiveRole(actor, party{i.occupant.Role, r.Rank(i.occupant)}, i.Role); bad != nil {
				return bad
			}
			continue
		}
		now := r.AffiliationOf(i.User)
		if p, known := r.People[i.User.String()]; known {
			now = p.Affiliation
		} else if now == Outcast {
			now = Unaffiliated // by its domain
		}
		if bad := mayAffiliate(actor.affiliation, i.User == by, now, i.Affiliation); bad != nil {
			return bad
		}
		switch {
		case now == Owner && i.Affiliation != Owner:
			owners--
		case now != Owner && i.Affiliation == Owner:
			owners++
		}
		if i.SetsNick && i.Nick != "" {
			addr, err := r.Addr.WithResource(i.Nick)
			if err != nil {
				return xmpp.JIDMalformed("this is not a nick")
			}
			i.Nick = addr.Resource()
			if r.taken(i.Nick, i.User.String()) {
				return xmpp.Conflict("this nick is taken")
			}
		}
	}
	if owners < 1 { // §10.4
		return xmpp.Conflict("a room has an owner")
	}
	return r.mayKnowThose(items)
}

// Assign gives roles, and says where the answer belongs: behind what those concerned are told, before what all others
// are (§8.2).
func (r *Room) Assign(fx *Effects, items []Item, actor string) {
	var gone []farewell
	for _, i := range items {
		if i.Role == NoRole && len(i.occupant.Seats) > 0 {
			delete(r.roles, i.occupant.Name)
			gone = append(gone, r.dismiss(fx, i.occupant, Departure{Codes: []int{307}, Reason: i.Reason, actor: actor}))
		}
	}
	fx.answer()
	for _, f := range gone {
		r.farewell(fx, f)
	}
	for _, i := range items {
		if i.Role == NoRole || len(i.occupant.Seats) == 0 {
			continue
		}
		r.giveRole(fx, i.occupant, i.Role, notice{reason: i.Reason, actor: actor})
	}
}

func (r *Room) giveRole(fx *Effects, o *Occupant, next Role, n notice) {
	was := o.Role
	o.Role = next
	r.keepRole(o)
	r.refresh(fx, o, was, n)
}

// maxRoles bounds the roles that are remembered of users who have left.
const maxRoles = 1000

// keepRole remembers a role that was given until the room is let go of, so that nobody gets another by coming again
// (§5.1).
func (r *Room) keepRole(o *Occupant) {
	if len(r.roles) >= maxRoles {
		clear(r.roles)
	}
	r.roles[o.Name] = o.Role
}

// Next is what the room is to know of the user of an item about an affiliation.
func (r *Room) Next(i Item) Known {
	k := Known{User: i.User.String()}
	k.Person = r.People[k.User]
	k.Affiliation, k.Reason, k.Asks = i.Affiliation, "", ""
	switch {
	case i.Affiliation == Outcast: // §9.1
		k.Nick, k.Reason, k.Hats = "", i.Reason, nil
	case i.Affiliation == Unaffiliated: // a nick is a member's
		k.Nick = ""
	case i.SetsNick:
		k.Nick = i.Nick
	}
	return k
}

// Affiliate lets what Next has said of an item take effect. by is the user who wants it, actor its nick.
func (r *Room) Affiliate(fx *Effects, i Item, next Known, by jid.JID, actor string) {
	was := r.AffiliationOf(i.User)
	version := r.Learn(next)
	if next.Affiliation != was {
		delete(r.roles, next.User)
	}
	inside, untold := false, version // nobody has been told of the version as yet
	for _, o := range slices.Clone(r.occupants) {
		withDomain := i.User.Local() == "" && o.User.Domain() == next.User // §9.2
		if o.Name != next.User && !(withDomain && i.Affiliation == Outcast && r.Rank(o) <= Unaffiliated) {
			continue
		}
		n := notice{reason: i.Reason, actor: actor}
		if !withDomain { // a domain is a user of its own on the lists
			inside, n.version = true, untold
		}
		code := 0
		switch {
		case next.Affiliation == Outcast: // §9.1
			code = 301
		case r.Conf.MembersOnly && next.Affiliation < Member: // §9.4
			code = 321
		}
		shown := r.shows(o.Role)
		if code != 0 {
			f := r.dismiss(fx, o, Departure{Codes: []int{code}, Reason: i.Reason, actor: actor})
			f.n.version = n.version
			r.farewell(fx, f)
		} else {
			role := o.Role
			o.Role = roleAfter(role, was, next.Affiliation, r.Conf.Moderated)
			shown = r.shows(o.Role)
			r.refresh(fx, o, role, n)
			r.conform(fx, o)
		}
		if shown && n.version != 0 {
			untold = 0
		}
	}
	if untold != 0 { // §9.5 and others: occupants who see addresses hear of it
		r.moved(fx, version, next.User, next.Affiliation)
	}
	if inside || was == next.Affiliation || i.User.Local() == "" {
		return
	}
	if r.server.Rooms(i.User.Domain()) {
		return // a room is told nothing: it might be this one
	}
	invite := r.Conf.MembersOnly && was < Member && next.Affiliation >= Member && !r.Locked // §9.5
	if !invite && was == Unaffiliated && !i.Asked {
		return // nobody is told of a room that he does not know
	}
	stanza := xmpp.Stanza{Kind: xmpp.Message, ID: NewID(), From: r.Addr, To: i.User}
	if invite {
		stanza.Payload = r.invitation(by.Bare(), i.Reason, nil)
	} else { // §18.1
		w := xmpp.NewWriter(nil).Start(xmpp.NSMUCUser, "x").Start("", "item").Attr("affiliation", next.Affiliation.String()).
			Attr("jid", next.User).Attr("role", NoRole.String()).End().Start("", "status").Attr("code", "101").End().End()
		stanza.Payload = w.Start(xmpp.NSHints, "no-store").End().Bytes()
	}
	fx.Later = append(fx.Later, stanza)
}

// invitation is what the room sends to a user who is invited (§7.8.2).
func (r *Room) invitation(from jid.JID, reason string, extra *xmpp.Element) []byte {
	w := xmpp.NewWriter(nil).Start(xmpp.NSMUCUser, "x").Start("", "invite").Attr("from", from.String())
	if reason = strings.TrimSpace(reason); reason != "" {
		w.Leaf("", "reason", reason)
	}
	if extra != nil {
		w.Start("", "continue").AttrIf("thread", extra.Attr("thread")).End()
	}
	w.End()
	if r.Conf.Password != "" {
		w.Leaf("", "password", r.Conf.Password)
	}
	return w.End().Bytes()
}
