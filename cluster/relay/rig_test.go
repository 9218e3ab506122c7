package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"jackdaw/cluster"
	"jackdaw/cluster/link"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// A world is a cluster in one process: who is whose home, the connections, and what the nodes have stored together.
type world struct {
	t     testing.TB
	dedup bool          // the store tells repetitions; false is for the negative control
	slow  time.Duration // what is on a link takes up to

	mu     sync.Mutex // guards the rest
	fence  uint64
	truth  [cluster.Slots]cluster.Place
	nodes  map[string]*node
	conns  map[[2]string][]net.Conn
	cut    map[[2]string]bool
	log    map[string][]string // by recipient: "sender number"
	keys   map[string]bool
	routed int
}

func newWorld(t testing.TB) *world {
	return &world{t: t, dedup: true, fence: 1000, nodes: map[string]*node{}, conns: map[[2]string][]net.Conn{},
		cut: map[[2]string]bool{}, log: map[string][]string{}, keys: map[string]bool{}}
}

// A node is one process.
type node struct {
	w      *world
	id     string
	router *router.Router
	relay  *Relay
	writes chan write
	dead   chan struct{}
	done   sync.WaitGroup

	mu      sync.Mutex // guards the rest
	here    [cluster.Slots]uint64
	view    [cluster.Slots]cluster.Place
	changed chan struct{}
	failing bool // the store says no
	stuck   bool // the view stays as it is
}

type write struct {
	slot   int
	fence  uint64
	to     string
	text   string
	key    string
	done   *storage.Pending
	failed bool
}

// everybody has an account.
type everybody struct{}

func (everybody) Exists(context.Context, jid.JID) (bool, error) { return true, nil }

func (w *world) add(id string, modules ...router.Module) *node {
	n := &node{w: w, id: id, writes: make(chan write, 10000), dead: make(chan struct{}), changed: make(chan struct{})}
	n.router = router.New(router.Options{Hosts: []string{"example.org"}, Users: everybody{},
		Log: slog.New(slog.DiscardHandler)})
	n.router.Use(append(modules, router.Module{Name: "log", Unclaimed: n.store})...)
	n.relay = New(Options{Router: n.router, Node: n, Links: n, Log: slog.New(slog.DiscardHandler)})
	n.router.SetHomes(n.relay)
	n.done.Go(n.commit)
	w.mu.Lock()
	w.nodes[id] = n
	n.view = w.truth
	w.mu.Unlock()
	return n
}

// store is what keeps messages: durable a little later, in order, unless the fence has risen until then.
func (n *node) store(e *router.Envelope) {
	p := storage.NewPending()
	to := e.Stanza.To.Bare().String()
	slot := cluster.SlotOf(to)
	n.mu.Lock()
	one := write{slot: slot, fence: n.here[slot], to: to, text: e.Stanza.From.Bare().String() + " " + e.Stanza.ID,
		key: e.DedupKey(), done: p, failed: n.failing}
	n.mu.Unlock()
	if string(e.Stanza.Payload) != payloadOf(e.Stanza.ID) {
		n.w.t.Errorf("the payload of %s is %q", e.Stanza.ID, e.Stanza.Payload)
	}
	n.writes <- one
	e.Await(p)
	e.Settle(router.Stored)
}

var errFence = errors.New("the fence has risen")

func (n *node) commit() {
	for {
		var one write
		select {
		case one = <-n.writes:
		case <-n.dead:
			return
		}
		if rand.IntN(8) == 0 {
			select {
			case <-time.After(time.Duration(rand.IntN(20)) * time.Millisecond):
			case <-n.dead:
				return
			}
		}
		one.done.Finish(n.w.commit(one))
	}
}

func (w *world) commit(one write) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.routed++
	switch {
	case one.failed:
		return errors.New("the store says no")
	case one.fence < w.truth[one.slot].Fence:
		return errFence
	case w.dedup && one.key != "" && w.keys[one.to+" "+one.key]:
		return nil
	}
	w.keys[one.to+" "+one.key] = true
	w.log[one.to] = append(w.log[one.to], one.text)
	return nil
}

// The node's view of the cluster.

func (n *node) ID() string { return n.id }

func (n *node) Here(slot int) (uint64, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.here[slot], n.here[slot] != 0
}

func (n *node) Home(slot int) (cluster.Place, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.view[slot], n.view[slot].Node != ""
}

func (n *node) Changed() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.changed
}

func (n *node) Refresh(context.Context) { n.see() }

// see brings the view up to date.
func (n *node) see() {
	n.w.mu.Lock()
	truth := n.w.truth
	n.w.mu.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.view != truth && !n.stuck {
		n.view = truth
		close(n.changed)
		n.changed = make(chan struct{})
	}
}

// Open implements Opener.
func (n *node) Open(ctx context.Context, to string, _ link.Kind) (net.Conn, error) {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	other := n.w.nodes[to]
	if other == nil {
		return nil, fmt.Errorf("reach node %s: %w", to, link.ErrNoMember)
	}
	if n.w.cut[[2]string{n.id, to}] {
		return nil, errors.New("no way there")
	}
	near, far := net.Pipe()
	pair := [2]string{n.id, to}
	n.w.conns[pair] = append(n.w.conns[pair], near, far)
	if n.w.slow > 0 {
		middle := far
		in, out := net.Pipe()
		n.w.conns[pair] = append(n.w.conns[pair], in, out)
		other.done.Go(func() { n.w.carry(in, middle) })
		other.done.Go(func() { n.w.carry(middle, in) })
		far = out
	}
	other.done.Go(func() { other.relay.Serve(n.id, far) })
	return near, nil
}

