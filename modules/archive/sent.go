package archive

import (
	"jackdaw/modules/internal/mam"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp/jid"
)

// copiesAtOnce is how many copies for senders without a session are written at the same time.
const copiesAtOnce = 32

// A sentCopy is what an account that sends without a session, over HTTP, gets into its archive where storage is far. It
// is written beside the way of the message: a message to thousands does not wait for storage twice as often.
type sentCopy struct {
	a       *Archive
	written chan struct{} // closed when id and dup are known
	id      uint64
	dup     bool
	pending *storage.Pending
}

// posted archives for the sender what an account has posted over HTTP in its own name.
func (a *Archive) posted(e *router.Envelope) {
	if e.Session != nil || e.Left || e.Carried || e.Peer != "" || e.Account.IsZero() ||
		!e.Stanza.From.MatchesBare(e.Account) ||
		e.Stanza.To.MatchesBare(e.Account) || e.SentID != 0 || !worthKeeping(e.Stanza) {
		return
	}
	if !a.o.Far {
		a.sent(e, e.Account, e.Stanza.From)
		return
	}
	n := sentEntry(e, e.Account, e.Stanza.From)
	wanted, err := a.wants(n.owner, n.with)
	if err != nil {
		a.unable(e, n.owner, err)
		return
	}
	if !wanted {
		return
	}
	name := n.owner.String()
	n.stanza = a.clean(n.stanza, name)
	owned := n.stanza.Clone()
	n.stanza = &owned
	c := &sentCopy{a: a, written: make(chan struct{}), pending: storage.NewPending()}
	if e.Durable {
		e.Await(c.pending)
	}
	e.OnRefusal(c.takeBack, name, 0)
	a.copies <- struct{}{}
	go c.write(name, n)
}

func (c *sentCopy) write(owner string, n entry) {
	defer func() { <-c.a.copies }()
	record := storage.Record{Peer: n.with.Bare().String(), Data: mam.AppendMessage(nil, n.stanza)}
	var durable *storage.Pending
	var err error
	c.id, c.dup, durable, err = c.a.write(owner, record, n.dedup, storage.Span{})
	close(c.written)
	if err != nil {
		c.a.o.Log.Warn("post not archived for its sender", "owner", owner, "error", err)
		c.pending.Finish(err)
		return
	}
	if !c.dup {
		c.a.retract(n)
		c.a.search.grown(owner)
	}
	durable.Then(c.pending.Finish)
}

// takeBack removes the copy of a message that was refused after all.
func (c *sentCopy) takeBack(owner string, _ uint64) {
	<-c.written
	if c.id != 0 && !c.dup {
		c.a.takeBack(owner, c.id)
	}
}

// sentEntry is what goes into the archive of a sender.
func sentEntry(e *router.Envelope, owner, from jid.JID) entry {
	s := e.Stanza
	if s.From != from {
		own := *s
		own.From = from
		s = &own
	}
	key := e.DedupKey()
	if key != "" {
		key = sentKey(s.To, key)
	}
	return entry{owner: owner, with: s.To, author: owner, stanza: s, dedup: key}
}

// sentKey tells a sent message from its repetition: one origin-id or key may serve several recipients.
func sentKey(to jid.JID, key string) string { return "sent " + to.Bare().String() + " " + key }

// unable deals with a message that cannot be archived: what is promised to the sender is refused.
func (a *Archive) unable(e *router.Envelope, owner jid.JID, err error) {
	if e.Durable {
		e.Refuse(router.Unavailable())
		return
	}
	a.o.Log.Warn("message not archived", "owner", owner, "error", err)
}
