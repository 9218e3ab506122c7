package push

import (
	"testing"
	"time"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
)

// BenchmarkMessageForWhoHasNoPhone is what every message costs.
func BenchmarkMessageForWhoHasNoPhone(b *testing.B) {
	p := New(Options{Router: moduletest.New("juliet"), Store: moduletest.NewStore().Map("push"), Log: moduletest.Discard(),
		Settings: func() Settings { return Settings{None, 1, time.Second} }})
	e := &router.Envelope{Stanza: moduletest.Parse(b, `<message type='chat' from='romeo@example.org/orchard' to='juliet@example.org'><body>hello</body></message>`)}
	b.ReportAllocs()
	for b.Loop() {
		p.accepted(e)
	}
	p.Close()
}
