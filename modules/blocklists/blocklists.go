// Package blocklists follows lists of spammers that others keep in nodes of publish-subscribe services (XEP-0060), as
// operators have agreed: the id of each item is the SHA-256 of an address or of a domain, in hexadecimal digits, or a
// domain as it is. What else an item says is not looked at.
//
// What becomes of whom they name is a matter of strangers and rooms, which ask Listed. Addresses of this server are on
// none.
//
// The lists are subscribed to under an address of this server that nobody else knows or can have: answers and events
// count if they come to it and from the service, and an answer has the id of the question. What is on the lists is
// kept, so that they hold after a restart while a service cannot be reached. Each is read anew every twelve hours.
package blocklists

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"jackdaw/config"
	"jackdaw/modules/internal/parts"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// A Source is where a list is.
type Source struct {
	Service jid.JID
	Node    string
}

func (s Source) String() string { return "node " + s.Node + " of " + s.Service.String() }

// Options of New; all are needed.
type Options struct {
	Router  *router.Router
	Kept    storage.Map     // nobody else writes it
	Sources func() []Source // the lists that are wanted; asked whenever it matters
	Host    func() string   // whose address is subscribed
	// Address gives the local parts of addresses that nobody else can know.
	Address func(i int) string
	Log     *slog.Logger
}

// A sum stands for an address or a domain.
type sum = [sha256.Size]byte

// Lists is the module. It is safe for concurrent use.
type Lists struct {
	o    Options
	wake chan struct{}

	request func(*router.Envelope)  // see OnRequest; nil: nobody
	on      atomic.Bool             // some are wanted
	entries atomic.Int64            // of all lists
	address atomic.Pointer[jid.JID] // under which the lists are followed; nil: not yet
	read    bool                    // what is kept was read; Run's alone
	kept    chan struct{}           // something is in unkept

	mu     sync.RWMutex // guards the rest
	lists  map[Source]*list
	asked  map[string]question
	unkept []storage.Change // of several nodes: not stored yet
}

// Of makes the lists of a server.
func Of(p parts.Parts) *Lists {
	on := p.Switch("blocklists")
	return New(Options{Router: p.Router, Kept: p.Store.Map("blocklists"), Log: p.Log,
		Host: func() string { return p.Config().Hosts[0].Domain },
		Address: func(i int) string {
			own := p.Accounts.Derive("blocklists", string(rune('a'+i%26)))
			return "blocklists-" + hex.EncodeToString(own[:8])
		},
		Sources: func() []Source {
			if !on.On() {
				return nil
			}
			return SourcesOf(p.Config())
		}})
}

// SourcesOf are the lists that a configuration names, which has been checked.
func SourcesOf(c *config.Config) (all []Source) {
	for _, l := range c.Modules.Blocklists.Lists {
		if service, err := jid.Parse(l.Service); err == nil {
			all = append(all, Source{service, l.Node})
		}
	}
	return all
}

// New returns the module; Run must be called for the lists to be followed.
func New(o Options) *Lists {
	l := &Lists{o: o, wake: make(chan struct{}, 1), kept: make(chan struct{}, 1), lists: map[Source]*list{},
		asked: map[string]question{}}
	l.wanted()
	return l
}

// Module says where it takes part: before all that judges who sends something, since it takes what is for it.
func (l *Lists) Module() router.Module {
	return router.Module{
		Name:     "blocklists",
		Arriving: router.Stage{Message: l.event, Presence: l.presence, IQ: l.answered},
		Moved:    l.moved,
		Portable: []router.Portable{{Spaces: []string{"map blocklists"}, Stays: "the lists are read again"}},
	}
}

// moved has another address looked for when that of the lists is at home elsewhere from now on: what the services
// answer does not come here any more.
func (l *Lists) moved(gone func(owner string) bool) {
	if own := l.address.Load(); own != nil && gone(own.String()) {
		l.Poke()
	}
}

// OnRequest has somebody else judge requests for a subscription by those who are listed. It comes before all else.
func (l *Lists) OnRequest(f func(*router.Envelope)) { l.request = f }

