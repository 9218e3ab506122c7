package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"jackdaw/cluster"
	"jackdaw/cluster/link"
	"jackdaw/cluster/relay"
	"jackdaw/config"
	"jackdaw/storage"
	"jackdaw/storage/redis"
	"jackdaw/web/bosh"
	"jackdaw/wire"
)

// nodes is this server as one of several, see package cluster: where owners are at home, and the ways to other nodes.
// It is there before the store, which asks it for fences, and joins the cluster before anything is read from there.
type nodes struct {
	o     RunOptions
	cfg   *config.Config
	store *redis.Nodes
	links *link.Links
	node  atomic.Pointer[cluster.Node]
	relay *relay.Relay
	web   *streams // requests that other nodes pass on,
	desk  *streams // and what they ask for administrators
	// served says of a slot that all parts know it: from the end of gained to the beginning of lost.
	served [cluster.Slots]atomic.Bool
	// house is the server, once it is assembled, and offices what other nodes do for it.
	house     *house
	offices   *offices
	assembled chan struct{}
	joining   sync.Mutex // held while the modules learn of a new run
	run       string     // the run that the modules know; guarded by joining
	ctx       context.Context
	cancel    context.CancelFunc
}

// joinCluster makes this server a node, without any owner yet. ctx ends with the server.
func joinCluster(ctx context.Context, cfg *config.Config, o RunOptions) (n *nodes, err error) {
	key, err := link.ReadKey(cfg.ClusterKey())
	if err != nil {
		return nil, err
	}
	r, err := redisOptions(cfg.Storage.Redis)
	if err != nil {
		return nil, err
	}
	r.Log = o.Log
	n = &nodes{o: o, cfg: cfg, assembled: make(chan struct{}), web: newStreams(), desk: newStreams()}
	n.ctx, n.cancel = context.WithCancel(ctx)
	if err := o.start.await(ctx, "reach Redis", func() (err error) {
		n.store, err = redis.OpenNodes(ctx, r)
		return err
	}); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			n.close()
			n = nil
		}
	}()
	var sockets listeners
	all, err := sockets.open("nodes", cfg.Cluster.Listen)
	if err != nil {
		return n, fmt.Errorf("%w (cluster.listen)", err)
	}
	n.links, err = link.New(link.Options{Key: key, ID: cfg.Cluster.NodeName(), Listen: joined(all), Log: o.Log,
		Members: n.address})
	if err != nil {
		sockets.close()
		return n, err
	}
	var node *cluster.Node
	if err := o.start.await(ctx, "join the cluster", func() (err error) {
		node, err = cluster.Join(ctx, cluster.Options{ID: cfg.Cluster.NodeName(), Address: cfg.Cluster.Told(),
			Version: o.Version, Store: n.store, Lease: cfg.Cluster.Lease, Renew: cfg.Cluster.Lease * 3 / 10, Log: o.Log,
			Gained: n.gained, Lost: n.lost, Silence: n.links.Silence})
		return err
	}); err != nil {
		return n, err
	}
	n.node.Store(node)
	return n, nil
}

// address is where another node can be dialed.
func (n *nodes) address(id string) (string, bool) {
	node := n.node.Load()
	if node == nil {
		return "", false
	}
	for _, m := range node.Members() {
		if m.ID == id {
			return m.Address, true
		}
	}
	return "", false
}

// Fence implements redis.Homes.
func (n *nodes) Fence(owner string) (uint64, bool) {
	node := n.node.Load()
	if node == nil {
		return 0, false
	}
	return node.Here(cluster.SlotOf(owner))
}

// Homed implements redis.Homes.
func (n *nodes) Homed(owner string) bool { return cluster.Homed(owner) }

// ID implements relay.Node.
func (n *nodes) ID() string { return n.node.Load().ID() }

// Here implements relay.Node: of slots that all parts know.
func (n *nodes) Here(slot int) (uint64, bool) {
	if !n.served[slot].Load() {
		return 0, false
	}
	return n.node.Load().Here(slot)
}

// Home implements relay.Node.
func (n *nodes) Home(slot int) (cluster.Place, bool) { return n.node.Load().Home(slot) }

// Changed implements relay.Node.
func (n *nodes) Changed() <-chan struct{} { return n.node.Load().Changed() }

// Refresh implements relay.Node.
func (n *nodes) Refresh(ctx context.Context) { n.node.Load().Refresh(ctx) }

// framingOf makes the framing that a node names whose client speaks neither TCP nor WebSocket.
func framingOf(name string) wire.Framing {
	if name == bosh.FramingName {
		return bosh.Framing()
	}
	return nil
}

