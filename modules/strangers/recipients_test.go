package strangers

import (
	"fmt"
	"hash/maphash"
	"sync"
	"testing"
	"time"

	"jackdaw/xmpp/jid"
)

func newRecipients() *recipients {
	return &recipients{accounts: map[jid.JID]*sender{}, seed: maphash.MakeSeed()}
}

// A recipient counts for a minute from the first message on, also one whom the account writes to all the time, and an
// account that is forgotten begins anew.
func TestWhoIsWrittenToAllTheTimeCountsForAMinute(t *testing.T) {
	r, now := newRecipients(), time.Now()
	user := jid.MustParse("romeo@example.org")
	to := func(i int) jid.JID { return jid.MustParse(fmt.Sprintf("u%d@example.org", i)) }
	begun := now
	for ; now.Sub(begun) < minute; now = now.Add(time.Second) {
		if r.full(user, to(0), 2, now) || r.full(user, to(1), 2, now) {
			t.Fatal("refused the recipients that there are")
		}
		if !r.full(user, to(2), 2, now) {
			t.Fatal("a third one passed")
		}
	}
	if r.full(user, to(2), 2, now) || r.full(user, to(0), 2, now) || !r.full(user, to(1), 2, now) {
		t.Error("after a minute not the first two pass")
	}
	r.forget(user)
	if r.full(user, to(1), 2, now) || r.full(user, to(3), 2, now) || !r.full(user, to(0), 2, now) {
		t.Error("an account that was forgotten is remembered")
	}
}

func TestManyWriteAtTheSameTime(t *testing.T) {
	r, now := newRecipients(), time.Now()
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			user := jid.MustParse(fmt.Sprintf("s%d@example.org", i/2)) // two sessions each
			for k := range 2 * nearby {
				to := jid.MustParse(fmt.Sprintf("u%d@example.org", k%nearby))
				if r.full(user, to, nearby, now) {
					t.Errorf("%s may not write to %s", user, to)
				}
			}
			if !r.full(user, jid.MustParse("another@example.org"), nearby, now) {
				t.Errorf("%s may write to one too many", user)
			}
		})
	}
	all.Wait()
}

func BenchmarkFull(b *testing.B) {
	r, now := newRecipients(), time.Now()
	user, to := jid.MustParse("romeo@example.org"), jid.MustParse("juliet@example.org")
	b.ReportAllocs()
	for b.Loop() {
		if r.full(user, to, 60, now) {
			b.Fatal("refused")
		}
	}
}
