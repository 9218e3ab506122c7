package console

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"jackdaw/admin"
	"jackdaw/config"
	"jackdaw/modules/announcements"
	"jackdaw/modules/bots"
	"jackdaw/modules/hooks"
	"jackdaw/modules/invitations"
	"jackdaw/modules/muc"
	"jackdaw/modules/upload"
	"jackdaw/router/accounts"
	"jackdaw/router/devices"
	"jackdaw/router/tokens"
	"jackdaw/storage/embedded"
	"jackdaw/web/pages"
	"jackdaw/xmpp/jid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// evil is what users put into every field that is theirs.
const evil = `"'><script>alert(1)</script><img src=x onerror=alert(1)>{{.}}`

// A world stands for a running server.
type world struct{ kicked []string }

func (w *world) Sessions() []admin.SessionInfo {
	var all []admin.SessionInfo
	for i := range 120 {
		all = append(all, admin.SessionInfo{JID: fmt.Sprintf("juliet@localhost/%03d", i), State: admin.StateAvailable,
			Client: evil, Address: "192.0.2.7", TLS: "1.3", Since: time.Now()})
	}
	all[0].JID = "juliet@localhost/" + evil
	return all
}

func (w *world) SessionsOf(user jid.JID) []admin.SessionInfo {
	if user.Local() == "juliet" {
		return w.Sessions()[:2]
	}
	return nil
}

func (w *world) Kick(user jid.JID) int {
	w.kicked = append(w.kicked, user.String())
	return 1
}

func (w *world) Peers() admin.PeersInfo {
	return admin.PeersInfo{Links: []admin.LinkInfo{{Remote: evil, Direction: "in", Address: evil}},
		Queues: []admin.QueueInfo{{Remote: evil, State: "waiting", Stanzas: 3, Error: evil}}}
}
func (w *world) Reload(bool) ([]string, error) { return nil, nil }
func (w *world) Stop(time.Duration)            {}

func (w *world) List(context.Context, jid.JID) ([]devices.Device, error) {
	return []devices.Device{{ID: "d1", Name: evil, Software: evil, Password: true}}, nil
}

func (w *world) Remove(_ context.Context, _ jid.JID, device string) error {
	if device != "d1" {
		return devices.ErrNotFound
	}
	w.kicked = append(w.kicked, device)
	return nil
}

// The rooms of a world.
type rooms struct{ *world }

func (w rooms) List(domain, after string, limit int) ([]muc.Summary, bool, error) {
	return []muc.Summary{{Addr: jid.MustParse("garden@" + domain), Name: evil, Creator: evil}}, false, nil
}

func (w rooms) Show(_ context.Context, room jid.JID) (d muc.Detail, err error) {
	if room.Local() != "garden" {
		return d, muc.ErrNoRoom
	}
	d.Summary = muc.Summary{Addr: room, Name: evil, Creator: evil}
	d.Description, d.Owners, d.Admins = evil, []string{evil}, []string{evil}
	d.Inside = []muc.Presence{{Nick: evil, User: evil}}
	return d, nil
}

func (w rooms) Exists(room jid.JID) (bool, error) { return room.Local() == "garden", nil }

func (w rooms) Loaded(string) []muc.Loaded { return nil }

func (w rooms) Destroy(_ context.Context, room jid.JID, reason string) error {
	w.kicked = append(w.kicked, room.Local()+":"+reason)
	return nil
}

func (w rooms) Own(_ context.Context, room, user jid.JID) error {
	w.kicked = append(w.kicked, room.Local()+":"+user.Local())
	return nil
}

// robots are the bots of a world.
type robots struct{ *world }

func (w robots) Add(_ context.Context, b bots.Bot) error {
	if b.URL == "" {
		return errors.New("the URL: expected one")
	}
	w.kicked = append(w.kicked, fmt.Sprint("bot:", b.JID, b.URL, b.Rooms, b.Trigger, "|", b.Composing, b.Encrypted))
	return nil
}

func (w robots) Remove(_ context.Context, user jid.JID) error {
	w.kicked = append(w.kicked, "bot-removed:"+user.Local())
	return w.is(user)
}

func (w robots) is(user jid.JID) error {
	if user.Local() != "juliet" {
		return bots.ErrNone
	}
	return nil
}

func (w robots) List(context.Context) ([]bots.Status, error) {
	b := bots.Bot{JID: jid.MustParse("juliet@localhost"), URL: "http://localhost/" + evil, Nick: evil, Trigger: evil,
		Rooms: []jid.JID{jid.MustParse("garden@rooms.localhost")}}
	return []bots.Status{{Bot: b, State: "online", Away: map[jid.JID]string{b.Rooms[0]: evil},
		Last: &bots.Delivery{Status: 200}}}, nil
}

func (w robots) Deliveries(_ context.Context, user jid.JID) ([]bots.Delivery, error) {
	return []bots.Delivery{{From: evil, Error: evil}, {Status: 200, Key: evil}}, w.is(user)
}

