package commands

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"jackdaw/modules/internal/forms"
	"jackdaw/router"
	"jackdaw/xmpp"
)

// Sessions is the command by which users see which clients of theirs are connected, and end what they have left open
// elsewhere.
func Sessions(r *router.Router) Command {
	return Command{Node: "sessions", Name: "Your sessions", Start: func(c *Call) (Reply, *xmpp.Error) {
		others := slices.DeleteFunc(slices.Clone(r.Sessions(c.From.Bare())), func(s *router.Session) bool {
			return s.Addr() == c.From
		})
		if len(others) == 0 {
			return Reply{Notes: []Note{{"info", "This is your only session."}}}, nil
		}
		slices.SortFunc(others, func(a, b *router.Session) int {
			return cmp.Compare(a.Addr().Resource(), b.Addr().Resource())
		})
		end := forms.Field{Var: "end", Type: "list-multi", Label: "Sessions to end"}
		for _, s := range others {
			end.Options = append(end.Options, forms.Option{Label: describe(s), Value: s.Addr().Resource()})
		}
		return Reply{
			Form: &forms.Form{Kind: forms.Ask, Type: "sessions", Title: "Your sessions", Instructions: "Choose which of your " +
				"other sessions end. A client may log in again by itself: to keep it out, change your password.",
				Fields: []forms.Field{end}},
			Next: func(c *Call) (Reply, *xmpp.Error) { return endSessions(r, c), nil },
		}, nil
	}}
}

func endSessions(r *router.Router, c *Call) Reply {
	n := 0
	if f := c.Form.Field("end"); f != nil {
		for _, s := range r.Sessions(c.From.Bare()) {
			if s.Addr() != c.From && slices.Contains(f.Values, s.Addr().Resource()) {
				s.End("policy-violation", "ended by its user from another client")
				n++
			}
		}
	}
	text := fmt.Sprintf("%d sessions have ended.", n)
	if n == 1 {
		text = "1 session has ended."
	}
	return Reply{Notes: []Note{{"info", text}}}
}

// describe says what a user may know a session by.
func describe(s *router.Session) string {
	c := s.Connection()
	text := s.Addr().Resource()
	if c.Device != "" {
		text = c.Device + " (" + text + ")"
	}
	switch {
	case s.Detached():
		text += ", connection lost"
	case s.Presence() == nil:
		text += ", not available"
	}
	if c.Address.IsValid() {
		text += ", from " + c.Address.String()
	}
	if !c.Since.IsZero() {
		text += ", since " + c.Since.UTC().Format(time.DateTime) + " UTC"
	}
	return text
}
