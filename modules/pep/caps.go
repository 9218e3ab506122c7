package pep

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

const (
	maxKnown     = 5000 // verification strings whose meaning is kept
	maxAsked     = 5000 // questions that wait for an answer
	maxWaiters   = 10000
	maxInterest  = 128 // nodes that one client may want
	maxNode      = 1024
	maxCaps      = 256 // bytes of each part of a capability
	patience     = 30 * time.Second
	capsOwner    = "caps" // of all records
	capsVersion  = 1      // their first byte
	notifySuffix = "+notify"
)

var (
	capsName  = xmpp.Name{Space: xmpp.NSCaps, Local: "c"}
	infoQuery = xmpp.Name{Space: xmpp.NSDiscoInfo, Local: "query"}
)

// A capability is what presence says of what a client can do (XEP-0115 §4).
type capability struct{ hash, node, ver string }

// capabilityOf reads it from its XML; the zero value is none.
func capabilityOf(raw []byte) (c capability) {
	if raw == nil {
		return c
	}
	el, err := xmpp.ParseElement(raw)
	if err != nil {
		return c
	}
	c = capability{el.Attr("hash"), el.Attr("node"), el.Attr("ver")}
	if c.hash == "" || c.ver == "" || len(c.hash) > maxCaps || len(c.node) > maxCaps || len(c.ver) > maxCaps {
		return capability{} // also the format of before 2007: §8.2
	}
	return c
}

func (c capability) key() string { return c.hash + " " + c.ver }

// interest is a sorted list of nodes. Immutable; nil is empty.
type interest struct{ nodes []string }

func (in *interest) has(node string) bool {
	if in == nil {
		return false
	}
	_, ok := slices.BinarySearch(in.nodes, node)
	return ok
}

func (in *interest) empty() bool { return in == nil || len(in.nodes) == 0 }

// beyond is what is wanted now and was not before.
func (in *interest) beyond(before *watch) *interest {
	if before == nil || in.empty() {
		return in
	}
	had := before.in.Load()
	if had == in {
		return nil
	}
	return &interest{slices.DeleteFunc(slices.Clone(in.nodes), had.has)}
}

// interestOf reads what a client wants from its answer to disco#info (XEP-0060 §9.2).
func interestOf(info *xmpp.Element) *interest {
	in := &interest{}
	for _, f := range info.Children() {
		if f.Name.Local != "feature" {
			continue
		}
		if node, ok := strings.CutSuffix(f.Attr("var"), notifySuffix); ok && node != "" && len(node) <= maxNode && len(in.nodes) < maxInterest {
			in.nodes = append(in.nodes, node)
		}
	}
	slices.Sort(in.nodes)
	in.nodes = slices.Compact(in.nodes)
	return in
}

// A learner is told what a client wants, once that is known.
type learner func(b *router.Batch, in *interest)

// caps knows what verification strings stand for, and asks clients for what it does not know.
type caps struct {
	router *router.Router
	store  storage.Map
	verify func(info *xmpp.Element, hash, ver string) bool
	log    *slog.Logger
	prefix string // of the ids of questions

	mu      sync.Mutex // guards the rest
	loaded  bool
	known   map[string]*interest
	asked   map[string]*question // by key
	byID    map[string]*question
	order   []*question // oldest first
	waiters int
	count   uint64
}

// A question is on its way to a client.
type question struct {
	cap     capability
	id      string
	until   time.Time
	asking  waiter   // who is asked
	waiting []waiter // who says the same of itself
	done    bool
}

type waiter struct {
	full, service jid.JID // who is asked, and in whose name
	tell          learner
}

func (c *caps) init(o Options) {
	c.router, c.store, c.verify, c.log = o.Router, o.Caps, o.Verify, o.Log
	c.prefix = "caps-" + rand.Text()[:10] + "-"
	c.known, c.asked, c.byID = map[string]*interest{}, map[string]*question{}, map[string]*question{}
}

// learn calls tell with what the client at a full address wants: at once if that is known, else when the client has answered. The
// question goes out in the name of service, a bare address. A client that never answers wants nothing.
func (c *caps) learn(of capability, full, service jid.JID, tell learner, b *router.Batch) {
	if of.ver == "" {
		tell(b, nil)
		return
	}
	c.mu.Lock()
	c.load()
	if in, ok := c.known[of.key()]; ok {
		c.mu.Unlock()
		tell(b, in)
		return
	}
	w := waiter{full, service, tell}
	asks := c.expire(time.Now())
	if q := c.asked[of.key()]; q != nil {
		if c.waiters < maxWaiters {
			c.waiters++
			q.waiting = append(q.waiting, w)
		}
	} else if len(c.asked) < maxAsked {
		asks = append(asks, c.question(of, w, nil))
	}
	c.mu.Unlock()
	c.ask(b, asks)
}

// question notes that somebody is asked. The caller holds mu.
func (c *caps) question(of capability, w waiter, waiting []waiter) *question {
	c.count++
	q := &question{cap: of, id: c.prefix + strconv.FormatUint(c.count, 36), until: time.Now().Add(patience), asking: w, waiting: waiting}
	c.asked[of.key()], c.byID[q.id] = q, q
	c.order = append(c.order, q)
	return q
}

