package c2s

import (
	"bytes"
	"crypto/tls"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

var romeo = jid.MustParse("romeo@" + host)

// A journal is a log that a test can read while it is written.
type journal struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

// line waits for the line with this message and returns it.
func (j *journal) line(t *testing.T, message string) string {
	t.Helper()
	found := ""
	eventually(t, "the line "+message, func() bool {
		j.mu.Lock()
		defer j.mu.Unlock()
		for line := range strings.Lines(j.text.String()) {
			if strings.Contains(line, message) {
				found = line
			}
		}
		return found != ""
	})
	return found
}

func (j *journal) count(message string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Count(j.text.String(), message)
}

func logged(t *testing.T) (*house, *journal) {
	t.Helper()
	j := &journal{}
	h := open(t, func(o *Options) { o.Log = slog.New(slog.NewTextHandler(j, nil)) })
	t.Cleanup(h.close)
	return h, j
}

func wantAll(t *testing.T, line string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(line, p) {
			t.Errorf("no %q in %s", p, line)
		}
	}
}

func TestTheLogTellsTheLifeOfASession(t *testing.T) {
	h, log := logged(t)
	c := h.enter("romeo", "garden")
	wantAll(t, log.line(t, "client logged in"), "level=INFO", "session=romeo@example.org/garden", "from=127.0.0.1", `tls="TLS 1.3"`, "mechanism=SCRAM-")
	if at := h.router.Sessions(romeo)[0].Connection(); at.TLS != "TLS 1.3" || !at.Address.IsLoopback() || at.Since.IsZero() {
		t.Errorf("the session knows of its client: %+v", at)
	}
	id := c.manage()
	c.close()
	wantAll(t, log.line(t, "client is away, its session waits"), "romeo@example.org/garden", "the connection was lost", "for=10m")
	c = h.resume("romeo", id, 0)
	c.expect("<resumed")
	wantAll(t, log.line(t, "client resumed its session"), "romeo@example.org/garden", "from=127.0.0.1")
	c.send("</stream:stream>")
	wantAll(t, log.line(t, "client session ended"), "romeo@example.org/garden", "the client closed its stream", "lasted=")
	c.close()
	if n := log.count("client logged in"); n != 1 {
		t.Errorf("%d lines for one login", n)
	}
	log.mu.Lock()
	defer log.mu.Unlock()
	if strings.Contains(log.text.String(), password) {
		t.Error("the log holds a password")
	}
}

func TestASessionThatAnAdministratorEndsSaysSo(t *testing.T) {
	h, log := logged(t)
	c := h.enter("romeo", "garden")
	h.router.Sessions(romeo)[0].End("policy-violation", "ended by an administrator")
	wantAll(t, log.line(t, "client session ended"), "policy-violation: ended by an administrator")
	c.close()
}

func TestWhatDoesNotSpeakWhatThePortDoesIsLoggedOnce(t *testing.T) {
	h, log := logged(t)
	for range 3 {
		c := h.connect(DirectTLS)
		c.send("<?xml version='1.0'?>").close()
	}
	wantAll(t, log.line(t, "client does not speak what the port does"), "level=INFO", "from=127.0.0.1", "no TLS on a port for direct TLS", "listen.c2s")
	// The others were held back: the address has had its line.
	eventually(t, "the end of all three", func() bool { return h.Stats.Connections.Load() == 0 })
	if n := log.count("does not speak"); n != 1 {
		t.Errorf("%d lines", n)
	}
}

func TestTLSOnAPortForSTARTTLSIsLogged(t *testing.T) {
	h, log := logged(t)
	c := h.connect(STARTTLS)
	go tls.Client(c.conn, &tls.Config{InsecureSkipVerify: true}).Handshake() // it must fail
	wantAll(t, log.line(t, "client does not speak what the port does"), "TLS from the first byte on a port for STARTTLS")
	c.close()
}

func TestAFailedHandshakeIsLoggedAndALookAtThePortIsNot(t *testing.T) {
	h, log := logged(t)
	h.connect(DirectTLS).close()
	eventually(t, "its end", func() bool { return h.Stats.Connections.Load() == 0 && h.Stats.Accepted.Load() == 1 })
	if n := log.count("level="); n != 0 {
		t.Errorf("%d lines for a look at the port", n)
	}
	c := h.connect(DirectTLS)
	if err := tls.Client(c.conn, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10,
		MaxVersion: tls.VersionTLS11}).Handshake(); err == nil {
		t.Error("TLS 1.1 is spoken")
	}
	wantAll(t, log.line(t, "TLS with a client failed"), "level=INFO", "unsupported versions")
	c.close()
}

func TestARefusalBeforeLoginIsLogged(t *testing.T) {
	h, log := logged(t)
	c := h.connect(STARTTLS)
	c.send("<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='" + xmpp.NSStream + "' to='nowhere.example' version='1.0'>")
	wantAll(t, log.line(t, "client refused before login"), "host-unknown")
	c.close()
}
