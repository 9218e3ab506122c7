package blocking

import (
	"context"
	"fmt"

	"jackdaw/modules/internal/recent"
	"jackdaw/storage"
	"jackdaw/xmpp/jid"
)

// recordVersion is the value of each entry, and all of it: the address is the key.
const recordVersion = 1

// list is the set of addresses that a user has blocked. Immutable; nil blocks nobody.
type list struct {
	items     map[string]struct{}
	resources bool // some items are of the form domain/resource
	version   uint64
}

// matches says whether an address is blocked. Any form of it will do, so the order of XEP-0191 §5
// does not show.
func (l *list) matches(j jid.JID) bool {
	if l == nil || len(l.items) == 0 || j.IsZero() {
		return false
	}
	if _, ok := l.items[j.String()]; ok {
		return true
	}
	if _, ok := l.items[j.Domain()]; ok {
		return true
	}
	if !j.IsFull() {
		return false
	}
	if _, ok := l.items[j.Bare().String()]; ok {
		return true
	}
	if l.resources && j.Local() != "" {
		var buf [256]byte
		b := append(append(append(buf[:0], j.Domain()...), '/'), j.Resource()...)
		_, ok := l.items[string(b)]
		return ok
	}
	return false
}

// with returns the list after some items have been added or taken away.
func (l *list) with(items []jid.JID, add bool, version uint64) *list {
	n := &list{items: make(map[string]struct{}, len(l.items)+len(items)), version: version}
	for item := range l.items {
		n.items[item] = struct{}{}
	}
	for _, item := range items {
		if add {
			n.items[item.String()] = struct{}{}
		} else {
			delete(n.items, item.String())
		}
	}
	return n.index()
}

// bytes are those of all addresses.
func (l *list) bytes() (n int) {
	for item := range l.items {
		n += len(item)
	}
	return n
}

func (l *list) index() *list {
	for _, j := range l.addresses() {
		l.resources = l.resources || j.Local() == "" && j.IsFull()
	}
	return l
}

// addresses are the items; one that is none any more, by newer rules, matches nobody.
func (l *list) addresses() []jid.JID {
	var out []jid.JID
	for item := range l.items {
		if j, err := jid.Parse(item); err == nil {
			out = append(out, j)
		}
	}
	return out
}

var nobody = &list{}

// lists are the block lists of all users; they are asked twice for every message.
type lists struct {
	*recent.Values[*list]
	store storage.Map
}

func newLists(store storage.Map) *lists {
	l := &lists{store: store}
	l.Values = recent.NewValues(l.load)
	return l
}

func (l *lists) load(owner string) (*list, error) {
	entries, version, err := l.store.List(context.Background(), owner)
	if err != nil {
		return nil, fmt.Errorf("load block list of %s: %w", owner, err)
	}
	list := &list{items: make(map[string]struct{}, len(entries)), version: version}
	for _, e := range entries {
		if len(e.Value) == 0 || e.Value[0] != recordVersion {
			return nil, fmt.Errorf("load block list of %s: record of %s cannot be read", owner, e.Key)
		}
		list.items[e.Key] = struct{}{}
	}
	if version == 0 {
		list = nobody
	}
	return list.index(), nil
}

// change adds items to a list or takes them away (nil: all). While nobody else changes the list it calls then
// with the list before and after, so that what is told of a change keeps the order of changes.
func (l *lists) change(owner string, items []jid.JID, add bool, then func(before, after *list)) (
	*storage.Pending, error) {
	held := l.Hold(owner)
	defer held.Release()
	before, err := held.Get()
	if err != nil {
		return nil, err
	}
	if items == nil {
		items = before.addresses()
	}
	var changes []storage.Change
	seen, grown := map[string]bool{}, 0
	for _, item := range items {
		key := item.String()
		if _, has := before.items[key]; has == add || seen[key] {
			continue
		}
		seen[key] = true
		grown += len(key)
		changes = append(changes, storage.Change{Key: key, Value: []byte{recordVersion}, Delete: !add})
	}
	if add && len(changes) > 0 && (len(before.items)+len(changes) > maxItems || before.bytes()+grown > maxBytes) {
		return nil, errTooMany
	}
	version, p, err := l.store.Update(context.Background(), owner, storage.AnyVersion, changes...)
	if err != nil {
		return nil, fmt.Errorf("store block list of %s: %w", owner, err)
	}
	after := before
	if len(changes) > 0 { // else p is that of the list as it is
		after = before.with(items, add, version)
		held.Put(after)
	}
	then(before, after)
	return p, nil
}

func (l *lists) remove(ctx context.Context, owner string) (*storage.Pending, error) {
	held := l.Hold(owner)
	defer held.Release()
	held.Forget()
	return l.store.DeleteOwner(ctx, owner)
}
