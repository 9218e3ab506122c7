package blocking

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// viewers are the contacts of every user, in both directions.
type viewers []jid.JID

func (v viewers) Subscribers(jid.JID) ([]jid.JID, error)   { return v, nil }
func (v viewers) Subscriptions(jid.JID) ([]jid.JID, error) { return v, nil }

type scene struct {
	*testing.T
	r     *router.Router
	b     *Blocking
	store *moduletest.Store

	juliet, romeo *moduletest.Client
}

func newScene(t *testing.T) *scene {
	c := &scene{T: t, r: moduletest.New("romeo", "juliet", "nurse"), store: moduletest.NewStore()}
	c.b = New(c.r, c.store.Map("blocking"), viewers{jid.MustParse("romeo@example.org")}, moduletest.Discard())
	probe := router.Module{Arriving: router.Stage{Presence: func(e *router.Envelope) {
		if e.Stanza.Type == xmpp.TypeProbe { // as the module presence does
			e.Settle(router.Delivered)
		}
	}}}
	ping := router.Module{IQ: []router.IQ{{Payload: xmpp.Name{Space: "q", Local: "q"}, Scope: router.Account,
		Handle: func(e *router.Envelope) { c.r.Answer(e, nil) }}}}
	c.r.Use(c.b.Module(), probe, ping)
	c.juliet, c.romeo = moduletest.Login(t, c.r, "juliet/b"), moduletest.Login(t, c.r, "romeo/a")
	c.juliet.Available(0)
	c.romeo.Available(0)
	return c
}

func items(jids []string) (s string) {
	for _, j := range jids {
		s += `<item jid='` + j + `'/>`
	}
	return s
}

func block(jids ...string) string {
	return `<iq type='set' id='1'><block xmlns='urn:xmpp:blocking'>` + items(jids) + `</block></iq>`
}

func unblock(jids ...string) string {
	return `<iq type='set' id='1'><unblock xmlns='urn:xmpp:blocking'>` + items(jids) + `</unblock></iq>`
}

const blocklist = `<iq type='get' id='1'><blocklist xmlns='urn:xmpp:blocking'/></iq>`

func result(payload string) string {
	return `<iq type='result' id='1' from='juliet@example.org' to='juliet@example.org/b'>` + payload + `</iq>`
}

func TestListIsKept(t *testing.T) {
	c := newScene(t)
	c.juliet.Send(blocklist)
	c.juliet.Want(result(`<blocklist xmlns='urn:xmpp:blocking'/>`))
	c.juliet.Send(block("b@example.net", "A@example.net/X"))
	c.juliet.Received()
	c.b.lists = newLists(c.store.Map("blocking")) // a restart
	c.juliet.Send(blocklist)
	c.juliet.Want(result(`<blocklist xmlns='urn:xmpp:blocking'><item jid='a@example.net/X'/><item jid='b@example.net'/></blocklist>`))
	c.juliet.Send(unblock("b@example.net", "never@example.net"))
	c.juliet.Received()
	c.juliet.Send(blocklist)
	c.juliet.Want(result(`<blocklist xmlns='urn:xmpp:blocking'><item jid='a@example.net/X'/></blocklist>`))
	c.juliet.Send(unblock())
	c.juliet.Received()
	c.juliet.Send(blocklist)
	c.juliet.Want(result(`<blocklist xmlns='urn:xmpp:blocking'/>`))
}

func TestAddressNamedTwiceIsPushedOnce(t *testing.T) {
	c := newScene(t)
	phone := moduletest.Login(t, c.r, "juliet/phone")
	c.juliet.Send(blocklist)
	c.juliet.Received()
	phone.Send(block("x@example.net", "X@example.net", "x@example.net"))
	c.juliet.Want(`<iq type='set' id='blocking-1' to='juliet@example.org/b'><block xmlns='urn:xmpp:blocking'><item jid='x@example.net'/></block></iq>`)
	phone.Send(unblock("x@example.net", "x@example.net"))
	c.juliet.Want(`<iq type='set' id='blocking-2' to='juliet@example.org/b'><unblock xmlns='urn:xmpp:blocking'><item jid='x@example.net'/></unblock></iq>`)
}

func TestChangesArePushedToWhoHasAskedForTheList(t *testing.T) {
	c := newScene(t)
	phone := moduletest.Login(t, c.r, "juliet/phone")
	c.juliet.Send(blocklist)
	c.juliet.Received()
	push := func(version int, xml string) string {
		return fmt.Sprintf(`<iq type='set' id='blocking-%d' to='juliet@example.org/b'>%s</iq>`, version, xml)
	}
	phone.Send(block("x@example.net"))
	c.juliet.Want(push(1, `<block xmlns='urn:xmpp:blocking'><item jid='x@example.net'/></block>`))
	phone.Send(unblock("x@example.net"))
	c.juliet.Want(push(2, `<unblock xmlns='urn:xmpp:blocking'><item jid='x@example.net'/></unblock>`))
	phone.Send(unblock())
	c.juliet.Want(push(0+2, `<unblock xmlns='urn:xmpp:blocking'/>`))
	for _, s := range phone.Received() {
		if strings.Contains(s, "type='set'") {
			t.Errorf("the phone never asked and got %s", s)
		}
	}
}

