package harness

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Memory reads a figure of /proc/PID/status in MiB.
func (s *Server) Memory(name string) int {
	s.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.PID()))
	_, after, ok := strings.Cut(string(text), name+":")
	if err != nil || !ok { // which what is left of a process does not have
		s.t.Fatalf("the process has ended:\n%s", s.Log())
	}
	kib, err := strconv.Atoi(strings.Fields(after)[0])
	if err != nil {
		s.t.Fatal(err)
	}
	return kib >> 10
}

// CPU is what the process has used.
func (s *Server) CPU() time.Duration {
	s.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.PID()))
	if err != nil {
		s.t.Fatalf("the process has ended:\n%s", s.Log())
	}
	_, after, _ := strings.Cut(string(text), ") ")
	fields, ticks := strings.Fields(after), 0
	for _, f := range fields[11:13] { // utime and stime, in hundredths of a second
		n, err := strconv.Atoi(f)
		if err != nil {
			s.t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// A Watcher asks the server for an answer all the time.
type Watcher struct {
	c       *Client
	stop    chan struct{}
	done    sync.WaitGroup
	longest time.Duration
	err     error
}

// Watch has a client ask, every 50 ms, until End. Nobody else may read from it meanwhile.
func Watch(c *Client) *Watcher {
	w := &Watcher{c: c, stop: make(chan struct{})}
	w.done.Go(func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			began := time.Now()
			id := fmt.Sprintf("watch-%d", i)
			if _, w.err = c.Ask(id, "<iq type='get' id='"+id+"' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>"); w.err != nil {
				return
			}
			w.longest = max(w.longest, time.Since(began))
			select {
			case <-w.stop:
				return
			case <-tick.C:
			}
		}
	})
	return w
}

// End stops, and says how long the client had to wait at most.
func (w *Watcher) End() (longest time.Duration, err error) {
	close(w.stop)
	w.done.Wait()
	return w.longest, w.err
}
