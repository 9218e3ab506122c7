package harness

import (
	"bytes"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A Client is one XMPP stream as a test sees it: what is sent is bytes, what is received
// is one element at a time, as bytes. Its methods return errors rather than fail
// tests, so that load and kill tests can use it from many goroutines. Not for
// concurrent reading; Send may run beside Next.
type Client struct {
	Conn net.Conn
	JID  string // as bound; the domain of a component
	// Header is what the header of the next stream says besides, as attributes.
	Header string

	domain string       // that the stream is to
	raw    bytes.Buffer // what dec has read, from base on
	at     int64        // offset of raw's start
	dec    *xml.Decoder
}

// Timeout bounds every read of a Client, and what else a test waits for: a wait ends when it comes, and machines can be
// slow.
const Timeout = time.Minute

// Open connects with direct TLS (or in clear, for addr of STARTTLS with plain set) and opens a stream to Domain.
func Open(addr string, plain bool) (*Client, error) { return OpenTo(addr, Domain, plain) }

// OpenTo is Open for a server of any domain.
func OpenTo(addr, domain string, plain bool) (*Client, error) {
	return openFrom("", addr, domain, plain)
}

// openFrom is OpenTo from one of the machine's addresses; "" is any.
func openFrom(from, addr, domain string, plain bool) (*Client, error) {
	conn, err := Dial(from, addr)
	if err != nil {
		return nil, err
	}
	if !plain {
		t := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, ServerName: domain, NextProtos: []string{"xmpp-client"}})
		t.SetDeadline(time.Now().Add(Timeout))
		if err := t.Handshake(); err != nil {
			conn.Close()
			return nil, err
		}
		t.SetDeadline(time.Time{})
		conn = t
	}
	c := &Client{Conn: conn, domain: domain}
	if err := c.Restart(); err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

// Restart opens a new stream on the connection and reads the header.
func (c *Client) Restart() error {
	_, err := c.open(" version='1.0' xmlns='jabber:client'" + c.Header)
	return err
}

// open opens a stream with these attributes of its header, and returns the id of the server's.
func (c *Client) open(attributes string) (id string, err error) {
	c.raw.Reset()
	c.at = 0
	c.dec = xml.NewDecoder(io.TeeReader(c.Conn, &c.raw))
	if err := c.Send("<?xml version='1.0'?><stream:stream to='" + c.domain +
		"' xmlns:stream='http://etherx.jabber.org/streams'" + attributes + ">"); err != nil {
		return "", err
	}
	c.Conn.SetReadDeadline(time.Now().Add(Timeout))
	for {
		tok, err := c.dec.Token()
		if err != nil {
			return "", err
		}
		s, ok := tok.(xml.StartElement)
		if !ok {
			continue
		}
		if s.Name.Local != "stream" {
			return "", fmt.Errorf("%s instead of a stream header", s.Name.Local)
		}
		for _, a := range s.Attr {
			if a.Name.Local == "id" {
				id = a.Value
			}
		}
		return id, nil
	}
}

// Send writes bytes.
func (c *Client) Send(s string) error {
	c.Conn.SetWriteDeadline(time.Now().Add(Timeout))
	_, err := io.WriteString(c.Conn, s)
	return err
}

// ErrStreamEnd is returned by Next when the server has closed the stream.
var ErrStreamEnd = errors.New("end of stream")

// Next returns the next element as the bytes that came.
func (c *Client) Next() (string, error) { return c.NextWithin(Timeout) }

// NextWithin is Next with a time-out of its own.
func (c *Client) NextWithin(d time.Duration) (string, error) {
	c.Conn.SetReadDeadline(time.Now().Add(d))
	depth := 0
	var start int64
	for {
		before := c.dec.InputOffset()
		tok, err := c.dec.Token()
		if err != nil {
			return "", err
		}
		switch tok.(type) {
		case xml.StartElement:
			if depth == 0 {
				start = before
			}
			depth++
		case xml.EndElement:
			depth--
			if depth < 0 {
				return "", ErrStreamEnd
			}
			if depth == 0 {
				end := c.dec.InputOffset()
				b := c.raw.Bytes()
				el := string(b[start-c.at : end-c.at])
				c.raw.Next(int(end - c.at))
				c.at = end
				return el, nil
			}
		}
	}
}