func TestRequestsThatCannotBeAreRefused(t *testing.T) {
	c := newScene(t)
	var many []string
	for i := range maxItems {
		many = append(many, fmt.Sprintf("u%d@example.net", i))
	}
	c.juliet.Send(block(many...))
	for xml, want := range map[string]xmpp.Condition{
		block():                       xmpp.CondBadRequest,
		block("@"):                    xmpp.CondJIDMalformed,
		block(""):                     xmpp.CondJIDMalformed,
		unblock("@"):                  xmpp.CondJIDMalformed,
		block("one@too.many"):         xmpp.CondResourceConstraint,
		block(append(many, "a@b")...): xmpp.CondResourceConstraint,
		`<iq type='get' id='1'><block xmlns='urn:xmpp:blocking'/></iq>`:                            xmpp.CondBadRequest,
		`<iq type='set' id='1'><blocklist xmlns='urn:xmpp:blocking'/></iq>`:                        xmpp.CondBadRequest,
		`<iq type='get' id='1' to='romeo@example.org'><blocklist xmlns='urn:xmpp:blocking'/></iq>`: xmpp.CondServiceUnavailable,
		`<iq type='set' id='1' to='romeo@example.org'><unblock xmlns='urn:xmpp:blocking'/></iq>`:   xmpp.CondServiceUnavailable,
	} {
		if e := c.juliet.Send(xml); e.Outcome != router.Refused || e.Err.Condition != want {
			t.Errorf("%.80s: %v, %v", xml, e.Outcome, e.Err)
		}
	}
}

func TestAddressesMatchInAllTheirForms(t *testing.T) {
	for _, test := range []struct {
		item    string
		yes, no string
	}{
		{"u@d/r", "u@d/r", "u@d u@d/s d d/r"},
		{"u@d", "u@d u@d/r", "v@d d d/r"},
		{"d/r", "d/r u@d/r", "d u@d u@d/s d/s"},
		{"d", "d d/r u@d u@d/r", "e u@e sub.d"},
	} {
		l := (&list{items: map[string]struct{}{test.item: {}}}).index()
		for _, j := range strings.Fields(test.yes) {
			if !l.matches(jid.MustParse(j)) {
				t.Errorf("%s does not match %s", test.item, j)
			}
		}
		for _, j := range strings.Fields(test.no) {
			if l.matches(jid.MustParse(j)) {
				t.Errorf("%s matches %s", test.item, j)
			}
		}
	}
	if nobody.matches(jid.JID{}) || (*list)(nil).matches(jid.MustParse("a@b")) {
		t.Error("an empty list matches")
	}
}

func TestBlockedSenderFindsTheUserOffline(t *testing.T) {
	c := newScene(t)
	c.juliet.Send(block("romeo@example.org"))
	c.juliet.Received()
	for _, test := range []struct {
		xml  string
		out  router.Outcome
		cond xmpp.Condition
	}{
		{`<message to='juliet@example.org' type='chat'><body>x</body></message>`, router.Refused, xmpp.CondServiceUnavailable},
		{`<message to='juliet@example.org/b'><body>x</body></message>`, router.Refused, xmpp.CondServiceUnavailable},
		{`<message to='juliet@example.org/b' type='error'/>`, router.Dropped, ""},
		{`<presence to='juliet@example.org'/>`, router.Dropped, ""},
		{`<presence to='juliet@example.org' type='subscribe'/>`, router.Dropped, ""},
		{`<presence to='juliet@example.org' type='probe'/>`, router.Dropped, ""},
		{`<iq to='juliet@example.org' type='get' id='1'><q xmlns='q'/></iq>`, router.Refused, xmpp.CondServiceUnavailable},
		{`<iq to='juliet@example.org/b' type='set' id='1'><q xmlns='q'/></iq>`, router.Refused, xmpp.CondServiceUnavailable},
		{`<iq to='juliet@example.org/b' type='result' id='1'/>`, router.Dropped, ""},
	} {
		e := c.romeo.Send(test.xml)
		if e.Outcome != test.out || (test.cond != "" && e.Err.Condition != test.cond) {
			t.Errorf("%s: %v, %v", test.xml, e.Outcome, e.Err)
		}
	}
	c.juliet.Want()
}

