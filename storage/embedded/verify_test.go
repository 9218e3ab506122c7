package embedded

import (
	"bytes"
	"crypto/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/bbolt"
)

// What the tree says must hold together, although each page and each block is as it was written.
func TestReferencesThatLeadNowhereAreFound(t *testing.T) {
	whole := filepath.Join(t.TempDir(), "whole")
	e, err := Open(whole)
	if err != nil {
		t.Fatal(err)
	}
	for range 40 {
		if err := appendTo(e, "owner", make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
		repeated(t, e.(*engine), "owner", rand.Text())
	}
	runs := string(runsBucket(e.(*engine).generation()))
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if problems, err := Verify(whole); err != nil || len(problems) > 0 {
		t.Errorf("%q, %v", problems, err)
	}
	first := func(tx *bbolt.Tx, name string) (*bbolt.Bucket, []byte, []byte) {
		b := tx.Bucket([]byte(name))
		k, v := b.Cursor().First()
		return b, k, append([]byte{}, v...)
	}
	for want, change := range map[string]func(tx *bbolt.Tx) error{
		"bytes in use, and": func(tx *bbolt.Tx) error {
			b, k, v := first(tx, "g")
			v[len(v)-2]++
			return b.Put(k, v)
		},
		"is referred to and not known": func(tx *bbolt.Tx) error {
			b, k, _ := first(tx, "g")
			return b.Delete(k)
		},
		"has 40 rows instead of 41": func(tx *bbolt.Tx) error {
			b, k, v := first(tx, runs)
			v[len(v)-1]++
			return b.Put(k, v)
		},
		"is not known": func(tx *bbolt.Tx) error {
			b, k, _ := first(tx, runs)
			return b.Delete(k)
		},
		"is not in order": func(tx *bbolt.Tx) error {
			b := tx.Bucket([]byte(runs))
			k, v := b.Cursor().Last()
			return b.Put(k, append([]byte{v[0]}, bytes.Repeat(slices.Concat(v[len(v)-rowBytes:], v[1:1+rowBytes]), 20)...))
		},
		"names a block that is not there": func(tx *bbolt.Tx) error {
			b, k, _ := first(tx, "karchive")
			return b.Delete(k)
		},
	} {
		dir := copied(t, whole)
		if err := os.Remove(filepath.Join(dir, sumsName)); err != nil {
			t.Fatal(err)
		}
		tree, err := bbolt.Open(filepath.Join(dir, treeName), 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := tree.Update(change); err != nil {
			t.Fatal(err)
		}
		if err := tree.Close(); err != nil {
			t.Fatal(err)
		}
		if problems, err := Verify(dir); err != nil || !strings.Contains(strings.Join(problems, "\n"), want) {
			t.Errorf("no %q: %q, %v", want, problems, err)
		}
	}
}
