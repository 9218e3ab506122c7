package storage

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestAPathIsSyncedUpToTheFirstDirectoryOfAnother(t *testing.T) {
	failed := errors.New("failed")
	for _, c := range []struct {
		dir, ours string // directories below ours are owned, too
		bad       string
		err       error
		want      []string
		fails     bool
	}{
		{dir: "/srv/jackdaw/data/store", ours: "/srv/jackdaw", want: []string{"/srv/jackdaw/data/store", "/srv/jackdaw/data", "/srv/jackdaw", "/srv"}},
		{dir: "/srv/jackdaw", ours: "/nothing", want: []string{"/srv/jackdaw"}},
		{dir: "/srv/data", ours: "/", want: []string{"/srv/data", "/srv", "/"}},
		{dir: "/srv/jackdaw", ours: "/srv/jackdaw", bad: "/srv", err: fs.ErrPermission, want: []string{"/srv/jackdaw", "/srv"}},
		{dir: "/srv/jackdaw", ours: "/srv/jackdaw", bad: "/srv", err: failed, want: []string{"/srv/jackdaw", "/srv"}, fails: true},
		{dir: "/srv/jackdaw", ours: "/", bad: "/srv/jackdaw", err: fs.ErrPermission, want: []string{"/srv/jackdaw"}, fails: true},
	} {
		var synced []string
		err := syncPath(c.dir, func(dir string) bool {
			return c.ours == "/" || strings.HasPrefix(dir+"/", c.ours+"/")
		}, func(dir string) error {
			synced = append(synced, dir)
			if dir == c.bad {
				return c.err
			}
			return nil
		})
		if c.fails != (err != nil) || err != nil && !errors.Is(err, c.err) || !slices.Equal(synced, c.want) {
			t.Errorf("%s, of which %s is ours: synced %q, %v", c.dir, c.ours, synced, err)
		}
	}
}

func TestWhatIsNotThereCannotBeSynced(t *testing.T) {
	dir := t.TempDir()
	if err := SyncPath(dir); err != nil {
		t.Error(err)
	}
	if err := SyncPath(filepath.Join(dir, "missing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing directory: %v", err)
	}
}
