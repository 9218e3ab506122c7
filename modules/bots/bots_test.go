package bots

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/modules/internal/outgoing"
	"jackdaw/router"
	"jackdaw/router/budget"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

const garden = "garden@rooms.example.org"

var weather = jid.MustParse("weather@example.org")

// house has ann, who is connected, ben, who is not, the bots weather and clock, and a service of rooms. It runs in a
// bubble.
type house struct {
	*router.Router
	t       *testing.T
	bots    *Bots
	store   *moduletest.Store
	remote  *moduletest.Remote
	ann     *moduletest.Client
	off     atomic.Bool // weather is disabled
	noRoom  atomic.Bool // there is no room here
	admins  map[string]bool
	end     context.CancelFunc
	url     string // where others reach HTTP
	budgets *budget.Book

	mu     sync.Mutex // guards the rest
	got    []request
	answer func(r request) (outgoing.Answer, error)
	stored []string       // that went to storage
	rooms  []*xmpp.Stanza // that came to the service of rooms
}

// A request as the program gets it.
type request struct {
	event
	key, secret string
	public      bool
	raw         string
}

func plain(text string) (outgoing.Answer, error) {
	return outgoing.Answer{Status: 200, Type: "text/plain; charset=utf-8", Body: []byte(text)}, nil
}

func nothing(request) (outgoing.Answer, error) { return outgoing.Answer{Status: 204}, nil }

func newHouse(t *testing.T) *house {
	h := &house{t: t, Router: moduletest.New("ann", "ben", "weather", "clock"), store: moduletest.NewStore(),
		remote: &moduletest.Remote{}, answer: nothing, admins: map[string]bool{}}
	h.open()
	h.ann = moduletest.Login(t, h.Router, "ann/phone")
	h.ann.Available(0)
	t.Cleanup(func() { h.end() })
	synctest.Wait()
	return h
}

// open starts the module over what is stored; close ends it.
func (h *house) open() {
	h.bots = New(Options{Router: h.Router,
		Users: moduletest.Users{"weather@example.org": true, "clock@example.org": true, "ann@example.org": true},
		Active: func(_ context.Context, user jid.JID) bool {
			return user.Domain() == moduletest.Host && (!h.off.Load() || user != weather)
		},
		Admin:  func(_ context.Context, user jid.JID) bool { return h.admins[user.String()] },
		IsRoom: func(jid.JID) bool { return !h.noRoom.Load() },
		URL:    func(string) string { return h.url },
		Derive: func(purpose string, of ...string) [sha256.Size]byte {
			return sha256.Sum256([]byte(purpose + strings.Join(of, " ")))
		},
		Budgets: h.budgets,
		Store:   h.store.Map("bots"), Replies: h.store.Map("bots-replies"), Queue: h.store.Log("bots"), Done: h.store.Log("bots-done"),
		On: func() bool { return true }, Log: moduletest.Discard()})
	h.bots.poster = func(public bool) poster { return program{h, public} }
	h.Use(h.bots.Module(), router.Module{Name: "presence",
		Leaving: router.Stage{Presence: func(e *router.Envelope) {
			if e.Stanza.To.IsZero() {
				p := e.Stanza.Clone()
				h.SetPresence(e.Session, &p, -1)
				e.Settle(router.Delivered)
			}
		}}}, router.Module{Name: "others",
		Unclaimed: func(e *router.Envelope) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.stored = append(h.stored, string(e.Stanza.Append(nil)))
			e.Settle(router.Stored)
		},
		Service: &router.Service{Domains: func() []string { return []string{"rooms.example.org"} },
			Handle: func(e *router.Envelope) {
				s := e.Stanza.Clone()
				h.mu.Lock()
				h.rooms = append(h.rooms, &s)
				h.mu.Unlock()
				e.Settle(router.Delivered)
			}}})
	h.SetRemote(h.remote)
	ctx, end := context.WithCancel(h.t.Context())
	ran := make(chan struct{})
	go func() {
		defer close(ran)
		h.bots.Run(ctx)
	}()
	h.end = func() {
		end()
		<-ran
		h.bots.Close()
	}
}