// A room takes an error for a sign that the occupant has left (XEP-0045 §18.1.2).
func TestWhatARoomPassesOnFromWhoIsBlockedIsDroppedWithoutAnError(t *testing.T) {
	c := newScene(t)
	c.juliet.Send(block("room@rooms.example.net/romeo"))
	c.juliet.Received()
	const mark = `<x xmlns='http://jabber.org/protocol/muc#user'/>`
	for _, test := range []struct {
		to, kind, more string
		want           router.Outcome
	}{
		{"juliet@example.org/b", "groupchat", "", router.Dropped},
		{"juliet@example.org/b", "chat", mark, router.Dropped},
		{"juliet@example.org/b", "normal", mark, router.Dropped},
		{"juliet@example.org/b", "headline", "", router.Dropped},
		{"juliet@example.org", "headline", "", router.Dropped},
		{"juliet@example.org/gone", "groupchat", "", router.Refused},
		{"juliet@example.org", "groupchat", "", router.Refused},
		{"juliet@example.org/gone", "chat", mark, router.Refused},
		{"juliet@example.org/b", "chat", "", router.Refused},
	} {
		xml := `<message to='` + test.to + `' type='` + test.kind + `'><body>x</body>` + test.more + `</message>`
		s := moduletest.Parse(t, xml)
		s.From = jid.MustParse("room@rooms.example.net/romeo")
		e := &router.Envelope{Stanza: s, Peer: s.From.Domain(), Quiet: true}
		if c.r.Route(e); e.Outcome != test.want {
			t.Errorf("%s: %v, %v", xml, e.Outcome, e.Err)
		}
	}
	c.juliet.Want()
}

func TestBlockedAccountCannotHideBehindAnotherName(t *testing.T) {
	c := newScene(t)
	c.juliet.Send(block("romeo@example.org", "trac"))
	c.juliet.Received()
	for from, account := range map[string]string{"paris@example.org": "romeo@example.org", "ticket-1@trac": "nurse@example.org"} {
		s := moduletest.Parse(t, `<message to='juliet@example.org' from='`+from+`'><body>x</body></message>`)
		e := &router.Envelope{Stanza: s, Account: jid.MustParse(account), Quiet: true}
		if c.r.Route(e); e.Outcome != router.Refused || e.Err.Condition != xmpp.CondServiceUnavailable {
			t.Errorf("%s as %s: %v, %v", account, from, e.Outcome, e.Err)
		}
	}
	c.juliet.Want()
}

func TestNothingGoesToWhoIsBlocked(t *testing.T) {
	c := newScene(t)
	c.juliet.Send(block("romeo@example.org"))
	c.juliet.Received()
	c.romeo.Received()
	for _, xml := range []string{
		`<message to='romeo@example.org' id='1'><body>x</body></message>`,
		`<presence to='romeo@example.org/a' id='1'/>`,
		`<iq to='romeo@example.org/a' type='get' id='1'><q xmlns='q'/></iq>`,
	} {
		e := c.juliet.Send(xml)
		if e.Outcome != router.Refused {
			t.Errorf("%s: %v", xml, e.Outcome)
		}
		got := c.juliet.Received()
		if len(got) != 1 || !strings.Contains(got[0], `<not-acceptable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>`) ||
			!strings.Contains(got[0], `<blocked xmlns='urn:xmpp:blocking:errors'/>`) || !strings.Contains(got[0], `type='cancel'`) {
			t.Errorf("%s: %s", xml, got)
		}
	}
	c.romeo.Want()
}

func TestOwnAccountAndHostAreNeverBlocked(t *testing.T) {
	c := newScene(t)
	c.juliet.Send(block("juliet@example.org", "example.org"))
	phone := moduletest.Login(t, c.r, "juliet/phone")
	c.juliet.Received()
	if e := phone.Send(`<message to='juliet@example.org/b' type='chat'><body>x</body></message>`); e.Outcome != router.Delivered {
		t.Errorf("own resource: %v, %v", e.Outcome, e.Err)
	}
	c.r.Emit(moduletest.Parse(t, `<message from='example.org' to='juliet@example.org/b'><body>maintenance</body></message>`), nil)
	if got := c.juliet.Received(); len(got) != 2 {
		t.Errorf("got %s", got)
	}
	if e := c.romeo.Send(`<message to='juliet@example.org'><body>x</body></message>`); e.Outcome != router.Refused {
		t.Errorf("another user of the blocked host: %v", e.Outcome)
	}
	if e := c.juliet.Send(`<iq to='juliet@example.org' type='get' id='1'><q xmlns='q'/></iq>`); e.Outcome != router.Delivered {
		t.Errorf("own account: %v, %v", e.Outcome, e.Err)
	}
}

