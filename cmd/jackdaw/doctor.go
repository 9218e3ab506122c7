package main

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"jackdaw/server"
	"jackdaw/server/doctor"
	"jackdaw/xmpp/jid"
)

func doctorCommand(s *settings) *cobra.Command {
	peer := ""
	c := &cobra.Command{
		Use: "doctor [DOMAIN]", Short: "look at a domain from outside: records, ports, TLS, files, another server",
		Long: "Looks at a domain as clients and other servers do, from the DNS inwards: its records, whether the\n" +
			"ports are reached, TLS and certificates, host-meta, WebSocket and BOSH, files; with --peer whether\n" +
			"another server lets it in, and connects back. Of a domain that is served here it looks at the machine\n" +
			"as well: files open, disk, clock, Redis, and who keeps its passwords, if that is another. For what\n" +
			"is not good it says why that matters and which record or setting to add. Without DOMAIN it looks at\n" +
			"the hosts of the configuration; on another machine it needs none. It changes nothing, and fails if\n" +
			"something is wrong.",
		Args: cobra.MaximumNArgs(1),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			patients, err := s.patients(cmd.Context(), args)
			if err != nil {
				return err
			}
			var found []doctor.Finding
			for _, o := range patients {
				o.Peer = peer
				found = append(found, doctor.Examine(cmd.Context(), o)...)
			}
			if err := s.print(cmd, orEmpty(found), func(w io.Writer) error { return tell(w, found) }); err != nil {
				return err
			}
			wrong := 0
			for _, f := range found {
				if f.Level == doctor.Wrong {
					wrong++
				}
			}
			if wrong > 0 {
				return fmt.Errorf("%d wrong; what to do stands beside each", wrong)
			}
			return nil
		}),
	}
	c.Flags().StringVar(&peer, "peer", "", "another server's `DOMAIN` to connect to, and back")
	return c
}

// patients are the domains to look at: the one that is named, else all that are served here.
func (s *settings) patients(ctx context.Context, args []string) (list []doctor.Options, err error) {
	cfg, _, err := s.load()
	if err != nil {
		return nil, err
	}
	var hosts []string
	for _, h := range cfg.Hosts {
		if len(args) == 0 || sameDomain(args[0], h.Domain) {
			hosts = append(hosts, h.Domain)
		}
	}
	if len(hosts) == 0 {
		return []doctor.Options{{Domain: args[0]}}, nil
	}
	// The certificates and the process are the server's.
	if err := server.ActAsOwner(cfg.Data); err != nil {
		return nil, err
	}
	pid, err := server.RunningPID(ctx, cfg.Data)
	if err != nil {
		return nil, err
	}
	for _, h := range hosts {
		list = append(list, server.Patient(cfg, h, pid))
	}
	return list, nil
}

func sameDomain(given, ours string) bool {
	j, err := jid.New("", given, "")
	return err == nil && j.Domain() == ours
}

// tell prints findings for people.
func tell(w io.Writer, found []doctor.Finding) error {
	for _, f := range found {
		if _, err := fmt.Fprintf(w, "%-8s%s: %s\n", f.Level, f.Domain, printable(f.What)); err != nil {
			return err
		}
		if f.Why != "" {
			fmt.Fprintf(w, "        why: %s\n", printable(f.Why))
		}
		if f.Do != "" {
			fmt.Fprintf(w, "        do:  %s\n", printable(f.Do))
		}
	}
	if slices.ContainsFunc(found, func(f doctor.Finding) bool { return f.Level == doctor.Note }) {
		return nil // it says so better
	}
	_, err := fmt.Fprintln(w, "This was seen from this machine. A firewall in front of it may treat others differently.")
	return err
}
