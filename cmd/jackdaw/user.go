package main

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

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
			"With --batch it reads lines of JID, space, PASSWORD from standard input; what cannot be\n" +
			"created is named by its line, and the others are created all the same.",
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
			err = s.with(cmd, func(ctx context.Context, c *server.Client) error { return c.AddUser(ctx, user, password) })
			if err == nil {
				p.shown(cmd, password)
			}
			return err
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
			err = s.with(cmd, func(ctx context.Context, c *server.Client) error { return c.SetPassword(ctx, user, password) })
			if err == nil {
				p.shown(cmd, password)
			}
			return err
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
			return s.with(cmd, func(ctx context.Context, c *server.Client) error { return f(c, ctx, user) })
		}),
	}
}

func userPermissions(s *settings, verb, short string, f func(*server.Client, context.Context, string, []string) error) *cobra.Command {
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
			return s.with(cmd, func(ctx context.Context, c *server.Client) error { return f(c, ctx, user, args[1:]) })
		}),
	}
}

func userList(s *settings) *cobra.Command {
	return &cobra.Command{
		Use: "list [DOMAIN]", Short: "list accounts: address, state, permissions", Args: cobra.MaximumNArgs(1),
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
				for _, u := range list {
					// Tabs, since that is what cut(1) takes.
					fmt.Fprintf(cmd.OutOrStdout(), "%s\t%s\t%s\n", u.JID, state(u), strings.Join(u.Permissions, ","))
				}
				return nil
			})
		}),
	}
}

func state(u server.UserInfo) string {
	if u.Disabled {
		return "disabled"
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
				w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
				fmt.Fprintf(w, "address\t%s\nstate\t%s\npermissions\t%s\ncreated\t%s\npassword set\t%s\n",
					u.JID, state(u), orNone(u.Permissions), u.Created.Format(time.RFC3339), u.Changed.Format(time.RFC3339))
				if c.Running() {
					fmt.Fprintf(w, "sessions\t%d\n", u.Sessions)
				}
				return w.Flush()
			})
		}),
	}
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "none granted"
	}
	return strings.Join(list, " ")
}
