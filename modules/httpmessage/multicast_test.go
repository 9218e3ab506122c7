package httpmessage

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// report is what is answered where JSON is accepted.
type report struct {
	ID         string
	Accepted   int
	Recipients []struct{ JID, Outcome, Reason string }
	Dry        bool `json:"dry_run"`
}

func (r report) String() string {
	var b strings.Builder
	fmt.Fprint(&b, r.Accepted)
	for _, one := range r.Recipients {
		fmt.Fprintf(&b, " %s:%s", one.JID, one.Outcome)
		if one.Reason != "" {
			b.WriteString(":" + one.Reason)
		}
	}
	return b.String()
}

// reported posts with JSON accepted.
func (h *house) reported(c call) (int, report) {
	h.t.Helper()
	c.headers = append(c.headers, "Accept: text/html;q=0.5, application/json")
	w := h.do(c)
	var r report
	if err := json.Unmarshal(w.Body.Bytes(), &r); err != nil {
		h.t.Fatalf("%v in %s", err, w.Body)
	}
	return w.Code, r
}

func TestEachRecipientOfAMulticastSeesOnlyItself(t *testing.T) {
	h := newHouse(t)
	bob := h.online("bob@" + host + "/phone")
	code, r := h.reported(call{body: `<message to="multicast" id="m1" type="chat"><x xmlns="urn:x"/>
<addresses xmlns="http://jabber.org/protocol/address"><address type="to" jid="BOB@im.example.org" desc="Bob"/>
<address type="cc" jid="skel@im.example.org"/><address type="bcc" jid="bob@im.example.org"/>
<address jid="andy@im.example.org"/></addresses><body>yo</body></message>`})
	if want := "3 bob@im.example.org:delivered skel@im.example.org:stored andy@im.example.org:stored"; code != 200 || r.String() != want {
		t.Errorf("answer %d %s, want %s", code, r, want)
	}
	copies := map[string][]string{"bob": bob.received(), "skel": h.stored("skel@" + host), "andy": h.stored("andy@" + host)}
	for user, got := range copies {
		if len(got) != 1 {
			t.Fatalf("%s got %q", user, got)
		}
		moduletest.Same(t, got[0], `<message from='andy@im.example.org' to='`+user+`@im.example.org' id='m1' type='chat'><x xmlns="urn:x"/><body>yo</body></message>`)
		for _, other := range []string{"addresses", "cc", "bcc", "skel", "bob"} {
			if other != user && strings.Contains(got[0], other) {
				t.Errorf("%s learns of %s: %s", user, other, got[0])
			}
		}
	}
}

func TestManyRecipientsHaveOneCopyEach(t *testing.T) {
	const lanes = 16
	var users, want []string
	for i := range lanes*perLane + 7 {
		users = append(users, fmt.Sprintf("u%d@%s", i, host))
		outcome := "stored"
		if i%50 == 49 {
			users[i], outcome = fmt.Sprintf("nobody%d@%s", i, host), "refused:service-unavailable"
		}
		want = append(want, users[i]+":"+outcome)
	}
	h := newHouse(t, slices.DeleteFunc(slices.Clone(users), func(u string) bool { return strings.HasPrefix(u, "nobody") })...)
	h.o.Lanes = lanes
	for _, key := range []string{"1", "2"} {
		for range 2 { // the second time the answer is remembered
			code, r := h.reported(call{body: list(users...), headers: []string{"Idempotency-Key: " + key}})
			_, got, _ := strings.Cut(r.String(), " ")
			if code != 200 || r.Accepted != len(users)-len(users)/50 || got != strings.Join(want, " ") {
				t.Fatalf("answer %d, %d accepted of %d", code, r.Accepted, len(users))
			}
		}
	}
	for _, u := range users {
		copies := 2
		if strings.HasPrefix(u, "nobody") {
			copies = 0
		}
		if got := h.stored(u); len(got) != copies {
			t.Errorf("%s has %d copies", u, len(got))
		}
	}
}

func TestResourcesOfOneUserAreTwoRecipients(t *testing.T) {
	h := newHouse(t)
	c := call{body: strings.Replace(list("bob@"+host+"/a", "bob@"+host+"/b"), "<message", `<message type="chat"`, 1), headers: []string{"Idempotency-Key: 1"}}
	if code, r := h.reported(c); code != 200 || r.Accepted != 2 {
		t.Errorf("answer %d %s", code, r)
	}
	if got := h.stored("bob@" + host); len(got) != 2 {
		t.Errorf("bob has %q", got)
	}
}

