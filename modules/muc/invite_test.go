package muc

import (
	"fmt"
	"sync"
	"testing"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/xmpp/jid"
)

// An account may invite over HTTP while its client says something else.
func TestAnInviterMayChangeItsNickMeanwhile(t *testing.T) {
	w := newWorld(t)
	w.instant()
	w.client("hag")
	const n = 100
	var invitations []*router.Envelope
	for range n {
		invitations = append(invitations, &router.Envelope{Account: jid.MustParse("crone@example.org"), Quiet: true,
			Stanza: moduletest.Parse(t, `<message from='crone@example.org' to='`+coven+
				`'><x xmlns='http://jabber.org/protocol/muc#user'><invite to='hag@example.org/pda'/></x></message>`)})
	}
	var inviting sync.WaitGroup
	inviting.Go(func() {
		for _, e := range invitations {
			w.Route(e)
		}
	})
	for i := range n {
		w.join("crone", fmt.Sprint("crone", i))
	}
	inviting.Wait()
	for _, e := range invitations {
		if e.Outcome != router.Delivered {
			t.Fatal(refused(e))
		}
	}
}
