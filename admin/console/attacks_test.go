package console

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/admin"
	"jackdaw/router/accounts"
	"jackdaw/xmpp/jid"
)

var everyPage = []string{"", "/accounts", "/accounts?q=jul", "/account?jid=juliet@localhost", "/account?jid=romeo@localhost", "/sessions",
	"/sessions?q=script", "/approvals", "/account?jid=first@localhost", "/invitations", "/rooms", "/room?jid=garden@rooms.localhost", "/hooks", "/hook?name=ops", "/bots", "/bot?jid=juliet@localhost",
	"/announcements", "/announcements?host=localhost", "/uploads", "/upload?jid=juliet@localhost", "/upload?jid=juliet@localhost&from=3", "/peers", "/posts", "/reports", "/certificates", "/storage", "/doctor", "/log", "/log?level=error"}

func TestWhoeverHasNoSessionSeesTheLoginAlone(t *testing.T) {
	s := set(t)
	for _, held := range []string{"", "nonsense", strings.Repeat("x", 43)} {
		c := s.client()
		c.cookie = held
		for _, page := range append(everyPage, "/none", "/../admin/accounts") {
			if w := c.ask("GET", "/admin"+page, nil); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/admin/login" ||
				strings.Contains(w.Body.String(), "juliet") {
				t.Errorf("%q %s: %d %v %s", held, page, w.Code, w.Header(), w.Body)
			}
			if w := c.ask("POST", "/admin"+page, url.Values{"jid": {"juliet@localhost"}, "action": {"disable"}}); w.Code != http.StatusForbidden {
				t.Errorf("POST %q %s: %d", held, page, w.Code)
			}
		}
		if w := c.ask("GET", "/admin/login", nil); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `type="password"`) {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}
	if u, err := s.o.Admin.User(t.Context(), "juliet@localhost"); err != nil || u.Disabled {
		t.Errorf("%+v, %v", u, err)
	}
}

func TestOnlyAdministratorsGetIn(t *testing.T) {
	s := set(t)
	answers := map[string]bool{}
	for name, password := range map[string]string{"romeo": "wrong", "juliet": "secret", "nobody": "secret", "": "", evil: evil,
		"romeo@localhost/x": "secret", "localhost": "secret", "@localhost": "x"} {
		c := s.client()
		c.change = func(r *http.Request) { r.RemoteAddr = fmt.Sprintf("192.0.2.%d:1", 10+len(answers)) }
		w := c.ask("POST", "/admin/login", url.Values{"name": {name}, "password": {password}})
		body := regexp.MustCompile(`value="[^"]*"`).ReplaceAllString(w.Body.String(), "")
		answers[strings.ReplaceAll(body, " autofocus", "")] = true
		if w.Code != http.StatusForbidden || w.Header().Get("Set-Cookie") != "" || strings.Contains(w.Body.String(), "<script") {
			t.Errorf("%q: %d %v %s", name, w.Code, w.Header(), w.Body)
		}
	}
	const line = `level=INFO msg="login failed" user=romeo host=localhost from=192.0.2.`
	if log := s.log.String(); !strings.Contains(log, line) || strings.Contains(log, "wrong") {
		t.Error(log)
	}
	if len(answers) != 1 {
		t.Errorf("%d different answers", len(answers))
	}
	s.logIn("romeo")
	s.logIn("ROMEO@localhost")
}

func TestGuessesAreThrottledWithThoseOverXMPP(t *testing.T) {
	s := set(t)
	c := s.client()
	guess := func() int {
		return c.ask("POST", "/admin/login", url.Values{"name": {"romeo"}, "password": {"wrong"}}).Code
	}
	for i := range 5 {
		if code := guess(); code != http.StatusForbidden {
			t.Fatalf("guess %d: %d", i, code)
		}
	}
	w := c.ask("POST", "/admin/login", url.Values{"name": {"romeo"}, "password": {"secret"}})
	if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" || w.Header().Get("Set-Cookie") != "" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	from := accounts.Source{Addr: netip.MustParseAddr("192.0.2.9")}
	if s.o.Accounts.Throttle().Wait(from, "romeo@localhost") == 0 {
		t.Error("SASL knows nothing of it")
	}
	other := s.client() // the account itself is not locked
	other.change = func(r *http.Request) { r.RemoteAddr = "198.51.100.1:1" }
	if w := other.ask("POST", "/admin/login", url.Values{"name": {"romeo"}, "password": {"secret"}}); w.Code != http.StatusSeeOther {
		t.Errorf("from elsewhere: %d", w.Code)
	}
}

