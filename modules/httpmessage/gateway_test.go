package httpmessage

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"jackdaw/modules/internal/moduletest"
)

const (
	gatewayPath = "/api/1.0/xmppdomains/" + host + "/gateway/messages"
	jsonType    = "Content-Type: application/json"
)

// gatewayAnswer is what the gateway's clients read.
type gatewayAnswer struct {
	Status, Message, ID string
	Accepted            int
	Recipients          []struct{ JID, Outcome, Reason string }
}

func (h *house) gateway(c call) (int, gatewayAnswer) {
	h.t.Helper()
	w := h.do(c)
	var a gatewayAnswer
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
		h.t.Fatalf("%v in %s", err, w.Body)
	}
	if want := map[bool]string{true: "success", false: "error"}[w.Code == 200]; a.Status != want {
		h.t.Errorf("status %q with %d", a.Status, w.Code)
	}
	return w.Code, a
}

func TestGatewaySendsAsTheAccountWhateverThePayloadSays(t *testing.T) {
	for _, user := range []string{"gate", "gate@" + host, "gate@" + host + "/x"} {
		for _, kind := range []string{"application/xml", "text/xml; charset=UTF-8", "Text/XML"} {
			h := newHouse(t)
			code, a := h.gateway(call{path: gatewayPath, user: user, headers: []string{"Content-Type: " + kind}, body: forged})
			if code != 200 || a.Accepted != 1 || len(a.Recipients) != 1 ||
				a.Recipients[0].JID != "bob@"+host || a.Recipients[0].Outcome != "stored" {
				t.Errorf("%s, %s: answer %d %+v", user, kind, code, a)
			}
			got := h.stored("bob@" + host)
			if len(got) != 1 {
				t.Fatalf("bob has %q", got)
			}
			moduletest.Same(t, got[0], `<message from='gate@im.example.org' to='bob@im.example.org'><body>yo</body></message>`)
		}
	}
}

func TestGatewayDoesNotLookAtTheSender(t *testing.T) {
	for _, from := range []string{"@", "a b@c", ""} {
		h := newHouse(t)
		code, a := h.gateway(call{path: gatewayPath, user: "gate", headers: []string{xmlType},
			body: `<?xml version="1.0"?><message xmlns="jabber:client" xml:lang="de" from="` + from + `" to="bob@im.example.org"><body>yo</body></message>`})
		if code != 200 {
			t.Fatalf("%q: answer %d %+v", from, code, a)
		}
		moduletest.Same(t, h.stored("bob@" + host)[0], `<message from='gate@im.example.org' to='bob@im.example.org' xml:lang='de'><body>yo</body></message>`)
	}
	h := newHouse(t)
	code, a := h.gateway(call{path: gatewayPath, user: "gate", headers: []string{xmlType}, body: `<message from="@" to="@"/>`})
	if code != 400 || a.Message != `Bad request: 'to' is "@", which is not an address.` {
		t.Errorf("answer %d %+v", code, a)
	}
}

func TestGatewayIsForAccountsOfItsDomainWithThePermission(t *testing.T) {
	h := newHouse(t)
	for _, row := range []struct {
		name   string
		c      call
		status int
		text   string
	}{
		{"no permission", call{path: gatewayPath, user: "andy"}, 403, apiLine},
		{"account of another domain", call{path: gatewayPath, user: "carol@second.example"}, 403, apiLine},
		{"domain of somebody else", call{path: strings.Replace(gatewayPath, host, "example.net", 1), user: "-"}, 404, "Not found: \"example.net\" is not a domain of this server.\n"},
		{"no domain", call{path: strings.Replace(gatewayPath, host, "a b", 1), user: "-"}, 404, "Not found: \"a b\" is not a domain of this server.\n"},
		{"API account", call{path: gatewayPath, user: "robot"}, 401, unauthorizedLine},
		{"user on the path of API accounts", call{path: gatewayPath + "/x", user: "gate@" + host}, 401, unauthorizedLine},
		{"API account for another domain", call{path: strings.Replace(gatewayPath, host, "second.example", 1) + "/x", user: "robot"}, 403, apiLine},
		{"not a local part", call{path: gatewayPath + "/a@b", user: "robot"}, 400, "Bad request: \"a@b\" is not a local part of an address.\n"},
		{"multicast without the permission", call{path: gatewayPath, user: "gate", body: list("bob@" + host)}, 403, multicastLine},
		{"multicast by an API account", call{path: gatewayPath + "/x", user: "robot", body: list("bob@" + host)}, 403, multicastLine},
		{"nobody", call{path: gatewayPath, user: "gate", body: `<message to="nobody@im.example.org"/>`}, 403, "Forbidden: no recipient accepted the message: nobody@im.example.org (service-unavailable).\n"},
		{"form", call{path: gatewayPath, user: "gate", headers: []string{"Content-Type: application/x-www-form-urlencoded"}}, 415, "Unsupported media type: send application/xml, text/xml or application/json, in UTF-8.\n"},
		{"other encoding", call{path: gatewayPath, user: "gate", headers: []string{"Content-Type: text/xml; charset=latin1"}}, 415, "Unsupported media type: send application/xml, text/xml or application/json, in UTF-8.\n"},
		{"method", call{path: gatewayPath, method: "DELETE", user: "-"}, 405, "Method not allowed. Use POST.\n"},
	} {
		c := row.c
		c.path = strings.ReplaceAll(c.path, " ", "%20")
		if c.body == "" {
			c.body = toBob
		}
		if c.headers == nil {
			c.headers = []string{xmlType}
		}
		code, a := h.gateway(c)
		if code != row.status || a.Message+"\n" != row.text {
			t.Errorf("%s: answer %d %q, want %d %q", row.name, code, a.Message, row.status, row.text)
		}
	}
	h.nothingStored()
}

