package accounts

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"jackdaw/storage"
	"jackdaw/xmpp/jid"
)

// memory is an engine whose failures and commits a test can steer.
type memory struct {
	storage.Engine // for what is not needed here

	mu      sync.Mutex // guards the rest
	values  map[string][]byte
	written map[string]uint64  // the version of each owner of a map
	fail    error              // of every call
	hold    bool               // leave writes pending until commit
	held    []*storage.Pending // by hold
	gets    int
	reading func() // called by Get after it has read, without the lock
	users   shelf
	api     shelf
}

type shelf struct {
	m    *memory
	list map[string]storage.Account
}

func newMemory() *memory {
	m := &memory{values: make(map[string][]byte), written: make(map[string]uint64)}
	m.users = shelf{m, make(map[string]storage.Account)}
	m.api = shelf{m, make(map[string]storage.Account)}
	return m
}

func (m *memory) Accounts() storage.Accounts    { return &m.users }
func (m *memory) APIAccounts() storage.Accounts { return &m.api }
func (m *memory) Map(space string) storage.Map  { return &memoryMap{m: m, space: space} }

func (m *memory) setFail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = err
}

// commit finishes what is held.
func (m *memory) commit(err error) {
	m.mu.Lock()
	held := m.held
	m.held, m.hold = nil, false
	m.mu.Unlock()
	for _, p := range held {
		p.Finish(err)
	}
}

// write is called with the lock held.
func (m *memory) write() *storage.Pending {
	if !m.hold {
		return nil
	}
	p := storage.NewPending()
	m.held = append(m.held, p)
	return p
}

type memoryMap struct {
	storage.Map
	m     *memory
	space string
}

func (x *memoryMap) Get(_ context.Context, owner, key string) ([]byte, error) {
	x.m.mu.Lock()
	defer x.m.mu.Unlock()
	if x.m.fail != nil {
		return nil, x.m.fail
	}
	if v, ok := x.m.values[x.space+"/"+owner+"/"+key]; ok {
		return slices.Clone(v), nil
	}
	return nil, storage.ErrNotFound
}

func (x *memoryMap) Update(
	_ context.Context, owner string, version uint64, changes ...storage.Change,
) (uint64, *storage.Pending, error) {
	x.m.mu.Lock()
	defer x.m.mu.Unlock()
	if x.m.fail != nil {
		return 0, nil, x.m.fail
	}
	if version != storage.AnyVersion && version != x.m.written[x.space+"/"+owner] {
		return 0, nil, storage.ErrConflict
	}
	x.m.written[x.space+"/"+owner]++
	for _, c := range changes {
		if x.m.values[x.space+"/"+owner+"/"+c.Key] = slices.Clone(c.Value); c.Delete {
			delete(x.m.values, x.space+"/"+owner+"/"+c.Key)
		}
	}
	return x.m.written[x.space+"/"+owner], x.m.write(), nil
}

func (x *memoryMap) List(_ context.Context, owner string) (all []storage.Entry, _ uint64, _ error) {
	x.m.mu.Lock()
	defer x.m.mu.Unlock()
	for key, v := range x.m.values {
		if key, ok := strings.CutPrefix(key, x.space+"/"+owner+"/"); ok {
			all = append(all, storage.Entry{Key: key, Value: v})
		}
	}
	return all, x.m.written[x.space+"/"+owner], x.m.fail
}

func clone(a storage.Account) storage.Account {
	a.Credentials = slices.Clone(a.Credentials)
	a.Permissions = slices.Clone(a.Permissions)
	a.Domains = slices.Clone(a.Domains)
	return a
}

func (b *shelf) Get(ctx context.Context, user string) (storage.Account, error) {
	b.m.mu.Lock()
	b.m.gets++
	a, ok := b.list[user]
	a = clone(a)
	fail, reading := b.m.fail, b.m.reading
	b.m.mu.Unlock()
	if reading != nil {
		reading()
	}
	if err := cmp.Or(ctx.Err(), fail); err != nil {
		return storage.Account{}, err
	}
	if !ok {
		return storage.Account{}, storage.ErrNotFound
	}
	return a, nil
}

func (b *shelf) Create(_ context.Context, a storage.Account) (*storage.Pending, error) {
	b.m.mu.Lock()
	defer b.m.mu.Unlock()
	if b.m.fail != nil {
		return nil, b.m.fail
	}
	if _, ok := b.list[a.User]; ok {
		return nil, storage.ErrExists
	}
	b.list[a.User] = clone(a)
	return b.m.write(), nil
}

func (b *shelf) Modify(_ context.Context, user string, f func(*storage.Account) error) (*storage.Pending, error) {
	b.m.mu.Lock()
	defer b.m.mu.Unlock()
	if b.m.fail != nil {
		return nil, b.m.fail
	}
	a, ok := b.list[user]
	if !ok {
		return nil, storage.ErrNotFound
	}
	a = clone(a)
	if err := f(&a); err != nil {
		return nil, err
	}
	b.list[user] = a
	return b.m.write(), nil
}

func (b *shelf) Delete(_ context.Context, user string) (*storage.Pending, error) {
	b.m.mu.Lock()
	defer b.m.mu.Unlock()
	if b.m.fail != nil {
		return nil, b.m.fail
	}
	if _, ok := b.list[user]; !ok {
		return nil, storage.ErrNotFound
	}
	delete(b.list, user)
	return b.m.write(), nil
}

func (b *shelf) List(_ context.Context, domain, after string, limit int) ([]storage.Account, error) {
	b.m.mu.Lock()
	defer b.m.mu.Unlock()
	if b.m.fail != nil {
		return nil, b.m.fail
	}
	order := func(x, y string) int {
		xu, xd, _ := strings.Cut(x, "@")
		yu, yd, _ := strings.Cut(y, "@")
		return cmp.Or(cmp.Compare(xd, yd), cmp.Compare(xu, yu))
	}
	var out []storage.Account
	for user, a := range b.list {
		if _, d, _ := strings.Cut(user, "@"); (domain == "" || d == domain) && (after == "" || order(user, after) > 0) {
			out = append(out, clone(a))
		}
	}
	slices.SortFunc(out, func(x, y storage.Account) int { return order(x.User, y.User) })
	return out[:min(limit, len(out))], nil
}

var (
	juliet = jid.MustParse("juliet@capulet.example")
	romeo  = jid.MustParse("romeo@montague.example")
)

// service returns a service of few iterations over an empty store.
func service(t testing.TB, o Options) (*Service, *memory) {
	t.Helper()
	m := newMemory()
	if o.Iterations == 0 {
		o.Iterations = 4096
	}
	s, err := New(t.Context(), m, o)
	if err != nil {
		t.Fatal(err)
	}
	return s, m
}

// pass lets time go by in a bubble of synctest.
func pass(d time.Duration) { <-time.After(d) }

// must fails the test on an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
