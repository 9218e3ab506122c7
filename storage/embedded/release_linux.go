package embedded

import (
	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// release takes the pages of the tree's file out of this process's memory, where merging left them all. They stay in
// the system's cache and come back when read.
func (e *engine) release() {
	_ = e.tree.View(func(tx *bbolt.Tx) error { // the transaction keeps the mapping where it is
		_, _, errno := unix.Syscall(unix.SYS_MADVISE, e.tree.Info().Data, uintptr(tx.Size()), unix.MADV_DONTNEED)
		return errno // only a matter of numbers: nothing is lost if it does not work
	})
}
