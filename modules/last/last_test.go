package last

import (
	"errors"
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

// roster holds "owner contact" for each contact who may see the owner's presence.
type roster map[string]bool

func (r roster) Sees(owner, contact jid.JID) (bool, error) {
	if r["broken"] {
		return false, storage.ErrUnavailable
	}
	return r[owner.Local()+" "+contact.Local()], nil
}

type house struct {
	*router.Router
	users  moduletest.Users
	store  *moduletest.Store
	roster roster
	romeo  *moduletest.Client
	module router.Module
}

// newHouse has romeo, juliet, who lets romeo see her presence, and nurse, who lets nobody.
func newHouse(t *testing.T) *house {
	h := &house{store: moduletest.NewStore(), roster: roster{"juliet romeo": true},
		users: moduletest.Users{"romeo@example.org": true, "juliet@example.org": true, "nurse@example.org": true}}
	h.Router = router.New(router.Options{Hosts: []string{moduletest.Host}, Users: h.users, Log: moduletest.Discard()})
	h.module = New(Options{Router: h.Router, Users: h.users, Roster: h.roster,
		Store: h.store.Map("last"), Log: moduletest.Discard()})
	h.Use(h.module)
	h.romeo = moduletest.Login(t, h.Router, "romeo/orchard")
	return h
}

// ask sends romeo's request and compares the answer: the query, or a condition.
func (h *house) ask(t *testing.T, to, want string) {
	t.Helper()
	from := to
	if to == "" {
		from = "romeo@example.org"
	} else {
		to = ` to='` + to + `'`
	}
	h.romeo.Send(`<iq type='get' id='1'` + to + `><query xmlns='jabber:iq:last'/></iq>`)
	if condition, ok := strings.CutPrefix(want, "!"); ok {
		got := h.romeo.Deliveries()
		if len(got) != 1 || got[0].Stanza.Err() == nil || string(got[0].Stanza.Err().Condition) != condition {
			t.Errorf("asked %s, got %v, want %s", from, got, condition)
		}
		return
	}
	h.romeo.Want(`<iq type='result' id='1' from='` + from + `' to='romeo@example.org/orchard'>` + want + `</iq>`)
}

const hour = `<query xmlns='jabber:iq:last' seconds='3600'`

func TestTheHostTellsItsUptime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		<-time.After(time.Hour + time.Millisecond)
		h.ask(t, "example.org", hour+`/>`)
	})
}

func TestAnAbsentUserLeftTimeAndStatusBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		juliet := moduletest.Login(t, h.Router, "juliet/balcony")
		juliet.Send(`<presence type='unavailable'><status>Heading Home</status></presence>`)
		h.ask(t, "juliet@example.org", `<query xmlns='jabber:iq:last' seconds='0'/>`) // connected still
		juliet.LogoutTaken()
		<-time.After(time.Hour)
		h.ask(t, "juliet@example.org", hour+`>Heading Home</query>`)

		// Whoever was not there for others to see leaves no trace.
		moduletest.Login(t, h.Router, "juliet/balcony").LogoutTaken()
		h.ask(t, "juliet@example.org", hour+`>Heading Home</query>`)

		juliet = moduletest.Login(t, h.Router, "juliet/balcony")
		juliet.Available(0)
		juliet.LogoutTaken()
		h.ask(t, "juliet@example.org", `<query xmlns='jabber:iq:last' seconds='0'/>`)
	})
}

func TestOnlyTheLastSessionCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		balcony, chamber := moduletest.Login(t, h.Router, "juliet/balcony"), moduletest.Login(t, h.Router, "juliet/chamber")
		balcony.Send(`<presence type='unavailable'><status>early</status></presence>`)
		balcony.LogoutTaken()
		<-time.After(time.Minute)
		h.ask(t, "juliet@example.org", `<query xmlns='jabber:iq:last' seconds='0'/>`)
		chamber.Available(0)
		chamber.LogoutTaken()
		<-time.After(time.Hour)
		h.ask(t, "juliet@example.org", hour+`/>`)
	})
}

func TestAStatusIsForgottenWhenTheSessionComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		juliet := moduletest.Login(t, h.Router, "juliet/balcony")
		juliet.Send(`<presence type='unavailable'><status>away</status></presence>`)
		juliet.Send(`<presence/>`)
		juliet.Available(0)
		juliet.Send(`<presence type='unavailable' to='romeo@example.org'><status>for romeo</status></presence>`)
		juliet.LogoutTaken()
		<-time.After(time.Hour)
		h.ask(t, "juliet@example.org", hour+`/>`)
	})
}

func TestStrangersLearnNothing(t *testing.T) {
	h := newHouse(t)
	nurse := moduletest.Login(t, h.Router, "nurse/house")
	h.ask(t, "nurse@example.org", "!forbidden")
	h.ask(t, "nurse@example.org/house", "!forbidden")
	h.ask(t, "nurse@example.org/elsewhere", "!forbidden")
	h.ask(t, "paris@example.org", "!forbidden") // no account
	h.ask(t, "paris@example.org/x", "!forbidden")
	nurse.Want()
	nurse.Logout()
	h.ask(t, "nurse@example.org", "!forbidden")
}

