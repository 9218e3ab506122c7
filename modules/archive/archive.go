// Package archive keeps what users send and receive and gives it back to their clients: Message
// Archive Management (XEP-0313) for accounts, with preferences (XEP-0441), tombstones for
// retracted messages (XEP-0424) and, if it is turned on, a search for what messages say (XEP-0431).
//
// A message gets into the recipient's archive when the router knows that there is such an account and who takes the
// message (the stages delivering and unclaimed), never before: whoever is not there gets no archive, and whoever is
// blocked is in none. Into the sender's it gets when it leaves. If it is refused after that, for lack of room or by a
// peer's policy, it is taken out of both again. The id of the record goes with the message to the recipient's sessions,
// and with the sender's carbons.
//
// What is left out: messages of rooms, which have archives of their own; copies that an API account or a forged sender
// posts are in the recipient's archive only, as are posts to services of this server.
package archive

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"jackdaw/modules/internal/mam"
	"jackdaw/modules/internal/parts"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// Limits of the archives.
type Limits struct {
	Page int           // messages of one answer
	Keep time.Duration // how long a message stays; 0: for ever
	// Bytes are those that one account may have, 0 for no bound; beyond, its oldest messages go.
	Bytes int64
	// Search says whether messages are found by what they say, and Index is how many bytes that may take of one account.
	Search bool
	Index  int64
}

// Contacts knows who is in a user's roster. Both addresses are bare.
type Contacts interface {
	Has(user, contact jid.JID) (bool, error)
}

// Options of New; all but Full, Far, Segments and Lists are needed.
type Options struct {
	Router   *router.Router
	Messages storage.Log // nobody else writes it
	Prefs    storage.Map // likewise
	Segments storage.Log // of the index; nil: there is none
	Lists    storage.Map // goes with Segments
	Contacts Contacts
	Limits   func() Limits // asked whenever it matters
	Full     func() bool   // whether the disk has no room for archives now; nil: it always has
	Far      bool          // whether a write takes a round trip (config.Storage)
	Log      *slog.Logger
}

// An Archive is the module. It is safe for concurrent use.
type Archive struct {
	o      Options
	prefs  *prefsCache
	keeper mam.Keeper

	search *search

	refused remains

	undo   func(owner string, id uint64) // takeBack, made once
	copies chan struct{}                 // has an entry for each sentCopy that is being written

	desk mam.Desk
}

// Of makes the archive of a server.
func Of(p parts.Parts, contacts Contacts) *Archive {
	return New(Options{Router: p.Router, Messages: p.Store.Log("archive"), Prefs: p.Store.Map("archive-prefs"),
		Segments: p.Store.Log("archive-index"), Lists: p.Store.Map("archive-index"),
		Contacts: contacts, Full: p.Space.Low, Far: p.Config().Storage.Far(), Log: p.Log,
		Limits: func() Limits {
			c := p.Config()
			return Limits{Page: c.Limits.ArchivePage, Keep: c.Modules.Archive.Keep, Bytes: int64(c.Limits.ArchiveBytes),
				Search: c.Modules.Archive.Search && !c.Modules.Off["archive"], Index: int64(c.Limits.ArchiveIndexBytes)}
		}})
}

// New returns the module; Run must be called for messages to go when their time has come.
func New(o Options) *Archive {
	a := &Archive{o: o, prefs: newPrefsCache(o.Prefs), search: newSearch(o), copies: make(chan struct{}, copiesAtOnce),
		desk: mam.Desk{Router: o.Router, Log: o.Log, Limit: func() int { return o.Limits().Page }}}
	a.undo = a.takeBack
	a.keeper = mam.Keeper{Log: o.Messages, Keep: func() time.Duration { return o.Limits().Keep }, Own: a.keepOf,
		Logger: o.Log}
	return a
}

