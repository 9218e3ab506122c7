package scenes

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"jackdaw/testsuite/harness"
)

// alert is what Alertmanager posts of one that fires or is resolved.
func alert(status, name, instance string) string {
	return fmt.Sprintf(`{"version":"4","groupKey":"{}:{%[2]s}","status":%[1]q,"groupLabels":{"alertname":%[2]q},"commonLabels":{"severity":"critical"},
		"alerts":[{"status":%[1]q,"labels":{"alertname":%[2]q,"instance":%[3]q,"severity":"critical"},"annotations":{"summary":"full"},"startsAt":"2026-11-28T12:00:00Z","fingerprint":%[3]q}]}`,
		status, name, instance)
}

var (
	stanzaIDOf = regexp.MustCompile(`<stanza-id [^>]*id=['"]([^'"]+)`)
	answersOf  = regexp.MustCompile(`<reply [^>]*>`)
	replaceOf  = regexp.MustCompile(`<replace [^>]*id=['"]([^'"]+)`)
	threadOf   = regexp.MustCompile(`<thread>([^<]+)`)
)

func first(of *regexp.Regexp, el string) string {
	m := of.FindStringSubmatch(el)
	if m == nil {
		return ""
	}
	return m[len(m)-1]
}

// madeHook makes a hook and returns its address.
func madeHook(t *testing.T, s *harness.Server, name string, args ...string) string {
	t.Helper()
	out := s.Command("", append([]string{"hook", "add", name}, args...)...)
	_, path, ok := strings.Cut(strings.TrimSpace(out), "/hooks/")
	if !ok {
		t.Fatalf("hook add printed %q", out)
	}
	return "http://" + s.HTTP + "/hooks/" + path
}

