package bots

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/xmpp/jid"
)

// BenchmarkOthers is a message between two users, with so many bots beside them.
func BenchmarkOthers(b *testing.B) {
	for _, n := range []int{0, 1, MaxBots} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			r, store := moduletest.New("ann", "ben"), moduletest.NewStore()
			m := New(Options{Router: r, Store: store.Map("bots"), Replies: store.Map("bots-replies"), Queue: store.Log("bots"),
				Done: store.Log("bots-done"), Log: moduletest.Discard(), On: func() bool { return true },
				Active: func(context.Context, jid.JID) bool { return true },
				Derive: func(string, ...string) (sum [sha256.Size]byte) { return sum }})
			defer m.Close()
			for i := range n {
				one := Bot{JID: jid.MustParse(fmt.Sprintf("bot%d@example.org", i)), URL: "http://localhost/in"}
				if err := m.Add(b.Context(), one); err != nil {
					b.Fatal(err)
				}
			}
			to := moduletest.Login(b, r, "ben/desk")
			e := &router.Envelope{Stanza: moduletest.Parse(b, `<message type='chat' from='ann@example.org/phone' to='ben@example.org'><body>a</body></message>`)}
			targets := []*router.Session{to.Session}
			b.ReportAllocs()
			for b.Loop() {
				m.mark(e)
				m.delivering(e, targets)
			}
			if e.Settled() {
				b.Error("it is for a bot")
			}
		})
	}
}

// BenchmarkMentions is a long text of a room in which nobody is named.
func BenchmarkMentions(b *testing.B) {
	text := strings.Repeat("What is the wind today? ", 10_000)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if mentions(text, "weather") {
			b.Fatal("the bot is named")
		}
	}
}
