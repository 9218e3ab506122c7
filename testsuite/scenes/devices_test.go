package scenes

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"jackdaw/testsuite/harness"
	"jackdaw/xmpp"
	"jackdaw/xmpp/sasl"
)

// A device is a client that says which installation it is (XEP-0388 §2.3).
type device struct {
	*harness.Client
	t           testing.TB
	user, agent string
	token       string // the last that it was given
}

// enter opens a stream and sends a login, with a resource to be bound. It returns the answer.
func (d *device) enter(s *harness.Server, mechanism, response, inline string) *xmpp.Element {
	d.t.Helper()
	c, err := harness.Open(s.C2STLS, false)
	if err != nil {
		d.t.Fatal(err)
	}
	d.Client = c
	d.t.Cleanup(func() { c.Conn.Close() })
	if _, err := c.Next(); err != nil { // features
		d.t.Fatal(err)
	}
	el, err := ask(c, "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='"+mechanism+"'><initial-response>"+response+"</initial-response>"+
		"<user-agent id='"+d.agent+"'><software>Scene</software><device>"+d.user+"&apos;s box</device></user-agent>"+
		"<bind xmlns='urn:xmpp:bind:0'/>"+inline+"</authenticate>")
	if err != nil {
		d.t.Fatal(err)
	}
	answer, err := xmpp.ParseElement([]byte(el))
	if err != nil {
		d.t.Fatal(err)
	}
	if answer.Name.Local == "success" {
		d.JID = answer.ChildLocal("authorization-identifier").Text()
		if t := answer.Child(xmpp.Name{Space: xmpp.NSFAST, Local: "token"}); t != nil {
			d.token = t.Attr("token")
		}
		if _, err := c.Next(); err != nil { // features
			d.t.Fatal(err)
		}
	}
	return answer
}

// byPassword logs in for a token.
func (d *device) byPassword(s *harness.Server, password string) {
	d.t.Helper()
	answer := d.enter(s, "PLAIN", base64.StdEncoding.EncodeToString([]byte("\x00"+d.user+"\x00"+password)),
		"<request-token xmlns='urn:xmpp:fast:0' mechanism='HT-SHA-256-NONE'/>")
	if answer.Name.Local != "success" || d.token == "" {
		d.t.Fatalf("by password: %s", answer.Append(nil))
	}
}

// byToken logs in with the token, and returns the condition of the failure, "" for none.
func (d *device) byToken(s *harness.Server) string {
	d.t.Helper()
	answer := d.enter(s, "HT-SHA-256-NONE", base64.StdEncoding.EncodeToString(sasl.TokenMessage(d.user, d.token, nil)),
		"<fast xmlns='urn:xmpp:fast:0'/>")
	if answer.Name.Local == "success" {
		return ""
	}
	return answer.Children()[0].Name.Local
}

// clients are those in the user's list, by what they say is their name.
func (d *device) clients() map[string]*xmpp.Element {
	d.t.Helper()
	el, err := d.Ask("list", "<iq type='get' id='list'><list xmlns='urn:xmpp:cam:0'/></iq>")
	if err != nil {
		d.t.Fatal(err)
	}
	answer, err := xmpp.ParseElement([]byte(strings.Replace(el, "<iq", "<iq xmlns='jabber:client'", 1)))
	if err != nil {
		d.t.Fatal(err)
	}
	all := map[string]*xmpp.Element{}
	for _, one := range answer.Child(xmpp.Name{Space: xmpp.NSClientAccess, Local: "clients"}).Children() {
		all[one.Attr("id")] = one
	}
	return all
}

func (d *device) wantEnd() {
	d.t.Helper()
	if el, err := d.Until(func(el string) bool { return strings.Contains(el, "stream:error") }); err != nil || !strings.Contains(el, "not-authorized") {
		d.t.Errorf("the end of the session: %s, %v", el, err)
	}
}

