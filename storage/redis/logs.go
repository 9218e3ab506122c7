package redis

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"jackdaw/storage"
)

// logSpace implements storage.Log. An owner has in a space:
//
//	meta  hash: last (the highest id ever given), b (bytes of data), n (records)
//	i     sorted set by id: "id:peer", or a block (blocks.go)
//	p     sorted set by name: "peer NUL id", with 16 digits
//	d     hash: id → data
//	o     string: the newest records (tail.go)
//	x<n>  hash: Dedup value → id, of the day n; expires by itself
type logSpace struct {
	*engine
	space string
	churn *churn
}

const (
	// largest is the first number that Lua and the scores of Redis do not tell from its neighbours: as an id, the year
	// 2255.
	largest = 1 << 53

	// atOnce bounds what one script looks at, since Redis does nothing else meanwhile.
	atOnce = 500

	// dedupLife counts from when the first value of a day is written, for the last one and for clocks that differ.
	dedupLife = 2*storage.DedupWindow + 2*time.Hour

	// mostDedups bounds the Dedup values of an owner and a day that are in memory.
	mostDedups = 20000

	// mostRecent bounds the records of an owner whose removal needs no question.
	mostRecent = 4096

	// pageBytes is how much data one script reads.
	pageBytes = 64 << 10
)

// logKeys are the names of an owner's keys in a space.
type logKeys struct {
	owner, space     string
	meta, i, p, d, o string

	// What follows is what is there once all that is on its way has arrived.
	tail    tail
	expires map[int64]bool // days whose x has an end
}

func (k *logKeys) day(e *engine, n int64) string {
	return e.key(k.owner, k.space, "x"+strconv.FormatInt(n, 10))
}

// A logState is what is known of an owner's log. The owner's lock guards it.
type logState struct {
	head
	keys    *logKeys
	days    map[int64]*dedupDay
	recent  map[uint64]recent // those appended last that are there, and in no block
	ids     []uint64          // of these as they were appended, and of some that were removed
	passing []remembered      // of days, those that have a span
	look    int               // how many of these there are when it is looked which are over
	wrote   *storage.Pending  // the last write that was not lazy
	removed *storage.Pending  // the last removal
}

type recent struct {
	id    uint64
	peer  string
	bytes int
}

func (st *logState) cost() int {
	n := 512 + 96*len(st.recent) + 8*cap(st.ids) + int(st.keys.tail.cost.Load())
	for _, day := range st.days {
		n += 64 + day.bytes
	}
	return n
}

// rests is the pending of what an answer rests on.
func (st *logState) rests() *storage.Pending {
	return storage.Join(unfinished(st.wrote), unfinished(st.removed))
}

// note keeps what a removal has to know of a record.
func (st *logState) note(r recent) {
	if st.recent == nil {
		st.recent = map[uint64]recent{}
	}
	st.recent[r.id] = r
	st.ids = append(st.ids, r.id)
	if len(st.ids) > 2*mostRecent { // most are gone already
		st.ids = slices.DeleteFunc(st.ids, func(id uint64) bool { _, there := st.recent[id]; return !there })
	}
	for len(st.recent) > mostRecent {
		delete(st.recent, st.ids[0])
		st.ids = st.ids[1:]
	}
}

// keys are the keys of a call: those named, or with "x" the three days of Dedup values.
func (l *logSpace) keys(owner string, kinds ...string) []string {
	var keys []string
	for _, kind := range kinds {
		if kind != "x" {
			keys = append(keys, l.key(owner, l.space, kind))
			continue
		}
		for _, d := range days(l.today()) {
			keys = append(keys, l.key(owner, l.space, "x"+strconv.FormatInt(d, 10)))
		}
	}
	return keys
}

