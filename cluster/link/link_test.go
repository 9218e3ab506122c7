package link

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is who is a member, and at which address.
type world struct {
	mu        sync.Mutex
	addresses map[string]string
}

func (w *world) set(id, address string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.addresses[id] = address
}

func (w *world) member(id string) (string, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	a, ok := w.addresses[id]
	return a, ok
}

// lines is a log that can be read meanwhile.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

type node struct {
	*Links
	log *lines
}

// quick loses no link on a machine that is busy. Those tests that wait for the patience to run out have a short one.
var quick = times{ping: 20 * time.Millisecond, patience: usual.patience, shake: time.Second,
	first: 5 * time.Millisecond, last: 50 * time.Millisecond}

const short = 2 * time.Second

func impatient(l *Links) { l.times.patience = short }

func (w *world) node(t testing.TB, id string, k Key, change ...func(*Links)) *node {
	t.Helper()
	listen, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &node{log: &lines{}}
	n.Links, err = New(Options{Key: k, ID: id, Listen: listen, Members: w.member,
		Log: slog.New(slog.NewTextHandler(n.log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	n.times = quick
	for _, f := range change {
		f(n.Links)
	}
	if _, ok := w.member(id); !ok {
		w.set(id, listen.Addr().String())
	}
	for _, k := range []Kind{Envelopes, Control} {
		n.Handle(k, func(from string, c net.Conn) { // says who it is, then echoes
			_, _ = fmt.Fprintf(c, "%s hears %s\n", id, from)
			_, _ = io.Copy(c, c)
			_ = c.Close()
		})
	}
	n.Handle(HTTP, func(_ string, c net.Conn) { // reads nothing for as long as there is a link
		<-c.(*stream).s.CloseChan()
		_ = c.Close()
	})
	n.Serve()
	t.Cleanup(n.Close)
	return n
}

func (n *node) open(t testing.TB, to string, k Kind) net.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for {
		c, err := n.Open(ctx, to, k)
		if err == nil {
			t.Cleanup(func() { _ = c.Close() })
			return c
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}

func echo(t testing.TB, c net.Conn, says, text string) {
	t.Helper()
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	want := says + text
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("got %q, %v; want %q", got, err, want)
	}
}

func within(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !f(); {
		if time.Now().After(end) {
			t.Fatal(what)
		}
		<-time.After(time.Millisecond)
	}
}

func newWorld() *world { return &world{addresses: map[string]string{}} }

func TestNodesThatDialAtOnceEndWithAConnectionInEachDirection(t *testing.T) {
	w, k := newWorld(), NewKey()
	a, b := w.node(t, "a", k), w.node(t, "b", k)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() { echo(t, a.open(t, "b", Control), "b hears a\n", fmt.Sprint("to b ", i)) })
		wg.Go(func() { echo(t, b.open(t, "a", Control), "a hears b\n", fmt.Sprint("to a ", i)) })
	}
	wg.Wait()
	for _, n := range []*node{a, b} {
		if d, c := n.Stats.Dialed.Load(), n.Stats.Accepted.Load(); d != 1 || c != 1 {
			t.Errorf("node %s has dialed %d and accepted %d, want one of each", n.id, d, c)
		}
	}
}

func TestNodeWithAnotherKeyIsRefusedAndBothLogsSayWhatToDo(t *testing.T) {
	w := newWorld()
	a, b := w.node(t, "a", NewKey()), w.node(t, "b", NewKey())
	if _, err := a.Open(context.Background(), "b", Control); err == nil {
		t.Fatal("a link between nodes with different keys")
	}
	within(t, "no log", func() bool {
		return strings.Contains(a.log.String(), "different cluster keys: copy the key file") &&
			strings.Contains(b.log.String(), "compare the cluster keys")
	})
	if b.Stats.Accepted.Load() != 0 {
		t.Error("it was accepted")
	}
}

func TestNodeAtTheAddressOfAnotherIsRefused(t *testing.T) {
	w, k := newWorld(), NewKey()
	a, b := w.node(t, "a", k), w.node(t, "b", k)
	address, _ := w.member("b")
	w.set("c", address)
	if _, err := a.Open(context.Background(), "c", Control); err == nil {
		t.Fatal("b has passed for c")
	}
	within(t, "no log", func() bool { return strings.Contains(a.log.String(), "give each node an address of its own") })
	_ = b
}

func TestNodeWithTheIDOfThisOneIsRefused(t *testing.T) {
	w, k := newWorld(), NewKey()
	b := w.node(t, "b", k)
	twin := w.node(t, "b", k)
	// the twin dials the address of b: members knows it by that id
	_, _ = twin.Open(context.Background(), "b", Control)
	within(t, "no log", func() bool { return strings.Contains(b.log.String(), "give each node an id of its own") })
}

func TestVersionsThatAreTooFarApartAreRefused(t *testing.T) {
	w, k := newWorld(), NewKey()
	a := w.node(t, "a", k)
	w.node(t, "b", k, func(l *Links) { l.spoken = hello{3, 4} })
	w.node(t, "c", k, func(l *Links) { l.spoken = hello{1, 3} })
	if _, err := a.Open(context.Background(), "b", Control); err == nil {
		t.Fatal("a link without a protocol")
	}
	within(t, "no log", func() bool { return strings.Contains(a.log.String(), "upgrade all nodes version by version") })
	echo(t, a.open(t, "c", Control), "c hears a\n", "the next version")
}

func TestStreamThatNobodyReadsStopsNoOther(t *testing.T) {
	t.Parallel()
	w, k := newWorld(), NewKey()
	a := w.node(t, "a", k, impatient)
	w.node(t, "b", k, impatient)
	stuck := a.open(t, "b", HTTP)
	written := make(chan int)
	go func() {
		n, _ := stuck.Write(make([]byte, 4<<20))
		written <- n
	}()
	for begun, i := time.Now(), 0; time.Since(begun) < short*3/2; i++ {
		c := a.open(t, "b", Control)
		echo(t, c, "b hears a\n", strings.Repeat("x", 1000*(i%50)))
		_ = c.Close()
		<-time.After(10 * time.Millisecond)
	}
	if lost := strings.Contains(a.log.String(), "link lost"); lost || a.Stats.Dialed.Load() != 1 {
		t.Error("the link has broken")
	}
	_ = stuck.Close()
	if n := <-written; n > 1<<20 {
		t.Errorf("%d bytes lie between the two", n)
	}
}

func TestEndOfAStreamIsSeenAtBothSides(t *testing.T) {
	w, k := newWorld(), NewKey()
	a, b := w.node(t, "a", k), w.node(t, "b", k)
	got := make(chan net.Conn)
	b.handlers[Clients] = func(_ string, c net.Conn) { got <- c }
	for _, first := range []string{"a", "b"} {
		here := a.open(t, "b", Clients)
		there := <-got
		if first == "b" {
			here, there = there, here
		}
		if _, err := io.WriteString(here, "last words"); err != nil {
			t.Fatal(err)
		}
		blocked := make(chan error)
		go func() {
			_, err := here.Read(make([]byte, 1))
			blocked <- err
		}()
		<-time.After(5 * time.Millisecond)
		_ = here.Close()
		if err := <-blocked; !errors.Is(err, net.ErrClosed) {
			t.Errorf("a Read that waited has got %v", err)
		}
		if text, err := io.ReadAll(there); err != nil || string(text) != "last words" {
			t.Errorf("the other end has read %q, %v", text, err)
		}
		_ = there.Close()
		if _, err := there.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a Write afterwards has got %v", err)
		}
	}
}

func TestBrokenLinkIsNoEndOfAStream(t *testing.T) {
	w, k := newWorld(), NewKey()
	a, b := w.node(t, "a", k), w.node(t, "b", k)
	c := a.open(t, "b", HTTP)
	b.Close()
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("a Read has got %v", err)
	}
	_, _ = a.Open(context.Background(), "b", HTTP)
	listen, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.set("b", listen.Addr().String())
	again, err := New(Options{Key: k, ID: "b", Listen: listen, Members: w.member, Log: b.log2()})
	if err != nil {
		t.Fatal(err)
	}
	again.Handle(Control, func(_ string, c net.Conn) { _ = c.Close() })
	again.Serve()
	t.Cleanup(again.Close)
	a.open(t, "b", Control) // at its new address
}

