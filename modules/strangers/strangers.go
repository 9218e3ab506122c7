// Package strangers keeps users from being flooded: by messages of people they do not know, as each host's policy says,
// and others from being flooded by accounts of ours.
//
// A stranger is whoever is not in the user's roster and has not been written to by the user (nor sent presence, as a
// room is) since the policy is another one than deliver. Whoever belongs to the house is no stranger: the user's own
// account, the host with its administrators, and the services of this server, such as rooms.
//
// Strangers who are on a block list that the administrators follow (package blocklists) fare worse than the others:
// their messages are refused, or held, whatever is done with those of others, and their requests for a subscription are
// refused.
//
// There are three policies. The first delivers. The second refuses: the sender is told to ask for a subscription first,
// and is told the same whether there is such an account or not. The third is the quarantine, which the configuration
// calls hold: a message is kept as safely as any other, but it is shown to nobody and is in no archive. The user is
// told who has written, by a message of the host, once an hour at most. When the user adds the stranger, or writes to
// it, what was kept goes its way with the time at which it came (XEP-0203). It is kept for 30 days, and only so much of
// it; beyond that senders get an error. Requests for a subscription are not messages, and pass.
//
// A message that holds nothing but a chat state or a receipt is dropped instead. Headlines cannot wait and are refused,
// but for events of publish-subscribe, which somebody has subscribed to. Messages of type groupchat pass: they only
// reach whoever is in a room.
//
// The other way round, an account may write to so many different addresses a minute; what goes beyond is refused until
// later, and the administrators hear of it once an hour. Accounts that administer, may multicast or are a gateway are
// not bound, nor are programs that post under names that are nobody's account.
package strangers

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"jackdaw/modules/internal/parts"
	"jackdaw/router"
	"jackdaw/router/accounts"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// A Policy says what becomes of the messages of strangers.
type Policy string

// The policies.
const (
	Deliver    Policy = "deliver"
	Quarantine Policy = "hold" // the name in the configuration
	Refuse     Policy = "refuse"
)

// Contacts knows who is in a user's roster. Both addresses are bare.
type Contacts interface {
	Has(user, contact jid.JID) (bool, error)
}

// A Blocklist knows spammers, and what becomes of what they send to whom they do not know.
type Blocklist interface {
	On() bool // whether there is one now
	Listed(who jid.JID) bool
}

// Stats count what those who are on a block list have sent to users who do not know them.
type Stats struct{ Refused, Held, Requests atomic.Int64 }

// Options of New; all but Full, Blocklist and Listed are needed.
type Options struct {
	Router     *router.Router
	Users      router.Users
	Contacts   Contacts
	Written    storage.Map // whom users wrote to; of this module alone
	Quarantine storage.Log // likewise

	// Full says that the disk has no room for a quarantine now; nil: it always has.
	Full func() bool

	// Blocklist names strangers for whom Listed says what becomes of their messages, if the policy is not stricter; nil:
	// there is none.
	Blocklist Blocklist
	Listed    func() Policy

	// These are asked whenever it matters.
	Policy     func(host string) Policy
	Recipients func() int                          // different ones that an account may write to a minute; 0: no bound
	Admin      func(host string, who jid.JID) bool // whether that bare address administers the host
	Exempt     func(user jid.JID) bool             // whether an account may write to as many as it likes

	// Tell lets the administrators of a host know, Remind a user. They must not route anything themselves.
	// about is whom the line is about: an account, or a stranger's domain.
	Tell   func(host, about, line string)
	Remind func(user, about, line string)
	Log    *slog.Logger
}

// Strangers is the module. It is safe for concurrent use.
type Strangers struct {
	parts.Switch
	Options
	Stats      Stats
	recipients recipients
	answers    func(*router.Session) bool // see Spare; nil: none

	// released are the envelopes of messages that come out of quarantine, with the time they came.
	released sync.Map

	mu       sync.Mutex // guards the rest
	busy     map[jid.JID]*work
	reminded map[jid.JID]bool // who has been told of everything in quarantine, since the start
	closed   bool
	running  sync.WaitGroup
}

// Of makes the module of a server.
func Of(p parts.Parts, contacts Contacts, lists Blocklist, tell, remind func(to, about, line string)) *Strangers {
	s := New(Options{Blocklist: lists, Listed: func() Policy { return Policy(p.Config().Modules.Blocklists.Policy) },
		Router: p.Router, Users: p.Accounts, Contacts: contacts, Log: p.Log,
		Written: p.Store.Map("strangers"), Quarantine: p.Store.Log("strangers"),
		Full: p.Space.Low, Tell: tell, Remind: remind,
		Policy:     func(host string) Policy { return Policy(p.Config().Modules.Strangers.Of(host)) },
		Recipients: func() int { return p.Config().Modules.Strangers.Recipients },
		Admin:      p.Administers,
		Exempt: func(user jid.JID) bool {
			r, err := p.Accounts.Rights(context.Background(), user)
			// Under the name of no account only programs post that were given one for the gateway.
			return err == nil && (!r.Active() || r.Has(accounts.PermAdmin) || r.Has(accounts.PermMulticast) ||
				r.Has(accounts.PermGateway))
		}})
	s.Switch = p.Switch("strangers")
	return s
}

