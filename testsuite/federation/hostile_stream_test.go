package federation

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"jackdaw/testsuite/fakepeer"
	"jackdaw/testsuite/harness"
)

const (
	startTLS = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
	proceed  = "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
	greeting = "<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams'" +
		" xmlns:db='jabber:server:dialback' version='1.0' from='evil.example' to='home.example'>"
)

var tlsAttacks = []attack{
	{"bytes behind starttls are not read as if they were encrypted", func(t *testing.T, a *arena) {
		l, err := a.evil.Open("evil.example", home, fakepeer.Way{Plain: true})
		if err != nil {
			t.Fatal(err)
		}
		l.Send(startTLS + greeting + l.Request(fakepeer.Pair{From: "evil.example", To: home}) + shout("x@evil.example", den))
		el, err := l.Next()
		if err == nil && el.Name.Local == "proceed" {
			err = l.StartTLS(fakepeer.Way{})
			if err == nil {
				// It may have dropped them. Then the stream is a new one, which has proved nothing.
				if err = l.Greet(); err == nil {
					l.Send(shout("x@evil.example", den))
					ends(t, l, "not-authorized", "invalid-from")
				}
			}
		}
		l.Close()
	}},
	{"bytes behind proceed are not believed", func(t *testing.T, a *arena) {
		for _, injected := range []string{
			"<stream:features><dialback xmlns='urn:xmpp:features:dialback'/></stream:features>",
			"<db:result from='evil.example' to='home.example' type='valid'/>",
			shout("x@evil.example", den),
			greeting + shout("x@evil.example", den),
		} {
			done := make(chan error, 10)
			a.evil.Cut()
			a.evil.Play(fakepeer.Script{Element: func(l *fakepeer.Link, el fakepeer.Element) bool {
				if el.Name.Local != "starttls" {
					return false
				}
				l.Send(proceed + injected)
				done <- l.AcceptTLS("evil.example")
				l.Cut()
				return true
			}})
			a.alice.Send("<message type='chat' to='x@evil.example'><body>hello</body></message>")
			select {
			case <-done: // whether the handshake worked does not matter: nothing of it was taken for TLS
			case <-time.After(harness.Timeout):
				t.Fatal("the server does not ask for TLS")
			}
			a.evil.Play(fakepeer.Script{})
			a.unnoticed(t)
			a.reached(t, a.evil, "evil.example") // it comes again, properly
		}
	}},
	{"a peer that offers no TLS gets nothing", func(t *testing.T, a *arena) {
		for _, features := range []string{
			"<stream:features/>",
			"<stream:features><dialback xmlns='urn:xmpp:features:dialback'/></stream:features>",
			"<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>EXTERNAL</mechanism></mechanisms></stream:features>",
		} {
			a.evil.Cut()
			offered := make(chan struct{}, 10)
			a.evil.Play(fakepeer.Script{
				Features: func(*fakepeer.Link, string) string { offered <- struct{}{}; return features },
				Element: func(l *fakepeer.Link, el fakepeer.Element) bool {
					if !l.Secured() && (el.Name.Local == "result" || el.Name.Local == "auth" || el.IsStanza()) {
						t.Errorf("in clear: %s", el.Raw)
					}
					return false
				},
			})
			a.alice.Send("<message type='chat' to='x@evil.example'><body>hello</body></message>")
			<-offered
			a.unnoticed(t)
			a.evil.Play(fakepeer.Script{})
			a.reached(t, a.evil, "evil.example")
		}
	}},
	{"a peer that talks for ever before it offers anything is left", func(t *testing.T, a *arena) {
		for _, chatter := range []string{
			"<stream:features>" + strings.Repeat("<x xmlns='urn:example:x'>"+strings.Repeat("0", 1000)+"</x>", 1000) + "</stream:features>",
			strings.Repeat("<db:verify from='evil.example' to='home.example' id='1' type='invalid'/>", 20_000),
			"<stream:features>" + strings.Repeat("<x xmlns='urn:example:x'>", 100_000),
			"<!DOCTYPE x [<!ENTITY a '" + mark + "'>]><stream:features/>",
		} {
			a.evil.Cut()
			left := make(chan error, 10)
			a.evil.Play(fakepeer.Script{Features: func(l *fakepeer.Link, _ string) string {
				l.Send(chatter) // it may be cut short
				rest, err := l.Rest()
				if strings.Contains(rest, "starttls") {
					t.Errorf("the server goes on: %s", rest)
				}
				left <- err
				return ""
			}})
			a.alice.Send("<message type='chat' to='x@evil.example'><body>hello</body></message>")
			select {
			case err := <-left:
				if err != nil {
					t.Errorf("the server stays: %v", err)
				}
			case <-time.After(2 * harness.Timeout):
				t.Error("the server does not come, or does not go")
			}
			a.evil.Play(fakepeer.Script{})
			a.unnoticed(t)
			a.reached(t, a.evil, "evil.example")
		}
	}},
	{"half a stream ends in time", func(t *testing.T, a *arena) {
		var all sync.WaitGroup
		for what, run := range map[string]func() (net.Conn, error){
			"a connection and nothing else": func() (net.Conn, error) { return net.Dial("tcp", a.S2S) },
			"direct TLS without a hello":    func() (net.Conn, error) { return net.Dial("tcp", a.S2STLS) },
			"half a tag": func() (net.Conn, error) {
				c, err := net.Dial("tcp", a.S2S)
				if err == nil {
					_, err = io.WriteString(c, "<stream:stream xmlns='jabber:ser")
				}
				return c, err
			},
			"a header": func() (net.Conn, error) { return a.half(fakepeer.Way{Plain: true}, "") },
			"a header and starttls": func() (net.Conn, error) {
				return a.half(fakepeer.Way{Plain: true}, startTLS)
			},
			"TLS and a header": func() (net.Conn, error) { return a.half(fakepeer.Way{}, "") },
			"TLS and half a dialback request": func() (net.Conn, error) {
				return a.half(fakepeer.Way{}, "<db:result from='evil.example' to='home.example'>12")
			},
			"white space for ever": func() (net.Conn, error) {
				c, err := a.half(fakepeer.Way{}, "")
				if err != nil {
					return nil, err
				}
				go func() {
					for tick := time.NewTicker(100 * time.Millisecond); ; <-tick.C {
						if _, err := io.WriteString(c, " "); err != nil {
							return
						}
					}
				}()
				return c, nil
			},
		} {
			all.Go(func() {
				c, err := run()
				if err != nil {
					t.Errorf("%s: %v", what, err)
					return
				}
				defer c.Close()
				began := time.Now()
				c.SetReadDeadline(began.Add(patience + 15*time.Second))
				if _, err := io.Copy(io.Discard, c); err != nil && strings.Contains(err.Error(), "timeout") {
					t.Errorf("%s: the server still waits after %v", what, time.Since(began))
				}
			})
		}
		all.Wait()
	}},
}

