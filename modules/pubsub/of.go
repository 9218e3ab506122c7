package pubsub

import (
	"strings"

	"jackdaw/config"
	"jackdaw/modules/internal/parts"
	"jackdaw/xmpp/jid"
)

// Of makes the service of a server.
func Of(p parts.Parts, contacts Contacts) *Service {
	return New(Options{Router: p.Router, Contacts: contacts, Full: p.Space.Low, Log: p.Log,
		Nodes: p.Store.Map("pubsub"), Items: p.Store.Map("pubsub-items"),
		Domains: func() []string { return p.Config().PubSubDomains() },
		Limits: func() Limits {
			l := &p.Config().Limits
			return Limits{Nodes: l.PubSubNodes, UserNodes: l.PubSubUserNodes, Items: l.PubSubItems,
				ItemBytes: l.PubSubItemBytes, Bytes: int64(l.PubSubBytes), UserBytes: int64(l.PubSubUserBytes),
				Subscriptions: l.PubSubSubscriptions}
		},
		Administers: p.Administers,
		Creates: func(host string, who jid.JID) bool {
			c := p.Config()
			switch c.Modules.PubSub.Of(host) {
			case config.PubSubAnyone:
				return true
			case config.PubSubUsers:
				return c.Host(who.Domain()) != nil && who.Local() != ""
			}
			return p.Administers(host, who)
		},
	})
}

// HostOf is the host that a domain of the service is below.
func HostOf(domain string) string { return strings.TrimPrefix(domain, config.PubSubName+".") }
