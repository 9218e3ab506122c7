// Package smack has Smack, the library of Java's and Android's clients, ask the server for what nodes can do: its own
// calls for publish-subscribe and personal eventing (XEP-0060, XEP-0163), which the program in testdata makes.
package smack

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"jackdaw/testsuite/harness"
)

func TestMain(m *testing.M) {
	code := m.Run()
	harness.Cleanup()
	os.Exit(code)
}

// checks is how many the program makes; each is a line.
const checks = 131

func TestSmackAsksForAllThatNodesCanDo(t *testing.T) {
	t.Parallel()
	jars, classes := filepath.Join("testdata", "jars"), t.TempDir()
	if _, err := os.Stat(jars); err != nil {
		t.Fatal("Smack is missing: make deps")
	}
	sources, err := filepath.Glob(filepath.Join("testdata", "*.java"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(jars, "*")
	// Both end too soon for what a better compiler would save.
	run(t, "javac", append([]string{"-J-XX:TieredStopAtLevel=1", "-Xlint:all", "-Werror", "-d", classes, "-cp", path},
		sources...)...)
	s := harness.Start(t, harness.Options{Users: []string{"romeo", "juliet", "mercutio"}})
	host, port, err := net.SplitHostPort(s.C2S)
	if err != nil {
		t.Fatal(err)
	}
	out := run(t, "java", "-XX:TieredStopAtLevel=1", "-ea", "-cp", classes+":"+path, "Main", s.Domain, host, port,
		harness.Password)
	n := 0
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "ok ") {
			n++
		}
	}
	if n != checks {
		t.Errorf("there are %d checks, not %d:\n%s", n, checks, out)
	}
}

// run runs a program to its end and returns what it has printed.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Fatal(name + " is missing: make deps")
	}
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return string(out)
}
