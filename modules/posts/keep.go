package posts

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"jackdaw/modules/internal/mam"
	"jackdaw/modules/internal/posting"
	"jackdaw/storage"
)

const (
	roundEvery = time.Hour
	// leastKeep is how long records are kept though there are too many of all.
	leastKeep = time.Hour
	// apart is how long it rests between the records of two accounts.
	apart = time.Millisecond
)

// sizes is how many bytes of records there are, roughly: what a round has counted, and what came since.
type sizes struct {
	counted, added atomic.Int64
	round          chan<- struct{} // asks for a round
	most           atomic.Int64
}

func (s *sizes) add(n int) {
	now := s.counted.Load() + s.added.Add(int64(n))
	if most := s.most.Load(); most > 0 && now > most+most/8 {
		select {
		case s.round <- struct{}{}:
		default:
		}
	}
}

// over says that there is no room for more: rounds do not follow.
func (s *sizes) over(most int64) bool {
	s.most.Store(most)
	return most > 0 && s.counted.Load()+s.added.Load() > most+most/4
}

// Run removes records whose time has come and looks after answers to posts that are not in memory, until ctx ends.
func (t *Tracker) Run(ctx context.Context) {
	t.learn(ctx)
	var working sync.WaitGroup
	working.Go(func() { t.work(ctx) })
	defer working.Wait()
	for ctx.Err() == nil {
		t.keep(ctx)
		wait := time.NewTimer(roundEvery)
		select {
		case <-ctx.Done():
		case <-wait.C:
		case <-t.round:
		}
		wait.Stop()
	}
}

