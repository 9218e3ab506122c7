package httpmessage

import (
	"testing"

	"jackdaw/modules/internal/moduletest"
)

func TestCurlPostReachesTheClient(t *testing.T) {
	h := newHouse(t)
	bob := h.online("bob@" + host + "/phone")
	w := h.do(call{body: `<message to="bob@im.example.org"><body>yo</body></message>`})
	if w.Code != 200 || w.Body.String() != "OK\n" || w.Header().Get("Content-Type") != "text/html; charset=utf-8" {
		t.Fatalf("answer %d %q %q", w.Code, w.Body, w.Header())
	}
	got := bob.received()
	if len(got) != 1 {
		t.Fatalf("bob got %q", got)
	}
	moduletest.Same(t, got[0], `<message from='andy@im.example.org' to='bob@im.example.org'><body>yo</body></message>`)
}
