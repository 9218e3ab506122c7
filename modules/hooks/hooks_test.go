package hooks

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"jackdaw/modules/internal/posting"
	"jackdaw/router"
	"jackdaw/router/accounts"
	"jackdaw/router/tokens"
	"jackdaw/storage"
	"jackdaw/storage/embedded"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
	"jackdaw/xmpp/sasl"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	romeo, juliet = jid.MustParse("romeo@example.org"), jid.MustParse("juliet@example.org")
	coven         = jid.MustParse("coven@rooms.example.org")
)

// A shed is a service with its accounts and tokens, and remembers what was posted.
type shed struct {
	*Hooks
	t        testing.TB
	engine   storage.Engine
	accounts *accounts.Service
	tokens   *tokens.Service
	log      bytes.Buffer
	set      Settings
	secrets  map[string]string // of hooks

	mu    sync.Mutex // guards what follows
	posts []posting.Draft
	keys  map[string]string // what was posted with a key
	post  func(d posting.Draft) (posting.Report, error)
}

func open(t testing.TB) *shed {
	t.Helper()
	s := &shed{t: t, set: Settings{MaxBody: 64 << 10, MaxText: 1000, BodyTime: time.Second}, secrets: map[string]string{},
		keys: map[string]string{}}
	var err error
	if s.engine, err = embedded.Open(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.engine.Close() })
	if s.accounts, err = accounts.New(t.Context(), s.engine, accounts.Options{Iterations: sasl.MinIterations,
		Everyone: map[accounts.Permission][]string{accounts.PermHTTPMessage: {"*"}}}); err != nil {
		t.Fatal(err)
	}
	for _, u := range []jid.JID{romeo, juliet} {
		if err := s.accounts.Create(t.Context(), u, "secret"); err != nil {
			t.Fatal(err)
		}
	}
	s.tokens = tokens.New(tokens.Options{Store: s.engine.Map(tokens.Space), Accounts: s.accounts})
	s.Hooks = New(Options{Store: s.engine, Tokens: s.tokens, Accounts: s.accounts, Post: s.record,
		Serves: func(domain string) bool { return domain == "example.org" },
		Rooms:  func() []string { return []string{"rooms.example.org"} },
		Face: func(host string) string {
			if host == "ntfy.example.org" {
				return "ntfy"
			}
			return ""
		},
		Settings: func() Settings { return s.set }, Log: slog.New(slog.NewTextHandler(&s.log, nil))})
	return s
}

// record is the posting.Post of tests: all that is posted is stored, rooms give it an id, and a key is known again.
func (s *shed) record(_ context.Context, d posting.Draft) (posting.Report, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d.Stanza.Payload = bytes.Clone(d.Stanza.Payload)
	if s.post != nil {
		if r, err := s.post(d); err != nil || r.ID != "" {
			return r, err
		}
	}
	if d.Key != "" {
		switch body, again := s.keys[d.Key]; {
		case again && body != string(d.Stanza.Payload):
			return posting.Report{}, &posting.Refusal{Status: http.StatusUnprocessableEntity, Text: "another request"}
		case again:
			return posting.Report{ID: "m-again", Replayed: true}, nil
		}
		s.keys[d.Key] = string(d.Stanza.Payload)
	}
	s.posts = append(s.posts, d)
	r := posting.Report{ID: "m-1"}
	for _, to := range d.To {
		one := posting.Recipient{To: to, Outcome: router.Stored}
		if to.Domain() == "rooms.example.org" {
			one.Outcome, one.StanzaID = router.Delivered, uint64(1000+len(s.posts))
		}
		r.Recipients = append(r.Recipients, one)
	}
	return r, nil
}

// add makes a hook to juliet and returns its path.
func (s *shed) add(name string, with func(h *Hook)) string {
	s.t.Helper()
	h := Hook{Name: name, Owner: romeo, To: []jid.JID{juliet}}
	if with != nil {
		with(&h)
	}
	_, secret, err := s.Add(s.t.Context(), h, "")
	if err != nil {
		s.t.Fatal(err)
	}
	s.secrets[name] = secret
	return "/hooks/" + secret
}

