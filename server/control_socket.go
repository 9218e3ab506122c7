package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"jackdaw/web"
)

// controlSocket is the name of the socket under the data directory.
const controlSocket = "control.sock"

// maxSocketPath is what fits into a socket address on every system (sun_path).
const maxSocketPath = 100

// ListenControl serves a Control on the socket in the data directory: mode 0600, the directory
// is made with mode 0700 if it is not there. A socket that a killed server left is replaced; the
// caller holds the store, so no other server is alive. Close lets what is
// under way finish for a moment, and removes the socket.
func ListenControl(data string, c *Control) (net.Listener, error) {
	l, err := bindControl(data)
	if err != nil {
		return nil, fmt.Errorf("listen on the control socket: %w", err)
	}
	// A dead socket is found out by whoever dials it.
	return c.serve(l, func() { os.Remove(filepath.Join(data, controlSocket)) }), nil
}

func bindControl(data string) (*net.UnixListener, error) {
	if err := os.MkdirAll(data, 0o700); err != nil {
		return nil, err
	}
	// Bound where nobody else can reach it, so that there is no moment in which it
	// has another mode than 0600.
	dir, err := os.MkdirTemp(data, ".control-") // mode 0700
	if err != nil {
		return nil, err
	}
	defer os.Remove(dir)
	path := filepath.Join(dir, controlSocket)
	l, err := listenUnix(path)
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // it would look for it where it was bound
	err = os.Chmod(path, 0o600)
	if err == nil {
		err = os.Rename(path, filepath.Join(data, controlSocket))
	}
	if err != nil {
		l.Close()
		os.Remove(path) // the error above says more
		return nil, err
	}
	return l, nil
}

func listenUnix(path string) (*net.UnixListener, error) {
	short, done, err := shorten(path)
	if err != nil {
		return nil, err
	}
	defer done()
	return net.ListenUnix("unix", &net.UnixAddr{Name: short, Net: "unix"})
}

// dialControl connects to the socket of a running server. The error is
// errNoServer when there is none.
func dialControl(ctx context.Context, data string) (net.Conn, error) {
	short, done, err := shorten(filepath.Join(data, controlSocket))
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil, errNoServer
		}
		return nil, err
	}
	defer done()
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", short)
	if errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOTDIR) {
		return nil, errNoServer
	}
	if errors.Is(err, os.ErrPermission) {
		return nil, fmt.Errorf("connect to the control socket %s: %w; run the command as the server's user, or as root",
			filepath.Join(data, controlSocket), syscall.EACCES)
	}
	if err != nil {
		return nil, fmt.Errorf("connect to the control socket %s: %w", filepath.Join(data, controlSocket), err)
	}
	return c, nil
}

var errNoServer = errors.New("no server answers on the control socket")

// shorten finds a path that fits into a socket address: a long one goes by way of
// the open directory, which Linux shows under /proc.
func shorten(path string) (short string, done func(), err error) {
	if len(path) <= maxSocketPath {
		return path, func() {}, nil
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return "", nil, err
	}
	return filepath.Join("/proc/self/fd", strconv.Itoa(int(dir.Fd())), filepath.Base(path)), func() { dir.Close() }, nil
}

// A served listener has a Control behind it until it is closed.
type served struct {
	net.Listener
	http   *http.Server
	done   chan struct{} // Serve has returned
	closed func()
	once   sync.Once
}

func (c *Control) serve(l net.Listener, closed func()) *served {
	s := &served{Listener: l, done: make(chan struct{}), closed: closed,
		http: &http.Server{Handler: web.Closing(c.Handler()), ReadHeaderTimeout: 5 * time.Second}}
	go func() {
		defer close(s.done)
		s.http.Serve(l) // it ends with the listener, which is how it is stopped
	}()
	return s
}

func (s *served) Close() error {
	s.once.Do(func() {
		s.closed()
		grace, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if s.http.Shutdown(grace) != nil {
			s.http.Close() // what is still under way does not get an answer
		}
		<-s.done
	})
	return nil
}

// A pipeListener takes connections of this process.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *pipeListener) dial(ctx context.Context) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case l.conns <- far:
		return near, nil
	case <-l.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }
