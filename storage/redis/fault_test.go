package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"jackdaw/storage"
	"jackdaw/storage/redis/redistest"
	"jackdaw/storage/storetest"
)

func open(t *testing.T, o Options) storage.Engine {
	t.Helper()
	e, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return e
}

// add appends a record whose data is n. The error is also ErrUnavailable if the write has no outcome for long.
func add(e storage.Engine, owner string, n int) (uint64, error) {
	id, _, p, err := e.Log("archive").Append(context.Background(), owner, storage.Record{Data: fmt.Append(nil, n)},
		storage.AppendOptions{})
	if err == nil {
		limited, cancel := context.WithTimeout(context.Background(), 2*Patience)
		defer cancel()
		if err = p.Wait(limited); errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("%w: no outcome", storage.ErrUnavailable)
		}
	}
	return id, err
}

// eventually polls until a condition holds.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline, tick := time.After(time.Minute), time.NewTicker(10*time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-deadline:
			t.Fatalf("waited in vain until %s", what)
		case <-tick.C:
		}
	}
}

func data(t *testing.T, e storage.Engine, owner string) []string {
	t.Helper()
	records, _, err := e.Log("archive").Page(t.Context(), owner, storage.Query{Limit: 100000})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, r := range records {
		out = append(out, string(r.Data))
	}
	return out
}

func TestServerGoesAwayAndComesBack(t *testing.T) {
	s := redistest.Start(t)
	e := open(t, Options{Addrs: []string{s.Addr}})
	var acknowledged []string
	write := func(n int) error {
		start := time.Now()
		_, err := add(e, "romeo", n)
		if took := time.Since(start); took > 3*Patience {
			t.Errorf("a call took %v", took)
		}
		if err == nil {
			acknowledged = append(acknowledged, fmt.Sprint(n))
		} else if !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("error while away: %v", err)
		}
		return err
	}
	for n := range 20 {
		if err := write(n); err != nil {
			t.Fatal(err)
		}
	}
	for round := range 2 {
		s.Kill()
		eventually(t, "the engine knows that Redis is away", func() bool { return errors.Is(e.Err(), storage.ErrUnavailable) })
		if write(-1) == nil {
			t.Error("a write while Redis is away was acknowledged")
		}
		_, _, p, err := e.Log("archive").Append(t.Context(), "juliet", storage.Record{}, storage.AppendOptions{})
		if !errors.Is(err, storage.ErrUnavailable) || p != nil {
			t.Errorf("Append while Redis is away: %v", err)
		}
		if _, err := e.Accounts().Get(t.Context(), "romeo@x"); !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("a read while Redis is away: %v", err)
		}
		s.Restart()
		eventually(t, "the engine is well again", func() bool { return e.Err() == nil })
		if err := write(100 + round); err != nil {
			t.Errorf("a write after Redis came back: %v", err)
		}
	}
	if got := data(t, e, "romeo"); fmt.Sprint(got) != fmt.Sprint(acknowledged) {
		t.Errorf("records %v, acknowledged %v", got, acknowledged)
	}
}

func TestKilledServerLosesNothingAcknowledged(t *testing.T) {
	s := redistest.Start(t)
	e := open(t, Options{Addrs: []string{s.Addr}})
	stop := make(chan struct{})
	acknowledged := make([][]string, 4)
	var wg sync.WaitGroup
	var count atomic.Int32
	for w := range acknowledged {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := add(e, fmt.Sprint("owner", w), n); err == nil {
					acknowledged[w] = append(acknowledged[w], fmt.Sprint(n))
					count.Add(1)
				}
			}
		})
	}
	for range 3 {
		before := count.Load()
		eventually(t, "there are writes", func() bool { return count.Load() > before+200 })
		s.Kill()
		s.Restart()
	}
	close(stop)
	wg.Wait()
	eventually(t, "the engine is well again", func() bool { return e.Err() == nil })
	for w, want := range acknowledged {
		allThere(t, fmt.Sprint("owner", w), data(t, e, fmt.Sprint("owner", w)), want)
	}
}

