package presence

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// friends says who sees whom: "a b" is there if b may see a.
type friends struct {
	sees     map[string]bool
	requests map[string]*xmpp.Stanza
	err      error
}

func (f *friends) Subscribers(user jid.JID) (out []jid.JID, err error) {
	for pair := range f.sees {
		var a, b string
		fmt.Sscan(pair, &a, &b)
		if a+"@example.org" == user.String() {
			out = append(out, jid.MustParse(b+"@example.org"))
		}
	}
	slices.SortFunc(out, jid.JID.Compare)
	return out, f.err
}

func (f *friends) Subscriptions(user jid.JID) (out []jid.JID, err error) {
	for pair := range f.sees {
		var a, b string
		fmt.Sscan(pair, &a, &b)
		if b+"@example.org" == user.String() {
			out = append(out, jid.MustParse(a+"@example.org"))
		}
	}
	slices.SortFunc(out, jid.JID.Compare)
	return out, f.err
}

func (f *friends) Sees(user, other jid.JID) (bool, error) {
	return f.sees[user.Local()+" "+other.Local()], f.err
}

func (f *friends) Requests(user jid.JID) (out []jid.JID, err error) {
	if s := f.requests[user.Local()]; s != nil {
		out = append(out, s.From)
	}
	return out, f.err
}

func (f *friends) Request(user, _ jid.JID) (*xmpp.Stanza, error) {
	return f.requests[user.Local()], nil
}

type scene struct {
	*testing.T
	r       *router.Router
	f       *friends
	blocked map[string]bool
}

// newScene: romeo and juliet see each other; the nurse sees juliet; nobody sees the nurse.
func newScene(t *testing.T) *scene {
	c := &scene{T: t, r: moduletest.New("romeo", "juliet", "nurse"), blocked: map[string]bool{},
		f: &friends{sees: map[string]bool{"romeo juliet": true, "juliet romeo": true, "juliet nurse": true}, requests: map[string]*xmpp.Stanza{}}}
	c.r.Use(New(c.r, c.f, func(user, other jid.JID) bool { return c.blocked[user.Local()+" "+other.Local()] },
		moduletest.Discard()))
	return c
}

func (c *scene) login(address string) *moduletest.Client { return moduletest.Login(c.T, c.r, address) }

// present brings a client that is available and has read what that brought.
func (c *scene) present(address string) *moduletest.Client {
	j := c.login(address)
	j.Send(`<presence/>`)
	j.Received()
	return j
}

func TestInitialPresenceReachesWhoMaySeeIt(t *testing.T) {
	c := newScene(t)
	romeo, nurse, phone := c.present("romeo/a"), c.present("nurse/n"), c.login("romeo/phone")
	juliet := c.login("juliet/b")
	juliet.Send(`<presence id='1'><show>away</show></presence>`)
	romeo.Want(`<presence id='1' from='juliet@example.org/b' to='romeo@example.org'><show>away</show></presence>`)
	nurse.Want(`<presence id='1' from='juliet@example.org/b' to='nurse@example.org'><show>away</show></presence>`)
	phone.Want() // not available
	juliet.Want(`<presence id='1' from='juliet@example.org/b' to='juliet@example.org/b'><show>away</show></presence>`,
		`<presence from='romeo@example.org/a' to='juliet@example.org/b'/>`)
}

func TestOwnResourcesSeeEachOther(t *testing.T) {
	c := newScene(t)
	a := c.present("nurse/a")
	b := c.login("nurse/b")
	b.Send(`<presence/>`)
	a.Want(`<presence from='nurse@example.org/b' to='nurse@example.org/a'/>`)
	b.Want(`<presence from='nurse@example.org/b' to='nurse@example.org/b'/>`, `<presence from='nurse@example.org/a' to='nurse@example.org/b'/>`)
	b.Send(`<presence><show>dnd</show></presence>`)
	a.Want(`<presence from='nurse@example.org/b' to='nurse@example.org/a'><show>dnd</show></presence>`)
	b.Want(`<presence from='nurse@example.org/b' to='nurse@example.org/b'><show>dnd</show></presence>`)
}

