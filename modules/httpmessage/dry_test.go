package httpmessage

import (
	"errors"
	"strings"
	"testing"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/modules/internal/posting"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp/jid"
)

// known is a Foresight: "user other" for what holds.
type known struct{ blocks, sees map[string]bool }

func (k known) Blocks(user, other jid.JID) bool { return k.blocks[user.String()+" "+other.String()] }
func (k known) Sees(user, other jid.JID) (bool, error) {
	return k.sees[user.String()+" "+other.String()], nil
}

func dryHouse(t *testing.T) *house {
	h := newHouse(t)
	h.router.SetRemote(&moduletest.Remote{})
	h.o.Foresight = known{
		blocks: map[string]bool{"juliet@" + host + " skel@" + host: true, "carol@second.example andy@" + host: true},
		sees:   map[string]bool{"bob@" + host + " andy@" + host: true},
	}
	h.online("bob@" + host + "/phone")
	return h
}

func TestADryRunSaysWhatWouldHappenAndSendsNothing(t *testing.T) {
	to := func(address string) string {
		return `<message type="chat" to="` + address + `"><body>yo</body></message>`
	}
	forged := func(address string) string { return strings.Replace(to(address), "to=", `from="x@trac" to=`, 1) }
	lenient := []string{"Prefer: handling=lenient"}
	for name, c := range map[string]struct {
		call
		code int
		want string
	}{
		"online, and a contact":   {call{body: to("bob@" + host)}, 200, "1 bob@" + host + ":delivered"},
		"online, and no contact":  {call{user: "skel@" + host, body: to("bob@" + host)}, 200, "1 bob@" + host + ":stored"},
		"away":                    {call{body: to("skel@" + host)}, 200, "1 skel@" + host + ":stored"},
		"itself":                  {call{user: "bob@" + host, body: to("bob@" + host)}, 200, "1 bob@" + host + ":delivered"},
		"remote":                  {call{body: to("x@example.net")}, 200, "1 x@example.net:queued"},
		"nobody":                  {call{body: to("nobody@" + host)}, 403, "0 nobody@" + host + ":refused:service-unavailable"},
		"blocked":                 {call{user: "skel@" + host, body: to("juliet@" + host)}, 403, "0 juliet@" + host + ":refused:service-unavailable"},
		"the account is blocked":  {call{body: forged("carol@second.example")}, 403, "0 carol@second.example:refused:service-unavailable"},
		"forged, remote":          {call{body: forged("x@example.net")}, 403, "0 x@example.net:refused:forged-sender-remote"},
		"forged, not allowed":     {call{user: "skel@" + host, body: forged("bob@" + host)}, 403, ""},
		"many, not allowed":       {call{user: "skel@" + host, body: list("bob@" + host)}, 403, ""},
		"not XML":                 {call{body: "<message"}, 400, ""},
		"not a value":             {call{path: "/message?dry_run=yes", body: to("bob@" + host)}, 400, ""},
		"no value":                {call{path: "/message?dry_run", body: to("bob@" + host)}, 400, ""},
		"beside what is not read": {call{path: "/message?a;dry_run=1", body: to("bob@" + host)}, 400, ""},
		"in JSON": {call{body: `{"to":["bob@` + host + `","skel@` + host + `"],"body":"yo"}`, headers: []string{jsonType}}, 200,
			"2 bob@" + host + ":delivered skel@" + host + ":stored"},
		"many, one nobody": {call{body: list("bob@"+host, "nobody@"+host)}, 200,
			"1 bob@" + host + ":delivered nobody@" + host + ":refused:service-unavailable"},
		"many, one nowhere": {call{body: list("bob@"+host, "x@nowhere")}, 403, "0 x@nowhere:refused:remote-server-not-found"},
		"many, one nowhere, lenient": {call{body: list("bob@"+host, "x@nowhere"), headers: lenient}, 200,
			"1 bob@" + host + ":delivered x@nowhere:refused:remote-server-not-found"},
		"gateway": {call{path: gatewayPath + "?dry_run=1", user: "gate", body: to("bob@" + host), headers: []string{xmlType}}, 200,
			"1 bob@" + host + ":stored"},
		"API account": {call{path: gatewayPath + "/ticket?dry_run=true", user: "robot", body: to("bob@" + host), headers: []string{xmlType}},
			200, "1 bob@" + host + ":stored"},
	} {
		h := dryHouse(t)
		if c.path == "" {
			c.path = "/message?dry_run=1"
		}
		c.headers = append(c.headers, "Accept: application/json")
		code, got := h.reported(c.call)
		if code != c.code || c.want != "" && got.String() != c.want || c.want != "" && !got.Dry {
			t.Errorf("%s: %d %s (dry: %v), want %d %s", name, code, got, got.Dry, c.code, c.want)
		}
		h.nothingStored()
		for i := range h.Stats.Recipients {
			if n := h.Stats.Recipients[i].Load(); n > 0 {
				t.Errorf("%s: counted %d as %s", name, n, router.Outcome(i))
			}
		}
	}
}

