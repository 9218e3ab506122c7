package gate

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"syscall"

	"jackdaw/config"
)

// A Listener lets a server that accepts by itself, such as that of net/http, have only connections that the Keeper
// admits. Accept returns a *Conn; it is called by one goroutine, which waits a while after an error that is temporary.
type Listener struct {
	net.Listener
	Who    string // what comes, for the log
	Keeper *Keeper
	Limits func() *config.Limits
	// Trusted says whether an address has no limit of its own, since others come through it; nil: none has.
	Trusted func(netip.Addr) bool
	// Refuse says why to a connection that is not let in, which is closed then. It must not wait. Nil says nothing.
	Refuse func(c net.Conn, why string)
	Log    *slog.Logger

	trouble complaint
}

// Accept implements net.Listener.
func (l *Listener) Accept() (net.Conn, error) {
	l.trouble.log, l.trouble.who = l.Log, l.Who
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				l.trouble.failed(err, 0)
			}
			return nil, err
		}
		l.trouble.over()
		from := RemoteIP(c)
		if l.Trusted != nil && l.Trusted(from) {
			from = netip.Addr{}
		}
		p, why := l.Keeper.Admit(c, from, l.Limits())
		if why == "" {
			return &Conn{Conn: c, Pass: p}, nil
		}
		if l.Refuse != nil {
			l.Refuse(c, why)
		}
		_ = c.Close() // nothing else to do about it
	}
}

// A Conn is a connection with its Pass, which Close gives back.
type Conn struct {
	net.Conn
	*Pass
}

// SyscallConn implements syscall.Conn where the connection does.
func (c *Conn) SyscallConn() (syscall.RawConn, error) {
	if sc, ok := c.Conn.(syscall.Conn); ok {
		return sc.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

// SetKeepAliveConfig is that of net.TCPConn, where the connection is one.
func (c *Conn) SetKeepAliveConfig(how net.KeepAliveConfig) error {
	if tc, ok := c.Conn.(interface {
		SetKeepAliveConfig(net.KeepAliveConfig) error
	}); ok {
		return tc.SetKeepAliveConfig(how)
	}
	return errors.ErrUnsupported
}

// CloseWrite ends our direction of the connection, where it can be ended by itself.
func (c *Conn) CloseWrite() error {
	if cw, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return cw.CloseWrite()
	}
	return errors.ErrUnsupported
}

// Close implements net.Conn.
func (c *Conn) Close() error {
	c.Leave()
	return c.Conn.Close()
}
