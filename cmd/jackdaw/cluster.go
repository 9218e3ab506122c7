package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"jackdaw/server"
)

func clusterCommand(s *settings) *cobra.Command {
	return group("cluster", "several servers that are one", &cobra.Command{
		Use: "init", Short: "make the key that all nodes of a cluster have",
		Long: `Make the key of a cluster, in the file that cluster.key_file names. Copy it to all other nodes, over a channel that
nobody else reads: whoever has it can pose as a node.`,
		Args: cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			cfg, _, err := s.load()
			if err != nil {
				return err
			}
			if err := os.MkdirAll(filepath.Dir(cfg.ClusterKey()), 0o700); err != nil {
				return err
			}
			file, err := server.InitCluster(cfg)
			if err != nil {
				return err
			}
			return s.print(cmd, struct {
				File string `json:"key_file"`
			}{file}, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "The key of the cluster is in %s.\nCopy it to the same place on all other nodes "+
					"(mode 0600), and give each of them a section 'cluster' (docs/cluster.md).\n", file)
				return err
			})
		}),
	})
}

func nodesCommand(s *settings) *cobra.Command {
	return &cobra.Command{
		Use: "nodes", Short: "list the nodes of the cluster: name, slots, state, lease, address, version, since",
		Long: `List the nodes of the cluster, a line for each, with tabs between: name, how many of the 1024 slots are at home there,
its state, what is left of its lease, where others reach it, its version, since when it is a node, and which others it
does not hear. Accounts and rooms fall into slots; what has no home for a while is said in a line of its own. It asks
Redis, so that it works on every machine that has the configuration of a node.`,
		Args: cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			cfg, _, err := s.load()
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), 10*time.Second)
			defer cancel()
			list, homeless, err := server.Nodes(ctx, cfg)
			if err != nil {
				return err
			}
			return s.print(cmd, struct {
				Nodes    []server.NodeStatus `json:"nodes"`
				Homeless int                 `json:"slots_without_home"`
			}{orEmpty(list), homeless}, func(w io.Writer) error {
				for _, n := range list {
					fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\n", n.Node, n.Slots, n.State,
						n.Lease.Round(100*time.Millisecond), n.Address, orDash(n.Version), moment(n.Since),
						orDash(strings.Join(n.Silent, ",")))
				}
				if homeless > 0 {
					fmt.Fprintf(w, "%d slots have no home now\n", homeless)
				}
				return nil
			})
		}),
	}
}
