package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// A passwordSource is how a command comes by a password: never from its arguments, which
// every user of the machine can see.
type passwordSource struct {
	stdin, generate bool
}

func (p *passwordSource) flags(c *cobra.Command, generate bool) {
	c.Flags().BoolVar(&p.stdin, "password-stdin", false, "read the password from standard input")
	if generate {
		c.Flags().BoolVar(&p.generate, "generate", false, "make a random password and print it")
		c.MarkFlagsMutuallyExclusive("password-stdin", "generate")
	}
}

// maxPassword bounds what is read; the accounts refuse far shorter ones already.
const maxPassword = 64 << 10

// get returns a new password for whom.
func (p *passwordSource) get(cmd *cobra.Command, whom string) (string, error) {
	switch {
	case p.generate:
		return rand.Text(), nil
	case p.stdin:
		return readPassword(cmd.InOrStdin())
	}
	password, err := ask(cmd, "New password of "+whom+": ")
	if err != nil {
		return "", err
	}
	again, err := ask(cmd, "Once more: ")
	if err != nil {
		return "", err
	}
	if password != again {
		return "", errors.New("the two are not the same; nothing was changed")
	}
	return password, nil
}

// shown prints a generated password, alone on a line.
func (p *passwordSource) shown(s *settings, cmd *cobra.Command, password string) error {
	if !p.generate {
		return s.done(cmd)
	}
	return s.print(cmd, struct {
		Password string `json:"password"`
	}{password}, func(w io.Writer) error {
		_, err := fmt.Fprintln(w, password)
		return err
	})
}

// readPassword takes all of r but the end of its last line.
func readPassword(r io.Reader) (string, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxPassword))
	if err != nil {
		return "", fmt.Errorf("read the password: %w", err)
	}
	password := strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	if password == "" {
		return "", usagef("standard input holds no password")
	}
	return password, nil
}

// ask reads a password from the terminal without showing it.
func ask(cmd *cobra.Command, prompt string) (string, error) {
	in, ok := cmd.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return "", usagef("standard input is no terminal to ask for a password on; see the flags for other ways")
	}
	fmt.Fprint(cmd.ErrOrStderr(), prompt)
	b, err := term.ReadPassword(int(in.Fd()))
	fmt.Fprintln(cmd.ErrOrStderr())
	if err != nil {
		return "", fmt.Errorf("read the password: %w", err)
	}
	return string(b), nil
}

// isTerminal says whether somebody watches what is written there.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
