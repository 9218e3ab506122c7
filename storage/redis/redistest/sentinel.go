package redistest

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// StartSentinel starts a sentinel that watches a master, which it calls name.
func StartSentinel(t testing.TB, name string, master *Server) *Server {
	t.Helper()
	// A sentinel rewrites its configuration, so it wants a file. On a busy machine a server may not answer for a second;
	// taken for dead just after it has followed, it would lose what its replicas do not have yet.
	conf := filepath.Join(t.TempDir(), "sentinel.conf")
	text := fmt.Sprintf("sentinel monitor %s 127.0.0.1 %d 1\nsentinel down-after-milliseconds %s 2000\n"+
		"sentinel failover-timeout %s 4000\n", name, master.port, name, name)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return start(t, master.tls, []string{conf, "--sentinel"})
}

// Watched are a master with replicas, and a sentinel that has one of them follow when the master is gone.
type Watched struct {
	Sentinel *Server
	Name     string // that the sentinel has for them
	servers  []*Server
}

// StartWatched starts them, and returns when the sentinel knows all.
func StartWatched(t testing.TB, name string, replicas int) *Watched {
	t.Helper()
	w := &Watched{Name: name, servers: []*Server{Start(t)}}
	for range replicas {
		w.servers = append(w.servers, StartReplica(t, w.servers[0]))
	}
	w.Sentinel = StartSentinel(t, name, w.servers[0])
	w.Settle()
	return w
}

// Master is who the sentinel says it is.
func (w *Watched) Master() *Server {
	addr := strings.Fields(w.Sentinel.cli("sentinel", "get-master-addr-by-name", w.Name))
	i := slices.IndexFunc(w.servers, func(s *Server) bool {
		return len(addr) == 2 && s.Addr == net.JoinHostPort(addr[0], addr[1])
	})
	if i < 0 {
		w.Sentinel.t.Fatalf("the sentinel knows no master: %q", addr)
	}
	return w.servers[i]
}

// Settle returns when all but the master are replicas in step with it, and the sentinel knows them.
func (w *Watched) Settle() {
	w.Sentinel.t.Helper()
	w.Sentinel.await("all replicas are in step", func() bool {
		m := w.Master()
		known := w.Sentinel.cli("sentinel", "replicas", w.Name)
		for _, s := range w.servers {
			info := s.cli("info", "replication")
			follows := strings.Contains(info, "master_port:"+strconv.Itoa(m.port)) &&
				strings.Contains(info, "master_link_status:up")
			if s != m && !(follows && strings.Contains(known, s.Addr)) {
				return false
			}
		}
		return strings.Contains(m.cli("info", "replication"), "role:master")
	})
}

// Followed returns when another than this server is the master.
func (w *Watched) Followed(old *Server) {
	w.Sentinel.t.Helper()
	w.Sentinel.await("another is the master", func() bool {
		m := w.Master()
		return m != old && strings.Contains(m.cli("info", "replication"), "role:master")
	})
}
