package embedded

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// Whatever is dropped at the end of a journal is told: as cut off where a part of it was never written, else as what may
// have been acknowledged.
func TestWhatIsDroppedAtTheEndOfAJournalIsTold(t *testing.T) {
	dir := t.TempDir()
	opened, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	e := opened.(*engine)
	var ends []int
	for range 3 {
		if err := appendTo(e, "romeo", slices.Repeat([]byte("word"), 1000)); err != nil {
			t.Fatal(err)
		}
		e.mu.Lock()
		ends = append(ends, e.journal.size)
		e.mu.Unlock()
	}
	whole, err := os.ReadFile(e.journal.path)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Base(e.journal.path)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	inside := (ends[1] + 2*sector) &^ (sector - 1) // a sector of the last frame
	for _, c := range []struct {
		what              string
		change            func(b []byte) []byte
		records           int
		cut, suspected    int
		verified, refused bool
	}{
		{"nothing", func(b []byte) []byte { return b }, 3, 0, 0, true, false},
		{"the file is shorter", func(b []byte) []byte { return b[:ends[2]-10] }, 2, 1, 0, true, false},
		{"of the last header a part is there", func(b []byte) []byte { return b[:ends[1]+10] }, 2, 1, 0, true, false},
		{"of the last frame nothing is there", func(b []byte) []byte { return b[:ends[1]] }, 2, 0, 0, true, false},
		{"a sector was never written", func(b []byte) []byte { clear(b[inside : inside+sector]); return b }, 2, 1, 0, true, false},
		{"a bit of the last data", func(b []byte) []byte { b[inside] ^= 1; return b }, 2, 0, 1, false, false},
		{"a bit of the last checksum", func(b []byte) []byte { b[ends[1]+16] ^= 1; return b }, 2, 0, 1, false, false},
		{"a bit of the last magic", func(b []byte) []byte { b[ends[1]] ^= 1; return b }, 2, 0, 1, false, false},
		{"a bit of the last number", func(b []byte) []byte { b[ends[1]+15] ^= 8; return b }, 2, 0, 1, false, false},
		{"a bit of the one before", func(b []byte) []byte { b[ends[0]+100] ^= 1; return b }, 0, 0, 0, false, true},
	} {
		t.Run(c.what, func(t *testing.T) {
			dir := t.TempDir()
			empty, err := Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			if err := empty.Close(); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name), c.change(slices.Clone(whole)), 0o600); err != nil {
				t.Fatal(err)
			}
			problems, err := Verify(dir)
			if err != nil || len(problems) > 1 || c.verified != (len(problems) == 0) {
				t.Errorf("verified: %q, %v", problems, err)
			}
			notes := &notebook{}
			e, err := OpenWith(dir, Options{Log: slog.New(slog.NewTextHandler(notes, nil))})
			if c.refused != (err != nil) {
				t.Fatalf("opened: %v", err)
			}
			if err != nil {
				return
			}
			if n, _, err := e.Log("archive").Size(t.Context(), "romeo"); err != nil || n != c.records {
				t.Errorf("%d records, %v", n, err)
			}
			cut := notes.count(`level=WARN msg="the last group of the journal was cut off before it was acknowledged; it is dropped"`)
			if suspected := notes.count(`level=ERROR msg="the last group of the journal cannot be read and is dropped`); cut != c.cut || suspected != c.suspected {
				t.Errorf("told %d times that it was cut off, %d that it may be damaged; want %d and %d", cut, suspected, c.cut, c.suspected)
			}
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}
