package link

import (
	"io"
	"net"
	"testing"
)

// BenchmarkRoundTrip is a small piece that goes to the other node and comes back.
func BenchmarkRoundTrip(b *testing.B) {
	w, k := newWorld(), NewKey()
	usualTimes := func(l *Links) { l.times = usual }
	near := w.node(b, "a", k, usualTimes)
	far := w.node(b, "b", k, usualTimes)
	far.handlers[Clients] = func(_ string, c net.Conn) {
		_, _ = io.Copy(c, c)
		_ = c.Close()
	}
	c := near.open(b, "b", Clients)
	piece := make([]byte, 200)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Write(piece); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(c, piece); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOneWay is many small pieces that go to the other node, one after the other.
func BenchmarkOneWay(b *testing.B) {
	w, k := newWorld(), NewKey()
	usualTimes := func(l *Links) { l.times = usual }
	near := w.node(b, "a", k, usualTimes)
	far := w.node(b, "b", k, usualTimes)
	far.handlers[Clients] = func(_ string, c net.Conn) {
		_, _ = io.Copy(io.Discard, c)
		_ = c.Close()
	}
	c := near.open(b, "b", Clients)
	piece := make([]byte, 200)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Write(piece); err != nil {
			b.Fatal(err)
		}
	}
}
