package notice

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

const ntfyFull = `{"topic":"ops","title":"Disk","message":"5 GB left","priority":4,"tags":["warning","db1"],
"click":"https://x.example","icon":"https://x.example/i.png","attach":"https://x.example/df.txt","filename":"df.txt",
"markdown":false,"actions":[{"action":"view","label":"Graph","url":"https://g.example"},
{"action":"http","label":"Mute","url":"https://g.example/mute","method":"PUT","headers":{"a":"b"},"body":"x"}]}`

var ntfySamples = []sample{
	{name: "JSON", body: ntfyFull, want: "⚠ Disk\n5 GB left\nTags: db1\nhttps://x.example\nGraph: https://g.example"},
	{name: "JSON as curl sends it", media: typeForm, body: ntfyFull,
		want: "⚠ Disk\n5 GB left\nTags: db1\nhttps://x.example\nGraph: https://g.example"},
	{name: "a topic alone", body: `{"topic":"ops"}`, want: "triggered"},
	{name: "Markdown", body: `{"topic":"ops","message":"**5** GB left","markdown":true}`, want: "*5* GB left"},
	{name: "a priority in words", body: `{"topic":"ops","message":"x","priority":"max"}`, want: "🔥 x"},
	{name: "a sign without a title", body: `{"topic":"ops","message":"done","tags":"tada,rocket"}`, want: "🎉 🚀 done"},
	{name: "delayed", body: `{"topic":"ops","message":"x","delay":"30m"}`, want: "a message cannot be delayed here"},
	{name: "a priority that is none", body: `{"topic":"ops","message":"x","priority":9}`, want: "the priority must be 1 to 5"},
	{name: "tags of a wrong type", body: `{"topic":"ops","message":"x","tags":{"a":1}}`, want: `the member "tags" must be a list`},
	{name: "a message of a wrong type", body: `{"topic":"ops","message":["x"]}`, want: `the member "message" must be a string`},
	{name: "a topic of a wrong type", body: `{"topic":[],"message":"x"}`, want: "the topic must be a name"},
	{name: "actions without a label", body: `{"topic":"ops","actions":[{"action":"view","url":"https://a.example"}]}`,
		want: "the action 1 needs a label"},
	{name: "an attachment that is none", body: `{"topic":"ops","attach":"file:///etc/passwd"}`,
		want: "what is attached must be the URL of a file"},
	{name: "not closed", body: `{"topic":"ops"`, want: "the JSON is not well formed"},
}

// published is a request of the other kind: a text with headers, which no hook of the kind auto takes for ntfy.
func published(method, rest, query, body string, header ...string) *Request {
	r := &Request{Method: method, Rest: rest, Header: http.Header{}, Body: []byte(body)}
	r.Query, _ = url.ParseQuery(query)
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	r.Media = r.Header.Get("Content-Type")
	return r
}