func (n *node) log2() *slog.Logger { return slog.New(slog.NewTextHandler(n.log, nil)) }

func TestWhoeverIsNoMemberIsNotDialed(t *testing.T) {
	w, k := newWorld(), NewKey()
	a := w.node(t, "a", k)
	if _, err := a.Open(context.Background(), "b", Control); !errors.Is(err, ErrNoMember) {
		t.Errorf("got %v", err)
	}
	if s := a.Silence("b"); s != 0 {
		t.Errorf("silent for %v", s)
	}
	w.set("b", "127.0.0.1:1")
	a.Silence("b")
	w.mu.Lock()
	delete(w.addresses, "b")
	w.mu.Unlock()
	within(t, "it is still dialed", func() bool { return len(a.Status()) == 0 })
	a.Close()
	if _, err := a.Open(context.Background(), "b", Control); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close got %v", err)
	}
}

// wire is a connection in between that can be frozen or cut.
type wire struct {
	listen net.Listener
	mu     sync.Mutex
	frozen chan struct{} // nil: it is not
	all    []net.Conn
	wg     sync.WaitGroup
}

func between(t *testing.T, address string) *wire {
	t.Helper()
	listen, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	x := &wire{listen: listen}
	x.wg.Go(func() {
		for {
			near, err := listen.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", address)
			if err != nil {
				_ = near.Close()
				continue
			}
			x.mu.Lock()
			x.all = append(x.all, near, far)
			x.mu.Unlock()
			x.wg.Go(func() { x.copy(near, far) })
			x.wg.Go(func() { x.copy(far, near) })
		}
	})
	t.Cleanup(func() {
		_ = listen.Close()
		x.thaw()
		x.cut()
		x.wg.Wait()
	})
	return x
}

