package registration

import (
	"context"
	"errors"
	"fmt"
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
	switch g.o.Policy(host) {
	case config.RegistrationOpen, config.RegistrationApprove:
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

// Policy says who may create accounts of a host now.
func (g *Registration) Policy(host string) config.Registration { return g.o.Policy(host) }

// ByAnybody says whether who has no invitation may register with a host, and whether an administrator has to approve it
// then.
func (g *Registration) ByAnybody(host string) (may, approved bool) {
	p := g.o.Policy(host)
	return p == config.RegistrationOpen || p == config.RegistrationApprove, p == config.RegistrationApprove
}

// Register makes an account for somebody who has none, or sets a password where the token is for that. It returns when
// that is durable, and says whether the account waits for approval. Of the errors, one of type wait says that it may be
// done later, conflict that the name is taken, item-not-found that the token is good for nothing, not-allowed that
// there must be one.
func (g *Registration) Register(ctx context.Context, n Newcomer) (waits bool, refused *xmpp.Error) {
	may, approved := g.ByAnybody(n.User.Domain())
	if n.Token == "" && !may {
		return false, xmpp.NotAllowed("this host creates accounts by invitation only")
	}
	allowed, back := g.limit.take(n.From, time.Now(), g.o.Limits(), n.Token != "")
	if !allowed { // §3.1.1
		return false, xmpp.NotAcceptable("too many registrations from your address, try again later").
			WithType(xmpp.ErrorWait)
	}
	if n.Token != "" {
		if refused = g.invited(ctx, n); refused == nil {
			back.invited()
		}
		return false, refused
	}
	if err := g.uninvited(ctx, n, approved); err != nil {
		back.failed()
		return false, g.refusal(err, n.User)
	}
	return approved, nil
}

// uninvited makes an account for somebody who has no invitation.
func (g *Registration) uninvited(ctx context.Context, n Newcomer, approved bool) error {
	if g.o.Accounts.Reserved(n.User) {
		return accounts.ErrExists
	}
	if g.invites != nil {
		switch kept, err := g.invites.Keeps(ctx, n.User); {
		case err != nil:
			return err
		case kept:
			return accounts.ErrExists // XEP-0445, Business Rules
		}
	}
	if !approved {
		err := g.o.Accounts.Create(ctx, n.User, n.Password)
		if err == nil {
			g.o.Log.Info("account registered", "user", n.User, "address", n.From.Addr)
		}
		return err
	}
	if err := g.o.Accounts.Apply(ctx, n.User, n.Password, n.From, g.o.Limits().Waiting); err != nil {
		return err
	}
	g.o.Log.Info("account registered, and waits for approval", "user", n.User, "address", n.From.Addr)
	// Whoever registers many hides nobody's who comes from elsewhere.
	g.o.Tell(n.User.Domain(), n.From.Network().String(), fmt.Sprintf("%s has registered and waits for approval: "+
		"`jackdaw user approve %s`, or `refuse`; the console and the commands of this server can do the same.", n.User,
		n.User))
	return nil
}

// tick is how often somebody looks for accounts that have waited too long.
const tick = time.Hour

// Run removes accounts that nobody has approved in time, until ctx ends.
func (g *Registration) Run(ctx context.Context) {
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		for _, host := range g.o.Hosts() {
			if err := g.expire(ctx, host); err != nil && ctx.Err() == nil {
				g.o.Log.Warn("accounts that have waited too long are not removed yet", "host", host, "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// expire refuses who has waited too long on a host, of those who are at home here.
func (g *Registration) expire(ctx context.Context, host string) error {
	list, err := g.o.Accounts.Waiting(ctx, host)
	if err != nil {
		return err
	}
	age := g.o.Limits().Age
	for _, one := range list {
		if time.Since(one.Asked) < age || !g.o.Router.IsHome(one.User) {
			continue
		}
		// Somebody may have decided meanwhile.
		err := g.o.Accounts.Refuse(ctx, one.User)
		if errors.Is(err, accounts.ErrNotWaiting) || errors.Is(err, accounts.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		g.o.Log.Info("account removed that nobody has approved", "user", one.User, "asked", one.Asked)
		g.o.Tell(host, one.From.String(), fmt.Sprintf("%s has waited too long for approval, and is removed.", one.User))
	}
	return nil
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
	switch {
	case claim.Name == "" && g.o.Accounts.Reserved(n.User):
		do = func(context.Context, jid.JID, string) error { return accounts.ErrExists }
	case claim.Reset:
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
	may, approved := v.g.ByAnybody(v.host)
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
	case v.token == "" && !may:
		return nil, xmpp.NotAllowed("this host creates accounts by invitation only")
	case iq.Type == xmpp.TypeGet:
		of := byAnybody
		switch {
		case v.Name != "":
			of = byInvite
		case v.token == "" && approved:
			of = toAsk
		}
		return fields(of, v.Name), nil
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
	_, refused := v.g.Register(ctx, Newcomer{User: user, Password: password.Text(), From: v.from, Token: v.token,
		Admitted: v.admitted})
	return nil, refused
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
