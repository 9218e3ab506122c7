package archive

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"jackdaw/modules/internal/mam"
	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// contacts holds "user contact" by local parts.
type contacts map[string]bool

func (c contacts) Has(user, contact jid.JID) (bool, error) {
	if c["broken"] {
		return false, storage.ErrUnavailable
	}
	return c[user.Local()+" "+contact.Local()], nil
}

// house is a router with an archive, and romeo and juliet, who are online. nurse is an account, too.
type house struct {
	*testing.T
	r             *router.Router
	a             *Archive
	store         *moduletest.Store
	log           storage.Log
	limits        Limits       // but for Keep, which changes while it is used
	keep          atomic.Int64 // Limits.Keep
	full          atomic.Bool
	contacts      contacts
	romeo, juliet *moduletest.Client
}

func newHouse(t *testing.T, others ...router.Module) *house {
	h := &house{T: t, r: moduletest.New("romeo", "juliet", "nurse"), store: moduletest.NewStore(), contacts: contacts{},
		limits: Limits{Page: 100}}
	h.log = h.store.Log("archive")
	h.a = New(Options{Router: h.r, Messages: h.log, Prefs: h.store.Map("archive-prefs"), Contacts: h.contacts,
		Full: h.full.Load,
		Limits: func() Limits {
			return Limits{Page: h.limits.Page, Bytes: h.limits.Bytes, Keep: time.Duration(h.keep.Load())}
		},
		Log: moduletest.Discard()})
	h.r.Use(append([]router.Module{h.a.Module()}, others...)...)
	h.romeo, h.juliet = moduletest.Login(t, h.r, "romeo/a"), moduletest.Login(t, h.r, "juliet/b")
	h.romeo.Available(0)
	h.juliet.Available(0)
	return h
}

// records are what is in a user's archive.
func (h *house) records(user string) []storage.Record {
	h.Helper()
	list, _, err := h.log.Page(h.Context(), user+"@example.org", storage.Query{Limit: 1000})
	if err != nil {
		h.Fatal(err)
	}
	return list
}

// ids are the archive ids of a user's archive.
func (h *house) ids(user string) (ids []string) {
	h.Helper()
	for _, r := range h.records(user) {
		ids = append(ids, fmt.Sprint(r.ID))
	}
	return ids
}

// archived compares the bodies in a user's archive, oldest first.
func (h *house) archived(user string, want ...string) {
	h.Helper()
	romeo := moduletest.Login(h, h.r, user+"/archive")
	defer romeo.LogoutTaken()
	a := ask(romeo, `<query xmlns='urn:xmpp:mam:2'/>`)
	if got := strings.Join(a.bodies(), "|"); got != strings.Join(want, "|") {
		h.Errorf("%s's archive: %s; want %s", user, got, strings.Join(want, "|"))
	}
}

// answer is what a query has brought.
type answer struct {
	results []*xmpp.Element // <result/>
	fin     *xmpp.Element
	err     *xmpp.Error
}

// ask sends a request to the own archive and waits for the answer.
func ask(c *moduletest.Client, payload string) answer {
	return askWith(c, `<iq type='set' id='q1'>`+payload+`</iq>`)
}

func askWith(c *moduletest.Client, iq string) (a answer) {
	c.Received()
	if e := c.Send(iq); e.Outcome == router.Refused {
		c.Received()
		return answer{err: e.Err}
	}
	for {
		c.Wait(1)
		for _, d := range c.Deliveries() {
			switch {
			case d.Stanza.Kind == xmpp.Message:
				a.results = append(a.results, d.Stanza.Child(xmpp.Name{Space: xmpp.NSMAM, Local: "result"}))
			case d.Stanza.Type == xmpp.TypeError:
				a.err = d.Stanza.Err()
				return a
			default:
				a.fin, _ = xmpp.ParseElement(d.Stanza.Payload)
				return a
			}
		}
	}
}