func TestTextsPublishedToNtfy(t *testing.T) {
	for _, one := range []struct {
		name string
		r    *Request
		want string // the drawing, or how the mistake begins
	}{
		{"a text", published("POST", "", "", "Backup done 😀\n"), "Backup done 😀"},
		{"by PUT", published("PUT", "", "", "Backup done"), "Backup done"},
		{"nothing", published("POST", "", "", ""), "triggered"},
		{"headers", published("POST", "", "", "Look", "Title", "Door", "Priority", "urgent", "Tags", "door,warning, front",
			"Click", "https://home.example"), "🔥 🚪 Door\nLook\nTags: front\nhttps://home.example"},
		{"short names", published("POST", "", "", "Look", "t", "Door", "p", "2", "ta", "skull"), "💀 Door\nLook"},
		{"an encoded title", published("POST", "", "", "x", "X-Title", "=?UTF-8?B?4pyTIGLDvGNo?= =?utf-8?q?er?="), "✓ bücher\nx"},
		{"a raw title", published("POST", "", "", "x", "X-Title", "bücher"), "bücher\nx"},
		{"a header before the query", published("POST", "", "title=no&priority=5", "x", "Title", "yes"), "🔥 yes\nx"},
		{"a message in a header", published("POST", "", "", "", "X-Message", `one\ntwo`), "one\ntwo"},
		{"a GET", published("GET", "publish", "message=Hello+there&title=T", ""), "T\nHello there"},
		{"a trigger", published("GET", "trigger", "", ""), "triggered"},
		{"a GET with a message", published("GET", "", "m=Hello", ""), "Hello"},
		{"a GET that reads", published("GET", "json", "poll=1", ""), "nothing can be read here"},
		{"a GET that says nothing", published("GET", "", "", ""), "a GET publishes at"},
		{"Markdown", published("POST", "", "", "**x**", "Markdown", "yes"), "*x*"},
		{"a browser's priority", published("POST", "", "", "x", "Priority", "u=1, i"), "x"},
		{"a wrong priority", published("POST", "", "", "x", "Priority", "high-ish"), "the priority must be"},
		{"delayed", published("POST", "", "", "x", "In", "10m"), "a message cannot be delayed"},
		{"a template", published("POST", "", "", "{}", "X-Template", "yes"), "templates are part of the hook"},
		{"actions", published("POST", "", "", "x", "Actions",
			`view, "Open, then close", https://a.example/?a=1 , clear=true; http, Off, https://api.example, body='{"a": "b"}'`),
			"x\nOpen, then close: https://a.example/?a=1"},
		{"actions of too many parts", published("POST", "", "", "x", "Actions", "view, L, https://a.example, b"),
			"b of an action is not known"},
		{"actions in quotes", published("POST", "", "", "x", "Actions",
			`view, "Say \"go\"", 'https://a.example/?a=1;b', clear=true; http, Off, https://api.example, method=PUT, headers.A=b`),
			"x\nSay \"go\": https://a.example/?a=1;b"},
		{"actions in JSON", published("POST", "", "", "x", "Actions", `[{"action":"view","label":"L","url":"https://a.example"}]`),
			"x\nL: https://a.example"},
		{"a quote that is open", published("POST", "", "", "x", "Actions", `view, "L`), "a quotation mark of an action"},
		{"an action that is none", published("POST", "", "", "x", "Actions", `jump, L`), "the action 1 must be view"},
		{"actions too many", published("POST", "", "", "x", "Actions", strings.Repeat("view, L, https://a.example;", 4)),
			"a message has at most 3 actions"},
		{"a text as curl sends it", published("POST", "", "", "a=b&c", "Content-Type", typeForm), "a=b&c"},
		{"JSON that is a text", published("POST", "", "", `{"a":1}`), `{"a":1}`},
		{"a file", published("PUT", "", "", "\x89PNG\r\n\x1a\n\xff", "Filename", "graph.png"), "You received a file: graph.png"},
		{"a file with a text", published("PUT", "", "", "abc", "Filename", "a.txt", "Message", "Look at this"), "Look at this"},
		{"a file without a name", published("PUT", "", "", "\x89PNG\r\n\x1a\n\xff"), "You received a file: attachment.png"},
		{"a long text", published("POST", "", "", strings.Repeat("x", 4097)), "You received a file: attachment.txt"},
		{"a file elsewhere", published("POST", "", "", "", "Attach", "https://a.example/b/c.apk?x=y"), "You received a file: c.apk"},
		{"no text beside a file", published("POST", "", "", "\xff", "Attach", "https://a.example/c.apk"), "the message is not UTF-8"},
	} {
		reading, err := ntfy.Read(one.r)
		if err != nil {
			if !strings.HasPrefix(err.Error(), one.want) {
				t.Errorf("%s: %v, want %q", one.name, err, one.want)
			}
			continue
		}
		if got := Draw(&reading.Notices[0], Style{}).Text; got != one.want {
			t.Errorf("%s: drawn as\n%q, want\n%q", one.name, got, one.want)
		}
	}
}

func TestFilesPublishedToNtfyAreAttached(t *testing.T) {
	for _, one := range []struct {
		r    *Request
		want Attachment
	}{
		{published("PUT", "", "", "\x89PNG\r\n\x1a\n\xff", "Filename", "graph.png"),
			Attachment{Name: "graph.png", Type: "image/png", Data: []byte("\x89PNG\r\n\x1a\n\xff")}},
		{published("POST", "", "", strings.Repeat("x", 4097)),
			Attachment{Name: "attachment.txt", Type: "text/plain; charset=utf-8", Data: bytes.Repeat([]byte("x"), 4097)}},
		{published("POST", "", "attach=https://a.example/c.apk", "new"), Attachment{Name: "c.apk", URL: "https://a.example/c.apk"}},
	} {
		reading, err := ntfy.Read(one.r)
		if err != nil {
			t.Fatal(err)
		}
		got := reading.Notices[0].Attachments
		if len(got) != 1 || got[0].Name != one.want.Name || got[0].Type != one.want.Type || got[0].URL != one.want.URL ||
			!bytes.Equal(got[0].Data, one.want.Data) {
			t.Errorf("attached %+v, want %+v", got, one.want)
		}
	}
}