// docs/hooks.md §1: a room hears a hook as far as it would hear the owner, and what belongs together is a thread.
func TestHooksSpeakInRooms(t *testing.T) {
	t.Parallel()
	for _, place := range harness.OverTCP() {
		t.Run(place.String(), func(t *testing.T) {
			t.Parallel()
			s := harness.Start(t, harness.Options{Place: place, Users: []string{"romeo", "alarm"}})
			r := enterManaged(t, s, "romeo", "desk")
			r.say("<presence to='" + tower + "/romeo'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
			order := func(to, ns, query string) {
				t.Helper()
				r.marks++
				id := fmt.Sprintf("order-%d", r.marks)
				r.say("<iq type='set' id='" + id + "' to='" + to + "'><query xmlns='http://jabber.org/protocol/muc#" + ns + "'>" + query + "</query></iq>")
				if r.until(id); !strings.Contains(r.last, "result") {
					t.Fatalf("%s: %s", query, r.last)
				}
			}
			set := func(fields string) {
				t.Helper()
				order(tower, "owner", "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#roomconfig</value></field>"+
					"<field var='muc#roomconfig_persistentroom'><value>1</value></field>"+fields+"</x>")
			}
			affiliate := func(affiliation string) {
				t.Helper()
				order(tower, "admin", "<item jid='alarm@localhost' affiliation='"+affiliation+"'/>")
			}
			set("")
			url := madeHook(t, s, "ops", "--to", tower, "--owner", "alarm@localhost", "--kind", "alertmanager")
			correcting := madeHook(t, s, "board", "--to", tower, "--owner", "alarm@localhost", "--update", "correct", "--nick", "Board")
			r.settled()
			fire := func(url, body string, want int, says string) []string {
				t.Helper()
				status, text := web(t, url, "", body, "Content-Type", "application/json")
				if status != want || !strings.Contains(text, says) {
					t.Errorf("status %d %s, want %d with %q", status, text, want, says)
				}
				return r.settled()
			}

			begin := r.only("an alert", fire(url, alert("firing", "Disk", "db1"), 200, "ok"))
			if from := harness.Attr(begin, "from"); from != tower+"/ops" || !strings.Contains(begin, "groupchat") {
				t.Errorf("it comes from %s: %s", from, begin)
			}
			id := first(stanzaIDOf, begin)
			if id == "" || first(occupantOf, begin) == "" || first(threadOf, begin) == "" || !strings.Contains(begin, "🔥 FIRING · critical · Disk") {
				t.Errorf("an alert is %s", begin)
			}
			r.nothing("the same again", fire(url, alert("firing", "Disk", "db1"), 200, ""))
			end := r.only("its end", fire(url, alert("resolved", "Disk", "db1"), 200, "ok"))
			got := first(answersOf, end)
			if !strings.Contains(got, id) || !strings.Contains(got, tower+"/ops") ||
				first(threadOf, end) != first(threadOf, begin) || first(occupantOf, end) != first(occupantOf, begin) {
				t.Errorf("%s does not answer %s", end, begin)
			}
			one := r.only("one that goes on", fire(correcting, alert("firing", "Load", "a"), 200, ""))
			two := r.only("and is worse", fire(correcting, alert("firing", "Load", "b"), 200, ""))
			got = first(replaceOf, two)
			if got == "" || got != harness.Attr(one, "id") || first(occupantOf, one) != first(occupantOf, two) {
				t.Errorf("%s does not correct %s", two, one)
			}
			r.say("<iq type='set' id='kept' to='" + tower + "'><query xmlns='urn:xmpp:mam:2'/></iq>")
			if kept := r.until("kept"); len(kept) != 4 || !strings.Contains(kept[0], id) {
				t.Errorf("the archive has %q", kept)
			}

			// What a restart has in between is known after it.
			url2 := madeHook(t, s, "slow", "--to", tower, "--owner", "alarm@localhost")
			s.Kill()
			s.Launch()
			r = enterManaged(t, s, "romeo", "desk")
			r.say("<presence to='" + tower + "/romeo'><x xmlns='http://jabber.org/protocol/muc'><history maxstanzas='0'/></x></presence>")
			r.settled()
			r.nothing("the same, after a crash", fire(url, alert("resolved", "Disk", "db1"), 200, "before"))
			r.only("another", fire(url2, alert("firing", "Other", "x"), 200, "ok"))

			set("<field var='muc#roomconfig_membersonly'><value>1</value></field>")
			fire(url, alert("firing", "Members", "x"), 403, "registration-required")
			affiliate("member")
			r.settled()
			r.only("a member's", fire(url, alert("firing", "Members", "x"), 200, "ok"))
			set("<field var='muc#roomconfig_membersonly'><value>0</value></field><field var='muc#roomconfig_moderatedroom'><value>1</value></field>")
			affiliate("none")
			r.settled()
			r.nothing("one without a voice", fire(url, alert("firing", "Voice", "x"), 403, "forbidden"))
			affiliate("outcast")
			r.settled()
			r.nothing("one that is banned", fire(url, alert("firing", "Ban", "x"), 403, "forbidden"))
			order(tower, "owner", "<destroy/>")
			r.settled()
			fire(url, alert("firing", "Gone", "x"), 403, "item-not-found")
			if out, err := s.TryCommand("", "hook", "test", "ops"); err == nil || !strings.Contains(out, "item-not-found") {
				t.Errorf("hook test says %q", out)
			}
			if out, err := s.TryCommand("", "hook", "add", "far", "--to", "a@conference.example.net", "--owner", "alarm@localhost"); err == nil ||
				!strings.Contains(out, "another server") {
				t.Errorf("a remote room: %q", out)
			}
		})
	}
}

// docs/hooks.md §1, §3: permissions are the owner's now, and no output has what opens a hook.
func TestWhoMayPostByAHookAndWhatIsSaidOfIt(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{Users: []string{"romeo", "juliet", "alarm"},
		HTTP: "permissions: {http_message: []}"})
	r := enterManaged(t, s, "romeo", "desk")
	url := madeHook(t, s, "ops", "--to", "romeo@localhost", "--owner", "alarm@localhost", "--kind", "text")
	many := madeHook(t, s, "many", "--to", "romeo@localhost,juliet@localhost", "--owner", "alarm@localhost", "--kind", "text")
	forged := madeHook(t, s, "forged", "--to", "romeo@localhost", "--owner", "alarm@localhost", "--as", "disk@hosts.example", "--kind", "text")
	n := 0
	post := func(what, url string, want int) {
		t.Helper()
		n++
		text := fmt.Sprintf("text %d", n)
		status, said := web(t, url, "", text, "Content-Type", "text/plain")
		if status != want {
			t.Errorf("%s: %d %s, want %d", what, status, said, want)
		}
		got := strings.Join(r.settled(), "")
		if strings.Contains(got, text) != (want == 200) {
			t.Errorf("%s: romeo got %q", what, got)
		}
	}
	post("an owner who may not", url, 403)
	s.Command("", "user", "grant", "alarm@localhost", "http_message")
	post("an owner who may", url, 200)
	post("to many", many, 403)
	s.Command("", "user", "grant", "alarm@localhost", "multicast")
	post("to many, who may", many, 200)
	post("another's name", forged, 403)
	s.Command("", "user", "grant", "alarm@localhost", "forge_sender=*@hosts.example")
	post("another's name, who may", forged, 200)
	s.Command("", "user", "revoke", "alarm@localhost", "forge_sender=*@hosts.example")
	post("another's name, who may no more", forged, 403)
	s.Command("", "user", "disable", "alarm@localhost")
	post("an owner who is disabled", url, 401)
	s.Command("", "user", "enable", "alarm@localhost")
	post("an owner who is there again", url, 200)
	rotated := "http://" + s.HTTP + "/hooks/" + after(s.Command("", "hook", "rotate", "ops", "--overlap", "0"), "/hooks/")
	post("an address that was", url, 401)
	post("an address in its place", rotated, 200)
	s.Command("", "hook", "change", "ops", "--to", "juliet@localhost")
	if status, _ := web(t, rotated, "", "for juliet", "Content-Type", "text/plain"); status != 200 {
		t.Errorf("to another: %d", status)
	}
	s.Command("", "hook", "remove", "many")
	post("a hook that was", many, 401)
	s.Command("", "user", "del", "alarm@localhost")
	post("an owner who is gone", forged, 401)
	if out := s.Command("", "hook", "list"); strings.TrimSpace(out) != "" {
		t.Errorf("left are %q", out)
	}

	// Proof that no output has a token, also of paths that were written wrongly.
	var tokens []string
	for _, one := range []string{url, many, forged, rotated} {
		token := after(one, "/hooks/")
		tokens = append(tokens, token)
		for _, path := range []string{"/hook/" + token, "/" + token, "/hooks/" + token[:12] + "/" + token[12:] + "/x", "/hook/jdh/" + token[3:], "//hooks/" + token,
			"/hooks/" + token + "/text?token=" + token, "/message?token=" + token, "/ntfy/" + token, "/gotify/message?token=" + token,
			"/HOOKS/" + strings.ToUpper(token), "/hooks%2f" + token} {
			for _, body := range []string{"", "x"} {
				web(t, "http://"+s.HTTP+path, "", body, "Referer", one, "X-Gotify-Key", token)
			}
		}
	}
	metrics := measured(t, s)
	if !strings.Contains(metrics, `jackdaw_hook_requests_total{outcome="sent"} `) {
		t.Error("no metrics of hooks")
	}
	for place, text := range map[string]string{"log": s.Output().String(), "metrics": metrics} {
		for _, token := range tokens {
			for _, part := range []string{token, token[3:15], token[20:], strings.ToUpper(token)} {
				if strings.Contains(text, part) {
					i := strings.Index(text, part)
					t.Errorf("the %s has %s: …%s…", place, part, text[max(0, i-200):min(len(text), i+100)])
				}
			}
		}
	}
}

