package space

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestRoomBecomesScarceStepByStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var free atomic.Int64
		var broken atomic.Bool
		var lines bytes.Buffer
		free.Store(5000)
		w := New(Options{Dir: "data", Bounds: func() Bounds { return Bounds{Warn: 1000, Reserve: 400} },
			Log: slog.New(slog.NewTextHandler(&lines, nil)),
			Free: func(string) (int64, int64, error) {
				if broken.Load() {
					return 0, 0, errors.New("no such disk")
				}
				return free.Load(), math.MaxInt64, nil
			}})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go w.Run(ctx)
		for _, step := range []struct {
			free int64
			want Level
			log  string // the level of a new line
		}{
			{1000, Plenty, ""}, {999, Scarce, "WARN"}, {990, Scarce, ""}, {1010, Scarce, ""}, {1020, Plenty, "INFO"},
			{399, Low, "ERROR"}, {410, Low, ""}, {99, Out, "ERROR"}, {0, Out, ""}, {110, Out, ""}, {120, Low, "INFO"}, {2000,
				Plenty, "INFO"},
		} {
			lines.Reset()
			free.Store(step.free)
			time.Sleep(every + time.Second)
			synctest.Wait()
			if w.Level() != step.want || w.Low() != (step.want >= Low) || w.Out() != (step.want == Out) ||
				w.Free() != step.free {
				t.Errorf("%d free: level %d, %d known", step.free, w.Level(), w.Free())
			}
			if got := lines.String(); step.log == "" && got != "" || step.log != "" && strings.Count(got,
				"level="+step.log) != 1 {
				t.Errorf("%d free: %s", step.free, got)
			}
		}
		lines.Reset()
		broken.Store(true)
		time.Sleep(5 * every)
		synctest.Wait()
		if w.Level() != Plenty || strings.Count(lines.String(), "level=WARN") != 1 {
			t.Errorf("what is not known stops at level %d: %s", w.Level(), lines.String())
		}
	})
}

func TestASmallDiskHasASmallReserve(t *testing.T) {
	b := Bounds{Warn: 1 << 30, Reserve: 256 << 20}.Of(1 << 30)
	if b != (Bounds{Warn: 1 << 30 / 20, Reserve: 1 << 30 / 20}) {
		t.Errorf("%+v", b)
	}
	var none *Watch
	if none.Low() || none.Out() {
		t.Error("who does not watch has no room")
	}
}

func TestTheSystemKnowsHowMuchIsFree(t *testing.T) {
	free, all, err := Free(t.TempDir())
	if err != nil || free <= 0 || all < 0 {
		t.Errorf("%d of %d, %v", free, all, err)
	}
}
