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
	n := 16 + len(contact.String()) + len(it.Name)
	for _, g := range it.Groups {
		n += 2 + len(g)
	}
	return n
}

// readItem reads a record. Items of a roster that are in the same groups share these: known has those read before, by
// their bytes; nil: there are none.
func readItem(b []byte, known map[string][]string) (*Item, error) {
	if len(b) < 2 || b[0] != recordVersion && b[0] != sharedVersion {
		return nil, errRecord
	}
	version, flags := b[0], b[1]
	it := &Item{State: stateIn(flags)}
	name, b, err := readField(b[2:])
	if err != nil {
		return nil, err
	}
	it.Name = string(name)
	shared := uint64(0)
	if version == sharedVersion {
		n, k := binary.Uvarint(b)
		if k <= 0 || n == 0 {
			return nil, errRecord
		}
		shared, b = n, b[k:]
		it.own, it.under, it.State = flags&flagOwn != 0, it.State, bothWays
	}
	if it.Groups = known[string(b)]; it.Groups == nil {
		if it.Groups, err = readGroups(b); err != nil {
			return nil, err
		}
		if known != nil && len(b) > 0 {
			known[string(b)] = it.Groups
		}
	}
	if shared > uint64(len(it.Groups)) {
		return nil, errRecord
	}
	it.shared = int32(shared)
	return it, nil
}

func stateIn(flags byte) State {
	return State{To: flags&flagTo != 0, From: flags&flagFrom != 0, PendingOut: flags&flagPendingOut != 0,
		Approved: flags&flagApproved != 0}
}

// stateOf is the state in a record that can be read.
func stateOf(record string) State {
	if record[0] == sharedVersion {
		return bothWays
	}
	return stateIn(record[1])
}

func readGroups(b []byte) (groups []string, err error) {
	for len(b) > 0 {
		var g []byte
		if g, b, err = readField(b); err != nil {
			return nil, err
		}
		groups = append(groups, string(g))
	}
	return slices.Clip(groups), nil
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
	w.Start(xmpp.NSRoster, "item").Attr("jid", contact.String())
	if it == nil {
		w.Attr("subscription", "remove").End()
		return
	}
	w.AttrIf("name", it.Name).Attr("subscription", it.State.subscription())
	if it.State.PendingOut {
		w.Attr("ask", "subscribe")
	}
	if it.State.Approved {
		w.Attr("approved", "true")
	}
	for _, g := range it.Groups {
		w.Leaf(xmpp.NSRoster, "group", g)
	}
	w.End()
}

func startQuery(w *xmpp.Writer, version uint64) {
	w.Start(xmpp.NSRoster, "query").Attr("ver", strconv.FormatUint(version, 10))
}
