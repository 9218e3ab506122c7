// Package gateways has gateways that others wrote, with privileges (XEP-0356), act for users: slidge, to a network that
// testdata/network.py makes up.
package gateways

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"jackdaw/testsuite/harness"
)

func TestMain(m *testing.M) {
	code := m.Run()
	harness.Cleanup()
	os.Exit(code)
}

const (
	gateway = "one.localhost"
	wanda   = "wanda@" + gateway
)

// slidge runs with its files in home, connected to a server, until stop is called.
func slidge(t *testing.T, server, home string) (stop func()) {
	t.Helper()
	python, err := filepath.Abs(filepath.Join("testdata", "venv", "bin", "python"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(python); err != nil {
		t.Fatal("slidge is missing: make deps")
	}
	host, port, _ := strings.Cut(server, ":")
	log, err := os.CreateTemp(home, "log")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, "-m", "slidge", "--jid", gateway, "--secret", "s3cret", "--server", host, "--port", port,
		"--legacy-module", "network", "--home-dir", home, "--user-jid-validator", ".*@localhost", "--no-upload-path", home,
		"--no-upload-url-prefix", "http://localhost/")
	where, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(os.Environ(), "PYTHONPATH="+where, "PYTHONDONTWRITEBYTECODE=1", "HOME="+home)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		ended := make(chan struct{})
		go func() {
			_ = cmd.Wait() // what it thinks of its end is no matter
			close(ended)
		}()
		// The signal is an exception wherever it just is, which may be caught there.
		for tries := 0; ; tries++ {
			_ = cmd.Process.Signal(syscall.SIGTERM)
			if tries == 5 {
				_ = cmd.Process.Kill()
				<-ended
			}
			select {
			case <-ended:
			case <-time.After(2 * time.Second):
				continue
			}
			break
		}
		t.Logf("slidge took %v of the processor", cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
		b, err := os.ReadFile(log.Name())
		if err != nil {
			t.Error(err)
		}
		running, _, _ := strings.Cut(string(b), "Caught SIGTERM")
		for line := range strings.Lines(running) {
			if low := strings.ToLower(line); strings.Contains(low, "privilege") && !strings.Contains(low, "info") ||
				strings.Contains(line, "Traceback") {
				t.Errorf("slidge complains: %s", line)
			}
		}
		if t.Failed() {
			t.Logf("the log of slidge:\n%s", b)
		}
	})
	t.Cleanup(stop)
	return stop
}

// A user is a client of romeo's, which keeps what it is not asked for yet.
type user struct {
	*harness.Client
	t    *testing.T
	n    int
	kept []string
}

func login(t *testing.T, s *harness.Server, resource string) *user {
	t.Helper()
	c, err := harness.Connect(s.C2STLS, "romeo", resource)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return &user{Client: c, t: t}
}

// ask sends a request and returns the answer.
func (u *user) ask(kind, to, payload string) string {
	u.t.Helper()
	u.n++
	id := fmt.Sprintf("ask%d", u.n)
	if to != "" {
		to = " to='" + to + "'"
	}
	u.say("<iq type='" + kind + "' id='" + id + "'" + to + ">" + payload + "</iq>")
	return u.gets("an answer to "+payload, "<iq", "id='"+id+"'")
}

// asks until the answer has what is wanted and nothing of the rest.
func (u *user) asks(what, want, to, payload string, without ...string) {
	u.t.Helper()
	got := ""
	for end := time.Now().Add(harness.Timeout); time.Now().Before(end); <-time.After(50 * time.Millisecond) {
		got = u.ask("get", to, payload)
		has := func(s string) bool { return strings.Contains(got, s) }
		if has(want) && !slices.ContainsFunc(without, has) {
			return
		}
	}
	u.t.Fatalf("%s: %s", what, got)
}

func (u *user) say(stanza string) {
	u.t.Helper()
	if err := u.Send(stanza); err != nil {
		u.t.Fatal(err)
	}
}

// gets returns the first stanza that has all of these and has not been returned before.
func (u *user) gets(what string, all ...string) string {
	u.t.Helper()
	for i := 0; ; i++ {
		if i == len(u.kept) {
			el, err := u.Next()
			if err != nil {
				u.t.Fatalf("%s: %v; it has got %q", what, err, u.kept)
			}
			u.kept = append(u.kept, el)
		}
		el := u.kept[i]
		if !slices.ContainsFunc(all, func(s string) bool { return !strings.Contains(el, s) }) {
			u.kept = slices.Delete(u.kept, i, i+1)
			return el
		}
	}
}

