package pubsub

import (
	"context"

	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// placeCost is what an item takes in the store besides its id and payload, roughly.
const placeCost = 64

func (p *place) weight() int64 { return int64(placeCost + len(p.id) + p.size) }

func weigh(index []place) (n int64) {
	for i := range index {
		n += index[i].weight()
	}
	return n
}

func weighItems(items []Item) (n int64) {
	for i := range items {
		n += int64(placeCost + len(items[i].ID) + len(items[i].Payload))
	}
	return n
}

// grow is the error for a client that wants a service to hold so many bytes more, nil if it may. What does not grow may
// always be written. maker is who has made the node that grows, guest that somebody does it who is nothing to the node.
// The caller holds the service.
func (g *Engine) grow(s *service, more int64, maker jid.JID, guest bool) error {
	if more <= 0 {
		return nil
	}
	if g.o.Full != nil && g.o.Full() {
		return xmpp.ResourceConstraint("the server has no room for more at the moment")
	}
	l := g.o.Limits()
	if l.Bytes == 0 && s.shared == nil {
		return nil
	}
	size, err := g.size(s)
	if err != nil {
		return err
	}
	full := xmpp.ResourceConstraint("there is no room for more in all nodes together")
	if s.shared == nil || maker.IsZero() {
		if l.Bytes > 0 && size+more > l.Bytes {
			return full
		}
		return nil
	}
	own := int64(0)
	for n := range s.shared.made[s.shared.sharer(maker)] {
		own += n.size
	}
	most := l.UserBytes
	if guest { // so that a node into which everybody may publish does not cost its maker all others
		most /= guestShare
	}
	switch {
	case most > 0 && own+more > most:
		return xmpp.ResourceConstraint("there is no room for more in the nodes of whoever has made this one")
	case !storage.Fair(l.Bytes, size, own, more):
		return full
	}
	return nil
}

// size is how many bytes a service holds. Items of nodes that are not in use are counted by the store, once.
func (g *Engine) size(s *service) (int64, error) {
	for _, n := range s.nodes {
		if s.vague == 0 {
			break
		}
		if n.sized {
			continue
		}
		_, size, err := g.o.Items.Size(context.Background(), itemsOwner(s.jid, n.name))
		if err != nil {
			return 0, err
		}
		s.setSize(n, size)
	}
	return s.head + s.bytes, nil
}

// growHead is grow for what is kept of the nodes themselves. What is written again counts twice until it would matter.
func (g *Engine) growHead(s *service, changes []storage.Change) error {
	more := int64(0)
	for _, c := range changes {
		if !c.Delete {
			more += int64(len(c.Key) + len(c.Value))
		}
	}
	err := g.grow(s, more, jid.JID{}, false)
	if _, refused := err.(*xmpp.Error); refused {
		if _, s.head, err = g.o.Nodes.Size(context.Background(), s.jid.String()); err == nil {
			err = g.grow(s, more, jid.JID{}, false)
		}
	}
	if err == nil {
		s.head += more
	}
	return err
}

// An answer grows with each entry, up to maxAnswer.
type answer int

// add counts an entry with these parts. It says whether there is room for it.
func (a *answer) add(parts ...string) bool {
	*a += 100 // the element
	for _, p := range parts {
		*a += answer(len(p))
	}
	return *a <= maxAnswer
}

func tooLong() *xmpp.Error {
	return xmpp.ResourceConstraint("the answer would be too long: ask for less").WithType(xmpp.ErrorModify)
}
