package pubsub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"jackdaw/modules/internal/recent"
	"jackdaw/storage"
	"jackdaw/xmpp/jid"
)

// idleCost bounds, for each part of the cache, what is kept of services that nobody works with: one each, one for each
// node and each 128 bytes of nodes, subscriptions and affiliations, and one for each item whose place in its node is
// known.
const idleCost = 2000

// service is what is known of one.
type service struct {
	recent.Place
	jid jid.JID

	failed atomic.Bool // a write has: what is in memory is not to be believed

	mu     sync.Mutex // guards the rest
	loaded bool
	nodes  map[string]*node
	head   int64 // bytes that are kept besides items, or a little more
}

// watch has the service loaded anew if a write fails in the end. It returns the write.
func (s *service) watch(p *storage.Pending) *storage.Pending {
	if done, err := p.Finished(); done && err == nil {
		return p
	}
	p.Then(func(err error) {
		if err != nil {
			s.failed.Store(true)
		}
	})
	return p
}

// node is one of a service, without the payloads of its items.
type node struct {
	name    string
	config  Config
	created int64
	subs    map[jid.JID]state
	affs    map[jid.JID]affiliation
	index   []place // of the items, oldest first
	indexed bool
	size    int64 // bytes of the items, if that is known
	sized   bool
}

// place is where an item stands in its node.
type place struct {
	id   string
	at   int64
	by   string // empty: the service itself
	size int    // of the payload
}

// state of a subscription (§4.2).
type state byte

const (
	pending state = iota + 1
	subscribed
)

func (s state) String() string { return [...]string{"none", "pending", "subscribed"}[s] }

// affiliation with a node (§4.1). Owners are not among them: see Profile.Owns.
type affiliation byte

const (
	none affiliation = iota
	outcast
	member
	publishOnly
	publisher
	owner
)

var affiliationNames = []string{"none", "outcast", "member", "publish-only", "publisher", "owner"}

func (a affiliation) String() string { return affiliationNames[a] }

func newCache() *recent.Cache[*service] {
	return recent.New(idleCost, func(of string) *service { return &service{jid: jid.MustParse(of)} }, nil)
}

// lock returns a service, loaded and locked; unlock gives it back.
func (g *Engine) lock(of jid.JID) (*service, error) {
	s := g.cache.Take(of.String())
	s.mu.Lock()
	if s.failed.Swap(false) {
		s.loaded = false
	}
	if s.loaded {
		return s, nil
	}
	if err := g.load(s); err != nil {
		g.unlock(s)
		return nil, err
	}
	return s, nil
}

func (g *Engine) unlock(s *service) {
	cost := 1 + int(s.head/128)
	for _, n := range s.nodes {
		cost += 1 + len(n.index)
	}
	s.mu.Unlock()
	g.cache.Give(s, cost)
}

// load reads the nodes. The caller holds the service.
func (g *Engine) load(s *service) error {
	entries, _, err := g.o.Nodes.List(context.Background(), s.jid.String())
	if err != nil {
		return fmt.Errorf("load the nodes of %s: %w", s.jid, err)
	}
	s.nodes, s.head = nil, 0
	for _, e := range entries {
		s.head += int64(len(e.Key) + len(e.Value))
	}
	for _, e := range entries { // keyNode comes behind keyAffiliation: two rounds
		if e.Key[0] != keyNode {
			continue
		}
		c, created, err := readNode(e.Value)
		if err != nil {
			return fmt.Errorf("load node %q of %s: %w", e.Key[1:], s.jid, err)
		}
		s.add(&node{name: e.Key[1:], config: c, created: created})
	}
	for _, e := range entries {
		if e.Key[0] == keyNode {
			continue
		}
		name, who, _ := strings.Cut(e.Key[1:], "\x00")
		j, err := jid.Parse(who)
		n := s.nodes[name]
		if err != nil || n == nil || len(e.Value) != 2 || e.Value[0] != recordVersion {
			return fmt.Errorf("load the nodes of %s: key %q: %w", s.jid, e.Key, errRecord)
		}
		if e.Key[0] == keySubscription {
			n.setState(j, state(e.Value[1]))
		} else {
			n.setAffiliation(j, affiliation(e.Value[1]))
		}
	}
	s.loaded = true
	return nil
}

func (s *service) add(n *node) {
	if s.nodes == nil {
		s.nodes = map[string]*node{}
	}
	s.nodes[n.name] = n
}

func (n *node) setState(who jid.JID, st state) {
	switch {
	case st == 0:
		delete(n.subs, who)
		return
	case n.subs == nil:
		n.subs = map[jid.JID]state{}
	}
	n.subs[who] = st
}

