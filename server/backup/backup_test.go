package backup

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var moment = time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC)

// put adds files to a generation, given as path, key and content; those without content are linked.
func put(t *testing.T, w *Writer, files ...[3]string) {
	t.Helper()
	for _, f := range files {
		if f[2] == "" {
			if err := w.Link(f[0], f[1]); err != nil {
				t.Fatal(err)
			}
			continue
		}
		out, err := w.Create(f[0], f[1])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := out.Write([]byte(f[2])); err != nil {
			t.Fatal(err)
		}
		if err := out.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func generation(t *testing.T, dir string, at time.Time, keep int, files ...[3]string) *Generation {
	t.Helper()
	w, err := Begin(dir)
	if err != nil {
		t.Fatal(err)
	}
	put(t, w, files...)
	g, err := w.Finish("test", "embedded", at, keep)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestWhatHasNotChangedIsALink(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "backups")
	first := generation(t, dir, moment, 0, [3]string{"store/records-1", "k", "records"}, [3]string{"certs/a", "", "a"})
	w, err := Begin(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(w.Known()) != 1 || w.Known()["store/records-1"] != "k" {
		t.Errorf("known are %v", w.Known())
	}
	if _, err := Begin(dir); err == nil {
		t.Error("two backups at a time")
	}
	for _, f := range [][2]string{{"store/records-1", "other"}, {"certs/b", ""}, {"store/records-2", "k"}} {
		if err := w.Link(f[0], f[1]); err == nil {
			t.Errorf("%v is linked", f)
		}
	}
	if _, err := w.Create("../elsewhere", ""); err == nil {
		t.Error("a file elsewhere is made")
	}
	put(t, w, [3]string{"store/records-1", "k", ""}, [3]string{"certs/a", "", "b"})
	second, err := w.Finish("test", "embedded", moment.Add(time.Second), 0)
	if err != nil {
		t.Fatal(err)
	}
	a, err := os.Stat(first.file(first.Files[1]))
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.Stat(second.file(second.Files[1]))
	if err != nil || !os.SameFile(a, b) || w.Linked != 7 || w.Copied != 1 {
		t.Errorf("it is another file; %d bytes are linked, %d copied (%v)", w.Linked, w.Copied, err)
	}
	for _, path := range []string{dir, second.Dir} {
		if g, err := Open(path); err != nil || g.Dir != second.Dir || len(g.Verify()) > 0 {
			t.Errorf("%s: %+v, %v", path, g, err)
		}
	}
	third := generation(t, dir, moment.Add(time.Minute), 1, [3]string{"store/records-1", "k", ""})
	if names, err := generations(dir); err != nil || len(names) != 1 || len(third.Verify()) > 0 {
		t.Errorf("left are %q, %v, %q", names, err, third.Verify())
	}
}

// A crash in the midst of a backup leaves the one before it whole, and does not hold up the next.
func TestABackupThatWasCutOffIsNone(t *testing.T) {
	dir := t.TempDir()
	first := generation(t, dir, moment, 0, [3]string{"store/store.db", "", "tree"})
	w, err := Begin(dir)
	if err != nil {
		t.Fatal(err)
	}
	put(t, w, [3]string{"store/store.db", "", "half"})
	w.unlock() // as a kill does
	if g, err := Open(dir); err != nil || g.Dir != first.Dir || len(g.Verify()) > 0 {
		t.Errorf("%+v, %v", g, err)
	}
	generation(t, dir, moment.Add(time.Second), 0, [3]string{"store/store.db", "", "whole"})
	if w, err = Begin(dir); err != nil {
		t.Fatal(err)
	}
	w.Abort()
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
		t.Errorf("%v, %v", entries, err)
	}
}

func TestAManifestThatCannotBeTrustedIsRefused(t *testing.T) {
	for name, change := range map[string]func(string) string{
		"a changed bit": func(s string) string { return strings.Replace(s, "tree", "tres", 1) },
		"cut off":       func(s string) string { return s[:len(s)/2] },
		"nothing":       func(string) string { return "" },
	} {
		dir := t.TempDir()
		g := generation(t, dir, moment, 0, [3]string{"store/tree", "", "tree"})
		path := filepath.Join(g.Dir, manifestName)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(change(string(b))), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir); err == nil {
			t.Errorf("%s: it is taken", name)
		}
		// The next backup does without it.
		generation(t, dir, moment.Add(time.Second), 0, [3]string{"store/tree", "", "tree"})
	}
	if _, err := Open(t.TempDir()); err == nil || !strings.Contains(err.Error(), "holds no backup") {
		t.Error(err)
	}
}

func TestARestoreIsAllOrNothing(t *testing.T) {
	g := generation(t, t.TempDir(), moment, 0, [3]string{"store/tree", "", "tree"}, [3]string{"certs/a", "", "a"})
	data := filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(g.file(g.Files[1]), []byte("trea"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := g.Restore(data); err == nil {
		t.Error("a damaged file is restored")
	}
	if entries, err := os.ReadDir(data); err != nil || len(entries) != 1 || entries[0].Name() != restoring {
		t.Errorf("%v, %v", entries, err)
	}
	if err := os.WriteFile(g.file(g.Files[1]), []byte("tree"), 0o600); err != nil {
		t.Fatal(err)
	}
	// One that was cut off between its last steps.
	if err := os.MkdirAll(filepath.Join(data, "certs"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := g.Restore(data); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(data, "store", "tree")); err != nil || string(b) != "tree" {
		t.Errorf("%q, %v", b, err)
	}
	if entries, err := os.ReadDir(data); err != nil || len(entries) != 2 {
		t.Errorf("%v, %v", entries, err)
	}
	if err := g.Restore(data); err == nil || !strings.Contains(err.Error(), "is not empty") {
		t.Errorf("over what is there: %v", err)
	}
}
