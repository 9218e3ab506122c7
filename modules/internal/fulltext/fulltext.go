// Package fulltext finds messages of a storage.Log by their words. Its index follows the log: nothing is written when a
// message is, and what a crash has cut off is read from the log again. So an index can be made at any time, for what is
// there already as well.
//
// The messages of an owner are indexed in the order of their ids, some thousands at a time. Each time makes a segment,
// which is never changed: the ids of its messages and, for each word, which of them have it. Neighbours that are small
// become one. What lies behind the last segment is read as it is when somebody searches. What is found is always looked
// at in the log itself, so whatever has been taken out of that, or replaced there, is not found any more; its words
// leave the index with the next round of Run, and so do those of messages that were trimmed, a day later at most.
//
// Words are compared whole, without regard to case; there are no stems, and no order of words.
package fulltext

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"

	"jackdaw/modules/internal/record"
	"jackdaw/storage"
)

// Options of New; all are needed.
type Options struct {
	Source   storage.Log // what is indexed; only read
	Segments storage.Log // of the index alone
	Lists    storage.Map // likewise
	// Text is what is found of a record: nothing, if it is not to be found.
	Text func(r *storage.Record) string
	Most func() int64            // bytes of the index of one owner; beyond, its oldest messages are not found any more
	On   func() bool             // whether there is to be an index at all
	Full func() bool             // whether there is no room for more of it now
	Here func(owner string) bool // whether an owner is at home on this node
	Log  *slog.Logger
}

// An Index is safe for concurrent use.
type Index struct {
	Options

	seed  maphash.Seed
	locks [64]sync.Mutex // by owner: held by who changes an index
	room  chan struct{}  // has an entry for each change that is being made

	mu       sync.Mutex // guards the rest
	grown    map[string]struct{}
	lost     bool // grown does not have all of them
	building map[string]struct{}
}

// New returns an index; Run keeps it up to date.
func New(o Options) *Index {
	return &Index{Options: o, seed: maphash.MakeSeed(), room: make(chan struct{}, changesAtOnce), lost: true,
		grown: map[string]struct{}{}, building: map[string]struct{}{}}
}

const (
	// changesAtOnce is how many indexes are changed at a time: each change may need some dozens of MiB.
	changesAtOnce = 2
	// stepMessages and stepBytes are about where a step has read enough, and pageMessages what it reads at once.
	stepMessages = 4096
	stepBytes    = 4 << 20
	pageMessages = 200
	// largeTail and largeTailBytes are from where on messages behind the last segment are worth a segment when somebody
	// searches, smallTail from where on they are at leisure.
	largeTail      = 1024
	largeTailBytes = 1 << 20
	smallTail      = 256
	// mostMessages is how many messages a segment may become by growing together with others.
	mostMessages = 1 << 16
	// mostGrown bounds the owners whose logs are known to have grown.
	mostGrown = 1 << 17
)

// A state is the list of an owner's segments.
type state struct {
	mark  uint64 // messages up to this id are indexed
	parts []part // in order
	dead  []part // whose records are to be removed
	gone  []uint64
}

// Keys of an owner in Lists: the state, and one for each message that was taken out of the log, or replaced.
const (
	stateKey     = "segments"
	goneKey      = "gone "
	stateVersion = 1
	goneVersion  = 1
)

func (st *state) encode() []byte {
	b := binary.AppendUvarint([]byte{stateVersion}, st.mark)
	for _, parts := range [][]part{st.parts, st.dead} {
		b = binary.AppendUvarint(b, uint64(len(parts)))
		for _, p := range parts {
			for _, n := range [...]uint64{p.root, p.first, p.last - p.first, uint64(p.messages), uint64(p.bytes)} {
				b = binary.AppendUvarint(b, n)
			}
		}
	}
	return b
}

func readState(b []byte) (*state, error) {
	in := record.Reader{B: b}
	if in.Byte() != stateVersion {
		return nil, errRecord
	}
	st := &state{mark: in.Number()}
	for _, parts := range []*[]part{&st.parts, &st.dead} {
		for n := in.Number(); n > 0 && !in.Bad; n-- {
			p := part{root: in.Number(), first: in.Number()}
			p.last = p.first + in.Number()
			p.messages, p.bytes = int(in.Number()), int64(in.Number())
			*parts = append(*parts, p)
		}
	}
	if in.Bad {
		return nil, errRecord
	}
	return st, nil
}

