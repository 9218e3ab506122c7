// Package bots has the server meet programs as they are in the world: slow, broken, hostile, and such that lead to
// where they must not. It runs in a network of its own, with a name server.
package bots

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"jackdaw/testsuite/harness"
	"jackdaw/testsuite/peers"
)

// inside is a private address that a name leads to.
const inside = "10.0.0.1"

func TestMain(m *testing.M) {
	harness.IsolateNames(inside)
	code := m.Run()
	harness.Cleanup()
	peers.Cleanup()
	os.Exit(code)
}

// A program answers by its path, and remembers what it got.
type program struct {
	t    *testing.T
	addr string

	mu  sync.Mutex // guards got
	got map[string][]request
}

type request struct{ key, text string }

func newProgram(t *testing.T, addr string) *program {
	p := &program{t: t, got: map[string][]request{}}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	p.addr = l.Addr().String()
	s := &http.Server{Handler: p}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	return p
}

func (p *program) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var event struct{ Text string }
	if err := json.NewDecoder(r.Body).Decode(&event); err != nil {
		p.t.Errorf("a program gets what it cannot read: %v", err)
	}
	name := r.URL.Path[1:]
	p.mu.Lock()
	p.got[name] = append(p.got[name], request{r.Header.Get("Idempotency-Key"), event.Text})
	n := len(p.got[name])
	p.mu.Unlock()
	switch name {
	case "slow":
		select {
		case <-r.Context().Done():
		case <-time.After(harness.Timeout):
		}
	case "broken": // for some seconds
		if n <= 3 {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		fmt.Fprint(w, "mended")
	case "gone":
		w.WriteHeader(http.StatusGone)
	case "garbage":
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, "{\"text\": \x00\xff")
	case "endless":
		w.Header().Set("Content-Type", "text/plain")
		for r.Context().Err() == nil {
			if _, err := io.WriteString(w, strings.Repeat("a", 1<<16)); err != nil {
				return
			}
		}
	case "header":
		w.Header().Set("X", strings.Repeat("x", 1<<20))
	case "redirect":
		http.Redirect(w, r, "http://"+p.addr+"/secret", http.StatusFound)
	default:
		fmt.Fprint(w, "this is ", name)
	}
}

func (p *program) requests(name string) []request {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.got[name])
}

// until waits until something holds.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(harness.Timeout); !holds(); {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, harness.Timeout)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// A delivery is what `bot log` says of a request.
type delivery struct {
	Key, Error string
	Status     int
	Said       int
}

func log(t *testing.T, s *harness.Server, bot string) (list []delivery) {
	t.Helper()
	if err := json.Unmarshal([]byte(s.Command("", "bot", "log", bot+"@localhost", "--json")), &list); err != nil {
		t.Fatal(err)
	}
	return list
}

// A town has a server, somebody who writes, and programs on loopback and inside.
type town struct {
	*harness.Server
	t      *testing.T
	ann    *harness.Client
	here   *program
	inside *program
}

func found(t *testing.T, bots ...string) *town {
	n := peers.NewNetworkAt(t, harness.ServerIP+":53")
	n.Names.Paste(t, "inside.example. 60 IN A "+inside+"\nhere.example. 60 IN A 127.0.0.1\n")
	w := &town{t: t, here: newProgram(t, "127.0.0.1:0"), inside: newProgram(t, inside+":0"),
		Server: harness.Start(t, harness.Options{Users: append([]string{"ann"}, bots...)})}
	ann, err := harness.Connect(w.C2STLS, "ann", "desk")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ann.Close)
	w.ann = ann
	return w
}

func (w *town) bot(name, url string, more ...string) {
	w.t.Helper()
	w.Command("", append([]string{"bot", "add", name + "@localhost", "--url", url}, more...)...)
}

func (w *town) say(bot, text string) {
	w.t.Helper()
	if err := w.ann.Send("<message type='chat' id='" + text + "' to='" + bot + "@localhost'><body>" + text + "</body></message>"); err != nil {
		w.t.Fatal(err)
	}
}

// hears waits for a message of a bot, and returns it.
func (w *town) hears(bot string) string {
	w.t.Helper()
	el, err := w.ann.Until(func(el string) bool {
		return strings.HasPrefix(el, "<message") && strings.HasPrefix(harness.Attr(el, "from"), bot+"@localhost")
	})
	if err != nil {
		w.t.Fatalf("nothing of %s: %v", bot, err)
	}
	return el
}

