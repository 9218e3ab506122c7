package mam

import (
	"errors"
	"strings"
	"testing"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/storage"
)

func TestTheOldestGoForWhatIsNew(t *testing.T) {
	store := moduletest.NewStore()
	log := store.Log("archive")
	o := storage.AppendOptions{MaxBytes: 10_000}
	for i := range 1000 {
		data := []byte(strings.Repeat("x", 1+i*7%900))
		id, dup, _, err := Append(t.Context(), log, "juliet@example.org", storage.Record{Data: data}, o)
		if err != nil || dup {
			t.Fatal(dup, err)
		}
		if _, err := log.Get(t.Context(), "juliet@example.org", id); err != nil {
			t.Fatalf("what has just come is not there: %v", err)
		}
		if _, size, _ := log.Size(t.Context(), "juliet@example.org"); size > o.MaxBytes || i > 100 && size < o.MaxBytes/2 {
			t.Fatalf("%d bytes", size)
		}
	}
	if _, _, _, err := Append(t.Context(), log, "juliet@example.org", storage.Record{Data: make([]byte, 20_000)},
		o); err != nil {
		t.Errorf("what is larger than all: %v", err)
	}
	if n, _, _ := log.Size(t.Context(), "juliet@example.org"); n != 1 {
		t.Errorf("beside it there are %d", n-1)
	}
	store.Fail(errors.New("away"))
	if _, _, _, err := Append(t.Context(), log, "juliet@example.org", storage.Record{Data: []byte("x")}, o); err == nil {
		t.Error("what cannot be stored is")
	}
}
