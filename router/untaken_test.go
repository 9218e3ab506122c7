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
		for _, s := range []xmpp.Stanza{
			{Kind: xmpp.IQ, Type: xmpp.TypeGet, ID: "iq"},
			{Kind: xmpp.Message, Type: xmpp.TypeChat, ID: "given"},
			{Kind: xmpp.Message, Type: xmpp.TypeGroupchat, ID: "room"},
			{Kind: xmpp.Message, Type: xmpp.TypeError, ID: "error"},
		} {
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

// keeper is an outlet that takes nothing.
type keeper struct {
	outlet
	given []Undelivered
	asked int
}

func (k *keeper) Send(d Delivery) (wake, ok bool) {
	k.given = append(k.given, Undelivered{Stanza: d.Stanza.Clone(), Kept: d.Kept})
	return false, true
}

func (k *keeper) Uncopied() (list []Undelivered, first uint64) {
	first = uint64(k.asked)
	k.asked = len(k.given)
	return slices.Clone(k.given[first:]), first
}

func (k *keeper) Copied(list []Undelivered, first uint64) { copy(k.given[first:], list) }

// Copies are kept of what sessions have been given before anything is stored behind it: of a session that another has
// replaced, of one that is not available any more, and of what waits behind a supply.
func TestNothingIsStoredAheadOfWhatSessionsHaveBeenGiven(t *testing.T) {
	var stored []string
	h := newHouse(t)
	h.Use(Module{Name: "keeping",
		Keep: func(_ *Session, given []Undelivered) {
			for i := range given {
				if given[i].Kept == 0 {
					stored = append(stored, given[i].Stanza.ID)
					given[i].Kept = uint64(len(stored))
				}
			}
		},
		Unclaimed: func(e *Envelope) {
			if e.Settle(Stored); e.Kept == 0 {
				stored = append(stored, e.Stanza.ID)
			}
		}})
	post := func(to, id string) {
		h.Emit(&xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeChat, ID: id,
			From: jid.MustParse("room@example.org/nick"), To: jid.MustParse(to)}, nil)
	}
	first := &keeper{}
	a := h.bind("juliet@example.org/a", first)
	post("juliet@example.org/a", "1")
	post("juliet@example.org", "2") // a is not available
	post("juliet@example.org/a", "3")
	h.bind("juliet@example.org/a", &keeper{})
	post("juliet@example.org/a", "4") // the account is held until the first is gone
	h.Unbind(a, func() []Undelivered { return first.given })
	if want := []string{"1", "2", "3", "4"}; !slices.Equal(stored, want) {
		t.Errorf("stored %q, want %q", stored, want)
	}

	stored = nil
	b, out := newSlow(t, h.Router)
	out.bytes = supplyMark
	b.Bring(nil, jid.MustParse("room@example.org"), 0, func(*Batch) bool { return false })
	post("juliet@example.org/balcony", "5")
	post("juliet@example.org", "6")
	out.end()
	h.Unbind(b, func() []Undelivered { return nil })
	if want := []string{"5", "6"}; !slices.Equal(stored, want) {
		t.Errorf("stored %q, want %q", stored, want)
	}
}
