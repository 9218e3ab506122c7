package server

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"jackdaw/config"
)

// browsed is what a browser gets.
func browsed(h http.Handler, method, url string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, url, nil)
	r.Header.Set("Accept", "text/html,*/*;q=0.8")
	for _, one := range headers {
		name, value, _ := strings.Cut(one, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestEachHostHasAFace(t *testing.T) {
	h := assembled(t)
	dir := t.TempDir()
	text := filepath.Join(dir, "b.txt")
	if err := os.WriteFile(text, []byte("Welcome to the books."), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "nl.json"), []byte(`{"face.in": "Binnenkomen"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	next := *h.cfg.Load()
	next.Hosts = []config.Host{{Domain: "a.example", Contact: config.Contact{Abuse: []string{"mailto:abuse@a.example"}}},
		{Domain: "bücher.example", Page: text}}
	next.Registration, next.Web.Languages = config.RegistrationOpen, dir
	h.cfg.Store(&next)
	if warnings := h.readPages(&next); warnings != nil {
		t.Error(warnings)
	}
	handler := h.webHandler()
	for _, c := range []struct{ url, lang, want string }{
		{"https://a.example/", "en", "mailto:abuse@a.example"},
		{"https://A.example:5284/", "de", "jeder ein Konto anlegen"},
		{"https://xn--bcher-kva.example/", "en", "Welcome to the books."},
		{"https://upload.xn--bcher-kva.example/", "nl", "Binnenkomen"},
		{"https://192.0.2.7/", "en", "<h1>a.example</h1>"},
		{"https://[2001:db8::7]:443/", "en", "<h1>a.example</h1>"},
		{"https://xa.example/", "en", "<h1>a.example</h1>"},
	} {
		w := browsed(handler, "GET", c.url, "Accept-Language: "+c.lang)
		if w.Code != 200 || !strings.Contains(w.Body.String(), c.want) || w.Header().Get("Content-Security-Policy") == "" {
			t.Errorf("%s: %d %v %s", c.url, w.Code, w.Header(), w.Body)
		}
	}
	// What cannot be read any more changes nothing.
	if err := os.Remove(text); err != nil {
		t.Fatal(err)
	}
	next.Web.Languages = filepath.Join(dir, "none")
	if warnings := h.readPages(&next); len(warnings) != 2 {
		t.Error(warnings)
	}
	if w := browsed(handler, "GET", "https://xn--bcher-kva.example/", "Accept-Language: nl"); !strings.Contains(w.Body.String(),
		"Welcome to the books.") || !strings.Contains(w.Body.String(), "Binnenkomen") {
		t.Error(w.Body)
	}
}

func TestBrowsersSeePagesAndProgramsTheirAnswers(t *testing.T) {
	handler := assembled(t).webHandler()
	for _, c := range []struct {
		method, url, accept string
		status              int
		kind, want          string
	}{
		{"GET", "/", "*/*", 200, "text/html; charset=utf-8", "<h1>localhost</h1>"}, // curl
		{"HEAD", "/", "text/html", 200, "text/html; charset=utf-8", ""},
		{"POST", "/", "text/html", 404, "text/plain; charset=utf-8", "Not found.\n"},
		{"GET", "/nothing", "text/html", 404, "text/html; charset=utf-8", "Page not found"},
		{"GET", "/nothing", "", 404, "text/plain; charset=utf-8", "Not found.\n"},
		{"GET", "/nothing", "application/problem+json", 404, "application/problem+json", "Not found."},
		{"GET", "/message", "text/html", 405, "text/plain; charset=utf-8", "Method not allowed. Use POST.\n"},
		{"GET", "/api/1.0/x", "text/html", 404, "text/plain; charset=utf-8", "Not found.\n"},
		{"GET", "/api/openapi.json", "text/html", 200, "application/json", "openapi"},
		{"GET", "/assets/none", "*/*", 404, "text/plain; charset=utf-8", "Not Found.\n"},
	} {
		w := browsed(handler, c.method, "https://localhost"+c.url, "Accept: "+c.accept)
		if w.Code != c.status || w.Header().Get("Content-Type") != c.kind || !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%s %s %s: %d %v %s", c.method, c.url, c.accept, w.Code, w.Header(), w.Body)
		}
	}
	// The face leads to a stylesheet that is there.
	body := browsed(handler, "GET", "https://localhost/").Body.String()
	_, rest, _ := strings.Cut(body, `<link rel="stylesheet" href="`)
	at, _, _ := strings.Cut(rest, `"`)
	if w := browsed(handler, "GET", "https://localhost"+at); w.Code != 200 || w.Header().Get("Content-Type") != "text/css; charset=utf-8" {
		t.Errorf("%q: %d %v", at, w.Code, w.Header())
	}
}
