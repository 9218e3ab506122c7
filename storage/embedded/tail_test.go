package embedded

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// Whatever is dropped at the end of a journal is told: as cut off where a part of it was never written, else as what
// may have been acknowledged.
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
		mended            int
		verified, refused bool
	}{
		{"nothing", func(b []byte) []byte { return b }, 3, 0, 0, 0, true, false},
		{"the file is shorter", func(b []byte) []byte { return b[:ends[2]-10] }, 2, 1, 0, 0, true, false},
		{"of the last header a part is there", func(b []byte) []byte { return b[:ends[1]+10] }, 2, 1, 0, 0, true, false},
		{"of the last frame nothing is there", func(b []byte) []byte { return b[:ends[1]] }, 2, 0, 0, 0, true, false},
		{"a sector was never written", func(b []byte) []byte { clear(b[inside : inside+sector]); return b }, 2, 1, 0, 0, true, false},
		{"a bit of the last data", func(b []byte) []byte { b[inside] ^= 1; return b }, 2, 0, 1, 0, false, false},
		{"a bit of the last checksum", func(b []byte) []byte { b[ends[1]+16] ^= 1; return b }, 3, 0, 0, 1, false, false},
		{"a bit of the last magic", func(b []byte) []byte { b[ends[1]] ^= 1; return b }, 3, 0, 0, 1, false, false},
		{"a bit of the last number", func(b []byte) []byte { b[ends[1]+15] ^= 8; return b }, 3, 0, 0, 1, false, false},
		{"a bit of the one before", func(b []byte) []byte { b[ends[0]+100] ^= 1; return b }, 0, 0, 0, 0, false, true},
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
			suspected := notes.count(`level=ERROR msg="the last group of the journal cannot be read and is dropped`)
			mended := notes.count(`level=ERROR msg="the disk has changed the header of the last group of the journal; it could be put right`)
			if cut != c.cut || suspected != c.suspected || mended != c.mended {
				t.Errorf("told %d times that it was cut off, %d that it may be damaged, %d that it was mended; want %d, %d and %d",
					cut, suspected, mended, c.cut, c.suspected, c.mended)
			}
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// replayed is how many groups a journal gives back, and what is told of its end.
func replayed(t *testing.T, number uint64, data []byte) (groups, mended, cut, suspected int, err error) {
	dir, notes := t.TempDir(), &notebook{}
	if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s%016x", filePrefix, number)), data, 0o600); err != nil {
		t.Fatal(err)
	}
	r := replayer{files: osFiles{}, dir: dir, log: slog.New(slog.NewTextHandler(notes, nil))}
	_, _, err = r.replay(func(ops []byte) error { groups++; return eachOp(ops, func(op) {}) })
	return groups, notes.count("level=ERROR msg=\"the disk has changed"), notes.count("level=WARN"), notes.count("level=ERROR msg=\"the last"), err
}

// The header of a frame holds what is known and a checksum, so whichever bit of it is changed, the group is not lost.
func TestChangedBitInTheHeaderOfTheLastGroupIsPutRight(t *testing.T) {
	for _, old := range []bool{false, true} {
		data, ends := journalOf(t, old)
		number := binary.BigEndian.Uint64(data[8:]) >> 32
		want, _, _, _, err := replayed(t, number, data)
		if err != nil {
			t.Fatal(err)
		}
		for bit := ends[1] * 8; bit < (ends[1]+frameHeader)*8; bit++ {
			damaged := slices.Clone(data)
			damaged[bit/8] ^= 1 << (bit % 8)
			groups, mended, cut, suspected, err := replayed(t, number, damaged)
			if groups != want || mended != 1 || cut+suspected != 0 || err != nil {
				t.Errorf("bit %d: %d groups of %d, told %d times that it was mended, %d cut, %d suspected, %v",
					bit-ends[1]*8, groups, want, mended, cut, suspected, err)
			}
		}
		// Magic and number are known.
		damaged := slices.Clone(data)
		for _, i := range []int{0, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15} {
			damaged[ends[1]+i] ^= 0xff
		}
		if groups, mended, cut, suspected, err := replayed(t, number, damaged); groups != want || mended != 1 ||
			cut+suspected != 0 || err != nil {
			t.Errorf("no magic, no number: %d groups of %d, told %d, %d, %d, %v", groups, want, mended, cut, suspected, err)
		}
	}
}

