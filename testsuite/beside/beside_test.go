// Package beside has the programs that run beside a server read what contrib/ has for them.
package beside

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"jackdaw/testsuite/harness"
	"jackdaw/testsuite/peers"
)

func TestMain(m *testing.M) {
	code := m.Run()
	harness.Cleanup()
	os.Exit(code)
}

const contrib = "../../contrib"

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// run returns what a program of Debian prints; the test ends if it does not find all well.
func run(t *testing.T, packages, program string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Fatalf("%s is missing: apt-get install %s", program, packages)
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// A board is what is read of a dashboard of Grafana.
type board struct {
	Panels []struct {
		Title   string
		Targets []struct{ Expr string }
	}
}

func TestTheDashboardAsksForWhatThereIs(t *testing.T) {
	var b board
	if err := json.Unmarshal([]byte(read(t, contrib+"/grafana/jackdaw.json")), &b); err != nil {
		t.Fatal(err)
	}
	metrics, rules := scrape(t), "groups:\n- name: dashboard\n  rules:\n"
	variables := strings.NewReplacer("$job", "jackdaw", "$instance", ".*", "$__rate_interval", "5m")
	if len(b.Panels) < 10 {
		t.Errorf("%d panels", len(b.Panels))
	}
	for i, p := range b.Panels {
		for j, target := range p.Targets {
			wantMetrics(t, metrics, p.Title, target.Expr)
			rules += fmt.Sprintf("  - {record: 'panel:%d:%d', expr: %q}\n", i, j, variables.Replace(target.Expr))
		}
	}
	run(t, "prometheus", "promtool", "check", "rules", write(t, filepath.Join(t.TempDir(), "rules.yml"), rules))
}

func TestAlertsFireWhenTheyShould(t *testing.T) {
	dir := t.TempDir()
	alerts := read(t, contrib+"/prometheus/alerts.yml")
	write(t, filepath.Join(dir, "alerts.yml"), alerts)
	played := read(t, "testdata/alerts_test.yml")
	run(t, "prometheus", "promtool", "check", "rules", filepath.Join(dir, "alerts.yml"))
	run(t, "prometheus", "promtool", "test", "rules", write(t, filepath.Join(dir, "alerts_test.yml"), played))
	for _, m := range regexp.MustCompile(`(?m)^ +- alert: (\w+)\n +expr: (.*)$`).FindAllStringSubmatch(alerts, -1) {
		if !strings.Contains(played, m[1]) {
			t.Errorf("testdata/alerts_test.yml does not play %s", m[1])
		}
		wantMetrics(t, scrape(t), m[1], m[2])
	}
}

var scraped string

// scrape is what a server tells of itself.
func scrape(t *testing.T) string {
	t.Helper()
	if scraped != "" {
		return scraped
	}
	s := harness.Start(t, harness.Options{Federate: true, Listen: fmt.Sprintf("tls: [%q]", harness.FreeAddr())})
	web := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := web.Get("http://" + s.Metrics + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var b strings.Builder
	if err := resp.Write(&b); err != nil {
		t.Fatal(err)
	}
	scraped = b.String()
	return scraped
}

// wantMetrics wants all names of an expression to be there, with the labels that it sorts by.
func wantMetrics(t *testing.T, metrics, where, expr string) {
	t.Helper()
	for _, name := range regexp.MustCompile(`\b(jackdaw|process|go)_[a-z_]+`).FindAllString(expr, -1) {
		lines := regexp.MustCompile(`(?m)^`+name+`[ {].*`).FindAllString(metrics, -1)
		if len(lines) == 0 {
			t.Errorf("%s: there is no metric %s", where, name)
			continue
		}
		for _, by := range regexp.MustCompile(`by \(([^)]*)\)`).FindAllStringSubmatch(expr, -1) {
			for label := range strings.SplitSeq(by[1], ", ") {
				if label != "instance" && !strings.Contains(lines[0], label+`="`) {
					t.Errorf("%s: %s has no label %s", where, name, label)
				}
			}
		}
	}
}

func TestProxiesTakeTheirExamples(t *testing.T) {
	pair := peers.NewAuthority(t).Issue("example.org", "")
	dir := t.TempDir()
	certified := strings.NewReplacer("/etc/letsencrypt/live/example.org/fullchain.pem", pair.Cert,
		"/etc/letsencrypt/live/example.org/privkey.pem", pair.Key)
	site := write(t, filepath.Join(dir, "site.conf"), certified.Replace(read(t, contrib+"/nginx/jackdaw.conf")))
	stream, err := filepath.Abs(contrib + "/nginx/stream.conf")
	if err != nil {
		t.Fatal(err)
	}
	module := "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\npid " + dir + "/pid;\nevents {}\n"
	web := "http { access_log off; client_body_temp_path " + dir + "/a; proxy_temp_path " + dir + "/b;\n" +
		"fastcgi_temp_path " + dir + "/c; uwsgi_temp_path " + dir + "/d; scgi_temp_path " + dir + "/e;\ninclude " + site + "; }\n"
	for name, text := range map[string]string{"site": web, "stream": "stream { include " + stream + "; }\n"} {
		file := write(t, filepath.Join(dir, name+".nginx.conf"), module+text)
		run(t, "nginx-light libnginx-mod-stream", "nginx", "-t", "-e", "stderr", "-p", dir, "-c", file)
	}
	run(t, "haproxy", "haproxy", "-c", "-f", contrib+"/haproxy/haproxy.cfg")
	run(t, "caddy", "caddy", "validate", "--adapter", "caddyfile", "--config", contrib+"/caddy/Caddyfile")
}

// TestTheServerTakesWhatExamplesSay reads what stands in the comments below "In jackdaw.yaml:".
func TestTheServerTakesWhatExamplesSay(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	for _, name := range []string{"nginx/jackdaw.conf", "nginx/stream.conf", "haproxy/haproxy.cfg", "caddy/Caddyfile"} {
		_, said, ok := strings.Cut(read(t, filepath.Join(contrib, name)), "In jackdaw.yaml:\n")
		if !ok {
			t.Errorf("%s does not say what belongs into jackdaw.yaml", name)
		}
		var yaml strings.Builder
		for line := range strings.Lines(said) {
			text, ok := strings.CutPrefix(line, "#   ")
			if !ok {
				break
			}
			yaml.WriteString(text)
		}
		write(t, s.Config, "data: "+s.Dir+"/data\nhosts: [{domain: example.org}]\n"+yaml.String())
		if out, err := s.TryCommand("", "check"); err != nil || strings.Contains(out, "warning") || !strings.Contains(yaml.String(), "listen") {
			t.Errorf("%s: %v\n%s\n%s", name, err, yaml.String(), out)
		}
	}
}