// ask sends a request, whose headers are lines, and returns the answer.
func (s *shed) ask(method, path, header, body string) *http.Response {
	s.t.Helper()
	r := httptest.NewRequest(method, "http://example.org"+path, strings.NewReader(body))
	for line := range strings.SplitSeq(header, "\n") {
		if name, value, ok := strings.Cut(line, ": "); ok {
			if name == "Host" {
				r.Host = value
				continue
			}
			r.Header.Add(name, value)
		}
	}
	w := httptest.NewRecorder()
	if !s.Owns(r) {
		w.WriteHeader(http.StatusTeapot) // not for hooks
		return w.Result()
	}
	s.ServeHTTP(w, r)
	got := w.Result()
	if got.StatusCode/100 == 3 || got.StatusCode == 207 || got.StatusCode == 429 {
		s.t.Errorf("%s %s: status %d", method, path, got.StatusCode)
	}
	if got.Header.Get("Cache-Control") != "no-store" {
		s.t.Errorf("%s %s may be cached", method, path)
	}
	return got
}

// posted are the messages since it was last asked.
func (s *shed) posted() (list []posting.Draft) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list, s.posts = s.posts, nil
	return list
}

var bodyOf = regexp.MustCompile(`(?s)<body>(.*?)</body>`)

func body(d posting.Draft) string {
	if m := bodyOf.FindStringSubmatch(string(d.Stanza.Payload)); m != nil {
		return m[1]
	}
	return ""
}

const plain = "Content-Type: text/plain"

