package offline

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

const hi = `<message to='juliet@example.org' type='chat' id='1'><body>hi</body></message>`

var julietJID = jid.MustParse("juliet@example.org")

// scene is a router with the module, and romeo, who is online and writes.
type scene struct {
	*testing.T
	r     *router.Router
	m     *module
	store *moduletest.Store
	log   storage.Log
	romeo *moduletest.Client
	known map[string]bool // contacts of juliet
	kept  *memory         // the archive; nil: there is none
}

func (c *scene) Has(user, contact jid.JID) (bool, error) {
	return user == julietJID && c.known[contact.String()], nil
}

func newScene(t *testing.T, o Options) *scene { return sceneOn(t, o, moduletest.NewStore(), false, "") }

// sceneOn is newScene with what a store has, and with an archive.
func sceneOn(t *testing.T, o Options, store *moduletest.Store, archive bool, node string) *scene {
	c := &scene{T: t, r: moduletest.New("romeo", "juliet"), store: store}
	c.log = c.store.Log("offline")
	c.known = map[string]bool{"romeo@example.org": true}
	options := func() Options { return o }
	if archive {
		c.kept = &memory{log: store.Log("archive")}
		c.m = newModule(c.r, c, c.log, options, moduletest.Discard())
		c.m.settled.be(node)
		c.m.archived(c.kept, store.Map("offline"))
		c.r.Use(c.kept.module(), c.m.module())
		for low := c.m.settled.low.Load(); low != all && storage.IDAt(time.Now()) <= low; {
			<-time.After(margin / 10) // until then each message gets a copy
		}
	} else {
		c.m = newModule(c.r, c, c.log, options, moduletest.Discard())
		c.r.Use(c.m.module())
	}
	c.romeo = moduletest.Login(t, c.r, "romeo/a")
	t.Cleanup(func() {
		for i := range c.m.shards {
			sh := &c.m.shards[i]
			sh.mu.Lock()
			for name, o := range sh.owners {
				loose := 0
				for k, f := range o.flight {
					log, id := c.log, f.copy
					if id == 0 {
						log, id = c.kept.log, k&^inArchive
						loose++
					}
					if _, err := log.Get(t.Context(), name, id); err != nil {
						t.Errorf("%s: %d is in flight but not stored", name, id)
					}
				}
				if loose != o.loose {
					t.Errorf("%s: %d messages have no copy, %d are counted", name, loose, o.loose)
				}
			}
			sh.mu.Unlock()
		}
	})
	return c
}

func (c *scene) juliet(resource string) *moduletest.Client {
	return moduletest.Login(c.T, c.r, "juliet/"+resource)
}

func (c *scene) stored() int {
	n, _, _ := c.log.Size(c.Context(), julietJID.String())
	return n
}

func (c *scene) wantStored(n int) {
	c.Helper()
	if got := c.stored(); got != n {
		c.Fatalf("%d messages are stored, not %d", got, n)
	}
}

// bodies are what a client got, in order, without their XML.
func bodies(ds []router.Delivery) string {
	var out []string
	for _, d := range ds {
		if b := d.Stanza.Child(xmpp.Name{Space: xmpp.NSClient, Local: "body"}); b != nil {
			out = append(out, b.Text())
		}
	}
	return strings.Join(out, " ")
}

func message(body string) string {
	return `<message to='juliet@example.org' type='chat'><body>` + body + `</body></message>`
}

func numbers(from, to int) string {
	var out []string
	for i := from; i <= to; i++ {
		out = append(out, strconv.Itoa(i))
	}
	return strings.Join(out, " ")
}

func TestMessageForAUserWhoIsAwayIsBroughtAtLoginWithItsTime(t *testing.T) {
	c := newScene(t, Options{})
	e := c.romeo.Send(`<message to='juliet@example.org' type='chat' id='1' xml:lang='it' x='y'><body>ciao</body></message>`)
	if e.Outcome != router.Stored {
		t.Fatalf("outcome %v", e.Outcome)
	}
	records, _, _ := c.log.Page(t.Context(), "juliet@example.org", storage.Query{})
	j := c.juliet("b")
	j.Available(0)
	j.Wait(1)
	id := strconv.FormatUint(records[0].ID, 10)
	j.Want(`<message from='romeo@example.org/a' to='juliet@example.org' type='chat' id='1' xml:lang='it' x='y'><body>ciao</body>` +
		`<delay xmlns='urn:xmpp:delay' from='example.org' stamp='` + xmpp.FormatTime(records[0].Time()) + `'/>` +
		`<stanza-id xmlns='urn:xmpp:sid:0' by='juliet@example.org' id='` + id + `'/></message>`)
	c.wantStored(1)
	j.Take()
	c.wantStored(0)
}

