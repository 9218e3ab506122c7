package upload

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/router/space"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

const (
	domain = "upload." + moduletest.Host
	// base is where files are, as clients see it; the tests put requests below Path.
	base = "https://files.example.org/u"
)

// A house is a service with romeo and juliet.
type house struct {
	*Service
	t             *testing.T
	r             *router.Router
	store         *moduletest.Store
	romeo, juliet *moduletest.Client
	set           Settings
	places        []Place
	barred        map[string]bool // who may not log in any more
	bad           error           // of May
	left          int64           // bytes on the disk
}

// reserve is what must stay free.
const reserve = 1 << 30

func newHouse(t *testing.T) *house {
	t.Helper()
	return houseIn(t, filepath.Join(t.TempDir(), "upload"))
}

func houseIn(t *testing.T, dir string) *house {
	t.Helper()
	h := &house{t: t, r: moduletest.New("romeo", "juliet"), store: moduletest.NewStore(), places: []Place{{domain, base}}, left: 1 << 40,
		set: Settings{MaxSize: 1000, Quota: 5000, Keep: 30 * day, Stall: 5 * time.Second,
			Space: space.Bounds{Warn: reserve}},
		barred: map[string]bool{}}
	h.Service = New(Options{Router: h.r, Records: h.store.Log("upload"), Keys: h.store.Map("upload"), Dir: dir, Log: moduletest.Discard(),
		Places:   func() []Place { return h.places },
		May:      func(_ context.Context, user jid.JID) (bool, error) { return !h.barred[user.String()], h.bad },
		Settings: func() Settings { return h.set },
		Free:     func(string) (int64, int64, error) { return h.left, 1 << 41, nil }})
	h.Recover()
	h.r.Use(h.Module())
	h.romeo, h.juliet = moduletest.Login(t, h.r, "romeo/orchard"), moduletest.Login(t, h.r, "juliet/balcony")
	t.Cleanup(h.Close)
	return h
}

func asking(request string) string {
	return "<iq type='get' id='1' to='" + domain + "'>" + request + "</iq>"
}

// wish is a request for a slot.
func wish(attrs, inside string) string {
	return asking("<request xmlns='urn:xmpp:http:upload:0' " + attrs + ">" + inside + "</request>")
}

// A given slot, as the client sees it.
type given struct{ put, get, auth string }

// slot asks for one, which must be given.
func (h *house) slot(c *moduletest.Client, attrs, inside string) given {
	h.t.Helper()
	e := c.Send(wish(attrs, inside))
	if e.Outcome != router.Delivered {
		h.t.Fatalf("no slot: %v", e.Err)
	}
	got := c.Deliveries()
	el := got[len(got)-1].Stanza.Child(xmpp.Name{Space: nsUpload, Local: "slot"})
	put, get := el.ChildLocal("put"), el.ChildLocal("get")
	header := put.ChildLocal("header")
	if header.Attr("name") != "Authorization" {
		h.t.Errorf("a header %s, which clients ignore", header.Attr("name"))
	}
	return given{put.Attr("url"), get.Attr("url"), header.Text()}
}

// path is that of a URL on the listener.
func (h *house) path(url string) string {
	h.t.Helper()
	rest, ok := strings.CutPrefix(url, base+"/")
	if !ok {
		h.t.Fatalf("the URL is %s", url)
	}
	return Path + rest
}

// do makes a request of what headers say, in pairs.
func (h *house) do(method, path, body string, headers ...string) *httptest.ResponseRecorder {
	h.t.Helper()
	var b io.Reader
	if body != "" {
		b = strings.NewReader(body)
	}
	r := httptest.NewRequest(method, path, b)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.Handler().ServeHTTP(w, r)
	return w
}

func (h *house) put(g given, body string, headers ...string) int {
	h.t.Helper()
	return h.do("PUT", h.path(g.put), body, append([]string{"Authorization", g.auth}, headers...)...).Code
}

// upload takes a file all the way.
func (h *house) upload(c *moduletest.Client, attrs, body string) given {
	h.t.Helper()
	g := h.slot(c, attrs, "")
	if code := h.put(g, body); code != http.StatusCreated {
		h.t.Fatalf("put: %d", code)
	}
	return g
}

// wants fetches a file and compares.
func (h *house) wants(g given, code int, body string) {
	h.t.Helper()
	w := h.do("GET", h.path(g.get), "")
	if w.Code != code || code == http.StatusOK && w.Body.String() != body {
		h.t.Errorf("%d, %q; want %d, %q", w.Code, w.Body, code, body)
	}
}

// files are the names of all files on disk, in their folders.
func (h *house) files() (all []string) {
	h.t.Helper()
	err := filepath.WalkDir(h.o.Dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			all = append(all, name)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		h.t.Fatal(err)
	}
	return all
}

