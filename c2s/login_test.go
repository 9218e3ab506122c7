package c2s

import (
	"strings"
	"testing"

	"jackdaw/xmpp/sasl"
)

func TestTwoClientsLogInAndTalk(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	romeo := h.enter("romeo", "orchard")
	defer romeo.close()

	juliet := h.connect(STARTTLS)
	defer juliet.close()
	f := juliet.header()
	if !strings.Contains(f, "<required/>") || strings.Contains(f, "mechanisms") {
		t.Errorf("features before TLS: %s", f)
	}
	juliet.startTLS().header()
	juliet.login("juliet").bind("balcony")
	if juliet.jid != "juliet@example.org/balcony" {
		t.Errorf("bound to %s", juliet.jid)
	}

	romeo.send("<message type='chat' to='juliet@example.org' id='m1'><body>Soft!</body></message>")
	juliet.expect("from='romeo@example.org/orchard'", "id='m1'", "<body>Soft!</body>")
	juliet.send("<message type='chat' to='romeo@example.org/orchard' id='m2'><body>Ay me!</body></message>")
	romeo.expect("from='juliet@example.org/balcony'", "id='m2'")
	romeo.send("</stream:stream>").expect("</end>")
	romeo.expect("EOF")
}

func TestEachMechanismLogsIn(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	for _, m := range []sasl.Mechanism{sasl.ScramSHA256Plus, sasl.ScramSHA256, sasl.ScramSHA1Plus, sasl.ScramSHA1, sasl.Plain} {
		c := h.connect(DirectTLS).handshake()
		f := c.header()
		if !strings.Contains(f, ">"+string(m)+"<") || !strings.Contains(f, "type='tls-exporter'") || !strings.Contains(f, "type='tls-server-end-point'") {
			t.Errorf("features: %s", f)
		}
		cred := sasl.Credentials{User: "romeo", Password: password}
		if m.Plus() {
			cs := c.tls.ConnectionState()
			cred.Binding, _ = sasl.Exporter(&cs)
			if m.Hash() == sasl.SHA1 {
				cred.Binding, _ = sasl.ServerEndPoint(cs.PeerCertificates[0])
			}
		}
		if got := c.auth(m, cred); !strings.HasPrefix(got, "<success") {
			t.Errorf("%s: %s", m, got)
		}
		c.close()
	}
}
