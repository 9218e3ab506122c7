package httpmessage

import (
	"errors"
	"net/http"
	"strconv"
	"strings"

	"jackdaw/router/tokens"
)

// tokenScope is the reason for a recipient that is not within the scopes of the token.
const tokenScope = "token-scope"

// bearer returns the token of a request that shows one as RFC 6750 §2.1 says. Neither a body nor a query has a token
// for us (§2.2, §2.3): they end up in logs.
func bearer(r *http.Request) (token string, ok bool) {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.TrimSpace(token), ok && strings.EqualFold(scheme, "Bearer")
}

// byBearer checks a token that a request shows as such.
func (p *post) byBearer(secret string) *refusal {
	if p.s.o.Tokens == nil || p.api == gatewayAPI { // an API account has no tokens
		return p.unauthorized()
	}
	if k, ok := tokens.KindOf(secret); ok && k != tokens.KindAccount {
		return p.badToken(secret, tokens.Token{}, p.s.o.Tokens.Count(secret, p.source, tokens.ErrKind), true)
	}
	t, err := p.s.o.Tokens.Open(p.r.Context(), secret, p.source)
	if err != nil {
		return p.badToken(secret, t, err, true)
	}
	p.actFor(t)
	return nil
}

// byBasicToken checks a password that has the form of a token. known is false for one that is none: a password, then.
func (p *post) byBasicToken(name, secret string) (known bool, x *refusal) {
	if k, ok := tokens.KindOf(secret); p.s.o.Tokens == nil || !ok || k != tokens.KindAccount {
		return false, nil
	}
	t, err := p.s.o.Tokens.Try(p.r.Context(), secret, p.source)
	if errors.Is(err, tokens.ErrUnknown) || errors.Is(err, tokens.ErrOff) {
		if _, good := p.userOf(name); good {
			return false, nil // a failure counts as that of a password
		}
	}
	if err = p.s.o.Tokens.Count(secret, p.source, err); err != nil {
		return true, p.badToken(secret, t, err, false)
	}
	// Whoever writes a whole address means that account. A name alone is what the tools of others fill in, such as
	// "token"; it must not depend on who has an account.
	if strings.ContainsRune(name, '@') {
		if user, good := p.userOf(name); !good || user != t.Owner {
			p.attempted = t.Owner.String()
			return true, p.unauthorized()
		}
	}
	p.actFor(t)
	return true, nil
}

// actFor makes the request one of the token's owner.
func (p *post) actFor(t tokens.Token) {
	p.token, p.user, p.account, p.most = t.ID, t.Owner, t.Owner.String(), t.MaxBytes
	p.scopes, p.scoped = t.Scopes, true
}

// badToken is the answer to a token that may not be used. shown says that it was shown as one, and not as a password.
func (p *post) badToken(secret string, t tokens.Token, err error, shown bool) *refusal {
	if _, ok := tokens.KindOf(secret); ok {
		p.token = tokens.IDOf(secret) // also of one that was revoked: the log has its id
	}
	if !t.Owner.IsZero() {
		p.attempted = t.Owner.String()
	}
	var fast tokens.TooFast
	switch {
	case errors.As(err, &fast):
		n := fast.Seconds()
		return &refusal{status: http.StatusTooManyRequests, retry: n, close: true,
			text: "Too many requests: the token is used too often. Try again in " + strconv.Itoa(n) + " seconds."}
	case !tokens.Wrong(err):
		return p.failed(err)
	}
	p.why = err.Error()
	x := p.unauthorized()
	if shown {
		x.bearer, x.text = `error="invalid_token"`, "Unauthorized. The token is not valid."
		if errors.Is(err, tokens.ErrExpired) { // whoever has it may know that
			x.bearer += `, error_description="The token has expired"`
			x.text = "Unauthorized. The token has expired."
		}
	}
	return x
}

// maxBody is how large a message may be.
func (d *delivery) maxBody() int {
	if d.most > 0 {
		return min(d.most, d.set.MaxBody)
	}
	return d.set.MaxBody
}

// within says whether the scopes of a token, if it is one, let the message go to a recipient.
func (d *delivery) within(r *recipient) bool {
	return !d.rights.Scoped() ||
		d.rights.MaySend(r.to, d.s.o.Rooms != nil && d.s.o.Rooms(r.to.Domain()))
}

// lacks is the refusal of what somebody may not do.
func (d *delivery) lacks(permission string) *refusal {
	who := "the authenticated user does"
	if d.rights.Scoped() {
		who = "the token or its account does"
	}
	return forbidden(who + " not have permission to " + permission + ".")
}
