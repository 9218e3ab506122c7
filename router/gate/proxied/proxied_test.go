package proxied

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"jackdaw/config"
	"jackdaw/router/gate"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// said is a log to read from.
type said struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// proxyAt is the address that is trusted.
var proxyAt = netip.MustParseAddr("127.0.0.2")

// listen returns a listener that trusts proxyAt, and what it logs.
func listen(t *testing.T, wait time.Duration, most int, g *gate.Keeper) (*Listener, *said) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	log := &said{}
	l := within(ln, Options{Who: "c2s", Trusted: func(a netip.Addr) bool { return a == proxyAt }, Gate: g,
		Limits: func() *config.Limits { return &config.Default().Limits }, Log: slog.New(slog.NewTextHandler(log, nil))},
		wait, most)
	t.Cleanup(func() { _ = l.Close() }) // it may be closed already
	return l, log
}

// dial connects from an address and says something.
func dial(t *testing.T, l net.Listener, from, say string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // it may be closed already
	if _, err := io.WriteString(c, say); err != nil {
		t.Fatal(err)
	}
	return c
}

func accept(t *testing.T, l net.Listener) net.Conn {
	t.Helper()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // it may be closed already
	return c
}

// closed wants the other side to close without a word.
func closed(t *testing.T, c net.Conn) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	var b [1]byte
	if n, err := c.Read(b[:]); n > 0 || errors.Is(err, net.ErrClosed) || err == nil {
		t.Fatalf("%d bytes came, %v", n, err)
	} else if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		t.Fatal("the connection was not closed")
	}
}

func TestAConnectionIsItsClients(t *testing.T) {
	l, log := listen(t, time.Minute, 10, new(gate.Keeper))
	const hello = "<stream:stream>"
	for _, row := range []struct{ dial, say, from, to string }{
		{"127.0.0.2", "PROXY TCP4 192.0.2.7 198.51.100.1 56164 5222\r\n", "192.0.2.7:56164", "198.51.100.1:5222"},
		{"127.0.0.2", block(0x21, 0x21, six), "[2001:db8::7]:56164", "[2001:db8::1]:5222"},
		{"127.0.0.2", block(0x20, 0), "127.0.0.2", l.Addr().String()},
		{"127.0.0.2", "PROXY UNKNOWN\r\n", "127.0.0.2", l.Addr().String()},
		{"127.0.0.3", "", "127.0.0.3", l.Addr().String()},
	} {
		dial(t, l, row.dial, row.say+hello)
		c := accept(t, l)
		if got := c.RemoteAddr().String(); got != row.from && !strings.HasPrefix(got, row.from+":") {
			t.Errorf("%q: from %s, want %s", row.say, got, row.from)
		}
		if got := c.LocalAddr().String(); got != row.to {
			t.Errorf("%q: to %s, want %s", row.say, got, row.to)
		}
		// What follows is where wire.Transport reads it: with the kernel, and there is no deadline.
		raw, err := c.(syscall.Conn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		var b [100]byte
		n := 0
		if err := raw.Read(func(fd uintptr) bool {
			n, err = syscall.Read(int(fd), b[:])
			return err != syscall.EAGAIN
		}); err != nil || string(b[:max(n, 0)]) != hello {
			t.Errorf("%q: read %q by the descriptor, %v", row.say, b[:max(n, 0)], err)
		}
	}
	if log.String() != "" {
		t.Errorf("logged: %s", log)
	}
}

func TestAHeaderOfAStrangerIsNotRead(t *testing.T) {
	l, _ := listen(t, time.Minute, 10, new(gate.Keeper))
	const header = "PROXY TCP4 192.0.2.7 198.51.100.1 56164 5222\r\n"
	dial(t, l, "127.0.0.1", header)
	c := accept(t, l)
	b := make([]byte, len(header))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != header {
		t.Errorf("read %q, %v", b, err)
	}
	if got := gate.RemoteIP(c); got != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("it comes from %s", got)
	}
}

func TestNobodyWaitsForAHeaderOfAnother(t *testing.T) {
	l, _ := listen(t, time.Minute, 10, new(gate.Keeper))
	slow := dial(t, l, "127.0.0.2", "PROXY TCP4 192.0.2")
	dial(t, l, "127.0.0.2", "PROXY TCP4 192.0.2.8 198.51.100.1 1 2\r\n")
	if got := accept(t, l).RemoteAddr().String(); got != "192.0.2.8:1" {
		t.Errorf("the second comes from %s", got)
	}
	if _, err := io.WriteString(slow, ".7 198.51.100.1 1 2\r\n"); err != nil {
		t.Fatal(err)
	}
	if got := accept(t, l).RemoteAddr().String(); got != "192.0.2.7:1" {
		t.Errorf("the first comes from %s", got)
	}
}

