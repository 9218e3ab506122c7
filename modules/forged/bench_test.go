package forged

import (
	"fmt"
	"testing"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// BenchmarkHeard is a stanza of a peer, for one of so many users to whom nothing was forged.
func BenchmarkHeard(b *testing.B) {
	for _, users := range []int{1, 1000, 50_000, 200_000} {
		b.Run(fmt.Sprint(users), func(b *testing.B) {
			store := moduletest.NewStore()
			f := New(Options{Router: moduletest.New("romeo"), Users: moduletest.Users{}, Store: store.Map("forged"), Replies: store.Log("forged"),
				Hook: func() string { return "" }, Log: moduletest.Discard()})
			defer f.Close()
			all := make([]router.Envelope, users)
			from := jid.MustParse("juliet@capulet.example/balcony")
			for i := range all {
				all[i] = router.Envelope{Peer: "capulet.example",
					Stanza: &xmpp.Stanza{Kind: xmpp.Message, From: from, To: jid.MustParse(fmt.Sprintf("user%d@example.org", i))}}
				f.heard(&all[i])
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				f.heard(&all[i])
				if i++; i == users {
					i = 0
				}
			}
		})
	}
}
