// Package setup makes what a new server begins with: a configuration with comments, the directory of its data, the
// lines for the firewall, and the unit for systemd. What the DNS has to say is in package doctor, which looks at it
// later.
//
// It writes what is not there, and never over what is. It starts nothing and asks nobody: prompts and flags are those
// of the command.
package setup

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/mail"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/idna"

	"jackdaw/config"
	"jackdaw/contrib"
	"jackdaw/server/doctor"
	"jackdaw/xmpp/jid"
)

// A Plan is what has been decided about a new server.
type Plan struct {
	Domain    string
	Machine   string       // its name in the DNS; "": the domain
	Addresses []netip.Addr // as everybody sees them
	Admin     string       // bare JID of the first one
	Data      string       // directory
	Cert, Key string       // PEM files; "": none are there
	Email     string       // of whoever gets certificates by themselves; "": none come
	Port80    bool         // is free for the proof that the domain is ours
	HTTPS     uint16       // 443 is for clients and other servers, too; 0: none
	Alone     bool         // without other servers
}

// Check normalises the plan. An error says what is wrong with it.
func (p *Plan) Check() error {
	j, err := jid.Parse(p.Domain)
	if err != nil || j.Local() != "" || j.Resource() != "" {
		return fmt.Errorf("%q: expected a domain, such as example.org", p.Domain)
	}
	p.Domain = j.Domain()
	if _, err := netip.ParseAddr(strings.Trim(p.Domain, "[]")); err == nil {
		return fmt.Errorf("%s: expected a name of the DNS, since others find a server by its records", p.Domain)
	}
	if _, err := idna.Lookup.ToASCII(p.Domain); err != nil {
		return fmt.Errorf("%s is no name of the DNS: %w", p.Domain, err)
	}
	p.Machine = strings.TrimSuffix(cmp.Or(p.Machine, p.Domain), ".")
	if _, err := idna.Lookup.ToASCII(p.Machine); err != nil || !strings.Contains(p.Machine, ".") {
		return fmt.Errorf("%q: expected the whole name of the machine in the DNS, such as xmpp.%s", p.Machine, p.Domain)
	}
	if !strings.Contains(p.Admin, "@") {
		p.Admin += "@" + p.Domain
	}
	a, err := jid.Parse(p.Admin)
	if err != nil || a.Local() == "" || !a.IsBare() || a.Domain() != p.Domain {
		return fmt.Errorf("%q: expected an account of %s, such as admin@%s", p.Admin, p.Domain, p.Domain)
	}
	p.Admin = a.String()
	switch m, err := mail.ParseAddress(p.Email); {
	case (p.Cert == "") != (p.Key == ""):
		return errors.New("a certificate and its key are needed both, or neither")
	case p.Cert != "" && p.Email != "":
		return errors.New("certificates come by themselves (--email), or are in files (--cert and --key); not both")
	case p.Email != "" && (err != nil || m.Address != p.Email):
		return fmt.Errorf("%q: expected an address for mail, such as admin@example.org", p.Email)
	}
	return nil
}

// Config is what the server makes of the plan, as if it stood in that file.
func (p *Plan) Config(file string) (*config.Config, error) {
	c, err := config.Parse(file, []byte(p.Text()))
	if err != nil {
		return nil, fmt.Errorf("the configuration that was made is refused: %w", err)
	}
	return c, nil
}

// Text is the configuration file.
func (p *Plan) Text() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# The configuration of jackdaw for %s, as `jackdaw setup` has made it.", p.Domain)
	line("# It says what differs from the defaults; docs/jackdaw.yaml has every key.")
	line("# After a change: `jackdaw check`, then `jackdaw reload`.")
	line("")
	line("# Everything the server keeps is in this directory.")
	line("data: %s", strconv.Quote(p.Data))
	line("")
	line("# The domains whose users live here. A further one is a further entry of the list.")
	line("hosts:")
	line("  - domain: %s", strconv.Quote(p.Domain))
	line("    # These accounts may do everything that an administrator may.")
	line("    admins: [%s]", strconv.Quote(p.Admin))
	switch {
	case p.Email != "":
	case p.Cert != "":
		line("    # PEM files: the certificate with its chain, and its key. A reload reads them again.")
		line("    cert: %s", strconv.Quote(p.Cert))
		line("    key: %s", strconv.Quote(p.Key))
	default:
		line("    # The certificate with its chain and its key, as PEM files. Without them the server signs one for")
		line("    # itself, and clients warn of it.")
		line("    # cert: /etc/jackdaw/%s.crt", p.Domain)
		line("    # key: /etc/jackdaw/%s.key", p.Domain)
	}
	line("    # Whom others may write to about this server; everybody sees it.")
	line("    # contact: {abuse: [\"mailto:abuse@%s\"]}", p.Domain)
	line("")
	p.listen(line)
	if p.Email != "" {
		line("")
		line("# Certificates come and are renewed by themselves, one for each name that the DNS knows. The address is for")
		line("# the authority, Let's Encrypt, and says that you accept its terms of service. For a trial, trusted by nobody:")
		line("# directory: https://acme-staging-v02.api.letsencrypt.org/directory")
		line("acme:")
		line("  email: %s", strconv.Quote(p.Email))
		line("  # Only users of this server come there, so that the names need neither records nor certificates. If others")
		line("  # are to come to the nodes of pubsub, give it the records that rooms have, and take it out here.")
		line("  except: [%s, %s]", strconv.Quote("multicast."+p.Domain), strconv.Quote(config.PubSubName+"."+p.Domain))
	}
	line("")
	line("# Who may create an account: whoever has an invitation of an administrator. `closed`: nobody.")
	line("registration: invite")
	if p.Machine != p.Domain && p.HTTPS != 0 {
		line("")
		line("# Where clients find files and all else that is served over HTTPS. The certificate has to name that, too.")
		line("http:")
		line("  url: %s", strconv.Quote(p.url()))
	}
	return b.String()
}