func TestAPIAccountSendsAsAnyNameOfItsDomain(t *testing.T) {
	h := newHouse(t)
	code, a := h.gateway(call{path: strings.Replace(gatewayPath, host, "IM.Example.ORG", 1) + "/Ticket-7",
		user: "robot", headers: []string{xmlType}, body: foreign})
	if code != 200 || a.Accepted != 1 {
		t.Fatalf("answer %d %+v", code, a)
	}
	moduletest.Same(t, h.stored("bob@" + host)[0], `<message from='ticket-7@im.example.org' to='bob@im.example.org'><body>yo</body></message>`)
}

// forms are bodies in JSON, each with what bob gets.
var forms = []struct{ name, body, want string }{
	{"the example", `{"to": "bob@im.example.org", "message_attributes": {"id": "1234"}, "body": "Hello", "extra_elements": "<subject>Hi</subject>"}`,
		`<message from="SENDER" to="bob@im.example.org" id="1234" xmlns="jabber:client" type="chat"><body>Hello</body><subject>Hi</subject></message>`},
	{"only to", `{"to": "bob@im.example.org"}`, `<message from="SENDER" to="bob@im.example.org" type="chat"/>`},
	{"empty body", `{"to": "bob@im.example.org", "body": ""}`, `<message from="SENDER" to="bob@im.example.org" type="chat"><body/></message>`},
	{"other type", `{"to": "bob@im.example.org", "message_attributes": {"type": "normal", "xmlns": "jabber:client", "xml:lang": "de", "x": "1"}}`,
		`<message from="SENDER" to="bob@im.example.org" xml:lang="de" x="1"/>`},
	{"escapes", `{"to": "bob@im.example.org", "body": "<&>\"'\n\u00e9\ud83d\ude00", "body_attributes": {"xml:lang": "a'\"<>&"}}`,
		`<message from="SENDER" to="bob@im.example.org" type="chat"><body xml:lang="a&apos;&quot;&lt;&gt;&amp;">&lt;&amp;&gt;"'&#10;é😀</body></message>`},
	{"extra elements", `{"to": "bob@im.example.org", "extra_elements": " text <x xmlns='urn:x' xmlns:p='urn:p' p:a='1'><p:y/></x><![CDATA[<z>]]> "}`,
		`<message from="SENDER" to="bob@im.example.org" type="chat"> text <x xmlns='urn:x' xmlns:p='urn:p' p:a='1'><p:y/></x>&lt;z&gt; </message>`},
	{"byte-order mark", "\xEF\xBB\xBF\n{\"to\": \"bob@im.example.org\"}\n", `<message from="SENDER" to="bob@im.example.org" type="chat"/>`},
}

