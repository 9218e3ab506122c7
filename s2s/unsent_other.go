//go:build !linux

package s2s

import "net"

// unsent is not known here: what the socket has taken counts.
func unsent(net.Conn) (n int, ok bool) { return 0, false }
