package harness

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Way names how the clients of a test reach the server.
type Way string

// The ways.
const (
	TCP       Way = "tcp"
	WebSocket Way = "websocket" // RFC 7395
	BOSH      Way = "bosh"      // XEP-0206
)

const (
	nsClient  = "jabber:client"
	nsStreams = "http://etherx.jabber.org/streams"
)

// A bridge lets clients that speak TCP only reach the server on another way: to them it is a server with STARTTLS or
// direct TLS, and what they say then it says to the server over WebSocket or BOSH, element by element. It keeps the
// server to the rules of that way, which its clients do not see: the test fails where an element is not a document of
// its own. It shares no code with the server.
type bridge struct {
	t    testing.TB
	way  Way
	http string // HOST:PORT of the server's plain HTTP, where there is no channel to bind to
	tls  *tls.Config

	mu     sync.Mutex // guards both
	open   map[io.Closer]bool
	closed bool
	wg     sync.WaitGroup
}

// build listens on addresses of STARTTLS and of direct TLS until the end of the test.
func build(t testing.TB, way Way, http string, starttls, direct string) {
	t.Helper()
	b := &bridge{t: t, way: way, http: http, open: map[io.Closer]bool{},
		tls: &tls.Config{Certificates: []tls.Certificate{selfSigned(t)}, NextProtos: []string{"xmpp-client"}}}
	t.Cleanup(b.close)
	for addr, plain := range map[string]bool{starttls: true, direct: false} {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		b.keep(l)
		b.wg.Go(func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				if b.keep(conn) {
					b.wg.Go(func() { defer b.drop(conn); b.serve(conn, plain) })
				}
			}
		})
	}
}

func selfSigned(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{Domain},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (b *bridge) keep(c io.Closer) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		c.Close()
		return false
	}
	b.open[c] = true
	return true
}

func (b *bridge) drop(c io.Closer) {
	b.mu.Lock()
	delete(b.open, c)
	b.mu.Unlock()
	c.Close()
}

func (b *bridge) close() {
	b.mu.Lock()
	b.closed = true
	open := slices.Collect(maps.Keys(b.open))
	b.mu.Unlock()
	for _, c := range open {
		c.Close()
	}
	b.wg.Wait()
}

// A farSide is one stream with the server.
type farSide interface {
	// header opens the stream, or opens it anew, with what the client's header says.
	header(attrs []xml.Attr) error
	// send says one element, which declares its namespaces.
	send(element string) error
	// end is the client's </stream:stream>.
	end() error
	// next is what the server says then, as it would say it over TCP; io.EOF is the end of its stream, said or not.
	next() (string, error)
	// Close breaks the connection off.
	Close() error
}

// serve is one client.
func (b *bridge) serve(conn net.Conn, plain bool) {
	in := newReader(conn)
	if plain {
		if !starttls(conn, in) {
			return
		}
	}
	secured := tls.Server(conn, b.tls)
	in = newReader(secured)
	first, err := in.next()
	if err != nil || first.kind != isHeader {
		return
	}
	far, err := b.dial(first.start.Attr)
	if err != nil { // the server does not run
		return
	}
	if !b.keep(far) {
		return
	}
	defer b.drop(far)
	var parted atomic.Bool // the client has ended its stream, and may be gone
	done := make(chan struct{})
	go func() {
		defer close(done)
		if !b.down(secured, far, &parted) {
			conn.Close()
			return
		}
		// Closing it while the client is still writing would make the kernel drop what it was told last.
		_ = secured.CloseWrite()
		_ = conn.SetReadDeadline(time.Now().Add(2 * time.Second))
	}()
	if b.up(in, far, first, &parted) && !parted.Load() {
		far.Close()
	}
	<-done
	_, _ = io.Copy(io.Discard, conn)
}

// up takes what the client says to the server, until it ends its stream or the connection. It says whether the client
// has: the server may have something to say yet where it takes nothing more.
func (b *bridge) up(in *reader, far farSide, first item, parted *atomic.Bool) (gone bool) {
	var err error
	for it := first; err == nil; it, err = in.next() {
		switch it.kind {
		case isHeader:
			err = far.header(it.start.Attr)
		case isElement:
			err = far.send(it.declared())
		case isEnd:
			parted.Store(true)
			far.end()
			return true
		}
		if err != nil {
			return false
		}
	}
	if broken := (*xml.SyntaxError)(nil); errors.As(err, &broken) && broken.Msg != "unexpected EOF" {
		parted.Store(true)
		far.send(in.rest()) // it is the server's to say that it is broken
	}
	return true
}

// down takes what the server says to the client, and says whether the server has ended its stream.
func (b *bridge) down(conn net.Conn, far farSide, parted *atomic.Bool) bool {
	for {
		said, err := far.next()
		if said != "" {
			if _, err := io.WriteString(conn, said); err != nil && !parted.Load() {
				far.Close()
				return false
			}
		}
		if err != nil {
			return err == io.EOF
		}
	}
}

