package adhoc

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"jackdaw/modules/commands"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// maxNamed is how many accounts one form may name.
const maxNamed = 100

// accounts are the commands about single accounts (§4.1 to §4.10).
func (f *face) accounts() []commands.Command {
	which := func(label string) commands.Field {
		return commands.Field{Var: "accountjids", Type: "jid-multi", Label: label, Required: true}
	}
	one := func(label string) commands.Field {
		return commands.Field{Var: "accountjid", Type: "jid-single", Label: label, Required: true}
	}
	secret := func(name, label string) commands.Field {
		return commands.Field{Var: name, Type: "text-private", Label: label, Required: true}
	}
	return []commands.Command{
		f.command("add-user", "Add a user", asking("Adding a user", "The account can log in at once.", f.addUser,
			one("Address of the account"), secret("password", "Password"), secret("password-verify", "The password again"))),
		f.command("delete-user", "Delete users", asking("Deleting users",
			"All that is kept of these accounts goes with them, for good.",
			f.named(func(c *commands.Call, user string) error {
				return f.admin.DeleteUser(context.Background(), by(c), user)
			}), which("Accounts to delete"))),
		f.command("disable-user", "Disable users", asking("Disabling users",
			"Their sessions end, and they cannot log in until they are enabled. Nothing of theirs is deleted.",
			f.named(func(c *commands.Call, user string) error {
				return f.admin.Disable(context.Background(), by(c), user)
			}), which("Accounts to disable"))),
		f.command("reenable-user", "Enable users again", asking("Enabling users", "They can log in again.",
			f.all(func(c *commands.Call, user string) error { return f.admin.Enable(context.Background(), by(c), user) }),
			which("Accounts to enable"))),
		f.command("end-user-session", "End sessions", asking("Ending sessions", "An address with a resource ends this "+
			"session, one without all of the user. A client may log in again by itself.",
			f.all(func(c *commands.Call, user string) error { _, err := f.admin.Kick(by(c), user); return err }),
			which("Users or sessions"))),
		f.command("change-user-password", "Change a password", asking("Changing a password",
			"The sessions of the user end, and devices need the new password.", f.changePassword,
			one("Address of the account"), secret("password", "New password"))),
		f.command("get-user-roster", "Show contacts", asking("Contacts of a user", "One account at a time.", f.roster,
			which("Account"))),
		f.command("get-user-lastlogin", "Show last logins", asking("Last logins", "Times are exact to the hour.",
			f.lastLogin, which("Accounts"))),
		f.command("user-stats", "Show what is known of a user", asking("What is known of a user", "", f.stats,
			one("Address of the account"))),
	}
}

// all runs f for each account that was named. If it fails for all, that is an error of the command (§7); if for some,
// notes say so.
func (f *face) all(do func(c *commands.Call, user string) error) commands.Step {
	return func(c *commands.Call) (commands.Reply, *xmpp.Error) {
		named := values(c, "accountjids")
		if len(named) > maxNamed {
			return commands.Reply{}, xmpp.NotAcceptable(fmt.Sprintf("at most %d accounts at a time", maxNamed))
		}
		var notes []commands.Note
		var bad *xmpp.Error
		for _, user := range named {
			if err := do(c, user); err != nil {
				if bad == nil {
					bad = refuse(err)
				}
				notes = append(notes, commands.Note{Kind: "error", Text: err.Error()})
			}
		}
		if len(notes) == len(named) {
			return commands.Reply{}, bad
		}
		return done(notes...), nil
	}
}

// named is all for what nobody does to themselves: it would end the session that asks for it, and maybe leave nobody
// who could take it back.
func (f *face) named(do func(c *commands.Call, user string) error) commands.Step {
	step := f.all(do)
	return func(c *commands.Call) (commands.Reply, *xmpp.Error) {
		own := func(user string) bool { j, err := jid.Parse(user); return err == nil && j.Bare() == c.From.Bare() }
		if slices.ContainsFunc(values(c, "accountjids"), own) {
			return commands.Reply{}, xmpp.NotAllowed("your own account is not among those that you can name here")
		}
		return step(c)
	}
}

