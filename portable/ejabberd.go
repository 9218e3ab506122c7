package portable

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"jackdaw/xmpp"
)

// Ejabberd writes what `ejabberdctl dump` has written, the tables that ejabberd keeps in Mnesia as terms of Erlang, as
// one file of XEP-0227, with the rooms as elements of ours. It is read once, from the first byte to the last. The rows
// are sorted by account on the disk for temporary files, which needs room for about as many bytes as the dump has.
//
// What is in an SQL database is not in a dump. read is that of Flatten.
func Ejabberd(in io.Reader, out io.Writer, read func(bytes int64)) error {
	d := &dump{columns: map[string][]string{}, hosts: map[string]bool{}, now: time.Now()}
	d.fragment = newWriter(&d.buf)
	defer d.all.close()
	defer d.nodes.close()
	if err := d.read(newErlangReader(&counted{in, read})); err != nil {
		return err
	}
	if err := d.join(); err != nil {
		return err
	}
	if len(d.hosts) == 0 {
		return errors.New("there are no accounts: this is no dump of ejabberd, or it keeps them in a database or directory")
	}
	return d.write(newWriter(out))
}

// A dump is one while it is read.
type dump struct {
	columns  map[string][]string // of each table
	all      sorter              // what is to be written, in the order in which it is
	nodes    sorter              // what is of nodes, by the number of the node
	hosts    map[string]bool     // that have users: whether they have passwords
	lost     Report              // what cannot come
	now      time.Time
	buf      bytes.Buffer
	fragment *writer // writes to buf
}

// What a file may have of what is kept in memory.
const (
	maxTables = 1000
	maxHosts  = 10_000
)

// A row is one of a table.
type row struct {
	columns []string
	record  term
}

// get returns what is in a column.
func (r row) get(column string) term {
	return r.record.at(1 + slices.Index(r.columns, column)) // that of no column is the name of the table
}

// tables are those of which something comes.
var tables = map[string]func(*dump, row) error{"passwd": (*dump).password, "roster": (*dump).contact,
	"vcard": (*dump).card, "private_storage": (*dump).private, "privacy": (*dump).privacy,
	"last_activity": (*dump).last, "offline_msg": (*dump).waiting, "archive_msg": (*dump).archived,
	"archive_prefs": (*dump).preferences, "pubsub_node": (*dump).node, "pubsub_state": (*dump).affiliation,
	"pubsub_item": (*dump).item, "muc_room": (*dump).room}

// left are tables with nothing that anybody would miss: what is made anew, and what is of sessions.
var left = []string{"roster_version", "vcard_search", "pubsub_index", "pubsub_orphan", "caps_features", "oauth_token",
	"oauth_client", "bosh", "push_session", "temporarily_blocked", "mqtt_pub", "local_config", "access", "acl"}

func (d *dump) read(r *erlangReader) error {
	for {
		t, err := r.read()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case t.is("tables", 1) && t.list[1].kind == list && len(t.list) == 2:
			for _, table := range t.list[1].list {
				if len(d.columns) >= maxTables {
					return r.fail("more than %d tables", maxTables)
				}
				var names []string
				for _, c := range table.at(1).get("attributes").list {
					names = append(names, c.text)
				}
				d.columns[table.at(0).text] = names
			}
			continue
		}
		name := t.at(0).text
		columns, ok := d.columns[name]
		if !ok || t.kind != tuple {
			return r.fail("this is not what ejabberdctl dump writes: a row of no table that the file has named")
		}
		if take := tables[name]; take != nil {
			if err := take(d, row{columns, t}); err != nil {
				return err
			}
		} else if !slices.Contains(left, name) {
			d.lost.lose("tables", name, "nothing here reads the table "+clip(name))
		}
	}
}

// A part of what is written: of an account, or of a room. Parts come in their order, which is that in which an import
// wants them, and of each what is in it by the order that it has there.
type part byte

const (
	ofPassword part = iota + 'a'
	ofKeys
	ofRoster
	ofRequests
	ofCard
	ofPrivate
	ofPrivacy
	ofNodes
	ofAffiliations
	ofSubscriptions
	ofItems
	ofPreferences
	ofArchive
	ofWaiting
	ofLast
	ofRoom
	ofRoomArchive
)

// A place is where something is written.
type place struct {
	host, name string
	part       part
	node       string // of what is within one
	order      string
}

// key is by what the sorter knows the place. No name in it has a zero.
func (p place) key() string {
	kind := "user"
	if p.part >= ofRoom {
		kind = "zoom" // behind all users
	}
	return strings.Join([]string{kind, p.host, p.name, string(p.part) + p.node, p.order}, "\x00")
}

func placeOf(key string) place {
	s := strings.SplitN(key, "\x00", 5)
	return place{s[1], s[2], part(s[3][0]), s[3][1:], s[4]}
}

