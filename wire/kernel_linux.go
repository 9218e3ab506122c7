package wire

import "golang.org/x/sys/unix"

// tcpClose is the state of a connection that has been reset (linux/tcp.h).
const tcpClose = 7

// Kernel says how many bytes the kernel holds that the other side's has not acknowledged, and how many that came and
// were not read. For a connection that is none of any kernel's both are 0.
func (t *Transport) Kernel() (unsent, unread int) {
	if t.raw == nil {
		return t.kernelAway()
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

// Unsent is how many bytes the kernel holds that the other side's has not acknowledged, at least one if nobody knows
// what became of them; ok is false for a connection of which that cannot be known, since it is none of the kernel's.
func (t *Transport) Unsent() (n int, ok bool) {
	if t.raw == nil {
		return 0, false
	}
	var bad error
	dead := false
	closed := t.raw.Control(func(fd uintptr) {
		if n, bad = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ); bad != nil {
			return
		}
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		dead = err != nil || info.State == tcpClose
	})
	if bad != nil || closed != nil || dead {
		return max(n, 1), true
	}
	return n, true
}
