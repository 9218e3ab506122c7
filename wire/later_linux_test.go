package wire

import (
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// sleep lets a transport wait without a goroutine; the channel has what Await returns then.
func sleep(t *testing.T, x *Transport) <-chan error {
	t.Helper()
	woken := make(chan error, 1)
	if !x.AwaitLater(func() { woken <- x.Await() }) {
		t.Fatal("it has to wait with a goroutine")
	}
	return woken
}

func wakes(t *testing.T, woken <-chan error) error {
	t.Helper()
	select {
	case err := <-woken:
		return err
	case <-time.After(10 * time.Second):
		t.Fatal("it sleeps on")
		return nil
	}
}

func TestATransportSleepsUntilSomethingComes(t *testing.T) {
	s, _, far := pair(t)
	x := s.Transport
	for range 3 { // again and again
		woken := sleep(t, x)
		select {
		case err := <-woken:
			t.Fatalf("woken by nothing: %v", err)
		default:
		}
		say(t, far, "x")
		if err := wakes(t, woken); err != nil || x.buffered() != 1 {
			t.Fatalf("%d bytes and %v", x.buffered(), err)
		}
		x.release()
	}
	say(t, far, "x") // before it sleeps
	if err := wakes(t, sleep(t, x)); err != nil {
		t.Error(err)
	}
	if x.AwaitLater(func() { t.Error("called") }) {
		t.Error("it sleeps over what has been read")
	}
	x.release()
	woken := sleep(t, x)
	if err := far.Close(); err != nil {
		t.Fatal(err)
	}
	if err := wakes(t, woken); err != io.EOF {
		t.Errorf("the end of the connection is %v", err)
	}
}

func TestASleepingTransportHearsThatItIsInterruptedOrClosed(t *testing.T) {
	s, _, far := pair(t)
	x := s.Transport
	woken := sleep(t, x)
	x.Interrupt()
	if err := wakes(t, woken); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("an interruption is %v", err)
	}
	if x.AwaitLater(func() { t.Error("called") }) {
		t.Error("it sleeps over an interruption")
	}
	if err := x.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	woken = sleep(t, x)
	say(t, far, "x")
	if err := wakes(t, woken); err != nil {
		t.Error(err)
	}
	x.release()
	woken = sleep(t, x)
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	if err := wakes(t, woken); !errors.Is(err, net.ErrClosed) {
		t.Errorf("an end of ours is %v", err)
	}
	if x.AwaitLater(func() { t.Error("called") }) {
		t.Error("it sleeps though it is closed")
	}
}

// A descriptor that was closed while its transport slept is soon another's.
func TestDescriptorsOfSleepersAreUsedAgain(t *testing.T) {
	for range 200 {
		s, _, _ := pair(t)
		woken := sleep(t, s.Transport)
		closed := make(chan struct{})
		go func() {
			defer close(closed)
			_ = s.Transport.Close() // the one that is asleep
		}()
		other, _, far := pair(t)
		next := sleep(t, other.Transport)
		say(t, far, "x")
		if err := wakes(t, next); err != nil {
			t.Fatal(err)
		}
		if err := wakes(t, woken); !errors.Is(err, net.ErrClosed) {
			t.Fatal(err)
		}
		<-closed
		other.Transport.release()
		_, _ = far.Close(), other.Transport.Close() // both are open
	}
}

func TestSleepersHaveOneGoroutine(t *testing.T) {
	var all []*Transport
	for range 20 {
		s, _, _ := pair(t)
		sleep(t, s.Transport)
		all = append(all, s.Transport)
	}
	text := make([]byte, 1<<20)
	text = text[:runtime.Stack(text, true)]
	if n := strings.Count(string(text), "(*sleepers).run("); n != 1 {
		t.Errorf("%d goroutines look after them", n)
	}
	if n := strings.Count(string(text), ".Await("); n != 0 {
		t.Errorf("%d goroutines wait", n)
	}
	for _, x := range all {
		x.Interrupt()
	}
}

func TestAConnectionWithoutADescriptorDoesNotSleep(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	if NewTransport(near).AwaitLater(func() { t.Error("called") }) {
		t.Error("it sleeps")
	}
}
