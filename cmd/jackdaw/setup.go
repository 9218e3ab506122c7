package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"jackdaw/config"
	"jackdaw/router/gate"
	"jackdaw/server"
	"jackdaw/server/doctor"
	"jackdaw/server/setup"
)

// etc is where root's configuration goes, and varLib its data.
const (
	etc    = "/etc/jackdaw/jackdaw.yaml"
	varLib = "/var/lib/jackdaw"
)

// letsEncrypt is how the authority that is asked by default calls itself (RFC 8659 §4.2).
const letsEncrypt = "letsencrypt.org"

// setupOptions are the flags of setup.
type setupOptions struct {
	plan          setup.Plan
	addresses     []string
	user          string
	https         uint16
	passwordStdin bool
	dryRun, unit  bool
}

func setupCommand(s *settings) *cobra.Command {
	o := &setupOptions{}
	c := &cobra.Command{
		Use:   "setup {DOMAIN | --unit}",
		Short: "begin with a domain: configuration, first admin, DNS records, firewall, systemd",
		Long: "Writes a configuration for DOMAIN with comments, makes the first admin, and prints what is left to do:\n" +
			"records for the DNS, lines for the firewall, commands for systemd. What no flag says it asks on the\n" +
			"terminal; without one, --admin is needed, and the password is a random one that is printed.\n\n" +
			"The file is that of --config, else /etc/jackdaw/jackdaw.yaml for root and ./jackdaw.yaml for others.\n" +
			"Nothing that is there is overwritten. With --dry-run nothing is written at all; the file that would\n" +
			"be is printed.\n\n" +
			"With --unit and no DOMAIN it prints a unit for systemd that fits the configuration there is.",
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case o.unit && len(args) > 0:
				return usagef("--unit is for the configuration there is, not for %q", args[0])
			case !o.unit && len(args) != 1:
				return usagef("expected one domain, such as example.org, found %d", len(args))
			}
			return nil
		},
		RunE: action(func(cmd *cobra.Command, args []string) error {
			if o.unit {
				return s.printUnit(cmd, o.user)
			}
			o.plan.Domain = args[0]
			return s.setUp(cmd, o)
		}),
	}
	f := c.Flags()
	f.StringVar(&o.plan.Machine, "machine", "", "`NAME` of this machine in the DNS, if it is not DOMAIN")
	f.StringArrayVar(&o.addresses, "address", nil, "`IP` of this machine as everybody sees it; may be repeated")
	f.StringVar(&o.plan.Admin, "admin", "", "the first admin: `NAME` or address")
	f.BoolVar(&o.passwordStdin, "password-stdin", false, "read the admin's password from standard input")
	f.StringVar(&o.plan.Email, "email", "",
		"`ADDRESS` for mail: has certificates come by themselves, and accepts the terms of service of Let's Encrypt")
	f.StringVar(&o.plan.Cert, "cert", "", "`FILE` with the certificate of DOMAIN and its chain (PEM)")
	f.StringVar(&o.plan.Key, "key", "", "`FILE` with its key (PEM)")
	f.Uint16Var(&o.https, "https", 443,
		"`PORT` for browsers and files; on 443 for clients and other servers, too; 0: none")
	f.BoolVar(&o.plan.Alone, "no-federation", false, "without other servers")
	f.StringVar(&o.user, "user", "",
		"the `USER` that the server runs as (default for root: jackdaw, if the file is in /etc/jackdaw)")
	f.BoolVar(&o.dryRun, "dry-run", false, "write nothing")
	f.BoolVar(&o.unit, "unit", false, "print a unit for systemd")
	return c
}

// A prepared server is what setup prints.
type prepared struct {
	Config   string          `json:"config"`
	Text     string          `json:"text,omitempty"` // with --dry-run
	Data     string          `json:"data"`
	Admin    string          `json:"admin"`
	Password string          `json:"password,omitempty"` // a random one
	Records  []doctor.Record `json:"records"`
	Zone     string          `json:"zone"`
	Firewall firewall        `json:"firewall"`
	Systemd  []string        `json:"systemd"`
	Console  string          `json:"console,omitempty"` // URL
	Notes    []string        `json:"notes"`
}

