package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"jackdaw/portable"
	"jackdaw/server"
)

func exportCommand(s *settings) *cobra.Command {
	var only []string
	c := &cobra.Command{
		Use: "export [FILE]", Short: "write accounts with all that is kept of them, for another server (XEP-0227)",
		Long: `Write accounts with all that is kept of them in the format of XEP-0227: keys of passwords, contacts, vCards,
messages that wait, block lists, private data, nodes of personal eventing, archives; and rooms. Without FILE it goes to
standard output. The server may run: of each account the export has all that was acknowledged before its turn came.

The file holds what nobody else may read. It is made with the mode 0600, and only when all of it is there.`,
		Args: cobra.MaximumNArgs(1),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			bar := newTicker(cmd.ErrOrStderr(), nil)
			do := func(out io.Writer) error {
				return s.with(cmd, func(ctx context.Context, c *server.Client) error {
					return c.Export(ctx, only, out, bar.show)
				})
			}
			if len(args) == 0 || args[0] == "-" {
				err := do(cmd.OutOrStdout())
				bar.clear()
				return err
			}
			if os.Geteuid() == 0 {
				do = func(out io.Writer) error { return s.exportAsOwner(cmd, only, out) }
			}
			err := whole(args[0], do)
			if bar.clear(); err != nil {
				return err
			}
			return s.print(cmd, struct{}{}, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "the accounts are in %s\n", args[0])
				return err
			})
		}),
	}
	c.Flags().StringArrayVar(&only, "only", nil, "only this account or domain (`NAME`); may be repeated")
	return c
}

// exportAsOwner has another process read the store, which gives the rights of root up for those of the owner of the
// data directory: the owner may not write where root wants the file.
func (s *settings) exportAsOwner(cmd *cobra.Command, only []string, out io.Writer) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	args := []string{"export"}
	for flag, value := range map[string]string{"config": s.file, "data": s.data} {
		if value != "" {
			args = append(args, "--"+flag+"="+value)
		}
	}
	for _, name := range only {
		args = append(args, "--only="+name)
	}
	child := exec.CommandContext(cmd.Context(), self, args...)
	child.Stdout, child.Stderr = out, cmd.ErrOrStderr()
	if err := child.Run(); err != nil {
		return errors.New("the export did not come to its end: see above")
	}
	return nil
}

// whole has a file written that appears under its name when it is complete, and is there for its owner alone.
func whole(name string, write func(io.Writer) error) (err error) {
	if _, err := os.Lstat(name); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s is there already: remove it, or choose another name", name)
	}
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if err = write(f); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

func importCommand(s *settings) *cobra.Command {
	var from string
	var dry, plain bool
	c := &cobra.Command{
		Use: "import FILE", Short: "take over accounts with all that is kept of them from another server",
		Long: `Take over accounts from an export in the format of XEP-0227, of this server or another, or from what another
server keeps. What is here already stays as it is, so an import that was cut off can be run again. An account can be
logged in to when all of it has come. At the end it says what came, and what could not and why.

FILE is - for standard input. What it is, --from says:

  xep0227    a file, or the first of several that include each other (the default)
  ejabberd   what ejabberdctl dump has written; or, without nodes, history and rooms, the first file of what
             ejabberdctl export_piefxis has
  prosody    not a file, but the data directory of Prosody or Snikket, with internal storage: /var/lib/prosody`,
		Args: cobra.ExactArgs(1),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			source, size, err := open(from, args[0], cmd.InOrStdin())
			switch {
			case err != nil:
				return err
			case plain:
				return source(cmd.OutOrStdout(), func(int64) {})
			case os.Geteuid() == 0 && args[0] != "-":
				if source, err = asRoot(cmd.Context(), from, args[0]); err != nil {
					return err
				}
				size = 0
			}
			return s.importFrom(cmd, source, size, dry)
		}),
	}
	c.Flags().StringVar(&from, "from", "xep0227", "what FILE is: `KIND`")
	c.Flags().BoolVar(&dry, "dry-run", false, "change nothing, and say what would come and what could not")
	c.Flags().BoolVar(&plain, "plain", false, "import nothing, and write FILE to standard output as one file of XEP-0227")
	return c
}

// A source writes an export that includes no other files. read is told how many bytes were read.
type source func(out io.Writer, read func(bytes int64)) error

// open finds out what is to be imported, and how many bytes it has; 0 is unknown.
func open(from, name string, stdin io.Reader) (source, int64, error) {
	switch from {
	case "xep0227", "ejabberd":
	case "prosody":
		return prosody(name)
	default:
		return nil, 0, usagef("--from is xep0227, ejabberd or prosody")
	}
	if name == "-" {
		return func(out io.Writer, _ func(int64)) error {
			in := bufio.NewReader(stdin)
			if from == "ejabberd" && isDump(in) {
				return portable.Ejabberd(in, out, nil)
			}
			_, err := io.Copy(out, in)
			return err
		}, 0, nil
	}
	info, err := os.Stat(name)
	if err != nil {
		return nil, 0, err
	}
	if info.IsDir() {
		return nil, 0, fmt.Errorf("%s is a directory: name the file in it that includes the others", name)
	}
	if info.Mode().IsRegular() { // which can be looked at before
		f, err := os.Open(name)
		if err != nil {
			return nil, 0, err
		}
		in := bufio.NewReader(f)
		switch dump := isDump(in); {
		case dump && from == "ejabberd":
			return func(out io.Writer, read func(int64)) error {
				defer f.Close() // it was only read
				return portable.Ejabberd(in, out, read)
			}, info.Size(), nil
		case dump:
			f.Close() // it was only read
			return nil, 0, usagef("%s is no file of XEP-0227, but looks like a dump of ejabberd: say --from ejabberd", name)
		}
		f.Close() // it was only read
	}
	return func(out io.Writer, read func(int64)) error {
		root, err := os.OpenRoot(filepath.Dir(name))
		if err != nil {
			return err
		}
		defer root.Close() // it was only read
		return portable.Flatten(root.FS(), filepath.Base(name), out, read)
	}, info.Size(), nil
}

