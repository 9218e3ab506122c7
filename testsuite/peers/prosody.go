package peers

import (
	"os/exec"
	"strconv"
	"strings"

	"jackdaw/testsuite/harness"
)

const prosodyConfig = `
run_as_root = true
pidfile = "$dir/pid"
data_path = "$dir/data"
interfaces = { "$host" }
c2s_ports = { $c2s }
c2s_direct_tls_ports = { $c2s_tls }
s2s_ports = { $s2s }
s2s_direct_tls_ports = { $s2s_tls }
http_ports = { }
https_ports = { }
modules_enabled = { $enabled }
modules_disabled = { $disabled }
authentication = "internal_plain"
storage = "internal"
s2s_require_encryption = true
s2s_secure_auth = $secure
smacks_enabled_s2s = $sm
ssl = { certificate = "$cert"; key = "$key"; cafile = "$authority"; capath = false }
c2s_direct_tls_ssl = { certificate = "$cert"; key = "$key" }
s2s_direct_tls_ssl = { certificate = "$cert"; key = "$key"; cafile = "$authority"; capath = false }
-- libunbound has opinions of its own about localhost and to the domain test (RFC 6761 §6.2), so that the tests do not use it.
unbound = {
  resolvconf = false; hoststxt = false; forward = { "$dns" };
  options = { ["do-not-query-localhost:"] = "no" };
}
log = { debug = "*console" }
VirtualHost "$domain"
`

// StartProsody runs Debian's Prosody. Its log says how each stream is authenticated. With
// NoDialback it insists on valid certificates. It offers EXTERNAL to those whose certificate is sound, for
// whatever purpose, uses it where it is offered, bidirectional streams and stream management, and else dialback.
func (n *Network) StartProsody(o Options) *Peer {
	n.t.Helper()
	program := needs(n.t, "prosody", "prosody lua-unbound")
	p, cert := n.peer("prosody", &o)
	enabled := []string{"roster", "saslauth", "tls", "disco", "ping", "version", "vcard", "pep", "smacks", "dialback"}
	disabled := []string{"limits"}
	if !o.NoBidi {
		enabled = append(enabled, "s2s_bidi")
	}
	if o.NoDialback {
		disabled = append(disabled, "dialback")
	}
	if o.NoExternal {
		disabled = append(disabled, "s2s_auth_certs")
	}
	text := prosodyConfig
	if o.Rooms {
		text += "Component \"rooms.$domain\" \"muc\"\n"
		n.Names.Set("rooms."+p.Domain, Site{S2S: p.S2S})
	}
	config := p.write("prosody.cfg.lua", fill(text, map[string]string{
		"dir": p.Dir, "domain": p.Domain, "host": host(p.C2S),
		"c2s": port(p.C2S), "c2s_tls": port(p.C2STLS), "s2s": port(p.S2S), "s2s_tls": port(p.S2STLS),
		"enabled": quoted(enabled), "disabled": quoted(disabled),
		"secure": strconv.FormatBool(o.NoDialback), "sm": strconv.FormatBool(!o.NoSM),
		"cert": cert.Cert, "key": cert.Key, "authority": n.Authority.File,
		"dns": host(n.Names.Addr) + "@" + port(n.Names.Addr),
	}))
	folder := strings.NewReplacer(".", "%2e", "-", "%2d").Replace(p.Domain)
	for _, u := range o.Users {
		p.write("data/"+folder+"/accounts/"+u+".dat", "return { password = "+strconv.Quote(harness.Password)+" };\n")
	}
	p.ready = []string{"Activated service 's2s_direct_tls'", "Activated service 'c2s_direct_tls'"}
	p.run = func(*Peer) *exec.Cmd { return exec.Command(program, "-F", "--config", config) }
	p.Launch()
	return p
}
