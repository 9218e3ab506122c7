package storage

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// SyncDir makes the names in a directory durable. fsync of a file says nothing about its name (POSIX, fsync).
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// SyncPath makes the names in a directory durable, its own name, and those of the directories above that this user may
// have made. Whoever relies on a directory calls it each time: the process that made it may have been killed before it
// got here, and its names are in memory only.
func SyncPath(dir string) error { return syncPath(dir, ownedByUs, SyncDir) }

func syncPath(dir string, owned func(dir string) bool, sync func(dir string) error) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if err := sync(dir); err != nil {
		return err
	}
	for ours := owned(dir); ours && dir != filepath.Dir(dir); {
		dir = filepath.Dir(dir)
		ours = owned(dir)
		// One that may not be read is not ours, so nobody made a name there for us.
		if err := sync(dir); err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
	}
	return nil
}
