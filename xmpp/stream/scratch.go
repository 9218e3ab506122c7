package stream

import (
	"encoding/binary"
	"sync"

	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// scratch is all that a scanner needs only while bytes are there. It comes from a pool, so that an idle connection
// holds none; its caches of names and addresses serve whoever takes it next.
type scratch struct {
	state state
	pos   int // first byte not looked at; like all offsets here it counts from the start of the item
	tok   int // start of the token at pos
	colon int // of the name at tok, or -1
	quote byte
	cdata bool // a CDATA section has come since the last tag
	space bool // white space came before the token, as an attribute needs

	tag   int // '<' of the tag being read
	name  span
	ncol  int    // colon of name, or -1
	attrs []attr // in a tag half read, the last may be
	stack []open
	binds []binding // declared in the item, innermost last
	count int       // elements so far
	made  int       // by how much what is made of the item is larger than the item, see grow

	kind     ItemKind
	start    int  // of its tag
	level    int  // length of stack at which elements are children of a payload; -1 where there is no payload
	outside  int  // binds below this index are declared outside the payload
	foreign  bool // the default namespace around the payload is not the content namespace
	body     span // the payload
	dropping bool // the child being read is left out, with all edits from dropEdits on
	children []xmpp.Child
	tagEnds  []int // for each child, where its name ends
	needs    []need
	edits    []edit

	dropEdits int

	stanza   xmpp.Stanza
	badTo    bool
	badFrom  bool
	elemName xmpp.Name
	raw      []byte

	headAttrs []byte
	rewritten []byte
	decoded   []byte

	// Two places for each hash: with one, a sender and a recipient could push each other out for ever.
	names [256][2]string
	jids  [64][2]address
}

type span struct{ a, b int }

// attr is kept small and free of pointers: there is one for each attribute of a tag, on the hot path.
type attr struct {
	at, colon, end int32 // the name, and its colon or -1
	from, to       int32 // the value without its quotes
	bind           int32 // where the namespace of a prefixed attribute was found, see resolve
	dirty          bool  // the value holds references or white space to normalise
	declares       bool  // xmlns or xmlns:prefix
}

// addAttr begins an attribute at offset at. Its fields are set in place: a whole attr appended is built and copied,
// which costs more than all the rest.
func (w *scratch) addAttr(at int) {
	n := len(w.attrs)
	if n == cap(w.attrs) {
		w.attrs = append(w.attrs, attr{})
	}
	w.attrs = w.attrs[:n+1]
	a := &w.attrs[n]
	a.at, a.dirty, a.declares = int32(at), false, false
}

// addChild begins a child of the payload at offset start, likewise.
func (w *scratch) addChild(start int) *xmpp.Child {
	n := len(w.children)
	if n == cap(w.children) {
		w.children = append(w.children, xmpp.Child{})
	}
	w.children = w.children[:n+1]
	c := &w.children[n]
	c.Start = start
	return c
}

func (a *attr) name(b []byte) []byte   { return b[a.at:a.end] }
func (a *attr) prefix(b []byte) []byte { return b[a.at:a.colon] } // of a name with a colon
func (a *attr) local(b []byte) []byte  { return b[a.colon+1 : a.end] }

type open struct {
	name   span
	mark   int // length of binds before the element
	source int // where its namespace was found, as resolve says it; plain for a name without a prefix
}

type binding struct{ prefix, uri string }

type address struct {
	raw string
	jid jid.JID
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// maxKept is the largest buffer that goes back to the pool.
const maxKept = 16 << 10

// begin prepares for a new item.
func (w *scratch) begin() {
	w.pos, w.count, w.made, w.level, w.outside = 0, 0, 0, -1, 0
	w.kind, w.foreign, w.cdata, w.dropping = ItemNone, false, false, false
	w.stack, w.binds, w.children, w.tagEnds = w.stack[:0], w.binds[:0], w.children[:0], w.tagEnds[:0]
	w.needs, w.edits = w.needs[:0], w.edits[:0]
	w.badTo, w.badFrom = false, false
}

// release puts w into the pool. Nothing may go on pointing into the read buffer.
func (w *scratch) release() {
	w.state, w.stanza, w.raw = between, xmpp.Stanza{}, nil
	if cap(w.rewritten) > maxKept {
		w.rewritten = nil
	}
	if cap(w.headAttrs) > maxKept {
		w.headAttrs = nil
	}
	if cap(w.decoded) > maxKept {
		w.decoded = nil
	}
	if cap(w.children) > maxKept/32 {
		w.children, w.tagEnds = nil, nil
	}
	if cap(w.edits) > maxKept/32 {
		w.edits = nil
	}
	if cap(w.needs) > maxKept/32 {
		w.needs = nil
	}
	scratches.Put(w)
}

func hash(b []byte) uint32 {
	var x uint64
	switch n := len(b); {
	case n >= 8:
		x = binary.LittleEndian.Uint64(b) ^ binary.LittleEndian.Uint64(b[n-8:])*0x9E3779B97F4A7C15 ^
			binary.LittleEndian.Uint64(b[n/2-4:])*0xC2B2AE3D27D4EB4F
	case n >= 4:
		x = uint64(binary.LittleEndian.Uint32(b))<<32 | uint64(binary.LittleEndian.Uint32(b[n-4:]))
	case n > 0:
		x = uint64(b[0])<<16 | uint64(b[n/2])<<8 | uint64(b[n-1])
	}
	return uint32((x + uint64(len(b))) * 0x9E3779B97F4A7C15 >> 48)
}

// intern returns b as a string. Strings in use stay in a table of fixed size, so that they are allocated once and input
// cannot make it grow; very long ones are not worth a place.
func (w *scratch) intern(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	p := &w.names[hash(b)%uint32(len(w.names))]
	if p[0] == string(b) {
		return p[0]
	}
	if p[1] == string(b) {
		return p[1]
	}
	s := xmpp.Intern(b)
	if len(s) <= 256 {
		p[1], p[0] = p[0], s
	}
	return s
}

// address reads an address; those used last are remembered by their spelling.
func (w *scratch) address(b []byte) (jid.JID, bool) {
	p := &w.jids[hash(b)%uint32(len(w.jids))]
	if len(b) == 0 {
		return jid.JID{}, false
	}
	if p[0].raw == string(b) {
		return p[0].jid, true
	}
	if p[1].raw == string(b) {
		return p[1].jid, true
	}
	j, err := jid.ParseBytes(b)
	if err != nil {
		return jid.JID{}, false
	}
	a := address{j.String(), j}
	if a.raw != string(b) {
		a.raw = string(b)
	}
	p[1], p[0] = p[0], a
	return j, true
}

// value returns the attribute's value as it counts: references replaced and white space normalised (XML 1.0 §3.3.3).
// Valid until the next call.
func (w *scratch) value(b []byte, a *attr) []byte {
	raw := b[a.from:a.to]
	if !a.dirty {
		return raw
	}
	// The references have been checked while they were read.
	w.decoded, _ = xmpp.AppendDecoded(w.decoded[:0], raw, true)
	return w.decoded
}
