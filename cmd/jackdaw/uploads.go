package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"jackdaw/server"
)

func uploadsCommand(s *settings) *cobra.Command {
	c := &cobra.Command{
		Use: "uploads [JID]", Short: "list who has uploaded files, or the files of an account",
		Long: `Lists who has files on the disk, those with most first, a line for each, with tabs between: address, how many files, how
many bytes. With JID it lists the files of that account, the oldest first: id, since when, bytes, type, name. What is not
known is -.

The id is in the address of a file, and who knows it can fetch the file.`,
		Args: cobra.MaximumNArgs(1),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return listUploaders(s, cmd)
			}
			user, err := bareJID(args[0])
			if err != nil {
				return err
			}
			return s.with(cmd, func(ctx context.Context, c *server.Client) error {
				list, err := c.Uploads(ctx, user)
				if err != nil {
					return err
				}
				return s.print(cmd, list, func(w io.Writer) error {
					for _, f := range list {
						fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\n", f.ID, moment(f.Created), f.Size, orDash(printable(f.Type)),
							orDash(printable(f.Name)))
					}
					return nil
				})
			})
		}),
	}
	c.AddCommand(uploadsRemove(s))
	return c
}

func listUploaders(s *settings, cmd *cobra.Command) error {
	return s.with(cmd, func(ctx context.Context, c *server.Client) error {
		list, err := c.UploadUsers(ctx)
		if err != nil {
			return err
		}
		return s.print(cmd, list, func(w io.Writer) error {
			for _, u := range list {
				fmt.Fprintf(w, "%s\t%d\t%d\n", u.JID, u.Files, u.Bytes)
			}
			return nil
		})
	})
}

func uploadsRemove(s *settings) *cobra.Command {
	all := false
	c := &cobra.Command{
		Use: "remove JID {ID... | --all}", Short: "remove files of an account",
		Long: "Removes files of an account by their ids, or all. Whoever has fetched one has it; they count for the quota\n" +
			"of the account as if they were there.",
		Args: cobra.MinimumNArgs(1),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			user, err := bareJID(args[0])
			switch {
			case err != nil:
				return err
			case all == (len(args) > 1):
				return usagef("expected either the ids of files or --all")
			}
			return s.with(cmd, func(ctx context.Context, c *server.Client) error {
				n, err := c.RemoveUploads(ctx, user, args[1:])
				if err != nil {
					return err
				}
				return s.print(cmd, struct {
					Removed int `json:"removed"`
				}{n}, func(io.Writer) error { return nil })
			})
		}),
	}
	c.Flags().BoolVar(&all, "all", false, "remove all files of the account")
	return c
}
