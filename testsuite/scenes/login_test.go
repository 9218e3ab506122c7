package scenes

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"jackdaw/testsuite/harness"
	"jackdaw/xmpp/sasl"
)

// bound logs in by a -PLUS mechanism with tls-exporter (RFC 9266), which neither Python's ssl nor slixmpp can.
func bound(addr string, m sasl.Mechanism, cred sasl.Credentials) error {
	c, err := harness.Open(addr, false)
	if err != nil {
		return err
	}
	defer c.Conn.Close()
	features, err := c.Next()
	if err != nil {
		return err
	}
	// XEP-0440 §4
	if !strings.Contains(features, "urn:xmpp:sasl-cb:0") || !strings.Contains(features, sasl.TLSExporter) {
		return fmt.Errorf("no word of %s in %s", sasl.TLSExporter, features)
	}
	if cred.Binding.Type == "" {
		state := c.Conn.(*tls.Conn).ConnectionState()
		cred.Binding, _ = sasl.Exporter(&state)
	}
	client, err := sasl.NewClient(m, cred)
	if err != nil {
		return err
	}
	b64 := base64.StdEncoding
	el, err := ask(c, "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='"+string(m)+"'>"+b64.EncodeToString(client.Start())+"</auth>")
	if err != nil {
		return err
	}
	challenge, err := b64.DecodeString(text(el))
	if err != nil || !strings.HasPrefix(el, "<challenge") {
		return fmt.Errorf("instead of a challenge: %s", el)
	}
	response, err := client.Next(challenge)
	if err != nil {
		return err
	}
	el, err = ask(c, "<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>"+b64.EncodeToString(response)+"</response>")
	if err != nil {
		return err
	}
	if !strings.HasPrefix(el, "<success") {
		return fmt.Errorf("%s", el)
	}
	last, err := b64.DecodeString(text(el))
	if err != nil {
		return err
	}
	if err := client.Finish(last); err != nil {
		return err
	}
	if err := c.Restart(); err != nil {
		return err
	}
	if _, err := c.Next(); err != nil {
		return err
	}
	return c.Bind("exporter")
}

func ask(c *harness.Client, xml string) (string, error) {
	if err := c.Send(xml); err != nil {
		return "", err
	}
	return c.Next()
}

func text(el string) string {
	_, after, _ := strings.Cut(el, ">")
	inner, _, _ := strings.Cut(after, "<")
	return inner
}

