package server

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"jackdaw/cluster"
	"jackdaw/cluster/link"
	"jackdaw/cluster/relay"
	"jackdaw/modules/muc"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/storage/embedded"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// A county is three nodes, of which each has the slots of a third; what goes over their links is kept.
type county struct {
	towns  []*town
	limits muc.Limits
	bound  bool       // users are, by the limits
	mu     sync.Mutex // guards the rest
	sent   map[string][]byte
}

// A town is a node of it. It implements relay.Node and relay.Opener.
type town struct {
	*county
	id     string
	router *router.Router
	relay  *relay.Relay
	rooms  *muc.Rooms
}

func newCounty(t *testing.T) *county {
	w := &county{sent: map[string][]byte{},
		limits: muc.Limits{Occupants: 2000, RoomsPerUser: 1, MessageRate: 1 << 30, Page: 100}}
	store, err := embedded.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		log := slog.New(slog.DiscardHandler)
		n := &town{county: w, id: fmt.Sprint(i), router: router.New(router.Options{Hosts: []string{"example.org"},
			Users: everyone{}, Log: log})}
		n.relay = relay.New(relay.Options{Router: n.router, Node: n, Links: n, Log: log})
		n.router.SetHomes(n.relay)
		n.rooms = muc.New(muc.Options{Router: n.router, Rooms: store.Map("rooms"), Archive: store.Log("rooms"), Log: log,
			Domains: func() []string { return []string{"rooms.example.org"} }, Full: func() bool { return false },
			Banned: func(jid.JID) bool { return false }, Exempt: func(jid.JID) bool { return !w.bound },
			Limits: func() muc.Limits { return w.limits },
		})
		n.rooms.SetElsewhere(func(domain string) (all []muc.Loaded) {
			for _, other := range w.towns {
				if other != n {
					all = append(all, other.rooms.Loaded(domain)...)
				}
			}
			return all
		})
		n.router.Use(n.rooms.Module())
		w.towns = append(w.towns, n)
	}
	t.Cleanup(func() {
		for _, n := range w.towns {
			n.relay.Close()
		}
		store.Close()
	})
	return w
}

// everyone has an account, but for nobody. It implements router.Users.
type everyone struct{}

func (everyone) Exists(_ context.Context, user jid.JID) (bool, error) {
	return !strings.HasPrefix(user.Local(), "nobody"), nil
}

func (w *county) home(owner string) *town { return w.towns[cluster.SlotOf(owner)%3] }

func (n *town) ID() string                   { return n.id }
func (n *town) Changed() <-chan struct{}     { return nil }
func (n *town) Refresh(context.Context)      {}
func (n *town) Here(slot int) (uint64, bool) { return 1, n.towns[slot%3] == n }
func (n *town) Home(slot int) (cluster.Place, bool) {
	return cluster.Place{Node: n.towns[slot%3].id, Fence: 1}, true
}

func (n *town) Open(_ context.Context, to string, _ link.Kind) (net.Conn, error) {
	near, far := net.Pipe()
	go n.towns[to[0]-'0'].relay.Serve(n.id, far)
	return &tapped{near, n.county, n.id + to}, nil
}

// tapped keeps what is written.
type tapped struct {
	net.Conn
	w    *county
	name string
}

func (c *tapped) Write(b []byte) (int, error) {
	c.w.mu.Lock()
	c.w.sent[c.name] = append(c.w.sent[c.name], b...)
	c.w.mu.Unlock()
	return c.Conn.Write(b)
}

// taken returns what has crossed each link since it was asked last.
func (w *county) taken() map[string][]byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	sent := w.sent
	w.sent = map[string][]byte{}
	return sent
}

// An audience counts what it hears of a text. It implements router.Outlet.
type audience struct {
	text  []byte
	heard sync.WaitGroup
}

func (a *audience) Send(d router.Delivery) (wake, ok bool) {
	if bytes.Contains(d.Stanza.Payload, a.text) {
		a.heard.Done()
	}
	return false, true
}
func (*audience) Flush()                               {}
func (*audience) Prompt() bool                         { return true }
func (*audience) Full() bool                           { return false }
func (*audience) Detached() bool                       { return false }
func (*audience) WaitBelow(context.Context, int) error { return nil }
func (*audience) End(string, string)                   {}

// send routes a stanza of a session to a room, which must take it.
func (w *county) send(t *testing.T, s *router.Session, kind xmpp.Kind, typ xmpp.Type, to, payload string) {
	t.Helper()
	if o, err := w.try(t, s, kind, typ, to, payload); o == router.Refused {
		t.Fatalf("%s to %s is refused: %v", payload, to, err)
	}
}