// A program is what bots post to.
type program struct {
	h      *house
	public bool
}

func (p program) Do(ctx context.Context, r outgoing.Request) (outgoing.Answer, error) {
	q := request{key: r.Key, secret: r.Secret, public: p.public, raw: string(r.Body)}
	if err := json.Unmarshal(r.Body, &q.event); err != nil {
		p.h.t.Errorf("a bot gets %s: %v", r.Body, err)
	}
	p.h.mu.Lock()
	p.h.got = append(p.h.got, q)
	f := p.h.answer
	p.h.mu.Unlock()
	return f(q)
}

func (program) Close() {}

// bot adds a bot.
func (h *house) bot(b Bot) {
	h.t.Helper()
	if b.JID.IsZero() {
		b.JID = weather
	}
	b.URL = "http://127.0.0.1/in"
	if err := h.bots.Add(h.t.Context(), b); err != nil {
		h.t.Fatal(err)
	}
	synctest.Wait()
}

// posted returns what the program got since the last call.
func (h *house) posted() []request {
	synctest.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	got := h.got
	h.got = nil
	return got
}

func (h *house) answers(f func(r request) (outgoing.Answer, error)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answer = f
}

func (h *house) said(text string) {
	h.answers(func(request) (outgoing.Answer, error) { return plain(text) })
}

// inRooms returns what came to rooms since the last call.
func (h *house) inRooms() (all []*xmpp.Stanza) {
	synctest.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	all, h.rooms = h.rooms, nil
	return all
}

// full is the address of the session of a bot.
func (h *house) full(of jid.JID) string {
	h.t.Helper()
	synctest.Wait()
	list := h.Sessions(of)
	if len(list) == 0 {
		h.t.Fatalf("%s has no session", of)
	}
	return list[0].Addr().String()
}

func TestAMessageIsPostedAndTheAnswerIsTheReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.bot(Bot{Trigger: "!w ", Secret: "s3cret"})
		h.said("12 °C\n")
		e := h.ann.SendDurable(`<message type='chat' id='a1' to='weather@example.org'><body>!w berlin  mitte</body><thread>t1</thread></message>`)
		if e.Outcome != router.Delivered {
			t.Errorf("it fared as %v, %v", e.Outcome, e.Err)
		}
		got := h.posted()
		if len(got) != 1 {
			t.Fatalf("%d were posted", len(got))
		}
		var fields map[string]any
		if err := json.Unmarshal([]byte(got[0].raw), &fields); err != nil {
			t.Fatal(err)
		}
		for key, want := range map[string]any{"bot": "weather@example.org", "from": "ann@example.org/phone", "type": "chat",
			"room": nil, "nick": nil, "id": "a1", "stanza_id": nil, "text": "berlin  mitte", "command": "!w",
			"reply_url": nil} {
			if got, ok := fields[key]; !ok || got != want {
				t.Errorf("%s is %v, want %v", key, got, want)
			}
		}
		if args, _ := json.Marshal(fields["args"]); string(args) != `["berlin","mitte"]` || len(fields) != 12 {
			t.Errorf("%d fields, with the args %s", len(fields), args)
		}
		moduletest.Same(t, got[0].Stanza, `<message xmlns='jabber:client' type='chat' id='a1' from='ann@example.org/phone'
			to='weather@example.org'><body>!w berlin  mitte</body><thread>t1</thread></message>`)
		if got[0].secret != "s3cret" || got[0].public || !strings.HasPrefix(got[0].key, "b-") {
			t.Errorf("the request was %+v", got[0])
		}
		h.ann.Want(`<message type='chat' id='` + got[0].key + `-1' from='` + h.full(weather) + `' to='ann@example.org/phone'>
			<body>12 °C</body><thread>t1</thread><bot xmlns='urn:x-jackdaw:bot:0'/>
			<reply xmlns='urn:xmpp:reply:0' to='ann@example.org/phone' id='a1'/></message>`)
		if len(h.stored) != 0 {
			t.Errorf("stored are %q", h.stored)
		}
	})
}

