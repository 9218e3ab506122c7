package moduletest

import (
	"context"
	"net"
	"sync"
)

// A Phone is a listener without sockets, for tests in a bubble of testing/synctest.
type Phone struct {
	calls  chan net.Conn
	hungUp context.Context
	hangUp context.CancelFunc
}

// NewPhone returns one that nobody has called.
func NewPhone() *Phone {
	p := &Phone{calls: make(chan net.Conn)}
	p.hungUp, p.hangUp = context.WithCancel(context.Background())
	return p
}

// Accept implements net.Listener.
func (p *Phone) Accept() (net.Conn, error) {
	select {
	case c := <-p.calls:
		return c, nil
	case <-p.hungUp.Done():
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (p *Phone) Close() error {
	p.hangUp()
	return nil
}

// Addr implements net.Listener.
func (p *Phone) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

// Dial returns the client's end of a new connection. The server can always write, as it can to a socket.
func (p *Phone) Dial() net.Conn {
	server, client := net.Pipe()
	p.calls <- server
	e := &ear{Conn: client}
	e.more.L = &e.mu
	go e.listen()
	return e
}

// An ear hears all that is said, whether somebody reads or not.
type ear struct {
	net.Conn
	more sync.Cond
	mu   sync.Mutex // guards the rest
	said []byte
	err  error
}

func (e *ear) listen() {
	for b := make([]byte, 4096); ; {
		n, err := e.Conn.Read(b)
		e.mu.Lock()
		e.said, e.err = append(e.said, b[:n]...), err
		e.more.Broadcast()
		e.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (e *ear) Read(b []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for len(e.said) == 0 {
		if e.err != nil {
			return 0, e.err
		}
		e.more.Wait()
	}
	n := copy(b, e.said)
	e.said = e.said[n:]
	return n, nil
}
