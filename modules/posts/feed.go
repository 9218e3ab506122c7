package posts

import (
	"context"
	"time"

	"jackdaw/modules/internal/posting"
	"jackdaw/storage"
)

const (
	ringSize = 2048 // changes of an account that are remembered while it is followed
	// stepOf is how many changes a stream is given at a time.
	stepOf = 100
	// rereadEvery is how often a stream that falls behind may read from storage.
	rereadEvery = time.Second
)

// A feed has the last changes of the posts of an account that somebody follows. The tracker's mu guards it.
type feed struct {
	ring    []posting.Change
	came    uint64        // how many have ever been
	wake    chan struct{} // closed with the next
	streams int
	ended   bool // nothing more will come
}

// wakeAll has those who follow look. The caller holds mu.
func (f *feed) wakeAll() {
	close(f.wake)
	f.wake = make(chan struct{})
}

// end has those who follow go. The caller holds mu.
func (f *feed) end() {
	f.ended = true
	f.wakeAll()
}

// publish tells those who follow an account of a change: of a recipient, or of a post that is new if i is -1. The
// caller holds mu.
func (t *Tracker) publish(p *post, i int) {
	f := p.of.feed
	if f == nil {
		return
	}
	c := posting.Change{Post: nameOf(p.id)}
	if i < 0 {
		c.ID, c.Total, c.At = t.stamp(), len(p.to), time.UnixMicro(int64(p.id))
	} else {
		c.ID, c.Became = p.to[i].at, p.became(i)
	}
	if len(f.ring) < ringSize {
		f.ring = append(f.ring, c)
	} else {
		f.ring[f.came%ringSize] = c
	}
	f.came++
	f.wakeAll()
}

// A follower implements posting.Stream.
type follower struct {
	t    *Tracker
	a    *account
	next uint64 // of feed.came
	seen uint64 // the last stamp that was given out, or that of the beginning
	out  []posting.Change

	begins bool   // its id has not been told
	since  uint64 // what changed after that is read from storage first; 0: nothing is
	until  uint64 // the last stamp when that began
	after  uint64 // the last record that was read for it
	reread time.Time
}

// Follow implements posting.Tracker.
func (t *Tracker) Follow(name string, since uint64) (posting.Stream, error) {
	most := t.o.Limits().Streams
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.account(name)
	defer t.tidy(a)
	switch {
	case t.quitting:
		return nil, posting.ErrClosed
	case t.streams >= maxStreams, a.feed != nil && a.feed.streams >= most:
		return nil, posting.ErrStreams
	}
	if a.feed == nil {
		a.feed = &feed{wake: make(chan struct{})}
	}
	a.feed.streams++
	t.streams++
	s := &follower{t: t, a: a, next: a.feed.came, seen: t.stamp()}
	if since > 0 {
		s.behind(since)
	} else {
		s.begins = true
	}
	return s, nil
}

// behind has what changed since read from storage. The caller holds mu.
func (s *follower) behind(since uint64) {
	s.since, s.until, s.after, s.next = since, s.t.stamp(), 0, s.a.feed.came
}

// Close implements posting.Stream.
func (s *follower) Close() {
	t := s.t
	t.mu.Lock()
	defer t.mu.Unlock()
	t.streams--
	if s.a.feed.streams--; s.a.feed.streams == 0 {
		s.a.feed = nil
		t.tidy(s.a)
	}
}

// Next implements posting.Stream.
func (s *follower) Next(ctx context.Context) ([]posting.Change, error) {
	for {
		if s.since > 0 {
			if list, err := s.past(ctx); err != nil || len(list) > 0 {
				return list, err
			}
			continue
		}
		if s.begins {
			s.begins = false
			return []posting.Change{{ID: s.seen}}, nil
		}
		s.t.mu.Lock()
		f := s.a.feed
		if f.came-s.next > uint64(len(f.ring)) { // it has been too slow: what it missed is in storage
			s.behind(s.seen)
			s.t.mu.Unlock()
			if err := s.pause(ctx); err != nil {
				return nil, err
			}
			continue
		}
		s.out = s.out[:0]
		for ; s.next < f.came && len(s.out) < stepOf; s.next++ {
			s.out = append(s.out, f.ring[s.next%ringSize])
			s.seen = s.out[len(s.out)-1].ID
		}
		wake, ended := f.wake, f.ended
		s.t.mu.Unlock()
		switch {
		case len(s.out) > 0:
			return s.out, nil
		case ended:
			return nil, posting.ErrClosed
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-s.t.quit:
			return nil, posting.ErrClosed
		}
	}
}

// pause has a stream that is too slow not read all the time.
func (s *follower) pause(ctx context.Context) error {
	t := time.NewTimer(time.Until(s.reread))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.t.quit:
		return posting.ErrClosed
	}
	s.reread = time.Now().Add(rereadEvery)
	return nil
}

// past returns changes that are in storage, in the order of the posts, and as the last one with nothing but an id. It
// may return none and have to be called again.
func (s *follower) past(ctx context.Context) ([]posting.Change, error) {
	s.out = s.out[:0]
	if s.after == 0 {
		if err := s.t.flush(ctx, only(s.a.name)); err != nil {
			return nil, err
		}
	}
	list, more, err := s.t.o.Records.Page(ctx, s.a.name, storage.Query{After: s.after, Limit: 8})
	if err != nil {
		return nil, err
	}
	for _, r := range list {
		s.after = r.ID
		// Outcomes are kept to the millisecond: what may have been seen is told again.
		if newestIn(r.Data)+1000 <= s.since {
			continue
		}
		rows, err := readRows(r.Data)
		if err != nil {
			continue
		}
		for _, w := range rows {
			for i := range w.post.to {
				if w.post.to[i].at+1000 > s.since {
					s.out = append(s.out, posting.Change{Post: nameOf(w.post.id), Became: w.post.became(i)})
				}
			}
		}
	}
	if !more {
		s.out = append(s.out, posting.Change{ID: s.until})
		s.since = 0
	}
	return s.out, nil
}
