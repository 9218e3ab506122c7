package harness

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// lease is that of the nodes of a test: the shortest that there is.
const lease = "3s"

var address = regexp.MustCompile(`"?127\.[0-9.]+:[0-9]+"?`)

// elsewhere is a listener that is not among those of listen.
var elsewhere = regexp.MustCompile(`listen: \[":[0-9]+"\]`)

var metricsAt = regexp.MustCompile(`metrics: \["([^"]+)"\]`)

// spread makes a server the first of several nodes. text is its configuration; own are the addresses in it at which
// clients reach the server, which get others: one client after the other is led from there to one node after the other.
func (s *Server) spread(text string, nodes int, own ...*string) (first string) {
	s.t.Helper()
	s.all = &Output{}
	key := filepath.Join(s.Dir, "cluster.key")
	fronts := map[string][]string{} // the addresses of the nodes, by the one at which clients come
	before, rest, _ := strings.Cut(text, "\nlisten:\n")
	listen, after, ok := strings.Cut(rest, "\nc2s:\n")
	if !ok {
		s.t.Fatalf("no listeners in\n%s", text)
	}
	front := map[string]bool{}
	for _, a := range own {
		front[*a] = true
	}
	for i := range nodes {
		one := before + "\nlisten:\n" + address.ReplaceAllStringFunc(listen, func(a string) string {
			a = strings.Trim(a, `"`)
			to := a
			if front[a] || i > 0 { // the first has the others at which somebody may look for it
				to = FreeAddr()
			}
			if front[a] {
				fronts[a] = append(fronts[a], to)
			}
			return fmt.Sprintf("%q", to)
		}) + "\nc2s:\n" + after
		data := filepath.Join(s.Dir, "data")
		if i > 0 {
			one = elsewhere.ReplaceAllStringFunc(one, func(string) string { return fmt.Sprintf("listen: [%q]", Everywhere(s.t)) })
			one = strings.Replace(one, "data: "+data+"\n", fmt.Sprintf("data: %s%d\n", data, i), 1)
			mustLink(s.t, data, fmt.Sprint(data, i))
		}
		one += fmt.Sprintf("cluster: {listen: [%q], node: node%d, key_file: %q, lease: %s}\n", FreeAddr(), i+1, key, lease)
		one = sharing(one)
		if i == 0 {
			first = one
			continue
		}
		n := &Server{t: s.t, Dir: s.Dir, Config: filepath.Join(s.Dir, fmt.Sprintf("node%d.yaml", i+1)), Domain: s.Domain,
			Metrics: metricsAt.FindStringSubmatch(one)[1],
			bin:     s.bin, fast: s.fast, env: s.env, ulim: s.ulim, log: &Output{}, all: s.all, alone: true}
		if err := os.WriteFile(n.Config, []byte(one), 0o600); err != nil {
			s.t.Fatal(err)
		}
		s.Nodes = append(s.Nodes, n)
	}
	for front, behind := range fronts {
		lead(s.t, front, behind)
	}
	return first
}

// sharing says in a configuration that the files of users are in one place.
func sharing(text string) string {
	const shared = "upload: {shared: true}"
	switch {
	case strings.Contains(text, "s3:"):
		return text // all reach the bucket
	case strings.Contains(text, "modules: {upload: {"):
		return strings.Replace(text, "modules: {upload: {", "modules: {upload: {shared: true, ", 1)
	case strings.Contains(text, "modules: {"):
		return strings.Replace(text, "modules: {", "modules: {"+shared+", ", 1)
	case strings.Contains(text, "\nmodules:\n"):
		return strings.Replace(text, "\nmodules:\n", "\nmodules:\n  "+shared+"\n", 1)
	}
	return text + "modules: {" + shared + "}\n"
}

// mustLink gives the data directory of a node the files of the first one.
func mustLink(t testing.TB, first, other string) {
	for _, dir := range []string{filepath.Join(first, "upload"), other} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(first, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(first, "upload"), filepath.Join(other, "upload")); err != nil {
		t.Fatal(err)
	}
}

// lead passes connections on, to one address after the other; where nobody listens, to the next.
func lead(t testing.TB, front string, behind []string) {
	l, err := net.Listen("tcp", front)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	var turn atomic.Int64
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for range behind {
					to, err := net.Dial("tcp", behind[int(turn.Add(1))%len(behind)])
					if err == nil {
						join(c, to)
						return
					}
				}
			}()
		}
	}()
}

