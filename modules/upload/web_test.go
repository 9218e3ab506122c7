package upload

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/modules/internal/moduletest"
)

func TestASlotIsForOneFileAsItWasAnnounced(t *testing.T) {
	h := newHouse(t)
	g := h.slot(h.romeo, "filename='a.txt' size='5' content-type='Text/Plain'", "")
	other := h.slot(h.romeo, "filename='b.txt' size='5'", "")
	path := h.path(g.put)
	for _, row := range []struct {
		what, path, auth, body string
		headers                []string
		code                   int
	}{
		{"without the header", path, "", "12345", nil, 401},
		{"with that of another slot", path, other.auth, "12345", nil, 401},
		{"with another kind of header", path, "Basic " + g.auth, "12345", nil, 401},
		{"with half of it", path, g.auth[:20], "12345", nil, 401},
		{"under another name", strings.Replace(path, "a.txt", "b.txt", 1), g.auth, "12345", nil, 404},
		{"under no slot", Path + strings.Repeat("a", idLetters) + "/a.txt", g.auth, "12345", nil, 401},
		{"too short", path, g.auth, "1234", nil, 400},
		{"too long", path, g.auth, "123456", nil, 413},
		{"of another type", path, g.auth, "12345", []string{"Content-Type", "text/html"}, 415},
		{"a part of it", path, g.auth, "12345", []string{"Content-Range", "bytes 0-4/10"}, 400},
		{"of no type", path, g.auth, "12345", []string{"Content-Type", "text"}, 415},
		{"as announced", path, g.auth, "12345", []string{"Content-Type", "text/plain; charset=utf-8"}, 201},
		{"again", path, g.auth, "54321", nil, 409},
	} {
		w := h.do("PUT", row.path, row.body, append([]string{"Authorization", row.auth}, row.headers...)...)
		if w.Code != row.code || row.code == 401 && w.Header().Get("WWW-Authenticate") != "Bearer" {
			t.Errorf("%s: %d, %v", row.what, w.Code, w.Header())
		}
	}
	h.wants(g, 200, "12345")

	r := httptest.NewRequest("PUT", h.path(other.put), io.MultiReader(strings.NewReader("12345")))
	r.Header.Set("Authorization", other.auth)
	w := httptest.NewRecorder()
	h.Handler().ServeHTTP(w, r)
	if w.Code != http.StatusLengthRequired {
		t.Errorf("of a length that is not said: %d", w.Code)
	}
	h.bad = errors.New("away")
	if code := h.put(other, "12345"); code != http.StatusServiceUnavailable {
		t.Errorf("while it is not known who may: %d", code)
	}
	h.bad, h.barred["romeo@example.org"] = nil, true
	if code := h.put(other, "12345"); code != http.StatusUnauthorized {
		t.Errorf("of a user who may not log in any more: %d", code)
	}
	if files := h.files(); len(files) != 1 {
		t.Errorf("files: %q", files)
	}
}

func TestWhatABrowserCouldRunIsSaved(t *testing.T) {
	h := newHouse(t)
	h.set.Quota = 1 << 20
	for kind, want := range map[string]string{
		"image/png": "inline image/png", "video/mp4": "inline video/mp4", "audio/ogg; codecs=opus": "inline audio/ogg; codecs=opus",
		"text/plain; charset=utf-8": "inline text/plain; charset=utf-8", "application/pdf": "attachment application/pdf",
		"text/csv": "attachment text/csv", "text/html": "attachment " + octets, "application/xhtml+xml": "attachment " + octets,
		"image/svg+xml": "attachment " + octets, "text/xml": "attachment " + octets, "text/javascript": "attachment " + octets,
		"application/ecmascript": "attachment " + octets, "text/css": "attachment " + octets, "multipart/x-mixed-replace": "attachment " + octets,
		"message/rfc822": "attachment " + octets, "": "attachment " + octets,
		"application/vnd.openxmlformats-officedocument.wordprocessingml.document": "attachment application/vnd.openxmlformats-officedocument.wordprocessingml.document",
	} {
		attrs := "filename='a' size='5'"
		if kind != "" {
			attrs += " content-type='" + kind + "'"
		}
		g := h.upload(h.romeo, attrs, "<svg>")
		w := h.do("HEAD", h.path(g.get), "")
		disposition, _, _ := strings.Cut(w.Header().Get("Content-Disposition"), ";")
		if got := disposition + " " + w.Header().Get("Content-Type"); got != want {
			t.Errorf("%s: %s, want %s", kind, got, want)
		}
	}
	// What the client did not tell the slot it may tell with the file.
	g := h.slot(h.romeo, "filename='a' size='5'", "")
	if code := h.put(g, "12345", "Content-Type", "image/gif"); code != 201 {
		t.Errorf("put: %d", code)
	}
	if got := h.do("GET", h.path(g.get), "").Header().Get("Content-Type"); got != "image/gif" {
		t.Errorf("the type is %s", got)
	}
}

