#!/bin/bash
# jackdaw as a peer of the load generator: `make bench-peers BENCH=DIR` runs it.
# Embedded storage as by default (docs/performance.md says what waits for an fsync), or
# Redis (jackdaw-redis.sh); warnings only in the log.
#   BENCH    directory of the load generator
#   ARCHIVE  true: with the archive, which is on by default; the peers have none   default: false
#   JACKDAW  the binary     default: the one `make build` leaves
PEER=${PEER:-jackdaw}
STORE=${STORE:-embedded}
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "${BENCH:?directory of the load generator}/peers/common.sh"
JACKDAW=${JACKDAW:-$HERE/../../jackdaw}
REDIS_PORT=${REDIS_PORT:-15379}

config() { # DIR
  cat > "$1/jackdaw.yaml" <<YAML
data: $1/data
hosts:
  - {domain: $DOMAIN, cert: $CERT, key: $KEY}
listen:
  c2s: ["127.0.0.1:$PORT_C2S"]
  c2s_tls: ["127.0.0.1:$PORT_TLS"]
  http: ["127.0.0.1:$PORT_HTTP"]
  https: []
c2s: {require_tls: false, scram_iterations: 4096}
# Loopback is free of limits; these say so to whoever runs it from elsewhere.
limits:
  {stream_rate: 1000000000, stream_burst: 1000000000, connections_per_address: 100000,
   unauthenticated_per_address: 100000, connect_rate: 100000, connect_burst: 100000, resources_per_account: 1000,
   room_occupants: 100000, room_message_rate: 1000000}
modules:
  archive: ${ARCHIVE:-false}
  muc: {domain: conference.$DOMAIN}
  offline: {max_messages: 100000, max_bytes: 1073741824}
log: {level: warn}
storage: {engine: $STORE, redis: {addrs: ["127.0.0.1:$REDIS_PORT"]}}
YAML
}

redis() { # DIR: start Redis there, in the background
  [ "$STORE" = redis ] || return 0
  redis-server --bind 127.0.0.1 --port "$REDIS_PORT" --dir "$1" --save "" --appendonly yes --appendfsync always \
    --logfile "$1/redis.log" > /dev/null < /dev/null &
  echo $! > "$1/redis.pid"
  wait_port "$REDIS_PORT" 30
}

redis_ends() { # DIR
  [ -s "$1/redis.pid" ] || return 0
  stop_pid "$(cat "$1/redis.pid")"
  rm -f "$1/redis.pid"
}

seed() {
  local tmp=$SEED.tmp
  rm -rf "$tmp"; mkdir -p "$tmp"
  config "$tmp"
  redis "$tmp"
  seq 1 "$USERS" | sed "s/.*/user&@$DOMAIN $PASSWORD/" |
    "$JACKDAW" --config "$tmp/jackdaw.yaml" user add --batch > "$tmp/seed.log" 2>&1 ||
    { echo "jackdaw: seeding did not work, see $tmp/seed.log" >&2; exit 1; }
  redis_ends "$tmp"
  mv "$tmp" "$SEED"
}

prepare() {
  rm -rf "$RUN"; cp -r "$SEED" "$RUN"
  config "$RUN"
}

# The shell in between is the parent of the server and of Redis: the generator counts its whole tree.
launch() {
  (
    trap 'stop_pid $(cat "$RUN/server.pid"); redis_ends "$RUN"; exit 0' TERM
    redis "$RUN"
    cd "$RUN" || exit 1
    "$JACKDAW" --config "$RUN/jackdaw.yaml" serve &
    echo $! > "$RUN/server.pid"
    wait
  ) > "$RUN/log" 2>&1 < /dev/null &
  echo $! > "$RUN/pid"
}

stop() { # the server first, so that the shell, which waits for it, has time to end Redis
  [ ! -s "$RUN/server.pid" ] || stop_pid "$(cat "$RUN/server.pid")"
  stop_by_pidfile
}
version() { "$JACKDAW" version; }
# PLAIN is for TLS only here, and the suite tries what is named without TLS too.
caps() { echo plain starttls direct SCRAM-SHA-1 presence offline muc; }
http() { printf 'POST /message\t-url\thttp://127.0.0.1:%s/message\t-auth\tuser1@%s:%s\n' "$PORT_HTTP" "$DOMAIN" "$PASSWORD"; }
main "$@"
