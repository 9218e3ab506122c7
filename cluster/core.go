package cluster

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"
)

// An instant is the time by two clocks. The monotonic one stands still while the machine sleeps; the other one may be
// set. A lease has run out as soon as it has by one of them.
type instant struct {
	mono time.Duration // since some moment
	wall int64         // nanoseconds since 1970
}

func (i instant) add(d time.Duration) instant { return instant{i.mono + d, i.wall + int64(d)} }

// settings do not change.
type settings struct {
	member               Member // without Run and Started
	lease, renew         time.Duration
	grace                time.Duration // after the end of a lease, until others may take its slots
	poll                 time.Duration // how often is looked while slots are to come from others
	moveTime             time.Duration // how long the planned end of slots may take
	silent               time.Duration // how long nothing has to come from a node before that is told
	settled              time.Duration // how long what was told about silence has to stay the same
	batch                int           // slots that move from this node at once
	shortPause, maxPause time.Duration // before a request is repeated
	silence              func(node string) time.Duration
	newRun               func() string
	log                  *slog.Logger
}

func (s *settings) fill(lease, renew time.Duration) {
	s.lease, s.renew = lease, renew
	s.grace, s.poll = lease/20, lease/100
	s.moveTime, s.silent, s.settled = lease/2, lease, renew+lease/10
	s.batch, s.shortPause, s.maxPause = 64, lease/200, lease/20
}

type phase int

const (
	out   phase = iota // no member: joins when it may
	in                 // a member
	ended              // left for good
)

// A core decides what a node does. It is told what happens and says what to do; its caller makes sure that this is one
// thing after the other. Only here may be called at any time.
type core struct {
	settings
	phase  phase
	run    string // of this membership, or of the one that is asked for
	former string // an earlier one of this node, which may still be in the store

	// The end of the lease by both clocks.
	until, clock atomic.Int64
	// active has the fences of the slots that are at home here; 0: it is not.
	active [Slots]atomic.Uint64
	slots  [Slots]slot
	moves  []*move

	view    View
	places  *[Slots]Place
	target  *[Slots]string // who should have which slot
	fit     []string       // who may have slots
	fitAt   time.Duration  // since when
	calm    bool           // for so long that all nodes know it
	asked   instant        // when the view was asked for
	top     uint64         // the highest fence that was seen
	asking  *Request
	askedAt instant
	renewAt time.Duration // when to renew next, or to repeat
	joinAt  time.Duration
	pause   time.Duration
	refresh bool

	leaving   bool
	exiled    bool // was expelled; joins when it hears the others
	exiledAt  time.Duration
	penalty   time.Duration // until it joins then: it grows where that happens again and again
	toldUsed  bool
	first     map[string]time.Duration // when runs of members were first seen
	unheard   []string
	listenAt  time.Duration
	err       error // why it is no member, or cannot renew
	callbacks []*callback
	changed   bool

	// What follows is computed from the rest when it is dirty.
	dirty        bool
	gives, takes []Claim
	waits        bool // slots are to come from other nodes
	rests        bool // nothing is at home here any more
	bare         bool // nor in the store
}

// A slot is what else is known of one.
type slot struct {
	past   uint64 // under this fence and lower ones it is not at home here any more
	busy   bool   // a callback about it runs
	owes   bool   // Lost is to be called as soon as none does
	asked  bool   // it was asked for, as one without a home
	last   Place  // where it had been at home then
	moving bool   // its planned end has begun
}

// A move is the planned end of slots here.
type move struct {
	slots    []int
	deadline time.Duration
}

// A callback is to be called by whoever has the core, which tells its end by finished.
type callback struct {
	gained, planned bool
	slots           []int
	last            []Place // of slots that are gained and not planned: where they were at home
	move            *move
}

func newCore(s settings) *core {
	return &core{settings: s, run: s.newRun(), places: &[Slots]Place{}, target: &[Slots]string{},
		first: map[string]time.Duration{}}
}

