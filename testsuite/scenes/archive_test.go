package scenes

import (
	"testing"

	"jackdaw/testsuite/harness"
)

func TestClientsFindWhatWasSaid(t *testing.T) {
	onEach(t, "archive", harness.Options{C2S: "resume_window: 2s", HTTP: "permissions: {forge_sender: [\"*\"]}"})
}