const gotifyFull = `{"title":"Backup","message":"**done**","priority":5,"extras":{"client::display":{"contentType":"text/markdown"},
"client::notification":{"click":{"url":"https://a.example"}},"home::light":{"on":true}}}`

var gotifySamples = []sample{
	{name: "all", body: gotifyFull, want: "ℹ Backup\n*done*\nhttps://a.example"},
	{name: "a message alone", body: `{"message":"x"}`, want: "x"},
	{name: "urgent", body: `{"title":"Uptime-Kuma","message":"[db1] down","priority":8}`, want: "🔥 Uptime-Kuma\n[db1] down"},
	{name: "what a client leaves out", body: `{"title":null,"message":"x","priority":null,"extras":null}`, want: "x"},
	{name: "no message", body: `{"title":"x"}`, want: "Field 'message' is required"},
	{name: "a priority that is none", body: `{"message":"x","priority":"much"}`, want: "Field 'priority' is not valid"},
	{name: "extras that are none", body: `{"message":"x","extras":[]}`, want: "Field 'extras' is not valid"},
	{name: "no JSON", body: `{"message":`, want: "the JSON is not well formed"},
}

// gotifyForms are read as those of Gotify where the hook says so. Where it must be guessed, they are of Home Assistant.
var gotifyForms = []sample{
	{name: "a form", media: typeForm, body: "title=T&message=a+b&priority=2", want: "T\na b"},
	{name: "a form in parts", media: typeMultipart, body: "--frontier\r\nContent-Disposition: form-data; name=\"message\"\r\n\r\n" +
		"a b\r\n--frontier--\r\n", want: "a b"},
	{name: "a query", media: "text/plain", query: "message=a+b&title=T", want: "T\na b"},
}

const appriseFull = `{"version":"1.0","title":"Backup","message":"It is done.","type":"failure","attachments":[
{"filename":"log.txt","base64":"aGVsbG8=","mimetype":"text/plain"}]}`

var appriseSamples = []sample{
	{name: "all", body: appriseFull, want: "🔥 Backup\nIt is done."},
	{name: "success", body: `{"version":"1.0","title":"Backup","message":"x","attachments":[],"type":"success"}`,
		want: "✅ RESOLVED · Backup\nx"},
	{name: "a warning", body: `{"message":"x","type":"warning"}`, want: "⚠ x"},
	{name: "a form", media: typeForm, body: "version=1.0&title=&message=x&type=info", want: "x"},
	{name: "a file that is none", body: `{"message":"x","type":"info","attachments":[{"filename":"a","base64":"***"}]}`,
		want: "the attachment 1 has no content in base64"},
	{name: "another type", body: `{"message":"x","type":"panic"}`, want: "the type must be info, success, warning or failure"},
	{name: "nothing", body: `{"version":"1.0","title":"","message":"","type":"info"}`, want: "neither a message nor a title is there"},
}

const kumaFull = `{"heartbeat":{"monitorID":1,"status":0,"time":"2026-11-28 12:00:00.000","msg":"timeout","ping":null,"duration":60,
"important":true},"monitor":{"id":1,"name":"db1","pathName":"prod / db1","url":"https://db1.example","type":"http","tags":[]},
"msg":"[db1] [🔴 Down] timeout"}`

