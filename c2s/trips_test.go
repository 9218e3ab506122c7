package c2s

import (
	"crypto/tls"
	"encoding/base64"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"jackdaw/xmpp"
	"jackdaw/xmpp/sasl"
)

// A counted connection counts round trips at the wire: how often its owner has to read after it has written.
type counted struct {
	net.Conn
	wrote atomic.Bool
	trips atomic.Int32
}

func (c *counted) Write(p []byte) (int, error) {
	c.wrote.Store(true)
	return c.Conn.Write(p)
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && c.wrote.Swap(false) {
		c.trips.Add(1)
	}
	return n, err
}

// counted opens a TLS connection whose round trips are counted.
func (h *house) counted(cache tls.ClientSessionCache) (*client, *counted) {
	h.t.Helper()
	c := h.connect(DirectTLS)
	wire := &counted{Conn: c.conn}
	c.conn = wire
	return c.handshakeWith(cache), wire
}

// TestRoundTripsOfLogins counts how often a client waits from the end of the TLS handshake until its session is there
// with stream management.
func TestRoundTripsOfLogins(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	cred := sasl.Credentials{User: "romeo", Password: password}
	enable := bindManaged + agentOf(deviceA)
	for _, a := range []struct {
		name  string
		login func(c *client)
		trips int32
	}{
		{"classic: header, mechanism, proof, header, resource, stream management", func(c *client) {
			c.header()
			c.login("romeo")
			c.bind("balcony").manage()
		}, 6},
		{"SASL2 and Bind 2: header, mechanism, proof", func(c *client) {
			c.headerFrom("romeo")
			if el := c.auth2(sasl.ScramSHA256, cred, enable); !strings.Contains(string(el.Append(nil)), "<enabled") {
				t.Errorf("got %s", el.Append(nil))
			}
		}, 3},
		{"SASL2 and Bind 2 with PLAIN: header, password", func(c *client) {
			c.headerFrom("romeo")
			c.auth2(sasl.Plain, cred, enable)
		}, 2},
		{"the same, sent with the header", func(c *client) {
			response := base64.StdEncoding.EncodeToString([]byte("\x00romeo\x00" + password))
			c.send(headerOf("romeo") + authenticateXML("PLAIN", response, enable))
			c.expect("<header>")
			c.expect("features")
			c.expect("<success", "<enabled", xmpp.NSBind2)
		}, 1},
	} {
		c, wire := h.counted(nil)
		before := wire.trips.Load()
		a.login(c)
		if got := wire.trips.Load() - before; got != a.trips {
			t.Errorf("%s: %d round trips, want %d", a.name, got, a.trips)
		}
		c.close()
	}
}