func TestSomeRecipientsMayRefuse(t *testing.T) {
	h := newHouse(t)
	code, r := h.reported(call{body: list("bob@"+host, "nobody@"+host, host)})
	if want := "1 bob@im.example.org:stored nobody@im.example.org:refused:service-unavailable im.example.org:refused:service-unavailable"; code != 200 || r.String() != want {
		t.Errorf("answer %d %s, want %s", code, r, want)
	}
}

func TestListsAreBoundedAndNamed(t *testing.T) {
	h := newHouse(t)
	h.Configure(Settings{MaxRecipients: 2})
	w := h.do(call{body: list("bob@"+host, "skel@"+host, "bob@"+host, "andy@"+host, "gate@"+host)})
	if want := "Bad request: \"andy@im.example.org\" and what follows are more than the 2 recipients that are allowed.\n"; w.Code != 400 || w.Body.String() != want {
		t.Errorf("answer %d %s", w.Code, w.Body)
	}
	h.nothingStored()
	if w := h.do(call{body: list("bob@"+host, "skel@"+host, "bob@"+host)}); w.Code != 200 {
		t.Errorf("answer %d %s", w.Code, w.Body)
	}

	// Hundreds of offenders are counted, not all named.
	bad := make([]string, 300)
	for i := range bad {
		bad[i] = fmt.Sprintf("@%d", i)
	}
	w = h.do(call{body: list(bad...)})
	if got := w.Body.String(); w.Code != 400 || !strings.Contains(got, `address 100, "@99"`) || !strings.HasSuffix(got, "; and 200 more.\n") {
		t.Errorf("answer %d %s", w.Code, got)
	}
}

func TestBadAddressesOfAListAreNamed(t *testing.T) {
	h := newHouse(t)
	for _, row := range []struct{ inside, line string }{
		{`<address jid="bob@im.example.org" type="replyto"/>`, `address 1, "bob@im.example.org", is not one to deliver to.`},
		{`<address jid="bob@im.example.org" delivered="true"/>`, `address 1, "bob@im.example.org", is not one to deliver to.`},
		{`<address jid="bob@im.example.org"/><address type="noreply"/>`, `address 2 has no jid.`},
		{`<addresses><address jid="bob@im.example.org"/></addresses>`, `element 1 of <addresses/> is not an <address/>.`},
		{`<address xmlns="urn:x" jid="bob@im.example.org"/>`, `element 1 of <addresses/> is not an <address/>.`},
		{`</addresses><addresses><address jid="bob@im.example.org"/>`, `there is more than one <addresses/>.`},
	} {
		w := h.do(call{body: `<message to="multicast"><addresses>` + row.inside + `</addresses></message>`})
		if w.Code != 400 || w.Body.String() != "Bad request: "+row.line+"\n" {
			t.Errorf("%s: answer %d %s", row.inside, w.Code, w.Body)
		}
	}
	h.nothingStored()
}

func TestForgedForeignSenderStaysHere(t *testing.T) {
	h := newHouse(t)
	mixed := strings.Replace(list("bob@"+host, "x@example.net", "y@example.org"), "to=", `from="ticket-1@trac" to=`, 1)
	code, r := h.reported(call{body: mixed})
	if want := "0 x@example.net:refused:forged-sender-remote y@example.org:refused:forged-sender-remote"; code != 403 || r.String() != want {
		t.Errorf("answer %d %s, want %s", code, r, want)
	}
	h.nothingStored()

	lenient := call{body: mixed, headers: []string{"Prefer: respond-async, Handling=\"lenient\"; x=1"}}
	code, r = h.reported(lenient)
	if want := "1 bob@im.example.org:stored x@example.net:refused:forged-sender-remote y@example.org:refused:forged-sender-remote"; code != 200 || r.String() != want {
		t.Errorf("answer %d %s, want %s", code, r, want)
	}
	if got := h.stored("bob@" + host); len(got) != 1 {
		t.Errorf("bob has %q", got)
	}
	if w := h.do(lenient); w.Code != 200 || w.Body.String() != "OK\n" || w.Header().Get("Preference-Applied") != "handling=lenient" {
		t.Errorf("answer %d %s %q", w.Code, w.Body, w.Header())
	}
	for _, strict := range []string{"handling=strict, handling=lenient", "x-handling=lenient", "handling"} {
		if code, _ := h.reported(call{body: mixed, headers: []string{"Prefer: " + strict}}); code != 403 {
			t.Errorf("%s: answer %d", strict, code)
		}
	}
	if w := h.do(call{body: `<message from="ticket-1@trac" to="x@example.net"/>`, headers: []string{"Prefer: handling=lenient"}}); w.Code != 403 {
		t.Errorf("with nobody left: answer %d", w.Code)
	}
}

