package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"jackdaw/admin"
	"jackdaw/modules/hooks"
	"jackdaw/portable"
	"jackdaw/router/accounts"
	"jackdaw/xmpp/jid"
)

// far is a node where everybody is at home whose name does not begin with near.
type far struct{ *offices }

func (f far) Pass(ctx context.Context, who admin.By, owner jid.JID, operation string, in, out any) (bool, error) {
	if strings.HasPrefix(owner.Local(), "near") || owner.Local() == "" {
		return false, nil
	}
	return true, f.ask(ctx, who, "far", operation, in, out)
}

func (f far) Everywhere(ctx context.Context, who admin.By, operation string, in any) []admin.Said {
	said := admin.Said{Node: "far"}
	said.Err = f.ask(ctx, who, "far", operation, in, &said.Result)
	return []admin.Said{said}
}

func (f far) Import(ctx context.Context, who admin.By, file io.Reader, dry bool) (
	io.Reader, func(error) ([]*portable.Report, error)) {
	return f.importAt(ctx, who, []string{"far"}, file, dry)
}

// seen keeps who has asked for what.
type seen struct {
	mu    sync.Mutex // guards asked
	asked []string
}

func (s *seen) watch(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.asked = append(s.asked, string(by(r.Context()))+r.URL.Path)
		s.mu.Unlock()
		next.ServeHTTP(w, r)
	})
}

// twoNodes are an admin.Service with a store of its own, and the live part of the node to which it passes all on.
func twoNodes(t *testing.T) (near *admin.Service, run *fakeRun, s *seen) {
	t.Helper()
	run, s = &fakeRun{}, &seen{}
	var rows admin.Hooks // of hooks: nodes have the same
	service := func(live admin.Live, elsewhere admin.Elsewhere) *admin.Service {
		o, store, err := openAdmin(t.Context(), controlConfig(t), true)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := store.Close(); err != nil {
				t.Error(err)
			}
		})
		o.Live, o.Elsewhere = live, elsewhere
		if rows == nil {
			rows = o.Hooks
		}
		o.Hooks = rows
		o.Accounts.SetHomes(func(user string) bool { return strings.HasPrefix(user, "near") == (elsewhere != nil) })
		return admin.New(o)
	}
	home := httptest.NewServer(ofNodes(s.watch((&Control{Admin: service(run, nil)}).Handler())))
	t.Cleanup(home.Close)
	way := &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", home.Listener.Addr().String())
		}}}
	return service(&fakeRun{}, far{&offices{http: way}}), run, s
}

