package redis

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"jackdaw/storage"
)

// A batch is what is written for an owner in one step. It says what shall be there; what was there is known, so the
// script decides nothing. It is guarded by engine.mu until it is sent.
type batch struct {
	owner   *owner
	writes  []*write
	lazy    []*write // that may wait for others
	logs    []*logBatch
	keys    []*keyBatch
	bytes   int
	shelved int           // of the bytes, those on the shelf
	urgent  bool          // somebody waits for the lazy ones
	done    chan struct{} // made when somebody waits; closed when it has arrived or failed

	// How sending it goes.
	begun time.Time
	tries int
	// doubtful says that it may have been applied, as a reply was lost.
	doubtful bool
	// abandoned says that it was never sent; the one before it may be on its way yet.
	abandoned bool
	ask       *redis.Client // the node that is importing its slot
	whole     bool          // the script is not known there
	keysN     []string
	args      []any // of applyScript, but for the tokens
}

// A write is one call's part of a batch.
type write struct {
	storage.Pending
	done    bool
	err     error
	shelved bool // it finishes by itself
}

// waited returns what is closed when the batch has arrived or failed. The caller holds engine.mu.
func (b *batch) waited() chan struct{} {
	if b.done == nil {
		b.done = make(chan struct{})
	}
	return b.done
}

// A kind is what lies under a key.
type kind byte

const (
	hash kind = iota
	sorted
	plain
)

// A keyBatch is what becomes of one key: a hash, a sorted set whose scores are 0, or a set.
type keyBatch struct {
	key    string
	kind   kind
	unlink bool              // before all else
	put    map[string]string // fields of a hash; members
	gone   map[string]bool
}

// key returns the part of the batch that is about a key.
func (b *batch) key(key string, k kind) *keyBatch {
	for _, one := range b.keys {
		if one.key == key {
			return one
		}
	}
	one := &keyBatch{key: key, kind: k, put: map[string]string{}, gone: map[string]bool{}}
	b.keys = append(b.keys, one)
	return one
}

func (k *keyBatch) set(field, value string) {
	k.put[field] = value
	delete(k.gone, field)
}

func (k *keyBatch) remove(field string) {
	delete(k.put, field)
	k.gone[field] = true
}

func (k *keyBatch) drop() {
	k.unlink = true
	clear(k.put)
	clear(k.gone)
}

// A fresh record is one that is appended.
type fresh struct {
	storage.Record
	alone bool // not to be in a block
	gone  bool // removed before it was sent
}

type remembered struct {
	day   int64
	value string
	id    uint64
	span  storage.Span
}

// A logBatch is what becomes of an owner's log.
type logBatch struct {
	keys    *logKeys
	unlink  []string          // before all else
	fresh   []fresh           // by ascending ids
	changed map[uint64][]byte // other data of records by themselves
	gone    []recent          // likewise
	blocks  []rewrite
	left    *[]storage.Record // of what is in o; nil: all
	dedups  []remembered
	head    *head // nil: it stays
}

// A head is what meta says of a log.
type head struct {
	last    uint64
	records int
	bytes   int64
}

// log returns the part of the batch that is about a log.
func (b *batch) log(keys *logKeys) *logBatch {
	for _, one := range b.logs {
		if one.keys == keys {
			return one
		}
	}
	one := &logBatch{keys: keys}
	b.logs = append(b.logs, one)
	return one
}

// find returns a record that is appended, or nil.
func (l *logBatch) find(id uint64) *fresh {
	i, ok := slices.BinarySearchFunc(l.fresh, id, func(f fresh, id uint64) int {
		switch {
		case f.ID < id:
			return -1
		case f.ID > id:
			return 1
		}
		return 0
	})
	if !ok {
		return nil
	}
	return &l.fresh[i]
}

// remove takes out a record by itself; one that was not sent yet never is.
func (l *logBatch) remove(r recent) {
	if f := l.find(r.id); f != nil {
		f.gone, f.Data = true, nil
		return
	}
	l.gone = append(l.gone, r)
}

// change gives a record by itself other data; one that was not sent yet may come into a block.
func (l *logBatch) change(id uint64, data []byte) {
	if f := l.find(id); f != nil {
		f.Data = data
		return
	}
	if l.changed == nil {
		l.changed = map[uint64][]byte{}
	}
	l.changed[id] = data
}

// applyScript makes all writes of a batch, if the token is there that is expected, and puts the next one. Sent again
// after it was applied it changes nothing.
//
// KEYS: w, then those written. ARGV: the token expected, the next one, its life, then for each command the number of
// its arguments behind the key, its name, the index of its key, and these arguments.
//
// A command that fails leaves a batch half done; then the token is taken away, so that the batch cannot pass for
// applied.
var applyScript = redis.NewScript(checkToken + `
local i, most = 4, #ARGV
while i <= most do
  local last = i + 2 + ARGV[i]
  local reply = redis.pcall(ARGV[i + 1], KEYS[tonumber(ARGV[i + 2])], unpack(ARGV, i + 3, last))
  if type(reply) == 'table' and reply.err then
    redis.call('DEL', KEYS[1])
    return redis.error_reply(reply.err)
  end
  i = last + 1
end
return ARGV[2]
`)

// mostArgs bounds the arguments of one command: Lua has a stack of 8,000.
const mostArgs = 4000

