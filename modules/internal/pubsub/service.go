package pubsub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
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
	names  []string // of the nodes, in order; nil: not known
	head   int64    // bytes that are kept besides items, or a little more
	bytes  int64    // of the items of those nodes whose size is known
	vague  int      // nodes whose size is not
	known  int      // items whose places are
	subs   int      // subscriptions
	copies int      // events that were sent since it was locked

	shared *commons // nil: all is its owner's
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
	maker   jid.JID                    // zero: the service itself
	owners  []jid.JID                  // those among affs
	subs    map[jid.JID][]subscription // none is empty
	held    int                        // subscriptions of all
	lapse   int64                      // when the first of them ends, in microseconds since 1970; 0: none does
	affs    map[jid.JID]affiliation
	index   []place // of the items, oldest first
	indexed bool
	size    int64 // bytes of the items, if that is known
	sized   bool
	shares  map[string]int // how many of subs each sharer has, where many share the service
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

// affiliation with a node (§4.1). Where the service is all its owner's, owners are not among them: see Profile.Owns.
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

func (g *Engine) newCache() *recent.Cache[*service] {
	most := idleCost
	if g.o.Shared { // there is one for each host, and it is dear to read
		most = math.MaxInt
	}
	return recent.New(most, func(of string) *service {
		s := &service{jid: jid.MustParse(of)}
		if g.o.Shared {
			s.shared = &commons{sharer: g.o.Router.Sharer}
		}
		return s
	}, nil)
}

// Moved forgets services that are at home elsewhere from now on.
func (g *Engine) Moved(gone func(owner string) bool) { g.cache.Drop(gone) }

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
	if s.shared != nil && s.known > maxPlaces {
		s.forgetPlaces()
	}
	cost := 1 + int(s.head/128) + len(s.nodes) + s.known
	s.mu.Unlock()
	g.cache.Give(s, cost)
}

// load reads the nodes. The caller holds the service.
func (g *Engine) load(s *service) error {
	entries, _, err := g.o.Nodes.List(context.Background(), s.jid.String())
	if err != nil {
		return fmt.Errorf("load the nodes of %s: %w", s.jid, err)
	}
	s.empty()
	for _, e := range entries {
		s.head += int64(len(e.Key) + len(e.Value))
	}
	for _, e := range entries { // keyNode comes behind keyAffiliation: two rounds
		if e.Key[0] != keyNode {
			continue
		}
		c, created, maker, err := readNode(e.Value)
		if err != nil {
			return fmt.Errorf("load node %q of %s: %w", e.Key[1:], s.jid, err)
		}
		s.add(&node{name: e.Key[1:], config: c, created: created, maker: maker})
	}
	for _, e := range entries {
		if e.Key[0] == keyNode {
			continue
		}
		name, who, _ := strings.Cut(e.Key[1:], "\x00")
		n := s.nodes[name]
		if e.Key[0] == keySubscription {
			j, one, err := readSubscription(who, e.Value)
			if err != nil || n == nil {
				return fmt.Errorf("load the nodes of %s: key %q: %w", s.jid, e.Key, errRecord)
			}
			s.setSubscription(n, j, one)
			continue
		}
		j, err := jid.Parse(who)
		if err != nil || n == nil || len(e.Value) != 2 || e.Value[0] != recordVersion || e.Value[1] > byte(owner) {
			return fmt.Errorf("load the nodes of %s: key %q: %w", s.jid, e.Key, errRecord)
		}
		s.setAffiliation(n, j, affiliation(e.Value[1]))
	}
	s.loaded = true
	return nil
}

// empty forgets the nodes.
func (s *service) empty() {
	s.nodes, s.names, s.head, s.bytes, s.vague, s.known, s.subs = nil, nil, 0, 0, 0, 0, 0
	if s.shared != nil {
		s.shared.empty()
	}
}

