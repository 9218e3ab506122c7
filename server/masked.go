package server

import (
	"context"
	"log/slog"

	"jackdaw/router/tokens"
)

// masked hands a log on without the tokens of programs in it: people put them into paths and in the place of names,
// and both are in the log.
type masked struct{ next slog.Handler }

// Enabled implements slog.Handler.
func (m masked) Enabled(ctx context.Context, l slog.Level) bool { return m.next.Enabled(ctx, l) }

// WithGroup implements slog.Handler.
func (m masked) WithGroup(name string) slog.Handler { return masked{m.next.WithGroup(name)} }

// WithAttrs implements slog.Handler.
func (m masked) WithAttrs(attrs []slog.Attr) slog.Handler {
	all, _ := maskAll(attrs)
	return masked{m.next.WithAttrs(all)}
}

// Handle implements slog.Handler.
func (m masked) Handle(ctx context.Context, one slog.Record) error {
	text, found := tokens.Mask(one.Message), false
	one.Attrs(func(a slog.Attr) bool {
		_, found = mask(a)
		return !found
	})
	if !found && text == one.Message {
		return m.next.Handle(ctx, one)
	}
	clean := slog.NewRecord(one.Time, one.Level, text, one.PC)
	one.Attrs(func(a slog.Attr) bool {
		a, _ = mask(a)
		clean.AddAttrs(a)
		return true
	})
	return m.next.Handle(ctx, clean)
}

// mask masks one fact, and says whether there was anything to mask.
func mask(a slog.Attr) (clean slog.Attr, found bool) {
	switch v := a.Value.Resolve(); v.Kind() {
	case slog.KindString, slog.KindAny:
		if s := v.String(); tokens.Mask(s) != s {
			return slog.String(a.Key, tokens.Mask(s)), true
		}
	case slog.KindGroup:
		if all, found := maskAll(v.Group()); found {
			return slog.Attr{Key: a.Key, Value: slog.GroupValue(all...)}, true
		}
	}
	return a, false
}

// maskAll is mask for many.
func maskAll(attrs []slog.Attr) (all []slog.Attr, found bool) {
	for _, a := range attrs {
		a, f := mask(a)
		all, found = append(all, a), found || f
	}
	return all, found
}
