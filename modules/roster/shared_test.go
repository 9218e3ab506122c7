package roster

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

const romeo, juliet = "romeo@example.org", "juliet@example.org"

// share has two users know each other in these groups; none: no longer.
func (c *scene) share(groups ...string) {
	c.Helper()
	users := []jid.JID{jid.MustParse(romeo), jid.MustParse(juliet)}
	var gained, lost [2][]jid.JID
	var b router.Batch
	for i, user := range users {
		want := map[jid.JID][]string{}
		if groups != nil {
			want[users[1-i]] = groups
		}
		var err error
		if gained[i], lost[i], _, err = c.m.Share(context.Background(), &b, user, want); err != nil {
			c.Fatal(err)
		}
	}
	for i, user := range users {
		c.m.Seen(&b, user, gained[i], lost[i])
	}
	b.Flush()
}

// item is what romeo's roster says of juliet; "" if nothing.
func (c *scene) item() string {
	c.Helper()
	q, _, err := c.m.Query(jid.MustParse(romeo))
	if err != nil {
		c.Fatal(err)
	}
	s := strings.TrimSuffix(string(q), "</query>")
	if _, s, ok := strings.Cut(s, "<item"); ok {
		return "<item" + s
	}
	return ""
}

func (c *scene) wantItem(want string) {
	c.Helper()
	if got := c.item(); moduletest.Canonical(c, got) != moduletest.Canonical(c, want) {
		c.Errorf("the roster says %s\nwant %s", got, want)
	}
}

func presence(from, to string) string {
	return `<presence from='` + from + `' to='` + to + `'/>`
}

func TestMembersOfAGroupAreContactsAtOnce(t *testing.T) {
	c := newScene(t, Options{})
	r, j := c.login("romeo/a"), c.login("juliet/b")
	c.share("Company", "Lovers")
	in := `<group>Company</group><group>Lovers</group></item>`
	r.Want(push(romeo+"/a", 1, `<item jid='juliet@example.org' name='juliet' subscription='both'>`+in), presence(juliet+"/b", romeo))
	j.Want(push(juliet+"/b", 1, `<item jid='romeo@example.org' name='romeo' subscription='both'>`+in), presence(romeo+"/a", juliet))

	c.share("Company", "Lovers") // is so already
	r.Want()

	c.share("Company")
	r.Want(push(romeo+"/a", 2, `<item jid='juliet@example.org' name='juliet' subscription='both'><group>Company</group></item>`))
	j.Received()

	c.share()
	r.Want(push(romeo+"/a", 3, `<item jid='juliet@example.org' subscription='remove'/>`),
		`<presence type='unavailable' from='juliet@example.org/b' to='romeo@example.org'/>`)
}

func TestAUserCannotLeaveAGroup(t *testing.T) {
	c := newScene(t, Options{})
	c.share("Company")
	r := c.login("romeo/a")
	refused := `<error type='cancel'><not-allowed xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>` +
		`<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas' xml:lang='en'>the administrators share this contact</text></error>`
	before := c.item()
	r.Send(set(`<item jid='juliet@example.org' subscription='remove'/>`))
	r.Want(`<iq type='error' id='s' from='romeo@example.org' to='romeo@example.org/a'>` + refused + `</iq>`)
	for _, kind := range []string{"unsubscribe", "unsubscribed"} {
		r.Send(`<presence type='` + kind + `' to='juliet@example.org'/>`)
		r.Want(`<presence type='error' from='juliet@example.org' to='romeo@example.org/a'>` + refused + `</presence>`)
	}
	if after := c.item(); after != before {
		t.Errorf("%s became %s", before, after)
	}
	// A name and groups of one's own are one's own, and who asks for what is so already is answered.
	r.Send(set(`<item jid='juliet@example.org' name='J'><group>Mine</group></item>`))
	r.Received()
	r.Send(`<presence type='subscribe' to='juliet@example.org'/>`)
	r.Received()
	c.wantItem(`<item jid='juliet@example.org' name='J' subscription='both'><group>Company</group><group>Mine</group></item>`)
	c.share("Company", "Lovers")
	c.wantItem(
		`<item jid='juliet@example.org' name='J' subscription='both'><group>Company</group><group>Lovers</group><group>Mine</group></item>`)
	c.share()
	if got := c.item(); got != "" {
		t.Errorf("a contact that was there by a group alone stays: %s", got)
	}
}

