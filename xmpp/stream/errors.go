package stream

import (
	"bytes"
	"fmt"
	"unicode/utf8"
)

// Condition is a stream error condition of RFC 6120 §4.9.3.
type Condition string

// The conditions of RFC 6120 §4.9.3.
const (
	BadFormat              Condition = "bad-format"
	BadNamespacePrefix     Condition = "bad-namespace-prefix"
	Conflict               Condition = "conflict"
	ConnectionTimeout      Condition = "connection-timeout"
	HostGone               Condition = "host-gone"
	HostUnknown            Condition = "host-unknown"
	ImproperAddressing     Condition = "improper-addressing"
	InternalServerError    Condition = "internal-server-error"
	InvalidFrom            Condition = "invalid-from"
	InvalidNamespace       Condition = "invalid-namespace"
	InvalidXML             Condition = "invalid-xml"
	NotAuthorized          Condition = "not-authorized"
	NotWellFormed          Condition = "not-well-formed"
	PolicyViolation        Condition = "policy-violation"
	RemoteConnectionFailed Condition = "remote-connection-failed"
	Reset                  Condition = "reset"
	ResourceConstraint     Condition = "resource-constraint"
	RestrictedXML          Condition = "restricted-xml"
	SeeOtherHost           Condition = "see-other-host"
	SystemShutdown         Condition = "system-shutdown"
	UndefinedCondition     Condition = "undefined-condition"
	UnsupportedEncoding    Condition = "unsupported-encoding"
	UnsupportedFeature     Condition = "unsupported-feature"
	UnsupportedStanzaType  Condition = "unsupported-stanza-type"
	UnsupportedVersion     Condition = "unsupported-version"
)

// SyntaxError says what the scanner refused and where.
type SyntaxError struct {
	Offset int // in bytes from the start of the stream or document
	// Line and Column count from 1, the column in characters. In a document they count from its start, in a stream
	// from the start of the item.
	Line, Column int
	What         string    // a phrase in lower case that quotes nothing of the input
	Condition    Condition // the stream error to answer with
}

// Error returns what is wrong, line and column.
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("%s at line %d, column %d", e.What, e.Line, e.Column)
}

// locate counts lines and columns up to the error at offset at of b.
func (e *SyntaxError) locate(b []byte, at int) {
	b = b[:min(at, len(b))]
	e.Line = 1 + bytes.Count(b, []byte{'\n'})
	e.Column = 1 + utf8.RuneCount(b[bytes.LastIndexByte(b, '\n')+1:])
}

func fail(at int, c Condition, what string) *SyntaxError {
	return &SyntaxError{Offset: at, Condition: c, What: what}
}
