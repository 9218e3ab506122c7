// Command jackdaw is the XMPP server and all that an administrator does with it
// on a command line. `jackdaw help` lists the commands.
//
// Here are flags, prompts and exit codes, and nothing else: what a command does
// to accounts or sessions is package server's, and runs in the server
// where one is running, else on the store itself.
//
// With --json they print JSON. Commands that only read create nothing; run as root, all but serve and send act as the
// owner of the data directory.
//
// Exit codes: 0 done, 1 it failed (one line on standard error says what and what to do), 2 wrong
// usage; those of sendmail are its own.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"jackdaw/config"
	"jackdaw/server"
)

func main() {
	os.Exit(run(byName(os.Args[0], os.Args[1:]), os.Stdin, os.Stdout, os.Stderr))
}

// A failure is an error of what a command does; every other error is wrong usage.
type failure struct{ error }

func (f failure) Unwrap() error { return f.error }

// errUsage marks wrong usage that a command finds out itself.
var errUsage = errors.New("wrong usage")

func usagef(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errUsage, fmt.Sprintf(format, args...))
}

func run(args []string, in io.Reader, out, errOut io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	cmd, err := root.ExecuteC()
	if err == nil {
		return 0
	}
	fmt.Fprintln(errOut, "jackdaw: "+err.Error())
	var f failure
	var c coded
	switch {
	case errors.As(err, &c):
		return c.code()
	case errors.As(err, &f):
		return 1
	}
	fmt.Fprintf(errOut, "See %s --help\n", cmd.CommandPath())
	return 2
}

// settings are the flags that every command takes.
type settings struct {
	file, data string
	json       bool // for programs, not for people
}

func newRoot() *cobra.Command {
	s := &settings{}
	root := &cobra.Command{
		Use:           "jackdaw",
		Short:         "XMPP server that also posts messages over HTTP",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.PersistentFlags().StringVar(&s.file, "config", "",
		"configuration `FILE` (default: jackdaw.yaml here, else /etc/jackdaw/jackdaw.yaml, else the defaults)")
	root.PersistentFlags().StringVar(&s.data, "data", "", "data `DIR`, instead of what the configuration says")
	root.PersistentFlags().BoolVar(&s.json, "json", false, "print JSON, for programs")
	root.AddCommand(
		serveCommand(s),
		setupCommand(s),
		checkCommand(s),
		doctorCommand(s),
		reloadCommand(s),
		userCommand(s),
		apiAccountCommand(s),
		inviteCommand(s),
		tokenCommand(s),
		hookCommand(s),
		botCommand(s),
		sendCommand(s),
		sendmailCommand(s),
		announceCommand(s),
		sessionsCommand(s),
		nodesCommand(s),
		clusterCommand(s),
		s2sCommand(s),
		roomsCommand(s),
		uploadsCommand(s),
		exportCommand(s),
		importCommand(s),
		backupCommand(s),
		restoreCommand(s),
		verifyCommand(s),
		versionCommand(s),
	)
	addPackaging(root)
	return root
}

// action makes a RunE whose errors are failures, except those that wrap errUsage.
func action(f func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		err := f(cmd, args)
		if err == nil || errors.Is(err, errUsage) {
			return err
		}
		return failure{err}
	}
}

// group is a command that only has others.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use: use, Short: short,
		Args: cobra.ArbitraryArgs, // so that RunE can say what is wrong
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("%s has no command %q", cmd.CommandPath(), args[0])
			}
			return usagef("%s needs a command", cmd.CommandPath())
		},
	}
	c.AddCommand(commands...)
	return c
}

// find returns the configuration file to use, "" for none.
func (s *settings) find() string {
	if s.file != "" {
		return s.file
	}
	for _, name := range []string{"jackdaw.yaml", "/etc/jackdaw/jackdaw.yaml"} {
		if _, err := os.Stat(name); !errors.Is(err, os.ErrNotExist) {
			return name // one that cannot be read is reported, not passed over
		}
	}
	return ""
}

// load reads the configuration, and returns the file it came from, "" for none.
func (s *settings) load() (*config.Config, string, error) {
	file := s.find()
	cfg := config.Default()
	if file != "" {
		var err error
		if cfg, err = config.Load(file); err != nil {
			return nil, file, err
		}
	}
	if s.data != "" {
		cfg.Data = s.data
	}
	return cfg, file, nil
}

// print writes what a command has found out, as JSON or by human.
func (s *settings) print(cmd *cobra.Command, v any, human func(w io.Writer) error) error {
	if !s.json {
		return human(cmd.OutOrStdout())
	}
	e := json.NewEncoder(cmd.OutOrStdout())
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// done is print for a command that has changed something and has nothing to show: an empty object.
func (s *settings) done(cmd *cobra.Command) error {
	return s.print(cmd, struct{}{}, func(io.Writer) error { return nil })
}

// with runs f with the operations of the running server, or of the store if none runs. It creates no store.
func (s *settings) with(cmd *cobra.Command, f func(context.Context, *server.Client) error) error {
	return s.client(cmd, false, f)
}

// creating is with for what may be the first to be stored.
func (s *settings) creating(cmd *cobra.Command, f func(context.Context, *server.Client) error) error {
	return s.client(cmd, true, f)
}

func (s *settings) client(cmd *cobra.Command, create bool, f func(context.Context, *server.Client) error) error {
	cfg, err := s.prepare()
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	c, err := server.Dial(ctx, cfg.Data, func(ctx context.Context) (*server.Control, func() error, error) {
		if _, there := server.OwnerOf(cfg.Data); !there && create && os.Geteuid() == 0 {
			fmt.Fprintf(cmd.ErrOrStderr(), "warning: %s is made by root; give it to the server's user (chown -R) before "+
				"that starts\n", cfg.Data)
		}
		return server.OpenControl(ctx, cfg, create)
	})
	if err != nil {
		return err
	}
	// What f acknowledged is durable already, but a store that does not close
	// well is worth a line.
	return errors.Join(f(ctx, c), c.Close())
}

// prepare reads the configuration, and gives root's rights up for those of the owner of the data.
func (s *settings) prepare() (*config.Config, error) {
	cfg, _, err := s.load()
	if err != nil {
		return nil, err
	}
	return cfg, server.ActAsOwner(cfg.Data)
}

// withRunning is with for what only a running server can do.
func (s *settings) withRunning(cmd *cobra.Command, f func(context.Context, *server.Client) error) error {
	cfg, err := s.prepare()
	if err != nil {
		return err
	}
	c, err := server.Dial(cmd.Context(), cfg.Data, nil)
	if err != nil {
		return err
	}
	return errors.Join(f(cmd.Context(), c), c.Close())
}

// require marks a flag that the command does not run without. It panics when
// the command has no such flag.
func require(c *cobra.Command, flag string) *cobra.Command {
	if err := c.MarkFlagRequired(flag); err != nil {
		panic(err)
	}
	return c
}
