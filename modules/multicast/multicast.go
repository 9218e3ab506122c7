// Package multicast sends one stanza of a client to many (XEP-0033), for accounts that have the
// permission. Each host has the service at multicast.<host>, found by service discovery.
//
// With the namespace of XEP-0033 on <addresses/>, whoever is addressed as to or cc is shown to all, and whoever is
// addressed as bcc to itself alone. Without, everybody is hidden, and no addresses are shown at all: the same
// stanza may be posted over HTTP, also to the bare name "multicast". Every recipient gets one copy, here and on other
// servers, whose multicast services are never used (§6, rules 9 to 11, are not asked for); if one of them may not be
// reached, nobody gets any. Presence is told as it is directed: whoever saw it learns of its end (§5.1).
//
// Left out: uri, which no stanza can be sent to; addresses of type ofrom, which only rooms may claim, are taken
// out. Relaying for others than the users of this server is refused (§2.2).
package multicast

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"jackdaw/modules/internal/addresses"
	"jackdaw/modules/internal/parts"
	"jackdaw/router"
	"jackdaw/router/accounts"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// Options of New. All must be set.
type Options struct {
	Router *router.Router
	// Domains are those of the service. Asked by router.Use.
	Domains func() []string
	// May says whether an account, a bare address, has the permission; an error that it cannot be known now.
	May func(user jid.JID) (bool, error)
	// MaxRecipients bounds those of one stanza; asked with each.
	MaxRecipients func() int
	// Blocks says whether a user has blocked an address (XEP-0191).
	Blocks func(user, other jid.JID) bool
	Log    *slog.Logger
}

const (
	// named is how many addresses the text of an error names.
	named = 10
	// atOnce is how many bytes of copies wait before what has been sent is written out.
	atOnce = 1 << 20
	// longestDebt is what an account may owe in time and still begin: what it has just sent may not be paid yet.
	longestDebt = 5 * time.Second
)

type module struct {
	Options
	service *router.Service

	mu    sync.Mutex                       // guards shown
	shown map[jid.JID]map[jid.JID]struct{} // who has been sent available presence, by the full address of whose it is
}

// Of makes the service of a server. Its domains are one below each host, unless that is a component's.
func Of(p parts.Parts, blocks func(user, other jid.JID) bool) router.Module {
	return New(Options{Router: p.Router, Blocks: blocks, Log: p.Log,
		Domains: func() (all []string) {
			c := p.Config()
			for _, h := range c.Hosts {
				domain := addresses.Name + "." + h.Domain
				if _, taken := c.Component.Secrets[domain]; !taken {
					all = append(all, domain)
				}
			}
			return all
		},
		MaxRecipients: func() int { return p.Config().HTTP.MaxRecipients },
		May: func(user jid.JID) (bool, error) {
			r, err := p.Accounts.Rights(context.Background(), user)
			return err == nil && r.Has(accounts.PermMulticast), err
		}})
}

// New returns the module. It must come before presence, which settles what a user broadcasts, and before carbons.
func New(o Options) router.Module {
	m := &module{Options: o, shown: map[jid.JID]map[jid.JID]struct{}{}}
	m.service = &router.Service{Domains: o.Domains, Handle: m.handle}
	return router.Module{
		// The host itself is no multicast service, and announces nothing (§2.2).
		Name: "multicast",
		Specs: []router.Spec{{Name: "XEP-0033", Version: "1.2.1",
			Note: "no uri; ofrom is taken out; never through a peer's service"}},
		Service: m.service,
		Leaving: router.Stage{Message: m.name, Presence: m.leaving},
		Ended:   m.ended,
	}
}

// name lets the bare name stand for the service of the sender's host.
func (m *module) name(e *router.Envelope) {
	if e.Stanza.To.Domain() != addresses.Name || !e.Stanza.To.IsDomain() {
		return
	}
	to, err := jid.New("", addresses.Name+"."+e.Session.Bare().Domain(), "")
	if err != nil || !m.ours(to) {
		return
	}
	head := *e.Stanza
	head.To = to
	e.Replace(&head)
}

// ours says whether the address is at a domain of the service.
func (m *module) ours(j jid.JID) bool { return m.Router.Services()[j.Domain()] == m.service }

func (m *module) handle(e *router.Envelope) {
	s := e.Stanza
	switch {
	case s.Type == xmpp.TypeError, s.IsAnswer():
		e.Settle(router.Dropped)
	case s.Kind == xmpp.IQ:
		m.iq(e)
	case s.Kind == xmpp.Presence:
		m.presence(e)
	default:
		if list := m.list(e); list != nil {
			m.send(e, list)
		}
	}
}