func (l *Lists) presence(e *router.Envelope) {
	if e.Stanza.Type == xmpp.TypeSubscribe && l.request != nil && l.Listed(e.Stanza.From) {
		l.request(e)
	}
}

// Listed says whether somebody, or the domain, is on a list.
func (l *Lists) Listed(who jid.JID) bool {
	if l == nil || l.entries.Load() == 0 || who.IsZero() || l.o.Router.Owns(who.Domain()) {
		return false
	}
	bare, domain := sha256.Sum256([]byte(who.Bare().String())), sha256.Sum256([]byte(who.Domain()))
	l.mu.RLock()
	defer l.mu.RUnlock()
	for _, one := range l.lists {
		if one.has(bare) || one.has(domain) {
			return true
		}
	}
	return false
}

// On says whether there are lists at all. It is asked for each message.
func (l *Lists) On() bool { return l != nil && l.on.Load() }

// Entries is how many addresses and domains all lists have together.
func (l *Lists) Entries() int64 { return l.entries.Load() }

// Poke has a new configuration taken up.
func (l *Lists) Poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// sumOf reads the id of an item; ok is false for one that is neither a sum nor a domain.
func sumOf(id string) (s sum, ok bool) {
	if len(id) == hex.EncodedLen(len(s)) {
		if n, err := hex.Decode(s[:], []byte(id)); err == nil && n == len(s) {
			return s, true
		}
	}
	if j, err := jid.Parse(id); err == nil && j.IsDomain() {
		return sha256.Sum256([]byte(j.Domain())), true
	}
	return s, false
}

// A change is what an event says of a list.
type change struct {
	on, off []sum
	all     bool // nothing is on the list any more
	ended   bool // nothing more will come
}

// readEvent reads what a message says about a node (XEP-0060 §7.1.2.1, §7.2.2.1, §8.4.2, §8.5.2, §8.8.4).
func readEvent(event *xmpp.Element, node string) (c change) {
	for _, el := range event.Children() {
		if el.Name.Space != xmpp.NSPubSubEvent || el.Attr("node") != node {
			continue
		}
		switch el.Name.Local {
		case "items":
			on, off := readItems(el)
			c.on, c.off = append(c.on, on...), append(c.off, off...)
		case "purge":
			c.all = true
		case "delete":
			c.all, c.ended = true, true
		case "subscription":
			c.ended = c.ended || el.Attr("subscription") != "subscribed"
		}
	}
	return c
}

// readItems reads the ids of items, and of those that were retracted.
func readItems(items *xmpp.Element) (on, off []sum) {
	for _, el := range items.Children() {
		s, ok := sumOf(el.Attr("id"))
		switch {
		case !ok || el.Name.Space != items.Name.Space:
		case el.Name.Local == "item":
			on = append(on, s)
		case el.Name.Local == "retract":
			off = append(off, s)
		}
	}
	return on, off
}

// event takes what comes for the address of this module. Of a service it is news of its lists.
func (l *Lists) event(e *router.Envelope) {
	s := e.Stanza
	if !l.own(s.To) {
		return
	}
	el := s.Child(xmpp.Name{Space: xmpp.NSPubSubEvent, Local: "event"})
	if el == nil || s.Type == xmpp.TypeError {
		e.Refuse(xmpp.ServiceUnavailable("")) // as where there is no account
		return
	}
	known := false
	for _, one := range l.of(s.From) {
		known = true
		one.apply(context.Background(), readEvent(el, one.source.Node))
	}
	if !known {
		e.Refuse(xmpp.ServiceUnavailable(""))
		return
	}
	e.Settle(router.Delivered)
}

func (l *Lists) own(to jid.JID) bool {
	own := l.address.Load()
	return own != nil && to.Bare() == *own
}

// of are the lists of a service.
func (l *Lists) of(service jid.JID) (all []*list) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for source, one := range l.lists {
		if source.Service == service {
			all = append(all, one)
		}
	}
	return all
}

// wanted are the lists that are to be followed, and what On says from now on.
func (l *Lists) wanted() []Source {
	all := l.o.Sources()
	l.on.Store(len(all) > 0)
	return slices.Clip(all[:min(len(all), config.MostBlocklists)])
}