func (s *service) add(n *node) {
	if s.nodes == nil {
		s.nodes = map[string]*node{}
	}
	s.nodes[n.name], s.names = n, nil
	if !n.sized {
		s.vague++
	}
	if s.shared != nil {
		s.shared.add(n)
	}
}

// drop takes a node out, with all that is known of it.
func (s *service) drop(n *node) {
	for _, who := range addresses(n.subs) {
		for len(n.subs[who]) > 0 {
			s.setSubscription(n, who, subscription{id: n.subs[who][0].id})
		}
	}
	for who := range n.affs {
		s.setAffiliation(n, who, none)
	}
	s.setIndex(n, nil)
	if s.shared != nil {
		s.shared.drop(n)
	}
	delete(s.nodes, n.name)
	s.names = nil
}

// setIndex puts another index in place of a node's.
func (s *service) setIndex(n *node, index []place) {
	s.known += len(index) - len(n.index)
	n.index, n.indexed = index, true
	s.setSize(n, weigh(index))
}

func (s *service) setSize(n *node, size int64) {
	if !n.sized {
		n.sized = true
		s.vague--
	}
	s.bytes += size - n.size
	n.size = size
}

// forgetPlaces lets go of the order of all items. It is read again when it is needed.
func (s *service) forgetPlaces() {
	for _, n := range s.nodes {
		n.index, n.indexed = nil, false
	}
	s.known = 0
}

func (s *service) setAffiliation(n *node, who jid.JID, a affiliation) {
	old := n.affs[who]
	switch {
	case a == none:
		delete(n.affs, who)
	case n.affs == nil:
		n.affs = map[jid.JID]affiliation{who: a}
	default:
		n.affs[who] = a
	}
	if (old == owner) != (a == owner) {
		n.owners = n.owners[:0:0]
		for one, what := range n.affs {
			if what == owner {
				n.owners = append(n.owners, one)
			}
		}
		slices.SortFunc(n.owners, jid.JID.Compare)
	}
	if s.shared != nil && (old == none) != (a == none) {
		s.shared.count(n, who, a == none)
	}
}

// sorted are the names of the nodes; they are not to be changed.
func (s *service) sorted() []string {
	if s.names == nil {
		s.names = make([]string, 0, len(s.nodes))
		for name := range s.nodes {
			s.names = append(s.names, name)
		}
		slices.Sort(s.names)
	}
	return s.names
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
		s.setIndex(n, index)
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

// newNode makes a node for somebody, a bare address. The caller has checked that there is none.
func (g *Engine) newNode(s *service, name string, c Config, maker jid.JID) (*node, *storage.Pending, error) {
	return g.makeNode(s, &node{name: strings.Clone(name), config: c, created: now(), maker: maker}, owner)
}

// makeNode makes one that has a name, a configuration and an age. Where many share the service, first is what its maker
// is to it.
func (g *Engine) makeNode(s *service, n *node, first affiliation) (*node, *storage.Pending, error) {
	l := g.o.Limits()
	if len(s.nodes) >= l.Nodes {
		return nil, nil, tooManyNodes()
	}
	var changes []storage.Change
	if s.shared == nil {
		n.maker = jid.JID{}
	} else {
		n.maker = jid.MustParse(strings.Clone(n.maker.String()))
		own := len(s.shared.made[s.shared.sharer(n.maker)])
		if own >= l.UserNodes || !storage.Fair(int64(l.Nodes), int64(len(s.nodes)), int64(own), 1) {
			return nil, nil, tooManyNodes()
		}
		if first != none {
			changes = append(changes, storage.Change{Key: key(keyAffiliation, n.name, n.maker),
				Value: []byte{recordVersion, byte(first)}})
		}
	}
	n.indexed, n.sized = true, true
	p, err := g.put(s, append(changes, storage.Change{Key: key(keyNode, n.name),
		Value: nodeRecord(n.config, n.created, n.maker)})...)
	if err != nil {
		return nil, nil, err
	}
	s.add(n)
	if s.shared != nil {
		s.setAffiliation(n, n.maker, first)
	}
	return n, p, nil
}
