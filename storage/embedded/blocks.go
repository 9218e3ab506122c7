package embedded

import (
	"bytes"
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"strings"

	"go.etcd.io/bbolt"
)

// In the tree the records of a log lie in blocks: a key for each record costs more than the record, when it is written,
// when it is removed, and on the disk. A block holds records of one owner that follow each other. Its key, "owner NUL
// id", is not above its first record and above the last one of the block before; it stays while the block holds
// anything. The blocks that hold records of a peer are found under "owner NUL peer NUL id" in a bucket of their own.
//
//	format (1) | for each record: id less the one before it, or less that of the key |
//	length of the peer plus 1, 0: the one before | peer | length of the data | data

//
// The last block of an owner grows with each merge. Once it has blockBytes it is put into a segment and the tree keeps
// a reference; what comes then begins another one.
//
//	format (2) | segment (4) | CRC-32C (4) | offset | size | id of the last record less that of the key

const (
	blockFormat    = 1
	blockElsewhere = 2
	// blockBytes is when a block goes into a segment: one that grows by little fills two pages then. It may have up to
	// longBlock there if a record is not longer, and leaves no more than slack of its last page, or than one record.
	blockBytes = 8<<10 - slack
	longBlock  = 16 << 10
	slack      = 512
)

var errBadBlock = errors.New("a block of records cannot be read; was it written by a later version?")

// appendRecord appends one record to a block. prev is the one before it, whose peer is nil for the first.
func appendRecord(dst []byte, prev, r record) []byte {
	dst = binary.AppendUvarint(dst, r.id-prev.id)
	if prev.peer != nil && bytes.Equal(prev.peer, r.peer) {
		dst = append(dst, 0)
	} else {
		dst = binary.AppendUvarint(dst, uint64(len(r.peer))+1)
		dst = append(dst, r.peer...)
	}
	dst = binary.AppendUvarint(dst, uint64(len(r.data)))
	return append(dst, r.data...)
}

// readBlock appends the records of a block to list: those of a peer, or all if it is nil. They borrow from the block.
func readBlock(list []record, id uint64, b, wanted []byte) ([]record, error) {
	if len(b) < 1 || b[0] != blockFormat {
		return list, errBadBlock
	}
	peer, fits := []byte{}, wanted == nil
	for b = b[1:]; len(b) > 0; {
		var head [2]uint64 // step, length of the peer
		for i := range head {
			n, w := binary.Uvarint(b)
			if w <= 0 {
				return list, errBadBlock
			}
			head[i], b = n, b[w:]
		}
		id += head[0]
		if n := head[1]; n > uint64(len(b))+1 {
			return list, errBadBlock
		} else if n > 0 {
			peer, b = b[:n-1:n-1], b[n-1:]
			fits = wanted == nil || bytes.Equal(peer, wanted)
		}
		n, w := binary.Uvarint(b)
		if w <= 0 || n > uint64(len(b)-w) {
			return list, errBadBlock
		}
		if fits {
			list = append(list, record{id, peer, b[w : w+int(n) : w+int(n)]})
		}
		b = b[w+int(n):]
	}
	return list, nil
}

// A recordOp is a record written or removed. A table has one for each record, so that its size counts.
type recordOp struct {
	id   uint64
	peer *[]byte // nil: removed
	data []byte
}

func (o *recordOp) deleted() bool { return o.peer == nil }

// record is what was written, where nothing was removed.
func (o *recordOp) record() record { return record{o.id, *o.peer, o.data} }

// recordOpOf reads the key of a record, "owner NUL id peer", of which the owner is known.
func recordOpOf(rest, value []byte, deleted bool) (recordOp, error) {
	if len(rest) < 8 {
		return recordOp{}, errBadOps
	}
	id := binary.BigEndian.Uint64(rest)
	if deleted {
		return recordOp{id: id}, nil
	}
	peer := rest[8:]
	return recordOp{id, &peer, value}, nil
}

// A blockWriter merges records into the blocks of one space.
type blockWriter struct {
	blocks, peers *bbolt.Bucket
	out           *placer  // nil: all blocks go into the tree
	old, merged   []record // buffers
	read, written []byte   // too
}

func newBlockWriter(tx *bbolt.Tx, space string, out *placer) (*blockWriter, error) {
	w := &blockWriter{out: out}
	for name, b := range map[string]**bbolt.Bucket{"k": &w.blocks, "q": &w.peers} {
		var err error
		if *b, err = tx.CreateBucketIfNotExists([]byte(name + space)); err != nil {
			return nil, err
		}
		(*b).FillPercent = 0.9 // see merge
	}
	return w, nil
}

// mergeOwner merges the operations of one owner, by ascending ids; prefix is its name and a NUL.
func (w *blockWriter) mergeOwner(prefix []byte, ops []recordOp) error {
	for len(ops) > 0 {
		key, value, next := w.find(prefix, ops[0].id)
		n := len(ops)
		if next > 0 {
			n, _ = search(ops, next)
		}
		if err := w.block(prefix, key, value, ops[:n]); err != nil {
			return err
		}
		ops = ops[n:]
	}
	return nil
}

