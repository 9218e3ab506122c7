// Package tokens knows the secrets by which programs post without the password of an account. A token acts as its
// account, as far as its scopes allow and the account may itself at that time, or it opens one hook. It is never good
// for a login over XMPP.
//
// A token is a prefix, 130 random bits and a checksum, so that typing errors and scans are refused without a look-up.
// It is shown once; what is kept is its SHA-256 (docs/decisions/0036-tokens.md). Nothing is cached that storage is not
// asked about: what was revoked is refused from the next request on.
//
// Left out: what hooks there are, and the tokens of clients (XEP-0484), which package devices has.
package tokens

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"jackdaw/router/accounts"
	"jackdaw/storage"
	"jackdaw/xmpp/jid"
)

// Space is the name of the map that the tokens are in. Its owners are ids of tokens, with the record and the uses of
// each; bare addresses, with the ids of the tokens of an account; and ownersOwner, with the accounts that have some.
const Space = "tokens"

const (
	keyToken    = "token"
	keyUsage    = "use"
	ownersOwner = "owners" // no id and no address
)

const (
	// DefaultMost is how many tokens that count an account may have, unless Options say otherwise.
	DefaultMost = 200
	// MaxLabel is how many characters are kept of a label.
	MaxLabel = 100
	maxCIDRs = 50
	// keepExpired is how long a token is listed that has expired.
	keepExpired = 30 * 24 * time.Hour
)

// Errors of Open, to be tested with errors.Is. Whoever presents a token is not told more by a face than is good for the
// one who has it; ErrMalformed is one of them.
var (
	ErrUnknown = errors.New("there is no such token, or it was revoked")
	ErrExpired = errors.New("the token has expired")
	ErrAddress = errors.New("the token may not be used from this address")
	ErrOwner   = errors.New("the account of the token is disabled or was removed")
	ErrOff     = errors.New("no tokens are taken here (modules.tokens)")
	// ErrKind is for those who take one kind only.
	ErrKind = errors.New("the token is of the other kind: that of a hook opens its hook alone")
)

// Errors of the other calls.
var (
	ErrNotFound   = errors.New("there is no such token: `jackdaw token list` shows those there are")
	ErrExists     = errors.New("this token is there already: revoke it first, or use another")
	ErrTooMany    = errors.New("the account has as many tokens as it may: revoke some first")
	ErrSuperseded = errors.New("another token was made in its place already: rotate that")
)

// TooFast says that a token was used more often than it may, and when to try again. It is found with errors.As.
type TooFast struct {
	Token Token
	Wait  time.Duration // more than 0
}

// Error tells the wait in whole seconds, rounded up.
func (e TooFast) Error() string {
	return fmt.Sprintf("the token is used too often: try again in %d s", e.Seconds())
}

// Seconds is the wait in whole seconds, rounded up, as Retry-After wants it.
func (e TooFast) Seconds() int { return int((e.Wait + time.Second - 1) / time.Second) }

// A Spec says what token to make.
type Spec struct {
	Kind   Kind
	Owner  jid.JID // bare
	Label  string  // for people; cut at MaxLabel
	Scopes Scopes  // of a KindAccount
	Hook   string  // of a KindHook: the name of the hook that it opens
	CIDRs  []netip.Prefix
	// Expires is when; zero: never.
	Expires time.Time
	// Rate, where a part is 0, is DefaultRate in that part.
	Rate Rate
	// MaxBytes bounds the body of a request; 0: only the server does.
	MaxBytes int
	// Secret is the token itself, which Generate has made somewhere; "": another is made.
	Secret string
}

// Options of New.
type Options struct {
	Store    storage.Map // of this service alone
	Accounts *accounts.Service
	// Most is how many tokens that count an account may have. It is asked whenever that matters; nil: DefaultMost.
	Most func() int
	// On says whether tokens are taken now; nil: they are.
	On func() bool
	// Tell has the owner of a token written to that expires soon; nil: nobody is.
	Tell func(owner jid.JID, line string)
	Now  func() time.Time // nil: time.Now
	Log  *slog.Logger     // nil: nobody reads it
}

// A Service keeps the tokens. It is safe for concurrent use.
type Service struct {
	o Options

	// changing is held while what is stored is read and changed, so that nothing comes back that was removed meanwhile.
	// Nobody waits for storage with it who can wait later.
	changing sync.Mutex

	mu   sync.Mutex // guards used
	used map[string]*used
}

