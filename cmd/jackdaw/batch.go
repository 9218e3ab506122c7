package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"jackdaw/admin"
	"jackdaw/server"
)

// addBatch creates the accounts of standard input.
func addBatch(s *settings, cmd *cobra.Command) error {
	list, lines, err := readBatch(cmd.InOrStdin())
	if err != nil {
		return err
	}
	bar := newProgress(cmd.ErrOrStderr(), len(list))
	refused := 0
	err = s.creating(cmd, func(ctx context.Context, c *server.Client) error {
		return c.AddUsers(ctx, list, func(o server.BatchOutcome) {
			bar.step()
			if o.Error != "" {
				refused++
				bar.clear()
				fmt.Fprintf(cmd.ErrOrStderr(), "line %d: %s\n", lines[o.Index], o.Error)
			}
		})
	})
	bar.clear()
	switch {
	case err != nil:
		return err
	case refused > 0:
		return fmt.Errorf("%d of %d accounts were not created: mend the lines above and give them again",
			refused, len(list))
	}
	return s.done(cmd)
}

// readBatch reads lines of an address, spaces or tabs, and a password, which is all that follows: it may hold both.
// Empty lines and those that begin with # are passed over, and so is a byte order mark. lines has the number of each.
func readBatch(r io.Reader) (list []admin.Login, lines []int, err error) {
	in := bufio.NewScanner(r)
	for n := 1; in.Scan(); n++ {
		line := strings.TrimSuffix(in.Text(), "\r")
		if n == 1 {
			line = strings.TrimPrefix(line, "\ufeff")
		}
		line = strings.TrimLeft(line, " \t")
		if line == "" || line[0] == '#' {
			continue
		}
		end := strings.IndexAny(line, " \t")
		if end < 0 || strings.Trim(line[end:], " \t") == "" {
			return nil, nil, fmt.Errorf("line %d: expected JID PASSWORD; nothing was created", n)
		}
		user, password := line[:end], strings.TrimLeft(line[end:], " \t")
		list, lines = append(list, admin.Login{Name: user, Password: password}), append(lines, n)
	}
	if err := in.Err(); err != nil {
		return nil, nil, fmt.Errorf("read standard input: %w", err)
	}
	if len(list) == 0 {
		return nil, nil, errors.New("standard input holds no account: give lines of JID PASSWORD")
	}
	return list, lines, nil
}

// progress is a bar on a terminal, and nothing elsewhere.
type progress struct {
	w           io.Writer // nil: nobody watches
	total, done int
	began, last time.Time
}

func newProgress(w io.Writer, total int) *progress {
	if !isTerminal(w) {
		w = nil
	}
	return &progress{w: w, total: total, began: time.Now()}
}

func (p *progress) step() {
	p.done++
	if p.w == nil || time.Since(p.last) < 100*time.Millisecond && p.done < p.total {
		return
	}
	p.last = time.Now()
	const width = 40
	filled := width * p.done / p.total
	left := time.Duration(float64(time.Since(p.began)) / float64(p.done) * float64(p.total-p.done))
	fmt.Fprintf(p.w, "\r[%s%s] %d of %d, %s left ", strings.Repeat("#", filled), strings.Repeat(" ", width-filled),
		p.done, p.total, left.Round(time.Second))
}

// clear wipes the line for something else.
func (p *progress) clear() {
	if p.w != nil {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