var kumaSamples = []sample{
	{name: "down", body: kumaFull, want: "[db1] [🔴 Down] timeout\nhttps://db1.example"},
	{name: "up", body: strings.NewReplacer(`"status":0`, `"status":1`, "🔴 Down] timeout", "✅ Up] 200 - OK").Replace(kumaFull),
		want: "[db1] [✅ Up] 200 - OK\nhttps://db1.example"},
	{name: "pending", body: `{"heartbeat":{"status":2},"monitor":{},"msg":"[db1] wait"}`, want: "⚠ [db1] wait"},
	{name: "a test", body: `{"heartbeat":null,"monitor":null,"msg":"My Notification Testing"}`, want: "My Notification Testing"},
	{name: "a form", media: typeMultipart, body: "--frontier\r\nContent-Disposition: form-data; name=\"data\"\r\n\r\n" +
		`{"heartbeat":{"status":1},"monitor":{"id":2},"msg":"[db2] up"}` + "\r\n--frontier--\r\n", want: "[db2] up"},
	{name: "a query", media: "text/plain", query: "msg=%5Bdb1%5D+down&heartbeat=%7B%22status%22%3A0%7D&monitor=%7B%22id%22%3A1%7D",
		want: "[db1] down"},
	{name: "no text", body: `{"heartbeat":{},"monitor":{}}`, want: `the member "msg" has no text`},
}

const checkFull = `{"name":"Nightly backup","slug":"nightly-backup","tags":"prod db","desc":"of db1","grace":3600,"n_pings":60,
"status":"down","started":false,"last_ping":"2026-11-28T02:00:00+00:00","next_ping":null,"manual_resume":false,"methods":"",
"uuid":"7f5a","timeout":86400}`

var checkSamples = []sample{
	{name: "down", body: checkFull, want: "🔥 FIRING · error · Nightly backup is down\nof db1\n" +
		"Last ping: 2026-11-28T02:00:00+00:00\nTags: prod db"},
	{name: "up", body: `{"name":"x","n_pings":1,"status":"up"}`, want: "✅ RESOLVED · x is up"},
	{name: "no status", body: `{"name":"x","n_pings":1}`, want: `the member "status" does not say`},
}

const ownFull = `{"title":"Backup","text":"of db1 failed","level":"error","state":"firing","link":"https://x.example",
"key":"backup db1","source":"db1"}`

var ownSamples = []sample{
	{name: "all", body: ownFull, want: "🔥 FIRING · error · db1: Backup\nof db1 failed\nhttps://x.example"},
	{name: "of Nagios", body: `{"title":"disk on db1","text":"91 %","level":"WARNING","state":"PROBLEM"}`,
		want: "⚠ FIRING · warning · disk on db1\n91 %"},
	{name: "over", body: `{"title":"disk on db1","state":"RECOVERY","level":"OK"}`, want: "✅ RESOLVED · disk on db1"},
	{name: "seen", body: `{"title":"disk on db1","state":"ACKNOWLEDGEMENT","level":"CRITICAL"}`, want: "🔥 disk on db1"},
	{name: "another level", body: `{"title":"x","level":"purple"}`, want: "the level must be"},
	{name: "another state", body: `{"title":"x","state":"purple"}`, want: "the state must be"},
	{name: "another member", body: `{"title":"x","color":"purple"}`, want: `the member "color" is not known`},
	{name: "a wrong type", body: `{"title":["x"]}`, want: `the member "title" must be a string`},
	{name: "nothing", body: `{"level":"info"}`, want: "neither a title nor a text is there"},
}

const zabbixFull = `{"subject":"Problem: disk","message":"/var 91 %","severity":"Average","value":"1","update":"0",
"url":"https://zabbix.example/tr_events.php?eventid=7","event_id":"7"}`

var zabbixSamples = []sample{
	{name: "a problem", body: zabbixFull, want: "🔥 FIRING · error · Problem: disk\n/var 91 %\n" +
		"https://zabbix.example/tr_events.php?eventid=7"},
	{name: "over", body: `{"subject":"Resolved: disk","severity":"Average","value":"0","event_id":"7"}`,
		want: "✅ RESOLVED · Resolved: disk"},
	{name: "an update", body: `{"subject":"Updated: disk","severity":"Disaster","value":"1","update":"1","event_id":"7"}`,
		want: "🔥 Updated: disk"},
	{name: "a macro without a value", body: `{"subject":"x","severity":"{EVENT.SEVERITY}","event_id":"{EVENT.ID}"}`, want: "x"},
	{name: "another severity", body: `{"subject":"x","severity":"purple","event_id":""}`, want: "the severity must be"},
	{name: "nothing", body: `{"severity":"","event_id":"7"}`, want: "neither a subject nor a message is there"},
}

