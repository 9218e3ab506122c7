package roster

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

const get = `<iq type='get' id='g'><query xmlns='jabber:iq:roster'/></iq>`

type scene struct {
	*testing.T
	r     *router.Router
	m     *Roster
	store *moduletest.Store
}

func newScene(t *testing.T, o Options) *scene {
	users := moduletest.Users{"romeo@example.org": true, "juliet@example.org": true}
	c := &scene{T: t, r: moduletest.New("romeo", "juliet"), store: moduletest.NewStore()}
	c.m = New(c.r, users, c.store.Map("roster"), func() Options { return o }, moduletest.Discard())
	c.r.Use(c.m.Module())
	return c
}

// login brings a client that is available and has asked for its roster.
func (c *scene) login(address string) *moduletest.Client {
	j := moduletest.Login(c.T, c.r, address)
	j.Available(0)
	j.Send(get)
	j.Received()
	return j
}

func (c *scene) state(user, contact string) State {
	u, err := c.m.lock(jid.MustParse(user))
	if err != nil {
		c.Fatal(err)
	}
	defer c.m.unlock(u)
	return u.state(jid.MustParse(contact))
}

func set(item string) string {
	return `<iq type='set' id='s'><query xmlns='jabber:iq:roster'>` + item + `</query></iq>`
}

func push(to string, version int, item string) string {
	return fmt.Sprintf(`<iq type='set' id='roster-%d' to='%s'><query xmlns='jabber:iq:roster' ver='%d'>%s</query></iq>`, version, to, version, item)
}

func result(to, payload string) string {
	return `<iq type='result' id='s' from='` + strings.Split(to, "/")[0] + `' to='` + to + `'>` + payload + `</iq>`
}

func TestSetItemIsPushedToInterestedResourcesAndReturned(t *testing.T) {
	c := newScene(t, Options{})
	a, b, other := c.login("romeo/a"), c.login("romeo/b"), moduletest.Login(t, c.r, "romeo/c")
	a.Send(set(`<item jid='nurse@example.org/x' name='N &amp; N' subscription='both' ask='subscribe'><group>Servants</group><group>Friends</group></item>`))
	item := `<item jid='nurse@example.org' name='N &amp; N' subscription='none'><group>Servants</group><group>Friends</group></item>`
	a.Want(push("romeo@example.org/a", 1, item), result("romeo@example.org/a", ""))
	b.Want(push("romeo@example.org/b", 1, item))
	other.Want()
	other.Send(strings.Replace(get, "'g'", "'s'", 1))
	other.Want(result("romeo@example.org/c", `<query xmlns='jabber:iq:roster'>`+item+`</query>`))
}

func TestRosterSetThatCannotBeIsRefused(t *testing.T) {
	long := strings.Repeat("x", maxText+1)
	for _, test := range []struct {
		name, xml string
		want      xmpp.Condition
	}{
		{"no item", set(``), xmpp.CondBadRequest},
		{"two items", set(`<item jid='a@b'/><item jid='c@d'/>`), xmpp.CondBadRequest},
		{"no address", set(`<item/>`), xmpp.CondJIDMalformed},
		{"bad address", set(`<item jid='@'/>`), xmpp.CondJIDMalformed},
		{"oneself", set(`<item jid='romeo@example.org'/>`), xmpp.CondNotAllowed},
		{"group twice", set(`<item jid='a@b'><group>x</group><group>x</group></item>`), xmpp.CondBadRequest},
		{"empty group", set(`<item jid='a@b'><group/></item>`), xmpp.CondNotAcceptable},
		{"long group", set(`<item jid='a@b'><group>` + long + `</group></item>`), xmpp.CondNotAcceptable},
		{"long name", set(`<item jid='a@b' name='` + long + `'/>`), xmpp.CondNotAcceptable},
		{"too many groups", set(`<item jid='a@b'><group>1</group><group>2</group><group>3</group></item>`), xmpp.CondResourceConstraint},
		{"too many items", set(`<item jid='third@b'/>`), xmpp.CondResourceConstraint},
		{"removing nobody", set(`<item jid='a@b' subscription='remove'/>`), xmpp.CondItemNotFound},
		{"somebody else's", `<iq type='set' id='s' to='juliet@example.org'><query xmlns='jabber:iq:roster'><item jid='a@b'/></query></iq>`, xmpp.CondForbidden},
		{"reading somebody else's", `<iq type='get' id='s' to='juliet@example.org'><query xmlns='jabber:iq:roster'/></iq>`, xmpp.CondForbidden},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newScene(t, Options{MaxItems: 2, MaxGroups: 2})
			a := c.login("romeo/a")
			a.Send(set(`<item jid='first@b'/>`))
			a.Send(set(`<item jid='second@b'/>`))
			if e := a.Send(test.xml); e.Outcome != router.Refused || e.Err.Condition != test.want {
				t.Errorf("%v, %v", e.Outcome, e.Err)
			}
		})
	}
}