func TestWhatGoesOut(t *testing.T) {
	for _, row := range []struct {
		name, xml string
		bot       Bot
		text      string // posted; "-": null; "": nothing
		outcome   router.Outcome
	}{
		{"chat", `<message type='chat'><body>a</body></message>`, Bot{}, "a", router.Delivered},
		{"normal", `<message><body>a</body></message>`, Bot{}, "a", router.Delivered},
		{"no body", `<message type='chat'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>`, Bot{}, "", router.Stored},
		{"white body", `<message type='chat'><body> </body></message>`, Bot{}, "", router.Stored},
		{"error", `<message type='error'><body>a</body></message>`, Bot{}, "", router.Dropped},
		{"headline", `<message type='headline'><body>a</body></message>`, Bot{}, "", router.Dropped},
		{"groupchat", `<message type='groupchat'><body>a</body></message>`, Bot{}, "", router.Refused},
		{"delayed", `<message type='chat'><body>a</body><delay xmlns='urn:xmpp:delay' stamp='2026-01-01T00:00:00Z'/></message>`,
			Bot{}, "", router.Stored},
		{"marked", `<message type='chat'><body>a</body><bot xmlns='urn:x-jackdaw:bot:0'/></message>`, Bot{}, "", router.Refused},
		{"OMEMO", `<message type='chat'><encrypted xmlns='eu.siacs.conversations.axolotl'/><body>a</body></message>`,
			Bot{}, "", router.Refused},
		{"OMEMO that is wanted", `<message type='chat'><encrypted xmlns='eu.siacs.conversations.axolotl'/><body>a</body></message>`,
			Bot{Encrypted: true}, "-", router.Delivered},
		{"OMEMO 2 that is wanted", `<message type='chat'><encrypted xmlns='urn:xmpp:omemo:2'/></message>`,
			Bot{Encrypted: true}, "-", router.Delivered},
		{"trigger alone", `<message type='chat'><body>!w</body></message>`, Bot{Trigger: "!w "}, "", router.Delivered},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t)
				h.bot(row.bot)
				e := h.ann.Send(strings.Replace(row.xml, "<message", "<message id='a1' to='weather@example.org'", 1))
				if e.Outcome != row.outcome {
					t.Errorf("it fared as %v, %v", e.Outcome, e.Err)
				}
				got := h.posted()
				want := 1
				if row.text == "" && row.name != "trigger alone" {
					want = 0
				}
				if len(got) != want {
					t.Fatalf("%d were posted: %+v", len(got), got)
				}
				if want == 0 {
					return
				}
				if text := got[0].Text; (text == nil) != (row.text == "-") || text != nil && *text != row.text {
					t.Errorf("the text is %v", got[0].raw)
				}
			})
		})
	}
}

func TestWhatTheServerTellsUsersIsNotForPrograms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.bot(Bot{})
		for from, want := range map[string]int{"example.org": 0, "example.org/announcements": 0, "gateway.example": 1} {
			h.Route(&router.Envelope{Stanza: moduletest.Parse(t, `<message from='`+from+`' to='weather@example.org'><body>a</body></message>`),
				Quiet: true})
			if got := h.posted(); len(got) != want {
				t.Errorf("of %s, %d are posted", from, len(got))
			}
		}
	})
}

func TestBotsDoNotAnswerEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		clock := jid.MustParse("clock@example.org")
		h.bot(Bot{})
		h.bot(Bot{JID: clock})
		e := &router.Envelope{Stanza: moduletest.Parse(t, `<message type='chat' from='clock@example.org' to='weather@example.org'><body>a</body></message>`),
			Account: clock, Quiet: true}
		if h.Route(e); e.Outcome != router.Refused || len(h.posted()) != 0 {
			t.Errorf("what one bot writes to another fares as %v", e.Outcome)
		}
		for _, to := range []string{garden, "juliet@far.example", "ann@example.org"} {
			h.Route(&router.Envelope{Stanza: moduletest.Parse(t, `<message type='chat' from='clock@example.org' to='`+to+`'><body>a</body></message>`),
				Account: clock, Quiet: true})
		}
		sent := append(h.remote.Sent(), h.ann.Received()...)
		for _, s := range h.inRooms() {
			sent = append(sent, string(s.Append(nil)))
		}
		if len(sent) != 3 {
			t.Fatalf("%q were sent", sent)
		}
		for _, xml := range sent {
			if !strings.Contains(xml, nsBot) {
				t.Errorf("it is not marked: %s", xml)
			}
		}
	})
}

func TestAClientOfTheAccountGetsWhatTheBotGets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.bot(Bot{})
		phone := moduletest.Login(t, h.Router, "weather/phone")
		phone.Available(0)
		h.ann.Send(`<message type='chat' id='a1' to='weather@example.org'><body>a</body></message>`)
		if got := h.posted(); len(got) != 1 {
			t.Errorf("%d were posted", len(got))
		}
		phone.Want(`<message type='chat' id='a1' from='ann@example.org/phone' to='weather@example.org'><body>a</body></message>`)
		h.ann.Send(`<message type='chat' id='a2' to='` + h.full(weather) + `'><body>b</body></message>`)
		if got := h.posted(); len(got) != 1 || *got[0].Text != "b" {
			t.Errorf("of what is for the bot by name, %d were posted", len(got))
		}
		phone.Want()
	})
}

func TestEachAnswerDoesWhatItSays(t *testing.T) {
	answer := func(status int, media, body string) outgoing.Answer {
		return outgoing.Answer{Status: status, Type: media, Body: []byte(body)}
	}
	for _, row := range []struct {
		name   string
		answer outgoing.Answer
		err    error
		texts  []string
		tries  int // within ten seconds
		bounce bool
		done   string // the error that is remembered
	}{
		{"text", answer(200, "text/plain", "hi"), nil, []string{"hi"}, 1, false, ""},
		{"text without a type", answer(200, "", "hi"), nil, []string{"hi"}, 1, false, ""},
		{"JSON", answer(200, "application/json", `{"text":"a","messages":["b","c"]}`), nil, []string{"a", "b", "c"}, 1, false, ""},
		{"accepted", answer(202, "text/plain", "ok"), nil, nil, 1, false, ""},
		{"no content", answer(204, "", ""), nil, nil, 1, false, ""},
		{"empty", answer(200, "text/html", "\n"), nil, nil, 1, false, ""},
		{"garbage", answer(200, "application/json", `{"text":`), nil, nil, 1, false, "not understood"},
		{"not UTF-8", answer(200, "text/plain", "\xff"), nil, nil, 1, false, "not understood"},
		{"a page", answer(200, "text/html", "<p>"), nil, nil, 1, false, "not understood"},
		{"endless", answer(200, "text/plain", ""), outgoing.ErrLong, nil, 1, false, "more than"},
		{"gone", answer(410, "", ""), nil, nil, 1, true, "410 Gone"},
		{"bad request", answer(400, "", ""), nil, nil, 1, true, "400"},
		{"timeout", answer(408, "", ""), nil, nil, 4, false, "408"},
		{"too many", answer(429, "", ""), nil, nil, 4, false, "429"},
		{"redirect", answer(302, "", ""), nil, nil, 4, false, "302"},
		{"broken", answer(500, "", ""), nil, nil, 4, false, "500"},
		{"cut off", answer(200, "text/plain", ""), errors.New("unexpected EOF"), nil, 4, false, "EOF"},
		{"not there", outgoing.Answer{}, errors.New("connection refused"), nil, 4, false, "refused"},
		{"inside", outgoing.Answer{}, outgoing.ErrNotPublic, nil, 4, false, "not a public one"},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t)
				h.bot(Bot{})
				h.answers(func(request) (outgoing.Answer, error) { return row.answer, row.err })
				h.ann.Send(`<message type='chat' id='a1' to='weather@example.org'><body>a</body></message>`)
				time.Sleep(10 * time.Second)
				got := h.posted()
				if len(got) != row.tries {
					t.Errorf("%d tries", len(got))
				}
				for _, r := range got {
					if r.key != got[0].key || r.raw != got[0].raw {
						t.Errorf("a try differs: %+v", r)
					}
				}
				var texts []string
				bounced := false
				for _, d := range h.ann.Deliveries() {
					if d.Stanza.Type == xmpp.TypeError {
						bounced = d.Stanza.ID == "a1" && d.Stanza.From == weather
						continue
					}
					texts = append(texts, d.Stanza.Child(nameBody).Text())
				}
				if !slices.Equal(texts, row.texts) || bounced != row.bounce {
					t.Errorf("ann got %q, and an error: %v", texts, bounced)
				}
				list, err := h.bots.Deliveries(t.Context(), weather)
				if err != nil || len(list) != row.tries || list[0].Status != row.answer.Status || list[0].Said != len(texts) ||
					!strings.Contains(list[0].Error, row.done) || (row.done == "") != (list[0].Error == "") {
					t.Errorf("remembered are %+v, %v", list, err)
				}
			})
		})
	}
}

func TestABotThatIsAwayForAMinuteLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.bot(Bot{})
		back := time.Now().Add(time.Minute)
		h.answers(func(r request) (outgoing.Answer, error) {
			if time.Now().Before(back) {
				return outgoing.Answer{Status: 500}, nil
			}
			return plain("re: " + *r.Text)
		})
		for i := range 3 {
			h.ann.Send(fmt.Sprintf(`<message type='chat' id='a%d' to='weather@example.org'><body>%d</body></message>`, i, i))
		}
		time.Sleep(3 * time.Minute)
		var texts []string
		for _, d := range h.ann.Deliveries() {
			texts = append(texts, d.Stanza.Child(nameBody).Text())
		}
		if !slices.Equal(texts, []string{"re: 0", "re: 1", "re: 2"}) {
			t.Errorf("ann got %q", texts)
		}
	})
}

func TestAMessageThatNobodyTakesForAnHourComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.bot(Bot{})
		h.answers(func(request) (outgoing.Answer, error) { return outgoing.Answer{}, errors.New("refused") })
		h.ann.Send(`<message type='chat' id='a1' to='weather@example.org'><body>a</body></message>`)
		time.Sleep(59 * time.Minute)
		h.ann.Want()
		time.Sleep(2 * time.Minute)
		got := h.ann.Deliveries()
		if len(got) != 1 || got[0].Stanza.ID != "a1" || got[0].Stanza.Err().Condition != xmpp.CondRecipientUnavailable {
			t.Errorf("ann got %v", got)
		}
		list, err := h.bots.Deliveries(t.Context(), weather)
		if err != nil || !strings.HasPrefix(list[0].Error, "given up") {
			t.Errorf("remembered are %+v, %v", list, err)
		}
	})
}

func TestARestartRepeatsWithTheSameKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.bot(Bot{Composing: true})
		h.answers(func(request) (outgoing.Answer, error) { return outgoing.Answer{Status: 503}, nil })
		h.ann.Send(`<message type='chat' id='a1' to='weather@example.org'><body>a</body></message>`)
		before := h.posted()
		h.end()
		h.said("b")
		h.open()
		after := h.posted()
		if len(before) != 1 || len(after) != 1 || before[0].key != after[0].key || before[0].raw != after[0].raw {
			t.Errorf("first %+v, then %+v", before, after)
		}
	})
}

func TestThatABotWorksIsShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.bot(Bot{Composing: true})
		h.answers(func(r request) (outgoing.Answer, error) {
			if *r.Text == "nothing" {
				return nothing(r)
			}
			return plain("b")
		})
		state := func(name string) string {
			return `<message type='chat' from='` + h.full(weather) + `' to='ann@example.org/phone'><` + name +
				` xmlns='http://jabber.org/protocol/chatstates'/><no-store xmlns='urn:xmpp:hints'/></message>`
		}
		h.ann.Send(`<message type='chat' to='weather@example.org'><body>nothing</body></message>`)
		h.posted()
		h.ann.Want(state("composing"), state("active"))
		h.ann.Send(`<message type='chat' id='a2' to='weather@example.org'><body>a</body></message>`)
		key := h.posted()[0].key
		h.ann.Want(state("composing"), `<message type='chat' id='`+key+`-1' from='`+h.full(weather)+`' to='ann@example.org/phone'>
			<body>b</body><bot xmlns='urn:x-jackdaw:bot:0'/><reply xmlns='urn:xmpp:reply:0' to='ann@example.org/phone' id='a2'/>
			<active xmlns='http://jabber.org/protocol/chatstates'/></message>`)
	})
}

func TestWhatIsTakenIsReceived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.bot(Bot{})
		h.answers(func(request) (outgoing.Answer, error) { return outgoing.Answer{Status: 503}, nil })
		h.ann.Send(`<message type='chat' id='a1' to='weather@example.org'><body>a</body><request xmlns='urn:xmpp:receipts'/></message>`)
		h.posted()
		h.ann.Want()
		h.answers(nothing)
		time.Sleep(2 * time.Second)
		h.ann.Want(`<message type='chat' from='` + h.full(weather) + `' to='ann@example.org/phone'><received xmlns='urn:xmpp:receipts' id='a1'/></message>`)
		h.ann.Send(`<message type='chat' to='weather@example.org'><body>a</body><request xmlns='urn:xmpp:receipts'/></message>`)
		h.posted()
		h.ann.Want() // nobody could tell of which
	})
}

func TestOneMayWriteSoMuchToABot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.bot(Bot{})
		var last *router.Envelope
		n := 0
		for ; n < 2*burst; n++ {
			if last = h.ann.Send(`<message type='chat' to='weather@example.org'><body>a</body></message>`); last.Outcome == router.Refused {
				break
			}
		}
		if n < burst || n > burst+1 || last.Err.Condition != xmpp.CondResourceConstraint || last.Err.Type != xmpp.ErrorWait {
			t.Errorf("after %d: %v, %v", n, last.Outcome, last.Err)
		}
		time.Sleep(time.Second)
		if e := h.ann.Send(`<message type='chat' to='weather@example.org'><body>a</body></message>`); e.Outcome != router.Delivered {
			t.Errorf("a second later: %v", e.Outcome)
		}
	})
}

func TestAnswersAreSlowedDownByTheBudgetOfTheAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.end()
		h.budgets = budget.New(func() budget.Rate { return budget.Rate{PerSecond: 1000, Burst: 1000} })
		h.open()
		h.bot(Bot{})
		h.said(strings.Repeat("a", 6000)) // for which there is a debt of some five seconds
		for range 2 {
			h.ann.Send(`<message type='chat' to='weather@example.org'><body>a</body></message>`)
		}
		if got := h.posted(); len(got) != 1 {
			t.Errorf("at once there are %d requests", len(got))
		}
		time.Sleep(4 * time.Second)
		if got := h.posted(); len(got) != 0 {
			t.Error("after four seconds there is another")
		}
		time.Sleep(4 * time.Second)
		if got := h.posted(); len(got) != 1 {
			t.Errorf("after eight seconds there are %d more", len(got))
		}
		if n := h.bots.Stats.Answers.Load(); n != 2 {
			t.Errorf("%d answers are counted", n)
		}
	})
}

