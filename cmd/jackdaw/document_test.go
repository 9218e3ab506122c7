package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func TestTheDocumentNamesEveryCommandAndFlag(t *testing.T) {
	b, err := os.ReadFile("../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	root := newRoot()
	root.InitDefaultHelpCmd()
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		name := strings.TrimPrefix(c.CommandPath(), "jackdaw ")
		if c.Runnable() && !c.HasSubCommands() && c.Name() != "help" && !strings.Contains(text, "`"+name) {
			t.Errorf("docs/cli.md does not name `%s`", name)
		}
		for _, flag := range regexp.MustCompile(`--[a-z-]+`).FindAllString(c.LocalFlags().FlagUsages(), -1) {
			if flag != "--help" && !strings.Contains(text, flag) {
				t.Errorf("docs/cli.md does not name %s of `%s`", flag, name)
			}
		}
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	visit(root)
}

func TestVerifyPrintsJSONForPrograms(t *testing.T) {
	s := newShell(t)
	s.do("", "user", "add", "romeo@localhost", "--generate")
	if got, want := s.do("", "verify", "--json"), "{\n  \"damaged\": []\n}\n"; got != want {
		t.Errorf("printed %q, want %q", got, want)
	}
}
