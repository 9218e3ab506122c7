package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/storage"
)

func TestAStartWaitsForRedisForAWhile(t *testing.T) {
	away := fmt.Errorf("%w: redis: %w", storage.ErrUnavailable, context.DeadlineExceeded)
	for name, test := range map[string]struct {
		errs  []error // of one attempt after the other; then the last one again and again
		takes time.Duration
		tries int
		says  []string // of the error
		log   int      // lines
	}{
		"there":         {[]error{nil}, 0, 1, nil, 0},
		"late":          {[]error{away, syscall.ECONNREFUSED, away, nil}, 3 * askAgain, 4, nil, 2},
		"never":         {[]error{away}, startTime, 31, []string{"step", "deadline", "30s", "start this server again"}, 3},
		"wrong":         {[]error{errors.New("WRONGPASS")}, 0, 1, []string{"WRONGPASS"}, 0},
		"wrong in time": {[]error{away, errors.New("NOAUTH")}, askAgain, 2, []string{"NOAUTH"}, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			var log strings.Builder
			p := newPatience(slog.New(slog.NewTextHandler(&log, nil)))
			begun, tries := time.Now(), 0
			err := p.await(t.Context(), "step", func() error {
				tries++
				return test.errs[min(tries, len(test.errs))-1]
			})
			if took := time.Since(begun); took != test.takes || tries != test.tries {
				t.Errorf("%s: %v and %d attempts, want %v and %d", name, took, tries, test.takes, test.tries)
			}
			if (err == nil) != (test.says == nil) || !errors.Is(err, test.errs[len(test.errs)-1]) {
				t.Errorf("%s: %v", name, err)
			}
			for _, want := range test.says {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%s: no %q in %v", name, want, err)
				}
			}
			if n := strings.Count(log.String(), "\n"); n != test.log {
				t.Errorf("%s: %d lines, want %d:\n%s", name, n, test.log, &log)
			}
		})
	}
}

func TestAllStepsOfAStartWaitTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPatience(slog.New(slog.DiscardHandler))
		time.Sleep(startTime)
		tries := 0
		err := p.await(t.Context(), "step", func() error { tries++; return syscall.ECONNREFUSED })
		if tries != 1 || err == nil {
			t.Errorf("%d attempts, %v", tries, err)
		}
		var none *patience
		if err := none.await(t.Context(), "step", func() error { return syscall.ECONNREFUSED }); err != syscall.ECONNREFUSED {
			t.Errorf("without patience: %v", err)
		}
		// Who ends the server does not wait.
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second/2, cancel)
		begun := time.Now()
		if err := newPatience(p.log).await(ctx, "step", func() error { return syscall.ECONNREFUSED }); err == nil {
			t.Error("it has gone well")
		}
		if took := time.Since(begun); took != time.Second/2 {
			t.Errorf("it has taken %v to end", took)
		}
	})
}