func TestLaterPresenceProbesNobody(t *testing.T) {
	c := newScene(t)
	romeo, juliet := c.present("romeo/a"), c.present("juliet/b")
	romeo.Received()
	juliet.Send(`<presence><priority>5</priority></presence>`)
	romeo.Want(`<presence from='juliet@example.org/b' to='romeo@example.org'><priority>5</priority></presence>`)
	juliet.Want(`<presence from='juliet@example.org/b' to='juliet@example.org/b'><priority>5</priority></presence>`)
	if juliet.Priority() != 5 {
		t.Errorf("priority %d", juliet.Priority())
	}
}

func TestUnavailablePresenceIsBroadcastOnce(t *testing.T) {
	c := newScene(t)
	romeo, juliet := c.present("romeo/a"), c.present("juliet/b")
	romeo.Received()
	juliet.Send(`<presence type='unavailable'><status>bye</status></presence>`)
	romeo.Want(`<presence from='juliet@example.org/b' to='romeo@example.org' type='unavailable'><status>bye</status></presence>`)
	juliet.Want(`<presence from='juliet@example.org/b' to='juliet@example.org/b' type='unavailable'><status>bye</status></presence>`)
	if juliet.Presence() != nil {
		t.Error("still available")
	}
	juliet.Logout()
	romeo.Want()
}

func TestSessionThatEndsIsUnavailable(t *testing.T) {
	c := newScene(t)
	romeo, juliet, other := c.present("romeo/a"), c.present("juliet/b"), c.present("juliet/c")
	romeo.Received()
	juliet.Logout()
	romeo.Want(`<presence from='juliet@example.org/b' to='romeo@example.org' type='unavailable'/>`)
	other.Want(`<presence from='juliet@example.org/b' to='juliet@example.org/c' type='unavailable'/>`)
}

func TestSessionReplacedByAnotherStaysAvailable(t *testing.T) {
	c := newScene(t)
	romeo, old := c.present("romeo/a"), c.present("juliet/b")
	c.present("juliet/b")
	romeo.Received()
	old.Logout()
	romeo.Want()
}

func TestPriorityIsReadStrictly(t *testing.T) {
	for text, want := range map[string]int{"0": 0, "127": 127, "-128": -128, " 7\n": 7, "+3": 3, "128": 999, "-129": 999, "": 999, "x": 999, "1.5": 999} {
		c := newScene(t)
		juliet := c.login("juliet/b")
		e := juliet.Send(`<presence><priority>` + text + `</priority></presence>`)
		if want == 999 {
			if e.Outcome != router.Refused || e.Err.Condition != xmpp.CondBadRequest || juliet.Presence() != nil {
				t.Errorf("%q: %v, %v", text, e.Outcome, e.Err)
			}
		} else if int(juliet.Priority()) != want || juliet.Presence() == nil {
			t.Errorf("%q: priority %d", text, juliet.Priority())
		}
	}
}

func TestBadPresenceIsRefused(t *testing.T) {
	c := newScene(t)
	juliet := c.login("juliet/b")
	if e := juliet.Send(`<presence type='invisible'/>`); e.Outcome != router.Refused || e.Err.Condition != xmpp.CondBadRequest {
		t.Errorf("%v, %v", e.Outcome, e.Err)
	}
	for _, typ := range []string{"probe", "error"} {
		if e := juliet.Send(`<presence type='` + typ + `'/>`); e.Outcome != router.Dropped {
			t.Errorf("%s: %v", typ, e.Outcome)
		}
	}
}