func (p *prepared) note(format string, args ...any) {
	p.Notes = append(p.Notes, fmt.Sprintf(format, args...))
}

type firewall struct {
	NFT string `json:"nft"`
	UFW string `json:"ufw"`
}

func (s *settings) setUp(cmd *cobra.Command, o *setupOptions) error {
	p, password := &prepared{Notes: []string{}}, ""
	owner, err := s.place(o)
	if err != nil {
		return err
	}
	if err := setup.Free(s.file); err != nil {
		if !o.dryRun {
			return err
		}
		p.note("%s is there already, so that without --dry-run nothing would be done.", s.file)
	}
	if err := o.ask(cmd, p); err != nil {
		return err
	}
	if err := o.plan.Check(); err != nil {
		return usagef("%v", err)
	}
	cfg, err := o.plan.Config(s.file)
	if err != nil {
		return err
	}
	certificate, err := o.certificate(cfg, p)
	if err != nil {
		return err
	}
	authority := ""
	if o.plan.Email != "" {
		authority = letsEncrypt
	}
	p.Records, err = doctor.Zone(cfg, o.plan.Domain, doctor.Place{Machine: o.plan.Machine, Addresses: o.plan.Addresses,
		Authority: authority, Certificate: certificate})
	if err != nil {
		return usagef("%v", err)
	}
	if password, err = o.password(cmd, p); err != nil {
		return err
	}
	p.Config, p.Data, p.Admin, p.Zone = s.file, cfg.Data, o.plan.Admin, zoneText(p.Records)
	opened := setup.Opened(cfg)
	p.Firewall.NFT, p.Firewall.UFW = setup.Firewall(opened)
	p.Console = o.plan.Console()
	p.Systemd = setup.Commands(setup.Unit{Program: program(), File: s.file, Config: cfg, User: o.user})
	for _, port := range opened {
		if setup.Taken(port) {
			p.note("Another program has port %d now. Stop it before the start, or change `listen:`.", port)
		}
	}
	if o.dryRun {
		p.Text = o.plan.Text()
		return s.print(cmd, p, p.tell)
	}
	if err := owner.MakeData(cfg.Data); err != nil {
		return err
	}
	if err := setup.Write(s.file, o.plan.Text(), owner); err != nil {
		return err
	}
	if err := s.firstAdmin(cmd, cfg, p, password); err != nil {
		return fmt.Errorf("%s is written, and %s could not be created: %w; to try again: jackdaw --config %s user add %s",
			s.file, p.Admin, err, s.file, p.Admin)
	}
	return s.print(cmd, p, p.tell)
}

// place decides where all goes, and whose it is.
func (s *settings) place(o *setupOptions) (owner *setup.Owner, err error) {
	root := os.Geteuid() == 0
	if s.file == "" {
		s.file = "jackdaw.yaml"
		if root {
			s.file = etc
		}
	}
	if s.file, err = filepath.Abs(s.file); err != nil {
		return nil, fmt.Errorf("find the directory of the configuration: %w", err)
	}
	system := root && filepath.Dir(s.file) == filepath.Dir(etc)
	if system && o.user == "" {
		o.user = "jackdaw"
	}
	switch {
	case o.user == "":
	case !root:
		return nil, usagef("only root may say as which user the server runs")
	case !o.dryRun:
		if owner, err = setup.FindOwner(o.user); err != nil {
			return nil, err
		}
	}
	// A whole path: one that is relative might be taken for a directory of earlier versions, see config.
	o.plan.Data = filepath.Join(filepath.Dir(s.file), "data")
	switch {
	case s.data != "":
		if o.plan.Data, err = filepath.Abs(s.data); err != nil {
			return nil, fmt.Errorf("find the data directory: %w", err)
		}
	case system:
		o.plan.Data = varLib
	}
	for _, path := range []*string{&o.plan.Cert, &o.plan.Key} {
		if *path != "" {
			if *path, err = filepath.Abs(*path); err != nil {
				return nil, fmt.Errorf("find the certificate: %w", err)
			}
		}
	}
	return owner, nil
}

