//go:build packaging

package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// addPackaging adds a hidden command for `make deb`, which the server's binary has not: the library behind it would
// be linked in for nothing.
func addPackaging(root *cobra.Command) {
	root.AddCommand(&cobra.Command{
		Use: "package-files DIR", Short: "write man pages and completions, as below /usr/share",
		Args: cobra.ExactArgs(1), Hidden: true,
		RunE: action(func(_ *cobra.Command, args []string) error { return packageFiles(root, args[0]) }),
	})
}

func packageFiles(root *cobra.Command, dir string) error {
	man := filepath.Join(dir, "man/man1")
	completions := map[string]func(file string) error{
		"bash-completion/completions/jackdaw": func(file string) error {
			return root.GenBashCompletionFileV2(file, true)
		},
		"zsh/vendor-completions/_jackdaw":        root.GenZshCompletionFile,
		"fish/vendor_completions.d/jackdaw.fish": func(file string) error { return root.GenFishCompletionFile(file, true) },
	}
	for name, write := range completions {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := write(file); err != nil {
			return fmt.Errorf("write %s: %w", file, err)
		}
	}
	if err := os.MkdirAll(man, 0o755); err != nil {
		return err
	}
	root.DisableAutoGenTag = true // which names the day of the build
	return doc.GenManTree(root, &doc.GenManHeader{Section: "1", Source: "jackdaw", Manual: "jackdaw"}, man)
}
