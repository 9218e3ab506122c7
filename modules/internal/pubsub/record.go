package pubsub

import (
	"encoding/binary"
	"errors"
	"slices"

	"jackdaw/xmpp/jid"
)

// The first byte of every record, but for those of nodes, of which there are two kinds: the old one does not say when
// items expire and what becomes of them when there is no room.
const (
	recordVersion = 1
	nodeVersion   = 2
)

var errRecord = errors.New("a record that cannot be read")

// Keys of the nodes' map: a letter, the name of the node and, after a NUL, which no name in XML has, an address.
const (
	keyNode         = 'n'
	keySubscription = 's'
	keyAffiliation  = 'a'
)

func key(kind byte, node string, who ...jid.JID) string {
	k := string(kind) + node
	for _, j := range who {
		k += "\x00" + j.String()
	}
	return k
}

// itemsOwner is whose the items of a node are in their map. No bare address has a slash in it.
func itemsOwner(service jid.JID, node string) string { return service.String() + "/" + node }

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// reader takes values off a record; once something is missing it says so.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) number() uint64 {
	n, size := binary.Uvarint(r.b)
	if size <= 0 {
		r.b, r.bad = nil, true
		return 0
	}
	r.b = r.b[size:]
	return n
}

func (r *reader) text() string {
	n := r.number()
	if n > uint64(len(r.b)) {
		r.b, r.bad = nil, true
		return ""
	}
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}

// flags of a configuration, in the order of the bits.
func (c *Config) flags() []*bool {
	return []*bool{&c.Persist, &c.Deliver, &c.Payloads, &c.TellConfig, &c.TellDelete, &c.TellRetract,
		&c.TellSubscription, &c.Normal, &c.NamePublisher}
}

// nodeRecord holds the configuration and when the node was made.
func nodeRecord(c Config, created int64) []byte {
	var bits uint64
	for i, f := range c.flags() {
		if *f {
			bits |= 1 << i
		}
	}
	b := binary.AppendUvarint([]byte{nodeVersion}, uint64(created))
	b = binary.AppendUvarint(b, bits)
	b = append(b, byte(c.Access), byte(c.Publishers), byte(c.Last))
	b = binary.AppendUvarint(b, uint64(c.MaxItems))
	for _, s := range []string{c.Title, c.Description, c.Type} {
		b = appendText(b, s)
	}
	b = binary.AppendUvarint(b, uint64(len(c.Groups)))
	for _, g := range c.Groups {
		b = appendText(b, g)
	}
	return binary.AppendUvarint(binary.AppendUvarint(b, uint64(c.Full)), uint64(c.Expire))
}

func readNode(b []byte) (c Config, created int64, err error) {
	if len(b) == 0 || b[0] != recordVersion && b[0] != nodeVersion {
		return c, 0, errRecord
	}
	r := reader{b: b[1:]}
	created = int64(r.number())
	bits := r.number()
	for i, f := range c.flags() {
		*f = bits&(1<<i) != 0
	}
	if len(r.b) < 3 {
		return c, 0, errRecord
	}
	c.Access, c.Publishers, c.Last = Access(r.b[0]), Publishers(r.b[1]), Last(r.b[2])
	r.b = r.b[3:]
	if int(c.Access) >= len(accesses) || int(c.Publishers) >= len(publishers) || int(c.Last) >= len(lasts) {
		return c, 0, errRecord
	}
	c.MaxItems = int(r.number())
	c.Title, c.Description, c.Type = r.text(), r.text(), r.text()
	for n := r.number(); n > 0 && !r.bad; n-- {
		c.Groups = append(c.Groups, r.text())
	}
	if b[0] == nodeVersion {
		full := r.number()
		if c.Expire = int64(r.number()); full >= uint64(len(fulls)) || c.Expire < 0 {
			return c, 0, errRecord
		}
		c.Full = Full(full)
	}
	if r.bad {
		return c, 0, errRecord
	}
	return c, created, nil
}

// An Item is one that a node keeps.
type Item struct {
	ID string
	At int64  // when it was published, in microseconds since 1970; rises within a node
	By string // the bare address of its publisher
	// Payload is one element that declares its namespace, or nothing.
	Payload []byte
}

func itemRecord(it Item) []byte {
	b := binary.AppendUvarint([]byte{recordVersion}, uint64(it.At))
	return append(appendText(b, it.By), it.Payload...)
}

func readItem(id string, b []byte) (Item, error) {
	if len(b) == 0 || b[0] != recordVersion {
		return Item{}, errRecord
	}
	r := reader{b: b[1:]}
	it := Item{ID: id, At: int64(r.number()), By: r.text()}
	if r.bad {
		return Item{}, errRecord
	}
	it.Payload = slices.Clip(r.b)
	return it, nil
}
