package adhoc

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"jackdaw/modules/announcements"
	"jackdaw/modules/commands"
	"jackdaw/xmpp"
)

// service are the commands about the server as a whole (§4.23 to §4.31).
func (f *face) service() []commands.Command {
	delay := commands.Field{Var: "delay", Type: "list-single", Label: "Until then", Values: []string{"60"},
		Options: []commands.Option{{Label: "30 seconds", Value: "30"}, {Label: "60 seconds", Value: "60"},
			{Label: "90 seconds", Value: "90"}, {Label: "2 minutes", Value: "120"}, {Label: "3 minutes", Value: "180"},
			{Label: "4 minutes", Value: "240"}, {Label: "5 minutes", Value: "300"}}}
	lines := func(name, label string, needed bool) commands.Field {
		return commands.Field{Var: name, Type: "text-multi", Label: label, Required: needed}
	}
	return []commands.Command{
		f.command("announce", "Write to everybody who is online", asking("An announcement",
			"All users of this host who are connected get it now.", f.announce, lines("announcement", "Text", true))),
		f.command("set-motd", "Set the message of the day", asking("Message of the day",
			"All users of this host get it once: who is online now, the others when they come.",
			f.stand(announcements.OfTheDay, "motd", false), lines("motd", "Text", true))),
		f.command("edit-motd", "Edit the message of the day", f.showing(announcements.OfTheDay, "Message of the day",
			"Who has got it already does not get it again.", f.stand(announcements.OfTheDay, "motd", true),
			lines("motd", "Text", true))),
		f.command("delete-motd", "Delete the message of the day", f.takeBack(announcements.OfTheDay)),
		f.command("set-welcome", "Set the welcome", f.showing(announcements.Welcome, "Welcome",
			"Who registers from now on gets it at the first login.", f.stand(announcements.Welcome, "welcome", false),
			lines("welcome", "Text", true))),
		f.command("delete-welcome", "Delete the welcome", f.takeBack(announcements.Welcome)),
		f.command("edit-admin", "Edit the administrators", f.admins),
		f.command("shutdown", "Shut the server down", asking("Shutting the server down",
			"It stops as a signal would stop it. Only whoever can reach its machine can start it again.", f.shutdown, delay,
			lines("announcement", "Announcement to all who are online", false))),
	}
}

func (f *face) announce(c *commands.Call) (commands.Reply, *xmpp.Error) {
	n, err := f.admin.Announce(context.Background(), by(c), c.Host, text(c, "announcement"), 0)
	if err != nil {
		return commands.Reply{}, refuse(err)
	}
	return done(info("It went to %d users.", n)), nil
}

// showing is asking with the text that stands now, if there is one.
func (f *face) showing(k announcements.Kind, title, instructions string, next commands.Step, field commands.Field,
) commands.Step {
	return func(c *commands.Call) (commands.Reply, *xmpp.Error) {
		now, err := f.admin.Standing(c.Host, k)
		if err != nil {
			return commands.Reply{}, refuse(err)
		}
		field := field
		if now != "" {
			field.Values = strings.Split(now, "\n")
		}
		return commands.Reply{Form: form(title, instructions, field), Next: next}, nil
	}
}

// stand is the step that sets a text.
func (f *face) stand(k announcements.Kind, field string, edit bool) commands.Step {
	return func(c *commands.Call) (commands.Reply, *xmpp.Error) {
		all := text(c, field)
		if strings.TrimSpace(all) == "" { // which would take it back
			return commands.Reply{}, refuse(announcements.ErrText)
		}
		n, err := f.admin.Stand(context.Background(), by(c), c.Host, k, all, edit)
		if err != nil {
			return commands.Reply{}, refuse(err)
		}
		if k == announcements.OfTheDay {
			return done(info("It went to %d users by now.", n)), nil
		}
		return done(), nil
	}
}

func (f *face) takeBack(k announcements.Kind) commands.Step {
	return func(c *commands.Call) (commands.Reply, *xmpp.Error) {
		if _, err := f.admin.Stand(context.Background(), by(c), c.Host, k, "", false); err != nil {
			return commands.Reply{}, refuse(err)
		}
		return done(), nil
	}
}

func (f *face) admins(*commands.Call) (commands.Reply, *xmpp.Error) {
	granted, configured, err := f.admin.Admins(context.Background())
	if err != nil {
		return commands.Reply{}, refuse(err)
	}
	all := slices.Compact(slices.Sorted(slices.Values(slices.Concat(granted, configured))))
	instructions := "Administrators may do everything on this server, on all its hosts."
	if len(configured) > 0 {
		instructions += " These are administrators by the configuration, which only its file changes: " +
			strings.Join(configured, ", ")
	}
	return commands.Reply{
		Form: form("The administrators", instructions,
			commands.Field{Var: "adminjids", Type: "jid-multi", Label: "Accounts", Required: true, Values: all}),
		Next: func(c *commands.Call) (commands.Reply, *xmpp.Error) {
			if err := f.admin.SetAdmins(context.Background(), by(c), values(c, "adminjids")); err != nil {
				return commands.Reply{}, refuse(err)
			}
			return done(), nil
		},
	}, nil
}

func (f *face) shutdown(c *commands.Call) (commands.Reply, *xmpp.Error) {
	seconds, err := strconv.Atoi(value(c, "delay"))
	if err != nil {
		seconds = 60 // the field may be left out
	}
	var notes []commands.Note
	if say := text(c, "announcement"); strings.TrimSpace(say) != "" {
		n, err := f.admin.Announce(context.Background(), by(c), "", say, 0)
		if err != nil {
			return commands.Reply{}, refuse(err)
		}
		notes = append(notes, info("The announcement went to %d users.", n))
	}
	if err := f.admin.Stop(by(c), time.Duration(seconds)*time.Second); err != nil {
		return commands.Reply{}, refuse(err)
	}
	return done(append(notes, info("The server stops in %d seconds.", seconds))...), nil
}
