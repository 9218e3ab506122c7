package admin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"jackdaw/config"
	"jackdaw/modules/announcements"
	"jackdaw/router/accounts"
	"jackdaw/storage/embedded"
	"jackdaw/xmpp/jid"
)

// A live stands for a running server.
type live struct {
	sessions []SessionInfo
	kicked   []string
	broken   error
	warnings []string
	stopped  time.Duration
}

func (l *live) Sessions() []SessionInfo { return slices.Clone(l.sessions) }

func (l *live) SessionsOf(user jid.JID) []SessionInfo {
	return slices.DeleteFunc(l.Sessions(), func(s SessionInfo) bool {
		return !strings.HasPrefix(s.JID, user.String()+"/")
	})
}

func (l *live) Kick(user jid.JID) int {
	l.kicked = append(l.kicked, user.String())
	return len(l.SessionsOf(user.Bare()))
}

func (l *live) Peers() PeersInfo { return PeersInfo{} }

func (l *live) Reload(bool) ([]string, error) { return l.warnings, l.broken }

func (l *live) Stop(after time.Duration) { l.stopped = after }

// service is a Service on a new store, and what it logs.
func service(t *testing.T, run Live) (*Service, *bytes.Buffer) {
	t.Helper()
	store, err := embedded.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	users, err := accounts.New(t.Context(), store, accounts.Options{Iterations: 4096})
	if err != nil {
		t.Fatal(err)
	}
	cfg := config.Default()
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	return New(Options{Accounts: users, Config: func() *config.Config { return cfg }, Live: run,
		Log: slog.New(slog.NewTextHandler(&log, nil))}), &log
}

// A crier stands for the announcements.
type crier struct {
	said []string
	bad  error
}

func (c *crier) Announce(_ context.Context, host, text string, keep time.Duration) (int, error) {
	c.said = append(c.said, fmt.Sprint(host, " ", text, " ", keep))
	return 2, c.bad
}

func (c *crier) Kept(host string) ([]announcements.Notice, error) {
	return []announcements.Notice{{ID: host, Text: "x"}}, c.bad
}

func (c *crier) Renew(string, string, bool) int { return 0 }

func (c *crier) Withdraw(_ context.Context, host, id string) error {
	if host != id {
		return announcements.ErrNone
	}
	return c.bad
}

func (c *crier) Standing(host string, k announcements.Kind) (string, error) {
	return host + string(k), c.bad
}

func (c *crier) Stand(_ context.Context, host string, k announcements.Kind, text string, edit bool) (int, error) {
	c.said = append(c.said, fmt.Sprint(host, " ", k, " ", text, " ", edit))
	return 1, c.bad
}