// allThere checks that got holds what was acknowledged, in order, and nothing twice. It may hold more: writes whose
// outcome nobody was told.
func allThere(t *testing.T, owner string, got, acknowledged []string) {
	t.Helper()
	seen, i := make(map[string]bool), 0
	for _, s := range got {
		if seen[s] {
			t.Errorf("%s: record %s is there twice", owner, s)
		}
		seen[s] = true
		if i < len(acknowledged) && s == acknowledged[i] {
			i++
		}
	}
	if i != len(acknowledged) {
		t.Errorf("%s: record %s was acknowledged and is not there, or not in order", owner, acknowledged[i])
	}
}

// cutter is a proxy before Redis that drops the connection instead of handing on a reply, once for each time it is
// armed.
type cutter struct {
	net.Listener
	armed, cuts atomic.Int32
	skip        atomic.Int32 // replies that are let through first
	before      func()       // the connection is dropped; it may be nil
}

func cut(t *testing.T, addr string) *cutter {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{Listener: l}
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
			var script atomic.Bool
			go func() {
				b := make([]byte, 64<<10)
				for {
					n, err := client.Read(b)
					if err != nil {
						server.Close()
						return
					}
					if strings.Contains(strings.ToLower(string(b[:n])), "evalsha") {
						script.Store(true)
					}
					if _, err := server.Write(b[:n]); err != nil {
						return
					}
				}
			}()
			go func() {
				defer client.Close()
				b := make([]byte, 64<<10)
				for {
					n, err := server.Read(b)
					if err != nil {
						return
					}
					if script.Load() && c.armed.Load() > 0 && c.skip.Add(-1) < 0 {
						c.armed.Add(-1)
						c.cuts.Add(1)
						if c.before != nil {
							c.before()
						}
						server.Close()
						return
					}
					if _, err := client.Write(b[:n]); err != nil {
						return
					}
				}
			}()
		}
	}()
	return c
}

func TestWriteWhoseReplyWasLostIsAppliedOnce(t *testing.T) {
	proxy := cut(t, redistest.Start(t).Addr)
	e := open(t, Options{Addrs: []string{proxy.Addr().String()}})
	if _, err := add(e, "warm", 0); err != nil { // the scripts are known now
		t.Fatal(err)
	}
	var want []string
	for n := range 5 {
		proxy.armed.Store(1)
		if _, err := add(e, "romeo", n); err != nil {
			t.Fatal(err)
		}
		want = append(want, fmt.Sprint(n))
	}
	if got := data(t, e, "romeo"); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("records %v, want %v", got, want)
	}
	proxy.armed.Store(1)
	id, dup, _, err := e.Log("archive").Append(t.Context(), "dedup", storage.Record{}, storage.AppendOptions{Dedup: "d"})
	if err != nil || dup || id == 0 {
		t.Errorf("the first with its Dedup value is said to be a dup: %v, %v", dup, err)
	}
	proxy.armed.Store(1)
	if v, _, err := e.Map("roster").Update(t.Context(), "romeo", 0, storage.Change{Key: "k"}); err != nil || v != 1 {
		t.Errorf("conditional update: version %d, %v", v, err)
	}
	proxy.armed.Store(2)
	if v, _, err := e.Map("roster").Update(t.Context(), "romeo", storage.AnyVersion, storage.Change{Key: "k"}); err != nil || v != 2 {
		t.Errorf("update: version %d, %v", v, err)
	}
	if _, err := e.Accounts().Create(t.Context(), storage.Account{User: "warm@x"}); err != nil {
		t.Fatal(err)
	}
	proxy.armed.Store(1)
	if _, err := e.Accounts().Create(t.Context(), storage.Account{User: "romeo@x"}); err != nil {
		t.Errorf("create: %v", err)
	}
	calls := 0
	if _, err := e.Accounts().Modify(t.Context(), "warm@x", func(*storage.Account) error { return nil }); err != nil {
		t.Fatal(err)
	}
	proxy.armed.Store(1)
	if _, err := e.Accounts().Modify(t.Context(), "romeo@x",
		func(a *storage.Account) error { calls++; a.Disabled = true; return nil }); err != nil || calls != 1 {
		t.Errorf("modify: f was called %d times, %v", calls, err)
	}
	if _, err := e.Accounts().Delete(t.Context(), "warm@x"); err != nil {
		t.Fatal(err)
	}
	proxy.armed.Store(1)
	if _, err := e.Accounts().Delete(t.Context(), "romeo@x"); err != nil {
		t.Errorf("delete: %v", err)
	}
	if n := proxy.cuts.Load(); n < 10 {
		t.Errorf("only %d replies were lost", n)
	}
}

