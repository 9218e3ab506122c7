package config

import (
	"maps"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"testing"

	"jackdaw/xmpp/jid"
)

func TestUsersOfSocketsAreFoundByNameAndNumber(t *testing.T) {
	root, err := user.LookupId("0")
	if err != nil {
		t.Fatal(err)
	}
	group, err := user.LookupGroupId("0")
	if err != nil {
		t.Fatal(err)
	}
	c, err := parse("f", []byte("listen: {http: [\"unix:/s\"]}\nhttp:\n  socket_users:\n    "+root.Username+": Root@localhost\n"+
		"    1000: me@localhost\n    \"@"+group.Name+"\": staff@localhost\n    \"@33\": www@localhost\n    no-such-user: x@localhost\n    '@no-such-group': y@localhost\n"))
	if err != nil {
		t.Fatal(err)
	}
	users, groups, unknown := c.HTTP.Sockets()
	if want := (map[uint32]jid.JID{0: jid.MustParse("root@localhost"), 1000: jid.MustParse("me@localhost")}); !maps.Equal(users, want) {
		t.Errorf("users %v", users)
	}
	if want := (map[uint32]jid.JID{0: jid.MustParse("staff@localhost"), 33: jid.MustParse("www@localhost")}); !maps.Equal(groups, want) {
		t.Errorf("groups %v", groups)
	}
	if !slices.Equal(unknown, []string{"@no-such-group", "no-such-user"}) {
		t.Errorf("unknown %q", unknown)
	}
	want := "f:9:23: http.socket_users[@no-such-group]: there is no such group on this machine\n" +
		"f:8:19: http.socket_users[no-such-user]: there is no such user on this machine"
	if got := strings.Join(c.Warnings, "\n"); got != want {
		t.Errorf("warnings:\n%s\nwant\n%s", got, want)
	}
}

func TestANumberCountsMoreThanAName(t *testing.T) {
	root, err := user.LookupId("0")
	if err != nil {
		t.Fatal(err)
	}
	for _, order := range []string{root.Username + ": a@localhost, 0: b@localhost", "0: b@localhost, " + root.Username + ": a@localhost"} {
		c, err := parse("f", []byte("http: {socket_users: {"+order+"}}"))
		if err != nil {
			t.Fatal(err)
		}
		if users, _, _ := c.HTTP.Sockets(); users[0].String() != "b@localhost" {
			t.Errorf("%s: %v", order, users)
		}
		if got := strings.Join(c.Warnings, "\n"); got != "f:1:22: http.socket_users: listen.http has no unix socket" {
			t.Errorf("warnings: %q", got)
		}
	}
}

func TestNamesOfUsers(t *testing.T) {
	for name, ok := range map[string]bool{"www-data": true, "_apt": true, "Me": true, "systemd-network": true, "pc$": true, "a.b": true,
		"0": true, "4294967294": true, strconv.FormatUint(1<<32-1, 10): false, "-1": false, "1a": false, "": false, "a b": false,
		"a/b": false, "é": false, "-a": false, "$": false, "a$b": false} {
		if isSystemName(name) != ok {
			t.Errorf("%q: %v", name, !ok)
		}
	}
}
