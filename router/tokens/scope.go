package tokens

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"jackdaw/router/accounts"
	"jackdaw/xmpp/jid"
)

// A Scope is one thing that a token may do, as far as its owner may:
//
//	send                 post to everybody but the rooms of this server
//	send:to=PATTERN      post to the addresses that match (accounts.Pattern), rooms among them
//	muc                  post to the rooms of this server
//	multicast            post to more than one at once, of those above
//	forge_sender         post in another's name
//	forge_sender=PATTERN in the names that match
//	gateway              post through the gateway, too
//	hook:NAME            post to a hook
type Scope string

// The scopes there are; those that end with = or : are followed by something.
const (
	ScopeSend      Scope = "send"
	ScopeSendTo    Scope = "send:to="
	ScopeMUC       Scope = "muc"
	ScopeMulticast Scope = "multicast"
	ScopeForge     Scope = "forge_sender"
	ScopeForgeAs   Scope = "forge_sender="
	ScopeGateway   Scope = "gateway"
	ScopeHook      Scope = "hook:"
)

const (
	// maxScopes bounds those of a token.
	maxScopes = 50
	// MaxHookName bounds the name of a hook, in bytes.
	MaxHookName = 100
)

// ErrScope says that something is no scope, or that some do not belong together.
var ErrScope = errors.New("scope refused")

// Scopes are those of one token. The zero value allows nothing. They are immutable.
type Scopes struct {
	list      []Scope // normalised, sorted, each once
	send, muc bool
	multicast bool
	gateway   bool
	forgeAny  bool
	to, forge []accounts.Pattern
	hooks     []string
}

// ParseScopes reads scopes and normalises patterns. The error wraps ErrScope or accounts.ErrPattern and says what there
// is.
func ParseScopes(list ...string) (Scopes, error) {
	var s Scopes
	if len(list) > maxScopes {
		return s, fmt.Errorf("%w: %d scopes are more than %d", ErrScope, len(list), maxScopes)
	}
	for _, one := range list {
		if err := s.add(one); err != nil {
			return Scopes{}, err
		}
	}
	slices.Sort(s.list)
	s.list = slices.Compact(s.list)
	return s, nil
}

func (s *Scopes) add(one string) error {
	normal := Scope(one)
	switch pattern, to := strings.CutPrefix(one, string(ScopeSendTo)); {
	case to:
		p, err := accounts.ParsePattern(pattern)
		if err != nil {
			return fmt.Errorf("%s%w", ScopeSendTo, err)
		}
		s.to, normal = append(s.to, p), ScopeSendTo+Scope(p.String())
	case normal == ScopeSend:
		s.send = true
	case normal == ScopeMUC:
		s.muc = true
	case normal == ScopeMulticast:
		s.multicast = true
	case normal == ScopeGateway:
		s.gateway = true
	case normal == ScopeForge:
		s.forgeAny = true
	default:
		return s.addNamed(one)
	}
	s.list = append(s.list, normal)
	return nil
}

func (s *Scopes) addNamed(one string) error {
	if pattern, ok := strings.CutPrefix(one, string(ScopeForgeAs)); ok {
		p, err := accounts.ParsePattern(pattern)
		if err != nil {
			return fmt.Errorf("%s%w", ScopeForgeAs, err)
		}
		s.forge, s.list = append(s.forge, p), append(s.list, ScopeForgeAs+Scope(p.String()))
		return nil
	}
	name, ok := strings.CutPrefix(one, string(ScopeHook))
	if !ok {
		return fmt.Errorf("%w: %.200q is none: there are send, send:to=PATTERN, muc, multicast, forge_sender, "+
			"forge_sender=PATTERN, gateway and hook:NAME", ErrScope, one)
	}
	if err := hookName(name); err != nil {
		return err
	}
	s.hooks, s.list = append(s.hooks, name), append(s.list, Scope(one))
	return nil
}

