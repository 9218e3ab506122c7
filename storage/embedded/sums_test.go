package embedded

import (
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Whatever bit of the tree's pages the disk changes, it is said when the store is opened: nothing panics, nothing is
// wrong without a word.
func TestChangedBitInTheTreeIsFound(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	e, err := OpenWith(dir, Options{files: hasty{}})
	if err != nil {
		t.Fatal(err)
	}
	p := newPromises()
	p.live(t, e, 120)
	if _, _, err := e.Map("roster").Update(t.Context(), "owner0", 0); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, treeName)
	f, err := osFiles{}.open(path)
	if err != nil {
		t.Fatal(err)
	}
	metas, err := readMetas(f)
	if err != nil || len(metas) != 2 {
		t.Fatalf("%d metas, %v", len(metas), err)
	}
	used, err := (&pageReader{file: f, size: metas[0].size}).sums(metas[0], nil)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 40 {
		n := random.IntN(len(used)-2) + 2
		if used[n] == 0 {
			continue
		}
		bit := n*metas[0].size*8 + random.IntN(metas[0].size*8)
		whole[bit/8] ^= 1 << (bit % 8)
		damaged := filepath.Join(t.TempDir(), "damaged")
		if err := os.CopyFS(damaged, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(damaged, treeName), whole, 0o600); err != nil {
			t.Fatal(err)
		}
		if problems, err := Verify(damaged); err != nil || len(problems) == 0 {
			t.Errorf("page %d is damaged and verified as whole", n)
		}
		// The state before may be whole, and holds the same after a clean end.
		if err := p.kept(damaged); err != nil && !strings.Contains(err.Error(), "is damaged") {
			t.Errorf("bit %d of page %d: %v", bit%8, n, err)
		}
		whole[bit/8] ^= 1 << (bit % 8)
	}
	if problems, err := Verify(dir); err != nil || len(problems) > 0 {
		t.Errorf("a whole store: %q", problems)
	}
}

// Without checksums, as an earlier version leaves it, a damaged tree is an error or is read; nothing panics.
func TestTreeWithoutChecksumsDoesNotPanic(t *testing.T) {
	dir, p := lived(t)
	if err := os.Remove(filepath.Join(dir, sumsName)); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(filepath.Join(dir, treeName))
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(3, 4))
	for range 40 {
		bit := random.IntN(len(whole) * 8)
		whole[bit/8] ^= 1 << (bit % 8)
		damaged := filepath.Join(t.TempDir(), "damaged")
		if err := os.CopyFS(damaged, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(damaged, treeName), whole, 0o600); err != nil {
			t.Fatal(err)
		}
		_ = p.kept(damaged) // says so, or does not see it
		whole[bit/8] ^= 1 << (bit % 8)
	}
	for _, size := range []int{len(whole) / 2, 8192, 5000, 100} {
		damaged := filepath.Join(t.TempDir(), "damaged")
		if err := os.CopyFS(damaged, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(filepath.Join(damaged, treeName), int64(size)); err != nil {
			t.Fatal(err)
		}
		if err := p.kept(damaged); err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("of %d bytes: %v", size, err)
		}
	}
}

// Where the newest state of the tree is damaged, the one before and the journals since hold everything.
func TestDamagedStateIsLeftForTheOneBefore(t *testing.T) {
	f := newRAM(nil)
	p := newPromises()
	type moment struct {
		*ram
		*promises
	}
	var moments []moment
	f.event = func(what string) {
		if what == "rename "+sumsName+".new" {
			p.mu.Lock()
			now := &promises{want: map[string]map[uint64]string{}, gone: maps.Clone(p.gone)}
			for owner, records := range p.want {
				now.want[owner] = maps.Clone(records)
			}
			p.mu.Unlock()
			moments = append(moments, moment{f.killed(), now})
		}
	}
	e, err := OpenWith("data", Options{files: f, JournalBytes: 30_000, idle: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	p.live(t, e, 120)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	back := 0
	for n, m := range moments {
		dir := m.onDisk(t)
		states, err := readSums(osFiles{}, dir)
		if err != nil {
			t.Fatal(err)
		}
		if len(states) < 2 {
			continue
		}
		tree, err := os.OpenFile(filepath.Join(dir, treeName), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		for page := range states[0].of { // each that is new in the newest state
			if states[0].of[page] != 0 && (page >= len(states[1].of) || states[1].of[page] == 0) {
				if _, err := tree.WriteAt([]byte("damage"), int64(page*os.Getpagesize()+40)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := tree.Close(); err != nil {
			t.Fatal(err)
		}
		if err := m.kept(dir); err != nil {
			t.Errorf("after merge %d: %v", n, err)
		}
		back++
	}
	if back < 3 {
		t.Errorf("only %d states were damaged", back)
	}
}
