package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"jackdaw/cluster"
	"jackdaw/storage/redis"
	"jackdaw/testsuite/harness"
	"jackdaw/testsuite/load/stage"
)

// portC2S and the others are the same at each address of a node.
const portC2S, portLinks, portRedis = "15223", "15270", "15379"

// patience is how long anything that is started may take.
const patience = time.Minute

// A process is a server that runs.
type process struct {
	cmd  *exec.Cmd
	log  *harness.Output
	done chan struct{}
}

// launch starts a program and waits until it prints that it is ready.
func (b *bench) launch(ready, program string, args ...string) *process {
	p := &process{exec.Command(program, args...), &harness.Output{}, make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	go func() { p.cmd.Wait(); close(p.done) }()
	if err := p.log.Await(ready, 0, patience, p.done); err != nil {
		b.Fatalf("%s is not ready: %v\n%s", filepath.Base(program), err, p.log.String())
	}
	return p
}

// end stops a process, and waits for its end.
func (p *process) end(sig os.Signal) {
	p.cmd.Process.Signal(sig)
	select {
	case <-p.done:
	case <-time.After(patience):
		p.cmd.Process.Kill()
		<-p.done
	}
}

// servers are all that run at one place.
type servers struct {
	dir    string
	nodes  []*process
	config []string // of each node
	redis  *process // nil: none
	client *goredis.Client
}

// address is where a node is.
func address(node int) string { return fmt.Sprintf("127.0.0.%d", node+1) }

// start starts a place: a server alone, or nodes of a cluster.
func (b *bench) start(withRedis bool, nodes int) *servers {
	s := &servers{}
	var err error
	if s.dir, err = os.MkdirTemp(b.home, "place-"); err != nil {
		b.Fatal(err)
	}
	if withRedis {
		s.redis = b.launch("Ready to accept connections", "redis-server", "--bind", "127.0.0.1", "--port", portRedis,
			"--dir", s.dir, "--save", "", "--appendonly", "yes", "--appendfsync", "always")
		s.client = goredis.NewClient(&goredis.Options{Addr: "127.0.0.1:" + portRedis})
	}
	for i := range max(1, nodes) {
		s.config = append(s.config, b.configure(s, i, nodes > 0))
	}
	if nodes > 0 { // the key is where all of them look for it
		if _, err := output("", b.program, "cluster", "init", "--config", s.config[0]); err != nil {
			b.Fatal(err)
		}
	}
	for _, c := range s.config {
		s.nodes = append(s.nodes, b.launch("jackdaw: ready", b.program, "serve", "--config", c))
	}
	return s
}

// configure writes the configuration of a server: as by default, without what holds a generator up that everybody
// writes to.
func (b *bench) configure(s *servers, i int, node bool) string {
	var text strings.Builder
	fmt.Fprintf(&text, `data: %s
hosts: [{domain: %s}]
listen: {c2s: [], c2s_tls: ["%s:%s"], http: [], https: []}
c2s: {scram_iterations: 4096}
limits: {resources_per_account: 1000}
modules: {upload: {enabled: false}, strangers: {recipients: 0}, offline: {max_messages: 100000, max_bytes: 1073741824}}
log: {level: warn}
`, filepath.Join(s.dir, "data"+strconv.Itoa(i)), harness.Domain, address(i), portC2S)
	if s.redis != nil {
		fmt.Fprintf(&text, "storage: {engine: redis, redis: {addrs: [\"127.0.0.1:%s\"]}}\n", portRedis)
	}
	if node {
		fmt.Fprintf(&text, "cluster: {listen: [\"%s:%s\"], node: n%d, key_file: %s, lease: %s}\n", address(i), portLinks, i,
			filepath.Join(s.dir, "cluster.key"), b.lease)
	}
	name := filepath.Join(s.dir, fmt.Sprintf("node%d.yaml", i))
	if err := os.WriteFile(name, []byte(text.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	return name
}

// stop ends what runs, and removes its data.
func (s *servers) stop() {
	for _, p := range s.nodes {
		p.cmd.Process.Signal(syscall.SIGTERM)
	}
	for _, p := range s.nodes {
		p.end(syscall.SIGTERM)
	}
	if s.redis != nil {
		s.client.Close()
		s.redis.end(syscall.SIGTERM)
	}
	os.RemoveAll(s.dir)
}

// A usage is what has been spent so far.
type usage struct {
	at             time.Time
	servers, redis time.Duration
	commands       float64
}

func (s *servers) usage() (u usage, err error) {
	u.at = time.Now()
	for _, p := range s.nodes {
		cpu, err := stage.TreeCPU(p.cmd.Process.Pid)
		if err != nil {
			return u, err
		}
		u.servers += cpu
	}
	if s.redis == nil {
		return u, nil
	}
	if u.redis, err = stage.TreeCPU(s.redis.cmd.Process.Pid); err != nil {
		return u, err
	}
	text, err := s.client.Info(context.Background(), "commandstats").Result()
	u.commands = commands(text)
	return u, err
}

// commands adds up the calls of all commands but our own questions; Redis counts those in scripts too.
func commands(info string) (sum float64) {
	for line := range strings.Lines(info) {
		name, stats, ok := strings.Cut(line, ":calls=")
		if !ok || name == "cmdstat_info" {
			continue
		}
		calls, _, _ := strings.Cut(stats, ",")
		n, err := strconv.ParseFloat(calls, 64)
		if err == nil {
			sum += n
		}
	}
	return sum
}

// A layout says which node each slot is at home on.
type layout [cluster.Slots]string

// settled waits until each node has its share of the slots, and returns it.
func (b *bench) settled(s *servers) *layout {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	store, err := redis.OpenNodes(ctx, redis.Options{Addrs: []string{"127.0.0.1:" + portRedis}, Prefix: "jackdaw:"})
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	var before layout
	for {
		view, err := store.Look(ctx)
		if err != nil {
			b.Fatalf("the nodes do not share the slots: %v", err)
		}
		var now layout
		count := map[string]int{}
		if view.Places != nil {
			for slot, p := range view.Places {
				now[slot] = p.Node
				count[p.Node]++
			}
		}
		even := len(count) == len(s.nodes)
		for node, n := range count {
			even = even && node != "" && n >= cluster.Slots/len(s.nodes)
		}
		if even && now == before {
			return &now // for a second, in which what has moved has begun there
		}
		before = now
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			b.Fatalf("the nodes do not share the slots evenly: %v", count)
		}
	}
}

// ip is the address of a node for the name server.
func ip(node int) net.IP { return net.ParseIP(address(node)) }
