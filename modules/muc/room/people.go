package room

import (
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// maxPeople is how many users a room knows before those who register are told to wait, and half of how many its admins
// may make it know: all of them are in memory while the room is in use, and are read when it is.
const maxPeople = 10000

// mayBeKnown says whether there is a place for a user who registers. The users of one domain may have nine tenths of
// the places, those of the next one nine tenths of the rest.
func (r *Room) mayBeKnown(user jid.JID) bool {
	if _, known := r.People[user.Bare().String()]; known {
		return true
	}
	free := maxPeople - len(r.People) - 1
	if free < 0 || crowdPart*free >= len(r.People)+1 {
		return free >= 0
	}
	sharer, own := r.server.Sharer(user), 0
	for name := range r.People {
		if j, err := jid.Parse(name); err == nil && r.server.Sharer(j) == sharer {
			own++
		}
	}
	return own == 0 || crowdPart*free >= own+1
}

// mayKnow says whether admins may make the room know these users.
func (r *Room) mayKnow(users ...string) *xmpp.Error {
	more := 0
	for _, user := range users {
		if _, known := r.People[user]; !known {
			more++
		}
	}
	if more > 0 && len(r.People)+more > 2*maxPeople {
		return xmpp.ResourceConstraint("the room knows too many users")
	}
	return nil
}

// mayKnowThose is mayKnow for those whom items are about.
func (r *Room) mayKnowThose(items []Item) *xmpp.Error {
	var users []string
	for i := range items {
		if !items[i].IsRole && items[i].Affiliation != Unaffiliated {
			users = append(users, items[i].User.String())
		}
	}
	return r.mayKnow(users...)
}
