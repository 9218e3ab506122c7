package upload

import (
	"errors"
	"testing"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/storage"
	"jackdaw/xmpp/jid"
)

func TestAdministratorsSeeAndRemoveFiles(t *testing.T) {
	h := newHouse(t)
	ctx := t.Context()
	romeo, juliet := h.romeo.Bare(), h.juliet.Bare()
	kept := h.upload(h.romeo, "filename='a.txt' size='3' content-type='text/plain'", "one")
	taken := h.upload(h.romeo, "filename='b.txt' size='4'", "four")
	hers := h.upload(h.juliet, "filename='c.txt' size='5'", "seven")
	all, err := h.Users(ctx)
	if err != nil || len(all) != 2 {
		t.Fatalf("%+v, %v", all, err)
	}
	want := map[string]Usage{romeo.String(): {romeo.String(), 2, 7}, juliet.String(): {juliet.String(), 1, 5}}
	for _, u := range all {
		if u != want[u.Owner] {
			t.Errorf("%+v", u)
		}
	}
	first, next, err := h.Files(ctx, romeo, 0, 1)
	if err != nil || len(first) != 1 || next == 0 || first[0].Name != "a.txt" || first[0].Type != "text/plain" || first[0].Size != 3 {
		t.Fatalf("%+v, %d, %v", first, next, err)
	}
	second, next, err := h.Files(ctx, romeo, next, 1)
	if err != nil || len(second) != 1 || next != 0 || second[0].Name != "b.txt" || second[0].Created.IsZero() {
		t.Fatalf("%+v, %d, %v", second, next, err)
	}
	if n, err := h.Remove(ctx, juliet, first[0].ID); !errors.Is(err, ErrNoFile) || n != 0 {
		t.Errorf("a file of another: %d, %v", n, err)
	}
	if n, err := h.Remove(ctx, romeo, second[0].ID, "../../etc/passwd"); !errors.Is(err, ErrNoFile) || n != 1 {
		t.Errorf("one and none: %d, %v", n, err)
	}
	h.wants(taken, 404, "")
	h.wants(kept, 200, "one")
	if n, err := h.Remove(ctx, romeo, second[0].ID); !errors.Is(err, ErrNoFile) || n != 0 {
		t.Errorf("once more: %d, %v", n, err)
	}
	if n, err := h.Remove(ctx, romeo); n != 1 || err != nil {
		t.Errorf("all: %d, %v", n, err)
	}
	h.wants(kept, 404, "")
	h.wants(hers, 200, "seven")
	if u, err := h.Used(ctx, romeo); err != nil || u.Files != 0 {
		t.Errorf("left: %+v, %v", u, err)
	}
	if all, err := h.Users(ctx); err != nil || len(all) != 1 {
		t.Errorf("left: %+v, %v", all, err)
	}
	h.store.Fail(storage.ErrUnavailable)
	if _, err := h.Remove(ctx, juliet); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("without storage: %v", err)
	}
	if _, err := h.Used(ctx, jid.MustParse("nobody@"+moduletest.Host)); err == nil {
		t.Error("nothing is known, and nobody says so")
	}
}