// iq answers who wants to know what this is (§2). An iq has no addresses (§3).
func (m *module) iq(e *router.Envelope) {
	if e.Stanza.Type != xmpp.TypeGet || !e.Stanza.To.IsDomain() {
		return // refused by the router
	}
	name, _ := e.Stanza.First()
	switch name {
	case xmpp.Name{Space: xmpp.NSPing, Local: "ping"}:
		m.Router.Answer(e, nil)
	case xmpp.Name{Space: xmpp.NSDiscoInfo, Local: "query"}, xmpp.Name{Space: xmpp.NSDiscoItems, Local: "query"}:
		if q := e.Stanza.Child(name); q == nil || q.Attr("node") != "" {
			e.Refuse(xmpp.ItemNotFound("there is no such node"))
			return
		}
		w := xmpp.NewWriter(nil).Start(name.Space, "query")
		if name.Space == xmpp.NSDiscoInfo {
			w.Start("", "identity").Attr("category", "service").Attr("type", "multicast").Attr("name", "Multicast").End()
			for _, f := range []string{xmpp.NSAddress, xmpp.NSDiscoInfo, xmpp.NSDiscoItems, xmpp.NSPing} {
				w.Start("", "feature").Attr("var", f).End()
			}
		}
		m.Router.Answer(e, w.End().Bytes())
	}
}

// list reads to whom a stanza goes, and refuses it if it may not go there.
func (m *module) list(e *router.Envelope) *list {
	if e.Session == nil { // §2.2: nobody is relayed for
		e.Refuse(xmpp.Forbidden("this service is for users of this server"))
		return nil
	}
	switch may, err := m.May(e.Session.Bare()); {
	case err != nil:
		m.Log.Warn("permission to multicast cannot be found out", "user", e.Session.Bare(), "error", err)
		e.Refuse(router.Unavailable())
		return nil
	case !may: // §8
		e.Refuse(xmpp.Forbidden("the account does not have permission to multicast"))
		return nil
	}
	if e.Budget.Wait() > longestDebt {
		e.Refuse(xmpp.ResourceConstraint("the account sends too much, try again later"))
		return nil
	}
	if !e.Stanza.To.IsDomain() { // §3
		e.Refuse(xmpp.ServiceUnavailable("multicasts go to the address of the service itself"))
		return nil
	}
	l, bad := read(e.Stanza, m.MaxRecipients())
	if bad == nil {
		bad = m.reachable(e, l.to)
	}
	if bad != nil {
		e.Refuse(bad)
		return nil
	}
	e.Budget.Spend((len(l.to) - 1) * len(e.Stanza.Payload)) // one has been counted when it was read
	return l
}

// reachable says why not all recipients may get a copy (§6, rule 5), before anything is sent.
func (m *module) reachable(e *router.Envelope, to []recipient) *xmpp.Error {
	bad := addresses.Offenders{Most: named}
	for _, r := range to {
		why := ""
		switch err := m.Router.Admit(e.Stanza.From, r.to); {
		case err != nil:
			why = string(err.Condition)
		case m.ours(r.to), r.to.Domain() == addresses.Name: // it would come back for ever
			why = "a multicast is no recipient"
		case m.Blocks(e.Session.Bare(), r.to):
			why = "blocked by you"
		default:
			continue
		}
		bad.Add(addresses.Quoted(r.to.String()) + " (" + why + ")")
	}
	if bad.None() {
		return nil
	}
	return xmpp.Forbidden("nothing was sent, since it may not go to " + bad.String())
}

// send gives every recipient a copy of its own. The sender learns of each that is refused on its way, as if it
// had sent that one alone.
func (m *module) send(e *router.Envelope, l *list) {
	head := *e.Stanza
	dedup := e.DedupKey()
	out := &router.Envelope{Batch: e.Batch}
	waiting := 0
	l.each(func(to jid.JID, payload []byte, children []xmpp.Child) {
		head.To, head.Payload, head.Children = to, payload, children
		out.Reset()
		// §3: 'from' stays, and whoever looks at what users send has seen it.
		out.Stanza, out.Session, out.Left, out.Account, out.Durable = &head, e.Session, true, e.Account, e.Durable
		if dedup != "" && to.IsFull() { // two resources of one user share a log
			out.Dedup = dedup + "\n" + to.Resource()
		}
		m.Router.Route(out)
		e.Await(out.Pendings...)
		if waiting += len(payload); waiting > atOnce {
			e.Batch.Flush()
			waiting = 0
		}
	})
	e.Settle(router.Delivered)
}
