package scenes

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"jackdaw/testsuite/harness"
)

// A terminal is a user of profanity: what is typed, and what is on the screen. The programs have a home, a
// configuration and a socket of their own.
type terminal struct {
	t    *testing.T
	dir  string
	tmux *exec.Cmd // its server, which holds the screen
	done chan struct{}
	errs bytes.Buffer
}

// blank is what most of a screen is.
var blank = regexp.MustCompile(`( *\n)+`)

// openProfanity starts the client. All of it is gone at the end of the test.
func openProfanity(t *testing.T) *terminal {
	t.Helper()
	needs(t, "tmux", "tmux")
	needs(t, "profanity", "profanity")
	w := &terminal{t: t, dir: t.TempDir(), done: make(chan struct{})}
	settings := filepath.Join(w.dir, "config", "profanity")
	if err := os.MkdirAll(settings, 0o700); err != nil {
		t.Fatal(err)
	}
	// No picture that fills the screen, a line for everyone who enters, and nothing that asks for a desktop.
	profrc := "[ui]\nsplash=false\nstatuses.muc=all\n[notifications]\nmessage=false\nroom=false\ninvite=false\nsub=false\n"
	if err := os.WriteFile(filepath.Join(settings, "profrc"), []byte(profrc), 0o600); err != nil {
		t.Fatal(err)
	}
	// In the foreground, so that it does not outlive a test process that is killed; profanity goes with its screen.
	w.tmux = w.command("-D", "-f", "/dev/null")
	w.tmux.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	w.tmux.Stderr = &w.errs
	if err := w.tmux.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { w.tmux.Wait(); close(w.done) }()
	t.Cleanup(w.close)
	w.await("a tmux server", func() (string, bool) {
		out, err := w.command("-N", "new-session", "-d", "-s", "main", "-x", "180", "-y", "50", "profanity").CombinedOutput()
		return string(out), err == nil
	})
	w.shows("[offline]")
	return w
}

// command is one of tmux. The path of the socket is relative, since a long one has no place in its address.
func (w *terminal) command(args ...string) *exec.Cmd {
	cmd := exec.Command("tmux", append([]string{"-u", "-S", "screen"}, args...)...)
	cmd.Dir = w.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "SHELL=/bin/sh", "LANG=C.UTF-8", "TERM=xterm", "HOME=" + w.dir,
		"XDG_CONFIG_HOME=" + filepath.Join(w.dir, "config"), "XDG_DATA_HOME=" + filepath.Join(w.dir, "data"),
		"DBUS_SESSION_BUS_ADDRESS=disabled:"}
	return cmd
}

// close ends both programs, and returns when neither can write to the directory any more.
func (w *terminal) close() {
	if w.t.Failed() {
		screen, _ := w.command("-N", "capture-pane", "-p", "-S", "-", "-t", "main").CombinedOutput()
		w.t.Logf("the screen at the end:\n%s", blank.ReplaceAllString(string(screen), "\n"))
	}
	running := w.running()
	w.command("-N", "kill-server").Run() // where it has ended already, there is nothing to do
	select {
	case <-w.done:
	case <-time.After(harness.Timeout):
		w.t.Error("tmux does not end")
		w.tmux.Process.Kill()
		<-w.done
	}
	for _, pid := range running {
		w.poll("end of profanity", nil, func() (string, bool) {
			// Orphaned, it may wait for an init that collects nothing.
			stat, err := os.ReadFile("/proc/" + pid + "/stat")
			return string(stat), err != nil || bytes.Contains(stat, []byte(") Z "))
		})
	}
}

// running are the processes that have a screen.
func (w *terminal) running() (pids []string) {
	out, _ := w.command("-N", "list-panes", "-a", "-F", "#{pane_pid}").Output() // an error: there is no screen
	return strings.Fields(string(out))
}

// await polls until something holds, as long as there is a screen.
func (w *terminal) await(what string, holds func() (saw string, ok bool)) {
	w.t.Helper()
	w.poll(what, w.done, holds)
}

