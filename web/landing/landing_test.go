package landing

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"jackdaw/web/pages"
)

func TestEveryCatalogueHasEveryWord(t *testing.T) {
	for _, gap := range pages.Gaps(files) {
		t.Error(gap)
	}
}

// desk knows one token for each kind, and remembers what was ordered.
type desk struct {
	orders        []Order
	err           error
	open, approve bool
}

var known = map[string]Invitation{
	"ACCOUNT": {Host: "example.org", Inviter: "romeo@example.org", Account: true, URI: "xmpp:romeo@example.org?roster;preauth=ACCOUNT;ibr=y"},
	"NAMED":   {Host: "example.org", Name: "hamlet", Account: true, URI: "xmpp:hamlet@example.org?register;preauth=NAMED"},
	"CONTACT": {Host: "example.org", Inviter: "romeo@example.org", URI: "xmpp:romeo@example.org?roster;preauth=CONTACT"},
	"RESET":   {Host: "example.org", Name: "juliet", Reset: true, URI: "xmpp:juliet@example.org?register;preauth=RESET"},
}

func (d *desk) Look(_ *http.Request, token string) (Invitation, error) {
	if token == "SLOW" {
		return Invitation{}, ErrWait
	}
	if token == "AWAY" {
		return Invitation{}, ErrAway
	}
	v, ok := known[token]
	if !ok {
		return v, ErrInvalid
	}
	return v, nil
}

func (d *desk) Open(*http.Request) (Invitation, error) {
	if !d.open {
		return Invitation{}, ErrInvalid
	}
	return Invitation{Host: "example.org", Account: true, Approve: d.approve}, nil
}

func (d *desk) Redeem(_ context.Context, _ *http.Request, o Order) (string, bool, error) {
	d.orders = append(d.orders, o)
	return o.Name + "@" + o.Host, d.approve, d.err
}

func ask(d *desk, method, token, form, lang string) *httptest.ResponseRecorder {
	return askAt(d, method, "/invite/"+token, form, lang)
}

func askAt(d *desk, method, path, form, lang string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "https://example.org"+path, strings.NewReader(form))
	r.Header.Set("Accept", "text/html")
	r.Header.Set("Accept-Language", lang)
	if method == "POST" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	w := httptest.NewRecorder()
	Handler(pages.New(nil), d).ServeHTTP(w, r)
	return w
}

func TestAPageSaysWhatTheInvitationIsFor(t *testing.T) {
	for _, c := range []struct {
		token, lang string
		want, not   []string
	}{
		{"ACCOUNT", "en", []string{"romeo@example.org invites you", "Open the invitation", `href="xmpp:romeo@example.org?roster;preauth=ACCOUNT;ibr=y"`,
			`href="intent://romeo@example.org?roster;preauth=ACCOUNT;ibr=y#Intent;`, "<svg", `action="/invite/ACCOUNT"`, "Conversations", "Monal", "Gajim", "Dino"}, []string{"<script", "http://www.g"}},
		{"ACCOUNT", "de", []string{"lädt Sie zum Chatten ein", "Konto anlegen"}, nil},
		{"ACCOUNT", "fr", []string{"vous invite à discuter"}, nil},
		{"ACCOUNT", "es", []string{"le invita a chatear"}, nil},
		{"ACCOUNT", "tlh", []string{"Open the invitation"}, nil},
		{"NAMED", "en", []string{"An invitation to example.org", `value="hamlet" readonly`}, nil},
		{"CONTACT", "en", []string{"romeo@example.org invites you", "<svg"}, []string{"<form"}},
		{"RESET", "en", []string{"A new password", `value="juliet" readonly`, "Set the password"}, []string{"<svg", "intent://"}},
	} {
		d := &desk{}
		w := ask(d, "GET", c.token, "", c.lang)
		body, h := w.Body.String(), w.Header()
		for _, want := range c.want {
			if !strings.Contains(body, want) {
				t.Errorf("%s in %s lacks %q: %s", c.token, c.lang, want, body)
			}
		}
		for _, not := range c.not {
			if strings.Contains(body, not) {
				t.Errorf("%s has %q", c.token, not)
			}
		}
		if w.Code != 200 || h.Get("Cache-Control") != "no-store" || h.Get("Referrer-Policy") != "no-referrer" ||
			!strings.Contains(h.Get("Content-Security-Policy"), "default-src 'none'") || len(d.orders) != 0 {
			t.Errorf("%s: %d %v", c.token, w.Code, h)
		}
	}
}

