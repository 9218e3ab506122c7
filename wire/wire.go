// Package wire is the life of one stream, whoever is at the other end: a client, a peer or a component. It reads items
// within their limits, says how a stream ends and makes that arrive, and knows the listeners and the streams of a
// service. What is negotiated, where a stanza goes and what waits to be written is not its business: that is c2s, s2s
// and component, each of which embeds a [Stream] in its connection.
//
// A Stream is made of three parts, one on top of the other: a [Transport], which is the bytes of a connection; TLS, if
// there is any; and a [Framing], which says how items lie in those bytes. A stream that waits holds no buffer.
package wire

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"time"

	"jackdaw/config"
	"jackdaw/xmpp/stream"
)

// A Pacer keeps the pace of a stream: its reader calls these.
type Pacer interface {
	// BeforeRead is called before the reader waits. What was routed leaves now, and whoever brings too much is kept
	// waiting here. An error ends the stream.
	BeforeRead() error
	// AfterRead is called when n bytes have come, without what TLS adds.
	AfterRead(n int)
}

// A Stream is one stream on one connection. One goroutine reads it. Its zero value is of no use before Init or Begin.
type Stream struct {
	Transport *Transport
	TLS       *tls.Conn // nil without TLS
	Framing   Framing
	Scanner   stream.Scanner // of what was read; Next moves it on

	socket *WebSocket // Framing, where it is that
	most   int        // bytes of an item

	// The reader's.
	Total   int  // bytes read, without what TLS adds
	Most    int  // of them, before authentication; 0: no bound
	Shallow bool // Next returns ErrAgain where it would wait; then Transport.Await is what waits
	pacer   Pacer
	store   []byte         // read and not consumed: store[pos:end]
	pooled  *[BufSize]byte // store, unless that is large or our own
	large   *[largeSize]byte
	pos     int
	end     int

	output
}

// Init begins the life of a stream on a connection that nothing has been read from.
func (s *Stream) Init(c net.Conn, f Framing, p Pacer) {
	s.Begin(Entry{Transport: NewTransport(c), Framing: f}, p)
}

// Begin begins the life of a stream on what a listener has accepted.
func (s *Stream) Begin(e Entry, p Pacer) {
	s.Transport, s.TLS, s.Framing, s.pacer = e.Transport, e.TLS, e.Framing, p
	s.socket, _ = e.Framing.(*WebSocket)
	s.Transport.nowait = true
	if tc, ok := e.Transport.conn.(interface {
		SetKeepAliveConfig(net.KeepAliveConfig) error
	}); ok {
		// A machine that is gone is found out though nothing is to be said to it. Without it that only takes longer.
		_ = tc.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: time.Minute, Interval: 30 * time.Second, Count: 4})
	}
	if n := len(e.Early); n > 0 {
		s.store = bytes.Clone(e.Early)
		s.end, s.Total = n, n
	}
}

// Handshake puts TLS on the connection: t is made from the Transport. Where that fails there are no last words.
func (s *Stream) Handshake(ctx context.Context, t *tls.Conn) error {
	s.mute = true
	s.Transport.nowait = false
	err := t.HandshakeContext(ctx)
	s.Transport.nowait = true
	if err == nil {
		s.TLS, s.mute = t, false
	}
	return err
}

// Strict sets the limits of a stream that has proved nothing yet. Bytes are those of one item; a header that declares
// no content namespace has the given one.
func (s *Stream) Strict(content string, most int, l *config.Limits) {
	s.Most, s.most = l.PreauthBytes, most
	s.Scanner.Expect(content)
	s.Scanner.SetLimits(stream.Limits{Bytes: most, Depth: l.Depth, Elements: l.PreauthElements,
		Attributes: l.Attributes, Declarations: l.Namespaces})
}

// Relax sets those of one that has.
func (s *Stream) Relax(most int, l *config.Limits) {
	s.Most, s.most = 0, most
	s.Scanner.SetLimits(Limits(most, l))
}

// Limits are those of an item of so many bytes.
func Limits(bytes int, l *config.Limits) stream.Limits {
	return stream.Limits{Bytes: bytes, Depth: l.Depth, Elements: l.Elements, Attributes: l.Attributes,
		Declarations: l.Namespaces}
}

// Next returns the next item. The error is a *Farewell for what the other side did wrong, else it says that the
// connection is gone.
func (s *Stream) Next() (stream.ItemKind, error) {
	for {
		if s.pos < s.end {
			item, err := s.scan()
			if err != nil {
				return 0, Broken(err)
			}
			if item != stream.ItemNone {
				return item, nil
			}
		}
		if err := s.More(); err != nil {
			return 0, err
		}
	}
}