func (a answer) bodies() (list []string) {
	for _, r := range a.results {
		m := r.Child(xmpp.Name{Space: xmpp.NSForward, Local: "forwarded"}).Child(xmpp.Name{Space: xmpp.NSClient, Local: "message"})
		if b := m.Child(xmpp.Name{Space: xmpp.NSClient, Local: "body"}); b != nil {
			list = append(list, b.Text())
		} else {
			list = append(list, "-")
		}
	}
	return list
}

const hello = `<message to='juliet@example.org' type='chat' id='1'><body>hello</body></message>`

func TestBothSidesFindTheMessageUnderTheirOwnID(t *testing.T) {
	h := newHouse(t)
	h.romeo.Send(hello)
	id := h.ids("juliet")[0]
	h.juliet.Want(`<message from='romeo@example.org/a' to='juliet@example.org' type='chat' id='1'><body>hello</body>` +
		`<stanza-id xmlns='urn:xmpp:sid:0' by='juliet@example.org' id='` + id + `'/></message>`)
	for _, c := range []*moduletest.Client{h.romeo, h.juliet} {
		id := h.ids(c.Bare().Local())[0]
		a := ask(c, `<query xmlns='urn:xmpp:mam:2' queryid='f&apos;27'/>`)
		if len(a.results) != 1 {
			t.Fatalf("%s has %d results", c.Addr(), len(a.results))
		}
		stamp := a.results[0].Children()[0].Child(xmpp.Name{Space: xmpp.NSDelay, Local: "delay"}).Attr("stamp")
		moduletest.Same(t, string(a.results[0].Append(nil)), `<result xmlns='urn:xmpp:mam:2' queryid='f&apos;27' id='`+id+`'>`+
			`<forwarded xmlns='urn:xmpp:forward:0'><delay xmlns='urn:xmpp:delay' stamp='`+stamp+`'/>`+
			`<message xmlns='jabber:client' from='romeo@example.org/a' to='juliet@example.org' type='chat' id='1'><body>hello</body></message>`+
			`</forwarded></result>`)
		if at, err := xmpp.ParseTime(stamp); err != nil || time.Since(at) > time.Minute || time.Since(at) < 0 {
			t.Errorf("archived at %s", stamp)
		}
		moduletest.Same(t, string(a.fin.Append(nil)), `<fin xmlns='urn:xmpp:mam:2' complete='true'><set xmlns='http://jabber.org/protocol/rsm'>`+
			`<first index='0'>`+id+`</first><last>`+id+`</last><count>1</count></set></fin>`)
	}
}

func TestResultsComeFromTheArchiveToTheSessionThatAsked(t *testing.T) {
	h := newHouse(t)
	h.romeo.Send(hello)
	h.juliet.Received()
	other := moduletest.Login(t, h.r, "juliet/other")
	h.juliet.Send(`<iq type='set' id='q1' to='juliet@example.org'><query xmlns='urn:xmpp:mam:2'/></iq>`)
	h.juliet.Wait(2)
	got := h.juliet.Deliveries()
	for i, d := range got {
		if d.Stanza.From != h.juliet.Bare() || d.Stanza.To != h.juliet.Addr() || !d.Copy {
			t.Errorf("%d: from %s to %s, copy %v", i, d.Stanza.From, d.Stanza.To, d.Copy)
		}
	}
	if last := got[1].Stanza; last.Kind != xmpp.IQ || last.Type != xmpp.TypeResult || last.ID != "q1" {
		t.Errorf("the end is %s", last.Append(nil))
	}
	other.Want()
}

func TestMessageForWhoIsAwayIsArchived(t *testing.T) {
	h := newHouse(t, keeper(nil))
	h.romeo.Send(`<message to='nurse@example.org' type='chat'><body>away</body></message>`)
	h.archived("nurse", "away")
	h.archived("romeo", "away")
}

