package tokens

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"time"

	"jackdaw/xmpp/jid"
)

// recordVersion is the first byte of each value; the rest is JSON.
const recordVersion = 1

// A Token is what may be shown of one: not the token itself, which nobody knows any more. Its slices are shared and not
// to be changed.
type Token struct {
	ID      string // says which; it opens nothing
	Kind    Kind
	Owner   jid.JID // bare
	Label   string
	Hook    string // of a KindHook: the name of the hook that it opens; else ""
	Scopes  Scopes
	CIDRs   []netip.Prefix // where it may be used; none: everywhere
	Created time.Time
	Expires time.Time // zero: never
	Rate    Rate
	// MaxBytes bounds the body of a request; 0: there is no bound but that of the server.
	MaxBytes int
	// Successor is the id of the token that was made in its place; "": none was.
	Successor string

	Uses int64     // how often it was good
	Last time.Time // when it was last, to the minute; zero: never
	From netip.Addr
}

// A record is what is stored of a token.
type record struct {
	Digest    []byte         `json:"sha256"`
	Kind      Kind           `json:"kind"`
	Owner     jid.JID        `json:"owner"`
	Label     string         `json:"label,omitempty"`
	Hook      string         `json:"hook,omitempty"`
	Scopes    Scopes         `json:"scopes"`
	CIDRs     []netip.Prefix `json:"cidrs,omitempty"`
	Created   time.Time      `json:"created"`
	Expires   time.Time      `json:"expires,omitzero"`
	Rate      Rate           `json:"rate,omitzero"`
	MaxBytes  int            `json:"max_bytes,omitempty"`
	Successor string         `json:"successor,omitempty"`
	// Account is when the account of the owner was made: one of the same name that was made later has no part in it.
	// Zero: it came from elsewhere.
	Account time.Time `json:"account,omitzero"`
}

// A usage is what is stored of the uses of a token, beside its record.
type usage struct {
	Uses int64      `json:"uses"`
	Last time.Time  `json:"last"`
	From netip.Addr `json:"from,omitzero"`
	// Told is how often the owner was told that it expires.
	Told int `json:"told,omitempty"`
}

func encode(v any) []byte {
	b, _ := json.Marshal(v) // there is nothing in it that JSON has no word for
	return append([]byte{recordVersion}, b...)
}

func decode(b []byte, v any) error {
	if len(b) == 0 || b[0] != recordVersion {
		return errors.New("a record of a version that is not known")
	}
	return json.Unmarshal(b[1:], v)
}

func decodeToken(b []byte) (*record, error) {
	r := &record{}
	err := decode(b, r)
	if err == nil && len(r.Digest) != sha256.Size {
		err = errors.New("a record without a digest")
	}
	return r, err
}

func (r *record) id() string { return idOf([sha256.Size]byte(r.Digest)) }

// shown is what may be seen of a token.
func (r *record) shown(u usage) Token {
	return Token{ID: r.id(), Kind: r.Kind, Owner: r.Owner, Label: r.Label, Hook: r.Hook, Scopes: r.Scopes, CIDRs: r.CIDRs,
		Created: r.Created, Expires: r.Expires, Rate: r.Rate, MaxBytes: r.MaxBytes, Successor: r.Successor,
		Uses: u.Uses, Last: u.Last, From: u.From}
}

// isOf says whether it is a token of the account of its owner that was made then, and not of one before.
func (r *record) isOf(created time.Time) bool { return r.Account.IsZero() || r.Account.Equal(created) }

// expired says whether it counts no more.
func (r *record) expired(now time.Time) bool { return !r.Expires.IsZero() && !now.Before(r.Expires) }

// within says whether the token may be used from an address. A client on a unix socket has none, and counts as one on
// loopback.
func (r *record) within(a netip.Addr) bool {
	if len(r.CIDRs) == 0 {
		return true
	}
	contains := func(a netip.Addr) bool {
		return slices.ContainsFunc(r.CIDRs, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	if !a.IsValid() {
		return contains(netip.AddrFrom4([4]byte{127, 0, 0, 1})) || contains(netip.IPv6Loopback())
	}
	return contains(a.Unmap().WithZone(""))
}
