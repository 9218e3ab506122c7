package faults

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"jackdaw/testsuite/harness"
	"jackdaw/testsuite/ledger"
)

// Somebody sets the clock of the machine, an hour ahead and an hour back. No message is lost, none changes its place,
// no session ends, and whoever is cut resumes.
func TestAClockThatJumpsAnHourHarmsNobody(t *testing.T) {
	size := ledger.Size{HTTP: 2, XMPP: 2, Away: 2, Managed: 2, Resuming: 4, Unmanaged: 1}
	suffer(t, harness.Options{Users: []string{"watchmaker"}}, size, 1, func(b *ledger.Book, round int) {
		c, err := harness.Connect(b.C2STLS, "watchmaker", "desk")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		clock := harness.TakeClock(t, b.Server)
		cuts := 0
		for i := range either(1, 50) {
			for _, offset := range []time.Duration{time.Hour, 0, -time.Hour, time.Hour, 0} {
				before := b.Resumed()
				n := b.Cut()
				cuts += n
				clock.Set(offset)
				b.AwaitResumed(before + n)
				b.Fresh(50)
				if off := time.Until(told(t, c, i)) - offset; off.Abs() > 10*time.Minute {
					t.Errorf("at %v the server's clock is %v off", offset, off)
				}
			}
		}
		if lost := b.Lost(); lost != cuts {
			t.Errorf("%d connections were cut and %d have ended", cuts, lost)
		}
	})
}

// told is the time that the server tells (XEP-0202).
func told(t *testing.T, c *harness.Client, i int) time.Time {
	t.Helper()
	id := fmt.Sprintf("time-%d-%d", i, time.Now().UnixNano())
	el, err := c.Ask(id, "<iq type='get' id='"+id+"' to='localhost'><time xmlns='urn:xmpp:time'/></iq>")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(el, "<utc>")
	text, _, _ := strings.Cut(after, "</utc>")
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatalf("%s: %v", el, err)
	}
	return at
}
