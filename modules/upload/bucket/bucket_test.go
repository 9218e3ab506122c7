package bucket

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"jackdaw/storage/s3test"
)

func options(s *s3test.Server) Options {
	return Options{Host: s.Host(), Bucket: s3test.Bucket, Region: s3test.Region, AccessKey: s3test.AccessKey,
		SecretKey: s3test.SecretKey, Prefix: "a b/files/", Style: StyleAuto}
}

func open(t *testing.T, o Options) *Bucket {
	t.Helper()
	b, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// file is a local one.
func file(t *testing.T, body []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, body, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// long is more than is fetched at once.
func long() []byte { return bytes.Repeat([]byte("0123456789abcdef"), 10<<10) }

func read(t *testing.T, b *Bucket, name string) ([]byte, error) {
	t.Helper()
	f, err := b.Open(t.Context(), name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

func TestFilesGoIntoTheBucketAndComeBack(t *testing.T) {
	for what, start := range map[string]func(testing.TB) *s3test.Server{"http": s3test.Start, "https": s3test.StartTLS} {
		s := start(t)
		o := options(s)
		if s.CA != nil {
			o.TLS, o.Roots = true, x509.NewCertPool()
			o.Roots.AppendCertsFromPEM(s.CA)
		}
		b := open(t, o)
		for name, body := range map[string][]byte{"1/short": []byte("x"), "1/long": long(), "until-2/exact": long()[:firstBytes]} {
			from := file(t, body)
			if err := b.Put(t.Context(), name, from); err != nil {
				t.Fatalf("%s: put %s: %v", what, name, err)
			}
			if !bytes.Equal(s.Object(o.Prefix+name), body) {
				t.Errorf("%s: %s is not what was put", what, name)
			}
			if got, err := read(t, b, name); err != nil || !bytes.Equal(got, body) {
				t.Errorf("%s: %s: %d bytes came back, %v", what, name, len(got), err)
			}
			if _, err := os.Stat(from); err != nil {
				t.Errorf("%s: the local file: %v", what, err)
			}
		}
		there, err := b.Has(t.Context(), []string{"1/short", "1/none", "until-2/exact"})
		if err != nil || !slices.Equal(there, []bool{true, false, true}) {
			t.Errorf("%s: there are %v, %v", what, there, err)
		}
		if _, err := b.Open(t.Context(), "1/none"); !errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrAway) {
			t.Errorf("%s: none: %v", what, err)
		}
		if n, err := b.Remove(t.Context(), []string{"1/short", "1/none"}); n != 2 || err != nil {
			t.Errorf("%s: removed %d, %v", what, n, err)
		}
		if got := s.Objects(); !slices.Equal(got, []string{o.Prefix + "1/long", o.Prefix + "until-2/exact"}) {
			t.Errorf("%s: left: %q", what, got)
		}
	}
}

func TestAFileIsReadFromAnyByteInFewRequests(t *testing.T) {
	s := s3test.Start(t)
	b, body := open(t, options(s)), long()
	s.Change("a b/files/1/x", body)
	s.Requests()
	f, err := b.Open(t.Context(), "1/x")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if n, err := f.Seek(0, io.SeekEnd); n != int64(len(body)) || err != nil {
		t.Errorf("it ends at %d, %v", n, err)
	}
	for _, row := range []struct{ at, n, requests int }{{0, 100, 0}, {100, firstBytes - 100, 0},
		{firstBytes - 1, 2, 1}, {firstBytes + 1, 50 << 10, 0},
		{len(body) - 7, 7, 1}, {5, 9, 0}} {
		s.Requests()
		if _, err := f.Seek(int64(row.at), io.SeekStart); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, row.n)
		if _, err := io.ReadFull(f, got); err != nil || !bytes.Equal(got, body[row.at:row.at+row.n]) {
			t.Errorf("from %d: %v", row.at, err)
		}
		if asked := s.Requests(); len(asked) != row.requests {
			t.Errorf("from %d: %q", row.at, asked)
		}
	}
	if n, err := f.Read(make([]byte, 1)); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := f.Seek(-1, io.SeekStart); err == nil {
		t.Error("there is something before the first byte")
	}
	f.Seek(0, io.SeekEnd)
	if _, err := f.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
}

func TestFoldersAreListedAndRemovedInPages(t *testing.T) {
	s := s3test.Start(t)
	s.Page(3)
	b := open(t, options(s))
	var want []string
	for i := range 5 {
		for j := range 4 {
			name := fmt.Sprintf("%d/%d", i, j)
			want = append(want, name)
			s.Change("a b/files/"+name, []byte("x"))
		}
	}
	s.Change("a b/files/.check-x", []byte("x"))
	s.Change("a b/files/note", []byte("x"))
	s.Change("other/1/1", []byte("x"))
	if all, err := b.Folders(t.Context()); err != nil || !slices.Equal(all, []string{"0", "1", "2", "3", "4"}) {
		t.Errorf("%q, %v", all, err)
	}
	walk := func() (all []string) {
		t.Helper()
		if err := b.Walk(t.Context(), func(name string) error { all = append(all, name); return nil }); err != nil {
			t.Error(err)
		}
		return all
	}
	if got := walk(); !slices.Equal(got, append(slices.Clone(want), "note")) {
		t.Errorf("%q", got)
	}
	if err := b.RemoveFolder(t.Context(), "3"); err != nil {
		t.Error(err)
	}
	if got := walk(); !slices.Equal(got, append(slices.Concat(want[:12], want[16:]), "note")) {
		t.Errorf("without 3: %q", got)
	}
	if s.Object("other/1/1") == nil {
		t.Error("what is none of ours is gone")
	}
}

func TestTheBucketIsCheckedAndTheErrorSaysWhatToDo(t *testing.T) {
	s := s3test.Start(t)
	forbid := func(methods string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			kind := r.Method
			if r.URL.Query().Has("list-type") {
				kind = "LIST"
			}
			if !strings.Contains(methods, kind) {
				return false
			}
			s3test.Refuse(w, http.StatusForbidden, "AccessDenied")
			return true
		}
	}
	change := func(f func(o *Options)) Options {
		o := options(s)
		f(&o)
		return o
	}
	closed := s3test.Start(t)
	closed.Fault(func(w http.ResponseWriter, _ *http.Request) bool {
		panic(http.ErrAbortHandler)
	})
	secure := s3test.StartTLS(t)
	for what, row := range map[string]struct {
		o        Options
		fault    func(http.ResponseWriter, *http.Request) bool
		say, do  string
		refused  bool
		versions bool
	}{
		"all is well":    {o: options(s)},
		"no prefix":      {o: change(func(o *Options) { o.Prefix = "" })},
		"versions":       {o: options(s), versions: true},
		"no bucket":      {o: change(func(o *Options) { o.Bucket = "another-bucket" }), say: "no such bucket", do: "make the bucket", refused: true},
		"no such key":    {o: change(func(o *Options) { o.AccessKey = "AKIA" }), say: "does not know the access key", do: "access_key", refused: true},
		"wrong secret":   {o: change(func(o *Options) { o.SecretKey = "x" }), say: "secret key is not that", do: "secret_key", refused: true},
		"wrong region":   {o: change(func(o *Options) { o.Region = "us-east-1" }), say: "another region", do: "s3.region", refused: true},
		"may not list":   {o: options(s), fault: forbid("LIST"), say: "s3:ListBucket", do: "policy", refused: true},
		"may not put":    {o: options(s), fault: forbid("PUT"), say: "s3:PutObject", do: "policy", refused: true},
		"may not get":    {o: options(s), fault: forbid("GET"), say: "s3:GetObject", do: "policy", refused: true},
		"may not delete": {o: options(s), fault: forbid("DELETE"), say: "s3:DeleteObject", do: "policy", refused: true},
		"other bytes": {o: options(s), fault: func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPut {
				w.WriteHeader(http.StatusOK)
				return true
			}
			if r.Method == http.MethodGet && !r.URL.Query().Has("list-type") {
				w.Header().Set("Last-Modified", "Mon, 02 Jan 2006 15:04:05 GMT")
				io.WriteString(w, strings.Repeat("x", 26))
				return true
			}
			return false
		}, say: "not that of S3", do: "endpoint", refused: true},
		"a page of somebody else": {o: options(s), fault: func(w http.ResponseWriter, r *http.Request) bool {
			w.WriteHeader(http.StatusNotFound)
			io.WriteString(w, "<html>there is no "+s3test.Bucket+" here</html>")
			return true
		}, say: "no such bucket", do: "bucket", refused: true},
		"a bad answer": {o: options(s), fault: func(w http.ResponseWriter, r *http.Request) bool {
			s3test.Refuse(w, 500, "<b>"+s3test.Bucket)
			return true
		}, say: "answers 500", do: "bring it back"},
		"nobody there":     {o: change(func(o *Options) { o.Host = "127.0.0.1:1" }), say: "connection refused", do: "bring it back"},
		"no such name":     {o: change(func(o *Options) { o.Host = "s3.invalid" }), say: "not found in the DNS", do: "endpoint"},
		"cut":              {o: change(func(o *Options) { o.Host = closed.Host() }), say: "broke", do: "bring it back"},
		"not of S3":        {o: change(func(o *Options) { o.TLS = true }), say: "does not speak TLS", do: "http://", refused: true},
		"an own authority": {o: change(func(o *Options) { o.Host, o.TLS = secure.Host(), true }), say: "nobody who is known signed", do: "ca_file", refused: true},
	} {
		s.Fault(row.fault)
		s.Versioned(row.versions)
		notes, err := open(t, row.o).Check(t.Context())
		s.Fault(nil)
		var e *Error
		switch errors.As(err, &e); {
		case row.say == "" && err != nil:
			t.Errorf("%s: %v", what, err)
		case row.say == "":
			if (len(notes) == 1) != row.versions {
				t.Errorf("%s: %q", what, notes)
			}
			if all := s.Objects(); len(all) > 0 {
				t.Errorf("%s: left: %q", what, all)
			}
		case e == nil:
			t.Errorf("%s: %v", what, err)
		case !strings.Contains(e.What, row.say) || !strings.Contains(e.Do, row.do) || e.Refused() != row.refused ||
			!errors.Is(err, ErrAway):
			t.Errorf("%s: %s; do: %s; refused: %v", what, e.What, e.Do, e.Refused())
		}
		if e != nil {
			for _, secret := range []string{s3test.Bucket, row.o.Bucket, s3test.AccessKey, s3test.SecretKey, "files/", "<"} {
				if strings.Contains(e.What+e.Do, secret) {
					t.Errorf("%s: it tells %q: %s; %s", what, secret, e.What, e.Do)
				}
			}
		}
		for _, name := range s.Objects() { // of those that could not be removed
			s.Change(name, nil)
		}
	}
}

