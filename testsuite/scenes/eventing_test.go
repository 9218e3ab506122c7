package scenes

import (
	"testing"

	"jackdaw/testsuite/harness"
)

// TestAccountsAreServicesOfEvents plays eventing, which crashes its server on the way.
func TestAccountsAreServicesOfEvents(t *testing.T) {
	onEach(t, "eventing", harness.Options{})
}