func after(s, mark string) string {
	_, rest, _ := strings.Cut(strings.TrimSpace(s), mark)
	return rest
}

// Two senders that watch each other, such as Alertmanagers, post the same at once: one message comes.
func TestAPairOfSendersIsHeardOnce(t *testing.T) {
	t.Parallel()
	for _, place := range harness.OverTCP() {
		t.Run(place.String(), func(t *testing.T) {
			t.Parallel()
			s := harness.Start(t, harness.Options{Place: place, Users: []string{"romeo", "alarm"}})
			r := enterManaged(t, s, "romeo", "desk")
			url := madeHook(t, s, "ops", "--to", "romeo@localhost", "--owner", "alarm@localhost")
			for round := range 5 {
				body := alert("firing", fmt.Sprintf("Alert%d", round), "x")
				var both sync.WaitGroup
				codes := make([]int, 4)
				for i := range codes {
					both.Go(func() {
						q, err := http.Post(url, "application/json", strings.NewReader(strings.Replace(body, "\t\t", strings.Repeat(" ", i), 1)))
						if err != nil {
							t.Error(err)
							return
						}
						q.Body.Close()
						codes[i] = q.StatusCode
					})
				}
				both.Wait()
				if got := r.settled(); len(got) != 1 || slices.Max(codes) != 200 || slices.Min(codes) != 200 {
					t.Errorf("round %d: %d messages, statuses %v", round, len(got), codes)
				}
			}
			http.DefaultClient.CloseIdleConnections()
		})
	}
}