// learn reads what was kept before the start, so that answers find those posts too whose id their senders gave.
func (t *Tracker) learn(ctx context.Context) {
	names, err := t.names(ctx)
	for _, name := range names {
		if err != nil || ctx.Err() != nil {
			break
		}
		err = t.learnOf(ctx, name)
		rest(ctx, apart)
	}
	if err != nil && ctx.Err() == nil {
		t.o.Log.Warn("answers to posts of before the start may not be noted", "error", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.indexed = true
}

func (t *Tracker) names(ctx context.Context) (names []string, err error) {
	err = t.o.Records.Owners(ctx, func(name string) bool {
		names = append(names, name)
		return true
	})
	return names, err
}

func (t *Tracker) learnOf(ctx context.Context, name string) error {
	for after, more := uint64(0), true; more; {
		var list []storage.Record
		var err error
		list, more, err = t.o.Records.Page(ctx, name, storage.Query{After: after, Limit: searchPage})
		if err != nil {
			return err
		}
		t.mu.Lock()
		for _, r := range list {
			after = r.ID
			rows, _ := readRows(r.Data) // one that cannot be read has nothing to say
			for _, w := range rows {
				if w.first == 0 && !t.index.full() && (w.post.messageID != "" || w.post.sender.Bare().String() != name) {
					t.index.add(w.post.sender, w.post.message(), place{name, w.post.id})
				}
			}
		}
		t.mu.Unlock()
	}
	return nil
}

// keep removes what has been there for too long, and more if there is too much of all.
func (t *Tracker) keep(ctx context.Context) {
	l := t.o.Limits()
	for keep := l.Keep; ; keep /= 2 {
		k := mam.Keeper{Log: t.o.Records, Keep: func() time.Duration { return keep }, Logger: t.o.Log}
		k.Round(ctx, time.Now())
		size, err := t.count(ctx)
		if err != nil {
			if ctx.Err() == nil {
				t.o.Log.Warn("records of posts are not counted", "error", err)
			}
			return
		}
		t.sizes.counted.Store(size)
		t.sizes.added.Store(0)
		if l.All == 0 || size <= l.All || keep < leastKeep {
			return
		}
		t.o.Log.Warn("too many records of posts: the oldest go early", "bytes", size, "limit", l.All, "kept", keep/2,
			"do", "raise modules.posts.max_total, or have less posted")
	}
}

func (t *Tracker) count(ctx context.Context) (all int64, err error) {
	names, err := t.names(ctx)
	for _, name := range names {
		_, size, err := t.o.Records.Size(ctx, name)
		if err != nil {
			return 0, err
		}
		all += size
		rest(ctx, apart)
	}
	return all, err
}

func rest(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// only says of a name whether it is that one.
func only(name string) func(string) bool { return func(other string) bool { return other == name } }

// Record implements posting.Tracker.
func (t *Tracker) Record(ctx context.Context, account, id string, first, limit int) (posting.Record, error) {
	number := idOf(id)
	if number == 0 {
		return posting.Record{}, posting.ErrNoPost
	}
	names := []string{account}
	if account == "" {
		var err error
		if names, err = t.names(ctx); err != nil {
			return posting.Record{}, fmt.Errorf("look for a post: %w", err)
		}
		t.mu.Lock()
		for name := range t.accounts { // some may not be written yet
			names = append(names, name)
		}
		t.mu.Unlock()
	}
	for _, name := range names {
		at := place{name, number}
		if err := t.load(ctx, at); err != nil {
			return posting.Record{}, fmt.Errorf("look for a post: %w", err)
		}
		t.mu.Lock()
		if p := t.inMemory(at); p != nil && p.settled {
			r := p.record(first, limit)
			t.mu.Unlock()
			return r, nil
		}
		t.mu.Unlock()
	}
	return posting.Record{}, posting.ErrNoPost
}

// cursorOf and readCursor write and read a place between two posts: behind so many rows of a record.
func cursorOf(record uint64, rows int) string {
	return "c" + strconv.FormatUint(record, 36) + "-" + strconv.Itoa(rows)
}

func readCursor(s string) (record uint64, rows int, err error) {
	a, b, ok := strings.Cut(strings.TrimPrefix(s, "c"), "-")
	if !ok || !strings.HasPrefix(s, "c") {
		return 0, 0, posting.ErrCursor
	}
	if record, err = strconv.ParseUint(a, 36, 63); err != nil || record == 0 {
		return 0, 0, posting.ErrCursor
	}
	if rows, err = strconv.Atoi(b); err != nil || rows < 0 {
		return 0, 0, posting.ErrCursor
	}
	return record, rows, nil
}

// List implements posting.Tracker.
func (t *Tracker) List(
	ctx context.Context, name string, since time.Time, cursor string, most, limit int,
) (list []posting.Record, next string, err error) {
	after, skip := max(storage.IDAt(since), 1)-1, 0
	if cursor != "" {
		if after, skip, err = readCursor(cursor); err != nil {
			return nil, "", err
		}
		after--
	}
	if err := t.flush(ctx, only(name)); err != nil {
		return nil, "", fmt.Errorf("list posts: %w", err)
	}
	from := uint64(max(since.UnixMicro(), 0))
	of := &account{name: name}
	for {
		page, more, err := t.o.Records.Page(ctx, name, storage.Query{After: after, Limit: searchPage})
		if err != nil {
			return nil, "", fmt.Errorf("list posts: %w", err)
		}
		for _, r := range page {
			after = r.ID
			rows, err := readRows(r.Data)
			if err != nil {
				continue
			}
			for i := range rows {
				w := &rows[i]
				switch {
				case skip > 0:
					skip--
				case w.first > 0: // the rest of a large one
					if n := len(list) - 1; n >= 0 && list[n].ID == nameOf(w.post.id) {
						for i := range w.post.to {
							list[n].Counts[w.post.to[i].outcome]++
						}
					}
				case w.post.id < from:
				case len(list) == most:
					return list, cursorOf(r.ID, i), nil
				default:
					w.post.of = of
					one := w.post.record(0, limit)
					one.Total = w.total
					list = append(list, one)
				}
			}
			skip = 0
		}
		if !more {
			return list, "", nil
		}
	}
}
