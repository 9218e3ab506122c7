package muc

import (
	"context"
	"strings"
	"sync"
	"testing"

	"jackdaw/storage"
	"jackdaw/xmpp/jid"
)

// A deleting map calls a function before it deletes an owner.
type deleting struct {
	storage.Map
	before func(owner string)
}

func (d *deleting) DeleteOwner(ctx context.Context, owner string) (*storage.Pending, error) {
	d.before(owner)
	return d.Map.DeleteOwner(ctx, owner)
}

func TestWhoEntersARoomWhileItIsDestroyedGetsANewOne(t *testing.T) {
	w := newWorld(t)
	w.instant("persistentroom=1", "roomname=Old")
	w.client("hag")
	var entering sync.WaitGroup
	w.m.o.Rooms = &deleting{Map: w.store.Map("rooms"), before: func(owner string) {
		if owner != coven {
			return
		}
		w.m.mu.Lock()
		defer w.m.mu.Unlock()
		if w.m.rooms[jid.MustParse(coven)] == nil {
			t.Error("the room has left the table, and what is left of it can be read")
		}
		entering.Go(func() { w.join("hag", "second") })
	}}
	const owner = `<query xmlns='http://jabber.org/protocol/muc#owner'>`
	w.send("crone", `<iq type='set' id='1' to='`+coven+`'>`+owner+`<destroy/></query></iq>`)
	entering.Wait()
	if got := w.brief("hag"); !strings.Contains(got, "second owner/moderator") || !strings.Contains(got, "201") {
		t.Errorf("hag got %q", got)
	}
	w.configure("hag", "persistentroom=1", "roomname=New")
	w.restart()
	w.send("king", `<iq type='get' id='i' to='`+coven+`'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>`)
	if got := strings.Join(w.got("king"), ""); !strings.Contains(got, "name='New'") {
		t.Errorf("after a restart the room is %s", got)
	}
}

func TestANewRoomIsOpenAtOnceWhereTheConfigurationSaysSo(t *testing.T) {
	w := newWorld(t)
	w.limits.OpenNewRooms = true
	w.join("crone", "first")
	w.wantBrief("crone", "first owner/moderator mav jid 110 170 201,  subject:")
	w.join("hag", "second")
	w.wantBrief("hag", "first owner/moderator, second none/participant jid 110 170,  subject:")
	w.send("king", `<iq type='get' id='i' to='`+domain+`'><query xmlns='http://jabber.org/protocol/disco#items'/></iq>`)
	if got := strings.Join(w.got("king"), ""); !strings.Contains(got, coven) {
		t.Errorf("the service lists %s", got)
	}
	w.configure("crone", "persistentroom=1")
	w.restart()
	w.join("king", "third")
	w.wantBrief("king", "third none/participant jid 110 170,  subject:")
}
