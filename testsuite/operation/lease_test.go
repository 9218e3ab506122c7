package operation

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"jackdaw/testsuite/harness"
)

func TestASecondServerOnOneRedisIsToldWhoHasIt(t *testing.T) {
	s := harness.Start(t, harness.Options{Place: harness.Place{Engine: harness.Redis}, Users: []string{"alice"}})
	yaml, err := os.ReadFile(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "jackdaw.yaml")
	own := strings.Replace(string(yaml), "data: "+s.Dir, "data: "+filepath.Dir(other), 1)
	if err := os.WriteFile(other, []byte(own), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, command := range [][]string{{"serve"}, {"user", "list"}} {
		out, err := exec.Command(harness.Binary(t, ""), append(command, "--config", other)...).CombinedOutput()
		who := fmt.Sprintf("process %d, since", s.PID())
		if err == nil || !strings.Contains(string(out), "in use by another jackdaw (host ") || !strings.Contains(string(out), who) {
			t.Errorf("%v: %v\n%s", command, err, out)
		}
	}
	s.Kill()
	from := s.Output().Len()
	s.Launch()
	if log := s.Output().From(from); strings.Contains(log, "waiting until the lease") {
		t.Errorf("after a kill the server waits for its own lease:\n%s", log)
	}
}
