package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/yamux"
)

// A session is a link in one direction: streams are opened by the node that dialed.
type session struct {
	*yamux.Session
	node    string // at the other end, proved
	conn    *conn
	since   time.Time
	rtt     atomic.Int64 // of the last ping; 0: none yet
	streams atomic.Int64

	version byte // of the protocol

	once  sync.Once
	cause error // why it was closed here; nil: the other end closed it, or it broke

	mu   sync.Mutex      // guards the rest
	own  map[*alone]bool // streams that end with it
	over bool
}

// close ends the session and all of its streams.
func (s *session) close(cause error) {
	s.once.Do(func() {
		s.cause = cause
		_ = s.Session.Close() // says nothing of use
		s.endOwn()
	})
}

// end closes the session if it is not closed yet, and says why it was.
func (s *session) end() error {
	s.close(nil)
	if s.cause != nil {
		return s.cause
	}
	_, err := s.Accept() // is what keeps it
	return err
}

func (s *session) silence() time.Duration { return time.Duration(now() - s.conn.heard.Load()) }

// A greeted is a connection whose other end has proved who it is.
type greeted struct {
	conn    *conn
	node    string
	kind    Kind // of the one stream that is all of it; 0: there is a session on it
	version byte // of the protocol
}

// shake proves the identities of both ends on a new connection. Where we have dialed, node is the one that must be at
// the other end, and k says what the connection is for.
func (l *Links) shake(ctx context.Context, below net.Conn, node string, k Kind) (g greeted, err error) {
	ctx, cancel := context.WithTimeout(ctx, l.times.shake)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = below.Close() }) // ends all that waits on it
	defer stop()
	c := &conn{below: below, stats: &l.Stats}
	dialed := node != ""
	if dialed {
		config := l.tls.Clone()
		config.ServerName = nameOf(node)
		c.Conn = tls.Client(below, config)
	} else {
		c.Conn = tls.Server(below, l.tls)
	}
	if err := c.HandshakeContext(ctx); err != nil {
		return g, err
	}
	if !dialed {
		node = idOf(c.ConnectionState())
	}
	if _, err := c.Conn.Write(l.spoken.bytes(k)); err != nil {
		return g, err
	}
	theirs, kind, err := readHello(c)
	if err != nil {
		return g, err
	}
	if dialed {
		kind = k
	}
	version, err := l.spoken.shared(theirs)
	if err != nil {
		return g, err
	}
	c.heard.Store(now())
	if !stop() {
		return g, context.Cause(ctx)
	}
	return greeted{c, node, kind, version}, nil
}

// multiplex begins a session on a connection.
func (l *Links) multiplex(g greeted, dialed bool) (*session, error) {
	config := yamux.DefaultConfig()
	config.AcceptBacklog = backlog
	config.EnableKeepAlive = false // see watch
	config.ConnectionWriteTimeout = l.times.patience - l.times.ping
	config.StreamOpenTimeout = l.times.patience
	config.StreamCloseTimeout = l.times.patience
	config.LogOutput, config.Logger = nil, chatter{l.log.With("node", g.node)}
	s := &session{node: g.node, conn: g.conn, since: time.Now(), version: g.version}
	var err error
	if dialed {
		s.Session, err = yamux.Client(g.conn, config)
	} else {
		s.Session, err = yamux.Server(g.conn, config)
	}
	return s, err
}

// watch closes the session when nothing has come for too long. The end that has dialed pings, which the other hears.
func (l *Links) watch(s *session, dialed bool) {
	tick := time.NewTicker(l.times.ping)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-s.CloseChan():
			return
		case <-l.ctx.Done():
			s.close(ErrClosed)
			return
		}
		if dialed {
			if rtt, err := s.Ping(); err == nil {
				s.rtt.Store(int64(rtt))
			} else if !errors.Is(err, yamux.ErrSessionShutdown) {
				s.close(errSilent)
			}
		} else if s.silence() > l.times.patience {
			s.close(errSilent)
		}
	}
}

var errSilent = errors.New("nothing has come from it for too long")

// open opens a stream of a kind.
func (s *session) open(k Kind) (net.Conn, error) {
	y, err := s.OpenStream()
	if err != nil {
		if errors.Is(err, yamux.ErrStreamsExhausted) { // after two billions of them
			s.close(err)
		}
		return nil, fmt.Errorf("open a stream to node %s: %w", s.node, err)
	}
	c := &stream{Stream: y, s: s}
	if _, err = c.Write([]byte{byte(k)}); err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("open a stream to node %s: %w", s.node, err)
	}
	return c, nil
}

// accept hands the streams of a session to their handlers until the session ends.
func (l *Links) accept(s *session) {
	for {
		y, err := s.AcceptStream()
		if err != nil {
			s.close(nil)
			return
		}
		c := &stream{Stream: y, s: s}
		if s.streams.Add(1) > maxStreams {
			s.streams.Add(-1)
			l.log.Warn("stream of another node refused, since it has too many", "node", s.node, "streams", maxStreams)
			_ = c.Close()
			continue
		}
		l.Stats.Streams.Add(1)
		l.running.Go(func() {
			defer s.streams.Add(-1)
			l.begin(s, c)
		})
	}
}

// begin reads of which kind a stream is.
func (l *Links) begin(s *session, c *stream) {
	var kind [1]byte
	_ = c.SetReadDeadline(time.Now().Add(l.times.shake)) // never fails
	if _, err := c.Read(kind[:]); err != nil {
		_ = c.Close()
		return
	}
	_ = c.SetReadDeadline(time.Time{})
	f := l.handlers[kind[0]]
	if f == nil { // of a later version
		l.log.Warn("stream of another node refused, since this version does not know its kind", "node", s.node,
			"kind", kind[0])
		_ = c.Close()
		return
	}
	f(s.node, c)
}

// chatter takes what yamux says. None of it is news to an administrator.
type chatter struct{ log *slog.Logger }

func (c chatter) Printf(format string, v ...any) { c.say(fmt.Sprintf(format, v...)) }
func (c chatter) Print(v ...any)                 { c.say(fmt.Sprint(v...)) }
func (c chatter) Println(v ...any)               { c.say(fmt.Sprintln(v...)) }

func (c chatter) say(text string) { c.log.Debug("a link says", "text", strings.TrimSpace(text)) }
