package upload

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"jackdaw/router"
	"jackdaw/storage/s3test"
)

// bucketHouse is a house whose files lie in a bucket, and its object store. What it logs is written to log.
func bucketHouse(t *testing.T, log io.Writer) (*house, *s3test.Server) {
	t.Helper()
	s := s3test.Start(t)
	h := newHouse(t)
	b, err := NewBucket(BucketOptions{Host: s.Host(), Bucket: s3test.Bucket, Region: s3test.Region,
		AccessKey: s3test.AccessKey, SecretKey: s3test.SecretKey, Prefix: "files/", Style: "path"})
	if err != nil {
		t.Fatal(err)
	}
	h.Service.store = b
	h.o.Log = slog.New(slog.NewTextHandler(log, nil))
	h.set.MaxSize, h.set.Quota = 1<<20, 8<<20
	return h, s
}

// leaves fails if anything is left of files but these many objects.
func leaves(t *testing.T, h *house, s *s3test.Server, n int) {
	t.Helper()
	if local := h.files(); len(local) > 0 || len(s.Objects()) != n {
		t.Errorf("local: %q, in the bucket: %q, want %d", local, s.Objects(), n)
	}
}

func TestFilesInABucketAreServedAsThoseInADirectory(t *testing.T) {
	h, s := bucketHouse(t, io.Discard)
	disk := newHouse(t)
	disk.set = h.set
	for _, body := range []string{"12345", strings.Repeat("0123456789", 10<<10)} {
		attrs := "filename='très cool.jpg' content-type='image/jpeg' size='" + number(int64(len(body))) + "'"
		far, near := h.slot(h.romeo, attrs, ""), disk.slot(disk.romeo, attrs, "")
		for _, one := range []struct {
			*house
			given
		}{{h, far}, {disk, near}} {
			if code := one.house.put(one.given, body, "Content-Type", "image/jpeg"); code != 201 {
				t.Fatalf("put: %d", code)
			}
		}
		id := func(g given) string { return strings.Split(h.path(g.get), "/")[2] }
		etag := func(g given) string { return `"` + id(g) + `"` }
		for _, row := range []struct {
			method  string
			headers []string
		}{
			{"GET", nil}, {"HEAD", nil}, {"GET", []string{"Range", "bytes=1-2"}}, {"GET", []string{"Range", "bytes=-3"}},
			{"GET", []string{"Range", "bytes=3-", "If-Range", "ETAG"}}, {"GET", []string{"Range", "bytes=0-0,2-3"}},
			{"HEAD", []string{"Range", "bytes=1-"}}, {"GET", []string{"Range", "bytes=99999999-"}},
			{"GET", []string{"If-None-Match", "ETAG"}}, {"GET", []string{"If-Match", `"x"`}},
			{"GET", []string{"If-Modified-Since", "Fri, 01 Jan 2100 00:00:00 GMT"}},
		} {
			ask := func(h *house, g given) *httptest.ResponseRecorder {
				headers := append([]string{}, row.headers...)
				for i, v := range headers {
					headers[i] = strings.ReplaceAll(v, "ETAG", etag(g))
				}
				return h.do(row.method, h.path(g.get), "", headers...)
			}
			a, b := ask(h, far), ask(disk, near)
			same := func(x, y string) bool { // but for the ids, and the words between parts
				x = strings.ReplaceAll(x, id(far), id(near))
				_, boundary, parts := strings.Cut(a.Header().Get("Content-Type"), "boundary=")
				if parts {
					_, other, _ := strings.Cut(b.Header().Get("Content-Type"), "boundary=")
					x = strings.ReplaceAll(x, boundary, other)
				}
				return x == y
			}
			if a.Code != b.Code || !same(a.Body.String(), b.Body.String()) {
				t.Errorf("%s %q: %d with %d bytes, want %d with %d", row.method, row.headers, a.Code, a.Body.Len(), b.Code, b.Body.Len())
			}
			for name := range b.Header() {
				if name != "Last-Modified" && !same(a.Header().Get(name), b.Header().Get(name)) {
					t.Errorf("%s %q: %s: %q, want %q", row.method, row.headers, name, a.Header().Get(name), b.Header().Get(name))
				}
			}
			if len(a.Header()) != len(b.Header()) {
				t.Errorf("%s %q: %v, want %v", row.method, row.headers, a.Header(), b.Header())
			}
		}
		// What lies there is what lies in a directory, so that files can be copied between the two.
		name, _ := nameOf(id(far))
		path := filepath.Join(t.TempDir(), filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, s.Object("files/"+name), 0o600); err != nil {
			t.Fatal(err)
		}
		if problems, err := Verify(filepath.Dir(filepath.Dir(path))); err != nil || len(problems) > 0 {
			t.Errorf("%q, %v", problems, err)
		}
	}
	leaves(t, h, s, 2)
	for _, path := range []string{"../../" + s3test.Bucket, "unfinished", ".check-x", strings.Repeat("a", idLetters)} {
		s.Requests()
		if w := h.do("GET", Path+path+"/x", ""); w.Code != 404 || len(s.Requests()) > 1 {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	if w := h.do("GET", Path+strings.Repeat("a", idLetters)+"/x", ""); w.Code != 404 {
		t.Errorf("a file that is not there: %d", w.Code)
	}
}

func TestFilesInABucketGoWithTheirTimeAndTheirAccount(t *testing.T) {
	h, s := bucketHouse(t, io.Discard)
	now := time.Now()
	first := h.upload(h.romeo, "filename='a' size='5'", "12345")
	story := h.slot(h.romeo, "filename='b' size='5'", "<ephemeral xmlns='"+nsPurpose+"' expire-before='"+
		now.Add(time.Hour).UTC().Format(time.RFC3339)+"'/>")
	if code := h.put(story, "story"); code != 201 {
		t.Fatalf("put: %d", code)
	}
	hers := h.upload(h.juliet, "filename='c' size='5'", "54321")
	leaves(t, h, s, 3)
	h.purge(t.Context(), now)
	leaves(t, h, s, 3)
	h.purge(t.Context(), now.Add(3*time.Hour))
	h.wants(story, 404, "")
	leaves(t, h, s, 2)
	if u, err := h.Used(t.Context(), h.romeo.Bare()); err != nil || u.Files != 1 || u.Bytes != 5 {
		t.Errorf("%+v, %v", u, err)
	}
	list, _, err := h.Files(t.Context(), h.romeo.Bare(), 0, 10)
	if err != nil || len(list) != 1 || list[0].Name != "a" {
		t.Errorf("%+v, %v", list, err)
	}
	s.Fault(func(w http.ResponseWriter, _ *http.Request) bool {
		s3test.Refuse(w, http.StatusForbidden, "AccessDenied")
		return true
	})
	if _, err := h.Used(t.Context(), h.romeo.Bare()); !errors.Is(err, ErrAway) {
		t.Errorf("used, while nobody can say: %v", err)
	}
	if err := h.Module().Removed(h.romeo.Bare()); !errors.Is(err, ErrAway) || h.records() == 0 {
		t.Errorf("removed, though nothing can be: %v, %d records", err, h.records())
	}
	s.Fault(nil)
	if err := h.Module().Removed(h.romeo.Bare()); err != nil || h.records() != 0 {
		t.Errorf("%v, %d records", err, h.records())
	}
	h.wants(first, 404, "")
	h.wants(hers, 200, "54321")
	leaves(t, h, s, 1)
	h.purge(t.Context(), now.Add(31*day+3*time.Hour))
	leaves(t, h, s, 0)
}

// shire is a node that nobody is at home on but one.
type shire string

func (n shire) Here(owner string) bool        { return owner == string(n) }
func (n shire) Send(string, *router.Envelope) {}
func (n shire) Tell(router.Sequel)            {}

func TestANodePurgesWhatIsAtHomeThere(t *testing.T) {
	h, s := bucketHouse(t, io.Discard)
	h.upload(h.juliet, "filename='a' size='5'", "12345")
	h.upload(h.romeo, "filename='b' size='5'", "54321")
	long := time.Now().Add(40 * day)
	h.r.SetHomes(shire("romeo@example.org")) // and the folder at home elsewhere
	h.purge(t.Context(), long)
	leaves(t, h, s, 2)
	hers, _, err := h.o.Records.Size(t.Context(), "juliet@example.org")
	if n := h.records(); n != 0 || hers != 1 || err != nil {
		t.Errorf("%d of his records are left, %d of hers, %v", n, hers, err)
	}
	folders, err := h.Service.store.Folders(t.Context())
	if err != nil || len(folders) != 1 {
		t.Fatalf("folders %q, %v", folders, err)
	}
	h.r.SetHomes(shire(folders[0]))
	h.purge(t.Context(), long)
	leaves(t, h, s, 0)
}

func TestAnObjectStoreThatFailsCostsNoFileAndTellsNoSecret(t *testing.T) {
	t.Parallel() // it waits for what is tried again
	var log bytes.Buffer
	h, s := bucketHouse(t, &log)
	body := strings.Repeat("0123456789", 10<<10)
	attrs := "filename='a' size='" + number(int64(len(body))) + "'"
	kept := h.upload(h.romeo, attrs, body)
	g := h.slot(h.romeo, attrs, "")
	for what, fault := range map[string]func(w http.ResponseWriter, r *http.Request){
		"forbidden": func(w http.ResponseWriter, _ *http.Request) { s3test.Refuse(w, 403, "AccessDenied") },
		"no bucket": func(w http.ResponseWriter, _ *http.Request) { s3test.Refuse(w, 404, "NoSuchBucket") },
		"slow down": func(w http.ResponseWriter, _ *http.Request) { s3test.Refuse(w, 503, "SlowDown") },
		"cut":       func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"a page": func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "<html>"+s3test.Bucket, http.StatusBadGateway)
		},
	} {
		s.Fault(func(w http.ResponseWriter, r *http.Request) bool { fault(w, r); return true })
		w := h.do("PUT", h.path(g.put), body, "Authorization", g.auth)
		if w.Code != 503 || w.Body.String() != "Try again later.\n" || w.Header().Get("Retry-After") == "" {
			t.Errorf("%s: put: %d, %q, %v", what, w.Code, w.Body, w.Header())
		}
		if w := h.do("GET", h.path(kept.get), ""); w.Code != 503 || w.Body.String() != "Try again later.\n" {
			t.Errorf("%s: get: %d, %q", what, w.Code, w.Body)
		}
		s.Fault(nil)
		h.away.Store(1) // long ago
		h.wants(kept, 200, body)
		leaves(t, h, s, 1)
	}
	if code := h.put(g, body); code != 201 {
		t.Errorf("at last: %d", code)
	}
	h.wants(g, 200, body)
	leaves(t, h, s, 2)
	// Other bytes than were put.
	name := s.Objects()[0]
	whole := s.Object(name)
	for what, content := range map[string][]byte{"short": whole[:len(whole)-1], "other": bytes.Repeat([]byte("x"), len(whole)), "none": {}} {
		s.Change(name, content)
		n := 0
		for _, g := range []given{g, kept} {
			if w := h.do("GET", h.path(g.get), ""); w.Code == 500 {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%s: %d files are damaged", what, n)
		}
	}
	for _, secret := range []string{s3test.Bucket, s3test.AccessKey, s3test.SecretKey, "<html>", "files/"} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log tells %s:\n%s", secret, log.String())
		}
	}
	if !strings.Contains(log.String(), "the store of files is away") || !strings.Contains(log.String(), "the store of files is back") {
		t.Errorf("the log does not say what happened:\n%s", log.String())
	}
}

