package posts

import (
	"hash/maphash"

	"jackdaw/xmpp/jid"
)

// A place is where a post is kept.
type place struct {
	account string
	id      uint64
}

const (
	// maxIndex is how many messages are found by an id that does not lead to their post; beyond, the oldest are not.
	maxIndex = 100_000
	// samePlaces is how many posts with messages of one id and sender are told apart.
	samePlaces = 8
)

// An index finds posts by the sender and the id of their message, where the id is not that of the post, or the sender
// not its account.
type index struct {
	seed  maphash.Seed
	all   map[uint64][]place
	order []uint64 // keys as they came; a ring once it is full
	next  int
}

func (x *index) init() {
	x.seed, x.all = maphash.MakeSeed(), map[uint64][]place{}
}

func (x *index) key(sender jid.JID, message string) uint64 {
	var h maphash.Hash
	h.SetSeed(x.seed)
	h.WriteString(sender.Bare().String())
	h.WriteByte(0)
	h.WriteString(message)
	return h.Sum64()
}

// add has a post found, after those that came before.
func (x *index) add(sender jid.JID, message string, at place) {
	key := x.key(sender, message)
	same := x.all[key]
	if len(same) == samePlaces {
		same = append(same[:0], same[1:]...)
	}
	x.all[key] = append(same, at)
	if len(same) > 0 {
		return
	}
	if len(x.order) < maxIndex {
		x.order = append(x.order, key)
		return
	}
	delete(x.all, x.order[x.next])
	x.order[x.next] = key
	x.next = (x.next + 1) % maxIndex
}

// full says that one more would have the oldest forgotten.
func (x *index) full() bool { return len(x.order) == maxIndex }

// find returns the posts whose messages may be meant, the oldest first.
func (x *index) find(sender jid.JID, message string) []place { return x.all[x.key(sender, message)] }
