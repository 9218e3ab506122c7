package tokens

import (
	"testing"
	"time"
)

func TestRatesAreReadAndWritten(t *testing.T) {
	for s, want := range map[string]time.Duration{"1/s": time.Second, "20/s": 50 * time.Millisecond, "10/m": 6 * time.Second,
		"7/h": time.Hour / 7, "1/h": time.Hour, "90/m": time.Minute / 90, "3/s": time.Second / 3} {
		d, err := ParsePace(s)
		if err != nil || d != want || (Rate{Every: d}).Pace() != s {
			t.Errorf("%s: %v, %v, written as %s", s, d, err, Rate{Every: d}.Pace())
		}
	}
	if got := (Rate{Every: 24 * time.Hour}).Pace(); got != "1/24h0m0s" {
		t.Errorf("a day: %s", got)
	}
	for _, bad := range []string{"", "1", "/s", "0/s", "-1/s", "1/d", "1/ss", "x/s", "4294967295/s", "1 /s"} {
		if d, err := ParsePace(bad); err == nil {
			t.Errorf("%q: %v", bad, d)
		}
	}
}
