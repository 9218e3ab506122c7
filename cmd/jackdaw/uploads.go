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
	c.AddCommand(uploadsRemove(s), uploadsMove(s))
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

func uploadsMove(s *settings) *cobra.Command {
	keep := false
	c := &cobra.Command{
		Use: "move", Short: "put files from the data directory into the bucket of the configuration",
		Long: `Puts the files that lie in the data directory into the bucket that modules.upload.s3 of the configuration names, and
removes them from the directory, each when it is in the bucket. With --keep they stay there as well. What was moved
before is not sent again. The server may run: it serves what is in the one place that its configuration named when it
was started, so that the way without a gap is

  jackdaw uploads move --keep --config NEW     while the server serves the directory
  (restart the server with the new configuration)
  jackdaw uploads move                         for what has come meanwhile`,
		Args: cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			cfg, err := s.prepare()
			if err != nil {
				return err
			}
			done, err := server.MoveFiles(cmd.Context(), cfg, keep)
			if err != nil {
				return fmt.Errorf("move files, of which %d are moved and %d were: %w", done.Moved, done.There, err)
			}
			err = s.print(cmd, done, func(w io.Writer) error {
				for _, line := range done.Damaged {
					fmt.Fprintln(w, line)
				}
				_, err := fmt.Fprintf(w, "%d files moved, %d were there\n", done.Moved, done.There)
				return err
			})
			if n := len(done.Damaged); err == nil && n > 0 {
				err = fmt.Errorf("%d were not moved; remove them, or restore them from a backup", n)
			}
			return err
		}),
	}
	c.Flags().BoolVar(&keep, "keep", false, "leave the files in the data directory as well")
	return c
}
