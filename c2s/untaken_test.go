package c2s

import (
	"slices"
	"sync"
	"testing"

	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

func TestWhatALostClientHadNotTakenIsSaidAtOnce(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	var mu sync.Mutex
	var untaken []string
	h.router.Use(append(slices.Clone(h.router.Modules()), router.Module{Name: "seeing",
		Untaken: func(s *router.Session, left []router.Undelivered) {
			mu.Lock()
			defer mu.Unlock()
			for _, u := range left {
				untaken = append(untaken, s.Addr().Resource()+" "+u.Stanza.ID)
			}
		}})...)
	c := h.enter("juliet", "balcony")
	id := c.manage()
	h.post("juliet@example.org", "taken", 10, 0)
	c.expectMessages("taken")
	c.send("<a xmlns='urn:xmpp:sm:3' h='1'/>").ping()
	h.post("juliet@example.org", "lost", 10, 0)
	h.router.Emit(presence("romeo@example.org/a", "1"), nil)
	h.cut(c)
	eventually(t, "the word of what was lost", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return slices.Equal(untaken, []string{"balcony lost"})
	})
	c = h.resume("juliet", id, 2) // with the answer to the ping
	defer c.close()
	c.expect("<resumed")
	c.expectMessages("lost")
}

// A sender waits for the receipt: what bears one must not be replaced by what comes later.
func TestWhatBearsAReceiptIsNotHeldBack(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	c := h.enter("juliet", "balcony")
	defer c.close()
	c.send("<inactive xmlns='urn:xmpp:csi:0'/>").ping()
	s := h.router.Session(jid.MustParse("juliet@example.org/balcony"))
	receipt := storage.NewPending()
	state := &xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeChat, ID: "state", From: jid.MustParse("romeo@example.org/a"), To: s.Addr(),
		Payload: []byte("<composing xmlns='http://jabber.org/protocol/chatstates'/><store xmlns='urn:xmpp:hints'/>")}
	s.SendNow(router.Delivery{Stanza: state, Receipt: receipt})
	c.expectMessages("state")
	eventually(t, "the receipt", func() bool { done, err := receipt.Finished(); return done && err == nil })
}
