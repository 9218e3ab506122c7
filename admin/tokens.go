package admin

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"jackdaw/router/tokens"
	"jackdaw/xmpp/jid"
)

// DefaultTokenLife is how long a token is good of which nothing else was said.
const DefaultTokenLife = 365 * 24 * time.Hour

// Tokens is what a Service asks of tokens.Service.
type Tokens interface {
	Make(ctx context.Context, spec tokens.Spec) (secret string, t tokens.Token, err error)
	Get(ctx context.Context, id string) (tokens.Token, error)
	List(ctx context.Context, owner jid.JID) ([]tokens.Token, error)
	Owners(ctx context.Context) ([]jid.JID, error)
	Revoke(ctx context.Context, id string) error
	Rotate(ctx context.Context, id string, overlap time.Duration, secret string) (string, tokens.Token, error)
}

// A TokenWish asks for a token that acts as an account.
type TokenWish struct {
	JID    string
	Label  string
	Scopes []string // as tokens.ParseScopes reads them
	CIDRs  []string // networks or addresses where it may be used; none: everywhere
	// Life is how long it is good; 0: DefaultTokenLife; below 0: for ever.
	Life     time.Duration
	Rate     string // as tokens.ParsePace reads it; "": that of tokens.DefaultRate
	Burst    int    // 0: likewise
	MaxBytes int    // of a request; 0: only the server bounds it
	Secret   string // the token itself, if it is made already
}

// TokenInfo is what may be shown of a token.
type TokenInfo struct {
	ID       string    `json:"id"`
	Kind     string    `json:"kind"` // account, hook
	JID      string    `json:"jid"`  // whose it is
	Label    string    `json:"label"`
	Scopes   []string  `json:"scopes"`
	CIDRs    []string  `json:"cidrs"`
	Rate     string    `json:"rate"` // such as 1/s
	Burst    int       `json:"burst"`
	MaxBytes int       `json:"max_bytes,omitempty"`
	Created  time.Time `json:"created"`
	Expires  time.Time `json:"expires,omitzero"`
	Expired  bool      `json:"expired"`
	Replaced string    `json:"replaced_by,omitempty"` // the id of the token in its place
	Uses     int64     `json:"uses"`
	Last     time.Time `json:"last_used,omitzero"`  // to the minute
	From     string    `json:"last_from,omitempty"` // an address; "": unknown, or a unix socket
	Token    string    `json:"token,omitempty"`     // itself, when it is made and never again
	OldUntil time.Time `json:"old_until,omitzero"`  // the end of the one that it was made in place of
}

func shownToken(t tokens.Token) TokenInfo {
	out := TokenInfo{ID: t.ID, Kind: "account", JID: t.Owner.String(), Label: t.Label, Scopes: t.Scopes.List(),
		CIDRs: []string{}, Rate: t.Rate.Pace(), Burst: t.Rate.Burst, MaxBytes: t.MaxBytes, Created: t.Created,
		Expires: t.Expires, Expired: !t.Expires.IsZero() && !time.Now().Before(t.Expires), Replaced: t.Successor,
		Uses: t.Uses, Last: t.Last}
	if t.Kind == tokens.KindHook {
		out.Kind = "hook"
	}
	for _, p := range t.CIDRs {
		out.CIDRs = append(out.CIDRs, p.String())
	}
	if t.From.IsValid() {
		out.From = t.From.String()
	}
	return out
}

// network reads a network, or an address, which is one of its own.
func network(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return p, fmt.Errorf("%q is no network, such as 192.0.2.0/24, and no address", s)
		}
		p = netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen())
	}
	return p.Masked(), nil
}

// AddToken makes a token that acts as an account of a domain that is served here. The answer alone has the token
// itself. Errors: those of tokens.Service.Make.
func (s *Service) AddToken(ctx context.Context, by By, w TokenWish) (TokenInfo, error) {
	owner, err := s.newUser(w.JID)
	if err != nil {
		return TokenInfo{}, err
	}
	var there TokenInfo
	if passed, err := s.pass(ctx, by, owner, "token.add", w, &there); passed {
		return there, err
	}
	spec := tokens.Spec{Kind: tokens.KindAccount, Owner: owner, Label: w.Label, MaxBytes: w.MaxBytes, Secret: w.Secret,
		Rate: tokens.Rate{Burst: w.Burst}}
	if spec.Scopes, err = tokens.ParseScopes(w.Scopes...); err != nil {
		return TokenInfo{}, err
	}
	for _, one := range w.CIDRs {
		p, err := network(one)
		if err != nil {
			return TokenInfo{}, err
		}
		spec.CIDRs = append(spec.CIDRs, p)
	}
	if w.Rate != "" {
		if spec.Rate.Every, err = tokens.ParsePace(w.Rate); err != nil {
			return TokenInfo{}, err
		}
	}
	switch {
	case w.Life == 0:
		spec.Expires = time.Now().Add(DefaultTokenLife)
	case w.Life > 0:
		spec.Expires = time.Now().Add(w.Life)
	}
	secret, t, err := s.o.Tokens.Make(ctx, spec)
	out := shownToken(t)
	out.Token = secret
	return out, s.said(err, by, "token made", "account", owner, "token", t.ID, "label", t.Label, "scopes", t.Scopes,
		"expires", until(t.Expires))
}

