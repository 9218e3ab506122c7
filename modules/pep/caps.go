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

	"jackdaw/modules/internal/share"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

const (
	maxKnown    = 4 << 20 // bytes of what is kept of the meaning of verification strings
	maxWaiting  = 10000   // addresses whose wishes are to be learnt
	maxInterest = 128     // nodes that one client may want
	maxNode     = 1024
	// maxInterestBytes bounds the names of these nodes together.
	maxInterestBytes = 8 << 10
	maxCaps          = 256 // bytes of each part of a capability
	patience         = 30 * time.Second
	capsOwner        = "caps" // of all records
	capsVersion      = 1      // their first byte
	notifySuffix     = "+notify"
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
	in, size := &interest{}, 0
	for _, f := range info.Children() {
		if f.Name.Local != "feature" {
			continue
		}
		node, ok := strings.CutSuffix(f.Attr("var"), notifySuffix)
		if ok && node != "" && len(node) <= maxNode && len(in.nodes) < maxInterest && size+len(node) <= maxInterestBytes {
			in.nodes = append(in.nodes, strings.Clone(node)) // what it was cut from may be large
			size += len(node)
		}
	}
	slices.Sort(in.nodes)
	in.nodes = slices.Compact(in.nodes)
	return in
}

// A learner is told what a client wants, once that is known.
type learner func(b *router.Batch, in *interest)

// caps knows what verification strings stand for, and asks clients for what it does not know.
//
// Whoever says things of itself that nobody knows makes work and takes up memory. So clients wait for an answer to a
// question of their own account or domain only, and both what waits and what is known is shared (router.Sharer): who
// never answers, or has always something new to say, keeps nobody else from events.
type caps struct {
	router *router.Router
	store  storage.Map
	verify func(info *xmpp.Element, hash, ver string) bool
	log    *slog.Logger
	prefix string // of the ids of questions

	mu      sync.Mutex // guards the rest
	loaded  bool
	known   *share.Table[string, *interest]
	asked   map[string]map[string]*question // by capability, and by whom it is asked
	byID    map[string]*question
	of      map[pair]*question // what an address waits for; it waits for one thing at a time
	order   []turn             // oldest first
	waiting int64              // how many wait, those who are asked included
	taken   map[string]int64   // the same for each sharer
	count   uint64
}

// A question is on its way to a client.
type question struct {
	cap     capability
	who     string // the sharer
	id      string
	until   time.Time
	asking  waiter   // who is asked
	waiting []waiter // who says the same of itself
	done    bool
}

// A turn is a question as it is asked of one client.
type turn struct {
	q  *question
	id string
	to waiter
}

// current says whether nobody has answered yet or been asked after it. The caller holds mu.
func (t turn) current() bool { return !t.q.done && t.q.id == t.id }

type waiter struct {
	full, service jid.JID // who is asked, and in whose name
	tell          learner
}

func (w waiter) pair() pair { return pair{w.service, w.full} }

func (c *caps) init(o Options) {
	c.router, c.store, c.verify, c.log = o.Router, o.Caps, o.Verify, o.Log
	c.prefix = "caps-" + rand.Text()[:10] + "-"
	c.known = share.New[string, *interest](maxKnown)
	c.asked, c.byID = map[string]map[string]*question{}, map[string]*question{}
	c.of, c.taken = map[pair]*question{}, map[string]int64{}
}

// learn calls tell with what the client at a full address wants: at once if that is known, else when the client has
// answered. The question goes out in the name of service, a bare address. A client that never answers wants nothing.
func (c *caps) learn(of capability, full, service jid.JID, tell learner, b *router.Batch) {
	w := waiter{full, service, tell}
	c.mu.Lock()
	asks := append(c.leave(w.pair()), c.expire(time.Now())...) // what it said before matters no more
	var in *interest
	now := of.ver == ""
	if !now {
		c.load()
		in, now = c.known.Get(of.key())
	}
	if who := c.router.Sharer(full); !now && storage.Fair(maxWaiting, c.waiting, c.taken[who], 1) {
		c.waiting++
		c.taken[who]++
		if q := c.asked[of.key()][who]; q != nil {
			q.waiting = append(q.waiting, w)
			c.of[w.pair()] = q
		} else {
			q = &question{cap: of, who: who}
			if c.asked[of.key()] == nil {
				c.asked[of.key()] = map[string]*question{}
			}
			c.asked[of.key()][who] = q
			asks = append(asks, c.turn(q, w))
		}
	}
	c.mu.Unlock()
	if now {
		tell(b, in)
	}
	c.ask(b, asks)
}

// turn notes that somebody is asked. The caller holds mu.
func (c *caps) turn(q *question, w waiter) turn {
	c.count++
	q.id, q.until, q.asking = c.prefix+strconv.FormatUint(c.count, 36), time.Now().Add(patience), w
	c.byID[q.id], c.of[w.pair()] = q, q
	t := turn{q, q.id, w}
	c.order = append(c.order, t)
	return t
}

// leave ends what an address waits for, and returns the question for the next one that waits. The caller holds mu.
func (c *caps) leave(at pair) []turn {
	q := c.of[at]
	switch {
	case q == nil:
		return nil
	case q.asking.pair() == at:
		return c.next(q)
	}
	q.waiting = slices.DeleteFunc(q.waiting, func(w waiter) bool { return w.pair() == at })
	c.release(q, at)
	return nil
}

