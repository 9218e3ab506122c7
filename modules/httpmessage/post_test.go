package httpmessage

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/router/accounts"
	"jackdaw/storage"
	"jackdaw/xmpp/jid"
)

func TestCurlPostReachesTheClient(t *testing.T) {
	h := newHouse(t)
	bob := h.online("bob@" + host + "/phone")
	w := h.do(call{body: `<message to="bob@im.example.org"><body>yo</body></message>`})
	if w.Code != 200 || w.Body.String() != "OK\n" || w.Header().Get("Content-Type") != "text/html; charset=utf-8" {
		t.Fatalf("answer %d %q %q", w.Code, w.Body, w.Header())
	}
	got := bob.received()
	if len(got) != 1 {
		t.Fatalf("bob got %q", got)
	}
	moduletest.Same(t, got[0], `<message from='andy@im.example.org' to='bob@im.example.org'><body>yo</body></message>`)
	if strings.Contains(got[0], " id=") {
		t.Error("an id was added")
	}
}

const (
	toBob   = `<message to="bob@im.example.org"><body>yo</body></message>`
	forged  = `<message to="bob@im.example.org" from="bob@im.example.org"><body>yo</body></message>`
	foreign = `<message to="bob@im.example.org" from="ticket-1@trac"><body>yo</body></message>`

	unauthorizedLine = "Unauthorized. Use your Jabber ID (user@domain.com) and password.\n"
	apiLine          = "Forbidden: the authenticated user does not have permission to use this API.\n"
	rootLine         = "Bad request: the payload must be an XMPP message element.\n"
	forgeLine        = "Forbidden: the authenticated user does not have permission to forge senders.\n"
	multicastLine    = "Forbidden: the authenticated user does not have permission to multicast.\n"
	addressesLine    = "Bad request: multicast requires addresses; see XEP-0033. This module treats all addresses as BCC.\n"
)

func list(jids ...string) string {
	var b strings.Builder
	b.WriteString(`<message to="multicast"><addresses>`)
	for _, j := range jids {
		b.WriteString(`<address jid="` + j + `"/>`)
	}
	return b.String() + `</addresses><body>yo</body></message>`
}

