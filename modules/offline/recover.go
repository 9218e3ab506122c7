package offline

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
)

const (
	// restAfter is after how many accounts recoverAll rests, and rest how long.
	restAfter = 100
	rest      = 10 * time.Millisecond
	// againAfter is how long recoverAll waits to try again what did not work.
	againAfter = 10 * time.Second
)

// recoverAll looks through all archives for what a crash has left, little by little, until all have been or ctx ends.
func (m *module) recoverAll(ctx context.Context) {
	s := &m.settled
	for {
		looked := s.left.Load()
		for !m.recoverRound(ctx) {
			select {
			case <-ctx.Done():
				return
			case <-time.After(againAfter):
			}
		}
		s.mu.Lock()
		if s.left.CompareAndSwap(looked, nil) { // else more has come meanwhile
			break
		}
		s.mu.Unlock()
	}
	defer s.mu.Unlock()
	s.pending.Store(false)
	s.changed.Store(true)
	for i := range m.shards {
		sh := &m.shards[i]
		sh.mu.Lock()
		sh.recovered = nil
		sh.mu.Unlock()
	}
}

// recoverRound looks once through the archives that have not been, and says whether none is left.
func (m *module) recoverRound(ctx context.Context) (whole bool) {
	looked := m.settled.left.Load()
	n := 0
	whole = true
	waits := false
	err := m.archive.Owners(ctx, func(name string) bool {
		sh := m.shard(name)
		sh.mu.Lock()
		err := m.recover(sh, name)
		sh.mu.Unlock()
		whole = whole && err == nil
		waits = waits || errors.Is(err, storage.ErrUnavailable)
		if n++; n%restAfter == 0 {
			select {
			case <-ctx.Done():
			case <-time.After(rest):
			}
		}
		return ctx.Err() == nil
	})
	if err != nil && ctx.Err() == nil {
		m.log.Warn("what a crash may have left is not looked for yet", "error", err)
	}
	s := &m.settled
	s.mu.Lock()
	s.unread.Store(!whole && !waits && err == nil && s.left.Load() == looked)
	s.mu.Unlock()
	return whole && err == nil && ctx.Err() == nil
}

// recover puts into the log what an account was given before a crash and may not have taken. It comes before anything
// else is stored for the account, or brought to it. What cannot be done now is tried again later. The caller holds the
// shard.
func (m *module) recover(sh *shard, name string) error {
	l := m.settled.left.Load()
	if sh.recovered == nil || sh.recovered[name] {
		return nil
	}
	spans := l.of(name)
	if len(spans) == 0 {
		return nil
	}
	ctx := context.Background()
	var found []waiting
	for _, s := range spans {
		err := m.archive.EachReceived(ctx, name, s.after, s.before, func(id uint64, one *xmpp.Stanza) bool {
			if worthKeeping(one) {
				found = append(found, waiting{at: id, archived: id,
					data: appendRecord(nil, one, one.Payload, flagsOf(true, false))})
			}
			return true
		})
		switch {
		case errors.Is(err, storage.ErrUnavailable): // which is said elsewhere
			return err
		case err != nil:
			m.log.Warn("what a crash may have left is not looked for yet", "owner", name, "error", err)
			return err
		}
	}
	if len(found) > 0 {
		if err := m.rescue(ctx, name, found); err != nil {
			m.log.Warn("what a crash has left is not brought yet", "owner", name, "error", err)
			return err
		}
	}
	sh.recovered[name] = true
	return nil
}

// waiting is a message that waits for an account.
type waiting struct {
	at       uint64 // when it came, as an id
	archived uint64 // id in the archive; 0: unknown
	logged   uint64 // id in the log; 0: it is not there
	data     []byte
}

func inTime(a, b waiting) int { return cmp.Compare(a.at, b.at) }

// rescue adds messages of the archive to the log, unless they are there. What came after the first of them goes behind
// it again.
func (m *module) rescue(ctx context.Context, name string, left []waiting) error {
	slices.SortFunc(left, inTime) // several crashes may have left them
	there := map[uint64]bool{}
	var behind []waiting
	for after := uint64(0); ; {
		page, more, err := m.store.Page(ctx, name, storage.Query{After: after, Limit: pageSize})
		if err != nil {
			return err
		}
		for i := range page {
			r := &page[i]
			after = r.ID
			s, flags, err := readRecord(r.Data)
			if err != nil {
				continue
			}
			w := waiting{at: r.ID, logged: r.ID, data: r.Data}
			if flags&settledID == 0 { // its id is its place, which it loses
				w.data = appendRecord(nil, &s, router.AppendStanzaID(slices.Clone(s.Payload), name, r.ID),
					flags|settledID)
			} else if archived := router.StanzaID(&s, name); archived != 0 {
				there[archived] = true
				w.at = min(w.at, archived) // it may be a copy that was made later
			}
			if w.at > left[0].at {
				behind = append(behind, w)
			}
		}
		if !more {
			break
		}
	}
	left = slices.DeleteFunc(left, func(w waiting) bool { return there[w.archived] })
	if len(left) == 0 {
		return nil
	}
	m.log.Info("messages that a crash may have lost are brought", "owner", name, "messages", len(left))
	behind = slices.DeleteFunc(behind, func(w waiting) bool { return w.at < left[0].at })
	both := append(left, behind...)
	slices.SortStableFunc(both, inTime)
	var last *storage.Pending
	var old []uint64
	for _, w := range both {
		_, _, p, err := m.store.Append(ctx, name, storage.Record{Data: w.data}, storage.AppendOptions{})
		if err != nil {
			return err
		}
		last = p
		if w.logged != 0 {
			old = append(old, w.logged)
		}
	}
	if len(old) == 0 {
		return nil
	}
	if err := last.Wait(ctx); err != nil { // they are not to be in neither place
		return err
	}
	_, err := m.store.Remove(ctx, name, old...)
	return err
}
