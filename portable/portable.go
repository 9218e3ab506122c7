// Package portable moves accounts between servers in the format of XEP-0227: Export writes it, Import reads it, and
// Flatten makes one plain file of what other servers have written: of several files that include each other (§5), and
// of what they write in ways of their own.
//
// It knows the format and the account itself. What modules keep, each says how to write and read in its
// router.Portable. Beside the format there are elements in the namespace NS, for what other servers have no place for:
// whether an account is disabled, its permissions, rooms. Others ignore them, as §4 has it.
//
// Files may be larger than memory and may have been written by anybody. One element of a file is held at a time, and
// all of it is bounded (xml.go). What an import brings never replaces what is there, so that one that was cut off can
// be run again, and an account can be logged in to when all of it has come, not before.
//
// Left out: privacy lists as such, of which what blocks an address is taken over.
package portable

import (
	"context"

	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// Namespaces of the format.
const (
	NSPie   = router.NSPie
	NSScram = "urn:xmpp:pie:0#scram"
	NS      = router.NSPortable
)

var (
	serverData = xmpp.Name{Space: NSPie, Local: "server-data"}
	hostName   = xmpp.Name{Space: NSPie, Local: "host"}
	userName   = xmpp.Name{Space: NSPie, Local: "user"}
	scramName  = xmpp.Name{Space: NSScram, Local: "scram-credentials"}
	ownName    = xmpp.Name{Space: NS, Local: "account"}
	// lostName is of what could not be written of another server: it is for the report.
	lostName = xmpp.Name{Space: NS, Local: "lost"}
)

// Accounts is what is needed of router/accounts.
type Accounts interface {
	Exists(ctx context.Context, user jid.JID) (bool, error)
	Whole(ctx context.Context, user jid.JID) (storage.Account, error)
	Await(ctx context.Context, user jid.JID) error
	Restore(ctx context.Context, user jid.JID, a storage.Account, password string) error
	// Each calls f with the users of a domain, or of all domains if it is empty, in order.
	Each(ctx context.Context, domain string, f func(user jid.JID) error) error
}

// A Server is where accounts come from or go to.
type Server struct {
	Accounts Accounts
	// Parts are those of all modules.
	Parts []router.Portable
	// Served says whether a domain is one of the server's hosts.
	Served func(domain string) bool
	// Home says whether an account is at home at this node; others are passed over. Nil: all are.
	Home func(user jid.JID) bool
}

// Progress is how far an export or import has come.
type Progress struct {
	Accounts int    `json:"accounts"` // done, or looked at
	Things   int    `json:"things"`   // contacts, messages and the like
	Now      string `json:"now"`      // the account that it is at
}