func (f *face) addUser(c *commands.Call) (commands.Reply, *xmpp.Error) {
	password := value(c, "password")
	if password != value(c, "password-verify") {
		return commands.Reply{}, xmpp.NotAcceptable("the two passwords differ")
	}
	if err := f.admin.AddUser(context.Background(), by(c), value(c, "accountjid"), password); err != nil {
		return commands.Reply{}, refuse(err)
	}
	return done(), nil
}

func (f *face) changePassword(c *commands.Call) (commands.Reply, *xmpp.Error) {
	err := f.admin.SetPassword(context.Background(), by(c), value(c, "accountjid"), value(c, "password"))
	if err != nil {
		return commands.Reply{}, refuse(err)
	}
	return done(), nil
}

func (f *face) roster(c *commands.Call) (commands.Reply, *xmpp.Error) {
	named := values(c, "accountjids")
	if len(named) != 1 { // the result says one roster, and not whose (§4.8)
		return commands.Reply{}, xmpp.NotAcceptable("one account at a time")
	}
	query, _, err := f.admin.RosterOf(context.Background(), named[0])
	if err != nil {
		return commands.Reply{}, refuse(err)
	}
	r := result(commands.Field{Var: "accountjids", Type: "jid-multi", Values: named})
	r.Form.More = query
	return r, nil
}

// lastLogin answers with as many times as accounts, in the same order; who never logged in is named by a note.
func (f *face) lastLogin(c *commands.Call) (commands.Reply, *xmpp.Error) {
	users := commands.Field{Var: "accountjids", Type: "jid-multi"}
	times := commands.Field{Var: "lastlogin", Type: "text-multi"}
	reply, bad := f.all(func(_ *commands.Call, user string) error {
		u, err := f.admin.User(context.Background(), user)
		switch {
		case err != nil:
			return err
		case u.LastLogin.IsZero():
			return fmt.Errorf("%s has not logged in yet", user)
		}
		users.Values = append(users.Values, u.JID)
		times.Values = append(times.Values, u.LastLogin.UTC().Format(time.RFC3339)) // XEP-0082 §3.2
		return nil
	})(c)
	if bad != nil {
		return reply, bad
	}
	all := result(users, times)
	all.Notes = reply.Notes
	return all, nil
}

func (f *face) stats(c *commands.Call) (commands.Reply, *xmpp.Error) {
	address := value(c, "accountjid")
	u, err := f.admin.User(context.Background(), address)
	if err != nil {
		return commands.Reply{}, refuse(err)
	}
	_, contacts, err := f.admin.RosterOf(context.Background(), address)
	if err != nil {
		return commands.Reply{}, refuse(err)
	}
	sessions, err := f.admin.SessionsOf(address)
	if err != nil {
		return commands.Reply{}, refuse(err)
	}
	from := commands.Field{Var: "ipaddresses", Type: "text-multi", Label: "Connected from"}
	resources := commands.Field{Var: "onlineresources", Type: "text-multi", Label: "Sessions"}
	for _, s := range sessions {
		if s.Address != "" && !slices.Contains(from.Values, s.Address) {
			from.Values = append(from.Values, s.Address)
		}
		_, resource, _ := strings.Cut(s.JID, "/")
		resources.Values = append(resources.Values, resource)
	}
	r := result(commands.Field{Var: "accountjid", Type: "jid-single", Values: []string{u.JID}}, from,
		commands.Field{Var: "rostersize", Type: "text-single", Label: "Contacts", Values: []string{fmt.Sprint(contacts)}},
		resources)
	stored := int64(0)
	for _, one := range u.Stored {
		stored += one.Bytes
	}
	r.Notes = append(r.Notes, info("%d bytes are stored.", stored))
	if u.Disabled {
		r.Notes = append(r.Notes, info("The account is disabled."))
	}
	if u.Pending {
		r.Notes = append(r.Notes, info("The account waits for approval."))
	}
	return r, nil
}
