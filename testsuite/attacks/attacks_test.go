// Package attacks sends the real binary what RFC 6120 §11 and §13, XEP-0198 §9 and the HTTP
// contract warn of. After each input three things must hold: it was refused in the way that is
// written beside it, nothing of it was routed to the bystander, and the process serves on.
package attacks

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"jackdaw/testsuite/harness"
)

func TestMain(m *testing.M) {
	harness.Isolate(attackerIP, strangerIP, accompliceIP, innocentIP)
	code := m.Run()
	harness.Cleanup()
	os.Exit(code)
}

// mark is in every attack; the bystander must never see it.
const mark = "INTRUDER"

const (
	header   = "<?xml version='1.0'?><stream:stream to='localhost' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
	toVictim = "<message to='victim@localhost/den' type='chat'><body>" + mark + "</body></message>"
)

// An attack runs against a server and returns what came back.
type attack struct {
	name string
	run  func(t *testing.T, s *harness.Server) string
	want []string // all of them in what came back
}

// raw sends bytes on a fresh direct-TLS stream before authentication.
func raw(parts ...string) func(*testing.T, *harness.Server) string {
	return func(t *testing.T, s *harness.Server) string {
		c, err := harness.Open(s.C2STLS, false)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Conn.Close()
		return talk(c, parts...)
	}
}

// bound sends bytes on a stream that mallory has logged in to.
func bound(parts ...string) func(*testing.T, *harness.Server) string {
	return func(t *testing.T, s *harness.Server) string {
		c, err := harness.Connect(s.C2STLS, "mallory", "lair")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Conn.Close()
		return talk(c, parts...)
	}
}

// talk sends and returns all that comes until the server closes the stream.
func talk(c *harness.Client, parts ...string) string {
	go func() { // the server may stop reading before all is sent
		for _, p := range parts {
			if c.Send(p) != nil {
				return
			}
		}
	}()
	var got strings.Builder
	for {
		el, err := c.Next()
		got.WriteString(el)
		if err != nil {
			if !errors.Is(err, harness.ErrStreamEnd) && !errors.Is(err, io.EOF) {
				fmt.Fprintf(&got, " (%v)", err)
			}
			return got.String()
		}
	}
}

// answered sends bytes and returns the first element that comes back; the stream stays open.
func answered(send string) func(*testing.T, *harness.Server) string {
	return func(t *testing.T, s *harness.Server) string {
		c, err := harness.Connect(s.C2STLS, "mallory", "lair")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.Send(send); err != nil {
			t.Fatal(err)
		}
		el, err := c.Next()
		if err != nil {
			t.Fatal(err)
		}
		return el
	}
}

func basic(user string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+harness.Password))
}

