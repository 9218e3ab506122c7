package httpmessage

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"jackdaw/config"
	"jackdaw/modules/internal/moduletest"
	"jackdaw/router/gate"
	"jackdaw/web"
)

// far is a listener whose connections seem to come from another machine.
type far struct{ net.Listener }

type farConn struct{ net.Conn }

func (l far) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return farConn{c}, nil
}

func (farConn) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 4000} }

// crowded serves a house behind a gate.
func (h *house) crowded(g *gate.Keeper, limits config.Limits) string {
	s := web.NewServer(h.Handler(), web.DefaultLimits, moduletest.Discard())
	return h.serving(s, func(n net.Listener) error {
		return s.Serve(&gate.Listener{Listener: far{n}, Who: "http", Keeper: g, Limits: func() *config.Limits { return &limits },
			Trusted: func(netip.Addr) bool { return false }, Refuse: web.TurnAway, Log: moduletest.Discard()})
	}, "tcp", "127.0.0.1:0")
}

// hold opens a connection that says this and then nothing.
func hold(t *testing.T, address, first string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	must(t, err)
	t.Cleanup(func() { c.Close() })
	must(t, c.SetDeadline(time.Now().Add(time.Minute)))
	_, err = io.WriteString(c, first)
	must(t, err)
	return c
}

// answered reads one answer and leaves the connection open.
func answered(t *testing.T, c net.Conn) int {
	t.Helper()
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	must(t, err)
	_, err = io.Copy(io.Discard, r.Body)
	must(t, err)
	return r.StatusCode
}

func TestConnectionsOfAnAddressAreBoundedOverHTTPToo(t *testing.T) {
	h := newHouse(t)
	limits := config.Default().Limits
	limits.UnauthenticatedPerAddress, limits.ConnectionsPerAddress = 3, 5
	address := h.crowded(new(gate.Keeper), limits)
	post := strings.Replace(curl("", `<message to="bob@im.example.org"><body>yo</body></message>`), "Connection: close\r\n", "", 1)
	for range 2 {
		if code := answered(t, hold(t, address, post)); code != 200 {
			t.Fatalf("a post was answered with %d", code)
		}
	}
	for range 3 {
		hold(t, address, "")
	}
	got := raw(t, address, "")
	if !strings.HasPrefix(got, "HTTP/1.1 429 ") || !strings.Contains(got, "Retry-After: 1\r\n") || !strings.Contains(got, "too many connections") {
		t.Errorf("one more was answered %q", got)
	}
}

func TestIdleConnectionsMakeRoomForWhoPosts(t *testing.T) {
	h := newHouse(t)
	limits := config.Default().Limits
	limits.ConnectBurst = 1000
	g := new(gate.Keeper)
	g.Bound(10, nil)
	address := h.crowded(g, limits)
	post := strings.Replace(curl("", `<message to="bob@im.example.org"><body>yo</body></message>`), "Connection: close\r\n", "", 1)
	for range 5 {
		answered(t, hold(t, address, post))
	}
	for range 40 {
		hold(t, address, "")
	}
	for range 20 {
		if code := answered(t, hold(t, address, post)); code != 200 {
			t.Fatalf("a post was answered with %d", code)
		}
	}
}
