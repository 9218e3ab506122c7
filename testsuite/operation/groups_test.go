package operation

import (
	"os"
	"strings"
	"testing"

	"jackdaw/testsuite/harness"
)

func TestSharedGroupsFollowTheConfigurationAndTheAccounts(t *testing.T) {
	s := harness.Start(t, harness.Options{Users: []string{"alice", "bob"}})
	text, err := os.ReadFile(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	reload := func(groups string) {
		t.Helper()
		host := "- domain: localhost\n"
		with := strings.Replace(string(text), host, host+groups, 1)
		if err := os.WriteFile(s.Config, []byte(with), 0o600); err != nil {
			t.Fatal(err)
		}
		s.Command("", "reload")
	}
	clients := map[string]*harness.Client{}
	login := func(name string) *harness.Client {
		t.Helper()
		c, err := harness.Connect(s.C2STLS, name, "r")
		if err == nil {
			_, err = c.Ask("r", "<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>")
		}
		if err == nil {
			err = c.Send("<presence/>")
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return c
	}
	for _, name := range []string{"alice", "bob"} {
		clients[name] = login(name)
	}
	wants := func(name string, parts ...string) {
		t.Helper()
		if _, err := clients[name].Until(func(el string) bool {
			for _, p := range parts {
				if !strings.Contains(el, p) {
					return false
				}
			}
			return true
		}); err != nil {
			t.Fatalf("%s does not get %q: %v", name, parts, err)
		}
	}
	reload("    groups: [{name: Company, members: [\"*\"]}]\n")
	wants("alice", "jabber:iq:roster", "bob@localhost", "both", "<group>Company</group>")
	wants("alice", "<presence", "bob@localhost/r")
	wants("bob", "<presence", "alice@localhost/r")

	s.AddUser("carol")
	wants("alice", "jabber:iq:roster", "carol@localhost", "<group>Company</group>")
	clients["carol"] = login("carol")
	wants("bob", "<presence", "carol@localhost/r")
	wants("carol", "<presence", "bob@localhost/r")
	s.Command("", "user", "del", "carol@localhost")
	wants("alice", "jabber:iq:roster", "carol@localhost", "remove")

	reload("")
	wants("alice", "jabber:iq:roster", "bob@localhost", "remove")
	wants("alice", "<presence", "bob@localhost/r", "unavailable")
}
