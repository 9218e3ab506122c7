package registration

import (
	"context"
	"errors"
	"time"

	"jackdaw/config"
	"jackdaw/router/accounts"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// Throttle is that of failed logins.
type Throttle interface {
	Check(from accounts.Source, account string) error
	Failed(from accounts.Source, account string)
}

// Invitations are what is needed of module invitations.
type Invitations interface {
	// On says whether there are any now.
	On() bool
	// Admit says what a token is good for; nothing is used by it.
	Admit(ctx context.Context, host, token string) (Admission, *xmpp.Error)
	// Claim begins a use, as of when the token was admitted.
	Claim(ctx context.Context, token string, user jid.JID, admitted time.Time) (Claim, *xmpp.Error)
	// Keeps says whether a user name is kept for somebody who has been invited.
	Keeps(ctx context.Context, user jid.JID) (bool, error)
}

// An Admission is what a token lets somebody do.
type Admission struct {
	Name  string // the user name that there is to choose; "": any
	Reset bool   // this account gets a new password, instead of being made
}

// A Claim is a use that has begun. Keep counts it, Drop gives it back.
type Claim struct {
	Admission
	Keep, Drop func(context.Context) error
}

// InviteBy says who may register by invitation. It must be said before the first request.
func (g *Registration) InviteBy(i Invitations) { g.invites = i }

// Offered says whether strangers may create accounts on this host, which is what the stream features tell them (§8): by
// a request alone, or also by a token (XEP-0445, Discovery).
func (g *Registration) Offered(host string) (inBand, byToken bool) {
	if !g.o.Router.Serves(host) {
		return false, false
	}
	byToken = g.invites != nil && g.invites.On()
	switch g.o.Policy() {
	case config.RegistrationOpen:
		return true, byToken
	case config.RegistrationInvite:
		return byToken, byToken
	}
	return false, false
}

// A Newcomer wants an account, or a new password by invitation.
type Newcomer struct {
	User     jid.JID // bare, of a host that is served
	Password string
	From     accounts.Source
	Token    string    // of an invitation; "": none
	Admitted time.Time // when the token was good
}

// Register makes an account for somebody who has none, or sets a password where the token is for that. It returns when
// that is durable. Of the errors, one of type wait says that it may be done later, conflict that the name is taken,
// item-not-found that the token is good for nothing, not-allowed that there must be one.
func (g *Registration) Register(ctx context.Context, n Newcomer) *xmpp.Error {
	if n.Token == "" && g.o.Policy() != config.RegistrationOpen {
		return xmpp.NotAllowed("this host creates accounts by invitation only")
	}
	allowed, back := g.limit.take(n.From, time.Now(), g.o.Limits(), n.Token != "")
	if !allowed { // §3.1.1
		return xmpp.NotAcceptable("too many registrations from your address, try again later").WithType(xmpp.ErrorWait)
	}
	if n.Token == "" {
		if g.invites != nil {
			kept, err := g.invites.Keeps(ctx, n.User)
			if err == nil && kept {
				err = accounts.ErrExists // XEP-0445, Business Rules
			}
			if err != nil {
				back.failed()
				return g.refusal(err, n.User)
			}
		}
		if err := g.o.Accounts.Create(ctx, n.User, n.Password); err != nil {
			back.failed()
			return g.refusal(err, n.User)
		}
		g.o.Log.Info("account registered", "user", n.User, "address", n.From.Addr)
		return nil
	}
	refused := g.invited(ctx, n)
	if refused == nil {
		back.invited()
	}
	return refused
}

// invited does what a token is good for.
func (g *Registration) invited(ctx context.Context, n Newcomer) *xmpp.Error {
	if g.invites == nil {
		return xmpp.ItemNotFound("")
	}
	if err := g.Slow(n.From); err != nil {
		return err
	}
	claim, refused := g.invites.Claim(ctx, n.Token, n.User, n.Admitted)
	if refused != nil {
		g.Guessed(n.From, refused)
		return refused
	}
	do, what := g.o.Accounts.Create, "account registered by invitation"
	if claim.Reset {
		do, what = g.o.Accounts.SetPassword, "password set by invitation"
	}
	// Whether it is done is not known if time has run out: what becomes of the use is settled later.
	err := do(ctx, n.User, n.Password)
	unknown := errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) ||
		errors.Is(err, accounts.ErrUnavailable)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	switch {
	case err == nil:
		g.o.Log.Info(what, "user", n.User, "address", n.From.Addr)
		if err := claim.Keep(ctx); err != nil {
			g.o.Log.Warn("the use of an invitation is not counted yet", "user", n.User, "error", err)
		}
		return nil
	case !unknown:
		if err := claim.Drop(ctx); err != nil {
			g.o.Log.Warn("the use of an invitation is not given back yet", "user", n.User, "error", err)
		}
	}
	return g.refusal(err, n.User)
}

