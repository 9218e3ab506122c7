package offline

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"jackdaw/storage"
)

// What a session has taken is removed from the log, which fails while storage is away. It would be brought to the next
// session then, minutes or hours after it was taken; so it is known until it could be removed, and passed over.

const (
	// againEvery is how often it is tried again, and againTime for how long.
	againEvery, againTime = time.Second, 10 * time.Second
	// mostRemain bounds how many are known of an account.
	mostRemain = 10_000
)

// remain notes copies that could not be removed. The caller holds the shard.
func (m *module) remain(name string, o *owner, ids []uint64, why error) {
	if len(o.remain)+len(ids) > mostRemain {
		m.log.Warn("messages that were taken will be brought again", "owner", name, "messages", len(ids), "error", why)
		return
	}
	if len(o.remain) == 0 {
		o.remain = map[uint64]bool{}
		time.AfterFunc(againEvery, func() { m.removeAgain(name, o) })
	}
	for _, id := range ids {
		o.remain[id] = true
	}
}

// removeAgain removes what could not be removed before, and comes again until that is done.
func (m *module) removeAgain(name string, o *owner) {
	sh := m.shard(name)
	sh.mu.Lock()
	if sh.owners[name] != o { // it is at home elsewhere, and whoever has it brings them again
		sh.mu.Unlock()
		return
	}
	ids := slices.Collect(maps.Keys(o.remain))
	sh.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), againTime)
	_, err := m.store.Remove(ctx, name, ids...)
	cancel()
	sh.mu.Lock()
	defer sh.mu.Unlock()
	switch {
	case sh.owners[name] != o:
	case err != nil && !errors.Is(err, storage.ErrClosed) && !errors.Is(err, storage.ErrElsewhere):
		time.AfterFunc(againEvery, func() { m.removeAgain(name, o) })
	default:
		for _, id := range ids {
			delete(o.remain, id)
		}
		if len(o.remain) > 0 { // some have come meanwhile
			time.AfterFunc(againEvery, func() { m.removeAgain(name, o) })
		}
		sh.tidy(name, o)
	}
}
