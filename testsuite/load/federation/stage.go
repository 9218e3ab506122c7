package main

import (
	"fmt"
	"os"
	"testing"
)

// A stage stands in for the test that the packages of the test suite expect: what they make lasts until its end, and
// what they cannot go on after is a panic of the type failure.
type stage struct {
	testing.TB // nil: what is not below is not used

	failed bool
	ends   []func()
}

type failure string

func (s *stage) Helper()                       {}
func (s *stage) Cleanup(f func())              { s.ends = append(s.ends, f) }
func (s *stage) Failed() bool                  { return s.failed }
func (s *stage) Logf(text string, args ...any) { fmt.Fprintf(os.Stderr, text+"\n", args...) }

func (s *stage) Errorf(text string, args ...any) {
	s.failed = true
	s.Logf(text, args...)
}

func (s *stage) Fatal(args ...any) {
	s.failed = true
	panic(failure(fmt.Sprint(args...)))
}

func (s *stage) Fatalf(text string, args ...any) { s.Fatal(fmt.Sprintf(text, args...)) }

// TempDir is a folder that others may enter, as servers may run as other users.
func (s *stage) TempDir() string {
	dir, err := os.MkdirTemp("", "federation-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { os.RemoveAll(dir) }) // what is left is the system's to clean
	return dir
}

// end undoes what has been made, last first.
func (s *stage) end() {
	for len(s.ends) > 0 {
		last := s.ends[len(s.ends)-1]
		s.ends = s.ends[:len(s.ends)-1]
		last()
	}
}
