// Package storetest is the suite that every storage engine must pass: each promise in the comments of package storage
// is a test here. What only one engine promises (crashes, failing disks, fail-over) is tested beside it.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"jackdaw/storage"
)

// Open opens the engine of one test. It may be called again after the engine it returned before was closed, and then
// finds the same data. The engine reads the time from now alone.
type Open func(now func() time.Time) storage.Engine

// Run runs the suite. place prepares an empty place for one test and returns how to open it; it fails the test itself
// if it cannot.
func Run(t *testing.T, place func(t *testing.T) Open) {
	for _, group := range []struct {
		name  string
		tests []test
	}{
		{"Map", mapTests}, {"Log", logTests}, {"Page", pageTests}, {"Model", modelTests}, {"Dedup", dedupTests},
		{"Accounts", accountTests}, {"Life", lifeTests},
	} {
		t.Run(group.name, func(t *testing.T) {
			for _, test := range group.tests {
				t.Run(test.name, func(t *testing.T) {
					b := &bench{T: t, ctx: t.Context(), open: place(t)}
					b.clock.Store(time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC).UnixMicro())
					b.Engine = b.open(b.now)
					t.Cleanup(func() {
						if err := b.Engine.Close(); err != nil && !errors.Is(err, storage.ErrClosed) {
							t.Errorf("close: %v", err)
						}
					})
					test.run(b)
				})
			}
		})
	}
}

type test struct {
	name string
	run  func(*bench)
}

// strange are owners that an engine must keep apart although they look like its separators, patterns and prefixes of
// each other.
var strange = []string{
	"romeo@montague.example", "romeo@montague.example/orchard", "a", "ab", "a:b", "a/b", "a{b}", "{a}", "{}", "a}b{",
	"a*", "a?", "[a]", "ü@münchen.example", "猫@例え.jp", "😀", "with space", "tab\tline\n",
	"\x01", "a\x01", "a\xff", "%s", "..", "a\\b", `"a"`,
}

// A bench is one engine under test, with a clock in its hand.
type bench struct {
	*testing.T
	storage.Engine
	ctx   context.Context
	open  Open
	clock atomic.Int64 // microseconds since 1970
}

func (b *bench) now() time.Time          { return time.UnixMicro(b.clock.Load()) }
func (b *bench) advance(d time.Duration) { b.clock.Add(d.Microseconds()) }

// must fails the test unless err is nil.
func (b *bench) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// want fails the test unless errors.Is(err, target).
func (b *bench) want(err, target error) {
	b.Helper()
	if !errors.Is(err, target) {
		b.Fatalf("error %v, want %v", err, target)
	}
}

// durable waits for a pending, and takes err first so that it wraps a call.
func (b *bench) durable(p *storage.Pending, err error) {
	b.Helper()
	b.must(err)
	ctx, cancel := context.WithTimeout(b.ctx, 30*time.Second)
	defer cancel()
	b.must(p.Wait(ctx))
}

// finished fails the test unless a write is durable on which that of the name rests, which is.
func (b *bench) finished(name string, first *storage.Pending) {
	b.Helper()
	if done, err := first.Finished(); !done || err != nil {
		b.Fatalf("%s was durable before what it rests on: finished %v, %v", name, done, err)
	}
}

// reopen closes the engine and opens it on the same data.
func (b *bench) reopen() {
	b.Helper()
	b.must(b.Engine.Close())
	b.Engine = b.open(b.now)
}

// add appends one record and returns its id without waiting.
func (b *bench) add(l storage.Log, owner, peer, data string) uint64 {
	b.Helper()
	id, dup, _, err := l.Append(b.ctx, owner, storage.Record{Peer: peer, Data: []byte(data)}, storage.AppendOptions{})
	b.must(err)
	if dup {
		b.Fatalf("append to %q without Dedup says dup", owner)
	}
	return id
}

// fill appends n records with the data "0", "1", … and returns their ids.
func (b *bench) fill(l storage.Log, owner string, n int) []uint64 {
	b.Helper()
	ids := make([]uint64, n)
	for i := range ids {
		ids[i] = b.add(l, owner, "", fmt.Sprint(i))
	}
	return ids
}

// page reads a page and returns the data of its records.
func (b *bench) page(l storage.Log, owner string, q storage.Query) ([]string, bool) {
	b.Helper()
	records, more, err := l.Page(b.ctx, owner, q)
	b.must(err)
	var data []string
	for i, r := range records {
		data = append(data, string(r.Data))
		if i > 0 && r.ID <= records[i-1].ID {
			b.Fatalf("ids of a page do not rise: %d after %d", r.ID, records[i-1].ID)
		}
	}
	return data, more
}

// size checks what Size says.
func (b *bench) size(l storage.Log, owner string, records int, bytes int64) {
	b.Helper()
	n, m, err := l.Size(b.ctx, owner)
	b.must(err)
	if n != records || m != bytes {
		b.Fatalf("size of %q is %d records and %d bytes, want %d and %d", owner, n, m, records, bytes)
	}
}

// words are values with a space between any two.
func words(values ...any) string { return strings.TrimSuffix(fmt.Sprintln(values...), "\n") }

func (b *bench) equal(what string, got, want any) {
	b.Helper()
	if g, w := fmt.Sprintf("%q", got), fmt.Sprintf("%q", want); g != w {
		b.Fatalf("%s: got %s, want %s", what, g, w)
	}
}
