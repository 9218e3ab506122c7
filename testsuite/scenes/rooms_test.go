package scenes

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"jackdaw/testsuite/harness"
)

func TestRooms(t *testing.T) {
	onEach(t, "rooms", harness.Options{Config: "limits: {rooms_per_user: 3}\n", C2S: "resume_window: 1m"})
}

// A profanity is that client in tmux, for what a person sees and types.
type profanity struct {
	t      *testing.T
	socket string
}

func (w *profanity) tmux(args ...string) (string, error) {
	out, err := exec.Command("tmux", append([]string{"-S", w.socket, "-f", "/dev/null"}, args...)...).CombinedOutput()
	return string(out), err
}

// startProfanity starts one with an account for a user of the server.
func startProfanity(t *testing.T, s *harness.Server, user string) *profanity {
	t.Helper()
	home := t.TempDir()
	host, port, err := net.SplitHostPort(s.C2S)
	if err != nil {
		t.Fatal(err)
	}
	jid := user + "@" + harness.Domain
	for path, text := range map[string]string{
		"config/profanity/profrc": "",
		"data/profanity/accounts": fmt.Sprintf("[%s]\nenabled=true\njid=%s\nserver=%s\nport=%s\npassword=%s\ntls.policy=trust\nresource=terminal\nmuc.nick=%s\nmuc.service=rooms.%s\npresence.last=online\npresence.login=online\n",
			user, jid, host, port, harness.Password, user, harness.Domain),
	} {
		path = filepath.Join(home, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w := &profanity{t, filepath.Join(home, "tmux")}
	command := fmt.Sprintf("env HOME=%s XDG_CONFIG_HOME=%s/config XDG_DATA_HOME=%s/data TERM=screen LANG=C.UTF-8 profanity", home, home, home)
	if out, err := w.tmux("new-session", "-d", "-x", "160", "-y", "50", command); err != nil {
		t.Fatalf("tmux: %v\n%s", err, out)
	}
	t.Cleanup(func() { _, _ = w.tmux("kill-server") }) // it may have ended by itself
	return w
}

// enters types a line.
func (w *profanity) enters(line string) {
	w.t.Helper()
	if out, err := w.tmux("send-keys", "-l", line); err != nil {
		w.t.Fatalf("%v\n%s", err, out)
	}
	if out, err := w.tmux("send-keys", "Enter"); err != nil {
		w.t.Fatalf("%v\n%s", err, out)
	}
}

// shows waits until the screen shows all of these texts.
func (w *profanity) shows(texts ...string) {
	w.t.Helper()
	screen := ""
	for deadline := time.Now().Add(harness.Timeout); time.Now().Before(deadline); <-time.After(50 * time.Millisecond) {
		screen, _ = w.tmux("capture-pane", "-p")
		all := true
		for _, text := range texts {
			all = all && strings.Contains(screen, text)
		}
		if all {
			return
		}
	}
	w.t.Fatalf("profanity does not show %q:\n%s", texts, screen)
}

func TestPeopleTalkInARoomWithProfanity(t *testing.T) {
	t.Parallel()
	needs(t, "profanity", "profanity")
	needs(t, "tmux", "tmux")
	s := harness.Start(t, harness.Options{Users: []string{"romeo", "juliet"}})
	const room = "balcony@rooms.localhost"
	w := startProfanity(t, s, "romeo")
	w.shows("Profanity")
	w.enters("/connect romeo")
	w.shows("logged in successfully")
	w.enters("/join balcony")
	w.shows("Room locked, requires configuration.")
	w.enters("/room accept")
	w.shows("Room unlocked")
	g := enter(t, s, "juliet", "window")
	g.say("<presence to='" + room + "/juliet'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
	w.shows("juliet")
	g.settled()
	g.say("<message type='groupchat' to='" + room + "'><body>Wherefore art thou Romeo?</body></message>")
	w.shows("Wherefore art thou Romeo?")
	g.settled()
	w.enters("Shall I hear more, or shall I speak at this?")
	heard := func(text string) {
		t.Helper()
		if _, err := g.Until(func(el string) bool {
			return strings.HasPrefix(el, "<message") && harness.Attr(el, "from") == room+"/romeo" && strings.Contains(el, text)
		}); err != nil {
			t.Fatal(err)
		}
	}
	heard("<body>Shall I hear more, or shall I speak at this?</body>")
	w.enters("/subject set Names")
	heard("<subject>Names</subject>")
	w.enters("/nick montague")
	w.shows("montague")
	w.enters("/kick juliet parting")
	if el, err := g.Until(func(el string) bool { return strings.Contains(el, "code='307'") }); err != nil || !strings.Contains(el, "<reason>parting</reason>") {
		t.Errorf("juliet got %s, %v", el, err)
	}
	w.shows("juliet", "kicked", "parting")
	w.enters("/leave")
	w.enters("/quit")
}

func TestWhatARoomHasAcknowledgedSurvivesAKill(t *testing.T) {
	t.Parallel()
	for _, engine := range harness.Engines {
		t.Run(string(engine), func(t *testing.T) {
			t.Parallel()
			s := harness.Start(t, harness.Options{Engine: engine, Users: []string{"romeo", "juliet"}})
			const room = "balcony@rooms.localhost"
			g := enterManaged(t, s, "romeo", "desk")
			g.say("<presence to='" + room + "/romeo'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
			g.say("<iq type='set' id='open' to='" + room + "'><query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'>" +
				"<field var='muc#roomconfig_persistentroom'><value>1</value></field></x></query></iq>")
			g.until("open")
			const n = 25 // fewer than a user may send at once
			for i := range n {
				g.say(fmt.Sprintf("<message type='groupchat' id='m%d' to='%s'><body>said %d</body></message>", i, room, i))
			}
			g.acknowledged()
			s.Kill()
			s.Launch()
			j := enter(t, s, "juliet", "desk")
			j.say("<iq type='set' id='all' to='" + room + "'><query xmlns='urn:xmpp:mam:2'/></iq>")
			if got := j.until("all"); len(got) != n || !strings.Contains(got[n-1], fmt.Sprintf("<body>said %d</body>", n-1)) {
				t.Errorf("%d of %d messages are in the archive", len(got), n)
			}
		})
	}
}
