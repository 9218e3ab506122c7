package main

import (
	"fmt"
	"io"
	"strings"

	"jackdaw/server/doctor"
	"jackdaw/server/setup"
)

// zoneText is a fragment of a zone file: a comment above what belongs together, and the records.
func zoneText(records []doctor.Record) string {
	var b strings.Builder
	why := ""
	for _, r := range records {
		if r.Why != why {
			fmt.Fprintf(&b, "; %s\n", r.Why)
			why = r.Why
		}
		fmt.Fprintln(&b, r)
	}
	return b.String()
}

// tell prints for people what was done and what is left to do.
func (p *prepared) tell(w io.Writer) error {
	var b strings.Builder
	part := func(title string, lines ...string) {
		fmt.Fprintf(&b, "\n%s\n\n", title)
		for _, line := range lines {
			fmt.Fprintf(&b, "    %s\n", line)
		}
	}
	switch {
	case p.Text != "":
		fmt.Fprintf(&b, "Nothing was written. %s would be:\n\n%s", p.Config, p.Text)
		fmt.Fprintf(&b, "\nThe data would be in %s, and the first admin %s.\n", p.Data, p.Admin)
	case p.Password != "":
		fmt.Fprintf(&b, "Written: %s\nCreated: %s with the password %s (shown only now)\n", p.Config, p.Admin, p.Password)
	default:
		fmt.Fprintf(&b, "Written: %s\nAdmin:   %s\n", p.Config, p.Admin)
	}
	fmt.Fprintf(&b, "\nIn the DNS, for others to find the server (a fragment of a zone file):\n\n%s", p.Zone)
	part("In the firewall, by one of:", p.Firewall.NFT, p.Firewall.UFW)
	part("Under systemd, as root:", p.Systemd...)
	doctor := "jackdaw doctor"
	if p.Config != etc {
		doctor += " --config " + setup.Word(p.Config)
	}
	part("Then see how others find it:", doctor)
	if p.Console != "" {
		part("Administrators look after it in a browser:", p.Console)
	}
	for _, n := range p.Notes {
		fmt.Fprintf(&b, "\nNote: %s\n", n)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
