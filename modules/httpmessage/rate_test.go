package httpmessage

import (
	"net/http/httptest"
	"strings"
	"testing"

	"jackdaw/router/accounts"
	"jackdaw/router/budget"
	"jackdaw/xmpp/jid"
)

func TestPostsAreKeptToTheRateOfTheirAccount(t *testing.T) {
	h := newHouse(t)
	h.online("bob@" + host + "/x")
	book := budget.New(func() budget.Rate { return budget.Rate{PerSecond: 10, Burst: 1000} })
	h.o.Budgets = book
	body := `<message to="bob@` + host + `"><body>` + strings.Repeat("x", 1200) + `</body></message>`
	if w := h.do(call{body: body}); w.Code != 200 {
		t.Fatalf("the first post: %d %s", w.Code, w.Body)
	}
	late := func(what string, w *httptest.ResponseRecorder) {
		t.Helper()
		if w.Code != 429 || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), "sends too much") {
			t.Errorf("%s: %d %v %s", what, w.Code, w.Header(), w.Body)
		}
	}
	late("the second post", h.do(call{body: body}))
	late("a small one", h.do(call{body: `<message to="bob@` + host + `"/>`}))
	if w := h.do(call{path: gatewayPath, user: "gate", body: body, headers: []string{xmlType}}); w.Code != 200 {
		t.Fatalf("a post to the gateway: %d %s", w.Code, w.Body)
	}
	late("after one to the gateway", h.do(call{user: "gate@" + host, body: body}))
	if w := h.do(call{user: "skel@" + host, body: body}); w.Code != 200 {
		t.Errorf("another account: %d %s", w.Code, w.Body)
	}
	near := call{body: body}.request()
	near.RemoteAddr = "127.0.0.1:1"
	if w := h.serve1(near); w.Code != 200 {
		t.Errorf("from this machine: %d %s", w.Code, w.Body)
	}
	must(t, h.o.Accounts.Grant(t.Context(), jid.MustParse("andy@"+host), accounts.PermAdmin))
	if w := h.do(call{body: body}); w.Code != 200 {
		t.Errorf("an admin: %d %s", w.Code, w.Body)
	}
}

func TestTheCopiesOfAPostCount(t *testing.T) {
	h := newHouse(t)
	h.o.Budgets = budget.New(func() budget.Rate { return budget.Rate{PerSecond: 100, Burst: 5000} })
	purse := h.o.Budgets.Open("andy@" + host)
	body := strings.Replace(list("bob@"+host, "skel@"+host, "andy@"+host, "romeo@"+host), "yo", strings.Repeat("x", 3000), 1)
	if w := h.do(call{body: body}); w.Code != 200 && w.Code != 403 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if d := purse.Wait().Seconds(); d < 60 || d > 100 { // four copies of 3,000 bytes and a little
		t.Errorf("the debt lasts %v s", d)
	}
}