// refusals are posts that are refused, and nothing is sent.
var refusals = []struct {
	name   string
	c      call
	status int
	line   string
}{
	{"method", call{method: "GET", user: "-"}, 405, "Method not allowed. Use POST.\n"},
	{"method put", call{method: "PUT", user: "-", body: toBob}, 405, "Method not allowed. Use POST.\n"},
	{"no credentials", call{user: "-", body: toBob}, 401, unauthorizedLine},
	{"wrong password", call{password: "wrong", body: toBob}, 401, unauthorizedLine},
	{"unknown user", call{user: "nobody@" + host, body: toBob}, 401, unauthorizedLine},
	{"not a user name", call{user: "@", body: toBob}, 401, unauthorizedLine},
	{"full address as user name", call{user: "andy@" + host + "/x", body: toBob}, 401, unauthorizedLine},
	{"credentials before size", call{user: "-", body: strings.Repeat("x", DefaultMaxBody+1)}, 401, unauthorizedLine},
	{"size", call{body: strings.Repeat("x", DefaultMaxBody+1)}, 413, "Request entity too large: the limit is 262144 bytes.\n"},
	{"empty body", call{}, 400, "Bad request: XML parsing failed: end inside the document at line 1, column 1.\n"},
	{"broken XML", call{body: "<message>\n <body></message>"}, 400, "Bad request: XML parsing failed: "},
	{"second element", call{body: toBob + toBob}, 400, "Bad request: XML parsing failed: more than one root element at line 1, column 59.\n"},
	{"XML before root", call{body: `<presence`}, 400, "Bad request: XML parsing failed: "},
	{"presence", call{body: `<presence to="bob@im.example.org"/>`}, 400, rootLine},
	{"iq", call{body: `<iq to="bob@im.example.org" type="get" id="1"/>`}, 400, rootLine},
	{"other root", call{body: `<html><body/></html>`}, 400, rootLine},
	{"other namespace", call{body: `<message xmlns="jabber:other" to="bob@im.example.org"/>`}, 400, rootLine},
	{"presence with a bad address", call{body: `<presence to="@"/>`}, 400, rootLine},
	{"forged sender", call{user: "skel@" + host, body: forged}, 403, forgeLine},
	{"forged foreign sender", call{user: "skel@" + host, body: foreign}, 403, forgeLine},
	{"narrowed, other sender", call{user: "juliet@" + host, body: forged}, 403, forgeLine},
	{"sender before multicast", call{user: "skel@" + host, body: strings.Replace(list(), "to=", `from="x@y" to=`, 1)}, 403, forgeLine},
	{"sender before a bad recipient", call{user: "skel@" + host, body: `<message to="@" from="x@y"/>`}, 403, forgeLine},
	{"sender that is no address", call{body: `<message to="bob@im.example.org" from="@"/>`}, 400, "Bad request: 'from' is \"@\", which is not an address: address has an empty part.\n"},
	{"empty sender", call{body: `<message to="bob@im.example.org" from=""><body>yo</body></message>`}, 400, "Bad request: 'from' is \"\", which is not an address.\n"},
	{"empty recipient", call{body: `<message to=""><body>yo</body></message>`}, 400, "Bad request: the message has no recipient: 'to' is missing.\n"},
	{"multicast", call{user: "bob@" + host, body: list("andy@" + host)}, 403, multicastLine},
	{"multicast before addresses", call{user: "bob@" + host, body: list()}, 403, multicastLine},
	{"no addresses", call{body: `<message to="multicast"><body>yo</body></message>`}, 400, addressesLine},
	{"empty list", call{body: list()}, 400, addressesLine},
	{"no addresses, with host", call{body: `<message to="multicast.im.example.org"><body>yo</body></message>`}, 400, addressesLine},
	{"bad addresses", call{body: list("bob@"+host, "a@", "b@@c")}, 400, `Bad request: address 2, "a@", is not valid: address has an empty part; address 3, "b@@c", is not valid: address has an invalid domainpart.` + "\n"},
	{"address without jid", call{body: `<message to="multicast"><addresses><address jid="bob@im.example.org"/><address node="x"/></addresses></message>`}, 400, "Bad request: address 2 has no jid.\n"},
	{"no recipient", call{body: `<message><body>yo</body></message>`}, 400, "Bad request: the message has no recipient: 'to' is missing.\n"},
	{"bad recipient", call{body: `<message to="bob@"/>`}, 400, "Bad request: 'to' is \"bob@\", which is not an address.\n"},
	{"remote", call{body: `<message to="x@example.net"/>`}, 403, "Forbidden: the message may not go to x@example.net (remote-server-not-found).\n"},
	{"remote, foreign sender", call{body: `<message to="x@example.net" from="ticket-1@trac"/>`}, 403, "Forbidden: the message may not go to x@example.net (forged-sender-remote).\n"},
	{"one of many is remote", call{body: list("bob@"+host, "x@example.net", "y@example.net")}, 403, "Forbidden: the message may not go to x@example.net (remote-server-not-found), y@example.net (remote-server-not-found).\n"},
	{"nobody", call{body: `<message to="nobody@im.example.org"/>`}, 403, "Forbidden: no recipient accepted the message: nobody@im.example.org (service-unavailable).\n"},
	{"nobody to hear a headline", call{body: `<message type="headline" to="bob@im.example.org"/>`}, 403, "Forbidden: no recipient accepted the message: bob@im.example.org (recipient-unavailable).\n"},
	{"multicast within a multicast", call{body: list("multicast." + host)}, 403, "Forbidden: the message may not go to multicast.im.example.org (remote-server-not-found).\n"},
	{"unknown path", call{path: "/messages", body: toBob}, 404, "Not found.\n"},
	{"bad key", call{headers: []string{"Idempotency-Key: a b"}, body: toBob}, 400, "Bad request: Idempotency-Key must be one value of 1 to 255 visible characters.\n"},
	{"bad JSON", call{headers: []string{"Content-Type: application/json"}, body: `{`}, 400, "Bad request: JSON parsing failed: it ends too early at line 1, column 2.\n"},
}

func TestRefusalsAreThoseOfTheContractInItsOrder(t *testing.T) {
	for _, row := range refusals {
		t.Run(row.name, func(t *testing.T) {
			h := newHouse(t)
			w := h.do(row.c)
			got := w.Body.String()
			if w.Code != row.status || got != row.line && (strings.HasSuffix(row.line, "\n") || !strings.HasPrefix(got, row.line)) {
				t.Errorf("answer %d %q, want %d %q", w.Code, got, row.status, row.line)
			}
			if strings.Count(got, "\n") != 1 || !strings.HasSuffix(got, "\n") {
				t.Errorf("not one line: %q", got)
			}
			if kind := w.Header().Get("Content-Type"); kind != "text/plain; charset=utf-8" {
				t.Errorf("Content-Type %q", kind)
			}
			switch row.status {
			case 401:
				if got := challenged(w); got != `Basic realm="im.example.org", charset="UTF-8"` {
					t.Errorf("WWW-Authenticate %q", got)
				}
			case 405:
				if got := w.Header().Get("Allow"); got != "POST" {
					t.Errorf("Allow %q", got)
				}
			}
			h.nothingStored()

			// The same with JSON accepted is a problem with the same text (RFC 9457).
			row.c.headers = append(row.c.headers, "Accept: application/json")
			if p := h.do(row.c); p.Code != row.status || p.Header().Get("Content-Type") != "application/problem+json" {
				t.Errorf("with JSON accepted: %d %q", p.Code, p.Header())
			}
		})
	}
}