// docs/hooks.md §3: credentials are found in one order, and a token counts where it belongs.
func TestWaysIn(t *testing.T) {
	s := open(t)
	s.add("ops", nil)
	s.add("news", func(h *Hook) { h.Owner = juliet })
	s.add("free", func(h *Hook) { h.Open = true })
	T, other := s.secrets["ops"], s.secrets["news"]
	scopes, err := tokens.ParseScopes("hook:ops", "hook:news")
	if err != nil {
		t.Fatal(err)
	}
	mine, _, err := s.tokens.Make(t.Context(), tokens.Spec{Kind: tokens.KindAccount, Owner: romeo, Scopes: scopes})
	if err != nil {
		t.Fatal(err)
	}
	basic := func(user, password string) string {
		r := http.Request{Header: http.Header{}}
		r.SetBasicAuth(user, password)
		return "Authorization: " + r.Header.Get("Authorization")
	}
	typo := T[:20] + "7" + T[21:]
	if T[20] == '7' {
		typo = T[:20] + "6" + T[21:]
	}
	for _, one := range []struct {
		name, method, path, header string
		status                     int
	}{
		{"path", "POST", "/hooks/" + T, plain, 200},
		{"put", "PUT", "/hooks/" + T, plain, 200},
		{"a slash at the end", "POST", "/hooks/" + T + "/", plain, 200},
		{"with a kind", "POST", "/hooks/" + T + "/text", "", 200},
		{"with no kind", "POST", "/hooks/" + T + "/nothing", plain, 404},
		{"two parts", "POST", "/hooks/" + T[:10] + "/" + T[10:], plain, 200},
		{"two parts, the prefix first", "POST", "/hooks/jdh/" + T[3:], plain, 200},
		{"two parts of two tokens", "POST", "/hooks/" + T[:10] + "/" + other[10:], plain, 404},
		{"a typing error", "POST", "/hooks/" + typo, plain, 401},
		{"nothing", "POST", "/hooks", plain, 401},
		{"a name alone", "POST", "/hooks/ops", plain, 401},
		{"a name that is none", "POST", "/hooks/nobody", plain, 401},
		{"bearer", "POST", "/hooks", plain + "\nAuthorization: Bearer " + T, 200},
		{"bearer in small letters", "POST", "/hooks", plain + "\nAuthorization: bearer " + T, 200},
		{"bearer and a kind", "POST", "/hooks/text", "Authorization: Bearer " + T, 200},
		{"bearer and the name", "POST", "/hooks/ops", plain + "\nAuthorization: Bearer " + T, 200},
		{"bearer and another name", "POST", "/hooks/news", plain + "\nAuthorization: Bearer " + T, 403},
		{"password", "POST", "/hooks", plain + "\n" + basic("any", T), 200},
		{"password without a user", "POST", "/hooks", plain + "\n" + basic("", T), 200},
		{"user without a password", "POST", "/hooks", plain + "\n" + basic(T, ""), 401},
		{"gotify's header", "POST", "/hooks", plain + "\nX-Gotify-Key: " + T, 200},
		{"gitlab's header", "POST", "/hooks", plain + "\nX-Gitlab-Token: " + T, 200},
		{"a header before the path", "POST", "/hooks/" + typo, plain + "\nAuthorization: Bearer " + T, 200},
		{"credentials of something else", "POST", "/hooks/" + T, plain + "\n" + basic("proxy", "secret"), 200},
		{"query", "POST", "/hooks?token=" + T, plain, 401},
		{"an account's token", "POST", "/hooks/ops", plain + "\nAuthorization: Bearer " + mine, 200},
		{"an account's token, another's hook", "POST", "/hooks/news", plain + "\nAuthorization: Bearer " + mine, 401},
		{"an account's token, out of scope", "POST", "/hooks/free", plain + "\nAuthorization: Bearer " + mine, 403},
		{"an account's token without a name", "POST", "/hooks", plain + "\nAuthorization: Bearer " + mine, 401},
		{"an account's token in the path", "POST", "/hooks/" + mine, plain, 401},
		{"get", "GET", "/hooks/" + T + "/text", "", 405},
		{"get, with something to say", "GET", "/hooks/" + T + "?message=x", "", 405},
		{"delete", "DELETE", "/hooks/" + T, "", 405},
		{"options", "OPTIONS", "/hooks/" + T, "", 405},
		{"an open hook on a path of its own", "POST", "/hooks/free", plain, 401},
		{"gotify without a token", "POST", "/gotify/message", plain, 401},
		{"gotify, elsewhere", "POST", "/gotify/stream?token=" + T, plain, 404},
		{"ntfy, a topic", "POST", "/ntfy/ops", plain, 401},
		{"ntfy, to read", "GET", "/ntfy/ops/json", "Authorization: Bearer " + T, 404},
		{"no hook at all", "POST", "/hook", plain, http.StatusTeapot},
		{"likewise", "POST", "/hooksy/" + T, plain, http.StatusTeapot},
	} {
		s.posted()
		got := s.ask(one.method, one.path, one.header, `{"text":"x"}`)
		if got.StatusCode != one.status || (len(s.posted()) > 0) != (one.status == 200) {
			text, _ := io.ReadAll(got.Body)
			t.Errorf("%s: %d %s, want %d", one.name, got.StatusCode, text, one.status)
		}
	}
	// Nothing says what opens a hook.
	for _, secret := range []string{T, other, mine, typo} {
		if strings.Contains(s.log.String(), secret) || strings.Contains(s.log.String(), secret[3:20]) {
			t.Errorf("a token is in the log:\n%s", s.log.String())
		}
	}
}

