package operation

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"jackdaw/router/tokens"
	"jackdaw/testsuite/harness"
)

// A poster posts with tokens and keeps what comes back.
type poster struct {
	t      *testing.T
	s      *harness.Server
	web    *http.Client
	bodies strings.Builder // heads and bodies of all answers
}

func newPoster(t *testing.T, s *harness.Server) *poster {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	t.Cleanup(transport.CloseIdleConnections)
	return &poster{t: t, s: s, web: &http.Client{Transport: transport, Jar: jar}}
}

// do makes a request that show has prepared, and returns the status and the body.
func (p *poster) do(method, url, body string, show func(*http.Request)) (int, string) {
	p.t.Helper()
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/xml")
	if show != nil {
		show(r)
	}
	resp, err := p.web.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	fmt.Fprintf(&p.bodies, "%v\n%s\n", resp.Header, b)
	return resp.StatusCode, string(b)
}

// printed is the token in what a command has written.
func printed(t *testing.T, out string) string {
	t.Helper()
	for _, one := range regexp.MustCompile(`jd[th][a-z0-9]{33}`).FindAllString(out, -1) {
		if _, ok := tokens.KindOf(one); ok {
			return one
		}
	}
	t.Fatalf("no token in %q", out)
	return ""
}

func bearer(token string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
}

func basic(user, token string) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth(user, token) }
}

// post posts to bob with a token, and returns the status.
func (p *poster) post(token string) int {
	p.t.Helper()
	status, _ := p.do("POST", "http://"+p.s.HTTP+"/message", yo, bearer(token))
	return status
}

// TestATokenOpensUntilItIsRevoked is its life, on each engine, with the server killed in between.
func TestATokenOpensUntilItIsRevoked(t *testing.T) {
	for _, engine := range harness.Engines {
		t.Run(string(engine), func(t *testing.T) {
			s := harness.Start(t, harness.Options{Place: harness.Place{Engine: engine}, Users: []string{"alice", "bob"}})
			p := newPoster(t, s)
			add := func(args ...string) string {
				t.Helper()
				return printed(t, s.Command("", append([]string{"token", "add", "alice@localhost"}, args...)...))
			}
			wants := func(what, token string, want int) {
				t.Helper()
				if got := p.post(token); got != want {
					t.Errorf("%s: %d, want %d", what, got, want)
				}
			}
			keep, end, elsewhere := add("--label", "keep"), add("--label", "end"), add("--cidr", "192.0.2.0/24")
			wants("made", keep, 200)
			wants("made", end, 200)
			wants("from elsewhere", elsewhere, 401)
			s.Command("", "token", "revoke", tokens.IDOf(end))
			wants("revoked", end, 401)
			next := printed(t, s.Command("", "token", "rotate", tokens.IDOf(keep)))
			wants("rotated", keep, 200)
			wants("in its place", next, 200)
			s.Kill()
			s.Launch()
			wants("revoked, after a crash", end, 401)
			wants("in its place, after a crash", next, 200)
			s.Stop()
			if list := s.Command("", "token", "list", "alice@localhost"); !strings.Contains(list, "\tgood\t1\t") {
				t.Errorf("the use is not written at the end: %s", list)
			}
			offline := add("--scope", "muc")
			s.Command("", "token", "revoke", tokens.IDOf(keep))
			s.Launch()
			wants("revoked without a server", keep, 401)
			wants("for rooms alone", offline, 403)
			s.Command("", "user", "disable", "alice@localhost")
			wants("of a disabled account", next, 401)
			s.Command("", "user", "enable", "alice@localhost")
			s.Command("", "user", "passwd", "alice@localhost", "--generate")
			wants("after another password", next, 200)
			s.Command("", "user", "del", "alice@localhost")
			wants("of a removed account", next, 401)
			s.AddUser("alice")
			wants("of an account of the same name", next, 401)
			if list := s.Command("", "token", "list"); list != "" {
				t.Errorf("left: %s", list)
			}
		})
	}
}

