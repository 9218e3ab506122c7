package peers

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"jackdaw/testsuite/harness"
)

const ejabberdConfig = `
hosts: ["$domain"]
loglevel: info
log_burst_limit_count: 100000
log_rotate_count: 0
certfiles: ["$both"]
ca_file: "$authority"
auth_method: internal
s2s_use_starttls: $starttls
s2s_timeout: 30s
listen:
  - {port: $c2s, ip: "$host", module: ejabberd_c2s, access: all, starttls: true, shaper: none}
  - {port: $c2s_tls, ip: "$host", module: ejabberd_c2s, access: all, tls: true, shaper: none}
  - {port: $s2s, ip: "$host", module: ejabberd_s2s_in, shaper: none}
  - {port: $s2s_tls, ip: "$host", module: ejabberd_s2s_in, tls: true, shaper: none}
modules:
  mod_roster: {}
  mod_offline: {}
  mod_disco: {}
  mod_ping: {}
  mod_version: {}
  mod_vcard: {search: false}
  mod_stream_mgmt: {}
$dialback
`

// StartEjabberd runs Debian's ejabberd, in an Erlang machine that is no node of a distributed system and so needs no
// name nor port mapper. Its log says how each stream is authenticated. With NoDialback it insists on valid
// certificates. What it has stored in the last minutes is lost when it is killed, except that its accounts are made
// again. It offers EXTERNAL and believes it of certificates for the purpose clientAuth, else wants dialback; it knows
// neither bidirectional streams nor stream management between servers.
func (n *Network) StartEjabberd(o Options) *Peer {
	n.t.Helper()
	needs(n.t, "ejabberdctl", "ejabberd")
	erl := needs(n.t, "erl", "ejabberd")
	libs, _ := filepath.Glob("/usr/lib/*/ejabberd-*/ebin") // the pattern is sound
	if len(libs) == 0 {
		n.t.Fatal("ejabberd's library is not in /usr/lib: apt-get install --no-install-recommends ejabberd")
	}
	p, cert := n.peer("ejabberd", &o)
	starttls, dialback := "required", "  mod_s2s_dialback: {}"
	if o.NoDialback {
		dialback = ""
	}
	config := p.write("ejabberd.yml", fill(ejabberdConfig, map[string]string{
		"domain": p.Domain, "host": host(p.C2S),
		"c2s": port(p.C2S), "c2s_tls": port(p.C2STLS), "s2s": port(p.S2S), "s2s_tls": port(p.S2STLS),
		"both": cert.Both, "authority": n.Authority.File, "starttls": starttls, "dialback": dialback,
	}))
	inetrc := p.write("inetrc", "{lookup, [dns]}.\n{resolv_conf, \"\"}.\n{hosts_file, \"\"}.\n{nameserver, {"+
		strings.ReplaceAll(host(n.Names.Addr), ".", ",")+"}, "+port(n.Names.Addr)+"}.\n")
	var accounts strings.Builder
	for _, u := range o.Users {
		accounts.WriteString(`ejabberd_auth:try_register(<<"` + u + `">>, <<"` + p.Domain + `">>, <<"` + harness.Password + `">>), `)
	}
	p.ready = []string{"ejabberd of the tests: ready"}
	p.run = func(p *Peer) *exec.Cmd {
		eval := accounts.String() + `io:format("` + p.ready[0] + `~n").`
		cmd := exec.Command(erl, "-noinput", "-boot", "start_sasl", "-sasl", "sasl_error_logger", "false",
			"-mnesia", "dir", `"`+p.Dir+`/spool"`, "-s", "ejabberd", "-eval", eval)
		cmd.Env = append(os.Environ(), "ERL_LIBS="+filepath.Dir(filepath.Dir(libs[0])), "ERL_INETRC="+inetrc,
			"EJABBERD_CONFIG_PATH="+config, "EJABBERD_LOG_PATH="+filepath.Join(p.Dir, "ejabberd.log"),
			"HOME="+p.Dir, "ERL_CRASH_DUMP_BYTES=0")
		return cmd
	}
	p.Launch()
	return p
}
