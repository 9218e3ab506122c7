package c2s

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"jackdaw/xmpp"
	"jackdaw/xmpp/sasl"
)

// authenticateXML is a request with PLAIN, whose initial response is this.
func authenticateXML(mechanism, response, inline string) string {
	return "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='" + mechanism + "'><initial-response>" + response +
		"</initial-response>" + inline + "</authenticate>"
}

// TestLoginsBySASL2ThatAreRefused is the table of what is refused, and how. Nothing is routed for any of it.
func TestLoginsBySASL2ThatAreRefused(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	plain := func(inline string) string { return authenticateXML("PLAIN", "AHJvbWVvAHIwbTMw", inline) }
	scram := authenticateXML("SCRAM-SHA-1", base64.StdEncoding.EncodeToString([]byte("n,,n=romeo,r=abc")), "")
	const message = "<message to='juliet@example.org' id='early'><body>x</body></message>"
	for _, a := range []struct {
		name string
		sent []string
		want string // the condition of a failure; with a !, of a stream error
	}{
		{"unknown mechanism", []string{authenticateXML("NO", "", "")}, "invalid-mechanism"},
		{"no mechanism", []string{"<authenticate xmlns='urn:xmpp:sasl:2'/>"}, "invalid-mechanism"},
		{"mechanism of FAST without a token", []string{authenticateXML("HT-SHA-256-NONE", "AAAA", "")}, "invalid-mechanism"},
		{"wrong password", []string{authenticateXML("PLAIN", "AHJvbWVvAHgK", bind2)}, "not-authorized"},
		{"no base64", []string{authenticateXML("PLAIN", "?", "")}, "incorrect-encoding"},
		{"the sign of RFC 6120 for nothing", []string{authenticateXML("PLAIN", "=", "")}, "incorrect-encoding"},
		{"white space in base64", []string{authenticateXML("PLAIN", "AHJvbWVv\nAHIwbTMw", "")}, "incorrect-encoding"},
		{"empty", []string{authenticateXML("PLAIN", "", "")}, "malformed-request"},
		{"truncated", []string{authenticateXML("PLAIN", "AHJvbWVv", "")}, "malformed-request"},
		{"another's authorization", []string{authenticateXML("PLAIN", base64.StdEncoding.EncodeToString([]byte("juliet@example.org\x00romeo\x00"+password)), bind2)}, "invalid-authzid"},
		{"aborted", []string{scram, "<abort xmlns='urn:xmpp:sasl:2'><text>no</text></abort>"}, "aborted"},
		{"aborted in the classic way", []string{scram, "<abort xmlns='" + xmpp.NSSASL + "'/>"}, "!unsupported-stanza-type"},
		{"answered in the classic way", []string{scram, "<response xmlns='" + xmpp.NSSASL + "'/>"}, "!unsupported-stanza-type"},
		{"authenticate twice", []string{scram, plain(bind2)}, "!unsupported-stanza-type"},
		{"authenticate again after success", []string{plain(bind2), plain(bind2)}, "!unsupported-stanza-type"},
		{"authenticate again after success without a resource", []string{plain(""), plain(bind2)}, "!unsupported-stanza-type"},
		{"classic login after success", []string{plain(bind2), "<auth xmlns='" + xmpp.NSSASL + "' mechanism='PLAIN'>AHJvbWVvAHIwbTMw</auth>"}, "!unsupported-stanza-type"},
		{"a stanza while logging in", []string{scram, message}, "!not-authorized"},
		{"a stanza instead of logging in", []string{message}, "!not-authorized"},
		{"a stanza before the resource", []string{plain(""), message}, "!not-authorized"},
		{"task without one offered", []string{"<next xmlns='urn:xmpp:sasl:2' task='UPGR-SCRAM-SHA-512'/>"}, "!unsupported-stanza-type"},
		{"an id that is none", []string{plain(bind2 + agentOf("me"))}, "malformed-request"},
		{"an empty id", []string{plain(bind2 + agentOf(""))}, "malformed-request"},
		{"two agents", []string{plain(bind2 + agentOf(deviceA) + agentOf(deviceB))}, "malformed-request"},
		{"bind twice", []string{plain(bind2 + bind2)}, "malformed-request"},
		{"resume twice", []string{plain("<resume xmlns='urn:xmpp:sm:3' previd='a' h='0'/><resume xmlns='urn:xmpp:sm:3' previd='b' h='0'/>")}, "malformed-request"},
		{"resume without h", []string{plain("<resume xmlns='urn:xmpp:sm:3' previd='a'/>" + bind2)}, "malformed-request"},
		{"resume nothing", []string{plain("<resume xmlns='urn:xmpp:sm:3' h='0'/>" + bind2)}, "malformed-request"},
		{"active and inactive", []string{plain("<bind xmlns='urn:xmpp:bind:0'><active xmlns='urn:xmpp:csi:0'/><inactive xmlns='urn:xmpp:csi:0'/></bind>")}, "malformed-request"},
		{"other features", []string{plain(bind2 + "<config-version xmlns='urn:xmpp:iap:0' value='x'/>")}, "aborted"},
		{"too large", []string{plain(strings.Repeat("<x xmlns='urn:x'/>", 500))}, "!policy-violation"},
		{"too many elements", []string{plain(strings.Repeat("<x xmlns='urn:x'/>", 40))}, "!policy-violation"},
	} {
		c, _ := h.secure("romeo")
		for i, xml := range a.sent {
			c.send(xml)
			if i < len(a.sent)-1 {
				if got := c.expect("xmlns='urn:xmpp:sasl:2'"); strings.HasPrefix(got, "<success") {
					c.expect("features")
				}
			}
		}
		if condition, fatal := strings.CutPrefix(a.want, "!"); fatal {
			c.expectError(condition)
		} else {
			got := c.read()
			if !strings.HasPrefix(got, "<failure xmlns='urn:xmpp:sasl:2'><"+a.want+" xmlns='"+xmpp.NSSASL+"'/>") {
				t.Errorf("%s: %s", a.name, got)
			}
			// XEP-0388 §2.6: the stream is as it was.
			c.send(plain(bind2)).expect("<success")
		}
		c.close()
	}
	// An inline request that nobody knows is none.
	c, _ := h.secure("romeo")
	c.send(plain(bind2+"<what xmlns='urn:nobody:knows'/>")).expect("<success", "/Test/")
	c.close()
	// Whom the stream is from is who logs in.
	for from, want := range map[string]string{"juliet@example.org": "<invalid-authzid", "juliet@elsewhere.example": "<invalid-from"} {
		c := h.connect(DirectTLS).handshake()
		c.send(strings.Replace(header, " to=", " from='"+from+"' to=", 1)).expect("<header>")
		c.expect("features")
		c.send(plain(bind2)).expect(want)
		c.close()
	}
	if got := h.list(&h.routed); len(got) != 0 {
		t.Errorf("routed: %q", got)
	}
	if n := h.Stats.AuthFailures.Load(); n != 1 {
		t.Errorf("%d failed logins", n)
	}
}