func TestWriteIsAnsweredOnceItIsDurable(t *testing.T) {
	c := newScene(t, Options{})
	a := moduletest.Login(t, c.r, "romeo/a")
	c.store.Hold()
	a.Send(set(`<item jid='a@b'/>`))
	a.Want()
	c.store.Release(nil)
	a.Want(result("romeo@example.org/a", ""))
	c.store.Fail(storage.ErrUnavailable)
	if e := a.Send(set(`<item jid='c@d'/>`)); e.Err == nil || e.Err.Condition != xmpp.CondResourceConstraint {
		t.Errorf("%v, %v", e.Outcome, e.Err)
	}
	c.store.Fail(nil)
	if e := a.Send(set(`<item jid='c@d'/>`)); e.Err != nil {
		t.Errorf("after the storage came back: %v", e.Err)
	}
}

func TestARosterComesInOneOrder(t *testing.T) {
	c := newScene(t, Options{})
	romeo := c.login("romeo/orchard")
	want := ""
	for i := range 40 {
		who := fmt.Sprintf("c%02d@example.net", i)
		want += `<item jid='` + who + `' subscription='none'/>`
		romeo.Send(set(fmt.Sprintf("<item jid='c%02d@example.net'/>", 39-i)))
	}
	for range 3 {
		romeo.Received()
		romeo.Send(get)
		if got := strings.Join(romeo.Received(), ""); !strings.Contains(got, want) {
			t.Errorf("the roster is %s", got)
		}
	}
}

func TestUnchangedRosterIsNotSentAgain(t *testing.T) {
	c := newScene(t, Options{})
	a := c.login("romeo/a")
	for _, name := range []string{"1", "2", "3"} {
		a.Send(set(`<item jid='` + name + `@b'/>`))
	}
	a.Send(set(`<item jid='2@b' subscription='remove'/>`))
	a.Received()
	ask := func(ver string) {
		a.Send(`<iq type='get' id='s'><query xmlns='jabber:iq:roster' ver='` + ver + `'/></iq>`)
	}
	ask("4")
	a.Want(result("romeo@example.org/a", ""))
	ask("1")
	a.Want(result("romeo@example.org/a", ""),
		push("romeo@example.org/a", 3, `<item jid='3@b' subscription='none'/>`),
		push("romeo@example.org/a", 4, `<item jid='2@b' subscription='remove'/>`))
	for _, unknown := range []string{"", "99", "x", "-1"} {
		ask(unknown)
		if got := a.Received(); len(got) != 1 || !strings.Contains(got[0], "ver='4'") || strings.Count(got[0], "<item ") != 2 {
			t.Errorf("ver=%q: %s", unknown, got)
		}
	}
	c.store.Map("roster").(*moduletest.Map).Forget(2)
	ask("1")
	if got := a.Received(); len(got) != 1 || !strings.Contains(got[0], "ver='4'") {
		t.Errorf("a version that storage has forgotten: %s", got)
	}
}

