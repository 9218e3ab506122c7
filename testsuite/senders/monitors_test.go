package senders

import (
	"encoding/json"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/goccy/go-yaml"

	"jackdaw/testsuite/harness"
)

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
	// Icinga reads what its checks find at any time.
	if err := os.WriteFile(path+".new", []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	return path
}

// installed is a file of contrib with the program and the address of a hook where the test has them.
func installed(t *testing.T, s *harness.Server, dir, file string) string {
	t.Helper()
	address := write(t, filepath.Join(dir, "hook"), "http://"+s.HTTP+"/hooks/"+hook(t, s, "monitor", "--kind", "notice")+"\n")
	text := strings.ReplaceAll(read(t, filepath.Join(contrib, file)), "/usr/bin/jackdaw", harness.Binary(t, ""))
	return regexp.MustCompile(`@/etc/[a-z0-9]+/jackdaw-hook`).ReplaceAllString(text, "@"+address)
}

// begins compares the beginning of messages: the end of trouble quotes its begin behind that.
func begins(t *testing.T, got string, want ...string) {
	t.Helper()
	for _, w := range want {
		if strings.HasPrefix(got, w) {
			return
		}
	}
	t.Errorf("the message is\n%s\nwant one of\n%s", got, strings.Join(want, "\n"))
}

