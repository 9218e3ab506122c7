// Package redis keeps everything in Redis 6.2 or later: one server, a master with replicas behind Sentinel, or a
// Cluster. It is for where Redis is already at home. One server works on the keys of a prefix, which it has a lease of
// (lease.go); or several nodes do, each for the owners that are at home there (homes.go).
//
// All keys of an owner share a hash tag. Since nobody else writes for it, the engine knows what a write will find, and
// gives ids and versions itself; a write returns at once, and what is at hand for an owner leaves in one script
// (batch.go), what is at hand for several owners in one pipeline (send.go). A reply that was lost leaves open whether
// the write was applied; each owner has a token that every script changes, so that the repetition of an applied one
// changes nothing (owner.go). What is read is read by scripts of its own, behind the writes that are on their way.
//
// While Redis is away calls return storage.ErrUnavailable within about two seconds; connections come back by
// themselves. Left out: reading from replicas.
package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"jackdaw/storage"
)

// Options say where Redis is.
type Options struct {
	// Addrs are host:port: of the server; of several nodes of a cluster; or with MasterName of the sentinels.
	// With Unix it is the path of one server's socket.
	Addrs              []string
	Unix               bool
	TLS                *tls.Config // nil: none
	MasterName         string
	Username, Password string
	DB                 int    // 0 in a cluster
	Prefix             string // of all keys; without braces
	// WaitReplicas is how many replicas must have a write before it is acknowledged.
	WaitReplicas int
	// Homes says which owners this node writes for; nil: for all, by the lease of the prefix.
	Homes Homes
	// Now is the clock; nil: time.Now.
	Now func() time.Time
	// Log gets what somebody must act on or may want to know; nil: slog.Default().
	Log *slog.Logger
}

// Patience is how long a call waits for Redis before it returns storage.ErrUnavailable.
const Patience = 2 * time.Second

// engine implements storage.Engine.
type engine struct {
	o       Options
	single  *redis.Client        // or
	cluster *redis.ClusterClient // one of the two
	promise string
	closed  atomic.Bool
	away    atomic.Pointer[error] // why Redis is away
	stop    context.CancelFunc
	// observer is that of Observe; it may be nil.
	observer atomic.Pointer[func(time.Duration)]

	lease   lease
	probing sync.WaitGroup

	early   bool // finish writes before they are sent: for negative controls alone
	claims  atomic.Uint64
	churns  sync.Map // of logs, by their spaces
	senders sync.WaitGroup
	resting chan *lane    // for senders at rest
	rested  chan struct{} // closed when none is to rest any more

	mu        sync.Mutex // guards the rest
	owners    map[string]*owner
	cost      int // of what is known of owners
	laneTo    map[*redis.Client]*lane
	gathered  int       // bytes of writes that have not arrived
	waiters   []*waiter // who wants room for more
	order     []*write  // that have not finished, as they were made
	lazies    []*write  // that are about to finish
	settled   bool      // some may finish
	finishing bool
	closing   bool
	shelf     []*owner // whose writes wait for Redis to come back
	onShelf   int      // bytes of them
	short     error    // why Redis takes no writes, though it is there; nil: it does
}

// quiet keeps go-redis from writing to standard error: errors reach the caller.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

var silence = sync.OnceFunc(func() { redis.SetLogger(quiet{}) })