// A hold keeps back what is written to it once it is told to.
type hold struct {
	net.Conn
	mu   sync.Mutex
	on   bool
	held bytes.Buffer
}

func (h *hold) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.on {
		return h.held.Write(p)
	}
	return h.Conn.Write(p)
}

// Read tells it to: everything from the second write on is kept back, which ends the client's part of the handshake.
func (h *hold) Read(p []byte) (int, error) {
	n, err := h.Conn.Read(p)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.on = true // the server has answered the first
	return n, err
}

// XEP-0388 §3, XEP-0484 §7: what a client says is looked at once the handshake is over, and not before. The tickets say
// that there is no early data (RFC 8446 §4.2.10), and what comes ahead of the client's Finished ends the connection.
func TestNothingIsReadBeforeTheHandshakeHasEnded(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	login := header + authenticateXML("PLAIN", "AHJvbWVvAHIwbTMw", bind2)
	for _, order := range []string{"as it should be", "without the end of the handshake", "data first"} {
		a, b := tcpPair(t)
		h.accept(a, DirectTLS)
		before := h.Stats.Logins.Load()
		wire := &hold{Conn: b}
		client := tls.Client(wire, clientTLS(nil))
		if err := client.Handshake(); err != nil {
			t.Fatal(err)
		}
		wire.mu.Lock()
		finished := bytes.Clone(wire.held.Bytes())
		wire.held.Reset()
		wire.mu.Unlock()
		if len(finished) == 0 {
			t.Fatal("the end of the handshake is not kept back")
		}
		if _, err := io.WriteString(client, login); err != nil {
			t.Fatal(err)
		}
		data := bytes.Clone(wire.held.Bytes())
		var sent []byte
		switch order {
		case "as it should be":
			sent = append(finished, data...)
		case "data first":
			sent = append(data, finished...)
		default:
			sent = data
		}
		if _, err := b.Write(sent); err != nil {
			t.Fatal(err)
		}
		if err := b.SetReadDeadline(time.Now().Add(within)); err != nil {
			t.Fatal(err)
		}
		if order == "as it should be" {
			got, buf := "", make([]byte, 4096)
			for !strings.Contains(got, "</success>") {
				n, err := client.Read(buf)
				if err != nil {
					t.Fatalf("%s: %v after %s", order, err, got)
				}
				got += string(buf[:n])
			}
			if cs := client.ConnectionState(); !cs.HandshakeComplete || cs.Version != tls.VersionTLS13 {
				t.Errorf("%+v", cs)
			}
		} else {
			// The server says by an alert that it cannot read this, and hangs up.
			if _, err := io.Copy(io.Discard, b); err != nil && !strings.Contains(err.Error(), "reset") {
				t.Errorf("%s: %v", order, err)
			}
			if n := h.Stats.Logins.Load(); n != before {
				t.Errorf("%s: %d logins", order, n-before)
			}
		}
		_ = b.Close()
	}
	if got := h.list(&h.routed); len(got) != 0 {
		t.Errorf("routed: %q", got)
	}
}