func TestSubscriptionChangesBothRosters(t *testing.T) {
	c := newScene(t, Options{})
	romeo, juliet := c.login("romeo/a"), c.login("juliet/b")
	romeo.Send(`<presence id='1' to='juliet@example.org/whatever' type='subscribe'><status>hi</status></presence>`)
	romeo.Want(push("romeo@example.org/a", 1, `<item jid='juliet@example.org' subscription='none' ask='subscribe'/>`))
	juliet.Want(`<presence id='1' from='romeo@example.org' to='juliet@example.org' type='subscribe'><status>hi</status></presence>`)

	juliet.Send(`<presence to='romeo@example.org' type='subscribed'/>`)
	juliet.Want(push("juliet@example.org/b", 2, `<item jid='romeo@example.org' subscription='from'/>`))
	romeo.Want(`<presence from='juliet@example.org' to='romeo@example.org' type='subscribed'/>`,
		push("romeo@example.org/a", 2, `<item jid='juliet@example.org' subscription='to'/>`),
		`<presence from='juliet@example.org/b' to='romeo@example.org'/>`)
	if a, b := c.state("romeo@example.org", "juliet@example.org"), c.state("juliet@example.org", "romeo@example.org"); a != (State{To: true}) || b != (State{From: true}) {
		t.Errorf("%+v, %+v", a, b)
	}
	if ok, err := c.m.Sees(jid.MustParse("juliet@example.org"), jid.MustParse("romeo@example.org")); !ok || err != nil {
		t.Errorf("romeo does not see juliet: %v", err)
	}

	juliet.Send(`<presence to='romeo@example.org' type='unsubscribed'/>`)
	juliet.Want(push("juliet@example.org/b", 3, `<item jid='romeo@example.org' subscription='none'/>`))
	romeo.Want(`<presence from='juliet@example.org' to='romeo@example.org' type='unsubscribed'/>`,
		push("romeo@example.org/a", 3, `<item jid='juliet@example.org' subscription='none'/>`),
		`<presence from='juliet@example.org/b' to='romeo@example.org' type='unavailable'/>`)
}

func TestUnsubscribingEndsWhatIsSeen(t *testing.T) {
	c := newScene(t, Options{})
	romeo, juliet := c.login("romeo/a"), c.login("juliet/b")
	romeo.Send(`<presence to='juliet@example.org' type='subscribe'/>`)
	juliet.Send(`<presence to='romeo@example.org' type='subscribed'/>`)
	romeo.Received()
	juliet.Received()
	romeo.Send(`<presence to='juliet@example.org' type='unsubscribe'/>`)
	juliet.Want(`<presence from='romeo@example.org' to='juliet@example.org' type='unsubscribe'/>`,
		push("juliet@example.org/b", 3, `<item jid='romeo@example.org' subscription='none'/>`))
	romeo.Want(push("romeo@example.org/a", 3, `<item jid='juliet@example.org' subscription='none'/>`),
		`<presence from='juliet@example.org/b' to='romeo@example.org' type='unavailable'/>`)
}

