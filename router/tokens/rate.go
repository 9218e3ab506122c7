package tokens

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// A Rate is how fast a token may be used.
type Rate struct {
	Every time.Duration `json:"every"` // one use in the long run
	Burst int           `json:"burst"` // uses at once
}

// DefaultRate is that of a token of which nothing else was said.
var DefaultRate = Rate{Every: time.Second, Burst: 60}

const (
	// maxBurst and maxEvery bound a Rate.
	maxBurst = 1 << 20
	maxEvery = 24 * time.Hour
)

// units are those in which people say a Rate.
var units = [...]struct {
	name string
	of   time.Duration
}{{"s", time.Second}, {"m", time.Minute}, {"h", time.Hour}}

// ParsePace reads how many uses there may be in a second, a minute or an hour, such as 1/s, 10/m, 5/h, and returns the
// time of one.
func ParsePace(s string) (time.Duration, error) {
	count, unit, _ := strings.Cut(s, "/")
	n, err := strconv.ParseUint(count, 10, 32)
	for _, u := range units {
		if u.name == unit && err == nil && n > 0 && u.of/time.Duration(n) > 0 {
			return u.of / time.Duration(n), nil
		}
	}
	return 0, fmt.Errorf("%q is no rate: expected how many in a second, a minute or an hour, such as 1/s, 10/m, 5/h", s)
}

// Pace is the Rate without its burst, as ParsePace reads it if that can say it.
func (r Rate) Pace() string {
	for _, u := range units {
		if n := u.of / max(r.Every, 1); n > 0 && u.of/n == r.Every {
			return strconv.FormatInt(int64(n), 10) + "/" + u.name
		}
	}
	return "1/" + r.Every.String()
}

// checked is the Rate with defaults for what is 0.
func (r Rate) checked() (Rate, error) {
	if r.Every == 0 {
		r.Every = DefaultRate.Every
	}
	if r.Burst == 0 {
		r.Burst = DefaultRate.Burst
	}
	if r.Every < 0 || r.Every > maxEvery || r.Burst < 0 || r.Burst > maxBurst {
		return r, fmt.Errorf("one use in %v and %d at once is no rate: at least one in a day, and 1 to %d at once",
			r.Every, r.Burst, maxBurst)
	}
	return r, nil
}
