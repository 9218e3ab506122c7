package s2s

import (
	"errors"

	"jackdaw/xmpp"
	"jackdaw/xmpp/stream"
)

// A remoteError is the stream error that a peer sent.
type remoteError struct {
	condition string
	text      string
}

func (e *remoteError) Error() string { return "the peer's stream error " + e.condition + ": " + e.text }

// blames says whether it was what we sent that made the peer end the stream, and not what it thinks of us or its own
// state.
func (e *remoteError) blames() bool {
	switch stream.Condition(e.condition) {
	case stream.PolicyViolation, stream.BadFormat, stream.BadNamespacePrefix, stream.ImproperAddressing,
		stream.InvalidNamespace, stream.InvalidXML, stream.NotWellFormed, stream.RestrictedXML,
		stream.UnsupportedStanzaType, "xml-not-well-formed": // RFC 3920 §4.7.3
		return true
	}
	return false
}

// errClosed says that the peer has closed the stream as it should (RFC 6120 §4.4).
var errClosed = errors.New("the peer closed the stream")

// readRemoteError reads <stream:error/>.
func readRemoteError(raw []byte) error {
	e := &remoteError{condition: string(stream.UndefinedCondition)}
	el, err := xmpp.ParseElement(raw)
	if err != nil {
		return e
	}
	for _, c := range el.Children() {
		switch {
		case c.Name.Space != xmpp.NSStreamErrors:
		case c.Name.Local == "text":
			e.text = clip(c.Text())
		default:
			e.condition = clip(c.Name.Local)
		}
	}
	return e
}

// clip bounds what peers say before it gets into logs and texts.
func clip(s string) string {
	if len(s) > 100 {
		s = s[:100]
	}
	if !xmpp.ValidText(s) {
		return "(not readable)"
	}
	return s
}