func testExporter(t *testing.T, s *harness.Server) {
	s.AddUser("exporter")
	good := sasl.Credentials{User: "exporter", Password: harness.Password}
	for _, m := range []sasl.Mechanism{sasl.ScramSHA1Plus, sasl.ScramSHA256Plus} {
		if err := bound(s.C2STLS, m, good); err != nil {
			t.Errorf("%s: %v", m, err)
		}
	}
	// RFC 5802 §6: a client that could bind and says that the server cannot has been lied to.
	if err := bound(s.C2STLS, sasl.ScramSHA256, good); err == nil || !strings.Contains(err.Error(), "not-authorized") {
		t.Errorf("a login whose -PLUS mechanisms somebody took away: %v", err)
	}
	for what, cred := range map[string]sasl.Credentials{
		"wrong password": {User: "exporter", Password: "wrong"},
		"another channel": {User: "exporter", Password: harness.Password,
			Binding: sasl.Binding{Type: sasl.TLSExporter, Data: make([]byte, 32)}},
		"a type we have not": {User: "exporter", Password: harness.Password, Binding: sasl.Binding{Type: "tls-unique", Data: make([]byte, 12)}},
	} {
		if err := bound(s.C2STLS, sasl.ScramSHA256Plus, cred); err == nil || !strings.Contains(err.Error(), "<failure") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// testOneRequest logs in, binds, and turns on what a client wants, all at once (XEP-0388, XEP-0386). A message that
// came meanwhile is in the archive, of which the client is told, and is not brought beside that.
func testOneRequest(t *testing.T, s *harness.Server) {
	s.AddUser("swift", "slow")
	slow, err := harness.Connect(s.C2STLS, "slow", "desk")
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	// It is stored when the answer to the ping comes.
	if err := slow.Send("<message to='swift@" + harness.Domain + "' type='chat' id='m1'><body>early</body></message>"); err != nil {
		t.Fatal(err)
	}
	if _, err := slow.Ask("p1", "<iq type='get' id='p1' to='"+harness.Domain+"'><ping xmlns='urn:xmpp:ping'/></iq>"); err != nil {
		t.Fatal(err)
	}
	s.Quiet() // the two may be at home on different nodes
	c, err := harness.Open(s.C2STLS, false)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Conn.Close()
	features, err := c.Next()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"urn:xmpp:sasl:2", "<feature var='urn:xmpp:carbons:2'/>", "<feature var='urn:xmpp:sm:3'/>", "urn:xmpp:iap:0"} {
		if !strings.Contains(features, want) {
			t.Errorf("no %s in %s", want, features)
		}
	}
	response := base64.StdEncoding.EncodeToString([]byte("\x00swift\x00" + harness.Password))
	success, err := ask(c, "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'><initial-response>"+response+"</initial-response>"+
		"<user-agent id='d4565fa7-4d72-4749-b3d3-740edbf87770'/><bind xmlns='urn:xmpp:bind:0'><tag>Scene</tag>"+
		"<enable xmlns='urn:xmpp:carbons:2'/><enable xmlns='urn:xmpp:sm:3' resume='true'/></bind></authenticate>")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"<success ", ">swift@" + harness.Domain + "/Scene/", "<metadata xmlns='urn:xmpp:mam:2'><start id='", "<enabled "} {
		if !strings.Contains(success, want) {
			t.Errorf("no %s in %s", want, success)
		}
	}
	el, err := ask(c, "<presence/><iq type='get' id='p2' to='"+harness.Domain+"'><ping xmlns='urn:xmpp:ping'/></iq>")
	for ; err == nil && !strings.Contains(el, "id='p2'"); el, err = c.Next() {
		if strings.Contains(el, "early") {
			t.Errorf("brought: %s", el)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	// Carbons are on: what another session of the account says comes here too.
	other, err := harness.Connect(s.C2STLS, "swift", "other")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := other.Send("<message to='slow@" + harness.Domain + "' type='chat' id='m2'><body>late</body></message>"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Until(func(el string) bool { return strings.Contains(el, "<sent ") && strings.Contains(el, "late") }); err != nil {
		t.Fatal(err)
	}
}

// sendxmpp runs go-sendxmpp as a user, with a text to send. Debian's version knows PLAIN only.
func sendxmpp(t *testing.T, user, password, to, body string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command("/usr/bin/go-sendxmpp", append([]string{"-u", user + "@" + harness.Domain, "-p", password, "-n"}, append(args, to)...)...)
	cmd.Stdin = strings.NewReader(body)
	// It keeps its configuration in the home directory.
	home := t.TempDir()
	cmd.Env = append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME="+home, "XDG_DATA_HOME="+home)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

func testSendXMPP(t *testing.T, s *harness.Server) {
	needs(t, "/usr/bin/go-sendxmpp", "go-sendxmpp")
	s.AddUser("cron", "operator")
	operator, err := harness.Connect(s.C2STLS, "operator", "desk")
	if err != nil {
		t.Fatal(err)
	}
	defer operator.Close()
	if err := operator.Send("<presence/>"); err != nil {
		t.Fatal(err)
	}
	for _, way := range []struct {
		name string
		args []string
	}{
		{"STARTTLS, TLS 1.3", []string{"-j", s.C2S, "--tls-version=13"}},
		{"STARTTLS", []string{"-j", s.C2S}},
		{"direct TLS", []string{"-j", s.C2STLS, "-t"}},
	} {
		out, err := sendxmpp(t, "cron", harness.Password, "operator@"+harness.Domain, "disk full: "+way.name, way.args...)
		if err != nil {
			t.Errorf("%s: %v\n%s", way.name, err, out)
			continue
		}
		el, err := operator.Until(func(el string) bool { return strings.HasPrefix(el, "<message") })
		if err != nil || !strings.Contains(el, "disk full: "+way.name) || !strings.HasPrefix(harness.Attr(el, "from"), "cron@"+harness.Domain+"/") {
			t.Errorf("%s: %v: %s", way.name, err, el)
		}
	}
	if out, err := sendxmpp(t, "cron", "wrong", "operator@"+harness.Domain, "x", "-j", s.C2S); err == nil {
		t.Errorf("sent with a wrong password:\n%s", out)
	}
}
