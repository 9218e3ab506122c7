package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"jackdaw/server"
)

func announceCommand(s *settings) *cobra.Command {
	host, withdraw := "", ""
	days, list := 14, false
	c := &cobra.Command{
		Use: "announce [TEXT]", Short: "write to all users: at once to who is online, to the others when they come",
		Long: `Writes to all users of all hosts, or of one: at once to those who are online, to the others when they come. It is kept
for them for some days; with --days 0 only those who are connected get it. Without TEXT it is read from standard input.

--list shows what is kept, a line for each, with tabs between: id, host, since when, until when, the first line of the
text. --withdraw takes one back; who has it has it.`,
		Args: cobra.MaximumNArgs(1),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			switch {
			case (list || withdraw != "") && len(args) > 0:
				return usagef("%q is no text to announce with --list or --withdraw", args[0])
			case days < 0 || days > 90:
				return usagef("--days %d: expected 0 to 90", days)
			case list:
				return listAnnouncements(s, cmd, host)
			case withdraw != "":
				if err := s.with(cmd, func(ctx context.Context, c *server.Client) error {
					return c.Withdraw(ctx, host, withdraw)
				}); err != nil {
					return err
				}
				return s.done(cmd)
			}
			text := ""
			if len(args) > 0 {
				text = args[0]
			} else {
				b, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), 1<<20))
				if err != nil {
					return fmt.Errorf("read the text from standard input: %w", err)
				}
				text = string(b)
			}
			with := s.with
			if days == 0 {
				with = s.withRunning // nobody else would hear of it
			}
			return with(cmd, func(ctx context.Context, c *server.Client) error {
				n, err := c.Announce(ctx, host, text, time.Duration(days)*24*time.Hour)
				if err != nil {
					return err
				}
				return s.print(cmd, struct {
					Reached int `json:"reached"`
				}{n}, func(w io.Writer) error {
					_, err := fmt.Fprintf(w, "reached by now: %d users\n", n)
					return err
				})
			})
		}),
	}
	c.Flags().StringVar(&host, "host", "", "only users of this `HOST`")
	c.Flags().IntVar(&days, "days", days, "for how many days it is kept for those who are away")
	c.Flags().BoolVar(&list, "list", false, "show what is kept")
	c.Flags().StringVar(&withdraw, "withdraw", "", "take back the announcement with this `ID`")
	c.MarkFlagsMutuallyExclusive("list", "withdraw", "days")
	return c
}

func listAnnouncements(s *settings, cmd *cobra.Command, host string) error {
	return s.with(cmd, func(ctx context.Context, c *server.Client) error {
		all, err := c.Announcements(ctx, host)
		if err != nil {
			return err
		}
		return s.print(cmd, orEmpty(all), func(w io.Writer) error {
			for _, one := range all {
				first, _, _ := strings.Cut(one.Text, "\n")
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", one.ID, one.Host, moment(one.Made), moment(one.Until), printable(first))
			}
			return nil
		})
	})
}
