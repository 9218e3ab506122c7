// Package proxied lets a connection be its client's that comes through a proxy. The proxy says whose it is by a header
// before the first byte: the PROXY protocol, versions 1 and 2 (HAProxy, doc/proxy-protocol.txt of 2020-03-05; sections
// are cited from there). Only proxies that are trusted are believed, and those must send a header: whether there is one
// is never guessed (§2). Who else connects is served as it is.
//
// What a header says beside the addresses is skipped; its checksum is verified. A trusted proxy that speaks for itself
// (LOCAL, UNKNOWN), as for a health check, or for what did not come over TCP, has its own address.
//
// Left out: sending headers, the addresses of unix sockets, and what proxies say of the TLS before them.
package proxied

import (
	"container/list"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"jackdaw/config"
	"jackdaw/router/gate"
)

const (
	// headerTime is how long a header may take: a proxy sends it at once. §2 asks for three seconds at least.
	headerTime = 5 * time.Second
	// maxWaiting is how many connections of one listener may be without their header. One more, and the oldest of them is
	// closed: it has waited for longer than any proxy needs.
	maxWaiting = 1024
)

// Options of New.
type Options struct {
	Who     string // comes, for the log: "c2s_tls"
	Trusted func(netip.Addr) bool
	Gate    *gate.Keeper // counts the connections whose header has not come
	Limits  func() *config.Limits
	Log     *slog.Logger
}

// A Listener accepts connections that know their client's address. Accept does not wait for anybody's header.
type Listener struct {
	net.Listener
	o     Options
	time  time.Duration // for a header
	most  int           // without a header at a time
	lines gate.Lines
	ready chan arrival
	done  chan struct{}
	shut  sync.Once

	mu      sync.Mutex // guards the rest
	waiting list.List  // of *waiter, without their header; the first came first
}

// An arrival is what Accept returns.
type arrival struct {
	conn net.Conn
	pass *gate.Pass // until then; nil: nobody has counted it
	err  error
}

// A waiter is a connection of a trusted proxy that has not said for whom it is.
type waiter struct {
	conn *net.TCPConn
	pass *gate.Pass
}

// New has the connections of a TCP listener know their clients. Close ends it.
func New(l net.Listener, o Options) *Listener { return within(l, o, headerTime, maxWaiting) }

func within(l net.Listener, o Options, wait time.Duration, most int) *Listener {
	p := &Listener{Listener: l, o: o, time: wait, most: most, ready: make(chan arrival), done: make(chan struct{})}
	go p.accept()
	return p
}

// Accept implements net.Listener. A connection that came through a proxy is a *Conn.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case a := <-l.ready:
		a.pass.Leave() // whoever asks counts it for its client
		return a.conn, a.err
	case <-l.done:
		return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.Addr(), Err: net.ErrClosed}
	}
}

// Close implements net.Listener. Those without a header are closed with it.
func (l *Listener) Close() error {
	err := l.Listener.Close()
	l.shut.Do(func() { close(l.done) })
	l.mu.Lock()
	defer l.mu.Unlock()
	for e := l.waiting.Front(); e != nil; e = e.Next() {
		_ = e.Value.(*waiter).conn.Close() // its goroutine finds out
	}
	return err
}

// accept takes connections until the listener is closed.
func (l *Listener) accept() {
	for {
		c, err := l.Listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			l.shut.Do(func() { close(l.done) })
			return
		}
		t, ok := c.(*net.TCPConn)
		if err != nil || !ok || !l.o.Trusted(gate.RemoteIP(c)) {
			l.deliver(arrival{conn: c, err: err})
			continue
		}
		l.receive(t)
	}
}

// deliver hands over what Accept returns, once it is called.
func (l *Listener) deliver(a arrival) {
	select {
	case l.ready <- a:
	case <-l.done:
		a.pass.Leave()
		if a.conn != nil {
			_ = a.conn.Close() // nobody has heard of it
		}
	}
}

