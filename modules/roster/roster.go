// Package roster keeps who a user knows and who may see whose presence: contact lists with
// their versions (RFC 6121 §2), subscriptions (§3 and appendix A), and requests that wait
// for an answer.
//
// The state of a subscription is a pure function of the state before and the stanza, in
// state.go. Both sides of a subscription between users of ours change as if each were on a
// server of its own, by the stanza on its way from one to the other.
//
// A roster is loaded when it is first needed and stays in memory while its user has a
// session. Left out: exchange of items (XEP-0144).
//
// Groups that the administrators share are written into the rosters of their members; shared.go says how.
package roster

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strconv"

	"jackdaw/modules/internal/parts"
	"jackdaw/modules/internal/recent"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// maxRequest is how many bytes a request may say beside being one: it is shown at each login until it is answered.
const maxRequest = 4 << 10

// maxPushes is how many bytes of changes a roster get is answered with.
const maxPushes = 128 << 10

// maxText is the longest name of an item or group in bytes (RFC 6121 §2.3.3 leaves it to us).
const maxText = 1023

// Options bound a roster; 0 means no bound.
type Options struct {
	MaxItems  int // also bounds the requests that wait for an answer
	MaxGroups int // of an item
	MaxBytes  int // of all items as they are stored
}

// Roster is the module. It is safe for concurrent use.
type Roster struct {
	router *router.Router
	users  router.Users
	store  storage.Map
	limits func() Options
	log    *slog.Logger
	cache  *recent.Cache[*user]
	// onChange, if not nil: see OnChange.
	onChange func(b *router.Batch, user, contact jid.JID, gained bool)
	onPush   func(b *router.Batch, user jid.JID, payload func() []byte)
	// invited, if not nil: see OnToken.
	invited func(user, contact jid.JID, token string) (settle func(granted bool), ok bool)
}

// Of makes the roster of a server.
func Of(p parts.Parts) *Roster {
	return New(p.Router, p.Accounts, p.Store.Map("roster"), func() Options {
		l := &p.Config().Limits
		return Options{MaxItems: l.RosterItems, MaxGroups: l.RosterGroups, MaxBytes: l.RosterBytes}
	}, p.Log)
}

// New returns the module. The rosters are kept in the given map, which nobody else writes. The options are
// asked for with each change.
func New(r *router.Router, users router.Users, rosters storage.Map, o func() Options, log *slog.Logger) *Roster {
	m := &Roster{router: r, users: users, store: rosters, limits: o, log: log}
	m.cache = m.newCache()
	return m
}

// Module says where the roster takes part.
func (r *Roster) Module() router.Module {
	return router.Module{
		Name: "roster",
		Specs: []router.Spec{
			{Name: "RFC 6121 §2"},
			{Name: "RFC 6121 §3"},
		},
		StreamFeature: "<ver xmlns='urn:xmpp:features:rosterver'/>" + // §2.6.1
			"<sub xmlns='urn:xmpp:features:pre-approval'/>", // §3.4.1
		IQ: []router.IQ{{Payload: xmpp.Name{Space: xmpp.NSRoster, Local: "query"}, Scope: router.Account,
			Handle: r.query,
			Others: xmpp.Forbidden("")}}, // §2.3.3
		Leaving:  router.Stage{Presence: r.leaving},
		Arriving: router.Stage{Presence: r.arriving},
		Ended:    func(s *router.Session, _ *xmpp.Stanza) { r.ended(s.Bare()) },
		Portable: r.portable(),
		Moved:    r.cache.Drop,
		Removed:  r.removed,
	}
}

// Subscribers are the contacts that may see the user's presence.
func (r *Roster) Subscribers(bare jid.JID) ([]jid.JID, error) {
	u, err := r.look(bare)
	if err != nil {
		return nil, err
	}
	defer r.unlock(u)
	return u.packed.those(func(s State) bool { return s.From }), nil
}

// Subscriptions are the contacts whose presence the user may see.
func (r *Roster) Subscriptions(bare jid.JID) ([]jid.JID, error) {
	u, err := r.look(bare)
	if err != nil {
		return nil, err
	}
	defer r.unlock(u)
	return u.packed.those(func(s State) bool { return s.To }), nil
}

// Sees says whether the other, a bare address, may see the user's presence.
func (r *Roster) Sees(bare, other jid.JID) (bool, error) {
	u, err := r.look(bare)
	if err != nil {
		return false, err
	}
	defer r.unlock(u)
	i, ok := u.packed.find(other)
	return ok && u.packed.state(i).From, nil
}

// Has says whether the other, a bare address, is in the user's roster.
func (r *Roster) Has(bare, other jid.JID) (bool, error) {
	u, err := r.look(bare)
	if err != nil {
		return false, err
	}
	defer r.unlock(u)
	_, ok := u.packed.find(other)
	return ok, nil
}

