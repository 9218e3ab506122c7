package scenes

import (
	"testing"

	"jackdaw/testsuite/harness"
)

func TestPhonesThatAreAwayAreWoken(t *testing.T) {
	t.Parallel()
	for _, engine := range harness.Engines {
		t.Run(string(engine), func(t *testing.T) {
			t.Parallel()
			listen, config, addr := componentListener()
			s := harness.Start(t, harness.Options{Engine: engine, Listen: listen, Config: config + "\nmodules: {push: {interval: 1s}}"})
			withComponent(t, s, "push", addr)
		})
	}
}
