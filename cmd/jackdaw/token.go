package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"jackdaw/admin"
	"jackdaw/config"
	"jackdaw/router/tokens"
	"jackdaw/server"
)

func tokenCommand(s *settings) *cobra.Command {
	return group("token", "tokens, by which programs post without the password of an account",
		tokenAdd(s), tokenList(s), tokenRevoke(s), tokenRotate(s), tokenGenerate(s))
}

// A tokenFile is where a token is that was made before.
type tokenFile string

func (f *tokenFile) flags(c *cobra.Command, name, what string) {
	c.Flags().StringVar((*string)(f), name, "", what)
}

// fromFile is what commands say that take one which "jackdaw token generate" has made.
const fromFile = "take the token that is in `FILE`, which \"jackdaw token generate\" has made; - is standard input"

// read returns the token, "" if none was made before.
func (f tokenFile) read(cmd *cobra.Command) (string, error) {
	if f == "" {
		return "", nil
	}
	in := cmd.InOrStdin()
	if f != "-" {
		file, err := os.Open(string(f))
		if err != nil {
			return "", fmt.Errorf("read the token: %w", err)
		}
		defer file.Close()
		in = file
	}
	b, err := io.ReadAll(io.LimitReader(in, 1<<10))
	if err != nil {
		return "", fmt.Errorf("read the token: %w", err)
	}
	secret := strings.TrimSpace(string(b))
	if _, ok := tokens.KindOf(secret); !ok {
		return "", fmt.Errorf("in %s: %w", f, tokens.ErrMalformed)
	}
	return secret, nil
}

func tokenAdd(s *settings) *cobra.Command {
	var w admin.TokenWish
	var to []string
	var file tokenFile
	expires := ""
	c := &cobra.Command{
		Use: "add JID", Short: "make a token that acts as an account, and print it",
		Long: `Makes a token that acts as an account, and prints it alone on a line, this once. A program shows it in place of the
password when it posts over HTTP; it is never good for a login with XMPP.

It may do what its scopes say, and no more than the account may at that time:
  send                    post to everybody but the rooms of this server
  send:to=PATTERN         post to addresses that match, rooms among them; the same as --to PATTERN
  muc                     post to the rooms of this server
  multicast               address more than one of those at once
  forge_sender[=PATTERN]  write in another's name, or in those that match
  gateway                 post by the gateway, too
  hook:NAME               post to a hook of the account
Without --scope and --to it is send.`,
		Example: "  jackdaw token add build@example.org --label ci --to 'team@conference.example.org' --cidr 192.0.2.0/24",
		Args:    cobra.ExactArgs(1),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			user, err := bareJID(args[0])
			if err != nil {
				return err
			}
			w.JID = user
			if expires == "never" {
				w.Life = -1
			} else if expires != "" {
				d, err := config.ParseDuration(expires)
				if err != nil || d < time.Minute || d > 10*365*24*time.Hour {
					return usagef("--expires %s: expected 1m to 3650d, or never", expires)
				}
				w.Life = d
			}
			for _, one := range to {
				w.Scopes = append(w.Scopes, string(tokens.ScopeSendTo)+one)
			}
			if len(w.Scopes) == 0 {
				w.Scopes = []string{string(tokens.ScopeSend)}
			}
			if _, err := tokens.ParseScopes(w.Scopes...); err != nil {
				return usagef("%v", err)
			}
			if w.Secret, err = file.read(cmd); err != nil {
				return err
			}
			return s.with(cmd, func(ctx context.Context, c *server.Client) error {
				t, err := c.AddToken(ctx, w)
				if err != nil {
					return err
				}
				return s.madeToken(cmd, t, file != "")
			})
		}),
	}
	f := c.Flags()
	f.StringArrayVar(&w.Scopes, "scope", nil, "what it may do, a `SCOPE`; may be given more than once")
	f.StringArrayVar(&to, "to", nil, "addresses that it may post to, a `PATTERN`; may be given more than once")
	f.StringSliceVar(&w.CIDRs, "cidr", nil, "where it may be used, a `NETWORK`; may be given more than once (everywhere)")
	f.StringVar(&expires, "expires", "", "how long it is good, such as 36h or 90d, or never (365d)")
	f.StringVar(&w.Label, "label", "", "what it is for, a `TEXT`")
	f.StringVar(&w.Rate, "rate", "", "how often it may be used, such as 1/s, 10/m, 5/h (1/s)")
	f.IntVar(&w.Burst, "burst", 0, "how often at once (60)")
	f.IntVar(&w.MaxBytes, "max-bytes", 0, "how large a request may be (http.max_body)")
	file.flags(c, "from-file", fromFile)
	return c
}

