// Package registration lets users change their password and remove their account,
// and strangers create one where the configuration says so (XEP-0077), maybe for an administrator to approve it.
//
// Whoever has logged in asks through the router. Whoever has not asks package c2s, which has each stream answered by
// a Visit; the stream features (§8, XEP-0445) are offered there too, where Offered says so. Creations are limited for
// each address, but for loopback and for whoever has been invited; see strangers.go.
//
// The client that has changed the password stays logged in; the other sessions of the account end.
//
// Left out: data forms and redirection (§4, §5). Plain text passwords travel in these requests: streams without TLS are
// accepted on loopback only, by the configuration of c2s.
package registration

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"jackdaw/config"
	"jackdaw/modules/internal/parts"
	"jackdaw/router"
	"jackdaw/router/accounts"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// Accounts is what is needed of router/accounts.
type Accounts interface {
	Create(ctx context.Context, user jid.JID, password string) error
	SetPassword(ctx context.Context, user jid.JID, password string) error
	Delete(ctx context.Context, user jid.JID) error
	OnChange(f func(user jid.JID, what accounts.Change))
	Apply(ctx context.Context, user jid.JID, password string, from accounts.Source, most accounts.Bounds) error
	Waiting(ctx context.Context, host string) ([]accounts.Application, error)
	Refuse(ctx context.Context, user jid.JID) error
	Reserved(user jid.JID) bool
}

// Options of New; all are needed.
type Options struct {
	Router   *router.Router
	Accounts Accounts
	// Policy says who may create accounts of a host now. It is called for each request.
	Policy func(host string) config.Registration
	// Limits says what one address may do now.
	Limits func() Limits
	// Throttle slows down whoever guesses tokens; nil: nobody is.
	Throttle Throttle
	// Hosts are those that are served.
	Hosts func() []string
	// Tell lets the administrators of a host know of something about somebody.
	Tell func(host, about, line string)
	Log  *slog.Logger
}

// patience is how long a change may take before the user is told to try again.
const patience = 30 * time.Second

var query = xmpp.Name{Space: xmpp.NSRegister, Local: "query"}

// A Registration answers. It is safe for concurrent use.
type Registration struct {
	o     Options
	limit limiter
	// invites are those of InviteBy; nil: there are none.
	invites Invitations

	mu sync.Mutex // guards underway
	// underway holds, for each user who is changing the account, the session that waits for the result.
	underway map[jid.JID]*waiter
}

type waiter struct {
	session  *router.Session
	what     accounts.Change
	answer   func()
	answered bool
	done     chan struct{} // closed when the account has been deleted, and that is answered
}

// Of makes the answers of a server; what New says of the order holds here too. tell writes to the administrators of a
// host, in one line about somebody.
func Of(p parts.Parts, tell func(host, about, line string)) *Registration {
	return New(Options{Router: p.Router, Accounts: p.Accounts, Throttle: p.Accounts.Throttle(), Log: p.Log,
		Tell: tell, Hosts: func() (all []string) {
			for _, h := range p.Config().Hosts {
				all = append(all, h.Domain)
			}
			return all
		},
		Policy: p.Registration,
		Limits: func() Limits {
			l := &p.Config().Limits
			return Limits{Creations: Rate{Burst: l.Registrations, Every: l.RegistrationEvery},
				Attempts: Rate{Burst: l.RegistrationAttempts, Every: l.RegistrationAttemptEvery},
				Waiting:  accounts.Bounds{Host: l.Approvals, Address: l.ApprovalsPerAddress}, Age: l.ApprovalAge}
		}})
}

// New returns the answers. Whoever else listens to changes of accounts, ends the
// sessions and erases the data (Router.Remove) must do so after New: listeners are
// called in order, and the result has to leave first.
func New(o Options) *Registration {
	g := &Registration{o: o, underway: map[jid.JID]*waiter{}}
	o.Accounts.OnChange(g.changed)
	return g
}

// Module returns the module.
func (g *Registration) Module() router.Module {
	return router.Module{
		Name:     "registration",
		Specs:    []router.Spec{{Name: "XEP-0077", Version: "2.4", Note: "without data forms and redirection"}},
		Features: []string{xmpp.NSRegister}, // §10: passwords can be changed
		IQ: []router.IQ{
			{Payload: query, Scope: router.Host, Handle: g.host},
			{Payload: query, Scope: router.Account, Handle: g.registered,
				Others: xmpp.Forbidden("an account is registered by its owner")},
		},
	}
}

// host answers the users of a host; others have no account there.
func (g *Registration) host(e *router.Envelope) {
	if e.Session == nil || e.Session.Bare().Domain() != e.Stanza.To.Domain() {
		if e.Stanza.Type == xmpp.TypeGet {
			e.Refuse(xmpp.ServiceUnavailable("")) // §3.1
			return
		}
		e.Refuse(xmpp.RegistrationRequired("")) // §3.2, table 1
		return
	}
	g.registered(e)
}

// registered answers a user who has logged in.
func (g *Registration) registered(e *router.Envelope) {
	if e.Stanza.Type == xmpp.TypeGet {
		g.o.Router.Answer(e, fields(toChange, e.Session.Bare().Local()))
		return
	}
	q := e.Stanza.Child(query)
	if q == nil {
		e.Refuse(xmpp.BadRequest(""))
		return
	}
	if q.ChildLocal("remove") != nil {
		if len(q.Children()) != 1 { // §3.2, table 1
			e.Refuse(xmpp.BadRequest("remove stands alone"))
			return
		}
		g.remove(e)
		return
	}
	g.setPassword(e, q)
}

