package embedded

import (
	"bytes"
	"encoding/binary"
	"sync"

	"go.etcd.io/bbolt"
)

// A blockCursor gives the records of one owner that the tree holds, or only those of a peer.
type blockCursor struct {
	lo, hi   uint64 // ids, both included
	backward bool
	peer     []byte        // nil: all
	owner    []byte        // and a NUL
	list     []byte        // what the keys of cursor begin with: owner, or with a peer "owner NUL peer NUL"
	cursor   *bbolt.Cursor // of the blocks, or of the list of a peer
	blocks   *bbolt.Bucket
	segments *segments

	records []record // of the block at hand that are wanted
	at      int      // in them
	space   *readSpace
	op      recordOp // the record at hand
	some    bool     // there is one
	err     error
	damaged []span // blocks that were stepped over
}

// newBlockCursor is nil if the tree holds no records of that log at all.
func newBlockCursor(
	tx *bbolt.Tx, s *segments, space, owner string, peer []byte, lo, hi uint64, backward bool,
) *blockCursor {
	blocks := tx.Bucket([]byte("k" + space))
	if blocks == nil {
		return nil
	}
	c := &blockCursor{lo: lo, hi: hi, backward: backward, peer: peer, blocks: blocks, segments: s}
	c.owner = append(append(make([]byte, 0, len(owner)+1), owner...), 0)
	if c.list = c.owner; peer == nil {
		c.cursor = blocks.Cursor()
	} else {
		list := tx.Bucket([]byte("q" + space))
		if list == nil {
			return nil
		}
		c.cursor = list.Cursor()
		c.list = append(append(bytes.Clone(c.owner), peer...), 0)
	}
	c.space = spaces.Get().(*readSpace)
	c.first()
	return c
}

// A readSpace is what reading blocks needs and gives back.
type readSpace struct {
	records []record
	block   []byte
}

var spaces = sync.Pool{New: func() any { return new(readSpace) }}

// close ends the walk: what the cursor gave is not valid any more.
func (c *blockCursor) close() {
	c.records, c.op = nil, recordOp{}
	clear(c.space.records[:cap(c.space.records)]) // they point into the tree
	if cap(c.space.block) <= 4*longBlock {
		spaces.Put(c.space)
	}
}

// first goes to the first record of the walk. It is in the last block whose key is not above the bound, which may also
// hold none of the wanted ones, or in the one after.
func (c *blockCursor) first() {
	bound := c.lo
	if c.backward {
		bound = c.hi
	}
	k, v := c.cursor.Seek(blockKey(c.list, bound))
	if blockID(c.list, k) != bound || !bytes.HasPrefix(k, c.list) {
		if k == nil {
			k, v = c.cursor.Last()
		} else {
			k, v = c.cursor.Prev()
		}
		if !c.backward && !bytes.HasPrefix(k, c.list) {
			k, v = c.cursor.Seek(blockKey(c.list, bound))
		}
	}
	c.from(k, v)
}

// from goes to the first wanted record of a block or of those after it.
func (c *blockCursor) from(k, v []byte) {
	for c.some = false; c.read(k, v); {
		if c.backward {
			for c.at = len(c.records) - 1; c.at >= 0 && c.records[c.at].id > c.hi; c.at-- {
			}
		} else {
			for c.at = 0; c.at < len(c.records) && c.records[c.at].id < c.lo; c.at++ {
			}
		}
		if c.settle() {
			return
		}
		k, v = c.next()
	}
}

func (c *blockCursor) next() (k, v []byte) {
	if c.backward {
		return c.cursor.Prev()
	}
	return c.cursor.Next()
}

// settle makes the record at hand the cursor's. It returns false if the block has no more.
func (c *blockCursor) settle() bool {
	if c.at < 0 || c.at >= len(c.records) {
		return false
	}
	r := &c.records[c.at]
	c.op = recordOp{r.id, &r.peer, r.data}
	c.some = c.op.id >= c.lo && c.op.id <= c.hi // beyond that the walk is over
	return true
}

// read reads a block. It returns false at the end of what there is.
func (c *blockCursor) read(k, v []byte) bool {
	c.records = nil
	if c.err != nil || !bytes.HasPrefix(k, c.list) {
		return false
	}
	id := blockID(c.list, k)
	if id == 0 {
		c.err = errBadBlock
		return false
	}
	if id > c.hi {
		return false
	}
	if c.peer != nil {
		if v = c.blocks.Get(binary.BigEndian.AppendUint64(bytes.Clone(c.owner), id)); v == nil {
			return true // it was damaged and has been given up
		}
	}
	r, elsewhere, err := readRef(v, id)
	if err == nil && elsewhere {
		if !c.backward && r.last < c.lo { // it was found as what may hold the first
			return true
		}
		if v, err = c.segments.read(r, c.space.block); err == nil {
			c.space.block = v
		} else if isDamage(err) {
			c.segments.damages.meet(r, c.owner, err)
			c.damaged = append(c.damaged, span{id, r.last})
			return true
		}
	}
	if c.err = err; err != nil {
		return false
	}
	c.records, c.err = readBlock(c.space.records[:0], id, v, c.peer)
	c.space.records = c.records
	return c.err == nil
}

func (c *blockCursor) here() *recordOp {
	if !c.some {
		return nil
	}
	return &c.op
}

func (c *blockCursor) step() {
	if c.at++; c.backward {
		c.at -= 2
	}
	if c.some = false; !c.settle() {
		c.from(c.next())
	}
}
