package s2s

import (
	"crypto/tls"
	"crypto/x509"
	"strings"
	"sync"
	"testing"
	"time"

	"jackdaw/config"
	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// refusals are the errors that senders of a node learn of.
type refusals struct {
	mu  sync.Mutex // guards all
	all []string
}

func (r *refusals) get() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.all...)
}

// sender is a node with the queues of servers, and what comes back to juliet there.
func sender(t *testing.T, w *world, cert *tls.Certificate) (*node, *refusals) {
	a := withOutbox(t, w, setup{domains: []string{capulet}, certificate: cert,
		change: func(c *config.Config) { c.Limits.PeerBackoffMin = 10 * time.Millisecond }})
	r := &refusals{}
	a.router.Use(router.Module{Name: "witness", Arriving: router.Stage{Message: func(e *router.Envelope) {
		if err := e.Stanza.Err(); err != nil {
			r.mu.Lock()
			r.all = append(r.all, e.Stanza.ID+": "+string(err.Condition)+": "+err.Text)
			r.mu.Unlock()
		}
		e.Settle(router.Delivered)
	}}})
	return a, r
}

func (n *node) route(id, body string) *router.Envelope {
	n.t.Helper()
	e := &router.Envelope{Stanza: &xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeChat, ID: id,
		From: jid.MustParse("juliet@" + n.domain),
		To:   jid.MustParse(romeo), Payload: []byte("<body>" + body + "</body>")}, Durable: true}
	n.router.Route(e)
	return e
}

func TestMessageThatEndsEveryStreamBouncesAndTheOthersArrive(t *testing.T) {
	for name, size := range map[string]int{"a little too large": 12_000, "larger than all buffers": 3_000_000} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			// By dialback: the features come before authentication then, and say nothing of the limit after it.
			a, back := sender(t, w, w.certificateOf(&x509.Certificate{DNSNames: []string{capulet}}, true))
			b := w.node(setup{domains: []string{montague},
				change: func(c *config.Config) { c.Limits.ServerStanzaBytes = 10_000 }})
			a.route("1", "Romeo")
			b.expect("juliet@"+capulet, romeo, "1")
			a.route("2", strings.Repeat("x", size))
			a.route("3", "Wherefore art thou Romeo?")
			b.expect("juliet@"+capulet, romeo, "3")
			until(t, "the message bounces", func() bool { return len(back.get()) > 0 })
			if got := back.get(); len(got) != 1 || got[0] != "2: policy-violation: montague.example does not take this: the server closed the stream: policy-violation" {
				t.Errorf("bounced is %q", got)
			}
			if n := w.dialed(montague); n > 6 {
				t.Errorf("%d streams were opened", n)
			}
		})
	}
}

func TestMessageThatIsTooLargeForAnAnnouncedLimitIsNotSent(t *testing.T) {
	w := newWorld(t)
	a, back := sender(t, w, nil)
	b := w.node(setup{domains: []string{montague}, change: func(c *config.Config) { c.Limits.ServerStanzaBytes = 10_000 }})
	a.route("1", strings.Repeat("x", 12_000))
	a.route("2", "Romeo")
	b.expect("juliet@"+capulet, romeo, "2")
	const want = "1: policy-violation: montague.example takes nothing of more than 10000 bytes"
	until(t, "the message bounces", func() bool { return len(back.get()) > 0 })
	if got := back.get(); len(got) != 1 || got[0] != want {
		t.Errorf("bounced is %q", got)
	}
	if e := a.route("3", strings.Repeat("x", 12_000)); e.Outcome != router.Refused ||
		e.Err.Condition != xmpp.CondPolicyViolation {
		t.Errorf("with the limit known, the message is %v: %v", e.Outcome, e.Err)
	}
	if w.dialed(montague) != 1 || b.Stats.StanzasIn.Load() != 1 {
		t.Errorf("%d streams were opened, %d stanzas came", w.dialed(montague), b.Stats.StanzasIn.Load())
	}
}

func TestPeerIsToldApartFromWhatItWasSent(t *testing.T) {
	w := newWorld(t)
	a, g := plain(w, capulet), w.stage(montague)
	for _, c := range []struct {
		condition     string
		also          bool // the stream carries another pair's message
		blames, alone bool
	}{
		{"policy-violation", false, true, true}, {"policy-violation", true, true, false}, {"not-well-formed", false, true, true},
		{"system-shutdown", false, false, true}, {"internal-server-error", false, false, true}, {"", false, false, true},
	} {
		o := a.opening(montague)
		s := g.accept(montague, capulet, dialbackFeature)
		stream := o.open(t)
		if f := stream.Cause(); f != nil {
			t.Errorf("there is a cause before the end: %v", f)
		}
		a.send(stream, romeo, "1")
		s.expect("id='1'")
		if c.also {
			l := stream.(*carrier).l
			l.mu.Lock()
			l.out.flight = append(l.out.flight, flying{&carrier{l: l}, 1})
			l.out.written++
			l.mu.Unlock()
		}
		if c.condition != "" {
			s.say("<stream:error><" + c.condition + " xmlns='" + xmpp.NSStreamErrors + "'/><text xmlns='" + xmpp.NSStreamErrors + "'>too big</text></stream:error>")
		}
		s.say("</stream:stream>")
		<-stream.Over()
		f := stream.Cause()
		if f == nil || f.Blames != c.blames || f.Alone != c.alone {
			t.Errorf("after %q: %+v", c.condition, f)
		}
		want := "the server closed the stream"
		if c.condition != "" {
			want += ": " + c.condition + ": too big"
		}
		if f.Error() != want {
			t.Errorf("after %q: %q", c.condition, f.Error())
		}
	}
}
