package notice

import (
	"net/url"
	"strings"
	"testing"
)

func query(s string) url.Values {
	v, _ := url.ParseQuery(s)
	return v
}

var alertmanagerSamples = []sample{
	{name: "full", header: map[string]string{"User-Agent": "Alertmanager/0.35.0"}, body: `{"version":"4","groupKey":"{}:{alertname=\"DiskFull\"}",
		"truncatedAlerts":12,"status":"firing","receiver":"jackdaw","groupLabels":{"alertname":"DiskFull","cluster":"north"},
		"commonLabels":{"alertname":"DiskFull","severity":"critical"},"commonAnnotations":{"runbook_url":"https://wiki.example/disk"},
		"routeLabels":{},"externalURL":"https://am.example","notification_reason":"first notification",
		"alerts":[
		{"status":"resolved","labels":{"alertname":"DiskFull","instance":"db3","severity":"critical"},"annotations":{"summary":"/var 50 % used"},
			"startsAt":"2026-11-28T12:00:00Z","endsAt":"2026-11-28T12:10:00Z","generatorURL":"https://prom.example/graph","fingerprint":"c0ffee0000000003"},
		{"status":"firing","labels":{"alertname":"DiskFull","instance":"db1","severity":"warning"},"annotations":{"summary":"/var 97 % used"},
			"startsAt":"2026-11-28T12:00:00Z","endsAt":"0001-01-01T00:00:00Z","generatorURL":"https://prom.example/graph","fingerprint":"c0ffee0000000001"},
		{"status":"firing","labels":{"alertname":"DiskFull","host":"db2","severity":"critical"},"annotations":{"description":"/var is\nnearly full"},
			"startsAt":"2026-11-28T12:00:00Z","endsAt":"0001-01-01T00:00:00Z","generatorURL":"https://prom.example/graph","fingerprint":"c0ffee0000000002"}]}`,
		want: "🔥 FIRING · critical · DiskFull north  (14)\ndb1: /var 97 % used\ndb2: /var is nearly full\n" +
			"resolved: db3: /var 50 % used\n… (12 more alerts)\nhttps://am.example\nrunbook: https://wiki.example/disk"},
	{name: "one", body: `{"version":"4","groupKey":"{}:{}","status":"firing","receiver":"jackdaw","groupLabels":{},"externalURL":"http://am:9093",
		"alerts":[{"status":"firing","labels":{"alertname":"Watchdog","severity":"none"},"annotations":{"summary":"It works."},
		"generatorURL":"http://prom:9090/graph?g0.expr=vector(1)"}]}`,
		want: "ℹ FIRING · Watchdog\nIt works.\nhttp://prom:9090/graph?g0.expr=vector(1)"},
	{name: "minimal", body: `{"version":"4","alerts":[{}]}`, want: "🔥 FIRING · error · alert\nalert"},
	{name: "without labels that say where", body: `{"version":"4","status":"firing","alerts":[{"labels":{"alertname":"Slow","severity":"warning","path":"/x","method":"GET"}},
		{"labels":{"alertname":"Slower","severity":"page"}}]}`,
		want: "🔥 FIRING · critical · Slow, Slower  (2)\nmethod=GET path=/x\nSlower"},
	{name: "resolved", body: `{"version":"4","groupKey":"k","status":"resolved","groupLabels":{"alertname":"DiskFull"},"externalURL":"https://am.example","alerts":[
		{"status":"resolved","labels":{"instance":"db1"},"annotations":{"summary":"/var 97 % used"}},
		{"status":"resolved","labels":{"instance":"db2"},"annotations":{"summary":"/var 91 % used"}}]}`,
		want: "✅ RESOLVED · DiskFull  (2)\ndb1: /var 97 % used\ndb2: /var 91 % used\nhttps://am.example"},
	{name: "values that are no strings", body: `{"version":"4","status":"firing","groupLabels":{"alertname":7},"alerts":[
		{"labels":{"instance":9100,"severity":true},"annotations":{"summary":4.5}}]}`, want: "🔥 FIRING · error · 7\n9100: 4.5"},
	{name: "no alerts", body: `{"version":"4","alerts":[]}`, want: "there are no alerts"},
	{name: "not a list", body: `{"version":"4","alerts":{}}`, want: "the JSON has no list alerts"},
	{name: "an alert that is none", body: `{"version":"4","alerts":[{},7]}`, want: "an alert in alerts is not an object"},
}

