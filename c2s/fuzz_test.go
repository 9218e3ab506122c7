package c2s

import (
	"io"
	"testing"
	"time"

	"jackdaw/router"
	"jackdaw/xmpp/sasl"
)

// FuzzStream lets a client say anything, before or after it has logged in. Whatever it is, the server goes on: no
// panic, no stanza that it cannot read back, nobody logged in by accident, and no stanza in the name of another.
func FuzzStream(f *testing.F) {
	f.Add(false, []byte(header+"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"))
	f.Add(false, []byte(header+"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-1'>biwsbj1yb21lbyxyPWE=</auth><response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>Yz1iaXdz</response>"))
	f.Add(false, []byte{})
	f.Add(true, []byte("<enable xmlns='urn:xmpp:sm:3' resume='true'/><r xmlns='urn:xmpp:sm:3'/><a xmlns='urn:xmpp:sm:3' h='0'/>"))
	f.Add(true, []byte("<enable xmlns='urn:xmpp:sm:3'/><inactive xmlns='urn:xmpp:csi:0'/><message to='romeo@example.org'><composing xmlns='http://jabber.org/protocol/chatstates'/></message><active xmlns='urn:xmpp:csi:0'/>"))
	f.Add(true, []byte("<iq type='set' id='1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq><presence/></stream:stream>"))
	f.Add(true, []byte("<message from='juliet@example.org' to='romeo@example.org/fuzz'><x:y xmlns:x='z'><![CDATA[<]]></x:y></message>"))
	f.Fuzz(func(t *testing.T, in bool, sent []byte) {
		h := open(t, func(o *Options) { withoutTLS(o); o.TLS = nil })
		h.deliver = func(e *router.Envelope) {
			if e.Session != nil && e.Stanza.From != e.Session.Addr() {
				t.Errorf("a stanza from %s in the name of %s", e.Session.Addr(), e.Stanza.From)
			}
		}
		c := h.pipe()
		if in {
			c.header()
			if got := c.auth(sasl.Plain, sasl.Credentials{User: "romeo", Password: password}); got == "" {
				t.Fatal("no login")
			}
			c.header()
			c.bind("fuzz")
		}
		if err := c.conn.SetWriteDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		_, err := c.conn.Write(sent)
		if err != nil && err != io.ErrClosedPipe {
			t.Errorf("the server stopped reading: %v", err)
		}
		c.close()
		h.close()
		if h.Stats.Panics.Load() != 0 {
			t.Error("the server panicked")
		}
		if !in && h.Stats.Logins.Load() != 0 {
			t.Error("a stranger is logged in")
		}
	})
}
