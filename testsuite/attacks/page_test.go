package attacks

import (
	"bufio"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"jackdaw/testsuite/harness"
)

// A page is a client over WebSocket whose frames are as they are written here, and not as a browser would make them.
type page struct {
	net.Conn
	r *bufio.Reader
}

// The first byte of a frame (RFC 6455 §5.2).
const (
	frameLast  = 0x80
	frameText  = 1
	frameBytes = 2
	frameClose = 8
	framePing  = 9
	framePong  = 10

	wholeText = frameLast | frameText
)

const (
	opening  = "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='localhost' version='1.0'/>"
	intruder = "<message xmlns='jabber:client' to='victim@localhost/den' type='chat'><body>" + mark + "</body></message>"
	evil     = "Origin: https://evil.example"
)

// upgrade asks for a WebSocket from one of the machine's addresses and returns the status; headers are more lines of
// the request.
func upgrade(from, addr string, headers ...string) (*page, string, error) {
	conn, err := harness.Dial(from, addr)
	if err != nil {
		return nil, "", err
	}
	p := &page{Conn: conn, r: bufio.NewReader(conn)}
	p.SetDeadline(time.Now().Add(harness.Timeout))
	lines := append([]string{"GET /xmpp-websocket HTTP/1.1", "Host: localhost", "Connection: Upgrade", "Upgrade: websocket",
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol: xmpp"}, headers...)
	if _, err = io.WriteString(conn, strings.Join(lines, "\r\n")+"\r\n\r\n"); err == nil {
		var resp *http.Response
		if resp, err = http.ReadResponse(p.r, nil); err == nil {
			return p, resp.Status, nil
		}
	}
	conn.Close()
	return nil, "", err
}

// frame is one frame, masked.
func frame(first byte, payload string) []byte {
	b := []byte{first}
	switch n := len(payload); {
	case n <= 125:
		b = append(b, 0x80|byte(n))
	case n <= 0xffff:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	key := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	b = append(b, key[:]...)
	for i := range len(payload) {
		b = append(b, payload[i]^key[i%4])
	}
	return b
}

// crumbs is a message in frames of one byte, as a string.
func crumbs(payload string) string {
	var b []byte
	first := byte(frameText)
	for i := range len(payload) {
		if i == len(payload)-1 {
			first |= frameLast
		}
		b = append(b, frame(first, payload[i:i+1])...)
		first = 0
	}
	return string(b)
}

func (p *page) say(messages ...string) error {
	for _, m := range messages {
		if _, err := p.Write(frame(wholeText, m)); err != nil {
			return err
		}
	}
	return nil
}

// next is the next message, or what else came, as "closed CODE" or "pong TEXT".
func (p *page) next() (string, error) {
	message := ""
	for {
		var head [10]byte
		if _, err := io.ReadFull(p.r, head[:2]); err != nil {
			return "", err
		}
		n := uint64(head[1])
		var err error
		switch n {
		case 126:
			_, err = io.ReadFull(p.r, head[2:4])
			n = uint64(binary.BigEndian.Uint16(head[2:]))
		case 127:
			_, err = io.ReadFull(p.r, head[2:10])
			n = binary.BigEndian.Uint64(head[2:])
		}
		if err != nil {
			return "", err
		}
		payload := make([]byte, n)
		if _, err := io.ReadFull(p.r, payload); err != nil {
			return "", err
		}
		switch op := head[0] & 0xf; {
		case op == frameClose && n < 2:
			return "closed", nil
		case op == frameClose:
			return fmt.Sprintf("closed %d", binary.BigEndian.Uint16(payload)), nil
		case op == framePong:
			return "pong " + string(payload), nil
		}
		if message += string(payload); head[0]&frameLast != 0 {
			return message, nil
		}
	}
}

// until reads messages up to one that has a text in it.
func (p *page) until(part string) (string, error) {
	for {
		m, err := p.next()
		switch {
		case err != nil:
			return "", fmt.Errorf("no %q: %w", part, err)
		case strings.Contains(m, part):
			return m, nil
		case strings.HasPrefix(m, "closed"):
			return "", fmt.Errorf("no %q: %s", part, m)
		}
	}
}

// rest is all that comes until the server closes.
func (p *page) rest() string {
	var got strings.Builder
	for {
		m, err := p.next()
		if err != nil {
			return got.String()
		}
		got.WriteString(m)
	}
}

func plain(user string) string {
	return "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>" +
		base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+harness.Password)) + "</auth>"
}

func bindAs(resource string) string {
	return "<iq xmlns='jabber:client' type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>" + resource + "</resource></bind></iq>"
}

// visit logs in over WebSocket.
func visit(from, addr, user, resource string) (*page, error) {
	p, status, err := upgrade(from, addr)
	if err != nil {
		return nil, err
	}
	for _, step := range [][2]string{{opening, "<stream:features"}, {plain(user), "<success"}, {opening, "<stream:features"}, {bindAs(resource), "<jid>"}} {
		if err = p.say(step[0]); err == nil {
			_, err = p.until(step[1])
		}
		if err != nil {
			p.Close()
			return nil, fmt.Errorf("%s: %w", status, err)
		}
	}
	return p, nil
}

// framed sends bytes on a WebSocket before the login, in answer to our features.
func framed(parts ...string) func(*testing.T, *harness.Server) string {
	return func(t *testing.T, s *harness.Server) string {
		p, status, err := upgrade("", s.HTTP)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		if err := p.say(opening); err != nil {
			t.Fatal(err)
		}
		if _, err := p.until("<stream:features"); err != nil {
			t.Fatalf("%s: %v", status, err)
		}
		return p.exchange(parts)
	}
}

// visited is framed for one that mallory has logged in to.
func visited(parts ...string) func(*testing.T, *harness.Server) string {
	return func(t *testing.T, s *harness.Server) string {
		p, err := visit("", s.HTTP, "mallory", "lair")
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		return p.exchange(parts)
	}
}

func (p *page) exchange(parts []string) string {
	done := make(chan struct{})
	go func() { // the server may stop reading before all is sent
		defer close(done)
		for _, one := range parts {
			if _, err := io.WriteString(p, one); err != nil {
				return
			}
		}
	}()
	got := p.rest()
	p.Close()
	<-done
	return got
}

// handshake is the status of a request for a WebSocket.
func handshake(headers ...string) func(*testing.T, *harness.Server) string {
	return func(t *testing.T, s *harness.Server) string {
		p, status, err := upgrade("", s.HTTP, headers...)
		if err != nil {
			t.Fatal(err)
		}
		p.Close()
		return status
	}
}

// whole is one message as one frame.
func whole(message string) string { return string(frame(wholeText, message)) }

// framedAttacks are those of WebSocket (RFC 6455 §10, RFC 7395 §6).
var framedAttacks = []attack{
	{"WebSocket: a page of elsewhere", handshake(evil), []string{"403"}},
	{"WebSocket: a page without an origin of its own", handshake("Origin: null"), []string{"403"}},
	{"WebSocket: a page in clear of the host", handshake("Origin: http://localhost.evil.example"), []string{"403"}},
	{"WebSocket: a page of the host", handshake("Origin: https://localhost"), []string{"101"}},
	{"WebSocket: a message before the login", framed(whole(intruder)), []string{"not-authorized", "urn:ietf:params:xml:ns:xmpp-framing", "closed 1000"}},
	{"WebSocket: a frame that is not masked", visited("\x81\x04<a/>", whole(intruder)), []string{"bad-format", "closed 1002"}},
	{"WebSocket: a reserved bit", visited(string(frame(wholeText|0x40, intruder))), []string{"bad-format", "closed 1002"}},
	{"WebSocket: bytes", visited(string(frame(frameLast|frameBytes, intruder))), []string{"bad-format", "closed 1003"}},
	{"WebSocket: a ping in parts", visited(string(frame(framePing, mark)), whole(intruder)), []string{"bad-format", "closed 1002"}},
	{"WebSocket: a message in another", visited(string(frame(frameText, "<message xmlns='jabber:client'>")), whole(intruder)), []string{"bad-format", "closed 1002"}},
	{"WebSocket: two stanzas in a message", visited(whole("<presence xmlns='jabber:client' to='victim@localhost/den' id='" + mark + "'/>" + intruder)), []string{"stream:error"}},
	{"WebSocket: half a stanza in a message", visited(whole(intruder[:len(intruder)-3]), whole("ge>")), []string{"not-well-formed"}},
	{"WebSocket: a stanza in the header of TCP", visited(whole(header + toVictim)), []string{"stream:error"}},
	{"WebSocket: an entity bomb", visited(whole("<!DOCTYPE x [<!ENTITY a '" + mark + "'>]>" + intruder)), []string{"restricted-xml"}},
	{"WebSocket: a comment before a stanza", visited(whole("<!-- -->" + intruder)), []string{"restricted-xml"}},
	{"WebSocket: another stream in the stream", visited(whole(opening), whole(intruder)), []string{"bad-format"}},
	{"WebSocket: a stanza that names another namespace", visited(whole("<message to='victim@localhost/den' xmlns='jabber:server'><body>" + mark + "</body></message>")), []string{"stream:error"}},
	{"WebSocket: a stanza behind the end", visited(whole("<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>"), whole(intruder)), []string{"closed 1000"}},
	{"WebSocket: a stanza behind the closing frame", visited(string(frame(frameLast|frameClose, "\x03\xe8")), whole(intruder)), []string{"closed 1000"}},
	{"WebSocket: a close in the middle of a message", visited(string(frame(frameText, intruder)), string(frame(frameLast|frameClose, "\x03\xe9"))), []string{"closed 1001"}},
	{"WebSocket: a connection cut in the middle of a frame", func(t *testing.T, s *harness.Server) string {
		p, err := visit("", s.HTTP, "mallory", "lair")
		if err != nil {
			t.Fatal(err)
		}
		b := frame(wholeText, intruder+" ")
		if _, err := p.Write(b[:len(b)-1]); err != nil {
			t.Fatal(err)
		}
		p.Close()
		return ""
	}, nil},
	{"WebSocket: a frame that says it is of 2^63 bytes", visited("\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00" + mark), []string{"policy-violation", "closed 1009"}},
	{"WebSocket: a frame of 2^64-1 bytes", visited("\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00" + mark), []string{"policy-violation", "closed 1009"}},
	{"WebSocket: a stanza over the limit in parts", visited(string(frame(frameText, intruder[:len(intruder)-len("</body></message>")])),
		strings.Repeat(string(frame(0, strings.Repeat("x", 1000))), 600)), []string{"policy-violation", "closed 1009"}},
	{"WebSocket: a megabyte before the login, in frames of one byte", framed(crumbs(strings.Repeat("A", 1<<20))), []string{"policy-violation"}},
	{"WebSocket: pings without end before the login", framed(strings.Repeat(string(frame(frameLast|framePing, "x")), 100_000)), []string{"policy-violation"}},
	{"WebSocket: empty fragments without end before the login", framed(string(frame(frameText, "")), strings.Repeat(string(frame(0, "")), 100_000)), []string{"policy-violation"}},
}
