package hooks

import (
	"io"
	"strings"
	"testing"
)

// Programs for Discord ask what a webhook is called, and may post in the formats of others behind its address.
func TestAHookForDiscordIsOneAsTheyKnowIt(t *testing.T) {
	s := open(t)
	auto, path := s.add("any", nil), s.add("disc", func(h *Hook) { h.Kind = "discord" })
	const media = "Content-Type: application/json"
	for _, one := range []struct {
		name, method, path, header, body string
		status                           int
		answer, want                     string
	}{
		{"a look", "GET", path, "", "", 200, `"name":"disc"`, ""},
		{"a look at any hook", "GET", auto, "", "", 200, `"name":"any"`, ""},
		{"a look by its kind", "GET", auto + "/discord", "", "", 200, `"name":"any"`, ""},
		{"a message", "POST", path, media, `{"content":"hi"}`, 204, "", "hi"},
		{"a message that is waited for", "POST", path + "?wait=true", media, `{"content":"hi there"}`, 200, `"content":"hi there"`, "hi there"},
		{"as Slack", "POST", path + "/slack", media, `{"text":"<https://a.example|a>"}`, 200, "ok", "a: https://a.example"},
		{"as GitHub", "POST", path + "/github", media + "\nX-GitHub-Event: ping", `{"zen":"x","repository":{"full_name":"a/b"}}`, 200, "ok", "a/b: the hook works"},
		{"as another", "POST", path + "/alertmanager", media, `{"version":"4","alerts":[{}]}`, 400, "takes what discord sends", ""},
		{"nothing", "POST", path, media, `{"content":""}`, 400, `"code":50006`, ""},
	} {
		s.posted()
		got := s.ask(one.method, one.path, one.header, one.body)
		answer, err := io.ReadAll(got.Body)
		if err != nil {
			t.Fatal(err)
		}
		if got.StatusCode != one.status || !strings.Contains(string(answer), one.answer) {
			t.Errorf("%s: %d %s, want %d %s", one.name, got.StatusCode, answer, one.status, one.answer)
		}
		text := ""
		for _, d := range s.posted() {
			text += body(d)
		}
		if text != one.want {
			t.Errorf("%s: posted %q, want %q", one.name, text, one.want)
		}
	}
}
