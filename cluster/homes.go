package cluster

import "slices"

// end ends a slot here at once.
func (c *core) end(s int) {
	st := &c.slots[s]
	if fence := c.active[s].Swap(0); fence != 0 {
		st.past, st.owes = max(st.past, fence), true
	}
	st.moving = false
}

// reconcile makes what is at home here what the store says.
func (c *core) reconcile() {
	var lost, given, taken []int
	var last []Place
	for s := range c.slots {
		st := &c.slots[s]
		var fence uint64
		if c.phase == in && c.places[s].Node == c.member.ID {
			fence = c.places[s].Fence
		}
		if a := c.active[s].Load(); a != 0 && a != fence {
			c.end(s)
		}
		switch {
		case st.busy:
		case st.owes:
			st.owes, st.busy = false, true
			lost = append(lost, s)
		case fence > st.past && c.active[s].Load() == 0:
			c.active[s].Store(fence)
			st.busy = true
			if st.asked {
				taken, last = append(taken, s), append(last, st.last)
			} else {
				given = append(given, s)
			}
			st.asked, st.last = false, Place{}
		}
	}
	if len(lost) > 0 {
		c.log.Warn("slots are not at home here any more", "lost", len(lost))
		c.callbacks = append(c.callbacks, &callback{slots: lost})
	}
	if n := len(given) + len(taken); n > 0 {
		c.log.Info("slots are at home here now", "gained", n)
	}
	if len(given) > 0 {
		c.callbacks = append(c.callbacks, &callback{gained: true, slots: given})
	}
	if len(taken) > 0 {
		c.callbacks = append(c.callbacks, &callback{gained: true, slots: taken, last: last})
	}
}

// finished tells that a callback has returned.
func (c *core) finished(b *callback) {
	for _, s := range b.slots {
		c.slots[s].busy = false
	}
	if b.move != nil {
		b.move.deadline = 0
	}
	c.dirty = true
}

// leave begins the end of the membership, for good.
func (c *core) leave() { c.leaving, c.dirty = true, true }

// startMoves begins the planned end of slots that should be elsewhere. It waits until the others have looked at the
// store since nodes have come or gone: whoever knows that slots are to come looks often, so that they are without a
// home for a moment only.
func (c *core) startMoves(now instant) {
	if c.phase != in {
		return
	}
	me := c.seat(c.member.ID)
	if me == nil {
		return
	}
	all := me.Expelled != "" || c.leaving && len(c.fit) == 0
	if !all && !c.calm {
		return
	}
	room := c.batch
	for s := range c.slots {
		if c.slots[s].moving || c.places[s].Node == c.member.ID && c.active[s].Load() == 0 {
			room-- // on its way
		}
	}
	var list []int
	for s := range c.slots {
		st := &c.slots[s]
		if c.active[s].Load() == 0 || st.busy || st.moving {
			continue
		}
		if all || c.target[s] != "" && c.target[s] != c.member.ID && len(list) < room {
			st.busy, st.moving = true, true
			list = append(list, s)
		}
	}
	if len(list) > 0 {
		m := &move{list, now.mono + c.moveTime}
		c.moves = append(c.moves, m)
		c.log.Info("slots move to other nodes", "lost", len(list))
		c.callbacks = append(c.callbacks, &callback{planned: true, slots: list, move: m})
	}
}

// endMoves takes note of planned ends that are done, or took too long.
func (c *core) endMoves(now instant) {
	c.moves = slices.DeleteFunc(c.moves, func(m *move) bool {
		if now.mono < m.deadline {
			return false
		}
		if m.deadline > 0 {
			c.log.Warn("what slots do here has not ended in time before their move", "slots", len(m.slots))
		}
		for _, s := range m.slots {
			if st := &c.slots[s]; st.moving {
				st.moving = false
				st.past = max(st.past, c.active[s].Swap(0))
			}
		}
		c.dirty = true
		return true
	})
}

// plan finds out what to ask for. What was given up here waits for its new home, unless it stays; what nodes had that
// are gone is free.
func (c *core) plan() {
	c.gives, c.takes, c.waits, c.rests, c.bare = nil, nil, false, true, true
	there := map[string]bool{}
	for _, s := range c.view.Members {
		there[s.ID] = true
	}
	for s, p := range c.places {
		active, mine := c.active[s].Load() != 0, p.Node == c.member.ID
		c.rests = c.rests && !active
		c.bare = c.bare && !mine
		to := c.target[s]
		switch {
		case to == "" || active || mine && p.Fence > c.slots[s].past:
		case mine && to != c.member.ID:
			c.gives = append(c.gives, Claim{s, p.Fence, to})
		case mine, to == c.member.ID && !there[p.Node]:
			c.takes = append(c.takes, Claim{Slot: s, Fence: p.Fence})
		case to == c.member.ID:
			c.waits = true
		}
	}
}
