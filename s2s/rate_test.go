package s2s

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"jackdaw/config"
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
	b := w.node(setup{domains: []string{montague}, change: func(c *config.Config) {
		c.Limits.PeerRate, c.Limits.PeerBurst = 100_000, 1000
	}})
	b.distant()
	first, second, other := b.call(), b.call(), b.call()
	first.prove(capulet, montague, w.certificate(capulet))
	second.prove(capulet, montague, w.certificate(capulet))
	other.prove(verona, montague, w.certificate(verona))
	began := time.Now()
	const n = 50
	for i := range n {
		for _, s := range []*stranger{first, second} {
			s.say(strings.Replace(spoken("juliet@"+capulet, romeo, fmt.Sprint(i)), "Wherefore?", strings.Repeat("x", 1000), 1))
		}
	}
	other.say(spoken("escalus@"+verona, romeo, "1"))
	came, others := 0, time.Duration(0)
	for came < 2*n || others == 0 {
		select {
		case got := <-b.got:
			if strings.HasPrefix(got, verona) {
				others = time.Since(began)
				continue
			}
			came++
		case <-time.After(20 * time.Second):
			t.Fatalf("%d came, the other's after %v", came, others)
		}
	}
	// A stream brings what one read takes before it is held back.
	if took := time.Since(began); took < 600*time.Millisecond || others >= took {
		t.Errorf("110 KB took %v, the other's message %v", took, others)
	}
}
