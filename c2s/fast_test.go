package c2s

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"strings"
	"sync"
	"testing"
	"time"

	"jackdaw/router/devices"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
	"jackdaw/xmpp/sasl"
)

// memoryTokens keeps tokens as XEP-0484 §5.1 says, and nothing on disk.
type memoryTokens struct {
	mu      sync.Mutex // guards the rest
	of      map[string]*tokenSlots
	due     bool
	removed bool // are all devices
}

type tokenSlots struct{ fresh, current *memoryToken }

type memoryToken struct {
	secret  string
	m       sasl.Mechanism
	expires time.Time
	count   uint64
}

func (m *memoryTokens) Use(_ context.Context, u devices.Use, proves func([]byte) bool) (due bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.of[u.User.String()+" "+u.Agent]
	if s == nil {
		return false, sasl.NotAuthorized
	}
	for _, t := range []*memoryToken{s.fresh, s.current} {
		switch {
		case t == nil || t.m != u.Mechanism || !proves([]byte(t.secret)):
			continue
		case time.Now().After(t.expires):
			return false, sasl.CredentialsExpired
		case u.Count > 0 && u.Count <= t.count:
			return false, sasl.NotAuthorized
		}
		if t.count = max(t.count, u.Count); t == s.fresh {
			s.fresh, s.current = nil, t
		}
		if u.Invalidate {
			s.current = nil
		}
		return m.due, nil
	}
	return false, sasl.NotAuthorized
}

func (m *memoryTokens) Issue(_ context.Context, l devices.Login, of sasl.Mechanism) (string, time.Time, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := &memoryToken{secret: rand.Text(), m: of, expires: time.Now().Add(time.Hour).Truncate(time.Second)}
	key := l.User.String() + " " + l.Agent.ID
	if m.of[key] == nil {
		m.of[key] = &tokenSlots{}
	}
	m.of[key].fresh = t
	return t.secret, t.expires, nil
}

func (m *memoryTokens) Seen(context.Context, devices.Login) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.removed {
		return devices.ErrNotFound
	}
	return nil
}

func (m *memoryTokens) slots(user, device string) *tokenSlots {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.of[user+"@"+host+" "+device]
}

func openFast(t testing.TB) (*house, *memoryTokens) {
	m := &memoryTokens{of: map[string]*tokenSlots{}}
	return open(t, func(o *Options) { o.Tokens = m }), m
}

func requestToken(m sasl.Mechanism) string {
	return "<request-token xmlns='urn:xmpp:fast:0' mechanism='" + string(m) + "'/>"
}

const fast = "<fast xmlns='urn:xmpp:fast:0'/>"

// tokenOf is what a success gives, "" if nothing.
func tokenOf(el *xmpp.Element) string {
	if t := el.Child(xmpp.Name{Space: xmpp.NSFAST, Local: "token"}); t != nil {
		return t.Attr("token")
	}
	return ""
}

// obtain logs in with the password for a token, and leaves.
func (h *house) obtain(user, device string, m sasl.Mechanism) string {
	h.t.Helper()
	c, el := h.enter2(user, requestToken(m)+agentOf(device))
	defer c.close()
	token := tokenOf(el)
	if token == "" {
		h.t.Fatalf("got %s", el.Append(nil))
	}
	return token
}

// channel is the binding of a mechanism on the connection.
func (c *client) channel(m sasl.Mechanism) []byte {
	cs := c.tls.ConnectionState()
	switch kind, _ := m.TokenBinding(); kind {
	case sasl.TLSExporter:
		b, _ := sasl.Exporter(&cs)
		return b.Data
	case sasl.TLSServerEndPoint:
		b, _ := sasl.ServerEndPoint(cs.PeerCertificates[0])
		return b.Data
	}
	return nil
}

func fastXML(m sasl.Mechanism, message []byte, inline string) string {
	return authenticateXML(string(m), base64.StdEncoding.EncodeToString(message), inline)
}

// fast2 logs in with a token, and checks that the server knows it too.
func (c *client) fast2(user, token string, m sasl.Mechanism, inline string) *xmpp.Element {
	c.t.Helper()
	binding := c.channel(m)
	c.send(fastXML(m, sasl.TokenMessage(user, token, binding), inline))
	el, err := xmpp.ParseElement([]byte(c.read()))
	if err != nil {
		c.t.Fatal(err)
	}
	if d := el.ChildLocal("additional-data"); el.Name.Local == "success" &&
		(d == nil || !sasl.TokenAnswered(unbase64(c.t, d.Text()), token, binding)) {
		c.t.Errorf("the server does not know the token: %s", el.Append(nil))
	}
	return el
}