func TestWhoseRequestItIs(t *testing.T) {
	s := open(t)
	const token = "jdhmkjvcrj3nrmhrr3ojxwh4ttxtq6h5cpjm"
	for _, one := range []struct {
		method, path, header string
		owns                 bool
	}{
		{"POST", "/message", "", false},
		{"POST", "/message?token=x", "", false},
		{"POST", "/message?token=" + token, "", true},
		{"POST", "/message?token=jdhwrong", "", true},
		{"POST", "/message?token=" + token, "Authorization: Basic eDp5", false},
		{"POST", "/message", "X-Gotify-Key: " + token + "\nAuthorization: basic eDp5", false},
		{"POST", "/message", "X-Gotify-Key: " + token, true},
		{"POST", "/message", "Authorization: Bearer " + token, true},
		{"POST", "/message", "Authorization: Bearer jdt" + token[3:], false},
		{"POST", "/message", "Authorization: Bearer other", false},
		{"GET", "/gotify/version", "", true},
		{"POST", "/ntfy", "", true},
		{"POST", "/", "", false},
		{"POST", "/topic", "", false},
		{"POST", "/", "Host: ntfy.example.org:443", true},
		{"GET", "/", "Host: ntfy.example.org", false},
		{"POST", "/topic", "Host: ntfy.example.org", true},
		{"PUT", "/topic", "Host: ntfy.example.org", true},
		{"GET", "/topic/publish", "Host: ntfy.example.org", true},
		{"GET", "/topic", "Host: ntfy.example.org", false},
		{"GET", "/topic/json", "Host: ntfy.example.org", false},
		{"POST", "/message", "Host: ntfy.example.org", false},
		{"POST", "/api/1.0/xmppdomains/x/gateway/messages", "Host: ntfy.example.org", false},
		{"GET", "/.well-known/host-meta", "Host: ntfy.example.org", false},
		{"GET", "/v1/health", "Host: ntfy.example.org", true},
		{"GET", "/v1/health", "", false},
	} {
		r := httptest.NewRequest(one.method, "http://example.org"+one.path, nil)
		for line := range strings.SplitSeq(one.header, "\n") {
			if name, value, ok := strings.Cut(line, ": "); ok {
				if r.Header.Set(name, value); name == "Host" {
					r.Host = value
				}
			}
		}
		if s.Owns(r) != one.owns {
			t.Errorf("%s %s %s: %v", one.method, one.path, one.header, !one.owns)
		}
	}
	for path, want := range map[string]string{"/gotify/version": "version", "/gotify/health": "green", "/ntfy/v1/health": "healthy"} {
		got := s.ask("GET", path, "", "")
		if text, _ := io.ReadAll(got.Body); got.StatusCode != 200 || !strings.Contains(string(text), want) {
			t.Errorf("%s: %d %s", path, got.StatusCode, text)
		}
	}
}

func TestKindsAndMethods(t *testing.T) {
	s := open(t)
	s.add("any", nil)
	s.add("alerts", func(h *Hook) { h.Kind = "alertmanager" })
	s.add("get", func(h *Hook) { h.Get, h.Kind = true, "text" })
	path := func(name, rest string) string { return "/hooks/" + s.secrets[name] + rest }
	const alert = `{"version":"4","status":"firing","groupKey":"g","alerts":[{"status":"firing","labels":{"alertname":"A"}}]}`
	for _, one := range []struct {
		name, method, path, header, body string
		status                           int
	}{
		{"found out", "POST", path("any", ""), "Content-Type: application/json", alert, 200},
		{"named", "POST", path("any", "/alertmanager"), "", alert, 200},
		{"named wrongly", "POST", path("any", "/alertmanager"), "", "x", 400},
		{"fixed", "POST", path("alerts", ""), "", alert, 200},
		{"fixed, and named", "POST", path("alerts", "/alertmanager"), "", alert, 200},
		{"fixed, and another named", "POST", path("alerts", "/text"), "", "x", 400},
		{"nobody's", "POST", path("any", ""), "Content-Type: application/json", `{"unheard":1}`, 400},
		{"no text", "POST", path("any", ""), plain, " ", 400},
		{"compressed", "POST", path("any", ""), plain + "\nContent-Encoding: gzip", "x", 415},
		{"too large", "POST", path("any", ""), plain, strings.Repeat("x", 64<<10+1), 413},
		{"as large as may be", "POST", path("any", ""), plain, strings.Repeat("x", 64<<10), 200},
		{"get, where it may", "GET", path("get", ""), "", "x", 200},
	} {
		got := s.ask(one.method, one.path, one.header, strings.Replace(one.body, `"g"`, `"`+one.name+`"`, 1))
		if got.StatusCode != one.status || (len(s.posted()) > 0) != (one.status == 200) {
			text, _ := io.ReadAll(got.Body)
			t.Errorf("%s: %d %s, want %d", one.name, got.StatusCode, text, one.status)
		}
	}
}

