package modules

import (
	"context"
	"fmt"
	"time"

	"jackdaw/modules/internal/parts"
	"jackdaw/modules/last"
	"jackdaw/storage"
	"jackdaw/xmpp/jid"
)

// spaces is the store, and remembers which spaces the modules have asked for.
type spaces struct {
	parts.Store
	maps, logs []string
}

func (s *spaces) Map(space string) storage.Map {
	s.maps = append(s.maps, space)
	return s.Store.Map(space)
}

func (s *spaces) Log(space string) storage.Log {
	s.logs = append(s.logs, space)
	return s.Store.Log(space)
}

// Stored is what a space holds of one user.
type Stored struct {
	Space   string // mostly the name of its module
	Records int
	Bytes   int64 // of keys and values, as the modules wrote them; the disk may take more or less
}

// Stored lists what the modules keep of a user, without the spaces that hold nothing.
func (s *Set) Stored(ctx context.Context, user jid.JID) (all []Stored, err error) {
	owner := user.Bare().String()
	for _, space := range s.spaces.maps {
		entries, _, err := s.spaces.Store.Map(space).List(ctx, owner)
		if err != nil {
			return nil, fmt.Errorf("look at %s of %s: %w", space, owner, err)
		}
		one := Stored{Space: space, Records: len(entries)}
		for _, e := range entries {
			one.Bytes += int64(len(e.Key) + len(e.Value))
		}
		all = append(all, one)
	}
	for _, space := range s.spaces.logs {
		one := Stored{Space: space}
		if one.Records, one.Bytes, err = s.spaces.Store.Log(space).Size(ctx, owner); err != nil {
			return nil, fmt.Errorf("look at %s of %s: %w", space, owner, err)
		}
		all = append(all, one)
	}
	some := all[:0]
	for _, one := range all {
		if one.Records > 0 {
			some = append(some, one)
		}
	}
	return some, nil
}

// KeepOf is how long the messages of a user stay in the archive; see archive.Archive.
func (s *Set) KeepOf(ctx context.Context, user jid.JID) (keep time.Duration, own bool, err error) {
	return s.messages.KeepOf(ctx, user)
}

// SetKeep changes that.
func (s *Set) SetKeep(ctx context.Context, user jid.JID, keep time.Duration, own bool) error {
	return s.messages.SetKeep(ctx, user, keep, own)
}

// LastTimes are when a user last logged in, to the hour, and when the last session of the user ended; zero for what is
// not known.
func (s *Set) LastTimes(ctx context.Context, user jid.JID) (login, left time.Time, err error) {
	return last.Times(ctx, s.spaces.Store.Map("last"), user)
}
