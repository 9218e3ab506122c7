package federation

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"jackdaw/testsuite/fakepeer"
	"jackdaw/testsuite/harness"
	"jackdaw/testsuite/peers"
)

// The table of docs/http.md §6, for every way into the server. A row is one combination of
//
//	path        how the stanza comes in
//	permission  what the account has beside http_message, xmppgateway and multicast, which all have:
//	            none, forge_sender, or forge_sender=PATTERN
//	sender      who it claims to be from: own (the account itself), other (another user here), nobody (an address of our
//	            domain without an account), foreign (an address of another domain)
//
// and says what becomes of a copy to a user here, and of one to a user elsewhere:
//
//	sent     arrives from whom it claims to be from
//	own      arrives from the authenticated account, or from the name in the path of the gateway
//	403      refused: no permission to forge senders
//	remote   refused with 403, and the report names the recipient with the reason forged-sender-remote
//	400 404  refused with that status
//	ended    the stream ends with invalid-from
const table = `
path              permission                   sender   local  elsewhere

# A post in XML says who it is from. A foreign name goes nowhere but here, whatever the permission.
xml               none                         own      sent   sent
xml               none                         other    403    403
xml               none                         nobody   403    403
xml               none                         foreign  403    403
xml               forge_sender                 own      sent   sent
xml               forge_sender                 other    sent   sent
xml               forge_sender                 nobody   sent   sent
xml               forge_sender                 foreign  sent   remote
xml               forge_sender=*@trac.example  own      sent   sent
xml               forge_sender=*@trac.example  other    403    403
xml               forge_sender=*@trac.example  nobody   403    403
xml               forge_sender=*@trac.example  foreign  sent   remote
xml               forge_sender=*@home.example  own      sent   sent
xml               forge_sender=*@home.example  other    sent   sent
xml               forge_sender=*@home.example  nobody   sent   sent
xml               forge_sender=*@home.example  foreign  403    403

# The same for each copy of a multicast.
multicast         none                         own      sent   sent
multicast         none                         other    403    403
multicast         none                         nobody   403    403
multicast         none                         foreign  403    403
multicast         forge_sender                 own      sent   sent
multicast         forge_sender                 other    sent   sent
multicast         forge_sender                 nobody   sent   sent
multicast         forge_sender                 foreign  sent   remote
multicast         forge_sender=*@trac.example  own      sent   sent
multicast         forge_sender=*@trac.example  other    403    403
multicast         forge_sender=*@trac.example  nobody   403    403
multicast         forge_sender=*@trac.example  foreign  sent   remote
multicast         forge_sender=*@home.example  own      sent   sent
multicast         forge_sender=*@home.example  other    sent   sent
multicast         forge_sender=*@home.example  nobody   sent   sent
multicast         forge_sender=*@home.example  foreign  403    403

# JSON has no place for a sender: it is the account, and 'from' among the attributes is an error.
json              none                         own      400    400
json              none                         foreign  400    400
json              forge_sender                 other    400    400
json              forge_sender                 foreign  400    400
json              forge_sender=*@trac.example  foreign  400    400
json-without      none                         own      own    own
json-without      forge_sender                 own      own    own
json-without      forge_sender=*@trac.example  own      own    own

# The gateway overwrites it with the account's, whatever the permission.
gateway           none                         own      own    own
gateway           none                         other    own    own
gateway           none                         nobody   own    own
gateway           none                         foreign  own    own
gateway           forge_sender                 other    own    own
gateway           forge_sender                 foreign  own    own
gateway           forge_sender=*@trac.example  foreign  own    own
gateway-json      none                         own      400    400
gateway-json      forge_sender                 foreign  400    400
gateway-json      forge_sender=*@trac.example  foreign  400    400

# An API account is no user: the path says who it is from, in a domain of ours that it has been given.
gateway-api       none                         other    sent   sent
gateway-api       none                         nobody   sent   sent
gateway-api       none                         foreign  404    404
# What stands in the payload is overwritten with nobody@home.example, the name in the path.
gateway-api-from  none                         other    own    own
gateway-api-from  none                         foreign  own    own

# On a client stream the sender is who has logged in, whatever the permission (RFC 6120 §8.1.2.1).
client            none                         own      sent   sent
client            none                         other    ended  ended
client            none                         nobody   ended  ended
client            none                         foreign  ended  ended
client            forge_sender                 own      sent   sent
client            forge_sender                 other    ended  ended
client            forge_sender                 nobody   ended  ended
client            forge_sender                 foreign  ended  ended
client            forge_sender=*@trac.example  own      sent   sent
client            forge_sender=*@trac.example  foreign  ended  ended
client-presence   forge_sender                 other    ended  ended
client-presence   forge_sender                 nobody   ended  ended
client-presence   forge_sender                 foreign  ended  ended
client-iq         forge_sender                 other    ended  ended
client-iq         forge_sender                 nobody   ended  ended
client-iq         forge_sender                 foreign  ended  ended
client-error      forge_sender                 foreign  ended  ended
client-multicast  none                         own      sent   sent
client-multicast  forge_sender                 other    ended  ended
client-multicast  forge_sender                 nobody   ended  ended
client-multicast  forge_sender                 foreign  ended  ended
client-multicast  forge_sender=*@trac.example  foreign  ended  ended

# A component speaks for its own domain and no other (XEP-0114 §3).
component         none                         own      sent   sent
component         none                         other    ended  ended
component         none                         nobody   ended  ended
component         none                         foreign  ended  ended
component-iq      none                         foreign  ended  ended
component-error   none                         foreign  ended  ended
`

