package wire

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	"jackdaw/xmpp"
	"jackdaw/xmpp/stream"
)

// NewID returns 128 random bits in 22 characters. Nobody can guess it, which is what protects a stream's id.
func NewID() string {
	var b [16]byte
	rand.Read(b[:]) // never returns an error
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// Current says whether the other side speaks XMPP 1.0 or what must be compatible with it (RFC 6120 §4.7.5).
func Current(version string) bool {
	major, minor, ok := strings.Cut(version, ".")
	if !ok {
		return false
	}
	a, err := strconv.ParseUint(major, 10, 16)
	_, err2 := strconv.ParseUint(minor, 10, 16)
	return err == nil && err2 == nil && a >= 1
}

// AppendStartTLS appends the feature of STARTTLS (RFC 6120 §5.4.1).
func AppendStartTLS(features []byte, required bool) []byte {
	features = append(features, "<starttls xmlns='"+xmpp.NSTLS+"'>"...)
	if required {
		features = append(features, "<required/>"...)
	}
	return append(features, "</starttls>"...)
}

// AppendLimits appends the feature that announces limits (XEP-0478): the bytes of an item, and the time without any, if
// there is a bound.
func AppendLimits(features []byte, bytes int, idle time.Duration) []byte {
	features = append(features, "<limits xmlns='"+xmpp.NSStreamLimits+"'><max-bytes>"...)
	features = append(strconv.AppendInt(features, int64(bytes), 10), "</max-bytes>"...)
	if idle > 0 {
		features = append(features, "<idle-seconds>"...)
		features = append(strconv.AppendInt(features, int64(idle/time.Second), 10), "</idle-seconds>"...)
	}
	return append(features, "</limits>"...)
}

// Unfit says what is wrong with a stanza, before anybody looks at it: badTo says that its 'to' is not an address. With
// nameless a request needs no id.
func Unfit(x *xmpp.Stanza, badTo, nameless bool) *xmpp.Error {
	switch {
	case badTo: // RFC 6120 §8.3.3.8. Whoever enters a room by a nick that nobody can have sees these words.
		return xmpp.JIDMalformed(xmpp.BadToText)
	case x.Type == xmpp.TypeInvalid:
		return xmpp.BadRequest("unknown type")
	case x.Kind != xmpp.IQ:
		return nil
	case x.ID == "" && !(nameless && x.IsRequest()):
		return xmpp.BadRequest("a request needs an id") // RFC 6120 §8.1.3
	case x.IsRequest() && len(x.Children) != 1, x.Type == xmpp.TypeResult && len(x.Children) > 1:
		return xmpp.BadRequest("a request has exactly one child") // RFC 6120 §8.2.3
	}
	return nil
}

// RequestAck asks what the other side has taken (XEP-0198 §4).
const RequestAck = "<r xmlns='" + xmpp.NSSM + "'/>"

// AppendAck appends <a/>: h stanzas have been taken.
func AppendAck(dst []byte, h uint32) []byte {
	dst = append(dst, "<a xmlns='"+xmpp.NSSM+"' h='"...)
	return append(strconv.AppendUint(dst, uint64(h), 10), "'/>"...)
}

// Height reads h from an element of stream management.
func Height(raw []byte) (uint32, error) {
	if h, ok := plainHeight(raw); ok { // as nearly always, and every client says it all the time
		return h, nil
	}
	el, err := xmpp.ParseElement(raw)
	if err != nil {
		return 0, Fault(stream.BadFormat, "")
	}
	h, err := strconv.ParseUint(el.Attr("h"), 10, 32)
	if err != nil {
		return 0, Fault(stream.BadFormat, "h is not a number of stanzas")
	}
	return uint32(h), nil
}

// plainHeight is Height for a well-formed element that has one blank before each attribute and no others between them,
// as it is written mostly. It says nothing of any other, nor of an h that is not in plain digits.
func plainHeight(raw []byte) (h uint32, ok bool) {
	i := bytes.IndexAny(raw, " \t\r\n=>")
	for i > 0 && raw[i] == ' ' {
		name, rest, _ := bytes.Cut(raw[i+1:], []byte("="))
		if len(rest) == 0 || rest[0] != '\'' && rest[0] != '"' {
			return 0, false
		}
		end := bytes.IndexByte(rest[1:], rest[0]) + 1
		if end == 0 || end+1 == len(rest) {
			return 0, false
		}
		if string(name) == "h" {
			n, err := strconv.ParseUint(string(rest[1:end]), 10, 32)
			return uint32(n), err == nil
		}
		raw, i = rest[end:], 1
	}
	return 0, false
}

// TooHigh is the farewell to a side that acknowledges h stanzas and was sent fewer (XEP-0198 §4).
func TooHigh(h, sent uint32) *Farewell {
	return &Farewell{Condition: stream.UndefinedCondition, Text: "you acknowledged more than you were sent",
		Extra: "<handled-count-too-high xmlns='" + xmpp.NSSM + "' h='" + strconv.FormatUint(uint64(h), 10) +
			"' send-count='" + strconv.FormatUint(uint64(sent), 10) + "'/>"}
}

// Failed says that stream management is not begun, or not resumed (XEP-0198 §3).
func Failed(c xmpp.Condition) string {
	return "<failed xmlns='" + xmpp.NSSM + "'><" + string(c) + " xmlns='" + xmpp.NSStanzaErrors + "'/></failed>"
}