func TestDirectedPresenceIsTakenBackAtTheEnd(t *testing.T) {
	for name, end := range map[string]func(*moduletest.Client){
		"said":  func(j *moduletest.Client) { j.Send(`<presence type='unavailable'/>`) },
		"ended": (*moduletest.Client).Logout,
	} {
		t.Run(name, func(t *testing.T) {
			c := newScene(t)
			romeo, juliet, nurse := c.present("romeo/a"), c.present("juliet/b"), c.login("nurse/n")
			nurse.Send(`<presence to='romeo@example.org/a'><show>chat</show></presence>`)
			nurse.Send(`<presence to='juliet@example.org'/>`)
			romeo.Received()
			juliet.Received()
			nurse.Send(`<presence to='juliet@example.org' type='unavailable'/>`)
			juliet.Want(`<presence from='nurse@example.org/n' to='juliet@example.org' type='unavailable'/>`)
			end(nurse)
			romeo.Want(`<presence from='nurse@example.org/n' to='romeo@example.org/a' type='unavailable'/>`)
			juliet.Want()
		})
	}
}

func TestAFullSessionThatLeavesARoomGetsTheAnswer(t *testing.T) {
	c := newScene(t)
	juliet := c.login("juliet/b")
	juliet.Send("<presence/>")
	juliet.Send("<presence to='room@rooms.example.net/juliet'/>")
	juliet.Send("<presence to='room@rooms.example.net/juliet' type='unavailable'/>")
	juliet.Received()
	juliet.Out.Fill(true)
	answer := moduletest.Parse(t,
		"<presence from='room@rooms.example.net/juliet' to='juliet@example.org/b' type='unavailable'/>")
	c.r.Route(&router.Envelope{Stanza: answer, Peer: "rooms.example.net"})
	if got := len(juliet.Received()); got != 1 {
		t.Errorf("she got %d", got)
	}
}

func TestWhereASessionDoesNotShowItselfAnyMoreCountsNoLonger(t *testing.T) {
	c := newScene(t)
	juliet := c.login("juliet/b")
	for i := range 2 * maxDirected {
		juliet.Send(fmt.Sprintf(`<presence to='u%d@example.org'/>`, i))
		if e := juliet.Send(fmt.Sprintf(`<presence to='u%d@example.org' type='unavailable'/>`, i)); e.Outcome == router.Refused {
			t.Fatalf("%d: %v", i, e.Err)
		}
	}
	if e := juliet.Send(`<presence to='more@example.org'/>`); e.Outcome == router.Refused {
		t.Error(e.Err)
	}
}

func TestDirectedPresenceToASubscriberIsNotTakenBackTwice(t *testing.T) {
	c := newScene(t)
	romeo, juliet := c.present("romeo/a"), c.present("juliet/b")
	juliet.Send(`<presence to='romeo@example.org'/>`)
	romeo.Received()
	juliet.Logout()
	romeo.Want(`<presence from='juliet@example.org/b' to='romeo@example.org' type='unavailable'/>`)
}

func TestDirectedPresenceIsBounded(t *testing.T) {
	c := newScene(t)
	juliet := c.login("juliet/b")
	for i := range maxDirected {
		juliet.Send(fmt.Sprintf(`<presence to='u%d@example.org'/>`, i))
	}
	if e := juliet.Send(`<presence to='more@example.org'/>`); e.Outcome != router.Refused || e.Err.Condition != xmpp.CondResourceConstraint {
		t.Errorf("%v, %v", e.Outcome, e.Err)
	}
	if e := juliet.Send(`<presence to='u1@example.org'/>`); e.Outcome == router.Refused {
		t.Errorf("once more to the same: %v", e.Err)
	}
}