var grafanaSamples = []sample{
	{name: "full", header: map[string]string{"User-Agent": "Grafana"}, body: `{"receiver":"jackdaw","status":"firing","orgId":1,"version":"1",
		"groupKey":"{}/{}:{alertname=\"Load\"}","truncatedAlerts":0,"title":"[FIRING:2] Load Servers (north)","state":"alerting","appVersion":"12.1.0",
		"message":"**Firing**\n\nValue: B=0.93\n","externalURL":"https://g.example/","groupLabels":{"grafana_folder":"Servers","alertname":"Load"},
		"commonLabels":{"alertname":"Load"},"commonAnnotations":{},"alerts":[
		{"status":"firing","labels":{"alertname":"Load","instance":"db1","severity":"warning"},"annotations":{"summary":"load is high"},"values":{"C":1,"B":0.93000000000000005},
		"valueString":"[ var='B' value=0.93 ]","startsAt":"2026-11-28T11:00:00Z","endsAt":"0001-01-01T00:00:00Z","generatorURL":"https://g.example/alerting/grafana/x/view",
		"dashboardURL":"https://g.example/d/x","panelURL":"https://g.example/d/x?viewPanel=2","silenceURL":"https://g.example/alerting/silence/new?a=1","fingerprint":"ab",
		"imageURL":"https://g.example/pub/1.png"},
		{"status":"firing","labels":{"alertname":"Load","instance":"db2"},"annotations":{},"values":null,
		"dashboardURL":"https://g.example/d/x","panelURL":"https://g.example/d/x?viewPanel=3","silenceURL":"https://g.example/alerting/silence/new?a=2","fingerprint":"cd",
		"imageURL":"https://g.example/pub/1.png"}]}`,
		want: "🔥 FIRING · error · Load Servers  (2)\ndb1: load is high (B=0.93, C=1)\ndb2\nhttps://g.example/d/x"},
	{name: "resolved", body: `{"version":"1","orgId":1,"status":"resolved","state":"ok","title":"[RESOLVED] Load","message":"","groupKey":"{}/{}:{}",
		"alerts":[{"status":"resolved","labels":{"alertname":"Load"},"annotations":{},"values":{"B":0.4},"panelURL":"https://g.example/d/x?viewPanel=2",
		"silenceURL":"https://g.example/alerting/silence/new","startsAt":"2026-11-28T11:00:00Z","endsAt":"2026-11-28T12:00:00Z","fingerprint":"ab"}]}`,
		want: "✅ RESOLVED · Load\nLoad (B=0.4)\nhttps://g.example/d/x?viewPanel=2"},
	{name: "one", body: `{"orgId":1,"status":"firing","state":"alerting","alerts":[{"status":"firing","labels":{"alertname":"TestAlert","instance":"Grafana"},
		"annotations":{"summary":"Notification test"},"silenceURL":"https://g.example/alerting/silence/new","generatorURL":"https://g.example/alerting/x"}]}`,
		want: "🔥 FIRING · error · TestAlert\nGrafana: Notification test\nhttps://g.example/alerting/x\nsilence: https://g.example/alerting/silence/new"},
	{name: "own words", body: `{"orgId":1,"status":"firing","state":"alerting","title":"Look!","message":"Load of db1\nis high","alerts":[{"labels":{"severity":"critical"}}]}`,
		want: "🔥 FIRING · critical · Look!\nLoad of db1\nis high"},
	{name: "before version 9", body: `{"title":"[Alerting] Load","ruleId":7,"ruleName":"Load","state":"alerting","ruleUrl":"https://g.example/d/x","message":"too high","evalMatches":[],"imageUrl":"https://g.example/1.png"}`,
		want: "🔥 FIRING · error · Load\ntoo high\nhttps://g.example/d/x"},
	{name: "before version 9, over", body: `{"title":"[OK] Load","ruleId":7,"ruleName":"Load","state":"ok"}`, want: "✅ RESOLVED · Load"},
	{name: "no alerts", body: `{"orgId":1,"state":"ok","alerts":[]}`, want: "there are no alerts"},
	{name: "a payload of its own", body: `{"what":"ever"}`, want: "the JSON has no list alerts"},
}

func TestAlertsOfAlertmanager(t *testing.T) { drawings(t, &alertmanager, alertmanagerSamples) }

func TestAlertsOfGrafana(t *testing.T) { drawings(t, &grafana, grafanaSamples) }

