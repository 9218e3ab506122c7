package embedded

import (
	"os"

	"golang.org/x/sys/unix"
)

// punch gives a part of a file back to the file system; it reads as zeros then. Not every file system can.
func punch(f *os.File, at, size int64) error {
	for {
		err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, at, size)
		if err != unix.EINTR {
			return os.NewSyscallError("fallocate", err)
		}
	}
}
