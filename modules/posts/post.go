package posts

import (
	"context"
	"time"

	"jackdaw/modules/internal/posting"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp/jid"
)

// A post is what is known of one. It implements posting.Tracking. The tracker's mu guards it, but for what Begin sets.
type post struct {
	t         *Tracker
	of        *account
	id        uint64
	sender    jid.JID
	messageID string // of its message; "": the id of the post
	said      bool   // its sender is told the id
	to        []recipient
	one       [1]recipient

	places  map[jid.JID]int // of recipients, once somebody has looked; nil for few
	settled bool
	page    *page         // where it is written; nil: not settled yet
	open    int           // recipients of whom more is to be expected soon
	waiting chan struct{} // closed when open falls to 0; nil: nobody waits
}

// A recipient and what became of its copy.
type recipient struct {
	to      jid.JID
	at      uint64 // stamp of the outcome
	reason  string
	outcome router.Outcome
	open    bool
}

// What a post and a recipient take in memory, roughly, and on disk hardly more.
const (
	postCost      = 256
	recipientCost = 96
)

func (p *post) size() int { return postCost + recipientCost*len(p.to) }

// message is the id of the post's message.
func (p *post) message() string {
	if p.messageID != "" {
		return p.messageID
	}
	return nameOf(p.id)
}

// says says whether the post's message has this id.
func (p *post) says(message string) bool {
	if p.messageID != "" {
		return p.messageID == message
	}
	return idOf(message) == p.id
}

// few is how many recipients are looked through one by one.
const few = 16

// find returns the place of a recipient: of this address, else of the bare one; -1 if there is none. The caller holds
// mu.
func (p *post) find(who jid.JID) int {
	for _, want := range [2]jid.JID{who, who.Bare()} {
		if len(p.to) <= few {
			for i := range p.to {
				if p.to[i].to == want {
					return i
				}
			}
			continue
		}
		if p.places == nil {
			p.places = make(map[jid.JID]int, len(p.to))
			for i := range p.to {
				p.places[p.to[i].to] = i
			}
		}
		if i, ok := p.places[want]; ok {
			return i
		}
	}
	return -1
}

// rank orders the outcomes: a copy goes up only.
func rank(o router.Outcome) int {
	switch o {
	case router.Undecided:
		return 0
	case router.Stored, router.Queued:
		return 1
	case router.Delivered:
		return 2
	case router.Taken:
		return 3
	case router.Bounced:
		return 4
	case router.Received: // whatever an error said before
		return 5
	case router.Displayed:
		return 6
	default: // refused, and what nobody has
		return 7
	}
}

// become notes what became of a copy and says whether that is news. The caller holds mu.
func (p *post) become(i int, o router.Outcome, reason string) bool {
	r := &p.to[i]
	if rank(o) <= rank(r.outcome) {
		return false
	}
	r.outcome, r.reason, r.at = o, reason, p.t.stamp()
	if r.open {
		r.open = false
		p.closeOne()
	}
	if p.settled {
		p.t.changed(p, i)
	}
	return true
}

// closeOne notes that of one recipient less nothing more is to be expected soon. The caller holds mu.
func (p *post) closeOne() {
	if p.open--; p.open == 0 {
		p.release()
	}
}

// release lets those go who wait for the post. The caller holds mu.
func (p *post) release() {
	if p.waiting != nil {
		close(p.waiting)
		p.waiting = nil
	}
}

// Settle implements posting.Tracking.
func (p *post) Settle(of func(i int) (router.Outcome, string, bool)) *storage.Pending {
	t := p.t
	t.writes.RLock()
	defer t.writes.RUnlock()
	t.mu.Lock()
	if t.accounts[p.of.name] != p.of { // it has been removed meanwhile
		t.mu.Unlock()
		return nil
	}
	now := t.stamp()
	for i := range p.to {
		outcome, reason, open := of(i)
		if r := &p.to[i]; r.outcome == router.Undecided {
			r.outcome, r.reason, r.at = outcome, reason, now
			if open {
				r.open = true
				p.open++
			}
		}
	}
	p.settled = true
	t.publish(p, -1)
	if !p.said {
		t.place(p)
		t.mu.Unlock()
		return nil
	}
	g := newPage(p)
	g.writing = true
	data := g.encode()
	t.mu.Unlock()
	pending, err := t.write(context.Background(), g, data)
	if err != nil {
		t.o.Log.Warn("what becomes of a post is not kept yet", "account", p.of.name, "id", nameOf(p.id), "error", err)
		return nil // it is tried again
	}
	return pending
}

// Drop implements posting.Tracking.
func (p *post) Drop() {
	t := p.t
	t.mu.Lock()
	defer t.mu.Unlock()
	if p.of.posts[p.id] == p && p.page == nil {
		delete(p.of.posts, p.id)
		t.unsaved -= p.size()
		t.tidy(p.of)
	}
}

// Wait implements posting.Tracking.
func (p *post) Wait(ctx context.Context) bool {
	t := p.t
	t.mu.Lock()
	if p.open == 0 {
		t.mu.Unlock()
		return true
	}
	if t.waits >= maxWaits || p.of.waits >= maxWaitsOf || t.quitting {
		t.mu.Unlock()
		return false
	}
	t.waits++
	p.of.waits++
	if p.waiting == nil {
		p.waiting = make(chan struct{})
	}
	over := p.waiting
	t.mu.Unlock()
	select {
	case <-over:
	case <-ctx.Done():
	case <-t.quit:
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waits--
	p.of.waits--
	t.tidy(p.of)
	return true
}

// Now implements posting.Tracking.
func (p *post) Now(i int) (router.Outcome, string) {
	p.t.mu.Lock()
	defer p.t.mu.Unlock()
	return p.to[i].outcome, p.to[i].reason
}

// record is what is told of the post, with limit recipients from the first on. The caller holds mu.
func (p *post) record(first, limit int) posting.Record {
	r := posting.Record{ID: nameOf(p.id), Account: p.of.name, MessageID: p.message(), Sender: p.sender,
		At: time.UnixMicro(int64(p.id)), Total: len(p.to), Counts: map[router.Outcome]int{}, First: first}
	for i := range p.to {
		r.Counts[p.to[i].outcome]++
	}
	if first = max(first, 0); first < len(p.to) {
		for i := first; i < len(p.to) && i-first < limit; i++ {
			r.Recipients = append(r.Recipients, p.became(i))
		}
	}
	return r
}

// became is one recipient of it. The caller holds mu.
func (p *post) became(i int) posting.Became {
	r := &p.to[i]
	return posting.Became{To: r.to, Outcome: r.outcome, Reason: r.reason, At: time.UnixMicro(int64(r.at))}
}