// A row of the table.
type row struct{ path, permission, sender, local, elsewhere string }

func rows(t *testing.T) (list []row) {
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] == "#" || f[0] == "path" {
			continue
		}
		if len(f) != 5 {
			t.Fatalf("not a row: %q", line)
		}
		list = append(list, row{f[0], f[1], f[2], f[3], f[4]})
	}
	return list
}

// accounts have the permissions of the table.
var accounts = map[string]string{
	"none": "plain", "forge_sender": "forger", "forge_sender=*@trac.example": "tracker", "forge_sender=*@home.example": "keeper",
}

const (
	foreign = "ticket-7@trac.example"
	nobody  = "nobody@home.example"
	other   = "carol@home.example"
	bob     = "bob@home.example"
	skel    = "skel@remote.example"
)

// claim is the address that a row claims to be.
func (r row) claim(own string) string {
	return map[string]string{"own": own, "other": other, "nobody": nobody, "foreign": foreign}[r.sender]
}

// market is what a test of the policy has.
type market struct {
	*town
	peer *fakepeer.Peer // remote.example, and the domain that is forged
	bob  *harness.Client

	components string // HOST:PORT of their listener
	n          int
}

const componentSecret = "a secret of the tests"

func openMarket(t *testing.T, http string) *market {
	t.Helper()
	m := &market{town: newTown(t)}
	// The peer serves the forged domain too: whatever leaks to it arrives.
	m.peer = m.town.peer(fakepeer.Options{Domains: []string{"remote.example", "trac.example"}, Bidi: true}, peers.None)
	m.components = harness.FreeAddr()
	o := harness.Options{
		HTTP:   "permissions: {http_message: ['*'], multicast: ['*'], xmppgateway: ['*'], forge_sender: [forger@" + home + "]}\n" + http,
		Users:  []string{"bob", "carol"},
		Listen: fmt.Sprintf("component: [%q]", m.components),
		Config: fmt.Sprintf("component: {secrets: {%q: %q}}\n", service, componentSecret),
	}
	for _, user := range accounts {
		o.Users = append(o.Users, user)
	}
	m.open(o)
	for permission, user := range accounts {
		if strings.Contains(permission, "=") {
			m.Command("", "user", "grant", user+"@"+home, permission)
		}
	}
	m.Command(harness.Password+"\n", "api-account", "add", "robot", "--domain", home, "--password-stdin")
	m.bob = m.client("bob", "desk")
	return m
}

