package redis

import (
	"context"
	"slices"

	"jackdaw/storage"
)

// A removal is what is taken out of a log.
type removal struct {
	head            // how much
	alone  []recent // records by themselves
	blocks []rewrite
	left   *[]storage.Record // of o; nil: all
}

func (r *removal) add(one recent) {
	r.alone = append(r.alone, one)
	r.records, r.bytes = r.records+1, r.bytes+int64(one.bytes)
}

// cut takes records out of a block.
func (r *removal) cut(m member, v any, goes func(id uint64) bool) error {
	records, err := recordsOf(m, v)
	if err != nil {
		return err
	}
	before := len(records)
	records = slices.DeleteFunc(records, func(one storage.Record) bool {
		if !goes(one.ID) {
			return false
		}
		r.records, r.bytes = r.records+1, r.bytes+int64(len(one.Data))
		return true
	})
	if len(records) < before {
		r.blocks = append(r.blocks, rewritten(m, records))
	}
	return nil
}

// found calls f with the members of i that a script has found, and what it says of them.
func found(v any, f func(m member, v any) error) error {
	list, _ := v.([]any)
	for i := 0; i+1 < len(list); i += 2 {
		m, err := readMember(list[i])
		if err == nil {
			err = f(m, list[i+1])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// aloneOf is a record by itself that a script has found.
func aloneOf(m member, v any) recent {
	n, _ := v.(int64)
	r := recent{id: m.name, bytes: int(n)}
	if len(m.peers) > 0 {
		r.peer = m.peers[0]
	}
	return r
}

// find calls f with what has the records of ids; v is the block, or the number of bytes. Nothing is on its way when it
// calls f.
func (l *logSpace) find(ctx context.Context, st *logState, ids []uint64, f func(m member, v any) error) error {
	if len(ids) == 0 {
		return nil
	}
	if err := l.drain(ctx, st.keys.owner); err != nil {
		return err
	}
	var args []any
	for _, id := range ids {
		if !st.keys.tail.has(id) {
			args = append(args, id)
		} else if err := f(member{tail: true, name: id, last: id, records: 1}, nil); err != nil {
			return err
		}
	}
	if len(args) == 0 {
		return nil
	}
	v, err := l.run(ctx, call{findScript, []string{st.keys.i, st.keys.d}, args, false})
	if err != nil {
		return err
	}
	return found(v, f)
}

func (l *logSpace) Remove(ctx context.Context, owner string, ids ...uint64) (p *storage.Pending, err error) {
	if err := l.check(ctx, owner); err != nil {
		return nil, err
	}
	for first := true; first || len(ids) > 0; first = false {
		some := ids[:min(len(ids), atOnce)]
		ids = ids[len(some):]
		for race, over := l.race(owner), false; !over; {
			p, err = l.removeSome(ctx, owner, some)
			over, p, err = race.over(ctx, p, err)
		}
		if err != nil {
			return nil, err
		}
	}
	return p, nil // a later one finishes later
}

func (l *logSpace) removeSome(ctx context.Context, owner string, ids []uint64) (*storage.Pending, error) {
	who, st, err := l.open(ctx, owner)
	if err != nil {
		return nil, err
	}
	defer l.free(who)
	l.churn.removed.Add(uint64(len(ids)))
	r := &removal{}
	var unknown []uint64
	seen := make(map[uint64]bool, len(ids))
	for _, id := range ids {
		if seen[id] || id == 0 || id > st.last {
			continue
		}
		seen[id] = true
		if one, there := st.recent[id]; there {
			r.add(one)
		} else if st.records > 0 {
			unknown = append(unknown, id)
		}
	}
	goes := func(id uint64) bool { return seen[id] }
	err = l.find(ctx, st, unknown, func(m member, v any) error {
		switch {
		case m.block:
			return r.cut(m, v, goes)
		case !m.tail:
			r.add(aloneOf(m, v))
		case r.left == nil:
			r.cutTail(&st.keys.tail, goes)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return l.shrink(ctx, who, st, r)
}

// shrink removes records that are there.
func (l *logSpace) shrink(ctx context.Context, who *owner, st *logState, r *removal) (*storage.Pending, error) {
	if r.records == 0 { // what is not there may be on its way out
		if err := l.holding(ctx, who); err != nil {
			return nil, err
		}
		return st.rests(), nil
	}
	next := head{st.last, st.records - r.records, st.bytes - r.bytes}
	size := 64*len(r.alone) + 64
	for _, w := range r.blocks {
		size += w.size()
	}
	p, err := l.write(ctx, who, size, true, func(b *batch) {
		part := b.log(st.keys)
		for _, one := range r.alone {
			part.remove(one)
		}
		part.blocks = append(part.blocks, r.blocks...)
		if part.head = &next; r.left != nil {
			part.left = r.left
		}
	})
	if err != nil {
		return nil, err
	}
	for _, one := range r.alone {
		delete(st.recent, one.id)
	}
	st.head, st.removed = next, p
	return p, nil
}

func (l *logSpace) Replace(ctx context.Context, owner string, id uint64, data []byte) (*storage.Pending, error) {
	if err := l.check(ctx, owner); err != nil {
		return nil, err
	}
	for race := l.race(owner); ; {
		p, err := l.replace(ctx, owner, id, data)
		if over, p, err := race.over(ctx, p, err); over {
			return p, err
		}
	}
}

func (l *logSpace) replace(ctx context.Context, owner string, id uint64, data []byte) (*storage.Pending, error) {
	who, st, err := l.open(ctx, owner)
	if err != nil {
		return nil, err
	}
	defer l.free(who)
	if id == 0 || id > st.last {
		return nil, storage.ErrNotFound
	}
	data = slices.Clone(data)
	one, there := st.recent[id]
	var blocks []rewrite
	var left *[]storage.Record
	if !there {
		err = l.find(ctx, st, []uint64{id}, func(m member, v any) error {
			if m.tail {
				records := slices.Clone(st.keys.tail.records)
				i := slices.IndexFunc(records, func(r storage.Record) bool { return r.ID == id })
				one, there = recent{id: id, bytes: len(records[i].Data)}, true
				records[i].Data, left = data, &records
				return nil
			}
			if !m.block {
				one, there = aloneOf(m, v), true
				return nil
			}
			records, err := recordsOf(m, v)
			if i := slices.IndexFunc(records, func(r storage.Record) bool { return r.ID == id }); i >= 0 {
				one, there = recent{id: id, bytes: len(records[i].Data)}, true
				records[i].Data = data
				blocks = append(blocks, rewritten(m, records))
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	if !there {
		return nil, storage.ErrNotFound
	}
	next := head{st.last, st.records, st.bytes + int64(len(data)-one.bytes)}
	p, err := l.write(ctx, who, len(data)+64, false, func(b *batch) {
		part := b.log(st.keys)
		part.blocks = append(part.blocks, blocks...)
		if left != nil {
			part.left = left
		} else if len(blocks) == 0 {
			part.change(id, data)
		}
		part.head = &next
	})
	if err != nil {
		return nil, err
	}
	if _, known := st.recent[id]; known {
		one.bytes = len(data)
		st.recent[id] = one
	}
	st.head, st.wrote = next, p
	return p, nil
}

func (l *logSpace) Trim(ctx context.Context, owner string, before uint64) (*storage.Pending, error) {
	if err := l.check(ctx, owner); err != nil {
		return nil, err
	}
	for race := l.race(owner); ; {
		p, more, err := l.trimSome(ctx, owner, min(before, largest))
		over, p, err := race.over(ctx, p, err)
		if !over {
			continue
		}
		if !more || err != nil {
			return p, err
		}
		race = l.race(owner)
	}
}

// trimSome removes the oldest records, so many at once that nobody waits for long, and says whether there may be more.
func (l *logSpace) trimSome(ctx context.Context, owner string, before uint64) (*storage.Pending, bool, error) {
	who, st, err := l.open(ctx, owner)
	if err != nil {
		return nil, false, err
	}
	defer l.free(who)
	r, n := &removal{}, 0
	if st.records > 0 {
		if err := l.drain(ctx, owner); err != nil {
			return nil, false, err
		}
		r.cutTail(&st.keys.tail, func(id uint64) bool { return id < before })
		v, err := l.run(ctx, call{oldestScript, []string{st.keys.i, st.keys.d}, []any{before, atOnce}, false})
		if err == nil {
			err = found(v, func(m member, v any) error {
				switch n++; {
				case !m.block:
					r.add(aloneOf(m, v))
				case m.last < before:
					r.blocks = append(r.blocks, rewritten(m, nil))
					r.records, r.bytes = r.records+m.records, r.bytes+m.bytes
				default:
					return r.cut(m, v, func(id uint64) bool { return id < before })
				}
				return nil
			})
		}
		if err != nil {
			return nil, false, err
		}
	}
	p, err := l.shrink(ctx, who, st, r)
	return p, n == atOnce, err
}