func TestPermissionToPostCanBeTakenAway(t *testing.T) {
	h := newHouse(t)
	none := map[accounts.Permission][]string{}
	if err := h.who.SetOptions(accounts.Options{Iterations: 4096, Everyone: none}); err != nil {
		t.Fatal(err)
	}
	// It comes before the size.
	w := h.do(call{body: strings.Repeat("x", DefaultMaxBody+1)})
	if w.Code != 403 || w.Body.String() != apiLine {
		t.Errorf("answer %d %q", w.Code, w.Body)
	}
}

func TestDisabledAccountFailsLikeAWrongPassword(t *testing.T) {
	h := newHouse(t)
	if w := h.do(call{user: "bob@" + host, body: toBob}); w.Code != 200 {
		t.Fatalf("answer %d", w.Code)
	}
	must(t, h.who.SetDisabled(t.Context(), jid.MustParse("bob@"+host), true))
	wrong := h.do(call{user: "skel@" + host, password: "wrong", body: toBob})
	w := h.do(call{user: "bob@" + host, body: toBob})
	if w.Code != 401 || w.Body.String() != wrong.Body.String() || challenged(w) != challenged(wrong) {
		t.Errorf("answer %d %q, not %d %q", w.Code, w.Body, wrong.Code, wrong.Body)
	}
}

func TestRepeatedFailuresAreSlowedDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // where no second passes, after which the next one would be checked
		h := newHouse(t)
		var w = h.do(call{password: "wrong 0"})
		for range 5 {
			w = h.do(call{password: "wrong"})
		}
		if w.Code != 429 || w.Header().Get("Retry-After") == "" || w.Body.String() != "Too many requests: too many failed logins. Try again later.\n" {
			t.Errorf("answer %d %q %q", w.Code, w.Header(), w.Body)
		}
		if w := h.do(call{body: toBob}); w.Code != 429 {
			t.Errorf("the right password at once was answered with %d", w.Code)
		}
		h.nothingStored()
	})
}

// accepted are posts for bob, each stored as it stands in want.
var accepted = []struct {
	name, user, body, want string
}{
	{"no sender", "", toBob, `<message from='andy@im.example.org' to='bob@im.example.org'><body>yo</body></message>`},
	{"local part", "andy", toBob, `<message from='andy@im.example.org' to='bob@im.example.org'><body>yo</body></message>`},
	{"user name in capitals", "ANDY@IM.example.ORG", toBob, `<message from='andy@im.example.org' to='bob@im.example.org'><body>yo</body></message>`},
	{"own sender", "skel@" + host, strings.Replace(toBob, "to=", `from="skel@im.example.org" to=`, 1), `<message from='skel@im.example.org' to='bob@im.example.org'><body>yo</body></message>`},
	{"own sender, spelled otherwise", "skel@" + host, strings.Replace(toBob, "to=", `from="SKEL@IM.example.org" to=`, 1), `<message from='skel@im.example.org' to='bob@im.example.org'><body>yo</body></message>`},
	{"own resource", "skel@" + host, strings.Replace(toBob, "to=", `from="skel@im.example.org/Phone" to=`, 1), `<message from='skel@im.example.org/Phone' to='bob@im.example.org'><body>yo</body></message>`},
	{"forged, ours", "", forged, `<message from='bob@im.example.org' to='bob@im.example.org'><body>yo</body></message>`},
	{"forged, foreign", "", foreign, `<message from='ticket-1@trac' to='bob@im.example.org'><body>yo</body></message>`},
	{"forged, narrowed", "juliet@" + host, foreign, `<message from='ticket-1@trac' to='bob@im.example.org'><body>yo</body></message>`},
	{"to oneself", "bob@" + host, toBob, `<message from='bob@im.example.org' to='bob@im.example.org'><body>yo</body></message>`},
	{"byte-order mark, declaration, white space", "", "\xEF\xBB\xBF<?xml version='1.0' encoding='utf-8'?>\n " + toBob + "\r\n", `<message from='andy@im.example.org' to='bob@im.example.org'><body>yo</body></message>`},
	{"namespace", "", `<message xmlns="jabber:client" to="bob@im.example.org"><body>yo</body></message>`, `<message from='andy@im.example.org' to='bob@im.example.org'><body>yo</body></message>`},
	{"attributes and children", "", `<message id="7" type="chat" xml:lang="de" to="bob@im.example.org"><body>yo</body><html xmlns="http://jabber.org/protocol/xhtml-im"><body xmlns="http://www.w3.org/1999/xhtml"><p>yo</p></body></html><request xmlns="urn:xmpp:receipts"/></message>`,
		`<message from='andy@im.example.org' to='bob@im.example.org' id='7' type='chat' xml:lang='de'><body>yo</body><html xmlns="http://jabber.org/protocol/xhtml-im"><body xmlns="http://www.w3.org/1999/xhtml"><p>yo</p></body></html><request xmlns="urn:xmpp:receipts"/></message>`},
	{"addresses in a message to one", "", `<message to="bob@im.example.org"><addresses xmlns="http://jabber.org/protocol/address"><address type="replyto" jid="x@y"/></addresses></message>`,
		`<message from='andy@im.example.org' to='bob@im.example.org'><addresses xmlns="http://jabber.org/protocol/address"><address type="replyto" jid="x@y"/></addresses></message>`},
	{"multicast", "", list("bob@" + host), `<message from='andy@im.example.org' to='bob@im.example.org'><body>yo</body></message>`},
	{"multicast at a host", "", strings.Replace(list("bob@"+host), `"multicast"`, `"multicast.im.example.org"`, 1), `<message from='andy@im.example.org' to='bob@im.example.org'><body>yo</body></message>`},
	{"multicast with the namespace", "", strings.Replace(list("bob@"+host), `<addresses>`, `<addresses xmlns="http://jabber.org/protocol/address">`, 1), `<message from='andy@im.example.org' to='bob@im.example.org'><body>yo</body></message>`},
}

