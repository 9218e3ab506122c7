package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"jackdaw/server"
)

func apiAccountCommand(s *settings) *cobra.Command {
	return group("api-account", "accounts of the gateway API, which are no XMPP users",
		apiAccountAdd(s),
		&cobra.Command{
			Use: "del NAME", Short: "remove an API account", Args: cobra.ExactArgs(1),
			RunE: action(func(cmd *cobra.Command, args []string) error {
				err := s.with(cmd, func(ctx context.Context, c *server.Client) error {
					return c.DeleteAPIAccount(ctx, args[0])
				})
				if err != nil {
					return err
				}
				return s.done(cmd)
			}),
		},
		&cobra.Command{
			Use: "list", Short: "list API accounts: name, domains", Args: cobra.NoArgs,
			RunE: action(func(cmd *cobra.Command, _ []string) error {
				return s.with(cmd, func(ctx context.Context, c *server.Client) error {
					list, err := c.APIAccounts(ctx)
					if err != nil {
						return err
					}
					return s.print(cmd, orEmpty(list), func(w io.Writer) error {
						for _, a := range list {
							fmt.Fprintf(w, "%s\t%s\n", a.Name, strings.Join(a.Domains, ","))
						}
						return nil
					})
				})
			}),
		},
	)
}

func apiAccountAdd(s *settings) *cobra.Command {
	var p passwordSource
	var domains []string
	c := &cobra.Command{
		Use:   "add NAME --domain DOMAIN...",
		Short: "create an API account that may post for the users of these domains",
		Args:  cobra.ExactArgs(1),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			password, err := p.get(cmd, args[0])
			if err != nil {
				return err
			}
			err = s.creating(cmd, func(ctx context.Context, c *server.Client) error {
				return c.AddAPIAccount(ctx, args[0], password, domains)
			})
			if err != nil {
				return err
			}
			return p.shown(s, cmd, password)
		}),
	}
	p.flags(c, true)
	c.Flags().StringSliceVar(&domains, "domain", nil, "`DOMAIN` it may post for; may be given more than once")
	return require(c, "domain")
}