// here says under which fence a slot is at home here.
func (c *core) here(s int, now instant) (uint64, bool) {
	fence := c.active[s].Load()
	return fence, fence != 0 && c.holds(now)
}

// holds says whether the lease is there for certain.
func (c *core) holds(now instant) bool {
	return now.mono < time.Duration(c.until.Load()) && now.wall < c.clock.Load()
}

func (c *core) extend(asked instant) {
	end := asked.add(c.lease)
	c.until.Store(int64(end.mono))
	c.clock.Store(end.wall)
}

// next returns the request to make now, if any, and when to call it again at the latest, by the monotonic clock. It is
// called again also when something has happened.
func (c *core) next(now instant) (*Request, time.Duration) {
	c.lapse(now)
	c.endMoves(now)
	if calm := now.mono >= c.fitAt+c.renew; calm != c.calm {
		c.calm, c.dirty = calm, true
	}
	if c.dirty {
		c.dirty = false
		c.reconcile()
		c.startMoves(now)
		c.plan()
	}
	wake := now.mono + c.renew
	if c.phase == in {
		wake = min(wake, time.Duration(c.until.Load()))
	}
	for _, m := range c.moves {
		wake = min(wake, m.deadline)
	}
	if !c.calm {
		wake = min(wake, c.fitAt+c.renew)
	}
	if c.asking != nil || c.phase == ended {
		return nil, wake
	}
	r, at := c.choose(now)
	if r == nil {
		return nil, min(wake, at)
	}
	r.Member, r.Lease, r.Grace, r.Above = c.member, c.lease, c.grace, c.top
	r.Member.Run = c.run
	if r.Op == OpJoin {
		r.Member.Started = time.Unix(0, now.wall).UTC()
	}
	if r.Op == OpTake {
		for _, one := range r.Claims {
			st := &c.slots[one.Slot]
			st.asked, st.last = true, c.places[one.Slot]
		}
	}
	r.Version = c.view.Version
	c.asking, c.askedAt = r, now
	return r, wake
}

// choose returns the request to make now, or when there may be one.
func (c *core) choose(now instant) (*Request, time.Duration) {
	if c.phase == out {
		return c.chooseOutside(now)
	}
	me := c.seat(c.member.ID)
	expelled := me != nil && me.Expelled != ""
	if c.rests && len(c.moves) == 0 && (expelled || c.leaving && c.renewed(me) && (c.bare || len(c.fit) == 0)) {
		if now.mono < c.renewAt && c.pause > 0 {
			return nil, c.renewAt
		}
		return &Request{Op: OpLeave}, 0
	}
	if c.pause > 0 && now.mono < c.renewAt {
		return nil, c.renewAt // the last request failed
	}
	due := min(c.renewAt, c.nextEnd())
	if c.waits {
		due = min(due, c.asked.mono+c.poll)
	}
	told := c.leaving && !c.renewed(me)
	if c.silence != nil && now.mono >= c.listenAt {
		c.listenAt = now.mono + c.silent/10
		c.unheard = unheard(c.view.Members, c.member.ID, now.mono, c.silent, c.first, c.silence)
		told = told || me != nil && !expelled && !slices.Equal(c.unheard, me.Silent)
	}
	if c.silence != nil {
		due = min(due, c.listenAt)
	}
	if now.mono >= min(c.renewAt, due) || c.refresh || told {
		c.refresh = false
		return &Request{Op: OpRenew, Leaving: c.leaving, Silent: c.unheard}, 0
	}
	if expelled {
		return nil, due
	}
	if len(c.gives) > 0 {
		return &Request{Op: OpGive, Claims: c.gives}, 0
	}
	if len(c.takes) > 0 && !c.leaving {
		return &Request{Op: OpTake, Claims: c.takes}, 0
	}
	if who := leaver(c.view.Members, c.settled); who != "" {
		return &Request{Op: OpExpel, Other: who}, 0
	}
	return nil, due
}

