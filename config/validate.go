package config

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"jackdaw/xmpp/jid"
)

// Validate normalises domains and addresses and checks what no type can say. The
// error is Errors, with keys but without positions: Load adds those.
func (c *Config) Validate() error {
	if p := c.problems(); len(p) > 0 {
		return Errors(p)
	}
	return nil
}

// A checker collects what is wrong.
type checker struct{ found []*Error }

func (k *checker) add(key, format string, args ...any) {
	k.found = append(k.found, &Error{Key: key, Problem: fmt.Sprintf(format, args...)})
}

func (k *checker) atLeast(key string, n, least int64) {
	if n < least {
		k.add(key, "expected %d or more, found %d", least, n)
	}
}

func (k *checker) oneOf(key, s string, allowed ...string) {
	if !slices.Contains(allowed, s) {
		k.add(key, "expected one of %s, found %q", strings.Join(allowed, ", "), s)
	}
}

func (c *Config) problems() []*Error {
	k := &checker{}
	if c.Data == "" {
		k.add("data", "expected a directory")
	}
	c.checkHosts(k)
	c.checkListen(k)
	c.checkProxyProtocol(k)
	c.checkACME(k)

	k.atLeast("c2s.max_stanza_preauth", int64(c.C2S.MaxStanzaPreauth), 1024)
	// RFC 6120 §13.12: a server must not refuse stanzas below 10,000 bytes.
	k.atLeast("c2s.max_stanza", int64(c.C2S.MaxStanza), 10000)
	if c.C2S.IdleTimeout <= 0 {
		k.add("c2s.idle_timeout", "expected a time above 0")
	}
	if c.C2S.ResumeWindow < 0 {
		k.add("c2s.resume_window", "expected 0 or more")
	}
	if l := c.C2S.TokenLifetime; l != 0 && l < time.Hour || l > 10*365*24*time.Hour {
		k.add("c2s.token_lifetime", "expected 0, or 1h to ten years")
	}
	k.atLeast("c2s.scram_iterations", int64(c.C2S.ScramIterations), 4096) // RFC 7677 §4
	if c.C2S.ScramIterations > 10_000_000 {
		k.add("c2s.scram_iterations", "expected 10000000 or less: a login would take seconds")
	}

	c.S2S.Resolve = byDomain(k, "s2s.resolve", c.S2S.Resolve)
	for domain, addr := range c.S2S.Resolve {
		k.hostPort("s2s.resolve["+domain+"]", strings.TrimPrefix(addr, "tls:"))
	}
	k.domains("s2s.require_certificate", c.S2S.RequireCertificate)
	k.domains("s2s.allow_plaintext", c.S2S.AllowPlaintext)
	k.domains("s2s.allow", c.S2S.Allow)
	k.domains("s2s.deny", c.S2S.Deny)
	c.checkComponents(k)
	c.checkAccounts(k)
	c.checkLimits(k)

	k.oneOf("registration", string(c.Registration),
		string(RegistrationClosed), string(RegistrationInvite), string(RegistrationApprove), string(RegistrationOpen))
	c.checkStorage(k)

	k.publicURL("http.url", &c.HTTP.URL, "https://im.example.org")
	k.atLeast("http.max_body", int64(c.HTTP.MaxBody), 1024)
	k.atLeast("http.max_recipients", int64(c.HTTP.MaxRecipients), 1)
	k.atLeast("hooks.max_body", int64(c.Hooks.MaxBody), 1024)
	if c.Hooks.MaxBody > 25<<20 {
		k.add("hooks.max_body", "expected 26214400 or less: no program sends more")
	}
	if c.Hooks.MaxText < 200 || c.Hooks.MaxText > 60000 {
		k.add("hooks.max_text", "expected 200 to 60000")
	}
	k.oneOf("http.forged_remote", c.HTTP.ForgedRemote, ForgedRefuse, ForgedOwnAddress)
	if u, err := url.Parse(c.HTTP.SenderHook); c.HTTP.SenderHook != "" &&
		(err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
		k.add("http.sender_hook", "expected an http or https URL")
	}
	c.checkSocketUsers(k)
	for i, origin := range c.Web.Origins {
		// RFC 6454 §6.2: scheme, host and port, and nothing else.
		u, err := url.Parse(origin)
		if origin != "*" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil ||
			strings.TrimPrefix(origin, u.Scheme+"://") != u.Host) {
			k.add(fmt.Sprintf("web.origins[%d]", i), `expected "*" or an origin such as https://chat.example.org, found %q`, origin)
		}
	}
	for key, accounts := range map[string][]string{
		"http_message": c.HTTP.Permissions.HTTPMessage,
		"multicast":    c.HTTP.Permissions.Multicast,
		"forge_sender": c.HTTP.Permissions.ForgeSender,
		"xmppgateway":  c.HTTP.Permissions.XMPPGateway,
	} {
		k.bareJIDs("http.permissions."+key, accounts, true)
	}

	k.atLeast("modules.offline.max_messages", int64(c.Modules.Offline.MaxMessages), 1)
	k.atLeast("modules.offline.max_bytes", c.Modules.Offline.MaxBytes, 1)
	if c.Modules.Archive.Keep < 0 {
		k.add("modules.archive.keep", "expected a time, or 0 for ever")
	}
	c.checkRooms(k)
	c.checkStrangers(k)
	c.checkBlocklists(k)
	c.checkReports(k)
	c.checkPubSub(k)
	c.checkUpload(k)
	c.checkPosts(k)
	c.checkHostMeta(k)
	c.checkInvitations(k)
	c.checkCalls(k)
	c.checkBytestreams(k)
	k.oneOf("modules.push.content", c.Modules.Push.Content, PushNone, PushSender, PushFull)
	k.atLeast("modules.push.registrations", int64(c.Modules.Push.Registrations), 1)
	if c.Modules.Push.Interval < time.Second {
		k.add("modules.push.interval", "expected 1s or more")
	}
	if keep := c.Modules.Devices.Keep; keep != 0 && keep < time.Hour {
		k.add("modules.devices.keep", "expected 1h or more, or 0 for ever")
	}
	k.oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
	k.oneOf("log.format", c.Log.Format, "text", "json")
	return k.found
}

