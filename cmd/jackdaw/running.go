package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"jackdaw/server"
)

func sessionsCommand(s *settings) *cobra.Command {
	c := &cobra.Command{
		Use: "sessions", Short: "list who is connected: address, state, priority, from where, TLS, client, since, device",
		Long: `List who is connected, a line for each session, with tabs between: address, state, priority, where the client is,
its version of TLS, what it says it is, since when the session lasts, and the id of the device (jackdaw user devices).

The state is available, connected (it has sent no presence) or detached (its connection is gone; it waits to be
resumed). What is not known is -.`,
		Args: cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			return s.withRunning(cmd, func(ctx context.Context, c *server.Client) error {
				list, err := c.Sessions(ctx)
				if err != nil {
					return err
				}
				return s.print(cmd, orEmpty(list), func(w io.Writer) error {
					for _, one := range list {
						fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\n", one.JID, one.State, one.Priority,
							orDash(one.Address), orDash(one.TLS), orDash(printable(one.Client)), moment(one.Since),
							orDash(one.Device))
					}
					return nil
				})
			})
		}),
	}
	c.AddCommand(&cobra.Command{
		Use: "kick JID", Short: "end the sessions of an account, or the one of a full address",
		Args: cobra.ExactArgs(1),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			return s.withRunning(cmd, func(ctx context.Context, c *server.Client) error {
				n, err := c.Kick(ctx, args[0])
				if err != nil {
					return err
				}
				return s.print(cmd, struct {
					Ended int `json:"ended"`
				}{n}, func(io.Writer) error { return nil })
			})
		}),
	})
	return c
}

// moment is a time as tables show it.
func moment(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

// printable keeps what a client says of itself from writing to a terminal more than letters.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

// A warned result is nothing but warnings.
type warned struct {
	Warnings []string `json:"warnings"`
}

// warn prints warnings on standard error, or all of them as JSON.
func (s *settings) warn(cmd *cobra.Command, warnings []string) error {
	return s.print(cmd, warned{orEmpty(warnings)}, func(io.Writer) error {
		for _, w := range warnings {
			fmt.Fprintln(cmd.ErrOrStderr(), "warning: "+w)
		}
		return nil
	})
}

func reloadCommand(s *settings) *cobra.Command {
	dropHost := false
	c := &cobra.Command{
		Use: "reload", Short: "have the running server take up its configuration and certificates anew",
		Long: "Has the running server take up its configuration and certificates anew. If anything is wrong with\n" +
			"them, all stays as it was. So it does when the file no longer names a host that has accounts or\n" +
			"sessions, unless --drop-host says that this is meant.",
		Args: cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			return s.withRunning(cmd, func(ctx context.Context, c *server.Client) error {
				warnings, err := c.Reload(ctx, dropHost)
				if err != nil {
					return err
				}
				return s.warn(cmd, warnings)
			})
		}),
	}
	c.Flags().BoolVar(&dropHost, "drop-host", false,
		"take up a configuration without a host that has accounts or sessions")
	return c
}

func checkCommand(s *settings) *cobra.Command {
	return &cobra.Command{
		Use: "check", Short: "check the configuration and the certificates it names",
		Long: "Checks the configuration and the certificates it names, and creates nothing but an object in a bucket\n" +
			"for files, if there is one, which it removes again. It fails on what a start refuses, and warns of\n" +
			"what the server or its clients will not be content with.",
		Args: cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			cfg, file, err := s.load()
			if err != nil {
				return err
			}
			if err := server.ActAsOwner(cfg.Data); err != nil {
				return err // the certificates must be readable for the server, not for root
			}
			if _, err := server.AccountOptions(cfg, slog.New(slog.DiscardHandler)); err != nil {
				return err
			}
			warnings, err := server.CheckCertificates(cfg, time.Now())
			warnings = slices.Concat(cfg.Warnings, warnings, server.CheckCalls(cmd.Context(), cfg))
			if err == nil {
				var files []string
				files, err = server.CheckFiles(cmd.Context(), cfg)
				warnings = append(warnings, files...)
			}
			if err != nil {
				for _, w := range warnings {
					fmt.Fprintln(cmd.ErrOrStderr(), "warning: "+w)
				}
				return err
			}
			if err := s.warn(cmd, warnings); err != nil || s.json {
				return err
			}
			if file == "" {
				file = "no configuration file: the defaults"
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: good\n", file)
			return nil
		}),
	}
}

// version is set by make build.
var version string

// build returns the version, and the commit if it is known.
func build() (v, commit string) {
	v = version
	if b, ok := debug.ReadBuildInfo(); ok {
		if v == "" {
			v = b.Main.Version
		}
		for _, set := range b.Settings {
			if set.Key == "vcs.revision" {
				commit = set.Value[:min(12, len(set.Value))]
			}
		}
	}
	return v, commit
}

func versionCommand(s *settings) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "print the version, the commit, and the Go it was built with", Args: cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			v, commit := build()
			return s.print(cmd, struct {
				Version string `json:"version"`
				Commit  string `json:"commit"`
				Go      string `json:"go"`
				OS      string `json:"os"`
				Arch    string `json:"arch"`
			}{v, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH}, func(w io.Writer) error {
				if commit != "" {
					commit = ", commit " + commit
				}
				_, err := fmt.Fprintf(w, "jackdaw %s (%s, %s/%s%s)\n", v, runtime.Version(), runtime.GOOS,
					runtime.GOARCH, commit)
				return err
			})
		}),
	}
}