func TestFormsNeedTheTokenOfTheirSession(t *testing.T) {
	s := set(t)
	must(t, s.o.Admin.Grant(t.Context(), admin.Command, "tybalt@localhost", []string{"admin"}))
	romeo, tybalt := s.logIn("romeo"), s.logIn("tybalt")
	form := func(token string) url.Values {
		return url.Values{"token": {token}, "jid": {"juliet@localhost"}, "action": {"disable"}}
	}
	token := romeo.token()
	for name, c := range map[string]struct {
		form   url.Values
		change func(*http.Request)
		status int
	}{
		"no token":             {form(""), nil, 403},
		"a made up one":        {form(strings.Repeat("x", 43)), nil, 403},
		"another user's":       {form(tybalt.token()), nil, 403},
		"another site":         {form(token), func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }, 403},
		"a site beside":        {form(token), func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-site") }, 403},
		"an old browser":       {form(token), func(r *http.Request) { r.Header.Del("Sec-Fetch-Site"); r.Header.Set("Origin", "https://evil.example") }, 403},
		"the token in the URL": {form(""), func(r *http.Request) { r.URL.RawQuery = "token=" + token }, 403},
		"JSON":                 {form(token), func(r *http.Request) { r.Header.Set("Content-Type", "application/json") }, 400},
		"plain text":           {form(token), func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, 400},
		"a file":               {form(token), func(r *http.Request) { r.Header.Set("Content-Type", "multipart/form-data; boundary=x") }, 400},
		"too much":             {url.Values{"token": {token}, "x": {strings.Repeat("x", maxForm)}}, nil, 413},
		"no form at all":       {nil, nil, 400},
		"PUT":                  {form(token), func(r *http.Request) { r.Method = "PUT" }, 405},
	} {
		romeo.change = c.change
		if w := romeo.ask("POST", "/admin/account", c.form); w.Code != c.status {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
		romeo.change = nil
	}
	if u, err := s.o.Admin.User(t.Context(), "juliet@localhost"); err != nil || u.Disabled {
		t.Fatalf("%+v, %v", u, err)
	}
	if w := romeo.ask("POST", "/admin/login", nil); w.Code != 400 {
		t.Errorf("login without a form: %d", w.Code)
	}
	stranger := s.client()
	stranger.change = func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }
	if w := stranger.ask("POST", "/admin/login", url.Values{"name": {"romeo"}, "password": {"secret"}}); w.Code != 403 {
		t.Errorf("a login from another site: %d", w.Code)
	}
	romeo.does("/account", "The account is disabled", "jid", "juliet@localhost", "action", "disable")
	if w := romeo.ask("POST", "/admin/log", url.Values{"token": {romeo.token()}}); w.Code != 405 {
		t.Errorf("a form for a page without: %d", w.Code)
	}
}

func TestWhatUsersSayIsNeverMarkup(t *testing.T) {
	s := set(t)
	c := s.logIn("romeo")
	c.does("/doctor", "", "x", "y")
	s.running.Wait()
	for _, page := range append(everyPage, "/accounts?q="+url.QueryEscape(evil)+"&host="+url.QueryEscape(evil)+"&from="+url.QueryEscape(evil),
		"/announcements?host="+url.QueryEscape(evil), "/log?q="+url.QueryEscape(evil)+"&level="+url.QueryEscape(evil), "/posts?q="+url.QueryEscape(evil)) {
		w := c.ask("GET", "/admin"+page, nil)
		body := w.Body.String()
		if w.Code != http.StatusOK || strings.Contains(body, "<script") || strings.Contains(body, "<img") || strings.Contains(body, "style=") {
			t.Errorf("%s: %d %s", page, w.Code, body)
		}
		if strings.Contains(s.log.String(), "make a page") {
			t.Fatal(s.log.String())
		}
	}
	c.does("/accounts", `"x\"<script>@localhost": this names no account`, "address", `x"<script>`, "password", "x")
}

