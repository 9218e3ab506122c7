package hooks

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"jackdaw/modules/hooks/notice"
	"jackdaw/modules/internal/posting"
	"jackdaw/router"
	"jackdaw/router/accounts"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

func mac(key, text string) string {
	m := hmac.New(sha256.New, []byte(key))
	m.Write([]byte(text))
	return hex.EncodeToString(m.Sum(nil))
}

func netipOf(t *testing.T, s string) netip.Addr {
	t.Helper()
	a, err := netip.ParseAddr(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// fire sends notices by a hook as a request with them would.
func (s *shed) fire(hook, key string, list ...notice.Notice) Result {
	s.t.Helper()
	h, err := s.Get(s.t.Context(), hook)
	if err != nil {
		s.t.Fatal(err)
	}
	g, ok := s.enter(s.t.Context(), h.ID)
	if !ok {
		s.t.Fatal("no turn")
	}
	defer g.leave()
	return s.send(s.t.Context(), &delivery{hook: &h, gate: g, key: key}, list)
}

var (
	burns = notice.Notice{Title: "Disk", State: notice.Firing, Level: notice.Error, Key: "disk"}
	fine  = notice.Notice{Title: "Disk", State: notice.Resolved, Key: "disk"}
)

func TestTheEndOfTroubleAnswersItsBegin(t *testing.T) {
	s := open(t)
	if err := s.accounts.Grant(t.Context(), romeo, accounts.PermMulticast); err != nil {
		t.Fatal(err)
	}
	s.add("ops", func(h *Hook) { h.To = []jid.JID{juliet, coven} })
	s.fire("ops", "", burns)
	first := s.posted()
	if len(first) != 2 || first[0].Stanza.Type != xmpp.TypeChat || first[1].Stanza.Type != xmpp.TypeGroupchat {
		t.Fatalf("posted %v", first)
	}
	for _, d := range first {
		if !payloadHas(d, "<thread>hook-") || !payloadHas(d, "<origin-id ") || payloadHas(d, "<reply ") {
			t.Errorf("the begin is %s", d.Stanza.Payload)
		}
	}
	if payloadHas(first[0], "<nick") || !payloadHas(first[1], ">ops</nick>") {
		t.Error("rooms alone show a nick")
	}
	s.fire("ops", "", fine)
	second := s.posted()
	const text = "✅ RESOLVED · Disk\n&gt; 🔥 FIRING · error · Disk"
	for i, id := range []string{first[0].Stanza.ID, "1002"} { // the id that the room gave
		d := second[i]
		if body(d) != text || !payloadHas(d, "id='"+id+"'") || !payloadHas(d, "<fallback ") || !payloadHas(d, "start='17'") ||
			!payloadHas(d, "end='43'") {
			t.Errorf("the end is %s, to answer %s", d.Stanza.Payload, id)
		}
	}
	if !payloadHas(second[1], "to='coven@rooms.example.org/ops'") || !payloadHas(second[0], "to='romeo@example.org'") {
		t.Error("who is answered is somebody else")
	}
	// What is over does not end again, and what begins anew answers nothing.
	for _, n := range []notice.Notice{fine, burns} {
		s.fire("ops", "", n)
		if d := s.posted()[0]; payloadHas(d, "<reply ") {
			t.Errorf("an answer: %s", d.Stanza.Payload)
		}
	}
}

func TestWhatGoesOnCorrectsTheFirstMessage(t *testing.T) {
	s := open(t)
	s.add("ops", func(h *Hook) { h.Correct = true })
	var ids, replaces []string
	for _, n := range []notice.Notice{burns, burns, fine, burns, fine} {
		s.fire("ops", "", n)
		d := s.posted()[0]
		ids = append(ids, d.Stanza.ID)
		_, rest, _ := strings.Cut(string(d.Stanza.Payload), "<replace xmlns='urn:xmpp:message-correct:0' id='")
		id, _, _ := strings.Cut(rest, "'")
		replaces = append(replaces, id)
		if payloadHas(d, "<reply ") {
			t.Error("a correction that answers")
		}
	}
	if want := []string{"", ids[0], ids[0], "", ids[3]}; !slices.Equal(replaces, want) {
		t.Errorf("they correct %q, want %q", replaces, want)
	}
}

func TestWhatOnlyEndsTrouble(t *testing.T) {
	s := open(t)
	s.add("ops", nil)
	fixed := fine
	fixed.IfFiring = true
	for _, want := range []struct {
		n notice.Notice
		o Outcome
	}{{fixed, Ignored}, {burns, Sent}, {fixed, Sent}, {fixed, Ignored}} {
		if r := s.fire("ops", "", want.n); r.Outcome != want.o {
			t.Errorf("%v: %v, want %v", want.n.State, r, Outcomes[want.o])
		}
	}
}

func TestWhatIsSentTwiceIsShownOnce(t *testing.T) {
	s := open(t)
	s.add("ops", nil)
	s.add("news", nil)
	n := notice.Notice{Text: "x", Dedupe: "d"}
	for _, one := range []struct {
		hook, key string
		n         notice.Notice
		want      Outcome
	}{
		{"ops", "", n, Sent}, {"ops", "", n, Repeated},
		{"ops", "k", n, Repeated}, // the notice counts before the request
		{"ops", "k", notice.Notice{Text: "y"}, Sent}, {"ops", "k", notice.Notice{Text: "y"}, Repeated},
		{"ops", "l", notice.Notice{Text: "y"}, Sent},
		{"ops", "", notice.Notice{Text: "x"}, Sent}, {"ops", "", notice.Notice{Text: "x"}, Sent},
		{"news", "", n, Sent}, {"news", "k", notice.Notice{Text: "y"}, Sent},
	} {
		if r := s.fire(one.hook, one.key, one.n); r.Outcome != one.want {
			t.Errorf("%s %q %q: %s, want %s", one.hook, one.key, one.n.Text, Outcomes[r.Outcome], Outcomes[one.want])
		}
	}
	if n := len(s.posted()); n != 7 {
		t.Errorf("%d messages", n)
	}
}

func TestTwoAtOnceAreOne(t *testing.T) {
	s := open(t)
	s.add("ops", nil)
	var all sync.WaitGroup
	var mu sync.Mutex
	outcomes := map[Outcome]int{}
	for range 8 {
		all.Go(func() {
			r := s.fire("ops", "", notice.Notice{Text: "x", Dedupe: "d", DedupeFor: 4 * time.Minute})
			mu.Lock()
			outcomes[r.Outcome]++
			mu.Unlock()
		})
	}
	all.Wait()
	if len(s.posted()) != 1 || outcomes[Sent] != 1 || outcomes[Repeated] != 7 {
		t.Errorf("outcomes %v", outcomes)
	}
}

func TestTheSameIsSentAgainWhenItsTimeIsOver(t *testing.T) {
	s := open(t)
	s.add("ops", nil)
	n := notice.Notice{Text: "x", Dedupe: "d", DedupeFor: time.Nanosecond}
	s.fire("ops", "", n)
	if r := s.fire("ops", "", n); r.Outcome != Sent || len(s.posted()) != 2 {
		t.Errorf("the second is %s", Outcomes[r.Outcome])
	}
}

// A crash between the message and what is kept of it does not send it twice.
func TestAPostThatWasNotNotedIsKnownAgain(t *testing.T) {
	s := open(t)
	s.add("ops", nil)
	h, err := s.Get(t.Context(), "ops")
	if err != nil {
		t.Fatal(err)
	}
	n := notice.Notice{Text: "x", Dedupe: "d"}
	s.fire("ops", "", n)
	if _, err := s.state.DeleteOwner(t.Context(), h.ID); err != nil { // as if it had never been written
		t.Fatal(err)
	}
	if r := s.fire("ops", "", n); r.Outcome != Sent || len(s.posted()) != 1 {
		t.Errorf("%+v", r)
	}
	// The other of a pair words it otherwise.
	if _, err := s.state.DeleteOwner(t.Context(), h.ID); err != nil {
		t.Fatal(err)
	}
	n.Text = "y"
	if r := s.fire("ops", "", n); r.Outcome != Sent || len(s.posted()) != 0 {
		t.Errorf("%+v", r)
	}
}

func TestHowMuchIsKeptOfAHook(t *testing.T) {
	s := open(t)
	s.add("ops", nil)
	h, err := s.Get(t.Context(), "ops")
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{}
	for i := range maxState + 3*sweepAfter {
		at := time.Now().Add(-time.Duration(maxState+3*sweepAfter-i) * time.Second)
		one := save(keyThread+digest(strconv.Itoa(i)), thread{ID: "x", At: at})
		if err := s.write(t.Context(), h.ID, g, one); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			old := time.Now().Add(-keepThread - time.Hour)
			if err := s.write(t.Context(), h.ID, g, save(keyThread+"old", thread{At: old}), save(keySerial, 7)); err != nil {
				t.Fatal(err)
			}
		}
	}
	n, _, err := s.state.Size(t.Context(), h.ID)
	if err != nil || n > maxState+sweepAfter+1 {
		t.Errorf("%d keys, %v", n, err)
	}
	var serial int64
	var old thread
	if err := errors.Join(s.load(t.Context(), h.ID, keySerial, &serial),
		s.load(t.Context(), h.ID, keyThread+"old", &old)); err != nil || serial != 7 || !old.At.IsZero() {
		t.Errorf("the serial is %d, and what is old is %v", serial, old)
	}
}

func TestRecipients(t *testing.T) {
	s := open(t)
	grant := func(p ...accounts.Permission) {
		if err := s.accounts.Grant(t.Context(), romeo, p...); err != nil {
			t.Fatal(err)
		}
	}
	s.add("many", func(h *Hook) { h.To = []jid.JID{juliet, romeo} })
	if r := s.fire("many", "", burns); r.Outcome != Refused {
		t.Errorf("many without permission: %+v", r)
	}
	grant(accounts.PermMulticast)
	if r := s.fire("many", "", burns); r.Outcome != Sent || len(r.Recipients) != 2 || len(s.posted()) != 1 {
		t.Errorf("many: %+v", r)
	}
	// A room hears the owner, users whom the hook names.
	trac := jid.MustParse("bot@trac")
	s.add("as", func(h *Hook) { h.As, h.To = trac, []jid.JID{juliet, coven} })
	s.fire("as", "", burns)
	if list := s.posted(); len(list) != 2 || list[0].From != trac || !list[1].From.IsZero() || list[1].Account != romeo {
		t.Errorf("posted %v", list)
	}
	// One room that refuses does not keep the message from others, and is named.
	s.post = func(d posting.Draft) (posting.Report, error) {
		if d.To[0] == coven {
			return posting.Report{}, &posting.Refusal{Status: 403, Text: "banned",
				Recipients: []posting.Recipient{{To: coven, Outcome: router.Refused, Reason: "forbidden"}}}
		}
		return posting.Report{}, nil
	}
	r := s.fire("as", "", burns)
	if r.Outcome != Sent || len(r.Recipients) != 2 || r.Recipients[1].Reason != "forbidden" {
		t.Errorf("one refuses: %+v", r)
	}
	s.post = nil
	// A hook that was made before such names were known.
	s.add("far", nil)
	h, _ := s.Get(t.Context(), "far")
	h.To = []jid.JID{jid.MustParse("a@conference.example.net")}
	if err := s.put(t.Context(), &h, storage.AnyVersion); err != nil {
		t.Fatal(err)
	}
	if r := s.fire("far", "", burns); r.Outcome != Refused || r.Recipients[0].Reason != "remote-room" {
		t.Errorf("a remote room: %+v", r)
	}
}

func TestWhomAProgramMayAskFor(t *testing.T) {
	s := open(t)
	s.add("shut", nil)
	s.add("wide", func(h *Hook) { h.OverrideTo = []string{"*@rooms.example.org", "romeo@example.org"} })
	s.posted()
	for _, one := range []struct{ hook, to, want string }{
		{"shut", "romeo@example.org", "juliet@example.org"},
		{"wide", "romeo@example.org", "romeo@example.org"},
		{"wide", "#tower@rooms.example.org", "tower@rooms.example.org"},
		{"wide", "#general", "juliet@example.org"},
		{"wide", "juliet@example.net", "juliet@example.org"},
		{"wide", "", "juliet@example.org"},
		{"wide", "##@@", "juliet@example.org"},
	} {
		s.fire(one.hook, "", notice.Notice{Text: "x", To: one.to})
		if list := s.posted(); len(list) != 1 || list[0].To[0].String() != one.want {
			t.Errorf("%s asks for %q: %v", one.hook, one.to, list)
		}
	}
}

func TestNamesInRoomsAndBeforeTexts(t *testing.T) {
	s := open(t)
	s.add("room", func(h *Hook) { h.To = []jid.JID{coven} })
	s.add("named", func(h *Hook) { h.To, h.Nick = []jid.JID{coven}, "Alerts" })
	s.add("user", nil)
	for _, one := range []struct{ hook, asked, nick, text string }{
		{"room", "", "room", "x"}, {"room", "ci", "ci", "x"}, {"room", "c\x00i", "room", "x"},
		{"room", strings.Repeat("a", 300), "room", "x"}, {"named", "ci", "Alerts", "ci: x"}, {"user", "ci", "", "ci: x"},
	} {
		s.fire(one.hook, "", notice.Notice{Text: "x", Nick: one.asked})
		d := s.posted()[0]
		el := d.Stanza.Child(xmpp.Name{Space: nsNick, Local: "nick"})
		nick := ""
		if el != nil {
			nick = el.Text()
		}
		if nick != one.nick || body(d) != one.text {
			t.Errorf("%s, asked for %.10q: %q says %q", one.hook, one.asked, nick, body(d))
		}
	}
}

func TestHintsSubjectsAndFiles(t *testing.T) {
	s := open(t)
	s.add("plain", nil)
	s.add("rich", func(h *Hook) { h.Subject, h.Files, h.NoStore, h.Words = true, true, "debug", true })
	for _, one := range []struct {
		hook  string
		level notice.Level
		want  []string
	}{
		{"plain", notice.Info, []string{"body", "origin-id"}},
		{"plain", notice.Debug, []string{"body", "origin-id"}},
		{"plain", notice.Critical, []string{"body", "origin-id", "store"}},
		{"rich", notice.Debug, []string{"body", "no-store", "origin-id", "subject"}},
		{"rich", notice.Info, []string{"body", "origin-id", "subject"}},
	} {
		s.fire(one.hook, "", notice.Notice{Title: "T", Level: one.level})
		d := s.posted()[0]
		if got := names(xmpp.Index(d.Stanza.Payload)); !slices.Equal(got, one.want) {
			t.Errorf("%s, %v: %q, want %q", one.hook, one.level, got, one.want)
		}
	}
	picture := notice.Notice{Title: "T", Attachments: []notice.Attachment{{Name: "p", URL: "https://a.example/p.png"}, {Name: "raw", Data: []byte("x")}}}
	s.fire("plain", "", picture)
	if list := s.posted(); len(list) != 2 || body(list[0]) != "T\np: https://a.example/p.png" || len(list[1].Attachments) != 1 ||
		list[1].Attachments[0].Name != "raw" || string(list[1].Attachments[0].Data) != "x" {
		t.Errorf("without files: %v", list)
	}
	s.fire("rich", "", picture)
	if list := s.posted(); len(list) != 3 || body(list[1]) != "https://a.example/p.png" || !payloadHas(list[1], "jabber:x:oob") {
		t.Errorf("with files: %v", list)
	}
}

// A file that cannot be kept is not lost without a word, and its name is no path and no line.
func TestFilesThatCannotBeKeptAreNamed(t *testing.T) {
	s := open(t)
	s.add("ops", nil)
	var list []posting.Draft
	s.post = func(d posting.Draft) (posting.Report, error) {
		list = append(list, d)
		if len(d.Attachments) > 0 {
			return posting.Report{}, &posting.Refusal{Status: 413, Text: "too large"}
		}
		return posting.Report{ID: "m", Recipients: []posting.Recipient{{To: d.To[0], Outcome: router.Stored}}}, nil
	}
	files := []notice.Attachment{{Name: "../a/b\n.txt", Type: "?", Data: []byte("x")}}
	for range maxFiles + 1 {
		files = append(files, notice.Attachment{Data: []byte("x")})
	}
	if r := s.fire("ops", "", notice.Notice{Title: "T", Attachments: files}); r.Outcome != Sent {
		t.Errorf("%+v", r)
	}
	if len(list) != 1+2*maxFiles {
		t.Fatalf("%d drafts", len(list))
	}
	if got := body(list[0]); got != "T\n(a file is left out: file)\n(a file is left out: file)" {
		t.Errorf("more than there may be: %q", got)
	}
	if a := list[1].Attachments[0]; a.Name != "b.txt" || a.Type != "" {
		t.Errorf("attached as %q, %q", a.Name, a.Type)
	}
	if got := body(list[2]); got != "(a file is left out: b.txt)" {
		t.Errorf("in its place: %q", got)
	}
}

func TestTemplatesOfHooks(t *testing.T) {
	s := open(t)
	path := s.add("ops", func(h *Hook) { h.Template, h.Kind = "{{.text | upper}}", "text" })
	s.ask("POST", path, plain, "x")
	if d := s.posted()[0]; body(d) != "X" {
		t.Errorf("filled: %q", body(d))
	}
	path = s.add("bad", func(h *Hook) { h.Template, h.Kind = "{{index .list 3}}", "text" })
	s.ask("POST", path, plain, "x")
	if d := s.posted()[0]; !strings.HasPrefix(body(d), "x\n(the template of this hook failed: ") {
		t.Errorf("failed: %q", body(d))
	}
}

func TestAFaultOfStorageIsForLater(t *testing.T) {
	s := open(t)
	path := s.add("ops", nil)
	h, _ := s.Get(t.Context(), "ops")
	if _, _, err := s.state.Update(t.Context(), h.ID, 0, save(keySerial, "no number")); err != nil {
		t.Fatal(err)
	}
	if got := s.ask("POST", path, plain, "x"); got.StatusCode != 503 || len(s.posted()) != 0 {
		t.Errorf("status %d", got.StatusCode)
	}
	s.post = func(posting.Draft) (posting.Report, error) { return posting.Report{}, errors.New("broken") }
	if r := s.fire("ops", "", burns); r.Outcome != Unavailable {
		t.Errorf("%+v", r)
	}
}
