package lookup

import (
	"errors"
	"net"
)

// Reason is why a peer was not reached.
type Reason int

// The reasons, the ones that tell most about the peer last.
const (
	NameNotFound Reason = iota + 1 // neither SRV records nor an address, by the DNS's own word
	NoAddress                      // there are SRV records, and nothing usable behind them
	NoService                      // the domain says that it has no XMPP server (RFC 2782, target ".")
	LookupFailed                   // the DNS gave no answer
	Refused                        // every address refused
	Unreachable                    // no answer, no route, or some refused and some silent
)

// String returns a text that may be shown to anybody: it names no address.
func (r Reason) String() string {
	switch r {
	case NameNotFound:
		return "the name was not found"
	case NoAddress:
		return "the server has no usable address"
	case NoService:
		return "the domain offers no XMPP service to other servers"
	case LookupFailed:
		return "the name could not be looked up"
	case Refused:
		return "the connection was refused by all addresses"
	case Unreachable:
		return "the server could not be reached"
	}
	return "unknown"
}

// Permanent says that trying again soon is of no use: the DNS answered, and said
// that there is no such server.
func (r Reason) Permanent() bool {
	return r == NameNotFound || r == NoAddress || r == NoService
}

// Error is what every error of a Finder is.
type Error struct {
	Reason Reason
	Domain string // as it was asked for
	Err    error  // the cause, with names and addresses; may be nil
}

// Error is for logs: it may hold addresses.
func (e *Error) Error() string {
	s := "find " + e.Domain + ": " + e.Reason.String()
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Text is for stanza errors and bounces: it holds no address.
func (e *Error) Text() string { return e.Reason.String() }

// Permanent is that of the reason.
func (e *Error) Permanent() bool { return e.Reason.Permanent() }

func (e *Error) Unwrap() error { return e.Err }

// Worse returns of two errors of targets of one domain the one to report: a target
// that was there and silent says more than one that has no address, and a temporary
// error more than a permanent one, so that nothing is given up while a retry may
// help. Either may be nil.
func Worse(a, b error) error {
	x, ok := errors.AsType[*Error](a)
	if !ok {
		return b
	}
	if y, ok := errors.AsType[*Error](b); ok && y.Reason > x.Reason {
		return b
	}
	return a
}

// notFound says that the DNS answered and there is no such name, or no such record
// of it; Go's resolver does not tell these two apart.
func notFound(err error) bool {
	e, ok := errors.AsType[*net.DNSError](err)
	return ok && e.IsNotFound
}
