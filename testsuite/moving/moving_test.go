// Package moving has people leave other servers for jackdaw: Prosody and ejabberd as Debian has them are filled by a
// client, what they keep is imported, and the same client finds all of it here with the same passwords. Another test
// goes from one jackdaw to the next.
package moving

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"jackdaw/testsuite/harness"
	"jackdaw/testsuite/peers"
)

func TestMain(m *testing.M) {
	code := m.Run()
	harness.Cleanup()
	os.Exit(code)
}

const domain = "moving.example"

var people = []string{"romeo", "juliet", "nurse"}

// play runs the client.
func play(t *testing.T, do, tls string, can ...string) {
	t.Helper()
	config, err := json.Marshal(map[string]any{"do": do, "domain": domain, "tls": tls, "can": can, "rooms": "rooms." + domain})
	if err != nil {
		t.Fatal(err)
	}
	harness.Script(t, "testdata/moving.py", string(config))
}

// arrive imports into an empty server, first dry, and returns it and what was said.
func arrive(t *testing.T, args ...string) (*harness.Server, string) {
	t.Helper()
	s := harness.Start(t, harness.Options{Domain: domain})
	dry := s.Command("", append([]string{"import", "--dry-run"}, args...)...)
	said := s.Command("", append([]string{"import"}, args...)...)
	if strings.ReplaceAll(dry, "would come", "came") != said {
		t.Errorf("the dry run said\n%s\nand then came\n%s", dry, said)
	}
	again := s.Command("", append([]string{"import"}, args...)...)
	for line := range strings.Lines(again) {
		if what, rest, ok := strings.Cut(line, ": "); ok && strings.Contains(rest, " came") && !strings.HasPrefix(rest, "0 came") {
			t.Errorf("%s came twice: %s", what, rest)
		}
	}
	return s, said
}

func TestWhoLeavesProsodyFindsEverything(t *testing.T) {
	t.Parallel()
	p := startProsody(t)
	all := []string{"blocking", "nodes", "history", "requests", "rooms"}
	play(t, "fill", p.tls, all...)
	p.end(t)
	s, said := arrive(t, "--from", "prosody", filepath.Join(p.dir, "data"))
	t.Log(said)
	play(t, "check", s.C2STLS, all...)
}

// What Prosody has in SQLite its own migrator moves into a directory first.
func TestWhoLeavesProsodyOnSQLiteFindsEverything(t *testing.T) {
	t.Parallel()
	p := startProsodyOnSQLite(t)
	all := []string{"blocking", "nodes", "history", "requests", "rooms"}
	play(t, "fill", p.tls, all...)
	p.end(t)
	s, said := arrive(t, "--from", "prosody", p.migrate(t))
	t.Log(said)
	play(t, "check", s.C2STLS, all...)
}

func TestWhoMovesFromJackdawToJackdawFindsEverything(t *testing.T) {
	t.Parallel()
	all := []string{"blocking", "nodes", "history", "requests", "rooms"}
	old := harness.Start(t, harness.Options{Domain: domain, Users: people})
	play(t, "fill", old.C2STLS, all...)
	file := filepath.Join(t.TempDir(), "all.xml")
	old.Command("", "export", file)
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the export: %v, %v", info.Mode(), err)
	}
	if _, err := old.TryCommand("", "export", file); err == nil {
		t.Error("an export was written over")
	}
	old.Stop()
	s, _ := arrive(t, file)
	// What is said since does not make the file another.
	one, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	// What clients have sent is kept as they wrote it; an import writes it anew.
	plain := strings.NewReplacer(`"`, "'", " />", "/>")
	if one, two := plain.Replace(string(one)), plain.Replace(s.Command("", "export")); one != two {
		t.Errorf("exported again it differs:\n%s\n%s", one, two)
	}
	play(t, "check", s.C2STLS, all...)
}

// jackal is left by a program that reads its storage with its own packages.
func TestWhoLeavesJackalFindsEverything(t *testing.T) {
	t.Parallel()
	p := peers.NewNetwork(t).StartJackal(peers.Options{Domain: domain, Users: people, Keeps: true})
	play(t, "fill", p.C2S, "blocking", "history", "starttls")
	p.Kill() // it keeps its file locked; what it has acknowledged is there
	cmd := exec.Command("go", "run", "-C", filepath.Join("..", "jackalpeer"), "./leave", "-config", filepath.Join(p.Dir, "config.yaml"))
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=readonly -buildvcs=false", "GOWORK=off")
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("leave: %v\n%s", err, errs.String())
	}
	file := filepath.Join(t.TempDir(), "jackal.xml")
	if err := os.WriteFile(file, out, 0o600); err != nil {
		t.Fatal(err)
	}
	s, said := arrive(t, file)
	t.Log(said)
	play(t, "check", s.C2STLS, "blocking", "history", "unordered", "requests")
}

// What ejabberd's own export lacks, nodes, archives and rooms, is in a dump of its tables.
func TestWhoLeavesEjabberdFindsEverything(t *testing.T) {
	t.Parallel()
	p := startEjabberd(t)
	all := []string{"blocking", "nodes", "history", "requests", "rooms"}
	play(t, "fill", p.tls, all...)
	exported, dumped := p.written(t)
	for file, can := range map[string][]string{exported: {"blocking", "requests"}, dumped: all} {
		s, said := arrive(t, "--from", "ejabberd", file)
		t.Log(said)
		play(t, "check", s.C2STLS, can...)
	}
}
