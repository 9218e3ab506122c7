package strangers

import (
	"errors"
	"fmt"
	"slices"
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

// house has juliet, who knows nurse and nobody else, romeo, and admin.
type house struct {
	*testing.T
	r       *router.Router
	s       *Strangers
	o       Options
	policy  Policy
	limit   int
	exempt  bool
	full    bool            // the disk
	contact map[string]bool // of juliet
	fail    error           // of the roster
	refuse  *xmpp.Error     // what happens to messages behind us

	mu       sync.Mutex // guards told and reminded
	told     []string
	reminded []string
}

func (h *house) Has(user, contact jid.JID) (bool, error) {
	return user.Local() == "juliet" && h.contact[contact.String()], h.fail
}

// newHouse belongs into a bubble of synctest.
func newHouse(t *testing.T, policy Policy) *house {
	h := &house{T: t, r: moduletest.New("romeo", "juliet", "nurse", "admin"), policy: policy, contact: map[string]bool{"nurse@example.org": true}}
	h.r.SetRemote(&moduletest.Remote{})
	store := moduletest.NewStore()
	h.o = Options{Router: h.r, Users: moduletest.Users{"romeo@example.org": true, "juliet@example.org": true}, Contacts: h,
		Written: store.Map("strangers"), Quarantine: store.Log("strangers"), Log: moduletest.Discard(),
		Policy: func(string) Policy { return h.policy }, Recipients: func() int { return h.limit },
		Admin:  func(_ string, who jid.JID) bool { return who.Local() == "admin" },
		Exempt: func(jid.JID) bool { return h.exempt },
		Full:   func() bool { return h.full },
		Tell:   func(host, _, line string) { h.note(&h.told, host+": "+line) },
		Remind: func(user, _, line string) { h.note(&h.reminded, user+": "+line) }}
	h.start()
	t.Cleanup(func() { h.s.Close() })
	return h
}

func (h *house) note(to *[]string, line string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	*to = append(*to, line)
}

// start begins as after a restart.
func (h *house) start() {
	if h.s != nil {
		h.s.Close()
	}
	h.s = New(h.o)
	h.r.Use(router.Module{Name: "lists", Arriving: router.Stage{Presence: func(e *router.Envelope) {
		if e.Stanza.Type == xmpp.TypeSubscribe && h.o.Blocklist != nil && h.o.Blocklist.Listed(e.Stanza.From) {
			h.s.Asked(e)
		}
	}}}, h.s.Module(),
		router.Module{Name: "rooms", Service: &router.Service{Domains: func() []string { return []string{"rooms.example.org"} },
			Handle: func(e *router.Envelope) { e.Settle(router.Delivered) }}},
		router.Module{Name: "refusing", Arriving: router.Stage{Message: func(e *router.Envelope) {
			if h.refuse != nil {
				e.Refuse(h.refuse)
			}
		}}, Leaving: router.Stage{Presence: func(e *router.Envelope) {
			if e.Stanza.To.IsZero() {
				h.r.SetPresence(e.Session, &xmpp.Stanza{Kind: xmpp.Presence}, 0)
				e.Settle(router.Delivered)
			}
		}}})
}

func (h *house) come(user string) *moduletest.Client {
	c := moduletest.Login(h, h.r, user+"/x")
	c.Send("<presence/>")
	synctest.Wait()
	return c
}

func (h *house) route(from, payload string) *router.Envelope {
	h.Helper()
	return h.typed("chat", from, payload)
}

func (h *house) typed(typ, from, payload string) *router.Envelope {
	h.Helper()
	e := &router.Envelope{Quiet: true, Stanza: moduletest.Parse(h, `<message type='`+typ+`' from='`+from+`' to='juliet@example.org' id='1'>`+payload+`</message>`)}
	if from := e.Stanza.From; from.Domain() == "peer.example" {
		e.Peer = from.Domain()
	}
	h.r.Route(e)
	return e
}

// bodies are what was said in what a client got.
func bodies(c *moduletest.Client) (out []string) {
	synctest.Wait()
	for _, d := range c.Deliveries() {
		if el := d.Stanza.Child(xmpp.Name{Space: xmpp.NSClient, Local: "body"}); el != nil {
			out = append(out, el.Text())
		}
	}
	return out
}

func (h *house) want(what string, got []string, want ...string) {
	h.Helper()
	if !slices.Equal(got, want) {
		h.Errorf("%s: got %q, want %q", what, got, want)
	}
}

func body(text any) string { return fmt.Sprintf("<body>%v</body>", text) }

const tybalt = "tybalt@peer.example/x"

func TestEachPolicyDoesAsItSays(t *testing.T) {
	for policy, want := range map[Policy]router.Outcome{Deliver: router.Delivered, Quarantine: router.Stored,
		Refuse: router.Refused} {
		synctest.Test(t, func(t *testing.T) {
			h := newHouse(t, policy)
			juliet := h.come("juliet")
			for _, from := range []string{tybalt, "romeo@example.org/x", "peer.example"} {
				e := h.route(from, body(1))
				if e.Outcome != want || policy == Refuse && e.Err.Condition != xmpp.CondPolicyViolation {
					t.Errorf("%s: from %s: %v, %v", policy, from, e.Outcome, e.Err)
				}
				if got := bodies(juliet); (len(got) == 1) != (policy == Deliver) {
					t.Errorf("%s: from %s: juliet got %q", policy, from, got)
				}
			}
		})
	}
}

func TestWhoBelongsToTheHouseIsNoStranger(t *testing.T) {
	for _, policy := range []Policy{Quarantine, Refuse} {
		synctest.Test(t, func(t *testing.T) {
			h := newHouse(t, policy)
			h.come("juliet")
			for _, from := range []string{"nurse@example.org/x", "admin@example.org/x", "example.org", "rooms.example.org", "a@rooms.example.org/romeo", "juliet@example.org/other"} {
				if e := h.route(from, body(1)); e.Outcome != router.Delivered {
					t.Errorf("%s: from %s: %v, %v", policy, from, e.Outcome, e.Err)
				}
			}
			forged := &router.Envelope{Quiet: true, Account: jid.MustParse("romeo@example.org"),
				Stanza: moduletest.Parse(t, `<message type='chat' from='ticket@trac.example' to='juliet@example.org'><body>1</body></message>`)}
			if h.r.Route(forged); forged.Outcome != router.Delivered {
				t.Errorf("%s: of a program that may speak for others: %v, %v", policy, forged.Outcome, forged.Err)
			}
			api := &router.Envelope{Quiet: true, Account: jid.MustParse("ci@example.org"),
				Stanza: moduletest.Parse(t, `<message type='chat' from='ci@example.org' to='juliet@example.org'><body>1</body></message>`)}
			if h.r.Route(api); api.Outcome != router.Delivered {
				t.Errorf("%s: under a name that is nobody's: %v, %v", policy, api.Outcome, api.Err)
			}
			own := &router.Envelope{Quiet: true, Account: jid.MustParse("romeo@example.org"),
				Stanza: moduletest.Parse(t, `<message type='chat' from='romeo@example.org' to='juliet@example.org'><body>1</body></message>`)}
			if h.r.Route(own); own.Outcome == router.Delivered {
				t.Errorf("%s: a post of a stranger is delivered", policy)
			}
		})
	}
}

func TestWhatIsNoMessageOfAPersonIsNotHeld(t *testing.T) {
	type outcomes [2]router.Outcome // hold, refuse
	for i, policy := range []Policy{Quarantine, Refuse} {
		synctest.Test(t, func(t *testing.T) {
			h := newHouse(t, policy)
			juliet := moduletest.Login(t, h.r, "juliet/x")
			juliet.Available(0)
			for _, c := range []struct {
				typ, payload string
				want         outcomes
			}{
				{"chat", "<composing xmlns='http://jabber.org/protocol/chatstates'/><no-store xmlns='urn:xmpp:hints'/><thread>1</thread>", outcomes{router.Dropped, router.Dropped}},
				{"chat", "<received xmlns='urn:xmpp:receipts' id='1'/>", outcomes{router.Dropped, router.Dropped}},
				{"error", "", outcomes{router.Dropped, router.Dropped}}, // by the router, to a bare address
				{"headline", body(1), outcomes{router.Refused, router.Refused}},
				{"headline", "<event xmlns='http://jabber.org/protocol/pubsub#event'/>", outcomes{router.Delivered, router.Delivered}},
				{"normal", "<encrypted xmlns='urn:x'/>", outcomes{router.Stored, router.Refused}},
			} {
				if e := h.typed(c.typ, tybalt, c.payload); e.Outcome != c.want[i] {
					t.Errorf("%s: %s %s: %v, %v", policy, c.typ, c.payload, e.Outcome, e.Err)
				}
			}
		})
	}
}

func TestWhetherThereIsAnAccountDoesNotShow(t *testing.T) {
	for _, policy := range []Policy{Refuse, Quarantine} {
		synctest.Test(t, func(t *testing.T) {
			h := newHouse(t, policy)
			e := &router.Envelope{Quiet: true, Peer: "peer.example", Stanza: moduletest.Parse(t, `<message from='`+tybalt+`' to='nobody@example.org'><body>1</body></message>`)}
			h.r.Route(e)
			want := h.route(tybalt, body(1)).Err
			if policy == Quarantine {
				want = xmpp.ServiceUnavailable("")
			}
			if e.Err == nil || e.Err.Condition != want.Condition {
				t.Errorf("%s: %v, %v", policy, e.Outcome, e.Err)
			}
			if n, _, err := h.s.Quarantine.Size(t.Context(), "nobody@example.org"); n != 0 || err != nil {
				t.Errorf("%s: %d messages are held for nobody, %v", policy, n, err)
			}
		})
	}
}

func TestWhatIsHeldComesWhenTheUserAddsTheStranger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, Quarantine)
		juliet := h.come("juliet")
		for i := range 2 {
			h.route(tybalt, body(i))
			h.route("paris@peer.example/x", body("paris"))
			time.Sleep(time.Second)
		}
		h.want("held", bodies(juliet))
		h.s.Known(jid.MustParse("juliet@example.org"), jid.MustParse("tybalt@peer.example")) // as when it asks for a subscription
		h.want("who is no contact", bodies(juliet))
		h.want("reminded", h.reminded, "juliet@example.org: "+reminder(jid.MustParse("tybalt@peer.example")), "juliet@example.org: "+reminder(jid.MustParse("paris@peer.example")))
		h.contact["tybalt@peer.example"] = true
		h.s.Known(jid.MustParse("juliet@example.org"), jid.MustParse("tybalt@peer.example"))
		synctest.Wait()
		juliet.Want(`<message type='chat' from='`+tybalt+`' to='juliet@example.org' id='1'><body>0</body><delay xmlns='urn:xmpp:delay' from='example.org' stamp='2000-01-01T00:00:00.000Z'/></message>`,
			`<message type='chat' from='`+tybalt+`' to='juliet@example.org' id='1'><body>1</body><delay xmlns='urn:xmpp:delay' from='example.org' stamp='2000-01-01T00:00:01.000Z'/></message>`)
		h.route(tybalt, body(2))
		h.want("of a contact", bodies(juliet), "2")
		if n, _, _ := h.s.Quarantine.Size(t.Context(), "juliet@example.org"); n != 2 { // those of paris
			t.Errorf("%d messages are held", n)
		}
	})
}

