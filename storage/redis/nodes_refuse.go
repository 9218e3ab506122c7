package redis

import (
	"errors"
	"strings"
)

// errNodes tells a server without cluster whose prefix it is.
var errNodes = errors.New("it is in use by the nodes of a cluster (see jackdaw nodes); configure the section cluster " +
	"here too, or give this one a storage.redis.prefix of its own")

// refuseNodes returns why a server without cluster must not wait for whoever has the lease.
func refuseNodes(held string) error {
	if strings.HasPrefix(held, "nodes:") {
		return errNodes
	}
	return nil
}
