package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// written makes files below dir, directories for names that end in a slash.
func written(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		path := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(path), 0o700)
		if err == nil && strings.HasSuffix(name, "/") {
			err = os.MkdirAll(path, 0o700)
		} else if err == nil {
			err = os.WriteFile(path, nil, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

const relative = `
data: kept
hosts: [{domain: a.example, cert: a.crt, key: tls/a.key}]
component: {secrets: {b.example: "file:b.secret", c.example: word}}
storage: {redis: {url: "rediss://r", password_file: redis.secret, tls: {ca: tls/ca.pem}}}
listen: {http: ["unix:http.sock"], component: ["127.0.0.1:1"]}
`

func loadRelative(t *testing.T, beside, working string) *Config {
	t.Helper()
	file := filepath.Join(beside, "jackdaw.yaml")
	if err := os.WriteFile(file, []byte(relative), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Chdir(working)
	c, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestRelativePathsAreRelativeToTheFile(t *testing.T) {
	beside, working := t.TempDir(), t.TempDir()
	written(t, beside, "a.crt", "tls/a.key", "b.secret", "redis.secret")
	written(t, working, "a.crt", "kept/", "kept/notes") // no data of ours, and a certificate that is not the one meant
	c := loadRelative(t, beside, working)
	for got, want := range map[string]string{
		c.Data: "kept", c.Hosts[0].Cert: "a.crt", c.Hosts[0].Key: "tls/a.key", c.Storage.Redis.PasswordFile: "redis.secret",
		c.Storage.Redis.TLS.CA: "tls/ca.pem",
		strings.TrimPrefix(c.Component.Secrets["b.example"], "file:"): "b.secret",
		strings.TrimPrefix(c.Listen.HTTP[0], "unix:"):                 "http.sock",
	} {
		if got != filepath.Join(beside, want) {
			t.Errorf("%s is taken as %s", want, got)
		}
	}
	if c.Component.Secrets["c.example"] != "word" {
		t.Error("a secret that is no file was changed")
	}
	if len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], "listen.http[0]") {
		t.Errorf("warnings: %q", c.Warnings)
	}
}

func TestWhatWasInTheWorkingDirectoryIsFoundThere(t *testing.T) {
	beside, working := t.TempDir(), t.TempDir()
	written(t, working, "kept/store/", "a.crt", "tls/a.key")
	written(t, beside, "kept/store/") // from an accident: the one in use was the other
	c := loadRelative(t, beside, working)
	for got, want := range map[string]string{c.Data: "kept", c.Hosts[0].Cert: "a.crt", c.Hosts[0].Key: "tls/a.key"} {
		if got != filepath.Join(working, want) {
			t.Errorf("%s is taken as %s", want, got)
		}
	}
	if said := strings.Join(c.Warnings, "\n"); !strings.Contains(said, "data: kept is taken as "+working) ||
		!strings.Contains(said, "hosts[0].cert: a.crt is taken as "+working) {
		t.Errorf("warnings: %s", said)
	}
}

func TestAByteOrderMarkIsNoContent(t *testing.T) {
	c, err := parse("f", []byte("\xef\xbb\xbfhosts: [{domain: a.example}]\n"))
	if err != nil || c.Hosts[0].Domain != "a.example" {
		t.Fatalf("%v", err)
	}
	_, err = parse("f", []byte("\xef\xbb\xbfhots: []\n"))
	if err == nil || !strings.HasPrefix(err.Error(), "f:1:1: hots: unknown key") {
		t.Errorf("got %v", err)
	}
}