func TestPathsThatAreNoPagesAreNotFound(t *testing.T) {
	s := set(t)
	c := s.logIn("romeo")
	for _, path := range []string{"/none", "/../accounts", "//accounts", "/accounts/..", "/accounts/x", "/%2e%2e/accounts", "/templates/log.html",
		"/hook?name=none", "/hook?name=", "/hook?name=%00", "/bot?jid=nobody@localhost", "/bot?jid=", "/bot?jid=%00", "/room?jid=none@rooms.localhost", "/room?jid=garden@elsewhere.example", "/room?jid=x", "/account?jid=nobody@localhost", "/account?jid=", "/account?jid=" + url.QueryEscape("../../etc/passwd"), "/account?jid=%00",
		"/upload?jid=nobody@localhost", "/upload?jid=", "/upload?jid=juliet@localhost&from=-1", "/upload?jid=juliet@localhost&from=x"} {
		if w := c.ask("GET", "/admin"+path, nil); w.Code != http.StatusNotFound || strings.Contains(w.Body.String(), "juliet") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	if w := c.ask("GET", "/admin/", nil); w.Code != http.StatusOK {
		t.Errorf("/admin/: %d", w.Code)
	}
	if Owns("/administrator") || !Owns("/admin") || !Owns("/admin/x") {
		t.Error("what is owned")
	}
}

func TestPasswordsDoNotPassInTheClear(t *testing.T) {
	s := set(t)
	s.config.HTTP.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	for _, c := range []struct {
		from    string
		host    string
		headers string
		tls, ok bool
	}{
		{"192.0.2.9:1", "localhost", "", true, true},
		{"192.0.2.9:1", "localhost", "", false, false},
		{"192.0.2.9:1", "localhost", "X-Forwarded-Proto: https", false, false},
		{"10.0.0.1:1", "im.example.org", "X-Forwarded-Proto: https", false, true},
		{"10.0.0.1:1", "im.example.org", "X-Forwarded-Proto: http", false, false},
		{"10.0.0.1:1", "im.example.org", "", false, false},
		{"127.0.0.1:1", "localhost:5280", "", false, true},
		{"[::1]:1", "[::1]:5280", "", false, true},
		{"127.0.0.1:1", "im.example.org", "", false, false},                           // a proxy nobody has named, or a turned name
		{"127.0.0.1:1", "127.0.0.1:5280", "X-Forwarded-For: 192.0.2.1", false, false}, // likewise
		{"127.0.0.1:1", "127.0.0.1:5280", "X-Forwarded-Proto: https", false, false},   // likewise
		{"127.0.0.1:1", "127.0.0.1:5280", "Forwarded: for=192.0.2.1", false, false},   // likewise
		{"@", "localhost", "", false, true},                                           // a unix socket
		{"@", "im.example.org", "X-Forwarded-Proto: https", false, true},              // a proxy that uses one
		{"@", "im.example.org", "X-Forwarded-Proto: http", false, false},
		{"@", "im.example.org", "", false, false},
	} {
		r := httptest.NewRequest("GET", "/admin/login", nil)
		r.RemoteAddr, r.Host = c.from, c.host
		if name, value, ok := strings.Cut(c.headers, ": "); ok {
			r.Header.Set(name, value)
		}
		if c.tls {
			r.TLS = new(tls.ConnectionState)
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		form := strings.Contains(w.Body.String(), "<form")
		if ok := w.Code == http.StatusOK; ok != c.ok || form != c.ok || !ok && w.Code != http.StatusForbidden {
			t.Errorf("%+v: %d", c, w.Code)
		}
	}
}

func TestSessionsEndWithWhatTheyStandOn(t *testing.T) {
	s := set(t)
	ctx := t.Context()
	gone := func(c *client, why string) {
		t.Helper()
		if w := c.ask("GET", "/admin", nil); w.Code != http.StatusSeeOther {
			t.Errorf("%s: %d", why, w.Code)
		}
	}
	c := s.logIn("romeo")
	must(t, s.o.Admin.Disable(ctx, admin.Command, "romeo@localhost"))
	must(t, s.o.Admin.Enable(ctx, admin.Command, "romeo@localhost"))
	gone(c, "disabled")
	c = s.logIn("romeo")
	must(t, s.o.Admin.SetPassword(ctx, admin.Command, "romeo@localhost", "secret"))
	gone(c, "another password")
	c = s.logIn("romeo")
	must(t, s.o.Admin.Revoke(ctx, admin.Command, "romeo@localhost", []string{"admin"}))
	gone(c, "no administrator any more")
	must(t, s.o.Admin.Grant(ctx, admin.Command, "romeo@localhost", []string{"admin"}))
	gone(c, "and again, for it was lost")
	c = s.logIn("romeo")
	token, held := c.token(), c.cookie
	if w := c.ask("POST", "/admin/logout", url.Values{"token": {token}}); w.Code != http.StatusSeeOther ||
		!strings.Contains(w.Header().Get("Set-Cookie"), "__Host-jackdaw=; Path=/; Max-Age=0") {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	c.cookie = held
	gone(c, "logged out")
	// A new login in a browser ends the old session, and a session is not one that somebody else has chosen.
	c = s.logIn("romeo")
	old := *c
	w := c.ask("POST", "/admin/login", url.Values{"name": {"romeo"}, "password": {"secret"}})
	if m := cookieLine.FindStringSubmatch(w.Header().Get("Set-Cookie")); m == nil || m[1] == c.cookie {
		t.Errorf("%v", w.Header())
	}
	gone(&old, "another login")
	must(t, s.o.Admin.DeleteUser(ctx, admin.Command, "romeo@localhost"))
	if n := len(s.sessions.all); n != 0 {
		t.Errorf("%d sessions of nobody", n)
	}
}

func TestSessionsExpireAndAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSessions(time.Now)
		romeo, juliet := jid.MustParse("romeo@localhost"), jid.MustParse("juliet@localhost")
		idle := s.open(romeo)
		time.Sleep(idleTime - 1)
		if s.get(idle) == nil {
			t.Error("idle for less")
		}
		time.Sleep(idleTime)
		if s.get(idle) != nil {
			t.Error("idle")
		}
		old := s.open(romeo)
		for range lifeTime/idleTime*2 - 1 {
			time.Sleep(idleTime / 2)
			if s.get(old) == nil {
				t.Fatal("it was used")
			}
		}
		time.Sleep(idleTime / 2)
		if s.get(old) != nil {
			t.Error("for ever")
		}
		first, others := s.open(romeo), s.open(juliet)
		for range maxOfUser {
			time.Sleep(time.Second)
			s.open(romeo)
		}
		if s.get(first) != nil || s.get(others) == nil || len(s.all) != maxOfUser+1 {
			t.Errorf("%d sessions", len(s.all))
		}
		for i := range maxSessions {
			s.open(jid.MustParse(fmt.Sprintf("u%d@localhost", i)))
		}
		if len(s.all) != maxSessions {
			t.Errorf("%d sessions", len(s.all))
		}
	})
}

