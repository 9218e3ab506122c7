package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"slices"
	"sync"

	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
	"jackdaw/xmpp/stream"
)

// A WebSocket is the framing of RFC 7395 on a connection that RFC 6455 has upgraded: a message is one element. It
// belongs to one stream. What came is unmasked in the stream's buffer and put together there; what leaves becomes
// messages on its way to TLS, so that a session need not know on which framing it is resumed.
//
// Left out: compression (RFC 7692), which is not offered, and binary messages.
type WebSocket struct {
	// The reader's. The message that is coming begins where the stream has consumed what was before.
	have    int  // bytes of it, unmasked
	raw     int  // where what was not looked at begins, behind those bytes
	left    int  // bytes of the present frame that are to come
	final   bool // the frame is its message's last
	partial bool // a message has begun and not ended
	at      int  // in the mask
	key     [4]byte

	out splitter // whoever writes has it

	mu   sync.Mutex // guards the rest
	owed []byte     // a frame that we owe as an answer
	end  bool       // what is owed is the last frame
	over bool       // the other side has closed
	code uint16     // of the closing frame; 0: closeNormal
}

// The opcodes of RFC 6455 §5.2.
const (
	opContinuation = 0x0
	opText         = 0x1
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xA

	finBit  = 0x80
	maskBit = 0x80
)

// The status codes of RFC 6455 §7.4.1.
const (
	closeNormal      = 1000
	closeProtocol    = 1002
	closeUnsupported = 1003
	closePolicy      = 1008
	closeTooBig      = 1009
)

// maxControl is the most that a control frame may carry (RFC 6455 §5.5).
const maxControl = 125

// Owes says whether something is to be written though nobody has said anything.
func (w *WebSocket) Owes() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.owed) > 0
}

// closed says whether the other side has closed the WebSocket.
func (w *WebSocket) closed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.over
}

// owe replaces what is owed: of several pings the last is answered (RFC 6455 §5.5.3).
func (w *WebSocket) owe(op byte, payload []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.end {
		w.owed = append(append(w.owed[:0], finBit|op, byte(len(payload))), payload...)
	}
}

// violated is the farewell to somebody who breaks the protocol below ours.
func (w *WebSocket) violated(code uint16, c stream.Condition, text string) *Farewell {
	w.mu.Lock()
	w.code = code
	w.mu.Unlock()
	return Fault(c, text)
}

// next returns the next item that the buffer of a stream holds, ItemNone if there is none.
func (w *WebSocket) next(s *Stream) (stream.ItemKind, error) {
	b := s.store[s.pos:s.end]
	for {
		n := min(w.left, len(b)-w.raw)
		w.unmask(b[w.have:w.have+n], b[w.raw:w.raw+n])
		w.have, w.raw, w.left = w.have+n, w.raw+n, w.left-n
		if w.left == 0 && w.partial && w.final {
			doc := b[:w.have]
			s.pos += w.raw
			b = b[w.raw:]
			w.have, w.raw, w.partial = 0, 0, false
			if item, err := w.message(s, doc); err != nil || item != stream.ItemNone {
				return item, err
			}
			continue
		}
		if w.left > 0 || w.closed() {
			break
		}
		more, err := w.header(b[w.raw:], s.most)
		if err != nil {
			return 0, err
		}
		if !more {
			break
		}
	}
	// What is behind the message so far moves up to it, which is at most part of a header.
	gap := w.raw - w.have
	copy(b[w.have:], b[w.raw:])
	s.end -= gap
	w.raw = w.have
	return stream.ItemNone, nil
}

// header reads the header of a frame, and a control frame whole. It says false if bytes are missing. A message may have
// so many bytes.
func (w *WebSocket) header(b []byte, most int) (ok bool, err error) {
	if len(b) < 2 {
		return false, nil
	}
	op, n, size := b[0]&0xF, uint64(b[1]&^maskBit), 2
	switch {
	case b[0]&0x70 != 0: // RFC 6455 §5.2: nothing was negotiated that gives them a meaning
		return false, w.violated(closeProtocol, stream.BadFormat, "a reserved bit is set")
	case b[1]&maskBit == 0: // RFC 6455 §5.1
		return false, w.violated(closeProtocol, stream.BadFormat, "a frame is not masked")
	case op >= opClose && (b[0]&finBit == 0 || n > maxControl): // RFC 6455 §5.5
		return false, w.violated(closeProtocol, stream.BadFormat, "a control frame is too long or in parts")
	case n == 126:
		size = 4
	case n == 127:
		size = 10
	}
	if len(b) < size+4 {
		return false, nil
	}
	switch size {
	case 4:
		n = uint64(binary.BigEndian.Uint16(b[2:]))
	case 10:
		n = binary.BigEndian.Uint64(b[2:])
	}
	w.key, w.at = [4]byte(b[size:]), 0
	size += 4
	switch op {
	case opText, opContinuation:
		if w.partial != (op == opContinuation) { // RFC 6455 §5.4
			return false, w.violated(closeProtocol, stream.BadFormat, "the frames of two messages are mixed")
		}
		if n > uint64(max(most-w.have, 0)) { // before its bytes come
			return false, w.violated(closeTooBig, stream.PolicyViolation, "message larger than allowed")
		}
		w.partial, w.final, w.left = true, b[0]&finBit != 0, int(n)
		w.raw += size
		return true, nil
	case opPing, opPong, opClose:
		if len(b) < size+int(n) {
			return false, nil
		}
		payload := b[size : size+int(n)]
		w.unmask(payload, payload)
		w.raw += size + int(n)
		return true, w.control(op, payload)
	default: // RFC 7395 §3.2 has text only
		return false, w.violated(closeUnsupported, stream.BadFormat, "a message is not text")
	}
}

