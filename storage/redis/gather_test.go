package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"jackdaw/storage"
	"jackdaw/storage/redis/redistest"
)

// commands is how many a Redis has run, those in scripts counted.
func commands(t testing.TB, s *redistest.Server) (n int) {
	t.Helper()
	for _, m := range regexp.MustCompile(`:calls=(\d+)`).FindAllStringSubmatch(s.CLI("info", "commandstats"), -1) {
		calls, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		n += calls
	}
	return n
}

func TestWhatIsAtHandLeavesTogether(t *testing.T) {
	s := redistest.Start(t)
	e := open(t, Options{Addrs: []string{s.Addr}})
	l := e.Log("archive")
	const n = 3000
	before := commands(t, s)
	var last *storage.Pending
	for i := range n {
		var err error
		if _, _, last, err = l.Append(t.Context(), fmt.Sprint("owner", i%10), storage.Record{Peer: "juliet", Data: []byte("x")},
			storage.AppendOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := last.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if took := commands(t, s) - before; took > n {
		t.Errorf("%d records took %d commands", n, took)
	}
	for i := range 10 {
		if got := len(data(t, e, fmt.Sprint("owner", i))); got != n/10 {
			t.Errorf("owner %d has %d records", i, got)
		}
	}
	if tokens := strings.Fields(s.CLI("keys", "*:t:*")); len(tokens) > 0 {
		t.Errorf("writes left tokens behind: %v", tokens)
	}
}

func TestRecordRemovedBeforeItIsSentIsNeverSent(t *testing.T) {
	proxy := gated(t, redistest.Start(t).Addr)
	e := open(t, Options{Addrs: []string{proxy.Addr().String()}}).(*engine)
	l := e.Log("offline")
	for range 2 { // so that what comes is expected to be removed
		id, err := addTo(l, "romeo")
		if err != nil {
			t.Fatal(err)
		}
		if p, err := l.Remove(t.Context(), "romeo", id); err != nil || p.Wait(t.Context()) != nil {
			t.Fatal(err)
		}
	}
	proxy.closed.Store(true)
	if _, _, _, err := l.Append(t.Context(), "romeo", storage.Record{Data: []byte("on its way")}, storage.AppendOptions{}); err != nil {
		t.Fatal(err)
	}
	<-proxy.held
	id, _, p, err := l.Append(t.Context(), "romeo", storage.Record{Data: []byte("gathered")}, storage.AppendOptions{})
	if err != nil {
		t.Fatal(err)
	}
	gone, err := l.Remove(t.Context(), "romeo", id)
	if err != nil {
		t.Fatal(err)
	}
	e.mu.Lock()
	b := e.owners["romeo"].open
	b.encode(e)
	sent := fmt.Sprint(b.args...)
	b.args, b.keysN = nil, nil
	e.mu.Unlock()
	if strings.Contains(sent, "gathered") || strings.Contains(sent, "ZADD") || strings.Contains(sent, "ZREM") {
		t.Errorf("what is sent of a record that was removed: %s", sent)
	}
	proxy.release()
	for _, p := range []*storage.Pending{p, gone} {
		if err := p.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if n, _, err := l.Size(t.Context(), "romeo"); n != 1 || err != nil {
		t.Errorf("%d records, %v", n, err)
	}
}

func addTo(l storage.Log, owner string) (uint64, error) {
	id, _, p, err := l.Append(context.Background(), owner, storage.Record{Data: []byte("x")}, storage.AppendOptions{})
	if err == nil {
		err = p.Wait(context.Background())
	}
	return id, err
}

// A gate is a proxy before Redis that keeps the replies to scripts back while it is closed.
type gate struct {
	net.Listener
	closed atomic.Bool
	held   chan struct{} // one for each reply that is kept back
	mu     sync.Mutex    // guards opened
	opened chan struct{}
}

func gated(t *testing.T, addr string) *gate {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{Listener: l, held: make(chan struct{}, 100), opened: make(chan struct{})}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", addr)
			if err != nil {
				client.Close()
				continue
			}
			pass := func(to, from net.Conn, before func()) {
				defer to.Close()
				b := make([]byte, 64<<10)
				for {
					n, err := from.Read(b)
					if err != nil {
						return
					}
					before()
					if _, err := to.Write(b[:n]); err != nil {
						return
					}
				}
			}
			go pass(server, client, func() {})
			go pass(client, server, func() {
				if g.closed.Load() {
					g.mu.Lock()
					opened := g.opened
					g.mu.Unlock()
					g.held <- struct{}{}
					<-opened
				}
			})
		}
	}()
	return g
}

func (g *gate) release() {
	g.closed.Store(false)
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.opened)
	g.opened = make(chan struct{})
}

