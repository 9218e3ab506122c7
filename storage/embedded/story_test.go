package embedded

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"jackdaw/storage"
)

// A story is what one writer has done to an engine, at random, and what must be found of it at any time. Its steps are
// numbered, and the engine makes them durable in that order: so what is found must be what there was after one step,
// not before the last that was acknowledged and not after the last that was begun.
type story struct {
	random *rand.Rand // of the writer
	clock  atomic.Int64

	// Of the writer alone:
	engine *engine
	simple bool // no call writes more than once: what fails has done nothing
	logs   map[string]*logModel
	rows   map[string]map[string]string // keys of maps by owner
	vers   map[string]uint64
	users  map[string]bool

	mu       sync.Mutex // guards the rest
	changed  sync.Cond  // of mu: a call has ended
	steps    int
	begun    int   // calls
	upto     []int // the last step after each call that has ended
	texts    map[string][]text
	lasts    map[string][]last
	dedups   []*dedup
	pendings []promised
	acked    int
}

type logModel struct {
	records []storage.Record
	last    uint64
}

// A text is what an owner has after a step, for comparison.
type text struct {
	step int
	text string
}

// A last is the highest id that an owner was given until a step; 0: its owner was deleted, and nothing is promised.
type last struct {
	step int
	id   uint64
}

// A dedup is a value that was appended with, and what is known of its end.
type dedup struct {
	owner, value string // "space owner"
	step         int
	id           uint64
	at           int64
	gone         int // the step with which it was deleted; 0: it was not
}

type promised struct {
	step    int
	pending *storage.Pending
}

func newStory(seed uint64) *story {
	s := &story{random: rand.New(rand.NewPCG(seed, 1)), logs: map[string]*logModel{}, rows: map[string]map[string]string{},
		vers: map[string]uint64{}, users: map[string]bool{}, texts: map[string][]text{}, lasts: map[string][]last{}}
	s.changed.L = &s.mu
	s.clock.Store(storage.DedupWindow.Microseconds() * 100)
	return s
}

func (s *story) now() time.Time { return time.UnixMicro(s.clock.Load()) }

// logOwners and others are all that there is.
var (
	quiet = slog.New(slog.DiscardHandler)

	logOwners = []string{"archive a", "archive b", "archive c", "offline a", "offline b"}
	mapOwners = []string{"roster a", "roster b"}
	allUsers  = []string{"a@localhost", "b@localhost", "c@example.org"}
)

func split(owner string) (space, name string) {
	space, name, _ = strings.Cut(owner, " ")
	return space, name
}

// tell notes a step that has left an owner with this.
func (s *story) tell(owner, now string) int {
	s.steps++
	s.texts[owner] = append(s.texts[owner], text{s.steps, now})
	return s.steps
}

func textOf(records []storage.Record) string {
	var b strings.Builder
	for _, r := range records {
		fmt.Fprintf(&b, "%d %s %d:%08x\n", r.ID, r.Peer, len(r.Data), crc32.ChecksumIEEE(r.Data))
	}
	return b.String()
}

func textOfRows(rows map[string]string, version uint64) string {
	var keys []string
	for k, v := range rows {
		keys = append(keys, k+"="+v+"\n")
	}
	slices.Sort(keys)
	if version == 0 && len(keys) == 0 {
		return ""
	}
	return fmt.Sprintf("version %d\n%s", version, strings.Join(keys, ""))
}

// call makes one call, whose steps f tells with the pending of the last. An engine that cannot has errors.
func (s *story) call(do func() (*storage.Pending, error), told func()) (*storage.Pending, error) {
	s.mu.Lock()
	s.begun++
	s.mu.Unlock()
	p, err := do()
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.steps
	if err == nil && told != nil {
		told()
	}
	if s.steps > before {
		s.pendings = append(s.pendings, promised{s.steps, p})
	}
	s.upto = append(s.upto, s.steps)
	s.changed.Broadcast()
	return p, err
}

