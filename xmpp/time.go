package xmpp

import (
	"fmt"
	"time"
)

// Formats of XEP-0082, always in UTC.
const (
	dateTime = "2006-01-02T15:04:05.000Z"
	dateOnly = "2006-01-02"
)

// FormatTime writes a moment as the DateTime profile with milliseconds (XEP-0082 §3.2).
func FormatTime(t time.Time) string { return t.UTC().Format(dateTime) }

// AppendTime appends what FormatTime returns.
func AppendTime(dst []byte, t time.Time) []byte { return t.UTC().AppendFormat(dst, dateTime) }

// FormatDate writes a day as the Date profile (XEP-0082 §3.1).
func FormatDate(t time.Time) string { return t.UTC().Format(dateOnly) }

// ParseTime reads the DateTime profile: any number of decimals, Z or an offset of hours and minutes (XEP-0082 §3.2).
// The result is in UTC.
func ParseTime(s string) (time.Time, error) {
	// RFC 3339 is the same notation; time.Parse would let a comma pass before the decimals.
	for i := range len(s) {
		if s[i] == ',' {
			return time.Time{}, fmt.Errorf("read time %q: comma before the decimals", s)
		}
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return time.Time{}, fmt.Errorf("read time %q: %w", s, err)
	}
	return t.UTC(), nil
}

// FormatZone writes the offset of t's location from UTC as XEP-0202 wants it, such as "-06:00"; "Z" is written
// "+00:00".
func FormatZone(t time.Time) string { return t.Format("-07:00") }
