package wire

import (
	"jackdaw/xmpp/stream"
)

// A Framing says how the items of a stream lie in what its connection carries, and how our side of it begins and ends
// there.
type Framing interface {
	// Scan finds the next item in b, which begins behind what was consumed last, and says how many bytes it consumed. It
	// is stream.Scanner.Scan for one way to frame: results are read from the Scanner.
	Scan(s *stream.Scanner, b []byte) (item stream.ItemKind, n int, err error)
	// AppendHeader appends what opens our side of a stream.
	AppendHeader(dst []byte, h stream.Header) []byte
	// AppendFeatures appends what may be negotiated next.
	AppendFeatures(dst, features []byte) []byte
	// AppendEnd appends what ends our side, with a stream error if that is how it ends.
	AppendEnd(dst []byte, f *Farewell) []byte
}

// Bytes is the framing of RFC 6120 §4: in each direction one XML document that grows.
type Bytes struct{}

// Scan implements Framing.
func (Bytes) Scan(s *stream.Scanner, b []byte) (stream.ItemKind, int, error) { return s.Scan(b) }

// AppendHeader implements Framing.
func (Bytes) AppendHeader(dst []byte, h stream.Header) []byte { return stream.AppendHeader(dst, h) }

// AppendFeatures implements Framing.
func (Bytes) AppendFeatures(dst, features []byte) []byte { return stream.AppendFeatures(dst, features) }

// AppendEnd implements Framing.
func (Bytes) AppendEnd(dst []byte, f *Farewell) []byte {
	if f.Condition != "" {
		dst = appendError(dst, f)
	}
	return append(dst, stream.Close...)
}

func appendError(dst []byte, f *Farewell) []byte {
	dst = stream.AppendError(dst, f.Condition, f.Text)
	if f.Extra != "" { // RFC 6120 §4.9.4: the last child
		const end = "</stream:error>"
		dst = append(append(dst[:len(dst)-len(end)], f.Extra...), end...)
	}
	return dst
}