// bounds are the last step that was acknowledged, and the calls that were begun.
func (s *story) bounds() (acked, begun int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(s.pendings) - 1; i >= 0; i-- {
		if finished, err := s.pendings[i].pending.Finished(); finished && err == nil {
			s.acked = s.pendings[i].step
			s.pendings = slices.Clone(s.pendings[i+1:])
			break
		}
	}
	return s.acked, s.begun
}

// until waits for the calls that were begun, and returns the last of their steps.
func (s *story) until(begun int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.upto) < begun {
		s.changed.Wait()
	}
	if begun == 0 {
		return 0
	}
	return s.upto[begun-1]
}

func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

// step makes one call at random.
func (s *story) step() error {
	r, ctx := s.random, context.Background()
	switch n := r.IntN(100); {
	case n < 50:
		s.clock.Add(int64(r.IntN(3)))
	case n < 53:
		s.clock.Add(int64(r.IntN(20)) * time.Hour.Microseconds())
	}
	var p *storage.Pending
	var err error
	switch n := r.IntN(100); {
	case n < 52, s.simple && (n == 72 || n == 73 || n == 86):
		p, err = s.append(ctx)
	case n < 72:
		p, err = s.edit(ctx)
	case n < 74:
		p, err = s.deleteOwner(ctx)
	case n < 86:
		p, err = s.update(ctx)
	case n < 87:
		p, err = s.deleteRows(ctx)
	case n < 93:
		p, err = s.account(ctx)
	case n < 94:
		p, err = s.sweep(ctx)
	case n < 96:
		s.engine.settle()
	default:
		s.engine.flush()
	}
	if err == nil && r.IntN(3) == 0 {
		s.engine.flush() // what is lazy would take its time
		err = p.Wait(ctx)
	}
	return err
}

func (s *story) log(owner string) (storage.Log, string, *logModel) {
	space, name := split(owner)
	if s.logs[owner] == nil {
		s.logs[owner] = &logModel{}
	}
	return s.engine.Log(space), name, s.logs[owner]
}

// data is mostly some hundred bytes, seldom enough for a block.
func (s *story) data() []byte {
	n := s.random.IntN(600)
	if s.random.IntN(12) == 0 {
		n = s.random.IntN(12_000)
	}
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(s.random.Uint32() & 0x3f) // zeros are among them
	}
	return b
}

func (s *story) append(ctx context.Context) (*storage.Pending, error) {
	owner := pick(s.random, logOwners)
	l, name, m := s.log(owner)
	r := storage.Record{Peer: pick(s.random, []string{"", "p", "q@localhost"}), Data: s.data()}
	o := storage.AppendOptions{}
	switch s.random.IntN(8) {
	case 0, 1, 2, 3:
		o.Dedup = fmt.Sprintf("%016x", s.random.Uint64())
	case 4:
		if len(s.dedups) > 0 {
			d := pick(s.random, s.dedups)
			if d.gone == 0 && s.clock.Load()-d.at < storage.DedupWindow.Microseconds() { // else it would have two ends
				owner, o.Dedup = d.owner, d.value
				l, name, m = s.log(owner)
			}
		}
	case 5:
		o.At = max(m.last, uint64(s.clock.Load())) + uint64(s.random.IntN(1000)) + 1
	}
	var dup bool
	return s.call(func() (p *storage.Pending, err error) {
		r.ID, dup, p, err = l.Append(ctx, name, r, o)
		return p, err
	}, func() {
		if dup {
			return
		}
		m.records, m.last = append(m.records, r), r.ID
		step := s.tell(owner, textOf(m.records))
		s.lasts[owner] = append(s.lasts[owner], last{step, r.ID})
		if o.Dedup != "" {
			s.dedups = append(s.dedups, &dedup{owner: owner, value: o.Dedup, step: step, id: r.ID, at: s.clock.Load()})
		}
	})
}

