package storetest

import (
	"errors"
	"fmt"
	"sync"

	"jackdaw/storage"
)

var mapTests = []test{
	{"KeyThatIsNotThereIsNotFound", func(b *bench) {
		m := b.Map("roster")
		_, err := m.Get(b.ctx, "romeo", "juliet")
		b.want(err, storage.ErrNotFound)
		entries, version, err := m.List(b.ctx, "romeo")
		b.must(err)
		b.equal("entries and version", words(len(entries), version), "0 0")
	}},
	{"VersionRisesByOneWithEachUpdate", func(b *bench) {
		m := b.Map("roster")
		for want := uint64(1); want <= 3; want++ {
			v, p, err := m.Update(b.ctx, "romeo", storage.AnyVersion,
				storage.Change{Key: "juliet", Value: fmt.Append(nil, want)}, storage.Change{Key: fmt.Sprint("k", want), Value: nil})
			b.durable(p, err)
			b.equal("version", v, want)
		}
		b.reopen()
		b.equal("entries", b.list("roster", "romeo"), "3: juliet=3@3 k1=@1 k2=@2 k3=@3")
	}},
	{"UpdateWithoutChangesIsThatOfTheVersionThatIsThere", func(b *bench) {
		m := b.Map("roster")
		for i := range uint64(20) {
			v, p1, err := m.Update(b.ctx, "romeo", i, storage.Change{Key: "k", Value: fmt.Append(nil, i)})
			b.must(err)
			again, p2, err := m.Update(b.ctx, "romeo", []uint64{storage.AnyVersion, v}[i%2])
			b.durable(p2, err)
			b.equal("version", again, v)
			b.finished("the update without changes", p1)
		}
		_, _, err := m.Update(b.ctx, "romeo", 7)
		b.want(err, storage.ErrConflict)
		v, p, err := m.Update(b.ctx, "nobody", 0)
		b.durable(p, err)
		b.equal("version of nobody", v, 0)
		b.reopen()
		b.equal("entries", b.list("roster", "romeo"), "20: k=19@20")
		b.equal("entries", b.list("roster", "nobody"), "0:")
	}},
	{"DeletionOfNothingWaitsForTheDeletionBefore", func(b *bench) {
		m := b.Map("roster")
		for range 20 {
			_, _, err := m.Update(b.ctx, "romeo", storage.AnyVersion, storage.Change{Key: "k"})
			b.must(err)
			first, err := m.DeleteOwner(b.ctx, "romeo")
			b.must(err)
			b.durable(m.DeleteOwner(b.ctx, "romeo"))
			b.finished("the second deletion", first)
			first, err = m.DeleteOwner(b.ctx, "romeo")
			b.must(err)
			_, p, err := m.Update(b.ctx, "romeo", 0)
			b.durable(p, err)
			b.finished("the update without changes", first)
		}
	}},
	{"SizeCountsWhatIsThereNow", func(b *bench) {
		m := b.Map("pep")
		check := func(keys int, bytes int64) {
			b.Helper()
			n, size, err := m.Size(b.ctx, "romeo")
			b.must(err)
			b.equal("size", words(n, size), words(keys, bytes))
		}
		check(0, 0)
		_, p, err := m.Update(b.ctx, "romeo", storage.AnyVersion, storage.Change{Key: "ab", Value: make([]byte, 10)},
			storage.Change{Key: "c", Value: make([]byte, 1000)}, storage.Change{Key: "", Value: nil})
		b.durable(p, err)
		check(3, 1013)
		_, _, err = m.Update(b.ctx, "rome", storage.AnyVersion, storage.Change{Key: "o/c", Value: make([]byte, 10)})
		b.must(err)
		_, p, err = m.Update(b.ctx, "romeo", storage.AnyVersion, storage.Change{Key: "c", Delete: true},
			storage.Change{Key: "ab", Value: []byte("1:Lx")})
		b.durable(p, err)
		check(2, 6)
		b.reopen()
		m = b.Map("pep")
		check(2, 6)
		b.durable(m.DeleteOwner(b.ctx, "romeo"))
		check(0, 0)
	}},
	{"UpdateIsReadBeforeItIsDurable", func(b *bench) {
		m := b.Map("roster")
		for i := range 50 {
			_, _, err := m.Update(b.ctx, "romeo", uint64(i), storage.Change{Key: "k", Value: fmt.Append(nil, i)})
			b.must(err)
			v, err := m.Get(b.ctx, "romeo", "k")
			b.must(err)
			b.equal("value", string(v), fmt.Sprint(i))
		}
	}},
	{"ConditionalUpdateConflicts", func(b *bench) {
		m := b.Map("roster")
		b.update("roster", "romeo", 0, "a=1")
		_, _, err := m.Update(b.ctx, "romeo", 0, storage.Change{Key: "a", Value: []byte("2")})
		b.want(err, storage.ErrConflict)
		_, _, err = m.Update(b.ctx, "romeo", 7, storage.Change{Key: "a", Value: []byte("2")})
		b.want(err, storage.ErrConflict)
		_, _, err = m.Update(b.ctx, "nobody", 1, storage.Change{Key: "a", Value: []byte("2")})
		b.want(err, storage.ErrConflict)
		b.equal("entries", b.list("roster", "romeo"), "1: a=1@1")
		b.update("roster", "romeo", 1, "a=2")
		b.equal("entries", b.list("roster", "romeo"), "2: a=2@2")
	}},
	{"OfConcurrentConditionalUpdatesOneWins", func(b *bench) {
		m := b.Map("room")
		const workers, each = 6, 15
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() {
				for done := 0; done < each; {
					_, v, err := m.List(b.ctx, "room")
					if err != nil {
						b.Error(err)
						return
					}
					// Both keys change together or not at all.
					_, _, err = m.Update(b.ctx, "room", v, storage.Change{Key: "x", Value: fmt.Append(nil, w, v)},
						storage.Change{Key: "y", Value: fmt.Append(nil, w, v)})
					switch {
					case err == nil:
						done++
					case !errors.Is(err, storage.ErrConflict):
						b.Error(err)
						return
					}
				}
			})
		}
		stop, torn := make(chan struct{}), make(chan string, 1)
		go func() {
			defer close(torn)
			for {
				select {
				case <-stop:
					return
				default:
				}
				e, v, err := m.List(b.ctx, "room")
				if err == nil && len(e) == 2 && (string(e[0].Value) != string(e[1].Value) || e[0].Version != v) {
					torn <- fmt.Sprintf("half an update is seen: %q and %q at version %d", e[0].Value, e[1].Value, v)
					return
				}
			}
		}()
		wg.Wait()
		close(stop)
		if s, bad := <-torn; bad {
			b.Error(s)
		}
		_, v, err := m.List(b.ctx, "room")
		b.must(err)
		b.equal("version", v, workers*each)
	}},
	{"DeletedKeyIsGoneAndDeletingNothingIsNoError", func(b *bench) {
		b.update("roster", "romeo", 0, "a=1", "b=2")
		b.update("roster", "romeo", 1, "-a", "-zzz")
		_, err := b.Map("roster").Get(b.ctx, "romeo", "a")
		b.want(err, storage.ErrNotFound)
		b.equal("entries", b.list("roster", "romeo"), "2: b=2@1")
	}},
	{"SinceTellsEachChangeOnce", func(b *bench) {
		b.update("roster", "romeo", 0, "a=1", "b=1", "c=1")
		b.update("roster", "romeo", 1, "b=2")
		b.update("roster", "romeo", 2, "-a")
		b.update("roster", "romeo", 3, "b=3", "d=1")
		for range 2 {
			b.equal("since 0", b.since("romeo", 0), "4: c=1@1 -a@3 b=3@4 d=1@4")
			b.equal("since 1", b.since("romeo", 1), "4: -a@3 b=3@4 d=1@4")
			b.equal("since 3", b.since("romeo", 3), "4: b=3@4 d=1@4")
			b.equal("since 4", b.since("romeo", 4), "4:")
			b.equal("since a version that never was", b.since("romeo", 99), "unknown")
			b.equal("since 0 of nobody", b.since("nobody", 0), "0:")
			b.reopen()
		}
		b.update("roster", "romeo", 4, "a=again")
		b.equal("since 2", b.since("romeo", 2), "5: b=3@4 d=1@4 a=again@5")
	}},
	{"SinceSurvivesManyDeletions", func(b *bench) {
		// An engine may forget deletions, but then it must say that it does not know.
		for i := range 300 {
			b.update("roster", "romeo", storage.AnyVersion, fmt.Sprintf("k%d=1", i))
			b.update("roster", "romeo", storage.AnyVersion, fmt.Sprintf("-k%d", i))
		}
		if got := b.since("romeo", 599); got != "600: -k299@600" && got != "unknown" {
			b.Errorf("since 599: %s", got)
		}
		changes, current, ok, err := b.Map("roster").Since(b.ctx, "romeo", 1)
		b.must(err)
		if ok && len(changes) != 300 || current != 600 {
			b.Errorf("since 1: %d changes at version %d, known: %v", len(changes), current, ok)
		}
	}},
	{"ManyDeletionsAtOnceAndAKeyThatComesBack", func(b *bench) {
		const n = 1200
		var set, gone []storage.Change
		for i := range n {
			set = append(set, storage.Change{Key: fmt.Sprint("k", i), Value: []byte("1")})
			gone = append(gone, storage.Change{Key: fmt.Sprint("k", i), Delete: true})
		}
		gone[7] = storage.Change{Key: "k7", Value: []byte("2")}
		m := b.Map("roster")
		for _, changes := range [][]storage.Change{
			set, gone, {{Key: "k5", Value: []byte("3")}, {Key: "k7", Delete: true}}, {{Key: "k9", Value: []byte("4")}},
		} {
			_, _, err := m.Update(b.ctx, "romeo", storage.AnyVersion, changes...)
			b.must(err)
		}
		for range 2 {
			b.equal("entries", b.list("roster", "romeo"), "4: k5=3@3 k9=4@4")
			b.equal("since 3", b.since("romeo", 3), "4: k9=4@4")
			if got := b.since("romeo", 2); got != "4: k5=3@3 -k7@3 k9=4@4" && got != "unknown" {
				b.Errorf("since 2: %s", got)
			}
			b.reopen()
		}
	}},
	{"SpacesAndStrangeOwnersAreKeptApart", func(b *bench) {
		for i, owner := range strange {
			b.update("roster", owner, 0, fmt.Sprintf("k=%d", i), "a:b/c=x", "ключ=y", "=empty key")
			b.update("private", owner, 0, fmt.Sprintf("k=other %d", i))
		}
		b.reopen()
		for i, owner := range strange {
			v, err := b.Map("roster").Get(b.ctx, owner, "k")
			b.must(err)
			b.equal("value of "+owner, string(v), fmt.Sprint(i))
			b.equal("entries of "+owner, b.list("roster", owner), fmt.Sprintf("1: =empty key@1 a:b/c=x@1 k=%d@1 ключ=y@1", i))
			b.equal("entries of "+owner, b.list("private", owner), fmt.Sprintf("1: k=other %d@1", i))
		}
	}},
	{"DeleteOwnerForgetsKeysAndVersion", func(b *bench) {
		b.update("roster", "romeo", 0, "a=1")
		b.update("roster", "romeo", 1, "-a", "b=1")
		b.update("roster", "romeo2", 0, "a=1")
		b.update("private", "romeo", 0, "a=1")
		b.durable(b.Map("roster").DeleteOwner(b.ctx, "romeo"))
		b.durable(b.Map("roster").DeleteOwner(b.ctx, "nobody"))
		for range 2 {
			b.equal("entries", b.list("roster", "romeo"), "0:")
			b.equal("since", b.since("romeo", 0), "0:")
			b.equal("another owner", b.list("roster", "romeo2"), "1: a=1@1")
			b.equal("another space", b.list("private", "romeo"), "1: a=1@1")
			b.reopen()
		}
		b.update("roster", "romeo", 0, "c=1")
		b.equal("since", b.since("romeo", 0), "1: c=1@1")
	}},
	{"ValuesAreCopied", func(b *bench) {
		v := []byte("mine")
		_, _, err := b.Map("vcard").Update(b.ctx, "romeo", 0, storage.Change{Key: "k", Value: v})
		b.must(err)
		v[0] = 'X'
		got, err := b.Map("vcard").Get(b.ctx, "romeo", "k")
		b.must(err)
		b.equal("value", string(got), "mine")
		got[0] = 'Y'
		got, err = b.Map("vcard").Get(b.ctx, "romeo", "k")
		b.must(err)
		b.equal("value", string(got), "mine")
	}},
	{"BinaryAndLargeValuesComeBackWhole", func(b *bench) {
		large := make([]byte, 300<<10)
		for i := range large {
			large[i] = byte(i * i >> 3)
		}
		_, p, err := b.Map("vcard").Update(b.ctx, "romeo", 0, storage.Change{Key: "photo", Value: large})
		b.durable(p, err)
		for range 2 {
			got, err := b.Map("vcard").Get(b.ctx, "romeo", "photo")
			b.must(err)
			b.equal("value", string(got) == string(large), true)
			b.reopen()
		}
	}},
}

