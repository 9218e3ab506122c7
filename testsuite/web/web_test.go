// Package web has web clients that others wrote, from npm, use the server over WebSocket (RFC 7395) and BOSH
// (XEP-0206): Converse.js, strophe.js and xmpp.js, in Debian's Chromium and in Node. `make deps` installs them, in the
// versions of testdata/package-lock.json. WEB_SHOTS names a folder for pictures of what was on the screen.
//
// It also looks at the pages of the server itself, in several sizes, light and dark, and at what stands before the
// server on the web's ports: the port that all protocols share, what is told there of the ways to connect, and nginx
// from Debian as a proxy.
package web

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"jackdaw/testsuite/harness"
)

func TestMain(m *testing.M) {
	code := m.Run()
	harness.Cleanup()
	os.Exit(code)
}

// A site is a server, and pages of another origin whose scripts are its clients.
type site struct {
	*harness.Server
	pages string // their origin
}

// openSite starts both.
func openSite(t *testing.T, users ...string) *site {
	t.Helper()
	return openSiteWith(t, "", users...)
}

// openSiteWith is openSite with further YAML at the top level.
func openSiteWith(t *testing.T, config string, users ...string) *site {
	t.Helper()
	if _, err := os.Stat(filepath.Join("testdata", "node_modules", ".installed")); err != nil {
		t.Fatal("the web clients are missing: make deps")
	}
	addr := harness.FreeAddr()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/modules/", http.StripPrefix("/modules/", http.FileServer(http.Dir("testdata/node_modules"))))
	mux.HandleFunc("/curve25519_compiled.wasm", func(w http.ResponseWriter, r *http.Request) { // of OMEMO, which wants it here
		http.ServeFile(w, r, "testdata/node_modules/converse.js/dist"+r.URL.Path)
	})
	mux.Handle("/", http.FileServer(http.Dir("testdata")))
	pages := &http.Server{Handler: mux, ReadHeaderTimeout: harness.Timeout}
	go pages.Serve(l)
	t.Cleanup(func() { pages.Close() })
	s := &site{pages: "http://" + addr}
	s.Server = harness.Start(t, harness.Options{Users: users, Config: fmt.Sprintf("web: {origins: [%q]}\n%s", s.pages, config)})
	// Where files are is known only now.
	text, err := os.ReadFile(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	text = fmt.Appendf(text, "\nmodules: {upload: {url: %q}}\n", "http://"+s.HTTP+"/upload")
	if err := os.WriteFile(s.Config, text, 0o600); err != nil {
		t.Fatal(err)
	}
	s.Command("", "reload")
	return s
}

// websocket is the URL of the server for clients of WebSocket.
func (s *site) websocket() string { return "ws://" + s.HTTP + "/xmpp-websocket" }

// bosh is that for clients of BOSH.
func (s *site) bosh() string { return "http://" + s.HTTP + "/http-bind" }

// A contact is testdata/contact.py, a client of slixmpp.
type contact struct {
	t     *testing.T
	stdin *json.Encoder
	heard chan heard
}

// heard is what it tells.
type heard struct {
	Event, From, Body, URL, Show string
}

func (s *site) contact(t *testing.T, user string) *contact {
	t.Helper()
	cmd := harness.Python(nil, filepath.Join("testdata", "contact.py"), s.C2S, user+"@"+harness.Domain, harness.Password, room)
	var errs strings.Builder
	cmd.Stderr = &errs
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v: apt-get install python3-slixmpp", err)
	}
	c := &contact{t: t, stdin: json.NewEncoder(in), heard: make(chan heard, 1000)}
	go func() {
		defer close(c.heard)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var h heard
			if json.Unmarshal(lines.Bytes(), &h) == nil {
				c.heard <- h
			}
		}
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Log(errs.String())
		}
	})
	c.hears("ready", func(heard) bool { return true })
	return c
}

// does has it do something.
func (c *contact) does(what ...string) {
	c.t.Helper()
	if err := c.stdin.Encode(what); err != nil {
		c.t.Fatal(err)
	}
}

// hears waits until it tells of an event for which f holds.
func (c *contact) hears(event string, f func(heard) bool) heard {
	c.t.Helper()
	deadline := time.After(harness.Timeout)
	var passed []heard
	for {
		select {
		case h, ok := <-c.heard:
			if !ok {
				c.t.Fatalf("the contact has ended; so far %+v", passed)
			}
			if h.Event == event && f(h) {
				return h
			}
			passed = append(passed, h)
		case <-deadline:
			c.t.Fatalf("the contact hears no such %s; so far %+v", event, passed)
		}
	}
}

// says is an event whose body is this.
func says(body string) func(heard) bool { return func(h heard) bool { return h.Body == body } }