func TestAlertsThatAreSpoiled(t *testing.T) {
	withstands(t, &alertmanager, alertmanagerSamples[0])
	withstands(t, &grafana, grafanaSamples[0])
	withstands(t, &grafana, grafanaSamples[4])
}

func FuzzAlertmanager(f *testing.F) { fuzzFace(f, &alertmanager, alertmanagerSamples) }

func FuzzGrafana(f *testing.F) { fuzzFace(f, &grafana, grafanaSamples) }

// The receiver for Slack of Alertmanager says that it is Alertmanager, too.
func TestAlertmanagerIsNotEverythingThatItSends(t *testing.T) {
	s := sample{header: map[string]string{"User-Agent": "Alertmanager/0.35.0"}}
	if f, err := Guess(s.request([]byte(`{"attachments":[{"title":"x"}]}`))); err == nil && f.Name == alertmanager.Name {
		t.Error("an attachment is taken for an alert")
	}
}

func TestOneStateOfAlertsIsSentOnce(t *testing.T) {
	read := func(change ...string) Notice {
		t.Helper()
		s := &alertmanagerSamples[0]
		reading, err := alertmanager.Read(s.request([]byte(strings.NewReplacer(change...).Replace(s.body))))
		if err != nil || len(reading.Notices) != 1 {
			t.Fatalf("%v, %v", reading, err)
		}
		return reading.Notices[0]
	}
	n := read()
	if n.Key != `{}:{alertname="DiskFull"}` || n.Dedupe == "" || n.DedupeFor != repeatsFor {
		t.Errorf("the key is %q, of a repetition %q for %v", n.Key, n.Dedupe, n.DedupeFor)
	}
	if again := read(`"externalURL":"https://am.example"`, `"externalURL":"https://am2.example"`); again.Dedupe != n.Dedupe {
		t.Error("the other Alertmanager of a cluster says something else")
	}
	for name, change := range map[string][]string{
		"another receiver": {`"receiver":"jackdaw"`, `"receiver":"mail"`},
		"another group":    {`{}:{alertname`, `{}/{}:{alertname`},
		"one is resolved":  {`"status":"firing","labels":{"alertname":"DiskFull","instance":"db1"`, `"status":"resolved","labels":{"alertname":"DiskFull","instance":"db1"`},
		"one is gone":      {"c0ffee0000000002", "c0ffee0000000004"},
		"it began again":   {`"startsAt":"2026-11-28T12:00:00Z","endsAt":"2026`, `"startsAt":"2026-11-28T12:05:00Z","endsAt":"2026`},
	} {
		if read(change...).Dedupe == n.Dedupe {
			t.Errorf("%s: the same notification", name)
		}
	}
	for name, change := range map[string][]string{
		"a repetition":             {"first notification", "repeat interval elapsed"},
		"by hand, without a group": {`"groupKey"`, `"x"`},
	} {
		if d := read(change...).Dedupe; d != "" {
			t.Errorf("%s: told by %q", name, d)
		}
	}
}

func TestWhatHappensToAlertsIsAnEvent(t *testing.T) {
	for _, one := range []struct {
		face *Face
		body string
		want string
	}{
		{&alertmanager, `{"version":"4","alerts":[{"status":"firing"},{"status":"resolved"}]}`, eventFiring},
		{&alertmanager, `{"version":"4","alerts":[{"status":"resolved"}]}`, eventResolved},
		{&alertmanager, `{"version":"4","status":"resolved","alerts":[{}]}`, eventResolved},
		{&grafana, `{"orgId":1,"alerts":[{"status":"resolved"}]}`, eventResolved},
		{&grafana, `{"title":"x","state":"alerting","ruleName":"x"}`, eventFiring},
	} {
		reading, err := one.face.Read((&sample{}).request([]byte(one.body)))
		if err != nil || reading.Event != one.want {
			t.Errorf("%s is %q, %v, want %q", one.body, reading.Event, err, one.want)
		}
	}
}

func TestPicturesOfPanels(t *testing.T) {
	reading, err := grafana.Read(grafanaSamples[0].request([]byte(grafanaSamples[0].body)))
	if err != nil || len(reading.Notices) != 1 || len(reading.Notices[0].Attachments) != 1 ||
		reading.Notices[0].Attachments[0].URL != "https://g.example/pub/1.png" {
		t.Errorf("read %+v, %v", reading, err)
	}
}