func TestWhatAdministratorsDo(t *testing.T) {
	s := set(t)
	c := s.logIn("romeo")
	const at, link = "juliet@localhost", "https://localhost/invite/T"
	c.does("/accounts", "The account mercutio@localhost is made.", "address", "mercutio", "password", "secret")
	c.does("/accounts", "exists already", "address", "mercutio@localhost", "password", "secret")
	c.does("/account", "sessions have ended", "jid", at, "action", "disable")
	c.does("/account", "may log in again", "jid", at, "action", "enable")
	c.does("/account", "new password is set", "jid", at, "action", "password", "password", "another")
	c.does("/account", "1 session has ended", "jid", at, "action", "kick")
	c.does("/account", "set a new one to keep it out", "jid", at, "action", "revoke-device", "device", "d1")
	c.does("/account", "There is no such device", "jid", at, "action", "revoke-device", "device", "d2")
	c.does("/account", "shown only now", "jid", at, "action", "make-token", "label", "x", "scopes", "send muc", "cidrs", "192.0.2.0/24, ::1", "days", "3")
	list, err := s.o.Admin.Tokens(t.Context(), at)
	made := slices.IndexFunc(list, func(i admin.TokenInfo) bool { return i.Label == "x" })
	if err != nil || made < 0 || len(list[made].Scopes) != 2 || len(list[made].CIDRs) != 2 {
		t.Fatalf("%+v, %v", list, err)
	}
	c.does("/account", "Scope refused", "jid", at, "action", "make-token", "label", "x", "scopes", "")
	c.does("/account", "whole number", "jid", at, "action", "make-token", "label", "x", "scopes", "send", "days", "x")
	c.does("/account", "no such token", "jid", "tybalt@localhost", "action", "revoke-token", "id", list[made].ID)
	c.does("/account", "is revoked", "jid", at, "action", "revoke-token", "id", list[made].ID)
	c.does("/account", "no such token", "jid", at, "action", "revoke-token", "id", list[made].ID)
	c.does("/account", "an administrator's now", "jid", at, "action", "grant-admin")
	c.does("/account", "no administrator's any more", "jid", at, "action", "revoke-admin")
	c.does("/account", link, "jid", at, "action", "reset")
	c.does("/account", "no such account", "jid", "tybalt@localhost", "action", "reset")
	c.does("/account", "type the address", "jid", at, "action", "remove", "again", "romeo@localhost")
	c.does("/account", "lock you out", "jid", "romeo@localhost", "action", "disable")
	c.does("/account", "lock you out", "jid", "romeo@localhost", "action", "remove", "again", "romeo@localhost")
	c.does("/account", "is removed", "jid", at, "action", "remove", "again", at)
	c.does("/sessions", "1 session has ended", "jid", at+"/balcony")
	const garden = "garden@rooms.localhost"
	c.does("/room", "has another owner", "jid", garden, "action", "own", "owner", "tybalt@localhost")
	c.does("/room", "no such account", "jid", garden, "action", "own", "owner", "nobody@localhost")
	c.does("/room", "type the address", "jid", garden, "action", "destroy", "again", "x")
	c.does("/room", "is removed", "jid", garden, "action", "destroy", "again", garden, "reason", "closed")
	c.does("/invitations", link, "action", "invite", "contact", at, "uses", "3", "days", "2")
	c.does("/invitations", link, "action", "invite")
	c.does("/invitations", "Expected a whole number above zero.", "action", "invite", "uses", "-1")
	c.does("/invitations", "Expected a whole number above zero.", "action", "invite", "days", "soon")
	c.does("/invitations", "is no address", "action", "invite", "contact", "nobody")
	c.does("/invitations", "good for nothing any more", "action", "revoke", "host", "localhost", "id", "i1")
	c.does("/invitations", "no such invitation", "action", "revoke", "host", "localhost", "id", "i2")
	c.does("/approvals", "choose accounts first", "action", "approve")
	c.does("/approvals", "first@localhost may log in now", "action", "approve", "jid", "first@localhost")
	c.does("/approvals", "does not wait for approval", "action", "refuse", "jid", "first@localhost")
	c.does("/approvals", "second@localhost is refused", "action", "refuse", "jid", "second@localhost")
	c.does("/approvals", "no such account", "action", "approve", "jid", "second@localhost")
	c.does("/announcements", "It went to 2 users at once.", "action", "announce", "host", "localhost", "text", "It\r\nrains", "days", "3")
	c.does("/announcements", "Expected a whole number", "action", "announce", "host", "localhost", "text", "x", "days", "x")
	c.does("/announcements", "is not served here", "action", "announce", "host", "elsewhere.example", "text", "x")
	c.does("/announcements", "Nobody gets it any more", "action", "withdraw", "host", "localhost", "id", "a1")
	c.does("/announcements", "There is no such announcement", "action", "withdraw", "host", "localhost", "id", "a2")
	c.does("/announcements", "The text is set", "action", "set", "host", "localhost", "kind", "motd", "text", "Hello", "edit", "1")
	c.does("/announcements", "The text is taken back", "action", "delete", "host", "localhost", "kind", "welcome")
	c.does("/hooks", "shown only now", "name", "disks", "owner", "tybalt@localhost", "to", "tybalt@localhost", "kind", "text")
	c.does("/hooks", "there is a hook of this name already", "name", "disks", "owner", "tybalt@localhost", "to", "tybalt@localhost")
	c.does("/hooks", "A hook has an owner", "name", "other", "to", "tybalt@localhost")
	c.does("/hook", "The hook is changed", "action", "change", "name", "disks", "to", "juliet@localhost", "kind", "auto")
	c.does("/hook", "there are auto", "action", "change", "name", "disks", "to", "juliet@localhost", "kind", "none")
	c.does("/hook", "was sent", "action", "test", "name", "disks")
	c.does("/hook", "Nobody got it", "action", "test", "name", "ops") // to two, without permission
	c.does("/hook", "shown only now", "action", "rotate", "name", "disks")
	if w := c.ask("GET", "/admin/hook?name=disks", nil); strings.Contains(w.Body.String(), "/hooks/jdh") {
		t.Error("an address is shown twice")
	}
	c.does("/hook", "is good for nothing", "action", "remove", "name", "disks")
	c.does("/bots", "answers for the account from now on", "jid", "tybalt@localhost", "url", "http://localhost/in", "rooms", garden,
		"trigger", "!w ", "composing", "yes")
	c.does("/bots", "no such account", "jid", "nobody@localhost", "url", "http://localhost/in")
	c.does("/bots", "The URL: expected one", "jid", "tybalt@localhost")
	c.does("/bot", "would say: hello", "action", "test", "jid", "juliet@localhost", "text", "hello")
	c.does("/bot", "has nothing to say", "action", "test", "jid", "juliet@localhost", "text", "nothing")
	c.does("/bot", "The test failed: 500", "action", "test", "jid", "juliet@localhost", "text", "fail")
	c.does("/bot", "an account like others now", "action", "remove", "jid", "juliet@localhost")
	c.does("/upload", "type the address", "action", "remove-all", "jid", "tybalt@localhost", "again", "x")
	c.does("/upload", "2 files are removed", "action", "remove-all", "jid", "tybalt@localhost", "again", "tybalt@localhost")
	c.does("/upload", "1 file is removed", "action", "remove", "jid", "tybalt@localhost", "id", "f1")
	c.does("/upload", "There is no such file", "action", "remove", "jid", "tybalt@localhost", "id", "f2")
	for page, form := range map[string]url.Values{
		"/approvals":     {"action": {"dance"}, "jid": {"third@localhost"}},
		"/announcements": {"action": {"set"}, "kind": {"announcement/1"}, "host": {"localhost"}},
		"/upload":        {"action": {"dance"}},
		"/bot":           {"action": {"dance"}},
		"/hook":          {"action": {"dance"}},
	} {
		form.Set("token", c.token())
		if w := c.ask("POST", "/admin"+page, form); w.Code != http.StatusBadRequest {
			t.Errorf("%s: %d", page, w.Code)
		}
	}
	if w := c.ask("GET", "/admin/invitations", nil); strings.Contains(w.Body.String(), link) {
		t.Error("a link is shown twice")
	}
	if got, want := strings.Join(s.world.kicked, " "), at+" d1 reset:juliet:0:0s "+at+"/balcony garden:tybalt garden:closed "+
		"account:"+at+":3:48h0m0s account::0:0s revoke:localhost announce:localhost:\"It\\nrains\":72h0m0s withdraw motd:Hello:true welcome::false "+
		"hook:disks hook:ops bot:tybalt@localhosthttp://localhost/in[garden@rooms.localhost]!w |true false bot-removed:juliet "+
		"files:tybalt:0 files:tybalt:1"; got != want {
		t.Error(got)
	}
	if w := c.ask("POST", "/admin/account", url.Values{"token": {c.token()}, "action": {"dance"}}); w.Code != http.StatusBadRequest {
		t.Errorf("%d", w.Code)
	}
	if log := s.log.String(); strings.Count(log, "by=romeo@localhost") != 34 || strings.Contains(log, "another") {
		t.Errorf("%d\n%s", strings.Count(log, "by=romeo@localhost"), log)
	}
	// Whoever sets the own password has to log in with it.
	w := c.ask("POST", "/admin/account", url.Values{"token": {c.token()}, "jid": {"romeo@localhost"}, "action": {"password"}, "password": {"x"}})
	if w.Header().Get("Location") != "/admin/login" {
		t.Errorf("%v", w.Header())
	}
}
