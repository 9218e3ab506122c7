// Package console is the face of package admin for browsers, at /admin: what is on and in the server, and the
// operations of an administrator as forms. Pages are made here, by html/template, and work without a script.
//
// Whoever is no administrator sees one page, the login. A session is a cookie of 256 random bits of which only the hash
// is kept, in memory; each form carries a token of its session. An operation asks package admin, which says who did it
// in the log.
//
// Left out: other languages than English, which is that of the log, of the configuration and of what the doctor says;
// changing the configuration, which is a file.
package console

import (
	"context"
	"embed"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"jackdaw/admin"
	"jackdaw/config"
	"jackdaw/router/accounts"
	"jackdaw/web"
	"jackdaw/web/pages"
)

//go:embed all:templates
var files embed.FS

// Path is the address of the console; all of its pages are below.
const Path = "/admin"

const (
	// maxForm is how many bytes a form may have.
	maxForm = 16 << 10
	// perPage is how many lines a list shows at once.
	perPage = 50
)

// Options are what a Console needs; all but Now and Log.
type Options struct {
	Site     *pages.Site
	Admin    *admin.Service
	Accounts *accounts.Service
	// Config returns the configuration in force.
	Config func() *config.Config
	Facts  Facts
	Record *Record
	Past   *History
	Now    func() time.Time // nil: time.Now
	Log    *slog.Logger     // nil: nobody reads it
}

// Console answers below Path. It is safe for concurrent use.
type Console struct {
	o        Options
	book     *pages.Book
	sessions *sessions
	doctor   practice
	routes   map[string]route
	running  sync.WaitGroup
	ctx      context.Context // ends with Close
	cancel   func()
}

// A route is a page, or what its forms do.
type route struct {
	menu string // "": it is not in the menu
	get  func(*visit)
	post func(*visit) // nil: it has no forms
}

// New returns a console; it hears of what happens to accounts.
func New(o Options) *Console {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	c := &Console{o: o, sessions: newSessions(o.Now)}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.book = o.Site.NewBook(files, c.functions())
	c.routes = c.pages()
	o.Accounts.OnChange(c.sessions.accountChanged)
	return c
}

// Close ends what the console still does.
func (c *Console) Close() {
	c.cancel()
	c.running.Wait()
}

// menu is the order of the pages in the bar.
var menu = []string{"", "/accounts", "/approvals", "/invitations", "/sessions", "/rooms", "/hooks", "/bots",
	"/announcements", "/uploads", "/peers", "/posts", "/reports", "/certificates", "/storage", "/doctor", "/log"}

// absent says whether a page has nothing to do now, so that the menu does without it.
func (c *Console) absent(ctx context.Context, path string) bool {
	switch path {
	case "/approvals":
		return !c.hasApprovals(ctx)
	case "/invitations":
		return !c.hasInvitations()
	case "/rooms":
		return !c.hasRooms()
	case "/hooks":
		return !c.hasHooks()
	case "/bots":
		return !c.hasBots()
	case "/announcements":
		return !c.hasAnnouncements()
	case "/uploads":
		return !c.hasUploads()
	}
	return false
}

func (c *Console) pages() map[string]route {
	return map[string]route{
		"":               {"Overview", c.overview, nil},
		"/accounts":      {"Accounts", c.accounts, c.addAccount},
		"/account":       {"", c.account, c.changeAccount},
		"/approvals":     {"Approvals", c.approvals, c.decide},
		"/invitations":   {"Invitations", c.invitations, c.changeInvitations},
		"/sessions":      {"Sessions", c.allSessions, c.endSession},
		"/rooms":         {"Rooms", c.rooms, nil},
		"/room":          {"", c.room, c.changeRoom},
		"/hooks":         {"Hooks", c.hooks, c.addHook},
		"/hook":          {"", c.hook, c.changeHook},
		"/bots":          {"Bots", c.bots, c.changeBots},
		"/bot":           {"", c.bot, c.changeBot},
		"/announcements": {"Announcements", c.announcements, c.announce},
		"/uploads":       {"Uploads", c.uploads, nil},
		"/upload":        {"", c.upload, c.removeUploads},
		"/peers":         {"Servers", c.peers, nil},
		"/posts":         {"Posts", c.posts, nil},
		"/reports":       {"Reports", c.reports, nil},
		"/certificates":  {"Certificates", c.certificates, nil},
		"/storage":       {"Storage", c.storage, nil},
		"/doctor":        {"Doctor", c.showDoctor, c.runDoctor},
		"/log":           {"Log", c.log, nil},
	}
}

// Owns says whether a path is the console's.
func Owns(path string) bool { return path == Path || strings.HasPrefix(path, Path+"/") }

// ServeHTTP implements http.Handler.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	pages.SetHeaders(w.Header())
	defer c.recovered(w, r)
	from, ok := c.reached(r)
	if !ok {
		c.book.Write(w, r, pages.View{Name: "insecure", Status: http.StatusForbidden, Lang: pages.English})
		return
	}
	v := &visit{c: c, w: w, r: r, from: from, path: strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, Path), "/")}
	if !c.o.Site.Methods(w, r, http.MethodGet, http.MethodHead, http.MethodPost) || !v.readForm() {
		return
	}
	if v.session = c.current(r); v.session == nil {
		v.stranger()
		return
	}
	page, known := c.routes[v.path]
	switch {
	case v.path == "/login" && r.Method != http.MethodPost:
		v.goTo("", nil)
	case v.path == "/login": // the browser has kept the form
		v.login()
	case r.Method == http.MethodPost && !v.genuine():
		c.o.Site.Error(w, r, http.StatusForbidden)
	case v.path == "/logout" && r.Method == http.MethodPost:
		v.logout()
	case !known:
		c.o.Site.Error(w, r, http.StatusNotFound)
	case r.Method != http.MethodPost:
		page.get(v)
	case page.post == nil:
		c.o.Site.Methods(w, r, http.MethodGet, http.MethodHead)
	default:
		page.post(v)
	}
}