func testDevices(t *testing.T, s *harness.Server) {
	s.AddUser("devices")
	const user = "devices@" + harness.Domain
	desk := &device{t: t, user: "devices", agent: "4c5a2f1e-88d4-4c43-9a4e-6a3c1de7a4d1"}
	phone := &device{t: t, user: "devices", agent: "e1f6b4d2-0cd0-4b3b-8f57-3d0e6a2f0c92"}
	desk.byPassword(s, harness.Password)
	phone.byPassword(s, harness.Password)
	if why := phone.byToken(s); why != "" {
		t.Fatalf("by token: %s", why)
	}

	var listed []struct {
		ID       string
		Name     string
		Sessions int
		Password bool
		Token    bool
	}
	list := func() {
		t.Helper()
		listed = nil
		if err := json.Unmarshal([]byte(s.Command("", "user", "devices", user, "--json")), &listed); err != nil {
			t.Fatal(err)
		}
	}
	list()
	all := desk.clients()
	if len(listed) != 2 || len(all) != 2 {
		t.Fatalf("listed: %v, to the client %d", listed, len(all))
	}
	var deskID, phoneID string
	for _, one := range listed {
		if el := all[one.ID]; el == nil || el.Attr("connected") != "true" || el.ChildLocal("auth").ChildLocal("fast") == nil {
			t.Errorf("to the client %s is %v", one.ID, el)
		}
		if one.Sessions != 1 || !one.Password || !one.Token || one.Name != "devices's box" {
			t.Errorf("listed: %+v", one)
		}
	}
	for line := range strings.Lines(s.Command("", "sessions")) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		switch fields[0] {
		case desk.JID:
			deskID = fields[7]
		case phone.JID:
			phoneID = fields[7]
		}
	}
	if all[deskID] == nil || all[phoneID] == nil || deskID == phoneID {
		t.Fatalf("sessions says %q and %q", deskID, phoneID)
	}

	// By the administrator.
	s.Command("", "user", "devices", "revoke", user, phoneID)
	phone.wantEnd()
	if why := phone.byToken(s); why != "not-authorized" {
		t.Errorf("a device that was removed: %q", why)
	}
	if out, err := s.TryCommand("", "user", "devices", "revoke", user, phoneID); err == nil || !strings.Contains(out, "no such device") {
		t.Errorf("once more: %s, %v", out, err)
	}
	list()
	if len(listed) != 1 || listed[0].ID != deskID {
		t.Errorf("left: %v", listed)
	}

	// By the user, with the password that the device knows (XEP-0494 §3.2).
	phone.byPassword(s, harness.Password)
	el, err := desk.Ask("revoke", "<iq type='set' id='revoke'><revoke xmlns='urn:xmpp:cam:0' id='"+phoneID+"'/></iq>")
	if err != nil || !strings.Contains(el, "password-reset-required") {
		t.Errorf("by the user: %s, %v", el, err)
	}
	phone.wantEnd()
	if why := phone.byToken(s); why != "not-authorized" {
		t.Errorf("a device that its user has removed: %q", why)
	}

	// By another password, and by keeping the account out.
	s.Command("another one", "user", "passwd", user, "--password-stdin")
	desk.wantEnd()
	if why := desk.byToken(s); why != "credentials-expired" {
		t.Errorf("after a change of the password: %q", why)
	}
	if got := s.Command("", "user", "devices", user); !strings.Contains(got, deskID+"\t0\t-\t") {
		t.Errorf("after a change of the password: %s", got)
	}
	desk.byPassword(s, "another one")
	s.Command("", "user", "disable", user)
	desk.wantEnd()
	s.Command("", "user", "enable", user)
	if why := desk.byToken(s); why != "credentials-expired" {
		t.Errorf("after the account was disabled: %q", why)
	}

	// What is removed leaves nothing behind.
	desk.byPassword(s, "another one")
	s.Command("", "user", "del", user)
	s.AddUser("devices")
	if why := desk.byToken(s); why != "not-authorized" {
		t.Errorf("after the account was removed: %q", why)
	}
	if got := s.Command("", "user", "devices", user); got != "" {
		t.Errorf("after the account was removed: %s", got)
	}
	if got := s.Output().String(); strings.Contains(got, desk.token) || strings.Contains(got, desk.agent) {
		t.Error("the log has a token, or the id that a client has chosen")
	}
}

func TestTokensSurviveTheServer(t *testing.T) {
	t.Parallel()
	for _, place := range harness.OverTCP() {
		t.Run(place.String(), func(t *testing.T) {
			t.Parallel()
			s := harness.Start(t, harness.Options{Place: place})
			s.AddUser("devices")
			d := &device{t: t, user: "devices", agent: "4c5a2f1e-88d4-4c43-9a4e-6a3c1de7a4d1"}
			d.byPassword(s, harness.Password)
			s.Kill()
			s.Launch()
			if why := d.byToken(s); why != "" {
				t.Errorf("after a kill: %s", why)
			}
			id := strings.SplitN(s.Command("", "user", "devices", "devices@"+harness.Domain), "\t", 2)[0]
			s.Stop()
			s.Command("", "user", "devices", "revoke", "devices@"+harness.Domain, id) // on the store itself
			s.Launch()
			if why := d.byToken(s); why != "not-authorized" {
				t.Errorf("a device that was removed without a server: %q", why)
			}
		})
	}
}
