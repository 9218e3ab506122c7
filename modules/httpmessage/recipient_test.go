package httpmessage

import (
	"strings"
	"testing"

	"jackdaw/modules/internal/moduletest"
)

func TestANameAloneIsCompletedAsTheUserNameIs(t *testing.T) {
	for name, c := range map[string]call{
		"XML":           {body: `<message to="bert"><body>yo</body></message>`},
		"XML, capitals": {body: `<message to="Bert"><body>yo</body></message>`},
		"JSON":          {headers: []string{jsonType}, body: `{"to": "bert", "body": "yo"}`},
		"a list":        {body: list("bert", "bert@"+host)},
		"a JSON list":   {headers: []string{jsonType}, body: `{"to": ["bert", "BERT@im.example.org"], "body": "yo"}`},
		"the gateway":   {path: gatewayPath, user: "gate@" + host, headers: []string{xmlType}, body: `<message to="bert"><body>yo</body></message>`},
	} {
		h := newHouse(t, "bert@"+host)
		h.router.SetRemote(&moduletest.Remote{})
		if w := h.do(c); w.Code != 200 || len(h.stored("bert@"+host)) != 1 {
			t.Errorf("%s: answer %d %s, and bert has %s", name, w.Code, w.Body, h.stored("bert@"+host))
		}
	}
}

// Federation takes what is for any domain, and finds out later that there is none.
func TestADomainWithoutADotIsNotBelieved(t *testing.T) {
	const elsewhere = "X-Test-Host: elsewhere"
	remote := &moduletest.Remote{}
	h := newHouse(t)
	h.router.SetRemote(remote)
	h.Configure(Settings{Resolve: map[string]string{"near": "127.0.0.1:5269"}})
	for _, row := range []struct {
		name string
		c    call
		code int
		line string
	}{
		{"a user nowhere", call{body: `<message to="bert@nowhere"><body>yo</body></message>`}, 403, "bert@nowhere (remote-server-not-found)"},
		{"a resource nowhere", call{body: `<message to="nowhere/x"><body>yo</body></message>`}, 403, "nowhere/x (remote-server-not-found)"},
		{"one of many", call{body: list("bob@"+host, "bert@nowhere")}, 403, "bert@nowhere (remote-server-not-found)"},
		{"no host named", call{headers: []string{elsewhere}, body: `<message to="bert"><body>yo</body></message>`}, 400, `'to' is "bert", which has no domain.`},
		{"no host named, a list", call{headers: []string{elsewhere}, body: list("bob@"+host, "bert")}, 400, `address 2, "bert", has no domain.`},
		{"a word that is no name", call{body: `<message to="a&amp;b"><body>yo</body></message>`}, 400, `which is not an address`},
		{"named in the configuration", call{body: `<message to="bert@near"><body>yo</body></message>`}, 200, "OK"},
		{"named in the configuration, alone", call{body: `<message to="near"><body>yo</body></message>`}, 200, "OK"},
		{"an address of IPv6", call{body: `<message to="bert@[2001:db8::1]"><body>yo</body></message>`}, 200, "OK"},
	} {
		remote.Sent()
		r := row.c.request()
		if r.Header.Get("X-Test-Host") != "" {
			r.Host = "elsewhere.example"
		}
		w := h.serve1(r)
		if w.Code != row.code || !strings.Contains(w.Body.String(), row.line) {
			t.Errorf("%s: answer %d %s", row.name, w.Code, w.Body)
		}
		if sent := remote.Sent(); (row.code == 200) != (len(sent) == 1) {
			t.Errorf("%s: sent %s", row.name, sent)
		}
	}
	h.nothingStored()
}

func TestTypesWithASuffixAreReadAsWhatItSays(t *testing.T) {
	const message, form = `<message to="bob@im.example.org"><body>yo</body></message>`, `{"to": "bob@im.example.org", "body": "yo"}`
	for _, row := range []struct {
		path, kind, body string
		code             int
	}{
		{gatewayPath, "application/vnd.example+json", form, 200},
		{gatewayPath, "application/vnd.example+JSON; charset=utf-8", form, 200},
		{gatewayPath, "application/xmpp+xml", message, 200},
		{gatewayPath, "application/xmpp+xml; charset=latin1", message, 415},
		{gatewayPath, "+json", form, 415},
		{gatewayPath, "application/json-seq", form, 415},
		{"", "application/vnd.example+json", form, 200},
		{"", "application/xmpp+xml", message, 200},
	} {
		h := newHouse(t)
		user := "andy@" + host
		if row.path != "" {
			user = "gate@" + host
		}
		if w := h.do(call{path: row.path, user: user, headers: []string{"Content-Type: " + row.kind}, body: row.body}); w.Code != row.code {
			t.Errorf("%s %s: answer %d %s", row.path, row.kind, w.Code, w.Body)
		}
	}
}
