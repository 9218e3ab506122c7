package notice

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

var discordSamples = []sample{
	{name: "full", query: "thread_id=77", body: `{"content":"**Build** <@12> <#34> <:parrot:56> <t:1795867200:R> :fire: ` + "`<@12>`" + `","username":"ci","avatar_url":"https://x.example/a.png","tts":false,
		"embeds":[{"title":"tests","url":"https://ci.example/7","description":"three of _forty_\n> quoted","color":15158332,"timestamp":"2026-11-28T12:00:00Z","author":{"name":"ann"},
		"fields":[{"name":"branch","value":"main","inline":true},{"name":"failed","value":3}],"footer":{"text":"ci"},"image":{"url":"https://ci.example/7.png"},"thumbnail":{"url":"https://ci.example/t.png"}}],
		"components":[{"type":1,"components":[{"type":2,"style":5,"label":"Again","url":"https://ci.example/7/again"}]}],"allowed_mentions":{"parse":[]},"flags":4096,
		"poll":{"question":{"text":"Again?"},"answers":[{"poll_media":{"text":"yes"}},{"poll_media":{"text":"no"}}]}}`,
		want: "🔥 *Build* @12 #34 :parrot: 2026-11-28 12:00 UTC 🔥 `<@12>`\nann\n*tests*\nthree of _forty_\n> quoted\nbranch: main\nfailed: 3\nAgain?\n- yes\n- no\n" +
			"https://ci.example/7\nAgain: https://ci.example/7/again"},
	{name: "text", body: `{"content":"hello"}`, want: "hello"},
	{name: "of Alertmanager", body: `{"content":"","embeds":[{"title":"[FIRING:1] DiskFull (db1)","description":"Alerts Firing:\nLabels:\n - alertname = DiskFull\n","color":10038562}]}`,
		want: "🔥 [FIRING:1] DiskFull (db1)\nAlerts Firing:\nLabels:\n - alertname = DiskFull"},
	{name: "over, of Alertmanager", body: `{"content":"","embeds":[{"title":"[RESOLVED] DiskFull (db1)","description":"","color":3066993}]}`, want: "[RESOLVED] DiskFull (db1)"},
	{name: "of Grafana", body: `{"username":"Grafana","content":"**Firing**\n\nValue: B=0.93\n","embeds":[{"title":"[FIRING:1] Load (db1)","type":"rich",
		"url":"https://g.example/alerting/list","color":14037554,"footer":{"text":"Grafana v12.1.0"}}]}`,
		want: "🔥 [FIRING:1] Load (db1)\n*Firing*\n\nValue: B=0.93\nhttps://g.example/alerting/list"},
	{name: "with components alone", query: "wait=true&with_components=true", body: `{"content":"","flags":32768,"components":[{"type":17,"accent_color":1,"components":[{"type":10,"content":"# Title\n**x**"},
		{"type":9,"components":[{"type":10,"content":"beside"}],"accessory":{"type":2,"style":5,"label":"Look","url":"https://x.example"}},
		{"type":12,"items":[{"media":{"url":"https://x.example/1.png"}}]}]}]}`,
		want: "*Title*\n*x*\nbeside\nLook: https://x.example"},
	{name: "form", media: typeMultipart, body: form("payload_json", `{"content":"hi"}`), want: "hi"},
	{name: "form without JSON", media: typeMultipart, body: form("username", "x", "payload_json", `{"content":"hi there"}`), want: "hi there"},
	{name: "more embeds than there can be", body: `{"embeds":[` + strings.Repeat(`{"description":"x"},`, 30) + `{"description":"y"}]}`, want: strings.TrimSuffix(strings.Repeat("x\n", 10), "\n")},
	{name: "nothing", body: `{"content":"","embeds":[]}`, want: "the message is empty"},
	{name: "no JSON", body: `{"content"`, want: "the JSON is not well formed"},
}

func TestMessagesOfDiscord(t *testing.T) { drawings(t, &discord, discordSamples) }

