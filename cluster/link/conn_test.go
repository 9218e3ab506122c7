package link

import (
	"crypto/tls"
	"io"
	"net"
	"testing"
	"time"
)

// writes counts what reaches the connection below TLS.
type writes struct {
	net.Conn
	n *int
}

func (w writes) Write(p []byte) (int, error) {
	*w.n++
	return w.Conn.Write(p)
}

func TestFrameLeavesInOneWrite(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	config, err := NewKey().tlsConfig("a")
	if err != nil {
		t.Fatal(err)
	}
	server := tls.Server(far, config)
	go func() { _, _ = io.Copy(io.Discard, server) }()
	n := 0
	client := config.Clone()
	client.ServerName = nameOf("a")
	c := &conn{Conn: tls.Client(writes{near, &n}, client), below: near, stats: new(Stats)}
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	write := func(p ...byte) {
		if _, err := c.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	data := []byte{0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 12}
	for _, row := range []struct {
		what string
		want int
		do   func()
	}{
		{"a head and its body, which looks like a head", 1, func() { write(data...); write(data...) }},
		{"a ping", 1, func() { write(0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9) }},
		{"data of no length", 1, func() { write(0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0) }},
		{"two frames", 2, func() { write(data...); write(1, 2); write(data...); write(3) }},
	} {
		n = 0
		if row.do(); n != row.want {
			t.Errorf("%s: %d writes, want %d", row.what, n, row.want)
		}
	}
	if out := c.out.Load(); out != 24+12+12+14+13 {
		t.Errorf("%d bytes counted", out)
	}
}
