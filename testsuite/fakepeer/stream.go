package fakepeer

import (
	"bytes"
	"crypto/tls"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"jackdaw/testsuite/harness"
)

// Namespaces that streams between servers use.
const (
	nsStream   = "http://etherx.jabber.org/streams"
	nsServer   = "jabber:server"
	nsDialback = "jabber:server:dialback"
	nsTLS      = "urn:ietf:params:xml:ns:xmpp-tls"
	nsSASL     = "urn:ietf:params:xml:ns:xmpp-sasl"
	nsManage   = "urn:xmpp:sm:3"
	nsBidi     = "urn:xmpp:bidi"
)

// Timeout bounds each step that a test waits for, as everywhere in the test suite.
const Timeout = harness.Timeout

// ErrStreamEnd is returned by Next when the other side has closed the stream as it should.
var ErrStreamEnd = errors.New("end of stream")

// An Element is one that came at the top of a stream.
type Element struct {
	xml.StartElement        // with its names resolved
	Raw              string // the bytes that came
	Text             string // what stands between its tags, without that of its children
}

// Attr is the value of an attribute without a namespace, or "".
func (e Element) Attr(name string) string {
	for _, a := range e.StartElement.Attr {
		if a.Name.Space == "" && a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// Is says whether the element has this name.
func (e Element) Is(space, local string) bool {
	return e.Name.Space == space && e.Name.Local == local
}

// IsStanza says whether it is a message, presence or iq.
func (e Element) IsStanza() bool {
	return e.Name.Space == nsServer && (e.Name.Local == "message" || e.Name.Local == "presence" || e.Name.Local == "iq")
}

// A Stream is one XML stream as bytes. Send may be called from any goroutine; the reading
// methods by one at a time.
type Stream struct {
	// Conn is what bytes go through: the socket, and TLS once it has been negotiated.
	Conn net.Conn
	// Header is the other side's, as it came last.
	Header Element

	socket net.Conn // below TLS
	within time.Duration
	raw    bytes.Buffer // what dec has read, from at on
	at     int64
	dec    *xml.Decoder

	writing sync.Mutex // held by Send
}

func newStream(socket net.Conn) *Stream {
	return &Stream{Conn: socket, socket: socket, within: Timeout}
}

// Send writes bytes.
func (s *Stream) Send(text string) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.Conn.SetWriteDeadline(time.Now().Add(Timeout))
	_, err := io.WriteString(s.Conn, text)
	return err
}

// Cut closes the socket without a word, as the end of the process would.
func (s *Stream) Cut() { s.socket.Close() }

// Close ends the stream politely.
func (s *Stream) Close() {
	s.Send("</stream:stream>")
	s.Cut()
}

// Patience sets how long Next waits from now on; 0 is for ever.
func (s *Stream) Patience(d time.Duration) { s.within = d }

func (s *Stream) deadline() {
	if s.within == 0 {
		s.Conn.SetReadDeadline(time.Time{})
		return
	}
	s.Conn.SetReadDeadline(time.Now().Add(s.within))
}

// ReadHeader starts a new XML stream in the direction to us. What the earlier one had in its
// buffers is gone.
func (s *Stream) ReadHeader() error {
	s.raw.Reset()
	s.at = 0
	s.dec = xml.NewDecoder(io.TeeReader(s.Conn, &s.raw))
	s.deadline()
	for {
		tok, err := s.dec.Token()
		if err != nil {
			return err
		}
		if start, ok := tok.(xml.StartElement); ok {
			if start.Name != (xml.Name{Space: nsStream, Local: "stream"}) {
				return fmt.Errorf("%s %s instead of a stream header", start.Name.Space, start.Name.Local)
			}
			s.Header = Element{StartElement: start.Copy()}
			return nil
		}
	}
}

// Next returns the next element at the top of the stream. Besides network errors there is ErrStreamEnd.
func (s *Stream) Next() (Element, error) {
	s.deadline()
	var el Element
	depth := 0
	var start int64
	for {
		before := s.dec.InputOffset()
		tok, err := s.dec.Token()
		if err != nil {
			return Element{}, err
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			if depth == 0 {
				start = before
				el.StartElement = tok.Copy()
			}
			depth++
		case xml.CharData:
			if depth == 1 {
				el.Text += string(tok)
			}
		case xml.EndElement:
			depth--
			if depth < 0 {
				return Element{}, ErrStreamEnd
			}
			if depth == 0 {
				end := s.dec.InputOffset()
				el.Raw = string(s.raw.Bytes()[start-s.at : end-s.at])
				s.raw.Next(int(end - s.at))
				s.at = end
				return el, nil
			}
		}
	}
}

// Until returns the first element for which f holds, skipping others.
func (s *Stream) Until(f func(Element) bool) (Element, error) {
	for {
		el, err := s.Next()
		if err != nil || f(el) {
			return el, err
		}
	}
}

// Rest reads on until the stream or the connection ends, and returns all that came, with the
// end in words. An error is there if it has not ended within the patience.
func (s *Stream) Rest() (string, error) {
	var all strings.Builder
	for {
		el, err := s.Next()
		all.WriteString(el.Raw)
		var late net.Error
		switch {
		case err == nil:
		case errors.As(err, &late) && late.Timeout():
			return all.String(), err
		default:
			fmt.Fprintf(&all, " (%v)", err)
			return all.String(), nil
		}
	}
}

// header is a stream header; attributes that are empty are left out.
func header(from, to, id string) string {
	var b strings.Builder
	b.WriteString("<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:stream='" + nsStream +
		"' xmlns:db='" + nsDialback + "' version='1.0'")
	for _, a := range [][2]string{{"from", from}, {"to", to}, {"id", id}} {
		if a[1] != "" {
			b.WriteString(" " + a[0] + "='" + escape(a[1]) + "'")
		}
	}
	return b.String() + ">"
}

func escape(s string) string {
	var b strings.Builder
	xml.EscapeText(&b, []byte(s)) // writing to memory does not fail
	return b.String()
}

// serveTLS is the server's side of a handshake.
func (s *Stream) serveTLS(config *tls.Config) (tls.ConnectionState, error) {
	return s.handshake(tls.Server(s.socket, config))
}

// clientTLS is the other side.
func (s *Stream) clientTLS(config *tls.Config) (tls.ConnectionState, error) {
	return s.handshake(tls.Client(s.socket, config))
}

func (s *Stream) handshake(c *tls.Conn) (tls.ConnectionState, error) {
	c.SetDeadline(time.Now().Add(Timeout))
	if err := c.Handshake(); err != nil {
		return tls.ConnectionState{}, err
	}
	c.SetDeadline(time.Time{})
	s.writing.Lock()
	s.Conn = c
	s.writing.Unlock()
	return c.ConnectionState(), nil
}
