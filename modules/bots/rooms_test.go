package bots

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/modules/internal/outgoing"
	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// inGarden is a bot that is in a room.
func inGarden() Bot {
	return Bot{Rooms: []jid.JID{jid.MustParse(garden)}, Nick: "Weather", Trigger: "!w "}
}

// from sends the bot something from a room.
func (h *house) from(xml string) *router.Envelope {
	h.t.Helper()
	e := &router.Envelope{Stanza: moduletest.Parse(h.t, strings.Replace(xml, " to=''", " to='"+h.full(weather)+"'", 1)),
		Quiet: true, Own: true}
	h.Route(e)
	return e
}

// enters lets the bot into the room.
func (h *house) enters() {
	h.t.Helper()
	came := h.inRooms()
	if len(came) != 1 || came[0].To.String() != garden+"/Weather" || came[0].Kind != xmpp.Presence {
		h.t.Fatalf("to the room came %v", came)
	}
	h.from(`<presence from='` + garden + `/Weather' to=''><x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='none' role='participant'/><status code='110'/></x></presence>`)
	h.isAway("")
}

// isAway says why the bot is not in the room.
func (h *house) isAway(want string) {
	h.t.Helper()
	h.posted()
	list, err := h.bots.List(h.t.Context())
	if err != nil || len(list) != 1 {
		h.t.Fatalf("the bots are %v, %v", list, err)
	}
	if got, ok := list[0].Away[jid.MustParse(garden)]; !ok || got != want {
		h.t.Errorf("the bot is not in the room: %q, want %q", got, want)
	}
}

func TestInARoomABotHearsItsTriggerAndItsName(t *testing.T) {
	for _, row := range []struct{ body, text, command string }{
		{"!w berlin", "berlin", "!w"}, {"!w", "", "!w"}, {"Weather: hello", "hello", "-"}, {"weather, hello", "hello", "-"},
		{"Weather", "", "-"}, {"what says weather?", "what says weather?", "-"}, {"weather forecast", "weather forecast", "-"},
		{"hello", "", ""}, {"!weather", "!weather", "-"}, {"!wx", "", ""}, {"weatherman", "", ""}, {"the fairweather", "", ""},
	} {
		t.Run(row.body, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t)
				h.bot(inGarden())
				h.enters()
				h.said("12 °C")
				e := h.from(`<message type='groupchat' id='a1' from='` + garden + `/Ann' to=''><body>` + row.body +
					`</body><stanza-id xmlns='urn:xmpp:sid:0' by='` + garden + `' id='s-77'/></message>`)
				if e.Outcome != router.Delivered {
					t.Errorf("it fared as %v", e.Outcome)
				}
				got := h.posted()
				if row.command == "" {
					if len(got) != 0 {
						t.Errorf("posted was %s", got[0].raw)
					}
					return
				}
				if len(got) != 1 || *got[0].Text != row.text || (got[0].Command == nil) != (row.command == "-") ||
					*got[0].Room != garden || *got[0].Nick != "Ann" || *got[0].StanzaID != "s-77" || got[0].From != garden+"/Ann" {
					t.Fatalf("posted was %+v", got)
				}
				said := h.inRooms()
				if len(said) != 1 {
					t.Fatalf("%d came to the room", len(said))
				}
				moduletest.Same(t, string(said[0].Append(nil)), `<message type='groupchat' id='`+got[0].key+`-1' from='`+h.full(weather)+
					`' to='`+garden+`'><body>12 °C</body><bot xmlns='urn:x-jackdaw:bot:0'/>
					<reply xmlns='urn:xmpp:reply:0' to='`+garden+`/Ann' id='s-77'/></message>`)
			})
		})
	}
}

