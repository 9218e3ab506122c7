# make build | test | race | scenes-nodes | soak | fuzz | bench | check | bench-peers BENCH=DIR | bench-federation BENCH=DIR | bench-archive BENCH=DIR | bench-default BENCH=DIR | bench-nodes BENCH=DIR | bench-growth | bench-soak | deb | image | deps

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

# What the tests start or ask: Redis, two servers to federate with, three clients, a browser, proxies, what reads the files
# of contrib, an XML parser, a monitor, Java; and what the race detector links with.
PACKAGES = redis-server slapd prosody lua-unbound lua-dbi-sqlite3 ejabberd python3-slixmpp python3-aiohttp profanity tmux go-sendxmpp libxml2-utils curl iproute2 nginx-light libnginx-mod-stream gcc \
  libc6-dev s-nail haproxy caddy prometheus fail2ban systemd buildah icinga2-bin python3-venv chromium chromium-driver $(if $(shell command -v node),,nodejs) $(if $(shell command -v npm),,npm) \
  $(if $(shell command -v javac),,default-jdk-headless) $(if $(shell command -v mvn),,maven)

# What runs in the browser, by its lock file.
WEB = testsuite/web/testdata

# What posts to hooks, and a gateway, each by its list of files.
PYTHONS = testsuite/senders/testdata testsuite/gateways/testdata

# A library of Java's clients.
JAVA = testsuite/smack/testdata

FUZZTIME ?= 30s

# The hot path: addresses, framing, routing, client streams, posting, pages of archives, rooms.
BENCH_PACKAGES ?= ./xmpp/... ./router/... ./c2s/... ./modules/httpmessage/... ./modules/archive ./modules/muc
BENCHTIME      ?= 1s

.PHONY: build test race scenes-nodes soak fuzz bench check bench-peers bench-federation bench-archive bench-default bench-nodes bench-growth bench-soak deb image deps deps-web deps-python deps-java

COMPILE = CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)'

build:
	$(COMPILE) -o jackdaw ./cmd/jackdaw

# A Debian package, made in DIST; GOARCH may be that of another machine.
DIST ?= .
deb image: export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || date +%s)
deb:
	@stage=$$(mktemp -d) && trap 'rm -rf $$stage' EXIT && set -e; \
	$(COMPILE) -o $$stage/usr/bin/jackdaw ./cmd/jackdaw; \
	env -u GOARCH -u GOOS $(GO) run -tags packaging ./cmd/jackdaw package-files $$stage/usr/share; \
	GO='$(GO)' packaging/deb.sh $$stage '$(VERSION)' $(shell $(GO) env GOARCH) $(DIST)

# An OCI image likewise.
image:
	@stage=$$(mktemp -d) && trap 'rm -rf $$stage' EXIT && set -e; $(COMPILE) -o $$stage/jackdaw ./cmd/jackdaw; \
	packaging/image.sh $$stage '$(VERSION)' $(shell $(GO) env GOARCH) $(DIST)

# Everything that must hold before a change goes in. The suite starts servers of
# its own, so its outcome is never taken from the cache.
test: deps
	@$(MAKE) --no-print-directory -j 2 check race

# What takes longest begins first, so that no core waits for it at the end.
LONG = testsuite/operation storage/redis c2s modules/httpmessage storage/embedded

# These drive the server from outside. The race detector is in the servers that they start and not in themselves: the parts
# of clients and peers would take four times the CPU, and none of the server runs there.
DRIVERS = scenes peers attacks web federation faults nodes moving bots kill senders setup acme alerting beside packages smack

# Their tests are of one goroutine; the race detector finds nothing there, and takes ten times as long. Check has them
# without it, and so the simulation of nodes, whose tests are ONE.
PURE = testsuite/house xmpp/jid modules/hooks/notice modules/internal/fulltext modules/internal/styling
ONE = '^Test(Histories|TheSameSeed|PlannedMoves)'

# Algorithms of the standard library are calculations of one goroutine; without the detector keys of accounts, which most
# tests derive, take a fifth of its time.
CALCULATIONS = crypto/internal/fips140/... crypto/hmac crypto/pbkdf2 crypto/sha1 crypto/subtle
RACE = -race $(CALCULATIONS:%=-gcflags=%=-race=false)