// clean says what names must be, whatever clients call their files.
func clean(t *testing.T, in string) {
	t.Helper()
	name := cleanName(in)
	if name == "" || name == "." || name == ".." || len(name) > nameBytes ||
		strings.ContainsAny(name, "/\\\x00\n\r\u202e\u2028") || cleanName(name) != name {
		t.Errorf("%q became %q, and then %q", in, name, cleanName(name))
	}
	address := base + "/x/" + url.PathEscape(name)
	u, err := url.Parse(address)
	if err != nil || u.Path != "/u/x/"+name || strings.ContainsFunc(address, func(r rune) bool { return r <= ' ' || r > '~' }) {
		t.Errorf("%q: %v, %+v", name, err, u)
	}
}

var names = []string{"a.jpg", "très cool.jpg", "../../etc/passwd", `C:\Users\romeo\a.txt`, "", ".", "..", "...", "/", "a/", " . ", "a\u202egpj.exe", "\x00",
	".htaccess", "a?b#c%d&e.txt", "日本語.png", strings.Repeat("é", 300) + ".jpeg", strings.Repeat("x", 300), "a." + strings.Repeat("y", 300), "\u200b", "a\xff"}

func TestNamesAreMadeSafe(t *testing.T) {
	for in, want := range map[string]string{"très cool.jpg": "très cool.jpg", "../../etc/passwd": "passwd", `C:\a b.txt`: "a b.txt", "..": "file",
		"a\u202egpj.exe": "agpj.exe", ".htaccess": ".htaccess", strings.Repeat("é", 300) + ".jpeg": strings.Repeat("é", 125) + ".jpeg"} {
		if got := cleanName(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
	for _, in := range names {
		clean(t, in)
	}
}

func FuzzNamesOfFilesAreSafe(f *testing.F) {
	for _, in := range names {
		f.Add(in)
	}
	f.Fuzz(clean)
}

func FuzzPathsLeadNowhereElse(f *testing.F) {
	for _, path := range []string{"", "x", strings.Repeat("a", idLetters) + "/a", "../certs/a", "unfinished/a", "\n" + strings.Repeat("a", idLetters-1) + "/a"} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		id, _, _ := strings.Cut(path, "/")
		in, ok := folder(id)
		if !ok {
			return
		}
		if strings.Trim(id, "abcdefghijklmnopqrstuvwxyz234567") != "" || strings.Trim(strings.TrimPrefix(in, untilPrefix), "0123456789") != "" {
			t.Errorf("%q is in %q", id, in)
		}
	})
}

