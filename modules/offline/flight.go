package offline

import (
	"context"
	"errors"
	"slices"
	"strings"

	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
)

// A key tells a message in flight from the others of its account: the id of its copy in the log, or, of one that was
// given to sessions when only the archive had it, its id there, with inArchive. It is what others know as Kept, and
// stays what it is when the message gets a copy in the log.
type key = uint64

// inArchive is above all ids, which are microseconds since 1970.
const inArchive key = 1 << 63

// owner is an account with messages in flight.
type owner struct {
	flight map[key]flight
	copies map[uint64]key // of those in flight that have inArchive and a copy in the log besides, by the id of that
	loose  int            // how many of those in flight have none
	// returned is the newest message that a session had been given without a copy and that was stored when it ended.
	returned uint64
	catching map[*router.Session]*catching // those that catch up
	remain   map[uint64]bool               // ids in the log of what was taken and could not be removed
}

// flight lists the sessions that have been given a message. Nearly always it is one.
type flight struct {
	first   *router.Session
	more    []*router.Session
	tracked *router.Sequel // nil: nobody asks what becomes of it
	copy    uint64         // id in the log; 0: it is loose, in the archive alone
}

// state returns what is known of an owner. The caller holds mu.
func (sh *shard) state(name string) *owner {
	o := sh.owners[name]
	if o == nil {
		o = &owner{flight: map[key]flight{}}
		sh.owners[name] = o
	}
	return o
}

// tidy forgets an owner of whom nothing need be known. The caller holds mu.
func (sh *shard) tidy(name string, o *owner) {
	if len(o.flight) == 0 && len(o.catching) == 0 && len(o.remain) == 0 {
		delete(sh.owners, name)
	}
}

// mark says that a session has been given a message.
func (o *owner) mark(k key, s *router.Session) {
	f, ok := o.flight[k]
	switch {
	case ok:
		f.more = append(f.more, s)
	case k&inArchive != 0:
		f.first = s
		o.loose++
	default:
		f.first, f.copy = s, k
	}
	o.flight[k] = f
}

// unmark takes that back. A message that no session has any more and that has no copy stays, for its copy to be made.
func (o *owner) unmark(k key, s *router.Session) {
	f := o.flight[k]
	switch {
	case f.first == s && len(f.more) == 0:
		if f.first = nil; f.copy != 0 {
			o.drop(k)
			return
		}
	case f.first == s:
		f.first, f.more = f.more[0], f.more[1:]
	default:
		for i, other := range f.more {
			if other == s {
				f.more = append(f.more[:i:i], f.more[i+1:]...)
				break
			}
		}
	}
	o.flight[k] = f
}

// drop ends the flight of a message.
func (o *owner) drop(k key) {
	f, ok := o.flight[k]
	if !ok {
		return
	}
	if k&inArchive != 0 {
		if f.copy == 0 {
			o.loose--
		} else {
			delete(o.copies, f.copy)
		}
	}
	delete(o.flight, k)
}

// orphans says whether a message is in flight that no session has any more.
func (o *owner) orphans() bool {
	if o.loose == 0 {
		return false
	}
	for _, f := range o.flight {
		if f.first == nil {
			return true
		}
	}
	return false
}

// firstLoose is the lowest id of what is in flight without a copy; all: nothing is.
func (o *owner) firstLoose() uint64 {
	first := uint64(all)
	for k, f := range o.flight {
		if f.copy == 0 {
			first = min(first, k&^inArchive)
		}
	}
	return first
}

// copied says that a message in flight has a copy in the log now.
func (o *owner) copied(k key, id uint64) {
	f := o.flight[k]
	if f.copy == 0 {
		o.loose--
	} else {
		delete(o.copies, f.copy)
	}
	f.copy = id
	o.flight[k] = f
	if o.copies == nil {
		o.copies = map[uint64]key{}
	}
	o.copies[id] = k
}

// flies says whether a message of the log is in flight, or was taken and could not be removed.
func (o *owner) flies(id uint64) bool {
	if _, ok := o.flight[id]; ok {
		return true
	}
	_, ok := o.copies[id]
	return ok || o.remain[id]
}

// track remembers that somebody asks what becomes of a message in flight. The stanza is borrowed.
func (o *owner) track(k key, s *xmpp.Stanza) {
	o.follow(k, &router.Sequel{From: s.From, To: s.To, ID: strings.Clone(s.ID)})
}

// follow is track for what has been read already; nil: nobody asks.
func (o *owner) follow(k key, q *router.Sequel) {
	if f, ok := o.flight[k]; ok && q != nil {
		f.tracked = q
		o.flight[k] = f
	}
}

// copyLoose stores copies of the messages in flight that only the archive has, in order: of those that it got before an
// id, but for those to be left out. All of them get one before anything else is stored for the account, since what is
// stored is brought in order: the error is storage.ErrUnavailable, and then nothing is to be stored behind them. The
// caller holds the shard.
func (m *module) copyLoose(name string, o *owner, before uint64, leaveOut map[key]bool) error {
	if o.loose == 0 {
		return nil
	}
	var loose []key
	for k, f := range o.flight {
		if f.copy == 0 && k&^inArchive < before && !leaveOut[k] {
			loose = append(loose, k)
		}
	}
	slices.Sort(loose)
	for _, k := range loose {
		f := o.flight[k]
		id, err := m.copyArchived(name, k&^inArchive, f.tracked != nil)
		switch {
		case errors.Is(err, storage.ErrNotFound): // retracted, or erased, since
			o.drop(k)
		case errors.Is(err, storage.ErrUnavailable): // for those behind it, too
			return err
		case err != nil:
			m.log.Warn("message given to a session has no copy but in the archive", "owner", name, "error", err)
		case f.first == nil: // nobody has it any more
			o.drop(k)
		default:
			o.copied(k, id)
		}
	}
	return nil
}

// warnLoose says that messages have no copy yet, which only the archive has.
func (m *module) warnLoose(name string, err error) {
	if err != nil {
		m.log.Warn("messages given to a session have no copy but in the archive", "owner", name, "error", err)
	}
}

// gather puts into the log what waits for an account and is not there: what a crash may have left, and what sessions
// could not give back. The error is storage.ErrUnavailable. The caller holds the shard.
func (m *module) gather(sh *shard, name string) error {
	if o := sh.owners[name]; o != nil && o.orphans() {
		return m.precede(sh, name)
	}
	if err := m.recover(sh, name); errors.Is(err, storage.ErrUnavailable) {
		return err
	}
	return nil
}

// precede puts into the log all that comes before what is stored for an account next. The error is
// storage.ErrUnavailable. The caller holds the shard.
func (m *module) precede(sh *shard, name string) error {
	if err := m.recover(sh, name); errors.Is(err, storage.ErrUnavailable) {
		return err
	}
	if o := sh.owners[name]; o != nil {
		return m.copyLoose(name, o, all, nil)
	}
	return nil
}

// all is above every id.
const all = inArchive - 1

// copyArchived appends a message to the log that the archive has. The caller holds the shard.
func (m *module) copyArchived(name string, archived uint64, tracked bool) (id uint64, err error) {
	s, err := m.archive.Received(context.Background(), name, archived)
	if err != nil {
		return 0, err
	}
	id, _, _, err = m.store.Append(context.Background(), name,
		storage.Record{Data: appendRecord(nil, &s, s.Payload, flagsOf(true, tracked))}, storage.AppendOptions{})
	return id, err
}
