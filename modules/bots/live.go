package bots

import (
	"bytes"
	"context"
	"crypto/rand"
	"sync"
	"time"

	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

const (
	// again is how long a bot waits before it does anew what did not work: to have a session, to enter a room. For a room
	// it is doubled each time, up to later, which is also how long it stays away from a room that does not want it.
	again = time.Minute
	// comesHome is how soon a bot that is at home on another node sees that it has come home.
	comesHome = 2 * time.Second
	later     = time.Hour
	// heard is how many stanzas may wait for the life of a bot. What is beyond is lost: it comes again when the session
	// does.
	heard = 64
)

// live gives a bot a session for as long as ctx lasts, and a new one whenever it ends.
func (b *bot) live(ctx context.Context) {
	for first := true; ; first = false {
		if !first && !pause(ctx, time.Second) {
			return
		}
		b.queue.Kick() // the account may have been off
		s, out := b.bind(ctx)
		if s == nil {
			wait := again
			if !b.m.o.Router.IsHome(b.JID) && !b.m.o.Router.Alone() {
				wait = comesHome
			}
			if !pause(ctx, wait) {
				return
			}
			continue
		}
		b.session.Store(s)
		b.be(ctx, s, out)
		b.session.Store(nil)
		b.m.o.Router.Unbind(s, nil)
		b.rooms.left("the bot is not connected")
		if ctx.Err() != nil {
			return
		}
	}
}

// bind makes a session, if the account may have one.
func (b *bot) bind(ctx context.Context) (*router.Session, *outlet) {
	if !b.m.active(b) {
		return nil, nil
	}
	if ok, err := b.m.o.Users.Exists(ctx, b.JID); !ok || err != nil {
		return nil, nil
	}
	full, err := b.JID.WithResource("bot-" + rand.Text()[:8])
	if err != nil {
		return nil, nil
	}
	out := &outlet{heard: make(chan xmpp.Stanza, heard), gone: make(chan struct{}), wants: b.wants,
		since: time.Now()}
	s, err := b.m.o.Router.Bind(full, out)
	if err != nil {
		b.m.o.Log.Warn("a bot has no session", "bot", b.JID, "error", err)
		return nil, nil
	}
	return s, out
}

// be is the life of a session: it is seen by contacts, is in its rooms, and lets people subscribe.
func (b *bot) be(ctx context.Context, s *router.Session, out *outlet) {
	// Messages come by another way: the session takes none that is not for it by name (RFC 6121 §4.7.2.3).
	b.route(s, xmpp.Stanza{Kind: xmpp.Presence, Payload: []byte("<priority>-1</priority>")})
	for {
		next := b.enter(s)
		t := time.NewTimer(max(time.Until(next), time.Millisecond))
		select {
		case <-ctx.Done():
		case <-out.gone:
		case p := <-out.heard:
			b.meet(s, &p)
		case <-b.rooms.look:
		case <-t.C:
			if !b.m.active(b) {
				s.End("not-authorized", "the account is disabled")
			}
		}
		t.Stop()
		if out.over() || ctx.Err() != nil {
			return
		}
	}
}

// speaks is the session if it has this address, else nil.
func (b *bot) speaks(full jid.JID) *router.Session {
	if s := b.session.Load(); s != nil && s.Addr() == full {
		return s
	}
	return nil
}

// route sends a stanza of the session.
func (b *bot) route(s *router.Session, st xmpp.Stanza) *router.Envelope {
	st.From = s.Addr()
	e := &router.Envelope{Stanza: &st, Session: s, Account: b.JID, Quiet: true}
	b.m.o.Router.Route(e)
	return e
}

// wants says whether a presence is for the life of the bot.
func (b *bot) wants(p *xmpp.Stanza) bool {
	if p.Type == xmpp.TypeSubscribe {
		return true
	}
	_, in := b.rooms.all[p.From.Bare()]
	return in && (p.Type == xmpp.TypeError || p.From.Resource() == b.nick() || bytes.Contains(p.Payload, []byte("110")))
}

// meet does what a presence asks for.
func (b *bot) meet(s *router.Session, p *xmpp.Stanza) {
	if p.Type == xmpp.TypeSubscribe { // whoever asks may see that the bot is there (RFC 6121 §3.1.5)
		b.route(s, xmpp.Stanza{Kind: xmpp.Presence, Type: xmpp.TypeSubscribed, To: p.From.Bare()})
		return
	}
	codes := statuses(p)
	switch {
	case p.Type == xmpp.TypeError:
		b.away(p.From.Bare(), refusal(p.Err()), 0)
	case codes["303"]: // XEP-0045 §7.6: it has another nick
	case !codes["110"] && (p.Type != xmpp.TypeUnavailable || p.From.Resource() != b.nick()): // §7.2.2: somebody else
	case p.Type == xmpp.TypeUnavailable:
		if b.rooms.inside(p.From.Bare()) { // else it is known why
			b.away(p.From.Bare(), departure(codes), stays(codes))
		}
	case codes["201"]: // §10.1.1: there was none, and it is not for a bot to make one
		b.route(s, xmpp.Stanza{Kind: xmpp.Presence, Type: xmpp.TypeUnavailable, To: p.From})
		b.away(p.From.Bare(), noRoom, later)
	default:
		b.rooms.entered(p.From.Bare(), b.revisits(p.From.Bare()))
		b.m.o.Log.Info("a bot is in a room", "bot", b.JID, "room", p.From.Bare())
	}
}

// revisits is after what time a bot enters a room anew in which it is; 0: never. A room of another server may have
// forgotten it.
func (b *bot) revisits(room jid.JID) time.Duration {
	if b.m.o.Router.Owns(room.Domain()) {
		return 0
	}
	return later
}

// away notes that the bot is not in a room, and stays away for a while.
func (b *bot) away(room jid.JID, why string, stays time.Duration) {
	if b.rooms.away(room, why, stays) {
		b.m.o.Log.Warn("a bot is not in a room", "bot", b.JID, "room", room, "why", why)
	}
}

// enter enters the rooms that it is time for, and says when to look again.
func (b *bot) enter(s *router.Session) (next time.Time) {
	rooms, next := b.rooms.due(time.Now())
	for _, room := range rooms {
		to, err := room.WithResource(b.nick())
		if err != nil {
			b.away(room, "the nick is none", later)
			continue
		}
		if b.m.o.Router.Owns(room.Domain()) && !b.m.o.IsRoom(room) {
			b.away(room, noRoom, 0)
			continue
		}
		e := b.route(s, xmpp.Stanza{Kind: xmpp.Presence, To: to,
			Payload: []byte("<x xmlns='" + xmpp.NSMUC + "'><history maxstanzas='0'/></x>")})
		if e.Err != nil {
			b.away(room, refusal(e.Err), 0)
		}
	}
	return next
}

// stopped is why a bot is not in a room whose server, or its home, is gone.
const stopped = "the server of the room has stopped"

// noRoom is why a bot is not in a room that is not there.
const noRoom = "there is no such room"

// statuses are the codes that a room has put into a presence (XEP-0045 §15.6).
func statuses(p *xmpp.Stanza) map[string]bool {
	codes := map[string]bool{}
	if x := p.Child(nameMUCUser); x != nil {
		for _, c := range x.Children() {
			if c.Name.Local == "status" {
				codes[c.Attr("code")] = true
			}
			if c.Name.Local == "destroy" {
				codes["destroyed"] = true
			}
		}
	}
	return codes
}

// stays is how long a bot that was removed stays away.
func stays(codes map[string]bool) time.Duration {
	if codes["332"] {
		return again
	}
	return later
}

// departure says in words why the bot was removed.
func departure(codes map[string]bool) string {
	switch {
	case codes["301"]:
		return "banned"
	case codes["307"]:
		return "kicked"
	case codes["321"], codes["322"]:
		return "not a member"
	case codes["332"]:
		return stopped
	case codes["destroyed"]:
		return "the room is destroyed"
	}
	return "left"
}

// refusal says in words why the bot may not enter (XEP-0045 §7.2).
func refusal(err *xmpp.Error) string {
	switch err.Condition {
	case xmpp.CondForbidden:
		return "banned"
	case xmpp.CondRegistrationRequired:
		return "members only: make the bot a member"
	case xmpp.CondConflict:
		return "somebody else has the nick"
	case xmpp.CondNotAuthorized:
		return "the room has a password"
	case xmpp.CondItemNotFound:
		return noRoom
	}
	return string(err.Condition)
}

// rooms are those that a bot is to be in. The addresses in all stay the same.
type rooms struct {
	all  map[jid.JID]*seat
	look chan struct{} // tells the life of the bot that there are rooms to enter

	mu sync.Mutex // guards what is in all
}

// A seat is a place in a room.
type seat struct {
	in   bool
	why  string    // why it is not in; "" if it is
	next time.Time // when to enter, again or at first; zero and in: never
	wait time.Duration
}

// due are the rooms to enter now. Those will be entered again after a while, unless more is heard of them; next is when
// there will be one.
func (r *rooms) due(now time.Time) (list []jid.JID, next time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	next = now.Add(again)
	for room, s := range r.all {
		if s.in && s.next.IsZero() {
			continue
		}
		if !s.next.After(now) {
			list = append(list, room)
			s.wait = min(max(2*s.wait, again), later)
			s.next = now.Add(s.wait)
		}
		if s.next.Before(next) {
			next = s.next
		}
	}
	return list, next
}

func (r *rooms) entered(room jid.JID, revisit time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.all[room]; s != nil {
		*s = seat{in: true}
		if revisit > 0 {
			s.next = time.Now().Add(revisit)
		}
	}
}

// away says whether that is news. Without stays, a room that was to be entered is tried again as due has said.
func (r *rooms) away(room jid.JID, why string, stays time.Duration) (news bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.all[room]
	if s == nil {
		return false
	}
	news = s.in || s.why != why
	s.in, s.why = false, why
	if s.wait == 0 || stays > 0 {
		s.wait = max(again, stays)
		s.next = time.Now().Add(s.wait)
	}
	return news
}

// inside says whether the bot is in a room.
func (r *rooms) inside(room jid.JID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.all[room]
	return s != nil && s.in
}

// lost has bots enter rooms anew whose homes have died. Whoever is home next knows of no occupants.
func (m *Bots) lost(gone func(owner string) bool) {
	if all := m.all.Load(); all != nil {
		for _, b := range *all {
			b.rooms.lost(gone)
		}
	}
}

// lost says that the homes of rooms have died.
func (r *rooms) lost(gone func(room string) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for room, s := range r.all {
		if s.in && gone(room.String()) {
			*s = seat{why: stopped}
			select {
			case r.look <- struct{}{}:
			default:
			}
		}
	}
}

// left says that the bot is in no room any more.
func (r *rooms) left(why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.all {
		*s = seat{why: why}
	}
}

// list says for each room why the bot is not there, "" if it is.
func (r *rooms) list() map[jid.JID]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make(map[jid.JID]string, len(r.all))
	for room, s := range r.all {
		list[room] = s.why
	}
	return list
}

