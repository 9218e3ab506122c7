package upload

import (
	"encoding/base64"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/storage"
	"jackdaw/xmpp/jid"
)

// twin is another server on the storage of a house, with the same files.
func twin(t *testing.T, h *house) *house {
	t.Helper()
	other := houseIn(t, filepath.Join(t.TempDir(), "upload"))
	other.Service.o.Records, other.Service.o.Keys, other.Service.store = h.o.Records, h.o.Keys, h.Service.store
	return other
}

func TestAnyServerTakesAFileForASlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		other := twin(t, h)
		other.o.Shared = true
		other.o.Dir = h.o.Dir // what is renamed stays on one file system
		g := h.slot(h.romeo, "filename='très cool.txt' size='5' content-type='text/plain; charset=utf-8'", "")
		for _, row := range []struct {
			what, path, auth, body, kind string
			code                         int
		}{
			{"without the header", h.path(g.put), "", "12345", "", 401},
			{"with another", h.path(g.put), g.auth[:len(g.auth)-2] + "AA", "12345", "", 401},
			{"with another kind of header", h.path(g.put), "Basic" + g.auth[len("Bearer"):], "12345", "", 401},
			{"under another name", strings.Replace(h.path(g.put), "cool", "cruel", 1), g.auth, "12345", "", 401},
			{"under another id", strings.Replace(h.path(g.put), "/upload/a", "/upload/b", 1), g.auth, "12345", "", 401},
			{"under no id", strings.Replace(h.path(g.put), "/upload/a", "/upload/", 1), g.auth, "12345", "", 404},
			{"too long", h.path(g.put), g.auth, "123456", "", 413},
			{"of another type", h.path(g.put), g.auth, "12345", "text/html", 415},
			{"as announced", h.path(g.put), g.auth, "12345", "text/plain", 201},
			{"again", h.path(g.put), g.auth, "54321", "text/plain", 409},
		} {
			if w := other.do("PUT", row.path, row.body, "Authorization", row.auth, "Content-Type", row.kind); w.Code != row.code {
				t.Errorf("%s: %d, want %d", row.what, w.Code, row.code)
			}
		}
		if code := twin(t, h).put(g, "54321"); code != 409 {
			t.Errorf("again, at a third: %d", code)
		}
		h.wants(g, 200, "12345")
		other.wants(g, 200, "12345")
		if list, _, err := h.Files(t.Context(), h.romeo.Bare(), 0, 9); err != nil || len(list) != 1 || list[0].Type != "text/plain; charset=utf-8" {
			t.Errorf("%+v, %v", list, err)
		}
		late := h.slot(h.romeo, "filename='a' size='5'", "")
		time.Sleep(slotTime)
		if code := other.put(late, "12345"); code != 404 {
			t.Errorf("too late: %d", code)
		}
		gone := h.slot(h.romeo, "filename='a' size='5'", "")
		other.barred["romeo@example.org"] = true
		if code := other.put(gone, "12345"); code != http.StatusUnauthorized {
			t.Errorf("of a user who may not log in any more: %d", code)
		}
		h.store.Fail(errors.New("away"))
		if code := twin(t, h).put(gone, "12345"); code != http.StatusServiceUnavailable {
			t.Errorf("without the key: %d", code)
		}
		h.store.Fail(nil)
	})
}

func TestAFileTakenElsewhereCountsOnceForTheQuota(t *testing.T) {
	h := newHouse(t)
	h.set.Quota = 1500
	other := twin(t, h)
	other.o.Dir = h.o.Dir
	g := h.slot(h.romeo, "filename='a' size='1000'", "")
	if code := other.put(g, strings.Repeat("x", 1000)); code != 201 {
		t.Fatalf("put: %d", code)
	}
	h.slot(h.romeo, "filename='b' size='500'", "")
	h.retry(h.romeo, "filename='c' size='1'")
}

func TestTheKeyOfSlotsIsMadeOnce(t *testing.T) {
	h := newHouse(t)
	one, err := h.passKey(t.Context())
	if err != nil || len(one) != 32 {
		t.Fatalf("%x, %v", one, err)
	}
	if again, err := twin(t, h).passKey(t.Context()); err != nil || string(again) != string(one) {
		t.Errorf("%x, %v", again, err)
	}
	bad := twin(t, h)
	_, p, err := h.o.Keys.Update(t.Context(), keyOwner, storage.AnyVersion,
		storage.Change{Key: keyName, Value: []byte{9, 9}})
	if err != nil || p.Wait(t.Context()) != nil {
		t.Fatal(err)
	}
	if _, err := bad.passKey(t.Context()); err == nil {
		t.Error("a key of a version to come is taken for one of ours")
	}
	sl := &slot{owner: jid.MustParse("romeo@example.org"), kind: strings.Repeat("a", longestPass), created: time.Now()}
	if pass, err := h.pass(t.Context(), sl); err != nil || len(pass) > 100 {
		t.Errorf("of a long type: %d bytes, %v", len(pass), err)
	}
}

func FuzzPasses(f *testing.F) {
	key := make([]byte, 32)
	id := strings.Repeat("a", idLetters)
	good := func(b []byte) string { return base64.RawURLEncoding.EncodeToString(signed(key, id, "a", b)) }
	f.Add(good([]byte{1, 0, 5, 0, 3, 'a', '@', 'b', 0}))
	f.Add(good([]byte{1, 0xff, 0xff}))
	f.Add(good([]byte{1, 0, 5, 0, 0xff, 0xff, 0xff, 0xff, 0x0f}))
	f.Add(good([]byte{2}))
	f.Add("x")
	f.Fuzz(func(t *testing.T, pass string) {
		// What a stranger sends, and what somebody with the key could send.
		for _, p := range []string{pass, good([]byte(pass))} {
			if len(p) == len(good(nil)) {
				continue
			}
			sl, err := passed(key, id, "a", p, time.Unix(1, 0))
			if err == nil && (sl.id != id || sl.expires.Sub(sl.created) != slotTime) {
				t.Errorf("%q: %+v", p, sl)
			}
			claimed := Claimed(&http.Request{Method: http.MethodPut, Header: http.Header{"Authorization": {scheme + p}}})
			if err == nil && sl.owner.IsBare() && sl.owner.Local() != "" && claimed != sl.owner.String() {
				t.Errorf("%q is of %s, and claims to be of %q", p, sl.owner, claimed)
			}
		}
	})
}
