package backup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"jackdaw/storage"
)

// restoring is where files are until all are there. A crash leaves it, and a second Restore begins anew.
const restoring = ".restoring"

// Restore puts the files into a data directory, which must be empty or not there. It checks each while it is copied.
func (g *Generation) Restore(data string) error {
	if err := free(data); err != nil {
		return err
	}
	tmp := filepath.Join(data, restoring)
	if err := errors.Join(os.RemoveAll(tmp), os.MkdirAll(tmp, 0o700)); err != nil {
		return err
	}
	for _, f := range g.Files {
		if err := g.restore(tmp, f); err != nil {
			return fmt.Errorf("restore %s: %w", f.Path, err)
		}
	}
	if err := syncFolders(tmp); err != nil {
		return err
	}
	entries, err := os.ReadDir(tmp)
	if err != nil {
		return err
	}
	// The store comes last: with it the directory is whole, without it no server starts on the half of it for long.
	for _, last := range []bool{false, true} {
		for _, e := range entries {
			if (e.Name() == "store") == last {
				if err := os.Rename(filepath.Join(tmp, e.Name()), filepath.Join(data, e.Name())); err != nil {
					return err
				}
			}
		}
	}
	if err := os.Remove(tmp); err != nil {
		return err
	}
	return storage.SyncPath(data)
}

// free refuses a directory that holds anything but what an earlier Restore has left that did not come to its end.
func free(data string) error {
	entries, err := os.ReadDir(data)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	begun := false
	for _, e := range entries {
		begun = begun || e.Name() == restoring
		if e.Name() == "store" {
			begun = false
			break
		}
	}
	if len(entries) > 0 && !begun {
		return fmt.Errorf("%s is not empty: a backup is restored into an empty data directory only. Stop the server, "+
			"move what is there away (mv %s %s.before), and run this again", data, data, data)
	}
	for _, e := range entries {
		if e.Name() != restoring {
			if err := os.RemoveAll(filepath.Join(data, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

func (g *Generation) restore(tmp string, f File) error {
	to := filepath.Join(tmp, filepath.FromSlash(f.Path))
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err = g.copy(out, f); err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}
