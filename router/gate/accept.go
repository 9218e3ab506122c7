package gate

import (
	"errors"
	"net"
	"net/netip"
	"time"
)

// Accept gives each connection of a listener to serve, which must not wait, until the listener is closed. It returns nil if
// stopping then says that this was wanted. What the system cannot give now, such as file descriptors, is asked for again after
// a while, or when done is closed; warn is told.
func Accept(l net.Listener, stopping func() bool, done <-chan struct{}, warn func(err error, again time.Duration), serve func(net.Conn)) error {
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
