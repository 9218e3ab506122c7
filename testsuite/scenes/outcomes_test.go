package scenes

import (
	"testing"

	"jackdaw/testsuite/harness"
)

func TestWhatBecomesOfPostsIsTold(t *testing.T) {
	needs(t, "/usr/bin/curl", "curl")
	onEach(t, "outcomes", harness.Options{})
}
