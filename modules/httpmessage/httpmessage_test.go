package httpmessage

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/router/accounts"
	"jackdaw/router/tokens"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// host is the domain of the tests, as in the contract.
const host = "im.example.org"

// engine is a store in memory with accounts.
type engine struct {
	*moduletest.Store
	users, api shelf
}

func newEngine() *engine {
	empty := func() shelf { return shelf{list: map[string]storage.Account{}} }
	return &engine{moduletest.NewStore(), empty(), empty()}
}

func (e *engine) Accounts() storage.Accounts    { return &e.users }
func (e *engine) APIAccounts() storage.Accounts { return &e.api }
func (e *engine) Promise() string               { return "none" }
func (e *engine) Err() error                    { return nil }
func (e *engine) Close() error                  { return nil }

type shelf struct {
	mu   sync.Mutex // guards the rest
	list map[string]storage.Account
	fail error
}

func (s *shelf) setFail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

func (s *shelf) Get(_ context.Context, user string) (storage.Account, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.list[user]
	if s.fail != nil || ok {
		return a, s.fail
	}
	return a, storage.ErrNotFound
}

func (s *shelf) Create(_ context.Context, a storage.Account) (*storage.Pending, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list[a.User] = a
	return nil, nil
}

func (s *shelf) Modify(_ context.Context, user string, f func(*storage.Account) error) (*storage.Pending, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.list[user]
	if !ok {
		return nil, storage.ErrNotFound
	}
	if err := f(&a); err != nil {
		return nil, err
	}
	s.list[user] = a
	return nil, nil
}

func (s *shelf) Delete(_ context.Context, user string) (*storage.Pending, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.list, user)
	return nil, nil
}

func (s *shelf) List(context.Context, string, string, int) ([]storage.Account, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []storage.Account
	for _, a := range s.list {
		all = append(all, a)
	}
	slices.SortFunc(all, func(a, b storage.Account) int { return cmp.Compare(a.User, b.User) })
	return all, nil
}

// house is a server without sockets: a router that keeps what nobody takes, accounts, and the service.
type house struct {
	*Service
	t      testing.TB
	engine *engine
	router *router.Router
	who    *accounts.Service
	tokens *tokens.Service
	ahead  time.Duration // the clock of the tokens
	kept   storage.Log   // what nobody took, by recipient
	log    *lines
	seen   map[string]bool // what was answered, as "path method status"
}

// lines collects a log.
type lines struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// keeper is the least a server needs to keep messages: what nobody takes is appended to the log of its recipient, once
// for each Dedup value.
func keeper(log storage.Log) router.Module {
	return router.Module{Name: "keeper", Unclaimed: func(e *router.Envelope) {
		owner := e.Stanza.To.Bare().String()
		_, _, p, err := log.Append(context.Background(), owner, storage.Record{Data: e.Stanza.Append(nil)},
			storage.AppendOptions{Dedup: e.Dedup, MaxRecords: 1000})
		if err != nil {
			e.Refuse(router.Unavailable())
			return
		}
		e.Await(p)
		e.Settle(router.Stored)
	}}
}

// password is that of every account.
const password = "secret"

// newHouse returns a house with andy, who may do all but use the gateway, and bob, skel, juliet, who may only post;
// gate, who may use the gateway; the API account robot for the host.
func newHouse(t testing.TB, extra ...string) *house {
	t.Helper()
	h := &house{t: t, engine: newEngine(), log: &lines{}, seen: map[string]bool{}}
	ctx := context.Background()
	var err error
	h.who, err = accounts.New(ctx, h.engine, accounts.Options{Iterations: 4096})
	if err != nil {
		t.Fatal(err)
	}
	users := append([]string{"andy@" + host, "bob@" + host, "skel@" + host, "juliet@" + host, "gate@" + host, "carol@second.example"}, extra...)
	credentials := []storage.Credential(nil)
	for _, u := range users {
		if credentials == nil { // one derivation is enough for all
			must(t, h.who.Create(ctx, jid.MustParse(u), password))
			a, err := h.engine.users.Get(ctx, u)
			must(t, err)
			credentials = a.Credentials
			continue
		}
		h.engine.users.list[u] = storage.Account{User: u, Credentials: credentials}
	}
	must(t, h.who.Grant(ctx, jid.MustParse("andy@"+host), accounts.PermMulticast, accounts.PermForgeSender))
	must(t, h.who.Grant(ctx, jid.MustParse("gate@"+host), accounts.PermGateway))
	must(t, h.who.Grant(ctx, jid.MustParse("juliet@"+host), "forge_sender=*@trac"))
	must(t, h.who.CreateAPI(ctx, "robot", password, []string{host}))
	h.router = router.New(router.Options{Hosts: []string{host, "second.example"}, Users: h.who, Log: moduletest.Discard()})
	h.kept = h.engine.Log("kept")
	h.router.Use(keeper(h.kept))
	h.open()
	return h
}

