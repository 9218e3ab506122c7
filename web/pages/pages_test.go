package pages

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

// asking is a request of a browser.
func asking(target string, headers ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, target, nil)
	r.Header.Set("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	return r
}

var feature = fstest.MapFS{
	"templates/_part.html": {Data: []byte(`{{define "footer"}}<footer>{{.T "toy.foot"}}</footer>{{end}}`)},
	"templates/toy.html": {Data: []byte(`{{define "title"}}{{.T "toy.hello" "name" .Data}}{{end}}
{{define "main"}}<p title="{{.Data}}">{{.T "toy.hello" "name" .Data}}</p><a href="{{.Data}}">x</a>{{end}}`)},
	"languages/en.json": {Data: []byte(`{"toy.hello": "Hello <b> {name}", "toy.foot": "below"}`)},
	"languages/de.json": {Data: []byte(`{"toy.hello": "Hallo {name}", "toy.foot": "unten"}`)},
}

func TestEveryCatalogueHasEveryWord(t *testing.T) {
	for _, gap := range Gaps(own) {
		t.Error(gap)
	}
	bad := fstest.MapFS{
		"templates/x.html":  {Data: []byte(`{{.T "x.none"}}`)},
		"languages/en.json": {Data: []byte(`{"x.a": "with {host}", "x.b": "b", "x.c": "c"}`)},
		"languages/de.json": {Data: []byte(`{"x.a": "ohne", "x.b": " "}`)},
	}
	want := "fr is missing; es is missing; de has other names in x.a than English; de has no word for x.b; " +
		"de has no word for x.c; templates/x.html asks for x.none, which nobody has"
	if got := strings.Join(Gaps(bad), "; "); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

func TestVisitorsReadTheirLanguage(t *testing.T) {
	s := New(nil)
	b := s.NewBook(feature, nil)
	dir := t.TempDir()
	for name, text := range map[string]string{
		"nl.json": `{"toy.hello": "Hallo daar {name}"}`,
		"ar.json": `{"toy.hello": "أهلا {name}"}`,
		"de.json": `{"toy.foot": "ganz unten"}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Load(dir); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ accept, lang, dir, text, foot string }{
		{"", "en", "ltr", "Hello", "below"},
		{"de", "de", "ltr", "Hallo Romeo", "ganz unten"},
		{"de-AT,en;q=0.5", "de", "ltr", "Hallo Romeo", "ganz unten"},
		{"da, en-GB;q=0.8, de;q=0.7", "en", "ltr", "Hello", "below"},
		{"fr;q=0, de", "de", "ltr", "Hallo Romeo", "ganz unten"},
		{"nl-BE", "nl", "ltr", "Hallo daar Romeo", "below"}, // what a catalogue has not is said in English
		{"ar", "ar", "rtl", "أهلا Romeo", "below"},
		{"nonsense;;q=;,,", "en", "ltr", "Hello", "below"},
		{strings.Repeat("xx-yy,", 5000) + "de", "en", "ltr", "Hello", "below"},
		{"de," + strings.Repeat("x", 5000), "de", "ltr", "Hallo Romeo", "ganz unten"},
	} {
		w := httptest.NewRecorder()
		b.Write(w, asking("/", "Accept-Language: "+c.accept), View{Name: "toy", Data: "Romeo"})
		for _, want := range []string{`<html lang="` + c.lang + `" dir="` + c.dir + `"`, c.text, "<footer>" + c.foot} {
			if !strings.Contains(w.Body.String(), want) {
				t.Errorf("%.40q: no %s in %s", c.accept, want, w.Body)
			}
		}
		if w.Header().Get("Content-Language") != c.lang || w.Header().Get("Vary") != "Accept-Language" {
			t.Errorf("%.40q: %v", c.accept, w.Header())
		}
	}
	w := httptest.NewRecorder()
	b.Write(w, asking("/", "Accept-Language: de"), View{Name: "toy", Lang: English, Data: "Romeo"})
	if !strings.Contains(w.Body.String(), `<html lang="en"`) {
		t.Error(w.Body)
	}
}

func TestAFolderWithABadCatalogueChangesNothing(t *testing.T) {
	s := New(nil)
	b := s.NewBook(feature, nil)
	for name, text := range map[string]string{
		"klingonisch!.json": `{}`,
		"nl.json":           `{"toy.hello": 1}`,
		"pt-BR.json":        `[]`,
		"it.json":           `{"a": "` + strings.Repeat("x", maxCatalogue) + `"}`,
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := s.Load(dir); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := s.Load(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a folder that is not there")
	}
	w := httptest.NewRecorder()
	b.Write(w, asking("/", "Accept-Language: nl, de"), View{Name: "toy", Data: "x"})
	if !strings.Contains(w.Body.String(), "Hallo x") {
		t.Error(w.Body)
	}
}

func TestWhatOthersSayIsNeverMarkup(t *testing.T) {
	b := New(nil).NewBook(feature, nil)
	for _, evil := range []string{`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `javascript:alert(1)`, `'-alert(1)-'`} {
		w := httptest.NewRecorder()
		b.Write(w, asking("/"), View{Name: "toy", Data: evil})
		body := w.Body.String()
		for _, bad := range []string{"<script", "<img", `href="javascript`, "<b>"} {
			if strings.Contains(body, bad) {
				t.Errorf("%q: %s in %s", evil, bad, body)
			}
		}
	}
	for url, ok := range map[string]bool{"xmpp:a@b?join": true, "mailto:a@b": true, "HTTPS://x": true, "javascript:x": false,
		"data:text/html,x": false, "JaVaScRiPt:x": false, " javascript:x": false, "": false} {
		if got := SafeURL(url); (got != "") != ok {
			t.Errorf("%q: %q", url, got)
		}
	}
}

// secured says what is missing of the headers that every answer has.
func secured(h http.Header) (missing []string) {
	for name, want := range map[string]string{
		"Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
		"Referrer-Policy":         "no-referrer", "X-Content-Type-Options": "nosniff",
	} {
		if h.Get(name) != want {
			missing = append(missing, name+": "+h.Get(name))
		}
	}
	return missing
}

func TestHeadersAreOnEveryAnswer(t *testing.T) {
	s := New(nil)
	b := s.NewBook(feature, nil)
	plain := func(target string) *http.Request { return httptest.NewRequest(http.MethodGet, target, nil) }
	posted := asking(style.path)
	posted.Method = http.MethodPost
	for name, c := range map[string]struct {
		answer func(w http.ResponseWriter, r *http.Request)
		r      *http.Request
		status int
		cache  string
	}{
		"a page":       {func(w http.ResponseWriter, r *http.Request) { b.Write(w, r, View{Name: "toy"}) }, asking("/"), 200, "no-store"},
		"a public one": {func(w http.ResponseWriter, r *http.Request) { b.Write(w, r, View{Name: "toy", Keep: 60e9}) }, asking("/"), 200, "public, max-age=60"},
		"an error":     {func(w http.ResponseWriter, r *http.Request) { s.Error(w, r, 404) }, asking("/"), 404, "no-store"},
		"an odd error": {func(w http.ResponseWriter, r *http.Request) { s.Error(w, r, 418) }, asking("/"), 418, "no-store"},
		"a plain one":  {func(w http.ResponseWriter, r *http.Request) { s.Error(w, r, 404) }, plain("/"), 404, "no-store"},
		"the style":    {s.Assets, plain(style.path), 200, "public, max-age=31536000, immutable"},
		"the icon":     {s.Assets, plain(icon.path), 200, "public, max-age=31536000, immutable"},
		"no asset":     {s.Assets, plain("/assets/style-00.css"), 404, "no-store"},
		"a way out":    {s.Assets, plain("/assets/../languages/en.json"), 404, "no-store"},
		"a post":       {s.Assets, posted, 405, "no-store"},
		"a redirect": {WithHeaders(http.RedirectHandler("/x", http.StatusSeeOther)).ServeHTTP, asking("/"), 303,
			"no-store"},
	} {
		w := httptest.NewRecorder()
		c.answer(w, c.r)
		if missing := secured(w.Header()); missing != nil || w.Code != c.status || w.Header().Get("Cache-Control") != c.cache {
			t.Errorf("%s: %d %v %v", name, w.Code, missing, w.Header())
		}
	}
}

func TestAPageThatCannotBeMadeSaysNothingOfIt(t *testing.T) {
	b := New(nil).NewBook(feature, nil)
	w := httptest.NewRecorder()
	b.Write(w, asking("/"), View{Name: "none"})
	if w.Code != 500 || w.Body.String() != "Internal server error.\n" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	w = httptest.NewRecorder()
	b.Write(w, asking("/"), View{Name: "toy", Data: strings.Repeat("x", maxPage)})
	if w.Code != 500 {
		t.Errorf("a page of %d bytes", w.Body.Len())
	}
}

func TestBrowsersAreTold(t *testing.T) {
	for accept, want := range map[string]bool{"": false, "*/*": false, "application/json": false, "text/html": true,
		"application/xml;q=0.9, TEXT/HTML;q=0.8": true, "text/htmlx": false} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Accept", accept)
		if Wanted(r) != want {
			t.Errorf("%q: %v", accept, !want)
		}
	}
}