// Groups are those of the user's roster that the other, a bare address, is in. The slice must not be changed.
func (r *Roster) Groups(bare, other jid.JID) ([]string, error) {
	u, err := r.look(bare)
	if err != nil {
		return nil, err
	}
	defer r.unlock(u)
	if it := u.packed.item(other); it != nil {
		return it.Groups, nil
	}
	return nil, nil
}

// OnChange has f called after the groups of a contact or the subscriptions between it and a user of ours may have
// changed, also when they have gone with the item. gained says that one of the two may see the other's presence that
// could not before. No roster is locked then. It must be said before the module is used; a second call replaces the
// first.
func (r *Roster) OnChange(f func(b *router.Batch, user, contact jid.JID, gained bool)) {
	r.onChange = f
}

// OnPush has f called with each roster push that a user's clients get (RFC 6121 §2.1.6), or would get if any was here:
// its payload is the <query/>. The roster is locked then, so f must not ask it for anything. It must be said before the
// module is used.
func (r *Roster) OnPush(f func(b *router.Batch, user jid.JID, payload func() []byte)) { r.onPush = f }

func (r *Roster) changed(b *router.Batch, user, contact jid.JID, before, after State) {
	if r.onChange != nil {
		r.onChange(b, user, contact, after.To && !before.To || after.From && !before.From)
	}
}

// Requests are the subscription requests that wait for the user's answer, as they came (RFC 6121 §3.1.3).
func (r *Roster) Requests(bare jid.JID) ([]jid.JID, error) {
	u, err := r.look(bare)
	if err != nil {
		return nil, err
	}
	defer r.unlock(u)
	return slices.Collect(maps.Keys(u.requests)), nil
}

// Request implements presence.Contacts.
func (r *Roster) Request(bare, contact jid.JID) (*xmpp.Stanza, error) {
	u, err := r.look(bare)
	if err != nil {
		return nil, err
	}
	defer r.unlock(u)
	if !u.requests[contact] { // answered meanwhile
		return nil, nil
	}
	b, err := r.store.Get(context.Background(), bare.String(), requestKey+contact.String())
	if err != nil {
		return nil, err
	}
	return readRequest(b, contact, bare)
}

// query answers roster gets and sets.
func (r *Roster) query(e *router.Envelope) {
	q := e.Stanza.Child(xmpp.Name{Space: xmpp.NSRoster, Local: "query"})
	if q == nil {
		e.Refuse(xmpp.BadRequest(""))
		return
	}
	u, err := r.look(e.Session.Bare())
	if err != nil {
		r.fail(e, err)
		return
	}
	if e.Stanza.Type == xmpp.TypeGet {
		err = r.get(e, u, q)
		r.unlock(u)
		if err != nil {
			r.fail(e, err)
		}
		return
	}
	u.open()
	contact, it, bad := r.wanted(u, q)
	if bad != nil {
		r.unlock(u)
		e.Refuse(bad)
		return
	}
	before := u.state(contact)
	p, err := r.put(u, contact, it, nil, false)
	if err == nil {
		r.push(e.Batch, u, contact, it)
	}
	r.unlock(u)
	if err != nil {
		r.fail(e, err)
		return
	}
	if it == nil {
		r.part(e, u.bare, contact, before)
	}
	r.changed(e.Batch, u.bare, contact, before, before)
	r.router.AnswerAfter(e, p, nil)
}

func (r *Roster) fail(e *router.Envelope, err error) {
	r.log.Warn("roster unavailable", "error", err)
	e.Refuse(router.Unavailable())
}

// get answers with the whole roster, or with nothing and pushes of what has changed since the
// version that the client has (RFC 6121 §2.6.3). The caller holds the roster.
func (r *Roster) get(e *router.Envelope, u *user, q *xmpp.Element) error {
	e.Session.Set(router.FlagRoster, true) // §2.1.6
	if has, err := strconv.ParseUint(q.Attr("ver"), 10, 64); err == nil && has <= u.version {
		if has == u.version && has > 0 {
			r.router.Answer(e, nil)
			return nil
		}
		changes, _, ok, err := r.store.Since(context.Background(), u.bare.String(), has)
		if err != nil {
			return err
		}
		// Beyond that the whole is shorter, or at least one answer, which later pushes cannot overtake.
		if ok && has > 0 && len(changes) <= u.packed.n()/2+8 && r.pushAll(e, u, changes) {
			return nil
		}
	}
	w := xmpp.NewWriter(nil)
	if q.HasAttr("ver") {
		startQuery(w, u.version)
	} else {
		w.Start(xmpp.NSRoster, "query")
	}
	u.write(w)
	r.router.Answer(e, w.End().Bytes())
	return nil
}

// write adds all items: some clients show contacts in the order in which they come.
func (u *user) write(w *xmpp.Writer) {
	for i := range u.packed.n() {
		x := u.packed.fields(i)
		x.write(w, u.packed.contact(i))
	}
}

// Query is the whole roster of an account as its clients get it (RFC 6121 §2.2), and how many items it has.
func (r *Roster) Query(bare jid.JID) (query []byte, items int, err error) {
	u, err := r.look(bare)
	if err != nil {
		return nil, 0, err
	}
	defer r.unlock(u)
	w := xmpp.NewWriter(nil).Start(xmpp.NSRoster, "query")
	u.write(w)
	return w.End().Bytes(), u.packed.n(), nil
}