// ask fills in what no flag has said.
func (o *setupOptions) ask(cmd *cobra.Command, p *prepared) error {
	f, domain := cmd.Flags(), o.plan.Domain
	t := terminalOf(cmd)
	if t == nil && o.plan.Admin == "" {
		return usagef("standard input is no terminal to ask on: --admin is missing, the address of the first admin, such as "+
			"admin@%s", domain)
	}
	if t != nil && !f.Changed("machine") {
		o.plan.Machine = t.line("Name of this machine in the DNS, such as xmpp."+domain+" if a website is at "+domain,
			domain)
	}
	if !f.Changed("address") {
		for _, a := range gate.Addresses() {
			o.addresses = append(o.addresses, a.String())
		}
		if t != nil {
			o.addresses = strings.Fields(t.line("Its addresses as everybody sees them, with spaces between",
				strings.Join(o.addresses, " ")))
		}
	}
	for _, text := range o.addresses {
		a, err := netip.ParseAddr(text)
		if err != nil || a.Zone() != "" || a.IsUnspecified() {
			return usagef("%q: expected an address such as 192.0.2.7 or 2001:db8::7", text)
		}
		o.plan.Addresses = append(o.plan.Addresses, a.Unmap())
	}
	if len(o.addresses) == 0 {
		p.note("No address of this machine is known that everybody can reach. If a router translates addresses, have it " +
			"forward the ports, and put its own address into the records.")
	}
	if t != nil && !f.Changed("no-federation") {
		o.plan.Alone = !yes(t.line("May users write to those of other domains? (yes or no)", "yes"))
	}
	if t != nil && !f.Changed("admin") {
		o.plan.Admin = t.line("Address of the first admin", "admin@"+domain)
	}
	if t != nil && !f.Changed("email") && o.plan.Cert == "" {
		o.plan.Email = t.line("Address for mail, if certificates are to come by themselves from Let's Encrypt, whose "+
			"terms of service you then accept (https://letsencrypt.org/repository/)", "")
	}
	if o.plan.Port80 = !setup.Taken(80); !o.plan.Port80 && o.plan.Email != "" {
		p.note("Another program has port 80. If the authority does not reach jackdaw on port 443 either, have that program " +
			"pass /.well-known/acme-challenge/ on (the manual, \"Certificates\").")
	}
	if o.plan.HTTPS = o.https; !f.Changed("https") && setup.Taken(443) {
		o.plan.HTTPS = 5284
		p.note("Another program has port 443, a web server maybe, so that HTTPS is on port 5284. The manual (\"Proxies\") " +
			"has the lines for a web server that passes on what is for jackdaw.")
	}
	if t == nil {
		return nil
	}
	return t.err
}

func yes(answer string) bool { return strings.HasPrefix(strings.ToLower(answer), "y") }

// password is asked for or read, or a random one.
func (o *setupOptions) password(cmd *cobra.Command, p *prepared) (password string, err error) {
	switch {
	case o.dryRun:
		return "", nil
	case o.passwordStdin:
		return readPassword(cmd.InOrStdin())
	case terminalOf(cmd) != nil:
		if password, err = ask(cmd, "Password of "+o.plan.Admin+" (empty: a random one): "); err != nil {
			return "", err
		}
		if password != "" {
			again, err := ask(cmd, "Once more: ")
			if err == nil && again != password {
				err = errors.New("the two are not the same; nothing was changed")
			}
			return password, err
		}
	}
	p.Password = rand.Text() // 128 bits or more
	return p.Password, nil
}

