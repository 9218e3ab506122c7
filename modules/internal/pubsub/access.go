package pubsub

import (
	"slices"

	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

func tooManyNodes() *xmpp.Error { return xmpp.ResourceConstraint("there is no room for another node") }

// affiliation is that of an entity, a bare address.
func (g *Engine) affiliation(s *service, n *node, bare jid.JID) affiliation {
	if s.shared == nil && g.o.Profile.Owns(s.jid, bare) {
		return owner
	}
	return n.affs[bare]
}

// owners are those of a node, bare addresses. They are not to be changed.
func (g *Engine) owners(s *service, n *node) []jid.JID {
	if s.shared == nil {
		return []jid.JID{s.jid}
	}
	return n.owners
}

// near says whether an entity, a bare address, may see the presence of an owner of the node.
func (g *Engine) near(s *service, n *node, bare jid.JID) (bool, error) {
	if s.shared == nil {
		return g.o.Profile.Sees(s.jid, bare)
	}
	for _, one := range n.owners {
		if sees, err := g.o.Profile.Sees(one, bare); sees || err != nil {
			return sees, err
		}
	}
	return false, nil
}

// grouped says whether an entity, a bare address, is in one of the node's groups of the roster of an owner.
func (g *Engine) grouped(s *service, n *node, bare jid.JID) (bool, error) {
	in := func(user jid.JID) (bool, error) {
		groups, err := g.o.Profile.Groups(user, bare)
		return slices.ContainsFunc(groups, func(group string) bool { return slices.Contains(n.config.Groups, group) }), err
	}
	if s.shared == nil {
		return in(s.jid)
	}
	for _, one := range n.owners {
		if sees, err := g.o.Profile.Sees(one, bare); err != nil || !sees {
			if err != nil {
				return false, err
			}
			continue
		}
		if is, err := in(one); is || err != nil {
			return is, err
		}
	}
	return false, nil
}

// may says whether an entity, a bare address, may subscribe to the node and so get its events: nil, or the error for it
// (§6.1.3). With the model authorize everybody may ask.
func (g *Engine) may(s *service, n *node, bare jid.JID) error {
	switch g.affiliation(s, n, bare) {
	case owner, publisher, member:
		return nil
	case publishOnly, outcast: // §4.1, table 1
		return forbidden()
	}
	switch n.config.Access {
	case Presence, Roster:
		sees, err := g.near(s, n, bare)
		if err != nil {
			return err
		}
		if !sees {
			return condition(xmpp.NotAuthorized(""), "presence-subscription-required")
		}
		if n.config.Access == Presence {
			return nil
		}
		in, err := g.grouped(s, n, bare)
		if err != nil {
			return err
		}
		if !in {
			return condition(xmpp.NotAuthorized(""), "not-in-roster-group")
		}
	case Whitelist:
		return condition(xmpp.NotAllowed(""), "closed-node")
	}
	return nil
}

// mayRead says whether an entity, a bare address, may retrieve items (§6.5.1).
func (g *Engine) mayRead(s *service, n *node, bare jid.JID) error {
	if err := g.may(s, n, bare); err != nil {
		return err
	}
	if n.config.Access == Authorize && g.affiliation(s, n, bare) == none && n.subscription(bare) != subscribed {
		return condition(xmpp.NotAuthorized(""), "not-subscribed")
	}
	return nil
}

// mayPublish says whether an entity, a bare address, may publish (§4.1, pubsub#publish_model).
func (g *Engine) mayPublish(s *service, n *node, bare jid.JID) error {
	switch g.affiliation(s, n, bare) {
	case owner, publisher, publishOnly:
		return nil
	case outcast:
		return forbidden()
	}
	switch n.config.Publishers {
	case ByAnyone:
		return nil
	case BySubscribers:
		if n.subscription(bare) == subscribed {
			return nil
		}
	}
	return forbidden()
}
