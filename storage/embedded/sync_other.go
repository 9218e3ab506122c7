//go:build !linux

package embedded

import "os"

// dataFile is for Linux.
type dataFile struct{ *os.File }
