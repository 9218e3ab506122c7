// Package config is what an administrator may say: every key of the
// configuration file, typed, with its default, and checked before anything starts.
//
// The file is YAML, read strictly: an unknown key, a wrong type and an
// impossible value are all reported with file, line, column and what was
// expected. The syntax tree comes from goccy/go-yaml; it is put into the structs here
// by our own decoder, because the library's takes 1.5 for a whole number, "7" for 7
// and true for a string, and knows no position for what is wrong only in
// combination with another key.
//
// Relative paths are relative to the directory of the file; see place.
//
// Left out: YAML anchors, aliases and merge keys; several documents in one file;
// values from the environment. Reading certificates and opening listeners is
// done elsewhere: nothing here touches the network, nor reads any file but the one named
// (and password_file, when asked for).
package config

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Config is the whole configuration. It is not changed after Validate, and may
// then be read by any goroutine; a reload makes a new one.
type Config struct {
	// Data is the directory of everything the server keeps.
	Data          string        `yaml:"data"`
	Hosts         []Host        `yaml:"hosts"`
	Listen        Listen        `yaml:"listen"`
	ProxyProtocol ProxyProtocol `yaml:"proxy_protocol"`
	ACME          ACME          `yaml:"acme"`
	C2S           C2S           `yaml:"c2s"`
	S2S           S2S           `yaml:"s2s"`
	Component     Component     `yaml:"component"`
	Accounts      Accounts      `yaml:"accounts"`
	Limits        Limits        `yaml:"limits"`
	Registration  Registration  `yaml:"registration"`
	Storage       Storage       `yaml:"storage"`
	Cluster       Cluster       `yaml:"cluster"`
	HTTP          HTTP          `yaml:"http"`
	Hooks         Hooks         `yaml:"hooks"`
	Calls         Calls         `yaml:"calls"`
	Web           Web           `yaml:"web"`
	Modules       Modules       `yaml:"modules"`
	Log           Log           `yaml:"log"`

	// Warnings names what was accepted and does not do what it says; the
	// server logs them at start.
	Warnings []string `yaml:"-"`
}

// Host is one domain whose users live here.
type Host struct {
	Domain string `yaml:"domain"` // normalised by Validate (RFC 7622 §3.2)
	// Cert and Key are PEM files, both or neither. Without them the server has one come by itself (ACME), or makes a
	// self-signed certificate under Data.
	Cert   string   `yaml:"cert"`
	Key    string   `yaml:"key"`
	Admins []string `yaml:"admins"` // bare JIDs, normalised by Validate
	// Contact holds the addresses that service discovery shows (XEP-0157).
	Contact Contact `yaml:"contact"`
	// Page is a file with the text of the page at https://DOMAIN/; "": that of the program.
	Page string `yaml:"page"`
	// Rooms are bare JIDs of rooms that every account is given once, as bookmarks.
	Rooms []string `yaml:"rooms"`
	// Face is what HTTP at this host speaks beside: "" or FaceNtfy.
	Face string `yaml:"face"`
	// Outage are the URLs at which clients read, while the server is away, why (XEP-0455).
	Outage []string `yaml:"outage"`
	// Groups are shared: who is in one has all the others of it as contacts.
	Groups []Group `yaml:"groups"`
}

// A Group of a host, in the rosters of its members.
type Group struct {
	Name    string   `yaml:"name"`    // as clients show it
	Members []string `yaml:"members"` // bare JIDs of the host, normalised by Validate; Everybody: all accounts
}

// Everybody is the member of a group that all accounts of the host are in.
const Everybody = "*"

// MaxMembers is how many members a shared group may have: each gets all others as contacts.
const MaxMembers = 500

// Contact lists URIs by role (XEP-0157 §2, registry of §6.2), such as
// "mailto:abuse@example.org" or "xmpp:admin@example.org".
type Contact struct {
	Abuse    []string `yaml:"abuse"`
	Admin    []string `yaml:"admin"`
	Feedback []string `yaml:"feedback"`
	Sales    []string `yaml:"sales"`
	Security []string `yaml:"security"`
	Status   []string `yaml:"status"` // where it is said whether the server works
	Support  []string `yaml:"support"`
}