func TestWhoIsNoAdministratorReachesNothingInside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		for _, row := range []struct {
			owner  string
			admin  bool
			public bool
		}{{"", false, false}, {"ann@example.org", false, true}, {"ann@example.org", true, false}} {
			h.admins["ann@example.org"] = row.admin
			b := Bot{}
			if row.owner != "" {
				b.Owner = jid.MustParse(row.owner)
			}
			h.bot(b)
			h.ann.Send(`<message type='chat' to='weather@example.org'><body>a</body></message>`)
			if got := h.posted(); len(got) != 1 || got[0].public != row.public {
				t.Errorf("owner %q, administrator %v: %+v", row.owner, row.admin, got)
			}
		}
	})
}

func TestADisabledBotIsAnAccountLikeOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.bot(Bot{})
		h.off.Store(true)
		h.Sessions(weather)[0].End("not-authorized", "")
		time.Sleep(2 * time.Second)
		if e := h.ann.Send(`<message type='chat' to='weather@example.org'><body>a</body></message>`); e.Outcome != router.Stored ||
			len(h.posted()) != 0 || len(h.Sessions(weather)) != 0 {
			t.Errorf("%v; sessions: %v", e.Outcome, h.Sessions(weather))
		}
		h.off.Store(false)
		time.Sleep(2 * time.Minute)
		h.full(weather)
	})
}

func TestABotIsRemovedWithAllThatIsKeptOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.bot(Bot{})
		h.answers(func(request) (outgoing.Answer, error) { return outgoing.Answer{Status: 500}, nil })
		h.ann.Send(`<message type='chat' to='weather@example.org'><body>a</body></message>`)
		synctest.Wait()
		if err := h.bots.Remove(t.Context(), weather); err != nil {
			t.Fatal(err)
		}
		for _, log := range []string{"bots", "bots-done"} {
			if n, _, err := h.store.Log(log).Size(t.Context(), weather.String()); n != 0 || err != nil {
				t.Errorf("%s has %d records, %v", log, n, err)
			}
		}
		list, err := h.bots.List(t.Context())
		if err != nil || len(list) != 0 || len(h.Sessions(weather)) != 0 {
			t.Errorf("there are %v, %v", list, err)
		}
		if err := h.bots.Remove(t.Context(), weather); !errors.Is(err, ErrNone) {
			t.Errorf("a second time: %v", err)
		}
		if _, err := h.bots.Deliveries(t.Context(), weather); !errors.Is(err, ErrNone) {
			t.Errorf("its requests: %v", err)
		}
	})
}

func TestRequestsToABotAreAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.bot(Bot{Nick: "Weather"})
		to := h.full(weather)
		h.ann.Send(`<iq type='get' id='1' to='` + to + `'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>`)
		h.ann.Send(`<iq type='get' id='2' to='` + to + `'><ping xmlns='urn:xmpp:ping'/></iq>`)
		h.ann.Send(`<iq type='set' id='3' to='` + to + `'><query xmlns='jabber:iq:version'/></iq>`)
		h.ann.Want(`<iq type='result' id='1' from='`+to+`' to='ann@example.org/phone'><query xmlns='http://jabber.org/protocol/disco#info'>
			<identity category='client' type='bot' name='Weather'/><feature var='http://jabber.org/protocol/disco#info'/>
			<feature var='urn:xmpp:ping'/><feature var='urn:xmpp:receipts'/></query></iq>`,
			`<iq type='result' id='2' from='`+to+`' to='ann@example.org/phone'/>`,
			`<iq type='error' id='3' from='`+to+`' to='ann@example.org/phone'><error type='cancel'>
			<service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>`)
	})
}

