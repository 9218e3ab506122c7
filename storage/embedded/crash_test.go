package embedded

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"jackdaw/storage"
)

// crashDir names the directory that a child process writes to until it is killed.
const crashDir = "JACKDAW_TEST_CRASH_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		if err := appendForEver(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(1)
	}
	slog.SetDefault(slog.New(slog.DiscardHandler)) // much of what is tested is told there
	goleak.VerifyTestMain(m)
}

const crashWriters = 4

// crashData is a record that is long enough for blocks to go into segments.
func crashData(i int) []byte { return fmt.Appendf(nil, "%0400d", i) }

// appendForEver appends to the logs of some owners and prints "owner id number" once a record is durable.
func appendForEver(dir string) error {
	e, err := OpenWith(dir, Options{JournalBytes: 20_000})
	if err != nil {
		return err
	}
	ctx, l := context.Background(), e.Log("archive")
	var mu sync.Mutex
	failed := make(chan error)
	for w := range crashWriters {
		go func() {
			owner := fmt.Sprint("owner", w)
			n, _, err := l.Size(ctx, owner)
			for i := n; err == nil; i++ {
				var id uint64
				var p *storage.Pending
				id, _, p, err = l.Append(ctx, owner, storage.Record{Peer: "p", Data: crashData(i)},
					storage.AppendOptions{Dedup: fmt.Sprint(i)})
				if err != nil {
					break
				}
				p.Then(func(err error) {
					mu.Lock()
					defer mu.Unlock()
					if err == nil {
						fmt.Println(owner, id, i)
					}
				})
				if i%10 == 0 {
					err = p.Wait(ctx)
				}
			}
			failed <- err
		}()
	}
	return <-failed
}

// Each round kills the writing process at another moment and looks for everything that was acknowledged in any round so
// far.
func TestKilledProcessLosesNothingAcknowledged(t *testing.T) {
	dir := t.TempDir()
	acknowledged := make(map[string][]uint64)
	for round := range 8 {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), crashDir+"="+dir)
		child.Stderr = os.Stderr
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			var owner string
			var id uint64
			var number int
			if _, err := fmt.Sscan(lines.Text(), &owner, &id, &number); err != nil {
				break // the line that the kill cut
			}
			if number != len(acknowledged[owner]) {
				// Durable, but killed before it was printed.
				acknowledged[owner] = append(acknowledged[owner], make([]uint64, max(0, number-len(acknowledged[owner])))...)
			}
			acknowledged[owner] = append(acknowledged[owner], id)
			if n == 100+round*37 {
				if err := child.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = child.Wait() // it was killed

		e, err := Open(dir)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		for w := range crashWriters {
			owner := fmt.Sprint("owner", w)
			records, _, err := e.Log("archive").Page(t.Context(), owner, storage.Query{Limit: 1 << 20})
			if err != nil {
				t.Fatal(err)
			}
			if len(records) < len(acknowledged[owner]) {
				t.Errorf("round %d: %s has %d records, %d were acknowledged", round, owner, len(records), len(acknowledged[owner]))
			}
			n, _, err := e.Log("archive").Size(t.Context(), owner)
			if err != nil || n != len(records) {
				t.Errorf("round %d: %s is said to have %d records and has %d (%v)", round, owner, n, len(records), err)
			}
			for i, r := range records {
				if string(r.Data) != string(crashData(i)) {
					t.Fatalf("round %d: record %d of %s is %q", round, i, owner, r.Data)
				}
				if i < len(acknowledged[owner]) && acknowledged[owner][i] != 0 && acknowledged[owner][i] != r.ID {
					t.Fatalf("round %d: record %d of %s has the id %d, acknowledged as %d", round, i, owner, r.ID, acknowledged[owner][i])
				}
			}
			if len(records) > 0 {
				_, dup, _, err := e.Log("archive").Append(t.Context(), owner, storage.Record{},
					storage.AppendOptions{Dedup: strconv.Itoa(len(records) - 1)})
				if err != nil || !dup {
					t.Errorf("round %d: the last record of %s is not known as a dup (%v)", round, owner, err)
				}
			}
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(acknowledged) != crashWriters {
		t.Errorf("only %d owners were written to", len(acknowledged))
	}
}

func TestSecondProcessIsKeptOut(t *testing.T) {
	dir := t.TempDir() + "/data"
	e, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "in use by another jackdaw") {
		t.Errorf("second Open: %v", err)
	}
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode of the directory: %v, %v", info.Mode(), err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	if e, err = Open(dir); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

func TestDedupValuesAreGoneAfterTwoDays(t *testing.T) {
	now := time.Date(2026, 11, 1, 23, 59, 0, 0, time.UTC)
	dir := t.TempDir()
	for _, test := range []struct {
		later time.Duration
		dup   bool
	}{{0, false}, {23 * time.Hour, true}, {25 * time.Hour, false}, {47 * time.Hour, false}} {
		now = now.Add(test.later)
		opened, err := OpenWith(dir, Options{Now: func() time.Time { return now }})
		if err != nil {
			t.Fatal(err)
		}
		e := opened.(*engine)
		_, dup, p, err := e.Log("offline").Append(t.Context(), "romeo", storage.Record{}, storage.AppendOptions{Dedup: "d"})
		if err != nil || dup != test.dup {
			t.Errorf("after %v more: dup %v, %v", test.later, dup, err)
		}
		if err := p.Wait(t.Context()); err != nil {
			t.Error(err)
		}
		if n := len(e.known.Load().gens); n > 2 {
			t.Errorf("%d generations are kept", n)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestIdleEngineMergesWhatItHolds(t *testing.T) {
	dir := t.TempDir()
	opened, err := OpenWith(dir, Options{idle: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	e := opened.(*engine)
	deadline := time.After(time.Minute)
	for round := range 5 {
		_, _, p, err := e.Log("archive").Append(t.Context(), "romeo", storage.Record{Data: []byte("x")}, storage.AppendOptions{})
		if err == nil {
			err = p.Wait(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		for merged := false; !merged; {
			select {
			case <-deadline:
				t.Fatal("the table was not merged")
			default:
			}
			tables := e.tables.Load()
			merged = tables.frozen == nil && tables.active.empty()
		}
		if n, _, err := e.Log("archive").Size(t.Context(), "romeo"); err != nil || n != round+1 {
			t.Errorf("%d records, %v", n, err)
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if files, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(files) != 3 { // tree, checksums, room
		t.Errorf("files after Close: %v, %v", files, err)
	}
}