// Run removes messages whose time has come, or that were refused, and keeps up to date what they are found by, until
// ctx ends.
func (a *Archive) Run(ctx context.Context) {
	var beside sync.WaitGroup
	if a.search != nil {
		beside.Go(func() { a.search.Run(ctx) })
	}
	beside.Go(func() { a.takeOut(ctx) })
	a.keeper.Run(ctx)
	beside.Wait()
}

// Features of XEP-0424 §3 and §5.
const (
	nsRetract        = "urn:xmpp:message-retract:1"
	featureTombstone = "urn:xmpp:message-retract:1#tombstone"
)

// Module says where the archive takes part. It comes after what may stop or change a message, and before what copies or
// stores it.
func (a *Archive) Module() router.Module {
	own := func(name xmpp.Name, handle func(*router.Envelope, *xmpp.Element)) router.IQ {
		return router.IQ{Payload: name, Scope: router.Account, Handle: owned(name, handle),
			Others: xmpp.Forbidden("")} // XEP-0313 §8.1
	}
	return router.Module{
		Name:  "archive",
		Needs: []string{"stanzaid"}, // clients of an archive trust its ids (XEP-0313 §8.3)
		Specs: []router.Spec{
			{Name: "XEP-0059", Version: "1.0", Note: "no pages by index"},
			{Name: "XEP-0313", Version: "1.1.3", Note: "no messages of rooms"},
			{Name: "XEP-0424", Version: "0.4.2", Note: "tombstones"},
			{Name: "XEP-0431", Version: "0.2.0", Note: "if turned on"},
			{Name: "XEP-0441", Version: "0.2.0"},
		},
		Features: []string{nsRetract},
		AccountFeatures: []string{mam.Feature, mam.FeatureExtended, mam.FeatureGroupchat, xmpp.NSRSM, nsRetract,
			featureTombstone},
		AccountFeaturesNow: a.features,
		Inline:             []router.Inline{{Bind: a.bound}},
		IQ: []router.IQ{own(mam.QueryName, a.query), own(mam.MetadataName, a.metadata),
			own(mam.PrefsName, a.preferences)},
		Leaving:    router.Stage{Message: a.leaving},
		Departing:  router.Stage{Message: a.posted},
		Delivering: func(e *router.Envelope, _ []*router.Session) { a.arrived(e) },
		Unclaimed:  a.arrived,
		Portable:   a.portable(),
		HandedOver: a.posted,
		Moved:      a.moved,
		Removed:    a.removed,
	}
}

// leaving archives what a session sends. What goes to the own account is archived where it arrives, once.
func (a *Archive) leaving(e *router.Envelope) {
	if !e.FromOwn() {
		a.sent(e, e.Session.Bare(), e.Session.Addr())
	}
}

// sent puts a message into its sender's archive.
func (a *Archive) sent(e *router.Envelope, owner, from jid.JID) {
	if e.SentID != 0 || !worthKeeping(e.Stanza) {
		return
	}
	id, _ := a.append(e, sentEntry(e, owner, from))
	e.IdentifySent(id)
}

// arrived puts a message into its recipient's archive and stamps it.
func (a *Archive) arrived(e *router.Envelope) {
	if e.StanzaID != 0 {
		return
	}
	owner := e.Stanza.To.Bare()
	if owner.IsZero() { // RFC 6120 §10.3.1
		if owner = e.Stanza.From.Bare(); e.Session != nil {
			owner = e.Session.Bare()
		}
	}
	if e.Returned || e.Kept != 0 {
		// A session had been given it, and it was archived then.
		if e.Identify(router.StanzaID(e.Stanza, owner.String())); e.StanzaID == 0 {
			e.Identify(router.NoStanzaID)
		} else if e.Kept == 0 {
			e.OnRefusal(a.undo, owner.String(), e.StanzaID)
		}
		return
	}
	if a.posted(e); e.Settled() {
		return
	}
	if !worthKeeping(e.Stanza) {
		e.Identify(router.NoStanzaID)
		return
	}
	from := e.Stanza.From
	id, again := a.append(e, entry{owner: owner, with: from, author: from.Bare(), stanza: e.Stanza, dedup: e.DedupKey(),
		span: e.Span})
	if again {
		e.Repeat()
	}
	switch {
	case e.Settled():
	case id == 0:
		e.Identify(router.NoStanzaID)
	default:
		e.Identify(id)
		e.Stamp(owner.String(), id)
	}
}

