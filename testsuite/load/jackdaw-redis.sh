#!/bin/bash
# jackdaw on a Redis of its own (appendonly yes, appendfsync always), as a peer of the load generator like jackdaw.sh,
# whose settings it takes. The generator counts the CPU of the server and of Redis together.
#   REDIS_PORT  where Redis listens on loopback     default: 15379
PEER=jackdaw-redis
STORE=redis
. "$(dirname "${BASH_SOURCE[0]}")/jackdaw.sh"
