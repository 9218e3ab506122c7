package redis

import (
	"context"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
)

// settings are what a master says about the life of its writes.
type settings struct {
	appendonly, appendfsync, minReplicas string
}

// replicas is how many replicas a master has at most.
func (e *engine) replicas(ctx context.Context) (most int, err error) {
	err = e.eachMaster(ctx, func(c *redis.Client) error {
		info, err := c.Info(ctx, "replication").Result()
		if _, refused := err.(redis.Error); refused {
			return nil // managed servers do not tell
		}
		most = max(most, strings.Count(info, "state=online"))
		return err
	})
	return most, err
}

// readPromise finds out which row of the table of promises applies. Of several masters the weakest counts.
func (e *engine) readPromise(ctx context.Context) (string, error) {
	weakest, hidden, found := settings{}, false, false
	err := e.eachMaster(ctx, func(c *redis.Client) error {
		s := settings{}
		for name, value := range map[string]*string{
			"appendonly": &s.appendonly, "appendfsync": &s.appendfsync, "min-replicas-to-write": &s.minReplicas,
		} {
			answer, err := c.ConfigGet(ctx, name).Result()
			if err != nil {
				if _, refused := err.(redis.Error); refused {
					hidden = true // managed servers do not tell
					return nil
				}
				return err
			}
			*value = answer[name]
		}
		if !found || s.rank() < weakest.rank() {
			weakest, found = s, true
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	var b strings.Builder
	switch {
	case e.cluster != nil:
		b.WriteString("Redis Cluster")
	case e.o.MasterName != "":
		b.WriteString("Redis behind Sentinel")
	default:
		b.WriteString("one Redis")
	}
	replicas, err := e.replicas(ctx)
	if err != nil {
		return "", err
	}
	if n := e.o.WaitReplicas; n > 0 {
		fmt.Fprintf(&b, ", acknowledged after the reply and %d replica(s) having the write: ", n)
		if replicas > n {
			fmt.Fprintf(&b, "a fail-over to another replica may lose what was acknowledged last; "+
				"set storage.redis.wait_replicas to %d", replicas)
		} else {
			b.WriteString("no single failure loses what was acknowledged, a double failure may")
		}
	} else {
		b.WriteString(", acknowledged after the reply")
		if e.cluster != nil || e.o.MasterName != "" {
			b.WriteString(": A FAIL-OVER MAY LOSE what was acknowledged last; " +
				"set storage.redis.wait_replicas to the number of replicas")
		}
	}
	switch weakest.rank() {
	case 0:
		if hidden || !found {
			b.WriteString("; Redis does not tell its settings (CONFIG GET is refused): " +
				"see yourself that appendonly is on and appendfsync is always")
		} else {
			b.WriteString("; REDIS KEEPS NO APPEND-ONLY FILE: when it restarts, everything since its last snapshot is lost; " +
				"set appendonly yes and appendfsync always")
		}
	case 1:
		b.WriteString("; appendfsync no: when the power fails, what the system had not written yet is lost (30 s and more)")
	case 2:
		b.WriteString("; appendfsync everysec: a crash of Redis loses nothing, a power cut up to 2 s; " +
			"set appendfsync always to lose nothing")
	case 3:
		b.WriteString("; appendfsync always: neither a crash nor a power cut loses what was acknowledged")
	}
	if weakest.minReplicas != "" && weakest.minReplicas != "0" {
		fmt.Fprintf(&b, "; min-replicas-to-write is %s", weakest.minReplicas)
	}
	return b.String(), nil
}

func (s settings) rank() int {
	if s.appendonly != "yes" {
		return 0
	}
	switch s.appendfsync {
	case "always":
		return 3
	case "everysec":
		return 2
	}
	return 1
}
