package storetest

import (
	"context"
	"sync"
	"testing"
	"time"

	"jackdaw/storage"
)

// A Fault is what befalls an engine whose answers are judged by AfterFailure.
type Fault struct {
	Hold func() // no write becomes durable from now on
	Fail func() // those that are on their way fail, and all later ones; may be nil if they do so by themselves
	// Ready returns when the engine tries the next write; it may be nil.
	Ready func()
}

// AfterFailure checks that no answer of an engine rests on a write that failed: what was on its way when the fault came
// is asked for once more, and again.
func AfterFailure(t *testing.T, e storage.Engine, fault Fault) {
	ctx := t.Context()
	l, m, a := e.Log("archive"), e.Map("roster"), e.Accounts()
	must := func(p *storage.Pending, err error) {
		t.Helper()
		limited, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		if err == nil {
			err = p.Wait(limited)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	o := storage.AppendOptions{Dedup: "repeated"}
	// The last id of each owner is known, so that there is something to remove.
	ids := map[string]uint64{}
	for _, owner := range []string{"removed", "trimmed", "deleted", "replaced"} {
		id, _, p, err := l.Append(ctx, owner, storage.Record{Data: []byte("x")}, storage.AppendOptions{})
		must(p, err)
		ids[owner] = id
	}
	for _, owner := range []string{"changed", "forgotten"} {
		_, p, err := m.Update(ctx, owner, storage.AnyVersion, storage.Change{Key: "k", Value: []byte("before")})
		must(p, err)
	}
	must(a.Create(ctx, storage.Account{User: "before@x"}))
	fault.Hold()

	type call func() (*storage.Pending, error)
	attempts := []struct {
		name          string
		first, second call
	}{
		{name: "Append", first: func() (*storage.Pending, error) {
			_, _, p, err := l.Append(ctx, "romeo", storage.Record{Data: []byte("x")}, o)
			return p, err
		}},
		{name: "Lookup", first: func() (*storage.Pending, error) {
			_, _, p, err := l.Append(ctx, "sought", storage.Record{Data: []byte("x")}, o)
			return p, err
		}, second: func() (*storage.Pending, error) {
			_, p, err := l.Lookup(ctx, "sought", o.Dedup)
			return p, err
		}},
		{name: "Update without changes", first: func() (*storage.Pending, error) {
			_, p, err := m.Update(ctx, "changed", storage.AnyVersion, storage.Change{Key: "k", Value: []byte("after")})
			return p, err
		}, second: func() (*storage.Pending, error) {
			_, p, err := m.Update(ctx, "changed", storage.AnyVersion)
			return p, err
		}},
		{name: "Map.DeleteOwner", first: func() (*storage.Pending, error) { return m.DeleteOwner(ctx, "forgotten") }},
		{name: "Remove", first: func() (*storage.Pending, error) { return l.Remove(ctx, "removed", ids["removed"]) }},
		{name: "Trim", first: func() (*storage.Pending, error) { return l.Trim(ctx, "trimmed", ^uint64(0)) }},
		{name: "Log.DeleteOwner", first: func() (*storage.Pending, error) { return l.DeleteOwner(ctx, "deleted") }},
		{name: "Replace", first: func() (*storage.Pending, error) {
			return l.Replace(ctx, "replaced", ids["replaced"], []byte("y"))
		}},
		{name: "Create", first: func() (*storage.Pending, error) { return a.Create(ctx, storage.Account{User: "after@x"}) }},
		{name: "Modify", first: func() (*storage.Pending, error) {
			return a.Modify(ctx, "before@x", func(a *storage.Account) error { a.Disabled = true; return nil })
		}},
	}
	// Some of the later attempts are refused since there is nothing any more: what counts is that none succeeds.
	for round := range 3 {
		pendings := make([]*storage.Pending, len(attempts))
		errs := make([]error, len(attempts))
		var wg sync.WaitGroup
		for i, one := range attempts {
			f := one.first
			if round > 0 && one.second != nil {
				f = one.second
			}
			wg.Go(func() { pendings[i], errs[i] = f() })
		}
		wg.Wait()
		if round == 0 && fault.Fail != nil {
			fault.Fail()
		}
		// An engine may have them wait for better times.
		limited, cancel := context.WithTimeout(ctx, 10*time.Second)
		for i, one := range attempts {
			if errs[i] == nil && pendings[i].Wait(limited) == nil {
				t.Errorf("%s: attempt %d succeeded", one.name, round+1)
			}
		}
		cancel()
		if fault.Ready != nil {
			fault.Ready()
		}
	}
}