// Icinga itself checks a host and a service, and runs the commands of contrib when they break and when they are mended.
func TestIcingaTellsOfTrouble(t *testing.T) {
	t.Parallel()
	icinga, err := exec.LookPath("icinga2")
	if err != nil {
		t.Fatal("icinga2 is missing: apt-get install icinga2-bin")
	}
	s := harness.Start(t, harness.Options{Users: []string{"romeo", "alerts"}})
	reader := romeo(t, s)
	dir := t.TempDir()
	state := write(t, filepath.Join(dir, "state"), "echo 'disk \"full\" at 97 %'; exit 2\n")
	commands := write(t, filepath.Join(dir, "jackdaw.conf"), installed(t, s, dir, "icinga/jackdaw.conf"))
	config := write(t, filepath.Join(dir, "icinga2.conf"), `
include <itl>
const NodeName = "monitor"
object Endpoint NodeName {}
object Zone NodeName { endpoints = [ NodeName ] }
object CheckerComponent "checker" {}
object NotificationComponent "notification" {}
object CheckCommand "probe" { command = [ "/bin/sh", "`+state+`" ] }
object Host "db1" { check_command = "dummy"; display_name = "DB one" }
object Service "disk" {
  host_name = "db1"
  check_command = "probe"
  max_check_attempts = 1
  check_interval = 1s
  retry_interval = 1s
  vars.jackdaw = true
  notes_url = "https://wiki.example/disk"
}
include "`+commands+`"
`)
	args := []string{"daemon", "-c", config}
	for _, kind := range []string{"Data", "Log", "Cache", "Spool", "InitRun"} {
		args = append(args, "-D", "Configuration."+kind+"Dir="+filepath.Join(dir, kind))
		if err := os.Mkdir(filepath.Join(dir, kind), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(icinga, args...)
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	group, err := user.LookupGroupId(me.Gid)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(os.Environ(), "ICINGA2_USER="+me.Username, "ICINGA2_GROUP="+group.Name)
	log := &harness.Output{}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // it is several processes
		cmd.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	begins(t, next(t, reader, "a broken disk"), "🔥 FIRING · critical · disk on DB one is CRITICAL\ndisk \"full\" at 97 %\n"+
		"https://wiki.example/disk")
	write(t, state, "echo fine\n")
	begins(t, next(t, reader, "a disk that is mended"), "✅ RESOLVED · disk on DB one is OK\nfine\nhttps://wiki.example/disk")
}

// Nagios puts the values of macros into the lines of contrib and hands them to a shell.
func TestNagiosTellsOfTrouble(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{Users: []string{"romeo", "alerts"}})
	reader := romeo(t, s)
	lines := regexp.MustCompile(`(?m)^\s*command_line\s+(.*)$`).FindAllStringSubmatch(
		installed(t, s, t.TempDir(), "nagios/jackdaw.cfg"), -1)
	if len(lines) != 2 {
		t.Fatalf("%d commands", len(lines))
	}
	for _, one := range []struct {
		line   string
		macros map[string]string
		want   string
	}{
		{lines[0][1], map[string]string{"NOTIFICATIONTYPE": "PROBLEM", "HOSTSTATE": "DOWN", "HOSTALIAS": "DB one", "HOSTNAME": "db1",
			"HOSTOUTPUT": "100 % of the pings are lost"}, "🔥 FIRING · critical · DB one is DOWN\n100 % of the pings are lost"},
		{lines[0][1], map[string]string{"NOTIFICATIONTYPE": "ACKNOWLEDGEMENT", "HOSTSTATE": "DOWN", "HOSTALIAS": "DB one",
			"HOSTNAME": "db1", "HOSTOUTPUT": "-", "NOTIFICATIONCOMMENT": "I look at it"}, "🔥 DB one is DOWN\n- I look at it"},
		{lines[0][1], map[string]string{"NOTIFICATIONTYPE": "RECOVERY", "HOSTSTATE": "UP", "HOSTALIAS": "DB one", "HOSTNAME": "db1",
			"HOSTOUTPUT": "OK"}, "✅ RESOLVED · DB one is UP\nOK"},
		{lines[1][1], map[string]string{"NOTIFICATIONTYPE": "PROBLEM", "SERVICESTATE": "UNKNOWN", "SERVICEDESC": "disk",
			"HOSTALIAS": "DB one", "HOSTNAME": "db1", "SERVICEOUTPUT": "no answer", "SERVICENOTESURL": "https://wiki.example/disk"},
			"⚠ FIRING · warning · disk on DB one is UNKNOWN\nno answer\nhttps://wiki.example/disk"},
	} {
		line := regexp.MustCompile(`\$([A-Z]+)\$`).ReplaceAllStringFunc(one.line, func(macro string) string {
			return one.macros[strings.Trim(macro, "$")]
		})
		if out, err := exec.Command("/bin/sh", "-c", line).CombinedOutput(); err != nil || len(out) > 0 {
			t.Fatalf("%v: %s", err, out)
		}
		begins(t, next(t, reader, line), one.want)
	}
}

// Zabbix runs the script of contrib with the values of its macros, and an object that makes requests.
func TestZabbixTellsOfTrouble(t *testing.T) {
	t.Parallel()
	var media struct {
		Export struct {
			Types []struct {
				Script     string
				Parameters []struct{ Name, Value string }
			} `yaml:"media_types"`
		} `yaml:"zabbix_export"`
	}
	if err := yaml.Unmarshal([]byte(read(t, contrib+"/zabbix/media_jackdaw.yaml")), &media); err != nil {
		t.Fatal(err)
	}
	if len(media.Export.Types) != 1 {
		t.Fatalf("the file holds %+v", media)
	}
	s := harness.Start(t, harness.Options{Users: []string{"romeo", "alerts"}})
	reader := romeo(t, s)
	address := "http://" + s.HTTP + "/hooks/" + hook(t, s, "monitor", "--kind", "zabbix")
	run := func(macros ...string) (string, error) {
		params := map[string]string{}
		for _, p := range media.Export.Types[0].Parameters {
			params[p.Name] = strings.NewReplacer(macros...).Replace(p.Value)
		}
		value, err := json.Marshal(params)
		if err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("node", "testdata/zabbix.js", media.Export.Types[0].Script, string(value)).CombinedOutput()
		return string(out), err
	}
	common := []string{"{ALERT.SENDTO}", address, "{ALERT.SUBJECT}", "disk is full", "{EVENT.ID}", "7", "{TRIGGER.ID}", "3",
		"{$ZABBIX.URL}", "https://zabbix.example", "{EVENT.SEVERITY}", "High"}
	for _, one := range []struct {
		macros []string
		want   string
	}{
		{[]string{"{ALERT.MESSAGE}", "db1: 97 %", "{EVENT.VALUE}", "1", "{EVENT.UPDATE.STATUS}", "0"},
			"🔥 FIRING · error · disk is full\ndb1: 97 %\nhttps://zabbix.example/tr_events.php?triggerid=3&eventid=7"},
		{[]string{"{ALERT.MESSAGE}", "db1: ann closed", "{EVENT.VALUE}", "1", "{EVENT.UPDATE.STATUS}", "1"},
			"🔥 disk is full\ndb1: ann closed"},
		{[]string{"{ALERT.MESSAGE}", "db1: after 5m", "{EVENT.VALUE}", "0", "{EVENT.UPDATE.STATUS}", "0"},
			"✅ RESOLVED · disk is full\ndb1: after 5m"},
	} {
		if out, err := run(append(one.macros, common...)...); err != nil || out != "OK" {
			t.Fatalf("%v: %s", err, out)
		}
		begins(t, next(t, reader, one.want), one.want)
	}
	// What goes wrong is an exception, so that Zabbix tries again and shows it.
	if out, err := run("{ALERT.SENDTO}", address+"x"); err == nil || !strings.Contains(out, "the hook answers 401") {
		t.Errorf("a wrong address: %v, %s", err, out)
	}
}
