package upload

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// A hooked store does what a test says before it does anything, and fails with its error.
type hooked struct {
	Store
	before func(ctx context.Context, what, name string) error
	after  func(what string) error
}

func (s *hooked) Put(ctx context.Context, name, from string) error {
	if err := s.before(ctx, "put", name); err != nil {
		return err
	}
	err := s.Store.Put(ctx, name, from)
	if err == nil && s.after != nil {
		err = s.after("put")
	}
	return err
}

func (s *hooked) Remove(ctx context.Context, names []string) (int, error) {
	for _, name := range names {
		if err := s.before(ctx, "remove", name); err != nil {
			return 0, err
		}
	}
	return s.Store.Remove(ctx, names)
}

// hook has a house's store do what a test says.
func (h *house) hook(before func(ctx context.Context, what, name string) error) *hooked {
	s := &hooked{Store: h.Service.store, before: before}
	h.Service.store = s
	return s
}

// records is how many files of romeo count.
func (h *house) records() int {
	h.t.Helper()
	n, _, err := h.o.Records.Size(h.t.Context(), "romeo@example.org")
	if err != nil {
		h.t.Fatal(err)
	}
	return n
}

func TestWhatTheStoreDoesNotTakeCountsForNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.set.Quota = h.set.MaxSize
		body := strings.Repeat("x", 1000)
		g := h.slot(h.romeo, "filename='a' size='1000'", "")
		var fail error
		s := h.hook(func(context.Context, string, string) error { return fail })
		for what, row := range map[string]struct {
			err  error
			code int
		}{"away": {fmt.Errorf("%w: it does not answer", ErrAway), 503}, "broken": {errors.New("for a test"), 500}} {
			fail = nil
			s.before = func(_ context.Context, what, _ string) error {
				if what == "put" {
					return row.err
				}
				return nil
			}
			if code := h.put(g, body); code != row.code {
				t.Errorf("%s: %d, want %d", what, code, row.code)
			}
			if n := h.records(); n != 0 || len(h.files()) != 0 {
				t.Errorf("%s: %d records and files %q are left", what, n, h.files())
			}
			time.Sleep(awayTime)
		}
		// A file that is there though the store has said that it is not.
		s.before = func(context.Context, string, string) error { return nil }
		s.after = func(string) error { return errors.New("the answer was lost") }
		if code := h.put(g, body); code != 500 || h.records() != 0 || len(h.files()) != 0 {
			t.Errorf("a lost answer: %d, %d records, files %q", code, h.records(), h.files())
		}
		// As long as nobody knows whether there is a file, its record names it.
		s.before = func(_ context.Context, what, _ string) error {
			if what == "remove" {
				return ErrAway
			}
			return nil
		}
		if code := h.put(g, body); code != 500 || h.records() != 1 {
			t.Errorf("what could not be undone: %d, %d records", code, h.records())
		}
		s.before, s.after = func(context.Context, string, string) error { return nil }, nil
		if code := h.put(g, body); code != 201 {
			t.Errorf("at last: %d", code)
		}
		h.wants(g, 200, body)
		h.Close()
	})
}

func TestWhileTheStoreIsAwayNobodySendsAFileInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		one, other := h.slot(h.romeo, "filename='a' size='5'", ""), h.slot(h.romeo, "filename='a' size='5'", "")
		puts := 0
		s := h.hook(func(context.Context, string, string) error { puts++; return ErrAway })
		h.put(one, "12345")
		tried := puts
		w := h.do("PUT", h.path(other.put), "12345", "Authorization", other.auth)
		if w.Code != 503 || w.Header().Get("Retry-After") == "" || puts != tried {
			t.Errorf("%d, %v, asked %d times", w.Code, w.Header(), puts-tried)
		}
		if e := h.romeo.Send(wish("filename='a' size='5'", "")); e.Err == nil || e.Err.Type != xmpp.ErrorWait ||
			e.Err.Condition != xmpp.CondResourceConstraint {
			t.Errorf("a slot: %v", e.Err)
		}
		if _, status, err := h.keep("n", "", "hello"); err == nil || status != 503 {
			t.Errorf("a file of a post: %d, %v", status, err)
		}
		s.before = func(context.Context, string, string) error { return nil }
		time.Sleep(awayTime)
		for _, g := range []given{one, other} {
			if code := h.put(g, "12345"); code != 201 {
				t.Errorf("when it is back: %d", code)
			}
		}
		h.Close()
	})
}

