package hooks

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"jackdaw/modules/hooks/notice"
	"jackdaw/router/accounts"
	"jackdaw/router/tokens"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// KindAuto is the kind of a hook that finds out for each request which face it is of.
const KindAuto = "auto"

// A Hook is one row.
type Hook struct {
	Name  string    `json:"name"`
	Owner jid.JID   `json:"owner"` // bare: whose permissions count
	To    []jid.JID `json:"to"`    // users, rooms of this server
	// As is in whose name users get the message; zero: the owner's. Any other is forged. Rooms hear the owner.
	As jid.JID `json:"as,omitzero"`
	// Nick is the name by which rooms show the hook; "": the name of the hook.
	Nick string `json:"nick,omitempty"`
	Kind string `json:"kind"` // of a face, or KindAuto
	// Words draws marks as words and not as emoji, Subject sends the first line as the subject, too.
	Words   bool `json:"words,omitempty"`
	Subject bool `json:"subject,omitempty"`
	// Correct has what belongs to an earlier message correct that (XEP-0308), and not be another.
	Correct bool `json:"correct,omitempty"`
	// Events are those that are shown, of faces that have some; none: all.
	Events   []string `json:"events,omitempty"`
	Template string   `json:"template,omitempty"` // see notice.ParseTemplate; "": none
	// HMAC is the secret by which requests must be signed, beside the token; "": they need not be.
	HMAC string `json:"hmac,omitempty"`
	Get  bool   `json:"get,omitempty"` // a GET sends, too
	// Open hooks need no token where programs name a topic: the name of the hook is enough.
	Open bool `json:"open,omitempty"`
	// OverrideTo are the addresses that programs may ask for instead (accounts.Pattern).
	OverrideTo []string `json:"override_to,omitempty"`
	// Renames are members of JSON that stand for others, in faces that can be told so.
	Renames map[string]string `json:"renames,omitempty"`
	// NoStore is the highest level of notices that nobody is to keep (XEP-0334); "": all are kept.
	NoStore string    `json:"no_store,omitempty"`
	Files   bool      `json:"files,omitempty"` // attachments are sent as messages of their own, behind the text
	Created time.Time `json:"created"`
	// ID is another for a hook of the same name that is made later.
	ID string `json:"id"`
}

const rowVersion = 1

// Bounds of a row.
const (
	maxName     = 64
	maxTo       = 100
	maxEvents   = 100
	maxRenames  = 50
	maxSecret   = 1000
	maxPatterns = 50
	maxNick     = 200
)

// Errors of the calls about rows, to be tested with errors.Is. Their texts are for administrators.
var (
	ErrNoHook  = errors.New("there is no such hook: `jackdaw hook list` shows those there are")
	ErrName    = errors.New("the name of a hook is 1 to 64 of a-z, A-Z, 0-9, - and _, and neither a kind nor like a token")
	ErrTaken   = errors.New("there is a hook of this name already")
	ErrMany    = errors.New("there are as many hooks as there may be: remove some first")
	ErrRemote  = errors.New("a room of another server cannot be spoken into: enter it with an account, and post there")
	ErrNoToken = errors.New("the hook has no token that can be used: remove the hook, and make it again")
)

// isName says whether s can be the name of a hook, which is a topic for some programs.
func isName(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return s != "" && len(s) <= maxName && !looksSecret(s) && s != KindAuto && !isKind(s)
}

func isKind(s string) bool { return notice.Find(s) != nil }

// Kinds are those that a hook may have.
func Kinds() []string { return append([]string{KindAuto}, notice.Names()...) }

// check completes a row and says what is wrong with it, for whoever makes it.
func (s *Hooks) check(ctx context.Context, h *Hook) error {
	if err := s.checkRow(h); err != nil {
		return err
	}
	switch known, err := s.o.Accounts.Exists(ctx, h.Owner); {
	case err != nil:
		return err
	case !known:
		return fmt.Errorf("%s: %w", h.Owner, accounts.ErrNotFound)
	}
	return nil
}

// checkRow is check without a look at the owner's account, which may be about to come.
func (s *Hooks) checkRow(h *Hook) error {
	if !isName(h.Name) {
		return fmt.Errorf("%.100q: %w", h.Name, ErrName)
	}
	if h.Kind == "" {
		h.Kind = KindAuto
	}
	if h.As == h.Owner {
		h.As = jid.JID{}
	}
	if h.Kind != KindAuto && !isKind(h.Kind) {
		return fmt.Errorf("kind %.100q: there are %s", h.Kind, strings.Join(Kinds(), ", "))
	}
	if err := s.checkWho(h); err != nil {
		return err
	}
	if err := h.checkEvents(); err != nil {
		return err
	}
	switch {
	case len(h.HMAC) > maxSecret:
		return fmt.Errorf("the secret for signatures is longer than %d bytes", maxSecret)
	case len(h.Renames) > maxRenames || len(h.OverrideTo) > maxPatterns:
		return fmt.Errorf("more than %d renamed members or %d patterns", maxRenames, maxPatterns)
	}
	for i, p := range h.OverrideTo {
		pattern, err := accounts.ParsePattern(p)
		if err != nil {
			return err
		}
		h.OverrideTo[i] = pattern.String()
	}
	if h.NoStore != "" {
		l, ok := notice.ParseLevel(h.NoStore)
		if !ok || l >= notice.Critical {
			return fmt.Errorf("level %.100q: expected one below critical, such as debug", h.NoStore)
		}
		h.NoStore = l.String()
	}
	if h.Template != "" {
		if _, err := notice.ParseTemplate(h.Template); err != nil {
			return err
		}
	}
	return nil
}

