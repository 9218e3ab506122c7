// Package jid holds XMPP addresses as small comparable values (RFC 7622).
//
// A JID is kept in its normalised form only, so two addresses are the same
// exactly when == says so, and a JID is a map key as it is. Addresses that are
// plain ASCII and already normalised, which on a running server is nearly all
// of them, are recognised in one pass and cost no allocation; the others go
// through PRECIS (RFC 8264, RFC 8265) and IDNA (RFC 5890).
//
// Left out: JID escaping (XEP-0106), which is a matter of presentation and must
// not change what compares equal.
package jid

import (
	"cmp"
	"errors"
	"strings"
)

// MaxPart is the longest localpart, domainpart or resourcepart in bytes, after
// normalisation (RFC 7622 §3.2, §3.3, §3.4).
const MaxPart = 1023

// MaxLen is the longest address in bytes: three parts and their separators.
const MaxLen = 3*MaxPart + 2

// The ways in which an address is refused. The texts repeat nothing of the
// input and may be shown to a peer.
var (
	ErrTooLong  = errors.New("address too long")
	ErrEncoding = errors.New("address is not valid UTF-8")
	ErrEmpty    = errors.New("address has an empty part")
	ErrLocal    = errors.New("address has an invalid localpart")
	ErrDomain   = errors.New("address has an invalid domainpart")
	ErrResource = errors.New("address has an invalid resourcepart")
)

// JID is one normalised address. The zero value is no address. JIDs are
// compared with ==, copied freely and safe for concurrent use.
type JID struct {
	s     string // the whole normalised address
	at    uint16 // index of '@', 0 without a localpart
	slash uint16 // length of the bare part
}

// Parse reads an address and normalises it. It does not allocate when s is
// normalised ASCII, and then the result shares memory with s: whoever cuts s
// out of a large buffer clones it first, or uses ParseBytes. The error is one
// of the sentinels of this package (RFC 7622 §3.1).
func Parse(s string) (JID, error) { return parse(s) }

// ParseBytes is Parse for a buffer that the caller goes on using. It allocates
// the string that is kept and nothing more for ASCII input.
func ParseBytes(b []byte) (JID, error) { return parse(b) }

// New joins an address from its parts; local and resource may be empty for an
// address without them.
func New(local, domain, resource string) (JID, error) {
	// Before the parts are joined: a separator would move their borders.
	switch {
	case len(local) > MaxPart || len(domain) > MaxPart || len(resource) > MaxPart:
		return JID{}, ErrTooLong
	case strings.ContainsAny(local, "@/"):
		return JID{}, ErrLocal
	case strings.ContainsAny(domain, "@/"):
		return JID{}, ErrDomain
	}
	s := domain
	switch {
	case local != "" && resource != "":
		s = local + "@" + domain + "/" + resource
	case local != "":
		s = local + "@" + domain
	case resource != "":
		s = domain + "/" + resource
	}
	return parse(s)
}

// Again is the JID of which s is the String. It looks for the separators and at nothing else, and the result shares
// memory with s.
func Again(s string) JID {
	slash := strings.IndexByte(s, '/')
	if slash < 0 {
		slash = len(s)
	}
	return JID{s: s, at: uint16(max(strings.IndexByte(s[:slash], '@'), 0)), slash: uint16(slash)}
}

// MustParse is Parse for tests and constants of the program. It panics on an
// invalid address.
func MustParse(s string) JID {
	j, err := Parse(s)
	if err != nil {
		panic("jid: " + err.Error() + ": " + s)
	}
	return j
}

// Local returns the localpart, "" without one. It does not allocate.
func (j JID) Local() string { return j.s[:j.at] }

// Domain returns the domainpart with U-labels. It does not allocate.
func (j JID) Domain() string { return j.s[j.domainStart():j.slash] }

// Resource returns the resourcepart, "" without one. It does not allocate.
func (j JID) Resource() string {
	if int(j.slash) == len(j.s) {
		return ""
	}
	return j.s[j.slash+1:]
}

// Bare returns the address without its resourcepart. It does not allocate.
func (j JID) Bare() JID { return JID{s: j.s[:j.slash], at: j.at, slash: j.slash} }

// DomainJID returns the address of the domain alone. It does not allocate.
func (j JID) DomainJID() JID {
	d := j.Domain()
	return JID{s: d, slash: uint16(len(d))}
}

// WithResource returns the bare address with resource r, normalised. As in New,
// an empty r means no resource. On the zero JID the error is ErrEmpty.
func (j JID) WithResource(r string) (JID, error) {
	switch {
	case j.IsZero():
		return JID{}, ErrEmpty
	case r == "":
		return j.Bare(), nil
	}
	r, err := resourcepart(r)
	if err != nil {
		return JID{}, err
	}
	return JID{s: j.s[:j.slash] + "/" + r, at: j.at, slash: j.slash}, nil
}

// IsZero says that j is no address.
func (j JID) IsZero() bool { return j.s == "" }

// IsBare says that j is an address without a resourcepart (RFC 6120 §1.4).
func (j JID) IsBare() bool { return j.s != "" && int(j.slash) == len(j.s) }

// IsFull says that j has a resourcepart (RFC 6120 §1.4).
func (j JID) IsFull() bool { return int(j.slash) < len(j.s) }

// IsDomain says that j is a domain alone.
func (j JID) IsDomain() bool { return j.at == 0 && j.IsBare() }

// String returns the normalised address, "" for the zero JID. It does not
// allocate.
func (j JID) String() string { return j.s }

// MatchesBare says that j and o are the same apart from their resources.
func (j JID) MatchesBare(o JID) bool {
	return j.at == o.at && j.s[:j.slash] == o.s[:o.slash]
}

// Compare orders by domain, then localpart, then resource, so that the
// addresses of a domain and those of a user stand together. It returns 0
// exactly when j == o.
func (j JID) Compare(o JID) int {
	return cmp.Or(
		strings.Compare(j.Domain(), o.Domain()),
		strings.Compare(j.Local(), o.Local()),
		strings.Compare(j.Resource(), o.Resource()),
	)
}

// MarshalText writes the normalised address; the zero JID is the empty text.
func (j JID) MarshalText() ([]byte, error) { return []byte(j.s), nil }

// UnmarshalText is ParseBytes, except that the empty text is the zero JID.
func (j *JID) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*j = JID{}
		return nil
	}
	v, err := parse(b)
	if err != nil {
		return err
	}
	*j = v
	return nil
}

func (j JID) domainStart() int {
	if j.at == 0 {
		return 0
	}
	return int(j.at) + 1
}
