package s2s

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"jackdaw/s2s/outbox"
	"jackdaw/xmpp"
	"jackdaw/xmpp/stream"
)

// A stranger is the other end of a stream, in the hands of a test: it says anything.
type stranger struct {
	t    testing.TB
	conn net.Conn
	scan stream.Scanner
	buf  []byte
	id   string // of the stream header that came last
}

func newStranger(t testing.TB, c net.Conn) *stranger {
	s := &stranger{t: t, conn: c}
	s.scan.SetLimits(stream.Limits{Bytes: 1 << 20})
	t.Cleanup(func() { _ = c.Close() }) // it may be closed already
	return s
}

// call connects to a node.
func (n *node) call() *stranger {
	n.t.Helper()
	c, err := net.Dial("tcp", n.addr)
	if err != nil {
		n.t.Fatal(err)
	}
	return newStranger(n.t, c)
}

func (s *stranger) say(xml string) {
	s.t.Helper()
	if err := s.conn.SetDeadline(time.Now().Add(within)); err != nil {
		s.t.Fatal(err)
	}
	if _, err := io.WriteString(s.conn, xml); err != nil && !errors.Is(err, net.ErrClosed) {
		s.t.Logf("write: %v", err)
	}
}

// hear returns the next thing the other end says, as XML; "header", "end" or "gone" for what is none.
func (s *stranger) hear() string {
	s.t.Helper()
	for {
		if len(s.buf) > 0 {
			item, n, err := s.scan.Scan(s.buf)
			if err != nil {
				s.t.Fatalf("the node sends no XML: %v in %q", err, s.buf)
			}
			out := ""
			switch item {
			case stream.ItemHeader:
				s.id = s.scan.Header().ID
				out = "header"
			case stream.ItemStanza:
				out = string(s.scan.Stanza().Append(nil))
			case stream.ItemElement:
				_, raw := s.scan.Element()
				out = string(raw)
			case stream.ItemEnd:
				out = "end"
			}
			s.buf = append([]byte(nil), s.buf[n:]...)
			if out != "" {
				return out
			}
		}
		if err := s.conn.SetReadDeadline(time.Now().Add(within)); err != nil {
			return "gone"
		}
		b := make([]byte, 4096)
		n, err := s.conn.Read(b)
		s.buf = append(s.buf, b[:n]...)
		if n == 0 && err != nil {
			if t, ok := err.(net.Error); ok && t.Timeout() {
				s.t.Fatal("the node says nothing")
			}
			return "gone"
		}
	}
}

// expect hears something with all those parts in it.
func (s *stranger) expect(parts ...string) string {
	s.t.Helper()
	got := s.hear()
	for _, p := range parts {
		if !strings.Contains(got, p) {
			s.t.Fatalf("heard %s, want %q in it", got, p)
		}
	}
	return got
}

// expectOver hears a stream error of that condition, or none if it is empty, and the end.
func (s *stranger) expectOver(condition string) {
	s.t.Helper()
	if condition != "" {
		s.expect("error", "<"+condition+" ")
	}
	s.expect("end")
	if got := s.hear(); got != "gone" {
		s.t.Fatalf("heard %s after the end", got)
	}
}

func (s *stranger) header(from, to string) {
	s.t.Helper()
	a := ""
	if from != "" {
		a = " from='" + from + "'"
	}
	s.say("<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:stream='" + xmpp.NSStream + "' xmlns:db='" + xmpp.NSDialback + "'" +
		a + " to='" + to + "' version='1.0'>")
}

// introduce opens a stream and returns the features.
func (s *stranger) introduce(from, to string) string {
	s.t.Helper()
	s.header(from, to)
	s.expect("header")
	return s.expect("features")
}

// encrypt calls for TLS and opens the stream anew; it returns the features.
func (s *stranger) encrypt(from, to string, cert *tls.Certificate) string {
	s.t.Helper()
	s.introduce(from, to)
	s.say("<starttls xmlns='" + xmpp.NSTLS + "'/>")
	s.expect("proceed")
	s.secure(cert)
	return s.introduce(from, to)
}

func (s *stranger) secure(cert *tls.Certificate) {
	s.t.Helper()
	c := &tls.Config{InsecureSkipVerify: true}
	if cert != nil {
		c.Certificates = []tls.Certificate{*cert}
	}
	t := tls.Client(s.conn, c)
	if err := t.Handshake(); err != nil {
		s.t.Fatal(err)
	}
	s.conn, s.buf = t, nil
	s.scan.Reset()
}

// prove logs in by EXTERNAL; it returns the features then.
func (s *stranger) prove(from, to string, cert *tls.Certificate) string {
	s.t.Helper()
	if f := s.encrypt(from, to, cert); !strings.Contains(f, "EXTERNAL") {
		s.t.Fatalf("no EXTERNAL is offered: %s", f)
	}
	return s.logIn(from, to)
}