func TestMessagesOfDiscordThatAreSpoiled(t *testing.T) {
	withstands(t, &discord, discordSamples[0])
	withstands(t, &discord, discordSamples[5])
}

func FuzzDiscord(f *testing.F) { fuzzFace(f, &discord, discordSamples) }

func TestFilesOfDiscord(t *testing.T) {
	file := "--frontier\r\nContent-Disposition: form-data; name=\"files[0]\"; filename=\"a.png\"\r\nContent-Type: image/png\r\n\r\nPNG\r\n"
	for name, body := range map[string]string{"alone": file + "--frontier--\r\n", "with a message": file + form("payload_json", `{"content":"x"}`)} {
		s := sample{media: typeMultipart}
		reading, err := discord.Read(s.request([]byte(body)))
		if err != nil || len(reading.Notices) != 1 {
			t.Fatalf("%s: %+v, %v", name, reading, err)
		}
		if got := reading.Notices[0].Attachments; len(got) != 1 || string(got[0].Data) != "PNG" {
			t.Errorf("%s: attached %+v", name, got)
		}
	}
	s := sample{media: typeMultipart}
	reading, err := discord.Read(s.request([]byte(form("content", "x", "username", "u"))))
	if err != nil || reading.Notices[0].Text != "x" || reading.Notices[0].Nick != "u" {
		t.Errorf("fields: %+v, %v", reading, err)
	}
}

func TestDiscordIsAnsweredAsItExpects(t *testing.T) {
	read := func(q string) *Request {
		return (&sample{query: q}).request([]byte(`{"content":"hi","username":"ci"}`))
	}
	look := &Request{Method: http.MethodGet}
	for _, one := range []struct {
		o      Outcome
		status int
		body   string
	}{
		{Outcome{Status: 200, Request: read("")}, 204, ""},
		{Outcome{Status: 200, Request: read("wait=false")}, 204, ""},
		{Outcome{Status: 200, Request: look, Hook: "ops", Ignored: "looked at"}, 200, `{"id":"1","type":1,"name":"ops","avatar":null}`},
		{Outcome{Status: 400, Request: read("wait=true"), Word: "50006", Text: "empty"}, 400, `{"message":"empty","code":50006}`},
		{Outcome{Status: 400, Request: read(""), Text: "bad"}, 400, `{"message":"bad","code":0}`},
		{Outcome{Status: 401, Text: "x"}, 401, `{"message":"x","code":50027}`},
		{Outcome{Status: 404, Text: "x"}, 404, `{"message":"x","code":10015}`},
		{Outcome{Status: 413, Text: "x"}, 413, `{"message":"x","code":40005}`},
		{Outcome{Status: 503, Text: "x"}, 503, `{"message":"x","code":0}`},
	} {
		r := answers(t, &discord, &one.o)
		if r.Status != one.status || string(r.Body) != one.body {
			t.Errorf("%+v is answered with %d %q, want %d %q", one.o, r.Status, r.Body, one.status, one.body)
		}
	}
	request := read("wait=true")
	reading, err := discord.Read(request)
	if err != nil {
		t.Fatal(err)
	}
	r := answers(t, &discord, &Outcome{Status: 200, Request: request, Reading: &reading, Hook: "ops",
		Received: 1795867200, Serial: 7})
	var message struct {
		ID, Content, Timestamp string
		Author                 struct{ Username string }
	}
	if err := json.Unmarshal(r.Body, &message); err != nil || message.ID != "1576206021427200007" || message.Content != "hi" ||
		message.Author.Username != "ci" || message.Timestamp != "2026-11-28T12:00:00Z" {
		t.Errorf("answered %s, %v", r.Body, err)
	}
	if reading, err := discord.Read(look); err != nil || reading.Ignored == "" || len(reading.Notices) > 0 {
		t.Errorf("a look is %+v, %v", reading, err)
	}
	for _, name := range discord.Also {
		if Find(name) == nil {
			t.Errorf("%s is no face", name)
		}
	}
}