// renewed says whether the store knows that this node leaves.
func (c *core) renewed(me *Seat) bool { return me != nil && me.Leaving }

// chooseOutside is choose while the node is no member.
func (c *core) chooseOutside(now instant) (*Request, time.Duration) {
	if c.leaving {
		c.phase = ended
		return nil, now.mono + c.renew
	}
	if now.mono < c.joinAt {
		return nil, c.joinAt
	}
	if c.exiled && c.silence != nil {
		for _, id := range c.others() {
			if c.silence(id) >= c.silent/2 {
				return &Request{Op: OpLook}, 0 // until that one is heard, or gone
			}
		}
	}
	return &Request{Op: OpJoin, Replaces: c.former}, 0
}

// reply tells what came of the request that next returned last.
func (c *core) reply(now instant, v View, err error) {
	r := c.asking
	c.asking = nil
	c.lapse(now)
	current := c.phase == in && r.Member.Run == c.run
	if err != nil {
		c.failed(now, r, err, current)
		return
	}
	c.pause = 0
	switch {
	case r.Op == OpLeave:
		if current {
			c.left(now)
		}
		return
	case r.Op == OpLook:
		c.joinAt = now.mono + c.silent/10
	case r.Op == OpJoin && c.phase == out && r.Member.Run == c.run:
		c.join(now)
		current = true
	}
	c.see(v)
	if !current {
		return
	}
	me := c.seat(c.member.ID)
	switch {
	case me == nil || me.Run != c.run:
		c.lose(now, errors.New("the store does not know this node any more"))
	case me.Expelled != "" && !c.exiled:
		c.exiled = true
		if c.exiledAt > 0 && now.mono < c.exiledAt+30*c.lease+c.penalty {
			c.penalty = min(max(2*c.penalty, c.lease), 60*c.lease)
		} else {
			c.penalty = 0
		}
		c.exiledAt = now.mono
		c.log.Error("this node leaves the cluster, since it does not hear other nodes; it comes back when it does",
			"decided by", me.Expelled, "unheard", len(c.unheard), "do", "let the nodes reach each other's cluster.address")
	case me.Expelled == "":
		c.extend(c.askedAt)
		c.renewAt = c.askedAt.mono + c.renew
		c.err = nil
	}
}

func (c *core) failed(now instant, r *Request, err error, current bool) {
	c.pause = min(max(2*c.pause, c.shortPause), c.maxPause)
	c.renewAt, c.joinAt = now.mono+c.pause, now.mono+c.pause
	c.err = err
	var single *SingleError
	switch {
	case current && (errors.Is(err, ErrGone) || errors.As(err, &single)):
		if r.Op == OpLeave {
			c.left(now)
			return
		}
		c.lose(now, err)
	case c.phase == out && r.Op == OpJoin && refused(err):
		c.joinAt = now.mono + c.maxPause
		if !c.toldUsed {
			c.toldUsed = true
			c.log.Warn("this node cannot join now, and tries again", "reason", err)
		}
	}
}

// refused says whether an error is the answer of a store that works.
func refused(err error) bool {
	var used *UsedError
	var single *SingleError
	return errors.As(err, &used) || errors.As(err, &single)
}

func (c *core) join(now instant) {
	c.phase, c.exiled, c.toldUsed, c.dirty = in, false, false, true
	c.renewAt, c.listenAt = c.askedAt.mono+c.renew, now.mono+c.silent/10
	c.unheard, c.first = nil, map[string]time.Duration{}
	c.extend(c.askedAt)
	c.log.Info("this node has joined the cluster", "node", c.member.ID, "address", c.member.Address)
}

// left ends a membership that was given up.
func (c *core) left(now instant) {
	c.log.Info("this node has left the cluster", "node", c.member.ID)
	c.drop(now)
	if c.leaving {
		c.phase = ended
	}
}