// New returns the module.
func New(o Options) *Strangers {
	s := &Strangers{Options: o, busy: map[jid.JID]*work{}, reminded: map[jid.JID]bool{}}
	s.recipients.accounts, s.recipients.seed = map[jid.JID]*sender{}, maphash.MakeSeed()
	return s
}

// Spare has sessions write to as many as they like of which answers says that they do no more than answer. It comes
// before all else.
func (s *Strangers) Spare(answers func(*router.Session) bool) { s.answers = answers }

// Module says where it takes part: after all that decides who a sender is, before all that keeps or copies messages.
func (s *Strangers) Module() router.Module {
	return router.Module{
		Name:      "strangers",
		Leaving:   router.Stage{Message: s.leaving, Presence: s.presence},
		Departing: router.Stage{Message: s.posted},
		Arriving:  router.Stage{Message: s.arriving},
		Serving: func(e *router.Envelope) {
			if e.Stanza.Kind == xmpp.Message {
				s.posted(e)
			}
		},
		Portable: []router.Portable{{Spaces: []string{"map strangers", "log strangers"},
			Stays: "it is about strangers of the last days, who may write again"}},
		Removed: s.removed,
	}
}

// leaving sees what a session sends.
func (s *Strangers) leaving(e *router.Envelope) {
	s.sent(e, e.Session.Bare())
}

// posted sees what an account sends otherwise: by HTTP, or as a copy of a multicast.
func (s *Strangers) posted(e *router.Envelope) {
	if (e.Session == nil || e.Left) && !e.Account.IsZero() && e.Stanza.From.MatchesBare(e.Account) {
		s.sent(e, e.Account)
	}
}

// sent counts a recipient, and remembers whom a user has written to.
func (s *Strangers) sent(e *router.Envelope, user jid.JID) {
	to := e.Stanza.To.Bare()
	if to.IsZero() || to == user || e.Stanza.Type == xmpp.TypeError {
		return
	}
	if e.Session == nil || s.answers == nil || !s.answers(e.Session) {
		s.bound(e, user, to)
	}
	if !e.Settled() {
		s.wrote(user, to)
	}
}

// presence sees a user come, and send presence to somebody.
func (s *Strangers) presence(e *router.Envelope) {
	user, to := e.Session.Bare(), e.Stanza.To.Bare()
	switch {
	case e.Stanza.Type != xmpp.TypeAvailable:
	case !to.IsZero():
		if to != user {
			s.wrote(user, to)
		}
	case e.Session.Presence() == nil:
		s.do(user, job{look: true})
	}
}

// arriving judges what is for a user.
func (s *Strangers) arriving(e *router.Envelope) {
	if s.posted(e); e.Settled() {
		return
	}
	m := e.Stanza
	if since, ok := s.released.Load(e); ok {
		delay := xmpp.NewWriter(nil).Start(xmpp.NSDelay, "delay").Attr("from", m.To.Domain()).
			Attr("stamp", string(xmpp.AppendTime(nil, since.(time.Time)))).End().Bytes()
		late := m.WithAdded(delay)
		e.Replace(&late)
		return
	}
	switch m.Type {
	case xmpp.TypeNormal, xmpp.TypeChat, xmpp.TypeHeadline:
	default:
		return
	}
	policy, listed := s.Policy(m.To.Domain()), s.listed(m.From)
	if listed {
		policy = stricter(policy, s.Listed())
	}
	if policy != Quarantine && policy != Refuse {
		return
	}
	user := m.To.Bare()
	known, err := s.known(e, user)
	switch {
	case err != nil:
		s.Log.Warn("strangers cannot be told from contacts", "error", err)
		e.Refuse(router.Unavailable())
	case known:
	case m.Type == xmpp.TypeHeadline:
		if !m.Has(event) {
			refuse(e)
		}
	case !says(m):
		e.Settle(router.Dropped)
	case policy == Refuse:
		if refuse(e); listed {
			s.Stats.Refused.Add(1)
		}
	default:
		if s.quarantine(e, user); listed && e.Outcome == router.Stored {
			s.Stats.Held.Add(1)
		}
	}
}

// Asked judges a request for a subscription by somebody who is on a block list, before anything is done with it.
func (s *Strangers) Asked(e *router.Envelope) {
	if !s.On() {
		return
	}
	switch known, err := s.known(e, e.Stanza.To.Bare()); {
	case err != nil:
		s.Log.Warn("strangers cannot be told from contacts", "error", err)
	case !known:
		s.Stats.Requests.Add(1)
		e.Refuse(xmpp.PolicyViolation("the sender is on a list of sources of spam"))
	}
}

func (s *Strangers) listed(who jid.JID) bool { return s.Blocklist != nil && s.Blocklist.Listed(who) }

// stricter is the policy that lets less through.
func stricter(a, b Policy) Policy {
	if a == Refuse || b == Refuse {
		return Refuse
	}
	if a == Quarantine || b == Quarantine {
		return Quarantine
	}
	return Deliver
}

