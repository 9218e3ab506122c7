package gate

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// Accept gives each connection of a listener to serve, which must not wait, until the listener is closed. It returns
// nil if stopping then says that this was wanted. What the system cannot give now, such as file descriptors, is asked
// for again after a while, or when done is closed; the log says so once, and once when it is over. In the log, who
// names the kind of connection.
func Accept(l net.Listener, who string, stopping func() bool, done <-chan struct{}, log *slog.Logger,
	serve func(net.Conn)) error {
	c := complaint{log: log, who: who}
	return accept(l, stopping, done, c.failed, func(nc net.Conn) {
		c.over()
		serve(nc)
	})
}

func accept(l net.Listener, stopping func() bool, done <-chan struct{}, warn func(err error, again time.Duration),
	serve func(net.Conn)) error {
	wait := time.Duration(0)
	for {
		c, err := l.Accept()
		switch {
		case err == nil:
			wait = 0
			serve(c)
		case stopping():
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		default:
			// Out of file descriptors, mostly: others will close theirs.
			wait = min(max(2*wait, 5*time.Millisecond), time.Second)
			warn(err, wait)
			select {
			case <-time.After(wait):
			case <-done:
			}
		}
	}
}

// A complaint is what the log says of a listener that accepts nothing for now.
type complaint struct {
	log   *slog.Logger
	who   string
	since time.Time // zero: all is well
}

func (c *complaint) failed(err error, _ time.Duration) {
	if !c.since.IsZero() {
		return
	}
	c.since = time.Now()
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		c.log.Error("no connection can be accepted: there are no file descriptors left", "of", c.who, "error", err,
			"do", "raise the limit of open files (LimitNOFILE, ulimit -n)")
		return
	}
	c.log.Warn("accept a connection", "of", c.who, "error", err)
}

func (c *complaint) over() {
	if !c.since.IsZero() {
		after := time.Since(c.since).Round(time.Millisecond)
		c.log.Info("connections are accepted again", "of", c.who, "after", after.String())
		c.since = time.Time{}
	}
}

// RemoteIP is the address at the other end; invalid for what has none, such as unix sockets.
func RemoteIP(c net.Conn) netip.Addr {
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		ip, _ := netip.AddrFromSlice(a.IP)
		return ip.Unmap()
	}
	if a, err := netip.ParseAddrPort(c.RemoteAddr().String()); err == nil {
		return a.Addr().Unmap()
	}
	return netip.Addr{}
}
