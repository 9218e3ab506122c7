package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"jackdaw/config"
)

// newPlace is a directory without a configuration, and the flags for one in it.
func newPlace(t *testing.T) (dir string, s *shell) {
	t.Helper()
	dir = t.TempDir()
	return dir, &shell{t: t, flags: []string{"--config", filepath.Join(dir, "new", "jackdaw.yaml")}}
}

var setupFlags = []string{"setup", "example.org", "--admin", "me", "--address", "192.0.2.7"}

func TestSetupMakesAServerThatIsReady(t *testing.T) {
	dir, s := newPlace(t)
	out := s.do("", setupFlags...)
	for _, want := range []string{"Written: " + s.flags[1], "Created: me@example.org with the password ",
		"\n_xmpps-server._tcp.example.org. 3600 IN SRV 5 0 5270 example.org.\n", "\nexample.org. 3600 IN A 192.0.2.7\n",
		"ufw allow", "systemctl enable --now jackdaw", "setup --unit", "jackdaw doctor", "https://example.org/admin", "There is no certificate"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in %s", want, out)
		}
	}
	if list := s.do("", "user", "list"); list != "me@example.org\tactive\t\tadmin\n" {
		t.Errorf("accounts: %q", list)
	}
	if out := s.do("", "check"); !strings.Contains(out, "good") {
		t.Errorf("check: %s", out)
	}
	unit := s.do("", "setup", "--unit")
	if !strings.Contains(unit, " serve --config "+s.flags[1]+"\n") ||
		!strings.Contains(unit, "\nAmbientCapabilities=CAP_NET_BIND_SERVICE\n") {
		t.Errorf("unit: %s", unit)
	}
	// Another server's directory is none of its business, wherever the command is run.
	t.Chdir(filepath.Join(dir, "new"))
	elsewhere := &shell{t: t, flags: []string{"--config", filepath.Join(dir, "other", "jackdaw.yaml")}}
	if out := elsewhere.do("", setupFlags...); !strings.Contains(out, "with the password ") {
		t.Errorf("beside another one: %s", out)
	}
	// Nothing is overwritten, and nothing is printed that looks as if it were.
	before, err := os.ReadFile(s.flags[1])
	if err != nil {
		t.Fatal(err)
	}
	code, out, errOut := s.try("", setupFlags...)
	if after, err := os.ReadFile(s.flags[1]); code != 1 || out != "" || !strings.Contains(errOut, "is there already") ||
		err != nil || !bytes.Equal(before, after) {
		t.Errorf("a second time: exit code %d: %s%s", code, out, errOut)
	}
	// The configuration is lost, the data are not: the admin keeps its password.
	if err := os.Remove(s.flags[1]); err != nil {
		t.Fatal(err)
	}
	if out := s.do("", setupFlags...); strings.Contains(out, "password ") || !strings.Contains(out, "was there already") {
		t.Errorf("on data that are there: %s", out)
	}
	if info, err := os.Stat(filepath.Join(dir, "new", "data")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the data: %v, %v", info, err)
	}
}

func TestSetupPrintsJSONForPrograms(t *testing.T) {
	_, s := newPlace(t)
	var got prepared
	if err := json.Unmarshal([]byte(s.do("secret\n", append(setupFlags, "--json", "--password-stdin")...)), &got); err != nil {
		t.Fatal(err)
	}
	if got.Config != s.flags[1] || got.Admin != "me@example.org" || got.Password != "" || len(got.Records) < 8 ||
		!strings.HasSuffix(got.Zone, "upload.example.org. 3600 IN A 192.0.2.7\n") || got.Firewall.NFT == "" ||
		got.Firewall.UFW == "" || len(got.Systemd) == 0 {
		t.Errorf("%+v", got)
	}
}

func TestADrySetupWritesNothing(t *testing.T) {
	dir, s := newPlace(t)
	var got prepared
	if err := json.Unmarshal([]byte(s.do("", append(setupFlags, "--json", "--dry-run")...)), &got); err != nil {
		t.Fatal(err)
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) > 0 {
		t.Errorf("written: %v, %v", list, err)
	}
	if _, err := config.Parse(s.flags[1], []byte(got.Text)); err != nil || got.Password != "" {
		t.Errorf("%v; password %q; text:\n%s", err, got.Password, got.Text)
	}
	if out := s.do("", append(setupFlags, "--dry-run")...); !strings.Contains(out, "Nothing was written") ||
		!strings.Contains(out, got.Text) {
		t.Errorf("for people: %s", out)
	}
}

func TestSetupSaysWhatIsMissingWithoutATerminal(t *testing.T) {
	_, s := newPlace(t)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"setup"}, "expected one domain"},
		{[]string{"setup", "example.org"}, "--admin is missing"},
		{[]string{"setup", "example.org", "--admin", "me@other.example"}, "an account of example.org"},
		{[]string{"setup", "example.org", "--admin", "me", "--address", "here"}, "expected an address"},
		{[]string{"setup", "192.0.2.1", "--admin", "me"}, "expected a name of the DNS"},
		{[]string{"setup", "--unit", "example.org"}, "--unit is for the configuration there is"},
		{[]string{"setup", "example.org", "--admin", "me", "--email", "nobody"}, "expected an address for mail"},
	} {
		if code, out, errOut := s.try("", c.args...); code != 2 || out != "" || !strings.Contains(errOut, c.want) {
			t.Errorf("%q: exit code %d: %s%s", c.args, code, out, errOut)
		}
	}
}

// openTerminal is a terminal whose user types the answers, in order.
func openTerminal(t *testing.T, answers string) *os.File {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close(); master.Close() })
	if _, err := master.WriteString(answers); err != nil {
		t.Fatal(err)
	}
	return slave
}

func TestSetupAsksOnATerminal(t *testing.T) {
	_, s := newPlace(t)
	var out, asked bytes.Buffer
	in := openTerminal(t, "xmpp.example.org\n192.0.2.7 2001:db8::7\nno\n\nme@mail.example\nsecret word\nsecret word\n")
	if code := run(append(s.flags, "setup", "example.org"), in, &out, &asked); code != 0 {
		t.Fatalf("exit code %d: %s", code, asked.String())
	}
	for _, want := range []string{"[example.org]: ", "May users write to those of other domains", "[admin@example.org]: ", "Once more"} {
		if !strings.Contains(asked.String(), want) {
			t.Errorf("not asked: %q: %s", want, asked.String())
		}
	}
	if strings.Contains(out.String()+asked.String(), "secret") ||
		!strings.Contains(out.String(), "\nxmpp.example.org. 3600 IN AAAA 2001:db8::7\n") {
		t.Errorf("printed: %s", out.String())
	}
	cfg, err := config.Load(s.flags[1])
	if err != nil || cfg.Federates() || cfg.Hosts[0].Admins[0] != "admin@example.org" || cfg.HTTP.URL != "https://xmpp.example.org" ||
		cfg.ACME.Email != "me@mail.example" {
		t.Errorf("%+v, %v", cfg, err)
	}
}

func TestSetupMakesAPasswordWhereNoneIsTyped(t *testing.T) {
	_, s := newPlace(t)
	var out, asked bytes.Buffer
	in := openTerminal(t, "\n\n\nme\n\n\n")
	if code := run(append(s.flags, "setup", "example.org"), in, &out, &asked); code != 0 {
		t.Fatalf("exit code %d: %s", code, asked.String())
	}
	if !regexp.MustCompile(`me@example.org with the password [A-Z2-7]{26} `).MatchString(out.String()) {
		t.Errorf("printed: %s", out.String())
	}
}
