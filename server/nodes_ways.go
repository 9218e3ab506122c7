package server

import (
	"context"
	"net"
	"time"

	"jackdaw/cluster"
	"jackdaw/cluster/link"
)

// ways are what those who take streams know of other nodes: streams of one kind. It implements c2s.Elsewhere.
type ways struct {
	n    *nodes
	kind link.Kind
}

const (
	// settleTime bounds how long a stream or a request waits for an owner to be at home somewhere: a move takes less.
	settleTime = 3 * time.Second
	// settlePause is how often it looks whether a slot that has come is served by now.
	settlePause = 20 * time.Millisecond
)

// Here implements c2s.Elsewhere. What asks is a client's or a component's first word.
func (w ways) Here(owner string, handed bool) bool { return w.n.settledHere(w.n.ctx, owner, handed) }

// settledHere says whether an owner is at home here. It waits while the owner moves: what somebody asks for had to fail
// otherwise. handed is as in c2s.Elsewhere.
func (n *nodes) settledHere(ctx context.Context, owner string, handed bool) bool {
	if n.relay.Here(owner) {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	return settled(ctx, n, cluster.SlotOf(owner), handed, func() bool { return n.relay.Here(owner) })
}

// Open implements c2s.Elsewhere.
func (w ways) Open(ctx context.Context, owner string) (net.Conn, error) {
	return w.n.open(ctx, owner, w.kind)
}

// places is what settled asks of where slots are.
type places interface {
	ID() string
	Home(slot int) (cluster.Place, bool)
	Changed() <-chan struct{}
	Refresh(ctx context.Context)
}

// settled says whether a slot is served here, as here does. It waits while the slot is at home nowhere, or here but not
// served: it has just come, or is about to go. With handed, what this node knows may be old, and is read anew.
func settled(ctx context.Context, p places, slot int, handed bool, here func() bool) bool {
	if handed {
		p.Refresh(ctx)
	}
	for {
		changed := p.Changed()
		if here() {
			return true
		}
		if home, ok := p.Home(slot); ok && home.Node != p.ID() {
			return false
		}
		look := time.NewTimer(settlePause)
		select {
		case <-changed:
		case <-look.C:
		case <-ctx.Done():
			look.Stop()
			return here()
		}
		look.Stop()
	}
}
