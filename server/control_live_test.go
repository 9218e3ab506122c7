package server

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestAServerIsStoppedSoonAndTheLastTimeCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := 0
		h := &house{end: func() { ended++ }}
		h.stopSoon(time.Minute)
		h.stopSoon(2 * time.Minute)
		time.Sleep(2*time.Minute - time.Second)
		synctest.Wait()
		if ended != 0 {
			t.Error("it ended too early")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if ended != 1 {
			t.Errorf("it was ended %d times", ended)
		}
	})
}
