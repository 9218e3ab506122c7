package admin

import "time"

// SessionInfo is one connected resource.
type SessionInfo struct {
	JID       string    `json:"jid"`   // full
	State     string    `json:"state"` // StateConnected and so on
	Priority  int       `json:"priority"`
	Address   string    `json:"address"` // of the client; "" while it is away
	TLS       string    `json:"tls"`     // the version; "" in the clear, and while the client is away
	Client    string    `json:"client"`  // what it says it is (XEP-0115 §4); "" if nothing
	Device    string    `json:"device"`  // DeviceInfo.ID; "" if the client does not say which it is
	Idle      bool      `json:"idle"`    // the user is away or the client is, as far as it says
	Since     time.Time `json:"since"`
	ResumesBy time.Time `json:"resumes_by,omitzero"` // when a detached session ends
}

// The states of a session.
const (
	StateConnected = "connected" // it has sent no presence
	StateAvailable = "available"
	StateDetached  = "detached" // its connection is gone; it waits to be resumed (XEP-0198 §5)
)

// PeersInfo is what may be shown of other servers.
type PeersInfo struct {
	Links  []LinkInfo  `json:"links"`
	Queues []QueueInfo `json:"queues"`
}

// LinkInfo is one stream of a peer or a component.
type LinkInfo struct {
	Direction     string    `json:"direction"` // "in", "out", "both" (XEP-0288), "component"
	Local         string    `json:"local"`     // domains, as the stream has proved them; several with a comma
	Remote        string    `json:"remote"`
	Authenticated string    `json:"authenticated"` // "external", "dialback", "secret"; "" while it is not
	TLS           string    `json:"tls"`           // version and cipher suite; "" in the clear
	Extras        []string  `json:"extras"`
	Address       string    `json:"address"`
	Since         time.Time `json:"since"`
	In            int64     `json:"in"` // stanzas
	Out           int64     `json:"out"`
}

// QueueInfo is what waits for a peer, for one domain of ours.
type QueueInfo struct {
	Local   string    `json:"local"`
	Remote  string    `json:"remote"`
	State   string    `json:"state"`
	Stanzas int       `json:"stanzas"` // waiting
	Bytes   int       `json:"bytes"`
	Unacked int       `json:"unacked"`       // written, and not known to have been taken
	Error   string    `json:"error"`         // of the last attempt; "" if it went well
	Next    time.Time `json:"next,omitzero"` // attempt; zero if none is due
}

// UserInfo is what may be shown of an account.
type UserInfo struct {
	JID         string      `json:"jid"`
	Disabled    bool        `json:"disabled"`
	Pending     bool        `json:"pending"`     // it waits for approval
	Permissions []string    `json:"permissions"` // as granted; not those of the configuration
	Rights      []RightInfo `json:"rights"`      // from every source
	Created     time.Time   `json:"created"`
	Changed     time.Time   `json:"password_set"`
	Sessions    int         `json:"sessions"` // of a running server

	// Of one account alone, not in a list.
	LastLogin time.Time    `json:"last_login,omitzero"` // to the hour; exact while the session lasts
	LastSeen  time.Time    `json:"last_seen,omitzero"`  // the end of the last session, if there is none now
	Keep      string       `json:"keep,omitempty"`      // of messages in its archive: 90d, KeepForever; empty: as for all
	Stored    []StoredInfo `json:"stored,omitempty"`
}

// RightInfo is a permission that an account has, and where from.
type RightInfo struct {
	Permission string `json:"permission"`
	Source     string `json:"source"`
	Everybody  bool   `json:"everybody"` // every account has it
}

// StoredInfo is how much is kept of a user in one space.
type StoredInfo struct {
	Space   string `json:"space"`
	Records int    `json:"records"`
	Bytes   int64  `json:"bytes"`
}

// APIAccountInfo is what may be shown of an API account.
type APIAccountInfo struct {
	Name    string    `json:"name"`
	Domains []string  `json:"domains"`
	Created time.Time `json:"created"`
}

// DeviceInfo is what may be shown of a device.
type DeviceInfo struct {
	ID        string    `json:"id"`
	Software  string    `json:"software"` // as it says; "" if it does not
	Name      string    `json:"name"`     // likewise
	First     time.Time `json:"first_login"`
	Last      time.Time `json:"last_login"` // to the hour, but for another way to log in
	Mechanism string    `json:"mechanism"`  // of that login
	Password  bool      `json:"password"`   // it has shown the present password
	Token     bool      `json:"token"`      // it can log in by one
	Expires   time.Time `json:"token_expires,omitzero"`
	Sessions  int       `json:"sessions"` // of a running server
}

// Login is a name, of a user or an API account, and its password.
type Login struct {
	Name     string
	Password string
	Domains  []string `json:",omitempty"` // of an API account
}
