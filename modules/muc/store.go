package muc

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"jackdaw/modules/muc/room"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// The keys under which a room is stored, in the map of its address. There are two other kinds of maps: that of a domain
// of the service has what the directory says of each room, by local part; that of a user of ours has the addresses of
// the rooms in which the user has an affiliation.
const (
	roomKey    = "room"
	subjectKey = "subject"
	cardKey    = "card"
	hatsKey    = "hats"
	personKey  = "person/" // and the bare address
	changeKey  = "change/" // and the version that it made, in 20 digits
)

// record is what is stored under roomKey.
type record struct {
	Settings room.Settings `json:"settings"`
	Secret   []byte        `json:"secret"`
	Creator  string        `json:"creator"`
}

const recordVersion = 1

// encode writes a record: its version, then JSON. It panics for what JSON cannot hold, which no record of ours does.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("muc: a record that cannot be written: " + err.Error())
	}
	return append([]byte{recordVersion}, b...)
}

// decode reads what encode wrote.
func decode(b []byte, v any) error {
	if len(b) == 0 || b[0] != recordVersion {
		return errors.New("a record of a room that cannot be read")
	}
	return json.Unmarshal(b[1:], v)
}

// open fills a fresh room in: from storage, or as make has it. It is called with order held.
func (r *hosted) open(make newRoom) *xmpp.Error {
	r.used = time.Now()
	entries, _, err := r.m.o.Rooms.List(context.Background(), r.Name)
	if err != nil {
		return r.m.fault(err)
	}
	found, err := r.read(entries)
	switch {
	case err != nil:
		return r.m.fault(fmt.Errorf("read the room %s: %w", r.Name, err))
	case found:
		if err := r.recall(); err != nil {
			return r.m.fault(err)
		}
		return r.complete()
	case make == nil:
		return xmpp.ItemNotFound("there is no such room")
	}
	return make(r)
}

// complete adds what the directory of an older version does not say of the room. Nobody waits for it to be written:
// else it is done again.
func (r *hosted) complete() *xmpp.Error {
	list, err := r.m.listed(r.Addr.Domain())
	if err == nil && list.lacks(r.Addr.Local()) {
		_, err = list.set(r.m.o.Rooms, r)
	}
	if err != nil {
		return r.m.fault(err)
	}
	return nil
}

func (r *hosted) read(entries []storage.Entry) (found bool, err error) {
	for _, e := range entries {
		switch user, isPerson := strings.CutPrefix(e.Key, personKey); {
		case isPerson:
			k := room.Known{User: user}
			if err = decode(e.Value, &k.Person); err == nil {
				r.SetPerson(k)
			}
		case strings.HasPrefix(e.Key, changeKey):
			err = r.readChange(e)
		case e.Key == roomKey:
			var one record
			err = decode(e.Value, &one)
			r.Conf, r.Secret, r.Creator, found = one.Settings, one.Secret, one.Creator, true
		case e.Key == subjectKey:
			err = decode(e.Value, &r.Subject)
		case e.Key == hatsKey:
			err = decode(e.Value, &r.Hats)
		case e.Key == cardKey && len(e.Value) > 1:
			r.SetCard(e.Value[1:])
		}
		if err != nil {
			return false, err
		}
	}
	slices.SortFunc(r.Changes, func(a, b room.Change) int { return cmp.Compare(a.Version, b.Version) })
	return found, nil
}

func (r *hosted) readChange(e storage.Entry) error {
	var c room.Change
	err := decode(e.Value, &c)
	if err == nil {
		c.Version, err = strconv.ParseUint(strings.TrimPrefix(e.Key, changeKey), 10, 64)
	}
	r.Changes = append(r.Changes, c)
	return err
}

// store writes changes of a room that is persistent. Without changes the Pending is that of the room as it is. It is
// called with order held.
func (r *hosted) store(changes ...storage.Change) (*storage.Pending, error) {
	if !r.Conf.Persistent || r.Locked {
		return nil, nil
	}
	_, p, err := r.m.o.Rooms.Update(context.Background(), r.Name, storage.AnyVersion, changes...)
	return p, err
}