func (g *Registration) setPassword(e *router.Envelope, q *xmpp.Element) {
	user := e.Session.Bare()
	name, password := q.ChildLocal("username"), q.ChildLocal("password")
	if name == nil || password == nil || password.Text() == "" { // §3.3: never to nothing
		e.Refuse(xmpp.BadRequest("user name and new password are needed"))
		return
	}
	if who, err := jid.New(name.Text(), user.Domain(), ""); err != nil || who != user {
		e.Refuse(xmpp.NotAllowed("this is not your user name"))
		return
	}
	g.change(e, accounts.PasswordChanged, func(ctx context.Context) error {
		return g.o.Accounts.SetPassword(ctx, user, password.Text())
	})
}

func (g *Registration) remove(e *router.Envelope) {
	user := e.Session.Bare()
	g.change(e, accounts.Deleted, func(ctx context.Context) error { return g.o.Accounts.Delete(ctx, user) })
}

// change does what the user asks for. The result is sent when the change is durable, and
// before anything that follows from it may end the session.
func (g *Registration) change(e *router.Envelope, what accounts.Change, do func(context.Context) error) {
	s, user := e.Session, e.Session.Bare()
	w := &waiter{session: s, what: what, done: make(chan struct{}), answer: func() {
		reply := e.Stanza.Result(nil)
		reply.To = s.Addr()
		if reply.From.IsZero() {
			reply.From = user
		}
		s.SendNow(router.Delivery{Stanza: &reply, Copy: true})
	}}
	g.mu.Lock()
	if g.underway[user] != nil {
		g.mu.Unlock()
		e.Refuse(xmpp.ResourceConstraint("another change is on its way"))
		return
	}
	g.underway[user] = w
	g.mu.Unlock()

	result := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		err := do(ctx)
		g.mu.Lock()
		if g.underway[user] == w {
			delete(g.underway, user)
		}
		g.mu.Unlock()
		result <- err
	}()
	// This holds up the stream that asked, and no other. Of a deletion it waits for the answer only: what follows waits
	// for the end of the stream.
	var err error
	select {
	case <-w.done:
	case err = <-result:
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case w.answered:
		e.Settle(router.Delivered)
	case err != nil:
		w.answered = true
		e.Refuse(g.refusal(err, user))
	default:
		w.answered = true
		w.answer()
		e.Settle(router.Delivered)
	}
}

// changed sends the result to whoever waits for this change.
func (g *Registration) changed(user jid.JID, what accounts.Change) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if w := g.underway[user]; w != nil && w.what == what && !w.answered {
		w.answered = true
		w.answer()
		if what == accounts.Deleted {
			close(w.done)
		}
	}
}

// Stays says whether a session is changing the password of its account now: it knows the new one, and has no reason to
// log in again, unlike all others.
func (g *Registration) Stays(s *router.Session) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	w := g.underway[s.Bare()]
	return w != nil && w.session == s && w.what == accounts.PasswordChanged
}

// refusal is what a user is told of an error of accounts.
func (g *Registration) refusal(err error, user jid.JID) *xmpp.Error {
	if refused, ok := errors.AsType[*xmpp.Error](err); ok {
		return refused
	}
	switch {
	case errors.Is(err, accounts.ErrExists):
		return xmpp.Conflict("this user name is taken")
	case errors.Is(err, accounts.ErrElsewhere):
		return xmpp.NotAllowed("your password is kept elsewhere: change it there")
	case errors.Is(err, accounts.ErrPassword):
		return xmpp.NotAcceptable("this password cannot be used")
	case errors.Is(err, accounts.ErrUser):
		return xmpp.NotAcceptable("no user can have this name")
	case errors.Is(err, accounts.ErrNotFound):
		return xmpp.RegistrationRequired("")
	case errors.Is(err, accounts.ErrHostFull), errors.Is(err, accounts.ErrAddressFull):
		return xmpp.ResourceConstraint("too many registrations wait for approval, try again later")
	}
	g.o.Log.Warn("registration not done", "user", user, "err", err)
	return router.Unavailable()
}

// A purpose is what a form is for.
type purpose int

const (
	toChange  purpose = iota // what is on file (§3.1)
	byInvite                 // an account of the name that the invitation says
	byAnybody                // an account
	toAsk                    // an account that has to be approved
)

// fields are what there is to fill in, and the name that is known.
func fields(of purpose, name string) []byte {
	var w xmpp.Writer
	w.Start(xmpp.NSRegister, "query")
	switch {
	case of == toChange:
		w.Leaf("", "registered", "")
		w.Leaf("", "instructions", "To change your password, send your user name and the new password.")
	case of == byInvite:
		w.Leaf("", "instructions", "Choose a password. The user name is the one of your invitation.")
	case of == toAsk:
		w.Leaf("", "instructions", "Choose a user name and a password. You can log in when an administrator has approved "+
			"your account.")
	default:
		w.Leaf("", "instructions", "Choose a user name and a password.")
	}
	w.Leaf("", "username", name).Leaf("", "password", "")
	return w.End().Bytes()
}
