package sasl

import (
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"strings"
)

// ErrServer says that the server broke the protocol or could not prove that it
// knows the password.
var ErrServer = errors.New("server is not the one that knows the password")

// Credentials are what a client logs in with.
type Credentials struct {
	User     string
	Password string
	AuthzID  string // "" to act as the user, or as whom the certificate names

	// Binding is the channel binding for a -PLUS mechanism. Where it is set and
	// the mechanism has no -PLUS, the server is told that it announced none
	// (RFC 5802 §6).
	Binding Binding
}

// Client is the client's side of one login, for tools and tests of the server.
// It serves one login only and one goroutine at a time.
type Client struct {
	cred   Credentials
	plain  bool // PLAIN; with neither this nor a hash, EXTERNAL
	hash   Hash // of SCRAM
	header string
	nonce  string
	bare   string
	server []byte // the server's signature that is to come
	step   step
}

// NewClient starts a login by mechanism m. The error is InvalidMechanism for a
// mechanism that is unknown or lacks its channel binding.
func NewClient(m Mechanism, c Credentials) (*Client, error) {
	cl := &Client{cred: c, plain: m == Plain, hash: m.Hash(), nonce: newNonce()}
	switch {
	case m == Plain || m == External:
		return cl, nil
	case cl.hash == 0 || m.Plus() && (c.Binding.Type == "" || len(c.Binding.Data) == 0):
		return nil, InvalidMechanism
	case m.Plus():
		cl.header = "p=" + c.Binding.Type
	case c.Binding.Type != "":
		cl.header = "y"
	default:
		cl.header = "n"
	}
	if !m.Plus() {
		cl.cred.Binding.Data = nil
	}
	cl.header += ","
	if c.AuthzID != "" {
		cl.header += "a=" + encodeName(c.AuthzID)
	}
	cl.header += ","
	cl.bare = "n=" + encodeName(c.User) + ",r=" + cl.nonce
	return cl, nil
}

// Start returns the initial response. It is never nil: with EXTERNAL and no
// authorization identity it is empty, which is "=" in XMPP (RFC 6120 §6.4.2).
func (c *Client) Start() []byte {
	c.step = challenged
	switch {
	case c.hash == 0 && !c.plain:
		return []byte(c.cred.AuthzID)
	case c.plain:
		return []byte(c.cred.AuthzID + "\x00" + c.cred.User + "\x00" + c.cred.Password)
	}
	return []byte(c.header + c.bare)
}

// Next answers a challenge.
func (c *Client) Next(challenge []byte) ([]byte, error) {
	if c.hash == 0 || c.step != challenged || len(c.server) > 0 {
		return nil, ErrServer
	}
	c.step = over
	first := string(challenge)
	m, err := parseServerFirst(first)
	// The server's nonce begins with ours and adds to it (RFC 5802 §5.1).
	if err != nil || !strings.HasPrefix(m.nonce, c.nonce) || m.nonce == c.nonce || m.iterations > MaxIterations {
		return nil, ErrServer
	}
	salt, err := base64.StdEncoding.Strict().DecodeString(m.salt)
	if err != nil {
		return nil, ErrServer
	}
	forms, err := Forms(c.cred.Password)
	if err != nil {
		return nil, err
	}
	salted, err := saltedPassword(c.hash, forms[0], salt, m.iterations)
	if err != nil {
		return nil, err
	}
	binding := base64.StdEncoding.EncodeToString(append([]byte(c.header), c.cred.Binding.Data...))
	final := "c=" + binding + ",r=" + m.nonce
	auth := authMessage(c.bare, first, final)
	key := c.hash.mac(salted, clientKey)
	proof := c.hash.mac(c.hash.sum(nil, key), auth)
	subtle.XORBytes(proof, proof, key)
	c.server = c.hash.mac(c.hash.mac(salted, serverKey), auth)
	c.step = challenged
	return []byte(final + ",p=" + base64.StdEncoding.EncodeToString(proof)), nil
}

// Finish checks what came with the success; a client that does not call it does
// not know to whom it talks (RFC 5802 §5).
func (c *Client) Finish(data []byte) error {
	at := c.step
	c.step = over
	if c.hash == 0 && at == challenged && len(data) == 0 {
		return nil
	}
	v, _, _ := strings.Cut(string(data), ",")
	v, ok := strings.CutPrefix(v, "v=")
	got, err := base64.StdEncoding.Strict().DecodeString(v)
	if !ok || err != nil || at != challenged || len(c.server) == 0 || subtle.ConstantTimeCompare(got, c.server) != 1 {
		return ErrServer
	}
	return nil
}
