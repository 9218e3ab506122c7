package httpmessage

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"

	"jackdaw/router/accounts"
	"jackdaw/router/tokens"
	"jackdaw/web"
	"jackdaw/xmpp/jid"
)

// client is where a request comes from.
type client struct {
	accounts.Source
	unix bool
}

func (c client) name() string {
	if c.unix {
		return "unix"
	}
	return c.Addr.String()
}

// client is where a request comes from, as far as trusted proxies say.
func (s *Service) client(r *http.Request) client {
	c := web.ClientOf(r, s.settings.Load().TrustedProxies)
	// Loopback by hearsay is not exempt.
	return client{accounts.Source{Addr: c.Addr, Exempt: c.Unix || !c.Forwarded && c.Addr.IsLoopback()}, c.Unix}
}

// host is the domain that the request names if we serve it, else "" for none.
func (s *Service) host(r *http.Request) string {
	name := r.Host
	if h, _, err := net.SplitHostPort(name); err == nil {
		name = h
	}
	if s.o.Router.Serves(name) {
		return name
	}
	if j, err := jid.New("", name, ""); err == nil && s.o.Router.Serves(j.Domain()) {
		return j.Domain()
	}
	return ""
}

// domains are the realm, which is the host that the request means as far as one can tell, and what completes a bare
// local part: the host that the request names when we serve it, else the only one there is, else "".
func (p *post) domains() (realm, completes string) {
	if p.api != direct {
		return p.fqdn, p.fqdn
	}
	if host := p.s.host(p.r); host != "" {
		return host, host
	}
	switch hosts := p.s.o.Hosts(); len(hosts) {
	case 0:
		return "", ""
	case 1:
		return hosts[0], hosts[0]
	default:
		return hosts[0], ""
	}
}

// unauthorized is the answer to missing and wrong credentials alike.
func (p *post) unauthorized() *refusal {
	realm, _ := p.domains()
	return &refusal{status: http.StatusUnauthorized, realm: realm, close: true,
		text: "Unauthorized. Use your Jabber ID (user@domain.com) and password."}
}

// authenticate checks the credentials (RFC 7617) and finds out for whom the request is made.
func (p *post) authenticate() *refusal {
	if token, ok := bearer(p.r); ok {
		return p.byBearer(token)
	}
	if p.bySocket() {
		return nil
	}
	name, password, ok := p.r.BasicAuth()
	if ok && p.api != gatewayAPI {
		if known, x := p.byBasicToken(name, password); known {
			return x
		}
	}
	if !ok || name == "" {
		return p.unauthorized()
	}
	var err error
	if p.api == gatewayAPI {
		var a accounts.APIAccount
		if a, err = p.s.o.Accounts.AuthenticateAPI(p.r.Context(), p.client.Source, name, password); err == nil {
			p.account, p.mayPost = a.Name, a.MayPostFor(p.fqdn)
		}
	} else {
		user, good := p.userOf(name)
		if !good {
			return p.unauthorized()
		}
		if err = p.s.o.Accounts.Authenticate(p.r.Context(), p.client.Source, user, password); err == nil {
			p.user, p.account = user, user.String()
		} else {
			p.attempted = user.String()
		}
	}
	return p.failed(err)
}

// userOf completes a bare local part. A full address names no account, except on the gateway, where the user name may
// be one.
func (p *post) userOf(name string) (jid.JID, bool) {
	if !strings.ContainsRune(name, '@') {
		_, domain := p.domains()
		if domain == "" {
			return jid.JID{}, false
		}
		user, err := jid.New(name, domain, "")
		return user, err == nil && user.Local() != ""
	}
	user, err := jid.Parse(name)
	if err != nil || user.Local() == "" || p.api == direct && !user.IsBare() {
		return jid.JID{}, false
	}
	return user.Bare(), true
}

// Claimed is the account that a request says it is of, by the name with its credentials or by who has made the
// connection, as a bare address; "" for none. Of an API account's it is the sender, for whom all is decided. Nothing is
// checked.
func (s *Service) Claimed(r *http.Request) string {
	if found, in, _ := s.routes.Lookup(r.Method, r.URL.Path); found != nil && in.ByName("username") != "" {
		sender, err := jid.New(in.ByName("username"), in.ByName("fqdn"), "")
		if err != nil {
			return ""
		}
		return sender.String()
	}
	p := &post{delivery: delivery{s: s, set: s.settings.Load()}, r: r, api: direct, client: s.client(r)}
	if p.bySocket() {
		return p.account
	}
	name, _, ok := r.BasicAuth()
	if !ok {
		return ""
	}
	user, ok := p.userOf(name)
	if !ok {
		return ""
	}
	return user.String()
}

func (p *post) failed(err error) *refusal {
	if err == nil {
		return nil
	}
	var slow accounts.ErrThrottled
	switch {
	case errors.Is(err, accounts.ErrNotAuthorized):
		return p.unauthorized()
	case errors.As(err, &slow):
		return &refusal{status: http.StatusTooManyRequests, retry: slow.Seconds(), close: true,
			text: "Too many requests: too many failed logins. Try again later."}
	case errors.Is(err, context.Canceled):
		p.cut = true
	}
	x := unavailable()
	x.close = true
	return x
}

func (d *delivery) mayNotUse() *refusal {
	x := d.lacks("use this API")
	x.close = true
	return x
}

// authorise checks whether this account may use this API at all.
func (p *post) authorise() *refusal {
	if p.api == gatewayAPI {
		if !p.mayPost {
			return p.mayNotUse()
		}
		sender, err := jid.New(p.username, p.fqdn, "")
		if err != nil || sender.Local() == "" {
			x := badRequest(quoted(p.username) + " is not a local part of an address.")
			x.close = true
			return x
		}
		p.user = sender
		return nil
	}
	rights, err := p.s.o.Accounts.Rights(p.r.Context(), p.user)
	if err == nil { // nobody may have shown a password
		err = p.s.o.Accounts.Vouch(p.r.Context(), p.user)
	}
	if err != nil {
		return p.failed(err)
	}
	needs := accounts.PermHTTPMessage
	if p.api == gatewayUser {
		needs = accounts.PermGateway
	}
	p.rights = tokens.Whole(rights)
	if p.scoped {
		p.rights = p.scopes.Within(rights)
	}
	if !p.rights.Has(needs) || p.api == gatewayUser && p.user.Domain() != p.fqdn {
		return p.mayNotUse()
	}
	return nil
}