// keeper stands for offline storage: it takes everything, or refuses it with this error.
func keeper(refuse *xmpp.Error) router.Module {
	return router.Module{Name: "keeper", Unclaimed: func(e *router.Envelope) {
		if refuse != nil {
			e.Refuse(refuse)
			return
		}
		e.Settle(router.Stored)
	}}
}

func TestWhatIsRefusedIsInNoArchive(t *testing.T) {
	full := xmpp.ResourceConstraint("")
	for _, test := range []struct{ name, in string }{
		{"no such account", `<message to='nobody@example.org' type='chat'><body>x</body></message>`},
		{"no room", `<message to='nurse@example.org' type='chat'><body>x</body></message>`},
		{"no such resource", `<message to='nurse@example.org/x'><body>x</body></message>`},
		{"not to another server", `<message to='juliet@example.net' type='chat'><body>x</body></message>`},
		{"the host", `<message to='example.org' type='chat'><body>x</body></message>`},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHouse(t, keeper(full))
			if e := h.romeo.Send(test.in); e.Outcome != router.Refused {
				t.Fatalf("the message fared as %v", e.Outcome)
			}
			for _, user := range []string{"romeo", "nurse", "nobody"} {
				if got := h.records(user); len(got) != 0 {
					t.Errorf("%s's archive has %d messages", user, len(got))
				}
			}
		})
	}
}

func TestARepetitionOfWhatWasRefusedIsArchivedOnce(t *testing.T) {
	var refuse *xmpp.Error
	h := newHouse(t, router.Module{Name: "keeper", Unclaimed: func(e *router.Envelope) {
		if e.Settle(router.Stored); refuse != nil {
			e.Refuse(refuse)
		}
	}})
	const in = `<message to='nurse@example.org' type='chat'><body>x</body><origin-id xmlns='urn:xmpp:sid:0' id='o1'/></message>`
	refuse = xmpp.ResourceConstraint("")
	h.romeo.Send(in)
	h.romeo.Send(in)
	h.archived("nurse")
	refuse = nil
	h.romeo.Send(in)
	h.romeo.Send(in)
	refuse = xmpp.ResourceConstraint("")
	h.romeo.Send(in) // a repetition takes nothing back
	h.archived("nurse", "x")
	h.archived("romeo", "x")
}

func TestARepetitionHasTheFirstID(t *testing.T) {
	h := newHouse(t)
	const in = `<message to='juliet@example.org' type='chat'><body>x</body><origin-id xmlns='urn:xmpp:sid:0' id='o1'/></message>`
	h.romeo.Send(in)
	h.romeo.Send(in)
	got := h.juliet.Received()
	if len(got) != 2 || got[0] != got[1] || !strings.Contains(got[0], h.ids("juliet")[0]) {
		t.Errorf("juliet got %q", got)
	}
	h.archived("juliet", "x")
	h.archived("romeo", "x")
}

func TestOneOriginIDMayServeSeveralRecipients(t *testing.T) {
	h := newHouse(t, keeper(nil))
	for _, to := range []string{"juliet", "nurse", "juliet"} {
		h.romeo.Send(`<message to='` + to + `@example.org' type='chat'><body>` + to + `</body><origin-id xmlns='urn:xmpp:sid:0' id='o1'/></message>`)
	}
	h.archived("romeo", "juliet", "nurse")
}

func TestMessageToOneselfIsArchivedOnce(t *testing.T) {
	for _, to := range []string{``, ` to='romeo@example.org'`, ` to='romeo@example.org/a'`, ` to='romeo@example.org/gone'`} {
		h := newHouse(t)
		h.romeo.Send(`<message type='chat'` + to + `><body>note</body></message>`)
		if got := h.records("romeo"); len(got) != 1 || got[0].Peer != "romeo@example.org" {
			t.Errorf("%s: %v", to, got)
		}
		h.archived("romeo", "note")
	}
}