func TestProbes(t *testing.T) {
	c := newScene(t)
	juliet, second, romeo, nurse := c.present("juliet/b"), c.present("juliet/c"), c.present("romeo/a"), c.present("nurse/n")
	second.Send(`<presence><show>away</show></presence>`)
	romeo.Received()
	nurse.Received()
	juliet.Received()
	romeo.Send(`<presence type='probe' to='juliet@example.org'/>`)
	romeo.Want(`<presence from='juliet@example.org/b' to='romeo@example.org/a'/>`,
		`<presence from='juliet@example.org/c' to='romeo@example.org/a'><show>away</show></presence>`)
	romeo.Send(`<presence type='probe' to='juliet@example.org/b'/>`)
	romeo.Want(`<presence from='juliet@example.org/b' to='romeo@example.org/a'/>`)
	romeo.Send(`<presence type='probe' to='juliet@example.org/gone'/>`)
	romeo.Want(`<presence from='juliet@example.org/gone' to='romeo@example.org/a' type='unavailable'/>`)
	for _, hidden := range []string{"nurse", "ghost"} { // not a subscriber; not a user
		romeo.Send(`<presence type='probe' to='` + hidden + `@example.org'/>`)
		romeo.Want(`<presence from='` + hidden + `@example.org' to='romeo@example.org' type='unsubscribed'/>`)
	}
	nurse.Send(`<presence type='probe' to='nurse@example.org'/>`)
	nurse.Want(`<presence from='nurse@example.org/n' to='nurse@example.org/n'/>`)
	juliet.Want()
}

func TestWaitingRequestsComeWithInitialPresence(t *testing.T) {
	c := newScene(t)
	c.f.requests["nurse"] = moduletest.Parse(t, `<presence from='romeo@example.org' to='nurse@example.org' type='subscribe'/>`)
	nurse := c.login("nurse/n")
	for range 2 {
		nurse.Send(`<presence/>`)
		nurse.Want(`<presence from='nurse@example.org/n' to='nurse@example.org/n'/>`,
			`<presence from='romeo@example.org' to='nurse@example.org' type='subscribe'/>`)
		nurse.Send(`<presence/>`) // not initial
		nurse.Send(`<presence type='unavailable'/>`)
		nurse.Received()
	}
}

func TestWhoIsBlockedSeesNothing(t *testing.T) {
	c := newScene(t)
	romeo := c.present("romeo/a")
	c.blocked["juliet romeo"] = true
	juliet := c.login("juliet/b")
	juliet.Send(`<presence/>`)
	juliet.Want(`<presence from='juliet@example.org/b' to='juliet@example.org/b'/>`)
	juliet.Logout()
	romeo.Want()
}

func TestPresenceGoesOnWhileTheRosterCannotBeRead(t *testing.T) {
	c := newScene(t)
	romeo := c.present("romeo/a")
	c.f.err = errors.New("away")
	juliet := c.login("juliet/b")
	juliet.Send(`<presence/>`)
	if juliet.Presence() == nil {
		t.Error("not available")
	}
	romeo.Send(`<presence type='probe' to='juliet@example.org'/>`)
	romeo.Received()
	juliet.Logout()
}

// sink is an outlet that counts.
type sink struct{ n int }

func (o *sink) Send(router.Delivery) (bool, bool)    { o.n++; return false, true }
func (o *sink) Flush()                               {}
func (o *sink) Detached() bool                       { return false }
func (o *sink) Prompt() bool                         { return false }
func (o *sink) Full() bool                           { return false }
func (o *sink) WaitBelow(context.Context, int) error { return nil }
func (o *sink) End(string, string)                   {}
func bind(r *router.Router, j string) (*router.Session, *sink) {
	o := &sink{}
	s, err := r.Bind(jid.MustParse(j), o)
	if err != nil {
		panic(err)
	}
	return s, o
}

// list is a roster that does not think.
type list []jid.JID

func (l list) Subscribers(jid.JID) ([]jid.JID, error)     { return l, nil }
func (l list) Subscriptions(jid.JID) ([]jid.JID, error)   { return nil, nil }
func (l list) Sees(jid.JID, jid.JID) (bool, error)        { return true, nil }
func (l list) Requests(jid.JID) ([]jid.JID, error)        { return nil, nil }
func (l list) Request(_, _ jid.JID) (*xmpp.Stanza, error) { return nil, nil }

