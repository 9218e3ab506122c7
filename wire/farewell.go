package wire

import (
	"errors"
	"os"
	"time"

	"jackdaw/xmpp/stream"
)

const (
	// FarewellTime is how long the last words of a stream may take.
	FarewellTime = time.Second
	// LingerTime is how long the other side has to close the connection then.
	LingerTime = 2 * time.Second
	// maxLinger is how many bytes are read meanwhile, for nobody.
	maxLinger = 1 << 20
)

// A Farewell is how a stream ends: by a stream error, or politely where the condition is empty.
type Farewell struct {
	Condition stream.Condition
	Text      string
	Extra     string // an application-specific condition, as XML
	Cause     error  // the connection is gone: there is nobody to say it to
}

// Error says how the stream ended.
func (f *Farewell) Error() string {
	switch {
	case f.Cause != nil:
		return f.Cause.Error()
	case f.Condition == "":
		return "closed"
	case f.Text == "":
		return string(f.Condition)
	}
	return string(f.Condition) + ": " + f.Text
}

// Polite says whether nothing was wrong.
func (f *Farewell) Polite() bool { return f.Cause == nil && f.Condition == "" }

// Fault is the farewell to somebody who did something wrong, or whom we did.
func Fault(c stream.Condition, text string) *Farewell { return &Farewell{Condition: c, Text: text} }

// Part says how the stream ends and makes it arrive, where nobody else writes. The bytes of opening go before: our
// header if it is not out (RFC 6120 §4.9.1.2: an error goes inside a stream). The caller is the reader.
func (s *Stream) Part(f *Farewell, opening []byte) {
	if f.Cause == nil && s.LastWords(s.Framing.AppendEnd(opening, f)) == nil {
		s.Linger()
	}
}

// errMute says that the other side would not understand what is said.
var errMute = errors.New("a handshake was not finished")

// LastWords writes b and ends our side of TLS and of the connection. Nobody else may write.
func (s *Stream) LastWords(b []byte) error {
	if s.mute {
		return errMute
	}
	err := s.Transport.WriteUntil(time.Now().Add(FarewellTime))
	if err == nil {
		_, err = s.Write(b)
	}
	if err == nil && s.TLS != nil {
		_ = s.TLS.CloseWrite() // a courtesy: the stream's end has been said in XML
	}
	_ = s.Transport.closeWrite() // so is this
	return err
}

// Linger closes the connection so that what was written last arrives: closing while input is unread would make the
// kernel drop it at both ends. What else comes is read and dropped. The caller is the reader.
func (s *Stream) Linger() {
	t := s.Transport
	defer t.conn.Close()
	defer t.release()
	until := time.Now().Add(LingerTime)
	if t.closeWrite() != nil || t.SetReadDeadline(until) != nil {
		return
	}
	for left := maxLinger; left > 0; left -= t.end {
		t.release()
		err := t.fill(false)
		if errors.Is(err, os.ErrDeadlineExceeded) && time.Now().Before(until) {
			err = t.SetReadDeadline(until) // it was an interruption that came late
		}
		if err != nil {
			return
		}
	}
}