func TestSignatures(t *testing.T) {
	s := open(t)
	path := s.add("signed", func(h *Hook) { h.HMAC, h.Kind = "It's a Secret to Everybody", "text" })
	const text = "Hello, World!"
	// GitHub's documentation has this one for the secret and the text.
	const good = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
	for _, one := range []struct {
		header string
		status int
	}{
		{"", 401}, {"X-Hub-Signature-256: sha256=" + good, 200}, {"X-Gitea-Signature: " + good, 200},
		{"X-Forgejo-Signature: " + good, 200}, {"X-Gogs-Signature: " + good, 200},
		{"X-Grafana-Alerting-Signature: " + good, 200},
		{"X-Hub-Signature-256: sha256=" + strings.Replace(good, "7", "8", 1), 401},
		{"X-Hub-Signature-256: sha256=", 401}, {"X-Hub-Signature: sha1=" + good, 401},
		{"X-Hub-Signature-256: sha256=" + good[:10], 401},
		// A time that is signed, too, is looked at.
		{"X-Grafana-Alerting-Signature: " + good + "\nX-Grafana-Alerting-Timestamp: 1700000000", 401},
	} {
		if got := s.ask("POST", path, one.header, text); got.StatusCode != one.status {
			t.Errorf("%q: %d, want %d", one.header, got.StatusCode, one.status)
		}
	}
	if got := s.ask("POST", path, "X-Hub-Signature-256: sha256="+good, text+"x"); got.StatusCode != 401 {
		t.Errorf("another text: %d", got.StatusCode)
	}
}

func TestASignedTimeMustBeNear(t *testing.T) {
	// HMAC-SHA256 with the key "k" of "1700000000:x".
	h := http.Header{}
	h.Set("X-Grafana-Alerting-Timestamp", "1700000000")
	h.Set("X-Grafana-Alerting-Signature", "sum")
	at := time.Unix(1700000000, 0)
	if signed(h, []byte("x"), "k", at) {
		t.Error("no signature is good")
	}
	h.Set("X-Grafana-Alerting-Signature", mac("k", "1700000000:x"))
	for ahead, want := range map[time.Duration]bool{0: true, 14 * time.Minute: true, -14 * time.Minute: true,
		16 * time.Minute: false, -16 * time.Minute: false} {
		if signed(h, []byte("x"), "k", at.Add(ahead)) != want {
			t.Errorf("after %v: %v", ahead, !want)
		}
	}
}

