package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"jackdaw/modules/hooks"
	"jackdaw/router/accounts"
	"jackdaw/router/tokens"
	"jackdaw/xmpp/jid"
)

// Hooks is what a Service asks of modules/hooks.
type Hooks interface {
	Add(ctx context.Context, h hooks.Hook, secret string) (hooks.Hook, string, error)
	Change(ctx context.Context, name string, f func(*hooks.Hook) error) (hooks.Hook, error)
	Get(ctx context.Context, name string) (hooks.Hook, error)
	List(ctx context.Context) ([]hooks.Hook, error)
	TokensOf(ctx context.Context, h hooks.Hook) ([]tokens.Token, error)
	Remove(ctx context.Context, name string) error
	Rotate(ctx context.Context, name string, overlap time.Duration) (hooks.Hook, string, error)
	Test(ctx context.Context, name string) (hooks.Result, error)
}

// A HookWish is what a hook is to be.
type HookWish struct {
	Name  string `json:"name"`
	Owner string `json:"owner"` // "": As, if that is an account
	HookSettings
	Secret string `json:"secret,omitempty"` // for signatures
	Token  string `json:"token,omitempty"`  // "": one is made
	// Fields are the settings that a change is about, by their names in JSON; "secret" is one.
	Fields []string `json:"fields,omitempty"`
}

// HookSettings are those of a hook that may be changed.
type HookSettings struct {
	To         []string          `json:"to"`
	As         string            `json:"as,omitempty"`   // "": the owner
	Nick       string            `json:"nick,omitempty"` // in rooms; "": the name of the hook
	Kind       string            `json:"kind"`           // "": auto
	Marks      string            `json:"marks"`          // emoji or text; "": emoji
	Subject    bool              `json:"subject,omitempty"`
	Update     string            `json:"update,omitempty"` // correct; "": each is a message of its own
	Events     []string          `json:"events,omitempty"`
	Template   string            `json:"template,omitempty"`
	Get        bool              `json:"get,omitempty"`
	Open       bool              `json:"open,omitempty"`
	OverrideTo []string          `json:"override_to,omitempty"`
	Renames    map[string]string `json:"renames,omitempty"`
	NoStore    string            `json:"no_store,omitempty"`
	Files      bool              `json:"files,omitempty"`
}

// HookInfo is what may be shown of a hook.
type HookInfo struct {
	Name  string `json:"name"`
	Owner string `json:"owner"`
	HookSettings
	Signed  bool        `json:"signed"` // requests must be
	Created time.Time   `json:"created"`
	Tokens  []HookToken `json:"tokens,omitempty"` // of one hook alone, not in a list

	// When a token is made, and never again: the address that opens the hook, or its path where nobody reaches it.
	URL string `json:"url,omitempty"`
	// Warnings say what keeps it from sending now.
	Warnings []string `json:"warnings,omitempty"`
}

// A HookToken is one that opens a hook.
type HookToken struct {
	ID      string    `json:"id"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"`
	Uses    int64     `json:"uses"`
	Last    time.Time `json:"last,omitzero"`
	From    string    `json:"from,omitempty"` // where it was used last
}

// HookReport is what became of a message of a hook.
type HookReport struct {
	Outcome    string             `json:"outcome"`
	Reason     string             `json:"reason,omitempty"`
	ID         string             `json:"id,omitempty"`
	Recipients []HookReportedCopy `json:"recipients"`
}

// A HookReportedCopy is that of one recipient.
type HookReportedCopy struct {
	JID     string `json:"jid"`
	Outcome string `json:"outcome"`
	Reason  string `json:"reason,omitempty"`
}

// What HookSettings say with words.
const (
	marksEmoji = "emoji"
	marksText  = "text"
	correct    = "correct"
)

func shownHook(h hooks.Hook) HookInfo {
	out := HookInfo{Name: h.Name, Owner: h.Owner.String(), Signed: h.HMAC != "", Created: h.Created,
		HookSettings: HookSettings{As: h.As.String(), Nick: h.Nick, Kind: h.Kind, Marks: marksEmoji, Subject: h.Subject,
			Events: h.Events, Template: h.Template, Get: h.Get, Open: h.Open, OverrideTo: h.OverrideTo, Renames: h.Renames,
			NoStore: h.NoStore, Files: h.Files, To: []string{}}}
	for _, to := range h.To {
		out.To = append(out.To, to.String())
	}
	if h.Words {
		out.Marks = marksText
	}
	if h.Correct {
		out.Update = correct
	}
	return out
}