func (w robots) Test(_ context.Context, user jid.JID, text string) (bots.Trial, error) {
	switch text {
	case "fail":
		return bots.Trial{Status: 500, Error: "500 " + evil}, w.is(user)
	case "nothing":
		return bots.Trial{Status: 204}, w.is(user)
	}
	return bots.Trial{Status: 200, Texts: []string{text + evil}}, w.is(user)
}

// A shed has the hooks of a world, which send nothing.
type shed struct {
	*hooks.Hooks
	w *world
}

func (s shed) Test(_ context.Context, name string) (hooks.Result, error) {
	s.w.kicked = append(s.w.kicked, "hook:"+name)
	if name == "ops" {
		return hooks.Result{Outcome: hooks.Refused, Reason: evil}, nil
	}
	return hooks.Result{Outcome: hooks.Sent}, nil
}

// letters are the invitations of a world.
type letters struct{ *world }

func (w letters) Make(_ context.Context, o invitations.Order) (invitations.Invitation, error) {
	if o.Kind == invitations.Reset && o.Name != "juliet" {
		return invitations.Invitation{}, invitations.ErrNobody
	}
	w.kicked = append(w.kicked, fmt.Sprint(o.Kind, ":", o.Name, o.Contact, ":", o.Uses, ":", o.Life))
	return invitations.Invitation{ID: "i1", Kind: o.Kind, Host: o.Host, Uses: 1, URL: "https://localhost/invite/T"}, nil
}

func (w letters) List(_ context.Context, host string) ([]invitations.Invitation, error) {
	return []invitations.Invitation{{ID: "i1", Kind: invitations.Account, Host: host, Name: evil, Uses: 2, Used: 1}}, nil
}

func (w letters) Revoke(_ context.Context, host, which string) error {
	if which != "i1" {
		return invitations.ErrNothing
	}
	w.kicked = append(w.kicked, "revoke:"+host)
	return nil
}

// walls are the announcements of a world.
type walls struct{ *world }

func (walls) Renew(string, string, bool) int { return 0 }

func (w walls) Announce(_ context.Context, host, words string, keep time.Duration) (int, error) {
	w.kicked = append(w.kicked, fmt.Sprintf("announce:%s:%q:%s", host, words, keep))
	return 2, nil
}

func (w walls) Kept(string) ([]announcements.Notice, error) {
	return []announcements.Notice{{ID: "a1", Text: evil, Made: time.Now(), Until: time.Now().Add(time.Hour)}}, nil
}

func (w walls) Withdraw(_ context.Context, _, id string) error {
	if id != "a1" {
		return announcements.ErrNone
	}
	w.kicked = append(w.kicked, "withdraw")
	return nil
}

func (w walls) Standing(string, announcements.Kind) (string, error) { return evil, nil }

func (w walls) Stand(_ context.Context, _ string, k announcements.Kind, words string, edit bool) (int, error) {
	w.kicked = append(w.kicked, fmt.Sprint(k, ":", words, ":", edit))
	return 1, nil
}

// shelves are the files of a world.
type shelves struct{ *world }

func (w shelves) Used(_ context.Context, user jid.JID) (upload.Usage, error) {
	return upload.Usage{Owner: user.String(), Files: 3, Bytes: 4096}, nil
}

func (w shelves) Users(context.Context) ([]upload.Usage, error) {
	return []upload.Usage{{Owner: "juliet@localhost", Files: 3, Bytes: 4096}, {Owner: evil, Files: 1, Bytes: 1}}, nil
}

func (w shelves) Files(_ context.Context, _ jid.JID, place uint64, _ int) ([]upload.File, uint64, error) {
	return []upload.File{{ID: evil, Name: evil, Type: evil, Size: 7, Created: time.Now()}}, 7 - place, nil
}

func (w shelves) Remove(_ context.Context, user jid.JID, ids ...string) (int, error) {
	if len(ids) == 1 && ids[0] != "f1" {
		return 0, upload.ErrNoFile
	}
	w.kicked = append(w.kicked, fmt.Sprint("files:", user.Local(), ":", len(ids)))
	return 2 - len(ids), nil
}

func (w *world) About() About { return About{Version: evil, Broken: evil, Room: "full"} }

func (w *world) Certificates() []Certificate {
	return []Certificate{{Host: "localhost", Issuer: evil, Names: []string{evil}, Problem: evil, Do: evil, Until: time.Now()}}
}

func (w *world) Disk(context.Context) Disk {
	return Disk{Path: evil, Parts: []Part{{evil, 1, 1 << 20}}}
}

func (w *world) Doctor(context.Context) []Finding {
	return []Finding{{Level: "wrong", Domain: "localhost", What: evil, Why: evil, Do: evil}}
}

// A stage is a console with its world.
type stage struct {
	*testing.T
	*Console
	world  *world
	log    bytes.Buffer
	config *config.Config
}

