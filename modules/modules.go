// Package modules is the ordered list of the server's features, and nothing else: a feature is a folder of its own, and
// a line in All.
//
// hostmeta, httpmessage and upload are not in the list: they are services over HTTP, which package server assembles, as
// it does bytestreams and externalservices, which need its sockets.
package modules

import (
	"context"
	"slices"
	"sync"

	"jackdaw/config"
	"jackdaw/modules/announcements"
	"jackdaw/modules/archive"
	"jackdaw/modules/blocking"
	"jackdaw/modules/blocklists"
	"jackdaw/modules/bots"
	"jackdaw/modules/caps"
	"jackdaw/modules/carbons"
	"jackdaw/modules/commands"
	"jackdaw/modules/contact"
	"jackdaw/modules/defaultrooms"
	"jackdaw/modules/delegation"
	"jackdaw/modules/devices"
	"jackdaw/modules/directory"
	"jackdaw/modules/disco"
	"jackdaw/modules/forged"
	"jackdaw/modules/groups"
	"jackdaw/modules/hooks"
	"jackdaw/modules/internal/notices"
	"jackdaw/modules/internal/parts"
	"jackdaw/modules/invitations"
	"jackdaw/modules/last"
	"jackdaw/modules/markers"
	"jackdaw/modules/muc"
	"jackdaw/modules/multicast"
	"jackdaw/modules/offline"
	"jackdaw/modules/pep"
	"jackdaw/modules/ping"
	"jackdaw/modules/posts"
	"jackdaw/modules/presence"
	"jackdaw/modules/private"
	"jackdaw/modules/privilege"
	"jackdaw/modules/pubsub"
	"jackdaw/modules/push"
	"jackdaw/modules/registration"
	"jackdaw/modules/reports"
	"jackdaw/modules/roster"
	"jackdaw/modules/serverinfo"
	"jackdaw/modules/stanzaid"
	"jackdaw/modules/strangers"
	"jackdaw/modules/time"
	"jackdaw/modules/tokens"
	"jackdaw/modules/vcard"
	"jackdaw/modules/version"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp/jid"
)

// Deps are what the modules need; all but Space are.
type Deps = parts.Parts

// A Set is what All returns.
type Set struct {
	Registration *registration.Registration // for c2s, before login; never nil
	Forged       *forged.Forged             // for its Stats; never nil
	Commands     *commands.Commands         // to add to, before anything is served
	Roster       *roster.Roster             // for administrators
	Rooms        *muc.Rooms                 // likewise
	Bots         *bots.Bots                 // likewise
	// Announcements are what hosts write to all their users; administrators make them.
	Announcements *announcements.Announcements
	// Tell has the administrators of a host written to, soon; about says what the line is about.
	Tell func(host, about, line string)
	// TellUser has a user written to in the same way, by his host.
	TellUser func(user jid.JID, about, line string)

	// Hooks are addresses at which programs post; never nil.
	Hooks *hooks.Hooks
	// Posts keeps what becomes of posts; never nil.
	Posts *posts.Tracker
	// Privileges are those of components, whose streams know nothing of them; never nil.
	Privileges *privilege.Privileges
	// These three are known for what they count; never nil.
	Reports    *reports.Reports
	Blocklists *blocklists.Lists
	Strangers  *strangers.Strangers
	// Delegations are what components answer in place of the server; never nil.
	Delegations *delegation.Delegations
	// Invitations are for administrators too; never nil.
	Invitations *invitations.Invitations

	list     []router.Module
	messages *archive.Archive
	waiting  *offline.Offline
	blocked  *blocking.Blocking
	spaces   *spaces
	config   func() *config.Config
	run      []func(context.Context) // what modules do by themselves
	reloaded func()
	leave    func()
	close    []func() // in order
}

// Modules returns all of them for router.Use, and others behind them, each on or off as the configuration in force
// says: it names modules that are off, and with them goes whatever needs them.
func (s *Set) Modules(others ...router.Module) []router.Module {
	off := s.config().Modules.Off
	all := slices.Concat(s.list, others)
	for i := range all {
		m := &all[i]
		m.Off = off[m.Name] || slices.ContainsFunc(m.Needs, func(name string) bool { return off[name] })
	}
	return all
}