// see takes a view over.
func (c *core) see(v View) {
	fit := make([]string, 0, len(v.Members))
	known := make(map[string]bool, len(v.Members))
	for _, s := range v.Members {
		known[s.Run] = true
		if _, ok := c.first[s.Run]; !ok {
			c.first[s.Run] = c.askedAt.mono
		}
		if !s.Leaving && s.Expelled == "" {
			fit = append(fit, s.ID)
		}
	}
	for run := range c.first {
		if !known[run] {
			delete(c.first, run)
		}
	}
	if v.Version != c.view.Version {
		c.changed, c.dirty = true, true
		c.tell(v)
	}
	if v.Places != nil {
		c.places = v.Places
		for s, p := range v.Places {
			c.top = max(c.top, p.Fence)
			if st := &c.slots[s]; p.Node != c.member.ID {
				st.past = max(st.past, p.Fence)
				if p.Fence > st.last.Fence {
					st.asked, st.last = false, Place{} // another was faster
				}
			}
		}
	}
	if v.Places != nil || !slices.Equal(fit, c.fit) {
		if !slices.Equal(fit, c.fit) {
			c.fitAt = c.askedAt.mono
		}
		c.fit, c.dirty = fit, true
		c.target = shares(c.places, fit)
	}
	c.view, c.asked = v, c.askedAt
}

// tell logs who has come and gone.
func (c *core) tell(v View) {
	was := map[string]string{}
	for _, s := range c.view.Members {
		was[s.ID] = s.Run
	}
	for _, s := range v.Members {
		if was[s.ID] != s.Run && s.ID != c.member.ID {
			c.log.Info("a node has joined", "node", s.ID, "address", s.Address, "version", s.Version)
		}
		delete(was, s.ID)
	}
	for id := range was {
		if id != c.member.ID {
			c.log.Info("a node has left", "node", id)
		}
	}
}

// lapse ends the membership if the lease may have run out.
func (c *core) lapse(now instant) {
	if c.phase == in && !c.holds(now) {
		err := errors.New("its lease was not renewed in time")
		if c.err != nil {
			err = fmt.Errorf("%w: %w", err, c.err)
		}
		c.lose(now, err)
	}
}

// lose ends a membership that has been lost.
func (c *core) lose(now instant, why error) {
	n := 0
	for s := range c.slots {
		if c.active[s].Load() != 0 {
			n++
		}
	}
	c.log.Error("this node has lost its lease, and nothing is at home here until it has joined anew", "slots", n,
		"reason", why, "do", "see whether Redis is well and reached, and whether this machine stood still")
	c.err = why
	c.drop(now)
}

func (c *core) drop(now instant) {
	c.until.Store(0)
	c.clock.Store(0)
	for s := range c.slots {
		c.end(s)
	}
	c.moves = nil
	c.former, c.run = c.run, c.newRun()
	c.phase, c.joinAt = out, now.mono+c.pause
	if c.exiled {
		c.joinAt += c.penalty
	}
	c.changed, c.dirty = true, true
}

// nextEnd is when the first lease of another node runs out, unless it is renewed, and others may take its slots.
func (c *core) nextEnd() time.Duration {
	end := c.asked.mono + 2*c.renew
	for _, s := range c.view.Members {
		if s.ID != c.member.ID {
			end = min(end, c.asked.mono+s.Left+c.grace+c.shortPause/2)
		}
	}
	return end
}

func (c *core) seat(id string) *Seat {
	for i := range c.view.Members {
		if c.view.Members[i].ID == id {
			return &c.view.Members[i]
		}
	}
	return nil
}

// others are the ids of the other members, in order.
func (c *core) others() (ids []string) {
	for _, s := range c.view.Members {
		if s.ID != c.member.ID {
			ids = append(ids, s.ID)
		}
	}
	return ids
}