func BenchmarkBroadcastTo20(b *testing.B) {
	r := moduletest.New()
	var l list
	var outs []*sink
	for i := range 20 {
		s, o := bind(r, fmt.Sprintf("u%d@example.org/r", i))
		r.SetPresence(s, &xmpp.Stanza{Kind: xmpp.Presence, From: s.Addr()}, 0)
		l, outs = append(l, s.Bare()), append(outs, o)
	}
	r.Use(New(r, l, nil, moduletest.Discard()))
	s, _ := bind(r, "juliet@example.org/b")
	p := moduletest.Parse(b, `<presence><show>away</show><status>out for lunch</status></presence>`)
	p.From = s.Addr()
	var batch router.Batch
	e := router.Envelope{Batch: &batch}
	b.ReportAllocs()
	for b.Loop() {
		e.Reset()
		e.Stanza, e.Session = p, s
		r.Route(&e)
	}
	if outs[0].n != b.N {
		b.Errorf("%d of %d arrived", outs[0].n, b.N)
	}
}

// many is a user whom very many have asked.
type many struct{ friends }

func (m *many) Requests(jid.JID) (out []jid.JID, err error) {
	for i := range 2000 {
		out = append(out, jid.MustParse("u"+strconv.Itoa(i)+"@far.example"))
	}
	return out, nil
}

func (m *many) Request(user, other jid.JID) (*xmpp.Stanza, error) {
	if other.Local() == "u7" {
		return nil, nil // answered meanwhile
	}
	return &xmpp.Stanza{Kind: xmpp.Presence, Type: xmpp.TypeSubscribe, From: other, To: user,
		Payload: make([]byte, 4<<10)}, nil
}

func TestRequestsComeNoFasterThanTheyAreTaken(t *testing.T) {
	r := moduletest.New("juliet")
	r.Use(New(r, &many{}, nil, moduletest.Discard()))
	j := moduletest.Login(t, r, "juliet/a")
	j.Send("<presence/>")
	seen := map[string]bool{}
	for len(seen) < 1999 {
		j.Wait(1)
		got := j.Take()
		if len(got) > 70 {
			t.Fatalf("%d at once", len(got))
		}
		for _, d := range got {
			if d.Stanza.Type == xmpp.TypeSubscribe {
				seen[d.Stanza.From.Local()] = true
			}
		}
	}
	if seen["u7"] {
		t.Error("an answered request was brought")
	}
}

// A stranger must not bring a session, which takes what it gets more slowly, to its end.
func TestAFullSessionGetsOnlyThePresenceThatItAskedFor(t *testing.T) {
	c := newScene(t)
	juliet := c.login("juliet/b")
	juliet.Send("<presence/>")
	juliet.Send("<presence to='room@rooms.example.net/juliet'/>")
	for _, full := range []bool{false, true} {
		juliet.Out.Fill(full)
		for from, asked := range map[string]bool{
			"romeo@example.org/a":             true, // whose presence she has subscribed to
			"juliet@example.org/c":            true, // herself
			"room@rooms.example.net/mercutio": true, // a room that she is in
			"nurse@example.org/a":             false,
			"tybalt@example.net/x":            false,
		} {
			for _, to := range []string{"juliet@example.org", "juliet@example.org/b"} {
				for _, typ := range []string{"", " type='unavailable'"} {
					juliet.Received()
					p := moduletest.Parse(t, "<presence from='"+from+"' to='"+to+"'"+typ+"/>")
					e := &router.Envelope{Stanza: p, Peer: p.From.Domain()}
					c.r.Route(e)
					if got := len(juliet.Received()); (got == 1) != (asked || !full) {
						t.Errorf("full: %t: %d from %s to %s%s", full, got, from, to, typ)
					}
				}
			}
		}
	}
	c.f.err = errors.New("no roster")
	c.r.Route(&router.Envelope{Stanza: moduletest.Parse(t, "<presence from='tybalt@example.net/x' to='juliet@example.org'/>"), Peer: "example.net"})
	if got := len(juliet.Received()); got != 1 {
		t.Errorf("while nobody knows who is a contact she got %d", got)
	}
}