// broken is a server whose answers end after n bytes, the first times.
func broken(times, n int, content []byte) func(http.ResponseWriter, *http.Request) bool {
	var done atomic.Int64 // two connections may ask at once
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet {
			return false
		}
		if done.Add(1) > int64(times) {
			return false
		}
		var from, to int
		fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &from, &to)
		to = min(to, len(content)-1)
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to, len(content)))
		w.Header().Set("Content-Length", fmt.Sprint(to-from+1))
		w.Header().Set("Last-Modified", "Mon, 02 Jan 2006 15:04:05 GMT")
		w.WriteHeader(http.StatusPartialContent)
		if w.Write(content[from : from+min(n, to+1-from)]); n > to-from {
			return true
		}
		panic(http.ErrAbortHandler)
	}
}

func TestReadingGoesOnWhereAConnectionBroke(t *testing.T) {
	s := s3test.Start(t)
	b, body := open(t, options(s)), long()
	s.Change("a b/files/1/x", body)
	for _, times := range []int{1, 2, 12} { // 12 times some bytes come
		s.Fault(broken(times, 20<<10, body))
		if got, err := read(t, b, "1/x"); err != nil || !bytes.Equal(got, body) {
			t.Errorf("broken %d times: %d bytes, %v", times, len(got), err)
		}
	}
	s.Fault(broken(1000, 0, body))
	if got, err := read(t, b, "1/x"); !errors.Is(err, ErrAway) {
		t.Errorf("for ever: %d bytes, %v", len(got), err)
	}
	var n atomic.Int64
	s.Fault(func(w http.ResponseWriter, r *http.Request) bool { // nothing but the beginning
		return n.Add(1) > 1 && broken(1, 0, body)(w, r)
	})
	if got, err := read(t, b, "1/x"); !errors.Is(err, ErrAway) || len(got) != firstBytes {
		t.Errorf("but for the beginning: %d bytes, %v", len(got), err)
	}
	s.Fault(func(w http.ResponseWriter, r *http.Request) bool { // of another length by now
		if n.Add(1)%2 == 0 {
			s.Change("a b/files/1/x", body[:len(body)-1])
		}
		return false
	})
	if got, err := read(t, b, "1/x"); err == nil && len(got) == len(body) {
		t.Error("an object that has changed is read as if it had not")
	}
	s.Fault(func(w http.ResponseWriter, r *http.Request) bool { // whoever knows no parts
		r.Header.Del("Range")
		return false
	})
	s.Change("a b/files/1/x", body)
	if got, err := read(t, b, "1/x"); err == nil {
		t.Errorf("without parts: %d bytes", len(got))
	}
}

