package httpmessage

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"jackdaw/router"
	"jackdaw/router/accounts"
	"jackdaw/router/tokens"
	"jackdaw/xmpp/jid"
)

// withRooms adds a service of rooms that keeps what it gets.
func (h *house) withRooms() {
	k := keeper(h.kept)
	h.router.Use(k, router.Module{Name: "rooms", Service: &router.Service{
		Domains: func() []string { return []string{"conference." + host} },
		Handle:  func(e *router.Envelope) { k.Unclaimed(e) }}})
}

// token makes a token, of andy unless change says otherwise.
func (h *house) token(change func(*tokens.Spec), scopes ...string) string {
	h.t.Helper()
	s, err := tokens.ParseScopes(scopes...)
	must(h.t, err)
	spec := tokens.Spec{Kind: tokens.KindAccount, Owner: jid.MustParse("andy@" + host), Scopes: s,
		Rate: tokens.Rate{Every: time.Nanosecond}}
	if change != nil {
		change(&spec)
	}
	secret, _, err := h.tokens.Make(h.t.Context(), spec)
	must(h.t, err)
	return secret
}

// bearing is a call with a token.
func (c call) bearing(secret string) call {
	c.user, c.headers = "-", append(slices.Clone(c.headers), "Authorization: Bearer "+secret)
	return c
}

const room = "ops@conference." + host

// posted are requests of every kind and form, by "kind form".
var posted = map[string]call{
	"own xml":               {body: toBob},
	"own json":              {headers: []string{jsonType}, body: `{"to": "bob@im.example.org"}`},
	"own gateway xml":       {path: gatewayPath, headers: []string{xmlType}, body: foreign}, // whose sender is replaced
	"own gateway json":      {path: gatewayPath, headers: []string{jsonType}, body: `{"to": "bob@im.example.org"}`},
	"forged xml":            {body: foreign},
	"multicast xml":         {body: list("bob@"+host, "skel@"+host)},
	"multicast json":        {headers: []string{jsonType}, body: `{"to": ["bob@im.example.org", "skel@im.example.org"]}`},
	"multicast gateway xml": {path: gatewayPath, headers: []string{xmlType}, body: list("bob@"+host, "skel@"+host)},
	"multicast gateway json": {path: gatewayPath, headers: []string{jsonType},
		body: `{"to": ["bob@im.example.org", "skel@im.example.org"]}`},
	"room xml":          {body: strings.Replace(toBob, "bob@"+host, room, 1)},
	"room json":         {headers: []string{jsonType}, body: `{"to": "` + room + `"}`},
	"room gateway xml":  {path: gatewayPath, headers: []string{xmlType}, body: strings.Replace(toBob, "bob@"+host, room, 1)},
	"room gateway json": {path: gatewayPath, headers: []string{jsonType}, body: `{"to": "` + room + `"}`},
}

// allowed compares what is taken of all kinds and forms with those that are named: "own", "own gateway".
func (h *house) allowed(about string, with func(call) call, kinds ...string) {
	h.t.Helper()
	count := func() (n int) {
		for _, who := range []string{"bob@" + host, "skel@" + host, room} {
			n += len(h.stored(who))
		}
		return n
	}
	for name, c := range posted {
		kind := name[:strings.LastIndexByte(name, ' ')]
		before := count()
		w := h.do(with(c))
		after := count()
		switch {
		case slices.Contains(kinds, kind) && (w.Code != http.StatusOK || after == before):
			h.t.Errorf("%s: %s: answer %d %s", about, name, w.Code, w.Body)
		case !slices.Contains(kinds, kind) && (w.Code != http.StatusForbidden || after > before):
			h.t.Errorf("%s: %s: answer %d %s, %d messages went out", about, name, w.Code, w.Body, after-before)
		}
	}
}

