package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"jackdaw/server"
)

func verifyCommand(s *settings) *cobra.Command {
	from := ""
	c := &cobra.Command{
		Use: "verify", Short: "read everything that the embedded store keeps and say what is damaged",
		Long: "Reads everything that the embedded store keeps, and the files that users have uploaded, compares it\n" +
			"with its checksums, and follows what refers to something else. It prints a line for each thing that\n" +
			"is damaged, and then exits with 1. It changes nothing. The server must not be running.",
		Args: cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			cfg, err := s.prepare()
			if err != nil {
				return err
			}
			verify := func() ([]string, error) { return server.Verify(cfg) }
			if from != "" {
				verify = func() ([]string, error) { return verifyBackup(from) }
			}
			problems, err := verify()
			if err != nil {
				return err
			}
			err = s.print(cmd, struct {
				Damaged []string `json:"damaged"`
			}{orEmpty(problems)}, func(w io.Writer) error {
				if len(problems) == 0 {
					_, err := fmt.Fprintln(w, "all that is kept is whole")
					return err
				}
				_, err := fmt.Fprintln(w, strings.Join(problems, "\n"))
				return err
			})
			if n := len(problems); n > 0 {
				return fmt.Errorf("%d damaged; see to the disk and restore the data directory from a backup", n)
			}
			return err
		}),
	}
	c.Flags().StringVar(&from, "backup", "", "read a backup instead: the newest in `DIR`, or DIR itself")
	return c
}
