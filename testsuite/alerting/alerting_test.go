package alerting

import (
	"encoding/xml"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"jackdaw/testsuite/harness"
)

func TestMain(m *testing.M) {
	code := m.Run()
	harness.Cleanup()
	os.Exit(code)
}

// A message as romeo gets it.
type message struct {
	Body    string
	Thread  string
	ReplyTo string // the id in <reply/>
	ID      string // of its archive
}

// A person waits for messages.
type person struct {
	t *testing.T
	c *harness.Client
}

func (p *person) next() message {
	p.t.Helper()
	for {
		el, err := p.c.Next()
		if err != nil {
			p.t.Fatalf("wait for a message: %v", err)
		}
		var m struct {
			XMLName xml.Name
			Body    *string `xml:"body"`
			Thread  string  `xml:"thread"`
			Reply   struct {
				ID string `xml:"id,attr"`
			} `xml:"reply"`
			StanzaID struct {
				ID string `xml:"id,attr"`
			} `xml:"stanza-id"`
		}
		if err := xml.Unmarshal([]byte(el), &m); err != nil {
			p.t.Fatalf("%v in %s", err, el)
		}
		if m.XMLName.Local == "message" && m.Body != nil {
			return message{*m.Body, m.Thread, m.Reply.ID, m.StanzaID.ID}
		}
	}
}

// reads wants the text of the next message.
func (p *person) reads(want string) message {
	p.t.Helper()
	m := p.next()
	if m.Body != want {
		p.t.Errorf("the message is\n%s\nwant\n%s", m.Body, want)
	}
	return m
}

// start runs a server with a hook for romeo, an Alertmanager that knows it, and romeo.
func start(t *testing.T) (am *Sender, url string, romeo *person) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "alertsender")
	if err := Build(program); err != nil {
		t.Fatal(err)
	}
	s := harness.Start(t, harness.Options{Users: []string{"romeo", "alerts"}})
	out := s.Command("", "hook", "add", "ops", "--to", "romeo@"+s.Domain, "--owner", "alerts@"+s.Domain)
	_, token, ok := strings.Cut(strings.TrimSpace(out), "/hooks/")
	if !ok {
		t.Fatalf("hook add printed %q", out)
	}
	url = "http://" + s.HTTP + "/hooks/" + token
	text, err := os.ReadFile("../../contrib/alertmanager/alertmanager.yml")
	if err != nil {
		t.Fatal(err)
	}
	conf := strings.ReplaceAll(string(text), "https://im.example.org/hooks/TOKEN", url)
	conf += "\n  - name: mattermost\n    mattermost_configs:\n      - webhook_url: " + url + "/mattermost\n" +
		"  - name: stranger\n    webhook_configs:\n      - url: http://" + s.HTTP + "/hooks/jdhunknown\n" +
		"  - name: stranger-slack\n    slack_configs:\n      - api_url: http://" + s.HTTP + "/hooks/jdhunknown/slack\n"
	file := filepath.Join(t.TempDir(), "alertmanager.yml")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := harness.Connect(s.C2STLS, "romeo", "desk")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if err := c.Send("<presence/>"); err != nil {
		t.Fatal(err)
	}
	return Run(t, program, file), url, &person{t, c}
}

// disks is a group of two alerts, as it is told for that reason.
func disks(receiver, reason string) Notification {
	alert := func(host, summary string) Alert {
		a := Alert{Labels: map[string]string{"alertname": "DiskFull", "instance": host, "severity": "critical"},
			Annotations: map[string]string{"summary": summary}, StartsAt: "2026-11-28T12:00:00Z",
			GeneratorURL: "http://prom.example/graph"}
		if reason == "resolved" {
			a.EndsAt = "2026-11-28T13:00:00Z"
		}
		return a
	}
	return Notification{Receiver: receiver, Group: map[string]string{"alertname": "DiskFull"}, Reason: reason,
		Key:    `{}:{alertname="DiskFull"}`,
		Alerts: []Alert{alert("db1", "/var 97 % used"), alert("db2", "/var 91 % used")}}
}

// sent sends a notification, of which Alertmanager is to think that it arrived at once.
func (s *Sender) sent(n Notification) {
	s.t.Helper()
	if r := s.Send(n); r.Error != "" || len(r.Warnings) > 0 {
		s.t.Errorf("%s, %s: %+v", n.Receiver, n.Reason, r)
	}
}

