package peers

import (
	"fmt"
	"strings"

	"jackdaw/testsuite/harness"
)

// JackdawOptions of StartJackdaw.
type JackdawOptions struct {
	Options
	// To are the domains that it is told the addresses of (s2s.resolve); "tls:DOMAIN" for direct TLS.
	To  []string
	S2S string // further YAML under s2s
	// Config is further YAML at the top level.
	Config string
}

// StartJackdaw runs the server under test, as jackdaw.example, beside its peers.
func (n *Network) StartJackdaw(o JackdawOptions) *harness.Server {
	n.t.Helper()
	if o.Domain == "" {
		o.Domain = "jackdaw.example"
	}
	cert := o.Certificate
	switch {
	case cert.Cert != "":
	case o.ServerOnly:
		cert = n.Authority.Issue(o.Domain, o.Flaw)
	default:
		cert = n.Authority.IssueForBoth(o.Domain, o.Flaw)
	}
	var s2s strings.Builder
	s2s.WriteString("resolve:\n")
	for _, to := range o.To {
		domain, direct := strings.CutPrefix(to, "tls:")
		addr := n.Site(domain).S2S
		if direct {
			addr = "tls:" + n.Site(domain).S2STLS
		}
		fmt.Fprintf(&s2s, "  %s: %q\n", domain, addr)
	}
	s2s.WriteString(o.S2S)
	s := harness.Start(n.t, harness.Options{
		Domain: o.Domain, Cert: cert.Cert, Key: cert.Key, Env: n.Authority.Env(), Users: o.Users,
		Federate: true, S2S: s2s.String(), Config: "log: {level: debug}\n" + o.Config,
	})
	announced := Site{S2S: s.S2S}
	if o.DirectTLS {
		announced.S2STLS = s.S2STLS
	}
	n.Names.Set(o.Domain, announced)
	return s
}