func TestInARoomABotDoesNotHear(t *testing.T) {
	for name, xml := range map[string]string{
		"itself":       `<message type='groupchat' from='` + garden + `/Weather' to=''><body>!w a</body></message>`,
		"the room":     `<message type='groupchat' from='` + garden + `' to=''><body>!w a</body></message>`,
		"the past":     `<message type='groupchat' from='` + garden + `/Ann' to=''><body>!w a</body><delay xmlns='urn:xmpp:delay' stamp='2026-01-01T00:00:00Z'/></message>`,
		"another bot":  `<message type='groupchat' from='` + garden + `/Clock' to=''><body>!w a</body><bot xmlns='urn:x-jackdaw:bot:0'/></message>`,
		"a secret":     `<message type='groupchat' from='` + garden + `/Ann' to=''><body>!w a</body><encrypted xmlns='eu.siacs.conversations.axolotl'/></message>`,
		"a subject":    `<message type='groupchat' from='` + garden + `/Ann' to=''><subject>!w a</subject></message>`,
		"another room": `<message type='groupchat' from='hall@rooms.example.org/Ann' to=''><body>!w a</body></message>`,
		"an error":     `<message type='error' from='` + garden + `/Ann' to=''><body>!w a</body></message>`,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t)
				h.bot(inGarden())
				h.enters()
				if e := h.from(xml); e.Outcome == router.Refused {
					t.Errorf("it is refused, which would cost the bot its seat: %v", e.Err)
				}
				if got := h.posted(); len(got) != 0 {
					t.Errorf("posted was %s", got[0].raw)
				}
			})
		})
	}
}

func TestAPrivateAnswerGoesToTheOneWhoAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.bot(inGarden())
		h.enters()
		h.answers(func(request) (outgoing.Answer, error) {
			return outgoing.Answer{Status: 200, Type: "application/json", Body: []byte(`{"text":"a","private":true}`)}, nil
		})
		h.from(`<message type='groupchat' id='a1' from='` + garden + `/Ann' to=''><body>!w a</body></message>`)
		h.posted()
		h.said("b")
		h.from(`<message type='chat' id='a2' from='` + garden + `/Ann' to=''><body>no trigger</body><x xmlns='http://jabber.org/protocol/muc#user'/></message>`)
		if got := h.posted(); len(got) != 1 || *got[0].Room != garden || *got[0].Nick != "Ann" || got[0].Type != "chat" {
			t.Errorf("of a private message, posted was %+v", got)
		}
		said := h.inRooms()
		if len(said) != 2 {
			t.Fatalf("%d came to the room", len(said))
		}
		for i, text := range []string{"a", "b"} {
			if s := said[i]; s.Type != xmpp.TypeChat || s.To.String() != garden+"/Ann" || s.Child(nameBody).Text() != text ||
				!s.Has(nameMUCUser) {
				t.Errorf("%s came to the room", s.Append(nil))
			}
		}
	})
}

func TestARoomIsToldNothingOfWhatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.bot(inGarden())
		h.enters()
		h.answers(func(request) (outgoing.Answer, error) { return outgoing.Answer{Status: 410}, nil })
		h.from(`<message type='groupchat' id='a1' from='` + garden + `/Ann' to=''><body>!w a</body></message>`)
		h.from(`<message type='chat' id='a2' from='` + garden + `/Ann' to=''><body>a</body></message>`)
		if got := h.posted(); len(got) != 2 {
			t.Errorf("%d were posted", len(got))
		}
		if said := h.inRooms(); len(said) != 0 {
			t.Errorf("%s came to the room", said[0].Append(nil))
		}
		for range 2 * burst {
			if e := h.from(`<message type='groupchat' from='` + garden + `/Ann' to=''><body>!w a</body></message>`); e.Outcome == router.Refused {
				t.Fatalf("it is refused: %v", e.Err)
			}
		}
	})
}

func TestABotIsInItsRoomAgainAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.bot(inGarden())
		h.enters()
		h.end()
		h.inRooms()
		h.open()
		h.enters()
		h.Sessions(weather)[0].End("conflict", "") // somebody ends its session
		time.Sleep(2 * time.Second)
		h.enters()
	})
}