func TestWhatConcernsAnAccountIsDoneAtItsHome(t *testing.T) {
	near, run, seen := twoNodes(t)
	ctx, who := t.Context(), admin.By("boss@localhost")
	const romeo = "romeo@localhost"
	if err := near.AddUser(ctx, who, romeo, "secret of romeo"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := near.RosterOf(ctx, romeo); !errors.Is(err, accounts.ErrNotFound) {
		t.Fatalf("the account was made here: %v", err)
	}
	for what, do := range map[string]func() error{
		"passwd": func() error { return near.SetPassword(ctx, who, romeo, "another of romeo") },
		"off":    func() error { return near.Disable(ctx, who, romeo) },
		"keep":   func() error { return near.SetKeep(ctx, who, romeo, "90d") },
		"grant":  func() error { return near.Grant(ctx, who, romeo, []string{"admin"}) },
	} {
		if err := do(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	u, err := near.User(ctx, romeo)
	if err != nil || !u.Disabled || u.Keep != "90d" || !slices.Contains(u.Permissions, "admin") {
		t.Errorf("%+v, %v", u, err)
	}
	if err := errors.Join(near.Revoke(ctx, who, romeo, []string{"admin"}), near.Enable(ctx, who, romeo)); err != nil {
		t.Error(err)
	}
	if u, err = near.User(ctx, romeo); err != nil || u.Disabled || len(u.Permissions) > 0 {
		t.Errorf("%+v, %v", u, err)
	}
	if err := near.AddUser(ctx, who, romeo, "secret of romeo"); !errors.Is(err, accounts.ErrExists) {
		t.Errorf("made twice: %v", err)
	}
	if _, err := near.UserDevices(ctx, romeo); err != nil {
		t.Error(err)
	}
	run.sessions = []admin.SessionInfo{{JID: romeo + "/garden", Since: time.Now()}}
	if list, err := near.SessionsOf(romeo); err != nil || len(list) != 1 {
		t.Errorf("sessions of the account: %v, %v", list, err)
	}
	if list, err := near.Sessions(); err != nil || len(list) != 1 {
		t.Errorf("sessions of all nodes: %v, %v", list, err)
	}
	if n, err := near.Kick(who, romeo+"/garden"); err != nil || n != 1 || !slices.Equal(run.kicked,
		[]string{romeo + "/garden"}) {
		t.Errorf("%d ended, %v: %v", n, err, run.kicked)
	}
	if err := near.DeleteUser(ctx, who, romeo); err != nil {
		t.Error(err)
	}
	if _, err := near.User(ctx, romeo); !errors.Is(err, accounts.ErrNotFound) {
		t.Errorf("after its end: %v", err)
	}
	if !slices.Contains(seen.asked, "boss@localhost/user.passwd") {
		t.Errorf("the home does not know who asks: %v", seen.asked)
	}
}

// A hook has tokens of its owner, whose home alone writes them and knows of their uses.
func TestWhatConcernsAHookIsDoneAtTheHomeOfItsOwner(t *testing.T) {
	near, _, seen := twoNodes(t)
	ctx, who := t.Context(), admin.By("boss@localhost")
	if err := near.AddUser(ctx, who, "romeo@localhost", "secret of romeo"); err != nil {
		t.Fatal(err)
	}
	made, err := near.AddHook(ctx, who, admin.HookWish{Name: "ops", Owner: "romeo@localhost",
		HookSettings: admin.HookSettings{Kind: "text", To: []string{"juliet@localhost"}}})
	if err != nil || !strings.Contains(made.URL, "/hooks/") {
		t.Fatalf("%+v, %v", made, err)
	}
	_, err = near.ChangeHook(ctx, who, admin.HookWish{Name: "ops", Fields: []string{"nick"},
		HookSettings: admin.HookSettings{Nick: "Ops"}})
	if err != nil {
		t.Error(err)
	}
	if again, err := near.RotateHook(ctx, who, "ops", time.Hour); err != nil || again.URL == "" || again.URL == made.URL {
		t.Errorf("%+v, %v", again, err)
	}
	if h, err := near.Hook(ctx, "ops"); err != nil || h.Nick != "Ops" || len(h.Tokens) != 2 {
		t.Errorf("%+v, %v", h, err)
	}
	if err := near.RemoveHook(ctx, who, "ops"); err != nil {
		t.Error(err)
	}
	if err := near.RemoveHook(ctx, who, "ops"); !errors.Is(err, hooks.ErrNoHook) {
		t.Errorf("removed twice: %v", err)
	}
	for _, want := range []string{"boss@localhost/hook.add", "boss@localhost/hook.change", "boss@localhost/hook.rotate",
		"command/hook.show", "boss@localhost/hook.remove"} {
		if !slices.Contains(seen.asked, want) {
			t.Errorf("nobody asks for %s: %v", want, seen.asked)
		}
	}
}

func TestAFileIsImportedByAllNodes(t *testing.T) {
	near, _, seen := twoNodes(t)
	var b strings.Builder
	b.WriteString("<server-data xmlns='urn:xmpp:pie:0'><nonsense xmlns='x'/><host jid='localhost'>")
	for i := range 50 {
		fmt.Fprintf(&b, "<user name='near%d' password='a good secret'/><user name='far%d' password='a good secret'/>", i, i)
	}
	whole := b.String() + "</host></server-data>"
	for _, dry := range []bool{true, false} {
		report, err := near.Import(t.Context(), "boss@localhost", strings.NewReader(whole), dry, nil)
		if err != nil || report.Accounts.Lost != 0 || len(report.Lost) != 1 || report.Lost[0].Times != 1 {
			t.Errorf("dry %t: %+v, %v", dry, report, err)
		}
	}
	if !slices.Contains(seen.asked, "boss@localhost/node.import") {
		t.Errorf("asked for %v", seen.asked)
	}
	if _, _, err := near.RosterOf(t.Context(), "far7@localhost"); !errors.Is(err, accounts.ErrNotFound) {
		t.Errorf("the account of another home was made here: %v", err)
	}
	if u, err := near.User(t.Context(), "far7@localhost"); err != nil || u.JID != "far7@localhost" {
		t.Errorf("%+v, %v", u, err)
	}
	if _, _, err := near.RosterOf(t.Context(), "near7@localhost"); err != nil {
		t.Error(err)
	}
	// A file that breaks off is an error of all, told once.
	if _, err := near.Import(t.Context(), admin.Command, strings.NewReader(b.String()), false, nil); err == nil ||
		strings.Contains(err.Error(), "node far") {
		t.Errorf("a file that breaks off: %v", err)
	}
}

func TestWhatConcernsAllIsAskedOfAllNodes(t *testing.T) {
	near, run, seen := twoNodes(t)
	ctx, who := t.Context(), admin.By("boss@localhost")
	run.peers.Links = []admin.LinkInfo{{Remote: "b.example"}}
	run.sessions = []admin.SessionInfo{{JID: "near@localhost/a"}}
	if err := near.AddUser(ctx, who, "near@localhost", "a good secret"); err != nil {
		t.Fatal(err)
	}
	if list, _, err := near.Users(ctx, "", "", 0); err != nil || len(list) != 1 || list[0].Sessions != 1 {
		t.Errorf("users: %+v, %v", list, err)
	}
	if p, err := near.Peers(); err != nil || len(p.Links) != 1 {
		t.Errorf("peers: %+v, %v", p, err)
	}
	made, err := near.AddToken(ctx, who, admin.TokenWish{JID: "near@localhost", Label: "x", Scopes: []string{"send"}})
	if err != nil {
		t.Fatal(err)
	}
	if list, err := near.Tokens(ctx, ""); err != nil || len(list) != 1 || list[0].ID != made.ID {
		t.Errorf("tokens: %+v, %v", list, err)
	}
	if w, err := near.Reload(who, false); err != nil || run.reloads != 1 || len(w) != 1 {
		t.Errorf("%d reloads there, %q, %v", run.reloads, w, err)
	}
	run.broken = errors.New("a slip in the file")
	if _, err := near.Reload(who, false); err == nil || !strings.Contains(err.Error(), "node far: a slip in the file") {
		t.Errorf("a reload that fails there: %v", err)
	}
	if _, err := near.Announce(ctx, who, "localhost", "the server moves", time.Hour); err != nil {
		t.Error(err)
	}
	if err := near.Stop(who, time.Hour); err != nil {
		t.Error(err)
	}
	for _, want := range []string{"command/node.counts", "command/node.peers", "command/node.tokens",
		"boss@localhost/node.reload", "boss@localhost/node.announced", "boss@localhost/node.stop"} {
		if !slices.Contains(seen.asked, want) {
			t.Errorf("nobody asks for %s: %v", want, seen.asked)
		}
	}
}

func TestAccountsOfABatchAreMadeAtTheirHomes(t *testing.T) {
	near, _, seen := twoNodes(t)
	list := []admin.Login{{Name: "not an address", Password: "a good secret"}, {Name: "near1@localhost", Password: "a good secret"}}
	for i := range 20 {
		list = append(list, admin.Login{Name: fmt.Sprintf("far%d@localhost", i), Password: "a good secret"})
	}
	list = append(list, admin.Login{Name: "near2@localhost", Password: "a good secret"}, list[5])
	fared := map[int]error{}
	err := near.AddUsers(t.Context(), admin.Command, list, func(i int, err error) {
		if _, again := fared[i]; again {
			t.Errorf("line %d is told of twice", i)
		}
		fared[i] = err
	})
	if err != nil || len(fared) != len(list) || len(seen.asked) != 21 {
		t.Errorf("%d of %d lines, %d passed on, %v", len(fared), len(list), len(seen.asked), err)
	}
	if again := len(list) - 1; (fared[5] == nil) == (fared[again] == nil) || fared[0] == nil {
		t.Errorf("the same account twice: %v, %v; no address: %v", fared[5], fared[again], fared[0])
	}
	for i, l := range list[1 : len(list)-1] {
		_, _, here := near.RosterOf(t.Context(), l.Name)
		if err := fared[i+1]; i+1 != 5 && err != nil || (here == nil) != strings.HasPrefix(l.Name, "near") {
			t.Errorf("%s: %v; here: %v", l.Name, err, here)
		}
	}
}

func TestTheAnswerOfAnotherNodeIsAsOurs(t *testing.T) {
	ours := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h["WWW-Authenticate"] = []string{"Basic"}
		h.Set("Connection", "close")
		h.Set("Content-Type", "text/plain")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = w.Write([]byte("no"))
	})
	home := httptest.NewServer(ours)
	defer home.Close()
	to, err := url.Parse(home.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(to)
	proxy.ModifyResponse = asOwn
	passed := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		proxy.ServeHTTP(named{w}, r)
	}))
	defer passed.Close()
	said := func(s *httptest.Server) string {
		c, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		b, err := io.ReadAll(c)
		if err != nil {
			t.Fatal(err)
		}
		return regexp.MustCompile(`Date: [^\r]*`).ReplaceAllString(string(b), "")
	}
	if there, here := said(home), said(passed); there != here {
		t.Errorf("%q, passed on %q", there, here)
	}
}