func TestAnUploadThatIsCutLeavesNothingInTheBucket(t *testing.T) {
	h, s := bucketHouse(t, io.Discard)
	g := h.slot(h.romeo, "filename='a' size='100000'", "")
	r := httptest.NewRequest("PUT", h.path(g.put), io.MultiReader(strings.NewReader(strings.Repeat("x", 50000))))
	r.ContentLength = 100000
	r.Header.Set("Authorization", g.auth)
	w := httptest.NewRecorder()
	s.Requests()
	h.Handler().ServeHTTP(w, r)
	if asked := s.Requests(); w.Code != http.StatusBadRequest || len(asked) > 0 {
		t.Errorf("%d; asked: %q", w.Code, asked)
	}
	leaves(t, h, s, 0)
}

func TestFilesOfABucketAreNotHeldInMemory(t *testing.T) {
	h, s := bucketHouse(t, io.Discard)
	const size = 64 << 20
	h.set.MaxSize, h.set.Quota = size, 2*size
	var sent int
	s.Fault(func(w http.ResponseWriter, r *http.Request) bool { // the object store is in this process
		if r.Method != http.MethodPut {
			return false
		}
		n, err := io.Copy(io.Discard, r.Body)
		if sent += int(n); err != nil {
			t.Error(err)
		}
		return true
	})
	g := h.slot(h.romeo, "filename='a' size='"+number(size)+"'", "")
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	r := httptest.NewRequest("PUT", h.path(g.put), io.LimitReader(zeros{}, size))
	r.ContentLength = size
	r.Header.Set("Authorization", g.auth)
	w := httptest.NewRecorder()
	h.Handler().ServeHTTP(w, r)
	runtime.ReadMemStats(&after)
	if w.Code != 201 || sent < size {
		t.Errorf("%d, %d bytes", w.Code, sent)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 4<<20 {
		t.Errorf("%d bytes of memory for a file of %d", used, size)
	}
}

// zeros is without end.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

func TestFilesMoveFromADirectoryIntoABucket(t *testing.T) {
	h, s := bucketHouse(t, io.Discard)
	into := h.Service.store
	h.Service.store = Directory(h.o.Dir)
	one, other := h.upload(h.romeo, "filename='a' size='5'", "12345"), h.upload(h.juliet, "filename='b' size='5'", "54321")
	foreign := filepath.Join(h.o.Dir, "note")
	if err := os.WriteFile(foreign, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(h.unfinished(), 0o700); err != nil {
		t.Fatal(err)
	}
	done, err := Move(t.Context(), h.o.Dir, into, true)
	if err != nil || done.Moved != 2 || done.There != 0 || len(done.Damaged) != 1 {
		t.Errorf("copied: %+v, %v", done, err)
	}
	h.wants(one, 200, "12345")
	late := h.upload(h.romeo, "filename='c' size='5'", "later")
	bad := h.upload(h.romeo, "filename='d' size='5'", "wrong")
	for _, path := range h.files() {
		if b, err := os.ReadFile(path); err == nil && bytes.Contains(b, []byte("wrong")) {
			if err := os.WriteFile(path, bytes.Replace(b, []byte("wrong"), []byte("wrung"), 1), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.Fault(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut {
			s3test.Refuse(w, http.StatusForbidden, "AccessDenied")
		}
		return r.Method == http.MethodPut
	})
	if _, err := Move(t.Context(), h.o.Dir, into, false); !errors.Is(err, ErrAway) {
		t.Errorf("without a way: %v", err)
	}
	s.Fault(nil)
	done, err = Move(t.Context(), h.o.Dir, into, false)
	if err != nil || done.Moved != 1 || len(done.Damaged) != 2 {
		t.Errorf("moved: %+v, %v", done, err)
	}
	if left := h.files(); len(left) != 2 {
		t.Errorf("left: %q", left)
	}
	h.Service.store = into
	h.wants(one, 200, "12345")
	h.wants(other, 200, "54321")
	h.wants(late, 200, "later")
	h.wants(bad, 404, "")
	for want := range 2 {
		problems, err := VerifyStore(t.Context(), into, func(name string) string { return name })
		if err != nil || len(problems) != want {
			t.Errorf("%q, %v, want %d", problems, err, want)
		}
		s.Change("files/9/x", []byte("x"))
	}
}