func TestWhatIsHeldComesWhenTheUserAnswers(t *testing.T) {
	for name, answer := range map[string]string{
		"a message":           `<message to='tybalt@peer.example' type='chat'><body>who?</body></message>`,
		"presence to a room":  `<presence to='tybalt@peer.example/nick'/>`,
		"a message to a full": `<message to='` + tybalt + `'><body>who?</body></message>`,
	} {
		synctest.Test(t, func(t *testing.T) {
			h := newHouse(t, Quarantine)
			juliet := h.come("juliet")
			h.route(tybalt, body(1))
			h.want(name, bodies(juliet))
			juliet.Send(answer)
			h.want(name, bodies(juliet), "1")
			h.start()
			h.route(tybalt, body(2))
			h.want(name+", and after a restart", bodies(juliet), "2")
		})
	}
}

func TestRepliesToAUserAreNotHeld(t *testing.T) {
	for _, policy := range []Policy{Quarantine, Refuse} {
		synctest.Test(t, func(t *testing.T) {
			h := newHouse(t, policy)
			juliet := h.come("juliet")
			juliet.Send(`<message to='tybalt@peer.example' type='chat'><body>hello</body></message>`)
			h.route(tybalt, body("a reply"))
			h.want(string(policy), bodies(juliet), "a reply")
		})
	}
}