// try routes a stanza of a session to a room, and waits for what becomes of it.
func (w *county) try(t *testing.T, s *router.Session, kind xmpp.Kind, typ xmpp.Type, to, payload string) (
	router.Outcome, *xmpp.Error) {
	t.Helper()
	x := &xmpp.Stanza{Kind: kind, Type: typ, ID: "i", From: s.Addr(), To: jid.MustParse(to), Payload: []byte(payload)}
	x.Children = xmpp.Index(x.Payload)
	e := &router.Envelope{Stanza: x, Session: s, Account: s.Bare(), Durable: true}
	w.home(s.Bare().String()).router.Route(e)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := storage.Join(e.Pendings...).Wait(ctx); err != nil {
		t.Fatal(err)
	}
	return e.Settlement()
}

// A thousand occupants on three nodes: what is said crosses each link once, however many hear it behind.
func TestMessageInARoomCrossesEachLinkOnce(t *testing.T) {
	const occupants, coven = 1000, "coven@rooms.example.org"
	w := newCounty(t)
	text := strings.Repeat("Harpier cries: 'tis time, 'tis time. ", 10)
	all := &audience{text: []byte(text)}
	var first *router.Session
	for i := range occupants {
		full := jid.MustParse(fmt.Sprintf("u%d@example.org/pda", i))
		s, err := w.home(full.Bare().String()).router.Bind(full, all)
		if err != nil {
			t.Fatal(err)
		}
		w.send(t, s, xmpp.Presence, xmpp.TypeAvailable, fmt.Sprintf("%s/n%d", coven, i),
			"<x xmlns='http://jabber.org/protocol/muc'/>")
		if i == 0 { // only he is told who comes, for a million presences would take longer than all the rest
			first = s
			w.send(t, s, xmpp.IQ, xmpp.TypeSet, coven, "<query xmlns='http://jabber.org/protocol/muc#owner'>"+
				"<x xmlns='jabber:x:data' type='submit'><field var='muc#roomconfig_presencebroadcast'>"+
				"<value>moderator</value></field></x></query>")
		}
	}
	room := w.home(coven)
	for range 5 {
		w.taken()
		all.heard.Add(occupants)
		w.send(t, first, xmpp.Message, xmpp.TypeGroupchat, coven, "<body>"+text+"</body>")
		all.heard.Wait()
		sent := w.taken()
		for _, n := range w.towns {
			b := sent[room.id+n.id]
			if k := bytes.Count(b, all.text); n != room && k != 1 {
				t.Errorf("%d copies of the message have gone to node %s, in %d bytes", k, n.id, len(b))
			}
		}
	}
}

// A hearer keeps what it is sent. It implements router.Outlet.
type hearer struct {
	audience
	mu    sync.Mutex // guards heard
	heard []string
}

func (h *hearer) Send(d router.Delivery) (wake, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.heard = append(h.heard, string(d.Stanza.AppendQualified(nil)))
	if d.Receipt != nil {
		d.Receipt.Finish(nil)
	}
	return false, true
}

// await waits for a stanza with all of these texts.
func (h *hearer) await(t *testing.T, what string, texts ...string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; {
		h.mu.Lock()
		heard := strings.Join(h.heard, "\n")
		found := slices.ContainsFunc(h.heard, func(s string) bool {
			return !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(s, text) })
		})
		h.mu.Unlock()
		if found {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: %q is not in\n%s", what, texts, heard)
		}
		<-time.After(time.Millisecond)
	}
}

// login makes a session at the home of its user.
func (w *county) login(t *testing.T, full string) (*router.Session, *hearer) {
	t.Helper()
	j, h := jid.MustParse(full), &hearer{}
	s, err := w.home(j.Bare().String()).router.Bind(j, h)
	if err != nil {
		t.Fatal(err)
	}
	return s, h
}

const enterXML = "<x xmlns='http://jabber.org/protocol/muc'/>"

// open makes a public room by the session, which enters it.
func (w *county) open(t *testing.T, s *router.Session, room string, fields ...string) {
	t.Helper()
	w.send(t, s, xmpp.Presence, xmpp.TypeAvailable, room+"/maker", enterXML)
	form := ""
	for _, f := range append(fields, "publicroom") {
		form += "<field var='muc#roomconfig_" + f + "'><value>1</value></field>"
	}
	w.send(t, s, xmpp.IQ, xmpp.TypeSet, room, "<query xmlns='http://jabber.org/protocol/muc#owner'>"+
		"<x xmlns='jabber:x:data' type='submit'>"+form+"</x></query>")
}