// Console is where administrators look after the server in a browser; "" where nothing is served to browsers.
func (p *Plan) Console() string {
	if p.HTTPS == 0 {
		return ""
	}
	return p.url() + "/admin"
}

func (p *Plan) url() string {
	if p.HTTPS == 443 {
		return "https://" + p.Machine
	}
	return "https://" + net.JoinHostPort(p.Machine, strconv.Itoa(int(p.HTTPS)))
}

func (p *Plan) listen(line func(string, ...any)) {
	line("# Where to listen. The firewall has to let all of these in, from everywhere.")
	line("listen:")
	line("  # Clients: encryption on request (STARTTLS), and from the first byte.")
	line(`  c2s: [":5222"]`)
	line(`  c2s_tls: [":5223"]`)
	switch p.HTTPS {
	case 0:
		line("  https: []")
	case 443:
		line("  # One port for clients, browsers, files and other servers, where nothing but the web passes.")
		line(`  tls: [":443"]`)
		line("  https: []")
	default:
		line("  # Browsers and files.")
		line("  https: [\":%d\"]", p.HTTPS)
	}
	if p.Email != "" && p.Port80 {
		line("  # Plain HTTP, for the certification authority; people are sent on to HTTPS.")
		line(`  acme: [":80"]`)
	}
	if p.Alone {
		line("  # Other servers are kept out. To let users write to those of other domains:")
		line(`  # s2s: [":5269"]`)
		line(`  # s2s_tls: [":5270"]`)
		return
	}
	line("  # Other servers, so that users can write to those of other domains.")
	line(`  s2s: [":5269"]`)
	line(`  s2s_tls: [":5270"]`)
}

// Write makes the file, which must not be there or be as a package brought it, and the directories above it. With an
// owner both are root's, and the owner's group reads them.
func Write(file string, text string, owner *Owner) error {
	dir := filepath.Dir(file)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return fmt.Errorf("make the directory of the configuration: %w", err)
		}
		if err := owner.share(dir); err != nil {
			return err
		}
	}
	name := file
	if untouched(file) {
		name += ".new"
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	switch {
	case errors.Is(err, fs.ErrExist):
		return exists(name)
	case err != nil:
		return fmt.Errorf("write the configuration: %w; choose another place with --config", err)
	}
	_, err = f.WriteString(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = owner.share(name)
	}
	if err == nil && name != file {
		err = os.Rename(name, file)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write the configuration: %w", err), os.Remove(name))
	}
	return nil
}

// untouched says whether the file is the one that a package brought, and says nothing of anybody.
func untouched(file string) bool {
	info, err := os.Lstat(file)
	if err != nil || !info.Mode().IsRegular() {
		return false
	}
	b, err := os.ReadFile(file)
	return err == nil && string(b) == contrib.Configuration
}

// Free says whether there is nothing yet where the configuration shall be.
func Free(file string) error {
	if _, err := os.Lstat(file); err == nil && !untouched(file) {
		return exists(file)
	}
	return nil
}

func exists(file string) error {
	return fmt.Errorf("%s is there already, and nothing was changed; edit it, or move it away, or choose another place "+
		"with --config", file)
}

// Opened are the ports that others have to reach, in their order.
func Opened(c *config.Config) []uint16 {
	l := &c.Listen
	return doctor.Ports(slices.Concat(l.C2S, l.C2STLS, l.TLS, l.S2S, l.S2STLS, l.HTTPS, l.ACME))
}

// Firewall are the commands that let others in, one of which is enough.
func Firewall(opened []uint16) (nft, ufw string) {
	words := make([]string, len(opened))
	for i, p := range opened {
		words[i] = strconv.Itoa(int(p))
	}
	return "nft add rule inet filter input tcp dport { " + strings.Join(words, ", ") + " } accept",
		"ufw allow proto tcp to any port " + strings.Join(words, ",")
}