// edit removes, trims or replaces records.
func (s *story) edit(ctx context.Context) (*storage.Pending, error) {
	owner := pick(s.random, logOwners)
	l, name, m := s.log(owner)
	if len(m.records) == 0 {
		return nil, nil
	}
	i := s.random.IntN(len(m.records))
	if s.random.IntN(2) == 0 {
		i = max(len(m.records)-1-s.random.IntN(4), 0)
	}
	id := m.records[i].ID
	switch n := s.random.IntN(10); {
	case n < 6:
		return s.call(func() (*storage.Pending, error) { return l.Remove(ctx, name, id, id+1<<40) }, func() {
			m.records = slices.Delete(m.records, i, i+1)
			s.tell(owner, textOf(m.records))
		})
	case n < 7:
		return s.call(func() (*storage.Pending, error) { return l.Trim(ctx, name, id) }, func() {
			if i > 0 {
				m.records = slices.Delete(m.records, 0, i)
				s.tell(owner, textOf(m.records))
			}
		})
	}
	data := s.data()
	return s.call(func() (*storage.Pending, error) { return l.Replace(ctx, name, id, data) }, func() {
		m.records[i].Data = data
		s.tell(owner, textOf(m.records))
	})
}

// sweep takes all records of a space, as when all recipients have what waited for them, and appends one.
func (s *story) sweep(ctx context.Context) (p *storage.Pending, err error) {
	space, _ := split(pick(s.random, logOwners))
	for _, owner := range logOwners {
		l, name, m := s.log(owner)
		if err != nil || !strings.HasPrefix(owner, space) || len(m.records) == 0 {
			continue
		}
		p, err = s.call(func() (*storage.Pending, error) { return l.Trim(ctx, name, ^uint64(0)) }, func() {
			m.records = nil
			s.tell(owner, "")
		})
	}
	if err == nil {
		p, err = s.append(ctx)
	}
	return p, err
}

// deleteOwner is two steps, since a crash may leave the one without the other: the records, and then what else there
// is.
func (s *story) deleteOwner(ctx context.Context) (*storage.Pending, error) {
	owner := pick(s.random, logOwners)
	l, name, m := s.log(owner)
	return s.call(func() (*storage.Pending, error) { return l.DeleteOwner(ctx, name) }, func() {
		*m = logModel{}
		s.tell(owner, "")
		step := s.tell(owner, "")
		s.lasts[owner] = append(s.lasts[owner], last{step - 1, 0})
		for _, d := range s.dedups {
			if d.owner == owner && d.gone == 0 {
				d.gone = step
			}
		}
	})
}

func (s *story) update(ctx context.Context) (*storage.Pending, error) {
	owner := pick(s.random, mapOwners)
	space, name := split(owner)
	var changes []storage.Change
	for range 1 + s.random.IntN(3) {
		changes = append(changes, storage.Change{Key: fmt.Sprint("key", s.random.IntN(8)),
			Value: fmt.Appendf(nil, "%d", s.random.IntN(1<<20)), Delete: s.random.IntN(4) == 0})
	}
	var version uint64
	return s.call(func() (p *storage.Pending, err error) {
		version, p, err = s.engine.Map(space).Update(ctx, name, s.vers[owner], changes...)
		return p, err
	}, func() {
		if s.rows[owner] == nil {
			s.rows[owner] = map[string]string{}
		}
		for _, c := range changes {
			if s.rows[owner][c.Key] = string(c.Value); c.Delete {
				delete(s.rows[owner], c.Key)
			}
		}
		s.vers[owner] = version
		s.tell(owner, textOfRows(s.rows[owner], version))
	})
}

func (s *story) deleteRows(ctx context.Context) (*storage.Pending, error) {
	owner := pick(s.random, mapOwners)
	space, name := split(owner)
	return s.call(func() (*storage.Pending, error) { return s.engine.Map(space).DeleteOwner(ctx, name) }, func() {
		s.rows[owner] = nil
		s.tell(owner, textOfRows(nil, s.vers[owner]))
		s.vers[owner] = 0
		s.tell(owner, "")
	})
}

func (s *story) account(ctx context.Context) (*storage.Pending, error) {
	user := pick(s.random, allUsers)
	accounts := s.engine.Accounts()
	switch {
	case !s.users[user]:
		return s.call(func() (*storage.Pending, error) {
			return accounts.Create(ctx, storage.Account{User: user, Permissions: []string{"0"}})
		}, func() { s.users[user] = true; s.tell(user, "0") })
	case s.random.IntN(3) == 0:
		return s.call(func() (*storage.Pending, error) { return accounts.Delete(ctx, user) },
			func() { s.users[user] = false; s.tell(user, "") })
	}
	n := fmt.Sprint(s.random.IntN(1 << 20))
	return s.call(func() (*storage.Pending, error) {
		return accounts.Modify(ctx, user, func(a *storage.Account) error { a.Permissions = []string{n}; return nil })
	}, func() { s.tell(user, n) })
}

