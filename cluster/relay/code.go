package relay

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"sync"

	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// What goes over a stream, in both directions, are batches: four bytes of length, and that many bytes of items. The
// items to the home of an owner:
//
//	1, 2, 3  an envelope: with its own payload; with one that later ones may have too; with the n-th such, counted from
//	         the oldest of the keptShared last ones of the batches before
//	4        a sequel
//
// and those back, to the node of the sender:
//
//	an answer: slot, number, code, and what the code asks for
//
// Numbers are unsigned varints, strings and bytes have their length before them. What is in a batch is read only after
// the other end has proved to be a node, which is trusted with far more; the limits here keep a mistake from becoming
// another one.
const (
	itemOwn    = 1
	itemShared = 2
	itemAgain  = 3
	itemSequel = 4
	keptShared = 8

	maxBatch    = 20 << 20 // bytes
	maxEnvelope = 16 << 20 // bytes of one envelope
	goodBatch   = 256 << 10
	maxChildren = 1 << 16
	batchHead   = 4
)

// The bits of an envelope.
const (
	bitDurable = 1 << iota
	bitOwn
	bitLeft
	bitTracked
	bitShared
	bitQuiet
	bitAccount // there is one, and it is not that of the session
	bitSession // there is one,
	bitFrom    // and its address is that of the stanza's sender
	bitPeer
	bitComponent
	bitAttrs
	bitPassing // its dedup value was made for this way; who does not know the bit keeps the value for longer
)

var errCode = errors.New("a batch of another node cannot be read")

// appendHead appends what an envelope is, but for its payload and where it goes. key is its dedup value, or made
// is one for this way alone.
func appendHead(b []byte, e *router.Envelope, key string, made []byte) []byte {
	s := e.Stanza
	bits := uint64(0)
	if len(made) > 0 {
		bits |= bitPassing
	}
	for i, set := range [...]bool{e.Durable, e.Own, e.Left, e.Tracked, e.Shared, e.Quiet} {
		if set {
			bits |= 1 << i
		}
	}
	var session jid.JID
	account := e.Account
	if e.Session != nil {
		session = e.Session.Addr()
		if bits |= bitSession; session == s.From {
			bits |= bitFrom
		}
		if account == e.Session.Bare() {
			account = jid.JID{}
		}
	}
	if !account.IsZero() {
		bits |= bitAccount
	}
	if e.Peer != "" {
		bits |= bitPeer
	}
	if e.Component != "" {
		bits |= bitComponent
	}
	if len(s.Attrs) > 0 {
		bits |= bitAttrs
	}
	b = binary.AppendUvarint(b, bits)
	b = append(b, byte(s.Kind), byte(s.Type))
	b = appendString(b, s.ID)
	b = appendString(b, s.Lang)
	b = appendString(b, s.From.String())
	b = appendString(b, s.To.String())
	if len(made) > 0 {
		b = appendBytes(b, made)
	} else {
		b = appendString(b, key)
	}
	if bits&bitAccount != 0 {
		b = appendString(b, account.String())
	}
	if bits&(bitSession|bitFrom) == bitSession {
		b = appendString(b, session.String())
	}
	if bits&bitPeer != 0 {
		b = appendString(b, e.Peer)
	}
	if bits&bitComponent != 0 {
		b = appendString(b, e.Component)
	}
	if bits&bitAttrs != 0 {
		b = appendBytes(b, s.Attrs)
	}
	return b
}

// appendPayload appends a payload with its index.
func appendPayload(b []byte, s *xmpp.Stanza) []byte {
	b = appendBytes(b, s.Payload)
	children := s.Children
	if len(children) > maxChildren {
		children = nil
	}
	b = binary.AppendUvarint(b, uint64(len(children)))
	for i := range children {
		c := &children[i]
		b = appendString(b, c.Name.Space)
		b = appendString(b, c.Name.Local)
		b = binary.AppendUvarint(b, uint64(c.Start))
		b = binary.AppendUvarint(b, uint64(c.End))
	}
	return b
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendBytes(b, s []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// A reader reads what the functions above have written. Once something is wrong everything is empty.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) number() uint64 {
	n, k := binary.Uvarint(r.b)
	if k <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[k:]
	return n
}

// below is a number that must be below n.
func (r *reader) below(n int) int {
	x := r.number()
	if x >= uint64(n) {
		r.fail()
		return 0
	}
	return int(x)
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.fail()
		return 0
	}
	x := r.b[0]
	r.b = r.b[1:]
	return x
}

