package upload

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"jackdaw/xmpp/jid"
)

// kept is a file as it lies on the disk.
func kept(t *testing.T, body string) (dir, path string) {
	t.Helper()
	dir = t.TempDir()
	s := &Service{o: Options{Dir: dir}}
	id := letters.EncodeToString(append([]byte{0, 7, 0, 0}, make([]byte, idBytes-4)...))
	sl := &slot{id: id, owner: jid.MustParse("alice@localhost"), name: "cat.png", size: int64(len(body)), created: time.Now()}
	name, err := s.write(sl, "image/png", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	in, _ := folder(id)
	path = filepath.Join(dir, in, id)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name, path); err != nil {
		t.Fatal(err)
	}
	return dir, path
}

func TestEachBitOfAFileIsVerified(t *testing.T) {
	dir, path := kept(t, "the bytes of a cat")
	verified := func() bool {
		t.Helper()
		problems, err := Verify(dir)
		if err != nil || len(problems) > 1 {
			t.Fatalf("%q, %v", problems, err)
		}
		return len(problems) == 0
	}
	if !verified() {
		t.Error("a whole file is damaged")
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write := func(b []byte) {
		t.Helper()
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for bit := range len(b) * 8 {
		changed := bytes.Clone(b)
		changed[bit/8] ^= 1 << (bit % 8)
		write(changed)
		if verified() {
			t.Errorf("bit %d of byte %d is not missed", bit%8, bit/8)
		}
	}
	write(b[:len(b)-1])
	if verified() {
		t.Error("a byte is not missed")
	}
	write(b[:len(b)-sumBytes])
	if !verified() {
		t.Error("a file of an earlier version is damaged")
	}
	write(b)
	other := filepath.Join(dir, "8", filepath.Base(path))
	if err := os.MkdirAll(filepath.Dir(other), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path, other); err != nil {
		t.Fatal(err)
	}
	if verified() {
		t.Error("a file in another folder is not missed")
	}
	if problems, err := Verify(filepath.Join(dir, "nowhere")); err != nil || len(problems) > 0 {
		t.Errorf("%q, %v", problems, err)
	}
}
