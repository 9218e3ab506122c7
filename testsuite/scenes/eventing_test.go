package scenes

import (
	"testing"

	"jackdaw/testsuite/harness"
)

// TestAccountsAreServicesOfEvents plays eventing, theme by theme; the first crashes the server that all share.
func TestAccountsAreServicesOfEvents(t *testing.T) {
	t.Parallel()
	for _, engine := range harness.Engines {
		t.Run(string(engine), func(t *testing.T) {
			t.Parallel()
			s := harness.Start(t, harness.Options{Engine: engine, Config: "limits: {pep_nodes: 20}\n"})
			for _, script := range []string{"eventing", "eventing_errors", "eventing_nodes", "eventing_access", "eventing_twins"} {
				play(t, s, script)
			}
		})
	}
}
