package outbox

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/storage"
	"jackdaw/xmpp"
)

// to says of owners whether they go to a domain.
func to(remote string) func(owner string) bool {
	return func(owner string) bool { return strings.HasSuffix(owner, ">"+remote) }
}

func TestAPairThatMovesLeavesItsStanzasOnDisk(t *testing.T) {
	scene(t, func(t *testing.T, b *bench) {
		b.peer.fail[there], b.peer.fail[stuck] = errRefused, errRefused
		var want []string
		for i := range 3 {
			id, e := b.push(order{durable: i != 1}) // what nobody was promised is written now
			b.durable(e)
			want = append(want, id)
		}
		question := b.queued(order{kind: xmpp.IQ, typ: xmpp.TypeGet})
		b.queued(order{to: stuck})
		if err := b.out.Release(t.Context(), to(there), true); err != nil {
			t.Fatal(err)
		}
		b.equal("bounced", b.bouncedIDs(), []string{question})
		if n := b.onDisk(pair0); n != 3 {
			t.Errorf("%d on disk", n)
		}
		if n := b.status(Pair{here, stuck}).Waiting; n != 1 {
			t.Errorf("%d wait for the peer that stays", n)
		}
		if all := b.out.Status(); len(all) != 1 || b.out.Gauge().Waiting != 1 {
			t.Errorf("still known: %+v", all)
		}
		attempts := len(b.peer.attempts(there))
		wait(time.Minute)
		if n := len(b.peer.attempts(there)); n != attempts {
			t.Errorf("%d attempts for a pair that has moved", n-attempts)
		}
		delete(b.peer.fail, there)
		if err := b.out.Gained(t.Context(), to(stuck)); err != nil {
			t.Fatal(err)
		}
		if synctest.Wait(); len(b.peer.took(pair0)) > 0 {
			t.Error("a pair that is at home elsewhere was taken up")
		}
		if err := b.out.Gained(t.Context(), to(there)); err != nil {
			t.Fatal(err)
		}
		want = append(want, b.queued(order{}))
		synctest.Wait()
		if got := b.peer.took(pair0); len(got) != 4 || !sameOrder(got, want) {
			t.Errorf("taken: %v, want %v", got, want)
		}
		wait(time.Second)
		if n := b.onDisk(pair0); n != 0 {
			t.Errorf("%d are left", n)
		}
	})
}

// sameOrder compares without what was written late, which is behind the others.
func sameOrder(got, want []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))) &&
		slices.Index(got, want[0]) < slices.Index(got, want[2]) && got[3] == want[3]
}

func TestAStreamThatMovesTakesWhatWaitsFirst(t *testing.T) {
	scene(t, func(t *testing.T, b *bench) {
		_, e := b.push(order{durable: true})
		b.durable(e)
		synctest.Wait()
		var want []string
		b.peer.set(func() { b.peer.slow = 100 * time.Millisecond })
		for range 5 {
			id, e := b.push(order{durable: true})
			b.durable(e)
			want = append(want, id)
		}
		if err := b.out.Release(t.Context(), to(there), true); err != nil {
			t.Fatal(err)
		}
		if n := b.onDisk(pair0); n != 0 {
			t.Errorf("%d would be sent again by the next home", n)
		}
		if !b.peer.closed(pair0) {
			t.Error("the stream is up")
		}
		b.equal("taken", b.peer.took(pair0)[1:], want)
		if n := b.out.memory.Load(); n != 0 || len(b.out.shares.by) != 0 {
			t.Errorf("%d bytes count, %d shares", n, len(b.out.shares.by))
		}
	})
}

func TestAPairWhoseLeaseIsOverIsNotDrained(t *testing.T) {
	scene(t, func(t *testing.T, b *bench) {
		b.queued(order{})
		synctest.Wait()
		b.peer.set(func() { b.peer.silent = true })
		_, e := b.push(order{durable: true})
		b.durable(e)
		start := time.Now()
		if err := b.out.Release(t.Context(), to(there), false); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d > 100*time.Millisecond {
			t.Errorf("it took %v", d)
		}
	})
}

// unread is a log that cannot be read after the first owner.
type unread struct {
	storage.Log
	pages int
}

func (l *unread) Page(ctx context.Context, owner string, q storage.Query) ([]storage.Record, bool, error) {
	if l.pages--; l.pages < 0 {
		return nil, false, errors.New("unreachable")
	}
	return l.Log.Page(ctx, owner, q)
}

func TestWhatCannotBeTakenUpIsTakenUpOnceLater(t *testing.T) {
	scene(t, func(t *testing.T, b *bench) {
		b.peer.fail[there], b.peer.fail[stuck] = errRefused, errRefused
		for _, to := range []string{there, stuck} {
			_, e := b.push(order{durable: true, to: to})
			b.durable(e)
		}
		all := func(string) bool { return true }
		if err := b.out.Release(t.Context(), all, true); err != nil {
			t.Fatal(err)
		}
		b.out.disk = &unread{b.log, 1}
		if err := b.out.Gained(t.Context(), all); err == nil {
			t.Fatal("no error")
		}
		b.out.disk = b.log
		b.peer.set(func() { b.peer.fail = nil })
		if err := b.out.Gained(t.Context(), all); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := len(b.peer.took(pair0)) + len(b.peer.took(Pair{here, stuck})); n != 2 {
			t.Errorf("%d taken", n)
		}
	})
}
