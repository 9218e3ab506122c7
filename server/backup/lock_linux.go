package backup

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// lock keeps other backups out of a directory.
func lock(dir string) (unlock func(), err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == unix.EWOULDBLOCK {
		d.Close() // it was only opened
		return nil, errors.New("another backup is under way there")
	} // a file system that has no locks for directories has none
	return func() { d.Close() }, nil
}