// New returns the service. It hears of accounts that are removed.
func New(o Options) *Service {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Most == nil {
		o.Most = func() int { return DefaultMost }
	}
	if o.On == nil {
		o.On = func() bool { return true }
	}
	if o.Tell == nil {
		o.Tell = func(jid.JID, string) {}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Service{o: o, used: map[string]*used{}}
	o.Accounts.OnChange(s.accountChanged)
	return s
}

// Make makes a token and returns it, with what may be shown of it, when it is durable. The secret is told to nobody
// again. Errors: accounts.ErrNotFound, ErrTooMany, ErrScope, ErrMalformed and ErrExists for a Spec.Secret, one that
// says what else is wrong with the Spec, accounts.ErrUnavailable, or the context's.
func (s *Service) Make(ctx context.Context, spec Spec) (secret string, t Token, err error) {
	if spec.Secret == "" {
		spec.Secret = Generate(spec.Kind)
	}
	r, err := s.made(spec)
	if err != nil {
		return "", Token{}, err
	}
	pendings, err := s.make(ctx, r)
	if err = settle(ctx, err, pendings); err != nil {
		return "", Token{}, fmt.Errorf("make a token of %s: %w", spec.Owner, err)
	}
	return spec.Secret, r.shown(usage{}), nil
}

// made is the record of a token that is to be made.
func (s *Service) made(spec Spec) (*record, error) {
	kind, err := parse(spec.Secret)
	switch now := s.o.Now(); {
	case err != nil:
		return nil, err
	case kind != spec.Kind:
		return nil, fmt.Errorf("the token begins with %s, not with %s: %w", kind, spec.Kind, ErrMalformed)
	case !spec.Expires.IsZero() && !spec.Expires.After(now):
		return nil, fmt.Errorf("the token would have expired already, on %s", spec.Expires.UTC().Format(time.DateOnly))
	}
	r, err := recordOf(spec)
	if err != nil {
		return nil, err
	}
	sum := digest(spec.Secret)
	r.Digest, r.Created = sum[:], s.o.Now().UTC().Truncate(time.Second)
	r.Expires = spec.Expires.UTC().Truncate(time.Second)
	return r, nil
}

// recordOf checks all of a Spec but its secret and when it expires.
func recordOf(spec Spec) (*record, error) {
	switch {
	case !spec.Owner.IsBare() || spec.Owner.Local() == "":
		return nil, fmt.Errorf("%q: %w", spec.Owner, accounts.ErrUser)
	case len(spec.CIDRs) > maxCIDRs:
		return nil, fmt.Errorf("%d networks are more than %d", len(spec.CIDRs), maxCIDRs)
	case spec.MaxBytes < 0:
		return nil, fmt.Errorf("%d bytes are no size of a request", spec.MaxBytes)
	}
	rate, err := spec.Rate.checked()
	if err != nil {
		return nil, err
	}
	r := &record{Kind: spec.Kind, Owner: spec.Owner, Label: clean(spec.Label), Scopes: spec.Scopes,
		CIDRs: slices.Clone(spec.CIDRs), Rate: rate, MaxBytes: spec.MaxBytes}
	switch {
	case spec.Kind == KindAccount && spec.Hook != "":
		return nil, fmt.Errorf("%w: a token of kind %s is for no single hook; hook:%s is a scope", ErrScope, spec.Kind,
			spec.Hook)
	case spec.Kind == KindAccount:
		return r, spec.Scopes.useful()
	case spec.Kind != KindHook:
		return nil, fmt.Errorf("%q is no kind of tokens", spec.Kind)
	case len(spec.Scopes.list) > 0:
		return nil, fmt.Errorf("%w: %s: the token of a hook opens that alone", ErrScope, spec.Scopes)
	}
	r.Hook = spec.Hook
	r.Scopes, err = ParseScopes(string(ScopeHook) + spec.Hook)
	return r, err
}

// make writes a record and what leads to it.
func (s *Service) make(ctx context.Context, r *record) ([]*storage.Pending, error) {
	s.changing.Lock()
	defer s.changing.Unlock()
	// It is looked for with the lock held: whoever removes the account waits for it, and removes the token too.
	a, err := s.o.Accounts.Get(ctx, r.Owner)
	if err != nil {
		return nil, err
	}
	r.Account = a.Created
	ids, err := s.ids(ctx, r.Owner)
	if err != nil {
		return nil, err
	}
	count := 0
	for _, id := range ids {
		old, err := s.get(ctx, id)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return nil, err
		}
		if err == nil && old.Successor == "" && !old.expired(s.o.Now()) {
			count++
		}
	}
	if count >= s.o.Most() || s.crowded(ids) {
		return nil, ErrTooMany
	}
	return s.write(ctx, r)
}