// Run does what modules do by themselves, until ctx ends.
func (s *Set) Run(ctx context.Context) {
	var running sync.WaitGroup
	for _, run := range s.run {
		running.Go(func() { run(ctx) })
	}
	running.Wait()
}

// Blocks says whether a user has blocked an address; both are bare.
func (s *Set) Blocks(user, other jid.JID) bool { return s.blocked.Blocks(user, other) }

// Joined says that this is a node of that name from now on, see offline.Offline.Joined.
func (s *Set) Joined(ctx context.Context, node string) error { return s.waiting.Joined(ctx, node) }

// Ended says that this is no node any more, see offline.Offline.Ended.
func (s *Set) Ended() { s.waiting.Ended() }

// Gained says that owners are at home here from now on, see offline.Offline.Gained.
func (s *Set) Gained(ctx context.Context, is func(owner string) bool, alive func(node string) bool,
	from func(owner, node string, noted uint64) bool) error {
	return s.waiting.Gained(ctx, is, alive, from)
}

// Whole says whether all that others have left is seen to, see offline.Offline.Whole.
func (s *Set) Whole() bool { return s.waiting.Whole() }

// Bury forgets nodes that have died, see offline.Offline.Bury.
func (s *Set) Bury(ctx context.Context, alive func(node string) bool,
	enough func(noted map[string]uint64) bool) (done bool, err error) {
	return s.waiting.Bury(ctx, alive, enough)
}

// Noted says that what others have left here is seen to, see offline.Offline.Noted.
func (s *Set) Noted(ctx context.Context, fence uint64) error { return s.waiting.Noted(ctx, fence) }

// Reloaded has modules take up what a new configuration wants done.
func (s *Set) Reloaded() { s.reloaded() }

// Leave tells those who are in rooms that the server ends. It comes before streams are closed.
func (s *Set) Leave() { s.leave() }

// Close ends what modules do in the background. It comes before the store is closed.
func (s *Set) Close() {
	for _, end := range s.close {
		end()
	}
}

