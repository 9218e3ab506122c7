package router

import (
	"golang.org/x/net/publicsuffix"

	"jackdaw/xmpp/jid"
)

// Sharer is who a sender counts as where strangers share a place, see storage.Fair: on this server the account or the
// room, elsewhere the registered domain, since whoever has that makes as many addresses and subdomains below it as he
// likes. It shares the memory of the address.
func (r *Router) Sharer(from jid.JID) string {
	domain := from.Domain()
	if r.Owns(domain) {
		return from.Bare().String()
	}
	if registered, err := publicsuffix.EffectiveTLDPlusOne(domain); err == nil {
		return registered
	}
	return domain
}
