package moduletest

import (
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp/jid"
)

// Link makes nodes of one server of these routers. home says at which of them, counted from 0, an owner is at home.
// What one hands over to another is received there before Send returns, as a copy of what goes over a link.
func Link(home func(owner string) int, nodes ...*router.Router) {
	for i, r := range nodes {
		r.SetHomes(&linked{self: i, home: home, nodes: nodes})
	}
}

// linked is what a node knows of the others. It implements router.Homes.
type linked struct {
	self  int
	home  func(owner string) int
	nodes []*router.Router
}

// Here implements router.Homes.
func (l *linked) Here(owner string) bool { return l.home(owner) == l.self }

// Send implements router.Homes.
func (l *linked) Send(owner string, e *router.Envelope) {
	there := l.nodes[l.home(owner)]
	s := e.Stanza.Clone()
	far := &router.Envelope{Stanza: &s, Account: e.Account, Peer: e.Peer, Component: e.Component, Dedup: e.Dedup,
		Durable: e.Durable, Own: e.Own, Left: e.Left, Tracked: e.Tracked, Shared: e.Shared, Quiet: e.Quiet}
	if e.Session != nil {
		far.Session = there.Standin(e.Session.Addr())
	}
	a := new(router.Answer)
	l.nodes[l.self].Forward(e, a)
	there.Receive(far)
	storage.Join(far.Pendings...).Then(func(error) {
		o, err := far.Settlement()
		a.Finish(o, err, far.StanzaID, far.WasTold(), false)
	})
}

// Tell implements router.Homes.
func (l *linked) Tell(s router.Sequel) { l.nodes[l.home(s.From.Bare().String())].Hear(s) }

// HomeOf is a function for Link: those of these names are at home at node 1, all else at node 0.
func HomeOf(far ...string) func(owner string) int {
	return func(owner string) int {
		for _, one := range far {
			if j, err := jid.Parse(owner); owner == one || err == nil && j.Bare().String() == one {
				return 1
			}
		}
		return 0
	}
}