func TestForgedForeignSenderMayGoOutAsOneself(t *testing.T) {
	h := newHouse(t)
	h.Configure(Settings{OwnAddress: true})
	body := `<message from="ticket-1@trac" to="x@example.net"><body>yo</body></message>`
	if code, r := h.reported(call{body: body}); code != 403 || r.String() != "0 x@example.net:refused:remote-server-not-found" {
		t.Errorf("answer %d %s", code, r)
	}
	// As if there were a way to other servers for senders of ours.
	h.admit = func(from, to jid.JID) *xmpp.Error {
		if h.router.Serves(from.Domain()) {
			return nil
		}
		return h.router.Admit(from, to)
	}
	var sent string
	p := &delivery{s: h.Service, set: h.settings.Load(), user: jid.MustParse("andy@" + host)}
	p.stanza = *moduletest.Parse(t, body)
	p.recipients = []recipient{{to: p.stanza.To}}
	if x := p.decide(); x != nil || !p.recipients[0].own {
		t.Fatalf("refused: %+v", x)
	}
	p.routeTo(&p.lane, &p.recipients[0], "")
	sent = string(p.head.Append(nil))
	moduletest.Same(t, sent, `<message from='andy@im.example.org' to='x@example.net'><body>yo</body><addresses xmlns='http://jabber.org/protocol/address'><address type='ofrom' jid='ticket-1@trac'/></addresses></message>`)
}

func TestNothingStoredForNowIsUnavailable(t *testing.T) {
	h := newHouse(t)
	r := router.New(router.Options{Hosts: []string{host}, Users: h.who, Log: moduletest.Discard()})
	r.Use(router.Module{Name: "full", Unclaimed: func(e *router.Envelope) { e.Refuse(router.Unavailable()) }})
	h.router = r
	h.open()
	code, got := h.reported(call{body: list("bob@"+host, "skel@"+host)})
	if want := "0 bob@im.example.org:refused:resource-constraint skel@im.example.org:refused:resource-constraint"; code != 503 || got.String() != want {
		t.Errorf("answer %d %s", code, got)
	}
}

func TestStorageAwayIsUnavailable(t *testing.T) {
	h := newHouse(t)
	h.engine.users.setFail(fmt.Errorf("for a test"))
	if w := h.do(call{body: toBob}); w.Code != 503 || w.Header().Get("Retry-After") != "5" || w.Body.String() != "Service unavailable: the message cannot be stored now. Try again later.\n" {
		t.Errorf("answer %d %s %q", w.Code, w.Body, w.Header())
	}
}

// thousands returns a house with n more users and a JSON multicast to them all.
func thousands(t testing.TB, n int) (*house, []string, string) {
	users := make([]string, n)
	for i := range users {
		users[i] = fmt.Sprintf("u%d@%s", i, host)
	}
	h := newHouse(t, users...)
	return h, users, `{"to": ["` + strings.Join(users, `","`) + `"], "body": "yo"}`
}

func TestOnePostReachesTenThousand(t *testing.T) {
	h, users, body := thousands(t, 10000)
	h.Configure(Settings{MaxBody: 1 << 20})
	online := map[string]*outlet{}
	for _, u := range users[:1000] {
		online[u] = h.online(u + "/x")
	}
	code, r := h.reported(call{headers: []string{jsonType}, body: body})
	if code != 200 || r.Accepted != len(users) || len(r.Recipients) != len(users) {
		t.Fatalf("answer %d, %d accepted", code, r.Accepted)
	}
	for i, u := range users {
		var got []string
		if o := online[u]; o != nil {
			got = o.received()
		} else {
			got = h.stored(u)
		}
		if len(got) != 1 || strings.Count(got[0], "@") != 2 || !strings.Contains(got[0], "to='"+u+"'") {
			t.Fatalf("%s got %q", u, got)
		}
		if r.Recipients[i].JID != u {
			t.Fatalf("report %d is of %s", i, r.Recipients[i].JID)
		}
	}
	// XML has more elements then than a message may have.
	if code, r := h.reported(call{body: list(users...)}); code != 200 || r.Accepted != len(users) {
		t.Errorf("in XML: answer %d, %d accepted", code, r.Accepted)
	}
}