func TestWhatWasBeforeAGroupIsThereAfterIt(t *testing.T) {
	c := newScene(t, Options{})
	r, j := c.login("romeo/a"), c.login("juliet/b")
	r.Send(set(`<item jid='juliet@example.org' name='J'><group>Mine</group></item>`))
	r.Send(`<presence type='subscribe' to='juliet@example.org'/>`)
	r.Received()
	j.Received()
	c.share("Company") // which answers the request
	if s := c.state(juliet, romeo); s != bothWays {
		t.Errorf("juliet has %+v", s)
	}
	c.wantItem(`<item jid='juliet@example.org' name='J' subscription='both'><group>Company</group><group>Mine</group></item>`)
	c.share()
	c.wantItem(`<item jid='juliet@example.org' name='J' subscription='none'><group>Mine</group></item>`)

	// Whose account goes while in a group is no contact any more afterwards.
	for _, step := range []string{"subscribe", "subscribed"} {
		r.Send(`<presence type='` + step + `' to='juliet@example.org'/>`)
		j.Send(`<presence type='` + step + `' to='romeo@example.org'/>`)
	}
	c.share("Company")
	if err := c.m.removed(jid.MustParse(juliet)); err != nil {
		t.Fatal(err)
	}
	if s := c.state(romeo, juliet); s != bothWays {
		t.Errorf("romeo has %+v before the groups are looked at", s)
	}
	c.share()
	c.wantItem(`<item jid='juliet@example.org' name='J' subscription='none'><group>Mine</group></item>`)
}

func TestSharedItemsAreReadAsTheyWereWritten(t *testing.T) {
	for _, it := range []*Item{
		{Name: "N", Groups: []string{"a", "b"}, State: State{To: true, Approved: true}},
		{Groups: []string{"Company"}, shared: 1, State: bothWays},
		{Name: "N", Groups: []string{"A", "B", "mine"}, shared: 2, own: true, State: bothWays,
			under: State{From: true, PendingOut: true}},
	} {
		got, err := readItem(string(it.record()), nil)
		if err != nil || !cmp.Equal(got, it, cmp.AllowUnexported(Item{})) {
			t.Errorf("%+v was read as %+v, %v", it, got, err)
		}
		for n := range it.record() {
			readItem(string(it.record()[:n]), nil) // must not panic
		}
	}
	if _, err := readItem(string([]byte{sharedVersion, 0, 0, 2, 1, 'a'}), nil); err == nil {
		t.Error("a record with fewer groups than it says was read")
	}
}

