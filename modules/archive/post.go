package archive

import (
	"jackdaw/modules/internal/mam"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp/jid"
)

// posting is how many copies of posts are written at the same time.
const posting = 32

// A post is a copy for the archive of an account that posts without a session. Nobody waits for its id, so it is written
// beside the way of the message: a post to thousands does not wait for storage twice as often.
type post struct {
	a       *Archive
	written chan struct{} // closed when id and dup are known
	id      uint64
	dup     bool
	pending *storage.Pending
}

// posted archives for the sender what an account has posted in its own name, without a session.
func (a *Archive) posted(e *router.Envelope) {
	if e.Session != nil || e.Left || e.Peer != "" || e.Account.IsZero() || !e.Stanza.From.MatchesBare(e.Account) ||
		e.Stanza.To.MatchesBare(e.Account) || e.SentID != 0 || !worthKeeping(e.Stanza) {
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
	p := &post{a: a, written: make(chan struct{}), pending: storage.NewPending()}
	if e.Durable {
		e.Await(p.pending)
	}
	e.OnRefusal(p.takeBack, name, 0)
	a.posts <- struct{}{}
	go p.write(name, n)
}

func (p *post) write(owner string, n entry) {
	defer func() { <-p.a.posts }()
	record := storage.Record{Peer: n.with.Bare().String(), Data: mam.AppendMessage(nil, n.stanza)}
	var durable *storage.Pending
	var err error
	p.id, p.dup, durable, err = p.a.write(owner, record, n.dedup)
	close(p.written)
	if err != nil {
		p.a.o.Log.Warn("post not archived for its sender", "owner", owner, "error", err)
		p.pending.Finish(err)
		return
	}
	if !p.dup {
		p.a.retract(n)
	}
	durable.Then(p.pending.Finish)
}

// takeBack removes the copy of a post that was refused after all.
func (p *post) takeBack(owner string, _ uint64) {
	<-p.written
	if p.id != 0 && !p.dup {
		p.a.takeBack(owner, p.id)
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
