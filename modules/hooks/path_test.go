package hooks

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"jackdaw/router/tokens"
	"jackdaw/storage"
	"jackdaw/xmpp/jid"
)

// docs/hooks.md §3: paths that are those of other servers.
func TestPathsOfOtherServers(t *testing.T) {
	s := open(t)
	s.add("ops", nil)
	s.add("free", func(h *Hook) { h.Open = true })
	s.add("get", func(h *Hook) { h.Get = true })
	s.add("chat", func(h *Hook) { h.Kind = "discord" })
	s.add("bolt", func(h *Hook) { h.Kind = "slack" })
	s.add("home", func(h *Hook) { h.Get, h.Kind = true, "homeassistant" })
	scopes, err := tokens.ParseScopes("hook:ops")
	if err != nil {
		t.Fatal(err)
	}
	mine, _, err := s.tokens.Make(t.Context(), tokens.Spec{Kind: tokens.KindAccount, Owner: romeo, Scopes: scopes})
	if err != nil {
		t.Fatal(err)
	}
	T := s.secrets["ops"]
	auth := func(header string) string { return base64.RawURLEncoding.EncodeToString([]byte(header)) }
	const inJSON = "Content-Type: application/json"
	for _, one := range []struct {
		name, method, path, header, body string
		status, sent                     int
	}{
		{"gotify, by the query", "POST", "/gotify/message?token=" + T, inJSON, `{"message":"m"}`, 200, 1},
		{"gotify, by its header", "POST", "/gotify/message", inJSON + "\nX-Gotify-Key: " + T, `{"message":"m"}`, 200, 1},
		{"gotify, at the root", "POST", "/message?token=" + T, inJSON, `{"message":"m"}`, 200, 1},
		{"gotify, a hook for something else", "POST", "/gotify/message?token=" + s.secrets["bolt"], inJSON, `{"message":"m"}`, 400, 0},
		{"gotify, to read", "GET", "/gotify/message?token=" + T, "", "", 404, 0},
		{"ntfy, its topic", "POST", "/ntfy/ops", "Authorization: Bearer " + T, "m", 200, 1},
		{"ntfy, its token as a topic", "POST", "/ntfy/" + T, "", "m", 200, 1},
		{"ntfy, another topic", "POST", "/ntfy/get", "Authorization: Bearer " + T, "m", 403, 0},
		{"ntfy, a token in the query", "PUT", "/ntfy/ops?auth=" + auth("Bearer "+T), "", "m", 200, 1},
		{"ntfy, a password in the query", "POST", "/ntfy/ops?auth=" + auth("Basic "+base64.StdEncoding.EncodeToString([]byte(":"+T))), "", "m", 200, 1},
		{"ntfy, at the root", "POST", "/ntfy", "Authorization: Bearer " + T, `{"topic":"ops","message":"m"}`, 200, 1},
		{"ntfy, at the root by an account's token", "POST", "/ntfy", "Authorization: Bearer " + mine, `{"topic":"ops","message":"m"}`, 200, 1},
		{"ntfy, by an account's token", "POST", "/ntfy/ops", "Authorization: Bearer " + mine, "m", 200, 1},
		{"ntfy, at the root to another's", "POST", "/ntfy", "Authorization: Bearer " + mine, `{"topic":"free","message":"m"}`, 403, 0},
		{"ntfy, at the root without a topic", "POST", "/ntfy", "Authorization: Bearer " + mine, "m", 401, 0},
		{"ntfy, an open hook", "POST", "/ntfy/free", "", "m", 200, 1},
		{"ntfy, an open hook at the root", "POST", "/ntfy", "", `{"topic":"free","message":"m"}`, 200, 1},
		{"ntfy, a shut hook at the root", "POST", "/ntfy", "", `{"topic":"ops","message":"m"}`, 401, 0},
		{"ntfy, too much of a stranger", "POST", "/ntfy", "", `{"topic":"free","message":"` + strings.Repeat("m", maxStranger) + `"}`, 413, 0},
		{"ntfy, a wrong token on an open hook", "POST", "/ntfy/free", "Authorization: Bearer " + T[:35] + "x", "m", 401, 0},
		{"ntfy, a host of its own", "POST", "/free", "Host: ntfy.example.org", "m", 200, 1},
		{"ntfy, by a link", "GET", "/ntfy/ops/publish?message=m", "Authorization: Bearer " + T, "", 405, 0},
		{"ntfy, by a link that may", "GET", "/ntfy/get/publish?message=m", "Authorization: Bearer " + s.secrets["get"], "", 200, 1},
		{"discord looks", "GET", "/hooks/" + s.secrets["chat"], "", "", 200, 0},
		{"discord posts", "POST", "/hooks/" + s.secrets["chat"], inJSON, `{"content":"m"}`, 204, 1},
		{"discord, on a hook for all", "GET", "/hooks/" + T + "/discord", "", "", 200, 0},
		{"a link with a text", "GET", "/hooks/" + T + "?message=m", "", "", 405, 0},
		{"home assistant", "GET", "/hooks/" + s.secrets["home"] + "?message=m", "", "", 200, 1},
		{"home assistant, by the query", "GET", "/hooks/homeassistant?message=m&token=" + s.secrets["home"], "", "", 200, 1},
	} {
		s.posted()
		got := s.ask(one.method, one.path, one.header, one.body)
		text, _ := io.ReadAll(got.Body)
		if n := len(s.posted()); got.StatusCode != one.status || n != one.sent {
			t.Errorf("%s: %d %s, want %d; %d sent", one.name, got.StatusCode, text, one.status, n)
		}
		if strings.Contains(one.path, "gotify") && !json.Valid(text) {
			t.Errorf("%s: %s is no JSON", one.name, text)
		}
	}
	if log := s.log.String(); strings.Contains(log, T[3:12]) || strings.Contains(log, mine[3:12]) {
		t.Errorf("a token is in the log:\n%s", log)
	}
}

