// Package posting is what features say to each other about a message that is posted for an account: a hook or a bot
// makes a Draft, and the service behind POST /message (modules/httpmessage) sends it as it sends its own. There is one
// way to post, with one set of permissions, limits, reports and lines in the log.
package posting

import (
	"context"

	"jackdaw/router"
	"jackdaw/router/accounts"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// A Draft is one message for one or many.
type Draft struct {
	// Account is for whom it is posted, bare: its permissions as they are now, its budget, the block lists that know it.
	Account jid.JID
	// By says in the log which feature posts, such as "hook ops"; never a secret.
	By string
	// From is the sender; zero: the account. Any other than the account is forged (docs/http.md §6).
	From jid.JID
	// To are the recipients, each of which gets a copy; more than one needs the permission for multicast.
	To []jid.JID
	// Stanza is the message without sender and recipient.
	Stanza xmpp.Stanza
	// Attachments are files that the message is to tell of; its body gets their addresses.
	Attachments []Attachment
	// Key tells a repetition from another message, within the account, for a day; "": each is another.
	Key string
	// Lenient sends the copies that are allowed where others are not.
	Lenient bool
	// Dry sends and keeps nothing: the report is what would happen, as far as one can tell.
	Dry bool
	// Source is where the request came from: one that is exempt has no budget.
	Source accounts.Source
}

// An Attachment is a file: where it is, or what is in it.
type Attachment struct {
	Name string // "" is unknown; needed with Data
	Type string // of its media; "" is unknown
	URL  string // https or http
	Size int64  // bytes; 0 is unknown
	// Data is kept in the account's name, as one of its uploads, where there is no URL.
	Data []byte
}

// A Report is what became of a Draft.
type Report struct {
	ID         string // of the post, as in the log
	Recipients []Recipient
	Replayed   bool // the draft was a repetition, and nothing was sent
}

// A Recipient and what became of its copy.
type Recipient struct {
	To      jid.JID
	Outcome router.Outcome
	Reason  string // of a refusal: a condition of RFC 6120 §8.3.3 or a word of docs/http.md
	// StanzaID is the id under which the recipient has archived it, a user or a room of this server (XEP-0359); 0 of
	// others, of those that keep nothing, and of a repetition.
	StanzaID uint64
}

// A Refusal is the error of a draft of which nothing was sent.
type Refusal struct {
	Status int    // as POST /message would answer, such as 403
	Text   string // one line, for the one who posted
	Retry  int    // seconds, of 429 and 503; else 0
	// Recipients are those that are the reason, if it is about recipients.
	Recipients []Recipient
}

// Error implements error.
func (r *Refusal) Error() string { return r.Text }

// A Post sends a draft. It returns when all that it calls accepted is durable; its error is a *Refusal.
type Post func(ctx context.Context, d Draft) (Report, error)
