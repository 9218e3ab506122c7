// Package landing is the page that an invitation leads to (XEP-0379 §3.3, XEP-0401 §5.2): who invites, a code for the
// telephone, a button for a client, a form to make the account or the password in the browser, and the link itself.
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

//go:embed templates languages
var files embed.FS

// Path is what the addresses of the pages begin with; the token follows.
const Path = "/invite/"

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
	URI     string
	Expires time.Time
}

// A Desk knows the invitations.
type Desk interface {
	// Look says what a token is good for. Nothing is used up.
	Look(r *http.Request, token string) (Invitation, error)
	// Redeem makes the account or sets the password, and returns the address.
	Redeem(ctx context.Context, r *http.Request, o Order) (address string, err error)
}

// An Order is a form that was filled in.
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

// Handler answers below Path.
func Handler(site *pages.Site, desk Desk) http.Handler {
	book := site.NewBook(files, nil)
	show := func(w http.ResponseWriter, r *http.Request, status int, v view) {
		name := "landing"
		if v.Address != "" {
			name = "done"
		}
		book.Write(w, r, pages.View{Name: name, Status: status, Data: v})
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !site.Methods(w, r, http.MethodGet, http.MethodHead, http.MethodPost) {
			return
		}
		token := strings.TrimPrefix(r.URL.Path, Path)
		inv, err := desk.Look(r, token)
		if err != nil {
			site.Error(w, r, status(err))
			return
		}
		v := view{Invitation: inv, Action: Path + token, Apps: apps, Link: pages.SafeURL(inv.URI)}
		// COMPAT(Conversations 2.x): browsers on Android open an app by an intent where they take no xmpp: link.
		v.Android = template.URL("intent://" + strings.TrimPrefix(inv.URI, "xmpp:") +
			"#Intent;scheme=xmpp;package=eu.siacs.conversations;end")
		if v.Code, err = pages.QR(inv.URI, inv.URI); err != nil {
			site.Error(w, r, http.StatusInternalServerError)
			return
		}
		if r.Method != http.MethodPost {
			show(w, r, 0, v)
			return
		}
		if !pages.SameOrigin(r) {
			site.Error(w, r, http.StatusForbidden)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		if err := r.ParseForm(); err != nil {
			site.Error(w, r, http.StatusBadRequest)
			return
		}
		o := Order{Host: inv.Host, Token: token, Name: strings.TrimSpace(r.PostForm.Get("name")),
			Password: r.PostForm.Get("password")}
		if inv.Name != "" {
			o.Name = inv.Name
		}
		v.Asked = o.Name
		switch {
		case !inv.Account && !inv.Reset:
			site.Error(w, r, http.StatusForbidden)
			return
		case o.Password == "" || o.Password != r.PostForm.Get("again"):
			v.Wrong = "invite.wrong.again"
			show(w, r, http.StatusUnprocessableEntity, v)
			return
		}
		address, err := desk.Redeem(r.Context(), r, o)
		switch {
		case err == nil:
			v.Address = address
			show(w, r, 0, v)
			return
		case errors.Is(err, ErrTaken):
			v.Wrong = "invite.wrong.taken"
		case errors.Is(err, ErrName):
			v.Wrong = "invite.wrong.name"
		case errors.Is(err, ErrPassword):
			v.Wrong = "invite.wrong.password"
		default:
			site.Error(w, r, status(err))
			return
		}
		show(w, r, http.StatusUnprocessableEntity, v)
	})
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
