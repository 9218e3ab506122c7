package pep

import (
	"jackdaw/modules/internal/pubsub"
	"jackdaw/xmpp/jid"
)

// profile says of accounts what the engine has to know. It implements pubsub.Profile.
type profile struct{ *PEP }

// Owns: one publisher for each service (XEP-0163 §3.2).
func (p profile) Owns(service, entity jid.JID) bool { return service == entity }

// Creates: the same one makes them.
func (p profile) Creates(service, entity jid.JID) bool { return service == entity }

func (p profile) Sees(owner, entity jid.JID) (bool, error) {
	return p.o.Contacts.Sees(owner, entity)
}

func (p profile) Groups(owner, entity jid.JID) ([]string, error) {
	return p.o.Contacts.Groups(owner, entity)
}

func (p profile) Blocks(service, entity jid.JID) bool { return p.o.Blocks(service, entity) }

// Implicit are the owner's sessions and those of contacts that show it their presence (XEP-0163 §4). Which of them may
// have the event is for the access model to say.
func (p profile) Implicit(service jid.JID, node string, f func(full jid.JID)) {
	for _, s := range p.o.Router.Sessions(service) {
		if p.here.wants(s, node) {
			f(s.Addr())
		}
	}
	contacts, err := p.o.Contacts.Subscriptions(service)
	if err != nil {
		p.o.Log.Warn("contacts do not get an event", "service", service, "error", err)
		return
	}
	for _, contact := range contacts {
		if !p.o.Router.IsHome(contact) {
			continue
		}
		for _, s := range p.o.Router.Sessions(contact) {
			if p.here.wants(s, node) {
				f(s.Addr())
			}
		}
	}
	for _, full := range p.remote.who(service, node) {
		f(full)
	}
}

// Resources are where a subscriber of whose presence the service knows wants the events (XEP-0163 §4.3.2).
func (p profile) Resources(service, subscriber jid.JID, node string) (full []jid.JID) {
	if !p.o.Router.IsHome(subscriber) {
		for _, one := range p.remote.who(service, node) {
			if one.Bare() == subscriber {
				full = append(full, one)
			}
		}
		return full
	}
	if shows, err := p.shows(subscriber, service); subscriber != service && (err != nil || !shows) {
		return nil
	}
	for _, s := range p.o.Router.Sessions(subscriber) {
		if p.here.wants(s, node) {
			full = append(full, s.Addr())
		}
	}
	return full
}

// Default is what clients get that say nothing (XEP-0163 §5), but for nodes that are private by what they hold.
func (p profile) Default(node string) pubsub.Config {
	c := pubsub.Config{Access: pubsub.Presence, Last: pubsub.OnPresence, MaxItems: 1,
		Persist: true, Deliver: true, Payloads: true, TellDelete: true, TellRetract: true}
	switch node {
	// XEP-0402 §7, XEP-0048 §3, XEP-0490 §8, XEP-0292 §8.2
	case nodeBookmarks, nodeOldBookmarks, nodeDisplayed, nodeContacts:
		c.Access, c.Last, c.MaxItems = pubsub.Whitelist, pubsub.Never, 0
	}
	return c
}

// Nodes of which more is known than what is in them.
const (
	nodeBookmarks    = "urn:xmpp:bookmarks:1"
	nodeOldBookmarks = "storage:bookmarks"
	nodeDisplayed    = "urn:xmpp:mds:displayed:0"
	nodeContacts     = "urn:xmpp:contacts"
	nodeCard         = "urn:xmpp:vcard4"
)
