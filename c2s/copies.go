package c2s

import "jackdaw/router"

// Uncopied implements router.Keeper. The receipts are taken along: whoever keeps a copy finishes them.
func (s *session) Uncopied() (list []router.Undelivered, first uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.loose || s.ended {
		return nil, 0
	}
	s.loose = false
	first = s.passed
	s.eachStorable(func(c *chunk, m *mark) bool {
		if list == nil && !m.loose {
			first++
			return true
		}
		m.loose = false
		u := router.Undelivered{Kept: m.kept, Receipt: m.receipt}
		u.Stanza, _ = c.read(*m, &s.srv.Stats.Unreadable) // nothing is kept of what cannot be read
		m.receipt = nil
		list = append(list, u)
		return true
	})
	return list, first
}

// Copied implements router.Keeper.
func (s *session) Copied(list []router.Undelivered, first uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// Some may have been taken since.
	gone := min(max(s.passed, first)-first, uint64(len(list)))
	for _, u := range list[:gone] {
		if u.Kept != 0 {
			s.taken = append(s.taken, u.Kept)
		}
		if u.Receipt != nil {
			u.Receipt.Finish(nil)
		}
	}
	list = list[gone:]
	skip := max(s.passed, first) - s.passed
	s.eachStorable(func(_ *chunk, m *mark) bool {
		switch {
		case skip > 0:
			skip--
		case len(list) == 0:
			return false
		default:
			m.kept, m.receipt = list[0].Kept, list[0].Receipt
			list = list[1:]
		}
		return true
	})
	s.report()
}

// eachStorable calls f with the storable messages that the client has not taken, oldest first, until it returns false.
// Those held back while the client is inactive are not among them: nothing of them is kept. The caller holds mu.
func (s *session) eachStorable(f func(*chunk, *mark) bool) {
	each := func(c *chunk) bool {
		if c == nil {
			return true
		}
		for i := range c.marks[c.first:] {
			if m := &c.marks[c.first+i]; m.storable && !f(c, m) {
				return false
			}
		}
		return true
	}
	for _, c := range s.flight {
		if !each(c) {
			return
		}
	}
	_ = each(s.queue) && each(s.late)
}
