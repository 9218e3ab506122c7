package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"jackdaw/config"
	"jackdaw/server/doctor"
	"jackdaw/xmpp/jid"
)

func doctorCommand(s *settings) *cobra.Command {
	return &cobra.Command{
		Use: "doctor [DOMAIN]", Short: "look at a domain from outside: records, ports, TLS, what browsers need",
		Long: "Looks at a domain as clients and other servers do, from the DNS inwards: its records, whether the\n" +
			"ports are reached, TLS and certificates, host-meta, WebSocket and BOSH. For what is not good it says why\n" +
			"that matters and which record or setting to add. Without DOMAIN it looks at the hosts of the\n" +
			"configuration. It changes nothing, and fails if something is wrong.",
		Args: cobra.MaximumNArgs(1),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			cfg, _, err := s.load()
			if err != nil {
				return err
			}
			var found []doctor.Finding
			for _, o := range patients(cfg, args) {
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
}

// patients are the domains to look at: the one that is named, else all that are served here.
func patients(cfg *config.Config, args []string) (list []doctor.Options) {
	for _, h := range cfg.Hosts {
		if len(args) == 0 || sameDomain(args[0], h.Domain) {
			list = append(list, doctor.Options{Domain: h.Domain, Config: cfg})
		}
	}
	if len(list) == 0 {
		list = append(list, doctor.Options{Domain: args[0]})
	}
	return list
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
	_, err := fmt.Fprintln(w, "This was seen from this machine. A firewall in front of it may treat others differently.")
	return err
}
