// Package space watches how much room there is on the disk of the data directory. A store that meets a full disk takes
// nothing more, so what can be done without stops before: first the files of users, then archives and what accounts
// publish, and in the end messages for users who are away. What is on its way to somebody who is there has the rest.
package space

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"
)

// A Level says how scarce room is.
type Level int32

// The levels.
const (
	Plenty Level = iota
	Scarce       // an administrator should do something; files are not taken any more
	Low          // archives pause, nothing new is published
	Out          // no messages wait for users who are away
)

const (
	// every is how often a Watch looks.
	every = 2 * time.Second
	// outPart is which part of the reserve is kept to the last, smallPart that of a small disk which counts as much as
	// either bound.
	outPart, smallPart = 4, 20
)

// Bounds are how many bytes must be free: below Warn room is scarce, below Reserve it is low.
type Bounds struct{ Warn, Reserve int64 }

// Of are the bounds on a disk of that size.
func (b Bounds) Of(disk int64) Bounds {
	return Bounds{min(b.Warn, disk/smallPart), min(b.Reserve, disk/smallPart)}
}

// Options of New; all are needed but Free.
type Options struct {
	Dir    string
	Bounds func() Bounds // asked whenever it matters
	// Free says how many bytes are free on the disk of a directory, and how many there are; nil asks the system.
	Free func(dir string) (free, all int64, err error)
	Log  *slog.Logger
}

// A Watch knows how much room there was a moment ago. It is safe for concurrent use; a nil one has plenty.
type Watch struct {
	o     Options
	level atomic.Int32
	free  atomic.Int64
	blind bool // it could not look the last time
}

// New looks once; Run must be called for it to look again.
func New(o Options) *Watch {
	if o.Free == nil {
		o.Free = Free
	}
	w := &Watch{o: o}
	w.look()
	return w
}

// Run looks again and again until ctx ends.
func (w *Watch) Run(ctx context.Context) {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			w.look()
		}
	}
}

// Level is how scarce room is.
func (w *Watch) Level() Level {
	if w == nil {
		return Plenty
	}
	return Level(w.level.Load())
}

// Low says that nothing more is kept that can be done without.
func (w *Watch) Low() bool { return w.Level() >= Low }

// Out says that nothing more is kept for users who are away.
func (w *Watch) Out() bool { return w.Level() >= Out }

// Free is how many bytes there were, 0 if that is not known.
func (w *Watch) Free() int64 { return w.free.Load() }

func (w *Watch) look() {
	free, all, err := w.o.Free(w.o.Dir)
	if err != nil {
		if !w.blind {
			w.o.Log.Warn("free space is not known", "directory", w.o.Dir, "error", err)
		}
		w.blind = true
		free, all = 0, 0 // then nothing stops
	} else {
		w.blind = false
	}
	w.free.Store(free)
	b := w.o.Bounds().Of(all)
	was := w.Level()
	now := b.level(free)
	if now < was { // not to and fro at the bound
		now = b.level(free - b.Reserve/smallPart)
		now = min(now, was)
	}
	if now == was {
		return
	}
	w.level.Store(int32(now))
	facts := []any{"directory", w.o.Dir, "free", free, "disk_warn", b.Warn, "disk_reserve", b.Reserve}
	switch {
	case now < was:
		w.o.Log.Info("there is more room on the disk again", facts...)
	case now == Scarce:
		w.o.Log.Warn("the disk is getting full: files are refused; make room", facts...)
	case now == Low:
		w.o.Log.Error("the disk is nearly full: archives pause, and nothing new is published; make room", facts...)
	default:
		w.o.Log.Error("the disk is full but for the last reserve: messages for who is away are refused; make room now",
			facts...)
	}
}

func (b Bounds) level(free int64) Level {
	switch {
	case free < b.Reserve/outPart:
		return Out
	case free < b.Reserve:
		return Low
	case free < b.Warn:
		return Scarce
	}
	return Plenty
}