// Listen holds the addresses of each kind of listener, as HOST:PORT or :PORT; HTTP also
// takes unix:PATH. An empty list turns the kind off.
type Listen struct {
	C2S       []string `yaml:"c2s"`     // STARTTLS
	C2STLS    []string `yaml:"c2s_tls"` // direct TLS (XEP-0368)
	TLS       []string `yaml:"tls"`     // TLS, shared by clients, peers and HTTP (ALPN)
	S2S       []string `yaml:"s2s"`
	S2STLS    []string `yaml:"s2s_tls"`
	Component []string `yaml:"component"` // XEP-0114
	HTTP      []string `yaml:"http"`      // plain
	HTTPS     []string `yaml:"https"`
	ACME      []string `yaml:"acme"`    // plain HTTP, for nothing but challenges (RFC 8555 §8.3)
	Metrics   []string `yaml:"metrics"` // Prometheus, /healthz, /readyz
}

// A kind is the listeners of one kind.
type kind struct {
	name  string // its key
	addrs []string
}

// kinds are all of them.
func (l Listen) kinds() (all []kind) {
	v := reflect.ValueOf(l)
	for f := range v.NumField() {
		all = append(all, kind{v.Type().Field(f).Tag.Get("yaml"), v.Field(f).Interface().([]string)})
	}
	return all
}

// ProxyProtocol says which connections begin with a header that names their client.
type ProxyProtocol struct {
	Listeners []string       `yaml:"listeners"` // keys of Listen
	From      []netip.Prefix `yaml:"from"`      // the proxies: theirs must have it, those of others never do
}

// On says whether the connections of proxies to that listener begin with a header.
func (p ProxyProtocol) On(listener string) bool { return slices.Contains(p.Listeners, listener) }

// Trusts says whether an address is a proxy's.
func (p ProxyProtocol) Trusts(a netip.Addr) bool {
	return slices.ContainsFunc(p.From, func(n netip.Prefix) bool { return n.Contains(a) })
}

// C2S sets up the streams of clients.
type C2S struct {
	RequireTLS       bool          `yaml:"require_tls"`
	MaxStanza        int           `yaml:"max_stanza"`         // bytes
	MaxStanzaPreauth int           `yaml:"max_stanza_preauth"` // bytes
	IdleTimeout      time.Duration `yaml:"idle_timeout"`       // then a ping, then the end
	ResumeWindow     time.Duration `yaml:"resume_window"`      // XEP-0198 §5; 0 offers no resumption
	ScramIterations  int           `yaml:"scram_iterations"`   // of new passwords; RFC 7677 §4 asks for 4096 at least
	TokenLifetime    time.Duration `yaml:"token_lifetime"`     // of a device that is away (XEP-0484); 0 gives no tokens
}

// S2S sets up the streams to and from peers. Domains are normalised by Validate.
type S2S struct {
	RequireTLS bool `yaml:"require_tls"`
	// Dialback accepts peers that show no valid certificate, once their domain has
	// confirmed the stream (XEP-0220).
	Dialback           bool     `yaml:"dialback"`
	RequireCertificate []string `yaml:"require_certificate"` // domains for which dialback is not enough
	AllowPlaintext     []string `yaml:"allow_plaintext"`     // domains that need no TLS though RequireTLS is set
	// Resolve says where a domain is found, instead of DNS: HOST:PORT for
	// STARTTLS, tls:HOST:PORT for direct TLS.
	Resolve map[string]string `yaml:"resolve"`
	Allow   []string          `yaml:"allow"` // domains; empty: all
	Deny    []string          `yaml:"deny"`
}

// Federates says whether there are streams to and from peers at all; listen.tls alone, which others share, is no sign
// of it.
func (c *Config) Federates() bool { return len(c.Listen.S2S)+len(c.Listen.S2STLS) > 0 }

// Component sets up the programs that answer for a domain of their own (XEP-0114).
type Component struct {
	AllowPlaintext bool `yaml:"allow_plaintext"` // a listener beyond loopback
	// Secrets maps the domain of a component to its secret; "file:PATH" reads it from a file.
	Secrets map[string]string `yaml:"secrets"`
	// Privileges maps the domain of a component to what it may do with users of this server (XEP-0356).
	Privileges map[string]Privilege `yaml:"privileges"`
	// Delegations maps the domain of a component to what it answers in place of this server (XEP-0355).
	Delegations map[string]Delegation `yaml:"delegations"`
}

// A Privilege is what a component may do with the users of some hosts (XEP-0356). Its zero value is nothing.
type Privilege struct {
	Hosts    []string          `yaml:"hosts"`    // whose users; empty: of all hosts
	Roster   Access            `yaml:"roster"`   // in the name of a user
	Quiet    bool              `yaml:"quiet"`    // hear of no changes of rosters that it may read
	Message  bool              `yaml:"message"`  // send messages in the name of users and hosts
	Presence bool              `yaml:"presence"` // hear who comes and goes
	IQ       map[string]Access `yaml:"iq"`       // requests in the name of a user, by the namespace of their payload
}