# No symbols for debuggers: traces do without, and linking 120 programs takes a third less. What vet says of tests is in
# check. A process with the race detector would wait for a second at its end.
TEST = GORACE=atexit_sleep_ms=50 $(GO) test -count=1 -parallel 4 -timeout 14m -vet=off -ldflags=-w

# The suites share the servers that they build.
race:
	@builds=$$(mktemp -d) && trap 'rm -rf "$$builds"' EXIT && export JACKDAW_BUILDS="$$builds" JACKDAW_RACE='$(RACE)' && \
	{ $(TEST) -p 1 $(DRIVERS:%=./testsuite/%) & drivers=$$!; \
	  $(TEST) $(RACE) -p 2 -skip $(ONE) $(LONG:%=./%) $$($(GO) list ./... | grep -v $(PURE:%=-e '/%$$') $(DRIVERS:%=-e '/testsuite/%$$')); units=$$?; \
	  wait $$drivers && exit $$units; }

# All scenes on three nodes, with clients spread over them: on one Redis, on Sentinel, and on a Cluster of three masters
# with replicas. SCENES_ON names some of these places alone.
SCENES_ON ?= nodes,nodes-sentinel,nodes-cluster
scenes-nodes: deps
	JACKDAW_PLACES=$(SCENES_ON) $(GO) test -count=1 -timeout 60m -parallel 2 -v -run '/^nodes' ./testsuite/scenes

# The long form of what the tests do in short.
soak:
	$(GO) test -count=1 -timeout 60m -v -run 'PowerCuts|EveryFailure|ChangedBitIsTold' ./storage/embedded -cuts 20000
	$(GO) test -count=1 -timeout 2h -v -run HistoriesWith ./cluster -seeds 200000
	JACKDAW_SOAK=1 $(GO) test -count=1 -v -tags soak -timeout 2h -parallel 1 ./testsuite/faults ./testsuite/nodes
	$(GO) test -race -count=1 -timeout 60m -v -run NodesPassTheSuite ./storage/redis -long

check:
	@dirty=$$(git ls-files --cached --others --exclude-standard '*.go' | xargs -r gofmt -s -l); \
	if [ -n "$$dirty" ]; then echo "gofmt -s would change:"; echo "$$dirty"; exit 1; fi
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GO) test -count=1 $(PURE:%=./%)
	$(GO) test -count=1 -run $(ONE) ./cluster -seeds 2000

fuzz:
	@set -e; for file in $$(grep -rl --include='*_test.go' '^func Fuzz' .); do \
	  for name in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' $$file); do \
	    echo "== $$name in $$(dirname $$file)"; \
	    $(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 5x ./$$(dirname $$file); \
	  done; \
	done

bench:
	$(GO) test -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) $(BENCH_PACKAGES)

# Beside other servers, with the neutral load generator in BENCH (its README says
# how it measures). SCENARIOS, REPS, USERS and the rest of suite.sh's settings pass through; OUT
# keeps the single runs. The streams between servers and our archive come last, by tools of our own; FEDERATION=0 and ARCHIVES=0 leave
# them out, bench-federation and bench-archive measure nothing else.
PEERS ?= relay prosody ejabberd $(CURDIR)/testsuite/load/jackdaw.sh $(if $(JACKAL_BIN),jackal)
OUT   ?= $(CURDIR)/results-$(shell date +%Y%m%d-%H%M%S).jsonl

