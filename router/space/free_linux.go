package space

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Free says how many bytes the server may still write on the disk of a directory, and how large the disk is.
func Free(dir string) (left, all int64, err error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, 0, fmt.Errorf("ask for free space: %w", err)
	}
	return int64(s.Bavail) * int64(s.Bsize), int64(s.Blocks) * int64(s.Bsize), nil
}
