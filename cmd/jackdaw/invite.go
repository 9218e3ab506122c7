package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"jackdaw/admin"
	"jackdaw/config"
	"jackdaw/server"
)

func inviteCommand(s *settings) *cobra.Command {
	var w admin.Wish
	expires := ""
	c := &cobra.Command{
		Use: "invite", Short: "make a link that leads to an account, to a contact, or to a new password",
		Long: `Makes an invitation and prints its link, which is shown this once: to the page for it, or for clients where the server
has no page that others reach. Without a flag it leads to one account on the first host.

Accounts are made by invitation where the configuration says "registration: invite" or "open".`,
		Args: cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("uses") && (w.Uses < 1 || w.Uses > 1000) {
				return usagef("--uses %d: expected 1 to 1000", w.Uses)
			}
			if expires != "" {
				d, err := config.ParseDuration(expires)
				if err != nil || d < time.Minute || d > 365*24*time.Hour {
					return usagef("--expires %s: expected 1m to 365d", expires)
				}
				w.Expires = d
			}
			return s.with(cmd, func(ctx context.Context, c *server.Client) error {
				v, err := c.Invite(ctx, w)
				if err != nil {
					return err
				}
				return s.print(cmd, v, func(out io.Writer) error {
					link := v.URL
					if link == "" {
						link = v.URI
					}
					fmt.Fprintf(cmd.ErrOrStderr(), "good until %s; to take it back: jackdaw invite revoke %s\n",
						moment(v.Expires), v.ID)
					_, err := fmt.Fprintln(out, link)
					return err
				})
			})
		}),
	}
	f := c.Flags()
	f.StringVar(&w.Host, "host", "", "the host of the account (that of the contact, else the first)")
	f.StringVar(&w.Contact, "contact", "", "the account whose contact one becomes")
	f.BoolVar(&w.NoAccount, "no-account", false, "to the contact alone, for whoever has an account")
	f.IntVar(&w.Uses, "uses", 0, "how often it is good (1)")
	f.StringVar(&expires, "expires", "", "how long it is good, such as 36h or 14d (modules.invitations.expires)")
	f.StringVar(&w.Reset, "reset", "", "the account that gets a new password")
	c.MarkFlagsMutuallyExclusive("reset", "contact")
	c.MarkFlagsMutuallyExclusive("reset", "uses")
	c.AddCommand(inviteList(s), inviteRevoke(s))
	return c
}

func inviteList(s *settings) *cobra.Command {
	host := ""
	c := &cobra.Command{
		Use: "list", Short: "list the invitations that can be used: id, kind, host, uses, until, contact, user, by",
		Args: cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			return s.with(cmd, func(ctx context.Context, c *server.Client) error {
				list, err := c.Invitations(ctx, host)
				if err != nil {
					return err
				}
				return s.print(cmd, orEmpty(list), func(w io.Writer) error {
					for _, v := range list {
						fmt.Fprintf(w, "%s\t%s\t%s\t%d/%d\t%s\t%s\t%s\t%s\n", v.ID, v.Kind, v.Host, v.Used, v.Uses,
							moment(v.Expires), orDash(v.Contact), orDash(v.User), orDash(v.By))
					}
					return nil
				})
			})
		}),
	}
	c.Flags().StringVar(&host, "host", "", "those of one host")
	return c
}

func inviteRevoke(s *settings) *cobra.Command {
	host := ""
	c := &cobra.Command{
		Use: "revoke {ID | LINK}", Short: "take an invitation back", Args: cobra.ExactArgs(1),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			if err := s.with(cmd, func(ctx context.Context, c *server.Client) error {
				return c.RevokeInvitation(ctx, host, args[0])
			}); err != nil {
				return err
			}
			return s.done(cmd)
		}),
	}
	c.Flags().StringVar(&host, "host", "", "the host that it is of (any)")
	return c
}