// release counts an address that waits no longer. The caller holds mu.
func (c *caps) release(q *question, at pair) {
	delete(c.of, at)
	c.waiting--
	if c.taken[q.who]--; c.taken[q.who] == 0 {
		delete(c.taken, q.who)
	}
}

// expire gives up on those who do not answer, and returns the questions for those who wait behind them. The caller
// holds mu.
func (c *caps) expire(now time.Time) (again []turn) {
	for len(c.order) > 0 {
		t := c.order[0]
		current := t.current()
		if current && now.Before(t.q.until) {
			break
		}
		c.order = c.order[1:]
		if current {
			again = append(again, c.next(t.q)...)
		}
	}
	return again
}

// next ends the turn of the one that is asked, and returns the question for the first of those who wait behind it. The
// caller holds mu.
func (c *caps) next(q *question) []turn {
	delete(c.byID, q.id)
	c.release(q, q.asking.pair())
	if len(q.waiting) == 0 {
		c.end(q)
		return nil
	}
	w := q.waiting[0]
	q.waiting = q.waiting[1:]
	return []turn{c.turn(q, w)}
}

// end takes out a question that nobody waits for. The caller holds mu.
func (c *caps) end(q *question) {
	q.done = true
	key := q.cap.key()
	if delete(c.asked[key], q.who); len(c.asked[key]) == 0 {
		delete(c.asked, key)
	}
}

// ask sends questions (XEP-0115 §6.2).
func (c *caps) ask(b *router.Batch, turns []turn) {
	for len(turns) > 0 {
		t := turns[0]
		turns = turns[1:]
		var w xmpp.Writer
		w.Start(xmpp.NSDiscoInfo, "query").Attr("node", t.q.cap.node+"#"+t.q.cap.ver).End()
		e := router.Envelope{Quiet: true, Batch: b, Stanza: &xmpp.Stanza{Kind: xmpp.IQ, Type: xmpp.TypeGet, ID: t.id,
			From: t.to.service, To: t.to.full, Payload: w.Bytes()}}
		if c.router.Route(&e); e.Outcome == router.Refused {
			c.mu.Lock()
			if t.current() {
				turns = append(turns, c.next(t.q)...)
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
	asked := q.asking
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
		asked.tell(b, in)
		c.ask(b, asks)
		return
	}
	told := c.settle(q)
	for _, other := range c.asked[q.cap.key()] { // it is known to all now
		told = append(told, c.settle(other)...)
	}
	c.keep(q.cap.key(), in, q.who)
	c.mu.Unlock()
	for _, w := range told {
		w.tell(b, in)
	}
}

// settle ends a question for all who wait for its answer, and returns them. The caller holds mu.
func (c *caps) settle(q *question) []waiter {
	delete(c.byID, q.id)
	all := append([]waiter{q.asking}, q.waiting...)
	for _, w := range all {
		c.release(q, w.pair())
	}
	c.end(q)
	return all
}

// sound says that an answer cannot pass for another one with the same verification string as far as wishes go: that
// string does not tell a feature from a part of an identity or a form, nor one with a '<' in it from two (XEP-0115
// §9.2).
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

// keep remembers what a verification string stands for, also after a restart, for the one who has said so. The caller
// holds mu.
func (c *caps) keep(key string, in *interest, who string) {
	changes := []storage.Change{{Key: key, Value: in.record()}}
	for _, old := range c.known.Put(who, key, in, cost(key, in)) {
		changes = append(changes, storage.Change{Key: old, Delete: true})
	}
	if _, _, err := c.store.Update(context.Background(), capsOwner, storage.AnyVersion, changes...); err != nil {
		c.log.Warn("capabilities are not kept", "error", err)
	}
}

// cost is roughly the memory that one known verification string takes.
func cost(key string, in *interest) int64 {
	n := 256 + len(key)
	for _, node := range in.nodes {
		n += 16 + len(node)
	}
	return int64(n)
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
	var gone []storage.Change
	for _, e := range entries {
		in := readInterest(e.Value)
		if in == nil || in.bytes() > maxInterestBytes { // of an earlier version: the clients are asked anew
			gone = append(gone, storage.Change{Key: e.Key, Delete: true})
			continue
		}
		for _, old := range c.known.Put("", e.Key, in, cost(e.Key, in)) {
			gone = append(gone, storage.Change{Key: old, Delete: true})
		}
	}
	if len(gone) > 0 {
		if _, _, err := c.store.Update(context.Background(), capsOwner, storage.AnyVersion, gone...); err != nil {
			c.log.Warn("capabilities are not forgotten", "error", err)
		}
	}
}

// bytes are those of the names.
func (in *interest) bytes() (n int) {
	for _, node := range in.nodes {
		n += len(node)
	}
	return n
}

func (in *interest) record() []byte {
	b := []byte{capsVersion}
	for _, n := range in.nodes {
		b = append(binary.AppendUvarint(b, uint64(len(n))), n...)
	}
	return b
}

// readInterest is nil for what it cannot read.
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