// around are the elements around what is at a place.
func (p place) around() (all []*xmpp.Element) {
	in := func(space, local string, attrs ...xmpp.Attr) []*xmpp.Element {
		all = append(all, &xmpp.Element{Name: xmpp.Name{Space: space, Local: local}, Attrs: attrs})
		return all
	}
	switch p.part {
	case ofRoster:
		return in(xmpp.NSRoster, "query")
	case ofPrivate:
		return in(xmpp.NSPrivate, "query")
	case ofNodes:
		return in(nsOwner, "pubsub")
	case ofAffiliations:
		in(nsOwner, "pubsub")
		return in(nsOwner, "affiliations", local("node", p.node))
	case ofSubscriptions:
		in(nsOwner, "pubsub")
		return in(nsOwner, "subscriptions", local("node", p.node))
	case ofItems:
		in(xmpp.NSPubSub, "pubsub")
		return in(xmpp.NSPubSub, "items", local("node", p.node))
	case ofRoomArchive:
		in(NS, "room-archive", local("jid", p.name+"@"+p.host))
		return in(NSPie+"#mam", "archive")
	case ofArchive:
		return in(NSPie+"#mam", "archive")
	case ofWaiting:
		return in(NSPie, "offline-messages")
	}
	return nil
}

// inOrder makes a number one of the texts that sort as numbers do.
func inOrder(n int64) string { return string(binary.BigEndian.AppendUint64(nil, uint64(max(n, 0)))) }

// written is an element by itself, as XML.
func (d *dump) written(e *xmpp.Element) ([]byte, error) {
	d.buf.Reset()
	d.fragment.element(e)
	err := d.fragment.flush()
	return bytes.Clone(d.buf.Bytes()), err
}

// put has an element written.
func (d *dump) put(p place, e *xmpp.Element) error {
	data, err := d.written(e)
	if err != nil {
		return err
	}
	return d.add(p, data)
}

// add has something written. Whose name is none is left out.
func (d *dump) add(p place, data []byte) error {
	if p.name == "" || p.host == "" || strings.Contains(p.name+p.host, "\x00") {
		return nil
	}
	if p.part < ofRoom {
		if _, known := d.hosts[p.host]; !known && len(d.hosts) >= maxHosts {
			return fmt.Errorf("accounts of more than %d domains", maxHosts)
		}
		d.hosts[p.host] = d.hosts[p.host] || p.part == ofPassword || p.part == ofKeys
	}
	return d.all.add(p.key(), data)
}

// write writes everything.
func (d *dump) write(out *writer) error {
	hosts := slices.Sorted(maps.Keys(d.hosts))
	var at place
	host, around := "", 0
	leave := func(n int) {
		for range n {
			out.end()
		}
	}
	out.start(serverData)
	in, passed := 0, false // elements that are open within the host; whether what is at this name is passed over
	err := d.all.each(func(key string, data []byte) error {
		p := placeOf(key)
		belongs := p.host
		if p.part >= ofRoom {
			belongs = closest(hosts, p.host)
		}
		begins := p.name != at.name || p.host != at.host || (p.part < ofRoom) != (at.part < ofRoom)
		if begins || p.part != at.part || p.node != at.node {
			leave(around)
			around = 0
		}
		if begins {
			leave(in)
			in = 0
			if belongs != host {
				if host != "" {
					out.end()
				}
				host = belongs
				out.start(hostName, local("jid", xmpp.MendText(host)))
			}
			if passed = !d.known(p); !passed && p.part < ofRoom {
				attrs := []xmpp.Attr{local("name", xmpp.MendText(p.name))}
				if p.part == ofPassword {
					attrs = append(attrs, local("password", xmpp.MendText(string(data))))
				}
				out.start(userName, attrs...)
				in = 1
			}
		}
		if at = p; passed || p.part == ofPassword {
			return nil
		}
		if around == 0 {
			for _, e := range p.around() {
				out.start(e.Name, e.Attrs...)
				around++
			}
		}
		out.closeTag()
		out.raw(data)
		return out.err
	})
	if err != nil {
		return err
	}
	leave(around + in)
	if host != "" {
		out.end()
	}
	for _, l := range d.lost.Lost {
		out.start(lostName, local("what", l.What), local("why", l.Why), local("where", xmpp.MendText(l.Where)),
			local("times", strconv.Itoa(l.Times)))
		out.end()
	}
	out.end()
	return out.flush()
}

// known says whether what begins here is of an account, or of a room that stays; if not, it is lost.
func (d *dump) known(p place) bool {
	switch {
	case p.part > ofRoom:
		d.lost.lose("rooms", p.name+"@"+p.host, "the archive of a room that does not stay")
		return false
	case p.part > ofKeys && p.part < ofRoom && d.hosts[p.host]:
		d.lost.lose("accounts", p.name+"@"+p.host, "what is left of an account that is not there")
		return false
	}
	return true
}
