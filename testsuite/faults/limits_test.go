package faults

import (
	"fmt"
	"net"
	"testing"
	"time"

	"jackdaw/testsuite/harness"
	"jackdaw/testsuite/ledger"
)

// Connections beyond the descriptors are refused; who is in works on, and what is acknowledged is on the disk.
func TestFewDescriptorsStopNobodyWhoIsIn(t *testing.T) {
	suffer(t, harness.Options{Ulimit: []string{"-n 256"}}, family, either(2, 20), func(b *ledger.Book, round int) {
		var crowd []net.Conn
		for i := range 400 {
			c, err := net.Dial("tcp", []string{b.C2S, b.C2STLS, b.HTTP}[i%3])
			if err != nil {
				break // refused by the kernel, whose queue is full
			}
			crowd = append(crowd, c)
		}
		b.Fresh(200)
		if lost := b.Lost(); lost > 0 {
			t.Errorf("%d who were in have lost their connection", lost)
		}
		for _, c := range crowd {
			c.Close()
		}
		end := time.Now().Add(harness.Timeout)
		for { // as soon as the server has seen that they are gone
			c, err := harness.Connect(b.C2STLS, "r0", "later")
			if err == nil {
				c.Close()
				return
			}
			if time.Now().After(end) {
				t.Fatalf("nobody gets in afterwards: %v", err)
			}
		}
	})
}

const (
	// mostMemory is what the process may have, and GOMEMLIMIT a part of it, in MiB.
	mostMemory = 512
	patience   = 5 * time.Second // of an innocent client on a slow and busy machine
)

// Senders who offer far more than the server can take are slowed down; nobody pays for them but themselves.
func TestThreeTimesTheCapacityIsBoundedAndLosesNothing(t *testing.T) {
	size := ledger.Size{HTTP: 8, XMPP: 6, Away: 4, Managed: 8, Unmanaged: 2, Ahead: 2000}
	o := harness.Options{Env: []string{"GOMEMLIMIT=128MiB"}, Ulimit: []string{fmt.Sprintf("-d %d", mostMemory<<10)},
		Users: []string{"innocent"}}
	suffer(t, o, size, 1, func(b *ledger.Book, round int) {
		innocent, err := harness.Connect(b.C2STLS, "innocent", "desk")
		if err != nil {
			t.Fatal(err)
		}
		defer innocent.Close()
		w := harness.Watch(innocent)
		before := b.Memory("RssAnon") // the pages of the store's files are the kernel's to take back
		if soak() {
			<-time.After(10 * time.Minute)
		}
		b.Fresh(400)
		after := b.Memory("RssAnon")
		longest, err := w.End()
		if err != nil {
			t.Errorf("the innocent client: %v", err)
		}
		t.Logf("memory from %d MiB to %d, the innocent waits for %v at most", before, after, longest)
		if longest > patience {
			t.Errorf("the innocent client has waited for %v", longest)
		}
		if after > 256 {
			t.Errorf("%d MiB of memory", after)
		}
		if !b.Alive() {
			t.Fatal("the process has ended")
		}
	})
}

// A Redis that dies and comes back under load has lost nothing that was acknowledged.
func TestARedisThatRestartsUnderLoadLosesNothing(t *testing.T) {
	o := harness.Options{Place: harness.Place{Engine: harness.Redis}, Users: []string{"innocent"}}
	suffer(t, o, family, either(2, 20), func(b *ledger.Book, round int) {
		b.Redis.Kill()
		b.Redis.Restart()
		// What comes back at once counts as progress, too.
		awaitLogin(t, b, "innocent")
		b.Fresh(100)
	})
}

// awaitLogin waits until an account can log in.
func awaitLogin(t *testing.T, b *ledger.Book, user string) {
	t.Helper()
	for end := time.After(harness.Timeout); ; {
		c, err := harness.Connect(b.C2STLS, user, "desk")
		if err == nil {
			c.Close()
			return
		}
		select {
		case <-end:
			t.Fatalf("nobody gets in: %v", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