// open opens a stream to the home of an owner.
func (n *nodes) open(ctx context.Context, owner string, k link.Kind) (net.Conn, error) {
	home, ok := n.Home(cluster.SlotOf(owner))
	if !ok || home.Node == n.ID() {
		n.Refresh(ctx)
		if home, ok = n.Home(cluster.SlotOf(owner)); !ok || home.Node == n.ID() {
			return nil, fmt.Errorf("%s is at home nowhere for now: %w", owner, storage.ErrElsewhere)
		}
	}
	return n.links.Open(ctx, home.Node, k)
}

// begin lets the house be found: slots are served from now on, and other nodes are listened to.
func (n *nodes) begin(h *house) {
	n.house = h
	n.links.Handle(link.Envelopes, n.relay.Serve)
	n.links.Handle(link.Clients, func(_ string, c net.Conn) { h.clients.Adopt(c) })
	n.links.Handle(link.Components, func(_ string, c net.Conn) { h.programs.Adopt(c) })
	n.links.Handle(link.HTTP, func(_ string, c net.Conn) { n.web.add(c) })
	n.links.Handle(link.Control, func(_ string, c net.Conn) { n.desk.add(c) })
	n.links.Serve()
	asked := &Control{Admin: h.admin, present: h.features.Privileges.Present}
	control := &http.Server{Handler: ofNodes(asked.Handler()), ReadHeaderTimeout: askTime, IdleTimeout: 2 * time.Minute}
	h.running.Go(func() { h.logged("cluster", control.Serve(n.desk)) })
	h.running.Go(func() { h.logged("cluster", h.passed.Serve(n.web)) })
	close(n.assembled)
	h.running.Go(n.watch)
}

// among says of an owner whether its slot is one of these.
func among(slots []int) func(owner string) bool {
	var in [cluster.Slots]bool
	for _, s := range slots {
		in[s] = true
	}
	return func(owner string) bool { return in[cluster.SlotOf(owner)] }
}

// gained takes over slots: what their last homes have left is seen to before anything is routed to them.
func (n *nodes) gained(slots []int, last []cluster.Place) {
	select {
	case <-n.assembled:
	case <-n.ctx.Done():
		return
	}
	is := among(slots)
	for failed := false; ; {
		err := n.takeOver(slots, last)
		if err == nil {
			break
		}
		if _, here := n.node.Load().Here(slots[0]); !here {
			return // lost again
		}
		if !failed {
			failed = true
			n.o.Log.Warn("owners are taken over later", "slots", len(slots), "error", err)
		}
		select {
		case <-time.After(time.Second):
		case <-n.ctx.Done():
			return
		}
	}
	for _, s := range slots {
		n.served[s].Store(true)
	}
	n.house.tookOver(is)
	n.note() // watch tries again
	// Whoever is given slots looks for nothing that others have left: that is done before.
	for tick := time.NewTicker(100 * time.Millisecond); n.has(slots) && !n.house.features.Whole(); {
		select {
		case <-tick.C:
		case <-n.ctx.Done():
			return
		}
	}
}

// has says whether all of these slots are at home here.
func (n *nodes) has(slots []int) bool {
	node := n.node.Load()
	return !slices.ContainsFunc(slots, func(s int) bool { _, here := node.Here(s); return !here })
}

func (n *nodes) takeOver(slots []int, last []cluster.Place) error {
	is := among(slots)
	ctx, cancel := context.WithTimeout(n.ctx, n.cfg.Cluster.Lease)
	defer cancel()
	n.joining.Lock()
	defer n.joining.Unlock()
	if self := n.self(); self != n.run {
		if err := n.house.features.Joined(ctx, self); err != nil {
			return err
		}
		n.run = self
	}
	n.house.accounts.Moved()
	n.house.router.Coming()
	if last != nil {
		var were [cluster.Slots]cluster.Place
		for i, s := range slots {
			were[s] = last[i]
		}
		if err := n.house.features.Gained(ctx, is, n.alive, func(owner, node string, noted uint64) bool {
			p := were[cluster.SlotOf(owner)]
			return p.Node != "" && strings.HasPrefix(node, p.Node+"/") && noted >= p.Fence
		}); err != nil {
			return err
		}
	}
	if n.house.peering == nil {
		return nil
	}
	return n.house.peering.Gained(ctx, is) // last: what has been queued is not to be queued again
}

// lost ends what is served for slots. Planned, other nodes get them when it has returned.
func (n *nodes) lost(slots []int, planned bool) {
	for _, s := range slots {
		n.served[s].Store(false)
	}
	select {
	case <-n.assembled:
	default:
		return // nothing was served yet
	}
	if !planned {
		n.ended()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(n.ctx), n.cfg.Cluster.Lease*2/5)
	defer cancel()
	gone := among(slots)
	if err := n.relay.Release(ctx, slots); err != nil && planned {
		n.o.Log.Warn("owners move though stanzas of other nodes wait for them", "slots", len(slots), "error", err)
	}
	if err := n.house.release(ctx, gone, planned); err != nil && planned {
		n.o.Log.Warn("owners move though not all of theirs has ended", "slots", len(slots), "error", err)
	}
	if r, ok := n.house.store.(storage.Releaser); ok {
		if err := r.Release(ctx, gone); err != nil && planned {
			n.o.Log.Warn("owners move though not all is written", "slots", len(slots), "error", err)
		}
	}
}

