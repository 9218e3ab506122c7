package fulltext

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sort"

	"jackdaw/modules/internal/record"
	"jackdaw/storage"
)

const (
	// chunkVersion and the others are the first bytes of records: what each is, and its layout.
	chunkVersion = 1
	leafVersion  = 2
	rootVersion  = 3

	// leafBytes is where a leaf is full, so that two fit into a block of the embedded engine.
	leafBytes = 7 << 10
	// chunkIDs is how many ids of messages are in one record.
	chunkIDs = 512
)

var errRecord = errors.New("record of an index that cannot be read")

// A body is a segment in memory.
type body struct {
	ids   []uint64            // of its messages, rising
	lists map[string][]uint32 // by word: positions in ids, rising
}

// add puts a message behind those there are.
func (b *body) add(id uint64, words []string) {
	if len(words) == 0 {
		return // nobody can find it
	}
	n := uint32(len(b.ids))
	b.ids = append(b.ids, id)
	for _, w := range words {
		b.lists[w] = append(b.lists[w], n)
	}
}

// append puts another segment behind this one, without the messages that are dead.
func (b *body) append(o *body, dead func(id uint64) bool) {
	places := make([]uint32, len(o.ids)) // 0: none, else one more than the new place
	for i, id := range o.ids {
		if !dead(id) {
			b.ids = append(b.ids, id)
			places[i] = uint32(len(b.ids))
		}
	}
	for w, list := range o.lists {
		to := b.lists[w]
		for _, n := range list {
			if p := places[n]; p > 0 {
				to = append(to, p-1)
			}
		}
		if len(to) > 0 {
			b.lists[w] = to
		}
	}
}

// A part is a segment as the list of an owner's segments has it.
type part struct {
	root        uint64 // the record of its root
	first, last uint64 // ids of messages
	messages    int
	bytes       int64
}

// A root tells where the records of a segment are.
type root struct {
	chunks []uint64 // records with ids of messages
	firsts []string // the first word of each leaf
	leaves []uint64
}

// write stores a segment. The returned part is durable.
func (x *Index) write(ctx context.Context, owner string, b *body) (p part, err error) {
	p = part{first: b.ids[0], last: b.ids[len(b.ids)-1], messages: len(b.ids)}
	var written []*storage.Pending
	put := func(data []byte) (uint64, error) {
		id, _, pending, err := x.Segments.Append(ctx, owner, storage.Record{Data: data}, storage.AppendOptions{})
		p.bytes += int64(len(data))
		if written = append(written, pending); len(written) >= 64 && err == nil {
			err = storage.Join(written...).Wait(ctx)
			written = written[:0]
		}
		return id, err
	}
	var r root
	for ids := range slices.Chunk(b.ids, chunkIDs) {
		data, last := []byte{chunkVersion}, uint64(0)
		for _, id := range ids {
			data = binary.AppendUvarint(data, id-last)
			last = id
		}
		id, err := put(data)
		if err != nil {
			return p, err
		}
		r.chunks = append(r.chunks, id)
	}
	l := leaf{put: put, root: &r}
	for _, w := range slices.Sorted(maps.Keys(b.lists)) {
		if err := l.add(w, b.lists[w]); err != nil {
			return p, err
		}
	}
	if err := l.end(); err != nil {
		return p, err
	}
	if p.root, err = put(r.encode()); err != nil {
		return p, err
	}
	return p, storage.Join(written...).Wait(ctx)
}

// A leaf is being written: words in order, each as the length of what it has in common with the one before, the rest of
// it, how many messages have it, and their positions: the first, then the steps to each further one, as a text. A list
// that is too long goes on in the next leaf, under the same word.
type leaf struct {
	put  func([]byte) (uint64, error)
	root *root
	data []byte
	word string // the last one
}

