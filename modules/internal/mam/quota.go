package mam

import (
	"context"
	"errors"

	"jackdaw/storage"
)

// spare is how much more than needed goes when an archive is full, so that not every message has to make room for
// itself.
const spare = 256 << 10

// Append appends a message to an archive that may have o.MaxBytes, 0 for no bound. Where there is no room, the oldest
// go: what has just been said is never the one that is not kept.
func Append(ctx context.Context, log storage.Log, owner string, r storage.Record, o storage.AppendOptions) (
	id uint64, dup bool, p *storage.Pending, err error) {
	id, dup, p, err = log.Append(ctx, owner, r, o)
	if !errors.Is(err, storage.ErrFull) {
		return id, dup, p, err
	}
	if err := shorten(ctx, log, owner, o.MaxBytes-int64(len(r.Data))); err != nil {
		return 0, false, nil, err
	}
	o.MaxBytes = 0
	return log.Append(ctx, owner, r, o)
}

// shorten removes the oldest messages of an archive that has more bytes than that.
func shorten(ctx context.Context, log storage.Log, owner string, most int64) error {
	_, size, err := log.Size(ctx, owner)
	if err != nil || size <= most {
		return err
	}
	for over := size - most + min(spare, most/8); over > 0; {
		old, _, err := log.Page(ctx, owner, storage.Query{Limit: PurgeAtOnce})
		if err != nil || len(old) == 0 {
			return err
		}
		last := uint64(0)
		for i := 0; i < len(old) && over > 0; i++ {
			last = old[i].ID
			over -= int64(len(old[i].Data))
		}
		if _, err := log.Trim(ctx, owner, last+1); err != nil {
			return err
		}
	}
	return nil
}