func TestSlidgeActsForAUser(t *testing.T) {
	t.Parallel()
	addr := harness.FreeAddr()
	// What the manual says that it wants.
	s := harness.Start(t, harness.Options{Users: []string{"romeo"}, Listen: fmt.Sprintf("component: [%q]", addr),
		Config: "component:\n  secrets: {" + gateway + ": s3cret}\n  privileges:\n    " + gateway + ": {roster: both, " +
			"message: true, iq: {'http://jabber.org/protocol/pubsub': both, 'http://jabber.org/protocol/pubsub#owner': both}}"})
	home := t.TempDir()
	stop := slidge(t, addr, home)
	desk, phone := login(t, s, "desk"), login(t, s, "phone")
	for _, u := range []*user{desk, phone} {
		u.ask("get", "", "<query xmlns='jabber:iq:roster'/>")
		u.ask("set", "", "<enable xmlns='urn:xmpp:carbons:2'/>")
		u.say("<presence/>")
	}

	// It registers its user, who must be one of the network.
	desk.asks("what it wants to know", "username", gateway, "<query xmlns='jabber:iq:register'/>")
	registers := func(name string) string {
		return desk.ask("set", gateway, "<query xmlns='jabber:iq:register'><username>"+name+"</username></query>")
	}
	if got := registers("juliet"); !strings.Contains(got, "not-allowed") {
		t.Fatalf("juliet is registered: %s", got)
	}
	if got := registers("romeo"); !strings.Contains(got, "type='result'") {
		t.Fatalf("romeo is not registered: %s", got)
	}

	// His contacts there are in his roster, with both subscriptions and the presence that they have.
	for _, u := range []*user{desk, phone} {
		push := u.gets("a push of wanda", "<iq", "type='set'", wanda)
		if !strings.Contains(push, "Wanda of the network") || !strings.Contains(push, "<group>One</group>") {
			t.Errorf("pushed: %s", push)
		}
	}
	roster := desk.ask("get", "", "<query xmlns='jabber:iq:roster'/>")
	if !strings.Contains(roster, wanda) || !strings.Contains(roster, "subscription='both'") {
		t.Errorf("the roster: %s", roster)
	}

	// Messages go both ways, and what he writes elsewhere comes to all of his clients, and into his archive.
	desk.say("<message to='" + wanda + "' type='chat' id='m1'><body>stressed</body></message>")
	desk.gets("an answer", "<message", wanda, "<body>desserts</body>")
	desk.say("<message to='" + wanda + "' type='chat' id='m2'><body>elsewhere: said by my other phone</body></message>")
	for _, u := range []*user{desk, phone} {
		u.gets("a carbon", "urn:xmpp:carbons:2", "<sent", "to='"+wanda+"'", "<body>said by my other phone</body>")
	}
	desk.say("<iq type='set' id='a1'><query xmlns='urn:xmpp:mam:2' queryid='q'/></iq>")
	desk.gets("the archive", "<result", "queryid='q'", "<body>said by my other phone</body>")

	// It comes again, and with it his contacts; and it makes the node of what he has seen (XEP-0490) for him, and may read
	// that.
	desk.gets("wanda's presence", "<presence", wanda, "<status>here</status>")
	stop()
	slidge(t, addr, home)
	desk.gets("wanda's return", "<presence", wanda, "<status>here</status>")
	desk.asks("who may read what he has seen", gateway, "", "<pubsub xmlns='http://jabber.org/protocol/pubsub#owner'>"+
		"<affiliations node='urn:xmpp:mds:displayed:0'/></pubsub>")

	// Without him nothing of his is seen there, and the other way round.
	got := desk.ask("set", gateway, "<query xmlns='jabber:iq:register'><remove/></query>")
	if !strings.Contains(got, "type='result'") {
		t.Errorf("he is still registered: %s", got)
	}
	desk.asks("a roster without subscriptions", wanda, "", "<query xmlns='jabber:iq:roster'/>", "subscription='both'")
}