func TestAFileOnItsWayIntoTheStoreCountsOnceForTheQuota(t *testing.T) {
	h := newHouse(t)
	h.set.Quota = 1500
	g := h.slot(h.romeo, "filename='a' size='1000'", "")
	s := h.hook(nil)
	s.before = func(context.Context, string, string) error {
		s.before = func(context.Context, string, string) error { return nil }
		h.slot(h.romeo, "filename='b' size='500'", "")
		return nil
	}
	if code := h.put(g, strings.Repeat("x", 1000)); code != 201 {
		t.Errorf("put: %d", code)
	}
}

func TestAnAccountRemovedWhileItsFileGoesIntoTheStoreLeavesNone(t *testing.T) {
	for name, removed := range map[string]func(h *house, ctx context.Context){
		"here": func(h *house, ctx context.Context) {
			gone := make(chan error)
			go func() { gone <- h.Module().Removed(h.romeo.Bare()) }()
			<-ctx.Done() // the removal does not wait for a slow store
			h.t.Cleanup(func() {
				if err := <-gone; err != nil {
					h.t.Error(err)
				}
			})
		},
		"by another server": func(h *house, _ context.Context) {
			h.barred["romeo@example.org"] = true
			if _, err := h.o.Records.DeleteOwner(h.t.Context(), "romeo@example.org"); err != nil {
				h.t.Error(err)
			}
		},
	} {
		h := newHouse(t)
		g := h.slot(h.romeo, "filename='a' size='5'", "")
		h.hook(func(ctx context.Context, what, _ string) error {
			if what == "put" {
				removed(h, ctx)
			}
			return nil
		})
		if code := h.put(g, "12345"); code != http.StatusNotFound {
			t.Errorf("%s: %d", name, code)
		}
		if n := h.records(); n != 0 || len(h.files()) != 0 {
			t.Errorf("%s: %d records and files %q are left", name, n, h.files())
		}
	}
}

func TestInASharedDirectoryOnlyOldHalvesAreRemoved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "upload")
	h := houseIn(t, dir)
	if err := os.MkdirAll(h.unfinished(), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, age := range map[string]time.Duration{"old": day + time.Minute, "young": day - time.Minute} {
		path := filepath.Join(h.unfinished(), name)
		if err := os.WriteFile(path, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, time.Time{}, time.Now().Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	h.o.Shared = true
	h.Recover()
	if all := h.files(); len(all) != 1 || filepath.Base(all[0]) != "young" {
		t.Errorf("left: %q", all)
	}
	h.o.Shared = false
	h.Recover()
	if all := h.files(); len(all) != 0 {
		t.Errorf("left in a directory of one: %q", all)
	}
}

// halfOf has a node begin a file in a directory and end without a word, as a crash would have it.
func halfOf(t *testing.T, node, dir string) *Service {
	t.Helper()
	s := New(Options{Dir: dir, Shared: true, Node: node, Log: moduletest.Discard()})
	sl := &slot{owner: jid.MustParse("romeo@example.org"), name: "a", size: 5, created: time.Now()}
	sl.id = newID(sl)
	if _, err := s.write(sl, octets, strings.NewReader("12345")); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestANodeRemovesTheHalvesOfItsOwn(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "upload")
	one := halfOf(t, "im1/a", dir)
	before, err := os.ReadDir(one.unfinished())
	if err != nil || len(before) != 1 {
		t.Fatalf("%v, %v", before, err)
	}
	halfOf(t, "im2", dir)
	again := New(Options{Dir: dir, Shared: true, Node: "im2", Log: moduletest.Discard()})
	again.Recover()
	after, err := os.ReadDir(one.unfinished())
	if err != nil || len(after) != 1 || after[0].Name() != before[0].Name() {
		t.Errorf("left: %v, %v; want that of the other node", after, err)
	}
	New(Options{Dir: dir, Shared: true, Node: "im1/a", Log: moduletest.Discard()}).Recover()
	if after, err := os.ReadDir(one.unfinished()); err != nil || len(after) != 0 {
		t.Errorf("left when both have started anew: %v, %v", after, err)
	}
}