// starttls is what the bridge itself says to a client (RFC 6120 §5).
func starttls(conn net.Conn, in *reader) bool {
	first, err := in.next()
	if err != nil || first.kind != isHeader {
		return false
	}
	io.WriteString(conn, firstHeader(Domain, "bridge")+
		"<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>")
	asked, err := in.next()
	if err != nil || asked.kind != isElement || asked.start.Name.Local != "starttls" {
		return false
	}
	_, err = io.WriteString(conn, "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
	return err == nil
}

func (b *bridge) dial(header []xml.Attr) (farSide, error) {
	if b.way == BOSH {
		return newBOSH(b), nil
	}
	return dialWebSocket(b)
}

// streamHeader is the header of a stream over TCP with these attributes; namespaces among them are left out.
func streamHeader(attrs []xml.Attr) string {
	return "<?xml version='1.0'?><stream:stream xmlns='" + nsClient + "' xmlns:stream='" + nsStreams + "'" + written(attrs) + ">"
}

// firstHeader is a header of this server and id.
func firstHeader(from, id string) string {
	return streamHeader([]xml.Attr{{Name: xml.Name{Local: "from"}, Value: from}, {Name: xml.Name{Local: "id"}, Value: id},
		{Name: xml.Name{Local: "version"}, Value: "1.0"}})
}

// written are attributes as text, without namespaces.
func written(attrs []xml.Attr) string {
	var s strings.Builder
	for _, a := range attrs {
		name := a.Name.Local
		switch a.Name.Space {
		case "":
			if name == "xmlns" {
				continue
			}
		case "http://www.w3.org/XML/1998/namespace", "xml":
			name = "xml:" + name
		default:
			continue
		}
		s.WriteString(" " + name + "='")
		xml.EscapeText(&s, []byte(a.Value))
		s.WriteString("'")
	}
	return s.String()
}

// value is an attribute.
func value(attrs []xml.Attr, space, local string) string {
	for _, a := range attrs {
		if a.Name.Space == space && a.Name.Local == local {
			return a.Value
		}
	}
	return ""
}

var errNotOne = errors.New("this is not one element")

// The kinds of items.
const (
	isHeader = iota
	isElement
	isEnd
)

// An item is what lies in a stream one after the other.
type item struct {
	kind  int
	start xml.StartElement
	raw   string // an element as it came
	tag   int    // length of its start tag
}

// A reader takes a stream apart: a document that grows. Its root is one that open says of, and where another such
// element follows within, the stream has been opened anew.
type reader struct {
	dec  *xml.Decoder
	raw  bytes.Buffer // what dec has read, from at on
	at   int64
	root string // local name
	base int    // how many roots are open
}

func newReader(r io.Reader) *reader { return newReaderOf("stream", r) }

func newReaderOf(root string, r io.Reader) *reader {
	in := &reader{root: root}
	in.dec = xml.NewDecoder(io.TeeReader(r, &in.raw))
	return in
}

func (r *reader) next() (item, error) {
	depth := 0
	var it item
	var from int64
	for {
		before := r.dec.InputOffset()
		tok, err := r.dec.Token()
		if err != nil {
			return it, err
		}
		now := r.dec.InputOffset()
		switch tok := tok.(type) {
		case xml.StartElement:
			if depth == 0 {
				it.start = tok.Copy()
				from, it.tag = before, int(now-before)
				if tok.Name.Local == r.root && (r.base == 0 || tok.Name.Space == nsStreams) {
					r.base++
					r.forget(now)
					it.kind = isHeader
					return it, nil
				}
			}
			depth++
		case xml.EndElement:
			if depth == 0 {
				it.kind = isEnd
				return it, nil
			}
			if depth--; depth == 0 {
				it.kind = isElement
				it.raw = string(r.raw.Bytes()[from-r.at : now-r.at])
				r.forget(now)
				return it, nil
			}
		case xml.CharData:
			if depth == 0 {
				r.forget(now) // between elements
			}
		}
	}
}

func (r *reader) forget(until int64) {
	r.raw.Next(int(until - r.at))
	r.at = until
}

// rest is what came and is no item.
func (r *reader) rest() string { return r.raw.String() }

// declared is an element of a client's stream with the namespaces that the header of the stream declared for it.
func (it item) declared() string {
	name, after := cutName(it.raw)
	if strings.HasPrefix(name, "<stream:") && value(it.start.Attr, "xmlns", "stream") == "" {
		name += " xmlns:stream='" + nsStreams + "'"
	}
	if value(it.start.Attr, "", "xmlns") == "" {
		name += " xmlns='" + nsClient + "'"
	}
	return name + after
}

// cutName cuts an element behind the name in its start tag.
func cutName(raw string) (name, after string) {
	i := strings.IndexAny(raw, " \t\r\n/>")
	return raw[:i], raw[i:]
}

// within is an element of the server, which declares its namespaces, as it says it in a stream over TCP.
func (it item) within() (string, error) {
	space := it.start.Name.Space
	if space == "stream" {
		return "", fmt.Errorf("the prefix is not declared in %s", it.raw)
	}
	tag, rest := it.raw[:it.tag], it.raw[it.tag:]
	name, attrs := cutName(tag)
	implied := []string{nsClient}
	if space == nsStreams {
		if !strings.HasPrefix(name, "<stream:") { // it is the namespace by default here
			local := it.start.Name.Local
			name = "<stream:" + local
			if i := strings.LastIndex(rest, "</"); i >= 0 {
				rest = rest[:i] + "</stream:" + local + ">"
			}
			implied = []string{nsStreams}
		}
	} else if value(it.start.Attr, "", "xmlns") == "" {
		return "", fmt.Errorf("no namespace is declared in %s", it.raw)
	}
	for _, ns := range implied {
		attrs = strings.NewReplacer(" xmlns='"+ns+"'", "", ` xmlns="`+ns+`"`, "").Replace(attrs)
	}
	attrs = strings.NewReplacer(" xmlns:stream='"+nsStreams+"'", "", ` xmlns:stream="`+nsStreams+`"`, "").Replace(attrs)
	return name + attrs + rest, nil
}

// wrong fails the test for what the server must not say on this way.
func (b *bridge) wrong(format string, args ...any) error {
	err := fmt.Errorf(string(b.way)+": "+format, args...)
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.t.Error(err)
	}
	return err
}