func TestAcceptedMessagesAreSentAsTheyAre(t *testing.T) {
	for _, row := range accepted {
		t.Run(row.name, func(t *testing.T) {
			h := newHouse(t)
			w := h.do(call{user: row.user, body: row.body, headers: []string{"Content-Type: application/x-www-form-urlencoded"}})
			if w.Code != 200 || w.Body.String() != "OK\n" {
				t.Fatalf("answer %d %q", w.Code, w.Body)
			}
			got := h.stored("bob@" + host)
			if len(got) != 1 {
				t.Fatalf("bob has %q", got)
			}
			moduletest.Same(t, got[0], row.want)
		})
	}
}

func TestLocalPartIsOfTheHostThatTheRequestNames(t *testing.T) {
	h := newHouse(t)
	for _, row := range []struct {
		host, realm string
		status      int
	}{
		{"second.example", "second.example", 200},
		{"SECOND.example:5280", "second.example", 200},
		{"im.example.org:5280", "im.example.org", 401}, // no carol there
		{"127.0.0.1:5280", "im.example.org", 401},      // which of the two?
	} {
		c := call{user: "carol", body: toBob}
		r := c.request()
		r.Host = row.host
		if w := h.serve1(r); w.Code != row.status {
			t.Errorf("%s: answer %d, want %d", row.host, w.Code, row.status)
		}
		c.user = "-"
		r = c.request()
		r.Host = row.host
		if got := challenged(h.serve1(r)); got != `Basic realm="`+row.realm+`", charset="UTF-8"` {
			t.Errorf("%s: %s", row.host, got)
		}
	}
}

func TestOnlyHostCompletesALocalPart(t *testing.T) {
	h := newHouse(t)
	h.o.Hosts = func() []string { return []string{host} }
	r := call{user: "andy", body: toBob}.request()
	r.Host = "localhost:5280"
	if w := h.serve1(r); w.Code != 200 {
		t.Errorf("answer %d %s", w.Code, w.Body)
	}
}

func TestAnswerWaitsForStorage(t *testing.T) {
	h := newHouse(t)
	h.engine.Hold()
	done := make(chan int)
	go func() { done <- h.do(call{body: toBob}).Code }()
	h.await(func() bool { return len(h.stored("bob@"+host)) == 1 })
	select {
	case code := <-done:
		t.Fatalf("answer %d before the write was durable", code)
	case <-time.After(20 * time.Millisecond):
	}
	h.engine.Release(nil)
	if code := <-done; code != 200 {
		t.Errorf("answer %d", code)
	}
}

func TestFailedWriteIsNotAcknowledged(t *testing.T) {
	h := newHouse(t)
	h.engine.Hold()
	done := make(chan int)
	go func() {
		w := h.do(call{body: toBob})
		if w.Header().Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		done <- w.Code
	}()
	h.await(func() bool { return len(h.stored("bob@"+host)) == 1 })
	h.engine.Release(storage.ErrUnavailable)
	if code := <-done; code != 503 {
		t.Errorf("answer %d", code)
	}
}
