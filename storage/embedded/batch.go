package embedded

import (
	"encoding/binary"
	"errors"
)

// A batch is writes that are applied together or not at all: in memory, since the owner's shard is locked, and on disk,
// since a batch lies within one frame of the journal.
//
// Keys are "bucket NUL owner NUL rest"; a bucket is a letter and the space:
//
//	l  records of a log     owner NUL id peer → data; in the tree they lie in blocks (k and q)
//	s  sizes of a log       owner NUL → format, last id, records, bytes
//	x  Dedup values         owner NUL value → id; the bucket's name begins with the generation; the tree has runs (h)
//	m  keys of a map        owner NUL key → version, deleted, value
//	y  damaged blocks       owner NUL id → nothing, given up
//	v  versions of a map    owner NUL → format, version, floor, deleted keys
//	a  accounts             domain NUL localpart → storage.EncodeAccount
//	b  API accounts         NUL name → the same
type batch struct {
	ops     []byte
	tooLong bool // a key is longer than maxKey
	lazy    bool // nobody waits: written with the next group, or after laziness
}

// maxKey bounds a key: owner, peer and key or Dedup value together. The tree takes 32,768 bytes.
const maxKey = 30000

var errTooLong = errors.New("names of more than 30,000 bytes")

type op struct {
	key, value []byte
	deleted    bool
}

// An operation is its kind and its key, then the value. The archives of both sides of a message get the same data one
// after the other: the second of them says where in the frame they are. Fields are lengths and bytes.
const (
	opSet    = 0 // key, value
	opDelete = 1 // key
	opSame   = 2 // key, then how far before the operation the value begins, and its length
)

func (b *batch) set(key, value []byte) {
	b.ops = appendSet(b.ops, key, value)
	b.tooLong = b.tooLong || len(key) > maxKey
}

func appendSet(ops, key, value []byte) []byte {
	ops = append(ops, opSet)
	ops = binary.AppendUvarint(ops, uint64(len(key)))
	ops = append(ops, key...)
	ops = binary.AppendUvarint(ops, uint64(len(value)))
	return append(ops, value...)
}

func (b *batch) delete(key []byte) {
	b.ops = append(b.ops, opDelete)
	b.ops = binary.AppendUvarint(b.ops, uint64(len(key)))
	b.ops = append(b.ops, key...)
	b.tooLong = b.tooLong || len(key) > maxKey
}

var errBadOps = errors.New("a journal holds an operation that cannot be read; was it written by a later version?")

// appendSame is appendSet for a value that lies in ops already, from the given place.
func appendSame(ops, key []byte, at, length int) []byte {
	back := len(ops) - at
	ops = append(ops, opSame)
	ops = binary.AppendUvarint(ops, uint64(len(key)))
	ops = append(ops, key...)
	ops = binary.AppendUvarint(ops, uint64(back))
	return binary.AppendUvarint(ops, uint64(length))
}

// eachOp calls f with slices of ops.
func eachOp(ops []byte, f func(op)) error {
	all := ops
	number := func() (uint64, bool) {
		n, w := binary.Uvarint(ops)
		if w <= 0 {
			return 0, false
		}
		ops = ops[w:]
		return n, true
	}
	field := func() ([]byte, bool) {
		n, ok := number()
		if !ok || n > uint64(len(ops)) {
			return nil, false
		}
		b := ops[:n:n]
		ops = ops[n:]
		return b, true
	}
	for len(ops) > 0 {
		at := uint64(len(all) - len(ops))
		kind := ops[0]
		ops = ops[1:]
		key, ok := field()
		if !ok || len(key) == 0 {
			return errBadOps
		}
		o := op{key: key, deleted: kind == opDelete}
		switch kind {
		case opDelete:
		case opSet:
			if o.value, ok = field(); !ok {
				return errBadOps
			}
		case opSame:
			back, ok := number()
			if !ok || back > at {
				return errBadOps
			}
			n, ok := number()
			if !ok || n > back {
				return errBadOps
			}
			o.value = all[at-back : at-back+n : at-back+n]
		default:
			return errBadOps
		}
		f(o)
	}
	return nil
}

// ownerKey is the start of all keys of an owner in a bucket, with its NUL. It can be made longer by so much at no cost.
func ownerKey(kind, space, owner string, more int) []byte {
	b := make([]byte, 0, len(kind)+len(space)+len(owner)+2+more)
	b = append(b, kind...)
	b = append(b, space...)
	b = append(b, 0)
	b = append(b, owner...)
	return append(b, 0)
}

// ending is the end of the range of keys that begin with prefix, whose last byte is a NUL.
func ending(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	end[len(end)-1] = 1
	return end
}