func TestFormsOfOtherOriginsAreKnown(t *testing.T) {
	for _, c := range []struct {
		site, origin string
		want         bool
	}{
		{"same-origin", "null", true}, {"none", "", true}, {"cross-site", "null", false}, {"same-site", "https://a.example.org", false},
		{"", "", true}, {"", "null", true}, {"", "https://im.example.org", true}, {"", "https://IM.example.org", true},
		{"", "https://im.example.org.evil.example", false}, {"", "https://im.example.org:8443", false}, {"", "%zz", false},
		{"cross-site", "https://im.example.org", false},
	} {
		r := httptest.NewRequest(http.MethodPost, "https://im.example.org/", nil)
		r.Header.Set("Sec-Fetch-Site", c.site)
		r.Header.Set("Origin", c.origin)
		if SameOrigin(r) != c.want {
			t.Errorf("%+v", c)
		}
	}
}

func TestCodesAreDrawn(t *testing.T) {
	svg, err := QR("xmpp:im.example.org?register;preauth=abc", `an "invitation" <x>`)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"<svg", `fill="#fff"`, "h7v1h-7z", "an &#34;invitation&#34; &lt;x&gt;", "</svg>"} {
		if !strings.Contains(string(svg), want) {
			t.Errorf("no %s in %s", want, svg)
		}
	}
	if _, err := QR(strings.Repeat("x", maxQR+1), ""); err == nil {
		t.Error("a text that no telephone reads from a screen")
	}
}

func FuzzAcceptLanguage(f *testing.F) {
	for _, seed := range []string{"", "de", "de-AT,en;q=0.5", "*", "x-private, i-klingon", "zh-Hant-TW;q=1.0", ";;,,--", "en_US_POSIX"} {
		f.Add(seed)
	}
	s := New(nil)
	f.Fuzz(func(t *testing.T, header string) {
		p := s.page(asking("/", "Accept-Language: "+header), "")
		if p.T("error.404") == "error.404" {
			t.Errorf("%q: no words", header)
		}
	})
}