// storeAll writes a room that becomes persistent.
func (r *hosted) storeAll() (*storage.Pending, error) {
	changes := []storage.Change{r.roomChange()}
	if !r.Subject.Changed.IsZero() {
		changes = append(changes, storage.Change{Key: subjectKey, Value: encode(r.Subject)})
	}
	if len(r.Hats) > 0 {
		changes = append(changes, storage.Change{Key: hatsKey, Value: encode(r.Hats)})
	}
	if r.Card != nil {
		changes = append(changes, cardChange(r.Card))
	}
	for _, c := range r.Changes {
		changes = append(changes, versionChange(c))
	}
	for user, p := range r.People {
		changes = append(changes, personChange(room.Known{User: user, Person: p}))
		if err := r.m.index(user, r.Name, true); err != nil {
			return nil, err
		}
	}
	return r.store(changes...)
}

func (r *hosted) roomChange() storage.Change {
	return storage.Change{Key: roomKey, Value: encode(record{Settings: r.Conf, Secret: r.Secret, Creator: r.Creator})}
}

// personChange is what is stored of a user whom the room knows.
func personChange(k room.Known) storage.Change {
	if k.Empty() {
		return storage.Change{Key: personKey + k.User, Delete: true}
	}
	return storage.Change{Key: personKey + k.User, Value: encode(k.Person)}
}

// personChanges are what is stored of users, and of the changes of their affiliations, of which the oldest go.
func (r *hosted) personChanges(people []room.Known) (changes []storage.Change) {
	for _, k := range people {
		changes = append(changes, personChange(k))
	}
	for _, c := range r.Coming(people) {
		changes = append(changes, versionChange(c))
		if c.Version > room.MaxChanges {
			c.Version -= room.MaxChanges
			changes = append(changes, storage.Change{Key: versionKey(c), Delete: true})
		}
	}
	return changes
}

func versionChange(c room.Change) storage.Change {
	return storage.Change{Key: versionKey(c), Value: encode(c)}
}

func versionKey(c room.Change) string { return fmt.Sprintf("%s%020d", changeKey, c.Version) }

func cardChange(card []byte) storage.Change {
	return storage.Change{Key: cardKey, Value: append([]byte{recordVersion}, card...)}
}

// erase deletes all that is kept of a room that is gone. The Pending fails if something is left. It is called with
// order held. The room leaves the table last: until then nobody reads from storage what is about to be deleted (see
// Rooms.call).
func (r *hosted) erase() *storage.Pending {
	defer r.m.forget(r)
	ctx, log := context.Background(), r.m.o.Log
	var left error
	warn := func(err error) {
		if err != nil {
			log.Warn("something is left of a room", "room", r.Name, "error", err)
			left = errors.Join(left, err)
		}
	}
	list, err := r.m.listed(r.Addr.Domain())
	if err != nil {
		warn(err)
	} else {
		_, err = list.drop(r.m.o.Rooms, r.Addr)
		warn(err)
	}
	for user := range r.People {
		if r.Conf.Persistent {
			warn(r.m.index(user, r.Name, false))
		}
	}
	p, err := r.m.o.Archive.DeleteOwner(ctx, r.Name)
	warn(err)
	if r.Conf.Persistent {
		p, err = r.m.o.Rooms.DeleteOwner(ctx, r.Name)
		warn(err)
	}
	if left != nil {
		p = storage.NewPending()
		p.Finish(left)
	}
	return p
}

// indexOf is the owner of what rooms know a user. It is no address: rooms write it, wherever they are at home.
func indexOf(user string) string { return "known " + user }

// index notes that a user of ours is known to a room, or no more, for the time when the account is deleted.
func (m *Rooms) index(user, room string, known bool) error {
	j, err := jid.Parse(user)
	if err != nil || j.Local() == "" || !m.o.Router.Serves(j.Domain()) {
		return nil
	}
	c := storage.Change{Key: room, Value: []byte{recordVersion}, Delete: !known}
	_, _, err = m.o.Rooms.Update(context.Background(), indexOf(user), storage.AnyVersion, c)
	return err
}

