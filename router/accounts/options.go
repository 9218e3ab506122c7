package accounts

import (
	"cmp"
	"fmt"
	"time"

	"jackdaw/xmpp/jid"
	"jackdaw/xmpp/sasl"
)

// DefaultIterations is the count of SCRAM iterations of new passwords unless Options say otherwise. sasl.MinIterations
// and sasl.MaxIterations bound it.
const DefaultIterations = 10000

// Options say what the configuration does. The zero value is usable.
type Options struct {
	// Iterations of new passwords; 0 means DefaultIterations. Accounts keep the count their password was set with.
	Iterations int
	// Everyone lists, for a permission, patterns (see Pattern) of the accounts that have it without a grant. Nil means
	// that every account has PermHTTPMessage; an empty map means that nobody has anything.
	Everyone map[Permission][]string
	// Admins have PermAdmin without a grant.
	Admins []jid.JID
	// BackoffMin and BackoffMax bound the wait after failed logins; 0 means the default.
	BackoffMin, BackoffMax time.Duration
	// DerivationsPerCore is how many passwords are hashed at once; 0 means the default. It counts in New only.
	DerivationsPerCore int
	// Elsewhere says whose passwords another knows; nil: nobody's.
	Elsewhere *Elsewhere
}

// The defaults of Options.
const (
	DefaultBackoffMin         = time.Second
	DefaultBackoffMax         = 5 * time.Minute
	DefaultDerivationsPerCore = 2
)

// settings are Options, checked and compiled; never changed once published.
type settings struct {
	iterations  int
	first, most time.Duration
	everyone    []rule
	admins      map[jid.JID]bool
	elsewhere   *elsewhere
}

// A rule gives one permission to the accounts that match.
type rule struct {
	permission Permission
	accounts   []Pattern
}

func compile(o Options) (*settings, error) {
	c := &settings{iterations: o.Iterations, admins: make(map[jid.JID]bool, len(o.Admins)),
		elsewhere: compileElsewhere(o.Elsewhere)}
	if c.iterations == 0 {
		c.iterations = DefaultIterations
	}
	c.first, c.most = cmp.Or(o.BackoffMin, DefaultBackoffMin), cmp.Or(o.BackoffMax, DefaultBackoffMax)
	if c.first < 0 || c.most < c.first {
		return nil, fmt.Errorf("back-off after failed logins: %v to %v is no range", c.first, c.most)
	}
	if c.iterations < sasl.MinIterations || c.iterations > sasl.MaxIterations {
		return nil, fmt.Errorf("scram iterations: %d is not between %d and %d",
			c.iterations, sasl.MinIterations, sasl.MaxIterations)
	}
	for _, a := range o.Admins {
		if !named(a) {
			return nil, fmt.Errorf("admin %q: %w", a, ErrUser)
		}
		c.admins[a.Bare()] = true
	}
	everyone := o.Everyone
	if everyone == nil {
		everyone = map[Permission][]string{PermHTTPMessage: {"*"}}
	}
	for name, list := range everyone {
		p, err := ParsePermission(string(name))
		if err != nil {
			return nil, err
		}
		r := rule{permission: p}
		for _, s := range list {
			a, err := ParsePattern(s)
			if err != nil {
				return nil, fmt.Errorf("accounts with the permission %s: %w", p, err)
			}
			r.accounts = append(r.accounts, a)
		}
		c.everyone = append(c.everyone, r)
	}
	return c, nil
}
