package announcements

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/router/accounts"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

const host = moduletest.Host

// A house is a host with announcements and three users: romeo and juliet were here before, paris comes anew.
type house struct {
	*router.Router
	*Announcements
	t      *testing.T
	store  *moduletest.Store
	made   map[string]time.Time
	stored []string // bodies for whom no session takes them
	full   bool     // nothing is stored
}

func (h *house) Get(_ context.Context, user jid.JID) (accounts.Account, error) {
	return accounts.Account{User: user, Created: h.made[user.Local()]}, nil
}

func newHouse(t *testing.T) *house {
	h := &house{Router: moduletest.New("romeo", "juliet", "paris"), t: t, store: moduletest.NewStore()}
	h.made = map[string]time.Time{"romeo": time.Now().Add(-time.Hour), "paris": time.Now().Add(24 * time.Hour)}
	h.again()
	return h
}

// again begins anew with what is stored.
func (h *house) again() {
	h.Announcements = New(h.Router, h, h.store.Map("announcements"), moduletest.Discard())
	h.Use(h.Announcements.Module(), router.Module{Name: "offline", Unclaimed: func(e *router.Envelope) {
		if !h.full {
			h.stored = append(h.stored, body(e.Stanza))
			e.Settle(router.Stored)
		}
	}})
}

func body(s *xmpp.Stanza) string {
	return s.Child(xmpp.Name{Space: xmpp.NSClient, Local: "body"}).Text()
}

// come logs in and says so, and returns what is stored by that.
func (h *house) come(who string) (got []string) {
	c := moduletest.Login(h.t, h.Router, who+"/desk")
	defer c.Logout()
	c.Send(`<presence/>`)
	got, h.stored = h.stored, nil
	c.Available(0)
	c.Send(`<presence><show>away</show></presence>`)
	if len(h.stored) > 0 {
		h.t.Errorf("%s gets %q with a later presence", who, h.stored)
	}
	return got
}

func texts(c *moduletest.Client) (all []string) {
	for _, d := range c.Deliveries() {
		if d.Stanza.From.String() == host && d.Stanza.Kind == xmpp.Message {
			all = append(all, body(d.Stanza))
		}
	}
	return all
}

func (h *house) want(what string, got []string, want ...string) {
	h.t.Helper()
	if !slices.Equal(got, want) {
		h.t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

func (h *house) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) announce(text string, keep time.Duration) (reached int) {
	h.t.Helper()
	reached, err := h.Announce(h.t.Context(), host, text, keep)
	h.must(err)
	return reached
}

func (h *house) post(k Kind, text string, edit bool) {
	h.t.Helper()
	_, err := h.Stand(h.t.Context(), host, k, text, edit)
	h.must(err)
}

func TestAnAnnouncementReachesWhoIsHereAndWhoComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		c := moduletest.Login(t, h.Router, "romeo/orchard")
		c.Available(0)
		phone := moduletest.Login(t, h.Router, "romeo/phone") // no presence yet
		moduletest.Login(t, h.Router, "juliet/phone")
		if n := h.announce(" the server moves\r\non Friday\n", time.Hour); n != 1 {
			t.Errorf("reached %d", n)
		}
		h.want("romeo", texts(c), "the server moves\non Friday")
		phone.Send(`<presence/>`)
		h.want("romeo's second client", h.stored)
		h.want("juliet", h.come("juliet"), "the server moves\non Friday")
		h.again()
		h.want("juliet comes back", h.come("juliet"))
		h.want("romeo comes back", h.come("romeo"))
		time.Sleep(48 * time.Hour)
		h.want("who is new", h.come("paris"))
	})
}

func TestWhatIsNotKeptIsForThoseWhoAreHere(t *testing.T) {
	h := newHouse(t)
	moduletest.Login(t, h.Router, "romeo/a").Available(0)
	moduletest.Login(t, h.Router, "romeo/b").Available(0)
	moduletest.Login(t, h.Router, "juliet/a")
	if n := h.announce("now", 0); n != 2 {
		t.Errorf("reached %d", n)
	}
	h.want("juliet, without presence", h.stored, "now")
	h.stored = nil
	h.want("later", h.come("juliet"))
}

func TestAnAnnouncementIsKeptForItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.announce("one", time.Hour)
		h.announce("two", 1000*time.Hour*24)
		list, err := h.Kept(host)
		h.must(err)
		if len(list) != 2 || list[0].Text != "one" || list[1].Until.Sub(list[1].Made).Round(time.Second) != MaxKeep {
			t.Errorf("kept: %+v", list)
		}
		time.Sleep(2 * time.Hour)
		h.want("after an hour", h.come("romeo"), "two")
		list, err = h.Kept(host)
		h.must(err)
		if len(list) != 1 {
			t.Errorf("kept: %+v", list)
		}
		if err := h.Withdraw(t.Context(), host, "none"); !errors.Is(err, ErrNone) {
			t.Errorf("withdraw: %v", err)
		}
		h.must(h.Withdraw(t.Context(), host, list[0].ID))
		h.want("withdrawn", h.come("juliet"))
		h.again()
		h.want("withdrawn for good", h.come("juliet"))

		for i := range MaxKept {
			h.announce(fmt.Sprint("n", i), time.Hour)
		}
		if _, err := h.Announce(t.Context(), host, "too much", time.Hour); !errors.Is(err, ErrTooMany) {
			t.Errorf("one too many: %v", err)
		}
		time.Sleep(2 * time.Hour) // what is over makes room
		h.announce("anew", time.Hour)
		h.want("all that is kept", h.come("juliet"), "anew")
	})
}

