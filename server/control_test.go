package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"jackdaw/admin"
	"jackdaw/config"
	"jackdaw/router/accounts"
	"jackdaw/storage"
	"jackdaw/xmpp/jid"
)

// A fakeRun stands for the rest of a running server.
type fakeRun struct {
	sessions []admin.SessionInfo
	peers    admin.PeersInfo
	kicked   []string
	reloads  int
	broken   error
}

func (f *fakeRun) Sessions() []admin.SessionInfo { return slices.Clone(f.sessions) }

func (f *fakeRun) SessionsOf(user jid.JID) []admin.SessionInfo {
	return slices.DeleteFunc(f.Sessions(), func(s admin.SessionInfo) bool {
		bare, _, _ := strings.Cut(s.JID, "/")
		return bare != user.String()
	})
}

func (f *fakeRun) Peers() admin.PeersInfo { return f.peers }

func (f *fakeRun) Kick(user jid.JID) int {
	f.kicked = append(f.kicked, user.String())
	return len(f.sessions)
}

func (f *fakeRun) Stop(time.Duration) {}

func (f *fakeRun) Reload(bool) ([]string, error) {
	f.reloads++
	return []string{"careful"}, f.broken
}

func controlConfig(t *testing.T) *config.Config {
	t.Helper()
	cfg := config.Default()
	cfg.Data = filepath.Join(t.TempDir(), "data")
	cfg.C2S.ScramIterations = 4096
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	return cfg
}

// running serves a Control on the socket until the test ends.
func running(t *testing.T, cfg *config.Config, live admin.Live) {
	t.Helper()
	o, store, err := openAdmin(t.Context(), cfg, true)
	if err != nil {
		t.Fatal(err)
	}
	o.Live = live
	l, err := ListenControl(cfg.Data, &Control{Admin: admin.New(o)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(l.Close(), store.Close()); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(filepath.Join(cfg.Data, controlSocket)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket is still there: %v", err)
		}
	})
}