// expire gives up on those who do not answer, and returns the questions for those who wait behind them. The caller holds mu.
func (c *caps) expire(now time.Time) (again []*question) {
	for len(c.order) > 0 && (c.order[0].done || !now.Before(c.order[0].until)) {
		q := c.order[0]
		c.order = c.order[1:]
		if !q.done {
			again = append(again, c.next(q)...)
		}
	}
	return again
}

// next ends a question, and returns the one for the first of those who wait behind it. The caller holds mu.
func (c *caps) next(q *question) []*question {
	c.end(q)
	if len(q.waiting) == 0 {
		return nil
	}
	c.waiters--
	return []*question{c.question(q.cap, q.waiting[0], q.waiting[1:])}
}

func (c *caps) end(q *question) {
	q.done = true
	delete(c.byID, q.id)
	delete(c.asked, q.cap.key())
}

// ask sends questions (XEP-0115 §6.2).
func (c *caps) ask(b *router.Batch, qs []*question) {
	for len(qs) > 0 {
		q := qs[0]
		qs = qs[1:]
		var w xmpp.Writer
		w.Start(xmpp.NSDiscoInfo, "query").Attr("node", q.cap.node+"#"+q.cap.ver).End()
		e := router.Envelope{Quiet: true, Batch: b, Stanza: &xmpp.Stanza{Kind: xmpp.IQ, Type: xmpp.TypeGet, ID: q.id,
			From: q.asking.service, To: q.asking.full, Payload: w.Bytes()}}
		if c.router.Route(&e); e.Outcome == router.Refused {
			c.mu.Lock()
			if !q.done {
				qs = append(qs, c.next(q)...)
			}
			c.mu.Unlock()
		}
	}
}

// answer takes what clients answer.
func (p *PEP) answer(e *router.Envelope) {
	s := e.Stanza
	if !s.IsAnswer() || !strings.HasPrefix(s.ID, p.caps.prefix) {
		return
	}
	e.Settle(router.Delivered)
	p.caps.answered(e.Batch, s)
}

func (c *caps) answered(b *router.Batch, s *xmpp.Stanza) {
	var info *xmpp.Element
	if s.Type == xmpp.TypeResult {
		info = s.Child(infoQuery)
	}
	c.mu.Lock()
	q := c.byID[s.ID]
	if q == nil || q.asking.full != s.From {
		c.mu.Unlock()
		return
	}
	if info == nil { // an error, or nothing
		asks := c.next(q)
		c.mu.Unlock()
		c.ask(b, asks)
		return
	}
	in := interestOf(info)
	if !sound(info) || !c.verify(info, q.cap.hash, q.cap.ver) {
		// §5.4: not to be believed of others, but the client has said so of itself.
		asks := c.next(q)
		c.mu.Unlock()
		q.asking.tell(b, in)
		c.ask(b, asks)
		return
	}
	c.end(q)
	c.waiters -= len(q.waiting)
	c.keep(q.cap.key(), in)
	c.mu.Unlock()
	q.asking.tell(b, in)
	for _, w := range q.waiting {
		w.tell(b, in)
	}
}

// sound says that an answer cannot pass for another one with the same verification string as far as wishes go: that string does not tell a
// feature from a part of an identity or a form, nor one with a '<' in it from two (XEP-0115 §9.2).
func sound(el *xmpp.Element) bool {
	for _, a := range el.Attrs {
		feature := el.Name.Local == "feature" && a.Name.Local == "var"
		if strings.Contains(a.Value, "<") || strings.HasSuffix(a.Value, notifySuffix) && !feature {
			return false
		}
	}
	if text := el.Text(); strings.Contains(text, "<") || strings.HasSuffix(text, notifySuffix) {
		return false
	}
	for _, child := range el.Children() {
		if !sound(child) {
			return false
		}
	}
	return true
}

// keep remembers what a verification string stands for, also after a restart, in place of any other when there are too many. The caller holds mu.
func (c *caps) keep(key string, in *interest) {
	changes := []storage.Change{{Key: key, Value: in.record()}}
	for old := range c.known {
		if len(c.known) < maxKnown {
			break
		}
		delete(c.known, old)
		changes = append(changes, storage.Change{Key: old, Delete: true})
	}
	c.known[key] = in
	if _, _, err := c.store.Update(context.Background(), capsOwner, storage.AnyVersion, changes...); err != nil {
		c.log.Warn("capabilities are not kept", "error", err)
	}
}

// load reads what was known before the start. The caller holds mu.
func (c *caps) load() {
	if c.loaded {
		return
	}
	entries, _, err := c.store.List(context.Background(), capsOwner)
	if err != nil {
		c.log.Warn("capabilities cannot be read", "error", err)
		return
	}
	c.loaded = true
	for _, e := range entries {
		if in := readInterest(e.Value); in != nil {
			c.known[e.Key] = in
		}
	}
}

func (in *interest) record() []byte {
	b := []byte{capsVersion}
	for _, n := range in.nodes {
		b = append(binary.AppendUvarint(b, uint64(len(n))), n...)
	}
	return b
}

// readInterest is nil for what it cannot read: then the clients are asked anew.
func readInterest(b []byte) *interest {
	if len(b) == 0 || b[0] != capsVersion {
		return nil
	}
	in := &interest{}
	for b = b[1:]; len(b) > 0; {
		n, size := binary.Uvarint(b)
		if size <= 0 || n > uint64(len(b)-size) {
			return nil
		}
		in.nodes = append(in.nodes, string(b[size:size+int(n)]))
		b = b[size+int(n):]
	}
	return in
}