func TestPuttingIsTriedAgainAndLeavesNoHalves(t *testing.T) {
	s := s3test.Start(t)
	b, body := open(t, options(s)), long()
	from := file(t, body)
	times := 0
	s.Fault(func(w http.ResponseWriter, r *http.Request) bool {
		times++
		switch times {
		case 1: // in the middle of the request
			io.CopyN(io.Discard, r.Body, 1000)
			panic(http.ErrAbortHandler)
		case 2:
			s3test.Refuse(w, http.StatusServiceUnavailable, "SlowDown")
			return true
		}
		return false
	})
	if err := b.Put(t.Context(), "1/x", from); err != nil || times != 3 || !bytes.Equal(s.Object("a b/files/1/x"), body) {
		t.Errorf("after %d times: %v", times, err)
	}
	s.Change("a b/files/1/x", nil)
	s.Fault(func(w http.ResponseWriter, r *http.Request) bool {
		io.CopyN(io.Discard, r.Body, 1000)
		panic(http.ErrAbortHandler)
	})
	if err := b.Put(t.Context(), "1/x", from); !errors.Is(err, ErrAway) || len(s.Objects()) != 0 {
		t.Errorf("cut each time: %v, left %q", err, s.Objects())
	}
	ctx, cancel := context.WithCancel(t.Context())
	s.Fault(func(w http.ResponseWriter, r *http.Request) bool {
		cancel()
		io.Copy(io.Discard, r.Body)
		return true
	})
	if err := b.Put(ctx, "1/x", from); !errors.Is(err, context.Canceled) {
		t.Errorf("ended: %v", err)
	}
	s.Fault(nil)
	if err := b.Put(t.Context(), "1/x", from+"none"); !errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrAway) {
		t.Errorf("of nothing: %v", err)
	}
}

func TestBytesThatChangeOnTheirWayAreNotTaken(t *testing.T) {
	s := s3test.Start(t)
	b := open(t, options(s))
	s.Fault(func(w http.ResponseWriter, r *http.Request) bool {
		body, err := io.ReadAll(r.Body)
		if err == nil && len(body) > 0 {
			body[len(body)/2] ^= 1
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		return false
	})
	if err := b.Put(t.Context(), "1/x", file(t, long())); !errors.Is(err, ErrAway) || len(s.Objects()) != 0 {
		t.Errorf("%v, left %q", err, s.Objects())
	}
}
