// Package blocking lets users shut others out (XEP-0191). Nothing passes between a user and whoever is
// blocked; to these the user appears offline.
//
// A list is asked twice for every message, so it is kept in memory, also when it is
// empty. It is held against the sender's address and against the account behind it, which differ
// when a sender is forged. A user's own account and own host are never shut out.
//
// Left out: privacy lists (XEP-0016).
package blocking

import (
	"errors"
	"log/slog"
	"slices"
	"strconv"

	"jackdaw/modules/internal/parts"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// What a user may block.
const (
	maxItems = 2000      // addresses
	maxBytes = 512 << 10 // of all of them
)

var errTooMany = errors.New("too many addresses are blocked")

// Contacts knows who may see whom. Addresses are bare; slices are not changed by either side.
type Contacts interface {
	// Subscribers are those who may see the user's presence, Subscriptions those whose presence the user may see.
	Subscribers(user jid.JID) ([]jid.JID, error)
	Subscriptions(user jid.JID) ([]jid.JID, error)
}

// Blocking is the module. It is safe for concurrent use.
type Blocking struct {
	parts.Switch
	router   *router.Router
	lists    *lists
	contacts Contacts
	log      *slog.Logger
}

// Of makes the blocking of a server.
func Of(p parts.Parts, contacts Contacts) *Blocking {
	b := New(p.Router, p.Store.Map("blocking"), contacts, p.Log)
	b.Switch = p.Switch("blocking")
	return b
}

// New returns the module. The lists are kept in the given map, which nobody else writes.
func New(r *router.Router, blocked storage.Map, contacts Contacts, log *slog.Logger) *Blocking {
	return &Blocking{router: r, lists: newLists(blocked), contacts: contacts, log: log}
}

// Module says where blocking takes part. It comes before all that acts on a stanza.
func (b *Blocking) Module() router.Module {
	own := func(local string, handle func(*router.Envelope, *xmpp.Element)) router.IQ {
		name := xmpp.Name{Space: xmpp.NSBlocking, Local: local}
		return router.IQ{Payload: name, Scope: router.Account, Handle: func(e *router.Envelope) {
			switch el := e.Stanza.Child(name); {
			case el == nil, (e.Stanza.Type == xmpp.TypeGet) != (local == "blocklist"):
				e.Refuse(xmpp.BadRequest(""))
			default:
				handle(e, el)
			}
		}}
	}
	return router.Module{
		Name:     "blocking",
		Specs:    []router.Spec{{Name: "XEP-0191", Version: "1.3"}},
		Features: []string{xmpp.NSBlocking}, // §3.1
		IQ:       []router.IQ{own("blocklist", b.get), own("block", b.block), own("unblock", b.unblock)},
		Leaving:  router.Stage{Message: b.leaving, Presence: b.leaving, IQ: b.leaving},
		Arriving: router.Stage{Message: b.message, Presence: b.presence, IQ: b.iq},
		Portable: b.portable(),
		Moved:    b.lists.Drop,
		Removed:  parts.Erase(b.lists.remove),
	}
}

// Blocks says whether a user, a bare address, has blocked an address; while the module is off, nobody has. It also says
// yes while that cannot be known: whatever asks would show the user to the other.
func (b *Blocking) Blocks(user, other jid.JID) bool {
	if !b.On() {
		return false
	}
	l, err := b.lists.Get(user.String())
	if err != nil {
		b.log.Warn("block list unavailable", "error", err)
		return true
	}
	return blocks(l, user, other)
}

func blocks(l *list, user, other jid.JID) bool {
	return len(l.items) > 0 && l.matches(other) && !ours(user, other)
}

// ours is who cannot be blocked: the user's own resources (XEP-0191 §4) and host, without which nothing works.
func ours(user, other jid.JID) bool {
	return other.Bare() == user || other.IsDomain() && other.Domain() == user.Domain()
}

// leaving stops what a user sends to somebody who is blocked (§3.3).
func (b *Blocking) leaving(e *router.Envelope) {
	if e.Stanza.To.IsZero() {
		return
	}
	user := e.Session.Bare()
	l, err := b.lists.Get(user.String())
	if err != nil {
		b.log.Warn("block list unavailable", "error", err)
		e.Refuse(router.Unavailable())
		return
	}
	if blocks(l, user, e.Stanza.To) {
		e.Refuse(xmpp.NotAcceptable("").WithType(xmpp.ErrorCancel).WithApp(xmpp.NSBlockingErrors, "blocked"))
	}
}

// blocked says whether the recipient has blocked the sender or the account behind it.
func (b *Blocking) blocked(e *router.Envelope) (bool, error) {
	if e.Stanza.To.IsZero() { // to the sender's own account
		return false, nil
	}
	user := e.Stanza.To.Bare()
	l, err := b.lists.Get(user.String())
	if err != nil {
		b.log.Warn("block list unavailable", "error", err)
		return false, err
	}
	return len(l.items) > 0 && (blocks(l, user, e.Stanza.From) || blocks(l, user, e.Account)), nil
}

// message, presence and iq stop what comes from somebody who is blocked (§3.3).
func (b *Blocking) message(e *router.Envelope) {
	switch blocked, err := b.blocked(e); {
	case err != nil:
		e.Refuse(router.Unavailable())
	case blocked && b.silent(e.Stanza):
		e.Settle(router.Dropped)
	case blocked:
		e.Refuse(xmpp.ServiceUnavailable(""))
	}
}

// silent says whether a message from somebody who is blocked goes without the error of §3.3, which is a SHOULD: a room
// takes an error to what it passes on for a sign that the occupant is gone (XEP-0045 §18.1.2), and would remove the
// user who has blocked another occupant. Where there is no such session the error stays, as it would without a list.
// Headlines get no errors (RFC 6121 §5.2.2).
func (b *Blocking) silent(s *xmpp.Stanza) bool {
	switch {
	case s.Type == xmpp.TypeHeadline:
		return true
	case s.Type == xmpp.TypeGroupchat, s.From.IsFull() && s.Has(privateMessage):
		return s.To.IsFull() && b.router.Session(s.To) != nil
	}
	return false
}

// privateMessage is how a room marks what one occupant writes to another (XEP-0045 §7.5).
var privateMessage = xmpp.Name{Space: xmpp.NSMUCUser, Local: "x"}

func (b *Blocking) presence(e *router.Envelope) {
	if blocked, err := b.blocked(e); blocked || err != nil {
		e.Settle(router.Dropped)
	}
}

func (b *Blocking) iq(e *router.Envelope) {
	switch blocked, err := b.blocked(e); {
	case err != nil && e.Stanza.IsRequest():
		e.Refuse(router.Unavailable())
	case blocked && e.Stanza.IsRequest():
		e.Refuse(xmpp.ServiceUnavailable(""))
	case blocked, err != nil:
		e.Settle(router.Dropped)
	}
}

// get answers with the list (§3.2).
func (b *Blocking) get(e *router.Envelope, _ *xmpp.Element) {
	e.Session.Set(router.FlagBlocking, true)
	l, err := b.lists.Get(e.Session.Bare().String())
	if err != nil {
		b.fail(e, err)
		return
	}
	items := make([]string, 0, len(l.items))
	for item := range l.items {
		items = append(items, item)
	}
	slices.Sort(items)
	b.router.Answer(e, payload("blocklist", items))
}

func payload(local string, items []string) []byte {
	w := xmpp.NewWriter(nil).Start(xmpp.NSBlocking, local)
	for _, item := range items {
		w.Start(xmpp.NSBlocking, "item").Attr("jid", item).End()
	}
	return w.End().Bytes()
}

func (b *Blocking) fail(e *router.Envelope, err error) {
	b.log.Warn("block list unavailable", "error", err)
	e.Refuse(router.Unavailable())
}

// block adds to the list (§3.3).
func (b *Blocking) block(e *router.Envelope, el *xmpp.Element) {
	items, bad := itemsOf(el)
	switch {
	case bad != nil:
		e.Refuse(bad)
		return
	case len(items) == 0:
		e.Refuse(xmpp.BadRequest("nobody is named"))
		return
	}
	b.change(e, items, true)
}

// unblock takes from the list, all if nobody is named (§3.4, §3.5).
func (b *Blocking) unblock(e *router.Envelope, el *xmpp.Element) {
	items, bad := itemsOf(el)
	if bad != nil {
		e.Refuse(bad)
		return
	}
	b.change(e, items, false)
}

// itemsOf reads the addresses of a request. Each is told to the user's sessions once, however often it is named.
func itemsOf(el *xmpp.Element) (items []jid.JID, bad *xmpp.Error) {
	seen := map[jid.JID]bool{}
	for _, c := range el.Children() {
		if c.Name != (xmpp.Name{Space: xmpp.NSBlocking, Local: "item"}) {
			continue
		}
		j, err := jid.Parse(c.Attr("jid"))
		if err != nil {
			return nil, xmpp.JIDMalformed(err.Error())
		}
		if !seen[j] {
			seen[j] = true
			items = append(items, j)
		}
	}
	if len(items) > maxItems {
		return nil, xmpp.ResourceConstraint("too many addresses")
	}
	return items, nil
}

func (b *Blocking) change(e *router.Envelope, items []jid.JID, add bool) {
	user := e.Session.Bare()
	var before, after *list
	p, err := b.lists.change(user.String(), items, add, func(was, is *list) {
		before, after = was, is
		b.push(e.Batch, user, items, add, is.version)
	})
	switch {
	case errors.Is(err, errTooMany):
		e.Refuse(xmpp.ResourceConstraint("too many addresses"))
		return
	case err != nil:
		b.fail(e, err)
		return
	}
	if items == nil {
		items = before.addresses()
	}
	b.show(e.Batch, user, before, after, items)
	b.router.AnswerAfter(e, p, nil)
}

// push tells the sessions that have asked for the list. The caller holds the lock of the list.
func (b *Blocking) push(batch *router.Batch, user jid.JID, items []jid.JID, add bool, version uint64) {
	local := "unblock"
	if add {
		local = "block"
	}
	names := make([]string, 0, len(items))
	for _, item := range items {
		names = append(names, item.String())
	}
	p := payload(local, names)
	for _, s := range b.router.Sessions(user) {
		if s.Is(router.FlagBlocking) {
			iq := xmpp.Stanza{Kind: xmpp.IQ, Type: xmpp.TypeSet, ID: "blocking-" + strconv.FormatUint(version, 10), To: s.Addr(),
				Payload: p}
			s.Send(batch, router.Delivery{Stanza: &iq, Copy: true})
		}
	}
}

// show makes the user disappear for contacts who are blocked now, and appear for those who no longer
// are (§3.3, §3.4), whose presence the user has missed meanwhile. Only contacts who may see
// the user's presence are concerned.
func (b *Blocking) show(batch *router.Batch, user jid.JID, before, after *list, items []jid.JID) {
	sessions := slices.DeleteFunc(slices.Clone(b.router.Sessions(user)),
		func(s *router.Session) bool { return s.Presence() == nil })
	if len(sessions) == 0 {
		return
	}
	viewers, err := b.contacts.Subscribers(user)
	if err != nil {
		b.log.Warn("contacts do not learn of being blocked", "user", user, "error", err)
		return
	}
	for _, to := range affected(viewers, items) {
		was, is := blocks(before, user, to), blocks(after, user, to)
		for _, s := range sessions {
			switch {
			case is && !was:
				b.router.Emit(&xmpp.Stanza{Kind: xmpp.Presence, Type: xmpp.TypeUnavailable, From: s.Addr(), To: to}, batch)
			case was && !is:
				p := *s.Presence()
				p.To = to
				b.router.Emit(&p, batch)
			}
		}
	}
	seen, err := b.contacts.Subscriptions(user)
	if err != nil {
		b.log.Warn("contacts no longer blocked are not probed", "user", user, "error", err)
		return
	}
	for _, to := range affected(seen, items) {
		if blocks(before, user, to) && !blocks(after, user, to) {
			for _, s := range sessions {
				b.router.Emit(&xmpp.Stanza{Kind: xmpp.Presence, Type: xmpp.TypeProbe, From: s.Addr(), To: to}, batch)
			}
		}
	}
}

// affected are the contacts, and of the items the resources of contacts.
func affected(contacts, items []jid.JID) []jid.JID {
	out := slices.Clone(contacts)
	for _, item := range items {
		if item.IsFull() && item.Local() != "" && slices.Contains(contacts, item.Bare()) {
			out = append(out, item)
		}
	}
	return out
}