// apply puts the settings of those names into a row, or all of them.
func (w *HookWish) apply(h *hooks.Hook, all bool) error {
	var wrong []error
	set := func(field string, f func() error) {
		if all || slices.Contains(w.Fields, field) {
			wrong = append(wrong, f())
		}
	}
	set("to", func() error {
		h.To = nil
		for _, one := range w.To {
			j, err := jid.Parse(one)
			if err != nil {
				return fmt.Errorf("%q is no address", one)
			}
			if !slices.Contains(h.To, j) {
				h.To = append(h.To, j)
			}
		}
		return nil
	})
	set("as", func() (err error) {
		h.As = jid.JID{}
		if w.As != "" {
			if h.As, err = jid.Parse(w.As); err != nil {
				return fmt.Errorf("%q is no address", w.As)
			}
		}
		return nil
	})
	set("marks", func() error {
		if w.Marks != "" && w.Marks != marksEmoji && w.Marks != marksText {
			return fmt.Errorf("marks are %s or %s, not %q", marksEmoji, marksText, w.Marks)
		}
		h.Words = w.Marks == marksText
		return nil
	})
	set("update", func() error {
		if w.Update != "" && w.Update != correct && w.Update != "none" {
			return fmt.Errorf("update is %s or none, not %q", correct, w.Update)
		}
		h.Correct = w.Update == correct
		return nil
	})
	set("nick", func() error { h.Nick = w.Nick; return nil })
	set("kind", func() error { h.Kind = w.Kind; return nil })
	set("subject", func() error { h.Subject = w.Subject; return nil })
	set("events", func() error { h.Events = w.Events; return nil })
	set("template", func() error { h.Template = w.Template; return nil })
	set("get", func() error { h.Get = w.Get; return nil })
	set("open", func() error { h.Open = w.Open; return nil })
	set("override_to", func() error { h.OverrideTo = slices.Clone(w.OverrideTo); return nil })
	set("renames", func() error { h.Renames = w.Renames; return nil })
	set("no_store", func() error { h.NoStore = w.NoStore; return nil })
	set("files", func() error { h.Files = w.Files; return nil })
	set("secret", func() error { h.HMAC = w.Secret; return nil })
	return errors.Join(wrong...)
}

// passHook is pass for what is done with a hook: all of it is done at the home of its owner, whose tokens open it.
func (s *Service) passHook(ctx context.Context, by By, name, operation string, in, out any) (bool, error) {
	if s.o.Elsewhere == nil {
		return false, nil
	}
	h, err := s.o.Hooks.Get(ctx, name)
	if err != nil {
		return true, err
	}
	return s.pass(ctx, by, h.Owner, operation, in, out)
}

// AddHook makes a hook, with a token that is shown this once. Errors: those of hooks.Hooks.Add.
func (s *Service) AddHook(ctx context.Context, by By, w HookWish) (HookInfo, error) {
	h := hooks.Hook{Name: w.Name}
	if err := w.apply(&h, true); err != nil {
		return HookInfo{}, err
	}
	if w.Owner == "" {
		if h.As.IsZero() || s.o.Config().Host(h.As.Domain()) == nil {
			return HookInfo{}, errors.New("a hook has an owner, whose permissions count: say --owner, " +
				"or --as with the address of an account here")
		}
		w.Owner = h.As.String()
	}
	var err error
	if h.Owner, err = user(w.Owner); err != nil {
		return HookInfo{}, err
	}
	var there HookInfo
	if passed, err := s.pass(ctx, by, h.Owner, "hook.add", w, &there); passed {
		return there, err
	}
	h, secret, err := s.o.Hooks.Add(ctx, h, w.Token)
	if err = s.said(err, by, "hook made", "hook", h.Name, "owner", h.Owner, "to", h.To, "kind", h.Kind); err != nil {
		return HookInfo{}, err
	}
	out := shownHook(h)
	out.URL = s.hookURL(h, secret)
	out.Warnings = s.hookWarnings(ctx, h)
	return out, nil
}

// ChangeHook changes settings of a hook: those that are named. Errors: hooks.ErrNoHook.
func (s *Service) ChangeHook(ctx context.Context, by By, w HookWish) (HookInfo, error) {
	var there HookInfo
	if passed, err := s.passHook(ctx, by, w.Name, "hook.change", w, &there); passed {
		return there, err
	}
	h, err := s.o.Hooks.Change(ctx, w.Name, func(h *hooks.Hook) error { return w.apply(h, false) })
	if err = s.said(err, by, "hook changed", "hook", h.Name, "settings", w.Fields); err != nil {
		return HookInfo{}, err
	}
	out := shownHook(h)
	out.Warnings = s.hookWarnings(ctx, h)
	return out, nil
}

