package c2s

import (
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/sasl"
)

const (
	deviceA = "d4565fa7-4d72-4749-b3d3-740edbf87770"
	deviceB = "00000000-4d72-4749-b3d3-740edbf87771"
)

func agentOf(id string) string {
	return "<user-agent id='" + id + "'><software>Test</software><device>Desk</device></user-agent>"
}

const (
	bind2       = "<bind xmlns='" + xmpp.NSBind2 + "'><tag>Test</tag></bind>"
	bindManaged = "<bind xmlns='" + xmpp.NSBind2 + "'><tag>Test</tag><enable xmlns='" + xmpp.NSSM + "' resume='1'/></bind>"
)

// headerOf opens a stream in the name of a user.
func headerOf(user string) string {
	return strings.Replace(header, " to=", " from='"+user+"@"+host+"' to=", 1)
}

// headerFrom opens a stream from a user and returns the features.
func (c *client) headerFrom(user string) string {
	c.t.Helper()
	c.scan.Reset()
	c.send(headerOf(user)).expect("<header>")
	return c.expect("features")
}

// secure opens a TLS connection and a stream on it from a user.
func (h *house) secure(user string) (c *client, features string) {
	h.t.Helper()
	c = h.connect(DirectTLS).handshake()
	return c, c.headerFrom(user)
}

// begin2 begins a login by SASL2.
func (c *client) begin2(m sasl.Mechanism, cred sasl.Credentials, inline string) *sasl.Client {
	c.t.Helper()
	cl, err := sasl.NewClient(m, cred)
	if err != nil {
		c.t.Fatal(err)
	}
	c.send("<authenticate xmlns='" + xmpp.NSSASL2 + "' mechanism='" + string(m) + "'><initial-response>" +
		base64.StdEncoding.EncodeToString(cl.Start()) + "</initial-response>" + inline + "</authenticate>")
	return cl
}

// answer2 goes on until there is something that is no challenge, and returns that.
func (c *client) answer2(cl *sasl.Client) *xmpp.Element {
	c.t.Helper()
	for {
		got := c.read()
		el, err := xmpp.ParseElement([]byte(got))
		if err != nil {
			c.t.Fatalf("%s: %v", got, err)
		}
		if el.Name.Space != xmpp.NSSASL2 {
			c.t.Fatalf("got %s", got)
		}
		text := el.Text()
		if d := el.ChildLocal("additional-data"); d != nil {
			text = d.Text()
		}
		switch data := unbase64(c.t, text); {
		case el.Name.Local == "challenge":
			r, err := cl.Next(data)
			if err != nil {
				c.t.Fatal(err)
			}
			c.send("<response xmlns='" + xmpp.NSSASL2 + "'>" + base64.StdEncoding.EncodeToString(r) + "</response>")
			continue
		case el.Name.Local == "continue", el.Name.Local == "success" && text != "":
			if err := cl.Finish(data); err != nil {
				c.t.Fatal(err)
			}
		}
		return el
	}
}

func unbase64(t testing.TB, s string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	return b
}

// auth2 logs in by SASL2 and returns the success or failure.
func (c *client) auth2(m sasl.Mechanism, cred sasl.Credentials, inline string) *xmpp.Element {
	c.t.Helper()
	return c.answer2(c.begin2(m, cred, inline))
}

// text is that of a child, "" without.
func text(el *xmpp.Element, local string) string {
	if c := el.ChildLocal(local); c != nil {
		return c.Text()
	}
	return ""
}

// enter2 logs in and binds with one request; it returns the success, and the client knows its address.
func (h *house) enter2(user, inline string) (*client, *xmpp.Element) {
	h.t.Helper()
	c, _ := h.secure(user)
	el := c.auth2(sasl.ScramSHA1, sasl.Credentials{User: user, Password: password}, inline)
	if el.Name.Local != "success" {
		h.t.Fatalf("got %s", el.Append(nil))
	}
	c.jid = text(el, "authorization-identifier")
	return c, el
}