// Open connects, reads from Redis what it promises, and takes the lease of the prefix. If a server has it that may have
// been killed, Open waits until it runs out.
func Open(ctx context.Context, o Options) (storage.Engine, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	e, err := reach(ctx, o)
	if err == nil {
		if e.promise, err = e.readPromise(ctx); err == nil {
			if o.Homes == nil {
				err = e.acquire(ctx)
			} else {
				e.lease.me = self() // for tokens
			}
		}
		if err != nil {
			e.disconnect() // the first error is the one to tell
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open redis at %s: %w", strings.Join(o.Addrs, ", "), advise(err, o.TLS != nil))
	}
	probe, stop := context.WithCancel(context.WithoutCancel(ctx))
	e.stop = stop
	e.probing.Go(func() { e.probe(probe) })
	return e, nil
}

// reach connects, and changes nothing.
func reach(ctx context.Context, o Options) (*engine, error) {
	silence()
	if len(o.Addrs) == 0 {
		return nil, errors.New("no address; set storage.redis.addrs or url")
	}
	if strings.ContainsAny(o.Prefix, "{}") {
		return nil, fmt.Errorf("the prefix %q holds braces, which Redis Cluster gives a meaning; "+
			"choose another", o.Prefix)
	}
	e := &engine{o: o, early: ackEarly, owners: map[string]*owner{}, laneTo: map[*redis.Client]*lane{},
		resting: make(chan *lane), rested: make(chan struct{})}
	e.connect(o.MasterName == "" && len(o.Addrs) > 1)
	err := e.ping(ctx)
	if err == nil && e.single != nil && o.MasterName == "" {
		// One node of a cluster is enough to find the others.
		var info string
		if info, err = e.single.Info(ctx, "cluster").Result(); err == nil && strings.Contains(info, "cluster_enabled:1") {
			err = e.single.Close()
			e.connect(true)
		}
	}
	if err == nil && e.cluster != nil && o.DB != 0 {
		err = fmt.Errorf("a cluster has no database %d; set storage.redis.db to 0", o.DB)
	}
	if err != nil {
		e.disconnect() // the first error is the one to tell
		return nil, err
	}
	return e, nil
}

// advise adds what to do about the usual mistakes; TLS is on or not.
func advise(err error, on bool) error {
	if advised, ok := adviseTLS(err, on); ok {
		return advised
	}
	switch s := err.Error(); {
	case strings.Contains(s, "NOAUTH"), strings.Contains(s, "WRONGPASS"):
		return fmt.Errorf("%w; check storage.redis.username and password", err)
	case strings.Contains(s, "NOPERM"):
		return fmt.Errorf("%w; the user needs +@all on keys with the prefix, or at least "+
			"+@read +@write +@scripting +@connection +info +wait", err)
	case strings.Contains(s, "connection refused"), strings.Contains(s, "i/o timeout"),
		strings.Contains(s, "no such host"), strings.Contains(s, "no such file"):
		return fmt.Errorf("%w; is Redis running there? check storage.redis.addrs or url", err)
	case strings.Contains(s, "all sentinels"), strings.Contains(s, "No such master"),
		strings.Contains(s, "master") && strings.Contains(s, "nil"):
		return fmt.Errorf("%w; check storage.redis.master_name and the addresses of the sentinels", err)
	}
	return err
}

func (e *engine) connect(cluster bool) {
	// Repeating is ours: go-redis would repeat commands without knowing which may be.
	const never = -1
	switch o := e.o; {
	case o.MasterName != "":
		e.single = redis.NewFailoverClient(&redis.FailoverOptions{
			MasterName: o.MasterName, SentinelAddrs: o.Addrs, Username: o.Username, Password: o.Password, DB: o.DB,
			MaxRetries: never, DialTimeout: Patience / 2, ReadTimeout: Patience, WriteTimeout: Patience,
			PoolTimeout: Patience, ContextTimeoutEnabled: true, TLSConfig: o.TLS,
		})
	case cluster:
		e.single = nil
		e.cluster = redis.NewClusterClient(&redis.ClusterOptions{
			Addrs: o.Addrs, Username: o.Username, Password: o.Password,
			MaxRetries: never, DialTimeout: Patience / 2, ReadTimeout: Patience, WriteTimeout: Patience,
			PoolTimeout: Patience, ContextTimeoutEnabled: true, TLSConfig: o.TLS,
		})
	default:
		network := "tcp"
		if o.Unix {
			network = "unix"
		}
		e.single = redis.NewClient(&redis.Options{
			Network: network, Addr: o.Addrs[0], Username: o.Username, Password: o.Password, DB: o.DB,
			MaxRetries: never, DialTimeout: Patience / 2, ReadTimeout: Patience, WriteTimeout: Patience,
			PoolTimeout: Patience, ContextTimeoutEnabled: true, TLSConfig: o.TLS,
		})
	}
}

func (e *engine) disconnect() error {
	if e.cluster != nil {
		return e.cluster.Close()
	}
	return e.single.Close()
}

// ping asks every master, and whether it has the replicas that an acknowledgement needs.
func (e *engine) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	return e.eachMaster(ctx, func(c *redis.Client) error {
		if e.o.WaitReplicas == 0 {
			return c.Ping(ctx).Err()
		}
		info, err := c.Info(ctx, "replication").Result()
		if n := strings.Count(info, "state=online"); err == nil && n < e.o.WaitReplicas {
			err = fmt.Errorf("%w: %s has %d replicas, storage.redis.wait_replicas is %d", errFew, c.Options().Addr, n,
				e.o.WaitReplicas)
		}
		return err
	})
}

