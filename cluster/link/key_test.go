package link

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestKeyIsWrittenOnceForItsOwnerAndReadAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "cluster.key")
	k := NewKey()
	if err := WriteKey(file, k); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
	if got, err := ReadKey(file); err != nil || got != k {
		t.Fatal("another key", err)
	}
	if err := WriteKey(file, NewKey()); err == nil || !strings.Contains(err.Error(), "copy it to the other nodes") {
		t.Errorf("the key was replaced, %v", err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, secret, _ := strings.Cut(string(text), keyPrefix)
	if said := fmt.Sprintf("%v %+v %s", k, k, &k); strings.Contains(said, strings.TrimSpace(secret)) ||
		!strings.Contains(said, "cluster key") {
		t.Errorf("the key is printed as %q", said)
	}
}

func TestFilesThatHoldNoKeyAreRefusedWithWhatToDo(t *testing.T) {
	dir := t.TempDir()
	good := filepath.Join(dir, "good")
	if err := WriteKey(good, NewKey()); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		text []byte
		mode os.FileMode
		want string
	}{
		"empty":       {nil, 0o600, "holds no cluster key: copy"},
		"something":   {[]byte("-----BEGIN PRIVATE KEY-----\n"), 0o600, "holds no cluster key: copy"},
		"cut":         {text[:len(text)-5], 0o600, "holds no cluster key: copy"},
		"two":         {append(bytes.Clone(text), text...), 0o600, "holds no cluster key: copy"},
		"for a group": {text, 0o640, "run chmod 600 on it"},
		"for all":     {text, 0o604, "run chmod 600 on it"},
	} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, row.text, row.mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, row.mode); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadKey(file); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ReadKey(filepath.Join(dir, "none")); err == nil || !strings.Contains(err.Error(), "cluster init") {
		t.Errorf("none: %v", err)
	}
}

func TestWhatIsDerivedDiffersByPurposeAndKey(t *testing.T) {
	a, b := NewKey(), NewKey()
	if bytes.Equal(a.Derive("x", 32), a.Derive("y", 32)) || bytes.Equal(a.Derive("x", 32), b.Derive("x", 32)) {
		t.Error("the same")
	}
	if !bytes.Equal(a.Derive("x", 32), a.Derive("x", 32)) {
		t.Error("not the same")
	}
}

func FuzzHello(f *testing.F) {
	f.Add(spoken.bytes(0))
	f.Add([]byte{4, 1, 2, 'x', 'y'})
	f.Add([]byte{255})
	f.Add([]byte{2, 2, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		h, _, err := readHello(r)
		if err != nil {
			return
		}
		if h.oldest == 0 || h.oldest > h.newest || len(b)-r.Len() != 1+int(b[0]) {
			t.Errorf("%v of %d bytes", h, len(b)-r.Len())
		}
		if p, err := spoken.shared(h); err == nil && (p < h.oldest || p > h.newest) {
			t.Errorf("protocol %d of %v", p, h)
		}
	})
}

func FuzzKey(f *testing.F) {
	f.Add([]byte(keyNote + keyPrefix + strings.Repeat("A", 43)))
	f.Fuzz(func(_ *testing.T, b []byte) { parseKey(b) })
}
