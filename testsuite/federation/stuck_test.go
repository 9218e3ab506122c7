package federation

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"jackdaw/testsuite/fakepeer"
	"jackdaw/testsuite/harness"
	"jackdaw/testsuite/peers"
)

// full is the address of a listener that accepts nothing and whose backlog is full: packets to it are dropped, as a
// firewall would.
func (w *town) full() string {
	w.t.Helper()
	addr := harness.FreeAddr()
	host, port, _ := strings.Cut(addr, ":")
	var number int
	fmt.Sscanf(port, "%d", &number) // FreeAddr made it
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { syscall.Close(fd) })
	at := &syscall.SockaddrInet4{Port: number, Addr: [4]byte(net.ParseIP(host).To4())}
	if err := syscall.Bind(fd, at); err != nil {
		w.t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		w.t.Fatal(err)
	}
	for range 10 {
		c, err := net.DialTimeout("tcp", addr, 500*time.Millisecond)
		if err != nil {
			return addr
		}
		w.t.Cleanup(func() { c.Close() })
	}
	w.t.Fatal("a backlog of none takes ten connections")
	return ""
}

// A clock measures how long messages take to a peer.
type clock struct {
	c    *harness.Client
	peer *fakepeer.Peer
	n    int
	came chan string // ids, as they come
}

// once sends a message and returns how long it takes until the peer has it.
func (k *clock) once(t *testing.T) time.Duration {
	t.Helper()
	k.n++
	id := fmt.Sprintf("lap-%d", k.n)
	began := time.Now()
	if err := k.c.Send("<message type='chat' id='" + id + "' to='friend@well.example'><body>tick</body></message>"); err != nil {
		t.Fatal(err)
	}
	late := time.After(harness.Timeout)
	for {
		select {
		case got := <-k.came:
			if got == id {
				return time.Since(began)
			}
		case <-late:
			t.Fatal("nothing comes to the peer that is well")
		}
	}
}

func median(list []time.Duration) time.Duration {
	slices.Sort(list)
	return list[len(list)/2]
}

// One domain never answers while messages for it keep coming, from the same user and from another. Messages to another
// domain take as long as without. What is compared are medians over pieces that alternate, with the steady stream going
// to the stuck domain and going elsewhere, so that whatever else the machine and the clients do falls on both.
// Elsewhere is a peer that takes it, or, where errors come back from the full queue, a user of ours who is not there.
func TestADomainThatNeverAnswersDelaysNoOther(t *testing.T) {
	for _, one := range []struct {
		what    string
		address func(*town) string
		room    int    // in its queue
		calm    string // where the stream goes meanwhile
	}{
		{"it accepts and is silent", (*town).silent, 1000, "calm.example"},
		{"its packets are dropped", (*town).full, 1000, "calm.example"},
		{"it greets and says no more", (*town).mute, 1000, "calm.example"},
		{"it reads no more than the beginning", (*town).deaf, 1000, "calm.example"},
		{"it takes everything and acknowledges nothing", (*town).thankless, 1000, "calm.example"},
		{"and its queue is full", (*town).silent, 20, home},
	} {
		t.Run(one.what, func(t *testing.T) {
			w := newTown(t)
			well := w.peer(fakepeer.Options{Domains: []string{"well.example"}, Management: fakepeer.Resume}, peers.None)
			w.peer(fakepeer.Options{Domains: []string{"calm.example"}, Management: fakepeer.Resume}, peers.None)
			w.at("stuck.example", one.address(w))
			w.open(harness.Options{Fast: true, Users: []string{"bob", "carol"},
				Config: fmt.Sprintf("limits: {peer_backoff_min: 50ms, peer_backoff_max: 500ms, peer_stanzas: %d}\nlog: {level: warn}\n", one.room)})
			k := &clock{c: w.client("bob", "a"), peer: well, came: make(chan string, 1000)}
			well.Play(fakepeer.Script{Element: func(l *fakepeer.Link, el fakepeer.Element) bool {
				if el.IsStanza() {
					k.came <- el.Attr("id")
				}
				return false
			}})
			var pouring atomic.Bool
			var poured atomic.Int64
			over := make(chan struct{})
			var steady sync.WaitGroup
			other := w.client("carol", "b")
			steady.Go(func() {
				for tick := time.NewTicker(4 * time.Millisecond); ; {
					select {
					case <-over:
						return
					case <-tick.C:
					}
					to, n := one.calm, int64(0)
					if pouring.Load() {
						to, n = "stuck.example", poured.Add(1)
					}
					for _, c := range []*harness.Client{k.c, other} {
						// an error shows elsewhere
						c.Send(fmt.Sprintf("<message type='chat' id='pour-%d' to='nobody@%s'><body>drop</body></message>", n, to))
					}
				}
			})
			for _, c := range []*harness.Client{k.c, other} { // errors for what does not fit are read away
				go func() {
					for {
						if _, err := c.NextWithin(time.Minute); err != nil {
							return
						}
					}
				}()
			}
			defer w.Kill() // it would wait for the stuck peer for a while
			defer steady.Wait()
			defer close(over)
			for range 50 { // the stream to the peer is there, and everything is warm
				k.once(t)
			}
			const pieces, laps = 20, 150
			with, without := make([]time.Duration, 0, pieces*laps), make([]time.Duration, 0, pieces*laps)
			for piece := range 2 * pieces {
				pouring.Store(piece%2 == 1)
				for range laps {
					lap := k.once(t)
					if piece%2 == 1 {
						with = append(with, lap)
					} else {
						without = append(without, lap)
					}
				}
			}
			pouring.Store(false)
			a, b := median(with), median(without)
			ratio := float64(a) / float64(b)
			t.Logf("medians %v with, %v without: ratio %.3f; %d went to the stuck domain", a, b, ratio, 2*poured.Load())
			if ratio >= 1.2 {
				t.Errorf("ratio %.3f of medians %v and %v", ratio, a, b)
			}
			if poured.Load() < 20 {
				t.Errorf("only %d messages for the stuck domain: too few to prove anything", poured.Load())
			}
		})
	}
}

// stuck is the address of a server that does as the script says.
func (w *town) stuck(s fakepeer.Script) string {
	w.t.Helper()
	p := fakepeer.Start(w.t, fakepeer.Options{Domains: []string{"stuck.example"},
		Management: fakepeer.Resume}.Certified(w.t, w.authority, peers.None))
	p.Play(s)
	return p.Addr
}

// mute greets and then says nothing more.
func (w *town) mute() string {
	return w.stuck(fakepeer.Script{Element: func(*fakepeer.Link, fakepeer.Element) bool { return true }})
}

// deaf authenticates, and reads nothing behind the first stanza.
func (w *town) deaf() string {
	var enough atomic.Bool
	over := make(chan struct{})
	addr := w.stuck(fakepeer.Script{
		Element: func(_ *fakepeer.Link, el fakepeer.Element) bool {
			enough.Store(enough.Load() || el.IsStanza())
			return false
		},
		Reading: func() {
			if enough.Load() {
				<-over
			}
		},
	})
	w.t.Cleanup(func() { close(over) })
	return addr
}

// thankless reads, and never answers <r/>.
func (w *town) thankless() string {
	return w.stuck(fakepeer.Script{Element: func(_ *fakepeer.Link, el fakepeer.Element) bool { return el.Is("urn:xmpp:sm:3", "r") }})
}
