package push

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// service stands for a push service at push.example.org.
type service struct {
	r *router.Router

	mu   sync.Mutex // guards the rest
	got  []*xmpp.Stanza
	fail *xmpp.Error // what it answers
}

func (s *service) handle(e *router.Envelope) {
	s.mu.Lock()
	got := e.Stanza.Clone()
	s.got = append(s.got, &got)
	fail := s.fail
	s.mu.Unlock()
	if fail != nil {
		e.Settle(router.Delivered)
		reply := got.ErrorReply(fail)
		s.r.Emit(&reply, nil)
		return
	}
	s.r.Answer(e, nil)
}

func (s *service) answers(err *xmpp.Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

// told returns what came since the last call, without the ids.
func (s *service) told() (out []string) {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.got {
		g.ID = ""
		out = append(out, string(g.Append(nil)))
	}
	s.got = nil
	return out
}

type house struct {
	*testing.T
	r        *router.Router
	push     *Push
	service  *service
	settings Settings
}

// newHouse has users romeo and juliet and a push service. It belongs into a bubble of synctest.
func newHouse(t *testing.T) *house {
	h := &house{T: t, r: moduletest.New("romeo", "juliet"),
		settings: Settings{Content: None, Registrations: 3, Interval: 5 * time.Second}}
	h.service = &service{r: h.r}
	h.start(moduletest.NewStore().Map("push"))
	t.Cleanup(func() { h.push.Close() })
	return h
}

// start begins with what is stored.
func (h *house) start(m storage.Map) {
	h.push = New(Options{Router: h.r, Store: m, Settings: func() Settings { return h.settings },
		Log: moduletest.Discard()})
	h.r.Use(h.push.Module(),
		router.Module{Name: "storing", Unclaimed: func(e *router.Envelope) { e.Settle(router.Stored) }},
		router.Module{Name: "service", Service: &router.Service{Handle: h.service.handle,
			Domains: func() []string { return []string{"push.example.org"} }}})
}

func (h *house) enable(c *moduletest.Client, node, inside string) *router.Envelope {
	h.Helper()
	c.Received()
	return c.Send(`<iq type='set' id='e'><enable xmlns='urn:xmpp:push:0' jid='push.example.org' node='` + node + `'>` + inside + `</enable></iq>`)
}

func (h *house) disable(c *moduletest.Client, attrs string) *router.Envelope {
	return c.Send(`<iq type='set' id='d'><disable xmlns='urn:xmpp:push:0' jid='push.example.org' ` + attrs + `/></iq>`)
}

// phone logs juliet in with a phone that has enabled a node.
func (h *house) phone(node string) *moduletest.Client {
	h.Helper()
	c := moduletest.Login(h, h.r, "juliet/"+node)
	c.Available(0)
	if e := h.enable(c, node, ""); e.Outcome != router.Delivered {
		h.Fatalf("enable: %v, %v", e.Outcome, e.Err)
	}
	c.Want(`<iq type='result' id='e' from='juliet@example.org' to='juliet@example.org/` + node + `'/>`)
	return c
}

// say has romeo say something to juliet.
func (h *house) say(payload string) {
	h.Helper()
	h.r.Route(&router.Envelope{Quiet: true, Stanza: moduletest.Parse(h, `<message type='chat' from='romeo@example.org/orchard' to='juliet@example.org'>`+payload+`</message>`)})
}

// want compares what the service was told with counts for nodes, "node=count".
func (h *house) want(want ...string) {
	h.Helper()
	got := h.service.told()
	if len(got) != len(want) {
		h.Fatalf("%d notifications, not %d: %s", len(got), len(want), got)
	}
	for i, w := range want {
		node, count, _ := strings.Cut(w, "=")
		moduletest.Same(h, got[i], notification(node, count, ""))
	}
}

func notification(node, count, more string) string {
	return `<iq type='set' from='juliet@example.org' to='push.example.org'><pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='` + node +
		`'><item><notification xmlns='urn:xmpp:push:0'><x xmlns='jabber:x:data' type='submit'>` +
		`<field var='FORM_TYPE' type='hidden'><value>urn:xmpp:push:summary</value></field>` +
		`<field var='message-count'><value>` + count + `</value></field>` + more + `</x></notification></item></publish></pubsub></iq>`
}

const hello = "<body>hello</body>"

func TestWhoIsGoneIsWokenAndWhoIsConnectedIsNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		phone := h.phone("phone")
		h.say(hello)
		h.want()
		phone.LogoutTaken()
		h.say(hello)
		h.want("phone=1")
	})
}

func TestASessionThatWaitsToBeResumedIsWoken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		phone := h.phone("phone")
		phone.Out.Detach()
		h.say(hello)
		h.want("phone=1")
		phone.Logout() // what it was told of is not told again when nobody has resumed it
		time.Sleep(time.Minute)
		h.want()
	})
}

func TestWhatWasOnItsWayWhenTheConnectionWasLostWakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		phone := h.phone("phone")
		for _, payload := range []string{hello, hello, "<active xmlns='http://jabber.org/protocol/chatstates'/>"} {
			h.say(payload)
		}
		var left []router.Undelivered
		for _, d := range phone.Deliveries() {
			left = append(left, router.Undelivered{Stanza: *d.Stanza})
		}
		phone.Out.Detach()
		h.r.Detached(phone.Session, left)
		h.want("phone=2")
		phone.Logout()
		time.Sleep(time.Minute)
		h.want()
	})
}

func TestWhatASessionWithoutResumptionNeverTookWakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		phone := h.phone("phone")
		h.say(hello)
		phone.Logout()
		h.want("phone=1")
	})
}

func TestAUserAtAnotherClientDoesNotLeaveThePhoneAsleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		phone := h.phone("phone")
		desk := moduletest.Login(h, h.r, "juliet/desk")
		desk.Available(1)
		phone.LogoutTaken()
		h.say(hello)
		h.want("phone=1")
		time.Sleep(time.Minute)
		desk.Send(`<message type='chat' to='juliet@example.org'><body>a note to myself</body></message>`)
		desk.Logout() // and what the desk did not take is told the phone already
		h.want()
	})
}

func TestFurtherMessagesAreToldTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.phone("phone").LogoutTaken()
		h.say(hello)
		h.want("phone=1") // the first at once
		for range 100 {
			h.say(hello)
		}
		time.Sleep(4 * time.Second)
		h.say(hello)
		h.want()
		time.Sleep(2 * time.Second)
		h.want("phone=102")
		time.Sleep(time.Minute)
		h.say(hello)
		h.want("phone=103")
	})
}

func TestWhoComesBackInTimeIsNotWoken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.phone("phone").LogoutTaken()
		h.say(hello)
		h.want("phone=1")
		h.say(hello)
		again := moduletest.Login(h, h.r, "juliet/phone") // without enabling anew
		time.Sleep(time.Minute)
		h.want()
		again.LogoutTaken()
		h.say(hello)
		h.want("phone=1")
	})
}

func TestOnlyWhatPeopleWaitForWakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.phone("phone").LogoutTaken()
		message := func(typ, from, to, payload string) string {
			return "<message type='" + typ + "' from='" + from + "' to='" + to + "'>" + payload + "</message>"
		}
		const romeo, juliet = "romeo@example.org/orchard", "juliet@example.org"
		for _, c := range []struct {
			wakes bool
			xml   string
		}{
			{true, message("chat", romeo, juliet, hello)},
			{true, message("normal", romeo, juliet, hello)},
			{true, message("chat", romeo, juliet+"/phone", hello)},
			{true, message("chat", romeo, juliet, "<encrypted xmlns='eu.siacs.conversations.axolotl'/>")},
			{true, message("chat", romeo, juliet, "<encrypted xmlns='urn:xmpp:omemo:2'/>")},
			{true, message("normal", "rooms.example.org", juliet, "<x xmlns='http://jabber.org/protocol/muc#user'><invite from='romeo@example.org'/></x>")},
			{true, message("normal", romeo, juliet, "<x xmlns='jabber:x:conference' jid='a@rooms.example.org'/>")},
			{true, message("chat", romeo, juliet, "<propose xmlns='urn:xmpp:jingle-message:0' id='1'/>")},
			{false, message("chat", romeo, juliet, "<proceed xmlns='urn:xmpp:jingle-message:0' id='1'/>")},
			{false, message("chat", romeo, juliet, "<composing xmlns='http://jabber.org/protocol/chatstates'/>")},
			{false, message("chat", romeo, juliet, "<received xmlns='urn:xmpp:receipts' id='1'/>")},
			{false, message("chat", romeo, juliet, "<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>")},
			{false, message("normal", "rooms.example.org", juliet, "<x xmlns='http://jabber.org/protocol/muc#user'><status code='100'/></x>")},
			{false, message("headline", romeo, juliet, hello)},
			{false, message("error", romeo, juliet, hello)},
			{false, message("chat", juliet+"/desk", juliet, hello)},
			{false, message("chat", romeo, "romeo@example.org", hello)},
			{false, message("chat", romeo, "nobody@example.org", hello)},
			{false, "<presence type='subscribe' from='romeo@example.org' to='juliet@example.org'/>"},
		} {
			h.r.Route(&router.Envelope{Quiet: true, Stanza: moduletest.Parse(t, c.xml)})
			if got := h.service.told(); (len(got) == 1) != c.wakes {
				t.Errorf("%s: %d notifications", c.xml, len(got))
			}
			time.Sleep(time.Minute)
		}
	})
}

func TestARoomWakesTheClientThatIsInIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		phone, tablet := h.phone("phone"), h.phone("tablet")
		phone.Out.Detach()
		tablet.Out.Detach()
		for _, payload := range []string{"<subject>new</subject>", hello} {
			h.r.Route(&router.Envelope{Quiet: true, Stanza: moduletest.Parse(t, `<message type='groupchat' from='a@rooms.example.org/romeo' to='juliet@example.org/tablet'>`+payload+`</message>`)})
		}
		h.want("tablet=1")
	})
}

func TestTheContentIsAsConfigured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.phone("phone").LogoutTaken()
		sender := `<field var='last-message-sender'><value>romeo@example.org/orchard</value></field>`
		for _, c := range []struct {
			content Content
			more    string
		}{{None, ""}, {Sender, sender}, {Full, sender + `<field var='last-message-body'><value>` + strings.Repeat("ä", maxBody/2) + `</value></field>`}, {None, ""}} {
			h.settings.Content = c.content
			h.push.Close()
			h.start(h.push.Store) // counting from one
			h.say("<body>" + strings.Repeat("ä", maxBody) + "</body>")
			if got := h.service.told(); len(got) != 1 {
				t.Errorf("%s: %d notifications", c.content, len(got))
			} else {
				moduletest.Same(t, got[0], notification("phone", "1", c.more))
			}
		}
	})
}

func TestWhatAServiceWantsIsPublishedAlong(t *testing.T) {
	const form = `<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>http://jabber.org/protocol/pubsub#publish-options</value></field>` +
		`<field var='secret'><value>eruio&lt;</value></field></x>`
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		phone := h.phone("phone")
		h.enable(phone, "phone", form)
		phone.LogoutTaken()
		for range 2 {
			h.say(hello)
			got := h.service.told()
			if len(got) != 1 {
				t.Fatalf("%d notifications", len(got))
			}
			moduletest.Same(t, got[0], strings.Replace(notification("phone", "1", ""), "</publish>", "</publish><publish-options>"+form+"</publish-options>", 1))
			h.push.Close()
			h.start(h.push.Store) // as after a restart
		}
	})
}

func TestRequestsThatCannotBeMeantAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		juliet, romeo := moduletest.Login(t, h.r, "juliet/phone"), moduletest.Login(t, h.r, "romeo/orchard")
		form := func(typ, formType string) string {
			return `<x xmlns='jabber:x:data' type='` + typ + `'><field var='FORM_TYPE'><value>` + formType + `</value></field></x>`
		}
		for _, c := range []struct {
			who  *moduletest.Client
			xml  string
			want xmpp.Condition
		}{
			{romeo, `<iq type='set' id='1' to='juliet@example.org'><enable xmlns='urn:xmpp:push:0' jid='push.example.org' node='a'/></iq>`, xmpp.CondServiceUnavailable},
			{romeo, `<iq type='set' id='1' to='juliet@example.org'><disable xmlns='urn:xmpp:push:0' jid='push.example.org'/></iq>`, xmpp.CondServiceUnavailable},
			{juliet, `<iq type='get' id='1'><enable xmlns='urn:xmpp:push:0' jid='push.example.org' node='a'/></iq>`, xmpp.CondBadRequest},
			{juliet, `<iq type='set' id='1'><enable xmlns='urn:xmpp:push:0' node='a'/></iq>`, xmpp.CondBadRequest},
			{juliet, `<iq type='set' id='1'><disable xmlns='urn:xmpp:push:0' node='a'/></iq>`, xmpp.CondBadRequest},
			{juliet, `<iq type='set' id='1'><enable xmlns='urn:xmpp:push:0' jid='@' node='a'/></iq>`, xmpp.CondJIDMalformed},
			{juliet, `<iq type='set' id='1'><enable xmlns='urn:xmpp:push:0' jid='juliet@example.org' node='a'/></iq>`, xmpp.CondNotAllowed},
			{juliet, `<iq type='set' id='1'><enable xmlns='urn:xmpp:push:0' jid='push.example.org' node='` + strings.Repeat("a", maxNode+1) + `'/></iq>`, xmpp.CondNotAcceptable},
			{juliet, `<iq type='set' id='1'><enable xmlns='urn:xmpp:push:0' jid='push.example.org'>` + form("submit", "other") + `</enable></iq>`, xmpp.CondBadRequest},
			{juliet, `<iq type='set' id='1'><enable xmlns='urn:xmpp:push:0' jid='push.example.org'>` + form("form", publishOptions) + `</enable></iq>`, xmpp.CondBadRequest},
			{juliet, `<iq type='set' id='1'><enable xmlns='urn:xmpp:push:0' jid='push.example.org'>` + strings.Replace(form("submit", publishOptions), "</x>",
				"<field var='a'><value>"+strings.Repeat("a", maxForm)+"</value></field></x>", 1) + `</enable></iq>`, xmpp.CondNotAcceptable},
		} {
			if e := c.who.Send(c.xml); e.Err == nil || e.Err.Condition != c.want {
				t.Errorf("%.200s: %v, %v", c.xml, e.Outcome, e.Err)
			}
		}
		juliet.LogoutTaken()
		h.say(hello)
		h.want()
	})
}

func TestRegistrationsAreBoundedAndTheOldestGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		for i := range 5 {
			h.phone(fmt.Sprint("n", i)).LogoutTaken()
			time.Sleep(time.Second)
			if i == 2 {
				h.phone("n0").LogoutTaken() // again: no longer the oldest
				time.Sleep(time.Second)
			}
		}
		check := func() {
			t.Helper()
			h.say(hello)
			got := strings.Join(h.service.told(), "")
			for i, want := range []bool{true, false, false, true, true} {
				if strings.Contains(got, fmt.Sprintf("node='n%d'", i)) != want {
					t.Errorf("n%d: told %v", i, !want)
				}
			}
		}
		check()
		h.push.Close()
		h.start(h.push.Store)
		check()
	})
}

func TestDisablingEndsOneNodeOrAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		for _, n := range []string{"a", "b"} {
			h.phone(n).LogoutTaken()
		}
		c := h.phone("c")
		h.disable(c, "node='a'")
		h.disable(c, "node='never'")
		h.say(hello)
		h.want("b=1")
		h.disable(c, "")
		c.Want(`<iq type='result' id='d' from='juliet@example.org' to='juliet@example.org/c'/>`, `<iq type='result' id='d' from='juliet@example.org' to='juliet@example.org/c'/>`,
			`<message type='chat' from='romeo@example.org/orchard' to='juliet@example.org'><body>hello</body></message>`, `<iq type='result' id='d' from='juliet@example.org' to='juliet@example.org/c'/>`)
		c.LogoutTaken()
		h.say(hello)
		h.want()
	})
}

func TestAnErrorThatStaysEndsTheRegistration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.phone("phone").LogoutTaken()
		h.service.answers(xmpp.ItemNotFound(""))
		h.say(hello)
		h.want("phone=1")
		h.service.answers(nil)
		time.Sleep(time.Hour)
		h.say(hello)
		h.want()
		if left, _, err := h.push.Store.List(t.Context(), "juliet@example.org"); err != nil || len(left) != 0 {
			t.Errorf("%d records, %v", len(left), err)
		}
	})
}

func TestAnErrorThatMayPassIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.phone("phone").LogoutTaken()
		h.service.answers(xmpp.RemoteServerTimeout(""))
		h.say(hello)
		h.want("phone=1")
		time.Sleep(59 * time.Second)
		h.want()
		time.Sleep(2 * time.Second) // again, since nobody was woken
		h.want("phone=1")
		h.service.answers(nil)
		time.Sleep(2 * time.Minute)
		h.want("phone=1")
		time.Sleep(24 * time.Hour)
		h.want()
		h.service.answers(xmpp.RemoteServerTimeout(""))
		h.say(hello)
		time.Sleep(48 * time.Hour)
		if n := len(h.service.told()); n != maxFailures {
			t.Errorf("%d attempts before the end", n)
		}
		h.say(hello)
		h.want()
	})
}

