package redis

import (
	"encoding/binary"
	"errors"
	"slices"
	"sync/atomic"

	"jackdaw/storage"
)

// The newest records of a log lie one behind the other in a string, o, until there are enough of them for a block:
// appending there is one command, however many records. All of them have higher ids than what is in i, and meta does
// not count them. Their Dedup values stand there too. They go into blocks, and o goes, with the first step that finds
// no room there or is anything else than appending. Records that are to lie by themselves never come there.

const (
	// mostInTail and mostBytesOfTail bound what is in o: whoever reads the newest records reads all of it.
	mostInTail, mostBytesOfTail = 32, 6 << 10
)

// A tail is what o has once all that is on its way has arrived. It belongs to whoever encodes a batch of the owner, and
// while nothing is on its way to whoever has the owner.
type tail struct {
	records []storage.Record
	dedups  []remembered // also of records that were removed
	bytes   int
	cost    atomic.Int64 // roughly, in memory
}

func (t *tail) add(records []storage.Record, dedups []remembered) {
	t.records, t.dedups = append(t.records, records...), append(t.dedups, dedups...)
	for _, r := range records {
		t.bytes += len(r.Peer) + len(r.Data)
		t.cost.Add(int64(len(r.Peer) + len(r.Data) + 96))
	}
	for _, d := range dedups {
		t.bytes += len(d.value)
		t.cost.Add(int64(len(d.value) + 48))
	}
}

func (t *tail) clear() {
	t.records, t.dedups, t.bytes = nil, nil, 0
	t.cost.Store(0)
}

func (t *tail) has(id uint64) bool {
	return len(t.records) > 0 && t.records[0].ID <= id &&
		slices.ContainsFunc(t.records, func(r storage.Record) bool { return r.ID == id })
}

// knows finds the id of a Dedup value of a day; 0 if it is not in o.
func (t *tail) knows(day int64, value string) uint64 {
	for _, d := range t.dedups {
		if d.day == day && d.value == value {
			return d.id
		}
	}
	return 0
}

// tailFormat is the first byte of o. What follows are records, of each the id, the peer and the data, and Dedup values,
// of each a 0, the day, the value and the id. A text has its length before it.
const tailFormat = 2 // blocks have 1

var errTail = errors.New("read the newest records of redis: unknown format")

// encode returns what these records and Dedup values are in o, behind what is there.
func (t *tail) encode(records []storage.Record, dedups []remembered) []byte {
	n := 1
	for _, r := range records {
		n += len(r.Peer) + len(r.Data) + 16
	}
	b := make([]byte, 0, n+64*len(dedups))
	if len(t.records) == 0 {
		b = append(b, tailFormat)
	}
	text := func(s []byte) { b = append(binary.AppendUvarint(b, uint64(len(s))), s...) }
	for _, r := range records {
		b = binary.AppendUvarint(b, r.ID)
		text([]byte(r.Peer))
		text(r.Data)
	}
	for _, d := range dedups {
		b = binary.AppendUvarint(append(b, 0), uint64(d.day))
		text([]byte(d.value))
		b = binary.AppendUvarint(b, d.id)
	}
	return b
}

// readTail reads o.
func readTail(v any) (t tailText, err error) {
	s, _ := v.(string)
	if s == "" {
		return t, nil
	}
	if s[0] != tailFormat {
		return t, errTail
	}
	b := []byte(s[1:])
	number := func() uint64 {
		n, size := binary.Uvarint(b)
		if size <= 0 {
			err, b = errTail, nil
			return 0
		}
		b = b[size:]
		return n
	}
	text := func() []byte {
		n := number()
		if n > uint64(len(b)) {
			err, b = errTail, nil
			return nil
		}
		taken := b[:n:n]
		b = b[n:]
		return taken
	}
	for len(b) > 0 {
		if id := number(); id > 0 {
			t.records = append(t.records, storage.Record{ID: id, Peer: string(text()), Data: text()})
		} else {
			t.dedups = append(t.dedups, remembered{day: int64(number()), value: string(text()), id: number()})
		}
	}
	if err != nil {
		return tailText{}, err
	}
	return t, nil
}

// A tailText is what stands in o.
type tailText struct {
	records []storage.Record
	dedups  []remembered
}

// appended returns what is to be appended to o if that is all there is to do; nil otherwise.
func (l *logBatch) appended() []byte {
	t := &l.keys.tail
	if len(l.fresh) == 0 || len(l.fresh)+len(t.records) > mostInTail ||
		len(l.unlink)+len(l.changed)+len(l.gone)+len(l.blocks) > 0 || l.left != nil {
		return nil
	}
	bytes := t.bytes
	for _, d := range l.dedups {
		bytes += len(d.value)
	}
	for _, f := range l.fresh {
		if bytes += len(f.Peer) + len(f.Data); f.alone || f.gone || bytes > mostBytesOfTail {
			return nil
		}
	}
	records := make([]storage.Record, len(l.fresh))
	for i, f := range l.fresh {
		records[i] = f.Record
	}
	b := t.encode(records, l.dedups)
	t.add(records, l.dedups)
	return b
}

// sealed returns the records that get places in i and the Dedup values that get some in x, which are those of o too,
// and whether there is an o, which is to go then. A value of a day before yesterday counts no more, nor does one that
// is not asked for again.
func (l *logBatch) sealed(today int64) ([]fresh, []remembered, bool) {
	t := &l.keys.tail
	if len(t.records) == 0 {
		return l.fresh, l.dedups, false
	}
	records := t.records
	if l.left != nil {
		records = *l.left
	}
	all := make([]fresh, 0, len(records)+len(l.fresh))
	for _, r := range records {
		all = append(all, fresh{Record: r})
	}
	dedups := slices.DeleteFunc(slices.Concat(t.dedups, l.dedups), func(d remembered) bool {
		return d.day < today-1 || d.span.Over()
	})
	t.clear()
	return append(all, l.fresh...), dedups, true
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
