package roster

import (
	"slices"
	"strings"

	"jackdaw/xmpp/jid"
)

// packed are the items of a roster as they wait for somebody to ask: in three pieces of memory, however many there are.
// As single items they take three times as much, and most of what a session with contacts costs
// (docs/decisions/0066-sessions-without-a-goroutine.md). The zero value has none. Immutable.
type packed struct {
	contacts []jid.JID // sorted; what they say is in text
	text     string    // of each contact the address and the record
	ends     []uint32  // of the records
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
	p = packed{contacts: make([]jid.JID, len(lines)), ends: make([]uint32, len(lines))}
	size := 0
	for _, l := range lines {
		size += len(l.contact.String()) + len(l.record)
	}
	var text strings.Builder
	text.Grow(size)
	for i, l := range lines {
		text.WriteString(l.contact.String())
		text.Write(l.record)
		p.ends[i] = uint32(text.Len())
	}
	p.text = text.String()
	for i, l := range lines {
		p.contacts[i] = l.contact
		from := p.start(i)
		// The same address again, of which no other text is held. One that is read in another way stays as it was.
		if c, err := jid.Parse(p.text[from : from+len(l.contact.String())]); err == nil && c == l.contact {
			p.contacts[i] = c
		}
	}
	return p
}

// start is where the text of a contact begins.
func (p *packed) start(i int) int {
	if i == 0 {
		return 0
	}
	return int(p.ends[i-1])
}

// record is what is stored of a contact.
func (p *packed) record(i int) string {
	return p.text[p.start(i)+len(p.contacts[i].String()) : p.ends[i]]
}

// find says where a contact is.
func (p *packed) find(contact jid.JID) (i int, ok bool) {
	return slices.BinarySearchFunc(p.contacts, contact, jid.JID.Compare)
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

// lists are who may see the user's presence, and whose the user may see.
func (p *packed) lists() (from, to []jid.JID) {
	froms, tos, both := 0, 0, true
	for i := range p.contacts {
		s := p.state(i)
		if s.From {
			froms++
		}
		if s.To {
			tos++
		}
		both = both && s.From == s.To
	}
	choose := func(n int, is func(State) bool) []jid.JID {
		if n == len(p.contacts) { // as nearly always; nobody changes them
			return p.contacts
		}
		list := make([]jid.JID, 0, n)
		for i, contact := range p.contacts {
			if is(p.state(i)) {
				list = append(list, contact)
			}
		}
		return list
	}
	from = choose(froms, func(s State) bool { return s.From })
	if both {
		return from, from
	}
	return from, choose(tos, func(s State) bool { return s.To })
}
