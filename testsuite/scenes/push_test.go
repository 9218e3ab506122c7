package scenes

import (
	"testing"

	"jackdaw/testsuite/harness"
)

func TestPhonesThatAreAwayAreWoken(t *testing.T) {
	t.Parallel()
	for _, place := range harness.Places {
		t.Run(place.String(), func(t *testing.T) {
			t.Parallel()
			listen, config, addr := componentListener()
			s := harness.Start(t, harness.Options{Place: place, Listen: listen, Config: config + "\nmodules: {push: {interval: 1s}}"})
			withComponent(t, s, "push", addr)
		})
	}
}

func TestPhonesThatAreSilentAreWoken(t *testing.T) {
	t.Parallel()
	for _, place := range harness.Places {
		t.Run(place.String(), func(t *testing.T) {
			t.Parallel()
			listen, config, addr := componentListener()
			// A tenth of it is how long an acknowledgement may take (docs/decisions/0010-silent-clients.md).
			s := harness.Start(t, harness.Options{Place: place, Listen: listen, Config: config + "\nmodules: {push: {interval: 1s, content: full}}",
				C2S: "idle_timeout: 100s"}) // ten seconds are more than a client needs that lives
			withComponent(t, s, "silent", addr)
			counts(t, s, "jackdaw_sessions_silent_total", 2)
		})
	}
}
