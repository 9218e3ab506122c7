package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"jackdaw/config"
	"jackdaw/server"
	"jackdaw/server/backup"
)

func backupCommand(s *settings) *cobra.Command {
	keep := 0
	c := &cobra.Command{
		Use: "backup DIR", Short: "copy all that is kept, also while the server runs",
		Long: `Copy all that is in the data directory into a new folder of DIR, which is named by the moment up to which it has
everything that was acknowledged. The server may run. What has not changed since the last backup in DIR takes no room a
second time: it is a hard link. The folder appears when all of it is on the disk; a backup that is cut off leaves those
before it as they are.

With Redis this is the certificates and the files of users alone: use Redis' own means for the rest. Files of users that
lie in a bucket (modules.upload.s3) are not in it.`,
		Args: cobra.ExactArgs(1),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			if keep < 0 {
				return usagef("--keep takes a number of backups, 0 for all")
			}
			dir, err := s.backups(args[0])
			if err != nil {
				return err
			}
			return s.with(cmd, func(ctx context.Context, c *server.Client) error {
				v, _ := build()
				g, copied, linked, err := c.Backup(ctx, dir, v, keep)
				if g == nil {
					return fmt.Errorf("make a backup in %s: %w", dir, err)
				}
				if g.Engine == config.EngineRedis {
					fmt.Fprintln(cmd.ErrOrStderr(), "warning: what Redis holds is not in this backup; save its append-only file "+
						"or a snapshot (redis-cli --rdb FILE) at the same time")
				}
				if err := s.sayBucket(cmd); err != nil {
					return err
				}
				return errors.Join(err, s.print(cmd, struct {
					Directory string    `json:"directory"`
					Until     time.Time `json:"until"`
					Files     int       `json:"files"`
					Copied    int64     `json:"copied"`
					Linked    int64     `json:"linked"`
				}{g.Dir, g.Until, len(g.Files), copied, linked}, func(w io.Writer) error {
					_, err := fmt.Fprintf(w, "%s has all that was acknowledged before %s: %d files, %.1f MiB copied, "+
						"%.1f MiB as in the backup before\n", g.Dir, moment(g.Until), len(g.Files), mebibytes(copied), mebibytes(linked))
					return err
				}))
			})
		}),
	}
	c.Flags().IntVar(&keep, "keep", 0, "remove the oldest backups in DIR, so that `N` are left; 0 keeps all")
	return c
}

// sayBucket warns of files that no backup has.
func (s *settings) sayBucket(cmd *cobra.Command) error {
	cfg, _, err := s.load()
	if err == nil && cfg.Modules.Upload.S3.On() {
		fmt.Fprintln(cmd.ErrOrStderr(), "warning: the files of users are in a bucket, and not in this backup; have the "+
			"object store replicate the bucket, or copy it (`rclone sync`)")
	}
	return err
}

func mebibytes(n int64) float64 { return float64(n) / (1 << 20) }

// backups returns the whole path of a directory for backups. As root it makes it for the owner of the data, as whom the
// command goes on.
func (s *settings) backups(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil || os.Geteuid() != 0 {
		return dir, err
	}
	cfg, _, err := s.load()
	if err != nil {
		return "", err
	}
	owner, ok := server.OwnerOf(cfg.Data)
	if _, err := os.Stat(dir); !ok || !errors.Is(err, os.ErrNotExist) {
		return dir, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	return dir, os.Chown(dir, owner.UID, owner.GID)
}

func restoreCommand(s *settings) *cobra.Command {
	return &cobra.Command{
		Use: "restore DIR", Short: "put a backup into the data directory, which must be empty",
		Long: `Put a backup into the data directory, which must be empty or not there: the newest in DIR, or the one that DIR
itself is. Each file is compared with its checksum. Nothing is overwritten; the server must not be running.`,
		Args: cobra.ExactArgs(1),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			cfg, err := s.prepare()
			if err != nil {
				return err
			}
			g, err := server.Restore(cfg, args[0])
			if err != nil {
				return err
			}
			if os.Geteuid() == 0 {
				fmt.Fprintf(cmd.ErrOrStderr(), "warning: %s is root's now; give it to the server's user (chown -R) before that "+
					"starts\n", cfg.Data)
			}
			if g.Engine == config.EngineRedis {
				fmt.Fprintln(cmd.ErrOrStderr(), "warning: the backup has certificates and files alone; what Redis held comes back "+
					"by Redis' own means")
			}
			return s.print(cmd, struct {
				Directory string    `json:"directory"`
				Until     time.Time `json:"until"`
				Files     int       `json:"files"`
			}{g.Dir, g.Until, len(g.Files)}, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "%s is restored from %s: all that was acknowledged before %s. Start the server, with the "+
					"configuration of then\n", cfg.Data, g.Dir, moment(g.Until))
				return err
			})
		}),
	}
}

// verifyBackup compares a backup with its checksums.
func verifyBackup(dir string) ([]string, error) {
	g, err := backup.Open(dir)
	if err != nil {
		return nil, err
	}
	return g.Verify(), nil
}