// acknowledgedEarly says whether a write was acknowledged although its reply was kept back.
func acknowledgedEarly(t *testing.T, early bool) bool {
	t.Helper()
	g := gated(t, redistest.Start(t).Addr)
	e := open(t, Options{Addrs: []string{g.Addr().String()}}).(*engine)
	e.early = early
	if _, err := add(e, "romeo", 0); err != nil {
		t.Fatal(err)
	}
	g.closed.Store(true)
	_, _, p, err := e.Log("archive").Append(t.Context(), "romeo", storage.Record{}, storage.AppendOptions{})
	if err != nil {
		t.Fatal(err)
	}
	<-g.held
	done, _ := p.Finished()
	g.release()
	if err := p.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	return done
}

func TestNothingIsAcknowledgedBeforeTheReply(t *testing.T) {
	if acknowledgedEarly(t, false) {
		t.Error("a write was acknowledged before Redis replied")
	}
	// The negative control: an engine that lies is found out.
	if !acknowledgedEarly(t, true) {
		t.Error("an engine that acknowledges before the reply was not found out")
	}
}

// takenOver is an engine that believes that it has the lease, and the one that took it.
func takenOver(t *testing.T) (first, second *engine) {
	t.Helper()
	s := redistest.Start(t)
	o := Options{Addrs: []string{s.Addr}}
	var log journal
	o.Log = log.logger()
	first = open(t, o).(*engine)
	for _, owner := range []string{"romeo", "juliet"} {
		if _, err := add(first, owner, 1); err != nil {
			t.Fatal(err)
		}
	}
	first.stop()
	first.probing.Wait()
	first.lease.begin(time.Now().Add(time.Hour))
	s.CLI("del", heldKey)
	second = open(t, o).(*engine)
	if _, err := add(second, "romeo", 2); err != nil {
		t.Fatal(err)
	}
	return first, second
}

func TestServerThatWokeUpIsRefusedByTheFence(t *testing.T) {
	for _, forget := range []bool{false, true} { // with what it knows of the owner, and without
		first, second := takenOver(t)
		if forget {
			first.doubt()
		}
		if _, err := add(first, "romeo", 3); !errors.Is(err, storage.ErrTaken) || !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("a write behind another server's: %v", err)
		}
		if err := first.Err(); !errors.Is(err, storage.ErrTaken) {
			t.Errorf("the server goes on: %v", err)
		}
		if got := fmt.Sprint(data(t, second, "romeo")); got != "[1 2]" {
			t.Errorf("records %v", got)
		}
		if _, err := add(second, "romeo", 4); err != nil {
			t.Errorf("the other server: %v", err)
		}
	}
	// The negative control: it is the fence that refuses.
	first, second := takenOver(t)
	first.lease.fence = second.lease.fence
	first.doubt()
	if _, err := add(first, "romeo", 3); err != nil {
		t.Errorf("without a fence: %v", err)
	}
}