// find returns the block that a record belongs to, nil if it would be the first, and the id of the block after, 0 if
// there is none.
func (w *blockWriter) find(prefix []byte, id uint64) (key, value []byte, next uint64) {
	c := w.blocks.Cursor()
	k, v := c.Seek(blockKey(prefix, id))
	if bytes.HasPrefix(k, prefix) && blockID(prefix, k) > id {
		next = blockID(prefix, k)
	}
	if !bytes.HasPrefix(k, prefix) || next > 0 {
		if k, v = w.before(c, k != nil, prefix, id); !bytes.HasPrefix(k, prefix) {
			return nil, nil, next
		}
		return k, v, next
	}
	key, value = k, v
	if k, _ = c.Next(); bytes.HasPrefix(k, prefix) {
		next = blockID(prefix, k)
	}
	return key, value, next
}

// before moves a cursor, which stands on a key or behind the last, to the key before: nil if there is none of the
// owner.
//
// COMPAT(bbolt 1.5.0): pages whose keys this transaction has deleted stay until its end. When all are empty, Last
// seeks for ever; and Prev says nil in front of an empty page, though there are keys before it. First and Next pass
// over them.
func (w *blockWriter) before(c *bbolt.Cursor, on bool, prefix []byte, id uint64) (key, value []byte) {
	if on {
		if key, value = c.Prev(); key != nil {
			return key, value
		}
		for k, v := c.Seek(prefix); bytes.HasPrefix(k, prefix) && blockID(prefix, k) <= id; k, v = c.Next() {
			key, value = k, v
		}
		return key, value
	}
	if k, _ := c.First(); k == nil {
		return nil, nil
	}
	return c.Last()
}

func blockKey(prefix []byte, id uint64) []byte {
	return binary.BigEndian.AppendUint64(bytes.Clone(prefix), id)
}

// blockID is 0 for a key that is none of a block.
func blockID(prefix, key []byte) uint64 {
	if len(key) != len(prefix)+8 {
		return 0
	}
	return binary.BigEndian.Uint64(key[len(prefix):])
}

// block merges operations into one block, or into new ones if key is nil. What goes behind a full one makes new ones,
// too.
func (w *blockWriter) block(prefix, key, value []byte, ops []recordOp) (err error) {
	old := w.old[:0]
	var id uint64
	if key != nil {
		id = blockID(prefix, key)
		r, elsewhere, err := readRef(value, id)
		switch {
		case err != nil:
			return err
		case elsewhere && ops[0].id > r.last:
			key = nil
		case elsewhere && w.out == nil:
			return errBadBlock // what is converted has none
		case elsewhere:
			if value, err = w.out.read(r, w.read); isDamage(err) {
				w.out.damages.meet(r, prefix, err)
				if err := w.lose(prefix, id, r); err != nil {
					return err
				}
				key = nil
				break
			} else if err != nil {
				return err
			}
			w.read = value
			w.out.free(r)
		}
	}
	if key != nil {
		if old, err = readBlock(old, id, value, nil); err != nil {
			return err
		}
		w.old = old
		if len(value) >= blockBytes && len(old) > 0 && ops[0].id > old[len(old)-1].id {
			key, old = nil, nil
		}
	}
	merged := w.merged[:0]
	for rest := old; len(rest) > 0 || len(ops) > 0; {
		if len(ops) == 0 || len(rest) > 0 && rest[0].id < ops[0].id {
			merged, rest = append(merged, rest[0]), rest[1:]
			continue
		}
		if len(rest) > 0 && rest[0].id == ops[0].id {
			rest = rest[1:]
		}
		if !ops[0].deleted() {
			merged = append(merged, ops[0].record())
		}
		ops = ops[1:]
	}
	w.merged = merged
	// The bytes of the block are the tree's: nothing is written before all have been copied.
	type fresh struct {
		id      uint64
		value   []byte
		records []record
	}
	var all []fresh
	for len(merged) > 0 {
		f := fresh{id: merged[0].id}
		if key != nil && len(all) == 0 {
			f.id = id
		}
		n, err := w.fill(&f.value, f.id, merged)
		if err != nil {
			return err
		}
		f.records, merged = merged[:n], merged[n:]
		all = append(all, f)
	}
	before := peersOf(old)
	if key != nil && len(all) == 0 {
		if err := w.blocks.Delete(blockKey(prefix, id)); err != nil {
			return err
		}
		return w.unlist(prefix, before, nil, id)
	}
	for i, f := range all {
		after := peersOf(f.records)
		if i > 0 || key == nil {
			before = nil
		}
		if err := w.unlist(prefix, before, after, f.id); err != nil {
			return err
		}
		for _, peer := range after {
			if !has(before, peer) && len(peer) > 0 {
				if err := w.peers.Put(peerKey(prefix, peer, f.id), nil); err != nil {
					return err
				}
			}
		}
		if err := w.blocks.Put(blockKey(prefix, f.id), f.value); err != nil {
			return err
		}
	}
	return nil
}

