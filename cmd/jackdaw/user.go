package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"jackdaw/admin"
	"jackdaw/router/accounts"
	"jackdaw/server"
	"jackdaw/xmpp/jid"
)

func userCommand(s *settings) *cobra.Command {
	return group("user", "accounts of users",
		userAdd(s), userPasswd(s),
		userAction(s, "del", "remove an account and all that is kept of it", (*server.Client).DeleteUser),
		userList(s), userShow(s),
		userAction(s, "disable", "keep an account from logging in, and end its sessions", (*server.Client).Disable),
		userAction(s, "enable", "let a disabled account log in again", (*server.Client).Enable),
		userActions(s, "approve", "let those log in who have registered and wait for approval", (*server.Client).Approve),
		userActions(s, "refuse", "remove accounts that wait for approval", (*server.Client).Refuse),
		userDevices(s), userKeep(s),
		userPermissions(s, "grant", "give permissions to an account", (*server.Client).Grant),
		userPermissions(s, "revoke", "take permissions back", (*server.Client).Revoke),
	)
}

// bareJID reads the address of an account as it is written on the command line.
func bareJID(arg string) (string, error) {
	j, err := jid.Parse(arg)
	if err != nil || j.Local() == "" || !j.IsBare() {
		return "", usagef("%q: expected the address of an account, such as romeo@example.org", arg)
	}
	return j.String(), nil
}

func userAdd(s *settings) *cobra.Command {
	var p passwordSource
	var batch bool
	c := &cobra.Command{
		Use:   "add {JID | --batch}",
		Short: "create an account (asks for the password), or many",
		Long: "Creates an account. Without a flag it asks for the password on the terminal.\n\n" +
			"With --batch it reads lines of JID, spaces or tabs, PASSWORD from standard input, but for empty ones\n" +
			"and those that begin with #; what cannot be created is named by its line, and the others are\n" +
			"created all the same.",
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case batch && len(args) > 0:
				return usagef("--batch takes the accounts from standard input, not %q", args[0])
			case !batch && len(args) != 1:
				return usagef("expected one JID, found %d", len(args))
			}
			return nil
		},
		RunE: action(func(cmd *cobra.Command, args []string) error {
			if batch {
				return addBatch(s, cmd)
			}
			user, err := bareJID(args[0])
			if err != nil {
				return err
			}
			password, err := p.get(cmd, user)
			if err != nil {
				return err
			}
			err = s.creating(cmd, func(ctx context.Context, c *server.Client) error {
				return c.AddUser(ctx, user, password)
			})
			if err != nil {
				return err
			}
			return p.shown(s, cmd, password)
		}),
	}
	p.flags(c, true)
	c.Flags().BoolVar(&batch, "batch", false, "read JID PASSWORD lines from standard input")
	c.MarkFlagsMutuallyExclusive("batch", "password-stdin")
	c.MarkFlagsMutuallyExclusive("batch", "generate")
	return c
}

func userPasswd(s *settings) *cobra.Command {
	var p passwordSource
	c := &cobra.Command{
		Use:   "passwd JID",
		Short: "set a new password, and end live sessions",
		Args:  cobra.ExactArgs(1),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			user, err := bareJID(args[0])
			if err != nil {
				return err
			}
			password, err := p.get(cmd, user)
			if err != nil {
				return err
			}
			err = s.with(cmd, func(ctx context.Context, c *server.Client) error {
				return c.SetPassword(ctx, user, password)
			})
			if err != nil {
				return err
			}
			return p.shown(s, cmd, password)
		}),
	}
	p.flags(c, true)
	return c
}

// userAction is a command that does one thing to one account.
func userAction(s *settings, verb, short string, f func(*server.Client, context.Context, string) error) *cobra.Command {
	return &cobra.Command{
		Use: verb + " JID", Short: short, Args: cobra.ExactArgs(1),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			user, err := bareJID(args[0])
			if err != nil {
				return err
			}
			if err := s.with(cmd, func(ctx context.Context, c *server.Client) error {
				return f(c, ctx, user)
			}); err != nil {
				return err
			}
			return s.done(cmd)
		}),
	}
}

// userActions is a command that does one thing to some accounts, one after the other.
func userActions(s *settings, verb, short string, f func(*server.Client, context.Context, string) error,
) *cobra.Command {
	return &cobra.Command{
		Use: verb + " JID...", Short: short, Args: cobra.MinimumNArgs(1),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			users := make([]string, len(args))
			for i, arg := range args {
				var err error
				if users[i], err = bareJID(arg); err != nil {
					return err
				}
			}
			if err := s.with(cmd, func(ctx context.Context, c *server.Client) error {
				var errs []error
				for _, user := range users {
					errs = append(errs, f(c, ctx, user))
				}
				return errors.Join(errs...)
			}); err != nil {
				return err
			}
			return s.done(cmd)
		}),
	}
}

func userPermissions(s *settings, verb, short string,
	f func(*server.Client, context.Context, string, []string) error) *cobra.Command {
	return &cobra.Command{
		Use: verb + " JID PERMISSION...", Short: short, Args: cobra.MinimumNArgs(2),
		Long: short + ".\n\nThere are http_message, multicast, forge_sender, forge_sender=PATTERN (such as\n" +
			"forge_sender=*@trac or forge_sender=*.example.com), xmppgateway and admin. They are in force at once.",
		RunE: action(func(cmd *cobra.Command, args []string) error {
			user, err := bareJID(args[0])
			if err != nil {
				return err
			}
			for _, p := range args[1:] {
				if _, err := accounts.ParsePermission(p); err != nil {
					return usagef("%v", err)
				}
			}
			if err := s.with(cmd, func(ctx context.Context, c *server.Client) error {
				return f(c, ctx, user, args[1:])
			}); err != nil {
				return err
			}
			return s.done(cmd)
		}),
	}
}