func TestAFormMakesAnAccount(t *testing.T) {
	form := func(name, password, again string) string {
		return url.Values{"name": {name}, "password": {password}, "again": {again}}.Encode()
	}
	for _, c := range []struct {
		name, token, form string
		err               error
		status            int
		want              string
		order             Order // zero: nothing was ordered
	}{
		{"an account", "ACCOUNT", form(" Hamlet ", "x y", "x y"), nil, 200, `id="address">Hamlet@example.org<`, Order{"example.org", "ACCOUNT", "Hamlet", "x y"}},
		{"the name is given", "NAMED", form("other", "x", "x"), nil, 200, "hamlet@example.org", Order{"example.org", "NAMED", "hamlet", "x"}},
		{"a password", "RESET", form("other", "x", "x"), nil, 200, "The password is set", Order{"example.org", "RESET", "juliet", "x"}},
		{"two passwords", "ACCOUNT", form("hamlet", "x", "y"), nil, 422, "not the same", Order{}},
		{"no password", "ACCOUNT", form("hamlet", "", ""), nil, 422, "not the same", Order{}},
		{"taken", "ACCOUNT", form("hamlet", "x", "x"), ErrTaken, 422, "is taken", Order{"example.org", "ACCOUNT", "hamlet", "x"}},
		{"no name", "ACCOUNT", form("", "x", "x"), ErrName, 422, "No user can have", Order{"example.org", "ACCOUNT", "", "x"}},
		{"script", "ACCOUNT", form(`"><script>alert(1)</script>`, "x", "x"), ErrName, 422, "&lt;script&gt;", Order{"example.org", "ACCOUNT", `"><script>alert(1)</script>`, "x"}},
		{"a bad password", "ACCOUNT", form("hamlet", "\x01", "\x01"), ErrPassword, 422, "cannot be used", Order{"example.org", "ACCOUNT", "hamlet", "\x01"}},
		{"used meanwhile", "ACCOUNT", form("hamlet", "x", "x"), ErrInvalid, 410, "No longer valid", Order{"example.org", "ACCOUNT", "hamlet", "x"}},
		{"too often", "ACCOUNT", form("hamlet", "x", "x"), ErrWait, 429, "", Order{"example.org", "ACCOUNT", "hamlet", "x"}},
		{"in clear", "ACCOUNT", form("hamlet", "x", "x"), ErrClear, 403, "", Order{"example.org", "ACCOUNT", "hamlet", "x"}},
		{"away", "ACCOUNT", form("hamlet", "x", "x"), ErrAway, 503, "", Order{"example.org", "ACCOUNT", "hamlet", "x"}},
		{"a contact makes none", "CONTACT", form("hamlet", "x", "x"), nil, 403, "", Order{}},
		{"unknown", "NONE", form("hamlet", "x", "x"), nil, 410, "", Order{}},
		{"too much", "ACCOUNT", form("hamlet", strings.Repeat("x", maxForm), "x"), nil, 400, "", Order{}},
	} {
		d := &desk{err: c.err}
		w := ask(d, "POST", c.token, c.form, "en")
		got := Order{}
		if len(d.orders) > 0 {
			got = d.orders[0]
		}
		body := w.Body.String()
		if w.Code != c.status || !strings.Contains(body, c.want) || got != c.order || strings.Contains(body, "<script") {
			t.Errorf("%s: %d %+v %s", c.name, w.Code, got, body)
		}
	}
}

func TestWhatLeadsNowhere(t *testing.T) {
	for token, want := range map[string]int{"": 410, "NONE": 410, "ACCOUNT/x": 410, "SLOW": 429, "AWAY": 503} {
		if w := ask(&desk{}, "GET", token, "", "en"); w.Code != want {
			t.Errorf("%q: %d, want %d", token, w.Code, want)
		}
	}
	if w := ask(&desk{}, "DELETE", "ACCOUNT", "", ""); w.Code != 405 {
		t.Errorf("%d", w.Code)
	}
	r := httptest.NewRequest("POST", "https://example.org/invite/ACCOUNT", strings.NewReader("name=a&password=b&again=b"))
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	w := httptest.NewRecorder()
	d := &desk{}
	if Handler(pages.New(nil), d).ServeHTTP(w, r); w.Code != 403 || len(d.orders) > 0 {
		t.Errorf("from elsewhere: %d", w.Code)
	}
}

func TestAPageIsForThoseWhoHaveNoInvitation(t *testing.T) {
	if w := askAt(&desk{}, "GET", "/register", "", "en"); w.Code != http.StatusNotFound {
		t.Errorf("where nobody may register: %d", w.Code)
	}
	form := url.Values{"name": {"ophelia"}, "password": {"x"}, "again": {"x"}}
	for _, c := range []struct {
		approve    bool
		page, done string
	}{
		{false, "An account on example.org", "Your account is there"},
		{true, "approve each account", "waits for approval"},
	} {
		d := &desk{open: true, approve: c.approve}
		w := askAt(d, "GET", "/register", "", "en")
		if body := w.Body.String(); w.Code != 200 || !strings.Contains(body, c.page) || strings.Contains(body, "<svg class") ||
			strings.Contains(body, "xmpp:") || strings.Contains(body, "approve") != c.approve || len(d.orders) != 0 {
			t.Errorf("%d %s", w.Code, body)
		}
		if csp := w.Header().Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") {
			t.Errorf("policy %q", csp)
		}
		w = askAt(d, "POST", "/register", form.Encode(), "en")
		if body := w.Body.String(); w.Code != 200 || !strings.Contains(body, c.done) || !strings.Contains(body, "ophelia@example.org") {
			t.Errorf("%d %s", w.Code, body)
		}
		if len(d.orders) != 1 || d.orders[0] != (Order{Host: "example.org", Name: "ophelia", Password: "x"}) {
			t.Errorf("ordered %v", d.orders)
		}
		d.err = ErrTaken
		if w = askAt(d, "POST", "/register", form.Encode(), "en"); w.Code != 422 || !strings.Contains(w.Body.String(), "is taken") {
			t.Errorf("taken: %d", w.Code)
		}
		if w = askAt(d, "POST", "/register", "name=o&password=x&again=y", "en"); w.Code != 422 {
			t.Errorf("different passwords: %d", w.Code)
		}
	}
}