// TestWhatATokenMay is the table of scopes, for an owner who may do everything.
func TestWhatATokenMay(t *testing.T) {
	h := newHouse(t)
	h.withRooms()
	must(t, h.who.Grant(t.Context(), jid.MustParse("andy@"+host), accounts.PermGateway))
	all := []string{"own", "own gateway", "forged", "multicast", "multicast gateway", "room", "room gateway"}
	h.allowed("password", func(c call) call { return c }, all...)
	for _, row := range []struct {
		scopes string
		kinds  []string
	}{
		{"send", []string{"own"}},
		{"send gateway", []string{"own", "own gateway"}},
		{"send multicast", []string{"own", "multicast"}},
		{"send multicast gateway", []string{"own", "multicast", "own gateway", "multicast gateway"}},
		{"send forge_sender", []string{"own", "forged"}},
		{"send forge_sender=*@trac", []string{"own", "forged"}},
		{"send forge_sender=*@other", []string{"own"}},
		{"muc", []string{"room"}},
		{"muc gateway", []string{"room", "room gateway"}},
		{"send muc", []string{"own", "room"}},
		{"send:to=bob@" + host, []string{"own"}},
		{"send:to=skel@" + host, nil},
		{"send:to=bob@" + host + " multicast", []string{"own"}},
		{"send:to=bob@" + host + " send:to=skel@" + host + " multicast", []string{"own", "multicast"}},
		{"send:to=*@conference." + host, []string{"room"}},
		{"send:to=*", []string{"own", "room"}},
		{"send:to=bob@" + host + " forge_sender", []string{"own", "forged"}},
		{"send muc multicast forge_sender gateway", all},
		{"hook:ops", nil},
	} {
		secret := h.token(nil, strings.Fields(row.scopes)...)
		h.allowed(row.scopes, func(c call) call { return c.bearing(secret) }, row.kinds...)
	}
}

// TestATokenMayNoMoreThanItsOwnerMayNow takes the permissions of the owner away, one after the other.
func TestATokenMayNoMoreThanItsOwnerMayNow(t *testing.T) {
	h := newHouse(t)
	h.withRooms()
	andy := jid.MustParse("andy@" + host)
	must(t, h.who.Grant(t.Context(), andy, accounts.PermGateway))
	secret := h.token(nil, "send", "muc", "multicast", "forge_sender", "gateway")
	with := func(c call) call { return c.bearing(secret) }
	must(t, h.who.Revoke(t.Context(), andy, accounts.PermForgeSender))
	h.allowed("no forging", with, "own", "own gateway", "multicast", "multicast gateway", "room", "room gateway")
	must(t, h.who.Grant(t.Context(), andy, "forge_sender=ticket-*@trac"))
	h.allowed("some forging", with, "own", "own gateway", "forged", "multicast", "multicast gateway", "room", "room gateway")
	must(t, h.who.Grant(t.Context(), andy, "forge_sender=*@elsewhere"))
	must(t, h.who.Revoke(t.Context(), andy, "forge_sender=ticket-*@trac"))
	h.allowed("other forging", with, "own", "own gateway", "multicast", "multicast gateway", "room", "room gateway")
	must(t, h.who.Revoke(t.Context(), andy, accounts.PermMulticast))
	h.allowed("no multicast", with, "own", "own gateway", "room", "room gateway")
	must(t, h.who.Revoke(t.Context(), andy, accounts.PermGateway))
	h.allowed("no gateway", with, "own", "room")
	must(t, h.who.SetOptions(accounts.Options{Iterations: 4096, Everyone: map[accounts.Permission][]string{}}))
	h.allowed("nothing", with)
	// What follows from being an administrator is no more than the scopes say.
	must(t, h.who.SetOptions(accounts.Options{Iterations: 4096, Admins: []jid.JID{andy}}))
	h.allowed("administrator", with, "own", "forged", "multicast", "room")
	few := h.token(nil, "send")
	h.allowed("administrator, few scopes", func(c call) call { return c.bearing(few) }, "own")
}

