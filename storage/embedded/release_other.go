//go:build !linux

package embedded

// release is for Linux.
func (e *engine) release() {}