// until is when something expires, for the log.
func until(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format(time.RFC3339)
}

// Tokens lists those of an account, also of hooks, or with "" those of all. Those that have expired are listed for a
// while.
func (s *Service) Tokens(ctx context.Context, address string) ([]TokenInfo, error) {
	if address != "" {
		j, err := user(address)
		if err != nil {
			return nil, err
		}
		var there []TokenInfo
		if passed, err := s.pass(ctx, Command, j, "token.list", NameRequest{address}, &there); passed {
			return there, err
		}
	}
	all, err := s.TokensHere(ctx, address)
	if err != nil || address != "" {
		return all, err
	}
	for _, there := range look[[]TokenInfo](ctx, s, "node.tokens", nil) {
		all = append(all, there...)
	}
	slices.SortStableFunc(all, func(a, b TokenInfo) int { return strings.Compare(a.JID, b.JID) })
	return all, nil
}

// TokensHere is Tokens of accounts that are at home at this node, which knows of uses that are not written yet.
func (s *Service) TokensHere(ctx context.Context, address string) ([]TokenInfo, error) {
	var owners []jid.JID
	if address != "" {
		j, err := user(address)
		if err != nil {
			return nil, err
		}
		if _, err := s.o.Accounts.Get(ctx, j); err != nil {
			return nil, err
		}
		owners = append(owners, j)
	} else {
		var err error
		if owners, err = s.o.Tokens.Owners(ctx); err != nil {
			return nil, err
		}
	}
	all := []TokenInfo{}
	for _, one := range owners {
		if address == "" && !s.o.Accounts.IsHome(one) {
			continue
		}
		list, err := s.o.Tokens.List(ctx, one)
		if err != nil {
			return nil, err
		}
		for _, t := range list {
			all = append(all, shownToken(t))
		}
	}
	return all, nil
}

// RevokeToken ends a token; it opens nothing from the next request on. Errors: those of tokens.Service.Revoke.
func (s *Service) RevokeToken(ctx context.Context, by By, id string) error {
	t, err := s.o.Tokens.Get(ctx, id)
	if err != nil {
		return err
	}
	if passed, err := s.pass(ctx, by, t.Owner, "token.revoke", NameRequest{id}, nil); passed {
		return err
	}
	return s.said(s.o.Tokens.Revoke(ctx, id), by, "token revoked", "account", t.Owner, "token", id, "label", t.Label)
}

// RevokeTokens ends all tokens of an account that act as it, and says how many there were. Those of hooks stay: they go
// with their hooks.
func (s *Service) RevokeTokens(ctx context.Context, by By, address string) (n int, err error) {
	list, err := s.Tokens(ctx, address)
	if err != nil {
		return 0, err
	}
	for _, t := range list {
		if t.Kind != "account" {
			continue
		}
		if err := s.RevokeToken(ctx, by, t.ID); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// RotateToken makes a token in place of another, which is good for no longer than the overlap. The answer alone has the
// token itself. Errors: those of tokens.Service.Rotate.
func (s *Service) RotateToken(ctx context.Context, by By, id string, overlap time.Duration, secret string,
) (TokenInfo, error) {
	if old, err := s.o.Tokens.Get(ctx, id); err == nil {
		var there TokenInfo
		if passed, err := s.pass(ctx, by, old.Owner, "token.rotate", RotateRequest{id, overlap, secret}, &there); passed {
			return there, err
		}
	}
	secret, t, err := s.o.Tokens.Rotate(ctx, id, overlap, secret)
	out := shownToken(t)
	out.Token = secret
	if old, gone := s.o.Tokens.Get(ctx, id); err == nil && gone == nil {
		out.OldUntil = old.Expires
	}
	return out, s.said(err, by, "token rotated", "account", t.Owner, "token", t.ID, "in_place_of", id, "label", t.Label,
		"overlap", overlap)
}
