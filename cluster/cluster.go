// Package cluster shares the work of a server among several nodes. Everything that is decided is decided for an owner;
// owners fall into slots, and each slot has one home among the nodes at a time.
//
//   - A node holds its slots by a lease in the store that all nodes share, and counts it by its own clocks from before
//     it asked. From the moment on when the lease may have run out the node is nobody's home (Node.Here).
//   - Each assignment of a slot has a fence, a number that only rises. The store of the owners refuses whoever writes
//     under a lower one than was there before, so a node that slept through the end of its lease writes nothing.
//   - Nodes that come and go share the slots evenly; they all compute the same shares from the same view (shares.go). A
//     planned move is: Options.Lost, then one step in the store that gives slot and new fence to the other.
//   - Nodes that reach the store but not each other settle there which of them leaves (silence.go).
//
// core.go decides, and knows no goroutine, no clock and no store, so that simulation_test.go can run thousands of
// histories of it by seed; node.go is what runs it. How nodes talk to each other, and what they keep, is elsewhere.
package cluster

import (
	"strings"
	"time"
)

// Slots is how many slots there are. It is part of what nodes of different versions agree on.
const Slots = 1024

// Homed says whether an owner has one home, where alone it is read, decided and written: accounts and rooms, which have
// an '@' in their bare addresses, whatever follows behind a byte that cannot be in one; and pairs of domains,
// "local>remote". The names of domains have slots too, but their rows are written by all nodes.
func Homed(owner string) bool {
	for i := range len(owner) {
		if c := owner[i]; c == '@' && i > 0 {
			return true
		} else if c == '@' || ends[c] {
			break
		}
	}
	return strings.IndexByte(owner, '>') > 0
}

// ends are the bytes that cannot be in a bare address (RFC 7622 §3.3 names what is not in it): the longest beginning of
// an owner without them may be one.
var ends = func() (is [256]bool) {
	for c := range ' ' + 1 {
		is[c] = true
	}
	for _, c := range "\x7f\"&'/<>" {
		is[c] = true
	}
	return is
}()

// SlotOf returns the slot of an owner: of its bare address if there is an '@' in that; of the remote domain of a pair,
// so that all that waits for a peer is in one place, where it is bounded; else of all of it. Nodes of all versions
// agree on it, so it never changes: FNV-1a of 64 bits, mixed as in the last steps of MurmurHash3, of which the upper
// ten bits count. Each message asks for it several times, so it looks at each byte once.
func SlotOf(owner string) int {
	const offset, prime = 14695981039346656037, 1099511628211
	x := uint64(offset)
	at, inside := false, owner == "" || owner[0] != '@' // which ends a local part that is empty
	pair := false
	for i := range len(owner) {
		c := owner[i]
		if inside {
			if ends[c] {
				if at {
					break
				}
				inside = false
			}
			at = at || c == '@'
		}
		if c == '>' && !pair { // what counts comes behind it
			pair, x = true, offset
			continue
		}
		x = (x ^ uint64(c)) * prime
	}
	// FNV alone hardly carries the last byte into the upper bits.
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	x ^= x >> 33
	return int(x >> 54)
}

// A Member is a node as the others see it. Nodes of other versions write it too: what is unknown is ignored, and what
// is missing is empty.
type Member struct {
	ID      string    `json:"id"`      // of the node, as long as its process runs
	Run     string    `json:"run"`     // changes each time it joins anew, empty
	Address string    `json:"address"` // host:port of its links
	Version string    `json:"version"` // of the program
	Started time.Time `json:"started"` // when this run joined, by its own clock
	Host    string    `json:"host,omitempty"`
	PID     int       `json:"pid,omitempty"`
	// Protocol is the highest protocol between nodes that it speaks, Oldest the lowest. Nodes speak the highest that all
	// of them know, so that one after the other can be upgraded.
	Protocol int `json:"protocol,omitempty"`
	Oldest   int `json:"oldest,omitempty"`
}

// Protocol and Oldest are what this version speaks to other nodes.
const (
	Protocol = 1
	Oldest   = 1
)

// A Place is where a slot is at home.
type Place struct {
	Node  string // empty: nowhere
	Fence uint64
}