// receive has the header of a proxy's connection read, and does not wait for it.
func (l *Listener) receive(c *net.TCPConn) {
	pass, why := l.o.Gate.Admit(c, netip.Addr{}, l.o.Limits()) // as one of nobody's: its address is to come
	if why != "" {
		_ = c.Close() // nothing can be said to it: not even its protocol is known
		return
	}
	w := &waiter{c, pass}
	l.mu.Lock()
	select {
	case <-l.done: // Close has been here
		l.mu.Unlock()
		pass.Leave()
		_ = c.Close() // likewise
		return
	default:
	}
	if l.waiting.Len() >= l.most {
		oldest := l.waiting.Remove(l.waiting.Front()).(*waiter)
		oldest.pass.Leave()
		_ = oldest.conn.Close() // its goroutine finds out
	}
	place := l.waiting.PushBack(w)
	l.mu.Unlock()
	go func() {
		h, err := read(c, l.time)
		l.mu.Lock()
		l.waiting.Remove(place) // which does nothing if it was removed
		l.mu.Unlock()
		if err != nil {
			pass.Leave()
			l.say(c, err)
			_ = c.Close() // §2.1: as soon as possible
			return
		}
		l.deliver(arrival{conn: &Conn{c, h}, pass: pass})
	}()
}

// say logs what was wrong with the header of a proxy.
func (l *Listener) say(c net.Conn, err error) {
	if errors.Is(err, net.ErrClosed) || errors.Is(err, errAway) || l.o.Log == nil {
		return
	}
	do := "this is what a trusted proxy must not send: look at its settings"
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = errors.New("no PROXY header came in time")
		fallthrough
	case errors.Is(err, errNone):
		do = "have the proxy send it (nginx: proxy_protocol on; HAProxy: send-proxy-v2), " +
			"or take the listener or the address out of proxy_protocol"
	}
	if held, ok := l.lines.Say(gate.RemoteIP(c)); ok {
		l.o.Log.Warn("a connection of a trusted proxy was closed", "listener", l.o.Who, "proxy", c.RemoteAddr().String(),
			"error", err, "held_back", held, "do", do)
	}
}

// errAway says that the proxy has closed the connection before it sent anything, as for a health check.
var errAway = errors.New("closed without a byte")

// read takes the header off a connection, and not a byte more: what follows is read by its descriptor.
func read(c *net.TCPConn, wait time.Duration) (header, error) {
	if err := c.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return header{}, err
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return header{}, err
	}
	h, err := take(c, func(p []byte) (int, error) { return peek(raw, p) })
	if err != nil {
		return header{}, err
	}
	return h, c.SetReadDeadline(time.Time{})
}

// take reads a header from r. peek fills p with what comes next, at least one byte, and leaves it there.
func take(r io.Reader, peek func(p []byte) (int, error)) (header, error) {
	var b [maxHeader]byte
	have := 0
	for {
		need, err := whole(b[:have])
		if err != nil {
			return header{}, err
		}
		if need == have {
			return parse(b[:have])
		}
		n := need - have
		if have >= len(sign2) && b[0] == sign1[0] {
			// A line says only by its end how long it is: that is looked for before what comes is read.
			if n, err = peek(b[have:maxLine]); err == nil {
				n = ofLine(b[:have+n], have)
			}
		}
		if err == nil {
			n, err = r.Read(b[have : have+n])
		}
		have += n
		switch {
		case err == io.EOF && have == 0:
			return header{}, errAway
		case err == io.EOF:
			return header{}, io.ErrUnexpectedEOF
		case err != nil:
			return header{}, err
		}
	}
}

// ofLine is how many of the bytes from b[have:] on belong to the line that b begins with.
func ofLine(b []byte, have int) int {
	for i := have; i < len(b); i++ {
		if b[i] == '\n' && b[i-1] == '\r' {
			return i + 1 - have
		}
	}
	return len(b) - have
}

// peek reads without taking.
func peek(raw syscall.RawConn, p []byte) (n int, err error) {
	bad := raw.Read(func(fd uintptr) bool {
		for {
			n, _, err = syscall.Recvfrom(int(fd), p, syscall.MSG_PEEK)
			if err != syscall.EINTR {
				return err != syscall.EAGAIN
			}
		}
	})
	switch {
	case bad != nil:
		return 0, bad
	case err != nil:
		return 0, os.NewSyscallError("recvfrom", err)
	case n <= 0:
		return 0, io.EOF
	}
	return n, nil
}

// A Conn is a connection that a proxy has made for a client: its addresses are what the client sees, where the proxy
// has said it. All else is the connection of the proxy, its descriptor too.
type Conn struct {
	*net.TCPConn
	header header
}

// RemoteAddr implements net.Conn.
func (c *Conn) RemoteAddr() net.Addr {
	if a := c.header.from; a.IsValid() {
		return net.TCPAddrFromAddrPort(a)
	}
	return c.TCPConn.RemoteAddr()
}

// LocalAddr implements net.Conn.
func (c *Conn) LocalAddr() net.Addr {
	if a := c.header.to; a.IsValid() {
		return net.TCPAddrFromAddrPort(a)
	}
	return c.TCPConn.LocalAddr()
}
