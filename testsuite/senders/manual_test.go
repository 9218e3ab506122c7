package senders

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"jackdaw/testsuite/harness"
)

// examples are those of docs/hooks.md: how the hook is made, the command, and the message.
var examples = regexp.MustCompile("(?s)```sh hook ([^\n]*)\n(.*?)```\n\n```text\n(.*?)\n```")

// What the manual tells people to write is what works, and the messages look like those that it shows.
func TestExamplesOfTheManualPost(t *testing.T) {
	manual, err := os.ReadFile("../../docs/hooks.md")
	if err != nil {
		t.Fatal(err)
	}
	t.Parallel()
	s := harness.Start(t, harness.Options{Users: []string{"romeo", "alerts"}})
	bin := t.TempDir()
	if err := os.Symlink(harness.Binary(t, ""), filepath.Join(bin, "jackdaw")); err != nil {
		t.Fatal(err)
	}
	reader := romeo(t, s)
	found := examples.FindAllStringSubmatch(string(manual), -1)
	for i, one := range found {
		token := hook(t, s, fmt.Sprintf("example%d", i), strings.Fields(one[1])...)
		cmd := exec.Command("/bin/sh", "-ec", one[2])
		cmd.Env = append(os.Environ(), "URL=http://"+s.HTTP+"/hooks/"+token, "TOKEN="+token, "BASE=http://"+s.HTTP, "PATH="+bin+":"+os.Getenv("PATH"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: %s\n%s", err, one[2], out)
			continue
		}
		if got := next(t, reader, one[2]); got != one[3] {
			t.Errorf("%s\nsends\n%s\nand the manual has\n%s", one[2], got, one[3])
		}
	}
	if n := strings.Count(string(manual), "```sh hook"); n != len(found) || n == 0 {
		t.Errorf("%d of %d examples are whole", len(found), n)
	}
}
