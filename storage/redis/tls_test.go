package redis

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"jackdaw/storage"
	"jackdaw/storage/redis/redistest"
)

func loadTLS(t *testing.T, f TLSFiles) *tls.Config {
	t.Helper()
	c, err := f.Load()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestRedisIsReachedOverTLSAlone(t *testing.T) {
	files, others := redistest.Certificates(t), redistest.Certificates(t)
	s := redistest.StartTLS(t, files)
	plain := redistest.Start(t)
	// Another name in the certificate does, if it is the one to expect.
	for _, name := range []string{"", "redis.example"} {
		e, err := Open(t.Context(), Options{Addrs: []string{s.Addr}, Prefix: "tls:",
			TLS: loadTLS(t, TLSFiles{files.CA, files.Cert, files.Key, name})})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, _, err := e.Log("l").Append(t.Context(), "alice", storage.Record{}, storage.AppendOptions{}); err != nil {
			t.Error(err)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
	for name, tt := range map[string]struct {
		addr  string
		files TLSFiles
		want  string
	}{
		"another authority":      {s.Addr, TLSFiles{others.CA, files.Cert, files.Key, ""}, "set storage.redis.tls.ca"},
		"another name":           {s.Addr, TLSFiles{files.CA, files.Cert, files.Key, "other.example"}, "tls.server_name"},
		"no certificate":         {s.Addr, TLSFiles{files.CA, "", "", ""}, "set storage.redis.tls.cert and key"},
		"a foreign certificate":  {s.Addr, TLSFiles{files.CA, others.Cert, others.Key, ""}, "set storage.redis.tls.cert and key"},
		"a server without TLS":   {plain.Addr, TLSFiles{files.CA, files.Cert, files.Key, ""}, "begin with redis://"},
		"a server with TLS only": {s.Addr, TLSFiles{}, "begin with rediss://"},
	} {
		o := Options{Addrs: []string{tt.addr}, Prefix: "tls:"}
		if tt.files != (TLSFiles{}) {
			o.TLS = loadTLS(t, tt.files)
		}
		if e, err := Open(t.Context(), o); err == nil {
			e.Close()
			t.Errorf("%s: it is taken", name)
		} else if !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAClusterIsReachedOverTLS(t *testing.T) {
	files := redistest.Certificates(t)
	one := redistest.Addrs(redistest.StartClusterTLS(t, files))[:1] // it tells of the others
	e, err := Open(t.Context(), Options{Addrs: one, Prefix: "tls:",
		TLS: loadTLS(t, TLSFiles{files.CA, files.Cert, files.Key, ""})})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 { // they are in several slots
		owner := fmt.Sprint("user", i)
		if _, _, _, err := e.Log("l").Append(t.Context(), owner, storage.Record{}, storage.AppendOptions{}); err != nil {
			t.Error(err)
		}
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

func TestSentinelsAreReachedOverTLS(t *testing.T) {
	files := redistest.Certificates(t)
	sentinel := redistest.StartSentinel(t, "chat", redistest.StartTLS(t, files))
	e, err := Open(t.Context(), Options{Addrs: []string{sentinel.Addr}, MasterName: "chat", Prefix: "tls:", Now: time.Now,
		TLS: loadTLS(t, TLSFiles{files.CA, files.Cert, files.Key, ""})})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

func TestASocketIsReached(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "redis.sock")
	redistest.Start(t, "--unixsocket", socket)
	e, err := Open(t.Context(), Options{Addrs: []string{socket}, Unix: true, Prefix: "unix:", DB: 2})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

func TestFilesForTLSThatCannotBeReadAreNamed(t *testing.T) {
	files := redistest.Certificates(t)
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("no PEM"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, f := range map[string]TLSFiles{
		"storage.redis.tls.ca: open":           {CA: text + "x"},
		"holds no certificate in PEM":          {CA: text},
		"storage.redis.tls.cert and key: open": {Cert: text + "x", Key: files.Key},
		"storage.redis.tls.cert and key: tls:": {Cert: files.Cert, Key: files.CA},
	} {
		if _, err := f.Load(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
