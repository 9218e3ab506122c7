package web

import (
	"bytes"
	"os"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// peerOf asks the kernel (unix(7), SO_PEERCRED).
func peerOf(c syscall.Conn) (p Peer, ok bool) {
	raw, err := c.SyscallConn()
	if err != nil {
		return p, false
	}
	err = raw.Control(func(fd uintptr) {
		if u, bad := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); bad == nil {
			p, ok = Peer{u.Uid, u.Gid}, true
		}
	})
	if err != nil || !ok || p.UID == strangerUID() || p.GID == strangerGID() {
		return Peer{}, false
	}
	return p, true
}

// The kernel has these numbers for all whom it cannot name in our user namespace, such as everybody else where systemd
// runs us with PrivateUsers=yes (user_namespaces(7)). They are nobody's.
var (
	strangerUID = sync.OnceValue(func() uint32 { return overflow("/proc/sys/kernel/overflowuid") })
	strangerGID = sync.OnceValue(func() uint32 { return overflow("/proc/sys/kernel/overflowgid") })
)

func overflow(path string) uint32 {
	b, err := os.ReadFile(path)
	n, bad := strconv.ParseUint(string(bytes.TrimSpace(b)), 10, 32)
	if err != nil || bad != nil {
		return 65534 // as it is everywhere
	}
	return uint32(n)
}
