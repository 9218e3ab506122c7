package redis

import (
	"context"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
)

// A Weakness is a setting of Redis by which what was kept may get lost.
type Weakness struct{ What, Why, Do string }

// Inspect connects, asks every master for its settings, and changes nothing. It returns in words what Redis promises,
// and what could be better.
func Inspect(ctx context.Context, o Options) (promise string, weak []Weakness, err error) {
	e, err := reach(ctx, o)
	if err == nil {
		defer e.disconnect() // nothing was written
		promise, err = e.readPromise(ctx)
	}
	if err == nil {
		err = e.eachMaster(ctx, func(c *redis.Client) error {
			found, err := weaknesses(ctx, c)
			weak = append(weak, found...)
			return err
		})
	}
	if err != nil {
		return "", nil, fmt.Errorf("redis at %s: %w", strings.Join(o.Addrs, ", "), advise(err, o.TLS != nil))
	}
	if (e.cluster != nil || o.MasterName != "") && o.WaitReplicas == 0 {
		weak = append(weak, Weakness{"a fail-over of Redis may lose what was acknowledged last",
			"nothing waits until a replica has it", "set storage.redis.wait_replicas to the number of replicas"})
	}
	return promise, weak, nil
}

// weaknesses are those of one master; none where it does not tell its settings.
func weaknesses(ctx context.Context, c *redis.Client) (weak []Weakness, err error) {
	set := map[string]string{}
	for _, name := range []string{"appendonly", "appendfsync", "maxmemory", "maxmemory-policy"} {
		answer, err := c.ConfigGet(ctx, name).Result()
		if _, refused := err.(redis.Error); refused { // managed servers do not tell
			return []Weakness{{"Redis does not tell its settings (CONFIG GET is refused)", "they decide what a crash loses",
				"see yourself that appendonly is yes, appendfsync always, and maxmemory-policy noeviction"}}, nil
		}
		if err != nil {
			return nil, err
		}
		set[name] = answer[name]
	}
	at := c.Options().Addr
	if set["appendonly"] != "yes" {
		weak = append(weak, Weakness{"Redis at " + at + " keeps no append-only file",
			"when it restarts, everything since its last snapshot is lost",
			"in redis.conf: appendonly yes, and appendfsync always; now: redis-cli CONFIG SET appendonly yes"})
	} else if set["appendfsync"] != "always" {
		weak = append(weak, Weakness{"Redis at " + at + " has appendfsync " + set["appendfsync"],
			"when the power fails, the last seconds are lost, though they were acknowledged",
			"in redis.conf: appendfsync always"})
	}
	if set["maxmemory"] != "0" && set["maxmemory-policy"] != "noeviction" {
		weak = append(weak, Weakness{"Redis at " + at + " removes what it likes when its memory is full (" +
			set["maxmemory-policy"] + ")", "accounts and messages vanish", "in redis.conf: maxmemory-policy noeviction"})
	}
	return weak, nil
}