// carry copies what is written, which takes its time.
func (w *world) carry(to, from net.Conn) {
	defer to.Close()
	b := make([]byte, 4096)
	for {
		k, err := from.Read(b[:1+rand.IntN(len(b)-1)])
		if err != nil {
			return
		}
		<-time.After(rand.N(w.slow))
		if _, err := to.Write(b[:k]); err != nil {
			return
		}
	}
}

// breakLink ends the connections in one direction.
func (w *world) breakLink(from, to string) {
	w.mu.Lock()
	all := w.conns[[2]string{from, to}]
	w.conns[[2]string{from, to}] = nil
	w.mu.Unlock()
	for _, c := range all {
		_ = c.Close()
	}
}

// give makes a node the home of a slot, at once.
func (w *world) give(slot int, to string) {
	w.mu.Lock()
	w.fence++
	w.truth[slot] = cluster.Place{Node: to, Fence: w.fence}
	n, fence := w.nodes[to], w.fence
	w.mu.Unlock()
	if n == nil {
		return
	}
	n.mu.Lock()
	n.here[slot] = fence
	n.mu.Unlock()
}

// leave ends it, planned or not.
func (n *node) leave(slot int, planned bool) {
	if planned {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := n.relay.Release(ctx, []int{slot}); err != nil {
			n.w.t.Errorf("node %s does not release slot %d: %v", n.id, slot, err)
		}
	}
	n.mu.Lock()
	n.here[slot] = 0
	n.mu.Unlock()
}

// kill ends a process.
func (w *world) kill(id string) {
	w.mu.Lock()
	n := w.nodes[id]
	delete(w.nodes, id)
	var all []net.Conn
	for pair, list := range w.conns {
		if pair[0] == id || pair[1] == id {
			all = append(all, list...)
			delete(w.conns, pair)
		}
	}
	w.mu.Unlock()
	n.mu.Lock()
	n.here = [cluster.Slots]uint64{}
	n.mu.Unlock()
	close(n.dead)
	for _, c := range all {
		_ = c.Close()
	}
	n.relay.Close()
	n.done.Wait()
}

func (w *world) close() {
	w.mu.Lock()
	var all []string
	for id := range w.nodes {
		all = append(all, id)
	}
	w.mu.Unlock()
	for _, id := range all {
		w.kill(id)
	}
}

func (w *world) tellAll() {
	w.mu.Lock()
	all := make([]*node, 0, len(w.nodes))
	for _, n := range w.nodes {
		all = append(all, n)
	}
	w.mu.Unlock()
	for _, n := range all {
		n.see()
	}
}

// An outlet remembers what a session is sent.
type outlet struct {
	mu  sync.Mutex
	got []string
}

func (o *outlet) Send(d router.Delivery) (bool, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.got = append(o.got, string(d.Stanza.Append(nil)))
	if d.Receipt != nil {
		d.Receipt.Finish(nil)
	}
	return false, true
}
func (o *outlet) has(part string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := 0
	for _, s := range o.got {
		if strings.Contains(s, part) {
			n++
		}
	}
	return n
}
func (*outlet) Flush()                               {}
func (*outlet) Prompt() bool                         { return true }
func (*outlet) Detached() bool                       { return false }
func (*outlet) Full() bool                           { return false }
func (*outlet) WaitBelow(context.Context, int) error { return nil }
func (*outlet) End(string, string)                   {}

// bind makes a session at a node, whose account is at home there from then on.
func (n *node) bind(t testing.TB, full string) (*router.Session, *outlet) {
	t.Helper()
	j := jid.MustParse(full)
	n.w.give(cluster.SlotOf(j.Bare().String()), n.id)
	n.w.tellAll()
	o := &outlet{}
	s, err := n.router.Bind(j, o)
	if err != nil {
		t.Fatal(err)
	}
	return s, o
}

func payloadOf(id string) string {
	return "<body>" + strings.Repeat(id+" ", 3) + "</body>"
}

func message(to, id string) *xmpp.Stanza {
	payload := []byte(payloadOf(id))
	return &xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeChat, ID: id, To: jid.MustParse(to), Payload: payload,
		Children: xmpp.Index(payload)}
}

// send routes a stanza of a session.
func (n *node) send(s *router.Session, x *xmpp.Stanza) *router.Envelope {
	x.From = s.Addr()
	e := &router.Envelope{Stanza: x, Session: s, Account: s.Bare(), Durable: true}
	n.router.Route(e)
	return e
}

// outcome waits for what became of an envelope.
func outcome(t testing.TB, e *router.Envelope) (router.Outcome, *xmpp.Error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := storage.Join(e.Pendings...).Wait(ctx); err != nil {
		t.Errorf("%s: %v", e.Stanza.ID, err)
	}
	return e.Settlement()
}
