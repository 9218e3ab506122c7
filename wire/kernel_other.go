//go:build !linux

package wire

// Kernel is not asked here: what a socket has taken counts as acknowledged.
func (t *Transport) Kernel() (unsent, unread int) { return t.kernelAway() }

// Unsent is not known here: what the socket has taken counts.
func (t *Transport) Unsent() (n int, ok bool) { return 0, false }