func TestProgramsOfEveryKind(t *testing.T) {
	kinds := []string{"slow", "broken", "gone", "garbage", "endless", "header", "redirect", "well"}
	w := found(t, kinds...)
	for _, name := range kinds {
		w.bot(name, "http://"+w.here.addr+"/"+name)
	}
	for i := range 8 { // more than are under way at once
		w.say("slow", fmt.Sprintf("slow%d", i))
	}
	until(t, "a slow program is asked", func() bool { return len(w.here.requests("slow")) > 0 })
	begun := time.Now()
	w.say("well", "a")
	if el := w.hears("well"); !strings.Contains(el, "this is well") || time.Since(begun) > 5*time.Second {
		t.Errorf("beside a slow program, after %v: %s", time.Since(begun), el)
	}
	w.say("gone", "b")
	if el := w.hears("gone"); harness.Attr(el, "type") != "error" || harness.Attr(el, "id") != "b" || !strings.Contains(el, "recipient-unavailable") {
		t.Errorf("410: %s", el)
	}
	if got := w.here.requests("gone"); len(got) != 1 {
		t.Errorf("after 410 there were %d requests", len(got))
	}
	w.say("broken", "c")
	if el := w.hears("broken"); !strings.Contains(el, "mended") {
		t.Errorf("500, and then not: %s", el)
	}
	got := w.here.requests("broken")
	if len(got) != 4 || slices.ContainsFunc(got, func(r request) bool { return r != got[0] }) {
		t.Errorf("a broken program got %v", got)
	}
	for _, row := range []struct {
		name, why string
		again     bool
	}{{"garbage", "not understood", false}, {"endless", "more than 65536 bytes", false}, {"header", "", true},
		{"redirect", "302", true}} {
		w.say(row.name, "d")
		want := 1
		if row.again {
			want = 2
		}
		until(t, row.name, func() bool { return len(log(t, w.Server, row.name)) >= want })
		list := log(t, w.Server, row.name)
		for _, d := range list {
			if !strings.Contains(d.Error, row.why) || d.Error == "" || d.Said != 0 || d.Key != list[0].Key {
				t.Errorf("%s: %+v", row.name, list)
			}
		}
		if !row.again && len(w.here.requests(row.name)) != 1 {
			t.Errorf("%s is asked again", row.name)
		}
	}
	if got := w.here.requests("secret"); len(got) != 0 {
		t.Errorf("a redirect was followed: %v", got)
	}
	// It was given up after ten seconds, and is tried again with the same key.
	until(t, "a slow program is asked again", func() bool {
		all := w.here.requests("slow")
		return slices.ContainsFunc(all[1:], func(r request) bool { return r == all[0] })
	})
	if list := log(t, w.Server, "slow"); list[len(list)-1].Status != 0 || list[len(list)-1].Error == "" {
		t.Errorf("a slow program: %+v", list)
	}
}

func TestWhoIsNoAdministratorReachesNothingInside(t *testing.T) {
	w := found(t, "theirs", "ours", "loop")
	_, port, _ := net.SplitHostPort(w.inside.addr)
	_, herePort, _ := net.SplitHostPort(w.here.addr)
	url := "http://inside.example:" + port + "/door"
	w.bot("theirs", url, "--owner", "ann@localhost")
	w.bot("loop", "http://here.example:"+herePort+"/door", "--owner", "ann@localhost")
	for _, name := range []string{"theirs", "loop"} {
		w.say(name, "a")
		until(t, "it is tried", func() bool { return len(log(t, w.Server, name)) > 0 })
		if d := log(t, w.Server, name)[0]; !strings.Contains(d.Error, "not a public one") || d.Status != 0 {
			t.Errorf("%s: %+v", name, d)
		}
		out, err := w.TryCommand("", "bot", "test", name+"@localhost")
		if err == nil || !strings.Contains(out, "not a public one") {
			t.Errorf("a test of %s: %v, %s", name, err, out)
		}
	}
	if got := append(w.inside.requests("door"), w.here.requests("door")...); len(got) != 0 {
		t.Fatalf("a program inside got %v", got)
	}
	w.bot("ours", url)
	w.say("ours", "b")
	if el := w.hears("ours"); !strings.Contains(el, "this is door") {
		t.Errorf("a bot of administrators: %s", el)
	}
	// With the permission the same bot may, and not without it.
	w.Command("", "user", "grant", "ann@localhost", "admin")
	if el := w.hears("theirs"); !strings.Contains(el, "this is door") {
		t.Errorf("a bot whose owner administers: %s", el)
	}
	w.Command("", "user", "revoke", "ann@localhost", "admin")
	if out, err := w.TryCommand("", "bot", "test", "theirs@localhost"); err == nil || !strings.Contains(out, "not a public one") {
		t.Errorf("a test after that: %v, %s", err, out)
	}
}