func TestNegativePriorityIsNotBroughtAnything(t *testing.T) {
	c := newScene(t, Options{})
	c.romeo.Send(hi)
	j := c.juliet("b")
	j.Available(-1)
	j.Want()
	j.Available(0)
	j.Wait(1)
	if got := bodies(j.Deliveries()); got != "hi" {
		t.Errorf("got %q", got)
	}
}

func TestOnlyWhatIsWorthKeepingIsStored(t *testing.T) {
	const composing = `<composing xmlns='http://jabber.org/protocol/chatstates'/>`
	for _, test := range []struct {
		name, xml string
		want      router.Outcome
	}{
		{"chat", `<message to='juliet@example.org' type='chat'><body>x</body></message>`, router.Stored},
		{"normal", `<message to='juliet@example.org'><body>x</body></message>`, router.Stored},
		{"of a type nobody knows", `<message to='juliet@example.org' type='odd'><body>x</body></message>`, router.Stored},
		{"groupchat", `<message to='juliet@example.org' type='groupchat'><body>x</body></message>`, router.Refused},
		{"headline", `<message to='juliet@example.org' type='headline'><body>x</body></message>`, router.Dropped},
		{"error", `<message to='juliet@example.org' type='error'><body>x</body></message>`, router.Dropped},
		{"a state alone", `<message to='juliet@example.org' type='chat'>` + composing + `</message>`, router.Dropped},
		{"a state in a thread", `<message to='juliet@example.org' type='chat'><thread>1</thread>` + composing + `</message>`, router.Dropped},
		{"a state with a body", `<message to='juliet@example.org' type='chat'><body>x</body>` + composing + `</message>`, router.Stored},
		{"a receipt", `<message to='juliet@example.org'><received xmlns='urn:xmpp:receipts' id='1'/></message>`, router.Stored},
		{"no-store", `<message to='juliet@example.org'><body>x</body><no-store xmlns='urn:xmpp:hints'/></message>`,
			router.Refused}, // RFC 6121 §8.5.2.2.1
		{"no-store, encrypted", `<message to='juliet@example.org' type='chat'><encrypted xmlns='urn:xmpp:omemo:2'/>` +
			`<no-store xmlns='urn:xmpp:hints'/></message>`, router.Refused},
		{"no-store, a state", `<message to='juliet@example.org'>` + composing +
			`<no-store xmlns='urn:xmpp:hints'/></message>`, router.Dropped},
		{"no-store, a receipt", `<message to='juliet@example.org'><received xmlns='urn:xmpp:receipts' id='1'/>` +
			`<no-store xmlns='urn:xmpp:hints'/></message>`, router.Dropped},
		{"no-store, a marker",
			`<message to='juliet@example.org'><displayed xmlns='urn:xmpp:chat-markers:0' id='1'/><thread>t</thread>` +
				`<no-store xmlns='urn:xmpp:hints'/></message>`, router.Dropped},
		{"no-permanent-store", `<message to='juliet@example.org'><body>x</body><no-permanent-store xmlns='urn:xmpp:hints'/></message>`, router.Stored},
		{"store overrides", `<message to='juliet@example.org'>` + composing + `<store xmlns='urn:xmpp:hints'/></message>`, router.Stored},
		{"not a hint", `<message to='juliet@example.org'><body>x</body><no-store xmlns='other'/></message>`, router.Stored},
		{"encrypted", `<message to='juliet@example.org'><encrypted xmlns='eu.siacs.conversations.axolotl'/></message>`, router.Stored},
		{"to a resource that is gone, chat", `<message to='juliet@example.org/x' type='chat'><body>x</body></message>`, router.Stored},
		{"to a resource that is gone, normal", `<message to='juliet@example.org/x'><body>x</body></message>`, router.Refused},
		{"to nobody", `<message to='nurse@example.org'><body>x</body></message>`, router.Refused},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newScene(t, Options{})
			if e := c.romeo.Send(test.xml); e.Outcome != test.want {
				t.Errorf("outcome %v, want %v", e.Outcome, test.want)
			}
			if want := test.want == router.Stored; (c.stored() == 1) != want {
				t.Errorf("stored %d messages", c.stored())
			}
		})
	}
}

