package server

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// RFC 9112 §6.1: what comes behind a request with two lengths is nobody's.
func TestTheMetricsListenerClosesAfterARequestWithTwoLengths(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		newMetrics().serve(l, &ailing{}, func() bool { return true })
	}()
	defer func() {
		l.Close()
		<-done
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const second = "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"
	if _, err := io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"+second+second); err != nil {
		t.Fatal(err)
	}
	if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(c)
	if err != nil || strings.Count(string(all), "HTTP/1.1 ") != 1 {
		t.Errorf("answers: %q, %v", all, err)
	}
}
