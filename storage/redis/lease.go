package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"jackdaw/storage"
)

// One server at a time works on the keys of a prefix, until there are nodes: it keeps in memory what it read, and a
// second one would write behind its back. So a server takes a lease when it opens, renews it each time it looks whether
// Redis is there, and gives it back when it closes. It counts the time of its lease by its own clock from before it
// asked, so it stops writing before anybody else may begin. A lease that ran out while Redis or the process was away is
// taken up again if nobody had it meanwhile; if somebody had, what is in memory is worth nothing, and nothing is
// acknowledged any more.

const (
	// leaseTime is how long a lease holds: so long a server keeps others waiting that was killed and cannot be seen to
	// be dead.
	leaseTime = 15 * time.Second
	// lookAgain is how often it is looked at while another has it.
	lookAgain = 500 * time.Millisecond
)

// errLapsed passes as soon as the lease is renewed.
var errLapsed = errors.New("the lease of this server has run out")

// A lease is what an engine has of it.
type lease struct {
	me   holder
	mine string // as it stands in Redis
	// fence is a number that rises with each lease that is taken: the tokens of owners begin with it.
	fence uint64

	// The end of the lease by two clocks of ours, of which the earlier counts: the monotonic one, since base, stands
	// still while the machine sleeps; the other one, since 1970, may be set.
	base  time.Time
	until atomic.Int64
	clock atomic.Int64

	taken atomic.Pointer[error] // another server has it: for good
}

// acquireScript takes the lease and returns its fence. KEYS: the lease, the one who took it last, the last fence. ARGV:
// ours, how long, whose may be replaced, the least fence: the time, so that it rises although Redis has lost the last.
var acquireScript = redis.NewScript(`
local now = redis.call('GET', KEYS[1])
if now and now ~= ARGV[1] and now ~= ARGV[3] then return {now, redis.call('PTTL', KEYS[1])} end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('SET', KEYS[2], ARGV[1])
local fence = math.max((tonumber(redis.call('GET', KEYS[3])) or 0) + 1, tonumber(ARGV[4]))
redis.call('SET', KEYS[3], string.format('%.0f', fence))
return {string.format('%.0f', fence)}
`)

// renewScript prolongs the lease. It returns who has it instead, or whether Redis had forgotten who had it last. KEYS:
// the first two as above. ARGV: ours, how long.
var renewScript = redis.NewScript(`
local now = redis.call('GET', KEYS[1]) or redis.call('GET', KEYS[2])
if now and now ~= ARGV[1] then return now end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('SET', KEYS[2], ARGV[1])
return now and '' or 1
`)

// releaseScript gives the lease back. KEYS: the lease. ARGV: ours.
var releaseScript = redis.NewScript(`
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 0
`)

func (e *engine) leaseKeys() []string {
	return []string{e.key("server", "lease", "held"), e.key("server", "lease", "last"),
		e.key("server", "lease", "fence")}
}

// acquire takes the lease. It waits for that of a server that may have ended, and returns an error if one has it that
// runs.
func (e *engine) acquire(ctx context.Context) error {
	l := &e.lease
	l.me, l.base = self(), time.Now()
	l.mine = l.me.encode()
	replace := ""
	var other *holder
	var before time.Duration // what its lease had left when we looked last
	for waited := false; ; {
		asked := time.Now()
		v, err := e.try(ctx, call{acquireScript, e.leaseKeys(), []any{l.mine, leaseTime.Milliseconds(), replace,
			max(asked.UnixMilli(), 0)}, true})
		if err != nil {
			return err
		}
		list, _ := v.([]any)
		if len(list) == 1 {
			s, _ := list[0].(string)
			if l.fence, err = strconv.ParseUint(s, 10, 64); err != nil {
				return fmt.Errorf("take the lease: reply %q", v)
			}
			l.begin(asked)
			if other != nil {
				e.o.Log.Info("the store is taken over from a server that has ended", "holder", other)
			}
			return nil
		}
		if len(list) != 2 {
			return fmt.Errorf("take the lease: reply %q", v)
		}
		value, _ := list[0].(string)
		if err := refuseNodes(value); err != nil {
			return err
		}
		ms, _ := list[1].(int64)
		left := time.Duration(ms) * time.Millisecond
		other = decodeHolder(value)
		switch {
		case other.ended(&l.me):
			replace = value
			continue
		case other.runs(&l.me), left < 0, waited && left > before:
			return fmt.Errorf("it is in use by another jackdaw (%s); end that one first, "+
				"or give this one a storage.redis.prefix of its own", other)
		case !waited:
			e.o.Log.Warn("waiting until the lease of another server on the store runs out, if that was killed",
				"holder", other, "left", left.Round(time.Second))
			waited = true
		}
		before = left
		select {
		case <-time.After(min(left+time.Millisecond, lookAgain)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// renew prolongs the lease. Its error is storage.ErrTaken if another server has it, or had it meanwhile.
func (e *engine) renew(ctx context.Context) error {
	l := &e.lease
	limited, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	asked := time.Now()
	v, err := e.once(limited, call{renewScript, e.leaseKeys()[:2], []any{l.mine, leaseTime.Milliseconds()}, false}, "")
	if err != nil {
		if e.cluster != nil {
			e.cluster.ReloadState(limited) // its slot may have moved
		}
		return err
	}
	if other, _ := v.(string); other != "" {
		err := fmt.Errorf("%w until a restart: %w: %s", storage.ErrUnavailable, storage.ErrTaken, decodeHolder(other))
		l.taken.Store(&err)
		e.o.Log.Error("another server has taken the store, and this one acknowledges nothing any more",
			"holder", decodeHolder(other), "do", "end one of the two, then restart this one if it is to go on")
		return err
	}
	l.begin(asked)
	if forgot, _ := v.(int64); forgot == 1 {
		e.doubt()
	}
	return nil
}

// begin notes a lease that was asked for at this time.
func (l *lease) begin(asked time.Time) {
	end := asked.Add(leaseTime)
	l.until.Store(int64(end.Sub(l.base)))
	l.clock.Store(end.UnixNano())
}

// release gives the lease back, so that the next server need not wait.
func (e *engine) release() {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	// Should it fail, the lease runs out by itself.
	_, _ = e.once(ctx, call{releaseScript, e.leaseKeys()[:1], []any{e.lease.mine}, false}, "")
}

// holds returns nil while this server has the lease.
func (l *lease) holds(now time.Time) error {
	if err := l.taken.Load(); err != nil {
		return *err
	}
	if now.Sub(l.base) < time.Duration(l.until.Load()) && now.UnixNano() < l.clock.Load() {
		return nil
	}
	return errLapsed
}