// hookName refuses what can be the name of no hook. What names there are is known elsewhere.
func hookName(name string) error {
	odd := func(r rune) bool { return r <= ' ' || r == 0x7f || r == '\uFFFD' }
	if name == "" || len(name) > MaxHookName || strings.ContainsFunc(name, odd) {
		return fmt.Errorf("%w: hook:%.200q: the name of a hook has 1 to %d bytes, and no spaces", ErrScope, name,
			MaxHookName)
	}
	return nil
}

// useful refuses scopes of a KindAccount that allow nothing.
func (s Scopes) useful() error {
	switch {
	case len(s.list) == 0:
		return fmt.Errorf("%w: a token without scopes may do nothing: say send, for example", ErrScope)
	case !s.sends() && (s.multicast || s.gateway || s.forgeAny || len(s.forge) > 0):
		return fmt.Errorf("%w: %s: that does not say to whom the token may post: add send, send:to=PATTERN or muc",
			ErrScope, s)
	}
	return nil
}

// sends says whether there is anybody to whom the token may post by itself.
func (s Scopes) sends() bool { return s.send || s.muc || len(s.to) > 0 }

// List returns the scopes as they are written, sorted. The slice is the caller's.
func (s Scopes) List() []string {
	out := make([]string, len(s.list))
	for i, one := range s.list {
		out[i] = string(one)
	}
	return out
}

// String returns them with spaces between.
func (s Scopes) String() string { return strings.Join(s.List(), " ") }

// Hook says whether the token may post to the hook of that name of its owner.
func (s Scopes) Hook(name string) bool { return slices.Contains(s.hooks, name) }

// MarshalJSON writes them as a list of strings.
func (s Scopes) MarshalJSON() ([]byte, error) { return json.Marshal(s.List()) }

// UnmarshalJSON reads what MarshalJSON has written.
func (s *Scopes) UnmarshalJSON(b []byte) error {
	var list []string
	err := json.Unmarshal(b, &list)
	if err == nil {
		*s, err = ParseScopes(list...)
	}
	return err
}

// Rights are what may be done in the name of an account: by somebody who has shown its password, all that it may; by
// a token, of that what its scopes say. Like accounts.Rights they are a snapshot.
type Rights struct {
	of     *accounts.Rights
	scopes *Scopes // nil: there is no token
}

// Whole are the rights of somebody who has shown the password.
func Whole(r *accounts.Rights) Rights { return Rights{of: r} }

// Within are the rights of a token with these scopes, whose owner has those. They keep the pointer.
func (s *Scopes) Within(r *accounts.Rights) Rights { return Rights{r, s} }

// None says that they are nobody's.
func (r Rights) None() bool { return r.of == nil }

// Scoped says that they are those of a token.
func (r Rights) Scoped() bool { return r.scopes != nil }

// Has says whether a permission is there; accounts.PermAdmin is never there for a token.
func (r Rights) Has(p accounts.Permission) bool {
	if r.of == nil || !r.of.Has(p) {
		return false
	}
	s := r.scopes
	if s == nil {
		return true
	}
	switch p {
	case accounts.PermHTTPMessage:
		return s.sends()
	case accounts.PermMulticast:
		return s.multicast
	case accounts.PermForgeSender:
		return s.forgeAny
	case accounts.PermGateway:
		return s.gateway
	}
	return false
}

// MayForge says whether a message may be in the name of sender. The account's own is allowed to all.
func (r Rights) MayForge(sender jid.JID) bool {
	if r.of == nil || !r.of.MayForge(sender) {
		return false
	}
	s := r.scopes
	return s == nil || sender.MatchesBare(r.of.User()) || s.forgeAny ||
		slices.ContainsFunc(s.forge, func(p accounts.Pattern) bool { return p.Matches(sender) })
}

// MaySend says whether a message may go to an address; room says that it is one of a service of rooms of this server.
func (r Rights) MaySend(to jid.JID, room bool) bool {
	s := r.scopes
	if s == nil || room && s.muc || !room && s.send {
		return true
	}
	return slices.ContainsFunc(s.to, func(p accounts.Pattern) bool { return p.Matches(to) })
}
