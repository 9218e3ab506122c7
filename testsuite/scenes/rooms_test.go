package scenes

import (
	"testing"

	"jackdaw/testsuite/harness"
)

func TestRooms(t *testing.T) {
	onEach(t, "rooms", harness.Options{Config: "limits: {rooms_per_user: 3}\n", C2S: "resume_window: 1m"})
}