// settled returns all that came to bob, and all that left, since the last call; it says so with certainty because it
// sends a message of its own behind: to bob, and to both domains of the peer. Others that were told to send as many
// more "end" are waited for too.
func (m *market) settled(more int) (local, elsewhere []string) {
	m.t.Helper()
	m.n++
	id := fmt.Sprintf("end-%d", m.n)
	for _, to := range []string{bob, "end@trac.example", "end@remote.example"} {
		if err := m.bob.Send("<message type='chat' id='" + id + "' to='" + to + "'><body>that was all</body></message>"); err != nil {
			m.t.Fatal(err)
		}
	}
	local, err := until(m.bob, id)
	if err != nil {
		m.t.Fatal(err)
	}
	for i, el := range local {
		local[i] = withoutIDs(el)
	}
	left := 2 + more // several pairs, several streams perhaps: any may be first
	got, err := m.peer.Until(func(s fakepeer.Stanza) bool {
		if s.Attr("id") == id || s.Attr("id") == "end" {
			left--
		}
		return left == 0
	})
	if err != nil {
		m.t.Fatalf("%v; what came: %q", err, raw(got))
	}
	for _, s := range got {
		if s.Attr("id") != id && s.Attr("id") != "end" && !isPing(s) {
			elsewhere = append(elsewhere, s.Raw)
		}
	}
	return local, elsewhere
}

// isPing says whether a stanza is one with which our server finds out whether the peer is there.
func isPing(s fakepeer.Stanza) bool {
	return s.From == home && s.Name.Local == "iq" && strings.HasSuffix(s.Raw, "<ping xmlns='urn:xmpp:ping'/></iq>")
}

// asked notes what the sender of a row is told.
type asked struct {
	status  int    // over HTTP
	outcome string // of the report
	ended   bool   // the stream ended with invalid-from
	text    string
}

func TestWhoMaySendAsWhomAndWhere(t *testing.T) {
	t.Parallel()
	m := openMarket(t, "")
	for i, r := range rows(t) {
		for _, to := range []string{bob, skel} {
			t.Run(strings.Join([]string{r.path, r.permission, r.sender, to}, " "), func(t *testing.T) {
				m.check(t, r, to, fmt.Sprintf("m%d", i))
			})
		}
	}
	for _, s := range m.peer.Stanzas() {
		if s.Pair.From != home && s.Pair.From != service {
			t.Errorf("left under a name that is not ours: %s", s.Raw)
		}
	}
}

// check sends the message of one cell and compares all that follows from it with the table.
func (m *market) check(t *testing.T, r row, to, id string) {
	want := r.local
	if to == skel {
		want = r.elsewhere
	}
	own := accounts[r.permission] + "@" + home
	from := r.claim(own)
	switch r.path {
	case "client", "client-multicast", "client-presence", "client-iq", "client-error":
		own += "/c"
		from = r.claim(own)
	case "component", "component-iq", "component-error":
		own = "helper@" + service
		from = r.claim(own)
	case "gateway-api", "gateway-api-from":
		own = nobody
	}
	payload := "<body>" + id + "</body><x xmlns='urn:example:x' a=\"1\"/>"
	if strings.Contains(r.path, "json") {
		payload = "<body>" + id + "</body>"
	}
	got := m.send(t, r, from, to, id, payload)

	var expected []string // the bytes that arrive
	switch want {
	case "sent":
		expected = []string{"<message type='chat' id='" + id + "' from='" + from + "' to='" + to + "'>" + payload + "</message>"}
	case "own":
		expected = []string{"<message type='chat' id='" + id + "' from='" + own + "' to='" + to + "'>" + payload + "</message>"}
	case "403":
		if got.status != 403 || !strings.Contains(got.text, "does not have permission to forge senders") {
			t.Errorf("answer %d %s", got.status, got.text)
		}
	case "remote":
		if got.status != 403 || got.outcome != "refused forged-sender-remote" || !strings.Contains(got.text, to) {
			t.Errorf("answer %d %s", got.status, got.text)
		}
	case "400":
		if got.status != 400 || !strings.Contains(got.text, `"from" is not allowed`) {
			t.Errorf("answer %d %s", got.status, got.text)
		}
	case "404":
		if got.status != 404 {
			t.Errorf("answer %d %s", got.status, got.text)
		}
	case "ended":
		if !got.ended {
			t.Errorf("the stream goes on after %s", got.text)
		}
	default:
		t.Fatalf("the table says %q", want)
	}
	if len(expected) > 0 && got.status != 0 {
		outcome := "delivered"
		if to == skel {
			outcome = "queued"
		}
		if got.status != 200 || got.outcome != outcome {
			t.Errorf("answer %d, outcome %q, want %q: %s", got.status, got.outcome, outcome, got.text)
		}
	}
	more := 0
	if r.path == "component" && !got.ended {
		more++
	}
	local, elsewhere := m.settled(more)
	wantLocal, wantElsewhere := expected, []string(nil)
	if to == skel {
		wantLocal, wantElsewhere = nil, expected
	}
	if d := cmp.Diff(wantLocal, local); d != "" {
		t.Errorf("what came to bob (-want +got):\n%s", d)
	}
	if d := cmp.Diff(wantElsewhere, elsewhere); d != "" {
		t.Errorf("what left (-want +got):\n%s", d)
	}
}

