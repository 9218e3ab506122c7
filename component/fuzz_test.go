package component

import (
	"io"
	"strings"
	"testing"
	"time"

	"jackdaw/config"
	"jackdaw/router"
	"jackdaw/xmpp/stream"
)

// FuzzStream: whatever a component sends, the server does not panic, and nothing passes that is not from its domain,
// nor anything before the handshake.
func FuzzStream(f *testing.F) {
	const ok = "<message from='a@bot.example.org' to='b@users.example.org'><body>x</body></message>"
	for _, s := range []string{ok, ok + ok, "<iq type='get' id='1' from='bot.example.org' to='example.org'><q xmlns='u'/></iq>",
		"<message xmlns='jabber:client' from='example.org' to='b@users.example.org'/>",
		"<c:message xmlns:c='jabber:client' from='bot.example.org' to='b@users.example.org'><c:body/></c:message>",
		"<message from='romeo@example.org' to='b@users.example.org'/>", "<presence from='bot.example.org' to='@'/>",
		"<handshake>00</handshake>", stream.Close, header("bot.example.org"), "<?xml version='1.0'?>" + header("bot.example.org") + ok,
		header("irc.example.org") + "<handshake/>" + ok, "<stream:error><reset xmlns='u'/></stream:error>"} {
		f.Add(s, true)
		f.Add(s, false)
	}
	h := newHouse(f, func(l *config.Limits) { l.ServerStanzaBytes, l.PreauthBytes = 8<<10, 8<<10 })
	f.Fuzz(func(t *testing.T, text string, authenticated bool) {
		h.t = t
		var p *program
		if authenticated {
			p = h.connect("bot.example.org", "botsecret")
		} else {
			p = h.dial("")
		}
		p.t = t
		_ = p.SetDeadline(time.Now().Add(within))
		if _, err := io.WriteString(p, text+stream.Close); err == nil {
			_, _ = io.Copy(io.Discard, p) // until the server closes or has said its part
		}
		p.Close()
		h.eventually("the stream is over", func() bool { return h.Stats.Connections.Load() == 0 })
		for {
			select {
			case got := <-h.got:
				x, err := stream.ParseStanza([]byte(got), stream.Limits{})
				switch {
				case err != nil:
					t.Fatalf("routed %q: %v", got, err)
				case !authenticated:
					t.Fatalf("routed without a handshake: %s", got)
				case x.From.Domain() != "bot.example.org":
					t.Fatalf("routed from elsewhere: %s", got)
				}
			default:
				if n := h.Stats.Panics.Load(); n > 0 {
					t.Fatalf("panic:\n%s", h.log)
				}
				return
			}
		}
	})
}

func BenchmarkToComponent(b *testing.B) {
	h := newHouse(b, roomy)
	bot := h.connect("bot.example.org", "botsecret")
	go func() { _, _ = io.Copy(io.Discard, bot) }()
	x, err := stream.ParseStanza([]byte("<message type='chat' from='a@users.example.org/x' to='b@bot.example.org'><body>"+
		strings.Repeat("x", 100)+"</body></message>"), stream.Limits{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		e := router.Envelope{Stanza: x}
		for h.router.Route(&e); e.Outcome != router.Delivered; h.router.Route(&e) {
			<-h.got // the error
		}
	}
}

func BenchmarkFromComponent(b *testing.B) {
	h := newHouse(b, roomy)
	bot := h.connect("bot.example.org", "botsecret")
	const many = 100
	text := strings.Repeat("<message type='chat' from='a@bot.example.org/x' to='b@users.example.org'><body>"+strings.Repeat("x", 100)+"</body></message>", many)
	b.ReportAllocs()
	for n := 0; n < b.N; n += many {
		bot.say(text)
		for range many {
			<-h.got
		}
	}
}
