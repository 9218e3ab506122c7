package embedded

import (
	"os"

	"golang.org/x/sys/unix"
)

func (f dataFile) Sync() error {
	if done, err := flush(f.File); done {
		return err
	}
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if err != unix.EINTR {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}

func (f dataFile) Punch(at, size int64) error {
	for {
		err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, at, size)
		if err != unix.EINTR {
			return os.NewSyscallError("fallocate", err)
		}
	}
}

func (f dataFile) Allocate(size int64, within bool) error {
	mode := uint32(0)
	if within {
		mode = unix.FALLOC_FL_KEEP_SIZE
	}
	for {
		err := unix.Fallocate(int(f.Fd()), mode, 0, size)
		if err != unix.EINTR {
			return os.NewSyscallError("fallocate", err)
		}
	}
}

func (osFiles) total(dir string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, os.NewSyscallError("statfs", err)
	}
	return int64(s.Blocks) * int64(s.Bsize), nil
}

func (osFiles) lock(path string) (unlock func(), err error) {
	d, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	// A file system that has no locks for directories has the lock of the tree, which is taken a moment later.
	if err := unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == unix.EWOULDBLOCK {
		d.Close() // it was only read
		return nil, errInUse
	}
	return func() { d.Close() }, nil
}