// post sends one HTTP request and returns the status line and the body.
func post(path, contentType, body string, headers ...string) func(*testing.T, *harness.Server) string {
	return func(t *testing.T, s *harness.Server) string {
		req, err := http.NewRequest("POST", "http://"+s.HTTP+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", basic("mallory@localhost"))
		req.Header.Set("Content-Type", contentType)
		for i := 0; i+1 < len(headers); i += 2 {
			req.Header.Set(headers[i], headers[i+1])
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.Status + " " + string(text)
	}
}

// rawHTTP writes a request as bytes, for what net/http would not send.
func rawHTTP(request string) func(*testing.T, *harness.Server) string {
	return func(t *testing.T, s *harness.Server) string {
		conn, err := net.Dial("tcp", s.HTTP)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		io.WriteString(conn, strings.ReplaceAll(request, "\n", "\r\n"))
		b := make([]byte, 4096)
		n, err := io.ReadAtLeast(conn, b, 12)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
}

const xmlType = "application/xml"

var attacks = []attack{
	// RFC 6120 §11.1: forbidden XML
	{"entity bomb", raw("<!DOCTYPE x [<!ENTITY a '" + mark + "'><!ENTITY b '&a;&a;&a;&a;'>]>" + toVictim), []string{"restricted-xml"}},
	{"undeclared entity in a message", bound("<message to='victim@localhost/den'><body>&" + mark + ";</body></message>"), []string{"stream:error"}},
	{"comment that hides a stanza", bound("<!-- -->" + toVictim), []string{"restricted-xml"}},
	{"processing instruction", bound("<?php " + mark + "?>" + toVictim), []string{"restricted-xml"}},
	{"undeclared prefix", bound("<message to='victim@localhost/den'><m:body>" + mark + "</m:body></message>"), []string{"stream:error"}},
	{"attribute twice by namespace", bound("<message to='victim@localhost/den' xmlns:a='u' xmlns:b='u' a:x='1' b:x='2'><body>" + mark + "</body></message>"), []string{"not-well-formed"}},
	{"overlong UTF-8", bound("<message to='victim@localhost/den'><body>" + mark + "\xc0\xbc</body></message>"), []string{"stream:error"}},
	{"character that XML forbids", bound("<message to='victim@localhost/den'><body>" + mark + "&#0;</body></message>"), []string{"not-well-formed"}},
	// RFC 6120 §13.12: denial of service
	{"megabyte before authentication", raw("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>", strings.Repeat("A", 1<<20)), []string{"policy-violation"}},
	{"100,000 open tags", bound("<message to='victim@localhost/den'>", strings.Repeat("<a>", 100_000)), []string{"policy-violation"}},
	{"endless stanza", bound("<message to='victim@localhost/den'><body>"+mark, strings.Repeat("x", 600_000)), []string{"policy-violation"}},
	{"10,000 attributes", bound("<message to='victim@localhost/den'" + manyAttributes(10_000) + "><body>" + mark + "</body></message>"), []string{"policy-violation"}},
	// RFC 6120 §13: authentication and addresses
	{"message before authentication", raw(toVictim), []string{"not-authorized"}},
	{"another stream inside the stream", bound(header + toVictim), []string{"stream:error"}},
	{"from of another user", bound("<message from='victim@localhost/den' to='victim@localhost/den'><body>" + mark + "</body></message>"), []string{"invalid-from"}},
	{"authorization as somebody else", raw("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>"+
		base64.StdEncoding.EncodeToString([]byte("victim@localhost\x00mallory\x00"+harness.Password))+"</auth>", "</stream:stream>"), []string{"invalid-authzid"}},
	{"PLAIN in clear text", func(t *testing.T, s *harness.Server) string {
		c, err := harness.Open(s.C2S, true)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Conn.Close()
		return talk(c, "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>"+
			base64.StdEncoding.EncodeToString([]byte("\x00mallory\x00"+harness.Password))+"</auth>", "</stream:stream>")
	}, []string{"failure"}},
	{"stanza smuggled behind STARTTLS", func(t *testing.T, s *harness.Server) string {
		c, err := harness.Open(s.C2S, true)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Conn.Close()
		c.Send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>" + header + toVictim)
		got := ""
		for { // features, perhaps <proceed/>, then nothing that is XML
			el, err := c.Next()
			if err != nil {
				return got + " closed"
			}
			got += el
		}
	}, []string{"closed"}},
	// XEP-0198 §9 and §5
	{"acknowledging what was never sent", bound("<enable xmlns='urn:xmpp:sm:3' resume='true'/><a xmlns='urn:xmpp:sm:3' h='4000000000'/>" + toVictim), []string{"handled-count-too-high"}},
	{"resumption of another user's session", func(t *testing.T, s *harness.Server) string {
		v, err := harness.Connect(s.C2STLS, "victim", "phone")
		if err != nil {
			t.Fatal(err)
		}
		id, err := v.Enable()
		if err != nil {
			t.Fatal(err)
		}
		v.Conn.Close()
		c, err := harness.Login(s.C2STLS, "mallory")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.Send("<resume xmlns='urn:xmpp:sm:3' previd='" + id + "' h='0'/>")
		el, err := c.Next()
		if err != nil {
			t.Fatal(err)
		}
		return el
	}, []string{"failed", "item-not-found"}},
	{"resumption with a guessed id", func(t *testing.T, s *harness.Server) string {
		c, err := harness.Login(s.C2STLS, "mallory")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.Send("<resume xmlns='urn:xmpp:sm:3' previd='00000001' h='0'/>")
		el, err := c.Next()
		if err != nil {
			t.Fatal(err)
		}
		return el
	}, []string{"failed", "item-not-found"}},
	// forged markers
	{"carbon from another user", answered("<message to='victim@localhost/den' type='chat' id='1'><received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>" +
		"<message xmlns='jabber:client' from='boss@localhost' to='victim@localhost'><body>" + mark + "</body></message></forwarded></received></message><iq type='get' id='2'><ping xmlns='urn:xmpp:ping'/></iq>"), nil},
	// docs/http.md
	{"HTTP: entity bomb", post("/message", xmlType, "<!DOCTYPE m [<!ENTITY a '"+mark+"'>]><message to='victim@localhost'><body>&a;</body></message>"), []string{"400", "line"}},
	{"HTTP: forged sender", post("/message", xmlType, "<message from='victim@localhost' to='victim@localhost/den'><body>"+mark+"</body></message>"), []string{"403 Forbidden", "forge senders"}},
	{"HTTP: multicast without permission", post("/message", xmlType, "<message to='multicast'><addresses><address jid='victim@localhost'/></addresses><body>"+mark+"</body></message>"), []string{"403 Forbidden", "multicast"}},
	{"HTTP: a second stanza behind the first", post("/message", xmlType, toVictim+toVictim), []string{"400"}},
	{"HTTP: breaking out of the message", post("/message", "application/json", `{"to": "victim@localhost/den", "extra_elements": "</message><message to='victim@localhost/den'><body>`+mark+`</body>"}`), []string{"400"}},
	{"HTTP: a sender among the attributes", post("/message", "application/json", `{"to": "victim@localhost/den", "body": "`+mark+`", "message_attributes": {"from": "boss@localhost"}}`), []string{"400"}},
	{"HTTP: an attribute that ends its tag", post("/message", "application/json", `{"to": "victim@localhost/den", "message_attributes": {"x><body>`+mark+`</body><y": "1"}}`), []string{"400"}},
	// The rest of this body would meet a closed connection.
	{"HTTP: a body over the limit", rawHTTP("POST /message HTTP/1.1\nHost: localhost\nAuthorization: " + basic("mallory@localhost") + "\nContent-Type: " + xmlType +
		"\nContent-Length: 3000000\n\n<message to='victim@localhost/den'><body>" + mark + strings.Repeat("x", 1000)), []string{"413"}},
	{"HTTP: foreign sender to a remote address", post("/message", xmlType, "<message from='ceo@bank.example' to='customer@remote.example'><body>"+mark+"</body></message>"), []string{"403"}},
	{"HTTP: two lengths", rawHTTP("POST /message HTTP/1.1\nHost: localhost\nAuthorization: " + basic("mallory@localhost") + "\nContent-Length: 4\nContent-Length: 90\n\n" + toVictim), []string{"400"}},
}

func manyAttributes(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, " a%d='1'", i)
	}
	return b.String()
}

func TestAttacksAreRefused(t *testing.T) {
	s := harness.Start(t, harness.Options{Users: []string{"victim", "mallory", "witness"},
		Config: strings.TrimSuffix(quick, "}") + ", connect_rate: 1000, connect_burst: 1000}"})
	victim, err := harness.Connect(s.C2STLS, "victim", "den")
	if err != nil {
		t.Fatal(err)
	}
	defer victim.Close()
	victim.Send("<presence/>")
	witness, err := harness.Connect(s.C2STLS, "witness", "w")
	if err != nil {
		t.Fatal(err)
	}
	defer witness.Close()
	pid := s.PID()
	all := slices.Concat(attacks, framedAttacks, boundAttacks)
	for i, a := range all {
		t.Run(a.name, func(t *testing.T) {
			got := a.run(t, s)
			for _, w := range a.want {
				if !strings.Contains(got, w) {
					t.Errorf("got %.500q, want %q in it", got, w)
				}
			}
			// Whatever was routed came before this.
			done := fmt.Sprintf("after-%d", i)
			if err := witness.Send("<message to='victim@localhost/den' type='chat' id='" + done + "'><body>all clear</body></message>"); err != nil {
				t.Fatalf("the server does not serve on: %v", err)
			}
			for {
				el, err := victim.Next()
				if err != nil {
					t.Fatalf("the server does not serve on: %v", err)
				}
				if strings.Contains(strings.ToUpper(el), mark) {
					t.Errorf("routed: %.500s", el)
				}
				if harness.Attr(el, "id") == done {
					break
				}
			}
			if !s.Alive() || s.PID() != pid {
				t.Fatal("the process has ended")
			}
		})
	}
	if len(all) < 24 {
		t.Errorf("%d attacks, want 24 at least", len(all))
	}
}
