package sendmail

import (
	"strings"
	"testing"
)

func TestSettingsSayWhoGetsWhat(t *testing.T) {
	s, err := parse([]byte("root: admin@im.example.org\nOps@im.example.org: [ann@im.example.org, bob@im.example.org]\n" +
		"post: {url: 'unix:/run/jackdaw/http.sock', spool: /var/spool/jackdaw, nick: db1}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if want := (Post{URL: "unix:/run/jackdaw/http.sock", Spool: "/var/spool/jackdaw", Nick: "db1"}); s.Post != want {
		t.Errorf("%+v", s.Post)
	}
	all, err := parse([]byte("root: admin@im.example.org\n\"*\": ops@rooms.im.example.org\npost: postmaster@im.example.org\n"))
	if err != nil {
		t.Fatal(err)
	}
	hosts := []string{"localhost", "db1.example.org"}
	for _, c := range []struct {
		s    *Settings
		to   string
		want string
	}{
		{s, "root", "admin@im.example.org"},
		{s, "Root@localhost", "admin@im.example.org"},
		{s, "root@DB1", "admin@im.example.org"},
		{s, "root@db1.example.org", "admin@im.example.org"},
		{s, "root@elsewhere.example", "?"}, // another root
		{s, "ops@im.example.org", "ann@im.example.org bob@im.example.org"},
		{s, "ops", "?"},
		{s, "ops@im.example.org root", "ann@im.example.org bob@im.example.org admin@im.example.org"},
		{s, "root root@localhost", "admin@im.example.org"},
		{s, "root nobody", "?"},
		{s, "", "?"},
		{s, "*", "?"},
		{all, "root", "admin@im.example.org"},
		{all, "nobody@elsewhere.example", "ops@rooms.im.example.org"},
		{all, "post", "postmaster@im.example.org"},
		{all, "*@localhost", "ops@rooms.im.example.org"},
	} {
		to, err := c.s.Route(strings.Fields(c.to), hosts)
		got := strings.Join(to, " ")
		if err != nil {
			if Code(err) != ExitNoUser {
				t.Errorf("%q: %v", c.to, err)
			}
			got = "?"
		}
		if got != c.want {
			t.Errorf("%q goes to %q, want %q", c.to, got, c.want)
		}
	}
}

func TestWrongSettingsSayWhat(t *testing.T) {
	for text, says := range map[string]string{
		"":                            "nobody is named",
		"post: {url: x}":              "nobody is named",
		"root: 5":                     `"root": a JID`,
		"root: []":                    `"root": the list is empty`,
		"root: [a@b, {}]":             `"root": a JID`,
		"root: '@'":                   `"@" is no JID`,
		"root: a@b\npost: {token: x}": "post.token is not known",
		"root: a@b\npost: {url: [x]}": "post.url: a text",
		"root: a@b\n\tx":              "cannot start",
		"- a":                         "map",
	} {
		_, err := parse([]byte(text))
		if err == nil || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(says)) {
			t.Errorf("%q: %v, want %q", text, err, says)
		}
	}
	if _, err := Load(t.TempDir() + "/none"); Code(err) != ExitUnavailable || !strings.Contains(err.Error(), "root: admin@") {
		t.Error(err)
	}
}