// requests reads all requests that wait for a user.
func (c *scene) requests(user string) (out []*xmpp.Stanza, err error) {
	of, err := c.m.Requests(jid.MustParse(user))
	for _, contact := range of {
		s, err := c.m.Request(jid.MustParse(user), contact)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, err
}

func TestRequestWaitsForTheContactAndSaysAllItSaid(t *testing.T) {
	c := newScene(t, Options{})
	romeo := c.login("romeo/a")
	romeo.Send(`<presence id='1' to='juliet@example.org' type='subscribe' xml:lang='it'><status>sono io</status></presence>`)
	romeo.Send(`<presence id='2' to='juliet@example.org' type='subscribe'/>`)
	requests, err := c.requests("juliet@example.org")
	if err != nil || len(requests) != 1 {
		t.Fatalf("%d requests, %v", len(requests), err)
	}
	moduletest.Same(t, string(requests[0].Append(nil)),
		`<presence id='1' from='romeo@example.org' to='juliet@example.org' type='subscribe' xml:lang='it'><status>sono io</status></presence>`)
	// No item is shown for somebody who has only asked: §2.1.2.5, A.1
	juliet := moduletest.Login(t, c.r, "juliet/b")
	juliet.Send(strings.Replace(get, "'g'", "'s'", 1))
	juliet.Want(result("juliet@example.org/b", `<query xmlns='jabber:iq:roster'/>`))
	juliet.Send(`<presence to='romeo@example.org' type='unsubscribed'/>`)
	if requests, _ = c.requests("juliet@example.org"); len(requests) != 0 {
		t.Error("the request was answered and waits on")
	}
	if s := c.state("romeo@example.org", "juliet@example.org"); s != (State{}) {
		t.Errorf("romeo: %+v", s)
	}
}

func TestRequestThatSaysTooMuchIsKeptWithoutIt(t *testing.T) {
	c := newScene(t, Options{MaxItems: 1})
	romeo := c.login("romeo/a")
	romeo.Send(`<presence to='juliet@example.org' type='subscribe'><status>` + strings.Repeat("x", maxRequest) + `</status></presence>`)
	requests, _ := c.requests("juliet@example.org")
	if len(requests) != 1 || len(requests[0].Payload) != 0 {
		t.Errorf("requests: %+v", requests)
	}
	e := &router.Envelope{Stanza: moduletest.Parse(t, `<presence from='x@example.net' to='juliet@example.org' type='subscribe'/>`), Quiet: true}
	if c.r.Route(e); e.Outcome != router.Refused || e.Err.Condition != xmpp.CondResourceConstraint {
		t.Errorf("a request too many: %v, %v", e.Outcome, e.Err)
	}
}

func TestRequestThatSaysTooMuchIsShownWithoutIt(t *testing.T) {
	c := newScene(t, Options{})
	juliet := moduletest.Login(t, c.r, "juliet/b")
	juliet.Available(0)
	for _, test := range []struct{ is, shown string }{
		{`id='1' xml:lang='it'><status>` + strings.Repeat("x", 200<<10) + `</status>`, ` id='1'/>`},
		{`id='` + strings.Repeat("x", 5<<10) + `'>`, `/>`},
		{`x='` + strings.Repeat("x", 5<<10) + `'>`, `/>`},
	} {
		e := &router.Envelope{Stanza: moduletest.Parse(t, `<presence from='x@example.net' to='juliet@example.org' type='subscribe' `+
			test.is+`</presence>`), Quiet: true}
		if c.r.Route(e); e.Outcome != router.Delivered {
			t.Fatalf("%v, %v", e.Outcome, e.Err)
		}
		want := `<presence from='x@example.net' to='juliet@example.org' type='subscribe'` + test.shown
		juliet.Want(want)
		requests, err := c.requests("juliet@example.org")
		if err != nil || len(requests) != 1 {
			t.Fatalf("requests: %v, %v", requests, err)
		}
		moduletest.Same(t, string(requests[0].Append(nil)), want)
		juliet.Send(`<presence to='x@example.net' type='unsubscribed'/>`) // there are no other servers here
		juliet.Received()
	}
}

func TestRequestsOfOneDomainLeaveRoomForOthers(t *testing.T) {
	c := newScene(t, Options{MaxItems: 100})
	asks := func(from string) bool {
		e := &router.Envelope{Stanza: moduletest.Parse(t, `<presence from='`+from+`' to='juliet@example.org' type='subscribe'/>`), Quiet: true}
		c.r.Route(e)
		if e.Outcome == router.Refused && (e.Err.Condition != xmpp.CondResourceConstraint || e.Err.Type != xmpp.ErrorWait) {
			t.Fatalf("%s: %v", from, e.Err)
		}
		return e.Outcome != router.Refused
	}
	flood := func(format string) (n int) {
		for i := range 100 {
			if asks(fmt.Sprintf(format, i)) {
				n++
			}
		}
		return n
	}
	if n := flood("x%d@evil.example"); n != 25 {
		t.Errorf("%d requests of one domain wait", n)
	}
	if n := flood("x@%d.evil.example"); n != 0 {
		t.Errorf("%d more of its subdomains", n)
	}
	if !asks("friend@example.net") {
		t.Error("a friend does not get through")
	}
	for i := range 40 {
		flood("x%d@evil" + fmt.Sprint(i) + ".example")
	}
	requests, err := c.requests("juliet@example.org")
	if err != nil || len(requests) > 98 {
		t.Fatalf("%d requests wait, %v", len(requests), err)
	}
	// Whom the user has asked, too, gets through in any case.
	juliet := c.login("juliet/b")
	juliet.Send(set(`<item jid='nurse@evil.example'/>`))
	if !asks("nurse@evil.example") {
		t.Error("a contact does not get through")
	}
}

func TestNobodyIsAskedOnBehalfOfNobody(t *testing.T) {
	c := newScene(t, Options{})
	romeo := c.login("romeo/a")
	romeo.Send(`<presence to='ghost@example.org' type='subscribe'/>`)
	romeo.Want(push("romeo@example.org/a", 1, `<item jid='ghost@example.org' subscription='none' ask='subscribe'/>`))
	if entries, _, _ := c.store.Map("roster").List(t.Context(), "ghost@example.org"); len(entries) != 0 {
		t.Errorf("a roster was made for nobody: %v", entries)
	}
	for _, xml := range []string{`<presence type='subscribe'/>`, `<presence to='romeo@example.org/b' type='subscribe'/>`} {
		if e := romeo.Send(xml); e.Outcome != router.Dropped {
			t.Errorf("%s: %v", xml, e.Outcome)
		}
	}
	if e := romeo.Send(`<presence to='x@example.net' type='subscribe'/>`); e.Outcome != router.Refused || e.Err.Condition != xmpp.CondRemoteServerNotFound {
		t.Errorf("to another server: %v, %v", e.Outcome, e.Err)
	}
}

func TestPreApprovalGrantsTheNextRequest(t *testing.T) {
	c := newScene(t, Options{})
	romeo, juliet := c.login("romeo/a"), c.login("juliet/b")
	juliet.Send(`<presence to='romeo@example.org' type='subscribed'/>`)
	juliet.Want(push("juliet@example.org/b", 1, `<item jid='romeo@example.org' subscription='none' approved='true'/>`))
	romeo.Want()
	romeo.Send(`<presence to='juliet@example.org' type='subscribe'/>`)
	juliet.Want(push("juliet@example.org/b", 2, `<item jid='romeo@example.org' subscription='from'/>`))
	romeo.Want(push("romeo@example.org/a", 1, `<item jid='juliet@example.org' subscription='none' ask='subscribe'/>`),
		`<presence from='juliet@example.org' to='romeo@example.org' type='subscribed'/>`,
		push("romeo@example.org/a", 2, `<item jid='juliet@example.org' subscription='to'/>`),
		`<presence from='juliet@example.org/b' to='romeo@example.org'/>`)
}

func TestRemovingAContactEndsBothSubscriptions(t *testing.T) {
	c := newScene(t, Options{})
	romeo, juliet := c.login("romeo/a"), c.login("juliet/b")
	befriend(romeo, juliet)
	romeo.Send(set(`<item jid='juliet@example.org' subscription='remove'/>`))
	romeo.Want(push("romeo@example.org/a", 5, `<item jid='juliet@example.org' subscription='remove'/>`),
		`<presence from='juliet@example.org/b' to='romeo@example.org' type='unavailable'/>`,
		result("romeo@example.org/a", ""))
	juliet.Want(
		`<presence from='romeo@example.org' to='juliet@example.org' type='unsubscribe'/>`,
		push("juliet@example.org/b", 5, `<item jid='romeo@example.org' subscription='to'/>`),
		`<presence from='romeo@example.org' to='juliet@example.org' type='unsubscribed'/>`,
		push("juliet@example.org/b", 6, `<item jid='romeo@example.org' subscription='none'/>`),
		`<presence from='romeo@example.org/a' to='juliet@example.org' type='unavailable'/>`)
}

// befriend subscribes two to each other and reads what they get.
func befriend(a, b *moduletest.Client) {
	for _, x := range [][2]*moduletest.Client{{a, b}, {b, a}} {
		x[0].Send(`<presence to='` + x[1].Bare().String() + `' type='subscribe'/>`)
		x[1].Send(`<presence to='` + x[0].Bare().String() + `' type='subscribed'/>`)
	}
	a.Received()
	b.Received()
}

func TestRemovedAccountLeavesNoSubscriptionBehind(t *testing.T) {
	c := newScene(t, Options{})
	romeo, juliet := c.login("romeo/a"), c.login("juliet/b")
	befriend(romeo, juliet)
	if err := c.r.Remove(jid.MustParse("romeo@example.org")); err != nil {
		t.Fatal(err)
	}
	if s := c.state("juliet@example.org", "romeo@example.org"); s != (State{}) {
		t.Errorf("juliet: %+v", s)
	}
	if entries, _, _ := c.store.Map("roster").List(t.Context(), "romeo@example.org"); len(entries) != 0 {
		t.Errorf("left: %v", entries)
	}
}

func TestTwoWhoAskEachOtherAtOnceDoNotWaitForEachOther(t *testing.T) {
	c := newScene(t, Options{})
	romeo, juliet := c.login("romeo/a"), c.login("juliet/b")
	var wg sync.WaitGroup
	for _, x := range [][2]*moduletest.Client{{romeo, juliet}, {juliet, romeo}} {
		wg.Go(func() {
			for range 200 {
				for _, typ := range []string{"subscribe", "subscribed", "unsubscribe", "unsubscribed"} {
					x[0].Send(`<presence to='` + x[1].Bare().String() + `' type='` + typ + `'/>`)
				}
			}
		})
	}
	wg.Wait()
	a, b := c.state("romeo@example.org", "juliet@example.org"), c.state("juliet@example.org", "romeo@example.org")
	if a.From || b.From || a.PendingIn || b.PendingIn {
		t.Errorf("after the last unsubscribed: %+v, %+v", a, b)
	}
}

func TestRostersOfWhoIsAwayAreForgottenInTime(t *testing.T) {
	c := newScene(t, Options{})
	loads := &loads{Map: c.m.store, of: map[string]int{}}
	c.m.store = loads
	juliet := c.login("juliet/b")
	// use has a roster of that many items used, and says how often it was loaded so far.
	use := func(bare string, items int) int {
		u, err := c.m.lock(jid.MustParse(bare))
		if err != nil {
			t.Fatal(err)
		}
		for k := range items {
			u.setItem(jid.MustParse(fmt.Sprintf("%d@x", k)), &Item{})
		}
		c.m.unlock(u)
		return loads.of[bare]
	}
	others := func() (again int) {
		for i := range 3 * 64 * idleCost / 100 { // more than there is room for in the 64 parts of the cache
			again += use(fmt.Sprintf("u%d@example.net", i), 100) - 1
		}
		return again
	}
	use("juliet@example.org", 0)
	if n := others(); n != 0 || use("u0@example.net", 0) != 2 {
		t.Errorf("%d were loaded twice, the first was not forgotten", n)
	}
	if n := use("juliet@example.org", 0); n != 1 {
		t.Errorf("the roster of a user with a session was loaded %d times", n)
	}
	juliet.Logout()
	if n := use("juliet@example.org", 0); n != 1 {
		t.Errorf("the roster of a user who has just left was loaded %d times", n)
	}
	others()
	if n := use("juliet@example.org", 0); n != 2 {
		t.Errorf("the roster of a user who left long ago was loaded %d times", n)
	}
}

// loads counts how often the rosters are read.
type loads struct {
	storage.Map
	of map[string]int
}

func (l *loads) List(ctx context.Context, owner string) ([]storage.Entry, uint64, error) {
	l.of[owner]++
	return l.Map.List(ctx, owner)
}

func TestRosterSurvivesItsRecords(t *testing.T) {
	for _, it := range []*Item{
		{},
		{Name: "ä", Groups: []string{"a", "b"}, State: State{To: true, From: true}},
		{State: State{PendingOut: true, Approved: true}},
	} {
		got, err := readItem(string(it.record()), nil)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(it, got, cmp.AllowUnexported(Item{})); d != "" {
			t.Error(d)
		}
	}
	bad := (&Item{Name: "abc", Groups: []string{"d"}}).record()
	for _, b := range [][]byte{nil, {9, 0, 0}, bad[:4], bad[:len(bad)-1]} {
		if _, err := readItem(string(b), nil); err == nil {
			t.Errorf("%v was read", b)
		}
	}
}

func FuzzReadItem(f *testing.F) {
	f.Add((&Item{Name: "n", Groups: []string{"g"}, State: State{To: true}}).record())
	f.Fuzz(func(t *testing.T, b []byte) {
		it, err := readItem(string(b), nil)
		if err != nil {
			return
		}
		if again, err := readItem(string(it.record()), nil); err != nil || !it.equal(again) {
			t.Errorf("%+v became %+v, %v", it, again, err)
		}
		if _, err := readRequest(b, jid.JID{}, jid.JID{}); err == nil && b[0] != recordVersion {
			t.Error("a request of an unknown version was read")
		}
	})
}

func TestARosterIsBoundedInBytes(t *testing.T) {
	c := newScene(t, Options{MaxItems: 2000, MaxBytes: 10_000})
	romeo := c.login("romeo/a")
	item := func(i, size int) *router.Envelope {
		defer romeo.Received()
		return romeo.Send(set(fmt.Sprintf(`<item jid='x%d@example.net' name='%s'/>`, i, strings.Repeat("n", size))))
	}
	n := 0
	for ; n < 100 && item(n, 900).Outcome != router.Refused; n++ {
	}
	if n != 10 {
		t.Errorf("%d items are kept", n)
	}
	if e := item(n, 900); e.Err == nil || e.Err.Condition != xmpp.CondResourceConstraint {
		t.Errorf("one more: %v", e.Err)
	}
	if e := item(0, 1000); e.Outcome == router.Refused {
		t.Errorf("a longer name while there is room: %v", e.Err)
	}
	c.m.limits = func() Options { return Options{MaxBytes: 1000} } // now it is far beyond
	if e := item(1, 901); e.Outcome != router.Refused {
		t.Error("what grows beyond the bound is taken")
	}
	if e := item(1, 900); e.Outcome == router.Refused {
		t.Errorf("what does not grow: %v", e.Err)
	}
	if e := romeo.Send(set(`<item jid='x1@example.net' subscription='remove'/>`)); e.Outcome == router.Refused {
		t.Errorf("a removal: %v", e.Err)
	}
	u, err := c.m.lock(jid.MustParse("romeo@example.org"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.m.unlock(u)
	size := 0
	for contact, it := range u.items {
		size += it.size(contact)
	}
	if u.size != size {
		t.Errorf("the size is reckoned as %d and is %d", u.size, size)
	}
}
