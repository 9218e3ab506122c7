package gate

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// scripted is a listener whose Accept does what is next.
type scripted struct {
	net.Listener
	next []error // nil: a connection
}

func (l *scripted) Accept() (net.Conn, error) {
	if len(l.next) == 0 {
		return nil, net.ErrClosed
	}
	err := l.next[0]
	l.next = l.next[1:]
	if err != nil {
		return nil, err
	}
	return addressed("192.0.2.7:5222"), nil
}

type addressed string

func (a addressed) RemoteAddr() net.Addr           { return a }
func (a addressed) Network() string                { return "tcp" }
func (a addressed) String() string                 { return string(a) }
func (addressed) Read([]byte) (int, error)         { return 0, net.ErrClosed }
func (addressed) Write([]byte) (int, error)        { return 0, net.ErrClosed }
func (addressed) Close() error                     { return nil }
func (addressed) LocalAddr() net.Addr              { return nil }
func (addressed) SetDeadline(time.Time) error      { return nil }
func (addressed) SetReadDeadline(time.Time) error  { return nil }
func (addressed) SetWriteDeadline(time.Time) error { return nil }

func TestAcceptGoesOnAfterWhatPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		full := errors.New("too many open files")
		l := &scripted{next: []error{nil, full, full, full, nil, full}}
		var waits []time.Duration
		served := 0
		var stopping atomic.Bool
		began := time.Now()
		err := accept(l, stopping.Load, nil, func(err error, again time.Duration) {
			if err != full {
				t.Errorf("warned of %v", err)
			}
			waits = append(waits, again)
		}, func(net.Conn) { served++ })
		if err != net.ErrClosed || served != 2 {
			t.Errorf("%d served, then %v", served, err)
		}
		const ms = time.Millisecond
		want := []time.Duration{5 * ms, 10 * ms, 20 * ms, 5 * ms}
		if !slices.Equal(waits, want) || time.Since(began) != 40*ms {
			t.Errorf("waited %v, %v in all", waits, time.Since(began))
		}
		stopping.Store(true)
		if err := Accept(l, "client", stopping.Load, nil, nil, nil); err != nil {
			t.Errorf("a listener closed by a stop: %v", err)
		}
	})
}

func TestRemoteIPIsPlain(t *testing.T) {
	for addr, want := range map[string]netip.Addr{
		"192.0.2.7:5222":          netip.MustParseAddr("192.0.2.7"),
		"[::ffff:192.0.2.7]:5222": netip.MustParseAddr("192.0.2.7"),
		"[2001:db8::1]:5222":      netip.MustParseAddr("2001:db8::1"),
		"@":                       {},
	} {
		if got := RemoteIP(addressed(addr)); got != want {
			t.Errorf("%s: %v", addr, got)
		}
	}
}

func TestMissingDescriptorsAreSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		full := &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
		l := &scripted{next: []error{full, full, full, nil, nil, full, nil}}
		var said strings.Builder
		log := slog.New(slog.NewTextHandler(&said, nil))
		if err := Accept(l, "clients", func() bool { return false }, nil, log, func(net.Conn) {}); err != net.ErrClosed {
			t.Errorf("ended with %v", err)
		}
		if errs, ends := strings.Count(said.String(), "level=ERROR"), strings.Count(said.String(), "accepted again"); errs != 2 || ends != 2 ||
			!strings.Contains(said.String(), "raise the limit of open files") {
			t.Errorf("%d errors and %d ends: %s", errs, ends, said.String())
		}
	})
}
