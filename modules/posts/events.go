package posts

import (
	"context"
	"strings"

	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// An answer is something that happened to a message of a post.
type answer struct {
	sender  jid.JID // of the message
	message string  // its id
	who     jid.JID // the recipient, as far as one can tell
	outcome router.Outcome
	reason  string
}

// A job is an answer to a post that has to be looked for.
type job struct {
	answer
	at []place // nil: nobody knows yet
}

// sequel is told by the router what becomes of messages that are tracked.
func (t *Tracker) sequel(s router.Sequel) {
	t.came(answer{sender: s.From, message: s.ID, who: s.To, outcome: s.Outcome})
}

// leaving sees what sessions of ours send, whoever gets it, but for users who are at home on another node, where their
// posts are known; arriving what comes for our users from elsewhere, errors of the server itself among it.
func (t *Tracker) leaving(e *router.Envelope) {
	if to := e.Stanza.To; !t.o.Router.Serves(to.Domain()) || t.o.Router.IsHome(to) {
		t.see(e.Stanza, e.Session.Addr())
	}
}

func (t *Tracker) arriving(e *router.Envelope) {
	switch {
	case e.Session == nil:
		t.see(e.Stanza, e.Stanza.From)
	case e.Carried:
		t.see(e.Stanza, e.Session.Addr())
	}
}

var (
	receiptName  = xmpp.Name{Space: xmpp.NSReceipts, Local: "received"}
	receivedName = xmpp.Name{Space: xmpp.NSMarkers, Local: "received"}
	seenName     = xmpp.Name{Space: xmpp.NSMarkers, Local: "displayed"}
	ackedName    = xmpp.Name{Space: xmpp.NSMarkers, Local: "acknowledged"}
)

// maxID is the longest id of a message that an answer is looked for.
const maxID = 1024

// see looks whether a message is an answer to one of a post: nearly none is. The stanza is borrowed.
func (t *Tracker) see(s *xmpp.Stanza, from jid.JID) {
	if s.To.IsZero() || from.IsZero() || s.Type == xmpp.TypeGroupchat {
		return
	}
	if s.Type == xmpp.TypeError {
		if s.ID != "" && len(s.ID) <= maxID && t.expects(s.To, s.ID) {
			t.came(answer{sender: s.To, message: strings.Clone(s.ID), who: from, outcome: router.Bounced,
				reason: conditionOf(s)})
		}
		return
	}
	for _, c := range s.Children {
		var o router.Outcome
		switch c.Name {
		case receiptName, receivedName: // XEP-0184 §5.3, XEP-0333 §4.1 of its earlier versions
			o = router.Received
		case seenName, ackedName: // XEP-0333 §4
			o = router.Displayed
		default:
			continue
		}
		el, err := xmpp.ParseElement(s.Payload[c.Start:c.End])
		if err != nil {
			continue
		}
		if id := el.Attr("id"); id != "" && len(id) <= maxID && t.expects(s.To, id) {
			t.came(answer{sender: s.To, message: id, who: from, outcome: o})
		}
	}
}

// expects says whether a message of this sender and id may be one of a post. It is cheap.
func (t *Tracker) expects(sender jid.JID, message string) bool {
	if idOf(message) != 0 {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.indexed || len(t.index.find(sender, message)) > 0
}

// came notes an answer: at once if the post is in memory, else soon. It does not block.
func (t *Tracker) came(a answer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	at := t.placesOf(a)
	if len(at) == 0 && t.indexed {
		return
	}
	absent := len(at) == 0
	for _, one := range at {
		p := t.inMemory(one)
		if p == nil {
			absent = true
		} else if t.apply(p, a) {
			return
		}
	}
	if !absent {
		return
	}
	select {
	case t.jobs <- job{a, at}:
	default:
		t.Stats.Ignored.Add(1)
	}
}

// placesOf is where the post may be, the oldest first. The caller holds mu.
func (t *Tracker) placesOf(a answer) []place {
	at := t.index.find(a.sender, a.message)
	if id := idOf(a.message); id != 0 && len(at) == 0 {
		at = []place{{a.sender.Bare().String(), id}}
	}
	return at
}

// inMemory is a post if it is there. The caller holds mu.
func (t *Tracker) inMemory(at place) *post {
	if a := t.accounts[at.account]; a != nil {
		return a.posts[at.id]
	}
	return nil
}

// apply notes an answer to a post if it is one, and says whether it was news. The caller holds mu.
func (t *Tracker) apply(p *post, a answer) bool {
	// Copies may have gone out in the account's own name (http.forged_remote).
	if who := a.sender.Bare(); !p.says(a.message) || p.sender.Bare() != who && p.of.name != who.String() {
		return false
	}
	i := p.find(a.who)
	return i >= 0 && p.become(i, a.outcome, a.reason)
}

// changed has a change written and told. The caller holds mu.
func (t *Tracker) changed(p *post, i int) {
	g := p.page
	c := &g.chunks[0]
	if c.n > 0 {
		c = &g.chunks[i/chunkOf]
	}
	c.dirty = true
	t.soil(g)
	t.publish(p, i)
	for k, o := range counted {
		if o == p.to[i].outcome {
			t.Stats.Changes[k].Add(1)
		}
	}
}

// work looks after answers to posts that are not in memory, until ctx ends.
func (t *Tracker) work(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case j := <-t.jobs:
			t.look(ctx, j)
		}
	}
}