func TestFullStoreRefusesWithAnErrorThatInvitesARetry(t *testing.T) {
	for name, o := range map[string]Options{"messages": {MaxMessages: 2}, "bytes": {MaxBytes: 150}} {
		t.Run(name, func(t *testing.T) {
			c := newScene(t, o)
			c.romeo.Send(hi)
			c.romeo.Send(hi)
			e := c.romeo.Send(hi)
			if e.Outcome != router.Refused || e.Err.Condition != xmpp.CondResourceConstraint || e.Err.Type != xmpp.ErrorWait {
				t.Errorf("outcome %v, %v", e.Outcome, e.Err)
			}
			c.wantStored(2)
		})
	}
}

func TestFullStoreTakesMoreWhileItIsBeingBrought(t *testing.T) {
	c := newScene(t, Options{MaxMessages: 2})
	for range 3 {
		c.romeo.SendDurable(hi)
	}
	c.wantStored(2)
	j := c.juliet("b")
	j.Available(0)
	j.Wait(1) // and takes none
	for i := range 4 {
		e := c.romeo.SendDurable(hi)
		if refused := e.Outcome == router.Refused; refused && i < 2 {
			t.Errorf("message %d was refused while the session was there", i)
		}
	}
	j.Take()
}

func TestNothingIsPromisedWhileStorageIsAway(t *testing.T) {
	c := newScene(t, Options{})
	j := c.juliet("b")
	c.store.Fail(storage.ErrUnavailable)
	if e := c.romeo.Send(hi); e.Err == nil || e.Err.Condition != xmpp.CondResourceConstraint {
		t.Errorf("away: %v, %v", e.Outcome, e.Err)
	}
	c.store.Fail(nil)
	j.Available(0)
	c.store.Fail(storage.ErrUnavailable)
	if e := c.romeo.SendDurable(hi); e.Err == nil || e.Err.Condition != xmpp.CondResourceConstraint {
		t.Errorf("acknowledged sender: %v, %v", e.Outcome, e.Err)
	}
	j.Want()
	j.Out.Detach()
	if e := c.romeo.Send(hi); e.Outcome != router.Delivered {
		t.Errorf("sender without promise: %v, %v", e.Outcome, e.Err)
	}
	if got := bodies(j.Deliveries()); got != "hi" {
		t.Errorf("got %q", got)
	}
}

func TestAcknowledgementWaitsForTheWrite(t *testing.T) {
	c := newScene(t, Options{})
	c.store.Hold()
	e := c.romeo.SendDurable(hi)
	if len(e.Pendings) != 1 {
		t.Fatalf("%d pendings", len(e.Pendings))
	}
	if done, _ := e.Pendings[0].Finished(); done {
		t.Error("the write has finished already")
	}
	c.store.Release(nil)
	if done, err := e.Pendings[0].Finished(); !done || err != nil {
		t.Errorf("after the commit: %v, %v", done, err)
	}
}

func TestAcknowledgedMessageIsStoredUntilTaken(t *testing.T) {
	c := newScene(t, Options{})
	j := c.juliet("b")
	j.Available(0)
	e := c.romeo.SendDurable(hi)
	if e.Outcome != router.Delivered || e.Kept == 0 {
		t.Fatalf("outcome %v, kept %d", e.Outcome, e.Kept)
	}
	c.wantStored(1)
	j.Want(`<message from='romeo@example.org/a' to='juliet@example.org' type='chat' id='1'><body>hi</body>` +
		fmt.Sprintf(`<stanza-id xmlns='urn:xmpp:sid:0' by='juliet@example.org' id='%d'/></message>`, e.Kept))
	j.Take()
	c.wantStored(0)
}

