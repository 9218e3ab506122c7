package nodes

import (
	"net"
	"sync"
	"testing"
	"time"

	"jackdaw/testsuite/harness"
)

// A wire is a way to somebody that can be cut, hold back what is on it, and be slow. It stands for a network.
type wire struct {
	Addr string // where it is entered
	to   string
	whos func(addr string) string // says who enters from an address; nil: nobody asks

	mu    sync.Mutex // guards the rest
	cond  sync.Cond
	open  map[net.Conn]bool
	cut   bool
	held  map[string][2]bool // who enters → there and back: nothing passes, and nobody is told; "": all
	delay time.Duration
	ended bool
	wg    sync.WaitGroup
	l     net.Listener
}

func newWire(t testing.TB, to string, whos func(addr string) string) *wire {
	t.Helper()
	w := &wire{to: to, whos: whos, Addr: harness.FreeAddr(), open: map[net.Conn]bool{}, held: map[string][2]bool{}}
	w.cond.L = &w.mu
	var err error
	if w.l, err = net.Listen("tcp", w.Addr); err != nil {
		t.Fatal(err)
	}
	w.wg.Go(w.accept)
	t.Cleanup(w.end)
	return w
}

func (w *wire) accept() {
	for {
		from, err := w.l.Accept()
		if err != nil {
			return
		}
		w.wg.Go(func() { w.serve(from) })
	}
}

func (w *wire) serve(from net.Conn) {
	defer from.Close()
	if !w.keep(from) {
		return
	}
	defer w.drop(from)
	to, err := net.Dial("tcp", w.to)
	if err != nil {
		return
	}
	defer to.Close()
	if !w.keep(to) {
		return
	}
	defer w.drop(to)
	who := ""
	if w.whos != nil {
		who = w.whos(from.RemoteAddr().String())
	}
	done := make(chan struct{})
	go func() { defer close(done); w.move(from, to, who, 0) }()
	w.move(to, from, who, 1)
	<-done
}

// move takes bytes from one end to the other, until either is closed.
func (w *wire) move(from, to net.Conn, who string, way int) {
	defer from.Close()
	defer to.Close()
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		w.mu.Lock()
		for (w.held[""][way] || w.held[who][way]) && !w.ended && w.open[from] {
			w.cond.Wait()
		}
		delay := w.delay
		w.mu.Unlock()
		if delay > 0 {
			<-time.After(delay)
		}
		if n > 0 {
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (w *wire) keep(c net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cut || w.ended {
		return false
	}
	w.open[c] = true
	return true
}

func (w *wire) drop(c net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.open, c)
	w.cond.Broadcast()
}

// change has the wire be another.
func (w *wire) change(f func(w *wire)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(w)
	if w.cut || w.ended {
		for c := range w.open {
			c.Close()
			delete(w.open, c)
		}
	}
	w.cond.Broadcast()
}

// Cut closes what is open and lets nothing in.
func (w *wire) Cut() { w.change(func(w *wire) { w.cut = true }) }

// Hold lets nothing pass on the ways, there and back.
func (w *wire) Hold(there, back bool) { w.HoldOf("", there, back) }

// HoldOf is Hold for one of those who enter.
func (w *wire) HoldOf(who string, there, back bool) {
	w.change(func(w *wire) { w.held[who] = [2]bool{there, back} })
}

// Slow has all that passes take so long.
func (w *wire) Slow(delay time.Duration) { w.change(func(w *wire) { w.delay = delay }) }

// Heal has the wire be well.
func (w *wire) Heal() {
	w.change(func(w *wire) {
		w.cut, w.delay = false, 0
		clear(w.held)
	})
}

func (w *wire) end() {
	w.l.Close()
	w.change(func(w *wire) { w.ended = true })
	w.wg.Wait()
}
