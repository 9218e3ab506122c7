package fulltext

import (
	"context"
	"errors"
	"slices"

	"jackdaw/storage"
)

// day is the same in ids.
const day = 24 * 60 * 60 * 1_000_000

// step indexes the next messages of an owner if there are at least so many, or if they are long. It says whether there
// may be more. The caller holds the owner.
func (x *Index) step(ctx context.Context, owner string, least int) (more bool, err error) {
	if x.Full() {
		return false, nil
	}
	x.mu.Lock()
	x.building[owner] = struct{}{}
	x.mu.Unlock()
	defer func() {
		x.mu.Lock()
		delete(x.building, owner)
		x.mu.Unlock()
	}()
	st, err := x.whole(ctx, owner)
	if err != nil {
		return false, err
	}
	b := &body{lists: map[string][]uint32{}}
	mark, n, more, err := x.gather(ctx, owner, st.mark, least, b)
	if err != nil || n == 0 {
		return false, err
	}
	if err := x.tidy(ctx, owner, st); err != nil {
		return false, err
	}
	// What has gone since they were listed was read as it is now.
	passed := slices.DeleteFunc(slices.Clone(st.gone), func(id uint64) bool { return id <= st.mark || id > mark })
	st.mark = mark
	if len(b.ids) > 0 {
		if err := x.put(ctx, owner, st, b); err != nil {
			return false, err
		}
	}
	if err := x.save(ctx, owner, st, passed); err != nil {
		return false, err
	}
	return more, x.bury(ctx, owner, st)
}

// gather reads messages behind the mark. n is 0 if they are too few.
func (x *Index) gather(ctx context.Context, owner string, mark uint64, least int, b *body) (
	last uint64, n int, more bool, err error) {
	last, size := mark, 0
	for more = true; more && n < stepMessages && size < stepBytes; {
		var page []storage.Record
		q := storage.Query{After: last, Limit: pageMessages}
		if page, more, err = x.Source.Page(ctx, owner, q); err != nil {
			return 0, 0, false, err
		}
		for i := range page {
			r := &page[i]
			last, n, size = r.ID, n+1, size+len(r.Data)
			if found := words(x.Text(r), false); len(found) > 0 {
				if r.Peer != "" {
					found = append(found, peerWord(r.Peer))
				}
				b.add(r.ID, found)
			}
		}
	}
	if n < least && size < largeTailBytes {
		return mark, 0, false, nil
	}
	return last, n, more, nil
}

// put adds a segment to a state, and has it grow together with those before it that are not larger.
func (x *Index) put(ctx context.Context, owner string, st *state, b *body) error {
	from, n := len(st.parts), len(b.ids)
	for from > 0 && st.parts[from-1].messages <= n && st.parts[from-1].messages+n <= mostMessages {
		from--
		n += st.parts[from].messages
	}
	if from == len(st.parts) {
		return x.add(ctx, owner, st, b)
	}
	oldest, err := x.oldest(ctx, owner)
	if err != nil {
		return err
	}
	dead := st.isDead(oldest)
	whole := &body{lists: map[string][]uint32{}}
	for _, p := range st.parts[from:] {
		one, err := x.part(ctx, owner, p)
		if err != nil {
			return err
		}
		whole.append(one, dead)
	}
	whole.append(b, func(uint64) bool { return false })
	st.dead = append(st.dead, st.parts[from:]...)
	st.parts = st.parts[:from:from]
	return x.add(ctx, owner, st, whole)
}

// isDead says of a message in a segment whether it is not to be found any more.
func (st *state) isDead(oldest uint64) func(id uint64) bool {
	return func(id uint64) bool {
		_, gone := slices.BinarySearch(st.gone, id)
		return id < oldest || gone
	}
}

// part reads a segment as a whole.
func (x *Index) part(ctx context.Context, owner string, p part) (*body, error) {
	r, err := x.root(ctx, owner, p)
	if err != nil {
		return nil, err
	}
	return x.load(ctx, owner, r)
}