func TestJSONBecomesTheMessageOfTheContract(t *testing.T) {
	for _, row := range forms {
		for path, who := range map[string][2]string{
			"/message":         {"andy@" + host, "andy@" + host},
			gatewayPath:        {"gate", "gate@" + host},
			gatewayPath + "/t": {"robot", "t@" + host},
		} {
			t.Run(row.name+" "+path, func(t *testing.T) {
				h := newHouse(t)
				if w := h.do(call{path: path, user: who[0], headers: []string{jsonType + "; charset=utf-8"}, body: row.body}); w.Code != 200 {
					t.Fatalf("answer %d %s", w.Code, w.Body)
				}
				got := h.stored("bob@" + host)
				if len(got) != 1 {
					t.Fatalf("bob has %q", got)
				}
				moduletest.Same(t, got[0], strings.ReplaceAll(row.want, "SENDER", who[1]))
			})
		}
	}
}

// badForms are refused, each with a line that names what is wrong.
var badForms = []struct{ name, body, line string }{
	{"no to", `{"body": "x"}`, "Bad request: the message has no recipient: to is missing."},
	{"not an object", `["x"]`, "Bad request: JSON parsing failed: the message must be an object."},
	{"unknown field", `{"to": "bob@im.example.org", "form": "x"}`, `Bad request: "form" is not a field of a message.`},
	{"field in capitals", `{"To": "bob@im.example.org"}`, `Bad request: "To" is not a field of a message.`},
	{"to is a number", `{"to": 1}`, "Bad request: to must be an address or an array of addresses, each a string."},
	{"to holds null", `{"to": ["bob@im.example.org", null]}`, "Bad request: to must be an address or an array of addresses, each a string."},
	{"to holds an array", `{"to": [["bob@im.example.org"]]}`, "Bad request: to must be an address or an array of addresses, each a string."},
	{"to is empty", `{"to": ""}`, "Bad request: the message has no recipient: 'to' is missing."},
	{"to is no address", `{"to": "@"}`, `Bad request: 'to' is "@", which is not an address.`},
	{"body is null", `{"to": "bob@im.example.org", "body": null}`, "Bad request: body must be a string."},
	{"extra is an object", `{"to": "bob@im.example.org", "extra_elements": {}}`, "Bad request: extra_elements must be a string."},
	{"attributes are an array", `{"to": "bob@im.example.org", "message_attributes": []}`, "Bad request: message_attributes must be an object of strings."},
	{"attribute is a number", `{"to": "bob@im.example.org", "body_attributes": {"a": 1}}`, `Bad request: body_attributes: "a" must be a string.`},
	{"attributes of no body", `{"to": "bob@im.example.org", "body_attributes": {"a": "1"}}`, "Bad request: body_attributes: there is no body."},
	{"to as attribute", `{"to": "bob@im.example.org", "message_attributes": {"to": "x@y"}}`, `Bad request: message_attributes: "to" is not allowed here.`},
	{"from as attribute", `{"to": "bob@im.example.org", "message_attributes": {"from": "x@y"}}`, `Bad request: message_attributes: "from" is not allowed here.`},
	{"from in capitals", `{"to": "bob@im.example.org", "message_attributes": {"FROM": "x@y"}}`, `Bad request: message_attributes: "FROM" is not allowed here.`},
	{"other namespace", `{"to": "bob@im.example.org", "message_attributes": {"xmlns": "jabber:server"}}`, "Bad request: message_attributes: xmlns can only be jabber:client."},
	{"prefix", `{"to": "bob@im.example.org", "message_attributes": {"xmlns:a": "b"}}`, `Bad request: message_attributes: "xmlns:a" is not a name of an attribute that can be used here.`},
	{"empty name", `{"to": "bob@im.example.org", "message_attributes": {"": "b"}}`, `Bad request: message_attributes: "" is not a name of an attribute.`},
	{"name that ends the tag", `{"to": "bob@im.example.org", "message_attributes": {"a='1'><x b": "b"}}`, `Bad request: message_attributes: "a='1'><x b" is not a name of an attribute.`},
	{"name with a line end", `{"to": "bob@im.example.org", "message_attributes": {"a\nb": "b"}}`, `Bad request: message_attributes: "a\nb" is not a name of an attribute.`},
	{"NUL in a value", `{"to": "bob@im.example.org", "message_attributes": {"a": "\u0000"}}`,
		`Bad request: message_attributes: "a" holds a character that XML does not allow, U+0000 at line 1, column 1 of the text.`},
	{"NUL in the body", `{"to": "bob@im.example.org", "body": "ä\n\u001b[31m"}`,
		"Bad request: body: it holds a character that XML does not allow, U+001B at line 2, column 1 of the text."},
	{"the end of Unicode in the body", `{"to": "bob@im.example.org", "body": "äb\uffff"}`,
		"Bad request: body: it holds a character that XML does not allow, U+FFFF at line 1, column 3 of the text."},
	{"field twice", `{"to": "bob@im.example.org", "to": "skel@im.example.org"}`, `Bad request: JSON parsing failed: "to" is there twice.`},
	{"attribute twice", `{"to": "bob@im.example.org", "message_attributes": {"a": "1", "a": "2"}}`, `Bad request: JSON parsing failed: "a" is there twice.`},
	{"something behind", `{"to": "bob@im.example.org"}{}`, "Bad request: JSON parsing failed: something follows the object."},
	{"not UTF-8", "{\"to\": \"bob@im.example.org\", \"body\": \"\xff\"}", "Bad request: JSON parsing failed: it is not UTF-8."},
	{"half a surrogate pair", `{"to": "bob@im.example.org", "body": "\ud83d"}`, "Bad request: JSON parsing failed: half a surrogate pair at line 1, column 39."},
	{"leaves the message", `{"to": "bob@im.example.org", "extra_elements": "</message><message to='skel@im.example.org'>"}`, "Bad request: extra_elements: XML parsing failed: "},
	{"open element", `{"to": "bob@im.example.org", "extra_elements": "<a>"}`, "Bad request: extra_elements: XML parsing failed: "},
	{"entity", `{"to": "bob@im.example.org", "extra_elements": "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>"}`, "Bad request: extra_elements: XML parsing failed: "},
	{"prefix from outside", `{"to": "bob@im.example.org", "extra_elements": "<stream:error/>"}`, "Bad request: extra_elements: XML parsing failed: "},
	{"unknown name", `{"to": "bob@im.example.org", "message_attributes": {"\u00d7": "b"}}`, "Bad request: the message cannot be written as XML: "},
	{"empty array", `{"to": []}`, strings.TrimSuffix(addressesLine, "\n")},
	{"broken", "{\"to\":\n x}", "Bad request: JSON parsing failed: invalid character 'x' looking for beginning of value at line 2, column 2."},
}

