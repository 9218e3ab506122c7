package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"jackdaw/config"
	"jackdaw/server"
)

func serveCommand(s *settings) *cobra.Command {
	return &cobra.Command{
		Use: "serve", Short: "run the server in the foreground",
		Long: "Runs the server in the foreground. It prints `jackdaw: ready` on standard error when every\n" +
			"listener accepts. SIGTERM and SIGINT drain and stop it (a second one stops it at once), SIGHUP\n" +
			"has it take up its configuration and certificates anew. Where systemd waits for it (Type=notify),\n" +
			"it is told.",
		Args: cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			cfg, file, err := s.load()
			if err != nil {
				return err
			}
			level := new(slog.LevelVar)
			log := slog.New(logHandler(cmd.ErrOrStderr(), cfg.Log, level))
			ctx, cancel := context.WithCancel(cmd.Context())
			defer cancel()
			defer watchSignals(cancel, log)()
			version, commit := build()
			return server.Run(ctx, cfg, server.RunOptions{
				ConfigPath: file,
				Version:    version,
				Commit:     commit,
				Stderr:     cmd.ErrOrStderr(),
				Log:        log,
				Level:      level,
				Ready:      func() { notify(log, "READY=1") },
				Load: func() (*config.Config, error) {
					cfg, _, err := s.load()
					return cfg, err
				},
			})
		}),
	}
}

// logHandler sets the level, which may be changed later.
func logHandler(w io.Writer, l config.Log, level *slog.LevelVar) slog.Handler {
	if err := level.UnmarshalText([]byte(l.Level)); err != nil {
		level.Set(slog.LevelInfo) // the configuration was checked
	}
	o := &slog.HandlerOptions{Level: level}
	if l.Format == "json" {
		return slog.NewJSONHandler(w, o)
	}
	return slog.NewTextHandler(w, o)
}

// watchSignals cancels on the first SIGTERM or SIGINT and ends the process on
// the second. SIGHUP is the server's own.
func watchSignals(cancel func(), log *slog.Logger) (stop func()) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	done := make(chan struct{})
	go func() {
		for stopping := false; ; stopping = true {
			select {
			case <-done:
				return
			case s := <-signals:
				if stopping {
					log.Warn("stopped at once", "signal", s.String())
					os.Exit(1)
				}
				cancel()
			}
		}
	}()
	return func() {
		signal.Stop(signals)
		close(done)
	}
}