// add writes a segment, behind the others, and lets go of the oldest if all are too large then.
func (x *Index) add(ctx context.Context, owner string, st *state, b *body) error {
	if len(b.ids) == 0 {
		return nil
	}
	p, err := x.write(ctx, owner, b)
	if err != nil {
		return err
	}
	st.parts = append(st.parts, p)
	all := int64(0)
	for _, p := range st.parts {
		all += p.bytes
	}
	for most := x.Most(); most > 0 && all > most && len(st.parts) > 1; {
		all -= st.parts[0].bytes
		st.dead = append(st.dead, st.parts[0])
		st.parts = st.parts[1:]
	}
	return nil
}

// oldest is the id of an owner's first message; where there is none, all are older.
func (x *Index) oldest(ctx context.Context, owner string) (uint64, error) {
	first, _, err := x.Source.Page(ctx, owner, storage.Query{Limit: 1})
	if err != nil || len(first) == 0 {
		return ^uint64(0), err
	}
	return first[0].ID, nil
}

// purge takes out of the index of an owner what is not in the log any more: what has gone, and what was trimmed more
// than a day after the first of its segment.
func (x *Index) purge(ctx context.Context, owner string) error {
	st, err := x.whole(ctx, owner)
	if err != nil || st.mark == 0 {
		return err
	}
	if err := x.tidy(ctx, owner, st); err != nil {
		return err
	}
	oldest, err := x.oldest(ctx, owner)
	if err != nil {
		return err
	}
	dead := st.isDead(oldest)
	changed := len(st.dead) > 0
	var parts []part
	for _, p := range st.parts {
		i, _ := slices.BinarySearch(st.gone, p.first)
		holes := i < len(st.gone) && st.gone[i] <= p.last
		if !holes && oldest <= p.last && oldest <= p.first+day {
			parts = append(parts, p)
			continue
		}
		changed, st.dead = true, append(st.dead, p)
		if p.last < oldest {
			continue
		}
		old, err := x.part(ctx, owner, p)
		if err != nil {
			return err
		}
		left := &body{lists: map[string][]uint32{}}
		if left.append(old, dead); len(left.ids) > 0 {
			fresh, err := x.write(ctx, owner, left)
			if err != nil {
				return err
			}
			parts = append(parts, fresh)
		}
	}
	forgotten := slices.DeleteFunc(st.gone, func(id uint64) bool { return id > st.mark })
	if !changed && len(forgotten) == 0 {
		return nil
	}
	st.parts = parts
	if err := x.save(ctx, owner, st, forgotten); err != nil {
		return err
	}
	return x.bury(ctx, owner, st)
}

// bury removes the records of segments that are dead, which the state has said before.
func (x *Index) bury(ctx context.Context, owner string, st *state) error {
	if len(st.dead) == 0 {
		return nil
	}
	for _, p := range st.dead {
		r, err := x.root(ctx, owner, p)
		if errors.Is(err, storage.ErrNotFound) {
			continue // it was removed before a crash
		}
		if err != nil {
			return err
		}
		ids := r.records(p)
		// The root goes last: it knows the others.
		for some := range slices.Chunk(ids, pageMessages) {
			pending, err := x.Segments.Remove(ctx, owner, some...)
			if err == nil {
				err = pending.Wait(ctx)
			}
			if err != nil {
				return err
			}
		}
	}
	st.dead = nil
	return x.save(ctx, owner, st, nil)
}

// tidy removes what an earlier step has written and not finished: what is above all roots. Roots are written last.
func (x *Index) tidy(ctx context.Context, owner string, st *state) error {
	last := uint64(0)
	for _, p := range slices.Concat(st.parts, st.dead) {
		last = max(last, p.root)
	}
	for {
		page, more, err := x.Segments.Page(ctx, owner, storage.Query{After: last, Limit: pageMessages})
		if err != nil || len(page) == 0 {
			return err
		}
		ids := make([]uint64, len(page))
		for i := range page {
			ids[i] = page[i].ID
		}
		p, err := x.Segments.Remove(ctx, owner, ids...)
		if err == nil {
			err = p.Wait(ctx)
		}
		if err != nil || !more {
			return err
		}
	}
}
