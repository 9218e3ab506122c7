package redis

import (
	"strings"
	"testing"

	"jackdaw/storage/redis/redistest"
)

func TestInspectNamesWhatMayGetLost(t *testing.T) {
	r := redistest.Start(t)
	inspect := func() string {
		promise, weak, err := Inspect(t.Context(), Options{Addrs: []string{r.Addr}, Prefix: "jackdaw:"})
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for _, w := range weak {
			lines = append(lines, w.What+": "+w.Do)
		}
		return promise + "\n" + strings.Join(lines, "\n")
	}
	for _, c := range []struct{ set, want string }{
		{"appendonly yes appendfsync always", "neither a crash nor a power cut"},
		{"appendfsync everysec", "has appendfsync everysec: in redis.conf: appendfsync always"},
		{"appendonly no", "keeps no append-only file: in redis.conf: appendonly yes"},
		{"maxmemory 104857600 maxmemory-policy allkeys-lru", "removes what it likes when its memory is full (allkeys-lru)"},
	} {
		r.CLI(append([]string{"CONFIG", "SET"}, strings.Fields(c.set)...)...)
		if got := inspect(); !strings.Contains(got, c.want) {
			t.Errorf("with %s: %s", c.set, got)
		}
	}
	// Nothing is left behind, and no lease is taken.
	if keys := r.CLI("DBSIZE"); strings.TrimSpace(keys) != "0" {
		t.Errorf("%s keys", keys)
	}
	if _, _, err := Inspect(t.Context(), Options{Addrs: []string{"127.0.0.1:1"}}); err == nil ||
		!strings.Contains(err.Error(), "is Redis running there?") {
		t.Errorf("without Redis: %v", err)
	}
}
