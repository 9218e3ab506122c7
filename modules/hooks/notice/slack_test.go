package notice

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

var slackSamples = []sample{
	{name: "full", body: `{"username":"ci","channel":"#builds","icon_emoji":":robot_face:","thread_ts":"1.2",
		"text":"Build *failed* <https://ci.example/7|#7> &amp; more",
		"attachments":[{"color":"danger","fallback":"tests red","author_name":"ann","title":"tests","title_link":"https://ci.example/7","pretext":"Look:",
		"text":"three of &lt;40&gt;","fields":[{"title":"branch","value":"main","short":true},{"title":"failed","value":3}],"footer":"ci","ts":1795867200,
		"image_url":"https://ci.example/7.png","mrkdwn_in":["text"],"actions":[{"type":"button","text":"Again","url":"https://ci.example/7/again"}]}]}`,
		want: "🔥 Build *failed* #7: https://ci.example/7 & more\nLook:\nann\n*tests*\nthree of <40>\nbranch: main\nfailed: 3\n" +
			"https://ci.example/7\nAgain: https://ci.example/7/again"},
	{name: "text", body: `{"text":"hello :tada: <!channel>, ask <@U1|ann>"}`, want: "hello 🎉 @all, ask @ann"},
	{name: "form", media: typeForm, body: `payload=%7B%22text%22%3A%22a%26b%22%7D`, want: "a&b"},
	{name: "a form of no type", media: "-", body: `payload={"text": "50%"}`, want: "50%"},
	{name: "raw ends of lines", body: "{\"text\":\"a\nb\"}", want: "a\nb"},
	{name: "of Alertmanager", body: `{"channel":"","username":"Alertmanager","attachments":[{"title":"[FIRING:1] DiskFull (db1 critical)",
		"title_link":"http://am:9093/#/alerts?receiver=slack","pretext":"","text":"","fallback":"[FIRING:1] DiskFull | http://am:9093","callback_id":"",
		"footer":"","color":"danger","mrkdwn_in":["fallback","pretext","text"]}]}`,
		want: "🔥 [FIRING:1] DiskFull (db1 critical)\nhttp://am:9093/#/alerts?receiver=slack"},
	{name: "of Grafana", body: `{"channel":"","text":"","username":"Grafana","attachments":[{"title":"[RESOLVED] Load","title_link":"https://g.example/alerting/list",
		"text":"**Resolved**\n\nValue: B=0.4","fallback":"[RESOLVED] Load","footer":"Grafana v12","color":"#36a64f","ts":1795867200,"pretext":"<!here|here>"}]}`,
		want: "[RESOLVED] Load\n@all\n*Resolved*\n\nValue: B=0.4\nhttps://g.example/alerting/list"},
	{name: "of Uptime Kuma", body: `{"text":"[db1] [🔴 Down] timeout","username":"Kuma","attachments":[{"color":"#e01e5a","blocks":[
		{"type":"header","text":{"type":"plain_text","text":"db1"}},{"type":"context","elements":[{"type":"mrkdwn","text":"_Servers / North_"}]},
		{"type":"section","fields":[{"type":"mrkdwn","text":"*Message*\n[db1] [🔴 Down] timeout"},{"type":"mrkdwn","text":"*Time (UTC)*\n2026-11-28 12:00:00"}]},
		{"type":"actions","elements":[{"type":"button","text":{"type":"plain_text","text":"Visit site"},"value":"Site","url":"https://db1.example/"}]}]}]}`,
		want: "🔥 [db1] [🔴 Down] timeout\n*db1*\n_Servers / North_\nTime (UTC): 2026-11-28 12:00:00\nVisit site: https://db1.example/"},
	{name: "blocks", body: `{"blocks":[{"type":"header","text":{"type":"plain_text","text":"Deploy &amp; run :rocket:"}},{"type":"divider"},
		{"type":"section","text":{"type":"mrkdwn","text":"to *north*"},"fields":[{"type":"mrkdwn","text":"*by:*\nann"},{"type":"plain_text","text":"1 < 2"}],
		"accessory":{"type":"button","text":{"type":"plain_text","text":"Log"},"url":"https://ci.example/log"}},
		{"type":"image","image_url":"https://ci.example/x.png","alt_text":"a graph","title":{"type":"plain_text","text":"Load"}},
		{"type":"markdown","text":"**done** [x](https://x.example)"},{"type":"video","title":{"type":"plain_text","text":"Film"},"title_url":"https://v.example","description":{"type":"plain_text","text":"of it"}},
		{"type":"rich_text","elements":[
			{"type":"rich_text_section","elements":[{"type":"text","text":"so "},{"type":"text","text":"bold ","style":{"bold":true,"italic":true}},{"type":"link","url":"https://y.example","text":"y"},
				{"type":"text","text":" "},{"type":"emoji","name":"fire"},{"type":"emoji","name":"parrot"},{"type":"user","user_id":"U1"},{"type":"broadcast","range":"here"},{"type":"channel","channel_id":"C1"},
				{"type":"usergroup","usergroup_id":"S1"},{"type":"date","timestamp":1,"format":"{date}","fallback":"1970"},{"type":"color","value":"#fff"}]},
			{"type":"rich_text_list","style":"ordered","indent":1,"elements":[{"type":"rich_text_section","elements":[{"type":"text","text":"one"}]}]},
			{"type":"rich_text_list","style":"bullet","elements":[{"type":"rich_text_section","elements":[{"type":"text","text":"two","style":{"code":true}}]}]},
			{"type":"rich_text_preformatted","elements":[{"type":"text","text":"x = 1\ny = 2"}]},
			{"type":"rich_text_quote","elements":[{"type":"text","text":"said\ntwice"}]}]},
		{"type":"input"},{"type":"something new"}]}`,
		want: "Deploy & run 🚀\nto *north*\nby: ann\n1 < 2\nLoad\n*done* x: https://x.example\nFilm: https://v.example\nof it\n" +
			"so *_bold_* y: https://y.example 🔥:parrot:@U1@all#C1@S11970#fff\n  1. one\n- `two`\n```\nx = 1\ny = 2\n```\n> said\n> twice\nLog: https://ci.example/log"},
	{name: "fallback", body: `{"attachments":[{"fallback":"only <https://x.example>"}]}`, want: "only https://x.example"},
	{name: "two parts", body: `{"attachments":[{"title":"one","title_link":"https://x.example/1"},{"title":"two","title_link":"https://x.example/2","color":"warning"},{"title":"three","text":"x"}]}`,
		want: "⚠ one\nhttps://x.example/1\ntwo: https://x.example/2\n*three*\nx"},
	{name: "a text and blocks", body: `{"text":"short","blocks":[{"type":"section","text":{"type":"mrkdwn","text":"long"}}]}`, want: "short"},
	{name: "one attachment without a list", body: `{"attachments":{"text":"x"}}`, want: "x"},
	{name: "a name without a value", body: `{"attachments":[{"fields":[{"title":"a"},{"value":"b"},{"title":"c:","value":"d"},{"title":"e","value":"f\ng"}]}]}`, want: "a\nb\nc: d\ne:\nf\ng"},
	{name: "nothing", body: `{"text":" "}`, want: "the message has no text"},
	{name: "no JSON", body: `{"text":`, want: "the JSON is not well formed"},
}

