package fulltext

import (
	"context"
	"errors"
	"time"

	"jackdaw/storage"
)

const (
	// lookEvery is how often those are visited whose logs have grown, and roundEvery how often all are.
	lookEvery  = 10 * time.Minute
	roundEvery = time.Hour
	// askEvery is how often it is asked whether there is to be an index.
	askEvery = time.Minute
	// rest is how many times as long as a visit took nothing is done after it, and breath the least of it.
	rest   = 4
	breath = 5 * time.Millisecond
)

// Run keeps the indexes up to date until ctx ends, or removes them while there are to be none.
func (x *Index) Run(ctx context.Context) {
	var round, look time.Time
	for ctx.Err() == nil {
		switch now := time.Now(); {
		case !x.On():
			x.removeAll(ctx)
			round = time.Time{}
		case now.Sub(round) >= roundEvery:
			round, look = now, now
			x.Round(ctx)
		case now.Sub(look) >= lookEvery:
			look = now
			for _, owner := range x.takeGrown() {
				x.visit(ctx, owner, true)
			}
		}
		pause(ctx, askEvery)
	}
}

// Round visits all owners once: what is not indexed is, as far as it is worth it, and what is not to be found any more
// is taken out.
func (x *Index) Round(ctx context.Context) {
	x.mu.Lock()
	all := x.lost
	x.lost = false
	x.mu.Unlock()
	grown := map[string]bool{}
	for _, owner := range x.takeGrown() {
		grown[owner] = true
	}
	each := func(owner string) bool {
		x.visit(ctx, owner, all || grown[owner])
		return ctx.Err() == nil
	}
	err := x.Source.Owners(ctx, each)
	if err == nil { // those of whom nothing is left
		err = x.Segments.Owners(ctx, func(owner string) bool {
			if first, err := x.oldest(ctx, owner); err == nil && first == ^uint64(0) {
				return each(owner)
			}
			return ctx.Err() == nil
		})
	}
	if ctx.Err() == nil && err == nil {
		return
	}
	x.mu.Lock()
	x.lost = x.lost || all || len(grown) > 0
	x.mu.Unlock()
	if ctx.Err() == nil {
		x.Log.Warn("archives not indexed", "error", err)
	}
}

func (x *Index) takeGrown() []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	owners := make([]string, 0, len(x.grown))
	for owner := range x.grown {
		owners = append(owners, owner)
	}
	clear(x.grown)
	return owners
}

// visit brings the index of an owner up to date.
func (x *Index) visit(ctx context.Context, owner string, grown bool) {
	for more := true; more && x.On() && x.Here(owner) && ctx.Err() == nil; {
		began := time.Now()
		var err error
		if more, err = x.look(ctx, owner, grown); err != nil && ctx.Err() == nil {
			x.Log.Warn("archive not indexed", "owner", owner, "error", err)
		}
		pause(ctx, max(rest*time.Since(began), breath))
	}
}

// Catch indexes all that there is of an owner, without a rest.
func (x *Index) Catch(ctx context.Context, owner string) error {
	for more := true; more; {
		var err error
		if more, err = x.look(ctx, owner, true); err != nil {
			return err
		}
	}
	return nil
}

func (x *Index) look(ctx context.Context, owner string, grown bool) (more bool, err error) {
	defer x.hold(owner)()
	if grown {
		more, err = x.step(ctx, owner, smallTail)
	}
	if err == nil && !more {
		err = x.purge(ctx, owner)
	}
	return more, x.mend(ctx, owner, err)
}

// mend begins anew with an index that cannot be read, since it can be made again. The caller holds the owner.
func (x *Index) mend(ctx context.Context, owner string, err error) error {
	if !errors.Is(err, errRecord) && !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	x.Log.Error("the index of an archive is made anew", "owner", owner, "error", err)
	x.Grown(owner)
	return errors.Join(err, x.remove(ctx, owner))
}

// removeAll removes all indexes.
func (x *Index) removeAll(ctx context.Context) {
	x.takeGrown()
	x.mu.Lock()
	x.lost = true // nobody tells what grows meanwhile
	x.mu.Unlock()
	err := x.Segments.Owners(ctx, func(owner string) bool {
		if !x.Here(owner) {
			return ctx.Err() == nil
		}
		if err := x.Remove(ctx, owner); err != nil && ctx.Err() == nil {
			x.Log.Warn("the index of an archive stays", "owner", owner, "error", err)
		}
		pause(ctx, breath)
		return ctx.Err() == nil && !x.On()
	})
	if err != nil && ctx.Err() == nil {
		x.Log.Warn("indexes of archives stay", "error", err)
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
