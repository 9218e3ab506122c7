package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"go.etcd.io/bbolt"

	"jackdaw/storage"
)

// A hasty file system makes nothing durable, which takes long.
type hasty struct{ osFiles }

type hastyFile struct{ file }

type hastyDir struct{ *os.File }

func (hastyDir) Sync() error { return nil }

func (hastyFile) Sync() error { return nil }

func (h hasty) create(path string) (file, error) {
	f, err := h.osFiles.create(path)
	return hastyFile{f}, err
}

func (h hasty) open(path string) (file, error) {
	f, err := h.osFiles.open(path)
	return hastyFile{f}, err
}

func (hasty) openDir(dir string) (syncer, error) {
	d, err := os.Open(dir)
	return hastyDir{d}, err
}
func (hasty) syncPath(string) error { return nil }

func (h hasty) openTree(path string) (*bbolt.DB, error) {
	tree, err := h.osFiles.openTree(path)
	if err == nil {
		tree.NoSync, tree.NoGrowSync = true, true
	}
	return tree, err
}

// promises are what was acknowledged: the records of owners, as they must be found.
type promises struct {
	mu   sync.Mutex
	want map[string]map[uint64]string
	gone map[uint64]bool // may be there or not
}

func newPromises() *promises {
	return &promises{want: map[string]map[uint64]string{}, gone: map[uint64]bool{}}
}

// lived is the directory of a store that was used for a while and closed, and what it has promised.
func lived(t *testing.T) (dir string, p *promises) {
	t.Helper()
	dir, p = filepath.Join(t.TempDir(), "data"), newPromises()
	e, err := OpenWith(dir, Options{files: hasty{}})
	if err != nil {
		t.Fatal(err)
	}
	p.live(t, e, 60)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, p
}

func (p *promises) set(owner string, id uint64, data string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.want[owner] == nil {
		p.want[owner] = map[uint64]string{}
	}
	p.want[owner][id] = data
}

// kept opens a directory and looks for everything that was promised.
func (p *promises) kept(dir string) error {
	e, err := OpenWith(dir, Options{files: hasty{}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	err = p.keptBy(e.Log("archive"))
	return errors.Join(err, e.Close())
}

func (p *promises) keptBy(l storage.Log) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for owner, want := range p.want {
		page, _, err := l.Page(context.Background(), owner, storage.Query{Limit: 1 << 20})
		if err != nil {
			return err
		}
		got := map[uint64]string{}
		for _, r := range page {
			got[r.ID] = string(r.Data)
		}
		for id, data := range want {
			if p.gone[id] {
				continue
			}
			if found, ok := got[id]; !ok {
				return fmt.Errorf("%s has lost record %d of %d", owner, id, len(want))
			} else if found != data {
				return fmt.Errorf("record %d of %s is %.20q…, not %.20q…", id, owner, found, data)
			}
		}
	}
	return nil
}

// live writes for a while: records that fill blocks, some that are replaced, and one owner whose records all go.
func (p *promises) live(t *testing.T, e storage.Engine, rounds int) {
	t.Helper()
	l := e.Log("archive")
	wait := func(pending *storage.Pending, err error) {
		t.Helper()
		if err == nil {
			err = pending.Wait(context.Background())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	var all []uint64
	for i := range rounds {
		owner := fmt.Sprint("owner", i%2)
		data := fmt.Sprintf("%0900d", i)
		id, _, pending, err := l.Append(context.Background(), owner, storage.Record{Peer: "p", Data: []byte(data)},
			storage.AppendOptions{})
		wait(pending, err)
		p.set(owner, id, data)
		if all = append(all, id); i%23 == 22 {
			old := all[i-20+i%2]
			of := fmt.Sprint("owner", (i-20+i%2)%2)
			p.mu.Lock()
			p.gone[old] = true // either of the two until this is acknowledged
			p.mu.Unlock()
			pending, err := l.Replace(context.Background(), of, old, []byte("retracted"))
			wait(pending, err)
			p.set(of, old, "retracted")
			p.mu.Lock()
			delete(p.gone, old)
			p.mu.Unlock()
		}
	}
}
