package sendmail

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// A desk is a server that answers with a status, and notes what it was sent.
type desk struct {
	*Poster
	mu     sync.Mutex
	status map[string]int // by body; else 200
	got    []string       // "to: body"
	keys   []string
}

func newDesk(t *testing.T) *desk {
	d := &desk{status: map[string]int{}}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.mu.Lock()
		defer d.mu.Unlock()
		var m struct {
			To, Body string
			Extra    string `json:"extra_elements"`
		}
		if err := json.NewDecoder(r.Body).Decode(&m); err != nil || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("a post that is none: %v", err)
		}
		if got := r.Header.Get("Authorization"); got != "Bearer jdt1" {
			t.Errorf("it is posted as %q", got)
		}
		if m.Extra != "<nick xmlns='http://jabber.org/protocol/nick'>db&amp;1</nick>" {
			t.Errorf("its nick is %q", m.Extra)
		}
		if status, ok := d.status[m.Body]; ok {
			w.WriteHeader(status)
			fmt.Fprintln(w, "No.")
			return
		}
		d.got, d.keys = append(d.got, m.To+": "+m.Body), append(d.keys, r.Header.Get("Idempotency-Key"))
	}))
	t.Cleanup(s.Close)
	d.Poster = &Poster{Client: s.Client(), URL: s.URL + "/message", Token: "jdt1"}
	return d
}

func (d *desk) answers(status int, bodies ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, b := range bodies {
		if d.status[b] = status; status == 200 {
			delete(d.status, b)
		}
	}
}

func (d *desk) wants(t *testing.T, got ...string) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Equal(d.got, got) {
		t.Errorf("posted was %q, want %q", d.got, got)
	}
	d.got = nil
}

func letters(body string, to ...string) []Letter { return Letters(&Mail{Text: body}, to, "db&1") }

func TestWhatTheServerSaysBecomesACode(t *testing.T) {
	d := newDesk(t)
	for status, code := range map[int]int{200: 0, 202: 0, 400: ExitData, 413: ExitData, 422: ExitData,
		401: ExitUnavailable, 403: ExitUnavailable, 404: ExitUnavailable, 302: ExitUnavailable,
		408: ExitTemporary, 409: ExitTemporary, 425: ExitTemporary, 429: ExitTemporary, 500: ExitTemporary,
		503: ExitTemporary} {
		d.answers(status, "x")
		if status == 200 {
			d.answers(200, "x")
		}
		err := Send(t.Context(), d.Poster, nil, letters("x", "a@b"))
		if Code(err) != code || err != nil && status != 302 && !strings.Contains(err.Error(), "a@b: "+fmt.Sprint(status)) {
			t.Errorf("%d: %d, %v", status, Code(err), err)
		}
	}
	d.URL = "http://127.0.0.1:1/message"
	if err := Send(t.Context(), d.Poster, nil, letters("x", "a@b")); Code(err) != ExitTemporary {
		t.Errorf("nobody there: %v", err)
	}
}

func TestLettersWaitForTheServerInOrder(t *testing.T) {
	d, spool := newDesk(t), &Spool{Dir: t.TempDir()}
	send := func(code int, l ...Letter) {
		t.Helper()
		if err := Send(t.Context(), d.Poster, spool, l); Code(err) != code {
			t.Fatalf("%v, want %d", err, code)
		}
	}
	d.answers(503, "1", "2")
	one := letters("1", "a@b", "c@d")
	send(ExitTemporary, one...)
	send(ExitTemporary, letters("2", "a@b")...)
	send(ExitTemporary, letters("3", "a@b")...) // which the server would take
	d.wants(t)
	d.answers(200, "1")
	send(ExitTemporary, letters("4", "a@b")...)
	d.wants(t, "a@b: 1", "c@d: 1")
	if d.keys[0] != one[0].Key || d.keys[1] != one[1].Key || d.keys[0] == d.keys[1] {
		t.Errorf("the keys are %q", d.keys)
	}
	d.answers(200, "2")
	send(0, letters("5", "a@b")...)
	d.wants(t, "a@b: 2", "a@b: 3", "a@b: 4", "a@b: 5")
	send(0)
	if left, _ := spool.kept(); len(left) > 0 {
		t.Errorf("left are %q", left)
	}
}

func TestLettersThatAreRefusedLaterAreKeptAside(t *testing.T) {
	d, spool := newDesk(t), &Spool{Dir: t.TempDir()}
	d.answers(503, "1")
	_ = Send(t.Context(), d.Poster, spool, letters("1", "a@b"))
	d.answers(403, "1")
	err := Send(t.Context(), d.Poster, spool, letters("2", "a@b"))
	if Code(err) != ExitUnavailable || !strings.Contains(err.Error(), lostSuffix) {
		t.Errorf("%v", err)
	}
	d.wants(t, "a@b: 2")
	aside, _ := filepath.Glob(filepath.Join(spool.Dir, "*"+lostSuffix))
	if left, _ := spool.kept(); len(left) > 0 || len(aside) != 1 {
		t.Errorf("left are %q and %q", left, aside)
	}
	if i, err := os.Stat(aside[0]); err != nil || i.Mode().Perm() != 0o600 {
		t.Errorf("others may read it: %v %v", i.Mode(), err)
	}
}

func TestAFullSpoolSaysSo(t *testing.T) {
	d, spool := newDesk(t), &Spool{Dir: t.TempDir(), Most: 3}
	for i := range spool.Most {
		if err := os.WriteFile(filepath.Join(spool.Dir, fmt.Sprintf("%05d%s", i, keptSuffix)), []byte(`{"to":"a@b","body":"x"}`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d.URL = "http://127.0.0.1:1/message"
	err := Send(t.Context(), d.Poster, spool, letters("1", "a@b"))
	if Code(err) != ExitTemporary || !strings.Contains(err.Error(), "is full") {
		t.Errorf("%v", err)
	}
	spool.Dir += "/none"
	err = Send(t.Context(), d.Poster, spool, letters("1", "a@b"))
	if Code(err) != ExitTemporary || !strings.Contains(err.Error(), "not kept") {
		t.Errorf("%v", err)
	}
}

func TestCallsAtOnceLoseNothing(t *testing.T) {
	d, spool := newDesk(t), &Spool{Dir: t.TempDir()}
	var all sync.WaitGroup
	for i := range 20 {
		if i == 10 {
			d.answers(503, "x")
		}
		all.Go(func() {
			l := letters("x", fmt.Sprintf("%d@b", i))
			if err := Send(context.Background(), d.Poster, spool, l); err != nil && Code(err) != ExitTemporary {
				t.Error(err)
			}
		})
	}
	all.Wait()
	d.answers(200, "x")
	if err := Send(t.Context(), d.Poster, spool, nil); err != nil {
		t.Error(err)
	}
	slices.Sort(d.got)
	if len(d.got) != 20 || len(slices.Compact(d.got)) != 20 {
		t.Errorf("posted were %q", d.got)
	}
}