func TestRequestsOfContactsReachTheClient(t *testing.T) {
	h := newHouse(t)
	juliet := moduletest.Login(t, h.Router, "juliet/balcony")
	h.romeo.Send(`<iq type='get' id='1' to='juliet@example.org/balcony'><query xmlns='jabber:iq:last'/></iq>`)
	juliet.Want(`<iq type='get' id='1' from='romeo@example.org/orchard' to='juliet@example.org/balcony'><query xmlns='jabber:iq:last'/></iq>`)
	// An answer is not a question.
	juliet.Send(`<iq type='result' id='1' to='romeo@example.org/orchard'><query xmlns='jabber:iq:last' seconds='1'/></iq>`)
	h.romeo.Want(`<iq type='result' id='1' from='juliet@example.org/balcony' to='romeo@example.org/orchard'><query xmlns='jabber:iq:last' seconds='1'/></iq>`)
}

func TestTheOwnAccountMayBeAsked(t *testing.T) {
	h := newHouse(t)
	h.ask(t, "", `<query xmlns='jabber:iq:last' seconds='0'/>`)
	h.ask(t, "romeo@example.org", `<query xmlns='jabber:iq:last' seconds='0'/>`)
}

func TestWhoWasNeverHereIsNotFound(t *testing.T) {
	h := newHouse(t)
	h.ask(t, "juliet@example.org", "!item-not-found")
}

func TestActivityIsReadOnly(t *testing.T) {
	h := newHouse(t)
	for _, to := range []string{"example.org", "juliet@example.org", "romeo@example.org", "paris@example.org"} {
		e := h.romeo.Send(`<iq type='set' id='1' to='` + to + `'><query xmlns='jabber:iq:last'/></iq>`)
		if e.Err == nil || e.Err.Condition != xmpp.CondServiceUnavailable {
			t.Errorf("set to %s: %v, want service-unavailable", to, e.Err)
		}
	}
}

func TestADeletedAccountLeavesNoTrace(t *testing.T) {
	h := newHouse(t)
	moduletest.Login(t, h.Router, "juliet/a").LogoutTaken()
	late := moduletest.Login(t, h.Router, "juliet/b")
	delete(h.users, "juliet@example.org")
	if err := h.Remove(late.Bare()); err != nil {
		t.Fatal(err)
	}
	late.Logout()
	if _, err := h.store.Map("last").Get(t.Context(), "juliet@example.org", key); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("after removal and the end of the last session: %v, want nothing", err)
	}
}

func TestStorageThatIsAwayMakesTheAskerWait(t *testing.T) {
	h := newHouse(t)
	h.store.Fail(storage.ErrUnavailable)
	h.ask(t, "juliet@example.org", "!resource-constraint")
	h.roster["broken"] = true
	h.ask(t, "juliet@example.org", "!resource-constraint")
	h.ask(t, "juliet@example.org/balcony", "!resource-constraint")
	if err := h.module.Removed(jid.MustParse("juliet@example.org")); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("removed: %v", err)
	}
}

func TestStatusIsCutAtACharacter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		juliet := moduletest.Login(t, h.Router, "juliet/balcony")
		juliet.Send(`<presence type='unavailable'><status>x` + strings.Repeat("ä", maxStatus) + `</status></presence>`)
		juliet.LogoutTaken()
		h.ask(t, "juliet@example.org", `<query xmlns='jabber:iq:last' seconds='0'>x`+strings.Repeat("ä", maxStatus/2-1)+`</query>`)
	})
}

func TestRecordsOfOtherVersionsAreRefused(t *testing.T) {
	r := record{time.Unix(1<<40, 0), "hi"}
	if got, err := parse(r.append(nil)); err != nil || got != r {
		t.Errorf("read back %v, %v", got, err)
	}
	for _, b := range [][]byte{nil, {1, 2, 3}, append([]byte{2}, make([]byte, 8)...)} {
		if _, err := parse(b); err == nil {
			t.Errorf("%v was read", b)
		}
	}
}

func TestTheFirstLoginOfAnHourIsKeptForAdministrators(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := time.Now()
		h := newHouse(t)
		romeo := jid.MustParse("romeo@example.org")
		login := func() time.Time {
			t.Helper()
			login, left, err := Times(t.Context(), h.store.Map("last"), romeo)
			if err != nil || !left.IsZero() {
				t.Errorf("left at %v, %v", left, err)
			}
			return login
		}
		if got := login(); !got.Equal(first) {
			t.Errorf("logged in at %v, kept is %v", first, got)
		}
		<-time.After(10 * time.Minute)
		moduletest.Login(t, h.Router, "romeo/balcony")
		if got := login(); !got.Equal(first) {
			t.Errorf("ten minutes later it was written once more: %v", got)
		}
		<-time.After(time.Hour)
		moduletest.Login(t, h.Router, "romeo/garden")
		if got := login(); !got.Equal(first.Add(70 * time.Minute)) {
			t.Errorf("an hour later: %v", got)
		}
		if err := h.module.Removed(romeo); err != nil {
			t.Fatal(err)
		}
		if got := login(); !got.IsZero() {
			t.Errorf("of an account that was removed: %v", got)
		}
	})
}