// bytes are borrowed.
func (r *reader) bytes() []byte {
	n := r.number()
	if n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	x := r.b[:n:n]
	r.b = r.b[n:]
	return x
}

func (r *reader) fail() { r.b, r.bad = nil, true }

// A text reads strings out of one that was made for all of them.
type text struct {
	reader
	s string
}

func (t *text) string() string {
	n := len(t.bytes())
	if t.bad {
		return ""
	}
	end := len(t.s) - len(t.b)
	return t.s[end-n : end]
}

// address is an address, or none if it is empty.
func (t *text) address() jid.JID {
	s := t.string()
	if s == "" {
		return jid.JID{}
	}
	j, err := jid.Parse(s)
	if err != nil {
		t.fail()
	}
	return j
}

// An incoming is an envelope of another node.
type incoming struct {
	slot    int
	seq     uint64
	base    uint64 // all before are settled for the sender
	round   uint64
	fence   uint64
	bits    uint64
	stanza  xmpp.Stanza
	session jid.JID
	account jid.JID
	peer    string
	part    string // the component
	dedup   string
	sender  *standin // of the session
}

// A payload is one that several envelopes have.
type payload struct {
	xml      []byte
	children []xmpp.Child
}

// A decoder reads the batches of a stream. What it returns shares the memory of the batch.
type decoder struct {
	slots    int
	names    map[string]string
	shared   []payload    // of the batch and those before
	children []xmpp.Child // made, and not used yet
}

// madeAtOnce is how many children are made in one piece.
const madeAtOnce = 16

// incomings are those that have been routed.
var incomings = sync.Pool{New: func() any { return new(incoming) }}

// index makes an empty index of so many children.
func (d *decoder) index(n int) []xmpp.Child {
	if n > madeAtOnce/2 {
		return make([]xmpp.Child, n)
	}
	if len(d.children) < n {
		d.children = make([]xmpp.Child, madeAtOnce)
	}
	all := d.children[:n:n]
	d.children = d.children[n:]
	return all
}

// maxNames is how many names of elements a decoder remembers.
const maxNames = 1024

// name is the string that has been made for these bytes before.
func (d *decoder) name(b []byte) string {
	if s, ok := d.names[string(b)]; ok {
		return s
	}
	s := string(b)
	if len(s) > 200 {
		return s
	}
	if d.names == nil || len(d.names) >= maxNames {
		d.names = map[string]string{}
	}
	d.names[s] = s
	return s
}

// batch calls for each item of a batch.
func (d *decoder) batch(b []byte, envelope func(*incoming), sequel func(telling)) error {
	if n := len(d.shared) - keptShared; n > 0 {
		d.shared = slices.Delete(d.shared, 0, n)
	}
	r := reader{b: b}
	for len(r.b) > 0 {
		switch kind := r.byte(); kind {
		case itemOwn, itemShared, itemAgain:
			in := incomings.Get().(*incoming)
			if d.envelope(&r, kind, in); r.bad {
				return errCode
			}
			envelope(in)
		case itemSequel:
			t, ok := readTelling(r.bytes())
			if !ok || r.bad {
				return errCode
			}
			sequel(t)
		default:
			return errCode
		}
	}
	return nil
}

func (d *decoder) envelope(r *reader, kind byte, in *incoming) {
	in.slot = r.below(d.slots)
	in.seq = r.number()
	back := r.number()
	if back > in.seq {
		r.fail()
	}
	in.base = in.seq - back
	in.round = r.number()
	in.fence = r.number()
	head := r.bytes()
	if d.head(head, in); r.bad || in.stanza.Kind == 0 {
		r.fail()
		return
	}
	var p payload
	switch kind {
	case itemAgain:
		if i := r.below(len(d.shared)); !r.bad {
			p = d.shared[i]
		}
	default:
		p = d.payload(r)
		if kind == itemShared && !r.bad {
			p.xml = bytes.Clone(p.xml) // whoever keeps it does not keep the batch
			d.shared = append(d.shared, p)
		}
	}
	in.stanza.Payload, in.stanza.Children = p.xml, p.children
}

