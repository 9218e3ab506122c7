//go:build unix

package storage

import (
	"os"
	"syscall"
)

// ownedByUs says whether a directory belongs to the user of this process.
func ownedByUs(dir string) bool {
	info, err := os.Stat(dir)
	if err != nil {
		return false
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(s.Uid) == os.Geteuid()
}