// pushAll answers a get with pushes of what has changed, unless that is more than a client is to be given at once. The
// caller holds the roster.
func (r *Roster) pushAll(e *router.Envelope, u *user, changes []storage.Entry) bool {
	type push struct {
		version uint64
		payload []byte
	}
	var all []push
	size := 0
	for _, c := range changes {
		if kind, contact, err := readKey(c.Key); err == nil && kind == itemKey {
			all = append(all, push{c.Version, pushPayload(contact, u.packed.item(contact), c.Version)})
			if size += len(all[len(all)-1].payload); size > maxPushes {
				return false
			}
		}
	}
	r.router.Answer(e, nil)
	for _, p := range all {
		r.pushTo(e.Batch, e.Session, p.version, p.payload)
	}
	return true
}

// wanted reads what a roster set asks for: an item, or nil to remove it (RFC 6121 §2.3, §2.5). The
// caller holds the roster.
func (r *Roster) wanted(u *user, q *xmpp.Element) (jid.JID, *Item, *xmpp.Error) {
	none := jid.JID{}
	children := q.Children()
	if len(children) != 1 || children[0].Name.Local != "item" { // §2.3.3
		return none, nil, xmpp.BadRequest("a roster set has exactly one item")
	}
	el := children[0]
	contact, err := jid.Parse(el.Attr("jid"))
	if err != nil {
		return none, nil, xmpp.JIDMalformed(err.Error())
	}
	contact = contact.Bare()
	old := u.items[contact]
	if el.Attr("subscription") == "remove" {
		if old == nil { // §2.5.3
			return none, nil, xmpp.ItemNotFound("")
		}
		if old.isShared() {
			return none, nil, errShared
		}
		return contact, nil, nil
	}
	if contact == u.bare { // nobody is a contact of their own
		return none, nil, xmpp.NotAllowed("")
	}
	it := &Item{Name: el.Attr("name")} // what else the client says of the state is ignored: §2.3.1
	if len(it.Name) > maxText {        // §2.3.3
		return none, nil, xmpp.NotAcceptable("the name is too long")
	}
	seen := map[string]bool{}
	for _, g := range el.Children() {
		if g.Name != (xmpp.Name{Space: xmpp.NSRoster, Local: "group"}) {
			continue
		}
		name := g.Text()
		switch {
		case name == "" || len(name) > maxText: // §2.3.3
			return none, nil, xmpp.NotAcceptable("the name of a group is empty or too long")
		case seen[name]:
			return none, nil, xmpp.BadRequest("a group is named twice")
		case r.limits().MaxGroups > 0 && len(it.Groups) >= r.limits().MaxGroups:
			return none, nil, xmpp.ResourceConstraint("too many groups")
		}
		seen[name] = true
		it.Groups = append(it.Groups, name)
	}
	if old != nil {
		it.State = old.State
	}
	if old.isShared() {
		it.share(old.sharedGroups(), old.own, old.under)
	}
	if r.full(u, contact, it) {
		return none, nil, xmpp.ResourceConstraint("the roster is full")
	}
	return contact, it, nil
}

// full says whether there is no room for an item. One in place of another may always be as small as that.
func (r *Roster) full(u *user, contact jid.JID, it *Item) bool {
	l, old := r.limits(), u.items[contact]
	more := it.size(contact) - old.size(contact)
	return l.MaxItems > 0 && old == nil && len(u.items) >= l.MaxItems ||
		l.MaxBytes > 0 && more > 0 && u.size+more > l.MaxBytes
}

func pushPayload(contact jid.JID, it *Item, version uint64) []byte {
	w := xmpp.NewWriter(nil)
	startQuery(w, version)
	it.write(w, contact)
	return w.End().Bytes()
}

// push tells the interested resources about an item (RFC 6121 §2.1.6). The caller holds the
// roster, so that pushes leave in the order of the versions.
func (r *Roster) push(b *router.Batch, u *user, contact jid.JID, it *Item) {
	var payload []byte
	if r.onPush != nil {
		r.onPush(b, u.bare, func() []byte { return pushPayload(contact, it, u.version) })
	}
	for _, s := range r.router.Sessions(u.bare) {
		if s.Is(router.FlagRoster) {
			if payload == nil {
				payload = pushPayload(contact, it, u.version)
			}
			r.pushTo(b, s, u.version, payload)
		}
	}
}

func (r *Roster) pushTo(b *router.Batch, s *router.Session, version uint64, payload []byte) {
	iq := xmpp.Stanza{Kind: xmpp.IQ, Type: xmpp.TypeSet, ID: "roster-" + strconv.FormatUint(version, 10),
		To: s.Addr(), Payload: payload} // without 'from': §2.1.6
	s.Send(b, router.Delivery{Stanza: &iq, Copy: true})
}