func client(t *testing.T, cfg *config.Config) *Client {
	t.Helper()
	open := func(ctx context.Context) (*Control, func() error, error) { return OpenControl(ctx, cfg, true) }
	c, err := Dial(t.Context(), cfg.Data, open)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // once more does no harm
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// bothWays runs f against a running server and against the store alone.
func bothWays(t *testing.T, f func(t *testing.T, c *Client)) {
	t.Run("running", func(t *testing.T) {
		cfg := controlConfig(t)
		running(t, cfg, &fakeRun{})
		c := client(t, cfg)
		if !c.Running() {
			t.Error("the client did not find the server")
		}
		f(t, c)
	})
	t.Run("store", func(t *testing.T) {
		c := client(t, controlConfig(t))
		if c.Running() {
			t.Error("the client found a server where there is none")
		}
		f(t, c)
	})
}

func TestAccountsAreManagedWithAndWithoutAServer(t *testing.T) {
	bothWays(t, func(t *testing.T, c *Client) {
		ctx := t.Context()
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		must(c.AddUser(ctx, "Romeo@localhost", "secret"))
		must(c.AddUser(ctx, "juliet@localhost", "secret"))
		must(c.Grant(ctx, "romeo@localhost", []string{"multicast", "forge_sender=*@trac"}))
		must(c.Revoke(ctx, "romeo@localhost", []string{"multicast"}))
		must(c.Disable(ctx, "juliet@localhost"))
		must(c.SetPassword(ctx, "romeo@localhost", "other"))
		list, err := c.Users(ctx, "localhost")
		must(err)
		if len(list) != 2 || list[0].JID != "juliet@localhost" || !list[0].Disabled ||
			list[1].JID != "romeo@localhost" || !slices.Equal(list[1].Permissions, []string{"forge_sender=*@trac"}) {
			t.Errorf("accounts: %+v", list)
		}
		must(c.Enable(ctx, "juliet@localhost"))
		u, err := c.User(ctx, "juliet@localhost")
		must(err)
		if u.Disabled || u.Created.IsZero() {
			t.Errorf("juliet: %+v", u)
		}
		must(c.DeleteUser(ctx, "juliet@localhost"))
		if list, err := c.Users(ctx, ""); err != nil || len(list) != 1 {
			t.Errorf("after the removal: %+v, %v", list, err)
		}

		must(c.AddAPIAccount(ctx, "blog", "secret", []string{"localhost"}))
		if list, err := c.APIAccounts(ctx); err != nil || len(list) != 1 || list[0].Name != "blog" || list[0].Domains[0] != "localhost" {
			t.Errorf("API accounts: %+v, %v", list, err)
		}
		must(c.DeleteAPIAccount(ctx, "blog"))
	})
}

func TestHowLongMessagesOfAnAccountStay(t *testing.T) {
	bothWays(t, func(t *testing.T, c *Client) {
		ctx := t.Context()
		if err := c.AddUser(ctx, "romeo@localhost", "secret"); err != nil {
			t.Fatal(err)
		}
		for _, one := range [][2]string{{"90d", "90d"}, {"36h", "36h0m0s"}, {"forever", "forever"}, {"default", ""}} {
			if err := c.SetKeep(ctx, "romeo@localhost", one[0]); err != nil {
				t.Fatal(err)
			}
			if u, err := c.User(ctx, "romeo@localhost"); err != nil || u.Keep != one[1] {
				t.Errorf("after %s: %q, %v", one[0], u.Keep, err)
			}
		}
	})
}

func TestADeletedAccountLeavesNothingWithoutAServerEither(t *testing.T) {
	cfg := controlConfig(t)
	c := client(t, cfg)
	ctx := t.Context()
	if err := c.AddUser(ctx, "romeo@localhost", "x"); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	held := func(f func(m storage.Map) error) {
		t.Helper()
		store, err := OpenStore(ctx, cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(f(store.Map("vcard")), store.Close()); err != nil {
			t.Fatal(err)
		}
	}
	held(func(m storage.Map) error {
		_, p, err := m.Update(ctx, "romeo@localhost", storage.AnyVersion, storage.Change{Key: "vcard", Value: []byte{1}})
		return errors.Join(err, p.Wait(ctx))
	})
	c = client(t, cfg)
	if err := c.DeleteUser(ctx, "romeo@localhost"); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	held(func(m storage.Map) error {
		left, _, err := m.List(ctx, "romeo@localhost")
		if len(left) != 0 {
			t.Errorf("left: %v", left)
		}
		return err
	})
}

func TestWhatCannotBeDoneSaysWhy(t *testing.T) {
	bothWays(t, func(t *testing.T, c *Client) {
		ctx := t.Context()
		if err := c.AddUser(ctx, "romeo@localhost", "secret"); err != nil {
			t.Fatal(err)
		}
		_, unknown := c.User(ctx, "nobody@localhost")
		_, domain := c.Users(ctx, "a@b")
		for want, err := range map[string]error{
			"exists already":                             c.AddUser(ctx, "romeo@localhost", "x"),
			"not served here":                            c.AddUser(ctx, "romeo@montague.example", "x"),
			"names no account":                           c.AddUser(ctx, "localhost", "x"),
			"password refused":                           c.AddUser(ctx, "mercutio@localhost", ""),
			"no such account":                            unknown,
			"is no domain":                               domain,
			"no such permission":                         c.Grant(ctx, "romeo@localhost", []string{"fly"}),
			"a.example is not served":                    c.AddAPIAccount(ctx, "blog", "x", []string{"a.example"}),
			"at least one domain":                        c.AddAPIAccount(ctx, "blog", "x", nil),
			"1s\": expected a time":                      c.SetKeep(ctx, "romeo@localhost", "1s"),
			"soon\": expected a time":                    c.SetKeep(ctx, "romeo@localhost", "soon"),
			"nobody@localhost: there is no such account": c.SetKeep(ctx, "nobody@localhost", "30d"),
		} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %q", err, want)
			}
		}
	})
}

