package mam

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"jackdaw/storage"
)

const (
	// purgeEvery is the time from the start of one round through all archives to that of the next.
	purgeEvery = time.Hour
	// PurgeAtOnce is how many messages go in one step, and rest how many times as long as the step took nothing is
	// purged after it.
	PurgeAtOnce = 200
	rest        = 4
	// breath is the least that is rested after a step, and after every breathEvery archives in which there was nothing
	// to do.
	breath      = 10 * time.Millisecond
	breathEvery = 100
)

// A Keeper removes the messages of archives whose time has come, little by little.
type Keeper struct {
	Log  storage.Log
	Keep func() time.Duration // how long a message stays; 0: for ever. Asked before each round
	// Own is the same for a single owner, if own is true; nil: for nobody.
	Own    func(ctx context.Context, owner string) (keep time.Duration, own bool, err error)
	Logger *slog.Logger
}

// Run works until ctx ends.
func (k *Keeper) Run(ctx context.Context) {
	for ctx.Err() == nil {
		began := time.Now()
		k.Round(ctx, began)
		pause(ctx, purgeEvery-time.Since(began))
	}
}

// Round goes through all archives once and removes what has been there for too long now.
func (k *Keeper) Round(ctx context.Context, now time.Time) {
	all := k.Keep()
	if all == 0 && k.Own == nil {
		return
	}
	n := 0
	err := k.Log.Owners(ctx, func(owner string) bool {
		// What is at home on another node is looked after there.
		if err := k.visit(ctx, owner, all, now); err != nil && !errors.Is(err, storage.ErrElsewhere) &&
			ctx.Err() == nil {
			k.Logger.Warn("archive not purged", "owner", owner, "error", err)
		}
		if n++; n%breathEvery == 0 {
			pause(ctx, breath)
		}
		return ctx.Err() == nil
	})
	if err != nil && ctx.Err() == nil {
		k.Logger.Warn("archives not purged", "error", err)
	}
}

// visit removes what one archive has had for too long.
func (k *Keeper) visit(ctx context.Context, owner string, keep time.Duration, now time.Time) error {
	if k.Own != nil {
		own, differs, err := k.Own(ctx, owner)
		if err != nil {
			return err
		}
		if differs {
			keep = own
		}
	}
	if keep == 0 {
		return nil
	}
	return k.purge(ctx, owner, storage.IDAt(now.Add(-keep)), func(took time.Duration) {
		pause(ctx, max(rest*took, breath))
	})
}

// Clear removes all messages of an owner, some at a time but without a rest.
func (k *Keeper) Clear(ctx context.Context, owner string) error {
	return k.purge(ctx, owner, ^uint64(0), func(time.Duration) {})
}

// purge removes an owner's messages with ids below before, and calls rested after each step with the time that it took.
func (k *Keeper) purge(ctx context.Context, owner string, before uint64, rested func(took time.Duration)) error {
	for {
		began := time.Now()
		old, more, err := k.Log.Page(ctx, owner, storage.Query{Before: before, Limit: PurgeAtOnce})
		if err != nil || len(old) == 0 {
			return err
		}
		p, err := k.Log.Trim(ctx, owner, old[len(old)-1].ID+1)
		if err != nil {
			return err
		}
		if err := p.Wait(ctx); err != nil {
			return err
		}
		rested(time.Since(began)) // after the last, too: many small archives cost as much as a large one
		if !more {
			return nil
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(max(d, 0))
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