func TestMessageToSeveralSessionsIsArchivedOnce(t *testing.T) {
	h := newHouse(t)
	other := moduletest.Login(t, h.r, "juliet/other")
	other.Available(0)
	h.romeo.Send(hello)
	h.archived("juliet", "hello")
	if a, b := h.juliet.Received(), other.Received(); len(a) != 1 || len(b) != 1 || a[0] != b[0] {
		t.Errorf("one got %q, the other %q", a, b)
	}
}

func TestPostsOfAnAccountAreInItsArchive(t *testing.T) {
	for _, test := range []struct {
		name, account, from, to string
		inRomeos                bool
	}{
		{"its own", "romeo@example.org", "romeo@example.org", "juliet@example.org", true},
		{"its own, from a resource", "romeo@example.org", "romeo@example.org/bot", "juliet@example.org", true},
		{"forged", "romeo@example.org", "ticket@trac", "juliet@example.org", false},
		{"of an API account", "", "romeo@example.org", "juliet@example.org", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHouse(t)
			s := moduletest.Parse(t, `<message type='chat' from='`+test.from+`' to='`+test.to+`'><body>x</body></message>`)
			e := &router.Envelope{Stanza: s, Durable: true, Quiet: true, Dedup: "key"}
			if test.account != "" {
				e.Account = jid.MustParse(test.account)
			}
			h.post(e)
			h.archived("juliet", "x")
			if got := len(h.records("romeo")) == 1; got != test.inRomeos {
				t.Errorf("in the sender's archive: %v", got)
			}
		})
	}
	h := newHouse(t)
	h.post(&router.Envelope{Account: jid.MustParse("romeo@example.org"), Durable: true, Quiet: true,
		Stanza: moduletest.Parse(t, `<message from='romeo@example.org' to='romeo@example.org'><body>x</body></message>`)})
	h.archived("romeo", "x")
}

// post routes what has no session and waits until it is safe.
func (h *house) post(e *router.Envelope) {
	h.Helper()
	h.r.Route(e)
	for _, p := range e.Pendings {
		if err := p.Wait(h.Context()); err != nil {
			h.Fatal(err)
		}
	}
}

func TestAPostThatIsRefusedOrRepeatedIsNotInTheSendersArchive(t *testing.T) {
	for _, far := range []bool{false, true} {
		t.Run(fmt.Sprintf("far %v", far), func(t *testing.T) { refusedOrRepeated(t, far) })
	}
}

// refusedOrRepeated posts with storage near or far: the sender's copy is written on the message's way or beside it.
func refusedOrRepeated(t *testing.T, far bool) {
	refuse := xmpp.ResourceConstraint("")
	h := newHouse(t, router.Module{Name: "keeper", Unclaimed: func(e *router.Envelope) {
		if e.Settle(router.Stored); refuse != nil {
			e.Refuse(refuse)
		}
	}})
	h.a.o.Far = far
	h.limits.Page = 2 * copiesAtOnce
	send := func(i int) {
		h.post(&router.Envelope{Account: jid.MustParse("romeo@example.org"), Durable: true, Quiet: true, Dedup: fmt.Sprint(i),
			Stanza: moduletest.Parse(t, fmt.Sprintf(`<message from='romeo@example.org' to='nurse@example.org' type='chat'><body>%d</body></message>`, i))})
	}
	send(0)
	h.archived("romeo")
	h.archived("nurse")
	refuse = nil
	for range 2 {
		for i := range 2 * copiesAtOnce {
			send(i)
		}
	}
	if n := len(h.records("romeo")); n != 2*copiesAtOnce {
		t.Errorf("%d messages in the sender's archive", n)
	}
	refuse = xmpp.ResourceConstraint("")
	send(1)
	if n := len(h.records("romeo")); n != 2*copiesAtOnce {
		t.Errorf("%d messages after a repetition was refused", n)
	}
	h.store.Fail(storage.ErrUnavailable)
	e := &router.Envelope{Account: jid.MustParse("romeo@example.org"), Durable: true, Quiet: true,
		Stanza: moduletest.Parse(t, `<message from='romeo@example.org' to='juliet@example.org' type='chat'><body>x</body></message>`)}
	if h.r.Route(e); e.Outcome != router.Refused {
		t.Errorf("without storage: %v", e.Outcome)
	}
}

