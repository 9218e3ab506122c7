package archive

import (
	"context"
	"time"

	"jackdaw/storage"
)

const (
	// purgeEvery is the time from the start of one round through all archives to that of the next.
	purgeEvery = time.Hour
	// purgeAtOnce is how many messages go in one step, and rest how many times as long as the step took
	// nothing is purged after it. Between two archives in which there is nothing to do there is no rest but
	// breath after every so many.
	purgeAtOnce = 200
	rest        = 4
	breath      = 10 * time.Millisecond
	breathEvery = 100
)

// Run removes messages whose time has come, until ctx ends. It never does much at once: what waits for storage meanwhile
// waits for one step.
func (a *Archive) Run(ctx context.Context) {
	for ctx.Err() == nil {
		began := time.Now()
		if keep := a.o.Limits().Keep; keep > 0 {
			a.round(ctx, storage.IDAt(began.Add(-keep)))
		}
		sleep(ctx, purgeEvery-time.Since(began))
	}
}

// round goes through all archives once.
func (a *Archive) round(ctx context.Context, before uint64) {
	n := 0
	err := a.o.Messages.Owners(ctx, func(owner string) bool {
		err := a.purge(ctx, owner, before, func(took time.Duration) { sleep(ctx, max(rest*took, breath)) })
		if err != nil && ctx.Err() == nil {
			a.o.Log.Warn("archive not purged", "owner", owner, "error", err)
		}
		if n++; n%breathEvery == 0 {
			sleep(ctx, breath)
		}
		return ctx.Err() == nil
	})
	if err != nil && ctx.Err() == nil {
		a.o.Log.Warn("archives not purged", "error", err)
	}
}

// purge removes an owner's messages with ids below before, some at a time; pause, if not nil, is called after each step
// with the time that it took.
func (a *Archive) purge(ctx context.Context, owner string, before uint64, pause func(took time.Duration)) error {
	for {
		began := time.Now()
		old, more, err := a.o.Messages.Page(ctx, owner, storage.Query{Before: before, Limit: purgeAtOnce})
		if err != nil || len(old) == 0 {
			return err
		}
		p, err := a.o.Messages.Trim(ctx, owner, old[len(old)-1].ID+1, 0)
		if err != nil {
			return err
		}
		if err := p.Wait(ctx); err != nil {
			return err
		}
		if pause != nil {
			pause(time.Since(began))
		}
		if !more {
			return nil
		}
	}
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(max(d, 0))
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