// encode makes the arguments of applyScript, once.
func (b *batch) encode(e *engine) {
	if b.args != nil {
		return
	}
	n := 8
	for _, l := range b.logs {
		n += 32 + 6*len(l.fresh) + 3*len(l.gone)
	}
	b.args = make([]any, 3, n)
	b.keysN = append(b.keysN, e.tokenKey(b.owner.name))
	for _, l := range b.logs {
		b.encodeLog(e, l)
	}
	for _, k := range b.keys {
		b.encodeKey(k)
	}
}

// command adds commands with these arguments, which come in groups of so many that belong together.
func (b *batch) command(name, key string, group int, args ...any) {
	i := slices.Index(b.keysN, key)
	if i < 0 {
		i = len(b.keysN)
		b.keysN = append(b.keysN, key)
	}
	for first := true; first || len(args) > 0; first = false {
		n := min(len(args), mostArgs/group*group)
		b.args = append(append(b.args, n, name, i+1), args[:n]...)
		args = args[n:]
	}
}

// some is command for arguments of which there may be none.
func (b *batch) some(name, key string, group int, args []any) {
	if len(args) > 0 {
		b.command(name, key, group, args...)
	}
}

func (b *batch) encodeKey(k *keyBatch) {
	add, remove := "HSET", "HDEL"
	switch k.kind {
	case sorted:
		add, remove = "ZADD", "ZREM"
	case plain:
		add, remove = "SADD", "SREM"
	}
	if k.unlink {
		b.command("UNLINK", k.key, 1)
	}
	var args []any
	for field, value := range k.put {
		switch k.kind {
		case hash:
			args = append(args, field, value)
		case sorted:
			args = append(args, "0", field)
		case plain:
			args = append(args, field)
		}
	}
	b.some(add, k.key, 2, args)
	args = args[:0]
	for field := range k.gone {
		args = append(args, field)
	}
	b.some(remove, k.key, 1, args)
}

func (b *batch) encodeLog(e *engine, l *logBatch) {
	for _, key := range l.unlink {
		b.command("UNLINK", key, 1)
	}
	if len(l.unlink) > 0 {
		l.keys.tail.clear()
		clear(l.keys.expires)
	}
	if chunk := l.appended(); chunk != nil {
		b.command("APPEND", l.keys.o, 1, chunk)
		return
	}
	list, dedups, goes := l.sealed(e.today())
	if l.head != nil {
		b.command("HSET", l.keys.meta, 2, "last", l.head.last, "b", l.head.bytes, "n", l.head.records)
	}
	var ids, peers, data []any
	runs(list, func(run []storage.Record) {
		first := run[0]
		id := strconv.FormatUint(first.ID, 10)
		if len(run) == 1 {
			ids, data = append(ids, id, id+":"+first.Peer), append(data, id, first.Data)
			if first.Peer != "" {
				peers = append(peers, "0", byPeer(first.Peer, first.ID))
			}
			return
		}
		text, all := memberOf(first.ID, run[len(run)-1].ID, run)
		ids, data = append(ids, id, text), append(data, fieldOfBlock+id, encodeBlock(first.ID, run))
		for _, peer := range all {
			peers = append(peers, "0", byPeer(peer, first.ID))
		}
	})
	for id, text := range l.changed {
		data = append(data, id, text)
	}
	var goneIDs, gonePeers, goneData []any
	for _, r := range l.gone {
		id := strconv.FormatUint(r.id, 10)
		goneIDs, goneData = append(goneIDs, id+":"+r.peer), append(goneData, id)
		if r.peer != "" {
			gonePeers = append(gonePeers, byPeer(r.peer, r.id))
		}
	}
	for _, w := range l.blocks {
		goneIDs = append(goneIDs, w.before.text)
		if w.text == "" {
			goneData = append(goneData, w.before.field())
		} else {
			ids, data = append(ids, w.before.name, w.text), append(data, w.before.field(), w.data)
		}
		for _, peer := range w.peers {
			gonePeers = append(gonePeers, byPeer(peer, w.before.name))
		}
	}
	// What goes is gone first: a block that is written anew may get the member that it had.
	b.some("ZREM", l.keys.i, 1, goneIDs)
	b.some("HDEL", l.keys.d, 1, goneData)
	b.some("ZREM", l.keys.p, 1, gonePeers)
	b.some("ZADD", l.keys.i, 2, ids)
	b.some("ZADD", l.keys.p, 2, peers)
	b.some("HSET", l.keys.d, 2, data)
	b.encodeDedups(e, l.keys, dedups)
	if goes { // last, so that a command that fails loses nothing
		b.command("UNLINK", l.keys.o, 1)
	}
}

func (b *batch) encodeDedups(e *engine, keys *logKeys, dedups []remembered) {
	// One after the other, as they belong to one day mostly.
	for from, to := 0, 0; from < len(dedups); from = to {
		day := dedups[from].day
		var args []any
		for to = from; to < len(dedups) && dedups[to].day == day; to++ {
			args = append(args, dedups[to].value, dedups[to].id)
		}
		key := keys.day(e, day)
		b.command("HSET", key, 2, args...)
		if !keys.expires[day] {
			b.command("PEXPIRE", key, 1, dedupLife.Milliseconds())
			if keys.expires == nil {
				keys.expires = map[int64]bool{}
			}
			keys.expires[day] = true
		}
	}
}

// byPeer is a member of p.
func byPeer(peer string, id uint64) string {
	digits := strconv.FormatUint(id, 10)
	return peer + "\x00" + strings.Repeat("0", max(16-len(digits), 0)) + digits
}
