package redis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"jackdaw/storage"
	"jackdaw/storage/redis/redistest"
)

const (
	heldKey = "{server}:lease:held"
	lastKey = "{server}:lease:last"
)

// journal is a log that can be read.
type journal struct {
	mu sync.Mutex // guards the rest
	b  bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(b)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.String()
}

func (j *journal) logger() *slog.Logger { return slog.New(slog.NewTextHandler(j, nil)) }

// elsewhere is a server on another machine.
func elsewhere() *holder {
	return &holder{ID: "other", Host: "elsewhere.example", PID: 4711, Since: time.Now(),
		Boot: "another", Space: "pid:[1]", Began: "1"}
}

func hold(s *redistest.Server, h *holder, left time.Duration) {
	s.CLI("set", heldKey, h.encode(), "px", fmt.Sprint(left.Milliseconds()))
	s.CLI("set", lastKey, h.encode())
}

func TestSecondServerIsToldWhoHasTheStore(t *testing.T) {
	s := redistest.Start(t)
	first, err := Open(t.Context(), Options{Addrs: []string{s.Addr}})
	if err != nil {
		t.Fatal(err)
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	_, err = Open(t.Context(), Options{Addrs: []string{s.Addr}})
	process := fmt.Sprint("process ", os.Getpid())
	for _, want := range []string{"in use by another jackdaw", host, process, "since 20", "storage.redis.prefix"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the second server is told %v, without %q", err, want)
		}
	}
	open(t, Options{Addrs: []string{s.Addr}, Prefix: "another:"})
	if _, err := add(first, "romeo", 1); err != nil {
		t.Errorf("the first server: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	open(t, Options{Addrs: []string{s.Addr}})
	if took := time.Since(begun); took > leaseTime/2 {
		t.Errorf("after a clean end the store was opened in %v", took)
	}
}

func TestLeaseOfADeadProcessIsTakenOverAtOnce(t *testing.T) {
	s := redistest.Start(t)
	child := exec.Command("true")
	if err := child.Run(); err != nil {
		t.Fatal(err)
	}
	dead := self()
	dead.PID = child.Process.Pid
	reused := self() // our number, given to us after its end
	reused.Began = "1"
	for _, h := range []holder{dead, reused} {
		hold(s, &h, leaseTime)
		begun := time.Now()
		var log journal
		e, err := Open(t.Context(), Options{Addrs: []string{s.Addr}, Log: log.logger()})
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took > leaseTime/2 {
			t.Errorf("the store was opened after %v", took)
		}
		if !strings.Contains(log.String(), "taken over") {
			t.Errorf("log: %s", &log)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestLeaseOfAnotherMachineIsWaitedForUnlessItIsRenewed(t *testing.T) {
	s := redistest.Start(t)
	type opened struct {
		storage.Engine
		error
	}
	// waiting opens the store while another machine has the lease, and returns when it waits for that.
	waiting := func(ctx context.Context) <-chan opened {
		hold(s, elsewhere(), time.Hour)
		log, end := &journal{}, make(chan opened, 1)
		go func() {
			e, err := Open(ctx, Options{Addrs: []string{s.Addr}, Log: log.logger()})
			end <- opened{e, err}
		}()
		eventually(t, "it waits", func() bool {
			return strings.Contains(log.String(), "waiting until the lease") && strings.Contains(log.String(), "elsewhere.example")
		})
		return end
	}

	end := waiting(t.Context())
	if len(end) > 0 {
		t.Error("the store was taken")
	}
	s.CLI("pexpire", heldKey, "1")
	e := <-end
	if e.error != nil {
		t.Fatal(e.error)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}

	end = waiting(t.Context())
	s.CLI("pexpire", heldKey, fmt.Sprint((2 * time.Hour).Milliseconds()))
	if e := <-end; e.error == nil || !strings.Contains(e.error.Error(), "host elsewhere.example, process 4711") {
		t.Errorf("while another server renews its lease: %v", e.error)
	}

	ctx, cancel := context.WithCancel(t.Context())
	end = waiting(ctx)
	cancel()
	if e := <-end; !errors.Is(e.error, context.Canceled) {
		t.Errorf("a start that is broken off while it waits: %v", e.error)
	}
}

func TestServerWhoseLeaseWasTakenAcknowledgesNothing(t *testing.T) {
	for name, take := range map[string]func(*redistest.Server){
		"taken": func(s *redistest.Server) { hold(s, elsewhere(), time.Hour) },
		"taken and given back": func(s *redistest.Server) {
			hold(s, elsewhere(), time.Hour)
			s.CLI("del", heldKey)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := redistest.Start(t)
			var log journal
			e, err := Open(t.Context(), Options{Addrs: []string{s.Addr}, Log: log.logger()})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := add(e, "romeo", 1); err != nil {
				t.Fatal(err)
			}
			take(s)
			eventually(t, "the engine knows", func() bool { return errors.Is(e.Err(), storage.ErrTaken) })
			for range 2 {
				_, err := add(e, "romeo", 2)
				if !errors.Is(err, storage.ErrUnavailable) || !errors.Is(err, storage.ErrTaken) {
					t.Errorf("a write: %v", err)
				}
				_, _, err = e.Map("roster").Update(t.Context(), "romeo", storage.AnyVersion)
				if !errors.Is(err, storage.ErrTaken) {
					t.Errorf("an update without changes: %v", err)
				}
			}
			if n := strings.Count(log.String(), "level=ERROR"); n != 1 || !strings.Contains(log.String(), "elsewhere.example") {
				t.Errorf("%d errors in the log: %s", n, &log)
			}
			if err := e.Close(); err != nil {
				t.Error(err)
			}
			if held := strings.TrimSpace(s.CLI("exists", heldKey)) == "1"; held != (name == "taken") {
				t.Errorf("after Close the other has its lease: %v", held)
			}
		})
	}
}

func TestLeaseIsTakenUpAgainWhenRedisHasForgottenIt(t *testing.T) {
	s := redistest.Start(t)
	e := open(t, Options{Addrs: []string{s.Addr}})
	for _, forget := range []func(){
		func() { s.CLI("del", heldKey) },
		func() { s.CLI("flushall") },
		func() { s.Kill(); s.Restart() },
	} {
		forget()
		eventually(t, "the lease is back", func() bool { return strings.TrimSpace(s.CLI("exists", heldKey)) == "1" })
		eventually(t, "the engine is well", func() bool { return e.Err() == nil })
		if _, err := add(e, "romeo", 1); err != nil {
			t.Error(err)
		}
	}
}

func TestNothingIsWrittenAfterTheEndOfTheLease(t *testing.T) {
	s := redistest.Start(t)
	e := open(t, Options{Addrs: []string{s.Addr}}).(*engine)
	e.lease.until.Store(0)
	e.stop()
	e.probing.Wait()
	written := make(chan error)
	go func() {
		_, err := add(e, "romeo", 1)
		written <- err
	}()
	if err := e.renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-written; err != nil {
		t.Errorf("a write that may wait until the lease is renewed: %v", err)
	}
	e.lease.until.Store(0)
	_, _, p := give(t, e, "romeo", "2")
	unfinishedAfter(t, p, Patience+Patience/2)
	text, err := readTail(strings.TrimSuffix(s.CLI("--raw", "get", "{romeo}:archive:o"), "\n"))
	if len(text.records) != 1 || err != nil {
		t.Errorf("after the end there are %d records, %v", len(text.records), err)
	}
	if err := e.renew(t.Context()); err != nil { // which the probe would have done
		t.Fatal(err)
	}
	e.away.Store(nil)
	e.unshelve(true)
	finishes(t, p)
	if got := data(t, e, "romeo"); fmt.Sprint(got) != "[1 2]" {
		t.Errorf("records %v", got)
	}
}