// half opens a stream of evil.example up to a point, and says something more.
func (a *arena) half(w fakepeer.Way, more string) (net.Conn, error) {
	l, err := a.evil.Open("evil.example", home, w)
	if err != nil {
		return nil, err
	}
	return l.Conn, l.Send(more)
}

func attributes(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, " a%d='1'", i)
	}
	return b.String()
}

// early is what comes before anything is proved, in clear and then encrypted.
func early(name string, parts ...string) attack {
	return attack{name + " before authentication", func(t *testing.T, a *arena) {
		for _, w := range []fakepeer.Way{{Plain: true}, {}} {
			l, err := a.evil.Open("evil.example", home, w)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range parts {
				l.Send(p) // the server may stop reading before all is sent
			}
			ends(t, l, "policy-violation", "restricted-xml", "not-well-formed", "not-authorized", "reset", "broken pipe")
		}
	}}
}

// late is what comes when the domain has been proved.
func late(name, want string, parts ...string) attack {
	return attack{name, func(t *testing.T, a *arena) {
		l := a.member(t)
		for _, p := range parts {
			l.Send(p)
		}
		ends(t, l, want, "reset", "broken pipe")
	}}
}

const toBob = "<message from='x@evil.example' to='" + den + "'"

var sizeAttacks = []attack{
	early("a megabyte", "<db:result from='evil.example' to='home.example'>", strings.Repeat("0", 1<<20)),
	early("a megabyte of small things", strings.Repeat("<db:verify from='evil.example' to='home.example' id='1'>0</db:verify>", 1<<14)),
	early("ten thousand attributes", "<db:result"+attributes(10_000)+" from='evil.example' to='home.example'>0</db:result>"),
	early("a document type", "<!DOCTYPE x [<!ENTITY a '"+mark+"'>]>"),
	{"a megabyte of header", func(t *testing.T, a *arena) {
		c, err := net.Dial("tcp", a.S2S)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(harness.Timeout))
		io.WriteString(c, "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' to='home.example' x='"+strings.Repeat("0", 1<<20)+"'>")
		if text, err := io.ReadAll(c); err != nil && strings.Contains(err.Error(), "timeout") {
			t.Errorf("the server waits after %q", text)
		}
	}},
	late("a stanza of two megabytes", "policy-violation", toBob+"><body>"+mark, strings.Repeat("x", 2<<20), "</body></message>"),
	late("a stanza with ten thousand attributes", "policy-violation", toBob+attributes(10_000)+"><body>"+mark+"</body></message>"),
	late("a hundred thousand open tags", "policy-violation", toBob+">", strings.Repeat("<a>", 100_000)),
	late("a document type", "restricted-xml", "<!DOCTYPE x [<!ENTITY a '"+mark+"'><!ENTITY b '&a;&a;&a;&a;'>]>"+toBob+"><body>&b;</body></message>"),
	late("an entity that nobody has declared", "stream:error", toBob+"><body>&"+mark+";</body></message>"),
	late("a comment", "restricted-xml", "<!-- -->"+toBob+"><body>"+mark+"</body></message>"),
	late("a processing instruction", "restricted-xml", "<?php "+mark+"?>"+toBob+"><body>"+mark+"</body></message>"),
	late("a character that XML forbids", "not-well-formed", toBob+"><body>"+mark+"&#0;</body></message>"),
	late("bytes that are not UTF-8", "stream:error", toBob+"><body>"+mark+"\xc0\xbc</body></message>"),
	late("an element that ends another", "not-well-formed", toBob+"><body>"+mark+"</message></body>"),
	late("stanzas of clients", "stream:error", "<message xmlns='jabber:client' from='x@evil.example' to='"+den+"'><body>"+mark+"</body></message>"),
}

