package router

import (
	"slices"
	"testing"

	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

func TestModulesSeeWhatReachedAnAccountAndWhatItsClientsDidNotTake(t *testing.T) {
	var accepted, untaken []string
	h := newHouse(t, Module{Name: "seeing",
		Unclaimed: func(e *Envelope) {
			if e.Stanza.ID == "full" {
				e.Refuse(xmpp.ResourceConstraint(""))
			}
		},
		Accepted: func(e *Envelope) { accepted = append(accepted, e.Stanza.ID) },
		Untaken: func(s *Session, left []Undelivered) {
			for _, u := range left {
				untaken = append(untaken, s.Addr().Resource()+" "+u.Stanza.ID)
			}
		}})
	balcony := h.bind("juliet@example.org/balcony", &outlet{})
	send := func(typ xmpp.Type, to, id string) {
		h.send(xmpp.Stanza{Kind: xmpp.Message, Type: typ, To: jid.MustParse(to), ID: id})
	}
	send(xmpp.TypeChat, "juliet@example.org", "stored")
	send(xmpp.TypeChat, "juliet@example.org", "full")
	send(xmpp.TypeChat, "nobody@example.org", "nobody")
	send(xmpp.TypeHeadline, "juliet@example.org", "headline")
	h.SetPresence(balcony, &xmpp.Stanza{Kind: xmpp.Presence}, 0)
	send(xmpp.TypeChat, "juliet@example.org", "given")
	send(xmpp.TypeGroupchat, "juliet@example.org/balcony", "room")
	send(xmpp.TypeChat, "peer.example", "elsewhere")
	if want := []string{"stored", "given", "room"}; !slices.Equal(accepted, want) {
		t.Errorf("accepted %q, want %q", accepted, want)
	}

	left := func() (all []Undelivered) {
		for _, s := range []xmpp.Stanza{{Kind: xmpp.IQ, Type: xmpp.TypeGet, ID: "iq"}, {Kind: xmpp.Message, Type: xmpp.TypeChat, ID: "given"},
			{Kind: xmpp.Message, Type: xmpp.TypeGroupchat, ID: "room"}, {Kind: xmpp.Message, Type: xmpp.TypeError, ID: "error"}} {
			all = append(all, Undelivered{Stanza: s})
		}
		return all
	}
	h.Detached(balcony, left())
	h.Detached(balcony, nil)
	if want := []string{"balcony given", "balcony room"}; !slices.Equal(untaken, want) {
		t.Errorf("detached: untaken %q, want %q", untaken, want)
	}
	untaken = nil
	h.Unbind(balcony, left) // what comes back is stored, but for what rooms say, and no other message
	if want := []string{"balcony given"}; !slices.Equal(untaken, want) {
		t.Errorf("ended: untaken %q, want %q", untaken, want)
	}
	if len(accepted) != 3 {
		t.Errorf("accepted again: %q", accepted)
	}
}
