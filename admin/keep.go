package admin

import (
	"context"
	"fmt"
	"time"

	"jackdaw/config"
	"jackdaw/modules/archive"
)

// What SetKeep takes beside a time.
const (
	KeepForever = "forever"
	KeepDefault = "default" // as the configuration says for all
)

// SetKeep says how long the messages of an account stay in its archive: a time such as 90d, KeepForever or KeepDefault.
// What has been there for longer goes within the next hour. Beside the errors of Service it fails for what is no time.
func (s *Service) SetKeep(ctx context.Context, by By, address, keep string) error {
	j, err := user(address)
	if err != nil {
		return err
	}
	if passed, err := s.pass(ctx, by, j, "user.keep", SwitchRequest{address, keep}, nil); passed {
		return err
	}
	var d time.Duration
	if keep != KeepForever && keep != KeepDefault {
		if d, err = config.ParseDuration(keep); err != nil || d < time.Hour || d > archive.MaxKeep {
			return fmt.Errorf("%q: expected a time of at least 1h, such as 12h or 90d, or %s or %s", keep, KeepForever,
				KeepDefault)
		}
	}
	if _, err := s.o.Accounts.Get(ctx, j); err != nil {
		return err
	}
	err = s.o.Kept.SetKeep(ctx, j, d, keep != KeepDefault)
	return s.said(err, by, "archive settings changed", "account", j, "keep", keep)
}

// keptFor is how an own time is shown.
func keptFor(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d == 0:
		return KeepForever
	case d%day == 0:
		return fmt.Sprintf("%dd", d/day)
	}
	return d.String()
}
