package wire

import (
	"sync"
	"time"
)

// maxRecord is the most that one TLS record carries (RFC 8446 §5.1).
const maxRecord = 16 << 10

// output is what was given to Send. Whoever writes the stream has it alone.
type output struct {
	mute  bool   // half a handshake may be out: what is in clear is not understood any more
	taken int64  // bytes, before TLS, that the kernel has taken
	spans []span // of what it has not, or not been asked about
}

// A span says that when the kernel has the bytes of the transport up to cipher, it has the plain ones up to plain.
type span struct{ cipher, plain int64 }

// Write writes b. It waits until the kernel has taken it, unless the transport queues.
func (s *Stream) Write(b []byte) (int, error) {
	if s.socket != nil {
		w, closed := s.socket.wrap(nil, b)
		if _, err := s.put(w); err != nil {
			return 0, err
		}
		return len(b), closed
	}
	return s.put(b)
}

// put writes b as it is.
func (s *Stream) put(b []byte) (int, error) {
	if s.TLS != nil {
		return s.TLS.Write(b)
	}
	return s.Transport.Write(b)
}

// Send encrypts and writes p as far as the kernel takes it now; the transport keeps the rest. It comes after
// Transport.Queue.
func (s *Stream) Send(p []byte) error {
	plain := s.taken
	if n := len(s.spans); n > 0 {
		plain = s.spans[n-1].plain
	}
	if s.socket != nil {
		return s.sendWrapped(p, plain)
	}
	if s.TLS == nil {
		n, err := s.Transport.Write(p)
		if n == 0 { // a connection that takes nothing any more does not count it either
			return err
		}
		produced, _ := s.Transport.Written()
		s.spans = append(s.spans[:0], span{produced, plain + int64(n)})
		return err
	}
	for len(p) > 0 {
		n := min(len(p), maxRecord)
		if _, err := s.TLS.Write(p[:n]); err != nil {
			return err
		}
		p = p[n:]
		plain += int64(n)
		produced, _ := s.Transport.Written()
		s.spans = append(s.spans, span{produced, plain})
	}
	return nil
}

// wrapped are buffers for what leaves in messages.
var wrapped = sync.Pool{New: func() any { return new([]byte) }}

// sendWrapped is Send where there is something between the bytes. With nothing to say it sends what is owed.
func (s *Stream) sendWrapped(p []byte, plain int64) error {
	b := wrapped.Get().(*[]byte)
	defer wrapped.Put(b)
	for first := true; first || len(p) > 0; first = false {
		n := min(len(p), maxRecord)
		var closed error
		*b, closed = s.socket.wrap((*b)[:0], p[:n])
		if _, err := s.put(*b); err != nil {
			return err
		}
		if closed != nil {
			return closed
		}
		p = p[n:]
		plain += int64(n)
		produced, _ := s.Transport.Written()
		s.spans = append(s.spans, span{produced, plain})
	}
	return nil
}

// Progress finds out how many of the bytes given to Send the kernel has taken since the beginning, and says whether
// there are others.
func (s *Stream) Progress() (taken int64, left bool) {
	produced, accepted := s.Transport.Written()
	n := len(s.spans)
	switch {
	case n == 0:
	case produced == accepted:
		s.taken = s.spans[n-1].plain
		if s.spans = s.spans[:0]; cap(s.spans) > 4 {
			s.spans = nil
		}
	case s.TLS == nil && s.socket == nil: // byte for byte
		last := s.spans[n-1]
		s.taken, left = last.plain-(last.cipher-accepted), true
	default:
		done := 0
		for done < n && s.spans[done].cipher <= accepted {
			s.taken = s.spans[done].plain
			done++
		}
		s.spans, left = s.spans[:copy(s.spans, s.spans[done:])], true
	}
	return s.taken, left
}

// Goodbye sends the last of the stream, ends our side of TLS, both in one write, and brings out what is left within
// FarewellTime.
func (s *Stream) Goodbye(last []byte) {
	s.Transport.collect()
	err := s.Send(last)
	if err == nil && s.TLS != nil {
		_ = s.TLS.CloseWrite() // a courtesy: the stream's end has been said in XML
	}
	if s.Transport.emit() != nil || err != nil {
		return
	}
	deadline := time.Now().Add(FarewellTime)
	for {
		produced, accepted := s.Transport.Written()
		left := time.Until(deadline)
		if produced == accepted || left <= 0 || s.Transport.Drain(left) != nil {
			return
		}
	}
}
