package scenes

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"jackdaw/testsuite/harness"
)

// A guest is a client that says byte for byte what a scene tells it to, for what no library lets its users say.
type guest struct {
	*harness.Client
	server *harness.Server
	t      *testing.T
	marks  int
	early  []string // what came while it entered: stored messages
	last   string   // what until waited for
}

// enter logs a user in with presence, and returns when the server has taken that.
func enter(t *testing.T, s *harness.Server, user, resource string) *guest {
	t.Helper()
	return enterWith(t, s, user, resource, func(*harness.Client) error { return nil })
}

// enterManaged is enter with stream management, so that the server answers for what the guest sends.
func enterManaged(t *testing.T, s *harness.Server, user, resource string) *guest {
	t.Helper()
	return enterWith(t, s, user, resource, func(c *harness.Client) error { _, err := c.Enable(); return err })
}

func enterWith(t *testing.T, s *harness.Server, user, resource string, before func(*harness.Client) error) *guest {
	t.Helper()
	c, err := harness.Connect(s.C2STLS, user, resource)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Conn.Close() })
	g := &guest{Client: c, server: s, t: t}
	if err := before(c); err != nil {
		t.Fatal(err)
	}
	g.say("<presence/>")
	g.early = g.settled()
	g.caughtUp()
	return g
}

// caughtUp waits until what was stored has been brought: a message that comes meanwhile goes through the store, too,
// and bears the time at which it did.
func (g *guest) caughtUp() {
	g.t.Helper()
	for {
		g.marks++
		id := fmt.Sprintf("here-%d", g.marks)
		g.say("<message to='" + g.JID + "' type='chat' id='" + id + "'><body>(mark)</body><private xmlns='urn:xmpp:carbons:2'/>" +
			"<no-copy xmlns='urn:xmpp:hints'/><no-permanent-store xmlns='urn:xmpp:hints'/></message>") // in no archive
		g.early = g.until(id)
		if !strings.Contains(g.last, "<delay ") {
			return
		}
	}
}

func (g *guest) say(xml string) {
	g.t.Helper()
	if err := g.Send(xml); err != nil {
		g.t.Fatalf("%s cannot send: %v", g.JID, err)
	}
}

// until returns what comes before the stanza with that id, without presence and what stream management says.
func (g *guest) until(id string) (got []string) {
	g.t.Helper()
	got, g.early = g.early, nil
	for {
		el, err := g.Next()
		switch {
		case err != nil:
			g.t.Fatalf("%s waits for %s: %v; so far %q", g.JID, id, err, got)
		case harness.Attr(el, "id") == id:
			g.last = el
			return got
		case strings.HasPrefix(el, "<message"), strings.HasPrefix(el, "<iq"):
			got = append(got, el)
		}
	}
}

// settled returns what has come when the server has handled all that was sent on this stream, and what came of it for
// this one has come.
func (g *guest) settled() []string {
	g.t.Helper()
	got := g.pinged()
	if len(g.server.Nodes) > 0 { // this one's home has passed it on; the others may be at it
		g.server.Quiet()
		got = append(got, g.pinged()...)
	}
	return got
}

// pinged returns what has come before the answer to a ping.
func (g *guest) pinged() []string {
	g.t.Helper()
	g.marks++
	id := fmt.Sprintf("settled-%d", g.marks)
	g.say("<iq type='get' id='" + id + "' to='" + harness.Domain + "'><ping xmlns='urn:xmpp:ping'/></iq>")
	return g.until(id)
}

// behind returns what has come once all that another guest sent before has.
func (g *guest) behind(sender *guest) []string {
	g.t.Helper()
	sender.marks++
	id := fmt.Sprintf("mark-%d", sender.marks)
	// It waits behind stored messages, and nobody gets a carbon copy of it.
	sender.say("<message to='" + g.JID + "' type='chat' id='" + id + "'><body>(mark)</body><private xmlns='urn:xmpp:carbons:2'/>" +
		"<no-copy xmlns='urn:xmpp:hints'/></message>")
	return g.until(id)
}

// leave ends the session, and returns when it gets no messages any more.
func (g *guest) leave() {
	g.t.Helper()
	g.say("<presence type='unavailable'/>")
	g.settled()
	g.Close()
}

// only is the one stanza among what came.
func (g *guest) only(what string, got []string) string {
	g.t.Helper()
	if len(got) != 1 {
		g.t.Fatalf("%s: %s got %d stanzas, want one: %q", what, g.JID, len(got), got)
	}
	return got[0]
}

// nothing fails the test if anything came.
func (g *guest) nothing(what string, got []string) {
	g.t.Helper()
	if len(got) > 0 {
		g.t.Errorf("%s: %s got %q", what, g.JID, got)
	}
}

// acknowledged returns when the server answers for all that was sent on this stream.
func (g *guest) acknowledged() {
	g.t.Helper()
	g.say("<r xmlns='urn:xmpp:sm:3'/>")
	if _, err := g.Until(func(el string) bool { return strings.HasPrefix(el, "<a ") }); err != nil {
		g.t.Fatal(err)
	}
}

// copied is what a scene looks at in a message that came.
type copied struct{ from, to, kind, payload string }