func TestContactSeesTheUserGoAndComeBack(t *testing.T) {
	for _, item := range []string{"romeo@example.org", "example.org"} {
		t.Run(item, func(t *testing.T) {
			c := newScene(t)
			c.juliet.Send(block(item))
			c.romeo.Want(`<presence type='unavailable' from='juliet@example.org/b' to='romeo@example.org'/>`)
			c.juliet.Send(block(item))
			c.romeo.Want() // gone already
			c.juliet.Send(unblock())
			c.romeo.Want(`<presence from='juliet@example.org/b' to='romeo@example.org'/>`)
		})
	}
	c := newScene(t)
	c.juliet.Send(block("romeo@example.org/a", "stranger@example.org"))
	c.romeo.Want(`<presence type='unavailable' from='juliet@example.org/b' to='romeo@example.org/a'/>`)
	c.juliet.Send(unblock("romeo@example.org/a"))
	c.romeo.Want(`<presence from='juliet@example.org/b' to='romeo@example.org/a'/>`)
}

func TestStorageThatIsAwayLetsNothingPass(t *testing.T) {
	c := newScene(t)
	c.store.Fail(errors.New("away"))
	if e := c.romeo.Send(`<message to='juliet@example.org'><body>x</body></message>`); e.Outcome != router.Refused || e.Err.Condition != xmpp.CondResourceConstraint {
		t.Errorf("message: %v, %v", e.Outcome, e.Err)
	}
	if e := c.juliet.Send(block("a@b")); e.Outcome != router.Refused || e.Err.Condition != xmpp.CondResourceConstraint {
		t.Errorf("block: %v, %v", e.Outcome, e.Err)
	}
	if !c.b.Blocks(c.juliet.Bare(), c.romeo.Bare()) {
		t.Error("presence would pass")
	}
	c.store.Fail(nil)
	if e := c.romeo.Send(`<message to='juliet@example.org'><body>x</body></message>`); e.Outcome != router.Delivered {
		t.Errorf("back: %v, %v", e.Outcome, e.Err)
	}
}

func TestResultComesOnceTheWriteIsDurable(t *testing.T) {
	c := newScene(t)
	c.store.Hold()
	c.juliet.Send(block("a@b"))
	c.juliet.Want()
	c.store.Release(storage.ErrUnavailable)
	if got := c.juliet.Received(); len(got) != 1 || !strings.Contains(got[0], "resource-constraint") {
		t.Errorf("got %s", got)
	}
}

func TestRemovedAccountLeavesNoList(t *testing.T) {
	c := newScene(t)
	c.juliet.Send(block("romeo@example.org"))
	if err := c.r.Remove(c.juliet.Bare()); err != nil {
		t.Fatal(err)
	}
	if c.b.Blocks(c.juliet.Bare(), c.romeo.Bare()) {
		t.Error("still blocked")
	}
}

func TestManyMayChangeAndAskAtOnce(t *testing.T) {
	c := newScene(t)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for k := range 50 {
				j := fmt.Sprintf("u%d-%d@example.net", i, k)
				c.juliet.Send(block(j))
				if !c.b.Blocks(c.juliet.Bare(), jid.MustParse(j)) {
					t.Errorf("%s is not blocked", j)
				}
			}
		})
	}
	wg.Wait()
	if l, _ := c.b.lists.Get("juliet@example.org"); len(l.items) != 200 {
		t.Errorf("%d items", len(l.items))
	}
}

func BenchmarkBlocks(b *testing.B) {
	m := New(nil, moduletest.NewStore().Map("blocking"), nil, moduletest.Discard())
	user, other := jid.MustParse("juliet@example.org"), jid.MustParse("romeo@example.org/orchard")
	m.lists.change("nurse@example.org", []jid.JID{jid.MustParse("a@b"), jid.MustParse("c/d")}, true, func(_, _ *list) {})
	nurse := jid.MustParse("nurse@example.org")
	b.Run("nobody", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if m.Blocks(user, other) {
				b.Fatal("blocked")
			}
		}
	})
	b.Run("others", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if m.Blocks(nurse, other) {
				b.Fatal("blocked")
			}
		}
	})
}

func TestAListIsBoundedInBytes(t *testing.T) {
	l := newLists(moduletest.NewStore().Map("blocking"))
	ignore := func(_, _ *list) {}
	add := func(i int) error {
		_, err := l.change("romeo@example.org", []jid.JID{jid.MustParse(fmt.Sprintf("%s@x%d.example/%s",
			strings.Repeat("a", 1000), i, strings.Repeat("r", 1000)))}, true, ignore)
		return err
	}
	n := 0
	for ; n < maxItems && add(n) == nil; n++ {
	}
	if n < 250 || n > 262 {
		t.Errorf("%d long addresses are blocked", n)
	}
	if err := add(n); !errors.Is(err, errTooMany) {
		t.Errorf("one more: %v", err)
	}
	if err := add(0); err != nil {
		t.Errorf("one that is blocked already: %v", err)
	}
}