var homeSamples = []sample{
	{name: "a form", media: typeForm, body: "message=The+door+is+open&title=Home", want: "Home\nThe door is open"},
	{name: "a query", media: "text/plain", query: "message=The+door+is+open", want: "The door is open"},
	{name: "no message", media: typeForm, body: "target=x", want: `the parameter "message" has no text`},
}

func TestWhatPushServersAndMonitorsSend(t *testing.T) {
	for _, one := range []struct {
		face    *Face
		samples []sample
	}{
		{&ntfy, ntfySamples}, {&gotify, gotifySamples}, {&apprise, appriseSamples}, {&uptimekuma, kumaSamples},
		{&healthchecks, checkSamples}, {&homeassistant, homeSamples}, {&own, ownSamples}, {&zabbix, zabbixSamples},
	} {
		t.Run(one.face.Name, func(t *testing.T) { drawings(t, one.face, one.samples) })
	}
	unclaimed := gotify
	unclaimed.Claims = nil
	t.Run("Gotify's forms", func(t *testing.T) { drawings(t, &unclaimed, gotifyForms) })
}

func TestPushServersAndMonitorsMayBeWrongInEachPlace(t *testing.T) {
	withstands(t, &ntfy, sample{name: "ntfy", body: ntfyFull})
	withstands(t, &gotify, sample{name: "Gotify", body: gotifyFull})
	withstands(t, &apprise, sample{name: "Apprise", body: appriseFull})
	withstands(t, &uptimekuma, sample{name: "Uptime Kuma", body: kumaFull})
	withstands(t, &healthchecks, sample{name: "Healthchecks", body: checkFull})
	withstands(t, &own, sample{name: "our own", body: ownFull})
	withstands(t, &zabbix, sample{name: "Zabbix", body: zabbixFull})
	withstands(t, &homeassistant, sample{name: "Home Assistant", body: gotifyFull})
}

// Keys can have other names, in Apprise and in Home Assistant.
func TestRenamedKeysAreFound(t *testing.T) {
	s := sample{body: `{"text":"x","subject":"S","message":"no","type":"info"}`}
	for _, face := range []*Face{&apprise, &homeassistant} {
		r := s.request([]byte(s.body))
		r.Rename = map[string]string{"text": "message", "subject": "title"}
		reading, err := face.Read(r)
		if err != nil || reading.Notices[0].Text != "x" || reading.Notices[0].Title != "S" {
			t.Errorf("%s: read as %+v, %v", face.Name, reading, err)
		}
	}
}

func TestAppriseAttachesFiles(t *testing.T) {
	reading := read(t, &apprise, sample{body: appriseFull})
	if a := reading.Notices[0].Attachments; len(a) != 1 || a[0].Name != "log.txt" || a[0].Type != "text/plain" ||
		string(a[0].Data) != "hello" {
		t.Errorf("attached %+v", a)
	}
	s := sample{media: typeMultipart, body: "--frontier\r\nContent-Disposition: form-data; name=\"message\"\r\n\r\nx\r\n--frontier\r\n" +
		"Content-Disposition: form-data; name=\"file01\"; filename=\"a.txt\"\r\nContent-Type: text/plain\r\n\r\nhi\r\n--frontier--\r\n"}
	if a := read(t, &apprise, s).Notices[0].Attachments; len(a) != 1 || a[0].Name != "a.txt" || string(a[0].Data) != "hi" {
		t.Errorf("attached %+v", a)
	}
}

func TestMonitorsSayWhatBelongsTogether(t *testing.T) {
	down, up := read(t, &uptimekuma, kumaSamples[0]).Notices[0], read(t, &uptimekuma, kumaSamples[1]).Notices[0]
	if down.Key != "monitor 1" || up.Key != down.Key || down.State != Firing || down.Level != Error || up.State != Resolved {
		t.Errorf("down is %+v, up is %+v", down, up)
	}
	if n := read(t, &healthchecks, checkSamples[0]).Notices[0]; n.Key != "check 7f5a" || n.State != Firing {
		t.Errorf("a check is %+v", n)
	}
	if n := read(t, &homeassistant, sample{body: `{"message":"x","target":"ann"}`}).Notices[0]; n.To != "ann" {
		t.Errorf("to %q", n.To)
	}
}

