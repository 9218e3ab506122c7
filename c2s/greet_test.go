package c2s

import (
	"strings"
	"testing"

	"jackdaw/xmpp"
	"jackdaw/xmpp/sasl"
)

// RFC 6120 §4.8.2: in prefix-free canonicalization the stream element has no prefix, and each stanza declares its
// namespace.
func TestPrefixFreeStreamIsSpokenTo(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	juliet := h.enter("juliet", "balcony")
	defer juliet.close()
	c := h.connect(DirectTLS).handshake()
	defer c.close()
	const head = "<stream xmlns='" + xmpp.NSStream + "' to='example.org' version='1.0' xml:lang='it'>"
	c.send(head).expect("<header>")
	c.expect("<mechanisms")
	if got := c.auth(sasl.Plain, sasl.Credentials{User: "romeo", Password: password}); !strings.HasPrefix(got, "<success") {
		t.Fatal(got)
	}
	c.scan.Reset()
	c.send(head).expect("<header>")
	c.expect("<bind")
	c.send("<iq xmlns='jabber:client' type='set' id='b'><bind xmlns='" + xmpp.NSBind + "'/></iq>").expect("romeo@example.org/")
	c.send("<message xmlns='jabber:client' to='juliet@example.org' type='chat'><body>ciao</body></message>")
	if got := juliet.read(); !strings.Contains(got, "<body>ciao</body>") || !strings.Contains(got, "xml:lang='it'") {
		t.Error(got)
	}
	c.send("</stream>").expect("</end>")
}

// COMPAT(sendxmpp 1.24 with XML::Stream): it gives a name of its machine as 'from'.
func TestNameOfAMachineInTheHeaderIsNobodyElse(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	for _, from := range []string{"example.org", "laptop.example.net", "localhost"} {
		c := h.connect(DirectTLS).handshake()
		c.header()
		c.auth(sasl.ScramSHA1, sasl.Credentials{User: "romeo", Password: password})
		c.scan.Reset()
		c.send(strings.Replace(header, " to=", " from='"+from+"' to=", 1)).expect("<header>")
		if to := c.scan.Header().To.String(); to != "romeo@example.org" {
			t.Errorf("the header is for %s", to)
		}
		c.expect("<bind")
		c.close()
	}
}

func TestRequestThatIsAnsweredHereNeedsNoID(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	c := h.enter("romeo", "orchard")
	defer c.close()
	for _, to := range []string{"", " to='example.org'", " to='romeo@example.org'"} {
		if got := c.send("<iq type='set'" + to + "><session xmlns='" + xmpp.NSSession + "'/></iq>").read(); !strings.Contains(got, "type='result'") ||
			strings.Contains(got, " id=") {
			t.Errorf("%s: %s", to, got)
		}
	}
	c.send("<iq type='get' to='juliet@example.org'><x xmlns='urn:x'/></iq>").expect("type='error'", "<service-unavailable")
	for _, to := range []string{"juliet@example.org/balcony", "example.net", "romeo@example.net"} {
		c.send("<iq type='get' to='"+to+"'><x xmlns='urn:x'/></iq>").expect("type='error'", "<bad-request")
	}
}
