package upload

import (
	"context"
	"os"
	"strconv"
	"strings"
	"time"

	"jackdaw/storage"
)

const (
	// sweepEvery is how often slots that have expired are forgotten, purgeEvery how often files go whose time has come.
	sweepEvery = time.Minute
	purgeEvery = time.Hour
)

// Run removes files whose time has come and forgets slots that nobody used, until ctx ends.
func (s *Service) Run(ctx context.Context) {
	sweep, purge := time.NewTicker(sweepEvery), time.NewTicker(purgeEvery)
	defer sweep.Stop()
	defer purge.Stop()
	for s.purge(ctx, time.Now()); ; {
		select {
		case <-ctx.Done():
			return
		case now := <-sweep.C:
			s.sweep(now)
		case now := <-purge.C:
			s.purge(ctx, now)
		}
	}
}

// purge removes the folders all of whose files have gone, and the records of files that are gone since a day. In a
// folder are the files of an hour, so that a file may be there for up to two hours after nobody gets it any more.
// Of several nodes each does it for what is at home there: folders have a home by their names. Should two do it at
// once, whatever one of them has removed is not there for the other.
func (s *Service) purge(ctx context.Context, now time.Time) {
	keep := s.o.Settings().Keep
	folders, err := s.store.Folders(ctx)
	if err != nil && ctx.Err() == nil {
		s.o.Log.Warn("files not purged", "error", err)
	}
	for _, name := range folders {
		end, until := strings.CutPrefix(name, untilPrefix)
		hour, err := strconv.ParseUint(end, 10, 32)
		if err != nil || ctx.Err() != nil || !until && keep == 0 {
			continue
		}
		over := time.Unix(int64(hour+1)*3600, 0)
		if !until {
			over = over.Add(keep)
		}
		if now.Before(over) || !s.o.Router.Here(name) {
			continue
		}
		if err := s.store.RemoveFolder(ctx, name); err != nil {
			if ctx.Err() == nil {
				s.o.Log.Warn("files not purged", "error", err)
			}
			continue
		}
		s.Stats.Purged.Add(1)
	}
	if keep == 0 {
		return
	}
	before := storage.IDAt(now.Add(-keep - day))
	err = s.o.Records.Owners(ctx, func(owner string) bool {
		if !s.o.Router.Here(owner) {
			return ctx.Err() == nil
		}
		var p *storage.Pending
		if p, err = s.o.Records.Trim(ctx, owner, before); err == nil {
			err = p.Wait(ctx)
		}
		return err == nil
	})
	if err != nil && ctx.Err() == nil {
		s.o.Log.Warn("records of uploads not purged", "error", err)
	}
}

// room says whether a file of this size fits on the disk, beside those under way.
func (s *Service) room(size int64) error {
	if err := os.MkdirAll(s.o.Dir, 0o700); err != nil {
		return err
	}
	free, all, err := s.o.Free(s.o.Dir)
	if err != nil {
		return err
	}
	s.mu.Lock()
	claim := s.claim
	s.mu.Unlock()
	if free-claim-size >= s.o.Settings().Space.Of(all).Warn {
		return nil
	}
	now := time.Now().Unix()
	if last := s.warned.Load(); now-last >= 60 && s.warned.CompareAndSwap(last, now) {
		s.o.Log.Error("no room for uploads", "free", free, "wanted", size,
			"do", "make room on the disk of the data directory, or put data/upload on one of its own")
	}
	return errFull
}