func TestEachMechanismLogsInBySASL2AndTheStreamGoesOn(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	for _, m := range []sasl.Mechanism{sasl.ScramSHA512Plus, sasl.ScramSHA256Plus, sasl.ScramSHA1Plus, sasl.ScramSHA512,
		sasl.ScramSHA256, sasl.ScramSHA1, sasl.Plain} {
		c, f := h.secure("romeo")
		if !strings.Contains(f, "<authentication xmlns='urn:xmpp:sasl:2'>") || !strings.Contains(f, "<mechanism>"+string(m)+"</mechanism>") {
			t.Errorf("features: %s", f)
		}
		cred := sasl.Credentials{User: "romeo", Password: password}
		if m.Plus() {
			cs := c.tls.ConnectionState()
			cred.Binding, _ = sasl.Exporter(&cs)
		}
		el := c.auth2(m, cred, "")
		if got := text(el, "authorization-identifier"); el.Name.Local != "success" || got != "romeo@example.org" {
			t.Errorf("%s: %s", m, el.Append(nil))
		}
		if m == sasl.Plain && el.ChildLocal("additional-data") != nil {
			t.Errorf("PLAIN has no additional data: %s", el.Append(nil))
		}
		// XEP-0388 §2.6.1: features at once, and no stream is opened anew.
		c.expect("features", "<bind xmlns='"+xmpp.NSBind+"'/>", "<session ", "urn:xmpp:sm:3", "urn:xmpp:csi:0", "urn:test")
		c.bind("balcony").ping()
		c.close()
	}
	if n := h.Stats.Logins.Load(); n != 7 {
		t.Errorf("%d logins", n)
	}
}

func TestSASL2IsOfferedOverTLSOnly(t *testing.T) {
	h := open(t, withoutTLS)
	defer h.close()
	c := h.connect(STARTTLS)
	defer c.close()
	if f := c.header(); strings.Contains(f, "urn:xmpp:sasl:2") || strings.Contains(f, "urn:xmpp:iap:0") || !strings.Contains(f, ">PLAIN<") {
		t.Errorf("features: %s", f)
	}
	c.begin2(sasl.Plain, sasl.Credentials{User: "romeo", Password: password}, "")
	c.expectError("unsupported-stanza-type")
}

func TestMechanismsOfSASL2AreThoseOfTheAccount(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	h.keep("juliet", sasl.SHA1)
	for from, want := range map[string]string{
		"romeo":  "SCRAM-SHA-512-PLUS SCRAM-SHA-256-PLUS SCRAM-SHA-1-PLUS SCRAM-SHA-512 SCRAM-SHA-256 SCRAM-SHA-1 PLAIN ",
		"juliet": "SCRAM-SHA-1-PLUS SCRAM-SHA-1 PLAIN UPGR-SCRAM-SHA-512 UPGR-SCRAM-SHA-256 ",
		"":       "SCRAM-SHA-256-PLUS SCRAM-SHA-1-PLUS SCRAM-SHA-256 SCRAM-SHA-1 PLAIN UPGR-SCRAM-SHA-512 ",
	} {
		c := h.connect(DirectTLS).handshake()
		var f string
		if from == "" {
			f = c.header()
		} else {
			f = c.headerFrom(from)
		}
		el, err := xmpp.ParseElement([]byte(f))
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, m := range el.Child(xmpp.Name{Space: xmpp.NSSASL2, Local: "authentication"}).Children() {
			if m.Name.Local != "inline" {
				got += m.Text() + " "
			}
		}
		if got != want {
			t.Errorf("from %q: %s", from, got)
		}
		// The classic list is the same for all.
		if !strings.Contains(f, "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>SCRAM-SHA-256-PLUS</mechanism><mechanism>SCRAM-SHA-1-PLUS</mechanism><mechanism>SCRAM-SHA-256</mechanism><mechanism>SCRAM-SHA-1</mechanism><mechanism>PLAIN</mechanism></mechanisms>") {
			t.Errorf("from %q: %s", from, f)
		}
		c.close()
	}
}

func TestBind2GivesAnInstallationTheSameResource(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	seen := map[string]string{}
	for _, a := range []struct{ name, user, inline, same string }{
		{"first", "romeo", bind2 + agentOf(deviceA), ""},
		{"again", "romeo", bind2 + agentOf(deviceA), "first"},
		{"in capitals", "romeo", bind2 + agentOf(strings.ToUpper(deviceA)), "first"},
		{"other installation", "romeo", bind2 + agentOf(deviceB), ""},
		{"other user", "juliet", bind2 + agentOf(deviceA), ""},
		{"other tag", "romeo", "<bind xmlns='urn:xmpp:bind:0'><tag>Toast</tag></bind>" + agentOf(deviceA), ""},
		{"no tag", "romeo", "<bind xmlns='urn:xmpp:bind:0'/>" + agentOf(deviceA), ""},
		{"no installation", "romeo", bind2, ""},
		{"nor this time", "romeo", bind2, ""},
	} {
		c, el := h.enter2(a.user, a.inline)
		if el.Child(xmpp.Name{Space: xmpp.NSBind2, Local: "bound"}) == nil {
			t.Errorf("%s: %s", a.name, el.Append(nil))
		}
		c.expect("features", "urn:xmpp:sm:3")
		c.ping()
		_, resource, _ := strings.Cut(c.jid, "/")
		if strings.Contains(a.inline, "<tag>Test<") && !strings.HasPrefix(resource, "Test/") || strings.Contains(resource, deviceA[:8]) {
			t.Errorf("%s: %s", a.name, c.jid)
		}
		for other, has := range seen {
			if (has == c.jid) != (other == a.same || a.same != "" && seen[a.same] == has) {
				t.Errorf("%s has %s, and %s has %s", a.name, c.jid, other, has)
			}
		}
		seen[a.name] = c.jid
		c.close()
	}
}

