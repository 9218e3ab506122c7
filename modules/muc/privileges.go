package muc

import "jackdaw/xmpp"

// A role is what an occupant may do as long as it is in the room (XEP-0045 §5.1).
type role uint8

const (
	noRole role = iota
	visitor
	participant
	moderator
)

var roleNames = [...]string{"none", "visitor", "participant", "moderator"}

func (r role) String() string { return roleNames[r] }

func parseRole(s string) (role, bool) {
	for i, name := range roleNames {
		if s == name {
			return role(i), true
		}
	}
	return noRole, false
}

// An affiliation is what a user is to the room, in it or not (XEP-0045 §5.2). They are ordered: who is more may do more.
// The zero value is that of who is nothing to it.
type affiliation int8

const (
	outcast affiliation = iota - 1
	unaffiliated
	member
	admin
	owner
)

var affiliationNames = [...]string{"outcast", "none", "member", "admin", "owner"}

func (a affiliation) String() string { return affiliationNames[a+1] }

func parseAffiliation(s string) (affiliation, bool) {
	for i, name := range affiliationNames {
		if s == name {
			return affiliation(i) - 1, true
		}
	}
	return unaffiliated, false
}

// initialRole is that of who enters (§5.1.2).
func initialRole(a affiliation, moderated bool) role {
	switch {
	case a >= admin:
		return moderator
	case a == unaffiliated && moderated:
		return visitor
	}
	return participant
}

// roleAfter is the role of an occupant whose affiliation changes (§5.1.3, note): what a new affiliation brings is
// gained, and what only the old one brought is lost.
func roleAfter(now role, from, to affiliation, moderated bool) role {
	switch {
	case to >= admin:
		return moderator
	case from >= admin:
		return initialRole(to, moderated)
	case to == member && now == visitor:
		return participant
	}
	return now
}

// A party is one side of an action in a room.
type party struct {
	role        role
	affiliation affiliation
}

// mayGiveRole says whether one may give another this role: nil, or the error of §8 and §9.
//
// §8.4 forbids to revoke the voice of who is "at or above" the moderator's affiliation, §8.5 that of who is above. The
// latter is done here, and nobody takes that of admins and owners: else no moderator without an
// affiliation could take anybody's.
func mayGiveRole(by, to party, r role) *xmpp.Error {
	if by.role != moderator && by.affiliation < admin {
		return xmpp.Forbidden("only moderators may do this")
	}
	switch r {
	case moderator: // §9.6
		if by.affiliation < admin {
			return xmpp.Forbidden("only admins make moderators")
		}
	case noRole: // §8.2
		if to.affiliation > by.affiliation || to.role == moderator && by.affiliation < admin {
			return xmpp.NotAllowed("this occupant cannot be removed by you")
		}
	default: // §8.3, §8.4, §9.7
		switch {
		case to.role < r && to.role != moderator:
		case to.role == r:
		case to.affiliation >= admin, to.affiliation > by.affiliation:
			return xmpp.NotAllowed("this occupant's role cannot be taken by you")
		case to.role == moderator && by.affiliation < admin:
			return xmpp.NotAllowed("only admins take the role of a moderator")
		}
	}
	return nil
}

// mayAffiliate says whether one may change another's affiliation from one to another: nil, or the error of §9 and §10. That the last
// owner stays is for the caller.
func mayAffiliate(by affiliation, self bool, from, to affiliation) *xmpp.Error {
	switch {
	case by < admin:
		return xmpp.Forbidden("only admins may do this")
	case self && to == outcast: // §9.1
		return xmpp.Conflict("nobody bans himself")
	case by == owner, from < admin && to < admin:
		return nil
	case to == outcast: // §9.1
		return xmpp.NotAllowed("this user cannot be banned by you")
	}
	return xmpp.Forbidden("only owners may do this") // §10.3 to §10.8
}
