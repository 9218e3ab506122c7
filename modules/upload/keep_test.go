package upload

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/modules/internal/posting"
	"jackdaw/xmpp/jid"
)

var romeo = jid.MustParse("romeo@example.org")

// keep has a file kept for romeo and returns the status of a refusal, 200 for none.
func (h *house) keep(name, kind, data string) (string, int, error) {
	at, err := h.Keep(context.Background(), domain, romeo, name, kind, []byte(data))
	var refused *posting.Refusal
	switch {
	case errors.As(err, &refused):
		return at, refused.Status, err
	case err != nil:
		return at, 0, err
	}
	return at, 200, nil
}

func TestAFileOfAPostIsServedAsOneThatWasPut(t *testing.T) {
	h := newHouse(t)
	at, _, err := h.keep("../a b.txt", "text/plain", "hello")
	if err != nil || !strings.HasPrefix(at, base+"/") || !strings.HasSuffix(at, "/a%20b.txt") {
		t.Fatalf("%s, %v", at, err)
	}
	w := h.do("GET", h.path(at), "")
	if w.Code != 200 || w.Body.String() != "hello" || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain") {
		t.Errorf("fetched: %d %s %q", w.Code, w.Body, w.Header())
	}
	files, _, err := h.Files(t.Context(), h.romeo.Addr().Bare(), 0, 10)
	if err != nil || len(files) != 1 || files[0].Name != "a b.txt" || files[0].Size != 5 || files[0].Type != "text/plain" {
		t.Errorf("listed: %+v, %v", files, err)
	}
	if code := h.do("PUT", h.path(at), "hello", "Authorization", scheme).Code; code != 401 && code != 404 {
		t.Errorf("put there: %d", code)
	}
}

func TestAFileOfAPostHasTheBoundsOfOthers(t *testing.T) {
	for name, c := range map[string]struct {
		change func(h *house)
		status int
	}{
		"too large":      {func(h *house) { h.set.MaxSize = 4 }, 413},
		"barred":         {func(h *house) { h.barred[romeo.String()] = true }, 403},
		"no place":       {func(h *house) { h.places = nil }, 403},
		"full disk":      {func(h *house) { h.left = reserve }, 503},
		"over the quota": {func(h *house) { h.set.Quota = 4 }, 429},
		"stopping":       {func(h *house) { h.Close() }, 0},
		"accounts away":  {func(h *house) { h.bad = errors.New("for a test") }, 0},
		"storage away":   {func(h *house) { h.store.Fail(errors.New("for a test")) }, 0},
	} {
		h := newHouse(t)
		c.change(h)
		if _, status, err := h.keep("n", "", "hello"); err == nil || status != c.status {
			t.Errorf("%s: %d %v, want %d", name, status, err, c.status)
		}
		if left, err := os.ReadDir(h.o.Dir); err == nil && len(left) > 1 { // that of unfinished files
			t.Errorf("%s: left %v", name, left)
		}
		if len(h.users) > 0 || len(h.slots) > 0 {
			t.Errorf("%s: %d slots are left", name, len(h.slots))
		}
	}
}

func TestFilesOfPostsCountForTheQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.set.Quota = 10
		for range 2 {
			if _, status, err := h.keep("n", "", "hello"); status != 200 {
				t.Fatal(err)
			}
		}
		_, status, err := h.keep("n", "", "h")
		var refused *posting.Refusal
		if errors.As(err, &refused); status != 429 || refused.Retry != int(day/time.Second)+1 {
			t.Errorf("the third: %v, again in %d s", err, refused.Retry)
		}
		time.Sleep(day + time.Second)
		if _, status, err := h.keep("n", "", "h"); status != 200 {
			t.Errorf("a day later: %v", err)
		}
		h.Close()
	})
}
