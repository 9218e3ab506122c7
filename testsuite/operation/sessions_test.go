package operation

import (
	"encoding/json"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"jackdaw/testsuite/harness"
)

func TestSessionsShowWhereAndWithWhat(t *testing.T) {
	s := harness.Start(t, harness.Options{Users: []string{"alice"}})
	alice, err := harness.Connect(s.C2STLS, "alice", "phone")
	if err != nil {
		t.Fatal(err)
	}
	defer alice.Close()
	if err := alice.Send("<presence><priority>5</priority><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='https://client.example' ver='x'/></presence>"); err != nil {
		t.Fatal(err)
	}
	if _, err := alice.Ask("p", "<iq type='get' id='p' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>"); err != nil {
		t.Fatal(err)
	}
	host, _, err := net.SplitHostPort(s.C2STLS)
	if err != nil {
		t.Fatal(err)
	}
	line := s.Command("", "sessions")
	f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
	if len(f) != 8 || f[0] != "alice@localhost/phone" || f[1] != "available" || f[2] != "5" || !strings.HasPrefix(f[3], "127.") ||
		f[4] != "TLS 1.3" || f[5] != "https://client.example" ||
		f[7] != "-" { // it does not say which device it is
		t.Errorf("sessions: %q (the server is at %s)", f, host)
	}
	if at, err := time.Parse(time.RFC3339, f[6]); err != nil || time.Since(at) > time.Minute {
		t.Errorf("since %v, %v", at, err)
	}
	var list []struct {
		JID, State, TLS string
		Since           time.Time
	}
	if err := json.Unmarshal([]byte(s.Command("", "--json", "sessions")), &list); err != nil || len(list) != 1 || list[0].State != "available" {
		t.Errorf("as JSON: %+v, %v", list, err)
	}
	if show := s.Command("", "user", "show", "alice@localhost"); !strings.Contains(show, "connected now") {
		t.Errorf("show: %s", show)
	}

	s.Command("", "sessions", "kick", "alice@localhost/phone")
	for _, want := range []string{`msg="client logged in" session=alice@localhost/phone from=127.`, `tls="TLS 1.3" mechanism=`,
		`msg="sessions ended" address=alice@localhost/phone sessions=1 by=command`,
		`msg="client session ended" session=alice@localhost/phone why="policy-violation: ended by an administrator"`} {
		if err := s.Output().Await(want, 0, harness.Timeout, nil); err != nil {
			t.Errorf("no %q in the log: %v", want, err)
		}
	}
	show := strings.Join(strings.Fields(s.Command("", "user", "show", "alice@localhost")), " ")
	if !strings.Contains(show, "last login 2") || !strings.Contains(show, "last seen 2") || !strings.Contains(show, "stored ") {
		t.Errorf("show: %s", show)
	}
}

func TestDebugIsHadForAMoment(t *testing.T) {
	s := harness.Start(t, harness.Options{Users: []string{"alice", "bob"}})
	text, err := os.ReadFile(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.Config, append(text, "log: {level: debug}\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := s.Command("", "reload"); strings.Contains(out, "log") {
		t.Errorf("the level is taken up: %s", out)
	}
	t.Setenv("JACKDAW_PASSWORD", harness.Password)
	s.Command("not for the log", "send", "--url", "http://"+s.HTTP, "--user", "alice@localhost", "--to", "bob@localhost")
	for _, want := range []string{`msg="stanza came" kind=message`, "from=alice@localhost to=bob@localhost via=http holds=body", "outcome=stored"} {
		if err := s.Output().Await(want, 0, harness.Timeout, nil); err != nil {
			t.Errorf("no %q in the log: %v", want, err)
		}
	}
	if log := s.Log(); strings.Contains(log, "not for the log") || strings.Contains(log, harness.Password) {
		t.Errorf("the log holds a text or a password:\n%s", log)
	}
}

func TestAHostThatIsDroppedOnPurposeTakesItsSessionsAlong(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	text, err := os.ReadFile(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(s.Config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(strings.Replace(string(text), "hosts:\n", "hosts:\n  - domain: b.example\n", 1))
	s.Command("", "reload")
	s.AddUser("alice", "bob@b.example")
	alice, err := harness.Connect(s.C2STLS, "alice", "a")
	if err != nil {
		t.Fatal(err)
	}
	defer alice.Close()
	bob, err := harness.ConnectTo(s.C2STLS, "b.example", "bob", "b")
	if err != nil {
		t.Fatal(err)
	}
	defer bob.Close()
	write(string(text))
	if out, err := s.TryCommand("", "reload"); err == nil || !strings.Contains(out, "b.example (accounts: 1, sessions: 1)") {
		t.Errorf("the host goes without a word: %v %s", err, out)
	}
	if _, err := bob.Ask("p", "<iq type='get' id='p' to='b.example'><ping xmlns='urn:xmpp:ping'/></iq>"); err != nil {
		t.Errorf("the reload was refused, and yet: %v", err)
	}
	s.Command("", "reload", "--drop-host")
	// RFC 6120 §4.9.3.5
	if el, err := bob.Until(func(el string) bool { return strings.Contains(el, "host-gone") }); err != nil {
		t.Errorf("the session of the host goes on: %s, %v", el, err)
	}
	if _, err := alice.Ask("p", "<iq type='get' id='p' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>"); err != nil {
		t.Errorf("a session of another host ended: %v", err)
	}
	if err := s.Output().Await(`msg="client session ended" session=bob@b.example/b why=host-gone`, 0, harness.Timeout, nil); err != nil {
		t.Error(err)
	}
}