func TestFlushedScriptsAreSentAgain(t *testing.T) {
	s := redistest.Start(t)
	e := open(t, Options{Addrs: []string{s.Addr}})
	for n := range 3 {
		if _, err := add(e, "romeo", n); err != nil {
			t.Fatal(err)
		}
		s.CLI("script", "flush")
	}
	if got := data(t, e, "romeo"); len(got) != 3 {
		t.Errorf("records %v", got)
	}
	if _, err := add(e, "", 0); err != nil {
		t.Error(err)
	}
	if got := data(t, e, ""); len(got) != 1 {
		t.Errorf("records of the owner without a name: %v", got)
	}
}

func TestAcknowledgementWaitsForReplicas(t *testing.T) {
	master := redistest.Start(t)
	replica := redistest.StartReplica(t, master)
	e := open(t, Options{Addrs: []string{master.Addr}, WaitReplicas: 1})
	for n := range 10 {
		if _, err := add(e, "romeo", n); err != nil {
			t.Fatal(err)
		}
		text, err := readTail(strings.TrimSuffix(replica.CLI("--raw", "get", "{romeo}:archive:o"), "\n"))
		if got := len(text.records); got != n+1 || err != nil {
			t.Fatalf("after %d acknowledgements the replica has %d records, %v", n+1, got, err)
		}
	}
	if !strings.Contains(e.Promise(), "replica") {
		t.Errorf("promise: %s", e.Promise())
	}
	replica.Kill()
	_, _, p := give(t, e, "romeo", "without the replica")
	unfinishedAfter(t, p, Patience+Patience/2)
	eventually(t, "the engine knows", func() bool { return e.Err() != nil })
	replica.Restart()
	finishes(t, p)
	eventually(t, "the engine is well again", func() bool { return e.Err() == nil })
	if _, err := add(e, "romeo", 11); err != nil {
		t.Errorf("a write with the replica back: %v", err)
	}
}

func TestNoAnswerRestsOnAWriteThatTheReplicasLack(t *testing.T) {
	t.Parallel() // it waits for replies that do not come
	master := redistest.Start(t)
	replica := redistest.StartReplica(t, master)
	e := open(t, Options{Addrs: []string{master.Addr}, WaitReplicas: 1})
	storetest.AfterFailure(t, e, storetest.Fault{
		Hold: replica.Pause, // its connection stays, so the engine goes on trying
		Ready: func() {
			// From Redis 7.2 on WAIT passes on a connection that wrote nothing yet.
			master.CLI("client", "kill", "type", "normal")
			eventually(t, "the engine tries again", func() bool { return e.Err() == nil })
		},
	})
}

func TestSentinelFailsOverWithoutLoss(t *testing.T) {
	master := redistest.Start(t)
	replica := redistest.StartReplica(t, master)
	sentinel := redistest.StartSentinel(t, "jack", master)
	eventually(t, "the sentinel knows the replica", func() bool { return strings.Contains(sentinel.CLI("sentinel", "replicas", "jack"), "name") })
	if _, err := Open(t.Context(), Options{Addrs: []string{sentinel.Addr}, MasterName: "other"}); err == nil ||
		!strings.Contains(err.Error(), "master_name") {
		t.Errorf("with an unknown master: %v", err)
	}
	e := open(t, Options{Addrs: []string{sentinel.Addr}, MasterName: "jack"})
	for n := range 10 {
		if _, err := add(e, "romeo", n); err != nil {
			t.Fatal(err)
		}
	}
	// What was written is with the replica before the master dies. WAIT would tell of its own connection only, which
	// wrote nothing.
	had := master.CLI("get", "{romeo}:archive:o")
	eventually(t, "the replica has the records", func() bool { return replica.CLI("get", "{romeo}:archive:o") == had })
	master.Kill()
	eventually(t, "the engine writes to the new master", func() bool { _, err := add(e, "juliet", 0); return err == nil })
	// A probe that began with the old master may still say for a moment that it is away.
	eventually(t, "all records are there after the fail-over", func() bool {
		records, _, err := e.Log("archive").Page(t.Context(), "romeo", storage.Query{})
		return err == nil && len(records) == 10
	})
	if !strings.Contains(e.Promise(), "FAIL-OVER") {
		t.Errorf("promise: %s", e.Promise())
	}
}