// ticketCache keeps the last ticket.
type ticketCache struct{ state *tls.ClientSessionState }

func (c *ticketCache) Get(string) (*tls.ClientSessionState, bool) { return c.state, c.state != nil }
func (c *ticketCache) Put(_ string, s *tls.ClientSessionState)    { c.state = s }

func TestTicketsPromiseNoEarlyData(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	cache := &ticketCache{}
	for _, resumed := range []bool{false, true} {
		c := h.connect(DirectTLS).handshakeWith(cache)
		c.headerFrom("romeo")
		if c.tls.ConnectionState().DidResume != resumed {
			t.Errorf("resumed: %v", !resumed)
		}
		if el := c.auth2(sasl.ScramSHA1, sasl.Credentials{User: "romeo", Password: password}, bind2); el.Name.Local != "success" {
			t.Errorf("got %s", el.Append(nil))
		}
		_, state, err := cache.state.ResumptionState()
		if err != nil || state.EarlyData {
			t.Errorf("early data: %v, %v", state.EarlyData, err)
		}
		c.close()
	}
}

// FuzzSASL2 lets a client that has proved nothing say anything over TLS.
func FuzzSASL2(f *testing.F) {
	for _, xml := range []string{
		authenticateXML("PLAIN", "AHJvbWVvAHg=", bind2+agentOf(deviceA)),
		authenticateXML("SCRAM-SHA-1", "biwsbj1yb21lbyxyPWE=", "<resume xmlns='urn:xmpp:sm:3' previd='a' h='1'/>") +
			"<response xmlns='urn:xmpp:sasl:2'>Yz1iaXdz</response>",
		authenticateXML("SCRAM-SHA-256", "", upgrades("UPGR-SCRAM-SHA-512")) + "<next xmlns='urn:xmpp:sasl:2'/><task-data xmlns='urn:xmpp:sasl:2'/>",
		"<abort xmlns='urn:xmpp:sasl:2'/><message/>",
	} {
		f.Add([]byte(xml))
	}
	h := open(f, nil) // its keys take longer to derive than a stream lives
	defer h.close()
	f.Fuzz(func(t *testing.T, sent []byte) {
		h.t = t
		c, _ := h.secure("romeo")
		if err := c.conn.SetWriteDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		c.try(string(sent))
		c.close()
		if h.Stats.Panics.Load() != 0 {
			t.Error("the server panicked")
		}
		if h.Stats.Logins.Load() != 0 {
			t.Error("a stranger is logged in")
		}
	})
}