// crowded says that an account has too many tokens even if those are left out that do not count.
func (s *Service) crowded(ids []string) bool { return len(ids) >= 4*s.o.Most() }

// write stores a record that is new. The caller holds changing.
func (s *Service) write(ctx context.Context, r *record) (pendings []*storage.Pending, err error) {
	id, owner := r.id(), r.Owner.String()
	switch _, err := s.get(ctx, id); {
	case err == nil:
		return nil, ErrExists
	case !errors.Is(err, ErrNotFound):
		return nil, err
	}
	// The record comes last: a token that cannot be listed must not count.
	for _, one := range []struct{ owner, key, value string }{
		{ownersOwner, owner, "\x01"},
		{owner, id, "\x01"},
		{id, keyToken, string(encode(r))},
	} {
		_, p, err := s.o.Store.Update(ctx, one.owner, storage.AnyVersion,
			storage.Change{Key: one.key, Value: []byte(one.value)})
		if err != nil {
			return nil, unavailable(err)
		}
		pendings = append(pendings, p)
	}
	return pendings, nil
}

// settle waits until writes are durable.
func settle(ctx context.Context, err error, pendings []*storage.Pending) error {
	if err != nil {
		return err
	}
	for _, p := range pendings {
		if err := p.Wait(ctx); err != nil {
			return unavailable(err)
		}
	}
	return nil
}

// unavailable marks an error of the engine; that of a context stays what it is.
func unavailable(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fmt.Errorf("%w (%w)", accounts.ErrUnavailable, err)
}

// ids are those of the tokens of an account.
func (s *Service) ids(ctx context.Context, owner jid.JID) ([]string, error) {
	entries, _, err := s.o.Store.List(ctx, owner.String())
	if err != nil {
		return nil, unavailable(err)
	}
	ids := make([]string, len(entries))
	for i, e := range entries {
		ids[i] = e.Key
	}
	return ids, nil
}

// get reads a record; ErrNotFound.
func (s *Service) get(ctx context.Context, id string) (*record, error) {
	b, err := s.o.Store.Get(ctx, id, keyToken)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return nil, ErrNotFound
	case err != nil:
		return nil, unavailable(err)
	}
	r, err := decodeToken(b)
	if err != nil {
		return nil, fmt.Errorf("the token %s: %w", id, err)
	}
	return r, nil
}

// Get returns a token by its id. Errors: ErrID, ErrNotFound, accounts.ErrUnavailable, or the context's.
func (s *Service) Get(ctx context.Context, id string) (Token, error) {
	if !isID(id) {
		return Token{}, ErrID
	}
	r, err := s.get(ctx, id)
	if err != nil {
		return Token{}, err
	}
	u, err := s.usage(ctx, id)
	if err != nil {
		return Token{}, err
	}
	return r.shown(u), nil
}

// List returns the tokens of an account, the oldest first, also those that have expired not long ago. An account that
// is not there has none. Errors: accounts.ErrUnavailable, or the context's.
func (s *Service) List(ctx context.Context, owner jid.JID) ([]Token, error) {
	ids, err := s.ids(ctx, owner.Bare())
	if err != nil {
		return nil, fmt.Errorf("list the tokens of %s: %w", owner.Bare(), err)
	}
	var all []Token
	for _, id := range ids {
		t, err := s.Get(ctx, id)
		if errors.Is(err, ErrNotFound) { // its writing was cut off, or it was revoked meanwhile
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b Token) int {
		if c := a.Created.Compare(b.Created); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return all, nil
}

// Owners returns the accounts that have tokens, or had some, in ascending order.
func (s *Service) Owners(ctx context.Context) ([]jid.JID, error) {
	entries, _, err := s.o.Store.List(ctx, ownersOwner)
	if err != nil {
		return nil, fmt.Errorf("list the owners of tokens: %w", unavailable(err))
	}
	all := make([]jid.JID, 0, len(entries))
	for _, e := range entries {
		j, err := jid.Parse(e.Key)
		if err != nil {
			return nil, fmt.Errorf("the owner of tokens %q: %w", e.Key, err)
		}
		all = append(all, j)
	}
	return all, nil
}

// clean is what is kept of a label: one line that can be shown.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) || unicode.IsSpace(r) {
			return r
		}
		return -1
	}, s)
	out := []rune(strings.Join(strings.Fields(s), " "))
	return strings.TrimSpace(string(out[:min(len(out), MaxLabel)]))
}