func TestClusterMovesSlotsWhileWeWrite(t *testing.T) {
	nodes := redistest.StartCluster(t)
	e := open(t, Options{Addrs: []string{nodes[1].Addr}}) // one is enough
	stop := make(chan struct{})
	acknowledged := make([][]string, 24)
	var wg sync.WaitGroup
	for w := range 3 {
		wg.Go(func() {
			for n := 0; ; n++ {
				for o := w; o < len(acknowledged); o += 3 {
					select {
					case <-stop:
						return
					default:
					}
					// On a busy machine moving a slot may take longer than our patience.
					if _, err := add(e, fmt.Sprint("owner", o), n); err == nil {
						acknowledged[o] = append(acknowledged[o], fmt.Sprint(n))
					} else if !errors.Is(err, storage.ErrUnavailable) {
						t.Errorf("owner %d: %v", o, err)
					}
				}
			}
		})
	}
	from, to := strings.TrimSpace(nodes[0].CLI("cluster", "myid")), strings.TrimSpace(nodes[2].CLI("cluster", "myid"))
	out, err := exec.Command("redis-cli", "--cluster", "reshard", nodes[0].Addr, "--cluster-from", from, "--cluster-to", to,
		"--cluster-slots", "600", "--cluster-yes").CombinedOutput()
	close(stop)
	wg.Wait()
	if err != nil {
		t.Fatalf("reshard: %v\n%s", err, out)
	}
	for o, want := range acknowledged {
		if len(want) == 0 {
			t.Errorf("nothing was acknowledged for owner %d", o)
		}
		allThere(t, fmt.Sprint("owner", o), data(t, e, fmt.Sprint("owner", o)), want)
	}
}

func TestPromiseFollowsFromTheSettings(t *testing.T) {
	s := redistest.Start(t)
	for _, test := range []struct{ appendonly, appendfsync, want string }{
		{"yes", "always", "neither a crash nor a power cut"},
		{"yes", "everysec", "up to 2 s"},
		{"yes", "no", "30 s and more"},
		{"no", "always", "NO APPEND-ONLY FILE"},
	} {
		s.CLI("config", "set", "appendonly", test.appendonly, "appendfsync", test.appendfsync, "min-replicas-to-write", "0")
		if p := open(t, Options{Addrs: []string{s.Addr}, Prefix: test.want}).Promise(); !strings.Contains(p, test.want) {
			t.Errorf("%+v: %s", test, p)
		}
	}
	s.CLI("acl", "setuser", "jack", "on", ">secret", "~*", "&*", "+@all", "-config")
	if p := open(t, Options{Addrs: []string{s.Addr}, Username: "jack", Password: "secret"}).Promise(); !strings.Contains(p, "does not tell") {
		t.Errorf("without CONFIG: %s", p)
	}
}

func TestOpenSaysWhatToDo(t *testing.T) {
	s := redistest.Start(t, "--requirepass", "secret")
	for _, test := range []struct {
		o    Options
		want string
	}{
		{Options{}, "storage.redis.addrs"},
		{Options{Addrs: []string{s.Addr}, Prefix: "{x}"}, "braces"},
		{Options{Addrs: []string{s.Addr}}, "password"},
		{Options{Addrs: []string{s.Addr}, Password: "wrong"}, "password"},
		{Options{Addrs: []string{"127.0.0.1:1"}}, "is Redis running"},
	} {
		if _, err := Open(t.Context(), test.o); err == nil || !strings.Contains(err.Error(), test.want) ||
			strings.Contains(err.Error(), "secret") {
			t.Errorf("%+v: %v", test.o, err)
		}
	}
}
