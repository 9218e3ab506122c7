package config

import "time"

// Limits bound what a peer may use up. They do not apply to connections from
// loopback (unless the address comes from a trusted proxy's header) nor to
// accounts with the permission admin. Each is above 0. Sizes are in bytes.
//
// Five limits live where they are used, and the limits key is another name for
// them: preauth_stanza_bytes (c2s.max_stanza_preauth), client_stanza_bytes (c2s.max_stanza),
// http_body_bytes (http.max_body), offline_messages and offline_bytes
// (modules.offline.max_messages, .max_bytes).
type Limits struct {
	// Before a client has authenticated; beyond: stream error, close.
	PreauthElements int           `yaml:"preauth_elements"` // per stanza
	PreauthBytes    int           `yaml:"preauth_bytes"`    // in all
	TLSTime         time.Duration `yaml:"tls_time"`         // for the handshake
	AuthTime        time.Duration `yaml:"auth_time"`        // from the connection to the authenticated stream

	// What a stanza may be; beyond: policy-violation (RFC 6120 §4.9.3.14).
	ServerStanzaBytes int `yaml:"server_stanza_bytes"` // from a peer
	Depth             int `yaml:"depth"`
	Elements          int `yaml:"elements"`   // per stanza
	Attributes        int `yaml:"attributes"` // per element
	Namespaces        int `yaml:"namespaces"` // declarations per element

	// What an account may bring over all its streams, posts over HTTP and copies of multicasts together; beyond:
	// reading pauses, nothing is dropped; a post waits a moment or gets 429.
	StreamRate  int `yaml:"stream_rate"` // bytes per second
	StreamBurst int `yaml:"stream_burst"`

	// What waits to be written to a session; beyond: messages are stored until it has taken more. At four times of it,
	// or without any progress: detach or close, the rest is stored.
	QueueBytes int           `yaml:"queue_bytes"`
	WriteStall time.Duration `yaml:"write_stall"` // without any progress

	// What is kept for resumption (XEP-0198 §5); beyond: messages are stored, the rest is forgotten once it is written,
	// and the session cannot be resumed any more.
	UnackedBytes   int `yaml:"unacked_bytes"`
	UnackedStanzas int `yaml:"unacked_stanzas"`

	// How many at a time; beyond: refused with the reason. An address is an IPv4
	// address or an IPv6 /64.
	ResourcesPerAccount       int `yaml:"resources_per_account"`
	ConnectionsPerAddress     int `yaml:"connections_per_address"`
	UnauthenticatedPerAddress int `yaml:"unauthenticated_per_address"`
	ConnectRate               int `yaml:"connect_rate"` // new connections per second and address
	ConnectBurst              int `yaml:"connect_burst"`

	// Guessing. The back-off is per address and per (address, account), shared by
	// SASL and HTTP; the account itself is never locked.
	FailedLogins       int           `yaml:"failed_logins"` // per stream
	LoginBackoffMin    time.Duration `yaml:"login_backoff_min"`
	LoginBackoffMax    time.Duration `yaml:"login_backoff_max"`
	DerivationsPerCore int           `yaml:"derivations_per_core"` // concurrent; more of them queue

	// Accounts that one address may create with a client (XEP-0077); beyond: not-acceptable, type wait. An attempt
	// that finds its name taken counts as an attempt only.
	Registrations            int           `yaml:"registrations"`              // at once
	RegistrationEvery        time.Duration `yaml:"registration_every"`         // one more
	RegistrationAttempts     int           `yaml:"registration_attempts"`      // at once
	RegistrationAttemptEvery time.Duration `yaml:"registration_attempt_every"` // one more

	// Accounts that wait for approval (RegistrationApprove); beyond: refused, type wait.
	Approvals           int           `yaml:"approvals"`             // of one host
	ApprovalsPerAddress int           `yaml:"approvals_per_address"` // from one address
	ApprovalAge         time.Duration `yaml:"approval_age"`          // then an account goes that nobody has approved

	// What an account may keep; beyond: resource-constraint.
	RosterItems  int `yaml:"roster_items"`
	RosterGroups int `yaml:"roster_groups"` // per item
	RosterBytes  int `yaml:"roster_bytes"`
	ArchivePage  int `yaml:"archive_page"` // items of one page (RSM)
	PEPItems     int `yaml:"pep_items"`    // per node
	PEPItemBytes int `yaml:"pep_item_bytes"`
	PEPNodes     int `yaml:"pep_nodes"` // per user
	PEPBytes     int `yaml:"pep_bytes"` // per user, in all

	// What the publish-subscribe service of a host may keep; beyond: resource-constraint, but for items of a node.
	PubSubNodes         int `yaml:"pubsub_nodes"`
	PubSubUserNodes     int `yaml:"pubsub_user_nodes"` // that one user has made
	PubSubItems         int `yaml:"pubsub_items"`      // per node
	PubSubItemBytes     int `yaml:"pubsub_item_bytes"`
	PubSubBytes         int `yaml:"pubsub_bytes"`         // in all
	PubSubUserBytes     int `yaml:"pubsub_user_bytes"`    // of the nodes that one user has made
	PubSubSubscriptions int `yaml:"pubsub_subscriptions"` // in all, a tenth of them to one node

	VCardBytes   int `yaml:"vcard_bytes"`
	PrivateBytes int `yaml:"private_bytes"` // per user, in all

	// Archives; beyond: the oldest messages go.
	ArchiveBytes      int `yaml:"archive_bytes"`       // per account
	ArchiveIndexBytes int `yaml:"archive_index_bytes"` // per account, of what messages are found by
	RoomArchiveBytes  int `yaml:"room_archive_bytes"`  // per room
	RoomsArchiveBytes int `yaml:"rooms_archive_bytes"` // of all rooms that one user has made

	// The disk of the data directory.
	DiskWarn    int `yaml:"disk_warn"`    // bytes free; below: a warning, and no uploads
	DiskReserve int `yaml:"disk_reserve"` // bytes free; below: see docs/jackdaw.yaml

	// What a peer domain, or a component, may bring over all its streams; beyond: reading pauses, nothing is dropped.
	PeerRate  int `yaml:"peer_rate"` // bytes per second
	PeerBurst int `yaml:"peer_burst"`
	// Keys of dialback from one address that are verified in a minute, each with a call to the domain that is named;
	// ten times as many on streams that have proved a domain. Beyond: refused with resource-constraint.
	PeerVerifications int `yaml:"peer_verifications"`

	// What waits for one peer domain; beyond: bounced with the reason.
	PeerStanzas    int           `yaml:"peer_stanzas"`
	PeerBytes      int           `yaml:"peer_bytes"`
	PeerDials      int           `yaml:"peer_dials"` // concurrent
	PeerBackoffMin time.Duration `yaml:"peer_backoff_min"`
	PeerBackoffMax time.Duration `yaml:"peer_backoff_max"`
	PeerAge        time.Duration `yaml:"peer_age"` // how long a message waits for its peer

	// What waits for all peer domains together; beyond: resource-constraint, type wait.
	PeerAccountBytes int `yaml:"peer_account_bytes"` // of one sender, with what a domain costs
	PeerTotalBytes   int `yaml:"peer_total_bytes"`   // of all senders

	// Rooms; beyond: resource-constraint, type wait.
	RoomOccupants     int `yaml:"room_occupants"`
	RoomsPerUser      int `yaml:"rooms_per_user"`
	RoomMessageRate   int `yaml:"room_message_rate"`   // per second and user
	RoomHistory       int `yaml:"room_history"`        // messages shown to those who enter; more are never shown
	RoomHistoryBytes  int `yaml:"room_history_bytes"`  // of these of one room
	RoomHistoryMemory int `yaml:"room_history_memory"` // of these of all rooms

	// HTTP; beyond: 431, 408.
	HTTPHeaderBytes int           `yaml:"http_header_bytes"`
	HTTPHeaderTime  time.Duration `yaml:"http_header_time"`
	HTTPBodyTime    time.Duration `yaml:"http_body_time"`
	HTTPIdle        time.Duration `yaml:"http_idle"`
	HTTPStreams     int           `yaml:"http_streams"` // concurrent, per HTTP/2 connection
}

