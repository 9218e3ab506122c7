package server

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"jackdaw/storage/redis"
)

const (
	// startTime is how long a start waits for Redis, all its steps together. Who starts servers in an order, or all
	// machines at once after a power cut, should not have to start some again; systemd waits for 90 s.
	startTime = 30 * time.Second
	// askAgain is the pause before it is tried again, and sayAgain how often the log hears of it.
	askAgain = time.Second
	sayAgain = 10 * time.Second
)

// A patience is what a start has left of startTime. The nil one waits for nothing.
type patience struct {
	log   *slog.Logger
	until time.Time
}

func newPatience(log *slog.Logger) *patience { return &patience{log, time.Now().Add(startTime)} }

// await does one step of a start, again and again while Redis is not there. What waiting does not mend it returns at
// once.
func (p *patience) await(ctx context.Context, step string, do func() error) error {
	var said time.Time
	for {
		err := do()
		if err == nil || p == nil || ctx.Err() != nil || !redis.Passes(err) {
			if err == nil && !said.IsZero() {
				p.log.Info("Redis is there", "step", step)
			}
			return err
		}
		left := time.Until(p.until)
		if left <= 0 {
			return fmt.Errorf("%s: %w; the start has waited for Redis for %v: see that it runs, that this machine reaches it, "+
				"and that it is not too busy to answer within %v, then start this server again", step, err, startTime,
				redis.Patience)
		}
		if said.IsZero() || time.Since(said) >= sayAgain {
			said = time.Now()
			p.log.Warn("the start waits for Redis", "step", step, "error", err, "left", left.Round(time.Second))
		}
		select {
		case <-time.After(min(askAgain, left)):
		case <-ctx.Done():
			return err
		}
	}
}
