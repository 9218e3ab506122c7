package posts

import (
	"container/list"
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"time"

	"jackdaw/modules/internal/mam"
	"jackdaw/storage"
)

const (
	// pagePosts and pageBytes bound what is written as one record: a change of one post writes all of it anew.
	pagePosts = 64
	pageBytes = 16 << 10
	// chunkOf is how many recipients of a large post are written as one record.
	chunkOf = 400
	// atOnce is how many pages are prepared for writing at a time.
	atOnce = 256
)

// A page is what is written together: several posts of an account as one record, or one post as one or several. The
// tracker's mu guards it.
type page struct {
	of      *account
	posts   []*post
	chunks  []chunk
	bytes   int  // in memory, roughly
	saved   bool // counted as cached, not as unsaved
	dirty   bool // listed in Tracker.dirty
	writing bool // somebody writes it: nobody else may
	touched time.Time
	place   *list.Element // among those cached
}

// A chunk is one record.
type chunk struct {
	record   uint64 // its id; 0: not written yet
	first, n int    // recipients of the only post; n is 0 in a page of several: all of all posts
	dirty    bool
}

// pages are those in memory that are written, those touched last at the back.
type pages struct {
	list.List
	bytes int
}

// newPage makes a page of one post. The caller holds mu.
func newPage(p *post) *page {
	g := &page{of: p.of, posts: []*post{p}, bytes: p.size()}
	p.page = g
	for first := 0; first < len(p.to); first += chunkOf {
		g.chunks = append(g.chunks, chunk{first: first, n: min(chunkOf, len(p.to)-first), dirty: true})
	}
	return g
}

// place gives a post that has been settled a page, which is written within a moment. The caller holds mu.
func (t *Tracker) place(p *post) {
	if p.size() > pageBytes {
		t.soil(newPage(p))
		return
	}
	a := p.of
	if g := a.open; g == nil || g.writing || len(g.posts) >= pagePosts || g.bytes+p.size() > pageBytes {
		a.open = &page{of: a, chunks: []chunk{{}}}
	}
	g := a.open
	g.posts = append(g.posts, p)
	g.bytes += p.size()
	g.chunks[0].dirty = true
	p.page = g
	t.soil(g)
}

// soil has a page written within a moment. The caller holds mu.
func (t *Tracker) soil(g *page) {
	if g.saved {
		t.cached.take(g)
		t.unsaved += g.bytes
	}
	if !g.dirty {
		g.dirty = true
		t.dirty = append(t.dirty, g)
	}
	switch {
	case t.unsaved > flushBytes && t.pressing != atOnceArmed:
		t.pressing = atOnceArmed
		t.arm(0)
	case t.pressing == notArmed:
		t.pressing = soonArmed
		t.arm(flushAfter)
	}
}

// How soon flush will be called for what has changed: asked for with each change, which the clock is not.
const (
	notArmed = iota
	soonArmed
	atOnceArmed
)

// arm has flush called after that time, or before. The caller holds mu.
func (t *Tracker) arm(after time.Duration) {
	due := time.Now().Add(after)
	switch {
	case t.closed, !t.due.IsZero() && !due.Before(t.due):
		return
	case t.timer == nil:
		t.timer = time.AfterFunc(after, t.ring)
	default:
		t.timer.Reset(after)
	}
	t.due = due
}

func (t *Tracker) ring() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := t.flush(ctx, nil); err != nil {
		t.o.Log.Warn("what became of posts is not kept yet", "error", err)
	}
}

// take takes a page out.
func (l *pages) take(g *page) {
	l.Remove(g.place)
	l.bytes -= g.bytes
	g.place, g.saved = nil, false
}

// encode returns the records of a page that are to be written, nil for the others. The caller holds mu.
func (g *page) encode() [][]byte {
	out := make([][]byte, len(g.chunks))
	for i := range g.chunks {
		c := &g.chunks[i]
		if !c.dirty {
			continue
		}
		c.dirty = false
		b := make([]byte, 9, 64+g.bytes/len(g.chunks)/2)
		b[0] = rowFormat
		newest := uint64(0)
		for _, p := range g.posts {
			first, n := 0, len(p.to)
			if c.n > 0 {
				first, n = c.first, c.n
			}
			for j := first; j < first+n; j++ {
				newest = max(newest, p.to[j].at)
			}
			b = appendRow(b, p, first, n)
		}
		binary.BigEndian.PutUint64(b[1:], newest)
		out[i] = b
	}
	return out
}

