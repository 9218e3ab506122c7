package web

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"jackdaw/testsuite/harness"
)

// A browser is Debian's Chromium with a profile of its own, driven by WebDriver. Nothing that it loads leaves the
// machine. What it waits for it watches itself, so that nobody polls.
type browser struct {
	t       *testing.T
	session string // its URL
	shots   int
}

// started is what chromedriver prints when it listens.
var started = regexp.MustCompile(`started successfully on port (\d+)`)

// openBrowser starts one with an empty profile. It is gone at the end of the test.
func openBrowser(t *testing.T) *browser {
	t.Helper()
	driver, err := exec.LookPath("chromedriver")
	if err != nil {
		t.Fatal("chromedriver is missing: apt-get install chromium chromium-driver")
	}
	profile := t.TempDir()
	cmd := exec.Command(driver, "--port=0")
	cmd.Env = append(os.Environ(), "HOME="+profile, "TMPDIR="+profile)
	// The browser is in its group, and neither outlives a test process that is killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	b := &browser{t: t}
	t.Cleanup(func() {
		if t.Failed() && b.session != "" {
			b.shot("failed")
			t.Logf("the page at the end:\n%s\nits console:\n%s", b.try(http.MethodPost, "/execute/sync", map[string]any{
				"script": "return document.body.innerText", "args": []any{}}), b.console())
		}
		if b.session != "" {
			b.try(http.MethodDelete, "", nil)
		}
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		cmd.Wait()
	})
	port := ""
	lines := bufio.NewScanner(out)
	for port == "" && lines.Scan() {
		if m := started.FindStringSubmatch(lines.Text()); m != nil {
			port = m[1]
		}
	}
	if port == "" {
		t.Fatal("chromedriver does not listen")
	}
	go func() {
		for lines.Scan() { // it must not wait for a reader
		}
	}()
	b.session = "http://127.0.0.1:" + port + "/session"
	var made struct {
		Value struct {
			SessionID string `json:"sessionId"`
		} `json:"value"`
	}
	reply := b.call(http.MethodPost, "", map[string]any{"capabilities": map[string]any{"alwaysMatch": map[string]any{
		"browserName":         "chrome",
		"acceptInsecureCerts": true,
		"timeouts":            map[string]any{"script": harness.Timeout.Milliseconds()},
		"goog:loggingPrefs":   map[string]any{"browser": "ALL"},
		"goog:chromeOptions": map[string]any{"args": []string{"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
			"--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
			"--disable-default-apps", "--disable-dev-shm-usage", "--window-size=1200,800", "--lang=en",
			"--user-data-dir=" + filepath.Join(profile, "profile"),
			"--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.*"}},
	}}})
	if err := json.Unmarshal(reply, &made); err != nil || made.Value.SessionID == "" {
		b.session = ""
		t.Fatalf("no browser: %v: %s", err, reply)
	}
	b.session += "/" + made.Value.SessionID
	return b
}

// try sends a command of WebDriver and returns what it says, whatever it is.
func (b *browser) try(method, path string, body any) string {
	var told []byte
	if body != nil {
		var err error
		if told, err = json.Marshal(body); err != nil {
			return err.Error()
		}
	}
	req, err := http.NewRequest(method, b.session+path, bytes.NewReader(told))
	if err != nil {
		return err.Error()
	}
	client := http.Client{Timeout: 2 * harness.Timeout}
	resp, err := client.Do(req)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	var text bytes.Buffer
	if _, err := text.ReadFrom(resp.Body); err != nil {
		return err.Error()
	}
	if resp.StatusCode != http.StatusOK {
		said, _, _ := strings.Cut(text.String(), `"stacktrace"`)
		return "refused: " + said
	}
	return text.String()
}

// call is try for what must succeed.
func (b *browser) call(method, path string, body any) []byte {
	b.t.Helper()
	reply := b.try(method, path, body)
	if !strings.HasPrefix(reply, "{") {
		b.t.Fatalf("%s %s %v: %s", method, path, body, reply)
	}
	return []byte(reply)
}

