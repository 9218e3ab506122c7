package embedded

import (
	"os"

	"golang.org/x/sys/unix"
)

// dataFile is a file whose Sync leaves out what is not needed to read the data, such as times.
type dataFile struct{ *os.File }

func (f dataFile) Sync() error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if err != unix.EINTR {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}