// update applies "key=value" and "-key" and waits.
func (b *bench) update(space, owner string, version uint64, changes ...string) {
	b.Helper()
	var list []storage.Change
	for _, s := range changes {
		c := storage.Change{Delete: true}
		if s[0] == '-' {
			c.Key = s[1:]
		} else {
			for i := range s {
				if s[i] == '=' {
					c = storage.Change{Key: s[:i], Value: []byte(s[i+1:])}
					break
				}
			}
		}
		list = append(list, c)
	}
	_, p, err := b.Map(space).Update(b.ctx, owner, version, list...)
	b.durable(p, err)
}

// list renders an owner as "version: key=value@version …".
func (b *bench) list(space, owner string) string {
	b.Helper()
	entries, version, err := b.Map(space).List(b.ctx, owner)
	b.must(err)
	return render(version, entries)
}

func (b *bench) since(owner string, version uint64) string {
	b.Helper()
	changes, current, ok, err := b.Map("roster").Since(b.ctx, owner, version)
	b.must(err)
	if !ok {
		return "unknown"
	}
	return render(current, changes)
}

func render(version uint64, entries []storage.Entry) string {
	s := fmt.Sprintf("%d:", version)
	for _, e := range entries {
		if e.Deleted {
			s += fmt.Sprintf(" -%s@%d", e.Key, e.Version)
		} else {
			s += fmt.Sprintf(" %s=%s@%d", e.Key, e.Value, e.Version)
		}
	}
	return s
}
