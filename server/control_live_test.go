package server

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestAServerIsStoppedSoonAndTheLastTimeCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ended atomic.Int32
		h := &house{end: func() { ended.Add(1) }}
		h.stopSoon(time.Minute)
		h.stopSoon(2 * time.Minute)
		time.Sleep(2*time.Minute - time.Second)
		synctest.Wait()
		if ended.Load() != 0 {
			t.Error("it ended too early")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if n := ended.Load(); n != 1 {
			t.Errorf("it was ended %d times", n)
		}
	})
}
