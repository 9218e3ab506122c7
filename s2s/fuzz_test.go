package s2s

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"jackdaw/config"
	"jackdaw/s2s/lookup"
	"jackdaw/s2s/outbox"
	"jackdaw/xmpp"
)

// A pipeline is a world with one peer, at the other end of a pipe.
type pipeline struct {
	*world
	out chan net.Conn // nil: nobody can be called
}

func (p *pipeline) Targets(_ context.Context, domain string) ([]lookup.Target, error) {
	if domain != capulet || p.out == nil {
		return nil, &lookup.Error{Reason: lookup.NameNotFound, Domain: domain}
	}
	return []lookup.Target{{Domain: domain, Host: "127.0.0.1", Port: 1}}, nil
}

func (p *pipeline) DialTarget(context.Context, lookup.Target) (*lookup.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.out <- theirs:
	default:
		_ = theirs.Close() // one is enough
	}
	return &lookup.Conn{Conn: ours}, nil
}

// FuzzStream lets a peer say anything: as one that calls, before or after it has proved who it is, or as one that is
// called. Whatever it is, the server goes on: no panic, and no stanza but of the domain that was proved to the one that
// it was proved to.
func FuzzStream(f *testing.F) {
	const header = "<stream:stream xmlns='jabber:server' xmlns:db='jabber:server:dialback' xmlns:stream='" + xmpp.NSStream +
		"' from='" + capulet + "' to='" + montague + "' id='1' version='1.0'>"
	features := "<stream:features>" + externalFeature + dialbackFeature + bidiFeature + smFeature + "</stream:features>"
	result := "<db:result from='" + capulet + "' to='" + montague + "' type='valid'/>"
	for _, s := range []string{
		"", "<", header, header + "<starttls xmlns='" + xmpp.NSTLS + "'/>",
		header + "<db:result from='" + capulet + "' to='" + montague + "'>key</db:result>",
		header + "<db:verify from='" + capulet + "' to='" + montague + "' id='1'>key</db:verify>" + result,
		header + "<db:verify from='" + capulet + "' to='" + montague + "' id='1' type='valid'/>",
		header + "<auth xmlns='" + xmpp.NSSASL + "' mechanism='EXTERNAL'>=</auth><response xmlns='" + xmpp.NSSASL + "'/>",
		header + "<bidi xmlns='" + xmpp.NSBidi + "'/>" + spoken("juliet@"+capulet, romeo, "1"),
		header + features + result + "<enabled xmlns='" + xmpp.NSSM + "' resume='true' id='1'/><a xmlns='" + xmpp.NSSM + "' h='1'/>",
		header + features + "<db:result from='" + capulet + "' to='" + montague + "' type='error'><error type='cancel'><item-not-found xmlns='" +
			xmpp.NSStanzaErrors + "'/></error></db:result>",
		header + "<stream:error><host-unknown xmlns='" + xmpp.NSStreamErrors + "'/></stream:error></stream:stream>",
		"<enable xmlns='" + xmpp.NSSM + "' resume='true'/><r xmlns='" + xmpp.NSSM + "'/><a xmlns='" + xmpp.NSSM + "' h='0'/>",
		"<resume xmlns='" + xmpp.NSSM + "' previd='1' h='1'/>" + spoken("juliet@"+capulet, romeo, "1"),
		spoken("escalus@"+verona, romeo, "1"), spoken("juliet@"+capulet, "escalus@"+verona, "1"),
		"<iq type='result' id='s2s-1' from='" + capulet + "' to='" + montague + "'/></stream:stream>",
		"<iq type='get' id='1' from='" + capulet + "' to='" + montague + "'><ping xmlns='" + xmpp.NSPing + "'/></iq>",
	} {
		for part := range uint8(3) {
			f.Add(part, []byte(s))
		}
	}
	f.Fuzz(func(t *testing.T, part uint8, said []byte) {
		p := &pipeline{world: newWorld(t)}
		if part%3 == 2 {
			p.out = make(chan net.Conn, 1)
		}
		n := p.node(setup{domains: []string{montague}, withoutTLS: true, change: func(c *config.Config) {
			c.S2S.RequireTLS = false
			c.Limits.AuthTime = time.Second
		}, options: func(o *Options) { o.Finder, o.Log = p, nil }})
		var c net.Conn
		opened := make(chan struct{})
		proved := part%3 == 1
		switch part % 3 {
		case 0, 1:
			ours, theirs := net.Pipe()
			c = theirs
			n.accept(ours, STARTTLS)
			if proved {
				s := newStranger(t, c)
				s.introduce(capulet, montague)
				n.streams.All()[0].prove(outbox.Pair{Local: montague, Remote: capulet}, byDialback, s.id)
			}
			close(opened)
		case 2:
			go func() {
				defer close(opened)
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				defer cancel()
				if s, err := n.Open(ctx, outbox.Pair{Local: montague, Remote: capulet}, func(int) {}); err == nil {
					s.Close()
				}
			}()
			c = <-p.out
		}
		read := make(chan struct{})
		go func() {
			defer close(read)
			b := make([]byte, 4096)
			for {
				if _, err := c.Read(b); err != nil {
					return
				}
			}
		}()
		if err := c.SetWriteDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		_, err := c.Write(said)
		if e, ok := err.(net.Error); ok && e.Timeout() {
			t.Error("the server does not read on")
		}
		_ = c.Close() // it may be closed already
		<-read
		<-opened
		until(t, "all is over", func() bool { return len(n.Links()) == 0 })
		for len(n.got) > 0 {
			if got := <-n.got; !proved || !strings.HasPrefix(got, capulet+": ") || !strings.Contains(got, capulet) {
				t.Errorf("a message came: %s", got)
			}
		}
		if n.Stats.Panics.Load() > 0 {
			t.Error("the server panicked")
		}
	})
}