func TestTheServiceSaysWhatItIsAndHowLargeAFileMayBe(t *testing.T) {
	h := newHouse(t)
	h.romeo.Send(asking(`<query xmlns='http://jabber.org/protocol/disco#info'/>`))
	h.romeo.Send(asking(`<query xmlns='http://jabber.org/protocol/disco#items'/>`))
	h.romeo.Send(asking(`<ping xmlns='urn:xmpp:ping'/>`))
	const head = `<iq type='result' id='1' from='upload.example.org' to='romeo@example.org/orchard'>`
	h.romeo.Want(head+`<query xmlns='http://jabber.org/protocol/disco#info'><identity category='store' type='file' name='HTTP File Upload'/>`+
		`<feature var='http://jabber.org/protocol/disco#info'/><feature var='http://jabber.org/protocol/disco#items'/><feature var='urn:xmpp:http:upload:0'/>`+
		`<feature var='urn:xmpp:http:upload:purpose:0#ephemeral'/><feature var='urn:xmpp:http:upload:purpose:0#message'/><feature var='urn:xmpp:ping'/>`+
		`<x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE' type='hidden'><value>urn:xmpp:http:upload:0</value></field>`+
		`<field var='max-file-size'><value>1000</value></field></x></query></iq>`,
		head+`<query xmlns='http://jabber.org/protocol/disco#items'/></iq>`, `<iq type='result' id='1' from='upload.example.org' to='romeo@example.org/orchard'/>`)
	for xml, want := range map[string]xmpp.Condition{
		asking(`<query xmlns='http://jabber.org/protocol/disco#info' node='x'/>`):                  xmpp.CondItemNotFound,
		asking(`<vCard xmlns='vcard-temp'/>`):                                                      xmpp.CondServiceUnavailable,
		strings.Replace(wish("filename='a' size='1'", ""), "type='get'", "type='set'", 1):          xmpp.CondServiceUnavailable,
		strings.Replace(wish("filename='a' size='1'", ""), domain+"'", domain+"/x'", 1):            xmpp.CondServiceUnavailable,
		"<message type='chat' to='" + domain + "'><body>Wherefore?</body></message>":               xmpp.CondServiceUnavailable,
		"<iq type='get' id='1' to='upload.example.net'><ping xmlns='urn:xmpp:ping'/></iq>":         xmpp.CondRemoteServerNotFound,
		"<message type='chat' to='romeo@" + domain + "'><body>a file in the post</body></message>": xmpp.CondServiceUnavailable,
	} {
		if e := h.romeo.Send(xml); e.Err == nil || e.Err.Condition != want {
			t.Errorf("%s: %v, %v", xml, e.Outcome, e.Err)
		}
	}
	if e := h.romeo.Send("<presence to='" + domain + "'/>"); e.Outcome != router.Dropped {
		t.Errorf("presence: %v", e.Outcome)
	}
	// Nothing is announced that does not work.
	h.places = nil
	h.r.Use(h.Module())
	if e := h.romeo.Send(asking(`<ping xmlns='urn:xmpp:ping'/>`)); e.Err == nil || e.Err.Condition != xmpp.CondRemoteServerNotFound {
		t.Errorf("without a place: %v, %v", e.Outcome, e.Err)
	}
}

