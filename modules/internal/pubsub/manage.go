package pubsub

import (
	"slices"
	"strings"

	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// A partial is the end of a request of whose entries some cannot be as it asks for: they are told as they are, and all
// others have been changed (§8.8.2.4, §8.9.2.4).
type partial struct{ unchanged []byte }

func (*partial) Error() string { return "some entries are unchanged" }

// reply is the answer to a request that has ended so.
func (p *partial) reply(to *xmpp.Stanza) xmpp.Stanza {
	s := to.ErrorReply(xmpp.NotAcceptable("these entries are as they were"))
	s.Payload = append(p.unchanged, s.Payload...)
	return s
}

// leftovers are the entries that a request leaves unchanged.
type leftovers struct {
	w     xmpp.Writer
	state string // the attribute that says what they are
	any   bool
}

func (r *request) leftovers(list, state string) *leftovers {
	l := &leftovers{state: state}
	l.w.Start(NSOwner, "pubsub").Start("", list).Attr("node", r.node)
	return l
}

// add adds an entry of the request, with what it is.
func (l *leftovers) add(el *xmpp.Element, is string) {
	l.any = true
	l.w.Start("", l.state).Attr("jid", el.Attr("jid")).AttrIf("subid", el.Attr("subid")).Attr(l.state, is).End()
}

// err is nil if there are none.
func (l *leftovers) err() error {
	if !l.any {
		return nil
	}
	return &partial{l.w.End().End().Bytes()}
}

// subscribers: §8.8.1. Those who wait are among them, so that an owner finds whom to approve.
func (g *Engine) subscribers(r *request) ([]byte, error) {
	n, err := r.owned()
	if err != nil {
		return nil, err
	}
	var w xmpp.Writer
	w.Start(NSOwner, "pubsub").Start("", "subscriptions").Attr("node", n.name)
	var a answer
	for _, who := range addresses(n.subs) {
		for i := range n.subs[who] {
			if !a.add(who.String()) {
				return nil, tooLong()
			}
			writeSubscription(&w, "", who, &n.subs[who][i])
		}
	}
	return w.End().End().Bytes(), nil
}

// setSubscribers: §8.8.2.
func (g *Engine) setSubscribers(r *request) ([]byte, error) {
	n, err := r.owned()
	if err != nil {
		return nil, err
	}
	left := r.leftovers("subscriptions", "subscription")
	for _, el := range r.verb.Children() {
		if !el.HasAttr("subscription") {
			continue
		}
		who, err := jid.Parse(el.Attr("jid"))
		if err != nil {
			left.add(el, state(0).String())
			continue
		}
		who = jid.MustParse(strings.Clone(who.String()))
		done, err := g.setSubscriber(r, n, who, el)
		if err != nil {
			return nil, err
		}
		if !done {
			left.add(el, n.subscriptionOf(who).String())
		}
	}
	return nil, left.err()
}

// setSubscriber does what an owner wants of one subscription; false if that cannot be. It approves what waits, ends
// what is there, and subscribes others. Nobody waits for an owner who has not asked.
func (g *Engine) setSubscriber(r *request, n *node, who jid.JID, el *xmpp.Element) (bool, error) {
	i := slices.Index([]string{"none", "pending", "subscribed"}, el.Attr("subscription"))
	if i < 0 {
		return false, nil
	}
	wanted := state(i)
	one := &subscription{} // what is not there
	if el.HasAttr("subid") || len(n.subs[who]) > 0 {
		var err error
		if one, err = (&request{verb: el}).named(n, who); err != nil {
			return false, nil // which one it is about is not clear
		}
	}
	switch {
	case wanted == one.state:
		return true, nil
	case wanted == pending:
		return false, nil
	case one.state == 0:
		ok, err := g.mayEnlist(r, n, who)
		if !ok {
			return false, err
		}
		one.id, _ = n.free(who)
	}
	p, err := g.decide(r.e.Batch, r.svc, n, who, *one, wanted == subscribed)
	if err == nil {
		r.await(p)
	}
	return err == nil, err
}

// mayEnlist says whether an owner may subscribe an address that has not asked for it. What it gets from then on it has
// not wanted, and it may be anybody's; so it is one of an account, that of somebody who may see an owner's presence or,
// where many share the service, who is at home here.
func (g *Engine) mayEnlist(r *request, n *node, who jid.JID) (bool, error) {
	if who.IsFull() || g.o.Profile.Blocks(r.svc.jid, who) {
		return false, nil
	}
	if err := g.may(r.svc, n, who); err != nil {
		var refused *xmpp.Error
		if asError(err, &refused) {
			err = nil
		}
		return false, err
	}
	if r.svc.shared == nil || !g.o.Router.Serves(who.Domain()) {
		if near, err := g.near(r.svc, n, who); !near || err != nil {
			return false, err
		}
	}
	return g.oneMore(r, n, who)
}

// affiliated: §8.9.1.
func (g *Engine) affiliated(r *request) ([]byte, error) {
	n, err := r.owned()
	if err != nil {
		return nil, err
	}
	var w xmpp.Writer
	w.Start(NSOwner, "pubsub").Start("", "affiliations").Attr("node", n.name)
	if r.svc.shared == nil {
		w.Start("", "affiliation").Attr("jid", r.actor.String()).Attr("affiliation", owner.String()).End()
	}
	var a answer
	for _, who := range addresses(n.affs) {
		if !a.add(who.String()) {
			return nil, tooLong()
		}
		w.Start("", "affiliation").Attr("jid", who.String()).Attr("affiliation", n.affs[who].String()).End()
	}
	return w.End().End().Bytes(), nil
}

// setAffiliated: §8.9.2.
func (g *Engine) setAffiliated(r *request) ([]byte, error) {
	n, err := r.owned()
	if err != nil {
		return nil, err
	}
	wanted := map[jid.JID]affiliation{}
	left := r.leftovers("affiliations", "affiliation")
	for _, el := range r.verb.Children() {
		if !el.HasAttr("affiliation") {
			continue
		}
		who, err := jid.Parse(el.Attr("jid"))
		if err != nil {
			left.add(el, none.String())
			continue
		}
		who = jid.MustParse(strings.Clone(who.Bare().String()))
		if _, twice := wanted[who]; twice { // §8.9.2.4
			return nil, xmpp.BadRequest("one entry for each entity")
		}
		i := slices.Index(affiliationNames, el.Attr("affiliation"))
		// The owner of a service of its own is who it is: §8.9.2.4.
		owns := r.svc.shared == nil && g.o.Profile.Owns(r.service, who)
		switch {
		case i < 0, r.svc.shared == nil && owns != (affiliation(i) == owner):
			left.add(el, g.affiliation(r.svc, n, who).String())
		case !owns:
			wanted[who] = affiliation(i)
		}
	}
	if r.svc.shared != nil && !n.keepsOwner(wanted) { // §8.9.2.4
		for _, el := range r.verb.Children() {
			who, err := jid.Parse(el.Attr("jid"))
			if _, asked := wanted[who.Bare()]; err == nil && asked && n.affs[who.Bare()] == owner {
				left.add(el, owner.String())
				delete(wanted, who.Bare())
			}
		}
	}
	if len(n.affs)+len(wanted) > maxAffiliations {
		return nil, xmpp.ResourceConstraint("too many affiliations")
	}
	changes := make([]storage.Change, 0, len(wanted))
	for who, a := range wanted {
		changes = append(changes, storage.Change{Key: key(keyAffiliation, n.name, who), Value: []byte{recordVersion, byte(a)},
			Delete: a == none})
	}
	if len(changes) == 0 {
		return nil, left.err()
	}
	p, err := g.put(r.svc, changes...)
	if err != nil {
		return nil, err
	}
	r.await(p)
	for who, a := range wanted {
		r.svc.setAffiliation(n, who, a)
	}
	for _, who := range addresses(wanted) {
		if err := g.revoke(r.e.Batch, r.svc, n, who); err != nil {
			return nil, err
		}
		if wanted[who] < member {
			continue
		}
		for _, address := range addresses(n.subs) { // §8.7.2: who may have it waits no longer
			if address.Bare() != who {
				continue
			}
			p, err := g.admit(r.e.Batch, r.svc, n, address)
			if err != nil {
				return nil, err
			}
			r.await(p)
		}
	}
	return nil, left.err()
}

// keepsOwner says whether a node has an owner after a change of affiliations.
func (n *node) keepsOwner(wanted map[jid.JID]affiliation) bool {
	for _, a := range wanted {
		if a == owner {
			return true
		}
	}
	for _, who := range n.owners {
		if _, changed := wanted[who]; !changed {
			return true
		}
	}
	return false
}