func TestWhatIsNoGoodTokenIsRefused(t *testing.T) {
	h := newHouse(t)
	expiring := h.token(func(s *tokens.Spec) { s.Expires = time.Now().Add(time.Hour) }, "send")
	revoked := h.token(nil, "send")
	must(t, h.tokens.Revoke(t.Context(), tokens.IDOf(revoked)))
	elsewhere := h.token(func(s *tokens.Spec) { s.CIDRs = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")} }, "send")
	here := h.token(func(s *tokens.Spec) { s.CIDRs = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")} }, "send")
	of := func(user string) string {
		return h.token(func(s *tokens.Spec) { s.Owner = jid.MustParse(user + "@" + host) }, "send")
	}
	disabled, deleted := of("skel"), of("juliet")
	hook := h.token(func(s *tokens.Spec) { s.Kind, s.Hook, s.Scopes = tokens.KindHook, "ops", tokens.Scopes{} })
	must(t, h.who.SetDisabled(t.Context(), jid.MustParse("skel@"+host), true))
	must(t, h.who.Delete(t.Context(), jid.MustParse("juliet@"+host)))
	h.ahead = time.Hour
	if w := h.do(call{body: toBob}.bearing(here)); w.Code != http.StatusOK {
		t.Fatalf("a good one: %d %s", w.Code, w.Body)
	}
	const bad = "Unauthorized. The token is not valid.\n"
	const asked = `Basic realm="im.example.org", charset="UTF-8"`
	for _, row := range []struct{ name, secret, text, reason string }{
		{"expired", expiring, "Unauthorized. The token has expired.\n", "expired"},
		{"revoked", revoked, bad, "revoked"},
		{"elsewhere", elsewhere, bad, "address"},
		{"disabled", disabled, bad, "disabled"},
		{"deleted", deleted, bad, "no such token"},
		{"unknown", tokens.Generate(tokens.KindAccount), bad, "no such token"},
		{"of a hook", hook, bad, "other kind"},
		{"of no hook", tokens.Generate(tokens.KindHook), bad, "other kind"},
		{"typing error", strings.ToUpper(here), bad, "no token"},
		{"password", password, bad, "no token"},
		{"empty", "", bad, "no token"},
		{"long", strings.Repeat("x", 5000), bad, "no token"},
	} {
		for _, path := range []string{"/message", gatewayPath} {
			h.calm()
			c := call{path: path, headers: []string{xmlType}, body: toBob}.bearing(row.secret)
			w := h.do(c)
			text := w.Body.String()
			if path == gatewayPath {
				text = strings.TrimSuffix(strings.TrimPrefix(text, `{"status":"error","message":"`), "\"}\n") + "\n"
			}
			asks := map[string][]string(w.Header())[challenge]
			if w.Code != http.StatusUnauthorized || text != row.text || len(asks) != 2 || asks[0] != asked ||
				!strings.HasPrefix(asks[1], `Bearer realm="im.example.org", error="invalid_token"`) ||
				strings.Contains(asks[1], "expired") != (row.name == "expired") {
				t.Errorf("%s on %s: %d %q %q", row.name, path, w.Code, text, asks)
			}
			if log := h.log.String(); !strings.Contains(log[strings.LastIndex(log, "status="):], row.reason) {
				t.Errorf("%s: the reason is not in %s", row.name, log)
			}
		}
	}
	// As a password it is answered as any wrong one, to the byte.
	h.calm()
	want := h.do(call{body: toBob, password: "wrong"})
	nobodys := tokens.Generate(tokens.KindAccount)
	for _, secret := range []string{expiring, revoked, elsewhere, disabled, deleted, hook, nobodys} {
		for _, user := range []string{"andy@" + host, "andy", "x"} {
			h.calm()
			got := h.do(call{body: toBob, user: user, password: secret})
			if got.Code != want.Code || got.Body.String() != want.Body.String() || challenged(got) != challenged(want) {
				t.Errorf("%s: %d %s", user, got.Code, got.Body)
			}
		}
	}
	if got := h.stored("bob@" + host); len(got) != 1 {
		t.Errorf("bob got %q", got)
	}
	for _, secret := range []string{expiring, revoked, elsewhere, here, disabled, deleted, hook} {
		if strings.Contains(h.log.String(), secret[3:29]) {
			t.Error("a token is in the log")
		}
	}
}

// calm has the throttle forget.
func (h *house) calm() {
	h.t.Helper()
	var err error
	if h.who, err = accounts.New(h.t.Context(), h.engine, accounts.Options{Iterations: 4096}); err != nil {
		h.t.Fatal(err)
	}
	h.open()
}

func TestATokenIsTakenAsAPassword(t *testing.T) {
	h := newHouse(t)
	must(t, h.who.Grant(t.Context(), jid.MustParse("andy@"+host), accounts.PermGateway))
	secret := h.token(nil, "send", "gateway")
	for _, row := range []struct {
		user          string
		message, gate int
	}{
		{"", 200, 200}, // "" of call is andy: see below
		{"token", 200, 200},
		{"bob", 200, 200}, // a name alone says nothing
		{"a b", 200, 200},
		{"andy", 200, 200},
		{"andy@" + host, 200, 200},
		{"ANDY@IM.example.org", 200, 200},
		{"andy@" + host + "/phone", 401, 200}, // as with a password
		{"bob@" + host, 401, 401},
		{"nobody@" + host, 401, 401},
		{"@", 401, 401},
	} {
		for path, want := range map[string]int{"/message": row.message, gatewayPath: row.gate} {
			c := call{path: path, headers: []string{xmlType}, body: toBob}.request()
			c.SetBasicAuth(row.user, secret)
			w := h.serve1(c)
			if w.Code != want {
				t.Errorf("%q on %s: %d %s", row.user, path, w.Code, w.Body)
			}
			if want == 401 && challenged(w) != `Basic realm="im.example.org", charset="UTF-8"` {
				t.Errorf("%q on %s: asked for %s", row.user, path, challenged(w))
			}
		}
	}
	for _, one := range h.stored("bob@" + host) {
		if !strings.Contains(one, `from='andy@im.example.org'`) && !strings.Contains(one, `from="andy@im.example.org"`) {
			t.Errorf("not andy's: %s", one)
		}
	}
	// A password that has the form of a token is still a password.
	odd := tokens.Generate(tokens.KindAccount)
	must(t, h.who.SetPassword(t.Context(), jid.MustParse("bob@"+host), odd))
	if w := h.do(call{user: "bob@" + host, password: odd, body: toBob}); w.Code != 200 {
		t.Errorf("a password like a token: %d %s", w.Code, w.Body)
	}
}

// TestATokenElsewhereInARequestOpensNothing: in a query, a path, a body it would end up in logs.
func TestATokenElsewhereInARequestOpensNothing(t *testing.T) {
	h := newHouse(t)
	secret := h.token(nil, "send")
	for name, c := range map[string]call{
		"query":        {path: "/message?token=" + secret, user: "-", body: toBob},
		"access_token": {path: "/message?access_token=" + secret, user: "-", body: toBob},
		"auth":         {path: "/message?auth=" + secret, user: "-", body: toBob},
		"form": {user: "-", body: "access_token=" + secret,
			headers: []string{"Content-Type: application/x-www-form-urlencoded"}},
		"path":        {path: "/message/" + secret, user: "-", body: toBob},
		"api account": call{path: gatewayPath + "/x", headers: []string{xmlType}, body: toBob}.bearing(secret),
		"its password": {path: gatewayPath + "/x", user: "robot", password: secret, headers: []string{xmlType},
			body: toBob},
		"scheme":    {user: "-", headers: []string{"Authorization: Token " + secret}, body: toBob},
		"no scheme": {user: "-", headers: []string{"Authorization: " + secret}, body: toBob},
		"user name": {user: secret, password: "x", body: toBob},
		"gotify":    {user: "-", headers: []string{"X-Gotify-Key: " + secret}, body: toBob},
	} {
		h.calm()
		if w := h.do(c); w.Code != 401 && w.Code != 404 || strings.Contains(w.Body.String(), secret) {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	h.nothingStored()
}

func TestATokenHasItsOwnRateAndSize(t *testing.T) {
	h := newHouse(t)
	secret := h.token(func(s *tokens.Spec) { s.Rate, s.MaxBytes = tokens.Rate{Every: time.Hour, Burst: 3}, 100 }, "send")
	c := call{body: toBob}.bearing(secret)
	if w := h.do(c); w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	large := c
	large.body = strings.Replace(toBob, "yo", strings.Repeat("y", 100), 1)
	if w := h.do(large); w.Code != 413 || !strings.Contains(w.Body.String(), "100 bytes") {
		t.Errorf("too large: %d %s", w.Code, w.Body)
	}
	if w := h.do(call{body: large.body}); w.Code != 200 {
		t.Errorf("with the password: %d %s", w.Code, w.Body)
	}
	h.do(c)
	for _, path := range []string{"/message", gatewayPath} {
		c.path = path
		w := h.do(c)
		if w.Code != 429 || w.Header().Get("Retry-After") != "3600" || !strings.Contains(w.Body.String(), "used too often") {
			t.Errorf("%s: %d %s %v", path, w.Code, w.Body, w.Header())
		}
	}
	if got := h.stored("bob@" + host); len(got) != 3 {
		t.Errorf("bob got %q", got)
	}
}

// TestFailedTokensAndPasswordsShareAThrottle: by address, and a good token opens all the same.
func TestFailedTokensAndPasswordsShareAThrottle(t *testing.T) {
	h := newHouse(t)
	good := h.token(nil, "send")
	for i := range 5 {
		c := call{body: toBob}.bearing(tokens.Generate(tokens.KindAccount))
		if i%2 == 1 {
			c = call{body: toBob, user: "x", password: tokens.Generate(tokens.KindAccount)}
		}
		if w := h.do(c); w.Code != 401 {
			t.Fatalf("%d: %d", i, w.Code)
		}
	}
	for name, c := range map[string]call{"password": {body: toBob}, "bad token": call{body: toBob}.bearing("x"),
		"bad token as a password": {body: toBob, user: "", password: tokens.Generate(tokens.KindAccount)}} {
		if w := h.do(c); w.Code != 429 || w.Header().Get("Retry-After") == "" {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	if w := h.do(call{body: toBob}.bearing(good)); w.Code != 200 {
		t.Errorf("a good token: %d %s", w.Code, w.Body)
	}
	if w := h.do(call{body: toBob, user: "any", password: good}); w.Code != 200 {
		t.Errorf("a good token as a password: %d %s", w.Code, w.Body)
	}
}

func TestTheLogSaysWhichTokenPosted(t *testing.T) {
	h := newHouse(t)
	secret := h.token(nil, "send:to=bob@"+host, "multicast")
	h.do(call{body: toBob}.bearing(secret))
	w := h.do(call{body: list("bob@"+host, "skel@"+host), headers: []string{"Prefer: handling=lenient", "Accept: application/json"}}.bearing(secret))
	if w.Code != 200 || !strings.Contains(w.Body.String(), `{"jid":"skel@im.example.org","outcome":"refused","reason":"token-scope"}`) {
		t.Errorf("lenient: %d %s", w.Code, w.Body)
	}
	w = h.do(call{body: strings.Replace(toBob, "bob@", "skel@", 1)}.bearing(secret))
	if w.Code != 403 || w.Body.String() != "Forbidden: the message may not go to skel@im.example.org (token-scope).\n" {
		t.Errorf("another: %d %s", w.Code, w.Body)
	}
	log := h.log.String()
	if n := strings.Count(log, " token="+tokens.IDOf(secret)); n != 3 || strings.Contains(log, secret) {
		t.Errorf("%d times in %s", n, log)
	}
}

// TestStorageThatIsAwayIsNoWrongToken: nobody throws a token away because of that.
func TestStorageThatIsAwayIsNoWrongToken(t *testing.T) {
	h := newHouse(t)
	secret := h.token(nil, "send")
	h.engine.Fail(http.ErrServerClosed)
	for name, c := range map[string]call{"bearer": call{body: toBob}.bearing(secret), "basic": {user: "x", password: secret, body: toBob}} {
		if w := h.do(c); w.Code != 503 || w.Header().Get("Retry-After") == "" {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}