func answered(t *testing.T, face *Face, o Outcome) map[string]any {
	t.Helper()
	var v map[string]any
	if r := answers(t, face, &o); json.Unmarshal(r.Body, &v) != nil {
		t.Fatalf("answered %q", r.Body)
	}
	return v
}

func TestPushServersAnswerWithTheMessage(t *testing.T) {
	s := sample{body: ntfyFull}
	o := Outcome{Status: 200, ID: "m-1", Serial: 25, Hook: "ops", Received: 1795867200, Request: s.request([]byte(s.body))}
	got, _ := json.Marshal(answered(t, &ntfy, o))
	if want := `{"actions":[{"action":"view","label":"Graph","url":"https://g.example"},{"action":"http","label":"Mute",` +
		`"url":"https://g.example/mute"}],"attachment":{"name":"df.txt","url":"https://x.example/df.txt"},"click":"https://x.example",` +
		`"event":"message","expires":1795910400,"id":"m-1","message":"5 GB left","priority":4,"tags":["warning","db1"],` +
		`"time":1795867200,"title":"Disk","topic":"ops"}`; string(got) != want {
		t.Errorf("ntfy is answered\n%s, want\n%s", got, want)
	}
	s = sample{body: `{"message":"x","priority":8}`}
	o.Request = s.request([]byte(s.body))
	got, _ = json.Marshal(answered(t, &gotify, o))
	if want := `{"appid":1,"date":"2026-11-28T12:00:00Z","id":25,"message":"x","priority":8,"title":"ops"}`; string(got) != want {
		t.Errorf("Gotify is answered\n%s, want\n%s", got, want)
	}
}

func TestPushServersAnswerWithTheirErrors(t *testing.T) {
	for _, one := range []struct {
		status int
		word   string
		code   float64
	}{
		{400, "40018", 40018}, {400, "", 40000}, {400, "50000", 40000}, {401, "", 40101}, {403, "", 40301}, {404, "", 40401},
		{405, "", 40401}, {413, "", 41301}, {415, "", 50301}, {503, "", 50301},
	} {
		got := answered(t, &ntfy, Outcome{Status: one.status, Word: one.word, Text: "no"})
		if got["code"] != one.code || got["http"] != float64(one.status) || got["error"] != "no" {
			t.Errorf("%d %q: %v", one.status, one.word, got)
		}
	}
	got := answered(t, &gotify, Outcome{Status: 401, Text: "no"})
	if got["error"] != "Unauthorized" || got["errorCode"] != 401.0 || got["errorDescription"] != "no" {
		t.Errorf("Gotify is told %v", got)
	}
}

func FuzzNtfy(f *testing.F) {
	for _, s := range ntfySamples {
		f.Add(typeJSON, "", "", []byte(s.body))
	}
	f.Add("", "Tags: a,warning\nActions: view, \"a\\\"b\", 'https://a.example', clear=true; http, x, https://b.example", "p=5&in=", []byte("x"))
	f.Add("text/markdown", "Title: =?utf-8?q?=E4?=\nFilename: x", "message=a", []byte("\xff"))
	f.Fuzz(func(t *testing.T, media, header, values string, body []byte) {
		s := sample{media: media, query: values, header: map[string]string{}}
		for line := range strings.SplitSeq(header, "\n") {
			name, v, _ := strings.Cut(line, ": ")
			s.header[name] = v
		}
		withstandsOne(t, &ntfy, s.request(body))
	})
}

func FuzzGotify(f *testing.F)        { fuzzFace(f, &gotify, append(gotifyForms, gotifySamples...)) }
func FuzzApprise(f *testing.F)       { fuzzFace(f, &apprise, appriseSamples) }
func FuzzUptimeKuma(f *testing.F)    { fuzzFace(f, &uptimekuma, kumaSamples) }
func FuzzHealthchecks(f *testing.F)  { fuzzFace(f, &healthchecks, checkSamples) }
func FuzzOwn(f *testing.F)           { fuzzFace(f, &own, ownSamples) }
func FuzzZabbix(f *testing.F)        { fuzzFace(f, &zabbix, zabbixSamples) }
func FuzzHomeAssistant(f *testing.F) { fuzzFace(f, &homeassistant, homeSamples) }
