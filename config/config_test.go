package config

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// wholeFile is a file with every key at its default.
const wholeFile = `
data: ./data
hosts:
  - domain: localhost
    admins: []
    contact: {}
listen:
  c2s:      ["127.0.0.1:5222"]
  c2s_tls:  ["127.0.0.1:5223"]
  tls:      []
  s2s:      []
  s2s_tls:  []
  component: []
  http:     ["127.0.0.1:5280"]
  https:    ["127.0.0.1:5284"]
  metrics:  []
proxy_protocol: {listeners: [], from: []}
c2s:
  require_tls: true
  max_stanza: 262144
  max_stanza_preauth: 8192
  idle_timeout: 10m
  resume_window: 10m
  scram_iterations: 10000
s2s:
  require_tls: true
  dialback: true
  resolve: {}
  allow: []
  deny: []
limits: {}
registration: closed
storage:
  engine: embedded
  redis:
    addrs: ["127.0.0.1:6379"]
    master_name: ""
    username: ""
    password: ""
    db: 0
    prefix: "jackdaw:"
    wait_replicas: 0
http:
  url: ""
  allow_plaintext: false
  trusted_proxies: []
  max_body: 262144
  max_recipients: 10000
  forged_remote: refuse
  permissions:
    http_message: ["*"]
    multicast: []
    forge_sender: []
    xmppgateway: []
modules:
  archive: {keep: 30d}
  offline: {max_messages: 1000}
  muc: {domain: ""}
log: {level: info, format: text}
`

func TestDefaultIsValidAndWarnsOfNothing(t *testing.T) {
	c := Default()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	if len(c.Warnings) != 0 {
		t.Errorf("warnings: %q", c.Warnings)
	}
}

func TestWholeFileSaysTheDefaults(t *testing.T) {
	c, err := parse("jackdaw.yaml", []byte(wholeFile))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Warnings) > 0 {
		t.Errorf("warnings: %q", c.Warnings)
	}
	empty := cmp.FilterValues(func(a, b any) bool {
		va, vb := reflect.ValueOf(a), reflect.ValueOf(b)
		return va.IsValid() && vb.IsValid() && (va.Kind() == reflect.Slice || va.Kind() == reflect.Map) &&
			va.Len() == 0 && vb.Kind() == va.Kind() && vb.Len() == 0
	}, cmp.Ignore())
	if diff := cmp.Diff(Default(), c, empty); diff != "" {
		t.Errorf("defaults differ (-default +file):\n%s", diff)
	}
}

func TestEmptyFilesMeanTheDefaults(t *testing.T) {
	for _, text := range []string{"", "\n", "# nothing yet\n", "---\n", "limits:\nmodules:\n"} {
		c, err := parse("f", []byte(text))
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if c.C2S.MaxStanza != 262144 || len(c.Listen.C2S) != 1 || !c.Modules.Enabled("roster") {
			t.Errorf("%q: not the defaults", text)
		}
	}
}

func TestEveryKindOfValueIsRead(t *testing.T) {
	c, err := parse("f", []byte(`
hosts:
  - domain: IM.Example.org
    cert: /c
    key: /k
    admins: [Andy@im.example.org]
    contact: {abuse: ["mailto:abuse@example.org"]}
  - domain: two.example
listen: {c2s: [], http: ["unix:/run/j.sock", "[::1]:0"]}
c2s: {idle_timeout: 90s, resume_window: 0}
s2s: {resolve: {b.example: "127.0.0.1:15269"}}
limits: {client_stanza_bytes: 100000, roster_items: 7, auth_time: 1m, offline_bytes: 5000}
registration: invite
storage: {engine: redis, redis: {addrs: ["r:6379"], db: 3}}
http: {trusted_proxies: [10.1.2.3/8, 192.0.2.1]}
modules:
  vcard: false
  last: {enabled: false}
  offline: {max_messages: 5, enabled: true}
  muc: false
  archive: {keep: 0}
`))
	if err != nil {
		t.Fatal(err)
	}
	h := c.Host("im.example.org")
	if h == nil || h.Admins[0] != "andy@im.example.org" || h.Contact.Abuse[0] != "mailto:abuse@example.org" {
		t.Errorf("host: %+v", h)
	}
	if c.Host("example.org") != nil || c.Host("two.example") == nil {
		t.Error("Host finds what is not served, or not what is")
	}
	if len(c.Listen.C2S) != 0 || len(c.Listen.C2STLS) != 1 || len(c.Listen.HTTP) != 2 {
		t.Errorf("listen: %+v", c.Listen)
	}
	if c.C2S.IdleTimeout != 90*time.Second || c.C2S.ResumeWindow != 0 || c.C2S.MaxStanza != 100000 {
		t.Errorf("c2s: %+v", c.C2S)
	}
	if c.S2S.Resolve["b.example"] != "127.0.0.1:15269" {
		t.Errorf("resolve: %v", c.S2S.Resolve)
	}
	if c.Modules.Archive.Keep != 0 {
		t.Errorf("archive: %+v", c.Modules.Archive)
	}
	if c.Limits.RosterItems != 7 || c.Limits.AuthTime != time.Minute || c.Modules.Offline != (Offline{5, 5000}) {
		t.Errorf("limits: %+v, offline: %+v", c.Limits, c.Modules.Offline)
	}
	want := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.1/32")}
	if got := c.HTTP.TrustedProxies; len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("proxies: %v", got)
	}
	for name, on := range map[string]bool{
		"vcard": false, "last": false, "offline": true, "roster": true, "muc": false, "archive": true, "nosuch": false,
	} {
		if c.Modules.Enabled(name) != on {
			t.Errorf("module %s: on is %v", name, !on)
		}
	}
}

