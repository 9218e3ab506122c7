package room

import "jackdaw/xmpp"

// A Role is what an occupant may do as long as it is in the room (XEP-0045 §5.1).
type Role uint8

// The roles of §5.1. They are ordered: a higher one may do more.
const (
	NoRole Role = iota
	Visitor
	Participant
	Moderator
)

var roleNames = [...]string{"none", "visitor", "participant", "moderator"}

func (r Role) String() string { return roleNames[r] }

func parseRole(s string) (Role, bool) {
	for i, name := range roleNames {
		if s == name {
			return Role(i), true
		}
	}
	return NoRole, false
}

// An Affiliation is what a user is to the room, in it or not (XEP-0045 §5.2). The zero value is that of a user who has
// none.
type Affiliation int8

// The affiliations of §5.2. They are ordered: a higher one may do more.
const (
	Outcast Affiliation = iota - 1
	Unaffiliated
	Member
	Admin
	Owner
)

var affiliationNames = [...]string{"outcast", "none", "member", "admin", "owner"}

func (a Affiliation) String() string { return affiliationNames[a+1] }

func parseAffiliation(s string) (Affiliation, bool) {
	for i, name := range affiliationNames {
		if s == name {
			return Affiliation(i) - 1, true
		}
	}
	return Unaffiliated, false
}

// initialRole is the role in which a user of this affiliation enters (§5.1.2).
func initialRole(a Affiliation, moderated bool) Role {
	switch {
	case a >= Admin:
		return Moderator
	case a == Unaffiliated && moderated:
		return Visitor
	}
	return Participant
}

// roleAfter is the role of an occupant whose affiliation changes (§5.1.3, note). The occupant gains what the new
// affiliation brings, and loses what only the old one brought.
func roleAfter(now Role, from, to Affiliation, moderated bool) Role {
	switch {
	case to >= Admin:
		return Moderator
	case from >= Admin:
		return initialRole(to, moderated)
	case to == Member && now == Visitor:
		return Participant
	}
	return now
}

// A party is one side of an action in a room.
type party struct {
	role        Role
	affiliation Affiliation
}

// mayGiveRole says whether one may give another this role: nil, or the error of §8 and §9.
//
// §8.4 forbids a moderator to revoke the voice of anybody "at or above" the moderator's own affiliation, §8.5 only of
// those above it. This follows §8.5, and lets nobody revoke the voice of admins and owners: by §8.4, a moderator
// without an affiliation could revoke nobody's.
func mayGiveRole(by, to party, r Role) *xmpp.Error {
	if by.role != Moderator && by.affiliation < Admin {
		return xmpp.Forbidden("only moderators may do this")
	}
	switch r {
	case Moderator: // §9.6
		if by.affiliation < Admin {
			return xmpp.Forbidden("only admins make moderators")
		}
	case NoRole: // §8.2
		if to.affiliation > by.affiliation || to.role == Moderator && by.affiliation < Admin {
			return xmpp.NotAllowed("this occupant cannot be removed by you")
		}
	default: // §8.3, §8.4, §9.7
		switch {
		case to.role < r && to.role != Moderator:
		case to.role == r:
		case to.affiliation >= Admin, to.affiliation > by.affiliation:
			return xmpp.NotAllowed("this occupant's role cannot be taken by you")
		case to.role == Moderator && by.affiliation < Admin:
			return xmpp.NotAllowed("only admins take the role of a moderator")
		}
	}
	return nil
}

// mayAffiliate says whether a user may change an affiliation, its own or another's, from one to another: nil, or the
// error of §9 and §10. The caller sees to it that an owner is left.
func mayAffiliate(by Affiliation, self bool, from, to Affiliation) *xmpp.Error {
	switch {
	case by < Admin:
		return xmpp.Forbidden("only admins may do this")
	case self && to == Outcast: // §9.1
		return xmpp.Conflict("nobody bans himself")
	case by == Owner, from < Admin && to < Admin:
		return nil
	case to == Outcast: // §9.1
		return xmpp.NotAllowed("this user cannot be banned by you")
	}
	return xmpp.Forbidden("only owners may do this") // §10.3 to §10.8
}