// open makes the service, as a start of the server does.
func (h *house) open() {
	h.tokens = tokens.New(tokens.Options{Store: h.engine.Map(tokens.Space), Accounts: h.who,
		Now: func() time.Time { return time.Now().Add(h.ahead) }})
	h.Service = New(Options{Router: h.router, Accounts: h.who, Engine: h.engine,
		Hosts:  func() []string { return []string{host, "second.example"} },
		Tokens: h.tokens, Rooms: func(domain string) bool { return domain == "conference."+host },
		Log: slog.New(slog.NewTextHandler(h.log, nil))})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A call is one request of a test.
type call struct {
	method, path string
	user         string // "": andy; "-": no credentials
	password     string // "": the right one
	headers      []string
	body         string
}

// do makes the request without a socket.
func (h *house) do(c call) *httptest.ResponseRecorder {
	h.t.Helper()
	return h.serve1(c.request())
}

func (h *house) serve1(r *http.Request) *httptest.ResponseRecorder {
	h.t.Helper()
	w := httptest.NewRecorder()
	h.Handler().ServeHTTP(w, r)
	h.described(r, w)
	return w
}

// challenged returns how the answer asks for credentials. Its name is not spelled as Go would.
func challenged(w *httptest.ResponseRecorder) string {
	return strings.Join(map[string][]string(w.Header())[challenge], "")
}

// await returns when the condition holds; it gives up after a minute.
func (h *house) await(f func() bool) {
	h.t.Helper()
	for deadline := time.Now().Add(time.Minute); !f(); runtime.Gosched() {
		if time.Now().After(deadline) {
			h.t.Fatal("waited for a minute")
		}
	}
}

func (c call) request() *http.Request {
	method, path := cmp.Or(c.method, http.MethodPost), cmp.Or(c.path, "/message")
	r := httptest.NewRequest(method, "http://"+host+":5280"+path, strings.NewReader(c.body))
	if c.user != "-" {
		r.SetBasicAuth(cmp.Or(c.user, "andy@"+host), cmp.Or(c.password, password))
	}
	for _, one := range c.headers {
		name, value, _ := strings.Cut(one, ": ")
		r.Header.Add(name, value)
	}
	return r
}

// stored returns what was kept for a user, as XML.
func (h *house) stored(user string) []string {
	h.t.Helper()
	list, _, err := h.kept.Page(context.Background(), user, storage.Query{Limit: 10000})
	must(h.t, err)
	var out []string
	for _, r := range list {
		out = append(out, string(r.Data))
	}
	return out
}

// nothingStored checks that nobody was sent anything.
func (h *house) nothingStored() {
	h.t.Helper()
	var owners []string
	must(h.t, h.kept.Owners(context.Background(), func(owner string) bool {
		owners = append(owners, owner)
		return true
	}))
	for _, owner := range owners {
		h.t.Errorf("%s was sent %q", owner, h.stored(owner))
	}
}

// online logs a user in. host is not moduletest's, so that its Login does not fit.
func (h *house) online(address string) *outlet {
	h.t.Helper()
	o := &outlet{}
	s, err := h.router.Bind(jid.MustParse(address), o)
	must(h.t, err)
	h.router.SetPresence(s, &xmpp.Stanza{Kind: xmpp.Presence, From: s.Addr()}, 0)
	return o
}

// outlet takes everything.
type outlet struct {
	mu  sync.Mutex // guards got
	got []string
}

func (o *outlet) Send(d router.Delivery) (wake, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.got = append(o.got, string(d.Stanza.Append(nil)))
	return false, true
}

func (o *outlet) received() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.got)
}

func (o *outlet) Flush()                               {}
func (o *outlet) Detached() bool                       { return false }
func (o *outlet) Prompt() bool                         { return false }
func (o *outlet) Full() bool                           { return false }
func (o *outlet) WaitBelow(context.Context, int) error { return nil }
func (o *outlet) End(string, string)                   {}

func body(t testing.TB, r io.Reader) string {
	t.Helper()
	b, err := io.ReadAll(r)
	must(t, err)
	return string(b)
}