// fill makes a block under an id of as many records as it takes, at least one, and returns their number; value is what
// the tree holds of it.
func (w *blockWriter) fill(value *[]byte, id uint64, records []record) (n int, err error) {
	limit := longBlock
	if w.out == nil {
		limit = blockBytes
	}
	b, prev := append(w.written[:0], blockFormat), record{id: id}
	cut, page := 0, 0 // records and bytes before the last that went over the end of a page
	for ; n < len(records); n++ {
		whole := len(b)
		if b = appendRecord(b, prev, records[n]); n > 0 && len(b) > limit {
			b, cut = b[:whole], 0
			break
		}
		if whole >= blockBytes && (len(b)-1)/segmentPage > (whole-1)/segmentPage {
			cut, page = n, whole
		}
		prev = records[n]
	}
	if w.out != nil && cut > 0 && -len(b)&(segmentPage-1) > slack {
		n, b = cut, b[:page] // the rest begins the next block
	}
	w.written = b
	if w.out == nil || len(b) < blockBytes {
		*value = bytes.Clone(b)
		return n, nil
	}
	r, err := w.out.place(b, records[n-1].id)
	*value = r.append(make([]byte, 0, 32), id)
	return n, err
}

// unlist takes a block from the lists of peers that it no longer holds.
func (w *blockWriter) unlist(prefix []byte, before, after [][]byte, id uint64) error {
	for _, peer := range before {
		if !has(after, peer) && len(peer) > 0 {
			if err := w.peers.Delete(peerKey(prefix, peer, id)); err != nil {
				return err
			}
		}
	}
	return nil
}

func peerKey(prefix, peer []byte, id uint64) []byte {
	k := make([]byte, 0, len(prefix)+len(peer)+9)
	k = append(append(append(k, prefix...), peer...), 0)
	return binary.BigEndian.AppendUint64(k, id)
}

// peersOf are copies of the different peers of records. They are few.
func peersOf(records []record) (list [][]byte) {
	for i, r := range records {
		if (i == 0 || !bytes.Equal(r.peer, records[i-1].peer)) && !has(list, r.peer) {
			list = append(list, bytes.Clone(r.peer))
		}
	}
	return list
}

func has(list [][]byte, one []byte) bool {
	return slices.ContainsFunc(list, func(b []byte) bool { return bytes.Equal(b, one) })
}

// convert brings a tree in which each record has a key of its own into blocks.
func convert(tx *bbolt.Tx) error {
	var old [][]byte
	c := tx.Cursor()
	for _, letter := range []string{"l", "p"} {
		for name, _ := c.Seek([]byte(letter)); bytes.HasPrefix(name, []byte(letter)); name, _ = c.Next() {
			old = append(old, bytes.Clone(name))
		}
	}
	for _, name := range old {
		if name[0] == 'l' {
			w, err := newBlockWriter(tx, string(name[1:]), nil)
			if err != nil {
				return err
			}
			var owner []byte
			var ops []recordOp
			c := tx.Bucket(name).Cursor()
			for k, v := c.First(); ; k, v = c.Next() {
				cut := bytes.IndexByte(k, 0) + 1
				if !bytes.Equal(k[:cut], owner) {
					if err := w.mergeOwner(owner, ops); err != nil {
						return err
					}
					owner, ops = bytes.Clone(k[:cut]), nil
				}
				if k == nil {
					break
				}
				op, err := recordOpOf(bytes.Clone(k[cut:]), bytes.Clone(v), false)
				if err != nil {
					return err
				}
				ops = append(ops, op)
			}
		}
		if err := tx.DeleteBucket(name); err != nil {
			return err
		}
	}
	return nil
}

// mergeRecords merges all records of a table.
func mergeRecords(tx *bbolt.Tx, t *memtable, out *placer) error {
	all := make(map[string]*recent)
	for _, m := range t.recents {
		maps.Copy(all, m)
	}
	var w *blockWriter
	var space string
	var buffer []recordOp
	for _, name := range slices.Sorted(maps.Keys(all)) { // so pages are written one after the other
		cut := strings.IndexByte(name, 0)
		if w == nil || name[:cut] != space {
			space = name[:cut]
			var err error
			if w, err = newBlockWriter(tx, space, out); err != nil {
				return err
			}
		}
		ops := all[name].all(buffer)
		if len(all[name].edits) > 0 {
			buffer = ops
		}
		if err := w.mergeOwner([]byte(name[cut+1:]), ops); err != nil {
			return err
		}
	}
	return nil
}

// outdated says whether convert has something to do.
func outdated(tx *bbolt.Tx) bool {
	for _, letter := range []string{"l", "p"} {
		if name, _ := tx.Cursor().Seek([]byte(letter)); bytes.HasPrefix(name, []byte(letter)) {
			return true
		}
	}
	return false
}
