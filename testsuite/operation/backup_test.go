package operation

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"jackdaw/testsuite/harness"
)

// A made backup is what the command says of it.
type made struct {
	Directory string
	Until     time.Time
	Files     int
	Copied    int64
	Linked    int64
}

func makeBackup(t *testing.T, s *harness.Server, args ...string) (m made) {
	t.Helper()
	if err := json.Unmarshal([]byte(s.Command("", append([]string{"backup", "--json"}, args...)...)), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// Backups are made while messages come, and restored elsewhere: whatever was acknowledged before is there. What is
// damaged in one is named, and not restored.
func TestABackupUnderLoadIsRestored(t *testing.T) {
	s := harness.Start(t, harness.Options{Users: []string{"alice", "bob"},
		Config: "limits: {stream_rate: 100000000, stream_burst: 100000000}\n" +
			"modules: {offline: {max_messages: 100000, max_bytes: 1000000000}}"})
	data, dir := filepath.Join(s.Dir, "data"), filepath.Join(t.TempDir(), "backups")
	before := newWriter(t, s) // what is merged, in segments
	for i := range 50 {
		if ok, err := before.try(fmt.Sprint("before", i)); !ok {
			t.Fatal(err)
		}
	}
	before.Close()
	s.Stop()
	s.Launch()
	// In the place of what users upload.
	upload := filepath.Join(data, "upload", fmt.Sprint(time.Now().Unix()/3600), ".file") // verify passes it over
	if err := os.MkdirAll(filepath.Dir(upload), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(upload, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	w := newWriter(t, s)
	acknowledged := map[string]time.Time{}
	enough, stop, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		defer w.Close()
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			id := fmt.Sprint("m", i)
			if ok, err := w.try(id); !ok {
				t.Errorf("message %d: %v", i, err)
				return
			}
			acknowledged[id] = time.Now()
			if i == 200 {
				close(enough)
			}
		}
	}()
	<-enough
	first := makeBackup(t, s, dir)
	// One that was cut off is in nobody's way.
	if err := os.MkdirAll(filepath.Join(dir, ".partial", "data", "store"), 0o700); err != nil {
		t.Fatal(err)
	}
	second := makeBackup(t, s, dir)
	close(stop)
	<-done
	if first.Linked != 0 || second.Linked < 1<<20 || second.Directory == first.Directory ||
		!second.Until.After(first.Until) {
		t.Errorf("the backups are %+v and %+v", first, second)
	}
	if out := s.Command("", "verify", "--backup", dir); !strings.Contains(out, "whole") {
		t.Error(out)
	}
	if out, err := s.TryCommand("", "restore", dir); err == nil || !strings.Contains(out, "is not empty") {
		t.Errorf("over what is there: %v\n%s", err, out)
	}
	s.Stop()
	if m := makeBackup(t, s, "--keep", "2", dir); m.Linked < 1<<20 { // no server runs
		t.Errorf("%+v", m)
	}
	if _, err := os.Stat(first.Directory); !os.IsNotExist(err) {
		t.Errorf("the oldest backup is still there: %v", err)
	}
	if err := os.Rename(data, data+".before"); err != nil {
		t.Fatal(err)
	}
	// A bit in a file of each kind.
	for _, name := range []string{"store/store.db", "store/journal-*", "store/records-*", "upload/*/.file", "certs/localhost.*", "../manifest"} {
		paths, err := filepath.Glob(filepath.Join(second.Directory, "data", name))
		if err != nil || len(paths) == 0 {
			t.Fatalf("%s: %q, %v", name, paths, err)
		}
		b, err := os.ReadFile(paths[0])
		if err != nil {
			t.Fatal(err)
		}
		change := func() {
			t.Helper()
			b[len(b)/2] ^= 16
			if err := os.WriteFile(paths[0], b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for _, damaged := range []bool{true, false} {
			change()
			out, err := s.TryCommand("", "verify", "--backup", second.Directory)
			if damaged != (err != nil) || damaged != strings.Contains(out, filepath.Base(paths[0])) {
				t.Errorf("%s is damaged: %v; verify: %v\n%s", name, damaged, err, out)
			}
			if !damaged {
				break
			}
			if out, err := s.TryCommand("", "restore", second.Directory); err == nil {
				t.Errorf("%s is damaged, and restored\n%s", name, out)
			}
			if _, err := os.Stat(filepath.Join(data, "store")); !os.IsNotExist(err) {
				t.Errorf("after a vain restore there is a store: %v", err)
			}
		}
	}
	if out := s.Command("", "restore", second.Directory); !strings.Contains(out, "Start the server") {
		t.Error(out)
	}
	if out := s.Command("", "verify"); !strings.Contains(out, "whole") {
		t.Error(out)
	}
	if b, err := os.ReadFile(upload); err != nil || len(b) != 1<<20 {
		t.Errorf("the upload: %d bytes, %v", len(b), err)
	}
	s.Launch()
	w.acknowledged = map[string]bool{}
	for id, at := range acknowledged {
		if at.Before(second.Until) {
			w.acknowledged[id] = true
		}
	}
	t.Logf("%d of %d messages were acknowledged before", len(w.acknowledged), len(acknowledged))
	w.kept(t, s)
}