func TestBadJSONIsNamed(t *testing.T) {
	h := newHouse(t)
	for _, row := range badForms {
		w := h.do(call{headers: []string{jsonType}, body: row.body})
		got := w.Body.String()
		if w.Code != 400 || got != row.line+"\n" && (strings.HasSuffix(row.line, ".") || !strings.HasPrefix(got, row.line)) {
			t.Errorf("%s: answer %d %q, want %q", row.name, w.Code, got, row.line)
		}
	}
	h.nothingStored()
}

func TestJSONListIsAMulticast(t *testing.T) {
	h := newHouse(t)
	body := `{"to": ["bob@im.example.org", "BOB@im.example.org", "skel@im.example.org"], "body": "yo", "extra_elements": "<addresses><address jid='bob@im.example.org'/></addresses><addresses2/>"}`
	w := h.do(call{user: "bob", headers: []string{jsonType}, body: body})
	if w.Code != 403 || w.Body.String() != multicastLine {
		t.Errorf("answer %d %s", w.Code, w.Body)
	}
	if w := h.do(call{headers: []string{jsonType}, body: body}); w.Code != 200 {
		t.Fatalf("answer %d %s", w.Code, w.Body)
	}
	for _, user := range []string{"bob", "skel"} {
		got := h.stored(user + "@" + host)
		if len(got) != 1 {
			t.Fatalf("%s has %q", user, got)
		}
		moduletest.Same(t, got[0], `<message from='andy@im.example.org' to='`+user+`@im.example.org' type='chat'><body>yo</body><addresses2/></message>`)
	}
}

func TestARequestIsSaidToBeOfWhomItsMessageComesFrom(t *testing.T) {
	h := newHouse(t)
	for path, want := range map[string]string{
		"/message":                 "robot@" + host,
		gatewayPath:                "robot@" + host,
		gatewayPath + "/Ticket":    "ticket@" + host, // an API account's: it is at home nowhere
		gatewayPath + "/a@b":       "",
		gatewayPath + "/t/further": "robot@" + host,
	} {
		r := httptest.NewRequest(http.MethodPost, path, nil)
		r.SetBasicAuth("robot@"+host, "secret")
		if got := h.Claimed(r); got != want {
			t.Errorf("%s is said to be of %q, want %q", path, got, want)
		}
	}
}