func (s *stranger) logIn(from, to string) string {
	s.t.Helper()
	s.say("<auth xmlns='" + xmpp.NSSASL + "' mechanism='EXTERNAL'>" + base64.StdEncoding.EncodeToString([]byte(from)) + "</auth>")
	s.expect("success")
	s.scan.Reset()
	s.buf = nil
	return s.introduce(from, to)
}

// A stage is a server in the hands of a test: it takes connections as a stranger.
type stage struct {
	t     testing.TB
	calls chan *stranger
	cert  *tls.Certificate
}

// stage puts one up for a domain.
func (w *world) stage(domain string) *stage {
	w.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	s := &stage{t: w.t, calls: make(chan *stranger, 10), cert: w.certificate(domain)}
	w.t.Cleanup(func() { _ = l.Close() }) // whoever waits for a call stops
	w.mu.Lock()
	w.places[domain] = append(w.places[domain], place{l.Addr().String(), false})
	w.mu.Unlock()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.calls <- newStranger(w.t, c)
		}
	}()
	return s
}

// enter waits for the next call.
func (g *stage) enter() *stranger {
	g.t.Helper()
	select {
	case s := <-g.calls:
		return s
	case <-time.After(within):
		g.t.Fatal("nobody calls")
		return nil
	}
}

const starttlsFeature = "<starttls xmlns='" + xmpp.NSTLS + "'/>"

// welcome answers a header, and sends features.
func (s *stranger) welcome(from, to, id, features string) {
	s.t.Helper()
	s.expect("header")
	s.say("<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:stream='" + xmpp.NSStream + "' xmlns:db='" + xmpp.NSDialback +
		"' from='" + from + "' to='" + to + "' id='" + id + "' version='1.0'><stream:features>" + features + "</stream:features>")
}

// acceptTLS plays the server's part up to the features behind TLS.
func (s *stranger) acceptTLS(from, to string, cert *tls.Certificate, features string) (chain []*x509.Certificate) {
	s.t.Helper()
	s.welcome(from, to, "one", starttlsFeature)
	s.expect("starttls")
	s.say("<proceed xmlns='" + xmpp.NSTLS + "'/>")
	t := tls.Server(s.conn, &tls.Config{Certificates: []tls.Certificate{*cert}, ClientAuth: tls.RequestClientCert})
	if err := t.Handshake(); err != nil {
		s.t.Fatal(err)
	}
	s.conn, s.buf = t, nil
	s.scan.Reset()
	s.welcome(from, to, "two", features)
	return t.ConnectionState().PeerCertificates
}

const (
	externalFeature = "<mechanisms xmlns='" + xmpp.NSSASL + "'><mechanism>EXTERNAL</mechanism></mechanisms>"
	dialbackFeature = "<dialback xmlns='" + xmpp.NSDialbackFeature + "'><errors/></dialback>"
	bidiFeature     = "<bidi xmlns='" + xmpp.NSBidiFeature + "'/>"
	smFeature       = "<sm xmlns='" + xmpp.NSSM + "'/>"
)

// acceptExternal plays it up to the features behind EXTERNAL.
func (s *stranger) acceptExternal(from, to string, cert *tls.Certificate, before, after string) {
	s.t.Helper()
	s.acceptTLS(from, to, cert, externalFeature+before)
	if strings.Contains(before, "bidi") {
		s.expect("<bidi")
	}
	s.expect("EXTERNAL", base64.StdEncoding.EncodeToString([]byte(to)))
	s.say("<success xmlns='" + xmpp.NSSASL + "'/>")
	s.scan.Reset()
	s.buf = nil
	s.welcome(from, to, "three", after)
}

// An opening is an Open that goes on while the test plays the server.
type opening struct {
	acks   *counter
	stream outbox.Stream
	err    error
	done   chan struct{}
}

func (n *node) opening(remote string) *opening {
	o := &opening{acks: newCounter(), done: make(chan struct{})}
	go func() {
		defer close(o.done)
		ctx, cancel := context.WithTimeout(context.Background(), within)
		defer cancel()
		o.stream, o.err = n.Open(ctx, outbox.Pair{Local: n.domain, Remote: remote}, o.acks.add)
	}()
	return o
}

// open waits for the stream.
func (o *opening) open(t *testing.T) outbox.Stream {
	t.Helper()
	<-o.done
	if o.err != nil {
		t.Fatal(o.err)
	}
	return o.stream
}

// fails waits for the failure.
func (o *opening) fails(t *testing.T, text string) *outbox.Failure {
	t.Helper()
	<-o.done
	f, ok := o.err.(*outbox.Failure)
	if !ok || f.Text != text {
		t.Fatalf("the failure is %v, want %q", o.err, text)
	}
	return f
}

// deaf is a connection that takes everything and says nothing.
type deaf struct{ net.Conn }

func (*deaf) Write(b []byte) (int, error)      { return len(b), nil }
func (*deaf) Close() error                     { return nil }
func (*deaf) SetReadDeadline(time.Time) error  { return nil }
func (*deaf) SetWriteDeadline(time.Time) error { return nil }
func (*deaf) SetDeadline(time.Time) error      { return nil }
func (*deaf) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
