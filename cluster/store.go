package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A Store is what nodes share. Each request is one atomic step there, and its errors leave open whether it was done,
// except for those that are declared here; so all steps may be repeated, and one that comes late finds that what it
// expects is gone. When Do returns a view, all that is in it survives the failures that the store promises to survive.
type Store interface {
	Do(ctx context.Context, r Request) (View, error)
}

// ErrGone tells a member that it is none: its lease ran out, or the store has forgotten it.
var ErrGone = errors.New("the lease of this node is gone")

// A UsedError tells who has the id of a node that wants to join.
type UsedError struct{ By Member }

func (e *UsedError) Error() string {
	return fmt.Sprintf("another node has the id %q: it runs at %s (host %s, process %d) since %s; "+
		"give each node an id of its own, or end that one first", e.By.ID, e.By.Address, e.By.Host, e.By.PID,
		e.By.Started.Local().Format("2006-01-02 15:04:05 MST"))
}

// A SingleError tells that a server without a cluster uses the store.
type SingleError struct{ Holder string }

func (e *SingleError) Error() string {
	return "another jackdaw uses it, which is no node of a cluster (" + e.Holder + "); end that one first and give it " +
		"the section cluster too, or give the nodes another storage.redis.prefix"
}

// An Op is what a request asks for.
type Op string

// What may be asked for. Whoever asks for anything but OpLook and OpLeave has its lease renewed too.
const (
	OpLook  Op = "look"  // changes nothing
	OpJoin  Op = "join"  // become a member, without slots
	OpRenew Op = "renew" // and tell Leaving and Silent
	OpTake  Op = "take"  // the slots in Claims whose homes are gone, or that are one's own
	OpGive  Op = "give"  // the slots in Claims, which are one's own, to others
	OpExpel Op = "expel" // Other is to leave, if the version is still Version
	OpLeave Op = "leave" // be a member no more
)

// A Request is one step. Member says who asks.
type Request struct {
	Op     Op
	Member Member // OpJoin keeps all of it, the others look at ID and Run
	// Lease is how long the lease holds, Grace how much longer nobody else takes slots.
	Lease, Grace time.Duration
	Version      uint64   // the view that is known; if it is the same still, View.Places is nil
	Replaces     string   // OpJoin: an earlier run of the same node, which has ended
	Leaving      bool     // OpRenew: gives its slots away, gets no more
	Silent       []string // OpRenew: runs of members from which nothing came for long, in the order of their ids
	Claims       []Claim  // OpTake, OpGive
	Above        uint64   // OpTake, OpGive: new fences are higher
	Other        string   // OpExpel
}

// A Claim is for a slot that still has this fence; 0: it never had one.
type Claim struct {
	Slot  int
	Fence uint64
	To    string // OpGive
}

// A View is what is in the store at one moment.
type View struct {
	Version uint64 // changes whenever anything does but leases
	Members []Seat // in the order of their ids; those whose lease and grace are over are not among them
	Places  *[Slots]Place
}

// A Seat is what the store knows of a member.
type Seat struct {
	Member
	Left     time.Duration // of its lease; a little below 0 while nobody may take its slots
	Leaving  bool
	Expelled string        // by whom
	Silent   []string      // runs of members that it does not hear
	Since    time.Duration // how long it has told the same of that
}

// Count returns how many slots each node has, those that are gone included, and under "" how many are nowhere.
func (v View) Count() map[string]int {
	counts := map[string]int{}
	if v.Places != nil {
		for _, p := range v.Places {
			counts[p.Node]++
		}
	}
	return counts
}