func (c *Config) checkPubSub(k *checker) {
	p := &c.Modules.PubSub
	k.oneOf("modules.pubsub.create", p.Create, PubSubUsers, PubSubAdmins, PubSubAnyone)
	p.Hosts = c.byHost(k, "modules.pubsub.hosts", p.Hosts, PubSubUsers, PubSubAdmins, PubSubAnyone)
}

// byHost is byDomain for hosts, each of which has one of these values.
func (c *Config) byHost(k *checker, key string, m map[string]string, values ...string) map[string]string {
	m = byDomain(k, key, m)
	for host, value := range m {
		k.oneOf(key+"["+host+"]", value, values...)
		if c.Host(host) == nil {
			k.add(key+"["+host+"]", "%s is none of hosts", host)
		}
	}
	return m
}

func (c *Config) checkStrangers(k *checker) {
	s := &c.Modules.Strangers
	k.oneOf("modules.strangers.policy", s.Policy, StrangersDeliver, StrangersHold, StrangersRefuse)
	k.atLeast("modules.strangers.recipients", int64(s.Recipients), 0)
	s.Hosts = c.byHost(k, "modules.strangers.hosts", s.Hosts, StrangersDeliver, StrangersHold, StrangersRefuse)
}

func (c *Config) checkBlocklists(k *checker) {
	b := &c.Modules.Blocklists
	k.oneOf("modules.blocklists.policy", b.Policy, StrangersHold, StrangersRefuse)
	if len(b.Lists) > MostBlocklists {
		k.add("modules.blocklists.lists", "expected %d lists at most", MostBlocklists)
	}
	for i := range b.Lists {
		key := fmt.Sprintf("modules.blocklists.lists[%d]", i)
		j, err := jid.Parse(b.Lists[i].Service)
		if err != nil || !j.IsBare() {
			k.add(key+".service", "expected the address of a publish-subscribe service, such as rtbl.example.org, found %q",
				b.Lists[i].Service)
			continue
		}
		b.Lists[i].Service = j.String()
		if node := b.Lists[i].Node; node == "" || len(node) > 1000 || strings.ContainsRune(node, 0) {
			k.add(key+".node", "expected the name of a node, such as muc_bans_sha256")
		}
	}
}