// join copies both ways until both have ended.
func join(a, b net.Conn) {
	defer b.Close()
	var both sync.WaitGroup
	for _, pair := range [2][2]net.Conn{{a, b}, {b, a}} {
		both.Go(func() {
			_, _ = io.Copy(pair[0], pair[1]) // the end of one is that of the other
			if half, ok := pair[0].(*net.TCPConn); ok {
				_ = half.CloseWrite()
			}
		})
	}
	both.Wait()
}

// Reload has each node read its configuration again.
func (s *Server) Reload() {
	s.t.Helper()
	for _, n := range append([]*Server{s}, s.Nodes...) {
		n.Command("", "reload")
	}
}

// settled waits until all is at home on some node.
func (s *Server) settled() {
	s.t.Helper()
	var out []byte
	for end := time.Now().Add(Timeout); time.Now().Before(end); {
		var v struct {
			Nodes    []struct{ Slots int }
			Homeless int `json:"slots_without_home"`
		}
		cmd := exec.Command(s.fast, "nodes", "--json", "--config", s.Config)
		cmd.Env = append(os.Environ(), s.env...)
		out, _ = cmd.CombinedOutput()
		if json.Unmarshal(out, &v) == nil && v.Homeless == 0 && len(v.Nodes) == len(s.Nodes)+1 && even(v.Nodes) {
			return
		}
		<-time.After(50 * time.Millisecond)
	}
	s.t.Fatalf("the nodes do not share all owners: %s", out)
}

func even(nodes []struct{ Slots int }) bool {
	for _, n := range nodes {
		if n.Slots < 1024/len(nodes)-1 {
			return false
		}
	}
	return true
}

// scrape reads the metrics.
func (s *Server) scrape() string {
	s.t.Helper()
	resp, err := scraper.Get("http://" + s.Metrics + "/metrics")
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(text)
}

// Reconfigure replaces a text in the configuration of all nodes. What takes it up is a reload or a start.
func (s *Server) Reconfigure(old, next string) {
	s.t.Helper()
	s.Rewrite(func(text string) string {
		if !strings.Contains(text, old) {
			s.t.Fatalf("no %q in\n%s", old, text)
		}
		return strings.Replace(text, old, next, 1)
	})
}

// Rewrite changes the configuration of all nodes, one after the other.
func (s *Server) Rewrite(change func(text string) string) {
	s.t.Helper()
	for _, n := range append([]*Server{s}, s.Nodes...) {
		text, err := os.ReadFile(n.Config)
		if err != nil {
			s.t.Fatal(err)
		}
		if err := os.WriteFile(n.Config, []byte(change(string(text))), 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
}

// Everywhere is a free port of all addresses of this machine, ":PORT", for what nobody is told of where it listens on
// loopback alone. It is not among those that the harness or the system gives.
func Everywhere(t testing.TB) string {
	t.Helper()
	for range 100 {
		addr := fmt.Sprint(":", 20000+rand.N(10000))
		ln, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		defer ln.Close()
		if p, err := net.ListenPacket("udp", addr); err == nil {
			defer p.Close()
			return addr
		}
	}
	t.Fatal("no port is free")
	return ""
}

// between is what crosses a link between nodes.
var between = regexp.MustCompile(`(?m)^jackdaw_node_stanzas_(waiting|sent_total|received_total) (\S+)$`)

// Quiet waits until nothing is on its way from one node to another. For a server that is alone it does nothing.
func (s *Server) Quiet() {
	s.t.Helper()
	if len(s.Nodes) == 0 {
		return
	}
	last := ""
	for end := time.Now().Add(Timeout); time.Now().Before(end); {
		now, waits := "", false
		for _, n := range append([]*Server{s}, s.Nodes...) {
			found := between.FindAllStringSubmatch(n.scrape(), -1)
			if len(found) != 3 {
				s.t.Fatalf("a node does not say what is on its way: %q", found)
			}
			for _, m := range found {
				now += m[1] + m[2] + " "
				waits = waits || m[1] == "waiting" && m[2] != "0"
			}
		}
		// One after the other was asked: what one had passed on may have been with another then.
		if !waits && now == last {
			return
		}
		last = now
	}
	s.t.Fatalf("something is still on its way between the nodes: %s", last)
}

// scraper keeps no connection that a test would have to close.
var scraper = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: Timeout}
