package server

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
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
	towns []*town
	mu    sync.Mutex // guards the rest
	sent  map[string][]byte
}

// A town is a node of it. It implements relay.Node and relay.Opener.
type town struct {
	*county
	id     string
	router *router.Router
	relay  *relay.Relay
}

func newCounty(t *testing.T) *county {
	w := &county{sent: map[string][]byte{}}
	store, err := embedded.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		log := slog.New(slog.DiscardHandler)
		n := &town{county: w, id: fmt.Sprint(i), router: router.New(router.Options{Hosts: []string{"example.org"}, Log: log})}
		n.relay = relay.New(relay.Options{Router: n.router, Node: n, Links: n, Log: log})
		n.router.SetHomes(n.relay)
		n.router.Use(muc.New(muc.Options{Router: n.router, Rooms: store.Map("rooms"), Archive: store.Log("rooms"), Log: log,
			Domains: func() []string { return []string{"rooms.example.org"} }, Full: func() bool { return false },
			Banned: func(jid.JID) bool { return false }, Exempt: func(jid.JID) bool { return true },
			Limits: func() muc.Limits {
				return muc.Limits{Occupants: 2000, RoomsPerUser: 1, MessageRate: 1 << 30, Page: 100}
			},
		}).Module())
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

// send routes a stanza of a session to a room, and waits for what becomes of it.
func (w *county) send(t *testing.T, s *router.Session, kind xmpp.Kind, typ xmpp.Type, to, payload string) {
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
	if o, err := e.Settlement(); o == router.Refused {
		t.Fatalf("%s to %s is refused: %v", payload, to, err)
	}
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
