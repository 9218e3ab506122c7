package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"jackdaw/admin"
	"jackdaw/server"
)

func botCommand(s *settings) *cobra.Command {
	return group("bot", "have programs answer for accounts",
		botAdd(s), botList(s), botTest(s), botLog(s), botRemove(s))
}

func botAdd(s *settings) *cobra.Command {
	var o admin.BotOrder
	secret := ""
	c := &cobra.Command{
		Use: "add JID --url URL", Short: "have a program answer for an account",
		Long: `Posts what is written to an account to a URL, and sends what the program there answers as the reply
(docs/hooks.md §6). The account is there already: jackdaw user add --generate JID makes one.

A bot that is there already gets these settings in place of those that it had; what waits for it stays.`,
		Args: cobra.ExactArgs(1),
		RunE: action(func(cmd *cobra.Command, args []string) (err error) {
			if o.JID, err = bareJID(args[0]); err != nil {
				return err
			}
			if o.URL == "" {
				return usagef("--url is needed: where messages are posted to")
			}
			if secret != "" {
				if o.Secret, err = readSecret(secret); err != nil {
					return err
				}
			}
			if err := s.with(cmd, func(ctx context.Context, c *server.Client) error { return c.AddBot(ctx, o) }); err != nil {
				return err
			}
			return s.done(cmd)
		}),
	}
	f := c.Flags()
	f.StringVar(&o.URL, "url", "", "where messages are posted to, such as https://bot.example.org/in")
	f.StringVar(&secret, "secret-file", "", "a `FILE` with the secret that requests are signed with")
	f.StringArrayVar(&o.Rooms, "room", nil, "a `ROOM` that the bot is in (may be repeated)")
	f.StringVar(&o.Nick, "nick", "", "its nick in rooms (the name of the account)")
	f.StringVar(&o.Trigger, "trigger", "", "what a command begins with, such as '!w '")
	f.BoolVar(&o.Encrypted, "encrypted", false, "post encrypted messages, too, without a text")
	f.BoolVar(&o.Composing, "composing", false, "show to who writes that the bot is at work")
	f.StringVar(&o.Owner, "owner", "",
		"whose bot it is, an account `JID`; unless it administers, the bot reaches public addresses alone")
	return c
}

// maxSecretFile bounds what is read of a file with a secret.
const maxSecretFile = 4 << 10

// readSecret takes the first line of a file.
func readSecret(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read the secret: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSecretFile))
	if err != nil {
		return "", fmt.Errorf("read the secret: %w", err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	if line = strings.TrimSpace(line); line == "" {
		return "", fmt.Errorf("%s holds no secret on its first line", path)
	}
	return line, nil
}

func botList(s *settings) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "list bots: address, state, messages that wait, last answer, URL, rooms, owner",
		Long: `List bots, a line for each, with tabs between: address, state, how many messages wait for the program, the last
answer of it, the URL, the rooms (behind one that the bot is not in, why), the owner. What is not known is -.

The state is online, offline (no server runs, or the account has too many sessions) or disabled (the account is).`,
		Args: cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			return s.with(cmd, func(ctx context.Context, c *server.Client) error {
				list, err := c.Bots(ctx)
				if err != nil {
					return err
				}
				return s.print(cmd, orEmpty(list), func(w io.Writer) error {
					for _, b := range list {
						fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\t%s\n", b.JID, b.State, b.Waiting, lastAnswer(b.Last), printable(b.URL),
							orDash(botRooms(b.Rooms)), orDash(b.Owner))
					}
					return nil
				})
			})
		}),
	}
}

func lastAnswer(d *admin.DeliveryInfo) string {
	if d == nil {
		return "-"
	}
	return statusOf(d.Status) + " at " + moment(d.At)
}

func statusOf(status int) string {
	if status == 0 {
		return "none"
	}
	return strconv.Itoa(status)
}

func botRooms(rooms []admin.BotRoomInfo) string {
	var all []string
	for _, r := range rooms {
		one := r.Room
		if r.Away != "" {
			one += " (" + r.Away + ")"
		}
		all = append(all, one)
	}
	return strings.Join(all, ", ")
}

func botTest(s *settings) *cobra.Command {
	return &cobra.Command{
		Use: "test JID [TEXT]", Short: "post a text to the program of a bot, and show what it would say",
		Long: `Posts TEXT ("test" without) to the program of a bot, as if the bot had written to itself, and prints what it would say.
Nothing is sent to anybody. It fails if the program does not take it, or its answer cannot be read.`,
		Args: cobra.RangeArgs(1, 2),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			text := "test"
			if len(args) > 1 {
				text = args[1]
			}
			return s.with(cmd, func(ctx context.Context, c *server.Client) error {
				t, err := c.TestBot(ctx, args[0], text)
				if err != nil {
					return err
				}
				fmt.Fprintf(cmd.ErrOrStderr(), "status %s after %.3f s\n", statusOf(t.Status), t.Took)
				if err := s.print(cmd, t, func(w io.Writer) error {
					for _, text := range t.Texts {
						fmt.Fprintln(w, printableLines(text))
					}
					return nil
				}); err != nil || t.Error == "" {
					return err
				}
				return errors.New(t.Error)
			})
		}),
	}
}

// printableLines is printable for a text of several lines.
func printableLines(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = printable(lines[i])
	}
	return strings.Join(lines, "\n")
}

func botLog(s *settings) *cobra.Command {
	return &cobra.Command{
		Use: "log JID", Short: "list the last 50 requests to a bot: when, status, seconds, from, messages, key, error",
		Long: `List the last 50 requests to a bot, the newest first, a line for each, with tabs between: when, the status of the
answer, how many seconds it took, who wrote, of how many messages the answer was, the Idempotency-Key, what went wrong.
What is not known is -. Requests with the same key are for the same message.`,
		Args: cobra.ExactArgs(1),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			return s.with(cmd, func(ctx context.Context, c *server.Client) error {
				list, err := c.BotLog(ctx, args[0])
				if err != nil {
					return err
				}
				return s.print(cmd, orEmpty(list), func(w io.Writer) error {
					for _, d := range list {
						fmt.Fprintf(w, "%s\t%s\t%.3f\t%s\t%d\t%s\t%s\n", moment(d.At), statusOf(d.Status), d.Took,
							printable(d.From), d.Said, d.Key, orDash(printable(d.Error)))
					}
					return nil
				})
			})
		}),
	}
}

func botRemove(s *settings) *cobra.Command {
	return &cobra.Command{
		Use: "remove JID", Short: "make a bot an account like others; what waits for its program is lost",
		Args: cobra.ExactArgs(1),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			if err := s.with(cmd, func(ctx context.Context, c *server.Client) error {
				return c.RemoveBot(ctx, args[0])
			}); err != nil {
				return err
			}
			return s.done(cmd)
		}),
	}
}