func TestAcknowledgementWaitsForAPromptSessionInsteadOfTheDisk(t *testing.T) {
	c := newScene(t, Options{})
	j := c.juliet("b")
	j.Out.BePrompt()
	j.Available(0)
	finished := func(e *router.Envelope) bool {
		if len(e.Pendings) != 1 {
			t.Fatalf("%d pendings, want 1", len(e.Pendings))
		}
		done, err := e.Pendings[0].Finished()
		if err != nil {
			t.Error(err)
		}
		return done
	}
	first := c.romeo.SendDurable(hi)
	c.wantStored(0)
	if finished(first) {
		t.Error("acknowledged before it was taken")
	}
	j.Take()
	if !finished(first) {
		t.Error("taken and not acknowledged")
	}
	// The session ends without having taken the second: then the disk has the word.
	second := c.romeo.SendDurable(hi)
	c.store.Hold()
	j.Logout()
	if finished(second) {
		t.Error("acknowledged while neither the session nor the disk has it")
	}
	c.store.Release(nil)
	if !finished(second) {
		t.Error("stored and not acknowledged")
	}
	c.wantStored(1)
}

func TestUnacknowledgedMessageToALiveSessionCostsNoWrite(t *testing.T) {
	c := newScene(t, Options{})
	j := c.juliet("b")
	j.Available(0)
	if e := c.romeo.Send(hi); e.Kept != 0 || c.stored() != 0 {
		t.Errorf("kept %d", e.Kept)
	}
	j.Want(`<message from='romeo@example.org/a' to='juliet@example.org' type='chat' id='1'><body>hi</body></message>`)
	c.romeo.Send(hi)
	j.Logout() // never took the two
	c.wantStored(2)
}

func TestMessageNotTakenComesAgainUnderTheSameID(t *testing.T) {
	c := newScene(t, Options{})
	j := c.juliet("b")
	j.Available(0)
	e := c.romeo.SendDurable(hi)
	j.Logout()
	c.wantStored(1)
	j = c.juliet("c")
	j.Available(0)
	j.Wait(1)
	if ds := j.Deliveries(); len(ds) != 1 || ds[0].Kept != e.Kept {
		t.Errorf("got %+v, want the one of %d", ds, e.Kept)
	}
	j.LogoutTaken()
	c.wantStored(0)
}

func TestMessageToADetachedSessionIsKept(t *testing.T) {
	c := newScene(t, Options{})
	j := c.juliet("b")
	j.Available(0)
	j.Out.Detach()
	if e := c.romeo.Send(hi); e.Kept == 0 {
		t.Error("no copy")
	}
	c.wantStored(1)
	j.Logout()
	c.wantStored(1)
}

func TestMessageToSeveralSessionsIsKeptOnceAndGoesWithTheFirstTaker(t *testing.T) {
	c := newScene(t, Options{})
	a, b := c.juliet("a"), c.juliet("b")
	a.Available(0)
	b.Available(0)
	c.romeo.Send(hi)
	c.wantStored(1)
	a.Wait(1)
	b.Wait(1)
	a.Take()
	c.wantStored(0)
	b.Logout()
	c.wantStored(0)
	a.Deliveries()
	a.Want()
}

func TestMessageThatNoneOfSeveralSessionsTookComesAgain(t *testing.T) {
	c := newScene(t, Options{})
	a, b := c.juliet("a"), c.juliet("b")
	a.Available(0)
	b.Available(0)
	c.romeo.Send(hi)
	a.Logout()
	if got := bodies(b.Deliveries()); got != "hi" {
		t.Errorf("b got %q", got)
	}
	b.Logout()
	d := c.juliet("d")
	d.Available(0)
	d.Wait(1)
	if got := bodies(d.Deliveries()); got != "hi" {
		t.Errorf("d got %q", got)
	}
}

