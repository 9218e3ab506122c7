package roster

import (
	"slices"
	"sort"
	"strings"

	"jackdaw/xmpp/jid"
)

// packed are the items of a roster as they wait for somebody to ask: in two pieces of memory, however many there are.
// As single items they take five times as much, and most of what a session with contacts costs
// (docs/decisions/0066-sessions-without-a-goroutine.md). The zero value has none. Immutable.
type packed struct {
	text string   // of each contact the address and the record, sorted by address
	ends []uint32 // where each of these ends
}

// A line is what a packed roster has of one contact: its record as it is stored.
type line struct {
	contact jid.JID
	record  []byte
}

// pack packs lines, which it sorts.
func pack(lines []line) (p packed) {
	if len(lines) == 0 {
		return packed{}
	}
	slices.SortFunc(lines, func(a, b line) int { return a.contact.Compare(b.contact) })
	p.ends = make([]uint32, 0, 2*len(lines))
	size := 0
	for _, l := range lines {
		size += len(l.contact.String()) + len(l.record)
	}
	var text strings.Builder
	text.Grow(size)
	for _, l := range lines {
		text.WriteString(l.contact.String())
		p.ends = append(p.ends, uint32(text.Len()))
		text.Write(l.record)
		p.ends = append(p.ends, uint32(text.Len()))
	}
	p.text = text.String()
	return p
}

// n is how many contacts there are.
func (p *packed) n() int { return len(p.ends) / 2 }

// contact is the address of one, which lies in the text.
func (p *packed) contact(i int) jid.JID {
	from := uint32(0)
	if i > 0 {
		from = p.ends[2*i-1]
	}
	return jid.Again(p.text[from:p.ends[2*i]])
}

// record is what is stored of a contact.
func (p *packed) record(i int) string { return p.text[p.ends[2*i]:p.ends[2*i+1]] }

// find says where a contact is.
func (p *packed) find(contact jid.JID) (i int, ok bool) {
	return sort.Find(p.n(), func(i int) int { return contact.Compare(p.contact(i)) })
}

// fields are those of a contact's record, which has been read before or is one of ours; it panics if it is not.
func (p *packed) fields(i int) fields {
	x, err := fieldsOf(p.record(i))
	if err != nil {
		panic(err)
	}
	return x
}

// state is what there is between the user and a contact, but for requests.
func (p *packed) state(i int) State {
	x := fields{version: p.record(i)[0], flags: p.record(i)[1]}
	return x.state()
}

// item is that of a contact, nil if there is none.
func (p *packed) item(contact jid.JID) *Item {
	i, ok := p.find(contact)
	if !ok {
		return nil
	}
	return p.read(i, nil)
}

// read makes an item; it panics as fields does.
func (p *packed) read(i int, known map[string][]string) *Item {
	it, err := readItem(p.record(i), known)
	if err != nil {
		panic(err) // see fields
	}
	return it
}

// those are the contacts with whom the user's state is such a one.
func (p *packed) those(is func(State) bool) []jid.JID {
	n := 0
	for i := range p.n() {
		if is(p.state(i)) {
			n++
		}
	}
	list := make([]jid.JID, 0, n)
	for i := range p.n() {
		if is(p.state(i)) {
			list = append(list, p.contact(i))
		}
	}
	return list
}