func TestOfOneSenderAndForOneUserSoMuchIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, Quarantine)
		full := func(e *router.Envelope) bool {
			return e.Outcome == router.Refused && e.Err.Condition == xmpp.CondResourceConstraint && e.Err.Type == xmpp.ErrorWait
		}
		for i := range maxOfSender + 1 {
			if e := h.route(tybalt, body(i)); full(e) != (i == maxOfSender) {
				t.Fatalf("message %d: %v, %v", i, e.Outcome, e.Err)
			}
		}
		for i := range maxMessages {
			e := h.route(fmt.Sprintf("s%d@%d.peer.example/x", i, i), body(i))
			if full(e) != (i >= maxMessages/4-maxOfSender) {
				t.Fatalf("sender %d of one domain: %v, %v", i, e.Outcome, e.Err)
			}
		}
		if e := h.route("s@peer.net/x", body(0)); e.Outcome != router.Stored {
			t.Errorf("of another domain: %v, %v", e.Outcome, e.Err)
		}
		if e := h.route("s@peer.org/x", "<body>"+strings.Repeat("x", maxBytes/4)+"</body>"); !full(e) {
			t.Errorf("of a third, and large: %v, %v", e.Outcome, e.Err)
		}
		held := maxMessages/4 + 1
		for i := range maxMessages {
			if !full(h.route(fmt.Sprintf("s@peer%d.example/x", i), body(i))) {
				held++
			}
		}
		if n, _, err := h.o.Quarantine.Size(t.Context(), "juliet@example.org"); err != nil || n != held || n > maxMessages-3 ||
			n < maxMessages/2 {
			t.Errorf("%d are held, %d were taken, %v", n, held, err)
		}
		time.Sleep(keep + time.Second)
		if e := h.route(tybalt, body("next month")); e.Outcome != router.Stored {
			t.Errorf("next month: %v, %v", e.Outcome, e.Err)
		}
	})
}

func TestNothingIsHeldWhenTheDiskIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, Quarantine)
		h.full = true
		if e := h.route(tybalt, body(1)); e.Outcome != router.Refused || e.Err.Type != xmpp.ErrorWait {
			t.Errorf("%v, %v", e.Outcome, e.Err)
		}
		h.full = false
		if e := h.route(tybalt, body(1)); e.Outcome != router.Stored {
			t.Errorf("%v, %v", e.Outcome, e.Err)
		}
	})
}

func TestAMessageThatIsSentAgainIsHeldOnceAndComesOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, Quarantine)
		juliet := h.come("juliet")
		const origin = "<origin-id xmlns='urn:xmpp:sid:0' id='o'/>"
		var dedups []string
		h.r.Use(h.s.Module(), router.Module{Name: "seeing",
			Delivering: func(e *router.Envelope, _ []*router.Session) { dedups = append(dedups, e.DedupKey()) }})
		for range 2 {
			if e := h.route(tybalt, body(1)+origin); e.Outcome != router.Stored {
				t.Errorf("%v, %v", e.Outcome, e.Err)
			}
		}
		h.route(tybalt, body(2))
		juliet.Send(`<message to='tybalt@peer.example' type='chat'><body>who?</body></message>`)
		h.want("let go", bodies(juliet), "1", "2")
		if len(dedups) != 2 || dedups[0] != router.OriginKey(jid.MustParse("tybalt@peer.example"), "o") || !strings.HasPrefix(dedups[1], "held juliet@example.org ") {
			t.Errorf("the keys are %q", dedups)
		}
		if len(h.reminded) != 1 {
			t.Errorf("reminded %q", h.reminded)
		}
	})
}

