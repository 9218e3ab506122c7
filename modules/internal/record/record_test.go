package record

import (
	"encoding/binary"
	"testing"
)

func TestWhatIsWrittenIsRead(t *testing.T) {
	b := AppendText(append(binary.AppendUvarint(nil, 1<<40), 7), "Juliet")
	r := Reader{B: b}
	if n, one, s := r.Number(), r.Byte(), r.Text(); n != 1<<40 || one != 7 || s != "Juliet" || r.Bad || len(r.B) > 0 {
		t.Errorf("%d, %d, %q, %+v", n, one, s, r)
	}
	for cut := range b {
		r := Reader{B: b[:cut]}
		if r.Number(); r.Bad != (cut < 6) {
			t.Errorf("a number of %d bytes: %t", cut, r.Bad)
		}
		if r.Byte(); r.Bad != (cut < 7) {
			t.Errorf("a byte of %d: %t", cut, r.Bad)
		}
		if s := r.Text(); s != "" || !r.Bad || r.B != nil {
			t.Errorf("%d bytes of %d: %q, %+v", cut, len(b), s, r)
		}
	}
}

func FuzzReader(f *testing.F) {
	f.Add([]byte{1, 'a', 2})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := Reader{B: b}
		for len(r.B) > 0 {
			before := len(r.B)
			if s := r.Bytes(); len(s) > before || !r.Bad && len(r.B) >= before {
				t.Fatalf("%d bytes out of %d, %d are left", len(s), before, len(r.B))
			}
		}
	})
}
