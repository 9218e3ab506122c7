//go:build !linux

package web

import "syscall"

// peerOf knows no way here.
func peerOf(syscall.Conn) (p Peer, ok bool) { return p, false }