func TestADryRunAnswersWithAReportWhateverIsAccepted(t *testing.T) {
	h := dryHouse(t)
	for to, code := range map[string]int{"bob@" + host: 200, "nobody@" + host: 403} {
		w := h.do(call{path: "/message?dry_run=1", body: strings.Replace(toBob, "bob@"+host, to, 1)})
		if w.Code != code || !strings.Contains(w.Body.String(), `"dry_run":true`) {
			t.Errorf("answer %d %s", w.Code, w.Body)
		}
	}
	if w := h.do(call{path: "/message?dry_run=0", body: toBob}); w.Body.String() != "OK\n" {
		t.Errorf("without one: %d %s", w.Code, w.Body)
	}
	if log := h.log.String(); strings.Count(log, "dry_run=true") != 2 || strings.Contains(log, "refused=") {
		t.Errorf("log: %s", log)
	}
}

func TestADryRunHonoursAKeyAndUsesNoneUp(t *testing.T) {
	h := dryHouse(t)
	c := call{path: "/message?dry_run=1", body: toBob, headers: []string{"Idempotency-Key: k"}}
	if w := h.do(c); w.Code != 200 || w.Header().Get("Idempotency-Replayed") != "" {
		t.Fatalf("answer %d %q", w.Code, w.Header())
	}
	c.path = "/message"
	if w := h.do(c); w.Code != 200 || w.Header().Get("Idempotency-Replayed") != "" {
		t.Fatalf("answer %d %q", w.Code, w.Header())
	}
	c.path = "/message?dry_run=1"
	if w := h.do(c); w.Code != 200 || w.Header().Get("Idempotency-Replayed") != "true" {
		t.Errorf("what was sent: %d %q", w.Code, w.Header())
	}
	c.body = strings.Replace(c.body, "yo", "hi", 1)
	if w := h.do(c); w.Code != 422 {
		t.Errorf("another message: %d %q", w.Code, w.Header())
	}
	if list, _, err := h.answers.Page(t.Context(), "andy@"+host, storage.Query{Limit: 10}); err != nil || len(list) != 1 {
		t.Errorf("%d answers, %v", len(list), err)
	}
}

func TestADraftCanBeDry(t *testing.T) {
	h := dryHouse(t)
	d := drafted("bob@"+host, "skel@"+host)
	d.Dry = true
	report, err := h.Post(t.Context(), d)
	must(t, err)
	if r := report.Recipients; len(r) != 2 || r[0].Outcome != router.Delivered || r[1].Outcome != router.Stored {
		t.Errorf("report %+v", report)
	}
	d.To = d.To[:1]
	d.To[0] = jid.MustParse("nobody@" + host)
	var refused *posting.Refusal
	_, err = h.Post(t.Context(), d)
	if !errors.As(err, &refused) || refused.Status != 403 || len(refused.Recipients) != 1 {
		t.Errorf("to nobody: %v", err)
	}
	h.nothingStored()
}
