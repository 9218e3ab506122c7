package wire

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"

	"jackdaw/router/gate"
)

// A phone that is asked every 15 s whether it is there, as net would, does not last the day. A connection that came in
// for HTTP has another around it.
func TestEachStreamKeepsItsConnectionAliveInTheSameWay(t *testing.T) {
	for name, wrap := range map[string]func(net.Conn) net.Conn{
		"own":     func(c net.Conn) net.Conn { return c },
		"counted": func(c net.Conn) net.Conn { return &gate.Conn{Conn: c} },
	} {
		s, o, _ := pair(t)
		near := NewTransport(wrap(s.Transport.conn))
		new(Stream).Begin(Entry{Transport: near, Framing: Bytes{}}, o)
		idle := 0
		if err := near.raw.Control(func(fd uintptr) {
			idle, _ = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_KEEPIDLE) // else it is 0
		}); err != nil || idle != 60 {
			t.Errorf("%s: after %d s, %v", name, idle, err)
		}
	}
}