func (c *Config) checkReports(k *checker) {
	r := &c.Modules.Reports
	if len(r.ThirdParties) > MostThirdParties {
		k.add("modules.reports.third_parties", "expected %d addresses at most", MostThirdParties)
	}
	for i, to := range r.ThirdParties {
		j, err := jid.Parse(to)
		if err != nil || !j.IsBare() {
			k.add(fmt.Sprintf("modules.reports.third_parties[%d]", i),
				"expected an address such as reports.example.org, found %q", to)
			continue
		}
		r.ThirdParties[i] = j.String()
	}
}

func (c *Config) checkUpload(k *checker) {
	u := &c.Modules.Upload
	k.atLeast("modules.upload.max_size", u.MaxSize, 1)
	k.atLeast("modules.upload.quota", u.Quota, u.MaxSize) // a file that may never be sent must not be announced
	if u.Keep != 0 && u.Keep < time.Hour {
		k.add("modules.upload.keep", "expected 1h or more, or 0 for ever")
	}
	k.publicURL("modules.upload.url", &u.URL, "https://im.example.org:5284/upload")
	u.S3.check(k, u)
}

func (c *Config) checkPosts(k *checker) {
	p := &c.Modules.Posts
	if p.Keep < time.Hour || p.Keep > 365*24*time.Hour {
		k.add("modules.posts.keep", "expected 1h to 365d, found %s", p.Keep)
	}
	k.atLeast("modules.posts.max_bytes", p.MaxBytes, 1<<20)
	k.atLeast("modules.posts.max_total", p.MaxTotal, p.MaxBytes)
	k.atLeast("modules.posts.streams", int64(p.Streams), 0)
}

// publicURL checks the URL of something that clients are told of, if there is one, and normalises it.
func (k *checker) publicURL(key string, u *string, example string) {
	if *u == "" {
		return
	}
	at, err := url.Parse(*u)
	switch {
	case err != nil || at.Host == "" || at.User != nil || at.RawQuery != "" || at.ForceQuery || at.Fragment != "":
		k.add(key, "expected a URL such as %s", example)
	// XEP-0363 §4, XEP-0156: TLS must be provided.
	case at.Scheme != "https" && (at.Scheme != "http" || !Loopback(net.JoinHostPort(at.Hostname(), "80"))):
		k.add(key, "expected https; http is for this machine alone")
	default:
		*u = strings.TrimRight(at.String(), "/")
	}
}

func (c *Config) checkHostMeta(k *checker) {
	m := &c.Modules.HostMeta
	for i, s := range m.Addresses {
		if a, err := netip.ParseAddr(s); err != nil || a.Zone() != "" || a.IsUnspecified() {
			k.add(fmt.Sprintf("modules.hostmeta.addresses[%d]", i), "expected an address such as 192.0.2.7, found %q", s)
		}
	}
	// XEP-0487, Security Considerations: a week at most.
	if m.TTL < time.Minute || m.TTL > 7*24*time.Hour {
		k.add("modules.hostmeta.ttl", "expected 1m to 7d, found %s", m.TTL)
	}
	for i, s := range m.Pins {
		if b, err := base64.StdEncoding.Strict().DecodeString(s); err != nil || len(b) != sha256.Size {
			k.add(fmt.Sprintf("modules.hostmeta.pins[%d]", i), "expected the SHA-256 of a public key in base64, found %q", s)
		}
	}
	if len(m.Pins) > 0 && len(m.Addresses) == 0 {
		k.add("modules.hostmeta.pins", "told only with modules.hostmeta.addresses; expected these, too")
	}
}