func TestWhatIsWrongIsClosedAndSaidOnce(t *testing.T) {
	for what, row := range map[string]struct{ say, want string }{
		"silence":   {"", `error="no PROXY header came in time" held_back=0 do="have the proxy send it`},
		"half":      {"PROXY TCP4", `error="no PROXY header came in time" held_back=0 do="have the proxy send it`},
		"no header": {"\x16\x03\x01", `error="no PROXY header" held_back=0 do="have the proxy send it`},
		"nonsense":  {"PROXY TCP5 what\r\n", `the line of the PROXY header is malformed" held_back=0 do="this is what`},
	} {
		l, log := listen(t, 30*time.Millisecond, 10, new(gate.Keeper))
		closed(t, dial(t, l, "127.0.0.2", row.say))
		closed(t, dial(t, l, "127.0.0.2", row.say))
		dial(t, l, "127.0.0.2", "").Close() // a health check
		_ = l.Close()
		if s := log.String(); strings.Count(s, "\n") != 1 || !strings.Contains(s, row.want) || !strings.Contains(s, "proxy=127.0.0.2:") {
			t.Errorf("%s: logged %s", what, s)
		}
	}
}

func TestConnectionsWithoutAHeaderAreBoundedAndCounted(t *testing.T) {
	g := new(gate.Keeper)
	l, _ := listen(t, time.Minute, 2, g)
	const header = "PROXY TCP4 192.0.2.7 198.51.100.1 1 2\r\n"
	first := dial(t, l, "127.0.0.2", "")
	second := dial(t, l, "127.0.0.2", "")
	third := dial(t, l, "127.0.0.2", "")
	closed(t, first)
	// The descriptors of both are counted: with room for two, one of those who say nothing goes for another.
	g.Bound(2, nil)
	dial(t, l, "127.0.0.2", header)
	closed(t, second)
	c := accept(t, l)
	if _, err := io.WriteString(third, header); err != nil {
		t.Fatal(err)
	}
	if got := c.RemoteAddr().String(); got != "192.0.2.7:1" {
		t.Errorf("from %s", got)
	}
	accept(t, l)
	// Those that were accepted are not counted here any more, but for their clients.
	for range 2 {
		if !g.Reserve() {
			t.Error("there is no room left")
		}
	}
}

func TestCloseEndsThoseThatWait(t *testing.T) {
	l, log := listen(t, time.Minute, 10, new(gate.Keeper))
	silent := dial(t, l, "127.0.0.2", "")
	dial(t, l, "127.0.0.3", "")
	accept(t, l) // so the silent one has come before
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	closed(t, silent)
	if c, err := l.Accept(); c != nil || !errors.Is(err, net.ErrClosed) {
		t.Errorf("accepted %v, %v", c, err)
	}
	if log.String() != "" {
		t.Errorf("logged: %s", log)
	}
}

// The limits of an address are those of the client's.
func TestTheGateCountsTheClient(t *testing.T) {
	limits := config.Default().Limits
	limits.ConnectionsPerAddress = 1
	g := new(gate.Keeper)
	in, _ := listen(t, time.Minute, 10, g)
	refused := make(chan string, 1)
	l := &gate.Listener{Listener: in, Who: "c2s", Keeper: g, Limits: func() *config.Limits { return &limits },
		Refuse: func(c net.Conn, _ string) { refused <- c.RemoteAddr().String() }, Log: slog.New(slog.DiscardHandler)}
	dial(t, in, "127.0.0.2", "PROXY TCP4 192.0.2.7 198.51.100.1 1 2\r\n")
	accept(t, l)
	again := dial(t, in, "127.0.0.2", "PROXY TCP4 192.0.2.7 198.51.100.1 3 2\r\n")
	got := make(chan net.Conn)
	go func() {
		c, err := l.Accept()
		if err != nil {
			t.Error(err)
		}
		got <- c
	}()
	if from := <-refused; from != "192.0.2.7:3" {
		t.Errorf("%s was refused", from)
	}
	closed(t, again)
	dial(t, in, "127.0.0.2", "PROXY TCP4 192.0.2.8 198.51.100.1 4 2\r\n")
	c := <-got
	defer c.Close()
	if from := c.RemoteAddr().String(); from != "192.0.2.8:4" {
		t.Errorf("%s was let in", from)
	}
}