func TestTagThatCannotBeInAResourceIsLeftOut(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	for _, tag := range []string{strings.Repeat("x", 65), "\u202e", " "} {
		c, _ := h.enter2("romeo", "<bind xmlns='urn:xmpp:bind:0'><tag>"+tag+"</tag></bind>"+agentOf(deviceA))
		if !strings.HasPrefix(c.jid, "romeo@example.org/") || strings.Contains(c.jid[len("romeo@example.org/"):], "/") {
			t.Errorf("tag %q: %s", tag, c.jid)
		}
		c.close()
	}
}

func TestSessionOfTheSameInstallationReplacesTheOneBefore(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	old, _ := h.enter2("romeo", bind2+agentOf(deviceA))
	defer old.close()
	old.expect("features")
	c, _ := h.enter2("romeo", bind2+agentOf(deviceA))
	defer c.close()
	old.expectError("conflict")
	c.expect("features")
	c.ping()
	// XEP-0386 §4.2: also where the tag, and so the resource, is another.
	d, _ := h.enter2("romeo", "<bind xmlns='urn:xmpp:bind:0'/>"+agentOf(deviceA))
	defer d.close()
	c.expectError("conflict")
	d.expect("features")
	d.ping()
	other, _ := h.enter2("romeo", bind2+agentOf(deviceB))
	defer other.close()
	other.expect("features")
	other.ping()
	d.ping()
}

func TestWhatIsAskedForInlineIsInForceBeforeAnythingIsSent(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	asked := []string{}
	m := h.module()
	m.Inline = []router.Inline{
		{Bind: func(s *router.Session, q *xmpp.Element) []byte {
			asked = append(asked, "always")
			return []byte("<metadata xmlns='urn:test:ends'/>")
		}},
		{Feature: "urn:test:on", Request: xmpp.Name{Space: "urn:test:on", Local: "enable"},
			Bind: func(s *router.Session, q *xmpp.Element) []byte {
				asked = append(asked, q.Attr("how"))
				s.Set(router.FlagCarbons, true)
				return nil
			}},
	}
	h.router.Use(m)
	h.onBound = func(s *router.Session, b *house) {
		s.SendNow(router.Delivery{Stanza: &xmpp.Stanza{Kind: xmpp.Message, ID: "early", To: s.Addr(), Payload: []byte("<body>x</body>")}})
		s.SendNow(router.Delivery{Stanza: &xmpp.Stanza{Kind: xmpp.Presence, ID: "held", To: s.Addr()}})
	}
	c, f := h.secure("romeo")
	defer c.close()
	if !strings.Contains(f, "<inline><bind xmlns='urn:xmpp:bind:0'><inline><feature var='urn:test:on'/><feature var='urn:xmpp:csi:0'/><feature var='urn:xmpp:sm:3'/></inline></bind><sm xmlns='urn:xmpp:sm:3'/></inline>") {
		t.Errorf("features: %s", f)
	}
	el := c.auth2(sasl.ScramSHA1, sasl.Credentials{User: "romeo", Password: password},
		"<bind xmlns='urn:xmpp:bind:0'><enable xmlns='urn:test:on' how='loud'/><enable xmlns='urn:xmpp:sm:3' resume='true'/>"+
			"<inactive xmlns='urn:xmpp:csi:0'/><what xmlns='urn:nobody:knows'/></bind>")
	bound := el.Child(xmpp.Name{Space: xmpp.NSBind2, Local: "bound"})
	if bound == nil || bound.Child(xmpp.Name{Space: "urn:test:ends", Local: "metadata"}) == nil {
		t.Fatalf("got %s", el.Append(nil))
	}
	enabled := bound.Child(xmpp.Name{Space: xmpp.NSSM, Local: "enabled"})
	if enabled == nil || enabled.Attr("resume") != "true" || enabled.Attr("id") == "" || len(bound.Children()) != 2 {
		t.Fatalf("got %s", el.Append(nil))
	}
	if f := c.expect("features"); strings.Contains(f, xmpp.NSSM) || strings.Contains(f, xmpp.NSBind) {
		t.Errorf("offered again: %s", f)
	}
	if !slices.Equal(asked, []string{"loud", "always"}) {
		t.Errorf("asked %q", asked)
	}
	c.expect("id='early'")
	c.send("<r xmlns='urn:xmpp:sm:3'/>").expect("<a ") // and no presence: nobody looks
	c.send("<active xmlns='urn:xmpp:csi:0'/>").expect("id='held'")
}