// isDump says whether a file of ejabberd is one of terms, and not of XML.
func isDump(in *bufio.Reader) bool {
	first, err := in.Peek(1)
	return err == nil && first[0] == '{'
}

// asRoot has another process read what is to be imported: this one gives the rights of root up for those of the owner
// of the data directory, who may not read the files of another server.
func asRoot(ctx context.Context, from, name string) (source, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	child := exec.CommandContext(ctx, self, "import", "--plain", "--from", from, "--", name)
	var said strings.Builder
	child.Stderr = &said
	in, err := child.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := child.Start(); err != nil {
		return nil, err
	}
	return func(out io.Writer, _ func(int64)) error {
		_, err := io.Copy(out, in)
		if ended := child.Wait(); ended != nil {
			return errors.New(strings.TrimPrefix(strings.TrimSpace(said.String()), "jackdaw: "))
		}
		return err
	}, nil
}

// prosody is the data directory of one.
func prosody(name string) (source, int64, error) {
	if info, err := os.Stat(name); err != nil {
		return nil, 0, err
	} else if !info.IsDir() {
		return nil, 0, fmt.Errorf("%s is no directory: name the data directory of Prosody, mostly /var/lib/prosody", name)
	}
	root, err := os.OpenRoot(name)
	if err != nil {
		return nil, 0, err
	}
	return func(out io.Writer, read func(int64)) error {
		defer root.Close() // it was only read
		return portable.Prosody(root.FS(), out, read)
	}, 0, nil
}

func (s *settings) importFrom(cmd *cobra.Command, source source, size int64, dry bool) error {
	var done atomic.Int64
	bar := newTicker(cmd.ErrOrStderr(), func() string {
		if size == 0 {
			return ""
		}
		return fmt.Sprintf(" (%d %%)", min(done.Load()*100/size, 100))
	})
	in, out := io.Pipe()
	var report *portable.Report
	reach := s.creating
	if dry {
		reach = s.with
	}
	err := reach(cmd, func(ctx context.Context, c *server.Client) (err error) {
		go func() { out.CloseWithError(source(out, func(n int64) { done.Add(n) })) }()
		defer in.Close()
		report, err = c.Import(ctx, in, dry, bar.show)
		return err
	})
	bar.clear()
	if report == nil {
		return err
	}
	if printed := s.print(cmd, report, func(w io.Writer) error { return tellReport(w, report) }); err == nil {
		err = printed
	}
	if err != nil {
		return fmt.Errorf("%w; what has come is listed above, and the import can be run again", err)
	}
	return nil
}

func tellReport(w io.Writer, r *portable.Report) error {
	came := "came"
	if r.Dry {
		came = "would come"
	}
	var b strings.Builder
	for _, c := range append([]portable.Count{r.Accounts}, r.Things...) {
		fmt.Fprintf(&b, "%s: %d %s", c.What, c.Came, came)
		if c.There > 0 {
			fmt.Fprintf(&b, ", %d were here already", c.There)
		}
		if c.Lost > 0 {
			fmt.Fprintf(&b, ", %d could not", c.Lost)
		}
		b.WriteByte('\n')
	}
	for _, l := range r.Lost {
		fmt.Fprintf(&b, "%s: %s", printable(l.What), printable(l.Why))
		switch {
		case l.Times > 1 && l.Where != "":
			fmt.Fprintf(&b, " (%d times, first at %s)", l.Times, printable(l.Where))
		case l.Where != "":
			fmt.Fprintf(&b, " (%s)", printable(l.Where))
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// A ticker shows on a terminal how far something has come.
type ticker struct {
	w    io.Writer // nil: nobody watches
	more func() string
	last time.Time
}

func newTicker(w io.Writer, more func() string) *ticker {
	if !isTerminal(w) {
		w = nil
	}
	if more == nil {
		more = func() string { return "" }
	}
	return &ticker{w: w, more: more}
}

func (t *ticker) show(p portable.Progress) {
	if t.w == nil || time.Since(t.last) < 200*time.Millisecond {
		return
	}
	t.last = time.Now()
	fmt.Fprintf(t.w, "\r\x1b[K%d accounts, %d things%s; now %s", p.Accounts, p.Things, t.more(), printable(p.Now))
}

func (t *ticker) clear() {
	if t.w != nil {
		fmt.Fprint(t.w, "\r\x1b[K")
	}
}