func TestATokenIsGivenAndLogsIn(t *testing.T) {
	h, tokens := openFast(t)
	defer h.close()
	for _, m := range []sasl.Mechanism{sasl.HTSHA256Exporter, sasl.HTSHA256EndPoint, sasl.HTSHA256None} {
		c, f := h.secure("romeo")
		if !strings.Contains(f, "<fast xmlns='urn:xmpp:fast:0'><mechanism>HT-SHA-256-EXPR</mechanism><mechanism>HT-SHA-256-ENDP</mechanism><mechanism>HT-SHA-256-NONE</mechanism></fast></inline>") {
			t.Errorf("features: %s", f)
		}
		c.close()
		token := h.obtain("romeo", deviceA, m)
		for count := range 3 {
			c, _ = h.secure("romeo")
			el := c.fast2("romeo", token, m, bind2+fast+agentOf(deviceA))
			if el.Name.Local != "success" || !strings.HasPrefix(text(el, "authorization-identifier"), "romeo@example.org/Test/") || tokenOf(el) != "" {
				t.Errorf("%s, time %d: %s", m, count, el.Append(nil))
			}
			c.expect("features")
			c.ping()
			c.close()
		}
	}
	// Rotation: the old one is good until the new one is used.
	old := h.obtain("romeo", deviceA, sasl.HTSHA256None)
	tokens.due = true
	c, _ := h.secure("romeo")
	fresh := tokenOf(c.fast2("romeo", old, sasl.HTSHA256None, bind2+fast+agentOf(deviceA)))
	c.close()
	tokens.due = false
	for _, a := range []struct {
		token string
		want  string
	}{{old, "success"}, {fresh, "success"}, {old, "failure"}, {fresh, "success"}} {
		c, _ := h.secure("romeo")
		if el := c.fast2("romeo", a.token, sasl.HTSHA256None, bind2+fast+agentOf(deviceA)); el.Name.Local != a.want {
			t.Errorf("want %s: %s", a.want, el.Append(nil))
		}
		c.close()
	}
}

func TestFASTLoginTakesOneRoundTripAlsoToResume(t *testing.T) {
	h, _ := openFast(t)
	defer h.close()
	cache := &ticketCache{}
	c := h.connect(DirectTLS).handshakeWith(cache)
	c.headerFrom("romeo")
	el := c.auth2(sasl.ScramSHA1, sasl.Credentials{User: "romeo", Password: password},
		bindManaged+requestToken(sasl.HTSHA256Exporter)+agentOf(deviceA))
	token, m := tokenOf(el), sasl.HTSHA256Exporter
	id := el.Child(xmpp.Name{Space: xmpp.NSBind2, Local: "bound"}).Child(xmpp.Name{Space: xmpp.NSSM, Local: "enabled"}).Attr("id")
	c.expect("features")
	c.close()
	eventually(t, "the session waits", func() bool { return h.Stats.Detached.Load() == 1 })
	for range 2 {
		c, wire := h.counted(cache)
		if !c.tls.ConnectionState().DidResume {
			t.Error("the TLS session is another")
		}
		before := wire.trips.Load()
		c.send(headerOf("romeo") + fastXML(m, sasl.TokenMessage("romeo", token, c.channel(m)),
			"<resume xmlns='urn:xmpp:sm:3' previd='"+id+"' h='0'/>"+bindManaged+fast+agentOf(deviceA)))
		c.expect("<header>")
		c.expect("features")
		c.expect("<success", "<resumed xmlns='urn:xmpp:sm:3' previd='"+id+"' h='0'/>")
		if got := wire.trips.Load() - before; got != 1 {
			t.Errorf("%d round trips", got)
		}
		left := h.Stats.Detached.Load()
		c.close()
		eventually(t, "the session waits", func() bool { return h.Stats.Detached.Load() > left })
	}
}