// firstAdmin creates the account, as the owner of the data from then on. One that is there keeps its password.
func (s *settings) firstAdmin(cmd *cobra.Command, cfg *config.Config, p *prepared, password string) error {
	err := s.creating(cmd, func(ctx context.Context, c *server.Client) error {
		if _, err := c.User(ctx, p.Admin); err == nil {
			p.Password = ""
			p.note("%s was there already, and keeps its password.", p.Admin)
			return nil
		}
		return c.AddUser(ctx, p.Admin, password)
	})
	if err != nil {
		return err
	}
	if _, err := server.CheckCertificates(cfg, time.Now()); err != nil { // it was root who could read them before
		p.note("The server will not start before it can read its certificate: %v", err)
	}
	return nil
}

// certificate looks at the one that is named, for what the DNS may say of it; nil if there is none.
func (o *setupOptions) certificate(cfg *config.Config, p *prepared) (*x509.Certificate, error) {
	switch {
	case o.plan.Email != "":
		if o.plan.Machine != o.plan.Domain {
			p.note("For its certificate %s itself must lead here, too. Where a website is there, have that pass "+
				"/.well-known/acme-challenge/ on to http://%s, by a redirect or as a proxy.", o.plan.Domain, o.plan.Machine)
		}
		return nil, nil
	case o.plan.Cert == "":
		p.note("There is no certificate (--email, or --cert and --key): the server signs one for itself, of which " +
			"clients warn. The manual (\"Certificates\") says how to come by one.")
		return nil, nil
	}
	warnings, err := server.CheckCertificates(cfg, time.Now())
	if err != nil {
		return nil, err
	}
	p.Notes = append(p.Notes, warnings...)
	pair, err := tls.LoadX509KeyPair(o.plan.Cert, o.plan.Key)
	if err != nil {
		return nil, fmt.Errorf("certificate of %s: %w", o.plan.Domain, err)
	}
	return pair.Leaf, nil
}

func program() string {
	path, err := os.Executable()
	if err != nil {
		return "/usr/local/bin/jackdaw"
	}
	return path
}

// printUnit prints a unit for the configuration there is.
func (s *settings) printUnit(cmd *cobra.Command, user string) error {
	cfg, file, err := s.load()
	if err != nil {
		return err
	}
	if file == "" {
		return errors.New("there is no configuration for a unit: run `jackdaw setup DOMAIN` first, or name one with --config")
	}
	if file, err = filepath.Abs(file); err != nil {
		return fmt.Errorf("find the configuration: %w", err)
	}
	if user == "" {
		user = setup.OwnerName(cfg.Data)
	}
	unit := setup.Unit{Program: program(), File: file, Config: cfg, User: user}
	return s.print(cmd, struct {
		Unit string `json:"unit"`
	}{unit.String()}, func(w io.Writer) error {
		_, err := io.WriteString(w, unit.String())
		return err
	})
}

// A terminal asks questions. After an error it asks none, and every answer is the one that is usual.
type terminal struct {
	in  *os.File
	out io.Writer
	err error
}

// terminalOf is nil where nobody can be asked.
func terminalOf(cmd *cobra.Command) *terminal {
	in, ok := cmd.InOrStdin().(*os.File)
	if stdin, _ := cmd.Flags().GetBool("password-stdin"); stdin || !ok || !term.IsTerminal(int(in.Fd())) {
		return nil
	}
	return &terminal{in: in, out: cmd.ErrOrStderr()}
}

// line asks for a line; an empty one is the usual answer.
func (t *terminal) line(question, usual string) string {
	if t.err != nil {
		return usual
	}
	fmt.Fprintf(t.out, "%s [%s]: ", question, usual)
	var line []byte
	// Byte by byte, so that what follows is left for the next question.
	for one := make([]byte, 1); len(line) < 4096; {
		n, err := t.in.Read(one)
		if err != nil {
			t.err = fmt.Errorf("read the answer: %w; nothing was changed", err)
			return usual
		}
		if n == 1 && one[0] == '\n' {
			break
		}
		line = append(line, one[:n]...)
	}
	return cmp.Or(string(bytes.TrimSpace(line)), usual)
}
