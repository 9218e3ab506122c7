// Package adhoc lets administrators do what package admin does in any client, by the commands of XEP-0133, which are
// forms (XEP-0050).
//
// The commands are those of accounts with the permission admin, which is one of the whole server: an administrator of
// one host may name accounts of all. Lists and numbers are those of the host that is asked. Addresses of other servers
// are never administrators, whatever they were granted while their host was ours (§8).
//
// Left out is what would not be what it says: get-user-password, which the specification has retracted; edit-blacklist
// and edit-whitelist, since s2s.deny and s2s.allow are in the configuration file, and what a command changed would be
// gone after a restart; restart, which a process cannot promise of itself.
package adhoc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"jackdaw/admin"
	"jackdaw/modules/commands"
	"jackdaw/router"
	"jackdaw/router/accounts"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// Name is that of the module in the configuration.
const Name = "administration"

// namespace is that of the forms, and what all nodes begin with.
const namespace = "http://jabber.org/protocol/admin"

// ownNamespace is that of the commands which the specification does not have.
const ownNamespace = "urn:x-jackdaw:admin"

// Module says what is implemented; the commands take part in module commands.
func Module() router.Module {
	return router.Module{Name: Name, Needs: []string{"commands"}, Specs: []router.Spec{{Name: "XEP-0133", Version: "1.3.1",
		Note: "black and white lists are `s2s.deny` and `s2s.allow`; no restart"}}}
}

// face is what the commands share.
type face struct {
	admin *admin.Service
	on    func() bool
}

// Commands are all that are announced, in the order of the specification. on says whether they may be run now.
func Commands(s *admin.Service, on func() bool) []commands.Command {
	f := &face{s, on}
	return slices.Concat(f.accounts(), f.numbers(), f.lists(), f.service(), f.approvals())
}

// command makes one. The node is what follows the namespace.
func (f *face) command(node, name string, start commands.Step) commands.Command {
	return commands.Command{Node: namespace + "#" + node, Name: name, May: f.may, Start: start}
}

// may lets administrators in and nobody else (§8).
func (f *face) may(who jid.JID, _ string) bool {
	return f.on() && f.admin.Administers(context.Background(), who)
}

// by is who runs a command, for the log.
func by(c *commands.Call) admin.By { return admin.By(c.From.Bare().String()) }

// asking is a step that shows a form, for next.
func asking(title, instructions string, next commands.Step, fields ...commands.Field) commands.Step {
	return func(*commands.Call) (commands.Reply, *xmpp.Error) {
		return commands.Reply{Form: form(title, instructions, fields...), Next: next}, nil
	}
}

func form(title, instructions string, fields ...commands.Field) *commands.Form {
	return &commands.Form{Kind: commands.Ask, Type: namespace, Title: title, Instructions: instructions, Fields: fields}
}

// result is the reply of a command that shows something.
func result(fields ...commands.Field) commands.Reply {
	return commands.Reply{Form: &commands.Form{Kind: commands.Result, Type: namespace, Fields: fields}}
}

// done is the reply of one that has nothing to show.
func done(notes ...commands.Note) commands.Reply { return commands.Reply{Notes: notes} }

func info(format string, args ...any) commands.Note {
	return commands.Note{Kind: "info", Text: fmt.Sprintf(format, args...)}
}

// values are those of a field that was filled in, without empty ones.
func values(c *commands.Call, name string) []string {
	field := c.Form.Field(name)
	if field == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(field.Values), func(v string) bool { return v == "" })
}

// value is the first of them, or "".
func value(c *commands.Call, name string) string {
	if all := values(c, name); len(all) > 0 {
		return all[0]
	}
	return ""
}

// text is a field of several lines (XEP-0004 §3.3).
func text(c *commands.Call, name string) string {
	if field := c.Form.Field(name); field != nil {
		return strings.Join(field.Values, "\n")
	}
	return ""
}

// refuse makes an error of what an operation has said (§7). Its text is for the administrator.
func refuse(err error) *xmpp.Error {
	text := err.Error()
	switch {
	case errors.Is(err, accounts.ErrExists):
		return xmpp.Conflict(text)
	case errors.Is(err, accounts.ErrNotFound):
		return xmpp.ItemNotFound(text)
	case errors.Is(err, accounts.ErrUnavailable):
		return router.Unavailable()
	case errors.Is(err, accounts.ErrUser):
		return xmpp.JIDMalformed(text)
	}
	return xmpp.NotAcceptable(text)
}