// write writes the records that encode returned for a page that is marked as being written. An error leaves it to be
// written again.
func (t *Tracker) write(ctx context.Context, g *page, data [][]byte) (*storage.Pending, error) {
	var waits []*storage.Pending
	ids := make([]uint64, len(data))
	var failed error
	gone := false
	for i, b := range data {
		if b == nil || failed != nil {
			continue
		}
		var p *storage.Pending
		if id := g.chunks[i].record; id != 0 { // nobody else changes it meanwhile
			ids[i] = id
			p, failed = t.o.Records.Replace(ctx, g.of.name, id, b)
			if errors.Is(failed, storage.ErrNotFound) { // its time has come
				gone, failed = true, nil
			}
		} else {
			ids[i], _, p, failed = mam.Append(ctx, t.o.Records, g.of.name, storage.Record{Data: b},
				storage.AppendOptions{MaxBytes: t.o.Limits().Account})
			t.sizes.add(len(b))
		}
		waits = append(waits, p)
	}
	if errors.Is(failed, storage.ErrElsewhere) { // the account has moved: its home goes on with what is written
		gone, failed = true, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	g.writing = false
	again := false
	for i, b := range data {
		switch {
		case b == nil:
		case failed == nil || ids[i] != 0 && g.chunks[i].record == 0:
			g.chunks[i].record = ids[i]
		default:
			g.chunks[i].dirty, again = true, true
		}
	}
	switch {
	case t.accounts[g.of.name] != g.of: // removed meanwhile
	case gone:
		t.forget(g)
	case again:
		t.soil(g)
	case !g.dirty:
		t.cache(g)
	}
	return storage.Join(waits...), failed
}

// cache keeps a page that is written, for a while. The caller holds mu.
func (t *Tracker) cache(g *page) {
	if g.of.open == g {
		g.of.open = nil
	}
	if !g.saved {
		t.unsaved -= g.bytes
		t.cached.bytes += g.bytes
		g.saved = true
		g.place = t.cached.PushBack(g)
	}
	g.touched = time.Now()
	t.cached.MoveToBack(g.place)
	t.evict()
}

// evict forgets pages that are written and that nothing has happened to for a while, or that there is no room for. The
// caller holds mu.
func (t *Tracker) evict() {
	old := time.Now().Add(-cachedFor)
	for n := t.cached.Len(); n > 0; n-- {
		g := t.cached.Front().Value.(*page)
		if t.cached.bytes <= maxCached && g.touched.After(old) {
			break
		}
		if g.awaited() {
			t.cached.MoveToBack(g.place)
			continue
		}
		t.forget(g)
	}
	if t.cached.Len() > 0 {
		t.arm(cachedFor)
	}
}

// awaited says whether somebody waits for one of the posts. The caller holds mu.
func (g *page) awaited() bool {
	for _, p := range g.posts {
		if p.waiting != nil {
			return true
		}
	}
	return false
}

// forget takes a page out of memory. The caller holds mu.
func (t *Tracker) forget(g *page) {
	if g.saved {
		t.cached.take(g)
	} else {
		t.unsaved -= g.bytes
	}
	for i := range g.chunks {
		g.chunks[i].dirty = false
	}
	if g.of.open == g {
		g.of.open = nil
	}
	for _, p := range g.posts {
		if g.of.posts[p.id] == p {
			delete(g.of.posts, p.id)
		}
	}
	t.tidy(g.of)
}

// drop takes all of an account out of memory. Who follows it goes on and hears no more. The caller holds mu.
func (t *Tracker) drop(a *account) {
	for _, p := range a.posts {
		switch g := p.page; {
		case g == nil:
			t.unsaved -= p.size()
			delete(a.posts, p.id)
		default:
			t.forget(g)
		}
	}
	delete(t.accounts, a.name)
}

// flush writes what has changed: of the accounts that are of these, or of all if that is nil. It returns the first
// error; what could not be written is tried again.
func (t *Tracker) flush(ctx context.Context, of func(name string) bool) error {
	t.flushes.Lock()
	defer t.flushes.Unlock()
	t.mu.Lock()
	var list, others []*page
	for _, g := range t.dirty {
		if g.writing || of != nil && !of(g.of.name) {
			others = append(others, g)
		} else {
			list = append(list, g)
		}
	}
	t.dirty = others
	if of == nil {
		t.due, t.pressing = time.Time{}, notArmed
		t.evict()
	}
	t.mu.Unlock()
	var failed error
	for len(list) > 0 {
		n := min(atOnce, len(list))
		if err := t.writeAll(ctx, list[:n]); err != nil && failed == nil {
			failed = err
		}
		list = list[n:]
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.dirty) > 0 && t.pressing == notArmed {
		t.pressing = soonArmed
		t.arm(flushAfter)
	}
	return failed
}

// writeAll writes some pages. The caller holds flushes.
func (t *Tracker) writeAll(ctx context.Context, list []*page) (failed error) {
	t.writes.RLock()
	defer t.writes.RUnlock()
	data := make([][][]byte, len(list))
	t.mu.Lock()
	for i, g := range list {
		g.dirty = false
		if t.accounts[g.of.name] == g.of {
			g.writing = true
			data[i] = g.encode()
		}
	}
	t.mu.Unlock()
	lanes := max(1, min(t.o.Lanes, len(list)/4))
	errs := make([]error, lanes)
	var wg sync.WaitGroup
	lane := func(from int) {
		for i := from; i < len(list); i += lanes {
			if data[i] == nil {
				continue
			}
			if _, err := t.write(ctx, list[i], data[i]); err != nil && errs[from] == nil {
				errs[from] = err
			}
		}
	}
	for i := 1; i < lanes; i++ {
		wg.Go(func() { lane(i) })
	}
	lane(0)
	wg.Wait()
	return errors.Join(errs...)
}
