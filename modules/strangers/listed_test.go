package strangers

import (
	"slices"
	"testing"
	"testing/synctest"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// blocklist has bare addresses.
type blocklist []string

func (b blocklist) On() bool { return len(b) > 0 }

func (b blocklist) Listed(who jid.JID) bool { return slices.Contains(b, who.Bare().String()) }

// list puts tybalt on a block list.
func (h *house) list(policy Policy) {
	h.o.Blocklist, h.o.Listed = blocklist{"tybalt@peer.example"}, func() Policy { return policy }
	h.start()
}

func TestWhoIsOnABlocklistIsRefusedByWhoDoesNotKnowHim(t *testing.T) {
	for _, policy := range []Policy{Deliver, Quarantine, Refuse} {
		synctest.Test(t, func(t *testing.T) {
			h := newHouse(t, policy)
			h.list(Refuse)
			juliet := h.come("juliet")
			if e := h.route(tybalt, body(1)); e.Outcome != router.Refused || e.Err.Condition != xmpp.CondPolicyViolation {
				t.Errorf("%s: a message: %v, %v", policy, e.Outcome, e.Err)
			}
			ask := func(from string) *router.Envelope {
				e := &router.Envelope{Quiet: true, Peer: "peer.example",
					Stanza: moduletest.Parse(t, `<presence type='subscribe' from='`+from+`' to='juliet@example.org'/>`)}
				h.r.Route(e)
				return e
			}
			if e := ask("tybalt@peer.example"); e.Outcome != router.Refused || e.Err.Condition != xmpp.CondPolicyViolation {
				t.Errorf("%s: a request: %v, %v", policy, e.Outcome, e.Err)
			}
			if e := ask("paris@peer.example"); e.Err != nil && e.Err.Condition == xmpp.CondPolicyViolation {
				t.Errorf("%s: a request of another: %v", policy, e.Err)
			}
			if n, m := h.s.Stats.Refused.Load(), h.s.Stats.Requests.Load(); n != 1 || m != 1 {
				t.Errorf("%d messages and %d requests are counted", n, m)
			}
			if e := h.route("paris@peer.example/x", body("paris")); e.Outcome == router.Refused && policy != Refuse {
				t.Errorf("%s: of another: %v", policy, e.Err)
			}
			bodies(juliet)
			juliet.Send(`<message to='tybalt@peer.example' type='chat'><body>who?</body></message>`)
			h.route(tybalt, body("an answer"))
			h.want(string(policy), bodies(juliet), "an answer")
			h.contact["tybalt@peer.example"] = true
			if e := ask("tybalt@peer.example"); e.Err != nil && e.Err.Condition == xmpp.CondPolicyViolation {
				t.Errorf("%s: a request of a contact: %v", policy, e.Err)
			}
		})
	}
}

func TestWhoIsOnABlocklistIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, Deliver)
		h.list(Quarantine)
		juliet := h.come("juliet")
		if e := h.route(tybalt, body("held")); e.Outcome != router.Stored {
			t.Errorf("%v, %v", e.Outcome, e.Err)
		}
		h.route("paris@peer.example/x", body("paris"))
		h.want("of another", bodies(juliet), "paris")
		juliet.LogoutTaken()
		juliet = h.come("juliet") // what is held stays held
		h.want("at the login", bodies(juliet))
		if n := h.s.Stats.Held.Load(); n != 1 {
			t.Errorf("%d are counted", n)
		}
		juliet.Send(`<message to='tybalt@peer.example' type='chat'><body>who?</body></message>`)
		h.want("when she answers", bodies(juliet), "held")
		h.policy = Refuse // the stricter one counts
		h.o.Blocklist = blocklist{"tybalt@peer.example", "mercutio@peer.example"}
		h.start()
		if e := h.route("mercutio@peer.example/x", body(1)); e.Outcome != router.Refused {
			t.Errorf("%v, %v", e.Outcome, e.Err)
		}
	})
}