func TestResumptionInlineSparesTheRest(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	enable := bindManaged + agentOf(deviceA)
	c, el := h.enter2("romeo", enable)
	id := el.Child(xmpp.Name{Space: xmpp.NSBind2, Local: "bound"}).Child(xmpp.Name{Space: xmpp.NSSM, Local: "enabled"}).Attr("id")
	c.expect("features")
	c.ping()
	address := c.jid
	c.close()
	eventually(t, "the session waits", func() bool { return h.Stats.Detached.Load() == 1 })
	juliet := h.enter("juliet", "balcony")
	defer juliet.close()
	juliet.send("<message to='romeo@example.org' id='m1' type='chat'><body>x</body></message>").ping()

	c, el = h.enter2("romeo", "<resume xmlns='urn:xmpp:sm:3' previd='"+id+"' h='1'/>"+enable)
	if r := el.Child(xmpp.Name{Space: xmpp.NSSM, Local: "resumed"}); r == nil || r.Attr("previd") != id || r.Attr("h") != "1" ||
		el.Child(xmpp.Name{Space: xmpp.NSBind2, Local: "bound"}) != nil || c.jid != address {
		t.Fatalf("got %s", el.Append(nil))
	}
	c.expect("<message", "id='m1'") // no features
	c.close()

	// What cannot be resumed is bound.
	for _, what := range []string{"nobodys", id} {
		user := "romeo"
		if what == id {
			user = "juliet" // another's
		}
		c, el = h.enter2(user, "<resume xmlns='urn:xmpp:sm:3' previd='"+what+"' h='1'/>"+enable)
		f := el.Child(xmpp.Name{Space: xmpp.NSSM, Local: "failed"})
		if f == nil || f.Child(xmpp.Name{Space: xmpp.NSStanzaErrors, Local: "item-not-found"}) == nil || f.HasAttr("h") ||
			el.Child(xmpp.Name{Space: xmpp.NSBind2, Local: "bound"}) == nil {
			t.Errorf("%s: %s", what, el.Append(nil))
		}
		c.expect("features")
		c.close()
	}
	// And without a request to bind the stream goes on without a resource.
	c, el = h.enter2("romeo", "<resume xmlns='urn:xmpp:sm:3' previd='nobodys' h='1'/>")
	if el.Child(xmpp.Name{Space: xmpp.NSSM, Local: "failed"}) == nil || c.jid != "romeo@example.org" {
		t.Errorf("got %s", el.Append(nil))
	}
	c.expect("features", xmpp.NSBind)
	c.bind("x").ping()
	c.close()
}

func TestTooManySessionsFailAnInlineBind(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	h.router.SetMaxSessions(1)
	c, _ := h.enter2("romeo", bind2+agentOf(deviceA))
	defer c.close()
	c.expect("features")
	d, _ := h.secure("romeo")
	defer d.close()
	el := d.auth2(sasl.ScramSHA1, sasl.Credentials{User: "romeo", Password: password}, bind2+agentOf(deviceB))
	if el.Name.Local != "failure" || el.Child(xmpp.Name{Space: xmpp.NSSASL, Local: "temporary-auth-failure"}) == nil ||
		el.Child(xmpp.Name{Space: xmpp.NSStanzaErrors, Local: "resource-constraint"}) == nil {
		t.Errorf("got %s", el.Append(nil))
	}
	c.ping()
	// The stream is as it was: the same device takes the place of its own session.
	el = d.auth2(sasl.ScramSHA1, sasl.Credentials{User: "romeo", Password: password}, bind2+agentOf(deviceA))
	if el.Name.Local != "success" {
		t.Errorf("got %s", el.Append(nil))
	}
	d.expect("features")
	d.ping()
	c.expectError("conflict")
}

