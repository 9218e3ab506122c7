package forged

import "sync/atomic"

const (
	lines   = 1 << 14
	perLine = 8
)

// none is a memory of owners who have no senders, which nearly all are: 131,072 of them in a MiB that is touched as it
// fills. It is asked for every stanza from and to peers, so it takes no lock and reads one line of the processor's
// cache. Who is not in it may have senders or not. It knows owners by their hash alone: with a secret seed and 63 bits,
// no two will meet.
type none [lines][perLine]atomic.Uint64

// place is where an owner is, and as what: not as 0, which is nobody.
func (n *none) place(hash uint64) (line *[perLine]atomic.Uint64, mark uint64) {
	return &n[hash/shards%lines], hash | 1
}

func (n *none) has(hash uint64) bool {
	line, mark := n.place(hash)
	for i := range line {
		if line[i].Load() == mark {
			return true
		}
	}
	return false
}

// add takes an owner in, in place of another if need be. Who calls it for an owner holds write of its shard, as for
// remove.
func (n *none) add(hash uint64) {
	line, mark := n.place(hash)
	for i := range line {
		if old := line[i].Load(); old == mark || line[i].CompareAndSwap(0, mark) {
			return
		}
	}
	line[hash>>32%perLine].Store(mark)
}

// clear forgets everybody.
func (n *none) clear() {
	for i := range n {
		for k := range n[i] {
			n[i][k].Store(0)
		}
	}
}

func (n *none) remove(hash uint64) {
	line, mark := n.place(hash)
	for i := range line {
		line[i].CompareAndSwap(mark, 0)
	}
}
