package attacks

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"jackdaw/testsuite/fakepeer"
	"jackdaw/testsuite/harness"
	"jackdaw/testsuite/peers"
)

// Addresses of the test's machine; none is loopback.
const (
	attackerIP   = "198.51.100.7"
	strangerIP   = "198.51.100.8" // of a peer
	accompliceIP = "198.51.100.9" // of the attacker
	innocentIP   = "203.0.113.9"
)

const (
	far    = "far.example"   // the domain of a peer that nobody here knows
	bot    = "bot.localhost" // of a component
	secret = "s3cret"        // of bot
)

// An ordeal is an attack on the resources that all share. It runs on a server of its own, whose process has no more
// than hardLimit and does not know: GOMEMLIMIT would have the collector hide what the attack takes.
type ordeal struct {
	name string
	// options of the server; Users come on top of innocent, mallory, victim and friend.
	options harness.Options
	peer    bool // there is a peer for far
	program bool // the component of bot may connect
	claims  int  // this many domains, d0.example and so on, are where nobody answers
	run     func(t *testing.T, b *battle)
	memory  int           // MiB that the attack may cost at most, beyond what the server had
	wait    time.Duration // that an innocent client may wait for an answer meanwhile; 0: patience
	cpu     time.Duration // that the attack may cost the server; 0: no bound
}

const (
	hardLimit = 512 // MiB
	// patience is for slow and busy machines; what an attack could do was to make others wait for ever.
	patience = 5 * time.Second
)

// A battle is a server under attack.
type battle struct {
	*harness.Server
	t    *testing.T
	peer *fakepeer.Peer
	// components is the address for them.
	components string
	// claimed counts the connections to where the domains of claims are.
	claimed *atomic.Int64
}

// ordeals are all of them.
var ordeals = slices.Concat(amplified, brought, shared, pages, bodies)

func TestNobodyTakesWhatAllShare(t *testing.T) {
	for _, o := range ordeals {
		t.Run(o.name, o.fight)
	}
}

func (o ordeal) fight(t *testing.T) {
	t.Parallel()
	b := &battle{t: t, claimed: new(atomic.Int64)}
	h := o.options
	h.Fast = true // the race detector's memory is not the server's
	h.Users = append([]string{"innocent", "mallory", "victim", "friend"}, h.Users...)
	h.Ulimit = append(slices.Clone(h.Ulimit), fmt.Sprintf("-d %d", hardLimit<<10)) // of writable memory, in KiB
	if o.peer {
		authority := peers.NewAuthority(t)
		b.peer = fakepeer.Start(t, fakepeer.Options{Domains: []string{far}}.Certified(t, authority, peers.None))
		cert := authority.Issue(harness.Domain, peers.None)
		h.Federate, h.Cert, h.Key = true, cert.Cert, cert.Key
		h.Env = append(h.Env, authority.Env()...)
		h.S2S = fmt.Sprintf("resolve: {%q: %q}\n%s", far, b.peer.Addr, h.S2S)
	}
	if o.program {
		b.components = harness.FreeAddr()
		h.Listen = fmt.Sprintf("component: [%q]", b.components)
		h.Config += fmt.Sprintf("\ncomponent: {allow_plaintext: true, secrets: {%s: %s}}", bot, secret)
	}
	if o.claims > 0 {
		b.claim(&h, o.claims)
	}
	b.Server = harness.Start(t, h)
	if o.peer {
		b.peer.Locate(harness.Domain, b.S2S)
	}
	innocent := b.enter(innocentIP, "innocent", "desk")
	defer innocent.Close()
	// The peak begins anew.
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", b.PID()), []byte("5"), 0); err != nil {
		t.Fatal(err)
	}
	before, spent := b.Memory("VmRSS"), b.CPU()
	w := harness.Watch(innocent)
	o.run(t, b)
	longest, err := w.End()
	if !b.Alive() {
		t.Fatalf("the process has ended:\n%s", b.Log())
	}
	if err != nil {
		t.Errorf("the innocent client: %v", err)
	}
	if o.wait == 0 {
		o.wait = patience
	}
	if longest > o.wait {
		t.Errorf("the innocent client has waited for %v, at most %v is right", longest, o.wait)
	}
	peak := b.Memory("VmHWM") - before
	if peak > o.memory {
		t.Errorf("%d MiB of memory beyond %d, at most %d is right", peak, before, o.memory)
	}
	used := b.CPU() - spent
	if o.cpu > 0 && used > o.cpu {
		t.Errorf("%v of CPU, at most %v is right", used, o.cpu)
	}
	t.Logf("peak +%d MiB on %d, longest wait %v, CPU %v", peak, before, longest.Round(time.Millisecond), used)
	fresh := b.enter(innocentIP, "innocent", "phone") // and others still get in
	fresh.Close()
}

// claim lets the server look for domains where somebody accepts connections and says nothing.
func (b *battle) claim(h *harness.Options, domains int) {
	b.t.Helper()
	l, err := net.Listen("tcp", harness.FreeAddr())
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b.claimed.Add(1)
			b.t.Cleanup(func() { c.Close() }) // which also keeps it from being collected
		}
	}()
	var where strings.Builder
	for i := range domains {
		fmt.Fprintf(&where, "d%d.example: %q, ", i, l.Addr())
	}
	h.Federate, h.S2S = true, "require_tls: false\nresolve: {"+strings.TrimSuffix(where.String(), ", ")+"}\n"+h.S2S
}

// enter logs in and is available.
func (b *battle) enter(ip, user, resource string) *harness.Client {
	b.t.Helper()
	c, err := harness.ConnectFrom(ip, b.C2STLS, user, resource)
	if err != nil {
		b.t.Fatalf("%s logs in: %v", user, err)
	}
	if err := c.Send("<presence/>"); err != nil {
		b.t.Fatal(err)
	}
	return c
}

// flood sends all and reads what comes until the stream ends, or until the answer to a ping behind it has come. It says
// what ended the stream, if anything did.
func flood(c *harness.Client, all ...string) (ended string) {
	var sending sync.WaitGroup
	sending.Go(func() {
		for _, one := range all {
			if c.Send(one) != nil {
				return
			}
		}
		c.Send("<iq type='get' id='flood-over' from='" + c.JID + "' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>")
	})
	defer sending.Wait()
	for {
		el, err := c.Next()
		switch {
		case err != nil:
			c.Conn.Close() // so that the sender stops
			return err.Error()
		case strings.HasPrefix(el, "<stream:error"):
			c.Conn.Close()
			return el
		case strings.HasPrefix(el, "<iq") && harness.Attr(el, "id") == "flood-over":
			return ""
		}
	}
}
