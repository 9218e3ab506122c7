// Package redistest starts real Redis servers for tests, on loopback and in directories of their own. They end with the
// test. Where redis-server is not installed the test fails and says how to install it.
package redistest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A Server is one redis-server, with an append-only file that is synced with every write unless its options say
// otherwise.
type Server struct {
	Addr string

	t       testing.TB
	port    int
	args    []string
	tls     *Files // nil: none
	process *exec.Cmd
	output  *bytes.Buffer
}

// Start starts a server. More options are as on the command line of redis-server: "--appendfsync", "everysec".
func Start(t testing.TB, options ...string) *Server {
	t.Helper()
	return start(t, nil, append(slices.Clone(usual), options...))
}

// usual are the options of all but sentinels.
var usual = []string{"--appendonly", "yes", "--appendfsync", "always", "--repl-diskless-sync-delay", "0"}

// StartReplica starts a replica of a server, and returns when they are in step.
func StartReplica(t testing.TB, of *Server) *Server {
	t.Helper()
	s := Start(t, "--replicaof", "127.0.0.1 "+strconv.Itoa(of.port))
	s.await("it is in step with its master", func() bool {
		return strings.Contains(s.cli("info", "replication"), "master_link_status:up") &&
			strings.Contains(of.cli("info", "replication"), fmt.Sprintf("port=%d,state=online", s.port))
	})
	return s
}

// StartCluster starts a cluster of three masters, and returns when each of them says that it is complete.
func StartCluster(t testing.TB) []*Server {
	t.Helper()
	return startCluster(t, nil, 0)
}

// StartReplicatedCluster starts a cluster of three masters with a replica each.
func StartReplicatedCluster(t testing.TB) []*Server {
	t.Helper()
	return startCluster(t, nil, 1)
}

func startCluster(t testing.TB, files *Files, replicas int) []*Server {
	t.Helper()
	servers := make([]*Server, 3*(1+replicas))
	create := append(files.cli(), "--cluster", "create", "--cluster-replicas", strconv.Itoa(replicas))
	for i := range servers {
		servers[i] = start(t, files, slices.Concat(usual,
			[]string{"--cluster-enabled", "yes", "--cluster-node-timeout", "5000"}))
		create = append(create, servers[i].Addr)
	}
	if out, err := exec.Command(path(t, "redis-cli"), append(create, "--cluster-yes")...).CombinedOutput(); err != nil {
		t.Fatalf("create the cluster: %v\n%s", err, out)
	}
	for _, s := range servers {
		s.await("the cluster is complete", func() bool {
			info := s.cli("cluster", "info")
			return strings.Contains(info, "cluster_state:ok") &&
				strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d\r", len(servers))) &&
				!strings.Contains(s.cli("info", "replication"), "master_link_status:down") &&
				strings.Count(s.cli("cluster", "nodes"), "master - ") == 3
		})
	}
	return servers
}

// Addrs are the addresses of servers.
func Addrs(servers []*Server) []string {
	addrs := make([]string, len(servers))
	for i, s := range servers {
		addrs[i] = s.Addr
	}
	return addrs
}

func path(t testing.TB, program string) string {
	t.Helper()
	p, err := exec.LookPath(program)
	if err != nil {
		t.Fatalf("%v; to install it: apt-get install redis-server", err)
	}
	return p
}

func start(t testing.TB, files *Files, args []string) *Server {
	t.Helper()
	program := path(t, "redis-server")
	for range 20 {
		port := freePort()
		s := &Server{t: t, port: port, tls: files, Addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port))}
		all := args
		if strings.HasPrefix(args[0], "-") {
			all = append([]string{"--save", ""}, args...)
		}
		s.args = append(append([]string{program}, all...),
			"--bind", "127.0.0.1", "--dir", t.TempDir())
		s.args = append(s.args, files.listen(port)...)
		if logs := os.Getenv("JACKDAW_LOGS"); logs != "" {
			s.args = append(s.args, "--logfile", filepath.Join(logs, fmt.Sprintf("redis-%d.log", port)))
		}
		err := s.run()
		if err == nil {
			t.Cleanup(s.Kill)
			return s
		}
		// Somebody may have taken the port meanwhile.
		if !strings.Contains(err.Error(), "Address already in use") {
			t.Fatal(err)
		}
	}
	t.Fatal("no free port for redis-server")
	return nil
}

// freePort finds a port that is free, as is the one of a cluster's bus, which is 10,000 above.
func freePort() int {
	for {
		port := 15000 + rand.IntN(15000)
		if free(port) && free(port+10000) {
			return port
		}
	}
}

func free(port int) bool {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	return l.Close() == nil
}

// run starts the process and returns when it answers.
func (s *Server) run() error {
	s.process = exec.Command(s.args[0], s.args[1:]...)
	// It must not outlive a test process that is killed.
	s.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	s.output = &bytes.Buffer{}
	s.process.Stdout, s.process.Stderr = s.output, s.output
	if err := s.process.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	process := s.process
	go func() { ended <- process.Wait() }()
	deadline := time.After(20 * time.Second)
	for tick := time.NewTicker(10 * time.Millisecond); ; {
		select {
		case err := <-ended:
			tick.Stop()
			return fmt.Errorf("redis-server ended: %w\n%s", errors.Join(err), s.output)
		case <-deadline:
			tick.Stop()
			s.Kill()
			return fmt.Errorf("redis-server does not answer\n%s", s.output)
		case <-tick.C:
			// One with a password answers too; one that is loading its data does not serve yet.
			if answer := s.cli("ping"); answer == "PONG\n" || strings.HasPrefix(answer, "NOAUTH") {
				tick.Stop()
				return nil
			}
		}
	}
}

// Kill ends the server with SIGKILL, if it runs.
func (s *Server) Kill() {
	_ = s.process.Process.Kill() // it may have ended already
	s.await("the server has ended", func() bool { return free(s.port) })
}

// Pause stops the server in the middle of what it does, until Wake or Kill: its connections stay.
func (s *Server) Pause() {
	s.t.Helper()
	if err := s.process.Process.Signal(syscall.SIGSTOP); err != nil {
		s.t.Fatal(err)
	}
}

// Wake has a server go on that was stopped by Pause.
func (s *Server) Wake() {
	s.t.Helper()
	if err := s.process.Process.Signal(syscall.SIGCONT); err != nil {
		s.t.Fatal(err)
	}
}

// Restart starts a killed server again, at the same address and with the same data.
func (s *Server) Restart() {
	s.t.Helper()
	if err := s.run(); err != nil {
		s.t.Fatal(err)
	}
}

// CLI is what redis-cli prints for a command; the test fails if it cannot be run.
func (s *Server) CLI(command ...string) string {
	s.t.Helper()
	out := s.cli(command...)
	if out == "" {
		s.t.Fatalf("redis-cli %v printed nothing", command)
	}
	return out
}

func (s *Server) cli(command ...string) string {
	// It is polled: an error shows as no output.
	out, _ := exec.Command("redis-cli",
		slices.Concat([]string{"-p", strconv.Itoa(s.port)}, s.tls.cli(), command)...).Output()
	return string(out)
}

func (s *Server) await(what string, condition func() bool) {
	s.t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-deadline:
			s.t.Errorf("redis-server %s: waited in vain until %s", s.Addr, what)
			return
		case <-tick.C:
		}
	}
}
