package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"jackdaw/admin"
	"jackdaw/config"
	"jackdaw/server"
)

func hookCommand(s *settings) *cobra.Command {
	return group("hook", "addresses at which other programs post messages", hookAdd(s), hookChange(s), hookList(s),
		hookShow(s), hookTest(s), hookRotate(s), hookRemove(s))
}

// hookFlags are those by which a hook is made and changed. Each is named after the setting in JSON, with dashes.
type hookFlags struct {
	wish                    admin.HookWish
	template, secret, token string // files
	renames                 []string
}

func (f *hookFlags) add(c *cobra.Command) {
	w, flags := &f.wish, c.Flags()
	flags.StringSliceVar(&w.To, "to", nil, "who gets it: addresses, rooms of this server; more than one with commas")
	flags.StringVar(&w.As, "as", "", "in whose name users get it (the owner's)")
	flags.StringVar(&w.Nick, "nick", "", "the name that rooms show (that of the hook)")
	flags.StringVar(&w.Kind, "kind", "", "what posts: auto, or one of the kinds of docs/hooks.md (auto)")
	flags.StringVar(&w.Marks, "marks", "", "emoji or text (emoji)")
	flags.BoolVar(&w.Subject, "subject", false, "send the first line as the subject, too")
	flags.StringVar(&w.Update, "update", "", "correct: what goes on corrects the first message, and is not another")
	flags.StringSliceVar(&w.Events, "events", nil, "show these alone, of programs that tell of many")
	flags.StringVar(&f.template, "template", "", "`FILE` with a template of the text (text/template of Go)")
	flags.StringVar(&f.secret, "hmac-secret", "", "`FILE` with a secret by which requests must be signed, too")
	flags.BoolVar(&w.Get, "get", false, "a GET sends, too: whatever follows a link may")
	flags.BoolVar(&w.Open, "open", false, "programs for ntfy need no token, but the name of the hook")
	flags.StringSliceVar(&w.OverrideTo, "override-to", nil, "patterns of addresses that programs may ask for instead")
	flags.StringSliceVar(&f.renames, "rename", nil, "THEIRS=OURS: a member of JSON that stands for another (kind apprise)")
	flags.StringVar(&w.NoStore, "no-store", "", "nobody keeps messages up to this level, such as debug")
	flags.BoolVar(&w.Files, "files", false, "send pictures and files behind the text")
}

// fill reads the files, and notes which settings are given.
func (f *hookFlags) fill(cmd *cobra.Command) error {
	for _, one := range []struct {
		file string
		to   *string
		trim bool
	}{{f.template, &f.wish.Template, false}, {f.secret, &f.wish.Secret, true}, {f.token, &f.wish.Token, true}} {
		if one.file == "" {
			continue
		}
		b, err := os.ReadFile(one.file)
		if err != nil {
			return err
		}
		if *one.to = string(b); one.trim {
			*one.to = strings.TrimRight(*one.to, "\r\n")
		}
	}
	for _, r := range f.renames {
		theirs, ours, ok := strings.Cut(r, "=")
		if !ok || theirs == "" || ours == "" {
			return usagef("--rename %s: expected THEIRS=OURS", r)
		}
		if f.wish.Renames == nil {
			f.wish.Renames = map[string]string{}
		}
		f.wish.Renames[theirs] = ours
	}
	cmd.Flags().Visit(func(one *pflag.Flag) {
		field := strings.ReplaceAll(one.Name, "-", "_")
		switch field {
		case "hmac_secret":
			field = "secret"
		case "rename":
			field = "renames"
		}
		f.wish.Fields = append(f.wish.Fields, field)
	})
	return nil
}

func hookAdd(s *settings) *cobra.Command {
	var f hookFlags
	c := &cobra.Command{
		Use:   "add NAME --to ADDRESS[,ADDRESS] {--owner ADDRESS | --as ADDRESS}",
		Short: "make a hook, and print the address at which programs post",
		Long: `Makes a hook and prints its address, which is shown this once: whoever has it can post. What arrives there is sent with
the permissions of the owner, an account here. docs/hooks.md says what to write into which program.`,
		Args: cobra.ExactArgs(1),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			f.wish.Name = args[0]
			if err := f.fill(cmd); err != nil {
				return err
			}
			return s.with(cmd, func(ctx context.Context, c *server.Client) error {
				h, err := c.AddHook(ctx, f.wish)
				if err != nil {
					return err
				}
				return s.hookMade(cmd, h)
			})
		}),
	}
	f.add(c)
	c.Flags().StringVar(&f.wish.Owner, "owner", "", "the account whose permissions count (that of --as)")
	c.Flags().StringVar(&f.token, "from-file", "", "`FILE` with the token, instead of a new one")
	require(c, "to")
	return c
}

// hookMade prints the address of a hook, and beside it what keeps the hook from sending.
func (s *settings) hookMade(cmd *cobra.Command, h admin.HookInfo) error {
	warn(cmd, h)
	if strings.HasPrefix(h.URL, "/") {
		fmt.Fprintln(cmd.ErrOrStderr(), "this is a path: nobody reaches a page of this server; set listen.https, "+
			"or http.url where a proxy has HTTPS")
	}
	return s.print(cmd, h, func(w io.Writer) error {
		_, err := fmt.Fprintln(w, h.URL)
		return err
	})
}