// An outlet is the end of the session of a bot. It implements router.Outlet. What the session is given of messages has
// been queued before; presence that matters is handed to the life of the bot, and the rest is forgotten.
type outlet struct {
	heard chan xmpp.Stanza
	wants func(p *xmpp.Stanza) bool
	since time.Time

	mu    sync.Mutex // guards ended
	ended bool
	gone  chan struct{} // closed when ended
}

// Send implements router.Outlet.
func (o *outlet) Send(d router.Delivery) (wake, ok bool) {
	if o.over() {
		return false, false
	}
	if d.Receipt != nil {
		d.Receipt.Finish(nil)
	}
	if d.Stanza.Kind == xmpp.Presence && o.wants(d.Stanza) {
		p := d.Stanza.Clone()
		p.From = owned(p.From)
		select {
		case o.heard <- p:
		default:
		}
	}
	return false, true
}

// owned is an address that shares memory with nobody.
func owned(j jid.JID) jid.JID {
	b, _ := j.MarshalText()
	own, err := jid.ParseBytes(bytes.Clone(b))
	if err != nil {
		return jid.JID{}
	}
	return own
}

// Connection implements router.Connected.
func (o *outlet) Connection() router.Connection { return router.Connection{Since: o.since} }

// Flush implements router.Outlet.
func (o *outlet) Flush() {}

// Prompt implements router.Outlet.
func (o *outlet) Prompt() bool { return true }

// Detached implements router.Outlet.
func (o *outlet) Detached() bool { return false }

// Full implements router.Outlet.
func (o *outlet) Full() bool { return false }

// WaitBelow implements router.Outlet.
func (o *outlet) WaitBelow(context.Context, int) error {
	if o.over() {
		return context.Canceled
	}
	return nil
}

// End implements router.Outlet.
func (o *outlet) End(string, string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.ended {
		o.ended = true
		close(o.gone)
	}
}

func (o *outlet) over() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.ended
}