func TestWhatGoesWithAModuleThatIsOffIsWarnedOf(t *testing.T) {
	for text, want := range map[string]string{
		"modules: {stanzaid: false}\n":                 "f:1:21: modules.stanzaid: the archive goes with it and is off, too",
		"modules: {stanzaid: false, archive: false}\n": "",
		"modules: {blocking: false}\n":                 "f:1:21: modules.blocking: reports go with it and are off, too",
		"modules: {blocking: false, reports: false}\n": "",
	} {
		c, err := parse("f", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(c.Warnings, "\n"); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

func TestSharedGroupsAreChecked(t *testing.T) {
	for text, want := range map[string]string{
		`[{name: Company, members: ["*"]}]`:                        "",
		`[{name: Sales, members: [A@Example.org, b@example.org]}]`: "",
		`[{members: ["*"]}]`:                                       "expected a name of 1 to 1023 bytes",
		`[{name: A, members: ["*"]}, {name: A, members: ["*"]}]`:   "is there twice",
		`[{name: A, members: [a@example.org]}]`:                    "expected 2 to 500 accounts",
		`[{name: A, members: ["*", a@example.org]}]`:               "expected a bare JID",
		`[{name: A, members: [a@example.org, b@example.org/x]}]`:   "expected a bare JID",
		`[{name: A, members: [a@example.org, b@example.net]}]`:     "expected an account of example.org",
	} {
		c, err := parse("f", []byte("hosts: [{domain: Example.org, groups: "+text+"}]\n"))
		switch {
		case want == "" && err != nil, want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %q", text, err, want)
		case want == "" && strings.Contains(text, "Sales") && c.Hosts[0].Groups[0].Members[0] != "a@example.org":
			t.Errorf("%s: %q", text, c.Hosts[0].Groups)
		}
	}
}

func TestProxiesThatSayNothingAreWarnedOf(t *testing.T) {
	for text, want := range map[string]string{
		"proxy_protocol: {listeners: [c2s], from: [\"127.0.0.1\"]}\n": "",
		"proxy_protocol: {listeners: [c2s]}\n": "f:1:29: proxy_protocol.listeners: no proxy is trusted, so no header is " +
			"read; name the proxies in proxy_protocol.from",
		"proxy_protocol: {from: [\"127.0.0.1\"]}\n": "f:1:24: proxy_protocol.from: no header is read; name the " +
			"listeners that the proxies connect to in proxy_protocol.listeners",
		"proxy_protocol: {listeners: [c2s], from: [\"::/0\"]}\n": "f:1:43: proxy_protocol.from[0]: everybody may say " +
			"from which address they come",
		"listen: {http: [\"unix:/h\"]}\nproxy_protocol: {listeners: [c2s, http], from: [\"::1\"]}\n": "f:2:35: " +
			"proxy_protocol.listeners[1]: listen.http has no address that a proxy could connect to over TCP",
	} {
		c, err := parse("f", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(c.Warnings, "\n"); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

func TestWrongFilesAreRefusedWithThePlaceAndWhatWasExpected(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"unknown key", "data: x\nlissen: {}\n", "f:2:1: lissen: unknown key; expected one of data, hosts, listen,"},
		{"unknown nested key", "c2s:\n  max_stansa: 5\n", "f:2:3: c2s.max_stansa: unknown key; expected one of require_tls,"},
		{"unknown key in a list", "hosts:\n  - domain: a\n    crt: b\n", "f:3:5: hosts[0].crt: unknown key"},
		{"string for a number", "c2s: {max_stanza: \"262144\"}", "f:1:19: c2s.max_stanza: expected a whole number, found \"262144\""},
		{"fraction", "c2s: {max_stanza: 1.5}", "f:1:19: c2s.max_stanza: expected a whole number, found 1.5"},
		{"too large", "c2s: {max_stanza: 99999999999999999999}", "expected a whole number"},
		{"number for a string", "data: 7", "f:1:7: data: expected a string (put it in quotes), found 7"},
		{"string for a switch", "c2s:\n  require_tls: yes\n", "f:2:16: c2s.require_tls: expected true or false, found \"yes\""},
		{"scalar for a list", "listen: {c2s: \":5222\"}", "f:1:15: listen.c2s: expected a list, found \":5222\""},
		{"list for a mapping", "listen: [a]", "f:1:9: listen: expected keys and values, found a list"},
		{"scalar file", "hello", "f:1:1: expected keys and values, found \"hello\""},
		{"empty entry", "listen:\n  http:\n    -\n", "listen.http[0]: an empty entry"},
		{"duration without unit", "c2s: {idle_timeout: 600}", "f:1:21: c2s.idle_timeout: expected a duration such as 30s, 10m or 30d, found 600"},
		{"half a day", "modules: {archive: {keep: 1d12h}}", "expected a duration"},
		{"network", "http: {trusted_proxies: [proxy]}", "f:1:26: http.trusted_proxies[0]: expected an address or a network"},
		{"syntax", "data: [\n", "f:1:"},
		{"key twice", "data: a\ndata: b\n", "f:2:1: "},
		{"second document", "data: a\n---\ndata: b\n", "expected one"},
		{"alias", "a: &x b\n", "unknown key"},
		{"anchor", "data: &x b\n", "f:1:7: data: anchors"},
		{"calls without a door", "calls: {enabled: true, listen: []}", "calls.listen: expected an address such as :3478"},
		{"calls by few ports", "calls: {ports: {first: 50000, last: 49000}}", "calls.ports: expected first and last of 1024 to 65535"},
		{"calls at a name", "calls: {addresses: [im.example.org]}", "calls.addresses[0]: expected an address such as 192.0.2.7"},
		{"calls at two addresses", "calls: {addresses: [192.0.2.7, 192.0.2.8]}", "calls.addresses[1]: expected one address of IPv4"},
		{"a slow relay", "calls: {rate: 1}", "calls.rate: expected 16384 or more, found 1"},
		{"a relay of nothing", "calls: {external: [{type: ftp, host: a, port: 1, transport: udp}]}", "calls.external[0].type: expected one of stun"},
		{"a relay nowhere", "calls: {external: [{type: turn, host: a, port: 0, transport: udp}]}", "calls.external[0].port: expected 1 to 65535"},
		{"a proxy without a door", "modules: {bytestreams: {enabled: true, listen: []}}", "modules.bytestreams.listen: expected an address"},
		{"unknown module", "modules:\n  roaster: {}\n", "f:2:3: modules.roaster: unknown module; expected one of administration, announcements, archive, blocking,"},
		{"rooms at a host", "modules:\n  muc: {domain: localhost}\n", "f:2:17: modules.muc.domain: localhost is one of hosts; expected a domain of its own, such as rooms.localhost"},
		{"rooms at a component", "component: {secrets: {a.localhost: x}}\nmodules: {muc: {domain: a.localhost}}\n", "modules.muc.domain: a.localhost is a component's"},
		{"rooms that forget the future", "modules: {muc: {keep: -1s}}", "modules.muc.keep: expected a time, or 0 for ever"},
		{"files at no URL", "modules: {upload: {url: im.example.org/upload}}", "f:1:25: modules.upload.url: expected a URL such as https://im.example.org:5284/upload"},
		{"files at a question", "modules: {upload: {url: \"https://a/upload?x\"}}", "modules.upload.url: expected a URL such as"},
		{"files in the clear", "modules: {upload: {url: \"http://im.example.org/upload\"}}", "modules.upload.url: expected https; http is for this machine alone"},
		{"files that no quota allows", "modules: {upload: {quota: 5}}", "modules.upload.quota: expected 104857600 or more, found 5"},
		{"files without bytes", "modules: {upload: {max_size: 0}}", "modules.upload.max_size: expected 1 or more, found 0"},
		{"files that go at once", "modules: {upload: {keep: 1m}}", "modules.upload.keep: expected 1h or more, or 0 for ever"},
		{"files in a bucket of nobody", "modules: {upload: {s3: {bucket: files}}}", "modules.upload.s3.endpoint: expected where the object store is"},
		{"files nowhere", "modules: {upload: {s3: {endpoint: s3.example.org}}}", "modules.upload.s3.endpoint: expected a URL without a path"},
		{"files in a bucket by its URL", bucketOf("endpoint: https://s3.example.org/files"), "modules.upload.s3.endpoint: expected a URL without a path"},
		{"a bucket in the clear", bucketOf("endpoint: http://s3.example.org"), "expected https, or modules.upload.s3.allow_plaintext: true"},
		{"a bucket without a name", bucketOf("bucket: ''"), "modules.upload.s3.bucket: expected the name of a bucket"},
		{"a bucket with a path", bucketOf("bucket: a/b"), "modules.upload.s3.bucket: expected the name of a bucket"},
		{"a bucket of no region", bucketOf("region: ''"), "modules.upload.s3.region: expected the region"},
		{"a bucket without a key", bucketOf("access_key: ''"), "modules.upload.s3.access_key: expected the access key"},
		{"a bucket without a secret", bucketOf("secret_key: ''"), "modules.upload.s3.secret_key_file: expected a file"},
		{"a bucket with two secrets", bucketOf("secret_key_file: a"), "modules.upload.s3.secret_key_file: given beside secret_key"},
		{"a bucket with a way up", bucketOf("prefix: /a"), "modules.upload.s3.prefix: expected words"},
		{"a bucket of a strange style", bucketOf("style: dns"), "modules.upload.s3.style: expected one of auto, path, host"},
		{"a bucket that is a directory", "modules: {upload: {shared: true, s3: {endpoint: 'https://a', bucket: abc, access_key: a, secret_key: b}}}",
			"modules.upload.shared: given beside modules.upload.s3"},
		{"files for no request", "modules: {upload: {max_size: 5368709120, quota: 5368709120, s3: {endpoint: 'https://a', bucket: abc, access_key: a, secret_key: b}}}",
			"modules.upload.max_size: expected 5367660544 or less"},
		{"push that tells too much", "modules: {push: {content: all}}", `modules.push.content: expected one of none, sender, full, found "all"`},
		{"push without registrations", "modules: {push: {registrations: 0}}", "modules.push.registrations: expected 1 or more, found 0"},
		{"push without rest", "modules: {push: {interval: 10ms}}", "modules.push.interval: expected 1s or more"},
		{"HTTP at no URL", "http: {url: im.example.org}", "f:1:13: http.url: expected a URL such as https://im.example.org"},
		{"HTTP in the clear", "http: {url: \"http://im.example.org\"}", "http.url: expected https; http is for this machine alone"},
		{"an address by name", "modules: {hostmeta: {addresses: [im.example.org]}}", `f:1:34: modules.hostmeta.addresses[0]: expected an address such as 192.0.2.7, found "im.example.org"`},
		{"any address", "modules: {hostmeta: {addresses: [\"::\"]}}", "modules.hostmeta.addresses[0]: expected an address"},
		{"told for ever", "modules: {hostmeta: {ttl: 30d}}", "modules.hostmeta.ttl: expected 1m to 7d, found 720h0m0s"},
		{"pins of nothing", "modules: {hostmeta: {addresses: [\"::1\"], pins: [YQ==]}}", "modules.hostmeta.pins[0]: expected the SHA-256"},
		{"pins without addresses", "modules: {hostmeta: {pins: [\"4/mggdlVx8A3pvHAWW5sD+qJyMtUHgiRuPjVC48N0XQ=\"]}}", "modules.hostmeta.pins: told only with modules.hostmeta.addresses"},
		{"invitations for ever", "modules: {invitations: {expires: 0s}}", "modules.invitations.expires: expected 1m to 365d, found 0s"},
		{"invitations to nobody", "modules: {invitations: {uses: 0}}", "modules.invitations.uses: expected 1 to 1000, found 0"},
		{"too many invitations", "modules: {invitations: {per_account: 1001}}", "modules.invitations.per_account: expected 1 to 1000, found 1001"},
		{"strangers", "modules: {strangers: {policy: bite}}", `modules.strangers.policy: expected one of deliver, hold, refuse, found "bite"`},
		{"strangers of a host", "modules: {strangers: {hosts: {localhost: bite}}}", `modules.strangers.hosts[localhost]: expected one of deliver, hold, refuse, found "bite"`},
		{"strangers of another's host", "modules: {strangers: {hosts: {a.example: hold}}}", "modules.strangers.hosts[a.example]: a.example is none of hosts"},
		{"reports to a client", "modules: {reports: {third_parties: [a@b/c]}}", "modules.reports.third_parties[0]: expected an address such as reports.example.org"},
		{"a block list at no service", "modules: {blocklists: {lists: [{service: a@b/c, node: x}]}}", "modules.blocklists.lists[0].service: expected the address of a publish-subscribe service"},
		{"a block list without a node", "modules: {blocklists: {lists: [{service: rtbl.example}]}}", "modules.blocklists.lists[0].node: expected the name of a node"},
		{"a block list that lets in", "modules: {blocklists: {policy: deliver}}", `modules.blocklists.policy: expected one of hold, refuse, found "deliver"`},
		{"makers of nodes", "modules: {pubsub: {create: cats}}", `modules.pubsub.create: expected one of users, admins, anyone, found "cats"`},
		{"makers of nodes of a host", "modules: {pubsub: {hosts: {localhost: cats}}}", `modules.pubsub.hosts[localhost]: expected one of users, admins, anyone, found "cats"`},
		{"makers of nodes of another's host", "modules: {pubsub: {hosts: {a.example: admins}}}", "modules.pubsub.hosts[a.example]: a.example is none of hosts"},
		{"fewer than no recipients", "modules: {strangers: {recipients: -1}}", "modules.strangers.recipients: expected 0 or more, found -1"},
		{"setting of a module without", "modules: {ping: {every: 5m}}", "f:1:18: modules.ping.every: unknown key; expected enabled"},
		{"setting of offline", "modules: {offline: {max: 5}}", "modules.offline.max: unknown key; expected one of max_messages, max_bytes"},
		{"two names", "c2s: {max_stanza: 20000}\nlimits: {client_stanza_bytes: 20000}\n", "f:2:10: limits.client_stanza_bytes: given also as c2s.max_stanza"},
		{"two names, other order", "limits: {client_stanza_bytes: 20000}\nc2s: {max_stanza: 20000}\n", "f:2:7: c2s.max_stanza: given also as limits.client_stanza_bytes"},

		{"no host", "hosts: []", "f:1:8: hosts: expected at least one domain"},
		{"a face that is none", "hosts: [{domain: a, face: slack}]", `hosts[0].face: expected ntfy, or "" for none, found "slack"`},
		{"bodies too large", "hooks: {max_body: 99999999}", "hooks.max_body: expected 26214400 or less: no program sends more"},
		{"texts too short", "hooks: {max_text: 10}", "hooks.max_text: expected 200 to 60000"},
		{"host without domain", "hosts:\n  - admins: []\n", "f:2:5: hosts[0].domain: expected a domain"},
		{"domain with local part", "hosts: [{domain: a@b}]", "f:1:18: hosts[0].domain: expected a domain, found \"a@b\""},
		{"domain twice", "hosts:\n- domain: a.b\n- domain: A.b\n", "f:3:11: hosts[1].domain: a.b is there twice"},
		{"cert without key", "hosts:\n- domain: a.b\n  cert: x\n", "f:3:9: hosts[0].cert: a certificate without its key"},
		{"key without cert", "hosts:\n- domain: a.b\n  key: x\n", "f:3:8: hosts[0].key: a key without its certificate"},
		{"admin", "hosts:\n- domain: a.b\n  admins: [x@a.b, a.b]\n", "f:3:19: hosts[0].admins[1]: expected a bare JID"},
		{"outage", "hosts:\n- domain: a.b\n  outage: [\"https://a.b/o\", \"xmpp:me@a.b\"]\n", "f:3:29: hosts[0].outage[1]: expected a URL"},
		{"contact", "hosts:\n- domain: a.b\n  contact: {abuse: [me]}\n", "f:3:21: hosts[0].contact.abuse[0]: expected a URI"},
		{"open plain HTTP", "listen:\n  http: [\"127.0.0.1:1\", \":5280\"]\n", "f:2:25: listen.http[1]: :5280 is reachable from elsewhere"},
		{"plain c2s", "listen: {c2s: [\":5222\"]}\nc2s:\n  require_tls: false\n", "f:3:16: c2s.require_tls: expected true, since listen.c2s[0] (:5222)"},
		{"open component", "listen: {component: [\"192.0.2.1:5347\"]}", "listen.component[0]: 192.0.2.1:5347 is reachable"},
		{"no port", "listen: {c2s: [localhost]}", "f:1:16: listen.c2s[0]: expected HOST:PORT"},
		{"port too high", "listen: {c2s: [\"127.0.0.1:70000\"]}", "expected HOST:PORT"},
		{"unix for c2s", "listen: {c2s: [\"unix:/x\"]}", "unix:PATH is for listen.http"},
		{"proxies of nothing", "proxy_protocol: {listeners: [smtp]}", `f:1:30: proxy_protocol.listeners[0]: expected one of c2s, c2s_tls, tls, s2s, s2s_tls, component, http, https, acme, metrics, found "smtp"`},
		{"proxies by name", "proxy_protocol: {from: [nginx]}", "f:1:25: proxy_protocol.from[0]: expected an address or a network"},
		{"address twice", "listen: {c2s: [\"127.0.0.1:5280\"]}", "listen.http[0]: 127.0.0.1:5280 is taken by listen.c2s[0]"},
		{"iterations", "c2s: {scram_iterations: 4095}", "f:1:25: c2s.scram_iterations: expected 4096 or more, found 4095"},
		{"stanza", "limits: {client_stanza_bytes: 9999}", "f:1:31: c2s.max_stanza: expected 10000 or more"},
		{"limit of nothing", "limits: {elements: 0}", "f:1:20: limits.elements: expected 1 or more, found 0"},
		{"limit below none", "limits: {auth_time: -1s}", "limits.auth_time: expected a time above 0"},
		{"disk", "limits: {disk_warn: 1}", "f:1:21: limits.disk_warn: expected disk_reserve (268435456) or more"},
		{"back-off", "limits: {login_backoff_max: 1ms}", "limits.login_backoff_max: expected login_backoff_min"},
		{"approval", "limits: {approval_age: 10m}", "limits.approval_age: expected 1h or more, found 10m0s"},
		{"registration", "registration: maybe", "f:1:15: registration: expected one of closed, invite, approve, open, found \"maybe\""},
		{"engine", "storage: {engine: bdb}", "f:1:19: storage.engine: expected one of embedded, redis"},
		{"two passwords", "storage:\n  redis: {password: a, password_file: b}\n", "storage.redis.password_file: given beside password"},
		{"cluster db", "storage: {redis: {addrs: [\"a:1\", \"b:1\"], db: 1}}", "storage.redis.db: expected 0"},
		{"no url of Redis", "storage: {redis: {url: \"http://:secret@a/1\"}}", "f:1:24: storage.redis.url: expected redis://"},
		{"twice where", "storage: {redis: {url: \"redis://a\", addrs: [\"b:1\"]}}", "storage.redis.addrs: given beside storage.redis.url"},
		{"twice the database", "storage: {redis: {url: \"redis://a/1\", db: 1}}", "storage.redis.db: given beside storage.redis.url"},
		{"twice the password", "storage: {redis: {url: \"redis://:secret@a\", password: b}}", "storage.redis.password: given beside"},
		{"password and its file", "storage: {redis: {url: \"redis://:secret@a\", password_file: b}}", "storage.redis.password_file: given beside"},
		{"cluster db by url", "storage: {redis: {url: \"redis://a,b/1\"}}", "storage.redis.url: expected 0"},
		{"sentinels in a socket", "storage: {redis: {url: \"unix:///s\", master_name: m}}", "storage.redis.url: expected the addresses of sentinels"},
		{"certificate without key", "storage: {redis: {url: \"rediss://a\", tls: {cert: c}}}", "f:1:43: storage.redis.tls: expected both cert and key"},
		{"TLS without TLS", "storage: {redis: {url: \"redis://a\", tls: {ca: c}}}", "storage.redis.tls: given without TLS; expected storage.redis.url"},
		{"TLS without url", "storage: {redis: {tls: {ca: c}}}", "storage.redis.tls: given without TLS; expected storage.redis.url"},
		{"permission", "http: {permissions: {multicast: [\"*\", \"*@x.y\", \"x.y\"]}}", "http.permissions.multicast[2]: expected \"*\", \"*@example.org\" or a bare JID"},
		{"hook", "http: {sender_hook: \"ftp://example.org\"}", "f:1:21: http.sender_hook: expected an http or https URL"},
		{"hook without a host", "http: {sender_hook: \"http:/replies\"}", "f:1:21: http.sender_hook: expected an http or https URL"},
		{"socket user", "http:\n  socket_users:\n    web user: a@localhost\n", `f:3:15: http.socket_users[web user]: expected the name or the number of a user`},
		{"no socket user", "http: {socket_users: {\"@\": a@localhost}}", `http.socket_users[@]: expected the name or the number of a user`},
		{"too large a number", "http: {socket_users: {4294967295: a@localhost}}", `http.socket_users[4294967295]: expected the name`},
		{"socket user is no account", "http: {socket_users: {root: localhost}}", `f:1:29: http.socket_users[root]: expected an account such as web@example.org, found "localhost"`},
		{"socket user with a resource", "http: {socket_users: {root: a@localhost/x}}", `http.socket_users[root]: expected an account`},
		{"socket user of another's host", "http: {socket_users: {root: a@b.example}}", `f:1:29: http.socket_users[root]: b.example is none of hosts`},
		{"socket user is a list", "http: {socket_users: {root: [a@localhost]}}", `http.socket_users.root: expected a string`},
		{"socket user twice", "http: {socket_users: {root: a@localhost, root: b@localhost}}", "f:1:"},
		{"resolve", "s2s: {resolve: {b.example: nowhere}}", "f:1:28: s2s.resolve[b.example]: expected HOST:PORT"},
		{"allow", "s2s: {allow: [\"a b\"]}", "s2s.allow[0]: expected a domain"},
		{"level", "log: {level: loud}", "f:1:14: log.level: expected one of debug, info, warn, error, found \"loud\""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := parse("f", []byte(tt.text))
			if err == nil {
				t.Fatalf("accepted: %+v", c)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got  %s\nwant %s", err, tt.want)
			}
			var all Errors
			if !errors.As(err, &all) || all[0].Line == 0 || all[0].Column == 0 {
				t.Errorf("no position in %#v", err)
			}
		})
	}
}

func TestAllProblemsAreReportedInTheOrderOfTheFile(t *testing.T) {
	_, err := parse("f", []byte("log: {level: loud}\nc2s: {scram_iterations: 1}\ndata: \"\"\n"))
	var all Errors
	if !errors.As(err, &all) || len(all) != 3 || all[0].Key != "log.level" || all[2].Key != "data" {
		t.Errorf("got %v", err)
	}
}

func TestOpenListenersAreAcceptedWhenTheFileAllowsThem(t *testing.T) {
	for _, text := range []string{
		"listen: {http: [\":80\"]}\nhttp: {allow_plaintext: true}",
		"listen: {http: [\":80\"]}\nhttp: {trusted_proxies: [10.0.0.1]}",
		"listen: {https: [\":443\"]}",
		"listen: {c2s: [\"localhost:5222\", \"[::1]:5222\"]}\nc2s: {require_tls: false}",
	} {
		if _, err := parse("f", []byte(text)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestComponentsHaveADomainAndASecret(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("hush\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := parse("f", []byte("component: {secrets: {Bot.localhost: abc, irc.localhost: \"file:"+secret+"\"}}\nlisten: {component: [\"127.0.0.1:5347\"]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	for domain, want := range map[string]string{"bot.localhost": "abc", "irc.localhost": "hush"} {
		if got, ok, err := c.Component.Secret(domain); got != want || !ok || err != nil {
			t.Errorf("%s: %q, %v, %v", domain, got, ok, err)
		}
	}
	if _, ok, _ := c.Component.Secret("other.localhost"); ok {
		t.Error("a domain that is no component's has a secret")
	}
	for text, want := range map[string]string{
		"component: {secrets: {localhost: x}}":                                       "one of hosts",
		"component: {secrets: {bot.localhost: \"\"}}":                                "expected a secret",
		"listen: {component: [\"127.0.0.1:5347\"]}":                                  "no component could log in",
		"listen: {component: [\":5347\"]}\ncomponent: {secrets: {bot.localhost: x}}": "allow_plaintext",
		"s2s: {resolve: {b.example: \"tls:192.0.2.1\"}}":                             "HOST:PORT",
		"s2s: {require_certificate: [\"a@b.example\"]}":                              "expected a domain",
	} {
		if _, err := parse("f", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestLoadNamesTheFileItReads(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jackdaw.yaml")
	if _, err := Load(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	if err := os.WriteFile(path, []byte("data: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil || !strings.HasPrefix(err.Error(), path+":1:7: data: ") {
		t.Errorf("got %v", err)
	}
}

func TestRedisSecretComesFromItsFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte("s3 cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		redis Redis
		want  string
	}{{Redis{Password: "p"}, "p"}, {Redis{PasswordFile: path}, "s3 cret"}, {Redis{}, ""}} {
		if got, err := tt.redis.Secret(); err != nil || got != tt.want {
			t.Errorf("%+v: %q, %v", tt.redis, got, err)
		}
	}
	if _, err := (Redis{PasswordFile: path + "x"}).Secret(); err == nil {
		t.Error("a missing file gave a password")
	}
}

func TestEveryKeyOfTheStructsHasAName(t *testing.T) {
	var walk func(reflect.Type)
	walk = func(typ reflect.Type) {
		if typ == modulesType || typ == prefixType {
			return
		}
		for i := range typ.NumField() {
			f := typ.Field(i)
			if f.Tag.Get("yaml") == "" {
				t.Errorf("%s.%s has no yaml tag", typ, f.Name)
			}
			inner := f.Type
			for inner.Kind() == reflect.Slice {
				inner = inner.Elem()
			}
			if inner.Kind() == reflect.Struct {
				walk(inner)
			}
		}
	}
	walk(reflect.TypeFor[Config]())
}

func FuzzParse(f *testing.F) {
	f.Add(wholeFile)
	f.Add("hosts: [{domain: a.b, cert: x}]\nmodules: {vcard: {enabled: false}}")
	f.Add("limits: {client_stanza_bytes: 1}\nc2s: [1, {a: b}]")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parse("f", []byte(text))
		if err == nil && c.Validate() != nil {
			t.Errorf("accepted, but does not validate a second time: %v", c.Validate())
		}
	})
}

func TestReloadNamesWhatNeedsARestart(t *testing.T) {
	old, next := Default(), Default()
	next.Hosts = append(next.Hosts, Host{Domain: "two.example"})
	next.Limits.RosterItems++
	next.Modules.Off = map[string]bool{"vcard": true}
	next.HTTP.Permissions.Multicast = []string{"*"}
	if got := KeepRunning(old, next); len(got) != 0 {
		t.Errorf("taken up at once, and yet named: %q", got)
	}
	next.Data = "elsewhere"
	next.Listen.C2S = nil
	next.Storage.Redis.Addrs = []string{"a:1"}
	next.Limits.HTTPIdle++
	var keys []string
	for _, note := range KeepRunning(old, next) {
		key, _, _ := strings.Cut(note, ":")
		keys = append(keys, key)
	}
	if next.Data != old.Data || next.Limits.HTTPIdle != old.Limits.HTTPIdle || len(KeepRunning(old, next)) != 0 {
		t.Error("what runs is not what the configuration says afterwards")
	}
	if diff := cmp.Diff([]string{"data", "listen", "storage", "limits.http_idle"}, keys); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestFilesArePlacedWhereNobodyElseIs(t *testing.T) {
	c, err := parse("f", []byte("hosts: [{domain: a.example}, {domain: b.example}, {domain: upload.b.example}, {domain: c.example}, {domain: d.example}]\n"+
		"component: {secrets: {upload.c.example: x}}\nmodules: {muc: {domain: upload.d.example}, upload: {url: \"http://127.0.0.1:80/files/\"}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if c.Modules.Upload.URL != "http://127.0.0.1:80/files" {
		t.Errorf("the URL is %s", c.Modules.Upload.URL)
	}
	for host, want := range map[string]bool{"a.example": true, "b.example": false, "c.example": false, "d.example": false} {
		if domain, ok := c.UploadDomain(host); domain != "upload."+host || ok != want {
			t.Errorf("%s: %s, %v", host, domain, ok)
		}
	}
}

// bucketOf is a configuration of a bucket in which one key is another.
func bucketOf(changed string) string {
	keys := "endpoint: 'https://s3.example.org'\nbucket: files\nregion: r\naccess_key: a\nsecret_key: b\nstyle: auto\nprefix: ''\n"
	name, _, _ := strings.Cut(changed, ":")
	var kept []string
	for line := range strings.Lines(keys) {
		if !strings.HasPrefix(line, name+":") {
			kept = append(kept, strings.TrimSpace(line))
		}
	}
	return "modules: {upload: {s3: {" + strings.Join(append(kept, changed), ", ") + "}}}"
}

func TestABucketForFilesIsTakenAsItIsMeant(t *testing.T) {
	for text, want := range map[string]S3{
		bucketOf("endpoint: https://s3.example.org:9000/"): {Endpoint: "https://s3.example.org:9000"},
		bucketOf("endpoint: http://127.0.0.1:9000"):        {Endpoint: "http://127.0.0.1:9000"},
		bucketOf("prefix: a/b"):                            {Prefix: "a/b/"},
		bucketOf("prefix: a/"):                             {Prefix: "a/"},
	} {
		c, err := parse("f", []byte(text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		got := c.Modules.Upload.S3
		if want.Endpoint != "" && got.Endpoint != want.Endpoint || got.Prefix != want.Prefix {
			t.Errorf("%s: %q, %q", text, got.Endpoint, got.Prefix)
		}
		if host, tls := got.Place(); !got.On() || tls != strings.HasPrefix(got.Endpoint, "https") || strings.Contains(host, "/") {
			t.Errorf("%s: it is at %s, TLS %v", text, host, tls)
		}
	}
}
