package main

import (
	"testing"

	"jackdaw/testsuite/harness"
	"jackdaw/testsuite/load/stage"
)

func TestThePostIsMeasuredOnEachEngine(t *testing.T) {
	status := stage.Run("multicast", func(s *stage.Stage) int {
		defer harness.Cleanup()
		for _, engine := range harness.Engines {
			outcomes := measure(s, plan{recipients: 300, online: 5, reps: 2, archive: true, engine: engine})
			if len(outcomes) != 2 || outcomes[0].Answer <= 0 || outcomes[1].Answer <= 0 || outcomes[0].Commits < 1 {
				t.Errorf("%s: %+v", engine, outcomes)
			}
		}
		return 0
	})
	if status != 0 {
		t.Errorf("status %d", status)
	}
}
