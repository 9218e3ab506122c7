// Package modules is the list of the server's features, in the order in which
// they take part in every stage, and nothing else.
//
// httpmessage and upload are not in it: they are services over HTTP, which package server assembles.
package modules

import (
	"context"
	"log/slog"
	"slices"
	"sync"

	"jackdaw/config"
	"jackdaw/modules/archive"
	"jackdaw/modules/blocking"
	"jackdaw/modules/caps"
	"jackdaw/modules/carbons"
	"jackdaw/modules/contact"
	"jackdaw/modules/disco"
	"jackdaw/modules/forged"
	"jackdaw/modules/internal/addresses"
	"jackdaw/modules/internal/notices"
	"jackdaw/modules/last"
	"jackdaw/modules/markers"
	"jackdaw/modules/muc"
	"jackdaw/modules/multicast"
	"jackdaw/modules/offline"
	"jackdaw/modules/pep"
	"jackdaw/modules/ping"
	"jackdaw/modules/presence"
	"jackdaw/modules/private"
	"jackdaw/modules/push"
	"jackdaw/modules/registration"
	"jackdaw/modules/reports"
	"jackdaw/modules/roster"
	"jackdaw/modules/stanzaid"
	"jackdaw/modules/strangers"
	"jackdaw/modules/time"
	"jackdaw/modules/vcard"
	"jackdaw/modules/version"
	"jackdaw/router"
	"jackdaw/router/accounts"
	"jackdaw/router/space"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// Deps are what the modules need; all but Space are.
type Deps struct {
	Router   *router.Router
	Store    Store    // a storage.Engine
	Accounts Accounts // router/accounts
	// Config returns the configuration in force; it is asked whenever it matters.
	Config  func() *config.Config
	Space   *space.Watch // of the disk on which the store is; nil: there is always room
	Version string       // of the build
	Log     *slog.Logger
}

// Store names the spaces of the modules, each by the name of its module.
type Store interface {
	Map(space string) storage.Map
	Log(space string) storage.Log
}

// Accounts is what modules need of router/accounts.
type Accounts interface {
	router.Users
	registration.Accounts
	Rights(ctx context.Context, user jid.JID) (*accounts.Rights, error)
}

// A Set is what All returns.
type Set struct {
	Registration *registration.Registration // for c2s, before login; never nil
	Forged       *forged.Forged             // for its Stats and its Close; never nil

	all       []router.Module
	archive   *archive.Archive
	events    *pep.PEP
	rooms     *muc.Rooms
	pushes    *push.Push
	notices   []*notices.Notices
	strangers *strangers.Strangers
	spaces    *spaces
	config    func() *config.Config
}

// Modules returns all of them for router.Use, each on or off as the configuration in force says.
func (s *Set) Modules() []router.Module {
	off := s.config().Modules.Off
	out := slices.Clone(s.all)
	for i := range out {
		m := &out[i]
		if m.Name == "pep" { // what it announces depends on others
			*m = s.events.Module()
		}
		// Capabilities are the hash of what disco says; clients of an archive trust stanza-ids (XEP-0313 §8.3).
		m.Off = off[m.Name] || m.Name == "caps" && off["disco"] || m.Name == "archive" && off["stanzaid"] ||
			m.Name == "reports" && off["blocking"]
	}
	return out
}

// Run does what modules do by themselves, until ctx ends.
func (s *Set) Run(ctx context.Context) {
	var running sync.WaitGroup
	running.Go(func() { s.archive.Run(ctx) })
	running.Go(func() { s.rooms.Run(ctx) })
	running.Wait()
}

// Leave tells those who are in rooms that the server ends. It comes before streams are closed.
func (s *Set) Leave() { s.rooms.Close() }

// Close ends what modules do in the background. It comes before the store is closed.
func (s *Set) Close() {
	s.Forged.Close()
	s.strangers.Close()
	for _, n := range s.notices {
		n.Close()
	}
	s.pushes.Close()
}

// All makes the modules. Whoever else listens to changes of accounts must
// do so after All (see registration.New).
func All(d Deps) *Set {
	spaces := &spaces{Store: d.Store}
	d.Store = spaces
	off := func(name string) bool { return d.Config().Modules.Off[name] }

	contacts := roster.New(d.Router, d.Accounts, d.Store.Map("roster"),
		func() roster.Options {
			l := d.Config().Limits
			return roster.Options{MaxItems: l.RosterItems, MaxGroups: l.RosterGroups, MaxBytes: l.RosterBytes}
		}, d.Log)
	hook := func() string {
		if off("forged") {
			return ""
		}
		return d.Config().HTTP.SenderHook
	}
	var events *pep.PEP
	cards := vcard.New(d.Router, d.Store.Map("vcard"), func() int { return d.Config().Limits.VCardBytes },
		func(b *router.Batch, c vcard.Change, written *storage.Pending) *storage.Pending {
			if off("pep") {
				return written
			}
			return events.PhotoChanged(b, pep.PhotoChange(c), written)
		}, d.Log)
	pieces := private.New(d.Router, d.Store.Map("private"), func() int { return d.Config().Limits.PrivateBytes },
		func() private.Bookmarks {
			if off("pep") {
				return nil
			}
			return events
		}, d.Log)
	discovery := disco.New(disco.Options{Router: d.Router, Users: d.Accounts, Roster: contacts, Node: caps.Node, Ver: caps.Ver,
		Nodes: func() disco.Nodes {
			if off("pep") {
				return nil
			}
			return events.Nodes()
		},
		Replies: func() bool { return hook() != "" },
		Shared: func() []string {
			if domain := d.Config().Modules.MUC.Domain; domain != "" {
				return []string{domain}
			}
			return nil
		},
		Forms: []disco.Form{func(host string) *xmpp.Element {
			if h := d.Config().Host(host); h != nil && !off("contact") {
				return contact.Form(&h.Contact)
			}
			return nil
		}}})
	register := registration.New(registration.Options{Router: d.Router, Accounts: d.Accounts, Log: d.Log,
		Policy: func() config.Registration {
			if off("registration") {
				return config.RegistrationClosed
			}
			return d.Config().Registration
		},
		Limits: func() registration.Limits {
			l := &d.Config().Limits
			return registration.Limits{Creations: registration.Rate{Burst: l.Registrations, Every: l.RegistrationEvery},
				Attempts: registration.Rate{Burst: l.RegistrationAttempts, Every: l.RegistrationAttemptEvery}}
		}})

	blocked := blocking.New(d.Router, d.Store.Map("blocking"), contacts, d.Log)
	blocks := func(user, other jid.JID) bool { return !off("blocking") && blocked.Blocks(user, other) }

	events = pep.New(pep.Options{Router: d.Router, Contacts: contacts, Blocks: blocks, Verify: caps.Verify, Log: d.Log,
		Nodes: d.Store.Map("pep"), Items: d.Store.Map("pep-items"), Caps: d.Store.Map("pep-caps"),
		Limits: func() pep.Limits {
			l := d.Config().Limits
			return pep.Limits{Nodes: l.PEPNodes, Items: l.PEPItems, ItemBytes: l.PEPItemBytes, Bytes: int64(l.PEPBytes)}
		},
		Full: d.Space.Low,
		Photos: func() pep.Photos {
			if off("vcard") {
				return nil
			}
			return cards
		},
		Private: func() pep.Private {
			if off("private") {
				return nil
			}
			return pieces
		}})
	var guard *strangers.Strangers
	contacts.OnChange(func(b *router.Batch, user, contact jid.JID, gained bool) {
		if !off("strangers") {
			guard.Known(user, contact)
		}
		if !off("pep") {
			events.ContactChanged(b, user, contact, gained)
		}
	})

	fakes := forged.New(forged.Options{Router: d.Router, Users: d.Accounts, Store: d.Store.Map("forged"), Replies: d.Store.Log("forged"), Log: d.Log,
		Hook: hook})

	messages := archive.New(archive.Options{Router: d.Router, Messages: d.Store.Log("archive"), Prefs: d.Store.Map("archive-prefs"),
		Contacts: contacts, Full: d.Space.Low, Log: d.Log,
		Limits: func() archive.Limits {
			c := d.Config()
			return archive.Limits{Page: c.Limits.ArchivePage, Keep: c.Modules.Archive.Keep, Bytes: int64(c.Limits.ArchiveBytes)}
		}})

	rooms := muc.New(muc.Options{Router: d.Router, Rooms: d.Store.Map("rooms"), Archive: d.Store.Log("rooms"),
		Full: d.Space.Low, Log: d.Log,
		Domains: func() []string { return d.Config().RoomDomains() },
		Limits: func() muc.Limits {
			c := d.Config()
			l := &c.Limits
			return muc.Limits{Occupants: l.RoomOccupants, RoomsPerUser: l.RoomsPerUser, MessageRate: l.RoomMessageRate, History: l.RoomHistory,
				Page: l.ArchivePage, Keep: c.Modules.MUC.Keep, OpenNewRooms: c.Modules.MUC.OpenNewRooms,
				HistoryBytes: int64(l.RoomHistoryBytes), Memory: int64(l.RoomHistoryMemory),
				ArchiveBytes: int64(l.RoomArchiveBytes), MadeBytes: int64(l.RoomsArchiveBytes)}
		},
		Exempt: func(user jid.JID) bool {
			r, err := d.Accounts.Rights(context.Background(), user)
			return err == nil && r.Has(accounts.PermAdmin)
		}})

	pushes := push.New(push.Options{Router: d.Router, Store: d.Store.Map("push"), Log: d.Log, Settings: func() push.Settings {
		s := d.Config().Modules.Push
		return push.Settings{Content: push.Content(s.Content), Registrations: s.Registrations, Interval: s.Interval}
	}})

	admins := notices.New(notices.Options{Router: d.Router, Every: notices.ToAdmins, From: func(host string) string { return host },
		To: func(host string) []jid.JID { return adminsOf(d.Config(), host) }})

	reminders := notices.New(notices.Options{Router: d.Router, Every: notices.ToUsers, From: hostOf,
		To: func(user string) []jid.JID {
			j, err := jid.Parse(user)
			if err != nil {
				return nil
			}
			return []jid.JID{j}
		}})
	guard = strangers.New(strangers.Options{Router: d.Router, Users: d.Accounts, Contacts: contacts, Log: d.Log,
		Written: d.Store.Map("strangers"), Held: d.Store.Log("strangers"),
		Full: d.Space.Low, Tell: admins.Add, Remind: reminders.Add,
		Policy:     func(host string) strangers.Policy { return strangers.Policy(d.Config().Modules.Strangers.Of(host)) },
		Recipients: func() int { return d.Config().Modules.Strangers.Recipients },
		Admin:      func(host string, who jid.JID) bool { return slices.Contains(adminsOf(d.Config(), host), who) },
		Exempt: func(user jid.JID) bool {
			r, err := d.Accounts.Rights(context.Background(), user)
			// Under the name of no account only programs post that were given one for the gateway.
			return err == nil && (!r.Active() || r.Has(accounts.PermAdmin) || r.Has(accounts.PermMulticast) || r.Has(accounts.PermGateway))
		}})

	all := []router.Module{
		blocked.Module(),
		markers.New(d.Router),
		stanzaid.New(d.Router),
		// Before presence and carbons, which act on what leaves; a name is made an address first.
		multicast.New(multicast.Options{Router: d.Router, Blocks: blocks, Log: d.Log,
			Domains:       func() []string { return multicasts(d.Config()) },
			MaxRecipients: func() int { return d.Config().HTTP.MaxRecipients },
			May: func(user jid.JID) (bool, error) {
				r, err := d.Accounts.Rights(context.Background(), user)
				return err == nil && r.Has(accounts.PermMulticast), err
			}}),
		reports.New(reports.Options{Tell: admins.Add, Log: d.Log}),
		contacts.Module(),
		// Before pep and presence, which act on what a user broadcasts.
		caps.New(discovery.Info),
		// Before presence, which settles what a user broadcasts, and before all that keeps or copies messages.
		events.Module(),
		// After the roster, and before presence and all that keeps or copies messages.
		guard.Module(),
		// Before presence, which settles what a user broadcasts.
		last.New(last.Options{Router: d.Router, Users: d.Accounts, Roster: contacts, Store: d.Store.Map("last"), Log: d.Log}),
		presence.New(d.Router, contacts, blocks, d.Log),
		// Before carbons and offline, whose copies bear the archive's ids.
		messages.Module(),
		carbons.New(d.Router),
		fakes.Module(),
		offline.New(d.Router, contacts, d.Store.Log("offline"),
			func() offline.Options {
				o := d.Config().Modules.Offline
				return offline.Options{MaxMessages: o.MaxMessages, MaxBytes: o.MaxBytes, Full: d.Space.Out()}
			}, d.Log),
		pushes.Module(),
		rooms.Module(),
		discovery.Module(),
		ping.New(d.Router),
		version.New(d.Router, d.Version),
		time.New(d.Router),
		cards.Module(),
		pieces.Module(),
		register.Module(),
		contact.New(),
	}
	return &Set{Registration: register, Forged: fakes, all: all, archive: messages, events: events, rooms: rooms, pushes: pushes, strangers: guard, spaces: spaces,
		notices: []*notices.Notices{admins, reminders}, config: d.Config}
}

// hostOf is the domain of an address.
func hostOf(address string) string {
	j, err := jid.Parse(address)
	if err != nil {
		return ""
	}
	return j.Domain()
}

// adminsOf are the administrators of a host.
func adminsOf(c *config.Config, host string) (all []jid.JID) {
	h := c.Host(host)
	if h == nil {
		return nil
	}
	for _, a := range h.Admins {
		if j, err := jid.Parse(a); err == nil { // they have been checked
			all = append(all, j)
		}
	}
	return all
}

// multicasts are the domains of the multicast service: one below each host, unless it is a component's.
func multicasts(c *config.Config) []string {
	var all []string
	for _, h := range c.Hosts {
		domain := addresses.Name + "." + h.Domain
		if _, taken := c.Component.Secrets[domain]; !taken {
			all = append(all, domain)
		}
	}
	return all
}