// send goes the way of a row.
func (m *market) send(t *testing.T, r row, from, to, id, payload string) asked {
	t.Helper()
	message := "<message type='chat' id='" + id + "' from='" + from + "' to='" + to + "'>" + payload + "</message>"
	list := "<message type='chat' id='" + id + "' from='" + from + "' to='multicast." + home + "'><addresses><address jid='" + to + "'/></addresses>" + payload + "</message>"
	ask := "<iq type='get' id='" + id + "' from='" + from + "' to='" + to + "'><query xmlns='jabber:iq:version'/></iq>"
	failure := strings.Replace(message, "'chat'", "'error'", 1)
	gateway := "/api/1.0/xmppdomains/" + home + "/gateway/messages"
	user := accounts[r.permission] + "@" + home
	attributes := map[string]string{"id": id}
	if r.path != "json-without" {
		attributes["from"] = from
	}
	form, err := json.Marshal(map[string]any{"to": to, "body": id, "message_attributes": attributes})
	if err != nil {
		t.Fatal(err)
	}
	const formType, xmlType = "application/json", "application/xml"
	q := request{user: user}
	switch r.path {
	case "xml":
		q.body = message
	case "multicast":
		q.body = list
	case "json", "json-without":
		q.kind, q.body = formType, string(form)
	case "gateway":
		q.path, q.kind, q.body = gateway, xmlType, message
	case "gateway-json":
		q.path, q.kind, q.body = gateway, formType, string(form)
	case "gateway-api":
		name, host, _ := strings.Cut(from, "@")
		q.user, q.kind, q.body = "robot", xmlType, message
		q.path = "/api/1.0/xmppdomains/" + host + "/gateway/messages/" + name
	case "gateway-api-from":
		q.user, q.path, q.kind, q.body = "robot", gateway+"/nobody", xmlType, message
	case "client":
		return m.say(t, user, message)
	case "client-multicast":
		return m.say(t, user, list)
	case "client-presence":
		return m.say(t, user, strings.ReplaceAll(strings.Replace(message, " type='chat'", "", 1), "message", "presence"))
	case "client-iq":
		return m.say(t, user, ask)
	case "client-error":
		return m.say(t, user, failure)
	case "component-iq":
		return m.speak(t, ask)
	case "component-error":
		return m.speak(t, failure)
	case "component":
		return m.speak(t, message+"<message id='end' from='"+service+"' to='end@remote.example'/>")
	default:
		t.Fatalf("no path %q", r.path)
	}
	a := m.post(q)
	return asked{status: a.Status, outcome: a.outcome(to), text: strings.ReplaceAll(a.Text, `\"`, `"`)}
}

// say sends on a client stream, and returns when the server has taken it or ended the stream.
func (m *market) say(t *testing.T, user, message string) asked {
	t.Helper()
	name, _, _ := strings.Cut(user, "@")
	c, err := harness.ConnectTo(m.C2STLS, home, name, "c")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Send(message + "<iq type='get' id='done'><ping xmlns='urn:xmpp:ping'/></iq>"); err != nil {
		t.Fatal(err)
	}
	return listen(t, c)
}

// listen reads up to the answer to a ping, or the end.
func listen(t *testing.T, c *harness.Client) (a asked) {
	t.Helper()
	for {
		el, err := c.Next()
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, harness.ErrStreamEnd):
			return a
		case err != nil:
			t.Fatal(err)
		}
		a.text += el
		if strings.Contains(el, "invalid-from") {
			a.ended = true
		}
		if harness.Attr(el, "id") == "done" {
			return a
		}
	}
}

// speak sends on the stream of a component.
func (m *market) speak(t *testing.T, message string) asked {
	t.Helper()
	c, err := harness.Attach("", m.components, service, componentSecret)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Conn.Close()
	if err := c.Send(message + "<iq type='get' id='done' from='" + service + "' to='" + home + "'><ping xmlns='urn:xmpp:ping'/></iq>"); err != nil {
		t.Fatal(err)
	}
	return listen(t, c)
}