var mattermostSamples = []sample{
	{name: "full", body: `{"text":"**Build** [#7](https://ci.example/7) :fire: <https://x.example|x> ` + "`:fire: <@a>`" + `","username":"ci","channel":"town-square","icon_url":"https://x.example/i.png",
		"type":"custom_x","props":{"card":"more"},"priority":{"priority":"urgent","requested_ack":true},
		"attachments":[{"fallback":"x","color":"#FF8000","title":"tests","text":"| a | b |\n|---|---|","fields":[{"short":false,"title":"Error","value":"**bad**"}]}]}`,
		want: "🔥 *Build* #7: https://ci.example/7 🔥 x: https://x.example `:fire: <@a>`\n*tests*\n*a* | *b*\nError: *bad*"},
	{name: "important", body: `{"text":"x","priority":{"priority":"important"}}`, want: "⚠ x"},
	{name: "of Uptime Kuma", body: `{"username":"db1 Uptime Kuma","props":{},"attachments":[{"fallback":"Your db1 service went down.","color":"#FF0000","title":"db1 service went down.",
		"title_link":"https://db1.example","fields":[{"short":false,"title":"Error","value":"timeout"},{"short":true,"title":"Time (UTC)","value":"2026-11-28 12:00:00"}]}]}`,
		want: "🔥 db1 service went down.\nError: timeout\nTime (UTC): 2026-11-28 12:00:00\nhttps://db1.example"},
	{name: "nothing", body: `{"props":{}}`, want: "the message has no text"},
}

