package archive

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"jackdaw/storage"
	"jackdaw/xmpp/jid"
)

const (
	// keepKey is beside the preferences of an owner; keepVersion is the first byte of its value, seconds follow in digits.
	keepKey     = "keep"
	keepVersion = 1
)

// KeepOf is how long messages of a user stay, 0 for ever, where an administrator has said so; else own is false, and
// what holds for all does.
func (a *Archive) KeepOf(ctx context.Context, user jid.JID) (keep time.Duration, own bool, err error) {
	return a.keepOf(ctx, user.Bare().String())
}

func (a *Archive) keepOf(ctx context.Context, owner string) (keep time.Duration, own bool, err error) {
	b, err := a.o.Prefs.Get(ctx, owner, keepKey)
	if errors.Is(err, storage.ErrNotFound) {
		return 0, false, nil
	}
	seconds := int64(-1)
	if err == nil && len(b) > 1 && b[0] == keepVersion {
		seconds, err = strconv.ParseInt(string(b[1:]), 10, 64)
	}
	if err == nil && (seconds < 0 || seconds > int64(MaxKeep/time.Second)) {
		err = errors.New("a record that cannot be read")
	}
	if err != nil {
		return 0, false, fmt.Errorf("how long messages of %s stay: %w", owner, err)
	}
	return time.Duration(seconds) * time.Second, true, nil
}

// MaxKeep is the longest time that can be said; beyond it is for ever.
const MaxKeep = 100 * 365 * 24 * time.Hour

// SetKeep says how long messages of a user stay, to the second: 0 for ever. With own false, what holds for all does
// again. It returns when that is durable; what has been there for longer goes within the next hour.
func (a *Archive) SetKeep(ctx context.Context, user jid.JID, keep time.Duration, own bool) error {
	c := storage.Change{Key: keepKey, Delete: !own}
	if own {
		c.Value = strconv.AppendInt([]byte{keepVersion}, int64(keep/time.Second), 10)
	}
	_, p, err := a.o.Prefs.Update(ctx, user.Bare().String(), storage.AnyVersion, c)
	if err != nil {
		return fmt.Errorf("store how long messages of %s stay: %w", user.Bare(), err)
	}
	return p.Wait(ctx)
}