// Until returns the first element for which f holds, skipping others.
func (c *Client) Until(f func(el string) bool) (string, error) {
	for {
		el, err := c.Next()
		if err != nil || f(el) {
			return el, err
		}
	}
}

// Ask sends an iq (its id must be unique) and returns the answer, skipping what else comes.
func (c *Client) Ask(id, iq string) (string, error) {
	if err := c.Send(iq); err != nil {
		return "", err
	}
	return c.Until(func(el string) bool {
		return strings.HasPrefix(el, "<iq") && (strings.Contains(el, "id='"+id+"'") || strings.Contains(el, `id="`+id+`"`))
	})
}

// Login opens a stream, authenticates by SCRAM-SHA-1 and restarts the stream; no resource is bound.
func Login(addr, user string) (*Client, error) { return loginTo("", addr, Domain, user) }

// LoginTo is Login for a server of any domain.
func LoginTo(addr, domain, user string) (*Client, error) { return loginTo("", addr, domain, user) }

func loginTo(from, addr, domain, user string) (*Client, error) {
	return authenticated(from, addr, domain, user, "")
}

// LoginFrom is Login from one of the machine's addresses; the header of the stream after authentication says more.
func LoginFrom(from, addr, user, header string) (*Client, error) {
	return authenticated(from, addr, Domain, user, header)
}

// LoginWith is Login with a password of its own.
func LoginWith(addr, user, password string) (*Client, error) {
	return proved("", addr, Domain, user, password, "")
}

func authenticated(from, addr, domain, user, header string) (*Client, error) {
	return proved(from, addr, domain, user, Password, header)
}

func proved(from, addr, domain, user, password, header string) (*Client, error) {
	c, err := openFrom(from, addr, domain, false)
	if err != nil {
		return nil, err
	}
	c.Header = header
	if err := c.authenticate(user, password); err != nil {
		c.Conn.Close()
		return nil, fmt.Errorf("log in as %s: %w", user, err)
	}
	return c, nil
}

// Connect is Login and Bind.
func Connect(addr, user, resource string) (*Client, error) {
	return ConnectTo(addr, Domain, user, resource)
}

// ConnectTo is Connect for a server of any domain, ours or another's.
func ConnectTo(addr, domain, user, resource string) (*Client, error) {
	return connect("", addr, domain, user, resource)
}

// ConnectFrom is Connect from one of the machine's addresses.
func ConnectFrom(from, addr, user, resource string) (*Client, error) {
	return connect(from, addr, Domain, user, resource)
}

func connect(from, addr, domain, user, resource string) (*Client, error) {
	c, err := loginTo(from, addr, domain, user)
	if err != nil {
		return nil, err
	}
	if err := c.Bind(resource); err != nil {
		c.Conn.Close()
		return nil, err
	}
	return c, nil
}

// Attach connects as the component (XEP-0114) of a domain, from one of the machine's addresses; "" is any.
func Attach(from, addr, domain, secret string) (*Client, error) {
	conn, err := Dial(from, addr)
	if err != nil {
		return nil, err
	}
	c := &Client{Conn: conn, JID: domain, domain: domain}
	id, err := c.open(" xmlns='jabber:component:accept'")
	if err == nil {
		sum := sha1.Sum([]byte(id + secret))
		err = c.Send("<handshake>" + hex.EncodeToString(sum[:]) + "</handshake>")
	}
	el := ""
	if err == nil {
		el, err = c.Next()
	}
	if err == nil && !strings.HasPrefix(el, "<handshake") {
		err = errors.New(el)
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("connect as %s: %w", domain, err)
	}
	return c, nil
}

// Bind binds a resource.
func (c *Client) Bind(resource string) error {
	el, err := c.Ask("bind", "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>"+resource+"</resource></bind></iq>")
	if err != nil {
		return err
	}
	_, after, ok := strings.Cut(el, "<jid>")
	c.JID, _, _ = strings.Cut(after, "</jid>")
	if !ok {
		return fmt.Errorf("bind: %s", el)
	}
	return nil
}