// recovered answers for a fault of ours.
func (c *Console) recovered(w http.ResponseWriter, r *http.Request) {
	if x := recover(); x != nil {
		c.o.Log.Error("panic in the console", "do", "report it as a fault of jackdaw, with this line", "path", r.URL.Path,
			"panic", x, "stack", string(debug.Stack()))
		c.o.Site.Error(w, r, http.StatusInternalServerError)
	}
}

// signs are headers by which a proxy shows itself.
var signs = []string{"Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip"}

// reached says from where a request comes, and whether passwords may pass on that way: under TLS of ours or of a
// trusted proxy, or without any network between. What comes over loopback and says that it was forwarded, or names
// another host, comes through a proxy that nobody has named to us.
func (c *Console) reached(r *http.Request) (from accounts.Source, ok bool) {
	client := web.ClientOf(r, c.o.Config().HTTP.TrustedProxies)
	here := client.Unix || !client.Forwarded && client.Addr.IsLoopback()
	from = accounts.Source{Addr: client.Addr, Exempt: here}
	switch {
	case r.TLS != nil:
		return from, true
	case client.Scheme != "":
		return from, client.Scheme == "https"
	case !here:
		return from, false
	}
	for _, sign := range signs {
		if r.Header.Get(sign) != "" {
			return from, false
		}
	}
	name := pages.HostOf(r)
	addr, err := netip.ParseAddr(name)
	return from, name == "localhost" || err == nil && addr.IsLoopback()
}

// A visit is one request.
type visit struct {
	c       *Console
	w       http.ResponseWriter
	r       *http.Request
	from    accounts.Source
	path    string   // below Path
	session *session // nil of a stranger
}

// readForm reads the fields of a form, and says false where it has answered.
func (v *visit) readForm() bool {
	if v.r.Method != http.MethodPost {
		return true
	}
	kind, _, _ := strings.Cut(v.r.Header.Get("Content-Type"), ";")
	if !strings.EqualFold(strings.TrimSpace(kind), "application/x-www-form-urlencoded") {
		v.c.o.Site.Error(v.w, v.r, http.StatusBadRequest)
		return false
	}
	v.r.Body = http.MaxBytesReader(v.w, v.r.Body, maxForm)
	if err := v.r.ParseForm(); err != nil {
		status := http.StatusBadRequest
		var long *http.MaxBytesError
		if errors.As(err, &long) {
			status = http.StatusRequestEntityTooLarge
		}
		v.c.o.Site.Error(v.w, v.r, status)
		return false
	}
	return true
}

// field is one of a form, not of the address.
func (v *visit) field(name string) string { return strings.TrimSpace(v.r.PostForm.Get(name)) }

// asked is a parameter of the address.
func (v *visit) asked(name string) string { return strings.TrimSpace(v.r.URL.Query().Get(name)) }

// by is who does something, for the log.
func (v *visit) by() admin.By { return admin.By(v.session.user.String()) }

// goTo leads to another page, which is asked for anew.
func (v *visit) goTo(page string, query url.Values) {
	at := Path + page
	if len(query) > 0 {
		at += "?" + query.Encode()
	}
	http.Redirect(v.w, v.r, at, http.StatusSeeOther)
}

// done says how an operation went on the page that follows.
func (v *visit) done(err error, said, page string, query url.Values) {
	if err != nil {
		v.c.sessions.say(v.session, word{Bad: true, Text: sentence(err)})
	} else {
		v.c.sessions.say(v.session, word{Text: said})
	}
	v.goTo(page, query)
}

// sentence is an error as a sentence.
func sentence(err error) string {
	s := err.Error()
	return strings.ToUpper(s[:1]) + s[1:] + "."
}

// An entry is one of the menu.
type entry struct {
	Name, Href string
	Here       bool
}

// A frame is what all pages have around their data.
type frame struct {
	User  string
	Token string // of the forms
	Menu  []entry
	Said  word
	Title string
	It    any
}

// show answers with a page.
func (v *visit) show(name, title string, it any) {
	f := frame{User: v.session.user.String(), Token: v.session.token, Said: v.c.sessions.said(v.session), Title: title,
		It: it}
	for _, path := range menu {
		if path != v.path && v.c.absent(v.r.Context(), path) {
			continue
		}
		here := path == v.path || path == v.path+"s" // the page of one belongs to that of all
		f.Menu = append(f.Menu, entry{v.c.routes[path].menu, Path + path, here})
	}
	v.c.book.Write(v.w, v.r, pages.View{Name: name, Lang: pages.English, Data: f})
}

// failed answers where what a page shows could not be had.
func (v *visit) failed(what string, err error) {
	v.c.o.Log.Error("console", "page", what, "error", err, "do", "look at the storage")
	v.c.o.Site.Error(v.w, v.r, http.StatusServiceUnavailable)
}
