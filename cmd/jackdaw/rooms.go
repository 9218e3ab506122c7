package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"jackdaw/admin"
	"jackdaw/server"
)

func roomsCommand(s *settings) *cobra.Command {
	c := &cobra.Command{
		Use: "rooms [HOST]", Short: "list rooms: address, who is in it, whether it is public, creator, name",
		Long: `List rooms, of all hosts or of one, a line for each, with tabs between: address, how many are in it, public or hidden,
who made it, its name. What is not known is -.`,
		Args: cobra.MaximumNArgs(1),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			host := ""
			if len(args) > 0 {
				host = args[0]
			}
			return s.with(cmd, func(ctx context.Context, c *server.Client) error {
				list, err := c.Rooms(ctx, host)
				if err != nil {
					return err
				}
				return s.print(cmd, list, func(w io.Writer) error {
					for _, r := range list {
						fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\n", r.JID, r.Occupants, shownTo(r), orDash(r.Creator),
							orDash(printable(r.Name)))
					}
					return nil
				})
			})
		}),
	}
	c.AddCommand(roomsShow(s), roomsDestroy(s), roomsOwn(s))
	return c
}

func shownTo(r admin.RoomInfo) string {
	if r.Public {
		return "public"
	}
	return "hidden"
}

func roomsShow(s *settings) *cobra.Command {
	return &cobra.Command{
		Use: "show ROOM", Short: "show a room: what it is, who owns it, who is in it, how much is archived",
		Args: cobra.ExactArgs(1),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			return s.with(cmd, func(ctx context.Context, c *server.Client) error {
				r, err := c.Room(ctx, args[0])
				if err != nil {
					return err
				}
				return s.print(cmd, r, func(w io.Writer) error { return printRoom(w, r) })
			})
		}),
	}
}

func printRoom(out io.Writer, r admin.RoomInfo) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "address\t%s\nname\t%s\n", r.JID, orDash(printable(r.Name)))
	if r.Description != "" {
		fmt.Fprintf(w, "description\t%s\n", printable(r.Description))
	}
	kind := []string{shownTo(r)}
	for _, one := range []struct {
		is   bool
		name string
	}{{r.Persistent, "persistent"}, {!r.Persistent, "temporary"}, {r.Locked, "not configured yet"},
		{r.MembersOnly, "members only"}, {r.Password, "password"}, {r.Moderated, "moderated"},
		{r.NonAnonymous, "addresses are seen by all"}} {
		if one.is {
			kind = append(kind, one.name)
		}
	}
	fmt.Fprintf(w, "kind\t%s\ncreator\t%s\n", strings.Join(kind, ", "), orDash(r.Creator))
	fmt.Fprintf(w, "owners\t%s\n", orDash(strings.Join(r.Owners, ", ")))
	fmt.Fprintf(w, "admins\t%s\n", orDash(strings.Join(r.Admins, ", ")))
	fmt.Fprintf(w, "members\t%d\nbanned\t%d\n", r.Members, r.Outcasts)
	fmt.Fprintf(w, "archive\t%d messages, %s\n", r.Messages, size(r.Bytes))
	fmt.Fprintf(w, "inside\t%d\n", len(r.Inside))
	for _, o := range r.Inside {
		fmt.Fprintf(w, "  %s\t%s, %s\n", printable(o.Nick), o.JID, o.Role)
	}
	return w.Flush()
}

func roomsDestroy(s *settings) *cobra.Command {
	reason := ""
	c := &cobra.Command{
		Use: "destroy ROOM", Short: "end a room and delete all that is kept of it, its archive, too",
		Args: cobra.ExactArgs(1),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			if err := s.with(cmd, func(ctx context.Context, c *server.Client) error {
				return c.DestroyRoom(ctx, args[0], reason)
			}); err != nil {
				return err
			}
			return s.done(cmd)
		}),
	}
	c.Flags().StringVar(&reason, "reason", "", "what those who are in it are told")
	return c
}

func roomsOwn(s *settings) *cobra.Command {
	return &cobra.Command{
		Use: "own ROOM JID", Short: "make a user an owner of a room, such as one whose owners have gone",
		Args: cobra.ExactArgs(2),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			owner, err := bareJID(args[1])
			if err != nil {
				return err
			}
			if err := s.with(cmd, func(ctx context.Context, c *server.Client) error {
				return c.OwnRoom(ctx, args[0], owner)
			}); err != nil {
				return err
			}
			return s.done(cmd)
		}),
	}
}