func TestAServiceThatIsNotThereIsAnErrorThatMayPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		c := moduletest.Login(t, h.r, "juliet/phone")
		c.Send(`<iq type='set' id='e'><enable xmlns='urn:xmpp:push:0' jid='push.example.net' node='a'/></iq>`)
		c.LogoutTaken()
		h.say(hello)
		synctest.Wait()
		remote := &moduletest.Remote{}
		h.r.SetRemote(remote)
		time.Sleep(61 * time.Second)
		if got := remote.Sent(); len(got) != 1 {
			t.Errorf("%d notifications", len(got))
		}
	})
}

func TestAnAnswerOfSomebodyElseChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.phone("phone").LogoutTaken()
		h.say(hello)
		synctest.Wait()
		h.service.mu.Lock()
		id := h.service.got[0].ID
		h.service.mu.Unlock()
		for _, xml := range []string{
			`<iq type='error' from='romeo@example.org/orchard' to='juliet@example.org' id='` + id + `'><error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>`,
			`<iq type='error' from='push.example.org' to='juliet@example.org' id='push-other'><error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>`,
			`<message from='romeo@example.org' to='juliet@example.org'><pubsub xmlns='http://jabber.org/protocol/pubsub' node='phone'><affiliation jid='juliet@example.org' affiliation='none'/></pubsub></message>`,
			`<message from='push.example.org' to='juliet@example.org'><pubsub xmlns='http://jabber.org/protocol/pubsub' node='other'><affiliation jid='juliet@example.org' affiliation='none'/></pubsub></message>`,
			`<message from='push.example.org' to='juliet@example.org'><pubsub xmlns='http://jabber.org/protocol/pubsub' node='phone'><affiliation jid='juliet@example.org' affiliation='publish-only'/></pubsub></message>`,
			`<message from='push.example.org' to='juliet@example.org'><pubsub xmlns='http://jabber.org/protocol/pubsub' node='phone'><affiliation jid='romeo@example.org' affiliation='none'/></pubsub></message>`,
		} {
			h.r.Route(&router.Envelope{Quiet: true, Stanza: moduletest.Parse(t, xml)})
		}
		time.Sleep(time.Minute)
		h.service.told()
		h.say(hello)
		h.want("phone=2")
	})
}

func TestAServiceMayTakeTheRightBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.phone("phone").LogoutTaken()
		e := &router.Envelope{Stanza: moduletest.Parse(t, `<message from='push.example.org' to='juliet@example.org'>`+
			`<pubsub xmlns='http://jabber.org/protocol/pubsub' node='phone'><affiliation jid='juliet@example.org' affiliation='none'/></pubsub></message>`)}
		if h.r.Route(e); e.Outcome != router.Delivered {
			t.Errorf("it was %s", e.Outcome)
		}
		h.say(hello)
		h.want()
	})
}

func TestNothingIsLeftOfADeletedAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.phone("phone").LogoutTaken()
		h.say(hello)
		h.want("phone=1")
		h.say(hello)
		if err := h.r.Remove(jid.MustParse("juliet@example.org")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		h.want()
		if left, _, err := h.push.Store.List(t.Context(), "juliet@example.org"); err != nil || len(left) != 0 {
			t.Errorf("%d records, %v", len(left), err)
		}
	})
}

func TestUsersInMemoryAreBoundedAndComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.phone("phone").LogoutTaken()
		for i := range 2 * shards * cached {
			u, err := h.push.lock(jid.MustParse(fmt.Sprintf("u%d@example.org", i)))
			if err != nil {
				t.Fatal(err)
			}
			h.push.unlock(u)
		}
		n := 0
		for i := range h.push.users.shards {
			n += len(h.push.users.shards[i].users)
		}
		if n > shards*cached {
			t.Errorf("%d users in memory", n)
		}
		h.say(hello)
		h.want("phone=1")
	})
}