func TestRepeatedMessageIsHandledOnce(t *testing.T) {
	c := newScene(t, Options{})
	post := func() *router.Envelope {
		s := moduletest.Parse(t, hi)
		s.From = jid.MustParse("ticket@trac")
		e := &router.Envelope{Stanza: s, Account: jid.MustParse("romeo@example.org"), Durable: true, Dedup: "romeo 7", Quiet: true}
		c.r.Route(e)
		return e
	}
	if a, b := post().Outcome, post().Outcome; a != router.Stored || b != router.Stored {
		t.Errorf("away: %v and %v", a, b)
	}
	c.wantStored(1)
	j := c.juliet("b")
	j.Available(0)
	j.Wait(1)
	// Delivered, or Stored while the catching up has yet to end; in both cases nothing comes of it.
	if e := post(); e.Outcome != router.Delivered && e.Outcome != router.Stored {
		t.Errorf("online: %v", e.Outcome)
	}
	j.Take()
	post()
	if got := bodies(j.Deliveries()); got != "hi" {
		t.Errorf("got %q", got)
	}
}

func TestMessageSentAgainUnderItsOriginIDIsHandledOnce(t *testing.T) {
	c := newScene(t, Options{})
	send := func(id, body string) {
		c.romeo.SendDurable("<message to='juliet@example.org' type='chat'><origin-id xmlns='urn:xmpp:sid:0' id='" + id + "'/><body>" + body + "</body></message>")
	}
	send("1", "a")
	send("1", "a") // the client never heard of the acknowledgement
	send("2", "b")
	c.wantStored(2)
	j := c.juliet("b")
	j.Available(0)
	j.Wait(2)
	j.Take()
	send("2", "b")
	if got := bodies(j.Deliveries()); got != "a b" {
		t.Errorf("got %q", got)
	}
	c.wantStored(0)
}

func TestStoredMessagesComeInOrderAheadOfNewOnes(t *testing.T) {
	c := newScene(t, Options{})
	const old, all = 130, 200 // more than a page
	for i := 1; i <= old; i++ {
		c.romeo.Send(message(strconv.Itoa(i)))
	}
	j := c.juliet("b")
	j.Available(0)
	for i := old + 1; i <= all; i++ {
		c.romeo.Send(message(strconv.Itoa(i)))
	}
	j.Wait(all)
	if got := bodies(j.Deliveries()); got != numbers(1, all) {
		t.Errorf("got %s", got)
	}
	j.Take()
	c.wantStored(0)
}

func TestSecondLoginDoublesNothing(t *testing.T) {
	c := newScene(t, Options{})
	for i := 1; i <= 120; i++ {
		c.romeo.Send(message(strconv.Itoa(i)))
	}
	a, b := c.juliet("a"), c.juliet("b")
	var wg sync.WaitGroup
	for _, j := range []*moduletest.Client{a, b} {
		wg.Go(func() { j.Available(0) })
	}
	wg.Wait()
	waitFor(t, func() bool { return c.idle() })
	got := strings.TrimSpace(bodies(a.Deliveries()) + " " + bodies(b.Deliveries()))
	if got != numbers(1, 120) {
		t.Errorf("got %s", got)
	}
}

func TestNextSessionGetsAllInOrderWhenTheFirstEndsMidway(t *testing.T) {
	c := newScene(t, Options{})
	big := strings.Repeat("x", 2000)
	for i := 1; i <= 400; i++ { // far more than may be in flight
		c.romeo.Send(`<message to='juliet@example.org' type='chat'><body>` + strconv.Itoa(i) + `</body><x xmlns='x'>` + big + `</x></message>`)
	}
	a, b := c.juliet("a"), c.juliet("b")
	a.Available(1)
	a.Wait(100)
	b.Available(0)
	for _, d := range a.Deliveries()[:30] {
		c.r.Taken(a.Session, []uint64{d.Kept})
	}
	a.Logout()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := 100; n <= 370; n += 90 {
			b.Wait(n)
			b.Take()
		}
		b.Wait(370)
	}()
	<-done
	if got := bodies(b.Deliveries()); got != numbers(31, 400) {
		t.Errorf("got %s", got)
	}
}

func TestMessagesWithoutCopyStayAheadOfLaterOnesWithOne(t *testing.T) {
	c := newScene(t, Options{})
	j := c.juliet("b")
	j.Available(0)
	c.romeo.Send(message("1"))
	c.romeo.SendDurable(message("2"))
	c.romeo.Send(message("3"))
	j.Out.Detach()
	c.romeo.Send(message("4"))
	j.Logout()
	c.wantStored(4)
	j = c.juliet("c")
	j.Available(0)
	j.Wait(4)
	if got := bodies(j.Deliveries()); got != "1 2 3 4" {
		t.Errorf("got %s", got)
	}
}

