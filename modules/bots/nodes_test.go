package bots

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/router"
	"jackdaw/router/tokens"
	"jackdaw/storage"
	"jackdaw/xmpp"
)

// another is a node that has nothing else at home. It implements router.Homes.
type another struct{ away atomic.Bool }

func (a *another) Here(owner string) bool { return !a.away.Load() || owner != weather.String() }
func (*another) Send(owner string, e *router.Envelope) {
	e.Refuse(xmpp.InternalServerError("to " + owner))
}
func (*another) Tell(router.Sequel) {}

func TestABotThatAnotherNodeHasAddedLivesWhereItComesHome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.end()
		homes := &another{}
		homes.away.Store(true)
		h.SetHomes(homes)
		h.open()
		synctest.Wait()
		data, err := write(Bot{JID: weather, URL: "http://127.0.0.1/in", Added: time.Now().UTC().Truncate(time.Second)})
		if err != nil {
			t.Fatal(err)
		}
		change := func(c storage.Change) {
			c.Key = weather.String()
			if _, _, err := h.store.Map("bots").Update(t.Context(), owner, storage.AnyVersion, c); err != nil {
				t.Fatal(err)
			}
		}
		change(storage.Change{Value: data})
		homes.away.Store(false)
		h.Coming()
		h.ann.Send("<message type='chat' id='m' to='weather@example.org'><body>first</body></message>")
		<-time.After(2 * comesHome)
		if got := h.posted(); len(got) != 1 || *got[0].Text != "first" || len(h.stored) != 0 {
			t.Errorf("it is posted %v, and stored %q", got, h.stored)
		}
		if list, err := h.bots.List(t.Context()); err != nil || len(list) != 1 || list[0].State != "online" {
			t.Errorf("%v, %v", list, err)
		}
		change(storage.Change{Delete: true}) // by the other, later
		<-time.After(2 * comesHome)
		if list, err := h.bots.List(t.Context()); err != nil || len(list) != 0 {
			t.Errorf("after its end: %v, %v", list, err)
		}
		if n := len(h.Sessions(weather)); n != 0 {
			t.Errorf("it has %d sessions still", n)
		}
	})
}

// An address for late answers may be used at any node, which passes the answer on to the home of the bot.
func TestAnyNodeKnowsWhoseAnAddressForLateAnswersIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.SetHomes(&another{})
		data, err := write(Bot{JID: weather, URL: "http://127.0.0.1/in", Added: time.Now().UTC().Truncate(time.Second)})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := h.store.Map("bots").Update(t.Context(), owner, storage.AnyVersion,
			storage.Change{Key: weather.String(), Value: data}); err != nil {
			t.Fatal(err)
		}
		path := PathReplies + tokens.Of(tokens.KindHook, h.bots.newBot(Bot{JID: weather}, data).tokenOf(7))
		for _, row := range []struct {
			path string
			anew bool
			want string
		}{
			{path, false, ""}, // another node has added it just now
			{path + "x", true, ""},
			{PathReplies + "x", true, ""},
			{PathReplies + tokens.Of(tokens.KindHook, [16]byte{1}), true, ""},
			{path, true, weather.String()},
			{path, false, weather.String()},
		} {
			if got := h.bots.Claimed(t.Context(), row.path, row.anew); got != row.want {
				t.Errorf("%s is of %q", row.path, got)
			}
		}
	})
}