// state returns what is known of a log; the caller has the owner.
func (l *logSpace) state(ctx context.Context, o *owner) (*logState, error) {
	if st := o.logs[l.space]; st != nil {
		return st, nil
	}
	k := &logKeys{owner: o.name, space: l.space, meta: l.key(o.name, l.space, "meta"), i: l.key(o.name, l.space, "i"),
		p: l.key(o.name, l.space, "p"), d: l.key(o.name, l.space, "d"), o: l.key(o.name, l.space, "o")}
	v, err := l.run(ctx, call{headScript, []string{k.meta, k.i, k.o}, nil, false})
	if err != nil {
		return nil, err
	}
	st := &logState{keys: k, days: map[int64]*dedupDay{}}
	var newest tailText
	if st.head, newest, err = headOf(v); err != nil {
		return nil, err
	}
	k.tail.add(newest.records, newest.dedups)
	if o.logs == nil {
		o.logs = map[string]*logState{}
	}
	o.logs[l.space] = st
	return st, nil
}

func (l *logSpace) Append(
	ctx context.Context, owner string, r storage.Record, o storage.AppendOptions,
) (uint64, bool, *storage.Pending, error) {
	if err := l.check(ctx, owner, r.Peer); err != nil {
		return 0, false, nil, err
	}
	if o.At >= largest {
		return 0, false, nil, storage.ErrConflict
	}
	for race := l.race(owner); ; {
		id, dup, p, err := l.append(ctx, owner, r, o)
		if over, p, err := race.over(ctx, p, err); over {
			return id, dup, p, err
		}
	}
}

func (l *logSpace) append(
	ctx context.Context, owner string, r storage.Record, o storage.AppendOptions,
) (uint64, bool, *storage.Pending, error) {
	who, st, err := l.open(ctx, owner)
	if err != nil {
		return 0, false, nil, err
	}
	defer l.free(who)
	if o.Dedup != "" {
		if id, err := l.known(ctx, st, o.Dedup); id != 0 || err != nil {
			if err == nil {
				err = l.holding(ctx, who)
			}
			if err != nil {
				return 0, false, nil, err
			}
			return id, true, unfinished(st.wrote), nil
		}
	}
	size := int64(len(r.Data))
	if o.MaxRecords > 0 && st.records+1 > o.MaxRecords || o.MaxBytes > 0 && st.bytes+size > o.MaxBytes {
		return 0, false, nil, storage.ErrFull
	}
	if fair, err := l.fair(ctx, st, r, o); err != nil || !fair {
		return 0, false, nil, cmp.Or(err, storage.ErrFull)
	}
	id := max(st.last+1, uint64(max(l.o.Now().UnixMicro(), 0)))
	if o.At > 0 {
		if id = o.At; o.At <= st.last {
			return 0, false, nil, storage.ErrConflict
		}
	}
	f := fresh{storage.Record{ID: id, Peer: r.Peer, Data: slices.Clone(r.Data)}, l.churn.high(), false}
	next := head{id, st.records + 1, st.bytes + size}
	today := l.today()
	p, err := l.write(ctx, who, len(r.Data)+len(r.Peer)+len(o.Dedup)+128, false, func(b *batch) {
		part := b.log(st.keys)
		part.fresh = append(part.fresh, f)
		part.head = &next
		if o.Dedup != "" {
			part.dedups = append(part.dedups, remembered{today, o.Dedup, id, o.Span})
		}
	})
	if err != nil {
		return 0, false, nil, err
	}
	l.churn.appended.Add(1)
	if st.head, st.wrote = next, p; f.alone {
		st.note(recent{id, r.Peer, len(r.Data)})
	}
	if o.Dedup != "" {
		st.days[today].put(o.Dedup, id)
		st.pass(remembered{today, o.Dedup, id, o.Span})
	}
	return id, false, p, nil
}

// fair says whether a record's peer keeps within its share. It counts only when all that there is, were it that peer's,
// would be more.
func (l *logSpace) fair(
	ctx context.Context, st *logState, r storage.Record, o storage.AppendOptions,
) (bool, error) {
	fits := func(records int, bytes int64) bool {
		return storage.Fair(int64(o.MaxRecords), int64(st.records), int64(records), 1) &&
			storage.Fair(o.MaxBytes, st.bytes, bytes, int64(len(r.Data)))
	}
	if !o.Fair || r.Peer == "" || fits(st.records, st.bytes) {
		return true, nil
	}
	records, bytes := 0, int64(0)
	q := storage.Query{Peer: r.Peer, Before: largest, Limit: atOnce}
	err := l.walk(ctx, st.keys.owner, q, func(r storage.Record) bool {
		records, bytes = records+1, bytes+int64(len(r.Data))
		return true
	})
	return fits(records, bytes), err
}