func (c *Config) checkInvitations(k *checker) {
	m := &c.Modules.Invitations
	for key, n := range map[string]int{"uses": m.Uses, "per_account": m.PerAccount} {
		if n < 1 || n > 1000 {
			k.add("modules.invitations."+key, "expected 1 to 1000, found %d", n)
		}
	}
	if m.Expires < time.Minute || m.Expires > 365*24*time.Hour {
		k.add("modules.invitations.expires", "expected 1m to 365d, found %s", m.Expires)
	}
}

func (c *Config) checkRooms(k *checker) {
	m := &c.Modules.MUC
	if m.Keep < 0 {
		k.add("modules.muc.keep", "expected a time, or 0 for ever")
	}
	if m.Domain == "" {
		return
	}
	const key = "modules.muc.domain"
	if d, ok := k.domain(key, m.Domain); ok {
		m.Domain = d
	}
	_, taken := c.Component.Secrets[m.Domain]
	switch {
	case c.Host(m.Domain) != nil:
		k.add(key, "%s is one of hosts; expected a domain of its own, such as rooms.%s", m.Domain, m.Domain)
	case taken:
		k.add(key, "%s is a component's", m.Domain)
	case strings.HasPrefix(m.Domain, "multicast.") && c.Host(strings.TrimPrefix(m.Domain, "multicast.")) != nil:
		k.add(key, "%s is the multicast service's", m.Domain)
	}
}

func (c *Config) checkHosts(k *checker) {
	if len(c.Hosts) == 0 {
		k.add("hosts", "expected at least one domain")
	}
	seen := map[string]bool{}
	for i := range c.Hosts {
		h, key := &c.Hosts[i], fmt.Sprintf("hosts[%d]", i)
		domain, ok := k.domain(key+".domain", h.Domain)
		if ok {
			if seen[domain] {
				k.add(key+".domain", "%s is there twice", domain)
			}
			seen[domain] = true
			h.Domain = domain
		}
		switch {
		case h.Cert != "" && h.Key == "":
			k.add(key+".cert", "a certificate without its key; expected hosts[%d].key too", i)
		case h.Key != "" && h.Cert == "":
			k.add(key+".key", "a key without its certificate; expected hosts[%d].cert too", i)
		}
		k.bareJIDs(key+".admins", h.Admins, false)
		k.bareJIDs(key+".rooms", h.Rooms, false)
		k.checkGroups(key, h)
		roles := reflect.ValueOf(h.Contact)
		for f := range roles.NumField() {
			role := key + ".contact." + roles.Type().Field(f).Tag.Get("yaml")
			for n, uri := range roles.Field(f).Interface().([]string) {
				// XEP-0157 §2: values are URIs.
				if u, err := url.Parse(uri); err != nil || u.Scheme == "" {
					k.add(fmt.Sprintf("%s[%d]", role, n),
						"expected a URI such as mailto:abuse@example.org, found %q", uri)
				}
			}
		}
		if h.Face != "" && h.Face != FaceNtfy {
			k.add(key+".face", `expected %s, or "" for none, found %q`, FaceNtfy, h.Face)
		}
		for n, where := range h.Outage {
			// XEP-0455 §2.1: read by HTTP, without a login.
			u, err := url.Parse(where)
			if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil {
				k.add(fmt.Sprintf("%s.outage[%d]", key, n),
					"expected a URL such as https://status.example.net/outage.json, found %q", where)
			}
		}
	}
}

