package config

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// Modules are on, but for offByDefault. A name with false, or {enabled: false}, turns one off; with true, on; a mapping
// sets it up.
type Modules struct {
	// Off holds the names that are off.
	Off     map[string]bool
	Offline Offline
	Archive Archive
	MUC     MUC
	Push    Push
	Devices Devices
	Upload  Upload
	Posts   Posts
	// PubSub is the service of nodes that are nobody's account.
	PubSub PubSub
	// Invitations are those of people to an account or to be contacts.
	Invitations Invitations
	// HostMeta is what is told of how to connect.
	HostMeta HostMeta
	// Bytestreams are files between clients, through a proxy.
	Bytestreams Bytestreams
	// Strangers are those whom a user does not know.
	Strangers Strangers
	// Reports are those of users about others.
	Reports Reports
	// Blocklists name spammers.
	Blocklists Blocklists
}

// MUC sets up the service of rooms (XEP-0045).
type MUC struct {
	// Domain is that of the service; empty: rooms.<host>, for each host.
	Domain string        `yaml:"domain"`
	Keep   time.Duration `yaml:"keep"` // of a message in the archive of a room; 0: for ever
	// OpenNewRooms opens a new room with the defaults at once, for whoever makes one and never configures it.
	OpenNewRooms bool `yaml:"open_new_rooms"`
}

// RoomDomains are those of the service of rooms: the one that is configured, else one below each host that is not a
// component's.
func (c *Config) RoomDomains() []string {
	if c.Modules.MUC.Domain != "" {
		return []string{c.Modules.MUC.Domain}
	}
	var all []string
	for _, h := range c.Hosts {
		domain := "rooms." + h.Domain
		if _, taken := c.Component.Secrets[domain]; !taken {
			all = append(all, domain)
		}
	}
	return all
}

// PubSub sets up the publish-subscribe service (XEP-0060).
type PubSub struct {
	Create string            `yaml:"create"` // who may make nodes: PubSubUsers, PubSubAdmins or PubSubAnyone
	Hosts  map[string]string `yaml:"hosts"`  // the same for single hosts, normalised by Validate
}

// Who may make nodes: the users of the server, the administrators of the host, or everybody, from other servers too.
const (
	PubSubUsers  = "users"
	PubSubAdmins = "admins"
	PubSubAnyone = "anyone"
)

// Of says who may make nodes at the service of a host.
func (p *PubSub) Of(host string) string {
	if who, ok := p.Hosts[host]; ok {
		return who
	}
	return p.Create
}

// PubSubName is what the domains of the publish-subscribe service begin with, before a dot and the host.
const PubSubName = "pubsub"

// PubSubDomains are those of the publish-subscribe service, one below each host that is not somebody else's.
func (c *Config) PubSubDomains() []string {
	var all []string
	for _, h := range c.Hosts {
		domain := PubSubName + "." + h.Domain
		_, taken := c.Component.Secrets[domain]
		if !taken && domain != c.Modules.MUC.Domain && c.Host(domain) == nil {
			all = append(all, domain)
		}
	}
	return all
}

// Offline sets up the storing of messages for users without a session (XEP-0160).
type Offline struct {
	MaxMessages int   `yaml:"max_messages"` // per user
	MaxBytes    int64 `yaml:"max_bytes"`    // per user
}

// Archive sets up message archives (XEP-0313).
type Archive struct {
	Keep time.Duration `yaml:"keep"` // of a message; 0: for ever
	// Search has users find messages by what they say (XEP-0431).
	Search bool `yaml:"search"`
}

// Push sets up the waking of clients that are away (XEP-0357).
type Push struct {
	Content       string        `yaml:"content"`       // PushNone, PushSender or PushFull
	Registrations int           `yaml:"registrations"` // per user; a further one takes the place of the oldest
	Interval      time.Duration `yaml:"interval"`      // between two notifications of one client
}

// What a push service learns of a message: nothing but the number, who sent the last, and what it says.
const (
	PushNone   = "none"
	PushSender = "sender"
	PushFull   = "full"
)