func TestABatchCreatesWhatItCanAndNamesTheRest(t *testing.T) {
	bothWays(t, func(t *testing.T, c *Client) {
		list := []admin.Login{{Name: "no address"}, {Name: "a@elsewhere.example", Password: "x"}}
		for i := range 20 {
			list = append(list, admin.Login{Name: fmt.Sprintf("user%d@localhost", i), Password: "x"})
		}
		list = append(list, admin.Login{Name: "user0@localhost", Password: "again"})
		seen := map[int]string{}
		if err := c.AddUsers(t.Context(), list, func(o BatchOutcome) { seen[o.Index] = o.Error }); err != nil {
			t.Fatal(err)
		}
		if len(seen) != len(list) {
			t.Errorf("%d outcomes for %d lines", len(seen), len(list))
		}
		// Workers race for the name that is there twice: one of the two gets it.
		first, last := seen[2], seen[len(list)-1]
		if seen[0] == "" || seen[1] == "" || (first == "") == (last == "") {
			t.Errorf("outcomes: %v", seen)
		}
		if all, err := c.Users(t.Context(), "localhost"); err != nil || len(all) != 20 {
			t.Errorf("%d accounts, %v", len(all), err)
		}
	})
}

func TestSessionsAndReloadNeedARunningServer(t *testing.T) {
	c := client(t, controlConfig(t))
	_, sessions := c.Sessions(t.Context())
	_, kick := c.Kick(t.Context(), "romeo@localhost")
	_, reload := c.Reload(t.Context(), false)
	_, peers := c.Peers(t.Context())
	_, dial := Dial(t.Context(), t.TempDir(), nil)
	for _, err := range []error{sessions, kick, reload, peers, dial} {
		if err == nil || err.Error() != admin.ErrNotRunning.Error() {
			t.Errorf("got %v", err)
		}
	}
}

func TestARunningServerListsKicksAndReloads(t *testing.T) {
	cfg := controlConfig(t)
	run := &fakeRun{sessions: []admin.SessionInfo{
		{JID: "romeo@localhost/b", State: admin.StateAvailable, Priority: -1}, {JID: "romeo@localhost/a", State: admin.StateDetached}}}
	running(t, cfg, run)
	c := client(t, cfg)
	ctx := t.Context()
	got, err := c.Sessions(ctx)
	if want := []admin.SessionInfo{run.sessions[1], run.sessions[0]}; err != nil || len(got) != 2 || got[0] != want[0] ||
		got[1] != want[1] {
		t.Errorf("sessions: %+v, %v", got, err)
	}
	run.peers = admin.PeersInfo{Links: []admin.LinkInfo{{Remote: "b.example", Direction: "out"}, {Remote: "a.example", TLS: "TLS 1.3"}},
		Queues: []admin.QueueInfo{{Remote: "b.example", Stanzas: 2}, {Remote: "a.example", Error: "the name was not found"}}}
	p, err := c.Peers(ctx)
	if err != nil || len(p.Links) != 2 || p.Links[0].TLS != "TLS 1.3" || p.Links[1].Direction != "out" ||
		len(p.Queues) != 2 || p.Queues[0].Error != "the name was not found" || p.Queues[1].Stanzas != 2 {
		t.Errorf("peers: %+v, %v", p, err)
	}
	if n, err := c.Kick(ctx, "Romeo@localhost"); err != nil || n != 2 || run.kicked[0] != "romeo@localhost" {
		t.Errorf("kick: %d, %v, %q", n, err, run.kicked)
	}
	if _, err := c.Kick(ctx, "localhost"); err == nil {
		t.Error("a domain was kicked")
	}
	if err := c.AddUser(ctx, "romeo@localhost", "x"); err != nil {
		t.Fatal(err)
	}
	if u, err := c.User(ctx, "romeo@localhost"); err != nil || u.Sessions != 2 {
		t.Errorf("romeo: %+v, %v", u, err)
	}
	if w, err := c.Reload(ctx, false); err != nil || len(w) != 1 || run.reloads != 1 {
		t.Errorf("reload: %q, %v", w, err)
	}
	run.broken = errors.New("jackdaw.yaml:1:1: no")
	if _, err := c.Reload(ctx, false); err == nil || err.Error() != run.broken.Error() {
		t.Errorf("reload of a broken file: %v", err)
	}
}