func TestPostsToPeersAreInTheSendersArchive(t *testing.T) {
	h := newHouse(t)
	h.r.SetRemote(remote{})
	h.post(&router.Envelope{Account: jid.MustParse("romeo@example.org"), Durable: true, Quiet: true,
		Stanza: moduletest.Parse(t, `<message from='romeo@example.org' to='juliet@example.net' type='chat'><body>post</body></message>`)})
	h.romeo.Send(`<message to='juliet@example.net/x' type='chat'><body>sent</body></message>`)
	h.archived("romeo", "post", "sent")
}

type remote struct{}

func (remote) Admits(string) *xmpp.Error { return nil }
func (remote) Send(e *router.Envelope)   { e.Settle(router.Queued) }

func TestCopiesOfAMulticastAreNotTheSendersAgain(t *testing.T) {
	h := newHouse(t)
	h.r.Route(&router.Envelope{Session: h.romeo.Session, Account: h.romeo.Bare(), Left: true, Quiet: true,
		Stanza: moduletest.Parse(t, `<message from='romeo@example.org/a' to='juliet@example.org' type='chat'><body>x</body></message>`)})
	h.archived("juliet", "x")
	h.archived("romeo")
}

func TestSenderIsPromisedWhatTheArchiveWrites(t *testing.T) {
	h := newHouse(t)
	h.store.Hold()
	if e := h.romeo.SendDurable(hello); len(e.Pendings) != 1 || e.Outcome != router.Delivered {
		t.Errorf("%d pendings, %v", len(e.Pendings), e.Outcome)
	}
	if e := h.romeo.Send(hello); len(e.Pendings) != 0 || e.Outcome != router.Delivered {
		t.Errorf("without a promise: %d pendings, %v", len(e.Pendings), e.Outcome)
	}
	h.store.Release(nil)
}

func TestWithoutStorageOnlyWhatIsPromisedIsRefused(t *testing.T) {
	for _, broken := range []string{"messages", "roster"} {
		h := newHouse(t)
		if broken == "roster" {
			ask(h.juliet, `<prefs xmlns='urn:xmpp:mam:2' default='roster'/>`)
			h.contacts["broken"] = true
		} else {
			h.store.Fail(storage.ErrUnavailable)
		}
		e := h.romeo.SendDurable(hello)
		if e.Outcome != router.Refused || e.Err.Condition != xmpp.CondResourceConstraint || e.Err.Type != xmpp.ErrorWait {
			t.Errorf("%s: %v, %v", broken, e.Outcome, e.Err)
		}
		h.juliet.Received()
		if e := h.romeo.Send(hello); e.Outcome != router.Delivered {
			t.Errorf("%s: without a promise: %v, %v", broken, e.Outcome, e.Err)
		}
		h.juliet.Want(`<message from='romeo@example.org/a' to='juliet@example.org' type='chat' id='1'><body>hello</body></message>`)
	}
}

func TestForgedIDsAreNotInTheSendersArchive(t *testing.T) {
	h := newHouse(t)
	h.romeo.Send(`<message to='juliet@example.org' type='chat'><body>x</body>` +
		`<stanza-id xmlns='urn:xmpp:sid:0' by='Romeo@example.org' id='1'/><stanza-id xmlns='urn:xmpp:sid:0' by='room@example.net' id='2'/></message>`)
	a := ask(h.romeo, `<query xmlns='urn:xmpp:mam:2'/>`)
	got := string(a.results[0].Append(nil))
	if strings.Contains(got, "omeo@example.org' id='1'") || !strings.Contains(got, "room@example.net") {
		t.Error(got)
	}
}

