package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"jackdaw/admin"
	"jackdaw/server"
)

func s2sCommand(s *settings) *cobra.Command {
	return &cobra.Command{
		Use:   "s2s",
		Short: "list the streams of other servers and components, and what waits for peers",
		Long: `List the streams of other servers and components, and what waits for peers.

A link's direction is in, out, both (one stream for both ways) or component. It was authenticated by its
certificate (external), by dialback, or by a component's secret.
A queue holds what waits for a peer: stanzas, bytes, how many were written and not yet acknowledged, the
last error, and when the next attempt is made.`,
		Args: cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			return s.withRunning(cmd, func(ctx context.Context, c *server.Client) error {
				p, err := c.Peers(ctx)
				if err != nil {
					return err
				}
				p.Links, p.Queues = orEmpty(p.Links), orEmpty(p.Queues)
				return s.print(cmd, p, func(w io.Writer) error { return printPeers(w, p, time.Now()) })
			})
		}),
	}
}

// printPeers writes two tables, each only if it has a line.
func printPeers(out io.Writer, p admin.PeersInfo, now time.Time) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if len(p.Links) > 0 {
		fmt.Fprintln(w, "LINK\tLOCAL\tPEER\tAUTHENTICATED\tTLS\tEXTRAS\tADDRESS\tSINCE\tIN\tOUT")
	}
	for _, l := range p.Links {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\n", l.Direction, orDash(l.Local), orDash(l.Remote),
			orDash(l.Authenticated), orDash(l.TLS), orDash(strings.Join(l.Extras, ",")), orDash(l.Address),
			now.Sub(l.Since).Round(time.Second), l.In, l.Out)
	}
	if len(p.Queues) > 0 {
		if len(p.Links) > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintln(w, "QUEUE\tLOCAL\tPEER\tSTANZAS\tBYTES\tUNACKED\tNEXT\tLAST ERROR")
	}
	for _, q := range p.Queues {
		next := "-"
		if !q.Next.IsZero() {
			next = max(0, q.Next.Sub(now)).Round(time.Second).String()
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%d\t%s\t%s\n", q.State, orDash(q.Local), q.Remote, q.Stanzas, q.Bytes,
			q.Unacked, next, orDash(q.Error))
	}
	return w.Flush()
}

// orEmpty is a list that is not null in JSON.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
