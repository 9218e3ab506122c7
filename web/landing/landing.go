// Package landing is the page that an invitation leads to (XEP-0379 §3.3, XEP-0401 §5.2): who invites, a code for the
// telephone, a button for a client, a form to make the account or the password in the browser, and the link itself.
// Where anybody may register, the form is at PathRegister as well, without an invitation.
//
// Opening it uses nothing up: programs that show previews of links open them too. The token in the address is said to
// nobody: no page of others is loaded, browsers are told to send no referrer and to keep nothing, and no log has it.
package landing

import (
	"context"
	"embed"
	"errors"
	"html/template"
	"net/http"
	"strings"
	"time"

	"jackdaw/web/pages"
)

//go:embed all:templates languages
var files embed.FS

// Path is what the addresses of the pages begin with; the token follows. PathRegister is the page for those who have no
// invitation, where anybody may register.
const (
	Path         = "/invite/"
	PathRegister = "/register"
)

// maxForm is how many bytes of a form are read.
const maxForm = 8 << 10

// Errors of a Desk, to be tested with errors.Is.
var (
	ErrInvalid  = errors.New("the token is good for nothing")
	ErrWait     = errors.New("too many attempts")
	ErrTaken    = errors.New("the name is taken")
	ErrName     = errors.New("no user can have this name")
	ErrPassword = errors.New("the password cannot be used")
	ErrClear    = errors.New("the password came in clear")
	ErrAway     = errors.New("not available now")
)

// An Invitation is what is told of one.
type Invitation struct {
	Host    string
	Inviter string // address of the contact; "": none
	Name    string // the user name there is to take; "": any
	Account bool   // an account can be made
	Reset   bool   // a password is set
	Approve bool   // an administrator has to approve the account
	URI     string
	Expires time.Time
}

// A Desk knows the invitations.
type Desk interface {
	// Look says what a token is good for. Nothing is used up.
	Look(r *http.Request, token string) (Invitation, error)
	// Open is what anybody may do without a token. The error is ErrInvalid where nobody may.
	Open(r *http.Request) (Invitation, error)
	// Redeem makes the account or sets the password, and returns the address; waits says that an administrator has to
	// approve it.
	Redeem(ctx context.Context, r *http.Request, o Order) (address string, waits bool, err error)
}

// An Order is a form that was filled in. Without a token it is of somebody who has no invitation.
type Order struct{ Host, Token, Name, Password string }

// view is what the template sees.
type view struct {
	Invitation
	Link, Android template.URL
	Code          template.HTML
	Action        string
	Wrong         string // a key of the words
	Asked         string // the name that was asked for
	Address       string // that was made
	Waits         bool   // for approval
	Apps          []app
}

// An app is a client that beginners get along with, by where it runs.
type app struct{ Name, Where, URL string }

// apps are those that take the links of invitations.
var apps = []app{
	{"Conversations", "Android", "https://conversations.im/"},
	{"Monal", "iPhone, iPad, Mac", "https://monal-im.org/"},
	{"Siskin", "iPhone, iPad", "https://siskin.im/"},
	{"Gajim", "Windows, Linux", "https://gajim.org/"},
	{"Dino", "Linux", "https://dino.im/"},
}

// A counter is where people stand.
type counter struct {
	site *pages.Site
	book *pages.Book
	desk Desk
}

// Handler answers below Path, and at PathRegister.
func Handler(site *pages.Site, desk Desk) http.Handler {
	c := &counter{site, site.NewBook(files, nil), desk}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !site.Methods(w, r, http.MethodGet, http.MethodHead, http.MethodPost) {
			return
		}
		if r.URL.Path == PathRegister {
			c.register(w, r)
		} else {
			c.invite(w, r)
		}
	})
}

// register is the page for those who have no invitation.
func (c *counter) register(w http.ResponseWriter, r *http.Request) {
	inv, err := c.desk.Open(r)
	if err != nil {
		c.site.Error(w, r, http.StatusNotFound)
		return
	}
	c.serve(w, r, "register", view{Invitation: inv, Action: PathRegister, Apps: apps}, "")
}

// invite is the page of one invitation.
func (c *counter) invite(w http.ResponseWriter, r *http.Request) {
	token := strings.TrimPrefix(r.URL.Path, Path)
	if token == "" { // `jackdaw doctor` asks for this
		c.site.Error(w, r, http.StatusGone)
		return
	}
	inv, err := c.desk.Look(r, token)
	if err != nil {
		c.site.Error(w, r, status(err))
		return
	}
	v := view{Invitation: inv, Action: Path + token, Apps: apps, Link: pages.SafeURL(inv.URI)}
	// COMPAT(Conversations 2.x): browsers on Android open an app by an intent where they take no xmpp: link.
	v.Android = template.URL("intent://" + strings.TrimPrefix(inv.URI, "xmpp:") +
		"#Intent;scheme=xmpp;package=eu.siacs.conversations;end")
	if v.Code, err = pages.QR(inv.URI, inv.URI); err != nil {
		c.site.Error(w, r, http.StatusInternalServerError)
		return
	}
	c.serve(w, r, "landing", v, token)
}

// serve shows a page with a form, or does what the form asks for.
func (c *counter) serve(w http.ResponseWriter, r *http.Request, name string, v view, token string) {
	show := func(status int) {
		c.book.Write(w, r, pages.View{Name: name, Status: status, Data: v})
	}
	if r.Method != http.MethodPost {
		show(0)
		return
	}
	if !pages.SameOrigin(r) {
		c.site.Error(w, r, http.StatusForbidden)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		c.site.Error(w, r, http.StatusBadRequest)
		return
	}
	o := Order{Host: v.Host, Token: token, Name: strings.TrimSpace(r.PostForm.Get("name")),
		Password: r.PostForm.Get("password")}
	if v.Name != "" {
		o.Name = v.Name
	}
	v.Asked = o.Name
	switch {
	case !v.Account && !v.Reset:
		c.site.Error(w, r, http.StatusForbidden)
		return
	case o.Password == "" || o.Password != r.PostForm.Get("again"):
		v.Wrong = "invite.wrong.again"
		show(http.StatusUnprocessableEntity)
		return
	}
	address, waits, err := c.desk.Redeem(r.Context(), r, o)
	switch {
	case err == nil:
		name, v.Address, v.Waits = "done", address, waits
		show(0)
		return
	case errors.Is(err, ErrTaken):
		v.Wrong = "invite.wrong.taken"
	case errors.Is(err, ErrName):
		v.Wrong = "invite.wrong.name"
	case errors.Is(err, ErrPassword):
		v.Wrong = "invite.wrong.password"
	default:
		c.site.Error(w, r, status(err))
		return
	}
	show(http.StatusUnprocessableEntity)
}

func status(err error) int {
	switch {
	case errors.Is(err, ErrInvalid):
		return http.StatusGone
	case errors.Is(err, ErrClear):
		return http.StatusForbidden
	case errors.Is(err, ErrWait):
		return http.StatusTooManyRequests
	}
	return http.StatusServiceUnavailable
}