func (d *decoder) payload(r *reader) payload {
	p := payload{xml: r.bytes()}
	n := r.below(maxChildren + 1)
	if n > len(r.b)/4 { // each has four bytes at least
		r.fail()
		return payload{}
	}
	if len(p.xml) == 0 {
		p.xml = nil
	}
	if n == 0 {
		if p.xml != nil {
			p.children = xmpp.Index(p.xml)
		}
		return p
	}
	p.children = d.index(n)
	last := 0
	for i := range p.children {
		c := &p.children[i]
		c.Name = xmpp.Name{Space: d.name(r.bytes()), Local: d.name(r.bytes())}
		c.Start, c.End = r.below(math.MaxInt), r.below(math.MaxInt)
		if c.Start < last || c.End <= c.Start || c.End > len(p.xml) {
			r.fail()
			return payload{}
		}
		last = c.End
	}
	return p
}

// head reads what appendHead has written; the stanza has no kind if it cannot be read.
func (d *decoder) head(b []byte, in *incoming) {
	t := text{reader: reader{b: b}}
	t.s = string(b)
	in.bits = t.number()
	s := &in.stanza
	kind, typ := xmpp.Kind(t.byte()), xmpp.Type(t.byte())
	s.Type = typ
	s.ID, s.Lang = t.string(), t.string()
	s.From, s.To = t.address(), t.address()
	in.dedup = t.string()
	if in.bits&bitAccount != 0 {
		in.account = t.address()
	}
	if in.bits&bitSession != 0 {
		if in.session = s.From; in.bits&bitFrom == 0 {
			in.session = t.address()
		}
		if in.bits&bitAccount == 0 {
			in.account = in.session.Bare()
		}
		if in.session.IsZero() {
			t.fail()
		}
	}
	if in.bits&bitPeer != 0 {
		in.peer = t.string()
	}
	if in.bits&bitComponent != 0 {
		in.part = t.string()
	}
	if in.bits&bitAttrs != 0 {
		s.Attrs = []byte(t.string())
	}
	if !t.bad && kind >= xmpp.Message && kind <= xmpp.IQ && typ <= xmpp.TypeInvalid {
		s.Kind = kind
	}
}

// The code of an answer: an outcome, and these.
const (
	codeTold     = 0x40
	codeOpen     = 0x80
	codeOutcomes = 0x3f
	codeNotHere  = 0x3f // the slot is not at home here; the number of the round follows
)

// An answer is what became of an envelope.
type answer struct {
	slot  int
	seq   uint64
	code  byte
	round uint64      // of codeNotHere
	id    uint64      // Fate.StanzaID
	err   *xmpp.Error // of a refusal
}

func (a *answer) append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(a.slot))
	b = binary.AppendUvarint(b, a.seq)
	b = append(b, a.code)
	if a.code == codeNotHere {
		return binary.AppendUvarint(b, a.round)
	}
	b = binary.AppendUvarint(b, a.id+1) // NoStanzaID is short, too
	if a.refused() {
		var xml []byte
		if a.err != nil {
			xml = a.err.Append(nil)
		}
		b = appendBytes(b, xml)
	}
	return b
}

func (a *answer) refused() bool { return a.code&codeOutcomes == byte(router.Refused) }

// readAnswers calls f for each answer of a batch.
func readAnswers(b []byte, slots int, f func(*answer)) error {
	r := reader{b: b}
	for len(r.b) > 0 {
		a := answer{slot: r.below(slots), seq: r.number(), code: r.byte()}
		switch {
		case a.code == codeNotHere:
			a.round = r.number()
		case a.code&codeOutcomes > byte(router.Dropped) || a.code&codeOutcomes == byte(router.Undecided):
			return errCode
		default:
			a.id = r.number() - 1
			if a.refused() {
				a.err = readError(r.bytes())
			}
		}
		if r.bad {
			return errCode
		}
		f(&a)
	}
	return nil
}

// readError is the error that a stanza was refused with, nil for none.
func readError(xml []byte) *xmpp.Error {
	if len(xml) == 0 {
		return nil
	}
	el, err := xmpp.ParseElement(xml)
	if err != nil {
		return xmpp.UndefinedCondition("")
	}
	return xmpp.ParseError(el)
}