func (k *checker) domain(key, s string) (string, bool) {
	j, err := jid.Parse(s)
	if err != nil || j.Local() != "" || j.Resource() != "" {
		k.add(key, "expected a domain, found %q", s)
		return "", false
	}
	return j.Domain(), true
}

// byDomain normalises the keys of a map.
func byDomain[V any](k *checker, key string, m map[string]V) map[string]V {
	out := make(map[string]V, len(m))
	for s, v := range m {
		if d, ok := k.domain(key+"["+s+"]", s); ok {
			out[d] = v
		}
	}
	return out
}

func (c *Config) checkComponents(k *checker) {
	c.Component.Secrets = byDomain(k, "component.secrets", c.Component.Secrets)
	for domain, secret := range c.Component.Secrets {
		key := "component.secrets[" + domain + "]"
		if secret == "" || secret == "file:" {
			k.add(key, "expected a secret, or file:PATH of one")
		}
		if c.Host(domain) != nil {
			k.add(key, "%s is one of hosts; expected a domain of the component's own, such as bot.%s", domain, domain)
		}
	}
	if len(c.Component.Privileges) > 0 {
		c.Component.Privileges = byDomain(k, "component.privileges", c.Component.Privileges)
	}
	for domain, p := range c.Component.Privileges {
		key := "component.privileges[" + domain + "]"
		if _, ok := c.Component.Secrets[domain]; !ok {
			k.add(key, "no component has this domain; expected one of component.secrets")
		}
		k.domains(key+".hosts", p.Hosts)
		for _, h := range p.Hosts {
			if c.Host(h) == nil {
				k.add(key+".hosts", "%s is not one of hosts", h)
			}
		}
		k.access(key+".roster", p.Roster)
		for ns, a := range p.IQ {
			if ns == "" {
				k.add(key+".iq", "expected namespaces, such as http://jabber.org/protocol/pubsub")
			}
			k.access(key+".iq["+ns+"]", a)
		}
	}
	c.checkDelegations(k)
	if len(c.Listen.Component) > 0 && len(c.Component.Secrets) == 0 {
		k.add("listen.component",
			"no component could log in; expected component.secrets with the domain and secret of each")
	}
}

func (k *checker) access(key string, a Access) {
	switch a {
	case "", AccessNone, AccessGet, AccessSet, AccessBoth:
	default:
		k.add(key, "%q is no access; expected none, get, set or both", string(a))
	}
}

func (k *checker) domains(key string, list []string) {
	for i, s := range list {
		if d, ok := k.domain(fmt.Sprintf("%s[%d]", key, i), s); ok {
			list[i] = d
		}
	}
}

// bareJIDs checks and normalises accounts. With all, "*" may stand for every
// account here and "*@DOMAIN" for those of a domain.
func (k *checker) bareJIDs(key string, list []string, all bool) {
	for i, s := range list {
		if s == "*" && all {
			continue
		}
		j, err := jid.Parse(s)
		if err != nil || j.Local() == "" || j.Local() == "*" && !all || j.Resource() != "" {
			what := "a bare JID such as romeo@example.org"
			if all {
				what = `"*", "*@example.org" or ` + what
			}
			k.add(fmt.Sprintf("%s[%d]", key, i), "expected %s, found %q", what, s)
			continue
		}
		list[i] = j.String()
	}
}

func (c *Config) checkListen(k *checker) {
	seen := map[string]string{}
	once := func(key, addr string) {
		if strings.HasSuffix(addr, ":0") { // each gets a port of its own
			return
		}
		if other, ok := seen[addr]; ok {
			k.add(key, "%s is taken by %s", addr, other)
			return
		}
		seen[addr] = key
	}
	for _, l := range c.Listen.kinds() {
		kind := l.name
		for i, addr := range l.addrs {
			key := fmt.Sprintf("listen.%s[%d]", kind, i)
			once(key, addr)
			if path, ok := strings.CutPrefix(addr, "unix:"); ok {
				if kind != "http" || path == "" {
					k.add(key, "expected HOST:PORT; unix:PATH is for listen.http")
				}
				continue
			}
			if k.hostPort(key, addr) && !Loopback(addr) {
				c.checkOpen(k, kind, key, addr)
			}
		}
	}
}