func TestControlSocketIsForItsOwnerOnly(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	l, err := ListenControl(data, &Control{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for path, want := range map[string]os.FileMode{data: 0o700, filepath.Join(data, controlSocket): 0o600} {
		if info, err := os.Lstat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	if left, err := os.ReadDir(data); err != nil || len(left) != 1 {
		t.Errorf("left in the directory: %v, %v", left, err)
	}
}

func TestASocketLeftByAKilledServerIsNoServer(t *testing.T) {
	cfg := controlConfig(t)
	l, err := bindControl(cfg.Data)
	if err != nil {
		t.Fatal(err)
	}
	l.Close() // as a kill does: the file stays
	if _, err := os.Lstat(filepath.Join(cfg.Data, controlSocket)); err != nil {
		t.Fatal(err)
	}
	if c := client(t, cfg); c.Running() {
		t.Error("a dead socket was taken for a server")
	}
	again, err := ListenControl(cfg.Data, &Control{})
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

func TestALongDataDirectoryHasASocketToo(t *testing.T) {
	cfg := controlConfig(t)
	cfg.Data = filepath.Join(cfg.Data, strings.Repeat("x", 120))
	running(t, cfg, &fakeRun{})
	if c := client(t, cfg); !c.Running() {
		t.Error("the server was not found")
	}
}

func TestAStoreThatIsInUseIsNotOpenedTwice(t *testing.T) {
	cfg := controlConfig(t)
	client(t, cfg)
	if _, _, err := OpenControl(t.Context(), cfg, true); err == nil {
		t.Error("two processes could write to one store")
	}
}

func TestFirstStartTellsWhatToDoNextOnce(t *testing.T) {
	cfg := controlConfig(t)
	store, err := OpenStore(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	users, err := accounts.New(t.Context(), store, accounts.Options{Iterations: 4096})
	if err != nil {
		t.Fatal(err)
	}
	say := func(file string) string {
		t.Helper()
		var b strings.Builder
		if err := FirstStart(t.Context(), store, users, cfg, file, "127.0.0.1:5280", &b); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	if got := say("my file.yaml"); !strings.Contains(got, "jackdaw --config 'my file.yaml' user add YOU@localhost") {
		t.Errorf("with a file: %q", got)
	}
	got := say("")
	admin := jid.MustParse("admin@localhost")
	_, password, _ := strings.Cut(got, "the password ")
	password, _, _ = strings.Cut(password, " ")
	if err := users.Verify(t.Context(), admin, password); err != nil {
		t.Errorf("password %q: %v", password, err)
	}
	if !users.Permitted(t.Context(), admin, accounts.PermAdmin) {
		t.Error("the first account is no administrator")
	}
	want := "\ncurl http://127.0.0.1:5280/message -u admin@localhost:" + password +
		` --data-binary '<message to="admin@localhost"><body>yo</body></message>'` + "\n"
	if !strings.Contains(got, want) {
		t.Errorf("got %q, want %q in it", got, want)
	}
	if again := say(""); again != "" {
		t.Errorf("the second start said %q", again)
	}
}

func TestCurlLineFitsTheListener(t *testing.T) {
	for addr, want := range map[string]string{
		"127.0.0.1:5280":   "curl http://127.0.0.1:5280/message -u",
		":80":              "curl http://127.0.0.1:80/message -u",
		"[::]:80":          "curl http://127.0.0.1:80/message -u",
		"[::1]:80":         "curl http://[::1]:80/message -u",
		"unix:/run/a b":    "curl --unix-socket '/run/a b' http://localhost/message -u",
		"im.example.org:1": "curl http://im.example.org:1/message -u",
	} {
		if got := curlLine(addr, jid.MustParse("admin@localhost"), "x"); !strings.HasPrefix(got, want) {
			t.Errorf("%s: got %s, want %s", addr, got, want)
		}
	}
	if got := shellQuote("it's"); got != `'it'\''s'` {
		t.Errorf("got %s", got)
	}
}