// Access says which requests are allowed, as XEP-0356 names them.
type Access string

// The kinds of access; "" counts as none.
const (
	AccessNone Access = "none"
	AccessGet  Access = "get"
	AccessSet  Access = "set"
	AccessBoth Access = "both"
)

// Gets and Sets say whether requests of that type are allowed.
func (a Access) Gets() bool { return a == AccessGet || a == AccessBoth }

// Sets is described with Gets.
func (a Access) Sets() bool { return a == AccessSet || a == AccessBoth }

// Pushes says whether the component hears of changes of rosters (XEP-0356 §4.1): it must be able to read them.
func (p *Privilege) Pushes() bool { return p.Roster.Gets() && !p.Quiet }

// Of says whether it holds for users of a host.
func (p *Privilege) Of(host string) bool { return len(p.Hosts) == 0 || slices.Contains(p.Hosts, host) }

// Secret returns the secret of a component, without the newline at a file's end; ok is false for a domain that is no
// component's.
func (c Component) Secret(domain string) (secret string, ok bool, err error) {
	secret, ok = c.Secrets[domain]
	path, isFile := strings.CutPrefix(secret, "file:")
	if !isFile {
		return secret, ok, nil
	}
	secret, err = ReadSecret("component.secrets["+domain+"]", path)
	return secret, true, err
}

// Registration says who may create an account over XMPP (XEP-0077).
type Registration string

// The kinds of registration.
const (
	RegistrationClosed Registration = "closed"
	RegistrationInvite Registration = "invite"
	// RegistrationApprove is for anybody, but an administrator has to approve each account before it can be used.
	RegistrationApprove Registration = "approve"
	RegistrationOpen    Registration = "open"
)

// Storage chooses the engine.
type Storage struct {
	Engine string `yaml:"engine"` // EngineEmbedded or EngineRedis
	// ExitOnFailure ends the process when the embedded store cannot acknowledge until a restart.
	ExitOnFailure bool  `yaml:"exit_on_failure"`
	Redis         Redis `yaml:"redis"`
}

// Far says whether storage is another process: a call takes a round trip, which others can share.
func (s Storage) Far() bool { return s.Engine == EngineRedis }

// The storage engines.
const (
	EngineEmbedded = "embedded"
	EngineRedis    = "redis"
)

// HTTP sets up the posting of messages, and where all is that is served over HTTP.
type HTTP struct {
	// URL is where clients reach what HTTP serves, through a proxy maybe; empty: made of the host and the port of
	// listen.https, as far as clients may reach that. Without a slash at its end after Validate.
	URL            string         `yaml:"url"`
	AllowPlaintext bool           `yaml:"allow_plaintext"` // Basic over plain HTTP beyond loopback
	TrustedProxies []netip.Prefix `yaml:"trusted_proxies"` // whose X-Forwarded-For counts
	MaxBody        int            `yaml:"max_body"`        // bytes
	MaxRecipients  int            `yaml:"max_recipients"`  // of one post
	ForgedRemote   string         `yaml:"forged_remote"`   // ForgedRefuse or ForgedOwnAddress
	SenderHook     string         `yaml:"sender_hook"`     // URL that replies to forged senders are posted to; "": none
	// SocketUsers are the accounts for which users of this machine post over unix sockets without credentials, by the
	// user's name or number, or a group's behind @. See Sockets.
	SocketUsers map[string]string `yaml:"socket_users"`
	Permissions Permissions       `yaml:"permissions"`
}

// Hooks sets up what other programs post to hooks.
type Hooks struct {
	MaxBody int `yaml:"max_body"` // bytes of a request
	MaxText int `yaml:"max_text"` // characters of a message
}

// FaceNtfy has a host answer as a server of ntfy, whose topics are names of hooks.
const FaceNtfy = "ntfy"

// Web sets up what browsers see and the streams of clients in them, which come by the listeners for HTTP.
type Web struct {
	WebSocket bool     `yaml:"websocket"` // RFC 7395
	BOSH      bool     `yaml:"bosh"`      // XEP-0206
	Origins   []string `yaml:"origins"`   // of pages that may connect, beside those of the hosts; "*": any
	Languages string   `yaml:"languages"` // a directory with further words for pages; "": none
	Admin     bool     `yaml:"admin"`     // the console for administrators
}

// What happens to a remote recipient of a foreign forged sender.
const (
	ForgedRefuse     = "refuse"
	ForgedOwnAddress = "own-address"
)