func TestTheMessageOfTheDayIsGivenOnceToEverybody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		c := moduletest.Login(t, h.Router, "romeo/orchard")
		c.Available(0)
		h.post(OfTheDay, "the globe open tomorrow", false)
		h.want("romeo", texts(c), "the globe open tomorrow")
		h.post(OfTheDay, "the globe opens tomorrow", true)
		h.want("an edition", texts(c))
		text, err := h.Standing(host, OfTheDay)
		h.must(err)
		h.want("that stands", []string{text}, "the globe opens tomorrow")
		h.want("juliet", h.come("juliet"), "the globe opens tomorrow")
		h.want("once", h.come("juliet"))
		h.again()
		h.want("after a restart", h.come("juliet"))
		time.Sleep(48 * time.Hour)
		h.want("who is new", h.come("paris"), "the globe opens tomorrow")
		h.post(OfTheDay, "another", false)
		h.want("another", h.come("juliet"), "another")
		h.post(OfTheDay, "", false)
		c.LogoutTaken()
		h.want("none", h.come("romeo"))
	})
}

func TestTheWelcomeIsForNewAccounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.post(Welcome, "be welcome", false)
		h.want("who was here", h.come("romeo"))
		time.Sleep(48 * time.Hour)
		h.want("who is new", h.come("paris"), "be welcome")
		h.want("once", h.come("paris"))
		h.post(Welcome, "be very welcome", true)
		h.want("still once", h.come("paris"))
		h.post(Welcome, "", false)
		h.made["juliet"] = time.Now().Add(time.Second)
		h.want("taken back", h.come("juliet"))
	})
}

func TestWhatCannotBeGivenComesLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.announce("one", time.Hour)
		h.announce("two", time.Hour)
		h.full = true
		h.want("nothing can be stored", h.come("romeo"))
		h.full = false
		h.want("later", h.come("romeo"), "one", "two")
		h.store.Fail(storage.ErrUnavailable)
		if _, err := h.Announce(t.Context(), host, "three", time.Hour); !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("announced without storage: %v", err)
		}
		h.want("nobody knows what they have got", h.come("juliet"))
		h.store.Fail(nil)
		h.want("with storage", h.come("juliet"), "one", "two")
	})
}

func TestOnlyTextsAreAnnounced(t *testing.T) {
	h := newHouse(t)
	for _, text := range []string{"", " \n", "a\x00b", "a\x1bb", "a\xffb", "\uffff", strings.Repeat("x", MaxText+1)} {
		_, announce := h.Announce(t.Context(), host, text, time.Hour)
		_, now := h.Announce(t.Context(), host, text, 0)
		stand := ErrText
		if text != "" {
			_, stand = h.Stand(t.Context(), host, Welcome, text, false)
		}
		for _, err := range []error{announce, now, stand} {
			if !errors.Is(err, ErrText) {
				t.Errorf("%q: %v", text, err)
			}
		}
	}
	h.announce("tabs\tand lines\nare fine, and <tags> too", time.Hour)
	h.want("with tags", h.come("romeo"), "tabs\tand lines\nare fine, and <tags> too")
	h.Switch = func() bool { return false }
	if _, err := h.Announce(t.Context(), host, "x", 0); !errors.Is(err, ErrOff) {
		t.Errorf("off: %v", err)
	}
}

func TestADamagedRecordIsNotTakenForNothing(t *testing.T) {
	h := newHouse(t)
	_, p, err := h.store.Map("announcements").Update(t.Context(), host, storage.AnyVersion,
		storage.Change{Key: string(OfTheDay), Value: []byte{9}})
	h.must(errors.Join(err, p.Wait(t.Context())))
	if _, err := h.Standing(host, OfTheDay); err == nil {
		t.Error("a damaged text stands")
	}
	if _, err := parseSeen([]byte{1, 2}); err == nil {
		t.Error("a damaged record of a user was read")
	}
}

// province is a node that everybody is at home on.
type province struct{}

func (province) Here(string) bool              { return true }
func (province) Send(string, *router.Envelope) {}
func (province) Tell(router.Sequel)            {}

func TestWhatAnotherNodeAnnouncesIsGivenHere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		c := moduletest.Login(t, h.Router, "romeo/orchard")
		c.Available(0)
		h.want("before", h.come("juliet"))
		h.SetHomes(province{})
		other := New(moduletest.New(), h, h.store.Map("announcements"), moduletest.Discard())
		announce := func(text string) {
			t.Helper()
			if _, err := other.Announce(t.Context(), host, text, time.Hour); err != nil {
				t.Fatal(err)
			}
		}
		announce("kept there")
		if n := h.Renew(host, "", true); n != 1 {
			t.Errorf("reached %d", n)
		}
		h.want("romeo", texts(c), "kept there")
		if n := h.Renew(host, "for now", false); n != 1 {
			t.Errorf("reached %d", n)
		}
		h.want("romeo, at once", texts(c), "for now")
		// Where nobody says so, it is seen after a while.
		announce("not told of")
		<-time.After(2 * readFor)
		list, err := h.Kept(host)
		h.must(err)
		if len(list) != 2 {
			t.Errorf("kept: %+v", list)
		}
	})
}