// A churn counts what becomes of the records of a space.
type churn struct{ appended, removed atomic.Uint64 }

// high says whether so many single records are removed that each lies better by itself.
func (c *churn) high() bool { return 4*c.removed.Load() > c.appended.Load() }

func (l *logSpace) Size(ctx context.Context, owner string) (int, int64, error) {
	if err := l.check(ctx, owner); err != nil {
		return 0, 0, err
	}
	who, err := l.peek(ctx, owner)
	if err != nil {
		return 0, 0, err
	}
	if who != nil {
		defer l.free(who)
		if st := who.logs[l.space]; st != nil {
			return st.records, st.bytes, nil
		}
	}
	if err := l.behind(ctx, owner); err != nil {
		return 0, 0, err
	}
	v, err := l.run(ctx, call{headScript, l.keys(owner, "meta", "i", "o"), nil, false})
	if err != nil {
		return 0, 0, err
	}
	h, _, err := headOf(v)
	return h.records, h.bytes, err
}

// headOf reads what headScript tells: the head, which counts the records of o too, and o.
func headOf(v any) (h head, newest tailText, err error) {
	list, _ := v.([]any)
	if len(list) != 4 {
		return h, newest, fmt.Errorf("read the head of a log from redis: reply %v", v)
	}
	if h.records, h.bytes, err = sizes(list[:2]); err != nil {
		return h, newest, err
	}
	if last, _ := list[2].(string); last != "" {
		if h.last, err = strconv.ParseUint(last, 10, 64); err != nil {
			return h, newest, err
		}
	}
	newest, err = readTail(list[3])
	for _, r := range newest.records {
		h = head{r.ID, h.records + 1, h.bytes + int64(len(r.Data))}
	}
	return h, newest, err
}

// open returns an owner that is held, with what is known of the log.
func (l *logSpace) open(ctx context.Context, name string) (*owner, *logState, error) {
	who, err := l.hold(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	st, err := l.state(ctx, who)
	if err != nil {
		l.free(who)
		return nil, nil, err
	}
	return who, st, nil
}

// sizes reads a number and bytes.
func sizes(v any) (n int, bytes int64, err error) {
	if list, _ := v.([]any); len(list) == 2 {
		n, _ := list[0].(int64)
		b, _ := list[1].(int64)
		return int(n), b, nil
	}
	return 0, 0, fmt.Errorf("read the size from redis: reply %v", v)
}

func (l *logSpace) DeleteOwner(ctx context.Context, owner string) (*storage.Pending, error) {
	if err := l.check(ctx, owner); err != nil {
		return nil, err
	}
	for race := l.race(owner); ; {
		p, err := l.drop(ctx, owner)
		if over, p, err := race.over(ctx, p, err); over {
			return p, err
		}
	}
}

func (l *logSpace) drop(ctx context.Context, owner string) (*storage.Pending, error) {
	who, st, err := l.open(ctx, owner)
	if err != nil {
		return nil, err
	}
	defer l.free(who)
	unlink := []string{st.keys.meta, st.keys.i, st.keys.p, st.keys.d, st.keys.o}
	today := days(l.today())
	p, err := l.write(ctx, who, 256, false, func(b *batch) {
		for _, n := range today {
			unlink = append(unlink, st.keys.day(l.engine, n))
		}
		*b.log(st.keys) = logBatch{keys: st.keys, unlink: unlink}
	})
	if err != nil {
		return nil, err
	}
	empty := &logState{keys: st.keys, days: map[int64]*dedupDay{}, wrote: p}
	for _, n := range today {
		empty.days[n] = &dedupDay{ids: map[string]uint64{}}
	}
	who.logs[l.space] = empty
	return p, nil
}