// set makes one with an administrator, romeo, and two users.
func set(t *testing.T) *stage {
	t.Helper()
	s := &stage{T: t, world: new(world)}
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
	s.config = config.Default()
	if err := s.config.Validate(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"first", "second", "third"} {
		must(t, users.Apply(t.Context(), jid.MustParse(name+"@localhost"), "secret",
			accounts.Source{Addr: netip.MustParseAddr("192.0.2.8")}, accounts.Bounds{Host: 9, Address: 9}))
	}
	record := new(Record)
	log := slog.New(record.Tap(slog.NewTextHandler(&s.log, nil)))
	programs := tokens.New(tokens.Options{Store: store.Map(tokens.Space), Accounts: users})
	ruler := admin.New(admin.Options{Accounts: users, Config: func() *config.Config { return s.config }, Live: s.world,
		Devices: s.world, Rooms: rooms{s.world}, Invitations: letters{s.world}, Announcements: walls{s.world},
		Bots:   robots{s.world},
		Tokens: programs,
		Hooks: shed{hooks.New(hooks.Options{Store: store, Tokens: programs, Accounts: users,
			Serves: func(domain string) bool { return domain == "localhost" }, Rooms: func() []string { return nil }}), s.world},
		Uploads: shelves{s.world}, Log: log})
	for _, name := range []string{"romeo", "juliet", "tybalt"} {
		must(t, ruler.AddUser(t.Context(), admin.Command, name+"@localhost", "secret"))
	}
	must(t, ruler.Grant(t.Context(), admin.Command, "romeo@localhost", []string{"admin"}))
	_, err = ruler.AddToken(t.Context(), admin.Command, admin.TokenWish{JID: "juliet@localhost", Label: evil, Scopes: []string{"send"}})
	must(t, err)
	_, err = ruler.AddHook(t.Context(), admin.Command, admin.HookWish{Name: "ops", Owner: "tybalt@localhost",
		HookSettings: admin.HookSettings{To: []string{"tybalt@localhost", "x@localhost/" + evil}, Nick: evil}})
	must(t, err)
	log.Info("http post", "status", 200, "account", evil, "sender", evil, "stored", evil, "client", evil)
	log.Info("report", "by", evil, "about", evil, "reason", evil)
	s.Console = New(Options{Site: pages.New(log), Admin: ruler, Accounts: users, Log: log, Record: record, Facts: s.world,
		Config: func() *config.Config { return s.config },
		Past: &History{Messages: func() int64 { return 7 }, Sessions: func() int64 { return 120 },
			Free: func() int64 { return 5 << 30 }}})
	t.Cleanup(s.Close)
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A client is a browser.
type client struct {
	*stage
	cookie string
	change func(*http.Request)
}

func (s *stage) client() *client { return &client{stage: s} }

func (c *client) ask(method, target string, form url.Values) *httptest.ResponseRecorder {
	c.Helper()
	body := ""
	if form != nil {
		body = form.Encode()
	}
	r := httptest.NewRequest(method, "https://localhost:5284"+target, strings.NewReader(body))
	r.RemoteAddr = "192.0.2.9:4711"
	r.Header.Set("Accept", "text/html")
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		r.Header.Set("Origin", "null")
	}
	if c.cookie != "" {
		r.AddCookie(&http.Cookie{Name: cookie, Value: c.cookie})
	}
	if c.change != nil {
		c.change(r)
	}
	w := httptest.NewRecorder()
	c.ServeHTTP(w, r)
	if w.Header().Get("Content-Security-Policy") == "" || w.Header().Get("Cache-Control") != "no-store" {
		c.Errorf("%s %s: %v", method, target, w.Header())
	}
	return w
}

var cookieLine = regexp.MustCompile(`^__Host-jackdaw=([\w-]{43}); Path=/; HttpOnly; Secure; SameSite=Strict$`)

// logIn returns a browser of an administrator.
func (s *stage) logIn(name string) *client {
	s.Helper()
	c := s.client()
	w := c.ask("POST", "/admin/login", url.Values{"name": {name}, "password": {"secret"}})
	m := cookieLine.FindStringSubmatch(w.Header().Get("Set-Cookie"))
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/admin" || m == nil {
		s.Fatalf("%s: %d %v", name, w.Code, w.Header())
	}
	c.cookie = m[1]
	return c
}

var tokenField = regexp.MustCompile(`name="token" value="([\w-]{43})"`)

// token is that of the forms.
func (c *client) token() string {
	c.Helper()
	m := tokenField.FindStringSubmatch(c.ask("GET", "/admin", nil).Body.String())
	if m == nil {
		c.Fatal("no token")
	}
	return m[1]
}

// does sends a form with its token, and wants the next page to say something.
func (c *client) does(page string, want string, fields ...string) {
	c.Helper()
	form := url.Values{"token": {c.token()}}
	for i := 0; i < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	w := c.ask("POST", "/admin"+page, form)
	if w.Code != http.StatusSeeOther {
		c.Errorf("%s %v: %d %s", page, fields, w.Code, w.Body)
		return
	}
	if body := c.ask("GET", w.Header().Get("Location"), nil).Body.String(); !strings.Contains(body, template.HTMLEscapeString(want)) {
		c.Errorf("%s %v: no %q in %s", page, fields, want, body)
	}
}
