package s2s

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"jackdaw/router/gate"
	"jackdaw/wire"
	"jackdaw/xmpp"
	"jackdaw/xmpp/stream"
)

// A link is one stream to or from a peer. Three parts of it are types of their own: what was negotiated, what is read
// and what is written. Their fields say who may touch them, as its own do.
type link struct {
	wire.Stream
	facts
	input
	output

	srv      *Server
	pass     *gate.Pass // nil for outgoing ones
	outgoing bool
	since    time.Time

	known atomic.Bool // authenticated
	dying atomic.Bool // no more than last words is written
	done  chan struct{}
	said  chan struct{}   // closed when the last words are out, or there are none
	ctx   context.Context // ends when the stream is over
	over  context.CancelFunc

	mu     sync.Mutex // guards the rest; before Server.mu
	ended  bool
	cause  error // why
	broken bool  // it ended without a word, and may be resumed
}

// newLink is a link on a connection on which nothing has been said.
func newLink(s *Server, c net.Conn, outgoing bool) *link {
	return linkOn(s, wire.Entry{Transport: wire.NewTransport(c), Framing: wire.Bytes{}}, outgoing)
}

func linkOn(s *Server, e wire.Entry, outgoing bool) *link {
	l := &link{srv: s, outgoing: outgoing, since: time.Now(), done: make(chan struct{}), said: make(chan struct{}),
		facts: newFacts()}
	l.carriers = map[*carrier]struct{}{}
	l.Begin(e, l)
	l.ctx, l.over = context.WithCancel(context.Background())
	return l
}

// stop ends the stream for everybody who uses it; it says false where that was done before. If it is lost, without a
// word, what can be resumed is kept.
func (l *link) stop(cause error, lost bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return false
	}
	l.ended, l.cause, l.broken = true, cause, lost
	l.srv.retire(l)
	l.over()
	l.out.stop()
	if lost {
		close(l.said)
	}
	return true
}

// patient lets the reader wait as long as the stream goes on; once it is over, how long is up to whoever parts it. The
// caller holds mu.
func (l *link) patient() error {
	if l.ended {
		return nil
	}
	return l.Transport.SetReadDeadline(time.Time{})
}

// end closes the connection without a word.
func (l *link) end(cause error) {
	if l.stop(cause, true) {
		l.srv.Stats.Lost.Add(1)
	}
	l.dying.Store(true)
	_ = l.Transport.Close() // gone either way
}

// part ends the stream with last words, a stream error or nothing but the close. The reader sees the connection end
// soon afterwards.
func (l *link) part(f *wire.Farewell) { l.partFor(f, f) }

func (l *link) partFor(cause error, f *wire.Farewell) {
	if !l.stop(cause, false) {
		return
	}
	defer close(l.said)
	l.dying.Store(true)
	_ = l.Transport.SetDeadline(time.Now().Add(wire.FarewellTime)) // whoever is writing, or shaking hands, stops
	l.wmu.Lock()
	defer l.wmu.Unlock()
	b := l.wbuf[:0]
	l.mu.Lock()
	if !l.began { // RFC 6120 §4.9.1.2: an error goes inside a stream
		b = l.Framing.AppendHeader(b, l.header())
	}
	b = l.lastAck(append(b, l.control...))
	l.control = nil
	l.mu.Unlock()
	if !l.torn {
		_ = l.LastWords(l.Framing.AppendEnd(b, f)) // a courtesy
	}
	_ = l.Transport.SetReadDeadline(time.Now().Add(wire.LingerTime)) // the reader finds out if that does not work
}

// run reads an established stream to its end.
func (l *link) run() {
	l.finish(l.work())
}

// finish is the last thing that the reader does.
func (l *link) finish(err error) {
	defer l.srv.leave(l)
	l.batch.Flush()
	f, ours := errors.AsType[*wire.Farewell](err)
	switch {
	case ours:
		l.log("link fails", "error", err)
		l.part(f)
	case errors.Is(err, errClosed), errors.As(err, new(*remoteError)):
		l.log("link closed", "error", err)
		l.partFor(err, &wire.Farewell{})
	default:
		l.end(err)
	}
	wire.Pause(wire.FarewellTime, l.said) // by whoever ends the link at the same time
	l.purse.Close()
	if ours {
		l.Linger()
	}
	l.Release()
	_ = l.Transport.Close() // it may be closed already
}

func (l *link) log(what string, args ...any) {
	l.mu.Lock()
	local, remote := l.local, l.remote
	l.mu.Unlock()
	l.srv.log.Debug(what, append([]any{"peer", remote, "local", local, "outgoing", l.outgoing,
		"address", l.Transport.RemoteAddr().String()}, args...)...)
}

// work handles what comes, to the end of the stream or until it must be opened anew (errAgain).
func (l *link) work() (err error) {
	defer l.srv.streams.Recover(&err)
	for {
		item, err := l.next()
		if err != nil {
			return err
		}
		if err := l.handle(item); err != nil {
			return err
		}
	}
}

// handle handles one item that is not a header.
func (l *link) handle(item stream.ItemKind) error {
	switch item {
	case stream.ItemStanza:
		return l.stanza(l.Scanner.Stanza())
	case stream.ItemElement:
		name, raw := l.Scanner.Element()
		return l.element(name, raw)
	case stream.ItemEnd:
		return errClosed
	}
	return wire.Fault(stream.BadFormat, "")
}

// element handles what is at the top of the stream and not a stanza.
func (l *link) element(name xmpp.Name, raw []byte) error {
	switch {
	case name == xmpp.Name{Space: xmpp.NSStream, Local: "error"}:
		return readRemoteError(raw)
	case name.Space == xmpp.NSDialback:
		return l.dialback(name.Local, raw)
	case name.Space == xmpp.NSSM:
		return l.managed(name.Local, raw)
	case l.outgoing:
		if name.Space == xmpp.NSStream && name.Local == "features" { // nothing in it concerns us any more
			return nil
		}
	case name == xmpp.Name{Space: xmpp.NSTLS, Local: "starttls"}:
		return l.startTLS()
	case name.Space == xmpp.NSSASL:
		return l.authorize(name.Local, raw)
	case name == xmpp.Name{Space: xmpp.NSBidi, Local: "bidi"}:
		return l.becomeBidi(raw)
	}
	return wire.Fault(stream.UnsupportedStanzaType, "")
}

// leave forgets a link whose reader has come to its end.
func (s *Server) leave(l *link) {
	s.settle(l)
	s.streams.Leave(l)
	if l.outgoing {
		s.streams.Gate.Release()
	}
	close(l.done)
}