func userList(s *settings) *cobra.Command {
	return &cobra.Command{
		Use: "list [DOMAIN]", Short: "list accounts: address, state, permissions", Args: cobra.MaximumNArgs(1),
		Long: "Lists accounts, a line for each, with tabs between: address, state, the permissions that were\n" +
			"granted, and if there are any those that the configuration gives to this account, but not to all.",
		RunE: action(func(cmd *cobra.Command, args []string) error {
			domain := ""
			if len(args) > 0 {
				j, err := jid.Parse(args[0])
				if err != nil || j.Local() != "" || j.Resource() != "" {
					return usagef("%q: expected a domain", args[0])
				}
				domain = j.Domain()
			}
			return s.with(cmd, func(ctx context.Context, c *server.Client) error {
				list, err := c.Users(ctx, domain)
				if err != nil {
					return err
				}
				return s.print(cmd, orEmpty(list), func(w io.Writer) error {
					for _, u := range list {
						// Tabs, since that is what cut(1) takes.
						fmt.Fprintf(w, "%s\t%s\t%s", u.JID, state(u), strings.Join(u.Permissions, ","))
						if more := configured(u); len(more) > 0 {
							fmt.Fprintf(w, "\t%s", strings.Join(more, ","))
						}
						fmt.Fprintln(w)
					}
					return nil
				})
			})
		}),
	}
}

func state(u admin.UserInfo) string {
	switch {
	case u.Disabled:
		return "disabled"
	case u.Pending:
		return "pending"
	}
	return "active"
}

func userShow(s *settings) *cobra.Command {
	return &cobra.Command{
		Use: "show JID", Short: "show an account", Args: cobra.ExactArgs(1),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			user, err := bareJID(args[0])
			if err != nil {
				return err
			}
			return s.with(cmd, func(ctx context.Context, c *server.Client) error {
				u, err := c.User(ctx, user)
				if err != nil {
					return err
				}
				return s.print(cmd, u, func(w io.Writer) error { return printUser(w, u, c.Running()) })
			})
		}),
	}
}

func userKeep(s *settings) *cobra.Command {
	return &cobra.Command{
		Use: "keep JID {TIME | forever | default}", Short: "say how long the messages of an account stay in its archive",
		Long: `Says how long the messages of one account stay in its archive: a time such as 12h or 90d, an hour at least, or forever.
With default it is again as modules.archive.keep says for all. What has been there for longer goes within an hour.`,
		Args: cobra.ExactArgs(2),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			user, err := bareJID(args[0])
			if err != nil {
				return err
			}
			return s.with(cmd, func(ctx context.Context, c *server.Client) error { return c.SetKeep(ctx, user, args[1]) })
		}),
	}
}

// configured are the permissions that the configuration gives to this account, but not to all.
func configured(u admin.UserInfo) (list []string) {
	for _, r := range u.Rights {
		if r.Source != accounts.SourceGrant && r.Source != accounts.SourceAdmin && !r.Everybody {
			list = append(list, r.Permission)
		}
	}
	return list
}

func printUser(out io.Writer, u admin.UserInfo, running bool) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "address\t%s\nstate\t%s\n", u.JID, state(u))
	if len(u.Rights) == 0 {
		fmt.Fprintln(w, "permissions\tnone")
	}
	for i, r := range u.Rights {
		label := "permissions"
		if i > 0 {
			label = ""
		}
		source := r.Source
		if r.Source != accounts.SourceGrant && r.Source != accounts.SourceAdmin {
			source = "configuration: " + source
		}
		fmt.Fprintf(w, "%s\t%s (%s)\n", label, r.Permission, source)
	}
	fmt.Fprintf(w, "created\t%s\npassword set\t%s\n", moment(u.Created), moment(u.Changed))
	if running {
		fmt.Fprintf(w, "sessions\t%d\n", u.Sessions)
	}
	if u.Sessions > 0 {
		fmt.Fprintf(w, "last login\t%s, connected now\n", moment(u.LastLogin))
	} else {
		fmt.Fprintf(w, "last login\t%s\nlast seen\t%s\n", moment(u.LastLogin), moment(u.LastSeen))
	}
	if u.Keep != "" {
		fmt.Fprintf(w, "messages stay\t%s\n", u.Keep)
	}
	total := int64(0)
	for _, one := range u.Stored {
		total += one.Bytes
	}
	fmt.Fprintf(w, "stored\t%s\n", size(total))
	for _, one := range u.Stored {
		fmt.Fprintf(w, "  %s\t%s, %d records\n", one.Space, size(one.Bytes), one.Records)
	}
	return w.Flush()
}

// size is a number of bytes for people.
func size(n int64) string {
	const units = "KMGT"
	if n < 1024 {
		return fmt.Sprintf("%d bytes", n)
	}
	f, unit := float64(n)/1024, 0
	for f >= 1024 && unit < len(units)-1 {
		f, unit = f/1024, unit+1
	}
	return fmt.Sprintf("%.1f %ciB", f, units[unit])
}