// authenticate is a SCRAM-SHA-1 client (RFC 5802) without channel binding.
func (c *Client) authenticate(user, password string) error {
	if _, err := c.Next(); err != nil { // features
		return err
	}
	bare := "n=" + user + ",r=testsuite" + strconv.FormatInt(time.Now().UnixNano(), 36)
	b64 := base64.StdEncoding.EncodeToString
	if err := c.Send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-1'>" + b64([]byte("n,,"+bare)) + "</auth>"); err != nil {
		return err
	}
	el, err := c.Next()
	if err != nil {
		return err
	}
	challenge, err := base64.StdEncoding.DecodeString(content(el))
	if err != nil || !strings.HasPrefix(el, "<challenge") {
		return fmt.Errorf("instead of a challenge: %s", el)
	}
	var nonce, salt string
	iterations := 0
	for _, kv := range strings.Split(string(challenge), ",") {
		switch k, v, _ := strings.Cut(kv, "="); k {
		case "r":
			nonce = v
		case "s":
			salt = v
		case "i":
			iterations, _ = strconv.Atoi(v)
		}
	}
	s, err := base64.StdEncoding.DecodeString(salt)
	if err != nil {
		return err
	}
	salted, err := saltedPassword(password, s, iterations)
	if err != nil {
		return err
	}
	mac := func(key []byte, msg string) []byte {
		h := hmac.New(sha1.New, key)
		io.WriteString(h, msg)
		return h.Sum(nil)
	}
	final := "c=biws,r=" + nonce
	clientKey := mac(salted, "Client Key")
	stored := sha1.Sum(clientKey)
	proof := mac(stored[:], bare+","+string(challenge)+","+final)
	for i := range proof {
		proof[i] ^= clientKey[i]
	}
	if err := c.Send("<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>" + b64([]byte(final+",p="+b64(proof))) + "</response>"); err != nil {
		return err
	}
	if el, err = c.Next(); err != nil {
		return err
	}
	if !strings.HasPrefix(el, "<success") {
		return errors.New(el)
	}
	if err := c.Restart(); err != nil {
		return err
	}
	_, err = c.Next() // features
	return err
}

// salts has the last salted password: as real clients do, one need not derive it for each login. Accounts that were
// imported for a measurement share their keys.
var salts struct {
	sync.Mutex
	password   string
	salt       string
	iterations int
	salted     []byte
}

func saltedPassword(password string, salt []byte, iterations int) ([]byte, error) {
	salts.Lock()
	known := salts.password == password && salts.salt == string(salt) && salts.iterations == iterations
	salted := salts.salted
	salts.Unlock()
	if known {
		return salted, nil
	}
	salted, err := pbkdf2.Key(sha1.New, password, salt, iterations, sha1.Size)
	if err != nil {
		return nil, err
	}
	salts.Lock()
	defer salts.Unlock()
	salts.password, salts.salt, salts.iterations, salts.salted = password, string(salt), iterations, salted
	return salted, nil
}

func content(el string) string {
	_, after, _ := strings.Cut(el, ">")
	text, _, _ := strings.Cut(after, "<")
	return text
}

// Enable turns stream management on, with resumption, and returns the id for Resume.
func (c *Client) Enable() (string, error) {
	if err := c.Send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>"); err != nil {
		return "", err
	}
	el, err := c.Until(func(el string) bool { return strings.Contains(el, "urn:xmpp:sm:3") })
	if err != nil {
		return "", err
	}
	id := Attr(el, "id")
	if id == "" {
		return "", fmt.Errorf("enable: %s", el)
	}
	return id, nil
}

// Attr returns an attribute of an element's start tag, as written.
func Attr(el, name string) string {
	tag, _, _ := strings.Cut(el, ">")
	for _, q := range []string{"'", `"`} {
		if _, after, ok := strings.Cut(tag, " "+name+"="+q); ok {
			v, _, _ := strings.Cut(after, q)
			return v
		}
	}
	return ""
}

// Close ends the stream politely.
func (c *Client) Close() {
	c.Send("</stream:stream>")
	c.Conn.Close()
}