// TestNoTokenIsAPasswordForXMPP tries it by each mechanism, in the old profile and the new one.
func TestNoTokenIsAPasswordForXMPP(t *testing.T) {
	s := harness.Start(t, harness.Options{Users: []string{"alice", "bob"}})
	token := printed(t, s.Command("", "token", "add", "alice@localhost"))
	b64 := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
	mac := hmac.New(sha256.New, []byte(token))
	mac.Write([]byte("Initiator"))
	agent := "<user-agent id='d4565fa7-4d72-4749-b3d3-740edbf87770'/>"
	first := "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='%s'>%s</auth>"
	second := "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='%s'><initial-response>%s</initial-response>%s</authenticate>"
	for what, xml := range map[string]string{
		"PLAIN":            fmt.Sprintf(first, "PLAIN", b64("\x00alice\x00"+token)),
		"PLAIN of SASL2":   fmt.Sprintf(second, "PLAIN", b64("\x00alice\x00"+token), ""),
		"token of SASL2":   fmt.Sprintf(second, "HT-SHA-256-NONE", b64("alice\x00"+string(mac.Sum(nil))), agent+"<fast xmlns='urn:xmpp:fast:0'/>"),
		"as the user name": fmt.Sprintf(first, "PLAIN", b64("\x00"+token+"\x00"+token)),
	} {
		c, err := harness.Open(s.C2STLS, false)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Next(); err != nil { // features
			t.Fatal(err)
		}
		if err := c.Send(xml); err != nil {
			t.Fatal(err)
		}
		if el, err := c.Next(); err != nil || !strings.HasPrefix(el, "<failure") || !strings.Contains(el, "not-authorized") {
			t.Errorf("%s: %s, %v", what, el, err)
		}
		c.Close()
	}
	p := newPoster(t, s)
	if status, _ := p.do("POST", "http://"+s.HTTP+"/message", yo, bearer(token)); status != 200 {
		t.Errorf("the token posts no more: %d", status)
	}
	if strings.Contains(s.Log(), token[3:29]) {
		t.Error("the token is in the log")
	}
}

