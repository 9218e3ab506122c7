package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"time"

	"jackdaw/xmpp/sasl"
	"jackdaw/xmpp/stream"
)

// A Handover is all that the home of a stream has to know of what came before.
type Handover struct {
	Framing string // FramingName
	Opening []byte // the header of the present stream (stream.Scanner.AppendOpening)
	Early   []byte // has been read and belongs to the stream, behind all that is below

	// What was read last is for the home to answer; nil where it goes on with the features.
	Element  []byte // of a login
	Response string // to the empty challenge that such a login got, in base64; "" for none
	Request  []byte // a stanza before the login
	Before   []byte // an earlier one, by which a request may be allowed that would not be without

	From       netip.AddrPort // the client; the port is 0 where it is not known
	Secure     bool           // nobody reads it on its way
	TLSVersion uint16         // 0: no TLS
	Bindings   []sasl.Binding // of the channel, as announced
	Hops       int            // nodes that have handed it over

	// What was announced, where features were, and how it went on.
	Offered  []sasl.Mechanism // RFC 6120
	Offered2 []sasl.Mechanism // XEP-0388
	Tokens   []sasl.Mechanism // XEP-0484
	Version  string           // XEP-0509
	Failures int
	Declines int
}

const (
	// handoverVersion is that of the record. Fields that may be passed over need no other.
	handoverVersion = 1
	// maxHandover bounds the record in bytes. A stream that has read more before its login has been refused.
	maxHandover = 512 << 10
	// maxListed bounds how often a field may come.
	maxListed = 32
	// MaxHops is how many nodes may hand one stream over, one to the next. A client that tries one account after the other
	// gets no further.
	MaxHops = 4
)

// The fields of the record.
const (
	fieldFraming = iota + 1
	fieldOpening
	fieldEarly
	fieldElement
	fieldResponse
	fieldRequest
	fieldBefore
	fieldFrom
	fieldSecure
	fieldTLSVersion
	fieldBindingType
	fieldBindingData
	fieldHops
	fieldOffered
	fieldOffered2
	fieldToken
	fieldVersion
	fieldFailures
	fieldDeclines
)

// ErrHandover says that a stream cannot be handed over, or be taken: what there is to tell is too much, or not
// understood.
var ErrHandover = errors.New("not a stream that is handed over")

// append appends the record: its version, its length in three bytes, and fields of a number, a length and a value.
func (h *Handover) append(dst []byte) ([]byte, error) {
	start := len(dst)
	dst = append(dst, handoverVersion, 0, 0, 0)
	add := func(field byte, value []byte) {
		if len(value) > 0 {
			dst = binary.AppendUvarint(append(dst, field), uint64(len(value)))
			dst = append(dst, value...)
		}
	}
	number := func(field byte, n int) {
		if n > 0 {
			add(field, binary.AppendUvarint(nil, uint64(n)))
		}
	}
	add(fieldFraming, []byte(h.Framing))
	add(fieldOpening, h.Opening)
	add(fieldEarly, h.Early)
	add(fieldElement, h.Element)
	add(fieldResponse, []byte(h.Response))
	add(fieldRequest, h.Request)
	add(fieldBefore, h.Before)
	if h.From.IsValid() {
		add(fieldFrom, []byte(h.From.String()))
	}
	if h.Secure {
		number(fieldSecure, 1)
	}
	number(fieldTLSVersion, int(h.TLSVersion))
	for _, b := range h.Bindings {
		add(fieldBindingType, []byte(b.Type))
		add(fieldBindingData, b.Data)
	}
	number(fieldHops, h.Hops)
	for _, list := range []struct {
		field byte
		of    []sasl.Mechanism
	}{{fieldOffered, h.Offered}, {fieldOffered2, h.Offered2}, {fieldToken, h.Tokens}} {
		for _, m := range list.of {
			add(list.field, []byte(m))
		}
	}
	add(fieldVersion, []byte(h.Version))
	number(fieldFailures, h.Failures)
	number(fieldDeclines, h.Declines)
	n := len(dst) - start - headSize
	if n > maxHandover {
		return nil, fmt.Errorf("%w: %d bytes", ErrHandover, n)
	}
	putHead(dst[start:], handoverVersion, n)
	return dst, nil
}

// parseHandover reads the fields of a record. The result lies in b.
func parseHandover(b []byte) (h *Handover, err error) {
	h = &Handover{}
	seen := map[byte]int{}
	for len(b) > 0 {
		field := b[0]
		n, size := binary.Uvarint(b[1:])
		if size <= 0 || n == 0 || n > uint64(len(b)-1-size) {
			return nil, ErrHandover
		}
		value := b[1+size : 1+size+int(n)]
		b = b[1+size+int(n):]
		listed := field >= fieldBindingType && field <= fieldBindingData || field >= fieldOffered && field <= fieldToken
		if seen[field]++; seen[field] > maxListed || seen[field] > 1 && !listed {
			return nil, ErrHandover
		}
		if err := h.set(field, value); err != nil {
			return nil, err
		}
	}
	if len(h.Opening) == 0 || slices.ContainsFunc(h.Bindings, func(b sasl.Binding) bool { return len(b.Data) == 0 }) {
		return nil, ErrHandover
	}
	return h, nil
}

