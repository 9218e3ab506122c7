// Package stream is the framing of XMPP: it finds stanzas in the bytes of a connection (RFC 6120 §4, §11) and writes
// stream headers and stream errors.
//
// [Scanner] is a strict one-pass push scanner. While it looks for the end of an item it checks everything that XML 1.0,
// Namespaces in XML 1.0 and RFC 6120 §11 ask for: well-formedness, UTF-8, names, prefixes, unique attributes, no
// document type, comment, processing instruction or foreign entity, and the limits on size, depth and number. The
// payload of a stanza stays the bytes received; only one that leans on a prefix declared outside it, holds a CDATA
// section, or declares the content namespace once more is rewritten.
//
// What is made of an item is counted like what was received of it: a payload that grows while it is rewritten, and one
// that would grow if its elements were written one by one, each with the namespaces that it needs. So nothing that is
// made of an item later, by whomever, is larger than the limit for the item, whatever its prefixes stand for.
//
// [ParseStanza], [ParseContent] and [Scanner.Frame] do the same for a whole document, as HTTP and WebSocket (RFC 7395)
// bring it. The package opens no sockets and starts no goroutines; negotiation is the work of its callers. It reads no
// encoding but UTF-8 (RFC 6120 §11.6) and validates against no schema.
package stream

import (
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// Limits bound what one item at the top of a stream may cost; they are applied while its bytes arrive. A field that is
// zero takes its value from DefaultLimits.
type Limits struct {
	Bytes        int // of the item as received, and of what is made of it (scratch.grow)
	Depth        int // of nesting; the stanza itself counts 1
	Elements     int // in the item, itself included
	Attributes   int // of one element, namespace declarations included
	Declarations int // namespace declarations in force at one place of the item; bounds the price of a look-up
}

// DefaultLimits are those of an authenticated client.
var DefaultLimits = Limits{Bytes: 256 << 10, Depth: 100, Elements: 4096, Attributes: 64, Declarations: 64}

// maxOuter bounds the names and prefixes of all namespaces that a stream header declares. Each stanza may repeat them.
const maxOuter = 4 << 10

// maxLang is the longest language of a stream that is remembered, to be written on stanzas; RFC 5646 §4.4.1 needs 35.
const maxLang = 64

// maxBytes keeps offsets inside an item within 32 bits.
const maxBytes = 1 << 30

func (l Limits) orDefault() Limits {
	d := DefaultLimits
	for _, f := range []struct{ have, or *int }{
		{&l.Bytes, &d.Bytes}, {&l.Depth, &d.Depth}, {&l.Elements, &d.Elements}, {&l.Attributes, &d.Attributes},
		{&l.Declarations, &d.Declarations},
	} {
		if *f.have <= 0 {
			*f.have = *f.or
		}
	}
	l.Bytes = min(l.Bytes, maxBytes)
	return l
}

// Header is a stream header (RFC 6120 §4.7).
type Header struct {
	Content  string // content namespace: the default namespace (RFC 6120 §4.8.2)
	Prefix   string // of the stream namespace; empty counts as "stream" when written
	To, From jid.JID
	ID       string
	Version  string
	Lang     string
	Dialback bool // the namespace of XEP-0220 is declared
	BadTo    bool // read: the attribute was there and is not an address
	BadFrom  bool // read: likewise
}

// Close ends a stream (RFC 6120 §4.4).
const Close = "</stream:stream>"

// AppendHeader appends an XML declaration and a stream header. The prefix is always "stream", which is what Close,
// AppendError and AppendFeatures go with.
func AppendHeader(dst []byte, h Header) []byte {
	dst = append(dst, "<?xml version='1.0'?><stream:stream xmlns='"...)
	dst = xmpp.AppendAttr(dst, h.Content)
	dst = append(dst, "' xmlns:stream='"+xmpp.NSStream+"'"...)
	if h.Dialback {
		dst = append(dst, " xmlns:db='"+xmpp.NSDialback+"'"...)
	}
	dst = appendAttr(dst, "from", h.From.String())
	dst = appendAttr(dst, "to", h.To.String())
	dst = appendAttr(dst, "id", h.ID)
	dst = appendAttr(dst, "version", h.Version)
	dst = appendAttr(dst, "xml:lang", h.Lang)
	return append(dst, '>')
}

func appendAttr(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	dst = append(dst, ' ')
	dst = append(dst, name...)
	dst = append(dst, '=', '\'')
	return append(xmpp.AppendAttr(dst, value), '\'')
}

// AppendFeatures appends <stream:features/> around XML that declares its own namespaces (RFC 6120 §4.3.2).
func AppendFeatures(dst, features []byte) []byte {
	if len(features) == 0 {
		return append(dst, "<stream:features/>"...)
	}
	dst = append(dst, "<stream:features>"...)
	dst = append(dst, features...)
	return append(dst, "</stream:features>"...)
}

// AppendError appends a stream error (RFC 6120 §4.9.2), without the end of the stream that has to follow it. The text
// is in English and may be empty.
func AppendError(dst []byte, c Condition, text string) []byte {
	dst = append(dst, "<stream:error>"...)
	return append(appendErrorContent(dst, c, text), "</stream:error>"...)
}

// AppendFrameError appends a stream error with its own namespace declaration, for a WebSocket frame (RFC 7395 §3.3.3).
func AppendFrameError(dst []byte, c Condition, text string) []byte {
	dst = append(dst, "<stream:error xmlns:stream='"+xmpp.NSStream+"'>"...)
	return append(appendErrorContent(dst, c, text), "</stream:error>"...)
}

func appendErrorContent(dst []byte, c Condition, text string) []byte {
	dst = append(dst, '<')
	dst = append(dst, c...)
	dst = append(dst, " xmlns='"+xmpp.NSStreamErrors+"'/>"...)
	if text != "" {
		dst = append(dst, "<text xmlns='"+xmpp.NSStreamErrors+"' xml:lang='en'>"...)
		dst = append(xmpp.AppendText(dst, text), "</text>"...)
	}
	return dst
}
