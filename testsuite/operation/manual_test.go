package operation

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"jackdaw/testsuite/harness"
)

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", path))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

const unitFile = "contrib/jackdaw.service"

// directives are the lines of a unit, by key.
func directives(text string) map[string][]string {
	all := map[string][]string{}
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if ok && !strings.HasPrefix(key, "#") {
			all[key] = append(all[key], value)
		}
	}
	return all
}

// analyze runs systemd-analyze, which needs no systemd that runs.
func analyze(t *testing.T, args ...string) (string, error) {
	t.Helper()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Fatal("systemd-analyze is missing: apt-get install systemd")
	}
	out, err := exec.Command("systemd-analyze", args...).CombinedOutput()
	return string(out), err
}

func TestTheUnitIsSoundAndExposesLittle(t *testing.T) {
	text := read(t, unitFile)
	// verify wants the programs to be there.
	dir := t.TempDir()
	here := filepath.Join(dir, "jackdaw.service")
	if err := os.WriteFile(here, []byte(strings.ReplaceAll(text, "/usr/local/bin/jackdaw", "/bin/true")), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := analyze(t, "verify", "--man=no", here); err != nil || out != "" {
		t.Errorf("verify: %v\n%s", err, out)
	}
	// The threshold is ten times the exposure: below 3 of 10.
	if out, err := analyze(t, "security", "--offline=yes", "--threshold=29", here); err != nil {
		t.Errorf("security: %v\n%s", err, out)
	}
}

func TestTheUnitAndTheManualNameTheSamePlaces(t *testing.T) {
	unit, manual := directives(read(t, unitFile)), read(t, "docs/manual.md")
	for key, want := range map[string]string{
		"User": "jackdaw", "StateDirectory": "jackdaw", "StateDirectoryMode": "0700", "RuntimeDirectory": "jackdaw",
		"ExecStart": "/usr/local/bin/jackdaw serve --config /etc/jackdaw/jackdaw.yaml",
	} {
		if !slices.Equal(unit[key], []string{want}) {
			t.Errorf("%s is %q, want %q", key, unit[key], want)
		}
	}
	for _, want := range []string{unitFile, "useradd --system --user-group jackdaw", "/usr/local/bin/jackdaw", "/etc/jackdaw/jackdaw.yaml",
		"data: /var/lib/jackdaw", "/etc/systemd/system/jackdaw.service", "unix:/run/jackdaw/http.sock", "`LimitNOFILE` (" + unit["LimitNOFILE"][0] + ")"} {
		if !strings.Contains(manual, want) {
			t.Errorf("the manual does not name %s", want)
		}
	}
}

func TestTheConfigurationOfTheManualIsGood(t *testing.T) {
	manual := read(t, "docs/manual.md")
	_, script, ok := strings.Cut(manual, "    printf ")
	script, _, ok2 := strings.Cut(script, " > /etc/jackdaw/jackdaw.yaml\n")
	if !ok || !ok2 {
		t.Fatal("the manual no longer makes a configuration with printf")
	}
	s := harness.Start(t, harness.Options{})
	if out, err := exec.Command("sh", "-c", "printf "+script+" > "+s.Config).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := s.TryCommand("", "check"); err != nil || !strings.Contains(out, "good") {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestTheManualNamesMetricsThatThereAre reads the table of metrics. A name that begins with _ ends one that stands
// before.
func TestTheManualNamesMetricsThatThereAre(t *testing.T) {
	s := harness.Start(t, harness.Options{Federate: true, Domain: "im.example", Listen: fmt.Sprintf("tls: [%q]", harness.FreeAddr()),
		Config: fmt.Sprintf("acme: {agree: true, directory: \"https://127.0.0.1:1/\", resolver: \"127.0.0.1:1\"}\n"+
			"calls: {enabled: true, listen: [%q]}", harness.FreeAddr())})
	web := &http.Client{Transport: &http.Transport{}}
	defer web.CloseIdleConnections()
	_, _, text := fetch(t, web, "GET", "http://"+s.Metrics+"/metrics", "")
	wantMetrics(t, "docs/manual.md", text, 30)

	s = harness.Start(t, harness.Options{Place: harness.Several})
	_, _, text = fetch(t, web, "GET", "http://"+s.Nodes[0].Metrics+"/metrics", "")
	wantMetrics(t, "docs/cluster.md", text, 10)
}

// wantMetrics wants the metrics of the table in a page, so many at least, to be in a text.
func wantMetrics(t *testing.T, page, text string, least int) {
	t.Helper()
	_, table, _ := strings.Cut(read(t, page), "| name (`jackdaw_…`) | what |\n")
	table, _, ok := strings.Cut(table, "\n\n")
	if !ok {
		t.Fatal(page + " has no table of metrics")
	}
	name := regexp.MustCompile("`([a-z_…0-9]+)(\\{[a-z,]+\\})?`")
	seen := 0
	for row := range strings.Lines(table) {
		cells := strings.Split(row, "|")
		if len(cells) < 3 {
			continue
		}
		for _, m := range name.FindAllStringSubmatch(cells[1], -1) {
			pattern := "(?m)^jackdaw_" + strings.ReplaceAll(m[1], "…", "[a-z_]+") + "(_bucket)?"
			if strings.HasPrefix(m[1], "_") {
				pattern = "(?m)^jackdaw_[a-z_]+" + m[1]
			}
			pattern += `(\{([^}]*)\})? `
			found := regexp.MustCompile(pattern).FindAllString(text, -1)
			fits := func(line string) bool {
				for label := range strings.SplitSeq(strings.Trim(m[2], "{}"), ",") {
					if label != "" && !strings.Contains(line, label+`="`) {
						return false
					}
				}
				return true
			}
			if !slices.ContainsFunc(found, fits) {
				t.Errorf("there is no metric %s with the labels %q: %q", m[1], m[2], found)
			}
			seen++
		}
	}
	if seen < least {
		t.Errorf("%d metrics were found in the table", seen)
	}
}

func TestTheHookOfTheManualMindsItsOwnCertificateOnly(t *testing.T) {
	_, script, _ := strings.Cut(read(t, "docs/manual.md"), "    #!/bin/sh\n")
	script, _, ok := strings.Cut(script, "\n\n")
	if !ok {
		t.Fatal("the manual has no hook")
	}
	dir := t.TempDir()
	log := filepath.Join(dir, "log")
	for _, program := range []string{"install", "systemctl"} {
		if err := os.WriteFile(filepath.Join(dir, program), []byte("#!/bin/sh\necho "+program+" \"$@\" >> "+log+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	run := func(lineage string) string {
		t.Helper()
		cmd := exec.Command("sh", "-c", script)
		cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "RENEWED_LINEAGE="+lineage)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		b, err := os.ReadFile(log)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		return string(b)
	}
	if got := run("/etc/letsencrypt/live/www.example.org"); got != "" {
		t.Errorf("for another certificate: %s", got)
	}
	if got := run("/etc/letsencrypt/live/example.org"); strings.Count(got, "install ") != 2 || !strings.Contains(got, "systemctl reload jackdaw") {
		t.Errorf("for its own: %s", got)
	}
}
