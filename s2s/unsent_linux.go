package s2s

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// tcpClose is the state of a connection that has been reset (linux/tcp.h).
const tcpClose = 7

// unsent is how many bytes the kernel holds that the peer's has not acknowledged; ok is false for a connection of which
// that cannot be known, since it is none of the kernel's.
func unsent(c net.Conn) (n int, ok bool) {
	sc, is := c.(syscall.Conn)
	if !is {
		return 0, false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return 1, true // it is closed: who knows
	}
	dead := false
	err2 := raw.Control(func(fd uintptr) {
		if n, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ); err != nil {
			return
		}
		info, e := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		dead = e != nil || info.State == tcpClose
	})
	if err != nil || err2 != nil || dead {
		return max(n, 1), true
	}
	return n, true
}