func (s *Hooks) checkWho(h *Hook) error {
	if h.Owner.Local() == "" || !h.Owner.IsBare() {
		return fmt.Errorf("%q: %w", h.Owner, accounts.ErrUser)
	}
	if len(h.To) == 0 || len(h.To) > maxTo {
		return fmt.Errorf("a hook has 1 to %d recipients", maxTo)
	}
	for _, to := range h.To {
		if to.IsZero() {
			return errors.New("an address of a recipient is empty")
		}
		if s.remoteRoom(to) {
			return fmt.Errorf("%s: %w", to, ErrRemote)
		}
	}
	if utf8.RuneCountInString(h.Nick) > maxNick || !xmpp.ValidText(h.Nick) {
		return fmt.Errorf("the nick is longer than %d characters, or holds some that cannot be shown", maxNick)
	}
	if h.Nick != "" {
		if _, err := h.Owner.WithResource(h.Nick); err != nil { // XEP-0045 §7.2.1: it is a resource
			return fmt.Errorf("%q is not a nick: %w", h.Nick, err)
		}
	}
	return nil
}

func (h *Hook) checkEvents() error {
	if len(h.Events) == 0 {
		return nil
	}
	var known []string
	for _, name := range notice.Names() {
		if h.Kind == KindAuto || h.Kind == name {
			known = append(known, notice.Find(name).Events...)
		}
	}
	if len(h.Events) > maxEvents {
		return fmt.Errorf("more than %d events", maxEvents)
	}
	for _, e := range h.Events {
		if !slices.Contains(known, e) {
			slices.Sort(known)
			return fmt.Errorf("event %.100q: kind %s has %s", e, h.Kind, strings.Join(slices.Compact(known), ", "))
		}
	}
	return nil
}

// isRoom says whether an address is one in a service of rooms of this server.
func (s *Hooks) isRoom(to jid.JID) bool {
	return to.Local() != "" && slices.Contains(s.o.Rooms(), to.Domain())
}

// remoteRoom guesses whether an address is that of a room elsewhere: by the name that such services usually have, since
// nothing else tells before somebody is asked.
func (s *Hooks) remoteRoom(to jid.JID) bool {
	label, _, _ := strings.Cut(to.Domain(), ".")
	return to.Local() != "" && !slices.Contains(s.o.Rooms(), to.Domain()) && !s.o.Serves(to.Domain()) &&
		slices.Contains([]string{"conference", "conferences", "muc", "rooms", "groupchat"}, label)
}

// Add makes a hook and the token that opens it, which is told this once. The token comes as secret, or is made where
// that is "". Errors: those above, those of tokens.Service.Make, accounts.ErrNotFound for the owner, and others that
// say what is wrong with the row.
func (s *Hooks) Add(ctx context.Context, h Hook, secret string) (Hook, string, error) {
	if err := s.check(ctx, &h); err != nil {
		return h, "", err
	}
	h.Created, h.ID = time.Now().UTC().Truncate(time.Second), strings.ToLower(rand.Text())
	s.changing.Lock()
	defer s.changing.Unlock()
	if err := s.begin(ctx, &h); err != nil {
		return h, "", err
	}
	secret, _, err := s.o.Tokens.Make(ctx, tokens.Spec{Kind: tokens.KindHook, Owner: h.Owner, Label: "hook " + h.Name,
		Hook: h.Name, Secret: secret})
	if err != nil {
		return h, "", errors.Join(err, s.erase(ctx, &h))
	}
	return h, secret, nil
}

// begin writes the row of a hook that there was not before, whatever other nodes write meanwhile.
func (s *Hooks) begin(ctx context.Context, h *Hook) error {
	for {
		all, version, err := s.rows.List(ctx, rowOwner)
		switch {
		case err != nil:
			return err
		case slices.ContainsFunc(all, func(e storage.Entry) bool { return e.Key == h.Name }):
			return fmt.Errorf("%s: %w", h.Name, ErrTaken)
		case len(all) >= MaxHooks:
			return ErrMany
		}
		if err := s.put(ctx, h, version); !errors.Is(err, storage.ErrConflict) {
			return err
		}
	}
}