func defaultLimits() Limits {
	return Limits{
		PreauthElements: 32,
		PreauthBytes:    64 << 10,
		TLSTime:         10 * time.Second,
		AuthTime:        30 * time.Second,

		ServerStanzaBytes: 512 << 10,
		Depth:             100,
		Elements:          4096,
		Attributes:        64,
		Namespaces:        64,

		StreamRate:  64 << 10,
		StreamBurst: 1 << 20,

		QueueBytes: 4 << 20,
		WriteStall: 30 * time.Second,

		UnackedBytes:   4 << 20,
		UnackedStanzas: 5000,

		ResourcesPerAccount:       20,
		ConnectionsPerAddress:     200,
		UnauthenticatedPerAddress: 50,
		ConnectRate:               20,
		ConnectBurst:              50,

		FailedLogins:       5,
		LoginBackoffMin:    time.Second,
		LoginBackoffMax:    5 * time.Minute,
		DerivationsPerCore: 2,

		Registrations:            3,
		RegistrationEvery:        20 * time.Minute,
		RegistrationAttempts:     20,
		RegistrationAttemptEvery: 3 * time.Minute,

		Approvals:           100,
		ApprovalsPerAddress: 5,
		ApprovalAge:         30 * 24 * time.Hour,

		RosterItems:  2000,
		RosterGroups: 20,
		RosterBytes:  2 << 20,
		ArchivePage:  100,
		PEPItems:     256,
		PEPItemBytes: 128 << 10,
		PEPNodes:     1000,
		PEPBytes:     64 << 20,

		PubSubNodes:         10000,
		PubSubUserNodes:     100,
		PubSubItems:         1000,
		PubSubItemBytes:     128 << 10,
		PubSubBytes:         1 << 30,
		PubSubUserBytes:     64 << 20,
		PubSubSubscriptions: 50000,

		VCardBytes:   128 << 10,
		PrivateBytes: 4 << 20,

		ArchiveBytes:      512 << 20,
		ArchiveIndexBytes: 64 << 20,
		RoomArchiveBytes:  256 << 20,
		RoomsArchiveBytes: 1 << 30,

		DiskWarn:    1 << 30,
		DiskReserve: 256 << 20,

		PeerRate:  1 << 20,
		PeerBurst: 8 << 20,

		PeerVerifications: 20,

		PeerStanzas:    1000,
		PeerBytes:      4 << 20,
		PeerDials:      1,
		PeerBackoffMin: time.Second,
		PeerBackoffMax: 5 * time.Minute,
		PeerAge:        10 * time.Minute,

		PeerAccountBytes: 16 << 20,
		PeerTotalBytes:   64 << 20,

		RoomOccupants:     500,
		RoomsPerUser:      50,
		RoomMessageRate:   10,
		RoomHistory:       100,
		RoomHistoryBytes:  1 << 20,
		RoomHistoryMemory: 64 << 20,

		HTTPHeaderBytes: 16 << 10,
		HTTPHeaderTime:  5 * time.Second,
		HTTPBodyTime:    15 * time.Second,
		HTTPIdle:        60 * time.Second,
		HTTPStreams:     100,
	}
}

// limitAliases maps a limits key to the one place where its value is kept.
var limitAliases = map[string]string{
	"preauth_stanza_bytes": "c2s.max_stanza_preauth",
	"client_stanza_bytes":  "c2s.max_stanza",
	"http_body_bytes":      "http.max_body",
	"offline_messages":     "modules.offline.max_messages",
	"offline_bytes":        "modules.offline.max_bytes",
}

// aliased is where the value of such a key goes.
func (c *Config) aliased(target string) any {
	switch target {
	case "c2s.max_stanza_preauth":
		return &c.C2S.MaxStanzaPreauth
	case "c2s.max_stanza":
		return &c.C2S.MaxStanza
	case "http.max_body":
		return &c.HTTP.MaxBody
	case "modules.offline.max_messages":
		return &c.Modules.Offline.MaxMessages
	default:
		return &c.Modules.Offline.MaxBytes
	}
}
