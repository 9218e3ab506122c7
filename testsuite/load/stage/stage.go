// Package stage is what the measuring tools stand on: what the packages of the test suite expect of a test, the CPU
// time of a server, medians.
package stage

import (
	"fmt"
	"os"
	"testing"
)

// A Stage stands in for the test that the packages of the test suite expect: what they make lasts until End, and
// what they cannot go on after ends Run. Not for concurrent use.
type Stage struct {
	testing.TB // nil: what is not below is not used

	name   string // of the tool
	failed bool
	ends   []func()
}

type failure string

// Run runs a tool of this name on a stage and returns its exit status: 1 after a failure, which it prints.
func Run(name string, tool func(*Stage) int) (status int) {
	s := &Stage{name: name}
	defer s.end()
	defer func() {
		if r := recover(); r != nil {
			text, ok := r.(failure)
			if !ok {
				panic(r)
			}
			fmt.Fprintf(os.Stderr, "%s: %s\n", name, string(text))
			status = 1
		}
	}()
	return tool(s)
}

// Helper does nothing.
func (s *Stage) Helper() {}

// Cleanup has f run at the end, last first.
func (s *Stage) Cleanup(f func()) { s.ends = append(s.ends, f) }

// Failed says whether something went wrong.
func (s *Stage) Failed() bool { return s.failed }

// Logf prints to standard error.
func (s *Stage) Logf(text string, args ...any) { fmt.Fprintf(os.Stderr, text+"\n", args...) }

// Errorf prints what went wrong.
func (s *Stage) Errorf(text string, args ...any) {
	s.failed = true
	s.Logf(text, args...)
}

// Fatal ends the tool.
func (s *Stage) Fatal(args ...any) {
	s.failed = true
	panic(failure(fmt.Sprint(args...)))
}

// Fatalf ends the tool.
func (s *Stage) Fatalf(text string, args ...any) { s.Fatal(fmt.Sprintf(text, args...)) }

// TempDir is a folder that others may enter, as servers may run as other users.
func (s *Stage) TempDir() string {
	dir, err := os.MkdirTemp("", s.name+"-")
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
func (s *Stage) end() {
	for len(s.ends) > 0 {
		last := s.ends[len(s.ends)-1]
		s.ends = s.ends[:len(s.ends)-1]
		last()
	}
}