func TestWhatASessionGivesBackIsArchivedOnce(t *testing.T) {
	var stored []uint64
	h := newHouse(t, router.Module{Name: "keeper", Unclaimed: func(e *router.Envelope) {
		stored = append(stored, e.StanzaID)
		e.Settle(router.Stored)
	}})
	h.romeo.Send(hello)
	h.romeo.Send(`<message to='juliet@example.org' type='chat'><body>secret</body><no-permanent-store xmlns='urn:xmpp:hints'/></message>`)
	h.juliet.Logout()
	if len(stored) != 2 || fmt.Sprint(stored[0]) != h.ids("juliet")[0] || stored[1] != router.NoStanzaID {
		t.Errorf("stored under %v, archived under %v", stored, h.ids("juliet"))
	}
	h.archived("juliet", "hello")
}

func TestWhatIsGivenBackAndThenRefusedIsTakenOut(t *testing.T) {
	h := newHouse(t, keeper(xmpp.ResourceConstraint("")))
	h.romeo.Send(hello)
	h.juliet.Logout()
	h.archived("juliet")
}

func TestArchiveOfARemovedAccountGoesWithIt(t *testing.T) {
	h := newHouse(t, keeper(nil))
	for range 3 * mam.PurgeAtOnce / 2 {
		h.romeo.Send(`<message to='nurse@example.org' type='chat'><body>x</body></message>`)
	}
	nurse := moduletest.Login(t, h.r, "nurse/n")
	ask(nurse, `<prefs xmlns='urn:xmpp:mam:2' default='never'/>`)
	if err := h.r.Remove(jid.MustParse("nurse@example.org")); err != nil {
		t.Fatal(err)
	}
	if got := h.records("nurse"); len(got) != 0 {
		t.Errorf("%d messages are left", len(got))
	}
	h.romeo.Send(`<message to='nurse@example.org' type='chat'><body>again</body></message>`)
	h.archived("nurse", "again") // the preferences are gone, too
	h.store.Fail(storage.ErrUnavailable)
	if err := h.a.removed(jid.MustParse("romeo@example.org")); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("removal without storage: %v", err)
	}
}

func TestArchiveOfOneAccountIsBoundedInBytes(t *testing.T) {
	h := newHouse(t)
	h.limits.Bytes = 20_000
	for i := range 60 {
		e := h.romeo.Send(fmt.Sprintf(`<message to='juliet@example.org' type='chat'><body>%d%s</body></message>`, i,
			strings.Repeat("x", 1000)))
		if e.Outcome != router.Delivered {
			t.Fatalf("message %d: %v, %v", i, e.Outcome, e.Err)
		}
	}
	if n := len(h.juliet.Deliveries()); n != 60 {
		t.Errorf("juliet got %d messages", n)
	}
	for _, user := range []string{"romeo", "juliet"} {
		_, size, err := h.log.Size(t.Context(), user+"@example.org")
		if err != nil || size > 20_000 || size < 15_000 {
			t.Errorf("%s has %d bytes archived, %v", user, size, err)
		}
		list := h.records(user)
		if !strings.Contains(string(list[len(list)-1].Data), "59x") {
			t.Errorf("the last message is not in the archive of %s", user)
		}
	}
}

func TestArchivesPauseWhenTheDiskIsFull(t *testing.T) {
	h := newHouse(t)
	send := func(body string) {
		t.Helper()
		e := h.romeo.Send(`<message to='juliet@example.org' type='chat'><body>` + body + `</body></message>`)
		if e.Outcome != router.Delivered {
			t.Fatalf("%v, %v", e.Outcome, e.Err)
		}
	}
	send("1")
	h.full.Store(true)
	send("2")
	h.full.Store(false)
	send("3")
	if n := len(h.juliet.Deliveries()); n != 3 {
		t.Errorf("juliet got %d messages", n)
	}
	h.archived("romeo", "1", "3")
	h.archived("juliet", "1", "3")
}