// Devices sets up what is remembered of the clients that log in (XEP-0494).
type Devices struct {
	Keep time.Duration `yaml:"keep"` // of one that is away and has no token; 0: for ever
}

// Upload sets up the taking and giving out of files over HTTP (XEP-0363).
type Upload struct {
	// URL is what clients find the files below; empty: made of where they reach what HTTP serves. Without a slash at its
	// end after Validate.
	URL     string        `yaml:"url"`
	MaxSize int64         `yaml:"max_size"` // bytes of one file
	Quota   int64         `yaml:"quota"`    // bytes that an account may upload within 24 hours
	Keep    time.Duration `yaml:"keep"`     // of a file; 0: for ever
	// Shared says that other servers have the same directory of files.
	Shared bool `yaml:"shared"`
	S3     S3   `yaml:"s3"`
}

// Posts sets up what is kept of what becomes of posts over HTTP.
type Posts struct {
	Keep     time.Duration `yaml:"keep"`      // of a post
	MaxBytes int64         `yaml:"max_bytes"` // per account; beyond, its oldest go
	MaxTotal int64         `yaml:"max_total"` // of all accounts; beyond, the oldest of all go
	Streams  int           `yaml:"streams"`   // per account, of those that are told what becomes of its posts
}

// UploadDomain is that of the service for the files of a host; ok is false where the domain is somebody else's.
func (c *Config) UploadDomain(host string) (domain string, ok bool) {
	domain = "upload." + host
	_, taken := c.Component.Secrets[domain]
	return domain, !taken && domain != c.Modules.MUC.Domain && c.Host(domain) == nil
}

// Invitations sets up who may invite whom (XEP-0401). Administrators may, within what they ask for themselves.
type Invitations struct {
	Users      bool          `yaml:"users"`       // invite to an account; to be their contact they may without
	Uses       int           `yaml:"uses"`        // of one invitation by a user
	Expires    time.Duration `yaml:"expires"`     // after so long; of users at most, of administrators unless they say otherwise
	PerAccount int           `yaml:"per_account"` // invitations of a user that wait to be used
}

// HostMeta sets up what is told over HTTP of the ways to connect (XEP-0156, XEP-0487).
type HostMeta struct {
	// Addresses are those of this server as everybody sees them, of IPv4 and IPv6. Without them nothing is told that
	// XEP-0487 adds, which asks for at least one.
	Addresses []string      `yaml:"addresses"`
	TTL       time.Duration `yaml:"ttl"`  // how long clients may keep what they were told
	Pins      []string      `yaml:"pins"` // SHA-256 of public keys in base64 (RFC 7469 §2.4)
}

// Strangers sets up what becomes of messages from people who are not among a user's contacts, and how many people a
// user may write to.
type Strangers struct {
	Policy string            `yaml:"policy"` // StrangersDeliver, StrangersHold or StrangersRefuse
	Hosts  map[string]string `yaml:"hosts"`  // the same for single hosts, normalised by Validate
	// Recipients is how many different ones an account may write to a minute; 0: no bound.
	Recipients int `yaml:"recipients"`
}

// Reports sets up where reports go beside the administrators, if their users agree (XEP-0377 §5).
type Reports struct {
	// Origin is to the domain of the one that is reported. It is on: nothing leaves but what its user has agreed to in the
	// report itself (§5), and that server alone can stop the sender.
	Origin       bool     `yaml:"origin"`
	ThirdParties []string `yaml:"third_parties"` // bare JIDs, normalised by Validate
}

// MostThirdParties is to how many others a report may go.
const MostThirdParties = 10

// Blocklists sets up which lists of spammers are followed.
type Blocklists struct {
	Lists  []Blocklist `yaml:"lists"`
	Policy string      `yaml:"policy"` // of messages from strangers who are on one: StrangersHold or StrangersRefuse
}

// A Blocklist is a node of a publish-subscribe service that names spammers.
type Blocklist struct {
	Service string `yaml:"service"` // normalised by Validate
	Node    string `yaml:"node"`
}

