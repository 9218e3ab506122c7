package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"jackdaw/admin"
	"jackdaw/server"
)

func userDevices(s *settings) *cobra.Command {
	c := &cobra.Command{
		Use: "devices JID", Short: "list the devices of an account: id, sessions, access, last and first login, names",
		Long: `List the devices of an account, a line for each, with tabs between: id, how many sessions it has, how it can log in
(password, token), when it last logged in (to the hour) and when first, its software and its name, as it says.

A device is a client that says which installation it is when it logs in. Others are in "jackdaw sessions" alone. What is
not known is -.`,
		Args: cobra.ExactArgs(1),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			user, err := bareJID(args[0])
			if err != nil {
				return err
			}
			return s.with(cmd, func(ctx context.Context, c *server.Client) error {
				list, err := c.UserDevices(ctx, user)
				if err != nil {
					return err
				}
				return s.print(cmd, orEmpty(list), func(w io.Writer) error {
					for _, d := range list {
						fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\t%s\n", d.ID, d.Sessions, access(d), moment(d.Last),
							moment(d.First), orDash(printable(d.Software)), orDash(printable(d.Name)))
					}
					return nil
				})
			})
		}),
	}
	c.AddCommand(&cobra.Command{
		Use: "revoke JID DEVICE", Short: "take the token from a device, end its sessions and forget it",
		Long: `Takes the token from a device, ends its sessions and forgets it. A device that has logged in with the password may
know it still; only another password keeps it out then, and the command says so.`,
		Args: cobra.ExactArgs(2),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			user, err := bareJID(args[0])
			if err != nil {
				return err
			}
			return s.with(cmd, func(ctx context.Context, c *server.Client) error {
				knows, err := c.RevokeDevice(ctx, user, args[1])
				if err != nil {
					return err
				}
				return s.print(cmd, struct {
					ResetRequired bool `json:"password_reset_required"`
				}{knows}, func(io.Writer) error {
					if knows {
						fmt.Fprintf(cmd.ErrOrStderr(), "note: the device has logged in with the password, and may again: "+
							"set another one with `jackdaw user passwd %s`\n", user)
					}
					return nil
				})
			})
		}),
	})
	return c
}

// access is how a device can log in.
func access(d admin.DeviceInfo) string {
	var how []string
	if d.Password {
		how = append(how, "password")
	}
	if d.Token {
		how = append(how, "token")
	}
	return orDash(strings.Join(how, ","))
}