// XEP-0509: what a client sends before it has seen anything is answered in order, if it knows what it would see.
func TestLoginMayBeSentWithTheHeader(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	c, f := h.secure("romeo")
	c.close()
	_, rest, _ := strings.Cut(f, "<config-version xmlns='urn:xmpp:iap:0' scheme='opaque' value='")
	value, _, _ := strings.Cut(rest, "'")
	if value == "" {
		t.Fatalf("features: %s", f)
	}
	login := func(value string) string {
		return strings.Replace(header, " to=", " from='romeo@example.org' to=", 1) + "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'>" +
			"<initial-response>AHJvbWVvAHIwbTMw</initial-response><config-version xmlns='urn:xmpp:iap:0' scheme='opaque' value='" + value + "'/>" +
			bind2 + "</authenticate>"
	}
	c = h.connect(DirectTLS).handshake()
	c.send(login(value)).expect("<header>")
	if again := c.expect("features"); again != f {
		t.Errorf("features differ:\n%s\n%s", f, again)
	}
	c.expect("<success", "romeo@example.org/Test/")
	c.expect("features")
	c.ping()
	c.close()

	c = h.connect(DirectTLS).handshake()
	defer c.close()
	c.send(login("old")).expect("<header>")
	c.expect("features")
	c.expect("<failure xmlns='urn:xmpp:sasl:2'><aborted xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/><config-version-mismatch xmlns='urn:xmpp:iap:0'/></failure>")
	if n := h.Stats.AuthFailures.Load(); n != 0 {
		t.Errorf("%d failed logins", n)
	}
	if el := c.auth2(sasl.Plain, sasl.Credentials{User: "romeo", Password: password}, bind2); el.Name.Local != "success" {
		t.Errorf("got %s", el.Append(nil))
	}
}

func TestSASL2FailuresAreCountedWithTheClassicOnes(t *testing.T) {
	h := open(t, func(o *Options) { o.Limits.FailedLogins = 4 })
	defer h.close()
	wrong := sasl.Credentials{User: "romeo", Password: "x"}
	c, _ := h.secure("romeo")
	defer c.close()
	for i := range 4 {
		if i%2 == 0 {
			c.auth(sasl.ScramSHA1, wrong)
		} else if el := c.auth2(sasl.ScramSHA256, wrong, bind2); el.Name.Local != "failure" {
			t.Errorf("got %s", el.Append(nil))
		}
	}
	c.expectError("policy-violation")
	d, _ := h.secure("juliet")
	defer d.close()
	for i := range maxDeclined * 4 {
		if i%2 == 0 {
			d.send("<auth xmlns='"+xmpp.NSSASL+"' mechanism='NO'/>").expect("<failure", "<invalid-mechanism/>")
		} else {
			d.send("<authenticate xmlns='urn:xmpp:sasl:2' mechanism='NO'/>").expect("<failure", "<invalid-mechanism ")
		}
	}
	d.expectError("policy-violation")
	if n := h.Stats.AuthFailures.Load(); n != 4 {
		t.Errorf("%d failed logins", n)
	}
}

// XEP-0474 §5.1, XEP-0515 §4.1: each profile proves its own list.
func TestEachProfileProvesWhatItHasAnnounced(t *testing.T) {
	h := open(t, nil)
	defer h.close()
	for profile, list := range map[string]string{
		xmpp.NSSASL:  "PLAIN\x1eSCRAM-SHA-1\x1eSCRAM-SHA-1-PLUS\x1eSCRAM-SHA-256\x1eSCRAM-SHA-256-PLUS",
		xmpp.NSSASL2: "PLAIN\x1eSCRAM-SHA-1\x1eSCRAM-SHA-1-PLUS\x1eSCRAM-SHA-256\x1eSCRAM-SHA-256-PLUS\x1eSCRAM-SHA-512\x1eSCRAM-SHA-512-PLUS",
	} {
		c, _ := h.secure("romeo")
		first := base64.StdEncoding.EncodeToString([]byte("n,,n=romeo,r=abc"))
		if profile == xmpp.NSSASL {
			c.send("<auth xmlns='" + profile + "' mechanism='SCRAM-SHA-256'>" + first + "</auth>")
		} else {
			c.send(authenticateXML("SCRAM-SHA-256", first, ""))
		}
		el, err := xmpp.ParseElement([]byte(c.expect("<challenge")))
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256([]byte(list + "\x1ftls-exporter\x1etls-server-end-point"))
		want := ",h=" + base64.StdEncoding.EncodeToString(sum[:]) + ",t=0304"
		if got := string(unbase64(t, el.Text())); !strings.HasSuffix(got, want) {
			t.Errorf("%s: %s, want %s", profile, got, want)
		}
		c.close()
	}
}
