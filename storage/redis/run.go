package redis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"jackdaw/storage"
)

// A call is one run of a script by itself: a read, or a step that may be repeated.
type call struct {
	script *redis.Script
	keys   []string
	args   []any
	write  bool
}

// longestPause bounds the pause before something is tried again, so that no part of Patience passes without a try.
const longestPause = 200 * time.Millisecond

// errReplicas is the number of replicas being too small: the write may be applied.
var errReplicas = errors.New("too few replicas have the write")

// run runs a script until it has a reply, Patience ends or the caller's context does.
func (e *engine) run(ctx context.Context, c call) (any, error) {
	// While the only server is away there is nothing to wait for: probe tells when it is back.
	if err := e.away.Load(); err != nil && e.cluster == nil {
		return nil, *err
	}
	return e.try(ctx, c)
}

// try is run for a caller who does not know whether Redis is away.
func (e *engine) try(ctx context.Context, c call) (any, error) {
	limited, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	var askAddr string
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, longestPause) {
		if err := e.lease.taken.Load(); err != nil {
			return nil, *err
		}
		v, err := e.once(limited, c, askAddr)
		if err == nil {
			return v, nil
		}
		if e.closed.Load() {
			return nil, storage.ErrClosed
		}
		askAddr = ""
		if addr, ok := strings.CutPrefix(err.Error(), "ASK "); ok {
			_, askAddr, _ = strings.Cut(addr, " ")
		}
		if !passing(err) {
			return nil, fmt.Errorf("%w: redis: %w", storage.ErrUnavailable, err)
		}
		if e.cluster != nil && askAddr == "" {
			e.cluster.ReloadState(limited)
		}
		select {
		case <-time.After(wait):
		case <-limited.Done():
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return nil, e.lost(err)
		}
	}
}

// passing says whether trying again may help. A lost connection is passing, since all that is sent may be repeated.
func passing(err error) bool {
	var reply redis.Error
	if !errors.As(err, &reply) {
		return true
	}
	for _, prefix := range []string{"MOVED ", "ASK ", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN", "LOADING", "READONLY",
		"UNBLOCKED", "NOREPLICAS", "BUSY"} {
		if strings.HasPrefix(reply.Error(), prefix) {
			return true
		}
	}
	return false
}

// once runs a script on the master of its slot, or on the one that is importing the slot.
func (e *engine) once(ctx context.Context, c call, askAddr string) (any, error) {
	node, err := e.single, error(nil)
	if e.cluster != nil {
		node, err = e.cluster.MasterForKey(ctx, c.keys[0])
	}
	if err == nil && askAddr != "" {
		node, err = e.nodeAt(ctx, askAddr)
	}
	if err != nil {
		return nil, err
	}
	return e.send(ctx, node, c, askAddr != "", false)
}

// nodeAt returns the master at an address.
func (e *engine) nodeAt(ctx context.Context, addr string) (node *redis.Client, err error) {
	err = e.eachMaster(ctx, func(m *redis.Client) error {
		if m.Options().Addr == addr {
			node = m
		}
		return nil
	})
	if err == nil && node == nil {
		err = fmt.Errorf("the cluster has no master at %s", addr)
	}
	return node, err
}

// send runs a script on a node, followed over the same connection by WAIT if a write must have replicas. asking is for
// a node that is importing the slot, and whole sends the script itself instead of its name.
func (e *engine) send(ctx context.Context, node *redis.Client, c call, asking, whole bool) (any, error) {
	begun := time.Now()
	pipe := node.Pipeline()
	if asking {
		pipe.Do(ctx, "ASKING")
	}
	run := c.script.EvalSha
	if whole {
		run = c.script.Eval
	}
	command := run(ctx, pipe, c.keys, c.args...)
	gated := e.o.Homes == nil && c.write && c.script != acquireScript
	if gated {
		if err := e.lease.holds(begun); err != nil {
			return nil, err
		}
	}
	var wait *redis.Cmd
	if c.write && e.o.WaitReplicas > 0 {
		wait = pipe.Do(ctx, "WAIT", e.o.WaitReplicas, (Patience * 3 / 4).Milliseconds())
	}
	_, err := pipe.Exec(ctx)
	value, refused := command.Result()
	switch {
	case refused != nil && !whole && redis.HasErrorPrefix(refused, "NOSCRIPT"):
		// A new server, or one whose scripts were flushed. What was not run can be sent again.
		return e.send(ctx, node, c, asking, true)
	case errors.Is(refused, redis.Nil):
		refused = nil
	case refused != nil && !isReply(refused):
		return nil, refused
	}
	if err != nil && !isReply(err) {
		return nil, err
	}
	if wait != nil {
		if err := enough(wait, e.o.WaitReplicas); err != nil {
			return nil, err
		}
	}
	if gated {
		// What was written after the end of the lease may have been behind somebody's back.
		if err := e.lease.holds(time.Now()); err != nil {
			return nil, err
		}
	}
	return value, refused
}

func isReply(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply)
}
