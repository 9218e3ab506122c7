package muc

import (
	"context"
	"runtime"
	"strings"
	"sync"
	"testing"

	"jackdaw/storage"
	"jackdaw/xmpp/jid"
)

func TestWhoGetsTheAddressOfADeletedAccountHasNoRoleOfIt(t *testing.T) {
	w := newWorld(t)
	w.instant()
	w.join("hag", "second")
	w.admin("crone", `<item nick='second' role='moderator'/>`)
	w.client("hag").Logout()
	delete(w.users, "hag/pda")
	if err := w.m.removed(jid.MustParse("hag@example.org")); err != nil {
		t.Fatal(err)
	}
	w.join("hag", "second")
	if got := w.brief("hag"); !strings.Contains(got, "second none/participant") {
		t.Errorf("hag got %q", got)
	}
}

// A listingMap calls a function before it lists an owner.
type listingMap struct {
	storage.Map
	before func(owner string)
}

func (l *listingMap) List(ctx context.Context, owner string) ([]storage.Entry, uint64, error) {
	l.before(owner)
	return l.Map.List(ctx, owner)
}

func TestARoomThatIsLetGoOfMeanwhileForgetsADeletedAccount(t *testing.T) {
	w := newWorld(t)
	w.instant("persistentroom=1")
	w.admin("crone", `<item jid='hag@example.org' affiliation='admin'/>`)
	w.send("crone", `<presence type='unavailable' to='`+coven+`/first'/>`)
	r := w.room()
	looks := make(chan struct{})
	w.m.o.Rooms = &listingMap{Map: w.store.Map("rooms"), before: func(owner string) {
		if owner == "hag@example.org" {
			close(looks)
		}
	}}
	r.order.Lock()
	var removing sync.WaitGroup
	removing.Go(func() {
		if err := w.m.removed(jid.MustParse("hag@example.org")); err != nil {
			t.Error(err)
		}
	})
	<-looks
	for range 10000 { // until it waits for the room
		runtime.Gosched()
	}
	r.mu.Lock()
	r.state = gone
	r.m.forget(r)
	r.mu.Unlock()
	r.order.Unlock()
	removing.Wait()
	if next, bad := w.m.find(jid.MustParse(coven), nil); bad != nil || len(next.People) != 1 {
		t.Errorf("the room knows %v, %v", next.People, bad)
	}
}