func TestTokensThatAreRefused(t *testing.T) {
	h, tokens := openFast(t)
	defer h.close()
	m := sasl.HTSHA256Exporter
	use := func(user, token string, m sasl.Mechanism, inline string) func(c *client) {
		return func(c *client) { c.send(fastXML(m, sasl.TokenMessage(user, token, c.channel(m)), bind2+inline)) }
	}
	device := agentOf(deviceA)
	counted := func(n string) string { return "<fast xmlns='urn:xmpp:fast:0' count='" + n + "'/>" }
	for _, a := range []struct {
		name string
		make func(token string) func(c *client)
		want string
	}{
		{"expired", func(token string) func(*client) {
			tokens.slots("romeo", deviceA).fresh.expires = time.Now().Add(-time.Second)
			return use("romeo", token, m, fast+device)
		}, "credentials-expired"},
		{"used after one that came later", func(token string) func(*client) {
			later := h.obtain("romeo", deviceA, m)
			c, _ := h.secure("romeo")
			defer c.close()
			if el := c.fast2("romeo", later, m, fast+device); el.Name.Local != "success" {
				t.Errorf("got %s", el.Append(nil))
			}
			return use("romeo", token, m, fast+device)
		}, "not-authorized"},
		{"used after its last use", func(token string) func(*client) {
			c, _ := h.secure("romeo")
			defer c.close()
			if el := c.fast2("romeo", token, m, "<fast xmlns='urn:xmpp:fast:0' invalidate='1'/>"+device); el.Name.Local != "success" || tokenOf(el) != "" {
				t.Errorf("got %s", el.Append(nil))
			}
			return use("romeo", token, m, fast+device)
		}, "not-authorized"},
		{"revoked", func(token string) func(*client) {
			tokens.slots("romeo", deviceA).fresh = nil
			tokens.slots("romeo", deviceA).current = nil
			return use("romeo", token, m, fast+device)
		}, "not-authorized"},
		{"of a disabled account", func(token string) func(*client) {
			if err := h.accounts.SetDisabled(t.Context(), jid.MustParse("romeo@"+host), true); err != nil {
				t.Fatal(err)
			}
			return use("romeo", token, m, fast+device)
		}, "not-authorized"},
		{"another user's", func(token string) func(*client) {
			h.obtain("juliet", deviceA, m)
			return use("juliet", token, m, fast+device)
		}, "not-authorized"},
		{"another user's, with the name of its own", func(token string) func(*client) {
			return use("mercutio", token, m, fast+device)
		}, "not-authorized"},
		{"no name", func(token string) func(*client) { return use("a b", token, m, fast+device) }, "not-authorized"},
		{"another device's", func(token string) func(*client) {
			h.obtain("romeo", deviceB, m)
			return use("romeo", token, m, fast+agentOf(deviceB))
		}, "not-authorized"},
		{"of no device", func(token string) func(*client) { return use("romeo", token, m, fast) }, "malformed-request"},
		{"without the word that it is a token", func(token string) func(*client) { return use("romeo", token, m, device) }, "invalid-mechanism"},
		{"another mechanism", func(token string) func(*client) {
			return use("romeo", token, sasl.HTSHA256None, fast+device)
		}, "not-authorized"},
		{"a password that is said to be a token", func(string) func(*client) {
			return func(c *client) { c.send(authenticateXML("PLAIN", "AHJvbWVvAHIwbTMw", fast+device)) }
		}, "invalid-mechanism"},
		{"unknown mechanism", func(token string) func(*client) {
			return func(c *client) {
				c.send(fastXML("HT-SHA-512-NONE", sasl.TokenMessage("romeo", token, nil), fast+device))
			}
		}, "invalid-mechanism"},
		{"wrong channel binding", func(token string) func(*client) {
			return func(c *client) { c.send(fastXML(m, sasl.TokenMessage("romeo", token, []byte("another")), fast+device)) }
		}, "not-authorized"},
		{"truncated", func(token string) func(*client) {
			return func(c *client) {
				message := sasl.TokenMessage("romeo", token, c.channel(m))
				c.send(fastXML(m, message[:len(message)-1], fast+device))
			}
		}, "malformed-request"},
		{"a truncated token", func(token string) func(*client) { return use("romeo", token[1:], m, fast+device) }, "not-authorized"},
		{"counter repeated", func(token string) func(*client) {
			c, _ := h.secure("romeo")
			defer c.close()
			if el := c.fast2("romeo", token, m, counted("7")+device); el.Name.Local != "success" {
				t.Errorf("got %s", el.Append(nil))
			}
			return use("romeo", token, m, counted("7")+device)
		}, "not-authorized"},
		{"a counter that is none", func(token string) func(*client) { return use("romeo", token, m, counted("-1")+device) }, "malformed-request"},
		{"aborted", func(string) func(*client) {
			return func(c *client) {
				c.send("<authenticate xmlns='urn:xmpp:sasl:2' mechanism='" + string(m) + "'>" + fast + device + "</authenticate>").expect("<challenge")
				c.send("<abort xmlns='urn:xmpp:sasl:2'/>")
			}
		}, "aborted"},
		{"a request for an unknown mechanism", func(string) func(*client) {
			return func(c *client) { c.send(authenticateXML("PLAIN", "AHJvbWVvAHIwbTMw", requestToken("NO")+device)) }
		}, "malformed-request"},
		{"a request for no device", func(string) func(*client) {
			return func(c *client) { c.send(authenticateXML("PLAIN", "AHJvbWVvAHIwbTMw", requestToken(m))) }
		}, "malformed-request"},
	} {
		attempt := a.make(h.obtain("romeo", deviceA, m))
		before := h.router.SessionCount()
		c := h.connect(DirectTLS).handshake()
		c.header()
		attempt(c)
		if got := c.read(); !strings.HasPrefix(got, "<failure xmlns='urn:xmpp:sasl:2'><"+a.want+" xmlns='"+xmpp.NSSASL+"'/>") {
			t.Errorf("%s: %s", a.name, got)
		}
		if n := h.router.SessionCount(); n > before {
			t.Errorf("%s: a session", a.name)
		}
		if err := h.accounts.SetDisabled(t.Context(), jid.MustParse("romeo@"+host), false); err != nil {
			t.Fatal(err)
		}
		// XEP-0484 §4.1: the client goes back to the password, at once.
		if el := c.auth2(sasl.ScramSHA1, sasl.Credentials{User: "romeo", Password: password}, ""); el.Name.Local != "success" {
			t.Errorf("%s: then %s", a.name, el.Append(nil))
		}
		c.close()
	}
	if got := h.list(&h.routed); len(got) != 0 {
		t.Errorf("routed: %q", got)
	}
}