func (c *Config) checkProxyProtocol(k *checker) {
	var names []string
	for _, l := range c.Listen.kinds() {
		names = append(names, l.name)
	}
	for i, name := range c.ProxyProtocol.Listeners {
		k.oneOf(fmt.Sprintf("proxy_protocol.listeners[%d]", i), name, names...)
	}
}

// checkOpen holds back a listener that others than this machine can reach.
func (c *Config) checkOpen(k *checker, kind, key, addr string) {
	switch {
	case kind == "http" && !c.HTTP.AllowPlaintext && len(c.HTTP.TrustedProxies) == 0:
		k.add(key, "%s is reachable from elsewhere, and passwords would pass in the clear; expected a loopback "+
			"address, http.trusted_proxies (the reverse proxies that may reach it) or http.allow_plaintext: true", addr)
	case kind == "c2s" && !c.C2S.RequireTLS:
		k.add("c2s.require_tls", "expected true, since %s (%s) is reachable from elsewhere", key, addr)
	case kind == "component" && !c.Component.AllowPlaintext:
		k.add(key, "%s is reachable from elsewhere, and components speak in the clear; expected a loopback address "+
			"or component.allow_plaintext: true", addr)
	}
}

func (k *checker) hostPort(key, addr string) bool {
	_, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		k.add(key, "expected HOST:PORT such as 127.0.0.1:5222 or :5222, found %q", addr)
		return false
	}
	return true
}

// Loopback says whether an address of Listen can be reached from this machine
// only: a unix socket, localhost, 127.0.0.0/8 and ::1.
func Loopback(addr string) bool {
	if strings.HasPrefix(addr, "unix:") {
		return true
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	if host == "localhost" { // RFC 6761 §6.3
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}

func (c *Config) checkLimits(k *checker) {
	v := reflect.ValueOf(c.Limits)
	for i := range v.NumField() {
		key := "limits." + v.Type().Field(i).Tag.Get("yaml")
		switch n := v.Field(i).Interface().(type) {
		case int:
			k.atLeast(key, int64(n), 1)
		case time.Duration:
			if n <= 0 {
				k.add(key, "expected a time above 0, found %s", n)
			}
		}
	}
	l := c.Limits
	if l.LoginBackoffMax < l.LoginBackoffMin {
		k.add("limits.login_backoff_max", "expected login_backoff_min (%s) or more", l.LoginBackoffMin)
	}
	if l.ApprovalAge > 0 && l.ApprovalAge < time.Hour {
		k.add("limits.approval_age", "expected 1h or more, found %s", l.ApprovalAge)
	}
	if l.DiskWarn < l.DiskReserve {
		k.add("limits.disk_warn", "expected disk_reserve (%d) or more", l.DiskReserve)
	}
	if l.PeerBackoffMax < l.PeerBackoffMin {
		k.add("limits.peer_backoff_max", "expected peer_backoff_min (%s) or more", l.PeerBackoffMin)
	}
	if l.PreauthBytes < c.C2S.MaxStanzaPreauth {
		k.add("limits.preauth_bytes", "expected c2s.max_stanza_preauth (%d) or more", c.C2S.MaxStanzaPreauth)
	}
	if l.QueueBytes < c.C2S.MaxStanza {
		k.add("limits.queue_bytes", "expected c2s.max_stanza (%d) or more: no session could be sent such a stanza",
			c.C2S.MaxStanza)
	}
}

func (c *Config) checkStorage(k *checker) {
	s := &c.Storage
	k.oneOf("storage.engine", s.Engine, EngineEmbedded, EngineRedis)
	c.checkRedis(k)
	c.checkCluster(k)
}
