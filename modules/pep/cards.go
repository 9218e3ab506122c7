package pep

import (
	"jackdaw/modules/internal/pubsub"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

const currentCard = "current" // the id of an item that is made of a vcard-temp

// cardPublished does to the vCard what the owner has done to the vCard4, as it was before, if everybody may read that
// too.
func (p *PEP) cardPublished(b *router.Batch, user jid.JID, before *pubsub.Item) *storage.Pending {
	photos := p.photos()
	if photos == nil {
		return nil
	}
	it, c, err := p.engine.Item(user, nodeCard, "")
	var written *storage.Pending
	if now := cardOf(it); err == nil && now != nil && c.Access == pubsub.Open {
		written, err = photos.Change(user, func(card *xmpp.Element) bool { return toTemp(card, cardOf(before), now) })
	}
	if err != nil {
		p.o.Log.Warn("a vCard4 does not get into the vCard", "user", user, "error", err)
	}
	return written
}

// cardChanged does to the vCard4 what the owner has done to the vCard. A vCard4 that is not for everybody is left
// alone: it is not the vCard in other words.
func (p *PEP) cardChanged(b *router.Batch, change PhotoChange, written *storage.Pending) *storage.Pending {
	it, c, err := p.engine.Item(change.User, nodeCard, "")
	was, card, id := change.Was, cardOf(it), currentCard
	switch {
	case err != nil:
	case it == nil: // everything is news
		c = profile{p}.Default(nodeCard)
		c.Access = pubsub.Open // as the vCard is
		was, card = nil, &xmpp.Element{Name: fourCard}
	case card == nil || c.Access != pubsub.Open:
		return written
	default:
		id = it.ID
	}
	if err == nil && toFour(card, was, change.Card) {
		written, err = p.also(b, change.User, nodeCard, c, pubsub.Item{ID: id, Payload: card.Append(nil)}, written)
	}
	if err != nil {
		p.o.Log.Warn("a vCard does not get into the vCard4", "user", change.User, "error", err)
	}
	return written
}

func cardOf(it *pubsub.Item) *xmpp.Element {
	if it == nil {
		return nil
	}
	if el, err := xmpp.ParseElement(it.Payload); err == nil && el.Name == fourCard {
		return el
	}
	return nil
}