// control answers a control frame.
func (w *WebSocket) control(op byte, payload []byte) error {
	switch op {
	case opPing:
		w.owe(opPong, payload)
	case opClose: // RFC 6455 §5.5.1: the answer is what was said
		if len(payload) == 1 {
			return w.violated(closeProtocol, stream.BadFormat, "half a status code")
		}
		if len(payload) > 1 && !sendable(binary.BigEndian.Uint16(payload)) {
			return w.violated(closeProtocol, stream.BadFormat, "a status code that nobody may send")
		}
		w.owe(opClose, payload[:min(len(payload), 2)])
		w.mu.Lock()
		w.over, w.end = true, true
		w.mu.Unlock()
	}
	return nil
}

// sendable says whether a closing frame may have this status code (RFC 6455 §7.4).
func sendable(code uint16) bool {
	return code >= 1000 && code <= 1014 && (code < 1004 || code > 1006) || code >= 3000 && code <= 4999
}

// message reads one message (RFC 7395 §3.3). Bytes of doc are in the stream's buffer, before what is consumed.
func (w *WebSocket) message(s *Stream, doc []byte) (stream.ItemKind, error) {
	if len(bytes.TrimLeft(doc, " \t\r\n")) == 0 {
		return stream.ItemNone, nil // COMPAT: white space, which some clients send to keep a proxy from closing
	}
	item, err := s.Scanner.Frame(doc)
	if err != nil || item != stream.ItemElement {
		return item, err
	}
	switch name, raw := s.Scanner.Element(); name {
	case xmpp.Name{Space: xmpp.NSFraming, Local: "open"}:
		el, err := xmpp.ParseElement(raw)
		if err != nil {
			return 0, err
		}
		*s.Scanner.Header() = opening(el)
		return stream.ItemHeader, nil
	case xmpp.Name{Space: xmpp.NSFraming, Local: "close"}:
		return stream.ItemEnd, nil
	}
	return item, nil
}

// opening reads <open/> as the header that it stands for (RFC 7395 §3.4).
func opening(el *xmpp.Element) stream.Header {
	h := stream.Header{Content: xmpp.NSClient, ID: el.Attr("id"), Version: el.Attr("version"),
		Lang: el.AttrNS(xmpp.NSXML, "lang")}
	h.To, h.BadTo = address(el, "to")
	h.From, h.BadFrom = address(el, "from")
	return h
}

func address(el *xmpp.Element, name string) (j jid.JID, bad bool) {
	if !el.HasAttr(name) {
		return j, false
	}
	j, err := jid.Parse(el.Attr(name))
	return j, err != nil
}

// unmask takes the mask off src (RFC 6455 §5.3). It lies at dst then, which begins at src or before.
func (w *WebSocket) unmask(dst, src []byte) {
	key := binary.LittleEndian.Uint32(w.key[:])
	key = key>>(8*(w.at&3)) | key<<(32-8*(w.at&3))
	w.at += len(src)
	wide := uint64(key) | uint64(key)<<32
	for len(src) >= 8 {
		binary.LittleEndian.PutUint64(dst, binary.LittleEndian.Uint64(src)^wide)
		dst, src = dst[8:], src[8:]
	}
	for i, b := range src {
		dst[i] = b ^ byte(wide>>(8*(i&7)))
	}
}

// Scan implements Framing. A stream reads by next, which may move what is in its buffer.
func (w *WebSocket) Scan(*stream.Scanner, []byte) (stream.ItemKind, int, error) {
	return 0, 0, errors.ErrUnsupported
}

// AppendHeader implements Framing (RFC 7395 §3.4).
func (w *WebSocket) AppendHeader(dst []byte, h stream.Header) []byte {
	dst = append(dst, "<open xmlns='"+xmpp.NSFraming+"'"...)
	for _, a := range [...]struct{ name, value string }{{"from", h.From.String()}, {"to", h.To.String()}, {"id", h.ID},
		{"version", h.Version}, {"xml:lang", h.Lang}} {
		if a.value != "" {
			dst = append(append(append(dst, ' '), a.name...), "='"...)
			dst = append(xmpp.AppendAttr(dst, a.value), '\'')
		}
	}
	return append(dst, "/>"...)
}

// AppendFeatures implements Framing (RFC 7395 §3.3.3: each message declares what it uses).
func (w *WebSocket) AppendFeatures(dst, features []byte) []byte {
	at := len(dst) + len("<stream:features")
	return slices.Insert(stream.AppendFeatures(dst, features), at, []byte(" xmlns:stream='"+xmpp.NSStream+"'")...)
}