// MostBlocklists is how many lists are followed.
const MostBlocklists = 10

// The policies for strangers.
const (
	StrangersDeliver = "deliver"
	StrangersHold    = "hold"
	StrangersRefuse  = "refuse"
)

// Of is the policy of a host.
func (s *Strangers) Of(host string) string {
	if p, ok := s.Hosts[host]; ok {
		return p
	}
	return s.Policy
}

// Enabled says whether a module of this version is on.
func (m Modules) Enabled(name string) bool {
	return slices.Contains(moduleNames, name) && !m.Off[name]
}

func defaultModules() Modules {
	return Modules{
		Off:     maps.Clone(offByDefault),
		Offline: Offline{MaxMessages: 1000, MaxBytes: 10 << 20},
		Archive: Archive{Keep: 30 * 24 * time.Hour},
		MUC:     MUC{Keep: 30 * 24 * time.Hour},
		Push:    Push{Content: PushNone, Registrations: 10, Interval: 5 * time.Second},
		Devices: Devices{Keep: 90 * 24 * time.Hour},
		Upload: Upload{MaxSize: 100 << 20, Quota: 1 << 30, Keep: 30 * 24 * time.Hour,
			S3: S3{Region: "us-east-1", Style: S3Auto}},
		Posts:       Posts{Keep: 7 * 24 * time.Hour, MaxBytes: 16 << 20, MaxTotal: 512 << 20, Streams: 5},
		PubSub:      PubSub{Create: PubSubUsers},
		HostMeta:    HostMeta{TTL: time.Hour},
		Invitations: Invitations{Uses: 1, Expires: 7 * 24 * time.Hour, PerAccount: 10},
		Bytestreams: Bytestreams{Listen: []string{":7777"}, MaxBytes: 1 << 30, Rate: 2 << 20},
		Strangers:   Strangers{Policy: StrangersDeliver, Recipients: 60},
		Reports:     Reports{Origin: true},
		Blocklists:  Blocklists{Policy: StrangersRefuse},
	}
}

// offByDefault are those that have to be turned on.
var offByDefault = map[string]bool{"blocklists": true, "bytestreams": true, "directory": true, "serverinfo": true}

// moduleNames are the modules of this version, by the names of their folders; a line each, so that two who
// add one do not change the same line.
var moduleNames = []string{
	"administration",
	"announcements",
	"archive",
	"blocking",
	"blocklists",
	"bots",
	"bytestreams",
	"caps",
	"carbons",
	"commands",
	"contact",
	"defaultrooms",
	"delegation",
	"devices",
	"directory",
	"disco",
	"externalservices",
	"forged",
	"hooks",
	"hostmeta",
	"httpmessage",
	"invitations",
	"last",
	"markers",
	"muc",
	"multicast",
	"offline",
	"pep",
	"ping",
	"posts",
	"presence",
	"private",
	"privilege",
	"pubsub",
	"push",
	"registration",
	"reports",
	"roster",
	"serverinfo",
	"stanzaid",
	"strangers",
	"time",
	"tokens",
	"upload",
	"vcard",
	"version",
}

// settings of the module, nil for one that has none but its switch.
func (m *Modules) settings(name string) any {
	switch name {
	case "offline":
		return &m.Offline
	case "archive":
		return &m.Archive
	case "muc":
		return &m.MUC
	case "push":
		return &m.Push
	case "devices":
		return &m.Devices
	case "upload":
		return &m.Upload
	case "posts":
		return &m.Posts
	case "pubsub":
		return &m.PubSub
	case "invitations":
		return &m.Invitations
	case "strangers":
		return &m.Strangers
	case "reports":
		return &m.Reports
	case "blocklists":
		return &m.Blocklists
	case "bytestreams":
		return &m.Bytestreams
	case "hostmeta":
		return &m.HostMeta
	}
	return nil
}

func expectedModules() string { return "one of " + strings.Join(moduleNames, ", ") }