var rocketchatSamples = []sample{
	{name: "full", body: `{"alias":"Alerts","avatar":"https://x.example/a.png","emoji":":ghost:","roomId":"r1","separateResponse":true,"text":"**Disk** is *full*, ~~really~~ [look](https://x.example/_a_) ` + "`**x**`" + `",
		"attachments":[{"title":"Rocket","title_link":"https://rocket.example","text":"_x_","color":"#764FA5"}]}`,
		want: "*Disk* is *full*, ~really~ look: https://x.example/_a_ `**x**`\n*Rocket*\n_x_\nhttps://rocket.example"},
	{name: "a form with bare JSON", media: typeForm, body: `{"alias":"a","text":"b"}`, want: "b"},
	{name: "nothing", body: `{"alias":"a","text":""}`, want: "the message has no text"},
}

func TestMessagesOfTheSlackFamily(t *testing.T) {
	drawings(t, &slack, slackSamples)
	drawings(t, &mattermost, mattermostSamples)
	drawings(t, &rocketchat, rocketchatSamples)
}

func TestMessagesOfTheSlackFamilyThatAreSpoiled(t *testing.T) {
	withstands(t, &slack, slackSamples[0])
	withstands(t, &slack, slackSamples[6])
	withstands(t, &slack, slackSamples[7])
	withstands(t, &mattermost, mattermostSamples[0])
	withstands(t, &rocketchat, rocketchatSamples[0])
}

func FuzzSlack(f *testing.F) { fuzzFace(f, &slack, slackSamples) }

func FuzzMattermost(f *testing.F) { fuzzFace(f, &mattermost, mattermostSamples) }

func FuzzRocketChat(f *testing.F) { fuzzFace(f, &rocketchat, rocketchatSamples) }

func TestWhatTheSenderAsksFor(t *testing.T) {
	for _, one := range []struct {
		face          *Face
		s             sample
		to, nick, key string
		pictures      int
	}{
		{&slack, slackSamples[0], "#builds", "ci", "thread 1.2", 1},
		{&mattermost, mattermostSamples[0], "town-square", "ci", "", 0},
		{&rocketchat, rocketchatSamples[0], "r1", "Alerts", "", 0},
		{&slack, sample{media: typeMultipart, body: form("text", "x", "username", " a\nb ", "channel", "c")}, "c", "a b", "", 0},
	} {
		reading, err := one.face.Read(one.s.request([]byte(one.s.body)))
		if err != nil || len(reading.Notices) != 1 {
			t.Fatalf("%v, %v", reading, err)
		}
		n := reading.Notices[0]
		if n.To != one.to || n.Nick != one.nick || n.Key != one.key || len(n.Attachments) != one.pictures {
			t.Errorf("%s: to %q, from %q, key %q, pictures %v", one.face.Name, n.To, n.Nick, n.Key, n.Attachments)
		}
	}
}

// form is a multipart form of names and values.
func form(fields ...string) string {
	var b strings.Builder
	for i := 0; i < len(fields); i += 2 {
		b.WriteString("--frontier\r\nContent-Disposition: form-data; name=\"" + fields[i] + "\"\r\n\r\n" + fields[i+1] + "\r\n")
	}
	return b.String() + "--frontier--\r\n"
}