// some says whether there are strangers whose messages to users of a host are not delivered.
func (s *Strangers) some(host string) bool {
	policy := s.Policy(host)
	return policy == Quarantine || policy == Refuse || s.Blocklist != nil && s.Blocklist.On()
}

// holds says whether some of these messages are kept.
func (s *Strangers) holds(host string) bool {
	return s.Policy(host) == Quarantine || s.Blocklist != nil && s.Blocklist.On() && s.Listed() == Quarantine
}

var event = xmpp.Name{Space: xmpp.NSPubSubEvent, Local: "event"}

func refuse(e *router.Envelope) {
	e.Refuse(xmpp.PolicyViolation("only contacts may write here: ask for a subscription to presence first"))
}

// says tells messages from what only goes along with them (XEP-0085, XEP-0184, XEP-0333).
func says(m *xmpp.Stanza) bool {
	children := m.Children
	if children == nil {
		children = xmpp.Index(m.Payload)
	}
	for _, c := range children {
		switch c.Name.Space {
		case xmpp.NSChatStates, xmpp.NSReceipts, xmpp.NSMarkers, xmpp.NSHints, xmpp.NSStanzaID, xmpp.NSDelay:
		default:
			if c.Name != (xmpp.Name{Space: xmpp.NSClient, Local: "thread"}) {
				return true
			}
		}
	}
	return false
}

// known says whether a message for a user is of somebody who is no stranger.
func (s *Strangers) known(e *router.Envelope, user jid.JID) (bool, error) {
	from := e.Stanza.From.Bare()
	switch {
	case from.IsZero(), from == user, e.FromOwn():
		return true, nil
	case !e.Account.IsZero() && e.Session == nil:
		// A program that may speak for others, or under names that are nobody's account.
		if exists, err := s.Users.Exists(context.Background(), e.Account); err != nil || !exists ||
			!e.Stanza.From.MatchesBare(e.Account) {
			return err == nil, err
		}
	}
	switch {
	case s.Router.Serves(from.Domain()):
		if from.IsDomain() {
			return true, nil
		}
	case s.Router.Owns(from.Domain()):
		return true, nil
	}
	if s.Admin(user.Domain(), from) {
		return true, nil
	}
	return s.knows(user, from)
}

// knows says whether a user has somebody, a bare address, in the roster or has written there.
func (s *Strangers) knows(user, from jid.JID) (bool, error) {
	if has, err := s.Contacts.Has(user, from); has || err != nil {
		return has, err
	}
	_, err := s.Written.Get(context.Background(), user.String(), from.String())
	if errors.Is(err, storage.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

const (
	writtenVersion = 1
	// maxWritten is how many addresses a user is known to have written to; the first one is forgotten then.
	maxWritten = 1000
)

// wrote remembers that a user has written to somebody, and lets go of what is in quarantine of that address.
func (s *Strangers) wrote(user, to jid.JID) {
	if !s.some(user.Domain()) {
		return
	}
	if s.Router.Owns(to.Domain()) && (to.IsDomain() || !s.Router.Serves(to.Domain())) {
		return
	}
	if err := s.note(user, to); err != nil {
		s.Log.Warn("whom a user writes to is not remembered", "user", user, "error", err)
	}
}

func (s *Strangers) note(user, to jid.JID) error {
	ctx := context.Background()
	if has, err := s.Contacts.Has(user, to); has || err != nil {
		return err
	}
	_, err := s.Written.Get(ctx, user.String(), to.String())
	if !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	changes := []storage.Change{{Key: to.String(), Value: xmpp.AppendTime([]byte{writtenVersion}, time.Now())}}
	all, _, err := s.Written.List(ctx, user.String())
	if err != nil {
		return err
	}
	if len(all) >= maxWritten {
		oldest := 0
		for i := range all {
			if all[i].Version < all[oldest].Version {
				oldest = i
			}
		}
		changes = append(changes, storage.Change{Key: all[oldest].Key, Delete: true})
	}
	if _, _, err = s.Written.Update(ctx, user.String(), storage.AnyVersion, changes...); err != nil {
		return err
	}
	s.do(user, job{of: to})
	return nil
}

// Known is to be called when somebody, a bare address, may have come into a user's roster; it looks for itself.
func (s *Strangers) Known(user, contact jid.JID) {
	if s.On() && s.holds(user.Domain()) {
		s.do(user, job{of: contact})
	}
}

func (s *Strangers) removed(user jid.JID) error {
	ctx, name := context.Background(), user.String()
	s.mu.Lock()
	delete(s.reminded, user)
	s.mu.Unlock()
	s.recipients.forget(user)
	p, err := s.Written.DeleteOwner(ctx, name)
	if err != nil {
		return err
	}
	q, err := s.Quarantine.DeleteOwner(ctx, name)
	if err != nil {
		return err
	}
	return errors.Join(p.Wait(ctx), q.Wait(ctx))
}

// reminder is what a user is told of a stranger.
func reminder(from jid.JID) string {
	return fmt.Sprintf("%s, who is not among your contacts, has written to you. It is kept for %d days: add that "+
		"address to your contacts, or write to it, to get it; or block it.", from, int(keep/(24*time.Hour)))
}