func TestFenceRisesAlthoughRedisHasForgottenIt(t *testing.T) {
	s := redistest.Start(t)
	last := uint64(0)
	for round := range 4 {
		opened, err := Open(t.Context(), Options{Addrs: []string{s.Addr}})
		if err != nil {
			t.Fatal(err)
		}
		e := opened.(*engine)
		if e.lease.fence <= last {
			t.Errorf("fence %d after %d", e.lease.fence, last)
		}
		last = e.lease.fence
		if _, err := add(e, "romeo", round); err != nil {
			t.Error(err)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		if round == 1 {
			s.CLI("del", "{server}:lease:fence")
		}
	}
}

func TestBatchThatComesLateChangesNothing(t *testing.T) {
	s := redistest.Start(t)
	e := open(t, Options{Addrs: []string{s.Addr}}).(*engine)
	if _, err := add(e, "romeo", 1); err != nil {
		t.Fatal(err)
	}
	token := strings.TrimSpace(s.CLI("get", e.tokenKey("romeo")))
	if _, err := add(e, "romeo", 2); err != nil {
		t.Fatal(err)
	}
	now := strings.TrimSpace(s.CLI("get", e.tokenKey("romeo")))
	for _, expected := range []string{token, "1:other:0", ""} {
		v, err := applyScript.Eval(t.Context(), e.single, []string{e.tokenKey("romeo"), "{romeo}:archive:d"},
			expected, expected+"1", 1000, 2, "HSET", 2, "late", "x").Result()
		if err != nil || v != now {
			t.Errorf("a batch for %q: reply %v, %v", expected, v, err)
		}
	}
	if got := strings.TrimSpace(s.CLI("hexists", "{romeo}:archive:d", "late")); got != "0" {
		t.Error("a late batch was applied")
	}
	if got := strings.TrimSpace(s.CLI("get", e.tokenKey("romeo"))); got != now {
		t.Errorf("a late batch left the token %q, it was %q", got, now)
	}
	// One that fails half way cannot pass for applied.
	if _, err := applyScript.Eval(t.Context(), e.single, []string{e.tokenKey("romeo"), "{romeo}:archive:o"},
		now, "next", 1000, 2, "ZADD", 2, "1", "x").Result(); err == nil || !strings.Contains(err.Error(), "WRONGTYPE") {
		t.Errorf("a command that fails: %v", err)
	}
	if got := strings.TrimSpace(s.CLI("exists", e.tokenKey("romeo"))); got != "0" {
		t.Error("the token is there although its batch failed")
	}
	if _, err := add(e, "romeo", 3); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("a write whose token is gone: %v", err)
	}
	if _, err := add(e, "romeo", 4); err != nil {
		t.Errorf("the write behind it: %v", err)
	}
	if got := fmt.Sprint(data(t, e, "romeo")); got != "[1 2 4]" {
		t.Errorf("records %v", got)
	}
}

func TestNoMoreIsGatheredThanMayBe(t *testing.T) {
	s := redistest.Start(t)
	e := open(t, Options{Addrs: []string{s.Addr}}).(*engine)
	l := e.Log("archive")
	for w := range 4 {
		if _, err := add(e, fmt.Sprint("owner", w), 0); err != nil {
			t.Fatal(err)
		}
	}
	s.Pause()
	var wg sync.WaitGroup
	var taken atomic.Int64
	for w := range 4 {
		wg.Go(func() {
			for {
				_, _, _, err := l.Append(t.Context(), fmt.Sprint("owner", w), storage.Record{Data: make([]byte, 100<<10)},
					storage.AppendOptions{})
				if err != nil {
					if !errors.Is(err, storage.ErrUnavailable) {
						t.Errorf("over what may wait: %v", err)
					}
					return
				}
				taken.Add(100 << 10)
			}
		})
	}
	wg.Wait()
	if n := taken.Load(); n < mostGathered/2 || n > mostGathered+4*(110<<10) {
		t.Errorf("%d bytes were taken, %d may wait", n, mostGathered)
	}
	s.Kill()
	s.Restart()
	eventually(t, "the engine is well again", func() bool { return e.Err() == nil })
	eventually(t, "what was taken has arrived", func() bool { _, err := add(e, "owner0", 1); return err == nil })
	eventually(t, "nothing counts as waiting", func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		return e.gathered == 0 && e.onShelf == 0
	})
}
