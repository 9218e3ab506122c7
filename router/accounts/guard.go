package accounts

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// askTime is how long a question may take, and how long it may wait for its turn before.
	askTime = 5 * time.Second
	// askAtOnce is how many questions are on their way at once, askWaiting how many more may wait.
	askAtOnce, askWaiting = 16, 256
	// askFailures is how many questions in a row are not answered before one at a time is asked, after a wait that
	// doubles.
	askFailures           = 3
	awayFirst, awayAtMost = time.Second, 30 * time.Second
)

// A guard bounds what a backend costs that is slow or away: nobody waits for long, few wait, and only one tries again.
type guard struct {
	name  string
	log   *slog.Logger
	slots chan struct{}
	count *Questions

	mu       sync.Mutex // guards the rest
	waiting  int
	failures int           // in a row
	wait     time.Duration // after the next failure
	until    time.Time     // nobody asks before
	trying   bool          // one is on its way to find out
}

func newGuard(name string, log *slog.Logger) *guard {
	return &guard{name: name, log: log, slots: make(chan struct{}, askAtOnce), wait: awayFirst, count: new(Questions)}
}

// Questions count those to who keeps passwords elsewhere, by what came of them, since the start.
type Questions struct {
	Good       atomic.Int64 // whoever was asked for may log in
	Refused    atomic.Int64
	Strange    atomic.Int64 // ErrStrange
	Unanswered atomic.Int64
	Spared     atomic.Int64 // not asked: it is left alone, or too many wait
}

// up says whether the last question was answered.
func (g *guard) up() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.failures == 0
}

// do calls ask in its turn, unless settled, which may be nil, says then that it is done without. The error is that of
// settled, or of ask where it is an answer; ErrAway where there was none, or the backend is left alone for a while; or
// the context's.
func (g *guard) do(ctx context.Context, settled func() (bool, error), ask func(context.Context) error) error {
	tries, err := g.enter()
	if err != nil {
		g.count.Spared.Add(1)
		return err
	}
	if err = g.turn(ctx); err != nil {
		g.leave(tries, false, false, nil)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		g.count.Spared.Add(1)
		return fmt.Errorf("%w (%w)", ErrAway, err)
	}
	if settled != nil {
		if done, err := settled(); done {
			<-g.slots
			g.leave(tries, false, false, nil)
			return err
		}
	}
	limited, cancel := context.WithTimeout(ctx, askTime)
	err = ask(limited)
	cancel()
	<-g.slots
	answered := err == nil || isAnswer(err)
	g.leave(tries, answered, !answered && ctx.Err() == nil, err)
	switch {
	case err == nil:
		g.count.Good.Add(1)
	case errors.Is(err, ErrStrange):
		g.count.Strange.Add(1)
	case answered:
		g.count.Refused.Add(1)
	case ctx.Err() == nil:
		g.count.Unanswered.Add(1)
	}
	switch {
	case answered && !errors.Is(err, ErrStrange):
		return err
	case ctx.Err() != nil:
		return ctx.Err()
	}
	if errors.Is(err, ErrStrange) {
		g.log.Warn("a question about an account has a strange answer", "by", g.name, "error", err)
	}
	return fmt.Errorf("%w (%w)", ErrAway, err)
}

// isAnswer says whether an error is what a backend has said.
func isAnswer(err error) bool {
	for _, one := range [...]error{ErrNotAuthorized, ErrElsewhere, ErrPassword, ErrNotFound, ErrStrange} {
		if errors.Is(err, one) {
			return true
		}
	}
	return false
}

var (
	errLeftAlone = errors.New("it has not answered, and is left alone for a while")
	errBusy      = errors.New("too many are waiting for it")
	errTurn      = errors.New("others have waited for it too long")
)

// enter says whether one may ask; tries says that others wait for what comes of it.
func (g *guard) enter() (tries bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	away := g.failures >= askFailures
	switch {
	case away && (g.trying || time.Now().Before(g.until)):
		return false, fmt.Errorf("%w (%w)", ErrAway, errLeftAlone)
	case g.waiting >= askWaiting+askAtOnce:
		return false, fmt.Errorf("%w (%w)", ErrAway, errBusy)
	}
	g.waiting++
	g.trying = g.trying || away
	return away, nil
}

// turn waits for it.
func (g *guard) turn(ctx context.Context) error {
	timer := time.NewTimer(askTime)
	defer timer.Stop()
	select {
	case g.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return errTurn
	}
}

// leave notes what has come of a question: an answer, a failure, or neither.
func (g *guard) leave(tried, answered, failed bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting--
	if tried {
		g.trying = false
	}
	switch {
	case answered:
		if g.failures > 0 {
			g.log.Info("accounts can be asked for again", "by", g.name)
		}
		g.failures, g.wait, g.until = 0, awayFirst, time.Time{}
	case !failed:
	case g.failures >= askFailures && !tried: // it was on its way when that was known
	default:
		g.failures++
		if g.failures == 1 {
			g.log.Error("nobody logs in whose password is kept elsewhere", "by", g.name, "error", err,
				"do", "see to it that it answers, and that accounts in the configuration says how to ask it")
		}
		if g.failures >= askFailures {
			g.until = time.Now().Add(g.wait)
			g.wait = min(2*g.wait, awayAtMost)
		}
	}
}