// eachMaster calls f for one master after the other.
func (e *engine) eachMaster(ctx context.Context, f func(*redis.Client) error) error {
	if e.cluster == nil {
		return f(e.single)
	}
	var mu sync.Mutex // guards masters
	var masters []*redis.Client
	err := e.cluster.ForEachMaster(ctx, func(_ context.Context, c *redis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		masters = append(masters, c)
		return nil
	})
	if err == nil && len(masters) == 0 {
		err = errNoMaster
	}
	sort.Slice(masters, func(i, j int) bool { return masters[i].Options().Addr < masters[j].Options().Addr })
	for _, c := range masters {
		if err == nil {
			err = f(c)
		}
	}
	return err
}

// probe keeps away up to date, and the lease.
func (e *engine) probe(ctx context.Context) {
	const calm, tense = time.Second, 100 * time.Millisecond
	timer := time.NewTimer(calm)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		var err error
		if e.o.Homes == nil {
			// Whichever part of a cluster is away: the lease is kept as long as that can be.
			if err = e.renew(ctx); errors.Is(err, storage.ErrTaken) {
				e.unshelve(true) // which ends it
				return
			}
		}
		if err2 := e.ping(ctx); err == nil {
			err = err2
		}
		switch {
		case err == nil:
			if e.away.Swap(nil) != nil {
				e.doubt() // it may be another Redis now
			}
			timer.Reset(calm)
		case ctx.Err() == nil:
			e.lost(err)
			timer.Reset(tense)
		}
		if e.unshelve(err == nil || e.cluster != nil) || e.away.Load() != nil {
			timer.Reset(tense)
		}
	}
}

// lost notes that Redis is away, and returns what callers get.
func (e *engine) lost(err error) error {
	if !errors.Is(err, storage.ErrUnavailable) {
		err = fmt.Errorf("%w: redis: %w", storage.ErrUnavailable, err)
	}
	e.away.Store(&err)
	return err
}

func (e *engine) Err() error {
	if e.closed.Load() {
		return storage.ErrClosed
	}
	if err := e.lease.taken.Load(); err != nil {
		return *err
	}
	if err := e.away.Load(); err != nil {
		return *err
	}
	return nil
}

// Observe implements storage.Observer: f gets the time of each round trip that writes, the wait for replicas included.
func (e *engine) Observe(f func(d time.Duration)) {
	if f == nil {
		e.observer.Store(nil)
		return
	}
	e.observer.Store(&f)
}

func (e *engine) Promise() string { return e.promise }

func (e *engine) Close() error {
	if e.closed.Swap(true) {
		return storage.ErrClosed
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*Patience)
	defer cancel()
	err := e.flush(ctx, true)
	close(e.rested)
	e.senders.Wait()
	e.finish()
	e.stop()
	e.probing.Wait()
	if e.o.Homes == nil {
		e.release()
	}
	return errors.Join(err, e.disconnect())
}

func (e *engine) Map(space string) storage.Map { return &mapSpace{e, space} }
func (e *engine) Log(space string) storage.Log {
	c, _ := e.churns.LoadOrStore(space, &churn{})
	return &logSpace{e, space, c.(*churn)}
}
func (e *engine) Accounts() storage.Accounts { return &accounts{e, true} }
func (e *engine) APIAccounts() storage.Accounts {
	return &accounts{e, false}
}

// errNUL refuses names that the engines do not have to keep apart.
var errNUL = errors.New("a name holds a NUL")

// check is the start of every call.
func (e *engine) check(ctx context.Context, names ...string) error {
	if e.closed.Load() {
		return storage.ErrClosed
	}
	for _, name := range names {
		if strings.IndexByte(name, 0) >= 0 {
			return fmt.Errorf("%w: %q", errNUL, name)
		}
	}
	if err := e.lease.taken.Load(); err != nil {
		return *err
	}
	// While the only server is away there is nothing to wait for: probe tells when it is back.
	if err := e.away.Load(); err != nil && e.cluster == nil {
		return *err
	}
	return ctx.Err()
}

var tagEscape = strings.NewReplacer("%", "%25", "{", "%7B", "}", "%7D")

// key is a key of an owner: the owner in braces decides the slot.
func (e *engine) key(owner, space, kind string) string {
	tag := tagEscape.Replace(owner)
	if tag == "" {
		tag = "%" // empty braces would not be a hash tag
	}
	return e.o.Prefix + "{" + tag + "}:" + space + ":" + kind
}
