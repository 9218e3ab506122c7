package pubsub

import (
	"context"

	"jackdaw/storage"
	"jackdaw/xmpp"
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
// always be written. The caller holds the service.
func (g *Engine) grow(s *service, more int64) error {
	if more <= 0 {
		return nil
	}
	if g.o.Full != nil && g.o.Full() {
		return xmpp.ResourceConstraint("the server has no room for more at the moment")
	}
	most := g.o.Limits().Bytes
	if most == 0 {
		return nil
	}
	size, err := g.size(s)
	if err == nil && size+more > most {
		err = xmpp.ResourceConstraint("there is no room for more in all nodes together")
	}
	return err
}

// size is how many bytes a service holds. Items of nodes that are not in use are counted by the store, once.
func (g *Engine) size(s *service) (int64, error) {
	all := s.head
	for _, n := range s.nodes {
		if !n.sized {
			if n.indexed {
				n.size = weigh(n.index)
			} else {
				var err error
				if _, n.size, err = g.o.Items.Size(context.Background(), itemsOwner(s.jid, n.name)); err != nil {
					return 0, err
				}
			}
			n.sized = true
		}
		all += n.size
	}
	return all, nil
}

// setIndex puts another index in place of a node's.
func (n *node) setIndex(index []place) { n.index, n.indexed, n.sized = index, true, false }

// growHead is grow for what is kept of the nodes themselves. What is written again counts twice until it would matter.
func (g *Engine) growHead(s *service, changes []storage.Change) error {
	more := int64(0)
	for _, c := range changes {
		if !c.Delete {
			more += int64(len(c.Key) + len(c.Value))
		}
	}
	err := g.grow(s, more)
	if _, refused := err.(*xmpp.Error); refused {
		if _, s.head, err = g.o.Nodes.Size(context.Background(), s.jid.String()); err == nil {
			err = g.grow(s, more)
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
