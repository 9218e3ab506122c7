package console

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"jackdaw/router/accounts"
	"jackdaw/router/tokens"
	"jackdaw/web"
	"jackdaw/web/pages"
	"jackdaw/xmpp/jid"
)

const (
	// idleTime is how long a session lasts that is not used, lifeTime how long in any case.
	idleTime = 30 * time.Minute
	lifeTime = 12 * time.Hour
	// maxSessions bounds all, maxOfUser those of one administrator; beyond, the one that was not used for longest goes.
	maxSessions = 500
	maxOfUser   = 10
	// cookie is its name over TLS: a browser takes one with that prefix only from there, for all paths and no other host
	// (RFC 6265bis §4.1.3.2). plainCookie is that for a browser on this machine, which speaks to us in the clear.
	cookie      = "__Host-jackdaw"
	plainCookie = "jackdaw"
)

// A session is an administrator who has logged in.
type session struct {
	user  jid.JID // bare
	token string  // of its forms

	// Guarded by sessions.mu.
	made, used time.Time
	word       word
}

// A word is what the next page says first.
type word struct {
	Bad  bool
	Text string
	Link string // or a token, to be copied; "": none
}

// sessions are all, by the hash of their cookie.
type sessions struct {
	now func() time.Time

	mu  sync.Mutex // guards all
	all map[[sha256.Size]byte]*session
}

func newSessions(now func() time.Time) *sessions {
	return &sessions{now: now, all: map[[sha256.Size]byte]*session{}}
}

// secret is 256 random bits.
func secret() string {
	var b [32]byte
	rand.Read(b[:]) // never returns an error
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// open makes a session and returns what its cookie holds.
func (s *sessions) open(user jid.JID) string {
	value := secret()
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	for {
		var oldest, oldestOwn [sha256.Size]byte
		own := 0
		for hash, one := range s.all {
			if !one.live(now) {
				delete(s.all, hash)
				continue
			}
			if old := s.all[oldest]; old == nil || one.used.Before(old.used) {
				oldest = hash
			}
			if one.user != user {
				continue
			}
			own++
			if old := s.all[oldestOwn]; old == nil || one.used.Before(old.used) {
				oldestOwn = hash
			}
		}
		switch {
		case own >= maxOfUser:
			delete(s.all, oldestOwn)
		case len(s.all) >= maxSessions:
			delete(s.all, oldest)
		default:
			s.all[sha256.Sum256([]byte(value))] = &session{user: user, token: secret(), made: now, used: now}
			return value
		}
	}
}

func (o *session) live(now time.Time) bool {
	return now.Sub(o.used) < idleTime && now.Sub(o.made) < lifeTime
}

// get returns the session of a cookie, nil if there is none, and notes that it is used.
func (s *sessions) get(value string) *session {
	hash := sha256.Sum256([]byte(value)) // what is compared below is no secret any more
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.all[hash]
	if one == nil {
		return nil
	}
	now := s.now()
	if !one.live(now) {
		delete(s.all, hash)
		return nil
	}
	one.used = now
	return one
}

// end ends one session.
func (s *sessions) end(value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, sha256.Sum256([]byte(value)))
}

// endAll ends those of a user.
func (s *sessions) endAll(user jid.JID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for hash, one := range s.all {
		if one.user == user {
			delete(s.all, hash)
		}
	}
}

// accountChanged hears what happens to accounts. Whether a user still is an administrator is asked with every request.
func (s *sessions) accountChanged(user jid.JID, what accounts.Change) {
	if what != accounts.PermissionsChanged {
		s.endAll(user.Bare())
	}
}

func (s *sessions) say(o *session, w word) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o.word = w
}

// said takes what is to be said.
func (s *sessions) said(o *session) word {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := o.word
	o.word = word{}
	return w
}

// cookieName is that for the way by which a request has come.
func cookieName(r *http.Request) string {
	if secure(r) {
		return cookie
	}
	return plainCookie
}

// secure says whether the browser speaks TLS, to us or to a proxy: reached has let nothing else pass but what comes
// from this machine, and there only a trusted proxy says of a scheme.
func secure(r *http.Request) bool {
	return r.TLS != nil || strings.EqualFold(strings.TrimSpace(r.Header.Get("X-Forwarded-Proto")), "https")
}

// current is the session of a request, nil if there is none or its user is no administrator any more.
func (c *Console) current(r *http.Request) *session {
	held, err := r.Cookie(cookieName(r))
	if err != nil {
		return nil
	}
	s := c.sessions.get(held.Value)
	if s == nil {
		return nil
	}
	if !c.o.Admin.Administers(r.Context(), s.user) ||
		errors.Is(c.o.Accounts.Vouch(r.Context(), s.user), accounts.ErrNotAuthorized) {
		c.sessions.end(held.Value)
		return nil
	}
	web.Authenticated(r)
	return s
}