func (l *leaf) add(w string, list []uint32) error {
	var steps []byte
	for len(list) > 0 {
		n, last := 0, uint32(0)
		steps = steps[:0]
		for n < len(list) && len(l.data)+len(steps)+len(w) < leafBytes {
			steps = binary.AppendUvarint(steps, uint64(list[n]-last))
			last = list[n]
			n++
		}
		if n > 0 {
			l.entry(w, n, steps)
			list = list[n:]
		}
		if len(list) > 0 {
			if err := l.end(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *leaf) entry(w string, n int, steps []byte) {
	if len(l.data) == 0 {
		l.data, l.word = append(l.data, leafVersion), ""
		l.root.firsts = append(l.root.firsts, w)
	}
	same := 0
	for same < len(w) && same < len(l.word) && w[same] == l.word[same] {
		same++
	}
	l.data = record.AppendText(binary.AppendUvarint(l.data, uint64(same)), w[same:])
	l.data = binary.AppendUvarint(l.data, uint64(n))
	l.data = record.AppendText(l.data, string(steps))
	l.word = w
}

func (l *leaf) end() error {
	if len(l.data) == 0 {
		return nil
	}
	id, err := l.put(l.data)
	l.root.leaves = append(l.root.leaves, id)
	l.data = l.data[:0]
	return err
}

func (r *root) encode() []byte {
	b := binary.AppendUvarint([]byte{rootVersion}, uint64(len(r.chunks)))
	last := uint64(0)
	for _, id := range r.chunks {
		b = binary.AppendUvarint(b, id-last)
		last = id
	}
	b = binary.AppendUvarint(b, uint64(len(r.leaves)))
	for i, id := range r.leaves {
		b = record.AppendText(binary.AppendUvarint(b, id-last), r.firsts[i])
		last = id
	}
	return b
}

// records are all of a segment.
func (r *root) records(p part) []uint64 { return slices.Concat(r.chunks, r.leaves, []uint64{p.root}) }

func (x *Index) root(ctx context.Context, owner string, p part) (*root, error) {
	in, err := x.read(ctx, owner, p.root, rootVersion)
	if err != nil {
		return nil, err
	}
	r, last := &root{}, uint64(0)
	for n := in.Number(); n > 0 && !in.Bad; n-- {
		last += in.Number()
		r.chunks = append(r.chunks, last)
	}
	for n := in.Number(); n > 0 && !in.Bad; n-- {
		last += in.Number()
		r.leaves, r.firsts = append(r.leaves, last), append(r.firsts, in.Text())
	}
	if in.Bad {
		return nil, bad(p.root)
	}
	return r, nil
}

func bad(id uint64) error { return fmt.Errorf("%w: %d", errRecord, id) }

// read reads one record of a segment.
func (x *Index) read(ctx context.Context, owner string, id uint64, version byte) (*record.Reader, error) {
	r, err := x.Segments.Get(ctx, owner, id)
	if err != nil {
		return nil, err
	}
	in := &record.Reader{B: r.Data}
	if in.Byte() != version {
		return nil, bad(id)
	}
	return in, nil
}

// chunk reads one record of ids.
func (x *Index) chunk(ctx context.Context, owner string, id uint64) ([]uint64, error) {
	in, err := x.read(ctx, owner, id, chunkVersion)
	if err != nil {
		return nil, err
	}
	ids, last := make([]uint64, 0, chunkIDs), uint64(0)
	for len(in.B) > 0 {
		last += in.Number()
		ids = append(ids, last)
	}
	if in.Bad || len(ids) > chunkIDs {
		return nil, bad(id)
	}
	return ids, nil
}

// eachEntry calls f with the words of a leaf, until it returns false.
func (x *Index) eachEntry(ctx context.Context, owner string, id uint64,
	f func(word []byte, n int, steps []byte) bool) error {
	in, err := x.read(ctx, owner, id, leafVersion)
	if err != nil {
		return err
	}
	var word []byte
	for len(in.B) > 0 {
		same := in.Number()
		if same > uint64(len(word)) {
			return bad(id)
		}
		word = append(word[:same], in.Bytes()...)
		n, steps := in.Number(), in.Bytes()
		if in.Bad || n > uint64(len(steps)) {
			return bad(id)
		}
		if !f(word, int(n), steps) {
			return nil
		}
	}
	return nil
}

// positions appends those of a list.
func positions(to []uint32, n int, steps []byte) []uint32 {
	to = slices.Grow(to, n)
	last := uint64(0)
	for i := 0; n > 0 && i < len(steps); n-- {
		step, size := uint64(steps[i]), 1 // most are that small
		if step >= 0x80 {
			step, size = binary.Uvarint(steps[i:])
		}
		if last += step; size <= 0 || last > math.MaxInt32 {
			break // of a record that is none
		}
		to, i = append(to, uint32(last)), i+size
	}
	return to
}

// list is where a word is in a segment.
func (x *Index) list(ctx context.Context, owner string, r *root, word string) (list []uint32, err error) {
	// A list may begin at the end of the leaf before the first one that begins with the word.
	i, sought := max(sort.SearchStrings(r.firsts, word)-1, 0), []byte(word)
	for ; i < len(r.leaves) && r.firsts[i] <= word; i++ {
		err := x.eachEntry(ctx, owner, r.leaves[i], func(w []byte, n int, steps []byte) bool {
			switch bytes.Compare(w, sought) {
			case 0:
				list = positions(list, n, steps)
			case 1:
				return false
			}
			return true
		})
		if err != nil {
			return nil, err
		}
	}
	return list, nil
}

// load reads a segment as a whole.
func (x *Index) load(ctx context.Context, owner string, r *root) (*body, error) {
	b := &body{lists: map[string][]uint32{}}
	for _, id := range r.chunks {
		ids, err := x.chunk(ctx, owner, id)
		if err != nil {
			return nil, err
		}
		b.ids = append(b.ids, ids...)
	}
	for _, id := range r.leaves {
		err := x.eachEntry(ctx, owner, id, func(w []byte, n int, steps []byte) bool {
			b.lists[string(w)] = positions(b.lists[string(w)], n, steps)
			return true
		})
		if err != nil {
			return nil, err
		}
	}
	for _, list := range b.lists { // they rise
		if n := len(list); n > 0 && int(list[n-1]) >= len(b.ids) {
			return nil, errRecord
		}
	}
	return b, nil
}
