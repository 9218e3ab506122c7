package redis

import (
	"slices"
	"sync/atomic"

	"jackdaw/storage"
)

// The newest records of a log lie one behind the other in a string, o, until there are enough of them for a block:
// appending there is one command, however many records. All of them have higher ids than what is in i, and meta does
// not count them. They go into blocks, and o goes, with the first step that finds no room there or is anything else
// than appending. Records that are to lie by themselves never come there.

const (
	// mostInTail and mostBytesOfTail bound what is in o: whoever reads the newest records reads all of it.
	mostInTail, mostBytesOfTail = 32, 6 << 10
)

// A tail is what o has once all that is on its way has arrived. It belongs to whoever encodes a batch of the owner, and
// while nothing is on its way to whoever has the owner.
type tail struct {
	records []storage.Record
	bytes   int
	cost    atomic.Int64 // roughly, in memory
}

func (t *tail) add(records ...storage.Record) {
	for _, r := range records {
		t.records = append(t.records, r)
		t.bytes += len(r.Data)
		t.cost.Add(int64(len(r.Peer) + len(r.Data) + 96))
	}
}

func (t *tail) clear() {
	t.records, t.bytes = nil, 0
	t.cost.Store(0)
}

func (t *tail) has(id uint64) bool {
	return len(t.records) > 0 && t.records[0].ID <= id &&
		slices.ContainsFunc(t.records, func(r storage.Record) bool { return r.ID == id })
}

// readTail reads o.
func readTail(v any) ([]storage.Record, error) {
	if s, _ := v.(string); s == "" {
		return nil, nil
	}
	return decodeBlock(0, v)
}

// appended returns what is to be appended to o if that is all there is to do; nil otherwise.
func (l *logBatch) appended() []byte {
	t := &l.keys.tail
	if len(l.fresh) == 0 || len(l.fresh)+len(t.records) > mostInTail ||
		len(l.unlink)+len(l.changed)+len(l.gone)+len(l.blocks) > 0 || l.left != nil {
		return nil
	}
	bytes := t.bytes
	for _, f := range l.fresh {
		if bytes += len(f.Data); f.alone || f.gone || bytes > mostBytesOfTail {
			return nil
		}
	}
	var b []byte
	if len(t.records) == 0 {
		b = append(b, blockFormat)
	}
	records := make([]storage.Record, len(l.fresh))
	for i, f := range l.fresh {
		records[i] = f.Record
	}
	t.add(records...)
	return appendRecords(b, 0, records)
}

// sealed returns the records that get places in i, and whether some of them are in o, which is to go then.
func (l *logBatch) sealed() ([]fresh, bool) {
	t := &l.keys.tail
	if len(t.records) == 0 {
		return l.fresh, false
	}
	records := t.records
	if l.left != nil {
		records = *l.left
	}
	all := make([]fresh, 0, len(records)+len(l.fresh))
	for _, r := range records {
		all = append(all, fresh{Record: r})
	}
	t.clear()
	return append(all, l.fresh...), true
}

// cutTail takes records out of o; nothing is on its way.
func (r *removal) cutTail(t *tail, goes func(id uint64) bool) {
	left := slices.DeleteFunc(slices.Clone(t.records), func(one storage.Record) bool {
		if !goes(one.ID) {
			return false
		}
		r.records, r.bytes = r.records+1, r.bytes+int64(len(one.Data))
		return true
	})
	if len(left) < len(t.records) {
		r.left = &left
	}
}