// guesses is the account that the throttle counts wrong tokens for: none can have this name.
const guesses = "invitation"

// Slow refuses whoever has sent too many tokens that were none.
func (g *Registration) Slow(from accounts.Source) *xmpp.Error {
	if g.o.Throttle == nil {
		return nil
	}
	if err := g.o.Throttle.Check(from, guesses); err != nil {
		return xmpp.ResourceConstraint("too many failed attempts from your address, try again later")
	}
	return nil
}

// Guessed counts a token that was none.
func (g *Registration) Guessed(from accounts.Source, refused *xmpp.Error) {
	if g.o.Throttle != nil && refused.Condition == xmpp.CondItemNotFound {
		g.o.Throttle.Failed(from, guesses)
	}
}

// Admit says what a token is good for, to somebody at this address.
func (g *Registration) Admit(ctx context.Context, host, token string, from accounts.Source) (Admission, *xmpp.Error) {
	if g.invites == nil {
		return Admission{}, xmpp.ItemNotFound("")
	}
	if err := g.Slow(from); err != nil {
		return Admission{}, err
	}
	a, refused := g.invites.Admit(ctx, host, token)
	if refused != nil {
		g.Guessed(from, refused)
	}
	return a, refused
}

var preauth = xmpp.Name{Space: xmpp.NSPARS, Local: "preauth"}

// A visit is one stream of a client that has not logged in.
type visit struct {
	g        *Registration
	host     string
	from     accounts.Source
	token    string // that was admitted
	admitted time.Time
	Admission
}

// Visit returns what answers the requests of one stream before the login, one at a time. An answer that tells of an
// account that was made comes when that is durable; it owns its memory.
func (g *Registration) Visit(host string, from accounts.Source) func(context.Context, *xmpp.Stanza) xmpp.Stanza {
	v := &visit{g: g, host: host, from: from}
	return v.handle
}

func (v *visit) handle(ctx context.Context, iq *xmpp.Stanza) xmpp.Stanza {
	payload, refused := v.answer(ctx, iq)
	if refused != nil {
		return iq.ErrorReply(refused)
	}
	return iq.Result(payload)
}

func (v *visit) answer(ctx context.Context, iq *xmpp.Stanza) ([]byte, *xmpp.Error) {
	q, inBand := iq.Child(query), false
	p, byToken := iq.Child(preauth), false
	inBand, byToken = v.g.Offered(v.host)
	switch {
	case q == nil && p == nil || !iq.IsRequest():
		return nil, xmpp.ServiceUnavailable("")
	case !iq.To.IsZero() && (!iq.To.IsDomain() || iq.To.Domain() != v.host):
		return nil, xmpp.NotAllowed("register with this host")
	case p != nil && (!byToken || iq.Type != xmpp.TypeSet):
		return nil, xmpp.ServiceUnavailable("")
	case p != nil:
		return nil, v.preauth(ctx, p.Attr("token"))
	case !inBand && iq.Type == xmpp.TypeGet: // §3.1
		return nil, xmpp.ServiceUnavailable("")
	case !inBand:
		return nil, xmpp.NotAllowed("this host creates no accounts on request")
	case v.token == "" && v.g.o.Policy() != config.RegistrationOpen:
		return nil, xmpp.NotAllowed("this host creates accounts by invitation only")
	case iq.Type == xmpp.TypeGet:
		return fields(v.Name, false), nil
	case q.ChildLocal("remove") != nil: // §3.2, table 1
		return nil, xmpp.UnexpectedRequest("log in first")
	}
	name, password := q.ChildLocal("username"), q.ChildLocal("password")
	if name == nil || name.Text() == "" || password == nil || password.Text() == "" { // §3.1
		return nil, xmpp.NotAcceptable("user name and password are needed")
	}
	user, err := jid.New(name.Text(), v.host, "")
	if err != nil {
		return nil, xmpp.NotAcceptable("no user can have this name")
	}
	return nil, v.g.Register(ctx, Newcomer{User: user, Password: password.Text(), From: v.from, Token: v.token,
		Admitted: v.admitted})
}

// preauth takes a token, which counts for the rest of the stream (XEP-0445).
func (v *visit) preauth(ctx context.Context, token string) *xmpp.Error {
	now := time.Now()
	a, refused := v.g.Admit(ctx, v.host, token, v.from)
	if refused == nil {
		v.token, v.admitted, v.Admission = token, now, a
	}
	return refused
}
