package offline

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/router"
)

func TestStoredMessagesComeNoFasterThanTheyAreTaken(t *testing.T) {
	c := newScene(t, Options{})
	const n = 36
	for i := range n {
		c.romeo.Send(fmt.Sprintf(`<message to='juliet@example.org' type='chat'><body>%d</body><x xmlns='urn:x'>%s</x></message>`,
			i, strings.Repeat("x", 240<<10)))
	}
	c.wantStored(n)
	j := c.juliet("a")
	j.Available(0)
	var got []router.Delivery
	for len(got) < n {
		j.Wait(1)
		one := j.Take()
		if len(one) > 4 { // what waits already, what is sent then, and the last of it
			t.Fatalf("%d large messages at once", len(one))
		}
		got = append(got, one...)
	}
	var want []string
	for i := range n {
		want = append(want, strconv.Itoa(i))
	}
	if b := bodies(got); b != strings.Join(want, " ") {
		t.Errorf("got %s", b)
	}
	waitFor(t, c.idle)
	c.wantStored(0)
}

// large is a message that is more than a session is brought at once.
func large(body string) string {
	return `<message to='juliet@example.org' type='chat'><body>` + body + `</body><x xmlns='x'>` + strings.Repeat("x", 300<<10) + `</x></message>`
}

func TestMessagesForAFullSessionAreStoredAndComeInOrderOnceItTakesMore(t *testing.T) {
	c := newScene(t, Options{})
	j := c.juliet("a")
	j.Available(0)
	send := func(xml string, want router.Outcome) {
		t.Helper()
		if e := c.romeo.Send(xml); e.Outcome != want {
			t.Errorf("%.70s: %v, not %v", xml, e.Outcome, want)
		}
	}
	send(large("1"), router.Delivered)
	j.Out.Fill(true)
	send(message(`<y xmlns='y'/>`), router.Stored)
	send(large("3"), router.Stored)
	j.Out.Fill(false)
	send(large("4"), router.Stored) // behind what is stored
	if got := bodies(j.Take()); got != "1" {
		t.Errorf("got %q before it took anything", got)
	}
	waitFor(t, func() bool { j.Take(); return c.idle() })
	if got := strings.Join(strings.Fields(bodies(j.Deliveries())), " "); got != "1 3 4" {
		t.Errorf("got %q", got)
	}
	send(hi, router.Delivered)
	j.Take()
	c.wantStored(0)
}

func TestOthersGetMessagesAtOnceWhileASessionThatCatchesUpTakesNothing(t *testing.T) {
	for _, detached := range []bool{true, false} {
		t.Run(fmt.Sprintf("detached=%t", detached), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newScene(t, Options{})
				for _, body := range []string{"1", "2", "3"} {
					c.romeo.Send(large(body))
				}
				phone, laptop := c.juliet("phone"), c.juliet("laptop")
				phone.Available(0)
				synctest.Wait()
				if detached {
					phone.Out.Detach()
				}
				laptop.Available(0)
				if e := c.romeo.Send(large("4")); e.Outcome != router.Stored {
					t.Errorf("the account was not held: %v", e.Outcome)
				}
				for range 5 {
					time.Sleep(patience)
					synctest.Wait()
					laptop.Take()
				}
				if got := bodies(laptop.Deliveries()); got != "2 3 4" {
					t.Errorf("the laptop got %q", got)
				}
				for range 3 {
					if e := c.romeo.Send(hi); e.Outcome != router.Delivered {
						t.Errorf("new messages wait for the phone: %v", e.Outcome)
					}
				}
				if got := bodies(laptop.Deliveries()); got != "hi hi hi" {
					t.Errorf("the laptop got %q", got)
				}
				laptop.Take()
				// The laptop leaves: what comes now waits for the phone.
				laptop.Logout()
				if e := c.romeo.Send(hi); e.Outcome != router.Stored {
					t.Errorf("a message overtakes: %v", e.Outcome)
				}
				phone.Take()
				synctest.Wait()
				phone.Take()
				synctest.Wait()
				if got := bodies(phone.Deliveries()); got != "1 hi" {
					t.Errorf("the phone got %q", got)
				}
				if !c.idle() {
					t.Error("the phone still catches up")
				}
				c.wantStored(0)
			})
		})
	}
}

// What has no copy yet is stored first, so that nothing overtakes it.
func TestFullSessionThatEndsLeavesItsMessagesInOrder(t *testing.T) {
	c := newScene(t, Options{})
	j := c.juliet("a")
	j.Available(0)
	c.romeo.Send(message("1"))
	c.romeo.SendDurable(message("2")) // with a copy
	c.romeo.Send(message("3"))
	c.wantStored(1)
	j.Out.Fill(true)
	for _, body := range []string{"4", "5"} {
		if e := c.romeo.Send(message(body)); e.Outcome != router.Stored {
			t.Errorf("%s: %v", body, e.Outcome)
		}
	}
	c.wantStored(5)
	j.Logout()
	k := c.juliet("b")
	k.Available(0)
	k.Wait(5)
	if got := bodies(k.Take()); got != "1 2 3 4 5" {
		t.Errorf("got %q", got)
	}
	waitFor(t, c.idle)
	c.wantStored(0)
}

func TestFullSessionThatTakesWhatItWasGivenLeavesNoCopies(t *testing.T) {
	c := newScene(t, Options{})
	j := c.juliet("a")
	j.Available(0)
	c.romeo.Send(message("1"))
	j.Out.Fill(true)
	c.romeo.Send(message("2"))
	c.wantStored(2)
	j.Out.Fill(false)
	waitFor(t, func() bool { j.Take(); return c.idle() })
	j.Take()
	c.wantStored(0)
}
