//go:build !linux

package wire

// AwaitLater is not possible here.
func (t *Transport) AwaitLater(func()) bool { return false }

func (t *Transport) awaken() {}