func (x *wire) copy(to, from net.Conn) {
	defer to.Close()
	b := make([]byte, 4096)
	for {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		x.mu.Lock()
		frozen := x.frozen
		x.mu.Unlock()
		if frozen != nil {
			<-frozen
		}
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}

func (x *wire) cut() {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, c := range x.all {
		_ = c.Close()
	}
	x.all = nil
}

func (x *wire) freeze() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.frozen = make(chan struct{})
}

func (x *wire) thaw() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.frozen != nil {
		close(x.frozen)
		x.frozen = nil
	}
}

func TestLinkThatIsCutComesBack(t *testing.T) {
	w, k := newWorld(), NewKey()
	a, b := w.node(t, "a", k), w.node(t, "b", k)
	x := between(t, b.listen.Addr().String())
	w.set("b", x.listen.Addr().String())
	for range 3 {
		c := a.open(t, "b", Control)
		echo(t, c, "b hears a\n", "hello")
		x.cut()
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("a Read has got %v", err)
		}
	}
	within(t, "the link is not up again", func() bool { s := a.Status(); return len(s) == 1 && s[0].Up })
}

func TestSilenceGrowsAndEndsTheLinkAtBothSides(t *testing.T) {
	t.Parallel()
	w, k := newWorld(), NewKey()
	a, b := w.node(t, "a", k, impatient), w.node(t, "b", k, impatient)
	x := between(t, b.listen.Addr().String())
	w.set("b", x.listen.Addr().String())
	c := a.open(t, "b", Control)
	echo(t, c, "b hears a\n", "hello")
	within(t, "no round trip was measured", func() bool { s := a.Status(); return s[0].RoundTrip > 0 })
	<-time.After(short * 3 / 2)
	if s := a.Silence("b"); s > short || strings.Contains(a.log.String(), "link lost") {
		t.Errorf("silent for %v while there are pings", s)
	}
	x.freeze()
	within(t, "the link goes on", func() bool { return strings.Contains(a.log.String(), "link lost") })
	within(t, "the other end goes on", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.in) == 0
	})
	within(t, "it is not silent", func() bool { return a.Silence("b") > short*3/2 })
	x.thaw()
	echo(t, a.open(t, "b", Control), "b hears a\n", "again")
	if s := a.Silence("b"); s > short {
		t.Errorf("silent for %v after it has come back", s)
	}
}

func TestStrangersAreBounded(t *testing.T) {
	w, k := newWorld(), NewKey()
	a := w.node(t, "a", k)
	b := w.node(t, "b", k, func(l *Links) { l.times.shake = 300 * time.Millisecond })
	var all []net.Conn
	for i := range 2 * maxShaking {
		c, err := net.Dial("tcp", b.listen.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		all = append(all, c)
		if i%2 == 0 {
			_, _ = io.WriteString(c, "GET / HTTP/1.1\r\n\r\n")
		}
	}
	for _, c := range all { // each is closed, though it says nothing
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.ReadAll(c); err != nil && errors.Is(err, context.DeadlineExceeded) {
			t.Fatal("a stranger may stay")
		}
	}
	echo(t, a.open(t, "b", Control), "b hears a\n", "hello")
	if n := strings.Count(b.log.String(), "was refused"); n != 1 {
		t.Errorf("strangers have caused %d lines in the log", n)
	}
}

func TestUnknownKindOfStreamIsClosed(t *testing.T) {
	w, k := newWorld(), NewKey()
	a := w.node(t, "a", k)
	w.node(t, "b", k)
	c := a.open(t, "b", 99)
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("got %v", err)
	}
}