func TestNamesAndRowsThatAreWrong(t *testing.T) {
	s := open(t)
	s.add("ops", nil)
	for name, with := range map[string]func(h *Hook){
		"no name":            func(h *Hook) { h.Name = "" },
		"a space":            func(h *Hook) { h.Name = "a b" },
		"a kind":             func(h *Hook) { h.Name = "text" },
		"a token":            func(h *Hook) { h.Name = "jdhx" },
		"too long":           func(h *Hook) { h.Name = strings.Repeat("a", 65) },
		"taken":              func(h *Hook) { h.Name = "ops" },
		"no kind":            func(h *Hook) { h.Kind = "nothing" },
		"nobody":             func(h *Hook) { h.To = nil },
		"an empty address":   func(h *Hook) { h.To = []jid.JID{{}} },
		"a remote room":      func(h *Hook) { h.To = []jid.JID{jid.MustParse("a@conference.example.net")} },
		"no owner":           func(h *Hook) { h.Owner = jid.JID{} },
		"an unknown owner":   func(h *Hook) { h.Owner = jid.MustParse("nobody@example.org") },
		"no event":           func(h *Hook) { h.Events = []string{"nothing"} },
		"no pattern":         func(h *Hook) { h.OverrideTo = []string{"a@"} },
		"no level":           func(h *Hook) { h.NoStore = "loud" },
		"the highest level":  func(h *Hook) { h.NoStore = "critical" },
		"no template":        func(h *Hook) { h.Template = "{{" },
		"a nick too long":    func(h *Hook) { h.Nick = strings.Repeat("a", 201) },
		"a nick that is bad": func(h *Hook) { h.Nick = "a\x00" },
	} {
		h := Hook{Name: "new", Owner: romeo, To: []jid.JID{juliet}}
		with(&h)
		if _, _, err := s.Add(t.Context(), h, ""); err == nil {
			t.Errorf("%s: it is made", name)
		}
	}
	if all, err := s.List(t.Context()); err != nil || len(all) != 1 {
		t.Errorf("hooks %v, %v", all, err)
	}
	if list, err := s.tokens.List(t.Context(), romeo); err != nil || len(list) != 1 {
		t.Errorf("tokens %v, %v", list, err)
	}
}

func TestALifeOfAHook(t *testing.T) {
	s := open(t)
	ctx := t.Context()
	path := s.add("ops", nil)
	ok := func(path string) bool { return s.ask("POST", path, plain, "x").StatusCode == 200 }
	if !ok(path) {
		t.Fatal("the hook is shut")
	}
	h, err := s.Change(ctx, "ops", func(h *Hook) error { h.Kind, h.Name, h.Owner = "text", "other", juliet; return nil })
	if err != nil || h.Kind != "text" || h.Name != "ops" || h.Owner != romeo {
		t.Errorf("changed to %+v, %v", h, err)
	}
	if _, err := s.Change(ctx, "ops", func(h *Hook) error { h.Kind = "x"; return nil }); err == nil {
		t.Error("changed to a kind that is none")
	}
	_, secret, err := s.Rotate(ctx, "ops", time.Hour)
	if err != nil || !ok("/hooks/"+secret) || !ok(path) {
		t.Errorf("rotated: %v", err)
	}
	_, third, err := s.Rotate(ctx, "ops", 0)
	if err != nil || !ok("/hooks/"+third) || ok("/hooks/"+secret) {
		t.Errorf("rotated at once: %v", err)
	}
	if r, err := s.Test(ctx, "ops"); err != nil || r.Outcome != Sent || len(r.Recipients) != 1 {
		t.Errorf("tested: %+v, %v", r, err)
	}
	if list := s.posted(); body(list[len(list)-1]) != "ops: hook works" {
		t.Errorf("tested with %q", body(list[len(list)-1]))
	}
	if err := s.Remove(ctx, "ops"); err != nil || ok("/hooks/"+third) || ok(path) {
		t.Errorf("removed: %v", err)
	}
	if list, err := s.tokens.List(ctx, romeo); err != nil || len(list) != 0 {
		t.Errorf("tokens left: %v, %v", list, err)
	}
	for _, f := range []func() error{
		func() error { return s.Remove(ctx, "ops") },
		func() error { _, err := s.Test(ctx, "ops"); return err },
		func() error { _, _, err := s.Rotate(ctx, "ops", 0); return err },
		func() error { _, err := s.Change(ctx, "ops", func(*Hook) error { return nil }); return err },
	} {
		if err := f(); !errors.Is(err, ErrNoHook) {
			t.Errorf("of a hook that is not there: %v", err)
		}
	}
	// An account goes with its hooks; those of others stay.
	s.add("mine", nil)
	s.add("hers", func(h *Hook) { h.Owner = juliet })
	if err := s.Module().Removed(romeo); err != nil {
		t.Fatal(err)
	}
	if all, err := s.List(ctx); err != nil || len(all) != 1 || all[0].Name != "hers" {
		t.Errorf("left: %v, %v", all, err)
	}
}

