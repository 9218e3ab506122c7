package pubsub

import (
	"encoding/binary"
	"errors"
	"slices"
	"strconv"
	"strings"

	"jackdaw/modules/internal/record"
	"jackdaw/xmpp/jid"
)

// The first byte of every record, but for those of nodes, of which there are three kinds: the first does not say when
// items expire and what becomes of them when there is no room, and only the third says who has made the node; and for
// subscriptions with options.
const (
	recordVersion  = 1
	nodeVersion    = 2
	madeVersion    = 3
	optionsVersion = 2
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

// subscriptionKey is key for one of the subscriptions of an address. The first has the key that it had when each
// address had only one.
func subscriptionKey(node string, who jid.JID, id uint8) string {
	k := key(keySubscription, node, who)
	if id > firstID {
		k += "\x00" + strconv.Itoa(int(id))
	}
	return k
}

// record holds a subscription.
func (one *subscription) record() []byte {
	if !one.quiet && one.until == 0 {
		return []byte{recordVersion, byte(one.state)}
	}
	b := []byte{optionsVersion, byte(one.state), 0}
	if one.quiet {
		b[2] = 1
	}
	return binary.AppendUvarint(b, uint64(one.until))
}

// readSubscription reads the record of one, with what its key says behind the node.
func readSubscription(who string, b []byte) (j jid.JID, one subscription, err error) {
	address, number, more := strings.Cut(who, "\x00")
	one.id = firstID
	if more {
		id, err := strconv.ParseUint(number, 10, 8)
		if err != nil || id <= firstID {
			return j, one, errRecord
		}
		one.id = uint8(id)
	}
	if j, err = jid.Parse(address); err != nil || len(b) < 2 || b[1] == 0 || state(b[1]) > subscribed {
		return j, one, errRecord
	}
	one.state = state(b[1])
	switch {
	case b[0] == recordVersion && len(b) == 2:
		return j, one, nil
	case b[0] != optionsVersion || len(b) < 3:
		return j, one, errRecord
	}
	r := record.Reader{B: b[3:]}
	one.quiet, one.until = b[2] == 1, int64(r.Number())
	if r.Bad || one.until < 0 {
		return j, one, errRecord
	}
	return j, one, nil
}

// itemsOwner is whose the items of a node are in their map. No bare address has a slash in it.
func itemsOwner(service jid.JID, node string) string { return service.String() + "/" + node }

// flags of a configuration, in the order of the bits.
func (c *Config) flags() []*bool {
	return []*bool{&c.Persist, &c.Deliver, &c.Payloads, &c.TellConfig, &c.TellDelete, &c.TellRetract,
		&c.TellSubscription, &c.Normal, &c.NamePublisher}
}

// nodeRecord holds the configuration, when the node was made and, unless that is the service itself, by whom.
func nodeRecord(c Config, created int64, maker jid.JID) []byte {
	var bits uint64
	for i, f := range c.flags() {
		if *f {
			bits |= 1 << i
		}
	}
	version := byte(nodeVersion)
	if !maker.IsZero() {
		version = madeVersion
	}
	b := binary.AppendUvarint([]byte{version}, uint64(created))
	b = binary.AppendUvarint(b, bits)
	b = append(b, byte(c.Access), byte(c.Publishers), byte(c.Last))
	b = binary.AppendUvarint(b, uint64(c.MaxItems))
	for _, s := range []string{c.Title, c.Description, c.Type} {
		b = record.AppendText(b, s)
	}
	b = binary.AppendUvarint(b, uint64(len(c.Groups)))
	for _, g := range c.Groups {
		b = record.AppendText(b, g)
	}
	b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(c.Full)), uint64(c.Expire))
	if version == madeVersion {
		b = record.AppendText(b, maker.String())
	}
	return b
}

func readNode(b []byte) (c Config, created int64, maker jid.JID, err error) {
	if len(b) == 0 || b[0] < recordVersion || b[0] > madeVersion {
		return c, 0, maker, errRecord
	}
	r := record.Reader{B: b[1:]}
	created = int64(r.Number())
	bits := r.Number()
	for i, f := range c.flags() {
		*f = bits&(1<<i) != 0
	}
	if len(r.B) < 3 {
		return c, 0, maker, errRecord
	}
	c.Access, c.Publishers, c.Last = Access(r.B[0]), Publishers(r.B[1]), Last(r.B[2])
	r.B = r.B[3:]
	if int(c.Access) >= len(accesses) || int(c.Publishers) >= len(publishers) || int(c.Last) >= len(lasts) {
		return c, 0, maker, errRecord
	}
	c.MaxItems = int(r.Number())
	c.Title, c.Description, c.Type = r.Text(), r.Text(), r.Text()
	for n := r.Number(); n > 0 && !r.Bad; n-- {
		c.Groups = append(c.Groups, r.Text())
	}
	if b[0] >= nodeVersion {
		full := r.Number()
		if c.Expire = int64(r.Number()); full >= uint64(len(fulls)) || c.Expire < 0 {
			return c, 0, maker, errRecord
		}
		c.Full = Full(full)
	}
	if b[0] == madeVersion {
		if maker, err = jid.Parse(r.Text()); err != nil {
			return c, 0, maker, errRecord
		}
	}
	if r.Bad {
		return c, 0, maker, errRecord
	}
	return c, created, maker, nil
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
	return append(record.AppendText(b, it.By), it.Payload...)
}

func readItem(id string, b []byte) (Item, error) {
	if len(b) == 0 || b[0] != recordVersion {
		return Item{}, errRecord
	}
	r := record.Reader{B: b[1:]}
	it := Item{ID: id, At: int64(r.Number()), By: r.Text()}
	if r.Bad {
		return Item{}, errRecord
	}
	it.Payload = slices.Clip(r.B)
	return it, nil
}
