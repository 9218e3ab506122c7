package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

const hookSecret = "jdhmkjvcrj3nrmhrr3ojxwh4ttxtq6h5cpjm"

func TestSendPostsToAHook(t *testing.T) {
	var path string
	var body map[string]string
	answer, status := `{"status":"ok","id":"m-1"}`, 200
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path = r.URL.Path
		b, _ := io.ReadAll(r.Body)
		body = nil
		if err := json.Unmarshal(b, &body); err != nil {
			t.Error(err)
		}
		w.WriteHeader(status)
		io.WriteString(w, answer)
	}))
	defer web.Close()
	dir := t.TempDir()
	t.Chdir(dir)
	// What lies here is no configuration, and nobody asks for one.
	if err := os.WriteFile("jackdaw.yaml", []byte("no: [configuration"), 0o600); err != nil {
		t.Fatal(err)
	}
	address := web.URL + "/hooks/" + hookSecret
	file := filepath.Join(dir, "hook")
	if err := os.WriteFile(file, []byte(address+"/\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &shell{t: t}
	for _, one := range []struct {
		in   string
		args []string
		want map[string]string // without what is empty
	}{
		{"", []string{"--hook", address, "hi"}, map[string]string{"text": "hi"}},
		{"from \x1b[1mhere\n", []string{"--hook", address + "/notice"}, map[string]string{"text": "from \uFFFD[1mhere"}},
		{"not read", []string{"--hook", "@" + file, "--title", "T", "--level", "CRITICAL", "--state", "PROBLEM", "--key", "k",
			"--link", "https://a.example", "--source", "db1"}, map[string]string{"title": "T", "level": "CRITICAL",
			"state": "PROBLEM", "key": "k", "link": "https://a.example", "source": "db1"}},
		{"", []string{"--hook", "@" + file, "--title", "T", "--", "-1 is the text"}, map[string]string{"title": "T", "text": "-1 is the text"}},
	} {
		code, out, errOut := s.try(one.in, append([]string{"send"}, one.args...)...)
		for name, v := range body {
			if v == "" {
				delete(body, name)
			}
		}
		if code != 0 || out+errOut != "" || path != "/hooks/"+hookSecret+"/notice" || !reflect.DeepEqual(body, one.want) {
			t.Errorf("%q: exit code %d: %s%s, %v posted to %s", one.args, code, out, errOut, body, path)
		}
	}
	if code, out, _ := s.try("", "--json", "send", "--hook", address, "hi"); code != 0 || !strings.Contains(out, `"m-1"`) {
		t.Errorf("--json: exit code %d: %s", code, out)
	}
	for _, one := range []struct {
		status       int
		answer, want string
	}{
		{401, `{"status":"error","reason":"the token is not good"}`, "jackdaw: 401 Unauthorized: the token is not good\n"},
		{502, "<html>\nno", "jackdaw: 502 Bad Gateway: <html>\n"}, {503, "", "jackdaw: 503 Service Unavailable\n"},
	} {
		status, answer = one.status, one.answer
		if code, _, errOut := s.try("", "send", "--hook", address, "hi"); code != 1 || errOut != one.want {
			t.Errorf("%d: exit code %d: %s", one.status, code, errOut)
		}
	}
	// What goes wrong names no secret.
	web.Close()
	for _, args := range [][]string{{"--hook", address, "hi"}, {"--hook", "@" + file, "hi"}} {
		if code, _, errOut := s.try("", append([]string{"send"}, args...)...); code != 1 || strings.Contains(errOut, hookSecret) ||
			!strings.Contains(errOut, "is the server running?") {
			t.Errorf("%q without a server: exit code %d: %s", args, code, errOut)
		}
	}
	for _, args := range [][]string{{"--hook", "im.example/hooks/" + hookSecret, "hi"}, {"--hook", "ftp://x/" + hookSecret, "hi"},
		{"--hook", "http://[" + hookSecret, "hi"}, {"--hook", address, ""}, {"--hook", address, "--to", "a@localhost", "hi"},
		{"--hook", address, "--token-file", file, "hi"}, {"--title", "T", "--to", "a@localhost", "hi"}} {
		if code, _, errOut := s.try("", append([]string{"send"}, args...)...); code != 2 || strings.Contains(errOut, hookSecret) {
			t.Errorf("%q: exit code %d: %s", args, code, errOut)
		}
	}
	if code, _, _ := s.try("", "send", "--hook", "@"+dir+"/none", "hi"); code != 1 {
		t.Errorf("a file that is missing: exit code %d", code)
	}
}