// watch tells the modules of nodes that have died, until the server ends.
func (n *nodes) watch() {
	node := n.node.Load()
	var before [cluster.Slots]cluster.Place
	runs := map[string]string{} // of members, by id
	bury := time.NewTimer(0)
	defer bury.Stop()
	failing := false
	for {
		changed := node.Changed()
		now := map[string]string{}
		for _, m := range node.Members() {
			now[m.ID] = m.Run
		}
		var lost []int
		for slot := range before {
			p, _ := node.Home(slot)
			if was := before[slot]; was.Node != "" && was.Node != node.ID() && now[was.Node] != runs[was.Node] {
				lost = append(lost, slot)
			}
			before[slot] = p
		}
		if runs = now; len(lost) > 0 {
			n.house.router.Lost(among(lost))
		}
		select {
		case <-changed:
			bury.Reset(time.Second)
		case <-bury.C:
			done, err := n.bury()
			if !done {
				bury.Reset(time.Second)
			}
			if err != nil && !failing && n.ctx.Err() == nil {
				n.o.Log.Warn("nodes that have died are not forgotten yet", "error", err)
			}
			failing = err != nil
		case <-n.ctx.Done():
			return
		}
	}
}

// note notes that what was left in the slots that are at home here is seen to, if it is.
func (n *nodes) note() (done bool, err error) {
	ctx, cancel := context.WithTimeout(n.ctx, n.cfg.Cluster.Lease)
	defer cancel()
	node := n.node.Load()
	var highest uint64
	for slot := range cluster.Slots {
		if p, _ := node.Home(slot); p.Node == node.ID() {
			fence, here := n.Here(slot)
			if !here || fence != p.Fence {
				return false, nil
			}
			highest = max(highest, p.Fence)
		}
	}
	err = n.house.features.Noted(ctx, highest)
	return err == nil, err
}

// bury has nodes that have died forgotten when all have noted what they have left. It says whether none is left.
func (n *nodes) bury() (done bool, err error) {
	noted, err := n.note()
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(n.ctx, n.cfg.Cluster.Lease)
	defer cancel()
	node := n.node.Load()
	alive := afresh(func() { node.Refresh(ctx) }, n.alive)
	done, err = n.house.features.Bury(ctx, alive, func(noted map[string]uint64) bool {
		names := map[string]string{}
		for _, m := range node.Members() {
			names[m.ID] = nameOf(m)
		}
		for slot := range cluster.Slots {
			if p, ok := node.Home(slot); !ok || names[p.Node] == "" || noted[names[p.Node]] < p.Fence {
				return false
			}
		}
		return true
	})
	return done && noted, err
}

// leave gives all slots to other nodes.
func (n *nodes) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), max(drainTime, 2*n.cfg.Cluster.Lease))
	defer cancel()
	if err := n.node.Load().Leave(ctx); err != nil {
		n.o.Log.Warn("the cluster was left before all owners had moved", "error", err)
	}
}

// release ends what is served for owners that are at home elsewhere from now on.
func (h *house) release(ctx context.Context, gone func(owner string) bool, planned bool) error {
	queues := make(chan error, 1)
	go func() {
		if h.peering == nil {
			queues <- nil
			return
		}
		queues <- h.peering.Release(ctx, gone, planned)
	}()
	err := h.router.Release(ctx, gone, "system-shutdown", "the account moves to another node; connect again")
	return errors.Join(err, <-queues)
}

// tookOver begins what this server does by itself for owners that have come home.
func (h *house) tookOver(is func(owner string) bool) {}

// close ends the ways to other nodes.
func (n *nodes) close() {
	n.cancel()
	n.web.Close()
	n.desk.Close()
	if n.relay != nil {
		n.relay.Close()
	}
	if n.links != nil {
		n.links.Close()
	}
	if n.store != nil {
		if err := n.store.Close(); err != nil {
			n.o.Log.Warn("the store of the cluster was not closed", "error", err)
		}
	}
}

// joined is one listener for what several accept.
func joined(all []net.Listener) net.Listener {
	if len(all) == 1 {
		return all[0]
	}
	j := &several{streams: newStreams(), all: all}
	for _, l := range all {
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return // it was closed
				}
				j.add(c)
			}
		}()
	}
	return j
}

// several is what joined returns.
type several struct {
	*streams
	all []net.Listener
}

// Close implements net.Listener.
func (j *several) Close() error {
	for _, l := range j.all {
		_ = l.Close() // it may be closed already
	}
	return j.streams.Close()
}

// Addr implements net.Listener.
func (j *several) Addr() net.Addr { return j.all[0].Addr() }