// An entry is a message on its way into an archive.
type entry struct {
	owner  jid.JID
	with   jid.JID // the other side
	author jid.JID // bare
	stanza *xmpp.Stanza
	dedup  string
	span   storage.Span
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 1024); return &b }}

// append writes a record and returns its id, that of the first one if the message is a repetition, and 0 if it is not
// archived. What is promised to the sender and cannot be written is refused.
func (a *Archive) append(e *router.Envelope, n entry) (id uint64, again bool) {
	wanted, err := a.wants(n.owner, n.with)
	if err != nil {
		a.unable(e, n.owner, err)
		return 0, false
	}
	if !wanted {
		return 0, false
	}
	name := n.owner.String()
	buf := buffers.Get().(*[]byte)
	*buf = mam.AppendMessage((*buf)[:0], a.clean(n.stanza, name))
	id, again, p, err := a.write(name, storage.Record{Peer: n.with.Bare().String(), Data: *buf}, n.dedup, n.span)
	if cap(*buf) <= 64<<10 {
		buffers.Put(buf)
	}
	if err != nil {
		a.unable(e, n.owner, err)
		return 0, false
	}
	if e.Durable {
		e.Await(p)
	}
	if !again {
		e.OnRefusal(a.undo, name, id)
		a.retract(n)
		a.search.grown(name)
	}
	return id, again
}

var stanzaID = xmpp.Name{Space: xmpp.NSStanzaID, Local: "stanza-id"}

// clean is a message without ids in the owner's name, which only we give (XEP-0359 §3). What arrives has none any more;
// what a client sends may have.
func (a *Archive) clean(s *xmpp.Stanza, owner string) *xmpp.Stanza {
	if !s.Has(stanzaID) {
		return s
	}
	c := s.WithPayload(s.WithoutFunc(func(c xmpp.Child, raw []byte) bool {
		if c.Name != stanzaID {
			return false
		}
		el, err := xmpp.ParseElement(raw)
		if err != nil {
			return true
		}
		by, err := jid.Parse(el.Attr("by"))
		return err != nil || by.String() == owner
	}))
	return &c
}

// refusals bounds how many refused copies of one message are told apart.
const refusals = 50

// write appends a record, once for each deduplication value, unless the first was taken back since: then the
// value counts as another.
func (a *Archive) write(owner string, r storage.Record, dedup string, span storage.Span) (
	id uint64, dup bool, p *storage.Pending, err error) {
	ctx, most := context.Background(), a.o.Limits().Bytes
	for range refusals {
		id, dup, p, err = mam.Append(ctx, a.o.Messages, owner, r,
			storage.AppendOptions{Dedup: dedup, Span: span, MaxBytes: most})
		if err != nil || !dup {
			return id, dup, p, err
		}
		if !a.refused.has(owner, id) {
			if _, err = a.o.Messages.Get(ctx, owner, id); !errors.Is(err, storage.ErrNotFound) {
				return id, dup, p, err
			}
		}
		dedup += "+"
	}
	return mam.Append(ctx, a.o.Messages, owner, r, storage.AppendOptions{MaxBytes: most})
}

func (a *Archive) removed(user jid.JID) error {
	ctx, name := context.Background(), user.String()
	a.prefs.forget(name)
	p, err := a.o.Prefs.DeleteOwner(ctx, name)
	if err != nil {
		return err
	}
	if err := a.keeper.Clear(ctx, name); err != nil {
		return err
	}
	q, err := a.o.Messages.DeleteOwner(ctx, name)
	if err != nil {
		return err
	}
	if err := errors.Join(p.Wait(ctx), q.Wait(ctx)); err != nil || a.search == nil {
		return err
	}
	return a.search.Remove(ctx, name)
}