func TestWhatProgramsAreToldOfRefusals(t *testing.T) {
	s := open(t)
	path := s.add("ops", nil)
	for _, one := range []struct {
		refusal posting.Refusal
		status  int
		retry   string
	}{
		{posting.Refusal{Status: 403, Text: "no"}, 403, ""},
		{posting.Refusal{Status: 404, Text: "no"}, 403, ""},
		{posting.Refusal{Status: 429, Text: "slow", Retry: 7}, 503, "7"},
		{posting.Refusal{Status: 503, Text: "later", Retry: 5}, 503, "5"},
		{posting.Refusal{Status: 500, Text: "fault"}, 503, "1"},
		{posting.Refusal{Status: 409, Text: "at once"}, 503, "1"},
	} {
		s.post = func(posting.Draft) (posting.Report, error) { return posting.Report{}, &one.refusal }
		got := s.ask("POST", path, plain, "x")
		if got.StatusCode != one.status || got.Header.Get("Retry-After") != one.retry {
			t.Errorf("%d: %d after %q, want %d after %q", one.refusal.Status, got.StatusCode, got.Header.Get("Retry-After"),
				one.status, one.retry)
		}
	}
	s.post = func(d posting.Draft) (posting.Report, error) {
		return posting.Report{ID: "m", Recipients: []posting.Recipient{{To: juliet, Outcome: router.Refused, Reason: "forbidden"}}}, nil
	}
	if got := s.ask("POST", path, plain, "x"); got.StatusCode != 403 {
		t.Errorf("nobody takes it: %d", got.StatusCode)
	}
}

func TestATokenIsUsedTooOften(t *testing.T) {
	s := open(t)
	path := s.add("ops", nil)
	slow := 0
	for range tokens.DefaultRate.Burst + 5 {
		if got := s.ask("POST", path, plain, "x"); got.StatusCode == 503 {
			if slow++; got.Header.Get("Retry-After") == "" {
				t.Error("it does not say when to come again")
			}
		}
	}
	if slow == 0 {
		t.Error("it may be used as often as one likes")
	}
	if log := s.log.String(); !strings.Contains(log, "status=503 hook=ops ") || strings.Contains(log, `hook=""`) {
		t.Errorf("the log does not say which hook it is:\n%s", log)
	}
}

func TestGuessingIsThrottled(t *testing.T) {
	s := open(t)
	good := s.add("ops", nil)
	var last *http.Response
	for range 30 {
		last = s.ask("POST", "/hooks/"+tokens.Generate(tokens.KindHook), plain, "x")
	}
	if last.StatusCode != 503 || last.Header.Get("Retry-After") == "" {
		t.Errorf("the thirtieth guess: %d", last.StatusCode)
	}
	from := accounts.Source{Addr: netipOf(t, "192.0.2.1")}
	if s.accounts.Throttle().Wait(from, "x") == 0 {
		t.Error("a login from there does not wait")
	}
	if got := s.ask("POST", good, plain, "x"); got.StatusCode != 200 { // nobody keeps programs out by failing
		t.Errorf("a good token: %d", got.StatusCode)
	}
}

func TestHowFastAHookIsOpen(t *testing.T) {
	g := &gate{}
	now := time.Now()
	n := 0
	for g.afford(now) {
		n++
	}
	if n != openBurst || !g.afford(now.Add(2*openEvery)) {
		t.Errorf("%d at once", n)
	}
}

func payloadHas(d posting.Draft, what string) bool {
	return strings.Contains(string(d.Stanza.Payload), what)
}

func names(list []xmpp.Child) (all []string) {
	for _, c := range list {
		all = append(all, c.Name.Local)
	}
	slices.Sort(all)
	return all
}
