package operation

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"jackdaw/storage/redis/redistest"
	"jackdaw/testsuite/harness"
)

// The password is in the URL, which is in no line of the log.
func TestRedisThatGoesAwayIsOneErrorAndOneLineWhenItIsBack(t *testing.T) {
	const secret = "s3cret-of-redis"
	files := redistest.Certificates(t)
	redis := redistest.StartTLS(t, files, "--requirepass", secret)
	s := harness.Start(t, harness.Options{})
	s.Stop()
	text, err := os.ReadFile(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	const embedded = "storage: {engine: embedded}\n"
	if !strings.Contains(string(text), embedded) {
		t.Fatal("the configuration names no storage")
	}
	with := strings.Replace(string(text), embedded, fmt.Sprintf("storage: {engine: redis, redis: {url: %q, tls: {ca: %s, "+
		"cert: %s, key: %s}}}\n", "rediss://:"+secret+"@"+redis.Addr, files.CA, files.Cert, files.Key), 1)
	if err := os.WriteFile(s.Config, []byte(with), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Launch()
	from := s.Output().Len()
	await := func(text string) {
		t.Helper()
		if err := s.Output().Await(text, from, harness.Timeout, nil); err != nil {
			t.Fatalf("no %q: %v", text, err)
		}
	}
	redis.Kill()
	await(`level=ERROR msg="storage failed, nothing is acknowledged"`)
	await(`do="bring Redis at ` + redis.Addr + ` back`)
	web := &http.Client{Transport: &http.Transport{}}
	defer web.CloseIdleConnections()
	if status, _, text := fetch(t, web, "GET", "http://"+s.Metrics+"/healthz", ""); status != 503 || !strings.Contains(text, "storage cannot acknowledge writes: ") {
		t.Errorf("health: %d %s", status, text)
	}
	redis.Restart()
	await(`level=INFO msg="storage is back, writes are acknowledged again"`)
	if n := strings.Count(s.Output().From(from), "storage failed"); n != 1 {
		t.Errorf("%d lines for one failure", n)
	}
	if status, _, _ := fetch(t, web, "GET", "http://"+s.Metrics+"/healthz", ""); status != 200 {
		t.Errorf("health afterwards: %d", status)
	}
	if strings.Contains(s.Output().From(0), secret) {
		t.Error("the log has the password of Redis")
	}
}
