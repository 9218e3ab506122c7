package outbox

import (
	"sync"

	"jackdaw/router"
	"jackdaw/xmpp/jid"
)

const (
	// itemCost is about what a stanza that waits takes beside its XML, pairCost what the first one for a domain does: a
	// queue, a goroutine, an attempt to connect.
	itemCost = 200
	pairCost = 8 << 10
	// fewOf says who has little waiting when the memory is used up: no more than this part of it.
	fewOf = 1024
)

// sender is whoever answers for a stanza: the account, where there is one, since what an account may send in other
// names is still its own.
func sender(e *router.Envelope) jid.JID {
	if !e.Account.IsZero() {
		return e.Account
	}
	return e.Stanza.From.Bare()
}

// A share is what one sender has waiting, for all domains together.
type share struct {
	sender jid.JID
	cost   int
}

// shares are those of all that have something waiting.
type shares struct {
	mu sync.Mutex // guards the rest; taken with a domain's held
	by map[jid.JID]*share
}

// take adds to a sender's share, unless it would then be larger than most; nil if so.
func (s *shares) take(sender jid.JID, cost, most int) *share {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.by[sender]
	switch {
	case x == nil && cost > most, x != nil && x.cost+cost > most:
		return nil
	case x == nil:
		if s.by == nil {
			s.by = map[jid.JID]*share{}
		}
		x = &share{sender: sender}
		s.by[sender] = x
	}
	x.cost += cost
	return x
}

// give takes from a share what take has added. Nil is nobody's.
func (s *shares) give(x *share, cost int) {
	if x == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if x.cost -= cost; x.cost <= 0 {
		delete(s.by, x.sender)
	}
}