func TestAFileIsTakenAndGivenToWhoKnowsItsAddress(t *testing.T) {
	h := newHouse(t)
	g := h.slot(h.romeo, "filename='très cool.jpg' size='5' content-type='image/jpeg'", "")
	if !strings.HasSuffix(g.get, "/tr%C3%A8s%20cool.jpg") || g.put != g.get {
		t.Errorf("put to %s, get from %s", g.put, g.get)
	}
	h.wants(g, http.StatusNotFound, "")
	if w := h.do("PUT", h.path(g.put), "12345", "Authorization", g.auth, "Content-Type", "image/jpeg"); w.Code != http.StatusCreated || w.Header().Get("Access-Control-Allow-Origin") != "*" {
		t.Fatalf("put: %d, %v", w.Code, w.Header())
	}
	w := h.do("GET", h.path(g.get), "")
	if w.Code != 200 || w.Body.String() != "12345" {
		t.Errorf("get: %d, %q", w.Code, w.Body)
	}
	for name, want := range map[string]string{
		"Content-Type": "image/jpeg", "Content-Length": "5", "Content-Disposition": `inline; filename*=utf-8''tr%C3%A8s%20cool.jpg`,
		"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none';",
		"Access-Control-Allow-Origin": "*", "Accept-Ranges": "bytes", "Cross-Origin-Resource-Policy": "cross-origin",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	etag := w.Header().Get("ETag")
	for _, row := range []struct {
		what, method, path string
		headers            []string
		code               int
		body               string
	}{
		{"the head", "HEAD", h.path(g.get), nil, 200, ""},
		{"a part", "GET", h.path(g.get), []string{"Range", "bytes=1-2"}, 206, "23"},
		{"the rest", "GET", h.path(g.get), []string{"Range", "bytes=3-", "If-Range", etag}, 206, "45"},
		{"beyond the end", "GET", h.path(g.get), []string{"Range", "bytes=9-"}, 416, "invalid range: failed to overlap\n"},
		{"what one has", "GET", h.path(g.get), []string{"If-None-Match", etag}, 304, ""},
		{"another name", "GET", strings.Replace(h.path(g.get), ".jpg", ".exe", 1), nil, 404, "Not found.\n"},
		{"no name", "GET", h.path(g.get)[:len(Path)+idLetters], nil, 404, "Not found.\n"},
		{"the list of all", "GET", Path, nil, 404, "Not found.\n"},
		{"what is above", "GET", Path + "../certs", nil, 404, "Not found.\n"},
		{"what is being written", "GET", Path + "unfinished", nil, 404, "Not found.\n"},
		{"no head", "HEAD", Path + "x/y", nil, 404, ""},
		{"a post", "POST", h.path(g.get), nil, 405, "Method not allowed.\n"},
		{"a preflight", "OPTIONS", h.path(g.get), nil, 204, ""},
	} {
		w := h.do(row.method, row.path, "", row.headers...)
		if w.Code != row.code || w.Body.String() != row.body {
			t.Errorf("%s: %d, %q", row.what, w.Code, w.Body)
		}
		if row.code == 204 && (w.Header().Get("Access-Control-Allow-Methods") != methods || w.Header().Get("Access-Control-Allow-Headers") != "Authorization, Content-Type, Range") {
			t.Errorf("%s: %v", row.what, w.Header())
		}
	}
	if h.Stats.Slots.Load() != 1 || h.Stats.Bytes.Load() != 5 || h.Stats.Puts[1].Load() != 1 ||
		h.Stats.Active.Load() != 0 {
		t.Errorf("counted: %d slots, %d bytes, %d files", h.Stats.Slots.Load(), h.Stats.Bytes.Load(), h.Stats.Puts[1].Load())
	}
}

func TestWhoIsNoUserGetsNoSlot(t *testing.T) {
	h := newHouse(t)
	for _, e := range []*router.Envelope{{Peer: "b.example"}, {}, {Account: jid.MustParse("romeo@example.org")}} {
		e.Quiet = true
		e.Stanza = moduletest.Parse(t, strings.Replace(wish("filename='a' size='1'", ""), "<iq ", "<iq from='nurse@b.example/x' ", 1))
		h.r.Route(e)
		if e.Err == nil || e.Err.Condition != xmpp.CondForbidden || e.Err.Type != xmpp.ErrorAuth {
			t.Errorf("%v, %v", e.Outcome, e.Err)
		}
	}
	if len(h.slots) != 0 {
		t.Errorf("%d slots", len(h.slots))
	}
}

func TestRequestsForASlotAreRefusedWithTheReason(t *testing.T) {
	h := newHouse(t)
	until := func(s string) string { return "<ephemeral xmlns='" + nsPurpose + "' " + s + "/>" }
	for _, row := range []struct {
		attrs, inside string
		want          xmpp.Condition
	}{
		{"size='5'", "", xmpp.CondBadRequest},
		{"filename='' size='5'", "", xmpp.CondBadRequest},
		{"filename='a'", "", xmpp.CondBadRequest},
		{"filename='a' size='0'", "", xmpp.CondBadRequest},
		{"filename='a' size='-5'", "", xmpp.CondBadRequest},
		{"filename='a' size='1e3'", "", xmpp.CondBadRequest},
		{"filename='a' size='1001'", "", xmpp.CondNotAcceptable},
		{"filename='a' size='9223372036854775808'", "", xmpp.CondNotAcceptable},
		{"filename='a' size='99999999999999999999999'", "", xmpp.CondNotAcceptable},
		{"filename='a' size='5' content-type=''", "", xmpp.CondBadRequest},
		{"filename='a' size='5' content-type='picture'", "", xmpp.CondBadRequest},
		{"filename='a' size='5' content-type='image/png; a'", "", xmpp.CondBadRequest},
		{"filename='a' size='5'", "<permanent xmlns='" + nsPurpose + "'/>", xmpp.CondFeatureNotImplemented},
		{"filename='a' size='5'", "<profile xmlns='" + nsPurpose + "'/>", xmpp.CondFeatureNotImplemented},
		{"filename='a' size='5'", until(""), xmpp.CondBadRequest},
		{"filename='a' size='5'", until("expire-before='soon'"), xmpp.CondBadRequest},
		{"filename='a' size='5'", until("expire-before='2020-01-01T00:00:00Z'"), xmpp.CondNotAcceptable},
	} {
		if e := h.romeo.Send(wish(row.attrs, row.inside)); e.Err == nil || e.Err.Condition != row.want {
			t.Errorf("%s%s: %v, %v", row.attrs, row.inside, e.Outcome, e.Err)
		}
	}
	h.romeo.Deliveries()
	h.romeo.Send(wish("filename='a' size='1001'", ""))
	h.romeo.Want(`<iq type='error' id='1' from='upload.example.org' to='romeo@example.org/orchard'><error type='modify'>` +
		`<not-acceptable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>` +
		`<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas' xml:lang='en'>the file is too large, the maximum is 1000 bytes</text>` +
		`<file-too-large xmlns='urn:xmpp:http:upload:0'><max-file-size>1000</max-file-size></file-too-large></error></iq>`)
	// The default purpose may be said, and what others may invent is passed over.
	h.slot(h.romeo, "filename='a' size='5'", "<message xmlns='"+nsPurpose+"'/><x xmlns='urn:example:x'/>")
	if len(h.slots) != 1 || h.Stats.Refused.Load() != 18 {
		t.Errorf("%d slots, %d refusals", len(h.slots), h.Stats.Refused.Load())
	}
}

func TestWithoutRoomOrStorageNoSlotIsGiven(t *testing.T) {
	h := newHouse(t)
	refused := func(what string, want xmpp.Condition, kind xmpp.ErrorType) {
		t.Helper()
		if e := h.romeo.Send(wish("filename='a' size='5'", "")); e.Err == nil || e.Err.Condition != want || e.Err.Type != kind || e.Err.App != nil {
			t.Errorf("%s: %v, %v", what, e.Outcome, e.Err)
		}
	}
	h.left = reserve + 4
	refused("a full disk", xmpp.CondResourceConstraint, xmpp.ErrorWait)
	h.left = reserve + 5
	g := h.slot(h.romeo, "filename='a' size='5'", "")
	h.left = reserve + 4 // somebody else was faster
	if code := h.put(g, "12345"); code != http.StatusInsufficientStorage {
		t.Errorf("a disk that is full by now: %d", code)
	}
	h.left = 1 << 40
	h.store.Fail(errors.New("away"))
	refused("storage that is away", xmpp.CondResourceConstraint, xmpp.ErrorWait)
	if code := h.put(g, "12345"); code != http.StatusInternalServerError {
		t.Errorf("without storage: %d", code)
	}
	h.store.Fail(nil)
	if all := h.files(); len(all) != 0 {
		t.Errorf("left over: %q", all)
	}
	// The slot outlives what was no fault of its client's.
	if code := h.put(g, "12345"); code != http.StatusCreated {
		t.Errorf("at last: %d", code)
	}
	h.wants(g, 200, "12345")
	h.Close()
	refused("a server that stops", xmpp.CondResourceConstraint, xmpp.ErrorWait)
}

func TestOfHalfAFileNothingIsLeft(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "upload")
	h := houseIn(t, dir)
	g := h.slot(h.romeo, "filename='a' size='5'", "")
	r := httptest.NewRequest("PUT", h.path(g.put), io.MultiReader(strings.NewReader("123"), strings.NewReader("")))
	r.ContentLength = 5
	r.Header.Set("Authorization", g.auth)
	w := httptest.NewRecorder()
	h.Handler().ServeHTTP(w, r)
	if all := h.files(); w.Code != http.StatusBadRequest || len(all) != 0 {
		t.Errorf("%d, left over: %q", w.Code, all)
	}
	h.wants(g, 404, "")
	if code := h.put(g, "12345"); code != http.StatusCreated {
		t.Errorf("the second time: %d", code)
	}

	// What a crash leaves goes at the next start; what was answered for stays.
	half := filepath.Join(h.unfinished(), "half")
	if err := os.WriteFile(half, []byte("123"), 0o600); err != nil {
		t.Fatal(err)
	}
	next := houseIn(t, dir)
	if all := next.files(); len(all) != 1 || all[0] == half {
		t.Errorf("after a crash: %q", all)
	}
	next.wants(g, 200, "12345")

	// A file that the disk has damaged is not served.
	name := next.files()[0]
	if err := os.Truncate(name, 100); err != nil {
		t.Fatal(err)
	}
	next.wants(g, 500, "")
	if err := os.WriteFile(name, []byte(strings.Repeat("x", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	next.wants(g, 500, "")
}
