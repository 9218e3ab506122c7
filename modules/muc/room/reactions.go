package room

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"jackdaw/modules/internal/forms"
	"jackdaw/xmpp"
)

// Restrictions of reactions (XEP-0444 §2.2): how many of them a user may have on a message, and which.

const (
	nsReactions    = "urn:xmpp:reactions:0"
	reactionsMost  = "jackdaw#reactions_per_user"
	reactionsField = "jackdaw#reactions"

	maxReaction  = 64  // bytes of one that is allowed
	maxReactions = 200 // that are allowed
	maxShown     = 20  // that are named in an error
)

var reactionsName = xmpp.Name{Space: nsReactions, Local: "reactions"}

// restricted says whether some reactions are refused.
func (c *Settings) restricted() bool { return c.ReactionsPerUser > 0 || c.Reactions != "" }

// allowed are the reactions of the list.
func (c *Settings) allowed() []string {
	if c.Reactions == "" {
		return nil
	}
	return strings.Split(c.Reactions, "\n")
}

// readReactions reads the list of a form.
func readReactions(values []string) (list string, ok bool) {
	var all []string
	for _, v := range values {
		v = strings.TrimSpace(v)
		switch {
		case len(v) > maxReaction || strings.Contains(v, "\n"):
			return "", false
		case v != "" && !slices.Contains(all, v):
			all = append(all, v)
		}
	}
	return strings.Join(all, "\n"), len(all) <= maxReactions
}

// restrictions is the form that tells them (§2.2).
func (c *Settings) restrictions() *forms.Form {
	f := &forms.Form{Kind: forms.Result, Type: nsReactions + ":restrictions"}
	if c.ReactionsPerUser > 0 {
		f.Fields = append(f.Fields, forms.Field{Var: "max_reactions_per_user", Type: "text-single",
			Values: []string{strconv.Itoa(c.ReactionsPerUser)}})
	}
	if list := c.allowed(); list != nil {
		f.Fields = append(f.Fields, forms.Field{Var: "allowlist", Type: "text-multi", Values: list})
	}
	return f
}

// mayReact says whether the reactions in a message, if there are any, may pass (§3.3).
func (c *Settings) mayReact(s *xmpp.Stanza) *xmpp.Error {
	if !c.restricted() || !s.Has(reactionsName) {
		return nil
	}
	allowed := c.allowed()
	for i, one := range allowed {
		allowed[i] = plainEmoji(one)
	}
	seen := map[string]bool{}
	children := s.Children
	if children == nil {
		children = xmpp.Index(s.Payload)
	}
	for _, child := range children {
		if child.Name != reactionsName {
			continue
		}
		el, err := xmpp.ParseElement(s.Payload[child.Start:child.End])
		if err != nil {
			return xmpp.BadRequest("")
		}
		for _, one := range el.Children() {
			if one.Name.Space != nsReactions || one.Name.Local != "reaction" {
				continue
			}
			emoji := plainEmoji(strings.TrimSpace(one.Text()))
			if allowed != nil && !slices.Contains(allowed, emoji) {
				return xmpp.NotAcceptable(c.rule())
			}
			seen[emoji] = true // §4: one that is there twice counts once
		}
	}
	if c.ReactionsPerUser > 0 && len(seen) > c.ReactionsPerUser {
		return xmpp.NotAcceptable(c.rule())
	}
	return nil
}

// plainEmoji is an emoji without the selector that asks for its colours, which not all clients write.
func plainEmoji(s string) string { return strings.ReplaceAll(s, "\ufe0f", "") }

// rule tells people what is allowed (§3.3).
func (c *Settings) rule() string {
	var rules []string
	if list := c.allowed(); list != nil {
		more := ""
		if len(list) > maxShown {
			list, more = list[:maxShown], " and some others"
		}
		rules = append(rules, "only these reactions are allowed: "+strings.Join(list, " ")+more)
	}
	if n := c.ReactionsPerUser; n > 0 {
		rules = append(rules, fmt.Sprintf("reactions to one message: %d at most", n))
	}
	return strings.Join(rules, "; ")
}
