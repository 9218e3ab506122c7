package peers

import (
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"jackdaw/testsuite/harness"
)

const jackalConfig = `
memory_ballast_size: 4096
logger: {level: debug}
peppers: {keys: {old: "a pepper of at least 24 characters", new: "another one, which is in use now"}, use: new}
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
  enabled: [roster, offline, disco, version, stream_mgmt, ping, vcard$more]
`

// everywhere is a port that is free on all addresses, which is where jackal opens that of its metrics. It is
// none of those that FreeAddr and the kernel give out.
func everywhere(t testing.TB) int {
	t.Helper()
	for range 100 {
		port := 24000 + rand.IntN(8000)
		if l, err := net.Listen("tcp", ":"+strconv.Itoa(port)); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no port is free on all addresses")
	return 0
}

// StartJackal runs jackal v0.64.0. It accepts connections with direct TLS only from those with a certificate
// for the purpose clientAuth. It proves itself by EXTERNAL where that is offered; that a peer's certificate
// is sound it always insists on, in both directions. It knows neither bidirectional streams nor stream
// management between servers, takes no answers to its users' requests from other servers, and sends
// errors back on the stream of what they are about.
func (n *Network) StartJackal(o Options) *Peer {
	n.t.Helper()
	program := build(n.t, "jackalpeer")
	p, cert := n.peer("jackal", &o)
	admin := harness.FreeAddr()
	more := ""
	if o.Keeps {
		more = ", private, blocklist, mam"
	}
	config := p.write("config.yaml", fill(jackalConfig, map[string]string{"more": more,
		"dir": p.Dir, "domain": p.Domain, "host": host(p.C2S), "admin": port(admin), "http": strconv.Itoa(everywhere(n.t)),
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
