package muc

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"jackdaw/modules/muc/room"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp/jid"
)

// shown are the bytes and the number of the messages that a client is shown if it enters now.
func (w *world) shown(who string) (n, size int) {
	w.client(who).Received()
	w.join(who, who)
	for _, d := range w.client(who).Deliveries() {
		if d.Stanza.Has(room.BodyName) {
			n, size = n+1, size+len(d.Stanza.Payload)
		}
	}
	w.send(who, `<presence type='unavailable' to='`+coven+`/`+who+`'/>`)
	return n, size
}

func TestHistoryOfARoomIsBoundedInBytes(t *testing.T) {
	w := newWorld(t)
	w.limits.HistoryBytes = 10000
	w.instant("persistentroom=1", "muc#roomconfig_enablearchiving=1")
	for i := range 50 {
		w.say("crone", fmt.Sprint(i, strings.Repeat("x", 1000)))
	}
	check := func(when string) {
		t.Helper()
		if n, size := w.shown("hag"); n < 5 || size > 12000 {
			t.Errorf("%s: %d messages with %d bytes are shown", when, n, size)
		}
		if got := w.m.memory.all; got > 10000 || got < 5000 {
			t.Errorf("%s: %d bytes are counted", when, got)
		}
	}
	check("before")
	w.restart()
	check("after a restart")
	w.join("crone", "first")
	w.say("crone", strings.Repeat("x", 20000))
	if n, _ := w.shown("hag"); n != 0 {
		t.Errorf("%d messages are shown after one that is larger than the bound", n)
	}
}

func TestRoomsOfOneUserLeaveMemoryForThoseOfOthers(t *testing.T) {
	w := newWorld(t)
	w.limits.Memory = 100_000
	say := func(who, room string) {
		w.send(who, `<presence to='`+room+`/x'><x xmlns='http://jabber.org/protocol/muc'/></presence>`)
		w.send(who, `<iq type='set' id='c' to='`+room+`'><query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'/></query></iq>`)
		for range 10 {
			w.send(who, `<message type='groupchat' to='`+room+`'><body>`+strings.Repeat("x", 2000)+`</body></message>`)
		}
	}
	for i := range 20 {
		say("crone", fmt.Sprint("crone", i, "@", domain))
	}
	if got := w.m.memory.all; got > 25_000 || got < 20_000 {
		t.Errorf("%d bytes of one user", got)
	}
	say("hag", "hag@"+domain)
	r := w.m.rooms[jid.MustParse("hag@"+domain)]
	if r.Remembered() < 7 {
		t.Errorf("only %d messages of another are kept", r.Remembered())
	}
	for _, r := range w.m.loaded() {
		for _, who := range []string{"crone", "hag"} {
			w.send(who, `<presence type='unavailable' to='`+r.Name+`/x'/>`)
		}
	}
	if m := &w.m.memory; m.all != 0 || len(m.rooms) != 0 || len(m.makers) != 0 {
		t.Errorf("%d bytes of %d rooms and %d users are counted when all is over", m.all, len(m.rooms), len(m.makers))
	}
}

func TestOldestMessagesGoWhenTheArchiveOfARoomIsFull(t *testing.T) {
	w := newWorld(t)
	w.limits.ArchiveBytes = 20_000
	w.instant("persistentroom=1", "muc#roomconfig_enablearchiving=1")
	for i := range 100 {
		w.wantRefused(w.say("crone", fmt.Sprint("no ", i, strings.Repeat("x", 1000))), "delivered")
	}
	n, size, err := w.store.Log("rooms").Size(t.Context(), coven)
	if err != nil || size > 20_000 || size < 10_000 {
		t.Errorf("%d messages with %d bytes are archived, %v", n, size, err)
	}
	last, _, err := w.store.Log("rooms").Page(t.Context(), coven, storage.Query{Limit: 1, Backward: true})
	if err != nil || !strings.Contains(string(last[0].Data), "no 99x") {
		t.Errorf("the last is not archived, %v", err)
	}
}

func TestArchivesOfOneUsersRoomsShareABound(t *testing.T) {
	w := newWorld(t)
	w.limits.RoomsPerUser, w.limits.ArchiveBytes, w.limits.MadeBytes = 10, 60_000, 100_000
	sizes := func() (sum int64, sizes []int64) {
		for i := range 5 {
			_, size, err := w.store.Log("rooms").Size(t.Context(), fmt.Sprint("crone", i, "@", domain))
			if err != nil {
				t.Fatal(err)
			}
			sum, sizes = sum+size, append(sizes, size)
		}
		return sum, sizes
	}
	for i := range 5 {
		room := fmt.Sprint("crone", i, "@", domain)
		w.send("crone", `<presence to='`+room+`/x'><x xmlns='http://jabber.org/protocol/muc'/></presence>`)
		w.send("crone", `<iq type='set' id='c' to='`+room+`'><query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'>`+
			`<field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#roomconfig</value></field>`+
			`<field var='muc#roomconfig_persistentroom'><value>1</value></field></x></query></iq>`)
		for range 100 {
			e := w.send("crone", `<message type='groupchat' to='`+room+`'><body>`+strings.Repeat("x", 1000)+`</body></message>`)
			if e.Err != nil {
				t.Fatalf("room %d: %v", i, e.Err)
			}
		}
	}
	sum, each := sizes()
	// The first has all that one room may have, the others what is left, or what each is sure of.
	if each[0] > 60_000 || each[0] < 50_000 || sum > 100_000+3*10_000 || each[4] > 10_000 || each[4] < 5_000 {
		t.Errorf("the archives have %d bytes: %d", sum, each)
	}
}

