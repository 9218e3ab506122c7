package attacks

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"jackdaw/testsuite/harness"
)

// strangersPerAddress is limits.unauthenticated_per_address.
const strangersPerAddress = 50

// visits logs in over WebSocket and is available.
func (b *battle) visits(ip, user, resource string) *page {
	b.t.Helper()
	p, err := visit(ip, b.HTTP, user, resource)
	if err == nil {
		err = p.say("<presence xmlns='jabber:client'/>")
	}
	if err == nil {
		_, err = p.until("<presence")
	}
	if err != nil {
		b.t.Fatalf("%s logs in by WebSocket: %v", user, err)
	}
	return p
}

// pages have browsers take what all share.
var pages = []ordeal{
	{name: "200 WebSockets of one address that do not log in", memory: 48, run: func(t *testing.T, b *battle) {
		b.crowd(attackerIP)
	}},
	{name: "200 WebSockets of one address behind a proxy that do not log in", memory: 48, options: harness.Options{HTTP: "trusted_proxies: [" + strangerIP + "]"}, run: func(t *testing.T, b *battle) {
		b.crowd(strangerIP, "X-Forwarded-For: "+attackerIP, "X-Forwarded-Proto: https")
		if _, status, err := upgrade(strangerIP, b.HTTP, "X-Forwarded-For: "+accompliceIP); err != nil || !strings.HasPrefix(status, "101") {
			t.Errorf("somebody else behind the proxy: %s, %v", status, err)
		}
	}},
	{name: "messages in frames of one byte", memory: 32, cpu: 5 * time.Second,
		options: harness.Options{Config: quick}, run: func(t *testing.T, b *battle) {
			victim := b.enter(innocentIP, "victim", "den")
			defer victim.Close()
			p := b.visits(attackerIP, "mallory", "lair")
			defer p.Close()
			sent := make(chan error, 1)
			go func() {
				var err error
				for range 10 { // 1.7 MB each
					if _, e := io.WriteString(p, crumbs("<message xmlns='jabber:client' type='chat' to='"+victim.JID+"'><body>"+strings.Repeat("x", 240*kb)+"</body></message>")); e != nil {
						err = e
					}
				}
				sent <- err
			}()
			for n := 0; n < 10; {
				el, err := victim.Next()
				if err != nil {
					t.Fatal(err)
				}
				if strings.HasPrefix(el, "<message") {
					if n++; len(el) < 240*kb {
						t.Errorf("a message of %d bytes has come", len(el))
					}
				}
			}
			if err := <-sent; err != nil {
				t.Error(err)
			}
		}},
	{name: "empty fragments without end", memory: 32, cpu: time.Second, run: func(t *testing.T, b *battle) {
		b.pours(string(frame(frameText, "")), strings.Repeat(string(frame(0, "")), 10_000))
	}},
	{name: "pings without end, the answers to which nobody reads", memory: 32, cpu: time.Second, run: func(t *testing.T, b *battle) {
		b.pours("", strings.Repeat(string(frame(frameLast|framePing, strings.Repeat("x", 125))), 1000))
	}},
	{name: "pings as fast as they are read, the answers to which nobody reads", memory: 32, options: harness.Options{Config: quick}, run: func(t *testing.T, b *battle) {
		p := b.visits(attackerIP, "mallory", "lair")
		defer p.Close()
		one := []byte(strings.Repeat(string(frame(frameLast|framePing, strings.Repeat("x", 125))), 1000))
		for range 500 { // 65 MB
			if _, err := p.Write(one); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.say("<iq xmlns='jabber:client' type='get' id='over' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>"); err != nil {
			t.Fatal(err)
		}
		if _, err := p.until("id='over'"); err != nil { // it is all there is of it
			t.Error(err)
		}
	}},
	{name: "fragments of messages that do not end, on as many WebSockets as may be", memory: 96, options: harness.Options{Config: quick}, run: func(t *testing.T, b *battle) {
		for range 20 {
			p := b.visits(attackerIP, "mallory", "lair")
			defer p.Close()
			if _, err := p.Write(append(frame(frameText, "<message xmlns='jabber:client' to='victim@localhost'><body>"), frame(0, strings.Repeat("x", 240*kb))...)); err != nil {
				t.Fatal(err)
			}
		}
		friend := b.visits(innocentIP, "friend", "desk")
		defer friend.Close()
	}},
	{name: "a page that reads nothing of what it is given", memory: 128, options: harness.Options{Config: quick}, run: func(t *testing.T, b *battle) {
		b.befriend("mallory", "victim")
		p := b.visits(innocentIP, "victim", "page")
		defer p.Close()
		m := b.enter(attackerIP, "mallory", "lair")
		defer m.Close()
		for i := range 100 {
			if err := m.Send(fmt.Sprintf("<message id='b%d' type='chat' to='victim@localhost/page'><body>%s</body></message>", i, strings.Repeat("x", 240*kb))); err != nil {
				t.Fatal(err)
			}
		}
		b.settled(m) // that nobody reads keeps nobody
		for i := 0; ; i++ {
			el, err := p.until("<message")
			if err != nil {
				t.Fatalf("after %d messages: %v", i, err)
			}
			if got := harness.Attr(el, "id"); got != fmt.Sprintf("b%d", i) {
				t.Fatalf("%s has come instead of b%d", got, i)
			}
			if i == 10 { // and so on: how much is kept for it is another's matter
				break
			}
		}
	}},
}

// crowd opens WebSockets and lets nobody log in; only so many may be there.
func (b *battle) crowd(from string, headers ...string) {
	b.t.Helper()
	in, turned := 0, 0
	for range 200 {
		p, status, err := upgrade(from, b.HTTP, headers...)
		switch {
		case err != nil:
			turned++
		case strings.HasPrefix(status, "101"):
			in++
			b.t.Cleanup(func() { p.Close() })
		case strings.HasPrefix(status, "429"):
			turned++
			p.Close()
		default:
			b.t.Fatal(status)
		}
	}
	if in > strangersPerAddress || in == 0 || turned == 0 {
		b.t.Errorf("%d are in, at most %d is right", in, strangersPerAddress)
	}
	b.visits(innocentIP, "friend", "desk").Close()
}

// pours sends the same again and again for a while, which is taken at the rate of an account and not faster.
func (b *battle) pours(first, again string) {
	b.t.Helper()
	p := b.visits(attackerIP, "mallory", "lair")
	defer p.Close()
	const length = 4 * time.Second
	if err := p.SetWriteDeadline(time.Now().Add(length)); err != nil {
		b.t.Fatal(err)
	}
	sent, err := io.WriteString(p, first)
	for err == nil {
		var n int
		n, err = io.WriteString(p, again)
		sent += n
	}
	if ne, ok := err.(net.Error); !ok || !ne.Timeout() {
		b.t.Errorf("the server does not read slowly: %v", err)
	}
	// The kernel holds some at both ends: 6 and 4 MB by its defaults (tcp_rmem, tcp_wmem), and what it grows them by.
	if most := 1<<20 + 5*64<<10 + 16<<20; sent > most {
		b.t.Errorf("%d bytes were taken, at most %d is right", sent, most)
	}
}
