//go:build !linux

package embedded

import "errors"

// Punch is for Linux.
func (f dataFile) Punch(int64, int64) error { return errors.ErrUnsupported }

// lockTree is for Linux.
func lockTree(string) (unlock func(), err error) { return func() {}, nil }

// lockDir is for Linux.
func lockDir(string) (unlock func(), err error) { return func() {}, nil }
