package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"jackdaw/server"
)

func sessionsCommand(s *settings) *cobra.Command {
	c := &cobra.Command{
		Use: "sessions", Short: "list who is connected: address, state, priority",
		Args: cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			return s.withRunning(cmd, func(ctx context.Context, c *server.Client) error {
				list, err := c.Sessions(ctx)
				for _, one := range list {
					state := "connected"
					switch {
					case one.Detached:
						state = "detached" // XEP-0198: waits to be resumed
					case one.Available:
						state = "available"
					}
					fmt.Fprintf(cmd.OutOrStdout(), "%s\t%s\t%d\n", one.JID, state, one.Priority)
				}
				return err
			})
		}),
	}
	c.AddCommand(&cobra.Command{
		Use: "kick JID", Short: "end the sessions of an account, or the one of a full address",
		Args: cobra.ExactArgs(1),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			return s.withRunning(cmd, func(ctx context.Context, c *server.Client) error {
				_, err := c.Kick(ctx, args[0])
				return err
			})
		}),
	})
	return c
}

func reloadCommand(s *settings) *cobra.Command {
	return &cobra.Command{
		Use: "reload", Short: "have the running server take up its configuration and certificates anew",
		Args: cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			return s.withRunning(cmd, func(ctx context.Context, c *server.Client) error {
				warnings, err := c.Reload(ctx)
				for _, w := range warnings {
					fmt.Fprintln(cmd.ErrOrStderr(), "warning: "+w)
				}
				return err
			})
		}),
	}
}

func checkCommand(s *settings) *cobra.Command {
	return &cobra.Command{
		Use: "check", Short: "check the configuration and the certificates it names",
		Args: cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			cfg, file, err := s.load()
			if err != nil {
				return err
			}
			for _, w := range cfg.Warnings {
				fmt.Fprintln(cmd.ErrOrStderr(), "warning: "+w)
			}
			if err := server.CheckCertificates(cfg, time.Now()); err != nil {
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

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "print the version", Args: cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) {
			v, commit := build()
			if commit != "" {
				commit = ", commit " + commit
			}
			fmt.Fprintf(cmd.OutOrStdout(), "jackdaw %s (%s, %s/%s%s)\n", v, runtime.Version(), runtime.GOOS, runtime.GOARCH, commit)
		},
	}
}