func TestWhatCannotGoItsWayNowIsTriedAtTheNextLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, Quarantine)
		h.come("juliet").LogoutTaken()
		h.route(tybalt, body(1))
		h.refuse = router.Unavailable()
		h.contact["tybalt@peer.example"] = true
		h.s.Known(jid.MustParse("juliet@example.org"), jid.MustParse("tybalt@peer.example"))
		synctest.Wait()
		h.refuse = nil
		h.want("at the login", bodies(h.come("juliet")), "1")
	})
}

func TestWhatIsRefusedForGoodIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, Quarantine)
		juliet := h.come("juliet")
		h.route(tybalt, body(1))
		h.refuse = xmpp.ServiceUnavailable("") // blocked
		h.contact["tybalt@peer.example"] = true
		h.s.Known(juliet.Bare(), jid.MustParse("tybalt@peer.example"))
		h.want("blocked", bodies(juliet))
		if n, _, _ := h.s.Quarantine.Size(t.Context(), "juliet@example.org"); n != 0 {
			t.Errorf("%d messages are held", n)
		}
	})
}

func TestNothingStaysHeldUnderAnotherPolicy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, Quarantine)
		h.route(tybalt, body(1))
		h.route("paris@peer.example/x", body(2))
		h.policy = Deliver
		h.want("at the login", bodies(h.come("juliet")), "1", "2")
	})
}

func TestAfterARestartTheUserIsRemindedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, Quarantine)
		for range page {
			h.route(tybalt, body(1))
		}
		for i := range page {
			h.route(fmt.Sprintf("s@peer%d.example/x", i), body(i))
		}
		h.start()
		h.reminded = nil
		h.come("juliet").LogoutTaken()
		h.come("juliet")
		if len(h.reminded) != 1+page || !strings.Contains(h.reminded[0], "tybalt@peer.example, who") {
			t.Errorf("reminded %d times: %q", len(h.reminded), h.reminded)
		}
	})
}

func TestAnAccountWritesToSoManyAddressesAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, Deliver)
		h.limit = 5
		romeo := h.come("romeo")
		send := func(to string) bool {
			t.Helper()
			e := romeo.Send(`<message to='` + to + `' type='chat'><body>buy</body></message>`)
			if e.Outcome == router.Refused && (e.Err.Condition != xmpp.CondResourceConstraint || e.Err.Type != xmpp.ErrorWait) {
				t.Fatalf("to %s: %v", to, e.Err)
			}
			return e.Outcome != router.Refused
		}
		for i := range 8 {
			if ok := send(fmt.Sprintf("s%d@peer.example/%d", i, i)); ok != (i < 5) {
				t.Errorf("address %d: %v", i, ok)
			}
		}
		if !send("s0@peer.example") || !send("romeo@example.org") {
			t.Error("an address that was written to, or the own, counts again")
		}
		post := &router.Envelope{Quiet: true, Account: romeo.Bare(), Stanza: moduletest.Parse(t, `<message from='romeo@example.org' to='p@peer.example'><body>1</body></message>`)}
		if h.r.Route(post); post.Outcome != router.Refused {
			t.Errorf("a post was %v", post.Outcome)
		}
		room := romeo.Send(`<message to='a@rooms.example.org' type='groupchat'><body>1</body></message>`)
		if room.Outcome != router.Refused {
			t.Errorf("to a room: %v", room.Outcome)
		}
		h.want("told", h.told, "example.org: romeo@example.org writes to more than 5 different addresses a minute. Further ones are refused.")
		juliet := h.come("juliet")
		if e := juliet.Send(`<message to='s9@peer.example'><body>1</body></message>`); e.Outcome == router.Refused {
			t.Errorf("another account: %v", e.Err)
		}
		time.Sleep(time.Minute)
		if !send("s7@peer.example") {
			t.Error("nothing goes a minute later")
		}
		for i := range 30 {
			send(fmt.Sprintf("t%d@peer.example", i))
		}
		if len(h.told) != 1 {
			t.Errorf("told %q", h.told)
		}
		time.Sleep(time.Hour)
		for i := range 6 {
			send(fmt.Sprintf("u%d@peer.example", i))
		}
		if len(h.told) != 2 {
			t.Errorf("after an hour told %q", h.told)
		}
		h.exempt = true
		if !send("v@peer.example") {
			t.Error("who is exempt is refused")
		}
		h.exempt, h.limit = false, 0
		if !send("w@peer.example") {
			t.Error("refused without a bound")
		}
		time.Sleep(2 * time.Hour)
		h.limit = 5
		juliet.Send(`<message to='s9@peer.example'><body>1</body></message>`)
		if n := len(h.s.recipients.accounts); n != 1 {
			t.Errorf("%d accounts are remembered", n)
		}
	})
}

func TestASessionThatOnlyAnswersIsNotBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, Refuse)
		h.limit = 5
		bot, romeo := h.come("juliet"), h.come("romeo")
		h.s.Spare(func(s *router.Session) bool { return s.Bare() == bot.Bare() })
		for i := range 8 {
			to := fmt.Sprintf("s%d@peer.example", i)
			if e := bot.Send(`<message to='` + to + `'><body>1</body></message>`); e.Outcome == router.Refused {
				t.Errorf("answer %d is refused", i)
			}
			if e := romeo.Send(`<message to='` + to + `'><body>1</body></message>`); (e.Outcome == router.Refused) != (i >= 5) {
				t.Errorf("message %d of another: %v", i, e.Outcome)
			}
		}
		if e := h.route("s7@peer.example/x", body(1)); e.Outcome != router.Delivered { // it was written to
			t.Errorf("%v, %v", e.Outcome, e.Err)
		}
	})
}

func TestOfWhomAUserHasWrittenToSoManyAreRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, Refuse)
		juliet := h.come("juliet")
		for i := range maxWritten + 1 {
			juliet.Send(fmt.Sprintf("<message to='s%d@peer.example'><body>1</body></message>", i))
		}
		for i, want := range map[int]router.Outcome{0: router.Refused, 1: router.Delivered, maxWritten: router.Delivered} {
			if e := h.route(fmt.Sprintf("s%d@peer.example/x", i), body(1)); e.Outcome != want {
				t.Errorf("of %d: %v, %v", i, e.Outcome, e.Err)
			}
		}
		all, _, err := h.s.Written.List(t.Context(), "juliet@example.org")
		if len(all) != maxWritten || err != nil {
			t.Errorf("%d are remembered, %v", len(all), err)
		}
	})
}

func TestWhereNothingCanBeKnownSendersWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, Quarantine)
		h.fail = errors.Join(storage.ErrUnavailable)
		if e := h.route(tybalt, body(1)); e.Err == nil || e.Err.Type != xmpp.ErrorWait {
			t.Errorf("%v, %v", e.Outcome, e.Err)
		}
	})
}

func TestNothingIsLeftOfADeletedAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, Quarantine)
		juliet := h.come("juliet")
		h.route(tybalt, body(1))
		juliet.Send("<message to='paris@peer.example'><body>1</body></message>")
		synctest.Wait()
		if err := h.r.Remove(juliet.Bare()); err != nil {
			t.Fatal(err)
		}
		n, _, _ := h.s.Quarantine.Size(t.Context(), "juliet@example.org")
		all, _, _ := h.s.Written.List(t.Context(), "juliet@example.org")
		if n != 0 || len(all) != 0 {
			t.Errorf("%d messages and %d addresses are left", n, len(all))
		}
	})
}
