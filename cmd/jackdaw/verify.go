package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"jackdaw/server"
)

func verifyCommand(s *settings) *cobra.Command {
	return &cobra.Command{
		Use: "verify", Short: "read everything that the embedded store keeps and say what is damaged",
		Long: "Reads everything that the embedded store keeps and compares it with its checksums. It prints a\n" +
			"line for each thing that is damaged, and then exits with 1. It changes nothing. The server must\n" +
			"not be running.",
		Args: cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			cfg, _, err := s.load()
			if err != nil {
				return err
			}
			problems, err := server.Verify(cfg)
			if err != nil {
				return err
			}
			for _, p := range problems {
				fmt.Fprintln(cmd.OutOrStdout(), p)
			}
			if n := len(problems); n > 0 {
				return fmt.Errorf("%d damaged; see to the disk and restore the data directory from a backup", n)
			}
			fmt.Fprintln(cmd.OutOrStdout(), "all that is kept is whole")
			return nil
		}),
	}
}
