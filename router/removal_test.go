package router

import (
	"runtime"
	"slices"
	"testing"
	"testing/synctest"

	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

func TestDataOfAnAccountAreErasedWhenItsSessionsHaveEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var steps []string
		h := newHouse(t, Module{Name: "data",
			Ended:   func(s *Session, _ *xmpp.Stanza) { steps = append(steps, "ended "+s.Addr().Resource()) },
			Removed: func(user jid.JID) error { steps = append(steps, "erased "+user.String()); return nil },
		})
		old, fresh := &outlet{}, &outlet{}
		replaced := h.bind("juliet@example.org/a", old)
		session := h.bind("juliet@example.org/a", fresh)
		done := make(chan error)
		go func() { done <- h.Remove(jid.MustParse("juliet@example.org")) }()
		synctest.Wait()
		if fresh.ended != "not-authorized" || len(steps) != 0 {
			t.Fatalf("the session ends with %q, meanwhile: %v", fresh.ended, steps)
		}
		h.Unbind(session, nil)
		synctest.Wait()
		if !slices.Equal(steps, []string{"ended a"}) { // the one that was replaced may still write
			t.Fatalf("with one session left: %v", steps)
		}
		h.Unbind(replaced, nil)
		if err := <-done; err != nil {
			t.Error(err)
		}
		if !slices.Equal(steps, []string{"ended a", "ended a", "erased juliet@example.org"}) {
			t.Errorf("in the end: %v", steps)
		}
		if err := h.Remove(jid.MustParse("juliet@example.org")); err != nil { // without sessions nothing waits
			t.Error(err)
		}
	})
}

func TestSessionsThatDoNotEndDoNotKeepTheDataOfAnAccountForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		erased := false
		h := newHouse(t, Module{Name: "data", Removed: func(jid.JID) error { erased = true; return nil }})
		h.bind("juliet@example.org/a", &outlet{})
		if err := h.Remove(jid.MustParse("juliet@example.org")); err != nil || !erased {
			t.Errorf("erased: %v, %v", erased, err)
		}
	})
}

func TestNothingIsStoredForAnAccountThatIsDeletedMeanwhile(t *testing.T) {
	h := newHouse(t)
	all := h.users.(users)
	h.Use(append(h.Modules(), Module{Name: "meanwhile", Arriving: Stage{Message: func(*Envelope) { delete(all, "juliet@example.org") }}})...)
	e := h.send(xmpp.Stanza{Kind: xmpp.Message, To: jid.MustParse("juliet@example.org"), Type: xmpp.TypeChat, ID: "m", Payload: []byte("<body/>")})
	if e.Outcome != Refused || len(h.store) != 0 {
		t.Errorf("%v, stored: %v", e.Outcome, h.store)
	}
}

func TestASessionIsAvailableUntilItHasLeftTheTable(t *testing.T) {
	h := newHouse(t)
	s := h.bind("juliet@example.org/a", &outlet{})
	h.SetPresence(s, &xmpp.Stanza{Kind: xmpp.Presence}, 0)
	begun, ended := make(chan struct{}), make(chan struct{})
	h.WithOwner("juliet@example.org", func() {
		go func() {
			defer close(ended)
			close(begun)
			h.Unbind(s, nil)
		}()
		<-begun
		for range 100_000 { // as long as somebody else works on the account
			runtime.Gosched()
			if s.Presence() == nil || h.Session(s.Addr()) != s {
				t.Error("it has gone while the account is another's")
				break
			}
		}
	})
	<-ended
	if s.Presence() != nil || h.Session(s.Addr()) != nil {
		t.Error("it is there after its end")
	}
}