func TestRemovedAccountLeavesNothing(t *testing.T) {
	c := newScene(t, Options{})
	c.romeo.Send(hi)
	if err := c.r.Remove(julietJID); err != nil {
		t.Fatal(err)
	}
	c.wantStored(0)
	c.store.Fail(storage.ErrClosed)
	if err := c.r.Remove(julietJID); err == nil || !strings.Contains(err.Error(), storage.ErrClosed.Error()) {
		t.Errorf("got %v", err)
	}
}

// idle says that nothing is being brought.
func (c *scene) idle() bool {
	sh := c.m.shard(julietJID.String())
	sh.mu.Lock()
	defer sh.mu.Unlock()
	o := sh.owners[julietJID.String()]
	return o == nil || len(o.catching) == 0
}

func waitFor(t *testing.T, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !cond(); {
		if time.Now().After(deadline) {
			t.Fatal("waited a minute in vain")
		}
	}
}

func TestOrderIsKeptWhileASessionComesAndGoes(t *testing.T) {
	for name, durable := range map[string]bool{"acknowledged": true, "not acknowledged": false} {
		t.Run(name, func(t *testing.T) { order(t, newScene(t, Options{}), durable) })
		t.Run(name+", archive", func(t *testing.T) {
			order(t, sceneOn(t, Options{}, moduletest.NewStore(), true, ""), durable)
		})
	}
}

func order(t *testing.T, c *scene, durable bool) {
	const all = 500
	var got []string
	take := func(j *moduletest.Client) {
		for _, d := range j.Take() {
			got = append(got, d.Stanza.Child(xmpp.Name{Space: xmpp.NSClient, Local: "body"}).Text())
		}
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		send := c.romeo.Send
		if durable {
			send = c.romeo.SendDurable
		}
		for i := 1; i <= all; i++ {
			e := send(message(strconv.Itoa(i)))
			for e.Outcome == router.Refused && e.Err.Condition == xmpp.CondRecipientUnavailable {
				e = send(message(strconv.Itoa(i))) // the session ended at that very moment
			}
			if e.Outcome != router.Delivered && e.Outcome != router.Stored {
				t.Errorf("%d: %v, %v", i, e.Outcome, e.Err)
			}
		}
	}()
	for i := 0; len(got) < all && i < 10000; i++ {
		j := c.juliet("r" + strconv.Itoa(i))
		j.Available(0)
		for range i % 4 {
			take(j)
		}
		j.Logout()
		select {
		case <-sent:
			if c.stored() > 0 {
				j := c.juliet("last" + strconv.Itoa(i))
				j.Available(0)
				waitFor(t, func() bool { take(j); return c.stored() == 0 && c.idle() })
				take(j)
				j.Logout()
			}
		default:
		}
	}
	for i, s := range got {
		if s != strconv.Itoa(i+1) {
			t.Fatalf("%s came in place of %d: %v", s, i+1, got[max(i-3, 0):min(i+4, len(got))])
		}
	}
	if len(got) != all {
		t.Errorf("%d of %d came", len(got), all)
	}
}

func TestMessageWhileStoredOnesAreBroughtReachesWhoItIsFor(t *testing.T) {
	c := newScene(t, Options{})
	for range 200 {
		c.romeo.Send(message(`<x xmlns='x'>` + strings.Repeat("x", 4000) + `</x>`))
	}
	a, b := c.juliet("a"), c.juliet("b")
	a.Available(0)
	a.Wait(50) // and no more, until it takes them
	b.Available(0)
	c.romeo.Send(`<message to='juliet@example.org' type='chat'><body>both</body></message>`)
	c.romeo.Send(`<message to='juliet@example.org/b' type='chat'><body>b</body></message>`)
	c.romeo.Send(`<message to='juliet@example.org/gone' type='chat'><body>gone</body></message>`)
	if e := c.romeo.Send(hi); e.Outcome != router.Stored {
		t.Fatalf("the account was not held: %v", e.Outcome)
	}
	waitFor(t, func() bool { a.Take(); return c.idle() })
	if got := bodies(b.Deliveries()); got != "both b gone hi" {
		t.Errorf("b got %q", got)
	}
	if got := strings.Join(strings.Fields(bodies(a.Deliveries())), " "); got != "both gone hi" {
		t.Errorf("a got %q", got)
	}
	b.Take()
	a.Take()
	c.wantStored(0)
}

