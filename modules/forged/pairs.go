package forged

import (
	"context"
	"encoding/binary"
	"hash/maphash"
	"maps"
	"strings"
	"sync"
	"time"

	"jackdaw/storage"
)

const (
	// keep is how long a sender is remembered after the last message in its name, at least.
	keep = 7 * 24 * time.Hour
	// again is how old what is remembered gets before another message renews it.
	again = time.Hour
	// maxSenders is how many are remembered of each owner; the oldest go first.
	maxSenders = 1000

	shards = 64
	// cached bounds the owners in memory who have senders, for each shard.
	cached = 1024
)

// recordVersion is the first byte of a value; eight bytes with the time of the last message follow, in seconds since
// 1970.
const recordVersion = 1

func record(at int64) []byte {
	return binary.BigEndian.AppendUint64([]byte{recordVersion}, uint64(at))
}

func readRecord(b []byte) (at int64, ok bool) {
	if len(b) != 9 || b[0] != recordVersion {
		return 0, false
	}
	return int64(binary.BigEndian.Uint64(b[1:])), true
}

// senders are those of one owner, with the time of the last message in seconds since 1970. Nil has none.
type senders map[string]int64

// pairs is the cache before the map in storage.
type pairs struct {
	store  storage.Map
	seed   maphash.Seed
	none   *none
	shards [shards]shard
}

type shard struct {
	write  sync.Mutex   // taken first, held while an owner's senders are read from storage or changed
	mu     sync.RWMutex // guards owners and what they hold
	owners map[string]senders
	_      [32]byte // no two shards in one cache line
}

func newPairs(store storage.Map) *pairs {
	p := &pairs{store: store, seed: maphash.MakeSeed(), none: new(none)}
	for i := range p.shards {
		p.shards[i].owners = map[string]senders{}
	}
	return p
}

func (p *pairs) shard(owner string) (sh *shard, hash uint64) {
	hash = maphash.String(p.seed, owner)
	return &p.shards[hash%shards], hash
}

// at says when the owner got the last message of a sender, 0 for never.
func (p *pairs) at(owner, sender string) (int64, error) {
	sh, hash := p.shard(owner)
	if p.none.has(hash) {
		return 0, nil
	}
	sh.mu.RLock()
	all, loaded := sh.owners[owner]
	at := all[sender]
	sh.mu.RUnlock()
	if loaded {
		return at, nil
	}
	sh.write.Lock()
	defer sh.write.Unlock()
	all, err := p.load(sh, owner, hash)
	return all[sender], err
}

// has says whether a sender is remembered.
func (p *pairs) has(owner, sender string) (bool, error) {
	at, err := p.at(owner, sender)
	return at != 0 && !expired(at, time.Now()), err
}

// fresh says whether a sender need not be remembered anew.
func (p *pairs) fresh(owner, sender string) (bool, error) {
	at, err := p.at(owner, sender)
	return at != 0 && time.Since(time.Unix(at, 0)) < again, err
}

func expired(at int64, now time.Time) bool { return now.Sub(time.Unix(at, 0)) > keep+again }

// load returns the senders of an owner. The caller holds write.
func (p *pairs) load(sh *shard, owner string, hash uint64) (senders, error) {
	if p.none.has(hash) {
		return nil, nil
	}
	sh.mu.RLock()
	all, loaded := sh.owners[owner]
	sh.mu.RUnlock()
	if loaded {
		return all, nil
	}
	entries, _, err := p.store.List(context.Background(), owner)
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		if at, ok := readRecord(entry.Value); ok {
			if all == nil {
				all = senders{}
			}
			all[entry.Key] = at
		}
	}
	if all == nil {
		p.none.add(hash)
		return nil, nil
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.keep(strings.Clone(owner), all)
	return all, nil
}

// keep remembers what an owner has. The caller holds mu.
func (sh *shard) keep(owner string, all senders) {
	if len(sh.owners) >= cached {
		for other := range sh.owners { // one of them, whichever
			delete(sh.owners, other)
			break
		}
	}
	sh.owners[owner] = all
}

// add remembers a sender, from now on.
func (p *pairs) add(owner, sender string) (*storage.Pending, error) {
	sh, hash := p.shard(owner)
	sh.write.Lock()
	defer sh.write.Unlock()
	all, err := p.load(sh, owner, hash)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	owner, sender = strings.Clone(owner), strings.Clone(sender) // the addresses may lie in a request's buffer
	changes := []storage.Change{{Key: sender, Value: record(now.Unix())}}
	if _, known := all[sender]; !known && len(all) >= maxSenders {
		for _, old := range oldest(all, now) {
			changes = append(changes, storage.Change{Key: old, Delete: true})
		}
	}
	_, pending, err := p.store.Update(context.Background(), owner, storage.AnyVersion, changes...)
	if err != nil {
		return nil, err
	}
	sh.mu.Lock()
	if all == nil {
		all = senders{}
		sh.keep(owner, all)
	}
	all[sender] = now.Unix()
	p.none.remove(hash)
	for _, c := range changes[1:] {
		delete(all, c.Key)
	}
	sh.mu.Unlock()
	p.unless(pending, sh, owner)
	return pending, nil
}

// oldest are the senders that have expired, and if there are none the one that comes next. The caller holds write.
func oldest(all senders, now time.Time) []string {
	var gone []string
	first, when := "", int64(0)
	for sender, at := range all {
		if expired(at, now) {
			gone = append(gone, sender)
		}
		if first == "" || at < when {
			first, when = sender, at
		}
	}
	if gone == nil {
		gone = []string{first}
	}
	return gone
}

// drop forgets a sender. The pending is nil if there was nothing to forget.
func (p *pairs) drop(owner, sender string) (*storage.Pending, error) {
	if at, err := p.at(owner, sender); at == 0 || err != nil {
		return nil, err
	}
	sh, hash := p.shard(owner)
	sh.write.Lock()
	defer sh.write.Unlock()
	all, err := p.load(sh, owner, hash)
	if err != nil {
		return nil, err
	}
	_, pending, err := p.store.Update(context.Background(), owner, storage.AnyVersion,
		storage.Change{Key: sender, Delete: true})
	if err != nil {
		return nil, err
	}
	sh.mu.Lock()
	delete(all, sender)
	sh.mu.Unlock()
	p.unless(pending, sh, strings.Clone(owner))
	return pending, nil
}

// unless has an owner read again from storage if a write fails.
func (p *pairs) unless(pending *storage.Pending, sh *shard, owner string) {
	if done, err := pending.Finished(); done && err == nil {
		return
	}
	pending.Then(func(err error) {
		if err != nil {
			sh.mu.Lock()
			delete(sh.owners, owner)
			sh.mu.Unlock()
		}
	})
}

// moved forgets owners, and who has no senders.
func (p *pairs) moved(gone func(owner string) bool) {
	for i := range p.shards {
		sh := &p.shards[i]
		sh.write.Lock()
		sh.mu.Lock()
		maps.DeleteFunc(sh.owners, func(owner string, _ senders) bool { return gone(owner) })
		sh.mu.Unlock()
		sh.write.Unlock()
	}
	p.none.clear()
}

// remove forgets an owner.
func (p *pairs) remove(ctx context.Context, owner string) (*storage.Pending, error) {
	sh, _ := p.shard(owner)
	sh.write.Lock()
	defer sh.write.Unlock()
	sh.mu.Lock()
	delete(sh.owners, owner)
	sh.mu.Unlock()
	return p.store.DeleteOwner(ctx, owner)
}