func TestFacesSeeNoCredentials(t *testing.T) {
	r := httptest.NewRequest("POST", "http://example.org/x?token=s3cret&auth=s3cret&title=t", nil)
	for _, name := range hidden {
		r.Header.Set(name, "s3cret")
	}
	r.Header.Set("X-Title", "t")
	header, query := shown(r)
	for name, values := range header {
		if strings.Contains(strings.Join(values, " "), "s3cret") {
			t.Errorf("%s is shown", name)
		}
	}
	if header.Get("X-Title") != "t" || len(query) != 1 || r.Header.Get("Cookie") == "" {
		t.Errorf("shown are %v and %v", header, query)
	}
}

func TestAddressesForRocketChatHaveTwoParts(t *testing.T) {
	secret := tokens.Generate(tokens.KindHook)
	for kind, parts := range map[string]int{"rocketchat": 2, "slack": 1} {
		path := PathOf(Hook{Kind: kind}, secret)
		if w := atHooks(strings.TrimPrefix(path, "/hooks/")); w.secret != secret || strings.Count(path, "/") != 1+parts {
			t.Errorf("%s: %s is read as %+v", kind, path, w)
		}
	}
}

func TestHowManyHooksThereMayBe(t *testing.T) {
	s := open(t)
	var changes []storage.Change
	row := Hook{Owner: romeo, To: []jid.JID{juliet}, Kind: "text", ID: "x"}
	for i := range MaxHooks {
		row.Name = "h" + strconv.Itoa(i)
		b, err := json.Marshal(row)
		if err != nil {
			t.Fatal(err)
		}
		changes = append(changes, storage.Change{Key: row.Name, Value: append([]byte{rowVersion}, b...)})
	}
	_, p, err := s.rows.Update(t.Context(), rowOwner, storage.AnyVersion, changes...)
	if err == nil {
		err = p.Wait(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	if all, err := s.List(t.Context()); err != nil || len(all) != MaxHooks {
		t.Errorf("%d hooks, %v", len(all), err)
	}
	row.Name = "more"
	if _, _, err := s.Add(t.Context(), row, ""); err == nil || !strings.Contains(err.Error(), ErrMany.Error()) {
		t.Errorf("one more: %v", err)
	}
	if list, err := s.tokens.List(t.Context(), romeo); err != nil || len(list) != 0 {
		t.Errorf("tokens %v, %v", list, err)
	}
}

// racing are rows that another node writes just after they have been read.
type racing struct {
	storage.Map
	other func()
}

func (r *racing) List(ctx context.Context, owner string) ([]storage.Entry, uint64, error) {
	all, version, err := r.Map.List(ctx, owner)
	if other := r.other; other != nil {
		r.other = nil
		other()
	}
	return all, version, err
}

// Owners who are at home on different nodes may make hooks of one name at once.
func TestOfTwoHooksOfOneNameThereIsOne(t *testing.T) {
	s := open(t)
	rows := &racing{Map: s.Hooks.rows}
	other := New(s.Hooks.o)
	s.Hooks.rows = rows
	add := func(h *Hooks, name string, owner jid.JID) error {
		_, _, err := h.Add(t.Context(), Hook{Name: name, Owner: owner, To: []jid.JID{juliet}}, "")
		return err
	}
	rows.other = func() {
		if err := add(other, "ops", juliet); err != nil {
			t.Error(err)
		}
	}
	if err := add(s.Hooks, "ops", romeo); !errors.Is(err, ErrTaken) {
		t.Errorf("the second: %v", err)
	}
	if h, err := s.Get(t.Context(), "ops"); err != nil || h.Owner != juliet {
		t.Errorf("it is of %s, %v", h.Owner, err)
	}
	rows.other = func() {
		if err := add(other, "disk", juliet); err != nil {
			t.Error(err)
		}
	}
	if err := add(s.Hooks, "mem", romeo); err != nil {
		t.Errorf("of another name: %v", err)
	}
	if all, err := s.List(t.Context()); err != nil || len(all) != 3 {
		t.Errorf("%d hooks, %v", len(all), err)
	}
}

func TestBodiesThatAreHeldAreBounded(t *testing.T) {
	s := open(t)
	path := s.add("ops", nil)
	s.held.Store(maxHeld)
	if got := s.ask("POST", path, plain, "x"); got.StatusCode != 503 || got.Header.Get("Retry-After") == "" {
		t.Errorf("status %d", got.StatusCode)
	}
	s.held.Store(0)
	if got := s.ask("POST", path, plain, "x"); got.StatusCode != 200 || s.held.Load() != 0 {
		t.Errorf("status %d, %d bytes held", got.StatusCode, s.held.Load())
	}
}

func FuzzWays(f *testing.F) {
	secret, account := tokens.Generate(tokens.KindHook), tokens.Generate(tokens.KindAccount)
	for _, path := range []string{"/hooks/" + secret, "/hooks/" + secret[:9] + "/" + secret[9:] + "/slack/x", "/hooks/" + account,
		"/ntfy/" + account, "/ntfy/ops/publish", "/message", "/gotify/message", "/hooks//", "/hooks/jdh/", "/"} {
		f.Add("POST", path, "token="+account+"&auth=QmVhcmVy", "Bearer x", "ntfy.example.org")
	}
	s := New(Options{Store: nowhere{}, Face: func(host string) string {
		if host == "ntfy.example.org" {
			return faceNtfy
		}
		return ""
	}})
	f.Fuzz(func(t *testing.T, method, path, query, authorization, host string) {
		r := httptest.NewRequest(http.MethodPost, "http://example.org/", nil)
		r.Method, r.URL.Path, r.URL.RawQuery, r.Host = method, path, query, host
		r.Header.Set("Authorization", authorization)
		if !s.Owns(r) {
			return
		}
		w := s.wayOf(r)
		got := w.secretOf(r)
		if k, ok := tokens.KindOf(got); ok && k == tokens.KindAccount && !strings.Contains(authorization, got) &&
			!strings.Contains(query, "auth=") {
			if _, password, _ := r.BasicAuth(); password != got {
				t.Fatalf("the token of an account counts where it must not: %s", path)
			}
		}
		if w.topic != "" && !isName(w.topic) {
			t.Fatalf("the topic %q is no name", w.topic)
		}
	})
}

// nowhere is a store without anything.
type nowhere struct{}

func (nowhere) Map(string) storage.Map { return nil }