func TestAlertmanagerTellsPeople(t *testing.T) {
	am, url, romeo := start(t)

	const firing = "🔥 FIRING · critical · DiskFull  (2)\ndb1: /var 97 % used\ndb2: /var 91 % used\nhttp://am.example:9093"
	am.sent(disks("jackdaw", "first"))
	first := romeo.reads(firing)
	am.sent(disks("jackdaw", "first")) // the other Alertmanager of a cluster, which has not heard of it: nothing comes
	am.sent(disks("jackdaw", "repeat"))
	if again := romeo.reads(firing); again.Thread != first.Thread || first.Thread == "" {
		t.Errorf("the threads are %q and %q", first.Thread, again.Thread)
	}
	am.sent(disks("jackdaw", "resolved"))
	over := romeo.next()
	if want := "✅ RESOLVED · DiskFull  (2)\ndb1: /var 97 % used\n"; !strings.HasPrefix(over.Body, want) {
		t.Errorf("the message is\n%s\nwant\n%s", over.Body, want)
	}
	if over.Thread != first.Thread || over.ReplyTo == "" {
		t.Errorf("%+v is no answer to %+v", over, first)
	}
	many := disks("jackdaw", "first")
	for range 60 {
		a := many.Alerts[0]
		a.Labels = map[string]string{"alertname": "DiskFull", "instance": "web" + string(rune('a'+len(many.Alerts)%26)),
			"n": strings.Repeat("x", len(many.Alerts)), "severity": "warning"}
		many.Alerts = append(many.Alerts, a)
	}
	am.sent(many)
	if body := romeo.next().Body; !strings.HasPrefix(body, "🔥 FIRING · critical · DiskFull  (62)\n") ||
		!strings.HasSuffix(body, "\n… (12 more alerts)\nhttp://am.example:9093") {
		t.Errorf("many alerts are\n%s", body)
	}

	// By its other receivers. Slack's wants "ok" as the whole of a text, that for Discord any answer of 2xx.
	am.sent(disks("jackdaw-slack", "first"))
	romeo.reads("🔥 Alertmanager: [FIRING:2] DiskFull (critical)\n• db1: /var 97 % used\n• db2: /var 91 % used\n" +
		"http://am.example:9093/#/alerts?receiver=jackdaw-slack")
	am.sent(disks("jackdaw-slack", "resolved"))
	romeo.reads("Alertmanager: [RESOLVED] DiskFull (critical)\n• db1: /var 97 % used\n• db2: /var 91 % used\n" +
		"http://am.example:9093/#/alerts?receiver=jackdaw-slack")
	am.sent(disks("jackdaw-discord", "first"))
	romeo.reads("🔥 [FIRING:2] DiskFull (critical)\n*db1*: /var 97 % used\n*db2*: /var 91 % used")
	am.sent(disks("mattermost", "first"))
	if body := romeo.next().Body; !strings.HasPrefix(body, "🔥 Alertmanager: [FIRING:2] DiskFull (critical)\n*Alerts Firing:*\n") {
		t.Errorf("by Mattermost it is\n%s", body)
	}

	// A token that is none is final.
	for _, name := range []string{"stranger", "stranger-slack"} {
		if r := am.Send(disks(name, "first")); !strings.Contains(r.Error, "unrecoverable error after 1 attempts") ||
			!strings.Contains(r.Error, "401") {
			t.Errorf("%s: %+v", name, r)
		}
	}

	// A token that is used too often may be used again soon, and Alertmanager tries until then. On a slow machine that
	// may be before it has tried at all.
	for _, receiver := range []string{"jackdaw", "jackdaw-slack"} {
		for refused := false; !refused; {
			exhaust(t, url, romeo)
			r := am.Send(disks(receiver, "repeat"))
			if r.Error != "" {
				t.Fatalf("%s: %+v", receiver, r)
			}
			refused = strings.Contains(strings.Join(r.Warnings, "\n"), "status code 503")
			if body := romeo.next().Body; !strings.Contains(body, "DiskFull") {
				t.Errorf("after a while %s has sent\n%s", receiver, body)
			}
		}
	}
}

// exhaust posts until the hook has to be left alone for a moment.
func exhaust(t *testing.T, url string, romeo *person) {
	t.Helper()
	for {
		answer, err := http.Post(url+"/text", "text/plain", strings.NewReader("busy"))
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, answer.Body) // what it says is the business of another test
		answer.Body.Close()
		if answer.StatusCode == http.StatusServiceUnavailable {
			if answer.Header.Get("Retry-After") == "" {
				t.Error("the answer does not say when to try again")
			}
			return
		}
		if answer.StatusCode != http.StatusOK {
			t.Fatalf("answered %s", answer.Status)
		}
		romeo.reads("busy")
	}
}