// genuine says whether a form is one of ours: it has the token of the session, and the browser does not say that it
// comes from elsewhere.
func (v *visit) genuine() bool {
	return subtle.ConstantTimeCompare([]byte(v.r.PostForm.Get("token")), []byte(v.session.token)) == 1 &&
		pages.SameOrigin(v.r)
}

// stranger answers whoever has no session: there is one page.
func (v *visit) stranger() {
	post := v.r.Method == http.MethodPost
	switch {
	case v.path == "/login" && post:
		v.login()
	case v.path == "/login":
		v.loginPage("", "", http.StatusOK)
	case post: // the session has ended; what was in the form must not be done by whoever logs in next
		v.c.o.Site.Error(v.w, v.r, http.StatusForbidden)
	default:
		v.goTo("/login", nil)
	}
}

// loginPage shows the form.
func (v *visit) loginPage(name, wrong string, status int) {
	if tokens.Mask(name) != name { // it was put into the wrong field, and is not to stand there for all to see
		name = ""
	}
	v.c.book.Write(v.w, v.r, pages.View{Name: "login", Lang: pages.English, Status: status,
		Data: struct{ Name, Wrong, Host string }{name, wrong, v.host()}})
}

// host is the domain that completes a bare local part.
func (v *visit) host() string {
	cfg := v.c.o.Config()
	if j, err := jid.Parse(pages.HostOf(v.r)); err == nil && cfg.Host(j.Domain()) != nil {
		return j.Domain()
	}
	return cfg.Hosts[0].Domain
}

// refusal is said alike of a wrong password, an unknown or disabled account, and one that is no administrator's.
const refusal = "That did not work: the address or the password is wrong, or the account is not an administrator's."

// login opens a session. Guesses are counted where those over XMPP are.
func (v *visit) login() {
	if !pages.SameOrigin(v.r) {
		v.c.o.Site.Error(v.w, v.r, http.StatusForbidden)
		return
	}
	name := v.field("name")
	address := name
	if !strings.Contains(address, "@") {
		address += "@" + v.host()
	}
	user, err := jid.Parse(address)
	if err != nil || user.Local() == "" || !user.IsBare() {
		v.loginPage(name, refusal, http.StatusForbidden)
		return
	}
	ctx, began := v.r.Context(), v.c.o.Now()
	err = v.c.o.Accounts.Authenticate(ctx, v.from, user, v.r.PostForm.Get("password"))
	var slow accounts.ErrThrottled
	switch {
	case errors.As(err, &slow):
		v.w.Header().Set("Retry-After", strconv.Itoa(slow.Seconds()))
		v.loginPage(name, "Too many attempts have failed. Wait a little before the next one.", http.StatusTooManyRequests)
		return
	case errors.Is(err, accounts.ErrNotAuthorized), err == nil && !v.c.o.Admin.Administers(ctx, user):
		// As clients do it, so that who reads it there, such as contrib/fail2ban, reads it here.
		v.c.o.Log.Info("login failed", "user", user.Local(), "host", user.Domain(), "from", v.from.Addr,
			"why", "not-authorized")
		v.loginPage(name, refusal, http.StatusForbidden)
		return
	case err != nil:
		v.failed("login", err)
		return
	}
	if held, err := v.r.Cookie(cookieName(v.r)); err == nil {
		v.c.sessions.end(held.Value) // one browser, one session
	}
	value := v.c.sessions.open(user)
	// Whoever changed the password meanwhile has ended the sessions that there were.
	if a, err := v.c.o.Accounts.Get(ctx, user); err != nil || !a.Active() || a.Changed.After(began) {
		v.c.sessions.end(value)
		v.loginPage(name, refusal, http.StatusForbidden)
		return
	}
	v.c.o.Log.Info("console login", "account", user, "from", v.from.Addr)
	http.SetCookie(v.w, v.cookie(value, 0))
	v.goTo("", nil)
}

// cookie is the cookie of a session; age is -1 to take it away.
func (v *visit) cookie(value string, age int) *http.Cookie {
	return &http.Cookie{Name: cookieName(v.r), Value: value, Path: "/", MaxAge: age, Secure: secure(v.r), HttpOnly: true,
		SameSite: http.SameSiteStrictMode}
}

func (v *visit) logout() {
	if held, err := v.r.Cookie(cookieName(v.r)); err == nil {
		v.c.sessions.end(held.Value)
	}
	http.SetCookie(v.w, v.cookie("", -1))
	v.goTo("/login", nil)
}