// removed takes a deleted account out of the rooms that know it: whoever comes after it under the same address must not
// inherit what it was.
func (m *Rooms) removed(user jid.JID) error {
	ctx, name := context.Background(), user.String()
	rooms := map[jid.JID]bool{}
	owners := []string{indexOf(name), name} // older versions have written the second
	for _, owner := range owners {
		entries, _, err := m.o.Rooms.List(ctx, owner)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if addr, err := jid.Parse(e.Key); err == nil {
				rooms[addr] = true
			}
		}
	}
	for _, r := range m.loaded() {
		rooms[r.Addr] = true
	}
	var failed error
	for addr := range rooms {
		if !m.o.Router.Here(addr.String()) {
			failed = errors.Join(failed, m.forgetElsewhere(ctx, addr, user))
			continue
		}
		failed = errors.Join(failed, m.forgetIn(addr, name))
	}
	if failed != nil {
		return failed
	}
	for _, owner := range owners {
		p, err := m.o.Rooms.DeleteOwner(ctx, owner)
		if err == nil {
			err = p.Wait(ctx)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// forgetIn takes a user out of one room.
func (m *Rooms) forgetIn(addr jid.JID, name string) (err error) {
	for there := false; !there; { // a room that is let go of meanwhile is read again
		r, bad := m.find(addr, nil)
		if bad != nil {
			if bad.Condition != xmpp.CondItemNotFound {
				return bad
			}
			return nil
		}
		there = r.visited(&r.order, func(r *hosted) { err = r.forgetUser(name) })
	}
	return err
}

// forgetUser deletes what a room knows of a user. It is called with order held.
func (r *hosted) forgetUser(user string) error {
	changes := r.WithoutUser(user)
	if len(changes) > 0 {
		if _, err := r.store(r.personChanges(changes)...); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Forget(user, changes)
	return nil
}

// A directory is the list of the rooms at one domain. It is read from storage when somebody first wants to know.
type directory struct {
	mu    sync.Mutex // guards the rest
	rooms map[string]listing
	made  map[string]int // rooms by creator
	// passing are those of rooms that are not to stay, which are not in storage.
	passing map[string]listing
	version uint64 // of what was read
}

// A listing is what the directory says of a room.
type listing struct {
	Name    string `json:"name,omitempty"`
	Public  bool   `json:"public,omitempty"`
	Creator string `json:"creator"`
	// What follows is for searches; without Whole, which older versions have not written, it is not known.
	Whole        bool   `json:"whole,omitempty"`
	Description  string `json:"description,omitempty"`
	Language     string `json:"language,omitempty"`
	Open         bool   `json:"open,omitempty"`
	NonAnonymous bool   `json:"nonanonymous,omitempty"`
}

// listed returns the directory of a domain, read if need be.
func (m *Rooms) listed(domain string) (*directory, error) {
	m.mu.Lock()
	d := m.lists[domain]
	if d == nil {
		d = &directory{}
		m.lists[domain] = d
	}
	m.mu.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	ctx := context.Background()
	if d.rooms != nil {
		if m.o.Router.Alone() {
			return d, nil
		}
		changes, version, ok, err := m.o.Rooms.Since(ctx, domain, d.version) // other nodes change it too
		if err != nil {
			return nil, err
		}
		if ok {
			d.take(changes, version)
			return d, nil
		}
	}
	entries, version, err := m.o.Rooms.List(ctx, domain)
	if err != nil {
		return nil, err
	}
	d.rooms, d.made = make(map[string]listing, len(entries)), map[string]int{}
	d.take(entries, version)
	for local, l := range d.passing {
		d.put(local, l)
	}
	return d, nil
}

// take takes over what is in storage. The caller holds mu.
func (d *directory) take(entries []storage.Entry, version uint64) {
	for _, e := range entries {
		var l listing
		if _, passes := d.passing[e.Key]; passes {
			continue // what is there is of before
		}
		if e.Deleted {
			d.remove(e.Key)
		} else if decode(e.Value, &l) == nil {
			d.put(e.Key, l)
		}
	}
	d.version = version
}

// remove takes a room out. The caller holds mu.
func (d *directory) remove(local string) {
	was, ok := d.rooms[local]
	if !ok {
		return
	}
	delete(d.rooms, local)
	if d.made[was.Creator]--; d.made[was.Creator] <= 0 {
		delete(d.made, was.Creator)
	}
}

// has says whether a room is listed.
func (d *directory) has(local string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, ok := d.rooms[local]
	return ok
}

func (d *directory) put(local string, l listing) {
	if was, ok := d.rooms[local]; ok {
		d.made[was.Creator]--
	}
	d.rooms[local] = l
	d.made[l.Creator]++
}

// set lists a room, for good if it is persistent.
func (d *directory) set(rooms storage.Map, r *hosted) (*storage.Pending, error) {
	l := listingOf(r.Room)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.put(r.Addr.Local(), l)
	if r.Conf.Persistent && !r.Locked {
		delete(d.passing, r.Addr.Local())
	} else {
		if d.passing == nil {
			d.passing = map[string]listing{}
		}
		d.passing[r.Addr.Local()] = l
	}
	c := storage.Change{Key: r.Addr.Local(), Value: encode(l), Delete: !r.Conf.Persistent || r.Locked}
	_, p, err := rooms.Update(context.Background(), r.Addr.Domain(), storage.AnyVersion, c)
	return p, err
}

// lacks says whether a room is listed without what searches want to know.
func (d *directory) lacks(local string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	l, ok := d.rooms[local]
	return ok && !l.Whole
}

// drop takes a room out of the list.
func (d *directory) drop(rooms storage.Map, addr jid.JID) (*storage.Pending, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, ok := d.rooms[addr.Local()]; !ok {
		return nil, nil
	}
	d.remove(addr.Local())
	delete(d.passing, addr.Local())
	_, p, err := rooms.Update(context.Background(), addr.Domain(), storage.AnyVersion,
		storage.Change{Key: addr.Local(), Delete: true})
	return p, err
}

// creators counts the rooms that a user has made.
func (d *directory) creators(user string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.made[user]
}

// madeBy are the rooms that a user has made.
func (d *directory) madeBy(user string) (locals []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for local, l := range d.rooms {
		if l.Creator == user {
			locals = append(locals, local)
		}
	}
	return locals
}

// public lists what may be shown, by address.
func (d *directory) public() (locals []string, names map[string]string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	names = map[string]string{}
	for local, l := range d.rooms {
		if l.Public {
			locals = append(locals, local)
			names[local] = l.Name
		}
	}
	slices.Sort(locals)
	return locals, names
}

// maker makes a room for the first user who enters it (§10.1).
func (m *Rooms) maker(e *router.Envelope, exempt bool) newRoom {
	return func(r *hosted) *xmpp.Error {
		if from := e.Stanza.From; from.Local() == "" || !m.o.Router.Owns(from.Domain()) {
			return xmpp.NotAllowed("rooms are made by users of this server")
		}
		limits := m.o.Limits()
		list, err := m.listed(r.Addr.Domain())
		if err != nil {
			return m.fault(err)
		}
		creator := e.Stanza.From.Bare().String()
		many := max(list.creators(creator), m.others(e.Stanza.From, r))
		if !exempt && many >= limits.RoomsPerUser {
			return xmpp.ResourceConstraint("you have too many rooms")
		}
		// What a room of that name has left, if the server was killed, is not for those of this one.
		if _, err := m.o.Archive.DeleteOwner(context.Background(), r.Name); err != nil {
			return m.fault(err)
		}
		r.mu.Lock()
		r.Locked, r.Creator, r.Conf, r.Secret = true, creator, room.Defaults(m.choice()), make([]byte, 32)
		_, _ = rand.Read(r.Secret) // never fails
		r.SetPerson(room.Known{User: creator, Person: room.Person{Affiliation: room.Owner}})
		r.mu.Unlock()
		if limits.OpenNewRooms {
			if _, err := r.keepSettings(r.Conf); err != nil {
				return m.fault(err)
			}
		}
		return nil
	}
}

// unstore forgets what is stored of a room that is to end with its last occupant. It is called with order held.
func (r *hosted) unstore() (*storage.Pending, error) {
	for user := range r.People {
		if err := r.m.index(user, r.Name, false); err != nil {
			return nil, err
		}
	}
	return r.m.o.Rooms.DeleteOwner(context.Background(), r.Name)
}