// TestNoTokenIsSeenAgain has tokens in every place where they are taken and where they are not, with the log at its
// fullest, and looks for them in all that comes out of the server.
func TestNoTokenIsSeenAgain(t *testing.T) {
	s := harness.Start(t, harness.Options{Users: []string{"admin", "alice", "bob"}, Config: "log: {level: debug}\n"})
	p := newPoster(t, s)
	account := printed(t, s.Command("", "token", "add", "alice@localhost", "--scope", "send", "--scope", "gateway", "--label", "seen"))
	hook := printed(t, s.Command("", "hook", "add", "ops", "--to", "bob@localhost", "--owner", "alice@localhost"))
	revoked := printed(t, s.Command("", "token", "add", "alice@localhost"))
	s.Command("", "token", "revoke", tokens.IDOf(revoked))
	s.Command("", "user", "grant", "alice@localhost", "xmppgateway")
	secrets := []string{account, hook, revoked, tokens.Generate(tokens.KindAccount)}

	plain, secure := "http://"+s.HTTP, "https://"+s.HTTPS
	gateway := plain + "/api/1.0/xmppdomains/localhost/gateway/messages"
	if status, text := p.do("POST", gateway, yo, bearer(account)); status != 200 {
		t.Errorf("the gateway: %d %s", status, text)
	}
	if status, text := p.do("POST", secure+"/message", yo, basic("x", account)); status != 200 {
		t.Errorf("HTTPS: %d %s", status, text)
	}
	if status, text := p.do("POST", plain+"/hooks/"+hook, "yo", func(r *http.Request) {
		r.Header.Set("Content-Type", "text/plain")
	}); status != 200 {
		t.Errorf("the hook: %d %s", status, text)
	}
	for _, one := range secrets {
		half := 3 + 16
		for _, at := range []string{"/message", "/message?token=" + one, "/message?access_token=" + one, "/message/" + one, "/" + one,
			"/hooks/" + one, "/hooks/" + one + "/slack", "/hooks/" + one[:half] + "/" + one[half:], "/hooks/" + one[:35], "/ntfy/x?auth=" + one,
			"/gotify/message?token=" + one, "/upload/" + one, "/invite/" + one, "/admin/" + one, "/api/1.0/xmppdomains/" + one + "/gateway/messages",
			"/api/1.0/xmppdomains/localhost/gateway/messages/" + one, "/.well-known/acme-challenge/" + one} {
			for _, show := range []func(*http.Request){nil, bearer(one), basic("alice@localhost", one), basic(one, "x"), basic("", one),
				func(r *http.Request) { r.Header.Set("X-Gotify-Key", one) }, func(r *http.Request) { r.Header.Set("X-Gitlab-Token", one) },
				func(r *http.Request) {
					r.Header.Set("Authorization", "Token "+one)
					r.Header.Set("Referer", plain+"/"+one)
				}} {
				p.do("POST", plain+at, yo, show)
				p.do("GET", plain+at, "", show)
			}
		}
		if _, err := harness.Connect(s.C2STLS, one, "x"); err == nil {
			t.Error("a token is a user")
		}
	}

	// What administrators see.
	admin := func(path string, form url.Values) string {
		t.Helper()
		method, body := "GET", ""
		if form != nil {
			method, body = "POST", form.Encode()
		}
		_, text := p.do(method, secure+"/admin"+path, body, func(r *http.Request) {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.Header.Set("Origin", secure)
			r.Header.Set("Sec-Fetch-Site", "same-origin")
		})
		return text
	}
	admin("/login", url.Values{"name": {account}, "password": {account}})
	field := regexp.MustCompile(`name="token" value="([^"]*)"`)
	login := url.Values{"name": {"admin@localhost"}, "password": {harness.Password}}
	if m := field.FindStringSubmatch(admin("/login", nil)); m != nil {
		login.Set("token", m[1])
	}
	admin("/login", login)
	if page := admin("/account?jid=alice@localhost", nil); !strings.Contains(page, "seen") || !strings.Contains(page, tokens.IDOf(account)) {
		t.Errorf("the page of the account has no token: %.3000s", page)
	}
	if page := admin("/posts", nil); !strings.Contains(page, "alice@localhost") {
		t.Errorf("the page of posts has none: %.3000s", page)
	}
	for _, path := range []string{"", "/accounts", "/log", "/log?level=info", "/reports", "/storage", "/doctor", "/sessions"} {
		admin(path, nil)
	}
	c, err := harness.Connect(s.C2STLS, "admin", "x")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	list, err := c.Ask("d", "<iq type='get' id='d' to='localhost'><query xmlns='http://jabber.org/protocol/disco#items' node='http://jabber.org/protocol/commands'/></iq>")
	if err != nil {
		t.Fatal(err)
	}
	nodes := regexp.MustCompile(`node=['"]([^'"]+)['"]`).FindAllStringSubmatch(list, -1)
	said := list
	for i, n := range nodes {
		el, err := c.Ask(fmt.Sprint("c", i), fmt.Sprintf("<iq type='set' id='c%d' to='localhost'><command xmlns='http://jabber.org/protocol/commands' node='%s'/></iq>", i, n[1]))
		if err != nil {
			t.Fatal(err)
		}
		said += el
	}
	if len(nodes) < 5 {
		t.Errorf("commands: %s", list)
	}
	_, metrics := p.do("GET", "http://"+s.Metrics+"/metrics", "", nil)
	commands := s.Command("", "token", "list") + s.Command("", "token", "list", "--json") + s.Command("", "hook", "list") +
		s.Command("", "hook", "show", "ops", "--json") + s.Command("", "user", "show", "alice@localhost", "--json") + s.Command("", "export")
	s.Stop()
	if log := s.Log(); !strings.Contains(log, "level=DEBUG") || strings.Count(log, "http post") < 100 || !strings.Contains(log, "/message/jdt…") {
		t.Errorf("the log does not have what it should: %.2000s", log)
	}
	for where, text := range map[string]string{"log": s.Log(), "answers": p.bodies.String(), "commands in clients": said, "metrics": metrics,
		"commands": commands} {
		if len(text) < 500 {
			t.Errorf("%s: only %q", where, text)
		}
		for _, one := range secrets {
			// Its random part, whole or by halves; the domain and the name in a path are what the client has said itself.
			for _, part := range []string{one[3:29], one[3:16], one[17:29]} {
				if i := strings.Index(text, part); i >= 0 {
					t.Errorf("%s: a token: %q", where, text[max(0, i-200):min(len(text), i+60)])
					break
				}
			}
		}
	}
}
