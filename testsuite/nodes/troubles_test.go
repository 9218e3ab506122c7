package nodes

import (
	"slices"
	"time"

	"jackdaw/testsuite/ledger"
)

// A trouble is done to a rig while there is load, and is over when it returns: then all is well again.
type trouble struct {
	name string
	do   func(r *rig, b *ledger.Book, n *node)
}

// silence is after how long one of two nodes that do not hear each other leaves.
const silence = 10 * time.Second

// late has Redis get what a node has written when its accounts are at home elsewhere and have been written for there;
// before those who have done that write anything more they die, and all is read again. Nothing but the fence keeps two
// homes apart then.
func late(r *rig, b *ledger.Book, n *node) {
	n.redis.Slow(50 * time.Millisecond) // so that something is on its way
	b.Fresh(10 * some)
	n.redis.Hold(true, false)
	n.up.Store(false)
	<-time.After(lease + 2*time.Second)
	b.Fresh(10 * some)
	for _, other := range r.others(n) {
		other.sleep()
	}
	n.redis.Heal()
	<-time.After(lease / 10)
	for _, other := range r.others(n) {
		other.kill()
	}
	n.up.Store(true)
	b.Fresh(some)
	for _, other := range r.others(n) {
		other.launch()
	}
}

// some is how many acknowledgements show that the others work.
const some = 10

var troubles = []trouble{
	{"a node is killed", func(r *rig, b *ledger.Book, n *node) {
		n.kill()
		b.Fresh(some)
		n.launch()
	}},
	{"a node sleeps beyond its lease", func(r *rig, b *ledger.Book, n *node) {
		n.sleep()
		<-time.After(lease + 2*time.Second)
		b.Fresh(some)
		n.wake()
	}},
	{"a node is stopped", func(r *rig, b *ledger.Book, n *node) {
		n.stop(r.t)
		b.Fresh(some)
		n.launch()
	}},
	{"a node is cut off from Redis", func(r *rig, b *ledger.Book, n *node) {
		n.redis.Cut()
		<-time.After(lease + time.Second)
		b.Fresh(some)
		n.redis.Heal()
	}},
	{"nothing comes back from Redis", func(r *rig, b *ledger.Book, n *node) {
		n.redis.Hold(false, true)
		<-time.After(lease + time.Second)
		b.Fresh(some)
		n.redis.Heal()
	}},
	{"what a node writes comes to Redis late", late},
	{"a node does not hear from Redis for a moment", func(r *rig, b *ledger.Book, n *node) {
		n.redis.Hold(true, true)
		<-time.After(lease / 2)
		n.redis.Heal()
	}},
	{"links to a node are lost", func(r *rig, b *ledger.Book, n *node) {
		n.links.Cut()
		<-time.After(200 * time.Millisecond)
		n.links.Heal()
	}},
	{"nobody reaches a node", func(r *rig, b *ledger.Book, n *node) {
		n.links.Cut()
		<-time.After(lease)
		n.links.Heal()
	}},
	{"links to a node are silent", func(r *rig, b *ledger.Book, n *node) {
		n.links.Hold(true, true)
		<-time.After(lease)
		n.links.Heal()
	}},
	{"what goes to a node is held up", func(r *rig, b *ledger.Book, n *node) {
		n.links.Hold(true, false)
		<-time.After(lease / 2)
		n.links.Heal()
	}},
	{"what a node answers is held up", func(r *rig, b *ledger.Book, n *node) {
		n.links.Hold(false, true)
		<-time.After(lease / 2)
		n.links.Heal()
	}},
	{"two nodes do not hear each other", func(r *rig, b *ledger.Book, n *node) {
		m := r.others(n)[0]
		n.links.HoldOf(m.Name, true, true)
		m.links.HoldOf(n.Name, true, true)
		<-time.After(silence + lease)
		b.Fresh(some)
		n.links.Heal()
		m.links.Heal()
	}},
	{"one node does not reach another for a moment", func(r *rig, b *ledger.Book, n *node) {
		m := r.others(n)[0]
		n.links.HoldOf(m.Name, true, true)
		<-time.After(lease / 2)
		n.links.Heal()
	}},
	{"ways are slow", func(r *rig, b *ledger.Book, n *node) {
		n.links.Slow(50 * time.Millisecond)
		n.redis.Slow(50 * time.Millisecond)
		b.Fresh(some)
		n.links.Heal()
		n.redis.Heal()
	}},
	{"Redis is killed", func(r *rig, b *ledger.Book, n *node) {
		r.redis.Kill()
		<-time.After(500 * time.Millisecond)
		r.redis.Restart()
	}},
	{"Redis is killed for longer than a lease", func(r *rig, b *ledger.Book, n *node) {
		r.redis.Kill()
		<-time.After(lease + time.Second)
		r.redis.Restart()
	}},
	{"a node joins and one dies", func(r *rig, b *ledger.Book, n *node) {
		one := r.join(nil)
		b.Fresh(some)
		n.kill()
		b.Fresh(some)
		n.launch()
		r.settled(len(r.nodes))
		one.stop(r.t)
		r.leave(one)
	}},
}

// failovers are troubles of a Redis behind Sentinel. Both replicas have to confirm, so nothing is acknowledged before
// the old master is one of them.
var failovers = []trouble{
	{"the master of Redis is killed", func(r *rig, b *ledger.Book, n *node) {
		old := r.watched.Master()
		old.Kill()
		r.watched.Followed(old)
		old.Restart()
		r.watched.Settle()
		b.Fresh(some)
	}},
	{"the master of Redis stands still, and wakes when another has followed", func(r *rig, b *ledger.Book, n *node) {
		old := r.watched.Master()
		old.Pause()
		r.watched.Followed(old)
		old.Wake()
		r.watched.Settle()
		b.Fresh(some)
	}},
	{"the master of Redis and a node are killed", func(r *rig, b *ledger.Book, n *node) {
		old := r.watched.Master()
		old.Kill()
		n.kill()
		r.watched.Followed(old)
		old.Restart()
		r.watched.Settle()
		b.Fresh(some)
		n.launch()
	}},
}

// leave has the rig forget a node that was stopped.
func (r *rig) leave(n *node) {
	r.nodes = slices.DeleteFunc(slices.Clone(r.nodes), func(one *node) bool { return one == n })
	all := slices.Clone(r.nodes)
	r.all.Store(&all)
}