// Permissions are held by these accounts on top of what was granted to them. Each entry is a
// bare JID, "*@DOMAIN" for all accounts of a domain, or "*" for every local account.
type Permissions struct {
	HTTPMessage []string `yaml:"http_message"`
	Multicast   []string `yaml:"multicast"`
	ForgeSender []string `yaml:"forge_sender"`
	XMPPGateway []string `yaml:"xmppgateway"`
}

// Log sets up the log on standard error.
type Log struct {
	Level  string `yaml:"level"`  // debug, info, warn, error
	Format string `yaml:"format"` // text, json
}

// Default returns the configuration of a server without any file: localhost,
// on loopback. It is valid and the caller's to change.
func Default() *Config {
	return &Config{
		Data:  "./data",
		Hosts: []Host{{Domain: "localhost"}},
		Listen: Listen{
			C2S:    []string{"127.0.0.1:5222"},
			C2STLS: []string{"127.0.0.1:5223"},
			HTTP:   []string{"127.0.0.1:5280"},
			HTTPS:  []string{"127.0.0.1:5284"},
		},
		ACME: ACME{Directory: LetsEncrypt},
		C2S: C2S{
			RequireTLS:       true,
			MaxStanza:        256 << 10,
			MaxStanzaPreauth: 8 << 10,
			IdleTimeout:      10 * time.Minute,
			ResumeWindow:     10 * time.Minute,
			ScramIterations:  10000,
			TokenLifetime:    30 * 24 * time.Hour,
		},
		S2S:          S2S{RequireTLS: true, Dialback: true},
		Accounts:     defaultAccounts(),
		Limits:       defaultLimits(),
		Registration: RegistrationClosed,
		Storage: Storage{
			Engine: EngineEmbedded, ExitOnFailure: true,
			Redis: Redis{Addrs: []string{defaultRedis}, Prefix: "jackdaw:"},
		},
		Cluster: Cluster{Lease: DefaultLease},
		HTTP: HTTP{
			MaxBody:       256 << 10,
			MaxRecipients: 10000,
			ForgedRemote:  ForgedRefuse,
			Permissions:   Permissions{HTTPMessage: []string{"*"}},
		},
		Hooks:   Hooks{MaxBody: 2 << 20, MaxText: 8000},
		Calls:   defaultCalls(),
		Web:     Web{WebSocket: true, BOSH: true, Admin: true},
		Modules: defaultModules(),
		Log:     Log{Level: "info", Format: "text"},
	}
}

// Host returns the settings of a domain that is served here, nil for any other.
// The domain must be normalised, as a JID's Domain is.
func (c *Config) Host(domain string) *Host {
	for i := range c.Hosts {
		if c.Hosts[i].Domain == domain {
			return &c.Hosts[i]
		}
	}
	return nil
}

// KeepRunning puts into next what a running server takes up only when it is started again, as it is in running, and
// says in which keys the two differed, a line for each. What next says afterwards is what runs.
func KeepRunning(running, next *Config) (notes []string) {
	old, wanted := running.fixed(), next.fixed()
	for i, k := range wanted {
		now, then := reflect.ValueOf(old[i].at).Elem(), reflect.ValueOf(k.at).Elem()
		if !reflect.DeepEqual(now.Interface(), then.Interface()) {
			notes = append(notes, k.key+": the change is taken up when the server is started again")
			then.Set(now)
		}
	}
	return notes
}

// A fixedKey is one that only a start takes up.
type fixedKey struct {
	key string
	at  any // points to its value
}

func (c *Config) fixed() []fixedKey {
	return []fixedKey{
		{"data", &c.Data},
		{"listen", &c.Listen},
		{"proxy_protocol.listeners", &c.ProxyProtocol.Listeners},
		{"storage", &c.Storage},
		{"cluster", &c.Cluster},
		{"calls.enabled", &c.Calls.Enabled},
		{"calls.listen", &c.Calls.Listen},
		{"calls.ports", &c.Calls.Ports},
		{"modules.bytestreams.listen", &c.Modules.Bytestreams.Listen},
		{"modules.upload.shared", &c.Modules.Upload.Shared},
		{"modules.upload.s3", &c.Modules.Upload.S3},
		{"c2s.require_tls", &c.C2S.RequireTLS},
		{"limits.http_body_time", &c.Limits.HTTPBodyTime},
		{"limits.derivations_per_core", &c.Limits.DerivationsPerCore},
		{"limits.http_header_bytes", &c.Limits.HTTPHeaderBytes},
		{"limits.http_header_time", &c.Limits.HTTPHeaderTime},
		{"limits.http_idle", &c.Limits.HTTPIdle},
		{"limits.http_streams", &c.Limits.HTTPStreams},
		{"log.format", &c.Log.Format},
	}
}
