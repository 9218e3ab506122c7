package embedded

import (
	"bytes"
	"encoding/binary"
	"slices"

	"go.etcd.io/bbolt"
)

// A blockSource gives the records that the tree holds, as scan has them, or only those of one owner and peer.
type blockSource struct {
	reach
	cursor *bbolt.Cursor // of the blocks, or of the list of a peer
	lookup *bbolt.Cursor // of the blocks, with a peer
	peer   []byte        // nil: all
	list   []byte        // with a peer: "owner NUL peer NUL"
	owner  []byte        // of the block that is being read, and a NUL

	records []record // of that block that are wanted
	at      int
	buf     []byte // its key, empty at the end
	err     error
}

// treeRecords is a source of records, or nil if there are none. from and to are without the bucket.
func treeRecords(tx *bbolt.Tx, space []byte, r reach, peer []byte) *blockSource {
	name := append([]byte{'k'}, space...)
	blocks := tx.Bucket(name)
	if blocks == nil {
		return nil
	}
	s := &blockSource{reach: r, peer: peer, records: make([]record, 0, 32), buf: make([]byte, 0, 64)}
	if peer == nil {
		s.cursor = blocks.Cursor()
		return s
	}
	name[0] = 'q'
	b := tx.Bucket(name)
	if b == nil {
		return nil
	}
	s.cursor, s.lookup = b.Cursor(), blocks.Cursor()
	s.owner = r.from[:bytes.IndexByte(r.from, 0)+1]
	s.list = append(append(bytes.Clone(s.owner), peer...), 0)
	return s
}

// place turns a bound into the key of the block that may hold it: of the list of the peer, if there is one.
func (s *blockSource) place(bound []byte) []byte {
	if s.peer == nil {
		return bound
	}
	if len(bound) < len(s.owner)+8 {
		if s.backward {
			return ending(s.list)
		}
		return s.list
	}
	return append(bytes.Clone(s.list), bound[len(s.owner):len(s.owner)+8]...)
}

func (s *blockSource) first() {
	defer s.settle()
	if s.backward {
		var k []byte
		if s.to != nil {
			k, _ = s.cursor.Seek(s.place(s.to))
		}
		for k, v := s.before(k); s.read(k, v); k, v = s.cursor.Prev() {
			if s.at = len(s.records) - 1; s.to != nil {
				s.at = s.search(s.to) - 1
			}
			if s.at >= 0 {
				return
			}
		}
		return
	}
	// The block before the one that is found may hold what is looked for.
	at := s.place(s.from)
	k, _ := s.cursor.Seek(at)
	k, v := s.before(k)
	if k != nil && s.read(k, v) {
		if s.at = s.search(s.from); s.at < len(s.records) {
			return
		}
	}
	if s.err != nil {
		return
	}
	for k, v = s.cursor.Seek(at); s.read(k, v); k, v = s.cursor.Next() {
		if s.at = s.search(s.from); s.at < len(s.records) {
			return
		}
	}
}

// before goes to the key before the one that a search has found, the last one if it has found none.
func (s *blockSource) before(found []byte) (k, v []byte) {
	if found == nil {
		return s.cursor.Last()
	}
	return s.cursor.Prev()
}

// search is the place of the first record at or above a bound.
func (s *blockSource) search(bound []byte) int {
	n, _ := slices.BinarySearchFunc(s.records, bound, func(r record, bound []byte) int {
		return bytes.Compare(s.appendKey(s.buf[:0], &r), bound)
	})
	return n
}

// read reads a block. It returns false at the end of what there is.
func (s *blockSource) read(k, v []byte) bool {
	s.records, s.at = s.records[:0], 0
	if k == nil || s.err != nil {
		return false
	}
	var id uint64
	if s.peer == nil {
		cut := bytes.IndexByte(k, 0) + 1
		if cut <= 0 || len(k) != cut+8 {
			s.err = errBadBlock
			return false
		}
		s.owner, id = k[:cut], binary.BigEndian.Uint64(k[cut:])
	} else {
		if !bytes.HasPrefix(k, s.list) {
			return false
		}
		id = blockID(s.list, k)
		s.buf = binary.BigEndian.AppendUint64(append(s.buf[:0], s.owner...), id)
		if k, v = s.lookup.Seek(s.buf); !bytes.Equal(k, s.buf) {
			s.err = errBadBlock
			return false
		}
	}
	if s.records, s.err = readBlock(s.records, id, v, s.peer); s.err != nil {
		s.records = s.records[:0]
		return false
	}
	return true
}

func (s *blockSource) step() {
	defer s.settle()
	if s.backward {
		for s.at--; s.at < 0; s.at = len(s.records) - 1 {
			if !s.read(s.cursor.Prev()) {
				return
			}
		}
		return
	}
	for s.at++; s.at >= len(s.records); {
		if !s.read(s.cursor.Next()) {
			return
		}
	}
}

// settle makes the key of the record at hand; empty at the end, and beyond what is wanted.
func (s *blockSource) settle() {
	s.buf = s.buf[:0]
	if s.at >= 0 && s.at < len(s.records) {
		if s.buf = s.appendKey(s.buf, &s.records[s.at]); !s.holds(s.buf) {
			s.buf = s.buf[:0]
		}
	}
}

func (s *blockSource) appendKey(dst []byte, r *record) []byte {
	dst = binary.BigEndian.AppendUint64(append(dst, s.owner...), r.id)
	return append(dst, r.peer...)
}

func (s *blockSource) key(int) []byte {
	if len(s.buf) == 0 {
		return nil
	}
	return s.buf
}

func (s *blockSource) value() ([]byte, bool) { return s.records[s.at].data, false }