// given are the ids that archives give to what arrives.
var given = regexp.MustCompile(`<stanza-id xmlns='urn:xmpp:sid:0' by='[a-z0-9]+@localhost' id='[^']+'/>`)

func read(el string) copied {
	_, payload, _ := strings.Cut(strings.TrimSuffix(el, "</message>"), ">")
	return copied{harness.Attr(el, "from"), harness.Attr(el, "to"), harness.Attr(el, "type"), given.ReplaceAllString(payload, "")}
}

// wants compares the one message that came.
func (g *guest) wants(what string, got []string, want copied) {
	g.t.Helper()
	if one := read(g.only(what, got)); one != want {
		g.t.Errorf("%s: %s got\n%+v\nwant\n%+v", what, g.JID, one, want)
	}
}

// refusal fails the test unless the one stanza that came is an error with this condition and text.
func (g *guest) refusal(what string, got []string, from, condition, text string) {
	g.t.Helper()
	el := g.only(what, got)
	if harness.Attr(el, "type") != "error" || harness.Attr(el, "from") != from ||
		!strings.Contains(el, "<"+condition+" xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>") || !strings.Contains(el, text) {
		g.t.Errorf("%s: %s got\n%s\nwant %s with %q from %s", what, g.JID, el, condition, text, from)
	}
}

// web sends a request of a user, "" for none, and returns status and body. A body is posted.
func web(t *testing.T, url, user, body string, headers ...string) (int, string) {
	t.Helper()
	method := http.MethodGet
	if body != "" {
		method = http.MethodPost
	}
	q, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if user != "" {
		q.SetBasicAuth(user, harness.Password)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		q.Header.Set(headers[i], headers[i+1])
	}
	client := http.Client{Timeout: harness.Timeout}
	defer client.CloseIdleConnections()
	w, err := client.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Body.Close()
	b, err := io.ReadAll(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.StatusCode, string(b)
}

// posted posts a message as a user, and fails the test unless it is accepted.
func posted(t *testing.T, s *harness.Server, user, message string) {
	t.Helper()
	if status, text := web(t, "http://"+s.HTTP+"/message", user, message); status != http.StatusOK {
		t.Fatalf("the post of %s by %s is answered with %d %s", message, user, status, text)
	}
}

// bell makes an API account (docs/http.md), which is no user and may post in any name of the domain.
func bell(s *harness.Server) {
	s.Command(harness.Password+"\n", "api-account", "add", "bell", "--domain", harness.Domain, "--password-stdin")
}

// rung posts a message from a name with that account, and fails the test unless it is accepted.
func rung(t *testing.T, s *harness.Server, name, message string) {
	t.Helper()
	url := "http://" + s.HTTP + "/api/1.0/xmppdomains/" + harness.Domain + "/gateway/messages/" + name
	if status, text := web(t, url, "bell", message, "Content-Type", "application/xml"); status != http.StatusOK {
		t.Fatalf("the post of %s as %s is answered with %d %s", message, name, status, text)
	}
}

// measured are the metrics of a server; of several nodes, their sums.
func measured(t *testing.T, s *harness.Server) string {
	t.Helper()
	_, text := web(t, "http://"+s.Metrics+"/metrics", "", "")
	if len(s.Nodes) == 0 {
		return text
	}
	sums, names := map[string]float64{}, []string{}
	for i := range len(s.Nodes) + 1 {
		if i > 0 {
			_, text = web(t, "http://"+s.Nodes[i-1].Metrics+"/metrics", "", "")
		}
		for line := range strings.Lines(text) {
			at := strings.LastIndexByte(line, ' ')
			v, err := strconv.ParseFloat(strings.TrimSpace(line[at+1:]), 64)
			if err != nil || line[0] == '#' {
				continue
			}
			if _, known := sums[line[:at]]; !known {
				names = append(names, line[:at])
			}
			sums[line[:at]] += v
		}
	}
	var b strings.Builder
	b.WriteByte('\n')
	for _, name := range names {
		fmt.Fprintln(&b, name, strconv.FormatFloat(sums[name], 'f', -1, 64))
	}
	return b.String()
}

// counts fails the test unless a metric has this value.
func counts(t *testing.T, s *harness.Server, metric string, want int) {
	t.Helper()
	text := measured(t, s)
	if line := fmt.Sprintf("\n%s %d\n", metric, want); !strings.Contains(text, line) {
		found := regexp.MustCompile(`(?m)^` + metric + ` .*$`).FindString(text)
		t.Errorf("metrics say %q, want %q", found, strings.TrimSpace(line))
	}
}

// quick keeps the race detector from having each command wait for a second at its end.
var quick = []string{"GORACE=atexit_sleep_ms=50"}

// componentListener is what a server needs for a component at bot.localhost, and its address.
func componentListener() (listen, config, addr string) {
	addr = harness.FreeAddr()
	return fmt.Sprintf("component: [%q]", addr), "component: {secrets: {bot.localhost: s3cret}}", addr
}

// withComponent plays a script that has a component.
func withComponent(t *testing.T, s *harness.Server, script, addr string) {
	t.Helper()
	perform(t, nil, script, stageOf(s), func(l line) answer {
		if l.Ask == "listener" {
			return answer{Out: addr}
		}
		return help(t, s, l)
	})
}
