package server

import (
	"sync"

	"jackdaw/cluster"
)

// alive says of a node, by the name that the modules know it by, whether it is there.
func (n *nodes) alive(name string) bool {
	for _, m := range n.node.Load().Members() {
		if nameOf(m) == name {
			return true
		}
	}
	return false
}

// afresh is alive for who has read the marks of nodes: it is looked who is there after that. A node that joined while
// nobody here had looked would pass for dead otherwise, and its mark be removed.
func afresh(look func(), alive func(name string) bool) func(name string) bool {
	var once sync.Once
	return func(name string) bool {
		once.Do(look)
		return alive(name)
	}
}

// nameOf is the name of a node that has joined: another each time.
func nameOf(m cluster.Member) string { return m.ID + "/" + m.Run }

// self is how the modules know this node.
func (n *nodes) self() string {
	node := n.node.Load()
	for _, m := range node.Members() {
		if m.ID == node.ID() {
			return nameOf(m)
		}
	}
	return ""
}

// ended tells the modules if the node that they know is none any more, which has lost its lease.
func (n *nodes) ended() {
	n.joining.Lock()
	defer n.joining.Unlock()
	if n.node.Load().Err() != nil || n.self() != n.run {
		n.house.features.Ended()
	}
}