// scan looks for an item in what has been read.
func (s *Stream) scan() (stream.ItemKind, error) {
	if s.socket != nil {
		return s.socket.next(s)
	}
	item, n, err := s.Framing.Scan(&s.Scanner, s.store[s.pos:s.end])
	s.pos += n
	return item, err
}

// More reads once.
func (s *Stream) More() error {
	for {
		ready := s.Transport.buffered() == 0
		if ready {
			if err := s.pacer.BeforeRead(); err != nil {
				return err
			}
		}
		if s.socket != nil && s.socket.closed() {
			return io.EOF // as a connection that breaks: the session may be resumed (RFC 7395 §3.6)
		}
		if s.Most > 0 && s.Total > s.Most {
			return Fault(stream.PolicyViolation, "too much before authentication")
		}
		s.room()
		n, err := s.read(s.store[s.end:])
		if n > 0 {
			s.end += n
			s.Total += n
			s.pacer.AfterRead(n)
			return nil
		}
		if err == ErrAgain {
			if !ready { // half a TLS record was there
				if err := s.pacer.BeforeRead(); err != nil {
					return err
				}
			}
			s.park()
			if s.Shallow {
				return ErrAgain
			}
			err = s.Transport.Await()
		}
		if err != nil {
			return err
		}
	}
}

func (s *Stream) read(p []byte) (int, error) {
	if s.TLS != nil {
		return s.TLS.Read(p)
	}
	return s.Transport.Read(p)
}

// room makes place behind what has been read.
func (s *Stream) room() {
	if s.pos == s.end {
		s.pos, s.end = 0, 0
		if s.pooled == nil && s.large == nil { // our own was for an item that has been consumed
			s.store = nil
		}
	}
	if s.store == nil {
		s.pooled = buffers.Get().(*[BufSize]byte)
		s.store = s.pooled[:]
		return
	}
	if s.end < len(s.store) {
		return
	}
	rest := s.store[s.pos:s.end]
	if len(rest) <= len(s.store)/2 {
		copy(s.store, rest)
	} else {
		var grown []byte
		var large *[largeSize]byte
		if 2*len(s.store) <= largeSize {
			large = largeBuffers.Get().(*[largeSize]byte)
			grown = large[:]
		} else {
			grown = make([]byte, 2*len(s.store))
		}
		copy(grown, rest)
		s.store = grown
		s.unpool()
		s.large = large
	}
	s.pos, s.end = 0, len(rest)
}

func (s *Stream) unpool() {
	if s.pooled != nil {
		buffers.Put(s.pooled)
		s.pooled = nil
	}
	if s.large != nil {
		largeBuffers.Put(s.large)
		s.large = nil
	}
}

// park keeps the bytes of a half-read item, and no more, while the reader waits.
func (s *Stream) park() {
	s.Scanner.Release()
	rest := s.store[s.pos:s.end]
	switch {
	case len(rest) == 0:
		s.store = nil
		s.unpool()
		s.pos, s.end = 0, 0
	case s.pooled != nil || s.large != nil:
		own := make([]byte, max(512, 2*len(rest)))
		s.pos, s.end = 0, copy(own, rest)
		s.store = own
		s.unpool()
	}
}

// Release lets go of everything that reading needed. It is the last thing that the reader does.
func (s *Stream) Release() {
	s.store, s.pos, s.end = nil, 0, 0
	s.unpool()
	s.Scanner.Release()
	s.Transport.release()
}

// Unread are the bytes that have been read and not consumed, as far as TLS and the transport have given them out.
func (s *Stream) Unread() []byte { return s.store[s.pos:s.end] }

// Consumed is how many bytes belong to items that Next has returned.
func (s *Stream) Consumed() int { return s.Total - (s.end - s.pos) }

// Empty says whether nothing has been received that was not consumed.
func (s *Stream) Empty() bool { return s.pos == s.end && s.Transport.buffered() == 0 }

// SkipSpace drops white space that has been read and says whether there is anything else. What frames have between them
// is none.
func (s *Stream) SkipSpace() (more bool) {
	for s.socket == nil && s.pos < s.end && strings.IndexByte(" \t\r\n", s.store[s.pos]) >= 0 {
		s.pos++
	}
	return s.pos < s.end
}

// Pause waits for d, or until done is closed.
func Pause(d time.Duration, done <-chan struct{}) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-done:
	}
}

// Owes says whether the framing has something to say though nobody gives it anything. It leaves with the next Write or
// Send, even one of nothing.
func (s *Stream) Owes() bool { return s.socket != nil && s.socket.Owes() }

// Broken is the farewell for an error of the scanner, or of the framing.
func Broken(err error) *Farewell {
	if f, ok := errors.AsType[*Farewell](err); ok {
		return f
	}
	if bad, ok := errors.AsType[*stream.SyntaxError](err); ok {
		return Fault(bad.Condition, bad.What)
	}
	return Fault(stream.InternalServerError, "")
}
