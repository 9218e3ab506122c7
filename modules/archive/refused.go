package archive

import (
	"context"
	"slices"
	"sync"
	"time"
)

// What was refused is taken out of the archive again, which fails while storage is away: most likely then, as that is
// why it was refused. Its sender sends it again under the same deduplication value, and must not be told that it is
// there. So what could not be taken out is known until it is, and counts for gone.

const (
	// againEvery is how often it is tried again, and againTime for how long.
	againEvery, againTime = time.Second, 10 * time.Second
	// mostRefused bounds how much is known.
	mostRefused = 50_000
)

// remains are messages that were refused and are in archives yet.
type remains struct {
	mu  sync.Mutex // guards the rest
	ids map[string][]uint64
	n   int
}

// add notes a message, and says whether there was room for it.
func (r *remains) add(owner string, id uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.n == mostRefused {
		return false
	}
	if r.ids == nil {
		r.ids = map[string][]uint64{}
	}
	r.ids[owner] = append(r.ids[owner], id)
	r.n++
	return true
}

func (r *remains) has(owner string, id uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.n > 0 && slices.Contains(r.ids[owner], id)
}

// all are those of each owner. The caller may keep them.
func (r *remains) all() map[string][]uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(map[string][]uint64, len(r.ids))
	for owner, ids := range r.ids {
		out[owner] = slices.Clone(ids)
	}
	return out
}

// forget notes that messages are gone.
func (r *remains) forget(owner string, ids []uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	left := slices.DeleteFunc(r.ids[owner], func(id uint64) bool { return slices.Contains(ids, id) })
	r.n -= len(r.ids[owner]) - len(left)
	if r.ids[owner] = left; len(left) == 0 {
		delete(r.ids, owner)
	}
}

// takeBack removes a message that was refused after all.
func (a *Archive) takeBack(owner string, id uint64) {
	if _, err := a.o.Messages.Remove(context.Background(), owner, id); err != nil {
		if !a.refused.add(owner, id) {
			a.o.Log.Warn("refused message stays archived", "owner", owner, "id", id, "error", err)
		}
		return
	}
	a.gone(owner, id)
}

// takeOut removes what could not be removed before, until ctx ends.
func (a *Archive) takeOut(ctx context.Context) {
	tick := time.NewTicker(againEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for owner, ids := range a.refused.all() {
			limited, cancel := context.WithTimeout(ctx, againTime)
			p, err := a.o.Messages.Remove(limited, owner, ids...)
			if err == nil {
				err = p.Wait(limited)
			}
			cancel()
			if err != nil {
				continue // storage is away yet, which is said elsewhere
			}
			for _, id := range ids {
				a.gone(owner, id)
			}
			a.refused.forget(owner, ids)
		}
	}
}

// moved forgets owners that are at home elsewhere. Their next home looks through what is new in their archives.
func (a *Archive) moved(gone func(owner string) bool) {
	a.prefs.Drop(gone)
	for owner, ids := range a.refused.all() {
		if gone(owner) {
			a.refused.forget(owner, ids)
		}
	}
}
