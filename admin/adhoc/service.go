package adhoc

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"jackdaw/modules/commands"
	"jackdaw/xmpp"
)

// service are the commands about the server as a whole (§4.23 to §4.31).
func (f *face) service() []commands.Command {
	delay := commands.Field{Var: "delay", Type: "list-single", Label: "Until then", Values: []string{"60"},
		Options: []commands.Option{{Label: "30 seconds", Value: "30"}, {Label: "60 seconds", Value: "60"},
			{Label: "90 seconds", Value: "90"}, {Label: "2 minutes", Value: "120"}, {Label: "3 minutes", Value: "180"},
			{Label: "4 minutes", Value: "240"}, {Label: "5 minutes", Value: "300"}}}
	return []commands.Command{
		f.command("edit-admin", "Edit the administrators", f.admins),
		f.command("shutdown", "Shut the server down", asking("Shutting the server down",
			"It stops as a signal would stop it. Only whoever can reach its machine can start it again.", f.shutdown, delay)),
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
	if err := f.admin.Stop(by(c), time.Duration(seconds)*time.Second); err != nil {
		return commands.Reply{}, refuse(err)
	}
	return done(info("The server stops in %d seconds.", seconds)), nil
}