func TestContactsByAGroupAloneAreNotExported(t *testing.T) {
	c := newScene(t, Options{})
	r := c.login("romeo/a")
	c.share("Company")
	export := func() (all string) {
		if err := c.m.exported(context.Background(), jid.MustParse(romeo), func(b []byte) error {
			all += string(b)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return all
	}
	if got := export(); got != "" {
		t.Errorf("exported %s", got)
	}
	r.Received()
	// One that comes from elsewhere is the user's own.
	el := moduletest.Parse(t, set(`<item jid='juliet@example.org' name='J' subscription='to'><group>Mine</group></item>`)).
		Child(xmpp.Name{Space: xmpp.NSRoster, Local: "query"}).Children()[0]
	if err := c.m.importItem(context.Background(), &router.Incoming{User: jid.MustParse(romeo), Element: el}); err != nil {
		t.Fatal(err)
	}
	c.wantItem(`<item jid='juliet@example.org' name='J' subscription='both'><group>Company</group><group>Mine</group></item>`)
	c.share()
	c.wantItem(`<item jid='juliet@example.org' name='J' subscription='to'><group>Mine</group></item>`)
}

// What a roster of many contacts holds is most of what a session takes.
func TestARosterThatWaitsIsPacked(t *testing.T) {
	c := newScene(t, Options{})
	var want []string
	change := func(f func(u *user)) *user {
		t.Helper()
		u, err := c.m.lock(jid.MustParse("juliet@example.org"))
		if err != nil {
			t.Fatal(err)
		}
		f(u)
		c.m.unlock(u)
		contacts := u.packed.those(func(State) bool { return true })
		if u.items != nil || u.opened || !slices.IsSortedFunc(contacts, jid.JID.Compare) {
			t.Errorf("it is open: %v, %v", u.items, contacts)
		}
		return u
	}
	u := change(func(u *user) {
		for i := range 50 {
			contact := jid.MustParse(fmt.Sprint("contact", i, "@example.org"))
			u.setItem(contact, &Item{Name: fmt.Sprint("Contact ", i), Groups: []string{"Friends", "Verona"}, State: bothWays})
			want = append(want, contact.String())
		}
		u.setItem(jid.MustParse("ünal@bücher.example"), &Item{State: bothWays}) // not ASCII
	})
	if n, size := u.packed.n(), len(u.packed.text)+4*cap(u.packed.ends); n != 51 || size > 51*64 {
		t.Errorf("%d contacts are %d bytes", n, size)
	}
	change(func(u *user) {
		for _, name := range want {
			it := u.items[jid.MustParse(name)]
			if it == nil || it.Name == "" || it.State != bothWays || len(it.Groups) != 2 {
				t.Fatalf("%s is %+v", name, it)
			}
		}
		one, other := u.items[jid.MustParse(want[0])], u.items[jid.MustParse(want[1])]
		if &one.Groups[0] != &other.Groups[0] {
			t.Error("the same groups are held twice")
		}
		u.setItem(jid.MustParse("onlyto@example.org"), &Item{State: State{To: true}})
		u.setItem(jid.MustParse("onlyfrom@example.org"), &Item{State: State{From: true}})
		u.setItem(jid.MustParse(want[0]), nil)
		group := &Item{Name: "Group"}
		group.share([]string{"All"}, false, State{})
		u.setItem(jid.MustParse("group@example.org"), group)
	})
	to, from := jid.MustParse("onlyto@example.org"), jid.MustParse("onlyfrom@example.org")
	subscribers, err := c.m.Subscribers(jid.MustParse("juliet@example.org"))
	subscriptions, err2 := c.m.Subscriptions(jid.MustParse("juliet@example.org"))
	if len(subscribers) != 52 || cap(subscribers) != 52 || len(subscriptions) != 52 || err != nil || err2 != nil ||
		slices.Contains(subscribers, to) || slices.Contains(subscriptions, from) ||
		!slices.Contains(subscribers, from) || !slices.Contains(subscriptions, to) ||
		!slices.Contains(subscribers, jid.MustParse("group@example.org")) {
		t.Errorf("from %v, to %v, %v, %v", subscribers, subscriptions, err, err2)
	}
	for contact, want := range map[string]bool{want[0]: false, want[1]: true, to.String(): false, from.String(): true,
		"group@example.org": true, "ünal@bücher.example": true, "nobody@example.org": false} {
		if sees, err := c.m.Sees(jid.MustParse("juliet@example.org"), jid.MustParse(contact)); sees != want || err != nil {
			t.Errorf("%s sees: %v, %v", contact, sees, err)
		}
	}
	if groups, err := c.m.Groups(jid.MustParse("juliet@example.org"), jid.MustParse("group@example.org")); len(groups) != 1 || err != nil {
		t.Errorf("groups: %v, %v", groups, err)
	}
	if has, err := c.m.Has(jid.MustParse("juliet@example.org"), jid.MustParse(want[0])); has || err != nil {
		t.Errorf("has one that has gone: %v", err)
	}
}
