package router

import (
	"strings"
	"testing"

	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

func TestRequestsForNobodysAccountGoToTheModuleThatAnswersThem(t *testing.T) {
	q, other := xmpp.Name{Space: "urn:q", Local: "q"}, xmpp.Name{Space: "urn:other", Local: "q"}
	var asked []string
	note := func(what string) func(*Envelope) {
		return func(e *Envelope) {
			asked = append(asked, what+" "+e.Stanza.To.String())
			e.Settle(Delivered)
		}
	}
	h := newHouse(t, Module{Name: "q", IQ: []IQ{
		{Payload: q, Scope: Account, Handle: note("account"), NoAccount: note("nobody")},
		{Payload: other, Scope: Account, Handle: note("other")},
	}})
	for _, c := range []struct{ to, payload, want, refused string }{
		{"juliet@example.org", "<q xmlns='urn:q'/>", "account juliet@example.org", ""},
		{"ticket@example.org", "<q xmlns='urn:q'/>", "nobody ticket@example.org", ""},
		{"ticket@example.org", "<q xmlns='urn:other'/>", "", "service-unavailable"},
		{"ticket@example.org/x", "<q xmlns='urn:q'/>", "", "service-unavailable"},
	} {
		asked = nil
		e := h.send(xmpp.Stanza{Kind: xmpp.IQ, Type: xmpp.TypeGet, ID: "1", To: jid.MustParse(c.to), Payload: []byte(c.payload)})
		refused := ""
		if e.Err != nil {
			refused = string(e.Err.Condition)
		}
		if got := strings.Join(asked, ", "); got != c.want || refused != c.refused {
			t.Errorf("%s to %s: asked %q, refused with %q", c.payload, c.to, got, refused)
		}
	}
}

func TestStreamFeaturesComeInTheOrderOfTheModules(t *testing.T) {
	r := New(Options{})
	r.Use(Module{StreamFeature: "<a/>"}, Module{}, Module{StreamFeatureOf: func(host string) string { return "<" + host + "/>" }},
		Module{StreamFeature: "<c/>"})
	if got := r.StreamFeatures("b"); got != "<a/><b/><c/>" {
		t.Errorf("features: %s", got)
	}
}

func TestWhoWatchesServicesSeesWhatIsAddressedToThem(t *testing.T) {
	served := 0
	h := newHouse(t, Module{Name: "service", Service: &Service{Domains: func() []string { return []string{"bot.example.org"} },
		Handle: func(e *Envelope) { served++; e.Settle(Delivered) }}},
		Module{Name: "watch", Serving: func(e *Envelope) {
			if e.Stanza.Kind == xmpp.Presence {
				e.Refuse(xmpp.Forbidden(""))
			}
		}})
	for _, row := range []struct {
		kind xmpp.Kind
		want Outcome
	}{{xmpp.Message, Delivered}, {xmpp.Presence, Refused}} {
		e := &Envelope{Quiet: true, Stanza: &xmpp.Stanza{Kind: row.kind, From: h.romeo.Addr(), To: jid.MustParse("x@bot.example.org")}}
		if h.Route(e); e.Outcome != row.want {
			t.Errorf("%v fared as %v", row.kind, e.Outcome)
		}
	}
	if served != 1 {
		t.Errorf("the service saw %d stanzas", served)
	}
}

func TestASenderWhoHasBeenToldGetsNoSecondError(t *testing.T) {
	for _, told := range []bool{false, true} {
		h := newHouse(t, Module{Name: "service", Service: &Service{
			Domains: func() []string { return []string{"bot.example.org"} },
			Handle: func(e *Envelope) {
				if told {
					e.RefuseTold(xmpp.Forbidden(""))
				} else {
					e.Refuse(xmpp.Forbidden(""))
				}
			},
		}})
		want := 1
		if told {
			want = 0
		}
		e := h.send(xmpp.Stanza{Kind: xmpp.Presence, To: jid.MustParse("x@bot.example.org")})
		if e.Outcome != Refused || e.Err == nil || len(h.back.got) != want {
			t.Errorf("told %v: %v, %v, and %d errors", told, e.Outcome, e.Err, len(h.back.got))
		}
		if e.Reset(); e.Settled() || e.Err != nil || e.told {
			t.Errorf("an envelope that is used again begins as %+v", e.Fate)
		}
	}
}
