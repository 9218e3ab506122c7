// Package record writes and reads the values that records in storage are made of: numbers as uvarints, and texts with
// their length before them.
package record

import (
	"encoding/binary"
)

// AppendText appends a text.
func AppendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// A Reader takes a record apart. Once something is missing it says so, and all it gives is zero.
type Reader struct {
	B   []byte // what is left
	Bad bool
}

func (r *Reader) fail() { r.B, r.Bad = nil, true }

// Number takes a number.
func (r *Reader) Number() uint64 {
	n, size := binary.Uvarint(r.B)
	if size <= 0 {
		r.fail()
		return 0
	}
	r.B = r.B[size:]
	return n
}

// Byte takes one byte.
func (r *Reader) Byte() byte {
	if len(r.B) == 0 {
		r.fail()
		return 0
	}
	b := r.B[0]
	r.B = r.B[1:]
	return b
}

// Bytes takes a text, which lies in the record.
func (r *Reader) Bytes() []byte {
	n := r.Number()
	if n > uint64(len(r.B)) {
		r.fail()
		return nil
	}
	s := r.B[:n]
	r.B = r.B[n:]
	return s
}

// Text takes a text.
func (r *Reader) Text() string { return string(r.Bytes()) }
