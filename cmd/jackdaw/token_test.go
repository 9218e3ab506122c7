package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"jackdaw/admin"
	"jackdaw/router/tokens"
)

func TestTokensWithoutAServer(t *testing.T) {
	s := newShell(t)
	if code, out, errOut := s.try("", "token", "list"); code != 1 || out != "" || strings.Count(errOut, "\n") != 1 {
		t.Errorf("without data: exit code %d: %s%s", code, out, errOut)
	}
	s.do("x", "user", "add", "romeo@localhost", "--password-stdin")
	if got := s.do("", "token", "list"); got != "" {
		t.Errorf("at first %q", got)
	}
	if got := s.do("", "token", "list", "romeo@localhost", "--json"); got != "[]\n" {
		t.Errorf("at first as JSON %q", got)
	}
	secret := strings.TrimSuffix(s.do("", "token", "add", "romeo@localhost", "--label", "ci job", "--to", "team@conference.localhost",
		"--to", "*@localhost", "--scope", "multicast", "--cidr", "127.0.0.1,192.0.2.0/24", "--expires", "90d"), "\n")
	id := tokens.IDOf(secret)
	if k, ok := tokens.KindOf(secret); !ok || k != tokens.KindAccount {
		t.Fatalf("printed %q", secret)
	}
	line := strings.Split(strings.TrimSuffix(s.do("", "token", "list"), "\n"), "\t")
	if len(line) != 10 || line[0] != id || line[1] != "romeo@localhost" || line[2] != "account" || line[3] != "good" || line[4] != "0" ||
		line[5] != "-" || line[6] != "-" || line[8] != "multicast send:to=*@localhost send:to=team@conference.localhost" || line[9] != "ci job" {
		t.Errorf("listed %q", line)
	}
	next := strings.TrimSpace(s.do("", "token", "rotate", id))
	var list []admin.TokenInfo
	if err := json.Unmarshal([]byte(s.do("", "token", "list", "romeo@localhost", "--json")), &list); err != nil || len(list) != 2 {
		t.Fatalf("%v, %v", list, err)
	}
	for _, one := range list {
		if one.Token != "" || len(one.CIDRs) != 2 || (one.ID == id) != (one.Replaced == tokens.IDOf(next)) {
			t.Errorf("%+v", one)
		}
	}
	if got := s.do("", "token", "revoke", id, tokens.IDOf(next), "--json"); !strings.Contains(got, `"revoked": 2`) {
		t.Errorf("revoked: %s", got)
	}

	file := filepath.Join(t.TempDir(), "token")
	mine := s.do("", "token", "generate")
	if err := os.WriteFile(file, []byte(mine), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := s.do("", "token", "add", "romeo@localhost", "--from-file", file, "--expires", "never"); got != "" {
		t.Errorf("a token that is known was printed: %q", got)
	}
	if got := s.do("", "token", "list"); !strings.HasPrefix(got, tokens.IDOf(strings.TrimSpace(mine))+"\t") ||
		!strings.Contains(got, "\t-\tsend\t-\n") {
		t.Errorf("listed %q", got)
	}
	out := s.do(s.do("", "token", "generate"), "token", "rotate", tokens.IDOf(strings.TrimSpace(mine)), "--from-file", "-", "--json")
	var made admin.TokenInfo
	if err := json.Unmarshal([]byte(out), &made); err != nil || made.Token != "" || made.ID == "" || made.OldUntil.IsZero() {
		t.Errorf("rotated with one that is known: %s", out)
	}
}

func TestWrongUsageOfTokensIsSaid(t *testing.T) {
	s := newShell(t)
	s.do("x", "user", "add", "romeo@localhost", "--password-stdin")
	for want, args := range map[string][]string{
		"there are send":        {"token", "add", "romeo@localhost", "--scope", "sned"},
		"not a pattern":         {"token", "add", "romeo@localhost", "--to", "a@b/c"},
		"expected 1m to 3650d":  {"token", "add", "romeo@localhost", "--expires", "1s"},
		"address of an account": {"token", "add", "romeo"},
		"expected 0 to 90d":     {"token", "rotate", "x", "--overlap", "91d"},
		"which?":                {"token", "revoke"},
		"which? ":               {"token", "revoke", "x", "--all", "romeo@localhost"},
		"accepts at most":       {"token", "list", "a@localhost", "b@localhost"},
		"needs a command":       {"token"},
	} {
		if code, _, errOut := s.try("", args...); code != 2 || !strings.Contains(errOut, want) {
			t.Errorf("%q: exit code %d: %s", args, code, errOut)
		}
	}
	for want, args := range map[string][]string{
		"does not say to whom": {"token", "add", "romeo@localhost", "--scope", "gateway"},
		"no network":           {"token", "add", "romeo@localhost", "--cidr", "x"},
		"no rate":              {"token", "add", "romeo@localhost", "--rate", "1/d"},
		"there is no such":     {"token", "add", "nobody@localhost"},
		"no such file":         {"token", "add", "romeo@localhost", "--from-file", "/nowhere"},
		"16 letters":           {"token", "revoke", "x"},
	} {
		if code, _, errOut := s.try("", args...); code != 1 || !strings.Contains(errOut, want) {
			t.Errorf("%q: exit code %d: %s", args, code, errOut)
		}
	}
	if code, _, errOut := s.try("hunter2\n", "token", "add", "romeo@localhost", "--from-file", "-"); code != 1 ||
		strings.Contains(errOut, "hunter2") || !strings.Contains(errOut, "this is no token") {
		t.Errorf("no token in the file: exit code %d: %s", code, errOut)
	}
}

func TestSendPostsWithAToken(t *testing.T) {
	shown := ""
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		shown = r.Header.Get("Authorization")
		w.Write([]byte(`{"id":"m-1","accepted":1,"recipients":[]}`))
	}))
	defer api.Close()
	s := newShell(t)
	s.flags = append(s.flags, "--url", api.URL)
	mine, other := tokens.Generate(tokens.KindAccount), tokens.Generate(tokens.KindAccount)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(mine+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("JACKDAW_TOKEN", other)
	t.Setenv("JACKDAW_PASSWORD", "secret")
	for _, row := range []struct {
		stdin, want string
		args        []string
	}{
		{"", "Bearer " + mine, []string{"--token-file", file, "hi"}},
		{"hi", "Bearer " + mine, []string{"--token-file", file}},
		{mine, "Bearer " + mine, []string{"--token-file", "-", "hi"}},
		{"hi", "Bearer " + other, nil},
		{"hi", "Basic ", []string{"--user", "romeo@localhost"}},
	} {
		shown = ""
		if code, _, errOut := s.try(row.stdin, append([]string{"send", "--to", "a@localhost"}, row.args...)...); code != 0 ||
			!strings.HasPrefix(shown, row.want) {
			t.Errorf("%q: exit code %d, shown %q: %s", row.args, code, shown, errOut)
		}
	}
	for _, args := range [][]string{{"--token-file", "-"}, {"--token-file", file, "--user", "a@b", "hi"}} {
		if code, _, _ := s.try(mine, append([]string{"send", "--to", "a@localhost"}, args...)...); code != 2 {
			t.Errorf("%q: exit code %d", args, code)
		}
	}
}