func TestWhatAnotherNodeSaysOfAMoveIsUnderstood(t *testing.T) {
	err := told(fmt.Errorf("romeo@localhost: %w", errMoves).Error())
	if !errors.Is(err, errMoves) || !errors.Is(err, accounts.ErrUnavailable) {
		t.Errorf("%v", err)
	}
	if err := told(accounts.ErrUnavailable.Error()); errors.Is(err, errMoves) {
		t.Errorf("%v", err)
	}
}

// Whoever passes a request on may not know yet that the account has moved; but nothing goes round in circles.
func TestARequestIsPassedOnSomeTimesOnly(t *testing.T) {
	for header, want := range map[string]way{"": {long: maxWay}, "1": {long: 1}, "4": {long: 4}, "x": {long: maxWay}} {
		r := httptest.NewRequest("POST", "/message", nil)
		r.Header.Set(headerWay, header)
		taking(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if got := r.Context().Value(carried{}); got != want || want.ends() != (want.long >= 4) {
				t.Errorf("%q: %+v, want %+v", header, got, want)
			}
			if r.Header.Get(headerWay) != "" {
				t.Error("the header stays")
			}
		})).ServeHTTP(httptest.NewRecorder(), r)
	}
}

func TestWhatIsPassedOnIsNotPassedOnAgain(t *testing.T) {
	var served error
	handler := ofNodes(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.Context().Value(carried{}) == nil {
			served = errors.New("offices.Pass cannot know it")
		}
	}))
	handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/user.del", strings.NewReader("{}")))
	if served != nil {
		t.Error(served)
	}
}