func warn(cmd *cobra.Command, h admin.HookInfo) {
	for _, w := range h.Warnings {
		fmt.Fprintln(cmd.ErrOrStderr(), "warning: "+w)
	}
}

func hookChange(s *settings) *cobra.Command {
	var f hookFlags
	c := &cobra.Command{
		Use: "change NAME", Short: "change what is said of a hook; what is not said stays", Args: cobra.ExactArgs(1),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			f.wish.Name = args[0]
			if err := f.fill(cmd); err != nil {
				return err
			}
			return s.with(cmd, func(ctx context.Context, c *server.Client) error {
				h, err := c.ChangeHook(ctx, f.wish)
				if err != nil {
					return err
				}
				warn(cmd, h)
				return s.done(cmd)
			})
		}),
	}
	f.add(c)
	return c
}

func hookList(s *settings) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "list the hooks: name, kind, owner, recipients", Args: cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			return s.with(cmd, func(ctx context.Context, c *server.Client) error {
				list, err := c.Hooks(ctx)
				if err != nil {
					return err
				}
				return s.print(cmd, orEmpty(list), func(w io.Writer) error {
					for _, h := range list {
						fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", h.Name, h.Kind, h.Owner, strings.Join(h.To, ","))
					}
					return nil
				})
			})
		}),
	}
}

func hookShow(s *settings) *cobra.Command {
	return &cobra.Command{
		Use: "show NAME", Short: "show a hook, and the tokens that open it", Args: cobra.ExactArgs(1),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			return s.with(cmd, func(ctx context.Context, c *server.Client) error {
				h, err := c.Hook(ctx, args[0])
				if err != nil {
					return err
				}
				warn(cmd, h)
				return s.print(cmd, h, func(w io.Writer) error { printHook(w, h); return nil })
			})
		}),
	}
}

func printHook(w io.Writer, h admin.HookInfo) {
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%-12s %s\n", name, value)
		}
	}
	yes := func(b bool) string {
		if b {
			return "yes"
		}
		return ""
	}
	line("name", h.Name)
	line("kind", h.Kind)
	line("owner", h.Owner)
	line("to", strings.Join(h.To, ", "))
	line("as", h.As)
	line("nick", h.Nick)
	line("marks", h.Marks)
	line("subject", yes(h.Subject))
	line("update", h.Update)
	line("events", strings.Join(h.Events, ", "))
	line("signed", yes(h.Signed))
	line("get", yes(h.Get))
	line("open", yes(h.Open))
	line("override-to", strings.Join(h.OverrideTo, ", "))
	var renames []string
	for theirs, ours := range h.Renames {
		renames = append(renames, theirs+"="+ours)
	}
	slices.Sort(renames)
	line("rename", strings.Join(renames, ", "))
	line("no-store", h.NoStore)
	line("files", yes(h.Files))
	line("created", moment(h.Created))
	for _, t := range h.Tokens {
		used := "never used"
		if t.Uses > 0 {
			used = fmt.Sprintf("used %d times, last %s from %s", t.Uses, moment(t.Last), orDash(t.From))
		}
		if !t.Expires.IsZero() {
			used += ", until " + moment(t.Expires)
		}
		line("token", t.ID+", "+used)
	}
	if h.Template != "" {
		fmt.Fprintf(w, "template\n%s\n", strings.TrimRight(h.Template, "\n"))
	}
}

func hookTest(s *settings) *cobra.Command {
	return &cobra.Command{
		Use: "test NAME", Short: "send “hook works” by a hook, and print who got it", Args: cobra.ExactArgs(1),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			return s.withRunning(cmd, func(ctx context.Context, c *server.Client) error {
				r, err := c.TestHook(ctx, args[0])
				if err != nil {
					return err
				}
				err = s.print(cmd, r, func(w io.Writer) error {
					for _, one := range r.Recipients {
						fmt.Fprintf(w, "%s\t%s\t%s\n", one.JID, one.Outcome, orDash(one.Reason))
					}
					return nil
				})
				if err == nil && r.Outcome != "sent" {
					err = errors.New("nobody got it: " + r.Reason)
				}
				return err
			})
		}),
	}
}

func hookRotate(s *settings) *cobra.Command {
	overlap := ""
	c := &cobra.Command{
		Use: "rotate NAME", Short: "make another address for a hook, and print it", Args: cobra.ExactArgs(1),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			d := 24 * time.Hour
			if overlap != "" {
				var err error
				if d, err = config.ParseDuration(overlap); err != nil || d < 0 {
					return usagef("--overlap %s: expected a time such as 24h, or 0", overlap)
				}
			}
			return s.with(cmd, func(ctx context.Context, c *server.Client) error {
				h, err := c.RotateHook(ctx, args[0], d)
				if err != nil {
					return err
				}
				return s.hookMade(cmd, h)
			})
		}),
	}
	c.Flags().StringVar(&overlap, "overlap", "", "how long the address that it had is good, such as 1h or 0 (24h)")
	return c
}

func hookRemove(s *settings) *cobra.Command {
	return &cobra.Command{
		Use: "remove NAME", Short: "remove a hook: its address is good for nothing any more", Args: cobra.ExactArgs(1),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			if err := s.with(cmd, func(ctx context.Context, c *server.Client) error {
				return c.RemoveHook(ctx, args[0])
			}); err != nil {
				return err
			}
			return s.done(cmd)
		}),
	}
}
