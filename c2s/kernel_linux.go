package c2s

import "golang.org/x/sys/unix"

// kernel says how many bytes the kernel holds that the client's has not acknowledged, and how many that came from the
// client and were not read. For a connection that is none of the kernel's both are 0.
func (t *transport) kernel() (unsent, unread int) {
	if t.raw == nil {
		return 0, 0
	}
	ask := func(fd uintptr) {
		// What it cannot say, or of a connection that is closed, is 0.
		unsent, _ = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ)
		unread, _ = unix.IoctlGetInt(int(fd), unix.SIOCINQ)
	}
	if t.raw.Control(ask) != nil {
		return 0, 0
	}
	return unsent, unread
}