func (n *node) setAffiliation(who jid.JID, a affiliation) {
	switch {
	case a == none:
		delete(n.affs, who)
		return
	case n.affs == nil:
		n.affs = map[jid.JID]affiliation{}
	}
	n.affs[who] = a
}

// subscription is that of an entity, a bare address, under whichever address; subscribed wins.
func (n *node) subscription(bare jid.JID) (st state) {
	if len(n.subs) == 0 {
		return 0
	}
	for who, s := range n.subs {
		if who.Bare() == bare {
			st = max(st, s)
		}
	}
	return st
}

// sorted are the names of the nodes.
func (s *service) sorted() []string {
	names := make([]string, 0, len(s.nodes))
	for name := range s.nodes {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// places returns the index of a node's items. The caller holds the service.
func (g *Engine) places(s *service, n *node) ([]place, error) {
	if !n.indexed {
		items, err := g.stored(s, n)
		if err != nil {
			return nil, err
		}
		var index []place
		for _, it := range items {
			index = append(index, place{it.ID, it.At, by(s, it.By), len(it.Payload)})
		}
		n.setIndex(index)
	}
	return n.index, g.expire(s, n)
}

// expire takes out the items whose time is over.
func (g *Engine) expire(s *service, n *node) error {
	if n.config.Expire == 0 {
		return nil
	}
	var over []string
	for until := now() - n.config.Expire*1e6; len(over) < len(n.index) && n.index[len(over)].at <= until; {
		over = append(over, n.index[len(over)].id)
	}
	if len(over) == 0 {
		return nil
	}
	_, err := g.drop(s, n, over) // nobody waits for it: if it fails, the service is loaded anew and this is done again
	return err
}

func by(s *service, publisher string) string {
	if publisher == s.jid.String() {
		return ""
	}
	return publisher
}

// all reads the items of a node, oldest first, but for those that have expired.
func (g *Engine) all(s *service, n *node) ([]Item, error) {
	if n.config.Expire > 0 {
		if _, err := g.places(s, n); err != nil {
			return nil, err
		}
	}
	return g.stored(s, n)
}

// stored reads all items that a node has in the store, oldest first.
func (g *Engine) stored(s *service, n *node) ([]Item, error) {
	entries, _, err := g.o.Items.List(context.Background(), itemsOwner(s.jid, n.name))
	if err != nil {
		return nil, fmt.Errorf("load the items of node %q of %s: %w", n.name, s.jid, err)
	}
	items := make([]Item, 0, len(entries))
	for _, e := range entries {
		it, err := readItem(e.Key, e.Value)
		if err != nil {
			return nil, fmt.Errorf("load item %q of node %q of %s: %w", e.Key, n.name, s.jid, err)
		}
		items = append(items, it)
	}
	slices.SortStableFunc(items, func(a, b Item) int { return cmp.Compare(a.At, b.At) })
	return items, nil
}

// item reads one item; nil if there is none.
func (g *Engine) item(s *service, n *node, id string) (*Item, error) {
	b, err := g.o.Items.Get(context.Background(), itemsOwner(s.jid, n.name), id)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("load item %q of node %q of %s: %w", id, n.name, s.jid, err)
	}
	it, err := readItem(id, b)
	if err != nil {
		return nil, fmt.Errorf("load item %q of node %q of %s: %w", id, n.name, s.jid, err)
	}
	return &it, nil
}

// last is the item published last; nil if there is none.
func (g *Engine) last(s *service, n *node) (*Item, error) {
	index, err := g.places(s, n)
	if err != nil || len(index) == 0 {
		return nil, err
	}
	return g.item(s, n, index[len(index)-1].id)
}

// put writes the configuration of a node and other keys of the service's. Without any, the write is the last one.
func (g *Engine) put(s *service, changes ...storage.Change) (*storage.Pending, error) {
	if err := g.growHead(s, changes); err != nil {
		return nil, err
	}
	_, p, err := g.o.Nodes.Update(context.Background(), s.jid.String(), storage.AnyVersion, changes...)
	return s.watch(p), err
}

// newNode makes a node. The caller has checked that there is none.
func (g *Engine) newNode(s *service, name string, c Config) (*node, *storage.Pending, error) {
	return g.makeNode(s, name, c, now())
}

// makeNode makes one that is as old as created says, in microseconds since 1970.
func (g *Engine) makeNode(s *service, name string, c Config, created int64) (*node, *storage.Pending, error) {
	if len(s.nodes) >= g.o.Limits().Nodes {
		return nil, nil, tooManyNodes()
	}
	n := &node{name: strings.Clone(name), config: c, created: created, indexed: true}
	p, err := g.put(s, storage.Change{Key: key(keyNode, name), Value: nodeRecord(c, n.created)})
	if err != nil {
		return nil, nil, err
	}
	s.add(n)
	return n, p, nil
}