// look reads the posts that an answer may be about.
func (t *Tracker) look(ctx context.Context, j job) {
	if j.at == nil { // the index has been made since
		t.mu.Lock()
		j.at = t.placesOf(j.answer)
		t.mu.Unlock()
	}
	for _, at := range j.at {
		if err := t.load(ctx, at); err != nil {
			t.o.Log.Warn("what became of a post is not noted", "account", at.account, "id", nameOf(at.id), "error", err)
			return
		}
		t.mu.Lock()
		p := t.inMemory(at)
		done := p != nil && t.apply(p, j.answer)
		t.mu.Unlock()
		if done {
			return
		}
	}
}

const (
	// searchPage is how many records are read at a time to find a post, and searchMost how many at most.
	searchPage, searchMost = 32, 4096
	// written is how long after its beginning a post may be written: its copies may wait for storage.
	written = 10 * 60 * 1_000_000
	// ahead is how far ids may be ahead of the clock: of many within a microsecond each has its own.
	ahead = 10_000
)

// load brings a post into memory, if it is kept. Those that are written with it come along.
func (t *Tracker) load(ctx context.Context, at place) error {
	t.mu.Lock()
	p := t.inMemory(at)
	t.mu.Unlock()
	if p != nil {
		return nil
	}
	// Those in memory are written first or found there: a page is in memory as a whole or not at all.
	found, err := t.search(ctx, at)
	if err != nil || found == nil {
		return err
	}
	t.writes.RLock()
	defer t.writes.RUnlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.account(at.account)
	for _, p := range found.posts {
		if a.posts[p.id] != nil { // somebody else has been quicker
			return nil
		}
	}
	found.of = a
	for _, p := range found.posts {
		p.t, p.of, p.page = t, a, found
		a.posts[p.id] = p
		found.bytes += p.size()
	}
	t.unsaved += found.bytes
	t.cache(found)
	return nil
}

// search finds the page of a post in storage, nil if there is none. Its posts are of no account yet.
func (t *Tracker) search(ctx context.Context, at place) (*page, error) {
	var found *page
	after := max(at.id, ahead+1) - ahead - 1
	for seen := 0; seen < searchMost; {
		list, more, err := t.o.Records.Page(ctx, at.account, storage.Query{After: after, Limit: searchPage})
		if err != nil {
			return nil, err
		}
		for _, r := range list {
			after = r.ID
			if r.ID > at.id+written {
				return complete(found), nil
			}
			rows, err := readRows(r.Data)
			if err != nil {
				t.o.Log.Warn("record of posts is skipped", "account", at.account, "record", r.ID, "error", err)
				continue
			}
			if found = join(found, rows, at.id, r.ID); found != nil && complete(found) != nil {
				return found, nil
			}
		}
		if seen += len(list); !more {
			break
		}
	}
	return complete(found), nil
}

// join adds a record to the page of a post, if the post is in it.
func join(g *page, rows []row, id, record uint64) *page {
	for _, w := range rows {
		if w.post.id != id {
			continue
		}
		switch {
		case g == nil && w.n == w.total:
			g = &page{chunks: []chunk{{record: record}}}
			for _, other := range rows {
				g.posts = append(g.posts, other.post)
			}
			if len(rows) == 1 {
				g.chunks[0].n = w.n
			}
		case g == nil && w.first == 0:
			g = &page{posts: []*post{w.post}, chunks: []chunk{{record: record, n: w.n}}}
			all := make([]recipient, 0, w.total)
			w.post.to = append(all, w.post.to...)
		case g != nil && w.first == len(g.posts[0].to) && w.first+w.n <= cap(g.posts[0].to):
			g.posts[0].to = append(g.posts[0].to, w.post.to...)
			g.chunks = append(g.chunks, chunk{record: record, first: w.first, n: w.n})
		}
		return g
	}
	return g
}

// complete is a page of which all recipients are there, else nil.
func complete(g *page) *page {
	if g == nil {
		return nil
	}
	if last := g.chunks[len(g.chunks)-1]; last.n > 0 && last.first+last.n != cap(g.posts[0].to) {
		return nil
	}
	return g
}
