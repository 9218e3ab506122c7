// Package privilege lets components of this server do with its users what their own clients can (XEP-0356): read and
// change rosters, send messages and requests in their names, and hear who comes and goes. Gateways need it, to bring
// the contacts of another network and what was written there. The administrator says which component may do what;
// without a word it is nothing.
//
// What a component does for a user goes the way of what a client of the user sends, through the same modules, limits
// and permissions, by a session that nobody sees (router.Deputy). So it can do nothing that the user could not (§9).
// Where there are several nodes it is done at the home of the user.
//
// Left out: presence of the contacts of users (§7.2).
package privilege

import (
	"context"
	"log/slog"
	"slices"
	"sync"

	"jackdaw/config"
	"jackdaw/modules/internal/parts"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

const ns = "urn:xmpp:privilege:2"

var (
	privilegeName = xmpp.Name{Space: ns, Local: "privilege"}
	requestName   = xmpp.Name{Space: ns, Local: "privileged_iq"}
	rosterName    = xmpp.Name{Space: xmpp.NSRoster, Local: "query"}
	forwardedName = xmpp.Name{Space: xmpp.NSForward, Local: "forwarded"}
)

// Roster is what is needed of the rosters. All addresses are bare.
type Roster interface {
	// OnPush has f called with each change of an item; f must not ask for anything of a roster.
	OnPush(f func(b *router.Batch, user jid.JID, payload func() []byte))
	// Befriend gives a user a contact with both subscriptions.
	Befriend(b *router.Batch, user, contact jid.JID) (*storage.Pending, error)
}

// Options of New; all are needed.
type Options struct {
	Router *router.Router
	Users  router.Users
	Roster Roster
	// Hosts are those that are served, and Privileges what each component may do; both are asked whenever it matters.
	Hosts      func() []string
	Privileges func() map[string]config.Privilege
	Log        *slog.Logger
}

// A Privileges is the module. It is safe for concurrent use.
type Privileges struct {
	o Options

	mu    sync.Mutex // guards the rest
	asked map[question]*request
	of    map[string]int // how many requests of a component wait for an answer
	// pushes are changes of rosters that are to be told, and pushing says that somebody is at it.
	pushes  []xmpp.Stanza
	pushing bool
}

// Of makes the module of a server.
func Of(p parts.Parts, contacts Roster) *Privileges {
	on := p.Switch("privilege")
	return New(Options{Router: p.Router, Users: p.Accounts, Roster: contacts, Log: p.Log,
		Hosts: func() (all []string) {
			for _, h := range p.Config().Hosts {
				all = append(all, h.Domain)
			}
			return all
		},
		Privileges: func() map[string]config.Privilege {
			if !on.On() {
				return nil
			}
			return p.Config().Component.Privileges
		}})
}

// New returns the module.
func New(o Options) *Privileges {
	p := &Privileges{o: o, asked: map[question]*request{}, of: map[string]int{}}
	o.Roster.OnPush(p.changed)
	return p
}

// Module says where it takes part. It comes before what settles the presence that a user broadcasts.
func (p *Privileges) Module() router.Module {
	return router.Module{
		Name:     "privilege",
		Specs:    []router.Spec{{Name: "XEP-0356", Version: "0.4.1", Note: "no presence of contacts"}},
		Brought:  p.brought,
		Leaving:  router.Stage{Presence: p.leaving},
		Arriving: router.Stage{IQ: p.answered},
		Ended:    p.ended,
		Moved:    p.moved,
	}
}

// privilege is what a component may do with users of a host.
func (p *Privileges) privilege(component, host string) (config.Privilege, bool) {
	v, ok := p.o.Privileges()[component]
	return v, ok && v.Of(host)
}

// Connected tells a component what it may do (§4.2, §5.2, §6.2, §7.1), by each host that it may do something at, and
// who is here.
func (p *Privileges) Connected(component string) {
	for _, host := range p.o.Hosts() {
		if v, ok := p.privilege(component, host); ok {
			p.advertise(component, host, &v)
		}
	}
	p.Present(component)
}

// Present tells a component who is here, at this node, if it may know that (§8).
func (p *Privileges) Present(component string) {
	if !p.Watches(component) {
		return
	}
	p.o.Router.EachSession(func(s *router.Session) bool {
		if pr := s.Presence(); pr != nil {
			if v, ok := p.privilege(component, s.Bare().Domain()); ok && v.Presence {
				p.tell(nil, component, pr, s.Addr())
			}
		}
		return true
	})
}

// Watches says whether a component may know who is here.
func (p *Privileges) Watches(component string) bool { return p.o.Privileges()[component].Presence }

// Reloaded tells components what they may do from now on.
func (p *Privileges) Reloaded() {
	for component, v := range p.o.Privileges() {
		for _, host := range p.o.Hosts() {
			if v.Of(host) && p.o.Router.Here(component) { // else it is not connected here
				p.advertise(component, host, &v)
			}
		}
	}
}

func (p *Privileges) advertise(component, host string, v *config.Privilege) {
	s := xmpp.Stanza{Kind: xmpp.Message, From: jid.MustParse(host), To: jid.MustParse(component), Payload: advert(v)}
	p.o.Router.Emit(&s, nil)
}

func advert(v *config.Privilege) []byte {
	w := xmpp.NewWriter(nil).Start(ns, "privilege")
	if v.Roster.Gets() || v.Roster.Sets() {
		w.Start("", "perm").Attr("access", "roster").Attr("type", string(v.Roster)).Attr("push", truth(v.Pushes())).End()
	}
	if v.Message {
		w.Start("", "perm").Attr("access", "message").Attr("type", "outgoing").End()
	}
	if len(v.IQ) > 0 {
		w.Start("", "perm").Attr("access", "iq")
		var spaces []string
		for space, a := range v.IQ {
			if a.Gets() || a.Sets() {
				spaces = append(spaces, space)
			}
		}
		slices.Sort(spaces)
		for _, space := range spaces {
			w.Start("", "namespace").Attr("ns", space).Attr("type", string(v.IQ[space])).End()
		}
		w.End()
	}
	if v.Presence {
		w.Start("", "perm").Attr("access", "presence").Attr("type", "managed_entity").End()
	}
	return w.End().Bytes()
}

func truth(b bool) string {
	if b {
		return "true"
	}
	return "false"
}

// brought sees what a component brings. What is none of its privileges goes on as ever.
func (p *Privileges) brought(e *router.Envelope) {
	s := e.Stanza
	if e.Session != nil || s.To.Resource() != "" || !p.o.Router.Serves(s.To.Domain()) {
		return // a session is the deputy of a request that has been allowed
	}
	v, ok := p.privilege(e.Component, s.To.Domain())
	switch {
	case s.Kind == xmpp.Message && s.To.IsDomain() && s.Type != xmpp.TypeError && s.Has(privilegeName):
		if !ok || !v.Message {
			e.Refuse(xmpp.Forbidden("")) // §5.1
			return
		}
		p.message(e)
	case s.IsRequest() && !s.To.IsDomain() && s.Has(requestName):
		if !p.o.Router.HandOver(s.To.String(), e) {
			p.request(e, &v)
		}
	case s.IsRequest() && !s.To.IsDomain() && s.Has(rosterName):
		allowed := s.Type == xmpp.TypeGet && v.Roster.Gets() || s.Type == xmpp.TypeSet && v.Roster.Sets()
		if !ok || !allowed {
			e.Refuse(xmpp.Forbidden("")) // §4.3
			return
		}
		if !p.o.Router.HandOver(s.To.String(), e) {
			p.roster(e)
		}
	}
}

// managed says whether a bare address is that of a user; if not, the stanza is refused.
func (p *Privileges) managed(e *router.Envelope, user jid.JID) bool {
	switch ok, err := p.o.Users.Exists(context.Background(), user); {
	case err != nil:
		e.Refuse(router.Unavailable())
		return false
	case !ok:
		e.Refuse(xmpp.Forbidden("there is no such user"))
		return false
	}
	return true
}

// message sends a message in the name of a user or a host (§5.3).
func (p *Privileges) message(e *router.Envelope) {
	s, bad := enclosed(e.Stanza.Child(privilegeName), xmpp.Message)
	switch {
	case bad != nil:
		e.Refuse(bad)
		return
	case s.From.Domain() != e.Stanza.To.Domain() || s.From.Resource() != "" || s.To.IsZero(): // §5.1
		e.Refuse(xmpp.Forbidden("'from' is not the bare address of a user of " + e.Stanza.To.Domain()))
		return
	}
	one := router.Envelope{Stanza: &s, Quiet: true, Batch: e.Batch, Budget: e.Budget}
	if !s.From.IsDomain() {
		if p.o.Router.HandOver(s.From.String(), e) {
			return
		}
		if !p.managed(e, s.From) {
			return
		}
		one.Session, one.Account = p.o.Router.Deputy(s.From, nobody{}), s.From
	}
	if p.o.Router.Route(&one); one.Outcome == router.Refused {
		e.Refuse(one.Err)
		return
	}
	e.Follow(&one)
}

// enclosed is the stanza of this kind in a <forwarded/> (XEP-0297) in an element.
func enclosed(el *xmpp.Element, kind xmpp.Kind) (s xmpp.Stanza, bad *xmpp.Error) {
	var in *xmpp.Element
	if el != nil {
		if f := el.Child(forwardedName); f != nil {
			in = f.Child(xmpp.Name{Space: xmpp.NSClient, Local: kind.String()})
		}
	}
	return stanzaOf(in)
}

func stanzaOf(el *xmpp.Element) (s xmpp.Stanza, bad *xmpp.Error) {
	if el == nil {
		return s, xmpp.Forbidden("no stanza of jabber:client is in it")
	}
	s, err := xmpp.StanzaOf(el)
	if err != nil {
		return s, xmpp.JIDMalformed(err.Error())
	}
	return s, nil
}

// leaving tells who comes and goes: initial presence and the last (§7).
func (p *Privileges) leaving(e *router.Envelope) {
	s := e.Stanza
	if !s.To.IsZero() || s.Type != xmpp.TypeUnavailable && (s.Type != xmpp.TypeAvailable || e.Session.Presence() != nil) {
		return
	}
	p.tellAll(e.Batch, s, e.Session)
}

// ended is leaving for a session that said nothing.
func (p *Privileges) ended(s *router.Session, last *xmpp.Stanza) {
	if last != nil {
		p.tellAll(nil, &xmpp.Stanza{Kind: xmpp.Presence, Type: xmpp.TypeUnavailable}, s)
	}
}

func (p *Privileges) tellAll(b *router.Batch, pr *xmpp.Stanza, s *router.Session) {
	for component, v := range p.o.Privileges() {
		if v.Presence && v.Of(s.Bare().Domain()) {
			p.tell(b, component, pr, s.Addr())
		}
	}
}

func (p *Privileges) tell(b *router.Batch, component string, pr *xmpp.Stanza, from jid.JID) {
	s := *pr
	s.From, s.To = from, jid.MustParse(component)
	p.o.Router.Emit(&s, b)
}
