// Package modules is the list of the server's features, in the order in which
// they take part in every stage, and nothing else.
//
// httpmessage is not in it: it is a service over HTTP that posts into the router.
package modules

import (
	"log/slog"
	"slices"

	"jackdaw/config"
	"jackdaw/modules/blocking"
	"jackdaw/modules/caps"
	"jackdaw/modules/carbons"
	"jackdaw/modules/contact"
	"jackdaw/modules/disco"
	"jackdaw/modules/last"
	"jackdaw/modules/offline"
	"jackdaw/modules/ping"
	"jackdaw/modules/presence"
	"jackdaw/modules/private"
	"jackdaw/modules/registration"
	"jackdaw/modules/roster"
	"jackdaw/modules/stanzaid"
	"jackdaw/modules/time"
	"jackdaw/modules/vcard"
	"jackdaw/modules/version"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
)

// Deps are what the modules need; all are.
type Deps struct {
	Router   *router.Router
	Store    Store    // a storage.Engine
	Accounts Accounts // router/accounts
	// Config returns the configuration in force. What modules there are is read once, contact
	// addresses and the policy of registration each time.
	Config  func() *config.Config
	Version string // of the build
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
}

// A Set is what All returns.
type Set struct {
	Modules      []router.Module            // for router.Use
	Registration *registration.Registration // for c2s, before login; never nil
}

// All returns the modules that are not turned off. Whoever else listens to changes of accounts must
// do so after All (see registration.New).
func All(d Deps) *Set {
	c := d.Config()
	off := c.Modules.Off

	contacts := roster.New(d.Router, d.Accounts, d.Store.Map("roster"),
		roster.Options{MaxItems: c.Limits.RosterItems, MaxGroups: c.Limits.RosterGroups}, d.Log)
	finder := disco.Options{Router: d.Router, Roster: contacts}
	if !off["caps"] {
		finder.Node, finder.Ver = caps.Node, caps.Ver
	}
	if !off["contact"] {
		finder.Forms = []disco.Form{func(host string) *xmpp.Element {
			if h := d.Config().Host(host); h != nil {
				return contact.Form(&h.Contact)
			}
			return nil
		}}
	}
	discovery := disco.New(finder)
	register := registration.New(registration.Options{Router: d.Router, Accounts: d.Accounts, Log: d.Log,
		Policy: func() config.Registration {
			if off["registration"] {
				return config.RegistrationClosed
			}
			return d.Config().Registration
		}})

	blocked := blocking.New(d.Router, d.Store.Map("blocking"), contacts, d.Log)
	var blocks presence.Blocks // nil: nobody is blocked
	if !off["blocking"] {
		blocks = blocked.Blocks
	}

	all := []router.Module{
		blocked.Module(),
		stanzaid.New(d.Router),
		contacts.Module(),
		// Before presence, which settles what a user broadcasts.
		last.New(last.Options{Router: d.Router, Users: d.Accounts, Roster: contacts, Store: d.Store.Map("last"), Log: d.Log}),
		presence.New(d.Router, contacts, blocks, d.Log),
		carbons.New(d.Router),
		offline.New(d.Router, d.Store.Log("offline"), offline.Options(c.Modules.Offline), d.Log),
		discovery.Module(),
		caps.New(discovery.Info),
		ping.New(d.Router),
		version.New(d.Router, d.Version),
		time.New(d.Router),
		vcard.New(d.Router, d.Store.Map("vcard"), d.Log),
		private.New(d.Router, d.Store.Map("private"), d.Log),
		register.Module(),
		contact.New(),
	}
	all = slices.DeleteFunc(all, func(m router.Module) bool {
		// Capabilities are the hash of what disco says.
		return off[m.Name] || m.Name == "caps" && off["disco"]
	})
	return &Set{Modules: all, Registration: register}
}
