package pubsub

import (
	"slices"

	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

func tooManyNodes() *xmpp.Error { return xmpp.ResourceConstraint("there is no room for another node") }

// affiliation is that of an entity, a bare address.
func (g *Engine) affiliation(s *service, n *node, bare jid.JID) affiliation {
	if g.o.Profile.Owns(s.jid, bare) {
		return owner
	}
	return n.affs[bare]
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
		sees, err := g.o.Profile.Sees(s.jid, bare)
		if err != nil {
			return err
		}
		if !sees {
			return condition(xmpp.NotAuthorized(""), "presence-subscription-required")
		}
		if n.config.Access == Presence {
			return nil
		}
		groups, err := g.o.Profile.Groups(s.jid, bare)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(groups, func(group string) bool { return slices.Contains(n.config.Groups, group) }) {
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
