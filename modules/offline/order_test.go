package offline

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// to is a message of some size to an address of juliet.
func to(resource, body string, size int) string {
	return fmt.Sprintf(`<message to='juliet@example.org%s' type='chat'><body>%s</body><x xmlns='x'>%s</x></message>`,
		resource, body, strings.Repeat("x", size))
}

// takeAll has sessions take what they are brought until nothing is left to bring.
func takeAll(sessions ...*moduletest.Client) {
	for range 5 {
		<-time.After(2 * patience)
		synctest.Wait()
		for _, s := range sessions {
			s.Take()
		}
	}
}

func wantBodies(t *testing.T, s *moduletest.Client, want string) {
	t.Helper()
	if got := bodies(s.Deliveries()); got != want {
		t.Errorf("%s got %q, not %q", s.Addr(), got, want)
	}
}

func wantOutcome(t *testing.T, e *router.Envelope, want router.Outcome) {
	t.Helper()
	if e.Outcome != want {
		t.Errorf("a message fared as %v, not %v", e.Outcome, want)
	}
}

const big = 300 << 10 // more than a session is brought at once

func TestMessagesToAFullSessionComeInOrderBeforeItsPresence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newScene(t, Options{})
		j := c.juliet("a")
		wantOutcome(t, c.romeo.Send(to("/a", "1", big)), router.Delivered)
		j.Out.Fill(true)
		wantOutcome(t, c.romeo.Send(to("", "account", 0)), router.Stored)
		wantOutcome(t, c.romeo.Send(to("/a", "2", big)), router.Stored)
		synctest.Wait()
		j.Out.Fill(false)
		wantOutcome(t, c.romeo.Send(to("/a", "3", 0)), router.Stored) // behind what is stored
		takeAll(j)
		wantOutcome(t, c.romeo.Send(to("/a", "4", 0)), router.Delivered)
		j.Take()
		wantBodies(t, j, "1 2 3 4")
		c.wantStored(1) // what is for the account waits for its presence
		j.Available(0)
		takeAll(j)
		wantBodies(t, j, "account")
		c.wantStored(0)
		if !c.idle() {
			t.Error("the session still catches up")
		}
	})
}

func TestMessagesForTheAccountComeInOrderToASessionThatIsFullWhenItBecomesAvailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newScene(t, Options{})
		for i := range 3 {
			c.romeo.Send(to("", fmt.Sprint(i+1), 0))
		}
		j := c.juliet("a")
		c.romeo.Send(to("/a", "a", big))
		j.Out.Fill(true)
		wantOutcome(t, c.romeo.Send(to("/a", "b", big)), router.Stored)
		wantOutcome(t, c.romeo.Send(to("", "4", 0)), router.Stored)
		synctest.Wait()
		j.Available(0)
		laptop := c.juliet("laptop")
		laptop.Available(-1)
		wantOutcome(t, c.romeo.Send(to("/laptop", "at once", 0)), router.Delivered) // only the full session is held
		wantOutcome(t, c.romeo.Send(to("", "5", 0)), router.Stored)
		j.Out.Fill(false)
		takeAll(j)
		wantBodies(t, j, "a 1 2 3 b 4 5")
		laptop.Take()
		c.wantStored(0)
	})
}

// lasting is an outlet that takes its time to end.
type lasting struct{ *moduletest.Outlet }

func (lasting) End(_, _ string) {}

// The account is held from the moment in which another session takes the address until the one before has given back
// what it had not taken. All that is behind that is for the new one, which has sent no presence as yet.
func TestMessagesToAnAddressThatIsTakenOverComeInOrderBeforeItsPresence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newScene(t, Options{})
		before, err := c.r.Bind(jid.MustParse("juliet@example.org/a"), lasting{moduletest.NewOutlet()})
		if err != nil {
			t.Fatal(err)
		}
		c.r.SetPresence(before, &xmpp.Stanza{Kind: xmpp.Presence}, 0)
		c.romeo.Send(to("/a", "1", 0))
		j := c.juliet("a")
		wantOutcome(t, c.romeo.Send(to("/a", "2", 0)), router.Stored)
		records, _, err := c.log.Page(t.Context(), julietJID.String(), storage.Query{})
		if err != nil || len(records) != 2 {
			t.Fatalf("%d messages are stored, %v", len(records), err)
		}
		c.r.Unbind(before, func() []router.Undelivered {
			x := moduletest.Parse(t, to("/a", "1", 0))
			x.From = c.romeo.Addr()
			return []router.Undelivered{{Stanza: *x, Kept: records[0].ID}}
		})
		synctest.Wait()
		c.romeo.Send(to("/a", "3", 0))
		takeAll(j)
		wantBodies(t, j, "1 2 3")
		wantOutcome(t, c.romeo.Send(to("/a", "4", 0)), router.Delivered)
		j.Take()
		c.wantStored(0)
	})
}

func TestMessagesToASessionThatBecomesUnavailableWhileItCatchesUpComeInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newScene(t, Options{})
		c.romeo.Send(to("", "1", big))
		c.romeo.Send(to("", "2", 0))
		j := c.juliet("a")
		j.Available(0)
		synctest.Wait() // 1 is with it, and it takes no more
		wantOutcome(t, c.romeo.Send(to("/a", "3", 0)), router.Stored)
		c.r.SetPresence(j.Session, nil, 0)
		takeAll(j)
		wantOutcome(t, c.romeo.Send(to("/a", "4", 0)), router.Delivered)
		j.Take()
		wantBodies(t, j, "1 3 4")
		c.wantStored(1) // 2 waits for its presence
		j.Available(0)
		takeAll(j)
		wantBodies(t, j, "2")
		c.wantStored(0)
	})
}

func TestAMessageThatCameWhileTheAccountWasHeldIsForTheSessionThatItNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newScene(t, Options{})
		c.romeo.Send(to("", "1", big))
		<-time.After(time.Second)
		phone, laptop, tablet := c.juliet("phone"), c.juliet("laptop"), c.juliet("tablet")
		phone.Available(0)
		synctest.Wait()
		laptop.Available(0)
		tablet.Available(5)
		wantOutcome(t, c.romeo.Send(to("/laptop", "2", 0)), router.Stored)
		<-time.After(patience / 2)
		phone.Logout() // and others catch up in its place
		synctest.Wait()
		tablet.Take()
		synctest.Wait()
		wantOutcome(t, c.romeo.Send(to("/laptop", "3", 0)), router.Delivered)
		wantBodies(t, laptop, "2 3")
		wantBodies(t, tablet, "1")
	})
}