// state reads what is known of an owner, without what is gone.
func (x *Index) state(ctx context.Context, owner string) (*state, error) {
	b, err := x.Lists.Get(ctx, owner, stateKey)
	if errors.Is(err, storage.ErrNotFound) {
		return &state{}, nil
	}
	if err == nil {
		var st *state
		if st, err = readState(b); err == nil {
			return st, nil
		}
	}
	return nil, fmt.Errorf("read the index of %s: %w", owner, err)
}

// whole reads all that is known of an owner.
func (x *Index) whole(ctx context.Context, owner string) (*state, error) {
	all, _, err := x.Lists.List(ctx, owner)
	if err != nil {
		return nil, fmt.Errorf("read the index of %s: %w", owner, err)
	}
	st, gone := &state{}, []uint64(nil)
	for _, e := range all {
		if e.Key == stateKey {
			if st, err = readState(e.Value); err != nil {
				return nil, fmt.Errorf("read the index of %s: %w", owner, err)
			}
		} else if number, is := strings.CutPrefix(e.Key, goneKey); is {
			if id, err := strconv.ParseUint(number, 10, 64); err == nil {
				gone = append(gone, id)
			}
		}
	}
	slices.Sort(gone)
	st.gone = gone
	return st, nil
}

// save stores a state; what is in forgotten is not gone any more: the index has nothing of it.
func (x *Index) save(ctx context.Context, owner string, st *state, forgotten []uint64) error {
	changes := []storage.Change{{Key: stateKey, Value: st.encode()}}
	for _, id := range forgotten {
		changes = append(changes, storage.Change{Key: goneKey + strconv.FormatUint(id, 10), Delete: true})
	}
	_, p, err := x.Lists.Update(ctx, owner, storage.AnyVersion, changes...)
	if err != nil {
		return fmt.Errorf("store the index of %s: %w", owner, err)
	}
	return p.Wait(ctx)
}

// hold waits until nobody else changes the index of an owner, and returns what ends that.
func (x *Index) hold(owner string) (release func()) {
	mu := &x.locks[maphash.String(x.seed, owner)%uint64(len(x.locks))]
	mu.Lock()
	x.room <- struct{}{}
	return func() {
		<-x.room
		mu.Unlock()
	}
}

// Grown is to be called when the log of an owner has got a message.
func (x *Index) Grown(owner string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch _, has := x.grown[owner]; {
	case has:
	case len(x.grown) >= mostGrown:
		x.lost = true
	default:
		x.grown[owner] = struct{}{}
	}
}

// Gone is to be called when a message of an owner has been taken out of the log, or was replaced there. Trimming need
// not be told.
func (x *Index) Gone(ctx context.Context, owner string, id uint64) error {
	x.mu.Lock()
	_, building := x.building[owner]
	x.mu.Unlock()
	if !building {
		// What is indexed after this is read as it is now.
		st, err := x.state(ctx, owner)
		if err != nil || id > st.mark {
			return err
		}
	}
	_, _, err := x.Lists.Update(ctx, owner, storage.AnyVersion,
		storage.Change{Key: goneKey + strconv.FormatUint(id, 10), Value: []byte{goneVersion}})
	if err == nil {
		x.Grown(owner) // so that the next round comes by
	}
	return err
}

// Remove forgets an owner, whose log has been removed.
func (x *Index) Remove(ctx context.Context, owner string) error {
	defer x.hold(owner)()
	x.mu.Lock()
	delete(x.grown, owner)
	x.mu.Unlock()
	return x.remove(ctx, owner)
}

// remove removes all that is known of an owner. The state goes first: without it nothing counts. The caller holds the
// owner.
func (x *Index) remove(ctx context.Context, owner string) error {
	p, err := x.Lists.DeleteOwner(ctx, owner)
	if err == nil {
		err = p.Wait(ctx)
	}
	if err == nil {
		err = x.clear(ctx, owner)
	}
	if err == nil {
		p, err = x.Segments.DeleteOwner(ctx, owner)
	}
	if err == nil {
		err = p.Wait(ctx)
	}
	return err
}

// clear removes the records of an owner, some at a time.
func (x *Index) clear(ctx context.Context, owner string) error {
	for {
		page, more, err := x.Segments.Page(ctx, owner, storage.Query{Limit: pageMessages})
		if err != nil || len(page) == 0 {
			return err
		}
		p, err := x.Segments.Trim(ctx, owner, page[len(page)-1].ID+1)
		if err == nil {
			err = p.Wait(ctx)
		}
		if err != nil || !more {
			return err
		}
	}
}
