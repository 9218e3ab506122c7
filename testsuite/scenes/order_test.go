package scenes

import (
	"fmt"
	"strings"
	"testing"

	"jackdaw/testsuite/harness"
)

// A program that sends no presence is written to by its full address, and is slow to acknowledge for a while: what it
// does not get at once comes when it acknowledges, ahead of what is sent later.
func TestASlowProgramWithoutPresenceGetsItsMessagesInOrder(t *testing.T) {
	t.Parallel()
	const early, all = 40, 60
	filler := strings.Repeat("x", 16<<10)
	for _, place := range harness.Places {
		t.Run(place.String(), func(t *testing.T) {
			t.Parallel()
			s := harness.Start(t, harness.Options{Place: place, Users: []string{"romeo", "juliet"},
				Config: "limits: {unacked_bytes: 262144}"})
			connect := func(user, resource string) *harness.Client {
				c, err := harness.Connect(s.C2STLS, user, resource)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(c.Close)
				return c
			}
			romeo, juliet := connect("romeo", "balcony"), connect("juliet", "program")
			if _, err := juliet.Enable(); err != nil {
				t.Fatal(err)
			}
			send := func(from, to int) {
				for i := from; i <= to; i++ {
					if err := romeo.Send(fmt.Sprintf("<message to='%s' type='chat'><body>%d</body><x xmlns='x'>%s</x></message>",
						juliet.JID, i, filler)); err != nil {
						t.Fatal(err)
					}
				}
				id := fmt.Sprint("routed", to)
				if _, err := romeo.Ask(id, "<iq type='get' id='"+id+"' to='"+harness.Domain+"'><ping xmlns='urn:xmpp:ping'/></iq>"); err != nil {
					t.Fatal(err)
				}
			}
			send(1, early)
			for got := 0; got < all; {
				el, err := juliet.Next()
				switch {
				case err != nil:
					t.Fatalf("after %d messages: %v", got, err)
				case strings.HasPrefix(el, "<r"):
					err = juliet.Send(fmt.Sprintf("<a xmlns='urn:xmpp:sm:3' h='%d'/>", got))
				case strings.HasPrefix(el, "<message"):
					if got++; !strings.Contains(el, fmt.Sprintf("<body>%d</body>", got)) {
						t.Fatalf("instead of message %d: %.300s", got, el)
					}
					if got == early/4 {
						send(early+1, all)
					}
				}
				if err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}
