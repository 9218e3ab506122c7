package c2s

import (
	"sync"
	"sync/atomic"

	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/stream"
)

// A chunk is what leaves in one write: stanzas one behind the other, and what stream management says between them. Its
// bytes stay until the client has taken them: they are all there is of the stanzas in it.
type chunk struct {
	buf   []byte
	marks []mark
	first int   // marks before it have been taken
	base  int64 // where buf begins among the bytes written to the connection
	busy  bool  // the writer has it
	keep  bool  // it may be in the hands of a writer that has lost its connection: not to be reused
}

// A mark is where a stanza is in its chunk.
type mark struct {
	start, end int32
	copy       bool
	storable   bool // if nobody takes it, it is for storage or has a copy there
	loose      bool // storable, and without a copy as far as is known: see Uncopied
	spare      bool // nobody would look for another way for it if the session ended: see spill
	kept       uint64
	receipt    *storage.Pending
}

const (
	chunkMin = 1 << 10
	chunkMax = 256 << 10 // larger ones are not reused
)

var chunks = sync.Pool{New: func() any { return &chunk{buf: make([]byte, 0, chunkMin)} }}

func newChunk() *chunk { return chunks.Get().(*chunk) }

// free gives the chunk back unless somebody may still look at it.
func (c *chunk) free() {
	if c.busy || c.keep || cap(c.buf) > chunkMax {
		return
	}
	*c = chunk{buf: c.buf[:0], marks: c.marks[:0]}
	chunks.Put(c)
}

// add appends a stanza and returns its length.
func (c *chunk) add(d *router.Delivery) int {
	start := len(c.buf)
	c.buf = d.Stanza.Append(c.buf)
	m := mark{start: int32(start), end: int32(len(c.buf)), copy: d.Copy, kept: d.Kept, receipt: d.Receipt}
	m.storable = router.Storable(d.Stanza) && (!d.Copy || d.Kept != 0)
	m.loose = m.storable && d.Kept == 0
	m.spare = !m.storable && d.Kept == 0 && d.Receipt == nil
	c.marks = append(c.marks, m)
	return len(c.buf) - start
}

// addMark appends a stanza that is in another chunk.
func (c *chunk) addMark(from *chunk, m mark) {
	start := len(c.buf)
	c.buf = append(c.buf, from.buf[m.start:m.end]...)
	m.start, m.end = int32(start), int32(len(c.buf))
	c.marks = append(c.marks, m)
}

// trim makes a chunk that waits to be acknowledged hold no more than it must.
func (c *chunk) trim() {
	if !c.busy && cap(c.buf) > 2*len(c.buf)+256 {
		c.buf = append(make([]byte, 0, len(c.buf)), c.buf...)
	}
}

// spill forgets the bytes of stanzas that are spare, but not that they were sent. It returns how many stanzas and
// bytes.
func (c *chunk) spill() (stanzas, bytes int) {
	for _, m := range c.marks[c.first:] {
		if m.spare && m.end > m.start {
			stanzas, bytes = stanzas+1, bytes+int(m.end-m.start)
		}
	}
	if stanzas == 0 {
		return 0, 0
	}
	var rest []byte
	for i := range c.marks {
		m := &c.marks[i]
		at := int32(len(rest))
		if i >= c.first && !m.spare {
			rest = append(rest, c.buf[m.start:m.end]...)
		}
		m.start, m.end = at, int32(len(rest))
	}
	c.buf, c.keep = rest, true
	return stanzas, bytes
}

// undelivered reads the stanzas back that nobody took.
func (c *chunk) undelivered(to []router.Undelivered, broken *atomic.Int64) []router.Undelivered {
	for _, m := range c.marks[c.first:] {
		if m.copy && m.kept == 0 || m.start == m.end {
			continue
		}
		if s, ok := c.read(m, broken); ok {
			to = append(to, router.Undelivered{Stanza: s, Kept: m.kept, Receipt: m.receipt})
		}
	}
	return to
}

// read reads a stanza back.
func (c *chunk) read(m mark, broken *atomic.Int64) (s xmpp.Stanza, ok bool) {
	// No limits but our own: it has been through them once, and grown a little since.
	limits := stream.Limits{Bytes: 1 << 26, Depth: 1 << 10, Elements: 1 << 20, Attributes: 1 << 10, Declarations: 1 << 10}
	p, err := stream.ParseStanza(c.buf[m.start:m.end], limits)
	if err != nil {
		broken.Add(1) // a stanza that we made ourselves
		return s, false
	}
	return p.Clone(), true
}