bench-peers: build
	@test -n "$(BENCH)" || { echo "make bench-peers: say where the load generator is: BENCH=DIR" >&2; exit 2; }
	@test -x "$(BENCH)/suite.sh" || { echo "make bench-peers: no suite.sh in $(BENCH)" >&2; exit 2; }
	@test "$$(id -u)" = 0 || { echo "make bench-peers: needs root, for a network namespace of its own" >&2; exit 2; }
	@for p in $(filter prosody ejabberdctl,$(PEERS:ejabberd=ejabberdctl)); do \
	  command -v $$p > /dev/null || { echo "make bench-peers: $$p is missing: apt-get update && $(BENCH)/peers/install.sh" >&2; exit 2; }; done
	BENCH=$(abspath $(BENCH)) JACKDAW=$(CURDIR)/jackdaw OUT=$(OUT) PEERS="$(strip $(PEERS))" \
	  $(if $(SCENARIOS),SCENARIOS="$(SCENARIOS)") $(if $(REPS),REPS=$(REPS)) \
	  $(abspath $(BENCH))/peers/loopback-only.sh $(abspath $(BENCH))/suite.sh; status=$$?; \
	[ "$(FEDERATION)" = 0 ] || [ -z "$(FEDERATION_SERVERS)" ] || $(MAKE) --no-print-directory bench-federation OUT=$(OUT) || status=1; \
	[ "$(ARCHIVES)" = 0 ] || [ -z "$(filter jackdaw,$(FEDERATION_SERVERS))" ] || $(MAKE) --no-print-directory bench-archive OUT=$(OUT) || status=1; exit $$status

# FEDERATION_FLAGS are those of testsuite/load/federation.
FEDERATION_SERVERS ?= $(filter jackdaw prosody ejabberd jackal,$(basename $(notdir $(PEERS))))

comma := ,
bench-federation: build
	@test -x "$(BENCH)/peers/loopback-only.sh" || { echo "make bench-federation: say where the load generator is: BENCH=DIR" >&2; exit 2; }
	@test "$$(id -u)" = 0 || { echo "make bench-federation: needs root, for a network namespace of its own" >&2; exit 2; }
	@dir=$$(mktemp -d) && trap 'rm -rf $$dir' EXIT && $(GO) build -o $$dir/federation ./testsuite/load/federation && \
	$(if $(filter jackal,$(FEDERATION_SERVERS)),$(GO) build -C testsuite/jackalpeer -o $$dir/jackalpeer . &&) \
	$(abspath $(BENCH))/peers/loopback-only.sh $$dir/federation -jackdaw $(CURDIR)/jackdaw -out $(OUT:.jsonl=-federation.jsonl) \
	  -servers $(subst $() ,$(comma),$(strip $(FEDERATION_SERVERS))) $(if $(filter jackal,$(FEDERATION_SERVERS)),-jackal $$dir/jackalpeer) \
	  $(if $(REPS),-reps $(REPS)) $(FEDERATION_FLAGS)

# ARCHIVE_FLAGS are those of testsuite/load/archive: -purge 10000000 -limit 2h purges ten million messages to the last.
bench-archive: build
	@test -x "$(BENCH)/peers/loopback-only.sh" || { echo "make bench-archive: say where the load generator is: BENCH=DIR" >&2; exit 2; }
	@test "$$(id -u)" = 0 || { echo "make bench-archive: needs root, for a network namespace of its own" >&2; exit 2; }
	@dir=$$(mktemp -d) && trap 'rm -rf $$dir' EXIT && $(GO) build -o $$dir/archive ./testsuite/load/archive && \
	$(abspath $(BENCH))/peers/loopback-only.sh $$dir/archive -jackdaw $(CURDIR)/jackdaw -out $(OUT:.jsonl=-archive.jsonl) $(ARCHIVE_FLAGS)

# The path that users run by default, beside the relay and other servers, as a table with bars: some 20 minutes on a quiet machine. Needs
# nghttp2-client, Prosody and ejabberd. DEFAULT_FLAGS are those of testsuite/load/table: -large 1000000:10000000 makes the large store for
# the first login as large as the target says, which takes half an hour more; -only 'HTTP posts' measures some lines alone.
bench-default: build
	@test -x "$(BENCH)/peers/loopback-only.sh" || { echo "make bench-default: say where the load generator is: BENCH=DIR" >&2; exit 2; }
	@test "$$(id -u)" = 0 || { echo "make bench-default: needs root, for a network namespace of its own" >&2; exit 2; }
	@dir=$$(mktemp -d) && trap 'rm -rf $$dir' EXIT && $(GO) build -o $$dir/table ./testsuite/load/table && \
	$(abspath $(BENCH))/peers/loopback-only.sh $$dir/table -bench $(abspath $(BENCH)) -jackdaw $(CURDIR)/jackdaw \
	  -out $(OUT:.jsonl=-default.jsonl) $(if $(REPS),-reps $(REPS)) $(DEFAULT_FLAGS)