func TestABotIsTestedWithoutAnybodyHearingOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.bot(Bot{Trigger: "!w "})
		h.said("12 °C")
		trial, err := h.bots.Test(t.Context(), weather, "!w berlin")
		if err != nil || trial.Status != 200 || !slices.Equal(trial.Texts, []string{"12 °C"}) || trial.Error != "" {
			t.Errorf("%+v, %v", trial, err)
		}
		if got := h.posted(); len(got) != 1 || *got[0].Command != "!w" || *got[0].Text != "berlin" {
			t.Errorf("posted was %+v", got)
		}
		h.answers(func(request) (outgoing.Answer, error) { return outgoing.Answer{Status: 404}, nil })
		if trial, err = h.bots.Test(t.Context(), weather, "x"); err != nil || trial.Error != "404 Not Found" {
			t.Errorf("%+v, %v", trial, err)
		}
		h.ann.Want()
	})
}

func TestSettingsAreChecked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		for _, b := range []Bot{{URL: "ftp://a"}, {URL: "http://"}, {URL: "bot.example.org/in"}, {URL: "http://a/" + strings.Repeat("a", maxURL)},
			{URL: "http://a", Trigger: " x"}, {URL: "http://a", Trigger: "  "}, {URL: "http://a", Secret: strings.Repeat("a", maxSecret+1)},
			{URL: "http://a", Rooms: []jid.JID{jid.MustParse("rooms.example.org")}},
			{URL: "http://a", Rooms: make([]jid.JID, maxRooms+1)}} {
			b.JID = weather
			if err := h.bots.Add(t.Context(), b); err == nil {
				t.Errorf("%+v is added", b)
			}
		}
		if list, _ := h.bots.List(t.Context()); len(list) != 0 {
			t.Errorf("there are %v", list)
		}
	})
}

func TestOnlySoManyRequestsAreRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.bot(Bot{})
		for range 4 * MaxDeliveries {
			h.ann.Send(`<message type='chat' to='weather@example.org'><body>a</body></message>`)
			time.Sleep(time.Second)
		}
		list, err := h.bots.Deliveries(t.Context(), weather)
		n, _, _ := h.store.Log("bots-done").Size(t.Context(), weather.String())
		if err != nil || len(list) != MaxDeliveries || n > 2*MaxDeliveries {
			t.Errorf("%d of %d, %v", len(list), n, err)
		}
		if !list[0].At.After(list[1].At) {
			t.Error("the newest is not the first")
		}
	})
}

func FuzzReadAnswer(f *testing.F) {
	f.Add(200, "text/plain", []byte("12 °C"))
	f.Add(200, "application/json", []byte(`{"text":"a","private":true,"messages":["b","\u0000"]}`))
	f.Add(202, "text/html; charset=x", []byte("<p>"))
	f.Fuzz(func(t *testing.T, status int, media string, body []byte) {
		a, err := readAnswer(status, media, body)
		if err != nil && a.texts != nil || len(a.texts) > maxMessages {
			t.Errorf("%q are said, %v", a.texts, err)
		}
		for _, text := range a.texts {
			if text == "" || !xmpp.ValidText(text) {
				t.Errorf("%q is said", text)
			}
		}
	})
}

func FuzzReads(f *testing.F) {
	f.Add("!w berlin", "!w ", "Weather")
	f.Add("weather: hello", "", "Weather")
	f.Add("\u212aelvin\xff", "\xff", "K")
	f.Fuzz(func(t *testing.T, text, trigger, nick string) {
		b := &bot{Bot: Bot{Trigger: trigger, Nick: nick, JID: weather}}
		left, command, called := b.reads(text)
		if !strings.Contains(text, left) || command != "" && (!called || trigger == "") {
			t.Errorf("%q is %q, %q, %v", text, left, command, called)
		}
	})
}
