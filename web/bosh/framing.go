package bosh

import (
	"bytes"

	"jackdaw/wire"
	"jackdaw/xmpp"
	"jackdaw/xmpp/stream"
)

// framing is how a stream lies in what a session reads and writes. What it reads is made here of the bodies of
// requests: stream headers where a session begins or asks for a restart, elements, and the end (XEP-0206 §3 to §5). So
// it is framed as over TCP. What is written is elements only, and a mark at the end. Each of them is complete where the
// default namespace is that of <body/>, but for stanzas, to which the session adds theirs.
type framing struct{ wire.Bytes }

// FramingName is what another node has to call the framing that Framing makes.
const FramingName = "bosh"

// Name says so.
func (framing) Name() string { return FramingName }

// Framing is that of the sessions here, for a node that is handed the stream of one.
func Framing() wire.Framing { return framing{} }

// AppendHeader implements wire.Framing. Attributes of the first response say what a header would (XEP-0206 §3).
func (framing) AppendHeader(dst []byte, _ stream.Header) []byte { return dst }

// AppendFeatures implements wire.Framing.
func (framing) AppendFeatures(dst, features []byte) []byte {
	dst = append(dst, "<stream:features xmlns:stream='"+xmpp.NSStream+"'>"...)
	return append(append(dst, features...), "</stream:features>"...)
}

// conditions are the stream errors that BOSH has a name for, where it is the server itself that lacks what a session
// needs (§17.2). Others are told as they are (XEP-0206 §6).
var conditions = map[stream.Condition]string{
	stream.SystemShutdown:      "system-shutdown",
	stream.HostUnknown:         "host-unknown",
	stream.HostGone:            "host-gone",
	stream.ImproperAddressing:  "improper-addressing",
	stream.InternalServerError: "internal-server-error",
}

// AppendEnd implements wire.Framing.
func (framing) AppendEnd(dst []byte, f *wire.Farewell) []byte {
	condition := conditions[f.Condition]
	if f.Condition != "" && condition == "" {
		condition = "remote-stream-error"
		dst = stream.AppendFrameError(dst, f.Condition, f.Text)
		if f.Extra != "" { // RFC 6120 §4.9.4: the last child
			const end = "</stream:error>"
			dst = append(append(dst[:len(dst)-len(end)], f.Extra...), end...)
		}
	}
	return append(append(append(dst, endMark...), condition...), '>')
}

// endMark begins what ends the output of a stream: an end tag of a name that XML does not have, with the condition in
// it.
const endMark = "</:"

// ends says whether the end of the output is in b.
func ends(b []byte) bool {
	i := bytes.LastIndexByte(b, '<')
	return i >= 0 && bytes.HasPrefix(b[i:], []byte(endMark)) && b[len(b)-1] == '>'
}

// A cutter finds whole elements in the output of a stream, which comes in pieces that begin and end anywhere. The
// output is our own: well-formed, without comments, sections and declarations.
type cutter struct {
	state     cut
	quote     byte
	depth     int
	name      []byte // of an element at the top, or the condition in the end mark
	whole     int    // how much of what it has appended is whole elements
	ended     bool
	condition string // how
}

type cut uint8

const (
	inText cut = iota
	afterLess
	inName // of a start tag at the top
	inTag
	inQuote
	inSlash
	inEnd  // an end tag
	inMark // the end mark, behind the colon
)

// feed appends p to dst and moves whole on. A stanza gets the declaration of its namespace, which <body/> has taken.
func (c *cutter) feed(dst, p []byte) []byte {
	for len(p) > 0 && !c.ended {
		n := 1
		b := p[0]
		switch c.state {
		case inText:
			if n = bytes.IndexByte(p, '<'); n < 0 {
				n = len(p)
			}
			if c.depth > 0 { // §6: <body/> has no text
				dst = append(dst, p[:n]...)
			}
			if n < len(p) {
				n++
				c.state = afterLess
			}
			p = p[n:]
			continue
		case afterLess:
			switch {
			case b == '/':
				c.state = inEnd
				if c.depth == 0 {
					c.name = c.name[:0]
					c.state = inMark
					p = p[1:]
					continue
				}
			case c.depth == 0:
				c.name = append(c.name[:0], b)
				c.state = inName
			default:
				c.state = inTag
			}
			dst = append(dst, '<')
		case inName:
			switch b {
			case ' ', '/', '>':
				if xmpp.KindOf(string(c.name)) != 0 {
					dst = append(dst, " xmlns='"+xmpp.NSClient+"'"...)
				}
				c.state = inTag
				continue
			}
			c.name = append(c.name, b)
		case inTag:
			if n = bytes.IndexAny(p, "'\"/>"); n < 0 {
				n = len(p)
				break
			}
			switch b = p[n]; b {
			case '/':
				c.state = inSlash
			case '>':
				c.depth++
				c.state = inText
			default:
				c.quote, c.state = b, inQuote
			}
			n++
		case inQuote:
			if n = bytes.IndexByte(p, c.quote); n < 0 {
				n = len(p)
				break
			}
			n++
			c.state = inTag
		case inSlash:
			c.state = inTag
			if b == '>' {
				c.state = inText
			}
		case inEnd:
			if n = bytes.IndexByte(p, '>'); n < 0 {
				n = len(p)
				break
			}
			n++
			c.depth--
			c.state = inText
		case inMark:
			if b != '>' {
				c.name = append(c.name, b)
				p = p[1:]
				continue
			}
			c.ended, c.condition = true, string(c.name[1:])
			return dst
		}
		dst = append(dst, p[:n]...)
		p = p[n:]
		if c.state == inText && c.depth == 0 {
			c.whole = len(dst)
		}
	}
	return dst
}