// slow sends n parts of a file of six, each after a while, and returns the answer.
func slow(t *testing.T, h *house, g given, n int, proto string) string {
	t.Helper()
	s, phone := httptest.NewUnstartedServer(h.Handler()), moduletest.NewPhone()
	s.Listener.Close()
	s.Listener = phone
	s.Config.ReadTimeout, s.Config.WriteTimeout = time.Second, time.Second // a file may take longer than a post
	if s.EnableHTTP2 = proto == "h2"; s.EnableHTTP2 {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	client := s.Client()
	client.Transport.(*http.Transport).DialContext = func(context.Context, string, string) (net.Conn, error) {
		return phone.Dial(), nil
	}
	body, feed := io.Pipe()
	t.Cleanup(func() { feed.Close() })
	r, err := http.NewRequest("PUT", s.URL+h.path(g.put), body)
	if err != nil {
		t.Fatal(err)
	}
	r.ContentLength = 600
	r.Header.Set("Authorization", g.auth)
	go func() {
		for range n {
			feed.Write(bytes.Repeat([]byte("x"), 100)) // a client that does not read any more closes it
			<-time.After(250 * time.Millisecond)
		}
		if n == 6 {
			feed.Close() // over HTTP/2 the last bytes are sent when it is known that they are
		}
	}()
	answer, err := client.Do(r)
	if err != nil {
		return err.Error()
	}
	defer answer.Body.Close()
	return answer.Status
}

func TestWhoIsSlowIsWaitedForAndWhoStopsIsNot(t *testing.T) {
	for _, proto := range []string{"http/1.1", "h2"} {
		synctest.Test(t, func(t *testing.T) {
			h := newHouse(t)
			h.set.Stall = time.Second
			if got := slow(t, h, h.slot(h.romeo, "filename='a' size='600'", ""), 6, proto); !strings.HasPrefix(got, "201") {
				t.Errorf("%s: slow, but steady: %s", proto, got)
			}
			g := h.slot(h.romeo, "filename='a' size='600'", "")
			if got := slow(t, h, g, 3, proto); !strings.HasPrefix(got, "408") {
				t.Errorf("%s: stopped: %s", proto, got)
			}
			h.Close() // waits for the file
			if h.Stats.Active.Load() != 0 || len(h.files()) != 1 {
				t.Errorf("%s: active %d, files %q", proto, h.Stats.Active.Load(), h.files())
			}
		})
	}
}

func TestAWholeFileGoesOverRealConnections(t *testing.T) {
	h := newHouse(t)
	h.set = Settings{MaxSize: 8 << 20, Quota: 32 << 20, Keep: day, Stall: time.Minute}
	body := bytes.Repeat([]byte("0123456789abcdef"), 8<<20/16)
	s := httptest.NewUnstartedServer(h.Handler())
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	old := *s.Client()
	roots := s.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	old.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, NextProtos: []string{"http/1.1"}}}
	for _, client := range []*http.Client{s.Client(), &old} {
		g := h.slot(h.romeo, "filename='a' size='8388608'", "")
		r, err := http.NewRequest("PUT", s.URL+h.path(g.put), bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", g.auth)
		r.Header.Set("Expect", "100-continue")
		answer, err := client.Do(r)
		if err != nil || answer.StatusCode != 201 {
			t.Fatalf("%v, %v", answer, err)
		}
		answer.Body.Close()
		if answer, err = client.Get(s.URL + h.path(g.get)); err != nil || answer.StatusCode != 200 {
			t.Fatalf("%v, %v", answer, err)
		}
		got, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || !bytes.Equal(got, body) {
			t.Errorf("%s: %d bytes came back, %v", answer.Proto, len(got), err)
		}
	}
}

func TestSlotsInUseAreBounded(t *testing.T) {
	h := newHouse(t)
	h.set.Quota = 1 << 20
	s := httptest.NewServer(h.Handler())
	defer s.Close()
	var conns []net.Conn
	start := func(g given) {
		c, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
		io.WriteString(c, "PUT "+h.path(g.put)+" HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nAuthorization: "+g.auth+"\r\n\r\n12")
	}
	active := func(n int64) {
		t.Helper()
		for end := time.Now().Add(time.Minute); h.Stats.Active.Load() != n; {
			if time.Now().After(end) {
				t.Fatalf("%d files are being taken, want %d", h.Stats.Active.Load(), n)
			}
		}
	}
	var g given
	for range atOnce {
		g = h.slot(h.romeo, "filename='a' size='5'", "")
		start(g)
	}
	active(atOnce)
	if code := h.put(g, "12345"); code != http.StatusConflict {
		t.Errorf("a slot that is being used: %d", code)
	}
	if code := h.put(h.slot(h.romeo, "filename='a' size='5'", ""), "12345"); code != http.StatusTooManyRequests {
		t.Errorf("one too many: %d", code)
	}
	h.upload(h.juliet, "filename='a' size='5'", "12345") // others may
	// Nobody's slot may be taken by removing the account under a file.
	if err := h.Module().Removed(h.romeo.Bare()); err != nil {
		t.Fatal(err)
	}
	for _, c := range conns {
		io.WriteString(c, "345")
	}
	active(0)
	for _, c := range conns {
		answer := make([]byte, 12)
		if _, err := io.ReadFull(c, answer); err != nil || string(answer) != "HTTP/1.1 404" {
			t.Errorf("a file of nobody: %v, %s", err, answer)
		}
		c.Close()
	}
	if all := h.files(); len(all) != 1 {
		t.Errorf("files: %q", all)
	}
}

func TestFilesOfAFewLeaveRoomForThoseOfOthers(t *testing.T) {
	h := newHouse(t)
	h.mu.Lock()
	h.active = allAtOnce - 4
	h.mu.Unlock()
	h.upload(h.romeo, "filename='a' size='5'", "12345")
	h.mu.Lock()
	h.active = allAtOnce - 3
	h.mu.Unlock()
	if code := h.put(h.slot(h.romeo, "filename='a' size='5'", ""), "12345"); code != http.StatusServiceUnavailable {
		t.Errorf("one too many: %d", code)
	}
	h.mu.Lock()
	h.active = 0
	h.mu.Unlock()
}
