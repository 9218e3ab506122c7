package main

import (
	"cmp"
	"context"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"jackdaw/sendmail"
)

// sendmailName is the name of a command, and of a link to the program under which it is that command.
const sendmailName = "sendmail"

// byName are the arguments of the program: under the name sendmail, it is the command of that name.
func byName(program string, args []string) []string {
	if filepath.Base(program) == sendmailName {
		return append([]string{sendmailName}, args...)
	}
	return args
}

func sendmailCommand(s *settings) *cobra.Command {
	return &cobra.Command{
		Use:   "sendmail [-t] [-i] [--settings FILE] [--spool DIR] [RECIPIENT...]",
		Short: "post a mail from standard input, as sendmail would send it",
		Long: "Reads a mail from standard input and posts its subject and text. It takes the options with\n" +
			"which cron, smartd and other programs call sendmail, and is what they call under that name:\n" +
			"  ln -s /usr/bin/jackdaw /usr/sbin/sendmail\n\n" +
			"The settings say who gets it (default: " + sendmail.DefaultFile + "), and how it is posted:\n" +
			"  root: admin@im.example.org          # a user here, or an address of mail\n" +
			"  \"*\": ops@rooms.im.example.org       # all others; without it they are unknown\n" +
			"  post:\n" +
			"    url: https://im.example.org       # or unix:PATH; default: as for `jackdaw send`\n" +
			"    token_file: /etc/jackdaw/token    # has a token; not for a socket that knows the user\n" +
			"    spool: /var/spool/jackdaw         # where to keep what cannot be posted now\n" +
			"    nick: db1                         # by which rooms show it\n\n" +
			"Options:\n" +
			"  -t               the recipients are in the mail, too (To, Cc, Bcc)\n" +
			"  -i, -oi          a line with a dot alone does not end the mail\n" +
			"  --settings FILE  instead of the default\n" +
			"  --spool DIR      instead of post.spool\n" +
			"  --flush          post what is in the spool, and no mail\n" +
			"Other options of sendmail are passed over; -bs, -bd and -q are refused.\n\n" +
			"Exit codes: 64 usage, 65 the mail, 67 nobody of that name, 69 settings or permissions,\n" +
			"75 the server is away (what is in the spool is posted by a later call).",
		DisableFlagParsing: true, // its options are those of sendmail
		RunE: func(cmd *cobra.Command, args []string) error {
			call, err := sendmail.ParseCall(args)
			if err != nil {
				return coded{err}
			}
			if call.Help {
				return cmd.Help()
			}
			if err := s.sendmail(cmd.Context(), call, cmd.InOrStdin()); err != nil {
				return coded{err}
			}
			return nil
		},
	}
}

// sendmail does what a call asks for.
func (s *settings) sendmail(ctx context.Context, call sendmail.Call, in io.Reader) error {
	set, err := sendmail.Load(cmp.Or(call.File, sendmail.DefaultFile))
	if err != nil {
		return err
	}
	unavailable := func(err error) error { return &sendmail.Failure{Code: sendmail.ExitUnavailable, Err: err} }
	target, client, err := s.endpoint(set.Post.URL)
	if err != nil {
		return unavailable(err)
	}
	token, err := sendmail.TokenIn(set.Post.TokenFile)
	if err != nil {
		return err
	}
	var spool *sendmail.Spool
	if dir := cmp.Or(call.Spool, set.Post.Spool); dir != "" {
		spool = &sendmail.Spool{Dir: dir}
	}
	var letters []sendmail.Letter
	if !call.Flush {
		mail, err := sendmail.Read(in, call.Dots)
		if err != nil {
			return err
		}
		addresses := call.Recipients
		if call.FromHeader {
			addresses = append(addresses, mail.To...)
		}
		hosts := []string{"localhost"}
		if name, err := os.Hostname(); err == nil {
			hosts = append(hosts, name)
		}
		to, err := set.Route(addresses, hosts)
		if err != nil {
			return err
		}
		letters = sendmail.Letters(mail, to, set.Post.Nick)
	}
	return sendmail.Send(ctx, &sendmail.Poster{Client: client, URL: target, Token: token}, spool, letters)
}

// coded is an error of a command with exit codes of its own.
type coded struct{ error }

func (c coded) code() int { return sendmail.Code(c.error) }