// poll is await until ended is closed (nil: never). What it saw last is said where it never holds.
func (w *terminal) poll(what string, ended <-chan struct{}, holds func() (saw string, ok bool)) {
	w.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(harness.Timeout); ; <-tick.C {
		saw, ok := holds()
		if ok {
			return
		}
		select {
		case <-ended:
			w.t.Fatalf("no %s: tmux has ended: %s", what, w.errs.String())
		default:
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("no %s within %v, but:\n%s", what, harness.Timeout, blank.ReplaceAllString(saw, "\n"))
		}
	}
}

// shows returns when the window in front has all of these texts.
func (w *terminal) shows(texts ...string) {
	w.t.Helper()
	w.await(strings.Join(texts, ", ")+" on the screen", func() (string, bool) {
		screen, err := w.command("-N", "capture-pane", "-p", "-t", "main").CombinedOutput()
		for _, text := range texts {
			if err != nil || !bytes.Contains(screen, []byte(text)) {
				return string(screen), false
			}
		}
		return string(screen), true
	})
}

// types enters a line.
func (w *terminal) types(line string) {
	w.t.Helper()
	out, err := w.command("-N", "send-keys", "-t", "main", "-l", "--", line, ";", "send-keys", "-t", "main", "Enter").CombinedOutput()
	if err != nil {
		w.t.Fatalf("type %q: %v\n%s", line, err, out)
	}
}

// hears returns the next stanza that has all of these parts. Others are passed over.
func (g *guest) hears(parts ...string) string {
	g.t.Helper()
	var passed []string
	for {
		el, err := g.NextWithin(harness.Timeout)
		if err != nil {
			g.t.Fatalf("%s waits for %q: %v; so far %q", g.JID, parts, err, passed)
		}
		rest := parts
		for len(rest) > 0 && strings.Contains(el, rest[0]) {
			rest = rest[1:]
		}
		if len(rest) == 0 {
			return el
		}
		passed = append(passed, el)
	}
}

// Juliet sits at profanity, romeo is a client that writes its own XML. What profanity does is the same on each engine,
// but several nodes are another server to it.
func TestARoomConversationWithProfanity(t *testing.T) {
	t.Parallel()
	for _, place := range harness.Places {
		if place.Engine == harness.Embedded || place.Nodes > 1 {
			t.Run(place.String(), func(t *testing.T) { t.Parallel(); converse(t, place) })
		}
	}
}