func TestAnnouncementsAreThoseOfHostsThatAreServed(t *testing.T) {
	s, log := service(t, nil)
	c := &crier{}
	s.o.Announcements = c
	s.o.Config().Hosts = append(s.o.Config().Hosts, config.Host{Domain: "b.example"})
	ctx := t.Context()
	if n, err := s.Announce(ctx, Command, "", "hidden", time.Hour); err != nil || n != 4 || len(c.said) != 2 {
		t.Errorf("reached %d, %v: %q", n, err, c.said)
	}
	if !strings.Contains(log.String(), "msg=announced host=b.example reached=2 kept=1h0m0s by=command") ||
		strings.Contains(log.String(), "hidden") {
		t.Errorf("logged %s", log)
	}
	if list, err := s.KeptAnnouncements(""); err != nil || len(list) != 2 || list[1].Host != "b.example" {
		t.Errorf("%+v, %v", list, err)
	}
	must(t, s.WithdrawAnnouncement(ctx, Command, "", "b.example"))
	if err := s.WithdrawAnnouncement(ctx, Command, "localhost", "b.example"); !errors.Is(err, announcements.ErrNone) {
		t.Errorf("withdrawn of another host: %v", err)
	}
	if n, err := s.Stand(ctx, Command, "B.example", announcements.OfTheDay, "hidden", true); err != nil || n != 1 {
		t.Errorf("%d, %v", n, err)
	}
	if text, err := s.Standing("b.example", announcements.Welcome); err != nil || text != "b.examplewelcome" {
		t.Errorf("%q, %v", text, err)
	}
	_, announce := s.Announce(ctx, Command, "c.example", "x", 0)
	_, stand := s.Stand(ctx, Command, "c.example", announcements.Welcome, "x", false)
	_, list := s.KeptAnnouncements("c.example")
	for _, err := range []error{announce, stand, list, s.WithdrawAnnouncement(ctx, Command, "c.example", "x")} {
		if err == nil || !strings.Contains(err.Error(), "not served") {
			t.Errorf("of a host that is not ours: %v", err)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestTheLogSaysWhoChangedWhat(t *testing.T) {
	s, log := service(t, &live{sessions: []SessionInfo{{JID: "romeo@localhost/a"}}})
	ctx := t.Context()
	const by = By("juliet@localhost")
	kick := func() error { _, err := s.Kick(by, "romeo@localhost/a"); return err }
	reload := func() error { _, err := s.Reload(by, false); return err }
	for _, c := range []struct {
		want string
		do   func() error
	}{
		{`msg="account created" account=romeo@localhost`, func() error {
			return s.AddUser(ctx, by, "romeo@localhost", "secret")
		}},
		{`msg="account created" account=mercutio@localhost`, func() error {
			return s.AddUsers(ctx, by, []Login{{Name: "mercutio@localhost", Password: "secret"}},
				func(_ int, err error) { must(t, err) })
		}},
		{`msg="password set" account=romeo@localhost`, func() error {
			return s.SetPassword(ctx, by, "romeo@localhost", "hidden")
		}},
		{`msg="account disabled" account=romeo@localhost`, func() error { return s.Disable(ctx, by, "romeo@localhost") }},
		{`msg="account enabled" account=romeo@localhost`, func() error { return s.Enable(ctx, by, "romeo@localhost") }},
		{`msg="permissions granted" account=romeo@localhost permissions=[multicast]`, func() error {
			return s.Grant(ctx, by, "romeo@localhost", []string{"multicast"})
		}},
		{`msg="permissions revoked" account=romeo@localhost permissions=[multicast]`, func() error {
			return s.Revoke(ctx, by, "romeo@localhost", []string{"multicast"})
		}},
		{`msg="API account created" account=blog domains=[localhost]`, func() error {
			return s.AddAPIAccount(ctx, by, "blog", "secret", []string{"localhost"})
		}},
		{`msg="API account removed" account=blog`, func() error { return s.DeleteAPIAccount(ctx, by, "blog") }},
		{`msg="sessions ended" address=romeo@localhost/a sessions=1`, kick},
		{`msg="reload done"`, reload},
		{`msg="account removed" account=romeo@localhost`, func() error { return s.DeleteUser(ctx, by, "romeo@localhost") }},
	} {
		log.Reset()
		must(t, c.do())
		if line := log.String(); !strings.HasSuffix(line, c.want+" by=juliet@localhost\n") {
			t.Errorf("logged %q, want %q", line, c.want)
		}
	}
	for what, err := range map[string]error{"AddUser": s.AddUser(ctx, by, "romeo@elsewhere.example", "x"),
		"DeleteUser": s.DeleteUser(ctx, by, "nobody@localhost")} {
		if err == nil {
			t.Errorf("%s went well", what)
		}
	}
	if n := strings.Count(log.String(), "\n"); n != 1 {
		t.Errorf("what failed was logged:\n%s", log)
	}
}

func TestAccountsAreListedInPages(t *testing.T) {
	s, _ := service(t, &live{sessions: []SessionInfo{{JID: "u003@localhost/a"}, {JID: "u003@localhost/b"}}})
	ctx := t.Context()
	var list []Login
	for i := range 7 {
		list = append(list, Login{Name: fmt.Sprintf("u%03d@localhost", i), Password: "x"})
	}
	must(t, s.AddUsers(ctx, Command, list, func(_ int, err error) { must(t, err) }))
	var seen []string
	from, pages := "", 0
	for {
		page, next, err := s.Users(ctx, "localhost", from, 3)
		must(t, err)
		pages++
		for _, u := range page {
			seen = append(seen, u.JID)
			if want := map[bool]int{true: 2}[u.JID == "u003@localhost"]; u.Sessions != want {
				t.Errorf("%s has %d sessions", u.JID, u.Sessions)
			}
		}
		if next == "" {
			break
		}
		from = next
	}
	if pages != 3 || len(seen) != 7 || !slices.IsSorted(seen) {
		t.Errorf("%d pages with %q", pages, seen)
	}
	if page, next, err := s.Users(ctx, "", "", MaxPage+1); err != nil || len(page) != 7 || next != "" {
		t.Errorf("%d accounts, next %q, %v", len(page), next, err)
	}
	// A page that is just full is the last.
	if page, next, err := s.Users(ctx, "", "", 7); err != nil || len(page) != 7 || next != "" {
		t.Errorf("%d accounts, next %q, %v", len(page), next, err)
	}
	for _, wrong := range [][2]string{{"a@b", ""}, {"elsewhere.example", ""}, {"", "localhost"}, {"", "\x00"}} {
		if _, _, err := s.Users(ctx, wrong[0], wrong[1], 1); err == nil {
			t.Errorf("listed %q", wrong)
		}
	}
}

func TestWithoutAServerNothingOfItIsDone(t *testing.T) {
	s, _ := service(t, nil)
	must(t, s.AddUser(t.Context(), Command, "romeo@localhost", "x"))
	_, sessions := s.Sessions()
	_, of := s.SessionsOf("romeo@localhost")
	_, kick := s.Kick(Command, "romeo@localhost")
	_, peers := s.Peers()
	_, reload := s.Reload(Command, false)
	for _, err := range []error{sessions, of, kick, peers, reload} {
		if !errors.Is(err, ErrNotRunning) {
			t.Errorf("got %v", err)
		}
	}
	if s.Running() {
		t.Error("it runs")
	}
	if u, err := s.User(t.Context(), "romeo@localhost"); err != nil || u.Sessions != 0 || !u.LastLogin.IsZero() {
		t.Errorf("%+v, %v", u, err)
	}
}

func TestTheNewestSessionIsTheLastLogin(t *testing.T) {
	now := time.Now()
	s, _ := service(t, &live{sessions: []SessionInfo{{JID: "romeo@localhost/b", Since: now},
		{JID: "romeo@localhost/a", Since: now.Add(-time.Hour)}}})
	must(t, s.AddUser(t.Context(), Command, "romeo@localhost", "x"))
	if u, err := s.User(t.Context(), "romeo@localhost"); err != nil || u.Sessions != 2 || !u.LastLogin.Equal(now) {
		t.Errorf("%+v, %v", u, err)
	}
	list, err := s.SessionsOf("romeo@localhost")
	if err != nil || len(list) != 2 || list[0].JID != "romeo@localhost/a" {
		t.Errorf("%+v, %v", list, err)
	}
}