// roomsAt are so many rooms, of which each node has some.
func (w *county) roomsAt(n int) (rooms []string) {
	for i := range n {
		for k := 0; ; k++ {
			if room := fmt.Sprintf("r%d-%d@rooms.example.org", i, k); w.home(room) == w.towns[i%len(w.towns)] {
				rooms = append(rooms, room)
				break
			}
		}
	}
	return rooms
}

func TestRoomsOfAllNodesAreListedAtEach(t *testing.T) {
	w := newCounty(t)
	rooms := w.roomsAt(6)
	maker, _ := w.login(t, "maker@example.org/desk")
	guest, _ := w.login(t, "guest@example.org/desk")
	for i, room := range rooms {
		if i < 3 {
			w.open(t, maker, room)
		} else {
			w.open(t, maker, room, "persistentroom")
		}
		w.send(t, guest, xmpp.Presence, xmpp.TypeAvailable, room+"/guest", enterXML)
	}
	for _, n := range w.towns {
		list, _, err := n.rooms.List("rooms.example.org", "", 0)
		if err != nil || len(list) != len(rooms) {
			t.Fatalf("node %s lists %v, %v; want %v", n.id, list, err, rooms)
		}
		for _, room := range list {
			if there, err := n.rooms.Exists(room.Addr); !there || room.Occupants != 2 {
				t.Errorf("node %s says that %d are in %s, %v", n.id, room.Occupants, room.Addr, err)
			}
		}
		if there, err := n.rooms.Exists(jid.MustParse("nowhere@rooms.example.org")); there || err != nil {
			t.Errorf("node %s knows a room that is not there, %v", n.id, err)
		}
	}
	for _, room := range rooms { // one that ends is no more there
		w.send(t, maker, xmpp.IQ, xmpp.TypeSet, room, "<query xmlns='http://jabber.org/protocol/muc#owner'><destroy/></query>")
	}
	for _, n := range w.towns {
		if list, _, err := n.rooms.List("rooms.example.org", "", 0); err != nil || len(list) != 0 {
			t.Errorf("node %s still lists %v, %v", n.id, list, err)
		}
	}
}

func TestAUserIsInSoManyRoomsAtAllNodesTogether(t *testing.T) {
	w := newCounty(t)
	w.limits.RoomsPerUser, w.bound = 3, true
	rooms := w.roomsAt(6)
	for i := range 3 { // users at home at each node
		name := "u@example.org"
		for k := 0; w.home(name) != w.towns[i]; k++ {
			name = fmt.Sprintf("u%d@example.org", k)
		}
		s, heard := w.login(t, name+"/desk")
		enter := func(room string) { w.send(t, s, xmpp.Presence, xmpp.TypeAvailable, room+"/maker", enterXML) }
		for _, room := range rooms[:3] {
			enter(room)
			heard.await(t, "it enters", "from='"+room+"/maker'", "code='110'")
		}
		w.try(t, s, xmpp.Presence, xmpp.TypeAvailable, rooms[3]+"/maker", enterXML)
		heard.await(t, "one too many", "from='"+rooms[3]+"/maker'", "type='error'", "resource-constraint")
		w.send(t, s, xmpp.Presence, xmpp.TypeUnavailable, rooms[0]+"/maker", "")
		heard.await(t, "it leaves", "from='"+rooms[0]+"/maker'", "type='unavailable'")
		enter(rooms[3])
		heard.await(t, "it enters another", "from='"+rooms[3]+"/maker'", "code='110'")
		for _, room := range rooms[1:4] { // which end with it
			w.send(t, s, xmpp.Presence, xmpp.TypeUnavailable, room+"/maker", "")
			heard.await(t, "it leaves", "from='"+room+"/maker'", "type='unavailable'")
		}
	}
}

func TestAnInvitationForNobodyComesBackFromAnotherNode(t *testing.T) {
	w := newCounty(t)
	room := w.roomsAt(1)[0]
	s, heard := w.login(t, "maker@example.org/desk")
	w.open(t, s, room)
	for i := range 6 { // at home here and there
		w.try(t, s, xmpp.Message, xmpp.TypeNormal, room, fmt.Sprintf("<x xmlns='http://jabber.org/protocol/muc#user'>"+
			"<invite to='nobody%d@example.org'/></x>", i))
		heard.await(t, "it comes back", "<message", "from='"+room+"'", "type='error'", "item-not-found")
		heard.mu.Lock()
		heard.heard = nil
		heard.mu.Unlock()
	}
}