func TestTextsOfSlackBecomeMessageStyling(t *testing.T) {
	for in, want := range map[string]string{
		"*b* _i_ ~s~ `c` a_b":                         "*b* _i_ ~s~ `c` a_b",
		"&amp;lt; &lt;x&gt; &quot; &":                 "&lt; <x> &quot; &",
		"<https://a.example>":                         "https://a.example",
		"<https://a.example|a.example>":               "https://a.example",
		"<https://a.example/?a=1&amp;b=2|A &amp; B>!": "A & B: https://a.example/?a=1&b=2!",
		"<mailto:a@b.example|a@b.example>":            "mailto:a@b.example",
		"<!here> <!channel|channel> <!everyone>":      "@all @all @all",
		"<!subteam^S1> <!subteam^S1|@ops>":            "@S1 @ops",
		"<!date^1795867200^{date}|28 November>":       "28 November",
		"<@U1> <@U1|ann> <#C1|ops> <#C1>":             "@U1 @ann #ops #C1",
		"1 <2 and 3> 2 <b>":                           "1 <2 and 3> 2 <b>",
		"<https://a.example":                          "<https://a.example",
		"< > <> <|x>":                                 "< > <> <|x>",
		":tada: :no_such_thing: a:b:c 10:30:20 ::":    "🎉 :no_such_thing: a:b:c 10:30:20 ::",
		"`<https://a.example> :tada: &lt;`":           "`<https://a.example> :tada: <`",
		"a ` b :tada:\n`:tada:`":                      "a ` b 🎉\n`:tada:`",
		"```x = 1```":                                 "```\nx = 1\n```",
		"so: ```\nx &lt; 1\n:tada:``` done":           "so: \n```\nx < 1\n:tada:\n```\n done",
		"``` open :tada:":                             "``` open 🎉",
		"``````":                                      "``````",
		"**Firing** 2**10 ** a ** `**b**`":            "*Firing* 2**10 ** a ** `**b**`",
		"&gt; quoted":                                 "> quoted",
	} {
		if got := mrkdwn(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}

func TestColoursAreLevels(t *testing.T) {
	for c, want := range map[string]Level{"danger": Error, "#ff0000": Error, "a30200": Error, "#D63232": Error, "#e01e5a": Error,
		"#f00": Error, "warning": Warning, "#FF8000": Warning, "#daa038": Warning, "#FFFF00": Warning, "good": Info, "#2eb886": Info,
		"#36a64f": Info, "#764FA5": Info, "#000000": Info, "#ffffff": Info, "": Info, "#ff00": Info, "#1234567890": Info, "red": Info} {
		if got := colourLevel(c); got != want {
			t.Errorf("%q is %v, want %v", c, got, want)
		}
	}
}

// What means something is read in time that grows with its length, here twice of what is read at all.
func TestHostileMessagesAreReadInTime(t *testing.T) {
	for _, piece := range []string{"<", "<!", "`", "``` ", ":a", "&", "<a|", "[a](", "**", "<t:1:"} {
		text := strings.Repeat(piece, 2*maxRich/len(piece))
		for name, markup := range map[string]func(string) string{"mrkdwn": mrkdwn, "markdown": markdown, "discord": discordMarkup, "rocket": rocketMarkup} {
			begin := time.Now()
			markup(text)
			if took := time.Since(begin); took > 5*time.Second {
				t.Errorf("%s: much of %q takes %v", name, piece, took)
			}
		}
	}
	many := `{"text":"` + strings.Repeat("x", maxMarkup) + `","attachments":[` + strings.Repeat(`{"text":"abcdef"},`, 90_000) + `{}]}`
	begin := time.Now()
	withstandsOne(t, &slack, (&sample{}).request([]byte(many)))
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("many attachments take %v", took)
	}
}

func TestTheSlackFamilyIsAnsweredAsItExpects(t *testing.T) {
	for _, one := range []struct {
		face   *Face
		o      Outcome
		status int
		body   string
	}{
		{&slack, Outcome{Status: 200}, 200, "ok"},
		{&slack, Outcome{Status: 200, Ignored: "x"}, 200, "ok"},
		{&slack, Outcome{Status: 400, Text: "bad — JSON"}, 400, "invalid_payload"},
		{&slack, Outcome{Status: 400, Word: "no_text"}, 400, "no_text"},
		{&slack, Outcome{Status: 401}, 401, "invalid_token"},
		{&slack, Outcome{Status: 403}, 403, "action_prohibited"},
		{&slack, Outcome{Status: 404}, 404, "no_service"},
		{&slack, Outcome{Status: 503, Retry: 3}, 503, "service_unavailable"},
		{&mattermost, Outcome{Status: 200}, 200, "ok"},
		{&mattermost, Outcome{Status: 400, Text: "bad"}, 400, `{"id":"api.webhook.incoming.error","message":"bad","detailed_error":"","status_code":400}`},
		{&rocketchat, Outcome{Status: 200}, 200, `{"success":true}`},
		{&rocketchat, Outcome{Status: 400, Text: "bad"}, 400, `{"success":false,"error":"bad"}`},
	} {
		r := answers(t, one.face, &one.o)
		if r.Status != one.status || string(r.Body) != one.body {
			t.Errorf("%s answers %+v with %d %q, want %d %q", one.face.Name, one.o, r.Status, r.Body, one.status, one.body)
		}
	}
	r := answers(t, &slack, &Outcome{Status: 400, Text: "bad — JSON"})
	if strings.HasPrefix(r.Media, typeJSON) || r.Header["X-Jackdaw-Reason"] != "bad ? JSON" {
		t.Errorf("answered %+v", r)
	}
	if r := answers(t, &slack, &Outcome{Status: http.StatusOK}); strings.HasPrefix(r.Media, typeJSON) || r.Header != nil {
		t.Errorf("answered %+v", r)
	}
}
