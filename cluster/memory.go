package cluster

import (
	"context"
	"slices"
	"sync"
	"time"
)

// A Memory is a Store in the memory of one process: for tests of whatever is built on nodes, and the model of the
// scripts in storage/redis, which a test there compares it with. The zero value is empty.
type Memory struct {
	mu   sync.Mutex // guards data, for Do
	data data
}

// Do implements Store.
func (m *Memory) Do(_ context.Context, r Request) (View, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.data.apply(time.Now(), r)
}

// data is what a store has.
type data struct {
	seats   map[string]*stored
	places  *[Slots]Place // replaced, never changed
	fence   uint64
	version uint64
}

type stored struct {
	member   Member
	end      time.Time
	leaving  bool
	expelled string
	silent   []string
	since    time.Time
}

func (d *data) clone() data {
	c := *d
	c.seats = make(map[string]*stored, len(d.seats))
	for id, s := range d.seats {
		copied := *s
		c.seats[id] = &copied
	}
	return c
}

// A step is one request in work.
type step struct {
	*data
	Request
	now     time.Time
	last    uint64 // the new fence, once it is needed
	copied  bool   // places are those of this step
	changed bool
}

// apply does what is asked for in one step. What it returns depends on nothing but d, now and r.
func (d *data) apply(now time.Time, r Request) (View, error) {
	if d.seats == nil {
		d.seats, d.places = map[string]*stored{}, &[Slots]Place{}
	}
	s := &step{data: d, Request: r, now: now}
	if r.Op != OpLook {
		if err := s.write(); err != nil {
			return View{}, err
		}
	}
	if s.changed {
		d.version = max(d.version+1, uint64(now.UnixMicro()))
	}
	v := View{Version: d.version}
	for _, id := range d.ids() {
		if m := d.seats[id]; s.alive(id) {
			seat := Seat{Member: m.member, Left: m.end.Sub(now), Leaving: m.leaving, Expelled: m.expelled, Silent: m.silent}
			if !m.since.IsZero() {
				seat.Since = now.Sub(m.since)
			}
			v.Members = append(v.Members, seat)
		}
	}
	if d.version != r.Version {
		v.Places = d.places
	}
	return v, nil
}

func (d *data) ids() []string {
	ids := make([]string, 0, len(d.seats))
	for id := range d.seats {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

func (s *step) write() error {
	id := s.Member.ID
	me := s.seats[id]
	if s.Op == OpJoin {
		if me == nil || me.member.Run != s.Member.Run {
			if me != nil && s.alive(id) && me.member.Run != s.Replaces {
				return &UsedError{By: me.member}
			}
			for slot, p := range s.places {
				if p.Node == id {
					s.put(slot, Place{Fence: p.Fence})
				}
			}
			me = &stored{member: s.Member}
			s.seats[id] = me
			s.changed = true
		}
	} else if me == nil || me.member.Run != s.Member.Run || s.Op != OpLeave && me.end.Before(s.now) {
		return ErrGone
	}
	switch {
	case s.Op == OpLeave:
		delete(s.seats, id)
		s.changed = true
	case me.expelled == "":
		me.end = s.now.Add(s.Lease)
		s.act(me)
	}
	for _, other := range s.ids() {
		if !s.alive(other) {
			delete(s.seats, other)
			s.changed = true
		}
	}
	return nil
}

// act does what a member may do whose lease is renewed.
func (s *step) act(me *stored) {
	id := s.Member.ID
	switch s.Op {
	case OpRenew:
		if s.Leaving && !me.leaving {
			me.leaving, s.changed = true, true
		}
		if !slices.Equal(s.Silent, me.silent) {
			me.silent, me.since, s.changed = slices.Clone(s.Silent), s.now, true
		}
	case OpTake:
		for _, c := range s.Claims {
			if p := s.places[c.Slot]; p.Fence == c.Fence && (p.Node == id || !s.alive(p.Node)) {
				s.put(c.Slot, Place{id, s.next()})
			}
		}
	case OpGive:
		for _, c := range s.Claims {
			to := s.seats[c.To]
			if p := s.places[c.Slot]; p.Fence == c.Fence && p.Node == id && s.alive(c.To) && !to.leaving &&
				to.expelled == "" {
				s.put(c.Slot, Place{c.To, s.next()})
			}
		}
	case OpExpel:
		if o := s.seats[s.Other]; s.Version == s.data.version && s.alive(s.Other) && o.expelled == "" {
			o.expelled, o.leaving, s.changed = id, false, true
		}
	}
}

func (s *step) alive(id string) bool {
	m := s.seats[id]
	return m != nil && m.end.Add(s.Grace).After(s.now)
}

func (s *step) put(slot int, p Place) {
	if !s.copied {
		places := *s.places
		s.places, s.copied = &places, true
	}
	s.places[slot] = p
	s.changed = true
}

func (s *step) next() uint64 {
	if s.last == 0 {
		s.last = max(s.fence+1, uint64(s.now.UnixMilli()), s.Above+1)
		s.fence = s.last
	}
	return s.last
}