const manage = "xmlns='urn:xmpp:sm:3'"

var managementAttacks = []attack{
	{"more is acknowledged than was sent, by who called", func(t *testing.T, a *arena) {
		l := a.member(t)
		l.Send("<enable " + manage + " resume='true'/><a " + manage + " h='4000000000'/>" + shout("x@evil.example", den))
		ends(t, l, "handled-count-too-high")
	}},
	{"more is acknowledged than was sent, by who was called", func(t *testing.T, a *arena) {
		l := a.called(t, a.evil, "evil.example", nil)
		n := l.Number
		l.Send("<a " + manage + " h='4000000000'/>")
		// Nothing is taken for delivered that was not, and it comes on another stream.
		if l = a.reached(t, a.evil, "evil.example"); l.Number == n {
			l = a.reached(t, a.evil, "evil.example") // that one had been written already
		}
		if l.Number == n {
			t.Error("the stream goes on")
		}
	}},
	{"management is not for who has proved nothing", func(t *testing.T, a *arena) {
		l := a.impostor(t, "evil.example")
		l.Send("<enable " + manage + " resume='true'/>" + shout("x@evil.example", den))
		rest, err := l.Rest()
		if err != nil || strings.Contains(rest, "<enabled") {
			t.Errorf("%s (%v)", rest, err)
		}
	}},
	{"the stream of another domain is not resumed", func(t *testing.T, a *arena) {
		h, err := a.honest.Open("honest.example", home, fakepeer.Way{})
		if err == nil {
			err = h.External()
		}
		if err != nil {
			t.Fatal(err)
		}
		h.Send("<enable " + manage + " resume='true'/>")
		el, err := h.Next()
		if err != nil || el.Name.Local != "enabled" {
			t.Fatalf("%s (%v)", el.Raw, err)
		}
		h.Cut()
		for _, id := range []string{el.Attr("id"), "", "1"} {
			l := a.member(t)
			l.Send("<resume " + manage + " previd='" + id + "' h='0'/>")
			if el, err := l.Next(); err != nil || el.Name.Local != "failed" {
				t.Errorf("the answer is %s (%v)", el.Raw, err)
			}
			l.Send(shout("friend@honest.example", den))
			ends(t, l, "invalid-from")
			l = a.impostor(t, "honest.example")
			l.Send("<resume " + manage + " previd='" + id + "' h='0'/>" + shout("friend@honest.example", den))
			ends(t, l, "")
		}
	}},
}

var bidiAttacks = []attack{
	{"a stream of ours does not bring stanzas unless that was agreed", func(t *testing.T, a *arena) {
		l := a.called(t, a.evil, "evil.example", nil)
		n := l.Number
		l.Send(shout("x@evil.example", den))
		// What is on its way when the stream ends comes again, on the next one.
		for late := time.Now().Add(harness.Timeout); a.reached(t, a.evil, "evil.example").Number == n; {
			if time.Now().After(late) {
				t.Fatal("the stream goes on")
			}
		}
	}},
	{"a stream in both directions brings stanzas of what it has proved alone", func(t *testing.T, a *arena) {
		for _, from := range []string{"friend@honest.example", "alice@home.example", "x@second.evil.example"} {
			l, err := a.evil.Open("evil.example", home, fakepeer.Way{})
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(l.Features.Raw, "urn:xmpp:features:bidi") {
				t.Fatalf("no streams in both directions: %s", l.Features.Raw)
			}
			l.Send("<bidi xmlns='urn:xmpp:bidi'/>")
			if err := l.External(); err != nil {
				t.Fatal(err)
			}
			l.Send(shout(from, den))
			ends(t, l, "invalid-from")
		}
	}},
	{"a stream in both directions gets nothing for what it has not proved", func(t *testing.T, a *arena) {
		// honest.example is claimed, in both directions, and never proved; unnoticed sees where messages for it go.
		l := a.impostor(t, "honest.example")
		l.Send("<bidi xmlns='urn:xmpp:bidi'/>" + "<db:result from='home.example' to='honest.example' type='valid'/>")
		a.unnoticed(t)
		l.Send("<db:result from='honest.example' to='home.example'>made-up</db:result>")
		a.unnoticed(t)
		rest, err := l.Rest()
		if err != nil || strings.Contains(rest, "<message") {
			t.Errorf("%s (%v)", rest, err)
		}
	}},
}
