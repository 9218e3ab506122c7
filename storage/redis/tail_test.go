package redis

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"jackdaw/storage"
	"jackdaw/storage/redis/redistest"
)

func TestMessagesThatComeOneByOneCostFewCommands(t *testing.T) {
	s := redistest.Start(t)
	e := open(t, Options{Addrs: []string{s.Addr}}).(*engine)
	e.stop() // nobody else asks Redis
	e.probing.Wait()
	e.lease.begin(time.Now().Add(time.Hour))
	for n := range 3 { // claims, heads and Dedup values
		for _, owner := range []string{"romeo", "juliet"} {
			o := storage.AppendOptions{Dedup: fmt.Sprint("before ", n)}
			if _, _, p, err := e.Log("archive").Append(t.Context(), owner, storage.Record{Peer: "nurse"}, o); err != nil ||
				p.Wait(t.Context()) != nil {
				t.Fatal(err)
			}
		}
	}
	const messages = 200
	for _, dedup := range []bool{false, true} {
		before := commands(t, s)
		for n := range messages {
			for _, owner := range []string{"romeo", "juliet"} {
				var o storage.AppendOptions
				if dedup {
					o.Dedup = fmt.Sprint(n)
				}
				r := storage.Record{Peer: "nurse", Data: []byte(strings.Repeat("x", 100))}
				if _, _, p, err := e.Log("archive").Append(t.Context(), owner, r, o); err != nil || p.Wait(t.Context()) != nil {
					t.Fatal(err)
				}
			}
		}
		if each := float64(commands(t, s)-before) / messages; each > 7 {
			t.Errorf("dedup %v: %.1f commands for each of two records that were written by themselves", dedup, each)
		}
	}
	for _, owner := range []string{"romeo", "juliet"} {
		if got := len(data(t, e, owner)); got != 2*messages+3 {
			t.Errorf("%s has %d records", owner, got)
		}
	}
}

func TestNewestRecordsAreFoundWhereTheyLie(t *testing.T) {
	s := redistest.Start(t)
	o := Options{Addrs: []string{s.Addr}}
	var want []string
	var ids []uint64
	for round := range 3 { // each with an engine that knows nothing
		opened, err := Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		e := opened.(*engine)
		l := e.Log("archive")
		if round > 0 {
			r, _, err := l.Lookup(t.Context(), "romeo", fmt.Sprint(len(want)-1))
			if err != nil || string(r.Data) != want[len(want)-1] || r.ID != ids[len(ids)-1] || r.Peer != "nurse" {
				t.Errorf("the newest record: %+v, %v", r, err)
			}
			if n, bytes, err := l.Size(t.Context(), "romeo"); n != len(want) || bytes == 0 || err != nil {
				t.Errorf("size %d, %d, %v", n, bytes, err)
			}
		}
		for range mostInTail - 10 {
			text := fmt.Sprint(len(want))
			id, _, p, err := l.Append(t.Context(), "romeo", storage.Record{Peer: "nurse", Data: []byte(text)},
				storage.AppendOptions{Dedup: text})
			if err != nil || p.Wait(t.Context()) != nil {
				t.Fatal(err)
			}
			want, ids = append(want, text), append(ids, id)
		}
		if got := data(t, e, "romeo"); !slices.Equal(got, want) {
			t.Errorf("records %v", got)
		}
		if n := strings.TrimSpace(s.CLI("zcard", "{romeo}:archive:i")); n != fmt.Sprint((round+1)*(mostInTail-10)/(mostInTail+1)) {
			t.Errorf("round %d: %s blocks", round, n)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
	e := open(t, o)
	l := e.Log("archive")
	var owners []string
	if _, err := add(e, "juliet", 0); err != nil {
		t.Fatal(err)
	}
	if err := l.Owners(t.Context(), func(owner string) bool { owners = append(owners, owner); return true }); err != nil {
		t.Fatal(err)
	}
	if slices.Sort(owners); fmt.Sprint(owners) != "[juliet romeo]" {
		t.Errorf("owners %v", owners)
	}
	// One of the newest is replaced and one removed while there are others on their way.
	last := len(ids) - 1
	if _, err := l.Replace(t.Context(), "romeo", ids[last-1], []byte("changed")); err != nil {
		t.Error(err)
	}
	if _, err := l.Remove(t.Context(), "romeo", ids[last], ids[0]); err != nil {
		t.Error(err)
	}
	id, err := add(e, "romeo", 1000)
	if err != nil || id <= ids[last] {
		t.Errorf("id %d after %d, %v", id, ids[last], err)
	}
	want[last-1], want[last] = "changed", "1000"
	if got := data(t, e, "romeo"); !slices.Equal(got, want[1:]) {
		t.Errorf("records %v", got)
	}
}

func TestBrokenTailIsAnError(t *testing.T) {
	var whole tail
	records := []storage.Record{{ID: 5, Peer: "nurse", Data: []byte("five")}, {ID: 1 << 50, Data: []byte{}}}
	dedups := []remembered{{day: 20000, value: "d", id: 5}, {day: 20001, id: 6}}
	s := string(whole.encode(records, dedups))
	got, err := readTail(s)
	if fmt.Sprint(got) != fmt.Sprint(tailText{records, dedups}) || err != nil {
		t.Errorf("read %v, %v", got, err)
	}
	for n := range len(s) {
		if got, err := readTail(s[:n]); err == nil && len(got.records)+len(got.dedups) == len(records)+len(dedups) {
			t.Errorf("%d bytes of %d were read as all: %v", n, len(s), got)
		}
	}
	for _, broken := range []string{"\x01" + s[1:], s[:len(s)-1], s + "\x05\xff\xff\xff\xff\x0f", s + "\xff"} {
		if got, err := readTail(broken); err == nil || len(got.records) > 0 {
			t.Errorf("%q was read as %v", broken, got)
		}
	}
}
