package s2s

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"jackdaw/config"
	"jackdaw/wire"
)

// distant lets a node be called as from another machine.
func (n *node) distant() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		n.t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- n.Serve(far{l}, STARTTLS) }()
	n.addr = l.Addr().String()
	n.t.Cleanup(func() {
		_ = l.Close() // ends Serve
		<-served
	})
}

func TestAllStreamsOfAPeerShareItsRate(t *testing.T) {
	w := newWorld(t)
	const rate, burst, n, size = 40_000, 1000, 200, 1000
	b := w.node(setup{domains: []string{montague}, change: func(c *config.Config) {
		c.Limits.PeerRate, c.Limits.PeerBurst = rate, burst
	}})
	b.distant()
	first, second, other := b.call(), b.call(), b.call()
	first.prove(capulet, montague, w.certificate(capulet))
	second.prove(capulet, montague, w.certificate(capulet))
	other.prove(verona, montague, w.certificate(verona))
	began := time.Now()
	for i := range n / 2 {
		for _, s := range []*stranger{first, second} {
			s.say(strings.Replace(spoken("juliet@"+capulet, romeo, fmt.Sprint(i)), "Wherefore?", strings.Repeat("x", size), 1))
		}
	}
	other.say(spoken("escalus@"+verona, romeo, "1"))
	came, heard := 0, false
	for came < 80 || !heard {
		select {
		case got := <-b.got:
			if strings.HasPrefix(got, verona) {
				heard = true
				continue
			}
			if came++; came == n {
				t.Fatal("the other's message waits for all of theirs")
			}
		case <-time.After(within):
			t.Fatalf("%d came, and the other's message: %t", came, heard)
		}
	}
	// Each of the two streams brings what one read took from its connection before it is held back.
	paid := time.Duration(came*size - burst - 2*wire.BufSize)
	if took, least := time.Since(began), paid*time.Second/rate; took < least {
		t.Errorf("%d messages took %v, less than %v", came, took, least)
	}
}