// All makes the modules. Whoever else listens to changes of accounts must do so after All (see registration.New), but
// for the devices and tokens, which end no session by it.
func All(d Deps) *Set {
	spaces := &spaces{Store: d.Store}
	d.Store = spaces

	// These are known to others, and come before them.
	admins, users := notices.ToAdmins(d), notices.ToUsers(d)
	contacts := roster.Of(d)
	shared := groups.Of(d, contacts)
	blocked := blocking.Of(d, contacts)
	cards, pieces := vcard.Of(d), private.Of(d)
	events := pep.Of(d, pep.Options{Contacts: contacts, Blocks: blocked.Blocks, Verify: caps.Verify, Photos: cards,
		Private: pieces})
	spammers := blocklists.Of(d)
	guard := strangers.Of(d, contacts, spammers, admins.Add, users.Add)
	replies := forged.Of(d)
	invites := invitations.Of(d, contacts)
	reachable := contact.Of(d)
	notes := announcements.Of(d)
	orders := commands.Of(d, commands.Invite(inviting(d, invites))...)
	delegations := delegation.Of(d)
	discovery := disco.Of(d, disco.Options{Roster: contacts, Nodes: events.Nodes(),
		Forms:     []disco.Form{reachable.Form, reachable.OutageForm},
		HostNodes: orders, Nested: delegations, Replies: replies.Hooked, Node: caps.Node, Ver: caps.Ver})
	messages := archive.Of(d, contacts)
	complaints := reports.Of(d, admins.Add, messages.Received)
	pushes := push.Of(d)
	rooms := muc.Of(d, spammers.Listed)
	waiting := offline.Of(d, contacts, messages)
	nodes := pubsub.Of(d, contacts)
	known := serverinfo.Of(d, nodes)
	programs := bots.Of(d, func(room jid.JID) bool {
		there, err := rooms.Exists(room)
		return there && err == nil
	})
	register := registration.Of(d, admins.Add)
	inbound := hooks.Of(d)
	sent := posts.Of(d)
	deputies := privilege.Of(d, contacts)

	// The cycles: these know others that were made after them and know them too.
	cards.OnChange(func(b *router.Batch, c vcard.Change, written *storage.Pending) *storage.Pending {
		return events.PhotoChanged(b, pep.PhotoChange(c), written)
	})
	pieces.BookmarksAreIn(events)
	contacts.OnChange(func(b *router.Batch, user, contact jid.JID, gained bool) {
		guard.Known(user, contact)
		events.ContactChanged(b, user, contact, gained)
	})

	guard.Spare(programs.Answers)
	spammers.OnRequest(guard.Asked)
	contacts.OnToken(invites.Subscribe)
	register.InviteBy(admitting{invites})

	return &Set{
		list: []router.Module{
			blocked.Module(),
			// Before all others that judge who sends something: it takes what is for it, and before the roster, which settles
			// requests for a subscription.
			spammers.Module(),
			// Before all others that may stop an answer: it only looks.
			sent.Module(),
			markers.New(d.Router),
			stanzaid.New(d.Router),
			// Before presence and carbons, which act on what leaves; a name is made an address first.
			multicast.Of(d, blocked.Blocks),
			complaints.Module(),
			contacts.Module(),
			// Before pep and presence, which act on what a user broadcasts.
			caps.New(discovery.Info, discovery.Version),
			// Before presence, which settles what a user broadcasts, and before all that keeps or copies messages.
			events.Module(),
			// After the roster, and before presence and all that keeps or copies messages.
			guard.Module(),
			// Before presence, which settles what a user broadcasts.
			last.Of(d, contacts),
			// Before presence, which settles what a user broadcasts.
			notes.Module(),
			// Before presence, which settles what a user broadcasts.
			deputies.Module(),
			delegations.Module(),
			presence.New(d.Router, contacts, blocked.Blocks, d.Log),
			// Before carbons and offline, whose copies bear the archive's ids.
			messages.Module(),
			carbons.New(d.Router),
			replies.Module(),
			// Before offline: what a program takes does not wait for a client.
			programs.Module(),
			waiting.Module(),
			pushes.Module(),
			rooms.Module(),
			nodes.Module(),
			discovery.Module(),
			ping.New(d.Router),
			version.New(d.Router, d.Version),
			time.New(d.Router),
			cards.Module(),
			pieces.Module(),
			register.Module(),
			invites.Module(),
			reachable.Module(),
			known.Module(),
			devices.Of(d),
			tokens.Of(d),
			directory.Of(d, cards),
			defaultrooms.Of(d, events, rooms),
			orders.Module(),
			inbound.Module(),
		},
		Registration:  register,
		Forged:        replies,
		Blocklists:    spammers,
		Strangers:     guard,
		Reports:       complaints,
		Commands:      orders,
		Roster:        contacts,
		Rooms:         rooms,
		Bots:          programs,
		Announcements: notes,
		Posts:         sent,
		Invitations:   invites,
		Hooks:         inbound,
		Privileges:    deputies,
		Delegations:   delegations,
		Tell:          admins.Add,
		TellUser:      func(user jid.JID, about, line string) { users.Add(user.Bare().String(), about, line) },

		messages: messages,
		waiting:  waiting,
		blocked:  blocked,
		spaces:   spaces,
		config:   d.Config,
		run: []func(context.Context){
			messages.Run,
			waiting.Run,
			rooms.Run,
			invites.Run,
			register.Run,
			shared.Run,
			programs.Run,
			sent.Run,
			known.Run,
			spammers.Run,
		},
		reloaded: func() {
			shared.Poke()
			known.Poke()
			spammers.Poke()
			deputies.Reloaded()
			delegations.Reloaded()
		},
		leave: rooms.Close,
		close: []func(){
			waiting.Close,
			sent.Close,
			replies.Close,
			programs.Close,
			guard.Close,
			complaints.Close,
			admins.Close,
			users.Close,
			pushes.Close,
		},
	}
}
