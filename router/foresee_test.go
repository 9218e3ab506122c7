package router

import (
	"testing"

	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// anywhere is a way to all other servers that nothing is to take.
type anywhere struct{ *testing.T }

func (anywhere) Admits(string) *xmpp.Error { return nil }
func (a anywhere) Send(e *Envelope)        { a.Errorf("sent to %s", e.Stanza.To) }

func TestForesightSendsNothingAndShowsNobodysPresence(t *testing.T) {
	for _, online := range []bool{false, true} {
		rooms := Module{Name: "rooms", Service: &Service{Domains: func() []string { return []string{"rooms.example.org"} },
			Handle: func(*Envelope) { t.Error("the service was asked") }}}
		h := newHouse(t, rooms)
		h.SetRemote(anywhere{t})
		phone := &outlet{}
		if online {
			h.SetPresence(h.bind("juliet@example.org/a", phone), &xmpp.Stanza{Kind: xmpp.Presence}, 0)
		}
		for _, c := range []struct {
			from, to string
			typ      xmpp.Type
			want     Outcome
		}{
			{"", "juliet@example.org", xmpp.TypeChat, Stored},
			{"", "juliet@example.org/a", xmpp.TypeChat, Stored},
			{"", "juliet@example.org", xmpp.TypeNormal, Stored},
			{"", "juliet@example.org/a", xmpp.TypeNormal, Undecided},
			{"", "juliet@example.org", xmpp.TypeHeadline, Undecided},
			{"", "juliet@example.org", xmpp.TypeGroupchat, Undecided},
			{"", "nobody@example.org", xmpp.TypeChat, Refused},
			{"", "nobody@example.org", xmpp.TypeHeadline, Undecided},
			{"", "example.org", xmpp.TypeChat, Refused},
			{"", "garden@rooms.example.org", xmpp.TypeGroupchat, Undecided},
			{"", "x@example.net", xmpp.TypeChat, Queued},
			{"ticket@trac", "x@example.net", xmpp.TypeChat, Refused},
			{"ticket@trac", "juliet@example.org", xmpp.TypeChat, Stored},
		} {
			m := xmpp.Stanza{Kind: xmpp.Message, Type: c.typ, From: h.romeo.Bare(), To: jid.MustParse(c.to)}
			if c.from != "" {
				m.From = jid.MustParse(c.from)
			}
			got, err := h.Foresee(&m, false)
			if got != c.want || (err != nil) != (c.want == Refused) {
				t.Errorf("online %v: from %q to %s, %s: %s %v, want %s", online, c.from, c.to, c.typ, got, err, c.want)
			}
		}
		if len(phone.got)+len(h.back.got)+len(h.store) > 0 {
			t.Errorf("sent %q, kept %q", phone.got, h.store)
		}
	}
}
