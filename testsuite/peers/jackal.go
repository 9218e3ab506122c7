package peers

import (
	"os"
	"os/exec"
	"strings"

	"jackdaw/testsuite/harness"
)

const jackalConfig = `
memory_ballast_size: 4096
logger: {level: debug}
http: {port: $http}
admin: {bind_addr: $host, port: $admin}
hosts:
  - domain: $domain
    tls: {cert_file: "$cert", privkey_file: "$key"}
storage:
  type: boltdb
  boltdb: {path: "$dir/jackal.db"}
c2s:
  listeners:
    - {bind_addr: $host, port: $c2s, transport: socket, sasl: {mechanisms: [scram_sha_1, scram_sha_256]}}
    - {bind_addr: $host, port: $c2s_tls, direct_tls: true, transport: socket, sasl: {mechanisms: [scram_sha_1, scram_sha_256]}}
s2s:
  listeners:
    - {bind_addr: $host, port: $s2s}
    - {bind_addr: $host, port: $s2s_tls, direct_tls: true}
  out:
    dialback_secret: secret of the tests
modules:
  enabled: [roster, offline, disco, version, stream_mgmt, ping, vcard]
`

// StartJackal runs jackal v0.64.0.
func (n *Network) StartJackal(o Options) *Peer {
	n.t.Helper()
	program := build(n.t, "jackalpeer")
	p, cert := n.peer("jackal", &o)
	admin := harness.FreeAddr()
	config := p.write("config.yaml", fill(jackalConfig, map[string]string{
		"dir": p.Dir, "domain": p.Domain, "host": host(p.C2S), "admin": port(admin), "http": port(harness.FreeAddr()),
		"c2s": port(p.C2S), "c2s_tls": port(p.C2STLS), "s2s": port(p.S2S), "s2s_tls": port(p.S2STLS),
		"cert": cert.Cert, "key": cert.Key,
	}))
	p.ready = []string{"jackalpeer: ready"}
	p.run = func(p *Peer) *exec.Cmd {
		cmd := exec.Command(program, "--config", config)
		cmd.Env = append(append(os.Environ(), n.Authority.Env()...), "JACKALPEER_DNS="+n.Names.Addr, "JACKALPEER_ADMIN="+admin,
			"JACKALPEER_USERS="+strings.Join(o.Users, " "), "JACKALPEER_PASSWORD="+harness.Password)
		return cmd
	}
	p.Launch()
	return p
}