// AppendEnd implements Framing (RFC 7395 §3.5, §3.6). The closing frame of RFC 6455 §5.5.1 goes behind it.
func (w *WebSocket) AppendEnd(dst []byte, f *Farewell) []byte {
	if f.Condition != "" {
		at := len(dst) + len("<stream:error")
		dst = slices.Insert(appendError(dst, f), at, []byte(" xmlns:stream='"+xmpp.NSStream+"'")...)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.end {
		code := w.code
		if code == 0 {
			code = closeNormal
		}
		w.owed = append(w.owed[:0], finBit|opClose, 2, byte(code>>8), byte(code))
		w.end = true
	}
	return append(dst, "<close xmlns='"+xmpp.NSFraming+"'/>"...)
}

// wrap appends b as it leaves: each element in a message, and what a piece has of one in a fragment. What is owed
// follows where no message is underway. The error says that the other side has closed: a browser drops what comes then,
// so that no other message is begun, and nobody believes that it has arrived.
func (w *WebSocket) wrap(dst, b []byte) (_ []byte, err error) {
	closed := w.closed()
	for len(b) > 0 {
		if closed && !w.out.underway {
			err = net.ErrClosed
			break
		}
		n, qualify, done := w.out.split(b)
		dst = w.out.frame(dst, b[:n], qualify, done)
		b = b[n:]
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.out.underway && len(w.owed) > 0 {
		dst = append(dst, w.owed...)
		w.owed = nil
	}
	return dst, err
}

// A splitter finds the elements in what leaves. That is XML of our own making: well-formed, without comments,
// processing instructions and CDATA sections, and stanzas at its top declare no namespace.
type splitter struct {
	depth    int32
	state    tagState
	ends     bool  // the tag is an end tag
	slash    bool  // what came last is a slash in a tag
	underway bool  // a part of the present element has left
	named    uint8 // bytes of name
	name     [8]byte
}

type tagState uint8

const (
	outside  tagState = iota // of all tags
	opened                   // behind '<'
	naming                   // in the name of a start tag
	inside                   // of a tag, behind its name
	inSingle                 // in an attribute in apostrophes
	inDouble
)

// split says how many bytes of b belong to the present element, whether it ends with them, and before which of them the
// namespace of a stanza is to be declared, -1 for none.
func (p *splitter) split(b []byte) (n, qualify int, done bool) {
	qualify = -1
	for i, c := range b {
		switch p.state {
		case outside:
			if c == '<' {
				p.state, p.named = opened, 0
			}
			continue
		case opened:
			if p.ends = c == '/'; p.ends {
				p.state = inside
				continue
			}
			p.state = naming
			fallthrough
		case naming:
			if c != ' ' && c != '>' && c != '/' && c != '\t' && c != '\r' && c != '\n' {
				if p.depth == 0 {
					if int(p.named) < len(p.name) {
						p.name[p.named] = c
					}
					p.named = min(p.named+1, uint8(len(p.name)+1))
				}
				continue
			}
			if p.depth == 0 && p.stanza() {
				qualify = i
			}
			p.state, p.slash = inside, false
		case inSingle:
			if c == '\'' {
				p.state, p.slash = inside, false
			}
			continue
		case inDouble:
			if c == '"' {
				p.state, p.slash = inside, false
			}
			continue
		}
		switch c { // inside
		case '\'':
			p.state = inSingle
		case '"':
			p.state = inDouble
		case '>':
			p.state = outside
			switch {
			case p.ends:
				p.depth--
			case !p.slash:
				p.depth++
			}
			if p.slash, p.ends = false, false; p.depth == 0 {
				return i + 1, qualify, true
			}
		default:
			p.slash = c == '/'
		}
	}
	return len(b), qualify, false
}

// stanza says whether the name is one of the three.
func (p *splitter) stanza() bool {
	if int(p.named) > len(p.name) {
		return false
	}
	switch string(p.name[:p.named]) {
	case "message", "presence", "iq":
		return true
	}
	return false
}

// qualified is what RFC 7395 §3.3.3 wants on a stanza, whose stream has no default namespace.
const qualified = " xmlns='" + xmpp.NSClient + "'"

// frame appends a frame of the present element, its last where done.
func (p *splitter) frame(dst, b []byte, qualify int, done bool) []byte {
	first := byte(opText)
	if p.underway {
		first = opContinuation
	}
	if p.underway = !done; done {
		first |= finBit
	}
	n := len(b)
	if qualify >= 0 {
		n += len(qualified)
	}
	switch {
	case n <= 125:
		dst = append(dst, first, byte(n))
	case n <= 0xFFFF:
		dst = binary.BigEndian.AppendUint16(append(dst, first, 126), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, first, 127), uint64(n))
	}
	if qualify < 0 {
		return append(dst, b...)
	}
	dst = append(append(dst, b[:qualify]...), qualified...)
	return append(dst, b[qualify:]...)
}