// madeToken prints a token that was made, itself only where nobody has it.
func (s *settings) madeToken(cmd *cobra.Command, t admin.TokenInfo, known bool) error {
	if known {
		t.Token = ""
	}
	return s.print(cmd, t, func(w io.Writer) error {
		until := "it does not expire"
		if !t.Expires.IsZero() {
			until = "good until " + moment(t.Expires)
		}
		if !t.OldUntil.IsZero() {
			until += "; the one before until " + moment(t.OldUntil)
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "%s; to take it back: jackdaw token revoke %s\n", until, t.ID)
		if known {
			return nil
		}
		_, err := fmt.Fprintln(w, t.Token)
		return err
	})
}

func tokenList(s *settings) *cobra.Command {
	return &cobra.Command{
		Use:   "list [JID]",
		Short: "list tokens: id, account, kind, state, uses, last use and from where, expiry, scopes, label",
		Long: `Lists the tokens of an account, or of all, a line for each, with tabs between: id, account, kind (account, hook), state
(good, expired, replaced), how often it was used, when last (to the minute, and up to five minutes behind after a crash)
and from where, when it expires, scopes, label. What is not known is -.`,
		Args: cobra.MaximumNArgs(1),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			user := ""
			if len(args) > 0 {
				var err error
				if user, err = bareJID(args[0]); err != nil {
					return err
				}
			}
			return s.with(cmd, func(ctx context.Context, c *server.Client) error {
				list, err := c.Tokens(ctx, user)
				if err != nil {
					return err
				}
				return s.print(cmd, orEmpty(list), func(w io.Writer) error {
					for _, t := range list {
						fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\n", t.ID, t.JID, t.Kind, tokenState(t), t.Uses,
							moment(t.Last), orDash(t.From), moment(t.Expires), orDash(printable(strings.Join(t.Scopes, " "))),
							orDash(printable(t.Label)))
					}
					return nil
				})
			})
		}),
	}
}

func tokenState(t admin.TokenInfo) string {
	switch {
	case t.Expired:
		return "expired"
	case t.Replaced != "":
		return "replaced"
	}
	return "good"
}

func tokenRevoke(s *settings) *cobra.Command {
	all := ""
	c := &cobra.Command{
		Use: "revoke {ID... | --all JID}", Short: "end tokens: they are refused from the next request on",
		RunE: action(func(cmd *cobra.Command, args []string) error {
			if (all == "") == (len(args) == 0) {
				return usagef("which? Give ids, which \"jackdaw token list\" shows, or --all JID")
			}
			n := len(args)
			err := s.with(cmd, func(ctx context.Context, c *server.Client) (err error) {
				for _, id := range args {
					if err := c.RevokeToken(ctx, id); err != nil {
						return err
					}
				}
				if all != "" {
					n, err = c.RevokeTokens(ctx, all)
				}
				return err
			})
			if err != nil {
				return err
			}
			return s.print(cmd, struct {
				Revoked int `json:"revoked"`
			}{n}, func(io.Writer) error { return nil })
		}),
	}
	c.Flags().StringVar(&all, "all", "", "all that act as the account `JID`")
	return c
}

func tokenRotate(s *settings) *cobra.Command {
	var file tokenFile
	overlap := "24h"
	c := &cobra.Command{
		Use: "rotate ID", Short: "make a token in place of another, and print it",
		Long: `Makes a token like another, and prints it alone on a line, this once. The other is good for the overlap, so that
programs can be given the new one meanwhile. What is made lives as long as the other was to live when it was made.`,
		Args: cobra.ExactArgs(1),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			d, err := config.ParseDuration(overlap)
			if err != nil || d < 0 || d > 90*24*time.Hour {
				return usagef("--overlap %s: expected 0 to 90d", overlap)
			}
			secret, err := file.read(cmd)
			if err != nil {
				return err
			}
			return s.with(cmd, func(ctx context.Context, c *server.Client) error {
				t, err := c.RotateToken(ctx, args[0], d, secret)
				if err != nil {
					return err
				}
				return s.madeToken(cmd, t, file != "")
			})
		}),
	}
	c.Flags().StringVar(&overlap, "overlap", overlap, "how long the one before is good, such as 36h or 7d; 0: no longer")
	file.flags(c, "from-file", fromFile)
	return c
}

func tokenGenerate(s *settings) *cobra.Command {
	return &cobra.Command{
		Use: "generate", Short: "print a token that nobody knows yet, for --from-file",
		Long: `Prints a token that nobody knows yet, alone on a line. It needs no server: "jackdaw token add --from-file" makes it
one of an account, also on several servers.`,
		Args: cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			secret := tokens.Generate(tokens.KindAccount)
			return s.print(cmd, struct {
				Token string `json:"token"`
			}{secret}, func(w io.Writer) error {
				_, err := fmt.Fprintln(w, secret)
				return err
			})
		}),
	}
}