func TestMessageThatMustNotBeStoredPassesTheStoredOnes(t *testing.T) {
	c := newScene(t, Options{})
	for range 200 {
		c.romeo.Send(message(`<x xmlns='x'>` + strings.Repeat("x", 4000) + `</x>`))
	}
	a := c.juliet("a")
	a.Available(0)
	a.Wait(50)
	const noStore = `<body>now</body><no-store xmlns='urn:xmpp:hints'/>`
	for xml, want := range map[string]router.Outcome{
		`<message to='juliet@example.org'>` + noStore + `</message>`:                  router.Delivered,
		`<message to='juliet@example.org/a' type='chat'>` + noStore + `</message>`:    router.Delivered,
		`<message to='juliet@example.org/gone' type='chat'>` + noStore + `</message>`: router.Delivered,
	} {
		if e := c.romeo.Send(xml); e.Outcome != want {
			t.Errorf("%s: %v", xml, e.Outcome)
		}
	}
	waitFor(t, func() bool { a.Take(); return c.idle() })
	if got := strings.Join(strings.Fields(bodies(a.Deliveries())), " "); got != "now now now" {
		t.Errorf("got %q", got)
	}
}

// archive stands for a module that gives ids before offline does.
func archive(id uint64) router.Module {
	stamp := func(e *router.Envelope) {
		if e.Identify(id); id != router.NoStanzaID && !e.Returned {
			e.Stamp("juliet@example.org", id)
		}
	}
	return router.Module{Name: "archive", Unclaimed: stamp, Delivering: func(e *router.Envelope, _ []*router.Session) { stamp(e) }}
}

func TestIDThatAnArchiveGaveStaysTheOnlyOne(t *testing.T) {
	const stamped = `<stanza-id xmlns='urn:xmpp:sid:0' by='juliet@example.org' id='7'/>`
	for _, test := range []struct {
		name string
		id   uint64
		want []string
	}{
		{"archived", 7, []string{stamped}},
		{"not archived", router.NoStanzaID, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := moduletest.New("romeo", "juliet")
			r.Use(archive(test.id), New(r, &scene{}, moduletest.NewStore().Log("offline"), nil, nil,
				func() Options { return Options{} }, moduletest.Discard()).Module())
			romeo, juliet := moduletest.Login(t, r, "romeo/a"), moduletest.Login(t, r, "juliet/b")
			check := func(where string) {
				t.Helper()
				juliet.Wait(1)
				got := juliet.Deliveries()
				if len(got) != 1 {
					t.Fatalf("%s: %d messages", where, len(got))
				}
				var ids []string
				for _, c := range xmpp.Index(got[0].Stanza.Payload) {
					if c.Name.Local == "stanza-id" {
						ids = append(ids, string(got[0].Stanza.Payload[c.Start:c.End]))
					}
				}
				if !slices.Equal(ids, test.want) {
					t.Errorf("%s: %v, want %v", where, ids, test.want)
				}
			}
			romeo.SendDurable(`<message to='juliet@example.org' type='chat'><body>stored</body></message>`)
			juliet.Available(0)
			check("stored")
			juliet.Take()
			romeo.SendDurable(`<message to='juliet@example.org' type='chat'><body>kept</body></message>`)
			check("kept")
			juliet.Logout()
			juliet = moduletest.Login(t, r, "juliet/c")
			juliet.Available(0)
			check("given back")
			juliet.Take()
			romeo.Send(`<message to='juliet@example.org' type='chat'><body>without a copy</body></message>`)
			check("without a copy")
			juliet.Logout()
			juliet = moduletest.Login(t, r, "juliet/d")
			juliet.Available(0)
			check("given back without a copy")
		})
	}
}