// found is what an engine has of an owner.
func found(e storage.Engine, owner string) (string, error) {
	ctx := context.Background()
	if strings.Contains(owner, "@") {
		a, err := e.Accounts().Get(ctx, owner)
		if errors.Is(err, storage.ErrNotFound) {
			return "", nil
		}
		return strings.Join(a.Permissions, " "), err
	}
	space, name := split(owner)
	if slices.Contains(mapOwners, owner) {
		list, version, err := e.Map(space).List(ctx, name)
		rows := map[string]string{}
		for _, entry := range list {
			rows[entry.Key] = string(entry.Value)
		}
		return textOfRows(rows, version), err
	}
	page, more, err := e.Log(space).Page(ctx, name, storage.Query{Limit: 1 << 20})
	if err == nil && more {
		err = fmt.Errorf("%s has more than all", owner)
	}
	if err != nil {
		return "", err
	}
	bytes := int64(0)
	for _, r := range page {
		bytes += int64(len(r.Data))
	}
	count, size, err := e.Log(space).Size(ctx, name)
	if err == nil && (count != len(page) || size != bytes) {
		err = fmt.Errorf("%s has %d records of %d bytes and is said to have %d of %d", owner, len(page), bytes, count, size)
	}
	for _, peer := range []string{"p", "q@localhost"} {
		if err != nil {
			break
		}
		var of []storage.Record
		of, _, err = e.Log(space).Page(ctx, name, storage.Query{Peer: peer, Limit: 1 << 20})
		rest := slices.DeleteFunc(slices.Clone(page), func(r storage.Record) bool { return r.Peer != peer })
		if err == nil && textOf(of) != textOf(rest) {
			err = fmt.Errorf("%s has other records of %s than those with that peer", owner, peer)
		}
	}
	return textOf(page), err
}

func everyone() []string { return slices.Concat(logOwners, mapOwners, allUsers) }

// at is what an owner had after a step. The caller holds mu.
func (s *story) at(owner string, step int) string {
	list := s.texts[owner]
	i, ok := slices.BinarySearchFunc(list, step, func(t text, step int) int { return t.step - step })
	if ok {
		return list[i].text
	}
	if i == 0 {
		return ""
	}
	return list[i-1].text
}

