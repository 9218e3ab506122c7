// Package s3test is a small object store for tests, in the process of the test: as much of S3 as a client needs that
// puts, gets, lists and removes objects, with the faults that a test wants. It checks the signature of each request
// (AWS Signature Version 4) and the checksum of what is put, and shares no code with the client.
package s3test

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Names that each Server knows.
const (
	Bucket    = "files-of-a-test"
	Region    = "eu-test-1"
	AccessKey = "AKIATESTTESTTEST"
	SecretKey = "a/secret+that/nobody/must/ever/read/0000"
)

// A Server is an object store with one bucket. It is safe for concurrent use.
type Server struct {
	URL string
	CA  []byte // PEM, of one with TLS

	t  testing.TB
	mu sync.Mutex // guards the rest

	objects  map[string][]byte
	fault    func(http.ResponseWriter, *http.Request) bool
	requests []string
	versions bool
	page     int
}

// Start returns a Server without TLS, which ends with the test.
func Start(t testing.TB) *Server { return start(t, false) }

// StartTLS returns a Server with TLS, under a certificate of its own for 127.0.0.1.
func StartTLS(t testing.TB) *Server { return start(t, true) }

func start(t testing.TB, secure bool) *Server {
	t.Helper()
	s := &Server{t: t, objects: map[string][]byte{}, page: 1000}
	web := httptest.NewUnstartedServer(s)
	if secure {
		web.StartTLS()
		s.CA = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw})
	} else {
		web.Start()
	}
	s.URL = web.URL
	t.Cleanup(web.Close)
	return s
}

// Host is HOST:PORT.
func (s *Server) Host() string { return s.URL[strings.Index(s.URL, "//")+2:] }

// Fault has f see each request before anything else does; what it returns true for it has answered. Nil ends that.
func (s *Server) Fault(f func(http.ResponseWriter, *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// Versioned says whether the bucket keeps versions.
func (s *Server) Versioned(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.versions = on
}

// Page sets how many names a list has at most.
func (s *Server) Page(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.page = n
}

// Objects are the names of all objects, in their order.
func (s *Server) Objects() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.objects))
}

// Object is the content of one.
func (s *Server) Object(name string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.objects[name]
}

// Change puts other content into an object, nil for none.
func (s *Server) Change(name string, content []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if content == nil {
		delete(s.objects, name)
		return
	}
	s.objects[name] = content
}

// Requests are the method and path of each since the last time, with their range if they had one.
func (s *Server) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.requests
	s.requests = nil
	return all
}

// Refuse answers as S3 does.
func Refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	// As real ones do, it says more than a user should read.
	fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>The key %s has a problem with %s.</Message>`+
		`<BucketName>%s</BucketName><AWSAccessKeyId>%s</AWSAccessKeyId><RequestId>1</RequestId></Error>`, code, AccessKey, Bucket,
		Bucket, AccessKey)
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	fault := s.fault
	s.requests = append(s.requests, strings.TrimSpace(r.Method+" "+r.URL.Path+" "+r.Header.Get("Range")))
	s.mu.Unlock()
	if fault != nil && fault(w, r) {
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // half a request is none
	}
	if status, code := verify(r, body); code != "" {
		Refuse(w, status, code)
		return
	}
	bucket, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if bucket != Bucket {
		Refuse(w, http.StatusNotFound, "NoSuchBucket")
		return
	}
	w.Header().Set("Server", "s3test")
	switch {
	case name == "" && r.URL.Query().Has("versioning"):
		s.versioning(w)
	case name == "" && r.URL.Query().Get("list-type") == "2" && r.Method == http.MethodGet:
		s.list(w, r.URL.Query())
	case name == "" || len(r.URL.Query()) > 0:
		Refuse(w, http.StatusNotImplemented, "NotImplemented")
	default:
		s.object(w, r, name, body)
	}
}

// object does what is asked for one.
func (s *Server) object(w http.ResponseWriter, r *http.Request, name string, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	content, ok := s.objects[name]
	switch {
	case r.Method == http.MethodPut:
		s.objects[name] = body
		w.Header().Set("ETag", etag(body))
	case r.Method == http.MethodDelete:
		delete(s.objects, name)
		w.WriteHeader(http.StatusNoContent)
	case !ok:
		Refuse(w, http.StatusNotFound, "NoSuchKey")
	case r.Header.Get("Range") != "" && len(content) == 0:
		Refuse(w, http.StatusRequestedRangeNotSatisfiable, "InvalidRange")
	default:
		w.Header().Set("ETag", etag(content))
		w.Header().Set("Content-Type", "application/octet-stream")
		http.ServeContent(w, r, "", time.Now(), bytes.NewReader(content))
	}
}

func etag(b []byte) string { return fmt.Sprintf("%q", fmt.Sprintf("%x", md5.Sum(b))) }

func (s *Server) versioning(w http.ResponseWriter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	status := ""
	if s.versions {
		status = "<Status>Enabled</Status>"
	}
	fmt.Fprintf(w, `<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">%s</VersioningConfiguration>`, status)
}

// list answers as ListObjectsV2 does, with names that are escaped (encoding-type=url).
func (s *Server) list(w http.ResponseWriter, q url.Values) {
	s.mu.Lock()
	defer s.mu.Unlock()
	prefix, most := q.Get("prefix"), s.page
	if n, err := strconv.Atoi(q.Get("max-keys")); err == nil && n < most {
		most = n
	}
	after := max(q.Get("start-after"), q.Get("continuation-token"))
	var out strings.Builder
	n, last, more := 0, "", ""
	for _, name := range slices.Sorted(maps.Keys(s.objects)) {
		rest, ok := strings.CutPrefix(name, prefix)
		if !ok {
			continue
		}
		at, folded := name, false
		if d := q.Get("delimiter"); d != "" {
			if i := strings.Index(rest, d); i >= 0 {
				at, folded = prefix+rest[:i+len(d)], true
			}
		}
		if at <= after || at == last {
			continue
		}
		if n == most {
			more = "<NextContinuationToken>" + last + "</NextContinuationToken>"
			break
		}
		n, last = n+1, at
		if folded {
			fmt.Fprintf(&out, "<CommonPrefixes><Prefix>%s</Prefix></CommonPrefixes>", url.QueryEscape(at))
			continue
		}
		fmt.Fprintf(&out, "<Contents><Key>%s</Key>"+
			"<LastModified>%s</LastModified><ETag>&quot;x&quot;</ETag><Size>%d</Size></Contents>",
			url.QueryEscape(at), time.Now().UTC().Format("2006-01-02T15:04:05.000Z"), len(s.objects[name]))
	}
	w.Header().Set("Content-Type", "application/xml")
	fmt.Fprintf(w, `<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>%s</Name><Prefix>%s</Prefix>`+
		`<KeyCount>%d</KeyCount><MaxKeys>%d</MaxKeys><EncodingType>url</EncodingType>`+
		`<IsTruncated>%v</IsTruncated>%s%s</ListBucketResult>`,
		Bucket, url.QueryEscape(prefix), n, most, more != "", more, out.String())
}

// hexSum is SHA-256 as S3 writes it.
func hexSum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