func TestSessionsOfARemovedDeviceEnd(t *testing.T) {
	h, _ := openFast(t)
	defer h.close()
	a, _ := h.enter2("romeo", bind2+agentOf(deviceA))
	defer a.close()
	a.expect("features")
	b, _ := h.enter2("romeo", bind2+agentOf(deviceB))
	defer b.close()
	b.expect("features")
	legacy, _ := h.enter2("romeo", agentOf(deviceA)) // with a resource of RFC 6120
	defer legacy.close()
	legacy.expect("features")
	legacy.bind("x")
	romeo := jid.MustParse("romeo@" + host)
	h.EndDevice(romeo, devices.ID(romeo, deviceA))
	a.expectError("not-authorized")
	legacy.expectError("not-authorized")
	b.ping()
}

func TestADeviceThatIsRemovedWhileItsClientLogsInHasNoSession(t *testing.T) {
	h, tokens := openFast(t)
	defer h.close()
	token := h.obtain("romeo", deviceA, sasl.HTSHA256None)
	c, _ := h.secure("romeo")
	defer c.close()
	if el := c.fast2("romeo", token, sasl.HTSHA256None, fast+agentOf(deviceA)); el.Name.Local != "success" {
		t.Fatalf("got %s", el.Append(nil))
	}
	c.expect("features")
	tokens.mu.Lock()
	tokens.removed = true
	tokens.mu.Unlock()
	c.bind("late") // RFC 6120 §7
	c.expectError("not-authorized")
	other, _ := h.secure("romeo")
	defer other.close()
	if el := other.fast2("romeo", token, sasl.HTSHA256None, bind2+fast+agentOf(deviceA)); el.Name.Local != "success" {
		t.Fatalf("got %s", el.Append(nil))
	}
	other.expect("features")
	other.expectError("not-authorized")
	if n := h.Stats.TokenLogins.Load(); n != 2 {
		t.Errorf("%d logins by token", n)
	}
}
