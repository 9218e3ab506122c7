package operation

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"jackdaw/testsuite/harness"
)

// flip changes a bit at each of some places of the only file of that name.
func flip(t *testing.T, pattern string, where func(b []byte) []int) {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) != 1 {
		t.Fatalf("%s: %q, %v", pattern, paths, err)
	}
	b, err := os.ReadFile(paths[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range where(b) {
		b[at] ^= 4
	}
	if err := os.WriteFile(paths[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestVerifyNamesWhatIsDamaged(t *testing.T) {
	s := harness.Start(t, harness.Options{Users: []string{"alice", "bob"}, Config: "limits: {stream_rate: 100000000, stream_burst: 100000000}"})
	store := filepath.Join(s.Dir, "data", "store")
	verify := func(want int, texts ...string) {
		t.Helper()
		out, err := s.TryCommand("", "verify")
		lines := strings.Split(strings.TrimSpace(out), "\n")
		code := 0
		if err != nil {
			code = 1
		}
		if code != want || len(lines) != len(texts) {
			t.Errorf("%v, %d lines:\n%s", err, len(lines), out)
			return
		}
		for i, text := range texts {
			if !strings.Contains(lines[i], text) {
				t.Errorf("no %q in %q", text, lines[i])
			}
		}
	}
	talk := func(name string) {
		t.Helper()
		w := newWriter(t, s)
		defer w.Close()
		for i := range 20 {
			if ok, err := w.try(fmt.Sprint(name, i)); !ok {
				t.Fatalf("message %d: %v", i, err)
			}
		}
	}
	// with changes the store for as long as f runs.
	with := func(f func()) {
		t.Helper()
		kept := filepath.Join(t.TempDir(), "kept")
		if err := os.CopyFS(kept, os.DirFS(store)); err != nil {
			t.Fatal(err)
		}
		f()
		if err := os.RemoveAll(store); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(kept, store); err != nil {
			t.Fatal(err)
		}
	}
	talk("a")
	verify(1, "in use by another jackdaw; stop the server first")
	s.Stop()
	verify(0, "all that is kept is whole")
	with(func() {
		flip(t, filepath.Join(store, "records-*"), func(b []byte) []int { return []int{bytes.IndexByte(b, 'x')} })
		verify(1, "does not match its checksum", "1 damaged")
	})
	with(func() {
		flip(t, filepath.Join(store, "store.db"), func(b []byte) (all []int) { // some of these pages are in use
			for at := range b {
				if bytes.HasPrefix(b[at:], []byte("bob@localhost")) {
					all = append(all, at)
				}
			}
			return all
		})
		verify(1, "store.db is damaged (", "1 damaged")
	})
	s.Launch()
	talk("b")
	s.Kill()
	verify(0, "all that is kept is whole")
	with(func() {
		flip(t, filepath.Join(store, "journal-*"), func(b []byte) []int { return []int{bytes.Index(b, []byte("JDW2")) + 40} })
		verify(1, "is damaged at byte 0; restore the directory from a backup", "1 damaged")
	})
	with(func() {
		flip(t, filepath.Join(store, "journal-*"), func(b []byte) []int { return []int{bytes.LastIndex(b, []byte("JDW2")) + 40} })
		verify(1, "may be damaged at byte", "1 damaged")
	})
	with(func() {
		if err := os.RemoveAll(store); err != nil {
			t.Fatal(err)
		}
		verify(1, "there is no store")
		if _, err := os.Stat(store); err == nil {
			t.Error("to verify has made a store")
		}
	})
	verify(0, "all that is kept is whole")
}