# What several nodes on Redis cost beside one server and the embedded store, as tables in Markdown: some ten minutes on a quiet machine.
# Needs redis-server. NODES_FLAGS are those of testsuite/load/nodes: -reps 1 -seconds 1s -pairs 10 -only three is a short look at some.
bench-nodes: build
	@test -x "$(BENCH)/peers/loopback-only.sh" || { echo "make bench-nodes: say where the load generator is: BENCH=DIR" >&2; exit 2; }
	@test "$$(id -u)" = 0 || { echo "make bench-nodes: needs root, for a network namespace of its own" >&2; exit 2; }
	@dir=$$(mktemp -d) && trap 'rm -rf $$dir' EXIT && $(GO) build -o $$dir/nodes ./testsuite/load/nodes && \
	$(abspath $(BENCH))/peers/loopback-only.sh $$dir/nodes -bench $(abspath $(BENCH)) -jackdaw $(CURDIR)/jackdaw \
	  -out $(OUT:.jsonl=-nodes.jsonl) $(if $(REPS),-reps $(REPS)) $(NODES_FLAGS)

# What messages, logins and sessions cost as sessions, accounts and archives grow, as pages of plots beside OUT. GROWTH_FLAGS are those of
# testsuite/load/growth; its defaults take some hours, most of them for imports. -sessions 100,1000 -accounts '' -archived '' takes a minute.
bench-growth: build
	$(GO) run ./testsuite/load/growth -jackdaw $(CURDIR)/jackdaw -out $(OUT:.jsonl=-growth.jsonl) $(GROWTH_FLAGS)
	$(GO) run ./testsuite/load/draw -out $(OUT:.jsonl=-plots) $(OUT:.jsonl=-growth.jsonl)

# Two servers, and users that come and go for an hour: fails when an acknowledged message is lost, or when memory, goroutines, descriptors
# or the disk grow. SOAK_FLAGS are those of testsuite/load/soak: -for 8h -rate 200.
bench-soak: build
	$(GO) run ./testsuite/load/soak -jackdaw $(CURDIR)/jackdaw -out $(OUT:.jsonl=-soak.jsonl) $(SOAK_FLAGS); status=$$?; \
	$(GO) run ./testsuite/load/draw -out $(OUT:.jsonl=-plots) $(OUT:.jsonl=-soak.jsonl); exit $$status

# The tests start the servers themselves, so Debian's packages are kept from starting theirs.
deps:
	@missing=; for p in $(PACKAGES); do \
	  dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ]; then as=; \
	  elif command -v sudo > /dev/null && sudo -n true 2>/dev/null; then as='sudo -n'; \
	  else echo "the tests need packages; as root: apt-get install -y --no-install-recommends$$missing" >&2; exit 1; fi; \
	  policy=/usr/sbin/policy-rc.d; \
	  if ! [ -e $$policy ]; then trap "$$as rm -f $$policy" EXIT; \
	    printf '#!/bin/sh\nexit 101\n' | $$as tee $$policy > /dev/null; $$as chmod 755 $$policy; fi; \
	  $$as apt-get update -q && \
	  $$as env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $$missing; fi
	@$(MAKE) --no-print-directory -j 3 deps-web deps-python deps-java

# These wait for the network, each for another registry.
deps-web:
	@cmp -s $(WEB)/package-lock.json $(WEB)/node_modules/.installed || \
	  { npm ci --prefix $(WEB) && cp $(WEB)/package-lock.json $(WEB)/node_modules/.installed; }

deps-python:
	@set -e; for d in $(PYTHONS); do cmp -s $$d/requirements.txt $$d/venv/.installed || { rm -rf $$d/venv; \
	  /usr/bin/python3 -m venv $$d/venv; $$d/venv/bin/pip install -q --disable-pip-version-check \
	  --require-hashes --no-deps -r $$d/requirements.txt; cp $$d/requirements.txt $$d/venv/.installed; }; done

deps-java:
	@cd $(JAVA) && sha256sum --status -c jars.sha256 2> /dev/null || \
	  { rm -rf jars && mvn -q -B -C dependency:copy-dependencies && sha256sum --quiet -c jars.sha256; }
