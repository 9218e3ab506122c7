//go:build !linux

package embedded

import "errors"

// Punch is for Linux.
func (f dataFile) Punch(int64, int64) error { return errors.ErrUnsupported }

// Allocate is for Linux.
func (f dataFile) Allocate(int64, bool) error { return errors.ErrUnsupported }

func (osFiles) total(string) (int64, error) { return 0, errors.ErrUnsupported }

func (osFiles) lock(string) (unlock func(), err error) { return func() {}, nil }
