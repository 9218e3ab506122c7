package roster

import (
	"encoding/binary"
	"errors"
	"slices"
	"strconv"

	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// An Item is what a roster says about a contact (RFC 6121 §2.1.2). Immutable once stored.
type Item struct {
	Name   string
	Groups []string
	State  State // PendingIn is not stored here: a request may come from somebody who is not in the roster
	// shared is how many of Groups, the first ones, are those in which the administrators have put the contact. own says
	// that the user has the contact besides, and under is what there is between them without the groups.
	own    bool
	under  State
	shared int32
}

// sharedGroups are those of the administrators.
func (it *Item) sharedGroups() []string { return it.Groups[:it.shared:it.shared] }

// recordVersion is the first byte of both records, sharedVersion that of an item with groups of the administrators.
const (
	recordVersion = 1
	sharedVersion = 2
)

var errRecord = errors.New("record of a roster that cannot be read")

// Keys of the map: items and requests of an owner live side by side, so that one write can change both.
const (
	itemKey    = "i " // and the contact
	requestKey = "r " // and the contact
)

const (
	flagTo = 1 << iota
	flagFrom
	flagPendingOut
	flagApproved
	flagOwn // of sharedVersion
)

// record is an item as it is stored: version, flags, name, groups. With groups of the administrators the state is the
// one under them, and before the groups come how many of them are the administrators'.
func (it *Item) record() []byte {
	s, version := it.State, byte(recordVersion)
	if it.shared > 0 {
		s, version = it.under, sharedVersion
	}
	var flags byte
	for _, f := range [...]struct {
		on  bool
		bit byte
	}{{s.To, flagTo}, {s.From, flagFrom}, {s.PendingOut, flagPendingOut}, {s.Approved, flagApproved}, {it.own, flagOwn}} {
		if f.on {
			flags |= f.bit
		}
	}
	b := appendField([]byte{version, flags}, it.Name)
	if it.shared > 0 {
		b = binary.AppendUvarint(b, uint64(it.shared))
	}
	for _, g := range it.Groups { // those of the administrators come first
		b = appendField(b, g)
	}
	return b
}

// size is how many bytes an item takes in the store, roughly; of none, 0.
func (it *Item) size(contact jid.JID) int {
	if it == nil {
		return 0
	}
	n := itemSize(contact, it.Name)
	for _, g := range it.Groups {
		n += groupSize(g)
	}
	return n
}

func itemSize(contact jid.JID, name string) int { return 16 + len(contact.String()) + len(name) }

func groupSize(name string) int { return 2 + len(name) }

// fields are those of a record, which they lie in.
type fields struct {
	version, flags byte
	name, groups   string // groups as they are stored
	shared         uint64
}

// fieldsOf takes a record apart without making anything.
func fieldsOf(record string) (p fields, err error) {
	if len(record) < 2 || record[0] != recordVersion && record[0] != sharedVersion {
		return p, errRecord
	}
	p.version, p.flags = record[0], record[1]
	var ok bool
	if p.name, p.groups, ok = cutField(record[2:]); !ok {
		return p, errRecord
	}
	if p.version == sharedVersion {
		if p.shared, p.groups, ok = cutNumber(p.groups); !ok || p.shared == 0 {
			return p, errRecord
		}
	}
	n := uint64(0)
	for rest := p.groups; rest != ""; n++ {
		if _, rest, ok = cutField(rest); !ok {
			return p, errRecord
		}
	}
	if p.shared > n {
		return p, errRecord
	}
	return p, nil
}

// eachGroup calls f with the groups.
func (p *fields) eachGroup(f func(group string)) {
	for rest := p.groups; rest != ""; {
		var g string
		g, rest, _ = cutField(rest) // as in fieldsOf
		f(g)
	}
}

// state is what there is between the user and the contact.
func (p *fields) state() State {
	if p.version == sharedVersion {
		return bothWays
	}
	return stateIn(p.flags)
}

// size is Item.size.
func (p *fields) size(contact jid.JID) int {
	n := itemSize(contact, p.name)
	p.eachGroup(func(g string) { n += groupSize(g) })
	return n
}

// write is Item.write.
func (p *fields) write(w *xmpp.Writer, contact jid.JID) {
	startItem(w, contact, p.name, p.state())
	p.eachGroup(func(g string) { w.Leaf(xmpp.NSRoster, "group", g) })
	w.End()
}

// cutNumber reads what binary.AppendUvarint has written.
func cutNumber(s string) (n uint64, rest string, ok bool) {
	for i := 0; i < len(s) && i < binary.MaxVarintLen64; i++ {
		if n |= uint64(s[i]&0x7f) << (7 * i); s[i] < 0x80 {
			return n, s[i+1:], true
		}
	}
	return 0, "", false
}

func cutField(s string) (field, rest string, ok bool) {
	n, s, ok := cutNumber(s)
	if !ok || n > uint64(len(s)) {
		return "", "", false
	}
	return s[:n], s[n:], true
}

// readItem reads a record, in which the name and the groups stay. Items of a roster that are in the same groups share
// these: known has those read before, by their bytes; nil: there are none.
func readItem(record string, known map[string][]string) (*Item, error) {
	p, err := fieldsOf(record)
	if err != nil {
		return nil, err
	}
	it := &Item{State: p.state(), Name: p.name, shared: int32(p.shared)}
	if p.version == sharedVersion {
		it.own, it.under = p.flags&flagOwn != 0, stateIn(p.flags)
	}
	if it.Groups = known[p.groups]; it.Groups == nil && p.groups != "" {
		p.eachGroup(func(g string) { it.Groups = append(it.Groups, g) })
		it.Groups = slices.Clip(it.Groups)
		if known != nil {
			known[p.groups] = it.Groups
		}
	}
	return it, nil
}

func stateIn(flags byte) State {
	return State{To: flags&flagTo != 0, From: flags&flagFrom != 0, PendingOut: flags&flagPendingOut != 0,
		Approved: flags&flagApproved != 0}
}

func appendField[T string | []byte](dst []byte, s T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func readField(b []byte) (field, rest []byte, err error) {
	n, k := binary.Uvarint(b)
	if k <= 0 || n > uint64(len(b)-k) {
		return nil, nil, errRecord
	}
	return b[k : k+int(n)], b[k+int(n):], nil
}

// smallRequest is a request without what it says, where that is too much: the request itself must not be lost.
func smallRequest(s *xmpp.Stanza) *xmpp.Stanza {
	if len(s.ID)+len(s.Lang)+len(s.Attrs)+len(s.Payload) <= maxRequest {
		return s
	}
	small := xmpp.Stanza{Kind: s.Kind, Type: s.Type, From: s.From, To: s.To}
	if len(s.ID) <= maxText {
		small.ID = s.ID
	}
	return &small
}

// requestRecord is a request as it is stored: version, id, lang, payload.
func requestRecord(s *xmpp.Stanza) []byte {
	b := appendField([]byte{recordVersion}, s.ID)
	return append(appendField(b, s.Lang), s.Payload...)
}

func readRequest(b []byte, from, to jid.JID) (*xmpp.Stanza, error) {
	if len(b) == 0 || b[0] != recordVersion {
		return nil, errRecord
	}
	id, b, err := readField(b[1:])
	if err != nil {
		return nil, err
	}
	lang, b, err := readField(b)
	if err != nil {
		return nil, err
	}
	return &xmpp.Stanza{Kind: xmpp.Presence, Type: xmpp.TypeSubscribe, ID: string(id), Lang: string(lang),
		From: from, To: to, Payload: b}, nil
}

// write adds the item as XML; nil is one that was removed.
func (it *Item) write(w *xmpp.Writer, contact jid.JID) {
	if it == nil {
		w.Start(xmpp.NSRoster, "item").Attr("jid", contact.String()).Attr("subscription", "remove").End()
		return
	}
	startItem(w, contact, it.Name, it.State)
	for _, g := range it.Groups {
		w.Leaf(xmpp.NSRoster, "group", g)
	}
	w.End()
}

func startItem(w *xmpp.Writer, contact jid.JID, name string, s State) {
	w.Start(xmpp.NSRoster, "item").Attr("jid", contact.String()).AttrIf("name", name).
		Attr("subscription", s.subscription())
	if s.PendingOut {
		w.Attr("ask", "subscribe")
	}
	if s.Approved {
		w.Attr("approved", "true")
	}
}

func startQuery(w *xmpp.Writer, version uint64) {
	w.Start(xmpp.NSRoster, "query").Attr("ver", strconv.FormatUint(version, 10))
}