func TestARecordThatCannotBeReadIsNoRegistration(t *testing.T) {
	good := &registration{service: jid.MustParse("push.example.org"), node: "a\nb",
		client: jid.MustParse("juliet@example.org/phone"), since: time.Unix(1, 0), form: []byte("<x/>")}
	e := storage.Entry{Key: good.key(), Value: good.record()}
	if r, err := readRegistration(&e); err != nil || r.node != good.node || r.client != good.client ||
		!r.since.Equal(good.since) || string(r.form) != "<x/>" || r.service != good.service {
		t.Errorf("%+v, %v", r, err)
	}
	for i := range len(e.Value) - len("<x/>") {
		if _, err := readRegistration(&storage.Entry{Key: e.Key, Value: e.Value[:i]}); err == nil {
			t.Errorf("%d bytes are enough", i)
		}
	}
	if _, err := readRegistration(&storage.Entry{Key: "push.example.org", Value: e.Value}); err == nil {
		t.Error("a key without a node")
	}
}

func TestOptionsWithoutATypeAreTakenForWhatTheyAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		for _, form := range []string{
			`<x xmlns='jabber:x:data'><field var='secret'><value>s</value></field></x>`,
			`<x xmlns='jabber:x:data' type='submit'><field var='secret'><value>s</value></field></x>`,
			`<x xmlns='jabber:x:data'><field var='FORM_TYPE'><value>` + publishOptions + `</value></field>` +
				`<field var='secret'><value>s</value></field></x>`,
		} {
			juliet := moduletest.Login(t, h.r, "juliet/phone")
			if e := h.enable(juliet, "phone", form); e.Outcome != router.Delivered {
				t.Fatalf("%s: %v, %v", form, e.Outcome, e.Err)
			}
			juliet.LogoutTaken()
			h.say(hello)
			got := strings.Join(h.service.told(), "")
			if !strings.Contains(got,
				`<publish-options><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'>`+
					`<value>`+publishOptions+
					`</value></field><field var='secret'><value>s</value></field></x></publish-options>`) {
				t.Errorf("%s: the service was told %s", form, got)
			}
			time.Sleep(time.Minute)
		}
	})
}

func TestTheWordsBesideAnEncryptedMessageAreNotTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.settings.Content = Full
		h.phone("phone").LogoutTaken()
		for payload, told := range map[string]bool{
			"": true,
			"<encrypted xmlns='eu.siacs.conversations.axolotl'/>":             false,
			"<encrypted xmlns='urn:xmpp:omemo:1'/>":                           false,
			"<encrypted xmlns='urn:xmpp:omemo:2'/>":                           false,
			"<openpgp xmlns='urn:xmpp:openpgp:0'>x</openpgp>":                 false,
			"<x xmlns='jabber:x:encrypted'>x</x>":                             false,
			"<encryption xmlns='urn:xmpp:eme:0' namespace='urn:xmpp:otr:0'/>": false,
			"<x xmlns='jabber:x:oob'><url>https://example.org/</url></x>":     true,
		} {
			h.say(payload + "<body>readable words</body>")
			got := strings.Join(h.service.told(), "")
			if !strings.Contains(got, "last-message-sender") || strings.Contains(got, "readable words") != told {
				t.Errorf("%s: the service was told %s", payload, got)
			}
			time.Sleep(time.Minute)
		}
		h.say("<body>?OTR:AAMD</body>")
		if got := strings.Join(h.service.told(), ""); strings.Contains(got, "OTR") {
			t.Errorf("the service was told %s", got)
		}
	})
}

func TestCallsAreToldAtOnce(t *testing.T) {
	const propose, retract = "<propose xmlns='urn:xmpp:jingle-message:0' id='c'/>",
		"<retract xmlns='urn:xmpp:jingle-message:0' id='c'/>"
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.settings.Interval = time.Minute
		h.phone("phone").LogoutTaken()
		h.say(hello)
		h.want("phone=1")
		h.say(hello)
		h.want()
		h.say(propose) // and with it what waits
		h.want("phone=3")
		time.Sleep(2 * time.Second)
		h.say(retract)
		h.want("phone=4")
		h.say(hello)
		h.want()
		told := 0
		for range 100 { // but not without end
			h.say(propose)
			told += len(h.service.told())
		}
		if told != atOnce-2 {
			t.Errorf("%d of 100 calls were told at once", told)
		}
		time.Sleep(time.Minute)
		h.want("phone=105")

		// A service that fails is given its time.
		h.service.answers(xmpp.ServiceUnavailable(""))
		time.Sleep(time.Minute)
		h.say(propose)
		h.want("phone=106")
		h.say(propose)
		h.want()
	})
}