func converse(t *testing.T, place harness.Place) {
	s := harness.Start(t, harness.Options{Place: place, Env: quick, Users: []string{"romeo", "juliet"}})
	juliet := openProfanity(t)
	host, port, _ := strings.Cut(s.C2S, ":")
	juliet.types("/connect juliet@localhost server " + host + " port " + port + " tls trust")
	juliet.shows("Enter password:")
	juliet.types(harness.Password)
	juliet.shows("logged in successfully", "[TLS] [online]")
	romeo := enter(t, s, "romeo", "desk")

	// A room of juliet's (XEP-0045 §10.1): nobody gets in before she has accepted its configuration.
	const coven = "coven@rooms.localhost"
	juliet.types("/join " + coven + " nick juliet")
	juliet.shows("You have joined the room as juliet, role: moderator, affiliation: owner", "Room locked, requires configuration.")
	romeo.say("<presence to='" + coven + "/romeo'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
	romeo.hears("<presence", "from='"+coven+"/romeo'", "type='error'", "<item-not-found")
	juliet.types("/room accept")
	juliet.shows("Room unlocked.") // which it says as soon as it has asked for it; what it sends next is behind that
	juliet.types("who comes there")
	juliet.shows("juliet: who comes there")
	romeo.say("<presence to='" + coven + "/romeo'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
	romeo.hears("<presence", "from='"+coven+"/juliet'", "affiliation='owner'", "role='moderator'")
	romeo.hears("<presence", "from='"+coven+"/romeo'", "code='110'")
	juliet.shows("romeo has joined the room")

	// Both hear each other, and see the subject.
	juliet.types("good even to you")
	romeo.hears("<message", "from='"+coven+"/juliet'", "type='groupchat'", "<body>good even to you</body>")
	juliet.shows("juliet: good even to you")
	romeo.say("<message to='" + coven + "' type='groupchat' id='r1'><body>what say you &amp; yours, où êtes-vous?</body></message>")
	juliet.shows("romeo: what say you & yours, où êtes-vous?")
	juliet.types(`/subject set "Of names and roses"`)
	romeo.hears("<message", "from='"+coven+"/juliet'", "type='groupchat'", "<subject>Of names and roses</subject>")
	juliet.shows("juliet has set the room subject: Of names and roses")

	// In private (§7.5), in a window of its own.
	juliet.types("/msg romeo a word in your ear")
	el := romeo.hears("<message", "from='"+coven+"/juliet'", "type='chat'", "<body>a word in your ear</body>")
	if strings.Contains(el, "juliet@localhost") {
		t.Errorf("a private message tells who juliet is: %s", el)
	}
	romeo.say("<message to='" + coven + "/juliet' type='chat' id='r2'><body>speak again</body>" +
		"<x xmlns='http://jabber.org/protocol/muc#user'/></message>")
	juliet.shows("a word in your ear", "romeo: speak again")

	// Juliet is a moderator, and kicks (§8.2).
	juliet.types("/win " + coven)
	juliet.shows("Of names and roses")
	juliet.types("/kick romeo too loud by far")
	romeo.hears("<presence", "from='"+coven+"/romeo'", "type='unavailable'", "role='none'", "<reason>too loud by far</reason>", "code='307'")
	juliet.shows("romeo has been kicked from the room by juliet, reason: too loud by far")

	// A room of romeo's, to which he invites (§7.8.2). She is shown what was said there before.
	const balcony = "balcony@rooms.localhost"
	romeo.say("<presence to='" + balcony + "/romeo'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
	romeo.hears("<presence", "from='"+balcony+"/romeo'", "code='201'")
	romeo.say("<iq type='set' id='open' to='" + balcony + "'><query xmlns='http://jabber.org/protocol/muc#owner'>" +
		"<x xmlns='jabber:x:data' type='submit'/></query></iq>")
	romeo.hears("<iq", "id='open'", "type='result'")
	romeo.say("<message to='" + balcony + "' type='groupchat' id='r3'><subject>By yonder moon</subject></message>" +
		"<message to='" + balcony + "' type='groupchat' id='r4'><body>it is my lady</body></message>" +
		"<message to='" + balcony + "'><x xmlns='http://jabber.org/protocol/muc#user'>" +
		"<invite to='juliet@localhost'><reason>the orchard walls are high</reason></invite></x></message>")
	juliet.types("/win console")
	juliet.shows(balcony, "the orchard walls are high")
	juliet.types("/join " + balcony + " nick juliet")
	juliet.shows("You have joined the room as juliet, role: participant, affiliation: none", "romeo: it is my lady", "By yonder moon")
	romeo.hears("<presence", "from='"+balcony+"/juliet'", "role='participant'")
	juliet.types("o that I were a glove")
	romeo.hears("<message", "from='"+balcony+"/juliet'", "<body>o that I were a glove</body>")

	// There she is the one who is kicked.
	romeo.say("<iq type='set' id='kick' to='" + balcony + "'><query xmlns='http://jabber.org/protocol/muc#admin'>" +
		"<item nick='juliet' role='none'><reason>it is the lark</reason></item></query></iq>")
	romeo.hears("<presence", "from='"+balcony+"/juliet'", "type='unavailable'", "code='307'")
	juliet.shows("Kicked from " + balcony + " by romeo, reason: it is the lark")
	romeo.say("<message to='" + balcony + "' type='groupchat' id='r5'><body>alone</body></message>")
	romeo.hears("<message", "from='"+balcony+"/romeo'", "<body>alone</body>")

	// A kick is no ban: he comes back to her room, and sees her leave.
	romeo.say("<presence to='" + coven + "/romeo'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
	romeo.hears("<presence", "from='"+coven+"/romeo'", "code='110'")
	juliet.types("/win " + coven)
	juliet.shows("reason: too loud by far")
	juliet.types("parting is such sweet sorrow")
	romeo.hears("<message", "from='"+coven+"/juliet'", "<body>parting is such sweet sorrow</body>")
	juliet.types("/quit")
	romeo.hears("<presence", "from='"+coven+"/juliet'", "type='unavailable'")
	juliet.await("end of profanity", func() (string, bool) {
		pids := juliet.running()
		return strings.Join(pids, " "), len(pids) == 0
	})
}