func TestWhatWasTakenBackIsNotCounted(t *testing.T) {
	w := newWorld(t)
	w.limits.Memory = 1 << 20
	w.instant("persistentroom=1", "muc#roomconfig_enablearchiving=1")
	w.say("crone", "x")
	before := w.m.memory.all
	w.say("crone", "y")
	id := w.ids("crone")[1]
	w.send("crone", `<message type='groupchat' to='`+coven+`' id='r'><retract xmlns='urn:xmpp:message-retract:1' id='`+id+`'/></message>`)
	if got := w.m.memory.all; before == 0 || got != before {
		t.Errorf("%d bytes are counted, %d before", got, before)
	}
}

func TestArchivesOfRoomsPauseWhenTheDiskIsFull(t *testing.T) {
	w := newWorld(t)
	w.instant("persistentroom=1", "muc#roomconfig_enablearchiving=1")
	w.join("hag", "third")
	w.client("hag").Received()
	for _, body := range []string{"1", "2", "3"} {
		w.full = body == "2"
		w.wantRefused(w.say("crone", body), "delivered")
	}
	if n := len(w.client("hag").Deliveries()); n != 3 {
		t.Errorf("hag got %d messages", n)
	}
	if n := len(w.ids("crone")); n != 2 {
		t.Errorf("%d are archived", n)
	}
}

func TestRequestsOfOneOccupantLeaveRoomForThoseOfOthers(t *testing.T) {
	w := newWorld(t)
	w.instant()
	w.join("hag", "third")
	w.join("witch", "second")
	ask := func(who string) *router.Envelope {
		return w.send(who, `<iq type='get' id='v' to='`+coven+`/first'><query xmlns='jabber:iq:version'/></iq>`)
	}
	n := 0
	for range maxQuestions {
		if e := ask("hag"); e.Outcome != router.Refused {
			n++
		}
	}
	if n != maxQuestions/4 {
		t.Errorf("%d requests of one occupant are on their way", n)
	}
	w.wantRefused(ask("hag"), "wait:resource-constraint")
	w.wantRefused(ask("witch"), "delivered")
}

func TestWhoPassesByIsNotRememberedWithoutEnd(t *testing.T) {
	w := newWorld(t)
	w.instant("membersonly=1")
	for i := range manyGuests + 500 {
		w.join("x"+strconv.Itoa(i)+"@"+strconv.Itoa(i)+".evil.example/x", "x")
	}
	if n := len(w.m.guests.by); n > manyGuests+2 {
		t.Errorf("%d are remembered", n)
	}
	w.admin("crone", `<item jid='hag@example.org' affiliation='member'/>`)
	w.wantRefused(w.join("hag", "third"), "delivered")
	if w.m.guests.by["hag@example.org"] == nil {
		t.Error("somebody in a room is not told apart")
	}
}

func TestOccupantsOfOneDomainLeaveRoomForOthers(t *testing.T) {
	w := newWorld(t)
	w.limits.Occupants = 100
	w.instant()
	enter := func(who, nick string) bool { return w.join(who, nick).Outcome != router.Refused }
	n := 0
	for i := range 120 {
		if enter(fmt.Sprintf("u%d@%d.b.example/x", i, i), fmt.Sprint("b", i)) {
			n++
		}
	}
	if n != 89 { // 9*(100-1-89) >= 89 and not for one more
		t.Errorf("%d of one domain are in the room", n)
	}
	n = 0
	for i := range 120 {
		if enter(fmt.Sprintf("u%d@c.example/x", i), fmt.Sprint("c", i)) {
			n++
		}
	}
	if n < 5 || n > 9 {
		t.Errorf("%d of another are", n)
	}
	if !enter("hag", "third") {
		t.Error("a user of this server does not get in")
	}
}

func TestClientsOfOneOccupantAreBounded(t *testing.T) {
	w := newWorld(t)
	w.instant()
	for i := range maxSeats + 5 {
		e := w.join(fmt.Sprintf("u@b.example/%d", i), "third")
		if refused := e.Outcome == router.Refused; refused != (i >= maxSeats) {
			t.Errorf("client %d: %v, %v", i, e.Outcome, e.Err)
		}
	}
	w.wantRefused(w.join("u@b.example/1", "third"), "delivered") // once more is no more
}