// Change replaces a row with what f makes of it; its name, its owner and when it was made stay. Errors: ErrNoHook, that
// of f, and others that say what is wrong with the row.
func (s *Hooks) Change(ctx context.Context, name string, f func(*Hook) error) (Hook, error) {
	s.changing.Lock()
	defer s.changing.Unlock()
	h, err := s.Get(ctx, name)
	if err != nil {
		return h, err
	}
	next := h
	if err := f(&next); err != nil {
		return h, err
	}
	next.Name, next.Owner, next.Created, next.ID = h.Name, h.Owner, h.Created, h.ID
	if err := s.check(ctx, &next); err != nil {
		return h, err
	}
	return next, s.put(ctx, &next, storage.AnyVersion)
}

func (s *Hooks) put(ctx context.Context, h *Hook, version uint64) error {
	b, err := json.Marshal(h)
	if err != nil {
		return err
	}
	_, p, err := s.rows.Update(ctx, rowOwner, version,
		storage.Change{Key: h.Name, Value: append([]byte{rowVersion}, b...)})
	if err != nil {
		return err
	}
	return p.Wait(ctx)
}

func (s *Hooks) erase(ctx context.Context, h *Hook) error {
	_, p, err := s.rows.Update(ctx, rowOwner, storage.AnyVersion, storage.Change{Key: h.Name, Delete: true})
	if err != nil {
		return err
	}
	return p.Wait(ctx)
}

func decodeRow(b []byte) (h Hook, err error) {
	if len(b) == 0 || b[0] != rowVersion {
		return h, errors.New("a hook of a version that is not known")
	}
	err = json.Unmarshal(b[1:], &h)
	return h, err
}

// Get returns a hook. Errors: ErrNoHook, and the storage's.
func (s *Hooks) Get(ctx context.Context, name string) (Hook, error) {
	b, err := s.rows.Get(ctx, rowOwner, name)
	if errors.Is(err, storage.ErrNotFound) {
		return Hook{}, fmt.Errorf("%.100q: %w", name, ErrNoHook)
	}
	if err != nil {
		return Hook{}, err
	}
	return decodeRow(b)
}

// List returns all hooks by name.
func (s *Hooks) List(ctx context.Context) ([]Hook, error) {
	entries, _, err := s.rows.List(ctx, rowOwner)
	if err != nil {
		return nil, err
	}
	all := make([]Hook, 0, len(entries))
	for _, e := range entries {
		h, err := decodeRow(e.Value)
		if err != nil {
			return nil, fmt.Errorf("hook %q: %w", e.Key, err)
		}
		all = append(all, h)
	}
	return all, nil
}

// TokensOf returns the tokens that open a hook, the oldest first.
func (s *Hooks) TokensOf(ctx context.Context, h Hook) ([]tokens.Token, error) {
	all, err := s.o.Tokens.List(ctx, h.Owner)
	return slices.DeleteFunc(all, func(t tokens.Token) bool { return t.Hook != h.Name }), err
}

// Remove removes a hook and its tokens. Errors: ErrNoHook, and the storage's.
func (s *Hooks) Remove(ctx context.Context, name string) error {
	h, err := s.Get(ctx, name)
	if err != nil {
		return err
	}
	return s.remove(ctx, h)
}

func (s *Hooks) remove(ctx context.Context, h Hook) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	if err := s.erase(ctx, &h); err != nil { // now its tokens open nothing
		return err
	}
	s.forget(h.ID)
	var gone []error
	list, err := s.TokensOf(ctx, h)
	gone = append(gone, err)
	for _, t := range list {
		if err := s.o.Tokens.Revoke(ctx, t.ID); !errors.Is(err, tokens.ErrNotFound) {
			gone = append(gone, err)
		}
	}
	p, err := s.state.DeleteOwner(ctx, h.ID)
	if err == nil {
		err = p.Wait(ctx)
	}
	return errors.Join(append(gone, err)...)
}

// Rotate makes another token for a hook, which is told this once; those that there are count no longer than overlap.
// Errors: ErrNoHook, ErrNoToken, and those of tokens.Service.Rotate.
func (s *Hooks) Rotate(ctx context.Context, name string, overlap time.Duration) (Hook, string, error) {
	h, err := s.Get(ctx, name)
	if err != nil {
		return h, "", err
	}
	list, err := s.TokensOf(ctx, h)
	if err != nil {
		return h, "", err
	}
	for _, t := range slices.Backward(list) {
		if t.Successor == "" {
			secret, _, err := s.o.Tokens.Rotate(ctx, t.ID, overlap, "")
			return h, secret, err
		}
	}
	return h, "", fmt.Errorf("%s: %w", name, ErrNoToken)
}