// value takes a reply apart.
func value[T any](b *browser, reply []byte) T {
	b.t.Helper()
	var v struct {
		Value T `json:"value"`
	}
	if err := json.Unmarshal(reply, &v); err != nil {
		b.t.Fatalf("%v: %s", err, reply)
	}
	return v.Value
}

// open goes to a page.
func (b *browser) open(url string) {
	b.t.Helper()
	b.call(http.MethodPost, "/url", map[string]any{"url": url})
}

// watch calls back with the first visible element that matches a selector and has a text, as soon as there is one.
const watch = `const [css, text, done] = arguments
const look = () => {
	for (const e of document.querySelectorAll(css))
		if (e.getClientRects().length && (e.textContent.includes(text) || (e.value || '').includes(text))) { done(e); return true }
}
if (!look()) {
	const all = {subtree: true, childList: true, attributes: true, characterData: true}
	const o = new MutationObserver(() => look() && o.disconnect())
	o.observe(document, all)
}`

// An element is the name that WebDriver gives to one of the page.
type element struct {
	ID string `json:"element-6066-11e4-a52e-4f735466cecf"`
}

// sees waits for a visible element that matches a selector and has a text.
func (b *browser) sees(css, text string) element {
	b.t.Helper()
	reply := b.try(http.MethodPost, "/execute/async", map[string]any{"script": watch, "args": []any{css, text}})
	if !strings.HasPrefix(reply, "{") {
		b.t.Fatalf("the page shows no %s with %q: %s", css, text, reply)
	}
	return value[element](b, []byte(reply))
}

// clicks waits for an element and clicks on it.
func (b *browser) clicks(css, text string) {
	b.t.Helper()
	b.call(http.MethodPost, "/element/"+b.sees(css, text).ID+"/click", map[string]any{})
}

// types waits for an element and types in it.
func (b *browser) types(css, text string) {
	b.t.Helper()
	b.call(http.MethodPost, "/element/"+b.sees(css, "").ID+"/value", map[string]any{"text": text})
}

// chooses gives a file to an input that need not be visible.
func (b *browser) chooses(css, file string) {
	b.t.Helper()
	found := value[element](b, b.call(http.MethodPost, "/element", map[string]any{"using": "css selector", "value": css}))
	b.call(http.MethodPost, "/element/"+found.ID+"/value", map[string]any{"text": file})
}

// runs runs a script in the page, which calls its last argument back, and returns what it gives.
func (b *browser) runs(script string, args ...any) string {
	b.t.Helper()
	if args == nil {
		args = []any{}
	}
	return value[string](b, b.call(http.MethodPost, "/execute/async", map[string]any{"script": script, "args": args}))
}

// shot writes what is on the screen to the folder that WEB_SHOTS names, if it names one.
func (b *browser) shot(name string) {
	b.t.Helper()
	dir := os.Getenv("WEB_SHOTS")
	if dir == "" {
		return
	}
	png, err := base64.StdEncoding.DecodeString(value[string](b, b.call(http.MethodGet, "/screenshot", nil)))
	if err != nil {
		b.t.Fatal(err)
	}
	b.shots++
	file := fmt.Sprintf("%s-%02d-%s.png", strings.NewReplacer("/", "-", " ", "-").Replace(b.t.Name()), b.shots, name)
	if err := os.WriteFile(filepath.Join(dir, file), png, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// console is what the page has said to its console since it was asked last.
func (b *browser) console() string {
	type entry struct {
		Level, Message string
	}
	var s strings.Builder
	for _, e := range value[[]entry](b, b.call(http.MethodPost, "/se/log", map[string]any{"type": "browser"})) {
		s.WriteString(e.Level + " " + e.Message + "\n")
	}
	return s.String()
}
