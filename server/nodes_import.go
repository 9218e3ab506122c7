package server

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"jackdaw/admin"
	"jackdaw/portable"
)

// Import implements admin.Elsewhere.
func (o *offices) Import(ctx context.Context, who admin.By, file io.Reader, dry bool) (
	in io.Reader, done func(error) ([]*portable.Report, error)) {
	var nodes []string
	for _, m := range o.n.node.Load().Members() {
		if m.ID != o.n.ID() {
			nodes = append(nodes, m.ID)
		}
	}
	return o.importAt(ctx, who, nodes, file, dry)
}

// importAt has these nodes import a file while the caller reads it.
func (o *offices) importAt(ctx context.Context, who admin.By, nodes []string, file io.Reader, dry bool) (
	in io.Reader, done func(error) ([]*portable.Report, error)) {
	type outcome struct {
		report *portable.Report
		err    error
	}
	outcomes := make(chan outcome)
	var all copies
	for _, node := range nodes {
		r, w := io.Pipe()
		all = append(all, w)
		go func() {
			report, err := o.importAtOne(ctx, who, node, r, dry)
			_ = r.CloseWithError(cmp.Or(err, io.ErrClosedPipe)) // nobody waits for it any more
			if err != nil {
				err = fmt.Errorf("node %s: %w", node, err)
			}
			outcomes <- outcome{report, err}
		}()
	}
	return io.TeeReader(file, all), func(err error) (reports []*portable.Report, _ error) {
		for _, w := range all {
			_ = w.CloseWithError(err) // nil is the end of the file
		}
		var failed []error
		for range nodes {
			one := <-outcomes
			reports, failed = append(reports, one.report), append(failed, one.err)
		}
		return reports, errors.Join(failed...)
	}
}

func (o *offices) importAtOne(ctx context.Context, who admin.By, node string, file io.Reader, dry bool) (
	*portable.Report, error) {
	url := "http://" + node + ":0/node.import"
	if dry {
		url += "?dry"
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, file)
	if err != nil {
		return nil, err
	}
	r.Header.Set(headerBy, string(who))
	resp, err := o.http.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it answers %s (is it another version of jackdaw?)", resp.Status)
	}
	return pieces(bufio.NewReader(resp.Body), io.Discard, nil)
}

// copies are where what is read is written to. One that takes no more keeps the others from nothing: it says why.
type copies []*io.PipeWriter

// Write implements io.Writer.
func (c copies) Write(b []byte) (int, error) {
	for _, w := range c {
		_, _ = w.Write(b)
	}
	return len(b), nil
}