// Hooks lists all hooks by name.
func (s *Service) Hooks(ctx context.Context) ([]HookInfo, error) {
	list, err := s.o.Hooks.List(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]HookInfo, 0, len(list)) // not null in JSON
	for _, h := range list {
		all = append(all, shownHook(h))
	}
	return all, nil
}

// Hook shows one. Errors: hooks.ErrNoHook.
func (s *Service) Hook(ctx context.Context, name string) (HookInfo, error) {
	var there HookInfo
	if passed, err := s.passHook(ctx, Command, name, "hook.show", NameRequest{name}, &there); passed {
		return there, err
	}
	h, err := s.o.Hooks.Get(ctx, name)
	if err != nil {
		return HookInfo{}, err
	}
	list, err := s.o.Hooks.TokensOf(ctx, h)
	if err != nil {
		return HookInfo{}, err
	}
	out := shownHook(h)
	for _, t := range list {
		one := HookToken{ID: t.ID, Created: t.Created, Expires: t.Expires, Uses: t.Uses, Last: t.Last}
		if t.From.IsValid() {
			one.From = t.From.String()
		}
		out.Tokens = append(out.Tokens, one)
	}
	out.Warnings = s.hookWarnings(ctx, h)
	return out, nil
}

// RemoveHook removes a hook and its tokens. Errors: hooks.ErrNoHook.
func (s *Service) RemoveHook(ctx context.Context, by By, name string) error {
	if passed, err := s.passHook(ctx, by, name, "hook.remove", NameRequest{name}, nil); passed {
		return err
	}
	return s.said(s.o.Hooks.Remove(ctx, name), by, "hook removed", "hook", name)
}

// RotateHook makes another token for a hook, which is shown this once; the others count no longer than overlap. Errors:
// hooks.ErrNoHook, hooks.ErrNoToken.
func (s *Service) RotateHook(ctx context.Context, by By, name string, overlap time.Duration) (HookInfo, error) {
	var there HookInfo
	if passed, err := s.passHook(ctx, by, name, "hook.rotate", RotateHookRequest{name, overlap}, &there); passed {
		return there, err
	}
	h, secret, err := s.o.Hooks.Rotate(ctx, name, overlap)
	if err = s.said(err, by, "token of a hook rotated", "hook", name, "overlap", overlap); err != nil {
		return HookInfo{}, err
	}
	out := shownHook(h)
	out.URL = s.hookURL(h, secret)
	return out, nil
}

// TestHook sends a notice to those who get what a hook sends. Errors: hooks.ErrNoHook, ErrNotRunning.
func (s *Service) TestHook(ctx context.Context, by By, name string) (HookReport, error) {
	if s.o.Live == nil {
		return HookReport{}, ErrNotRunning
	}
	var there HookReport
	if passed, err := s.passHook(ctx, by, name, "hook.test", NameRequest{name}, &there); passed {
		return there, err
	}
	r, err := s.o.Hooks.Test(ctx, name)
	if err = s.said(err, by, "hook tested", "hook", name); err != nil {
		return HookReport{}, err
	}
	out := HookReport{Outcome: hooks.Outcomes[r.Outcome], Reason: r.Reason, ID: r.Post, Recipients: []HookReportedCopy{}}
	for _, one := range r.Recipients {
		out.Recipients = append(out.Recipients, HookReportedCopy{one.To.String(), one.Outcome.String(), one.Reason})
	}
	return out, nil
}

// hookURL is where a program posts: in two parts for Rocket.Chat, whose addresses are so.
func (s *Service) hookURL(h hooks.Hook, secret string) string {
	path := hooks.PathOf(h, secret)
	if s.o.URL == nil {
		return path
	}
	return s.o.URL(h.Owner.Domain()) + path
}

// hookWarnings say what the owner of a hook may not do that it needs.
func (s *Service) hookWarnings(ctx context.Context, h hooks.Hook) (list []string) {
	rights, err := s.o.Accounts.Rights(ctx, h.Owner)
	if err != nil {
		return nil // whoever posts is told
	}
	lacks := func(p accounts.Permission) string {
		return fmt.Sprintf("%s may not do what this hook needs: jackdaw user grant %s %s", h.Owner, h.Owner, p)
	}
	if !rights.Has(accounts.PermHTTPMessage) {
		list = append(list, lacks(accounts.PermHTTPMessage))
	}
	if len(h.To) > 1 && !rights.Has(accounts.PermMulticast) {
		list = append(list, lacks(accounts.PermMulticast))
	}
	if !h.As.IsZero() && !rights.MayForge(h.As) {
		list = append(list, lacks(accounts.PermForgeSender+"="+accounts.Permission(h.As.String())))
	}
	return list
}
