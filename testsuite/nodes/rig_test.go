package nodes

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"jackdaw/storage/redis/redistest"
	"jackdaw/testsuite/harness"
	"jackdaw/testsuite/ledger"
)

// lease is the shortest that the configuration takes.
const lease = 3 * time.Second

// A rig is several nodes on one Redis. All ways between them and to Redis are wires, but to one behind Sentinel.
type rig struct {
	t       testing.TB
	plan    plan
	redis   *redistest.Server
	watched *redistest.Watched // nil: redis is alone
	key     string             // file
	nodes   []*node
	next    atomic.Int64 // for at
	all     atomic.Pointer[[]*node]
}

// A node is one of them.
type node struct {
	*harness.Server
	Name  string
	redis *wire       // from it to Redis
	links *wire       // from the others to it
	up    atomic.Bool // clients may come
}

// A plan is what a rig is made of.
type plan struct {
	tags     string        // of the nodes' build
	watched  bool          // Redis has two replicas, and a sentinel
	away     int           // so many recipients more are away
	skew     time.Duration // by which the clock of a node is set wrong
	troubles []trouble
}

// newRig starts Redis and so many nodes; the accounts are made before.
func newRig(t testing.TB, p plan, n int, users []string) *rig {
	t.Helper()
	r := &rig{t: t, plan: p, key: filepath.Join(t.TempDir(), "cluster.key")}
	if p.watched {
		r.watched = redistest.StartWatched(t, "jackdaw", 2)
		r.redis = r.watched.Sentinel
	} else {
		r.redis = redistest.Start(t)
	}
	r.makeKey()
	for range n {
		r.join(users)
		users = nil
	}
	r.settled(n)
	return r
}

func (r *rig) makeKey() {
	r.t.Helper()
	config := filepath.Join(filepath.Dir(r.key), "init.yaml")
	text := fmt.Sprintf("data: %s\nhosts: [{domain: localhost}]\ncluster: {key_file: %q}\n", filepath.Dir(r.key), r.key)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	out, err := exec.Command(harness.FastBinary(r.t, r.plan.tags), "cluster", "init", "--config", config).CombinedOutput()
	if err != nil {
		r.t.Fatalf("jackdaw cluster init: %v\n%s", err, out)
	}
}

// join starts one more node.
func (r *rig) join(users []string) *node {
	r.t.Helper()
	n := &node{Name: fmt.Sprintf("n%d", len(r.nodes)+1), redis: newWire(r.t, r.redis.Addr, nil)}
	listen := harness.FreeAddr()
	n.links = newWire(r.t, listen, whose)
	at := fmt.Sprintf("addrs: [%q]", n.redis.Addr)
	if r.watched != nil {
		at += ", master_name: " + r.watched.Name + ", wait_replicas: 2"
	}
	n.Server = harness.Start(r.t, harness.Options{Fast: true, Tags: r.plan.tags, RedisAt: at, Users: users,
		Config: ledger.Config + "  upload: {enabled: false}\n" + fmt.Sprintf("cluster: {listen: [%q], address: %q, node: %s, key_file: %q, lease: %s}\n",
			listen, n.links.Addr, n.Name, r.key, lease)})
	n.up.Store(true)
	r.nodes = append(r.nodes, n)
	all := slices.Clone(r.nodes)
	r.all.Store(&all)
	return n
}

// at is the next node where a client may get in, as a load balancer chooses it.
func (r *rig) at() ledger.Way {
	all := *r.all.Load()
	i := int(r.next.Add(1))
	for j := range all {
		if n := all[(i+j)%len(all)]; n.up.Load() {
			return ledger.Way{C2STLS: n.C2STLS, HTTP: n.HTTP}
		}
	}
	return ledger.Way{C2STLS: all[0].C2STLS, HTTP: all[0].HTTP}
}

// seen is what `jackdaw nodes` says.
type seen struct {
	Nodes []struct {
		Node  string
		Slots int
		State string
	}
	Homeless int `json:"slots_without_home"`
}

func (r *rig) look() (s seen) {
	r.t.Helper()
	for _, n := range r.nodes {
		out, err := n.TryCommand("", "nodes", "--json")
		if err == nil {
			if err := json.Unmarshal([]byte(out), &s); err != nil {
				r.t.Fatalf("%v: %s", err, out)
			}
			return s
		}
	}
	return s
}

// settled waits until so many nodes share all slots, and no slot has moved for as long as a node may wait to see that
// one should.
func (r *rig) settled(n int) {
	r.t.Helper()
	end, since, last := time.Now().Add(harness.Timeout), time.Now(), ""
	for {
		s := r.look()
		few := len(s.Nodes) != n || s.Homeless > 0
		for _, m := range s.Nodes {
			few = few || m.State != "serving" || m.Slots < 1024/n-1
		}
		if now := fmt.Sprint(s); few || now != last {
			since, last = time.Now(), now
		}
		if !few && time.Since(since) > lease/2 {
			return
		}
		if time.Now().After(end) {
			r.t.Fatalf("%d nodes do not share all slots: %+v", n, s)
		}
		<-time.After(100 * time.Millisecond)
	}
}

// kill ends a node with SIGKILL.
func (n *node) kill() {
	n.up.Store(false)
	n.Kill()
}

// stop ends it as an administrator does.
func (n *node) stop(t testing.TB) {
	t.Helper()
	n.up.Store(false)
	if code := n.Stop(); code != 0 {
		t.Errorf("%s exits with %d", n.Name, code)
	}
}

func (n *node) launch() {
	n.Launch()
	n.up.Store(true)
}

// sleep has a node stand still, as when its machine does, and returns when all its threads do.
func (n *node) sleep() {
	n.up.Store(false)
	n.Signal(syscall.SIGSTOP)
	for !n.still() {
		<-time.After(time.Millisecond)
	}
}

func (n *node) still() bool {
	stats, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", n.PID())) // the pattern is good
	for _, file := range stats {
		text, _ := os.ReadFile(file) // a thread may have ended
		if _, after, ok := strings.Cut(string(text), ") "); ok && !strings.HasPrefix(after, "T") {
			return false
		}
	}
	return len(stats) > 0
}

func (n *node) wake() {
	n.Signal(syscall.SIGCONT)
	n.up.Store(true)
}

// says counts what is in the log.
func (n *node) says(text string) int { return strings.Count(n.Log(), text) }

// whose is the name of the node that has the connection from an address of this machine, by proc(5) and what its
// configuration says; "" if none has.
func whose(addr string) string {
	ap := netip.MustParseAddrPort(addr)
	b := ap.Addr().As4()
	slices.Reverse(b[:])
	local, socket := fmt.Sprintf("%X:%04X", b, ap.Port()), ""
	table, _ := os.ReadFile("/proc/net/tcp") // what cannot be read has ended
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); len(f) > 9 && f[1] == local {
			socket = "socket:[" + f[9] + "]"
		}
	}
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline") // the pattern is good
	for _, file := range all {
		line, _ := os.ReadFile(file)
		_, config, ok := strings.Cut(strings.TrimRight(string(line), "\x00"), "\x00serve\x00--config\x00")
		if !ok || !has(filepath.Dir(file), socket) {
			continue
		}
		text, _ := os.ReadFile(config)
		_, after, _ := strings.Cut(string(text), " node: ")
		name, _, _ := strings.Cut(after, ",")
		return name
	}
	return ""
}

// has says whether a process has a socket.
func has(process, socket string) bool {
	files, _ := filepath.Glob(process + "/fd/*")
	return slices.ContainsFunc(files, func(file string) bool {
		to, _ := os.Readlink(file) // it may have been closed
		return to == socket
	})
}