// matches are the steps from low to high after which there was what an engine has.
func (s *story) matches(e storage.Engine, low, high int) (steps []int, err error) {
	now := map[string]string{}
	for _, owner := range everyone() {
		if now[owner], err = found(e, owner); err != nil {
			return nil, fmt.Errorf("read %s: %w", owner, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for step := high; step >= low; step-- {
		ok := true
		for _, owner := range everyone() {
			ok = ok && s.at(owner, step) == now[owner]
		}
		if ok {
			steps = append(steps, step)
		}
	}
	if len(steps) > 0 {
		return steps, nil
	}
	var b strings.Builder
	for _, owner := range everyone() {
		var fit []int
		for step := low; step <= high; step++ {
			if s.at(owner, step) == now[owner] {
				fit = append(fit, step)
			}
		}
		if len(fit) != high-low+1 {
			fmt.Fprintf(&b, "\n%s fits steps %v; has\n%s, after %d it had\n%s", owner, fit, now[owner], low, s.at(owner, low))
		}
	}
	return nil, fmt.Errorf("what is there was never there between steps %d and %d:%s", low, high, b.String())
}

// ids appends to everybody, with Dedup values that were used before, and returns the first of the steps that fit what
// comes of it.
func (s *story) ids(e storage.Engine, steps []int, now int64) (int, error) {
	ctx := context.Background()
	given, again := map[string]uint64{}, map[*dedup]uint64{}
	s.mu.Lock()
	known := slices.Clone(s.dedups[max(len(s.dedups)-40, 0):])
	s.mu.Unlock()
	for _, d := range known {
		space, name := split(d.owner)
		id, dup, _, err := e.Log(space).Append(ctx, name, storage.Record{Data: []byte("again")},
			storage.AppendOptions{Dedup: d.value})
		switch {
		case err != nil:
			return 0, err
		case dup:
			again[d] = id
		case given[d.owner] == 0:
			given[d.owner] = id
		}
	}
	for _, owner := range logOwners {
		space, name := split(owner)
		id, _, p, err := e.Log(space).Append(ctx, name, storage.Record{Data: []byte("new")}, storage.AppendOptions{})
		if err == nil {
			err = p.Wait(ctx)
		}
		if err != nil {
			return 0, err
		}
		if given[owner] == 0 {
			given[owner] = id
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var bad error
	for _, step := range steps {
		if bad = s.fits(step, now, known, given, again); bad == nil {
			return step, nil
		}
	}
	return 0, bad
}

func (s *story) fits(
	step int, now int64, known []*dedup, given map[string]uint64, again map[*dedup]uint64,
) error {
	for owner, id := range given {
		highest := uint64(0)
		for _, l := range s.lasts[owner] {
			if l.step <= step {
				highest = l.id
			}
		}
		if id <= highest {
			return fmt.Errorf("after step %d %s gave the id %d, and had given %d", step, owner, id, highest)
		}
	}
	for _, d := range known {
		age := time.Duration(now-d.at) * time.Microsecond
		id, dup := again[d]
		switch {
		case d.gone > 0 && step >= d.gone-1 && step <= d.gone || age >= storage.DedupWindow && age < 2*storage.DedupWindow:
		case d.step > step || d.gone > 0 && d.gone <= step || age >= 2*storage.DedupWindow:
			if dup {
				return fmt.Errorf("after step %d %s knows the value of step %d, deleted with %d, which is %v old",
					step, d.owner, d.step, d.gone, age)
			}
		case !dup || id != d.id:
			return fmt.Errorf("after step %d %s does not know the value of step %d: %v, %d", step, d.owner, d.step, dup, id)
		}
	}
	return nil
}

// stop is the end of a life by a kill or a cut: what is on its way is not counted any more.
func (s *story) stop() (acked, steps int) {
	acked, _ = s.bounds()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pendings = nil
	return acked, s.steps
}

// rewind goes on with an engine that was opened anew and has what there was after these steps, the last first.
func (s *story) rewind(e *engine, steps []int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	step, sure := steps[0], steps[len(steps)-1]
	for owner, list := range s.texts {
		s.texts[owner] = slices.DeleteFunc(list, func(t text) bool { return t.step > step })
	}
	for owner, list := range s.lasts {
		s.lasts[owner] = slices.DeleteFunc(list, func(l last) bool { return l.step > sure && l.id > 0 })
	}
	s.dedups = slices.DeleteFunc(s.dedups, func(d *dedup) bool {
		return d.step > sure || d.gone > sure && d.gone-1 <= step
	})
	for _, d := range s.dedups {
		if d.gone > step {
			d.gone = 0
		}
	}
	s.steps, s.acked = step, step
	for i := range s.upto {
		s.upto[i] = min(s.upto[i], step)
	}
	s.engine = e
	ctx := context.Background()
	for _, owner := range logOwners {
		space, name := split(owner)
		page, _, err := e.Log(space).Page(ctx, name, storage.Query{Limit: 1 << 20})
		if err != nil {
			return err
		}
		m := &logModel{records: page}
		for _, l := range s.lasts[owner] {
			m.last = l.id
		}
		for _, r := range page {
			m.last = max(m.last, r.ID)
		}
		s.logs[owner] = m
	}
	for _, owner := range mapOwners {
		space, name := split(owner)
		list, version, err := e.Map(space).List(ctx, name)
		if err != nil {
			return err
		}
		s.rows[owner], s.vers[owner] = map[string]string{}, version
		for _, entry := range list {
			s.rows[owner][entry.Key] = string(entry.Value)
		}
	}
	for _, user := range allUsers {
		s.users[user] = s.at(user, step) != ""
	}
	return nil
}