// set takes a field. What a newer version knows beyond these is passed over.
func (h *Handover) set(field byte, value []byte) (err error) {
	number := 0
	switch field {
	case fieldSecure, fieldTLSVersion, fieldHops, fieldFailures, fieldDeclines:
		n, size := binary.Uvarint(value)
		if size != len(value) || n > 0xFFFF {
			return ErrHandover
		}
		number = int(n)
	}
	switch field {
	case fieldFraming:
		h.Framing = string(value)
	case fieldOpening:
		h.Opening = value
	case fieldEarly:
		h.Early = value
	case fieldElement:
		h.Element = value
	case fieldResponse:
		h.Response = string(value)
	case fieldRequest:
		h.Request = value
	case fieldBefore:
		h.Before = value
	case fieldFrom:
		if h.From, err = netip.ParseAddrPort(string(value)); err != nil {
			return ErrHandover
		}
	case fieldSecure:
		h.Secure = number == 1
	case fieldTLSVersion:
		h.TLSVersion = uint16(number)
	case fieldBindingType:
		h.Bindings = append(h.Bindings, sasl.Binding{Type: string(value)})
	case fieldBindingData:
		if n := len(h.Bindings); n == 0 || h.Bindings[n-1].Data != nil {
			return ErrHandover
		}
		h.Bindings[len(h.Bindings)-1].Data = value
	case fieldHops:
		h.Hops = number
	case fieldOffered:
		h.Offered = append(h.Offered, sasl.Mechanism(value))
	case fieldOffered2:
		h.Offered2 = append(h.Offered2, sasl.Mechanism(value))
	case fieldToken:
		h.Tokens = append(h.Tokens, sasl.Mechanism(value))
	case fieldVersion:
		h.Version = string(value)
	case fieldFailures:
		h.Failures = number
	case fieldDeclines:
		h.Declines = number
	}
	return nil
}

// Offer begins to hand a stream over on a link. It returns when the home has it; with an error nobody has, the link is
// closed, and the stream may go on here.
func (h *Handover) Offer(link net.Conn, patience time.Duration) error {
	b, err := h.append(nil)
	if err == nil {
		err = link.SetDeadline(time.Now().Add(patience))
	}
	if err == nil {
		_, err = link.Write(b)
	}
	var head [headSize]byte
	if err == nil {
		_, err = io.ReadFull(link, head[:])
	}
	if err == nil && head != [headSize]byte{kindReady} {
		err = errTrunk
	}
	if err == nil {
		err = link.SetDeadline(time.Time{})
	}
	if err != nil {
		_ = link.Close() // nothing was promised on it
	}
	return err
}

// ReadHandover reads what begins a stream that another node hands over. Accept follows, or the link is closed.
func ReadHandover(link net.Conn, patience time.Duration) (*Handover, error) {
	var head [headSize]byte
	err := link.SetDeadline(time.Now().Add(patience))
	if err == nil {
		_, err = io.ReadFull(link, head[:])
	}
	if err != nil {
		return nil, err
	}
	n := int(head[1])<<16 | int(head[2])<<8 | int(head[3])
	if head[0] != handoverVersion || n > maxHandover {
		return nil, fmt.Errorf("%w: version %d, %d bytes", ErrHandover, head[0], n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(link, b); err != nil {
		return nil, err
	}
	return parseHandover(b)
}

// Accept tells the other node that the stream is here now, and returns the connection that it is on.
func (h *Handover) Accept(link net.Conn) (*Carried, error) {
	err := link.SetDeadline(time.Time{})
	c := newCarried(link, h.From)
	c.tardy = NewFraming(h.Framing) == nil // as over BOSH
	if err == nil {
		err = c.say(kindReady, 0)
	}
	if err != nil {
		_ = link.Close() // it is of no use
		return nil, err
	}
	go c.pump()
	return c, nil
}

// FramingName names a framing for another node that makes it anew; "" where none can.
func FramingName(f Framing) string {
	switch f := f.(type) {
	case Bytes:
		return "bytes"
	case *WebSocket:
		return "websocket"
	case interface{ Name() string }:
		return f.Name()
	}
	return ""
}

// NewFraming makes the framing of a name anew, as it is between two items; nil for one that is not of this package.
func NewFraming(name string) Framing {
	switch name {
	case "bytes":
		return Bytes{}
	case "websocket":
		return new(WebSocket)
	}
	return nil
}

// Reopen reads the header of a stream that began at another node (Handover.Opening).
func (s *Stream) Reopen(opening []byte) error {
	scanner := &s.Scanner
	if s.socket != nil { // there the header is an element of its own
		scanner = new(stream.Scanner)
		defer scanner.Release()
	}
	item, n, err := scanner.Scan(opening)
	switch {
	case err != nil:
		return Broken(err)
	case item != stream.ItemHeader || n != len(opening):
		return ErrHandover
	}
	*s.Scanner.Header() = *scanner.Header()
	return nil
}