// The end of a journal, which others follow, is put right as well.
func TestChangedBitInTheEndOfAJournalIsPutRight(t *testing.T) {
	b := &batch{}
	b.set([]byte("m\x00romeo\x00k"), []byte("value"))
	whole := framesOf(4, true, b.ops, b.ops)
	for bit := (len(whole) - frameHeader) * 8; bit < len(whole)*8; bit++ {
		dir, notes, groups := t.TempDir(), &notebook{}, 0
		damaged := append(slices.Clone(whole), make([]byte, 1000)...)
		damaged[bit/8] ^= 1 << (bit % 8)
		for name, data := range map[string][]byte{"4": damaged, "5": framesOf(5, false, b.ops)} {
			if err := os.WriteFile(filepath.Join(dir, filePrefix+"000000000000000"+name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		r := replayer{files: osFiles{}, dir: dir, log: slog.New(slog.NewTextHandler(notes, nil))}
		_, found, err := r.replay(func([]byte) error { groups++; return nil })
		if groups != 3 || len(found) != 2 || err != nil || notes.count("level=ERROR") != 1 {
			t.Errorf("bit %d: %d groups, %v:\n%s", bit, groups, err, notes.b.String())
		}
	}
}

// What cannot be put right was cut off if something was never written, else it may have been acknowledged.
func TestLossIsJudgedByWhatWasNeverWritten(t *testing.T) {
	ops := func(value []byte) []byte {
		b := &batch{}
		b.set([]byte("m\x00romeo\x00k"), value)
		return b.ops
	}
	const spare = 4000
	next := frameNumber(7, 1)
	frame := func(value []byte) []byte { return append(framesOf(7, false, ops(value)), make([]byte, spare)...) }
	words := slices.Repeat([]byte("word"), 1000)
	size := len(frame(words)) - spare
	// What an earlier journal has left: many small frames, and its end.
	old := framesOf(6, true, slices.Repeat([][]byte{ops(words[:200])}, 40)...)
	// A value that ends in 20 zeros, which begin a sector.
	zeros := append(slices.Clone(words[:2*sector+frameHeader-(size-len(words))-20]), make([]byte, 20)...)
	zeros = zeros[:len(zeros)+(2*sector+20-(len(frame(zeros))-spare))]
	if n := len(frame(zeros)) - spare; n != 2*sector+20 {
		t.Fatalf("%d bytes", n)
	}
	for _, c := range []struct {
		what   string
		at     int
		rest   []byte
		change func(b []byte)
		want   loss
	}{
		{"nothing", 0, make([]byte, spare), nil, lossNone},
		{"an earlier journal", 100, old, nil, lossNone},
		{"from the middle of an earlier frame on", 100, old[30:], nil, lossNone},
		{"the end of the end of an earlier journal", 100, append(slices.Clone(old[len(old)-15:]), make([]byte, spare)...), nil, lossNone},
		{"a sector holds zeros", 0, frame(words), func(b []byte) { clear(b[2*sector : 3*sector]) }, lossCut},
		{"the last sector holds zeros", 0, frame(words), func(b []byte) { clear(b[size&^(sector-1):]) }, lossCut},
		{"the header's sector holds zeros", 0, frame(words), func(b []byte) { clear(b[:sector]) }, lossCut},
		{"sectors hold an earlier journal", 0, frame(words), func(b []byte) { copy(b[2*sector:6*sector], old[2*sector:]) }, lossCut},
		{"of the header the first sector", 500, frame(words), func(b []byte) { clear(b[12:]) }, lossCut},
		{"of the header the second sector", 500, frame(words), func(b []byte) { clear(b[:12]) }, lossCut},
		{"the file ends", 0, frame(words)[:3000], nil, lossCut},
		{"the file ends in the header", 0, frame(words)[:12], nil, lossCut},
		{"a bit of the data", 0, frame(words), func(b []byte) { b[700] ^= 4 }, lossUnclear},
		{"a bit before zeros that were written", 0, frame(zeros), func(b []byte) { b[700] ^= 4 }, lossUnclear},
		{"two bits of the length", 0, frame(words), func(b []byte) { b[7] ^= 3 }, lossUnclear},
		{"a header like no other", 0, frame(words), func(b []byte) { copy(b, words[:frameHeader]) }, lossUnclear},
		{"the number and the checksum", 0, frame(words), func(b []byte) { copy(b[8:], words[:12]) }, lossUnclear},
		{"the magic and the checksum", 0, frame(words), func(b []byte) { b[0] ^= 1; copy(b[16:], "word") }, lossUnclear},
	} {
		rest := slices.Clone(c.rest)
		if c.change != nil {
			c.change(rest)
		}
		if whole := mended(rest, next); whole != nil {
			t.Errorf("%s: passed for a whole frame of %d bytes", c.what, len(whole))
		}
		if got, _ := lossAt(c.at, rest, next); got != c.want {
			t.Errorf("%s: %d, want %d", c.what, got, c.want)
		}
	}
}