func TestABotThatIsRemovedFromARoomStaysAway(t *testing.T) {
	leaves := func(inside string) string {
		return `<presence type='unavailable' from='` + garden + `/Weather' to=''><x xmlns='http://jabber.org/protocol/muc#user'>` + inside +
			`<item affiliation='outcast' role='none'/></x></presence>`
	}
	for _, row := range []struct {
		xml, why string
		away     time.Duration
	}{
		{leaves(`<status code='110'/><status code='301'/>`), "banned", later},
		{leaves(`<status code='110'/><status code='307'/>`), "kicked", later},
		{leaves(`<status code='321'/><status code='110'/>`), "not a member", later},
		{leaves(`<destroy/>`), "the room is destroyed", later},
		{leaves(`<status code='332'/><status code='110'/>`), "the server of the room has stopped", again},
	} {
		t.Run(row.why, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t)
				h.bot(inGarden())
				h.enters()
				h.from(strings.Replace(row.xml, "/Weather", "/Ann", 1)) // it is another who leaves
				if !strings.Contains(row.xml, "110") {
					h.isAway("")
				} else {
					h.from(`<presence from='` + garden + `/Weather' to=''><x xmlns='http://jabber.org/protocol/muc#user'><status code='110'/></x></presence>`)
				}
				h.from(row.xml)
				h.isAway(row.why)
				time.Sleep(row.away - time.Second)
				if came := h.inRooms(); len(came) != 0 {
					t.Errorf("it is at the door: %s", came[0].Append(nil))
				}
				time.Sleep(2 * time.Second)
				h.enters()
			})
		})
	}
}

func TestWhyABotMayNotEnterIsSaid(t *testing.T) {
	for condition, why := range map[string]string{"forbidden": "banned", "conflict": "somebody else has the nick",
		"registration-required": "members only: make the bot a member", "not-authorized": "the room has a password",
		"item-not-found": "there is no such room", "remote-server-timeout": "remote-server-timeout"} {
		t.Run(condition, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t)
				h.bot(inGarden())
				h.inRooms()
				h.from(`<presence type='error' from='` + garden + `/Weather' to=''><error type='auth'><` + condition +
					` xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>`)
				h.isAway(why)
				time.Sleep(again + time.Second)
				if came := h.inRooms(); len(came) != 1 {
					t.Errorf("after a minute %d came to the room", len(came))
				}
				h.isAway(why)
			})
		})
	}
}

func TestABotMakesNoRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.bot(inGarden())
		h.inRooms()
		h.from(`<presence from='` + garden + `/Weather' to=''><x xmlns='http://jabber.org/protocol/muc#user'><status code='110'/><status code='201'/></x></presence>`)
		h.isAway("there is no such room")
		if came := h.inRooms(); len(came) != 1 || came[0].Type != xmpp.TypeUnavailable {
			t.Errorf("to the room came %v", came)
		}
	})
}

func TestABotEntersARoomThatIsMadeLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.noRoom.Store(true)
		h.bot(inGarden())
		if came := h.inRooms(); len(came) != 0 {
			t.Errorf("to the room came %v", came)
		}
		h.isAway("there is no such room")
		h.noRoom.Store(false)
		time.Sleep(2 * time.Minute)
		h.enters()
	})
}

func TestWhoeverAsksSeesThatABotIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.bot(Bot{})
		var subscribed []string
		h.Use(append(h.Modules(), router.Module{Name: "roster", Arriving: router.Stage{Presence: func(e *router.Envelope) {
			if e.Stanza.Type == xmpp.TypeSubscribed {
				subscribed = append(subscribed, e.Stanza.To.String())
			}
		}}})...)
		h.ann.Send(`<presence type='subscribe' to='weather@example.org'/>`)
		h.posted()
		if len(subscribed) != 1 || subscribed[0] != "ann@example.org" {
			t.Errorf("subscribed are %v", subscribed)
		}
	})
}

// The node that a room was at home on may die, without a word to those who were in it.
func TestABotEntersARoomAnewWhoseHomeHasDied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.bot(inGarden())
		h.enters()
		h.Lost(func(owner string) bool { return owner != garden })
		synctest.Wait()
		h.isAway("")
		h.Lost(func(owner string) bool { return owner == garden })
		synctest.Wait()
		h.enters()
	})
}
